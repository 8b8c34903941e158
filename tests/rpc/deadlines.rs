//! Tests time limits. If Redis doesn't answer, no caller waits longer than its own deadline or the
//! broker's limit, and only as many callers wait as the broker admits.

use std::time::{Duration, Instant};

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant, waiting::until};
use token_broker::config::ServerOptions;
use tonic::{Code, Request};

use crate::{
    refusal::refused,
    serving::{Serving, get, get_all, options, store},
};

/// The delay that a machine under load may add.
const SLACK: Duration = Duration::from_secs(8);

/// Starts a broker that waits for Redis for longer than [`SLACK`].
async fn patient(tenant: &RedisTenant, options: ServerOptions) -> Serving {
    // No more than the usual `call-timeout` is accepted.
    let store = tenant.store_with(Duration::from_secs(9));
    Serving::start(tenant.name().clone(), store, options, async {}).await
}

fn within<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_deadline_ends_a_call() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let serving = patient(&tenant, options()).await;
    let mut client = serving.client().await;
    client.store(store("s", "p")).await.unwrap();
    server.pause();
    for timeout in [50, 400].map(Duration::from_millis) {
        let started = Instant::now();
        let ended = [
            client
                .get(within(get("s", "p"), timeout))
                .await
                .unwrap_err(),
            client
                .get_all(within(get_all("s"), timeout))
                .await
                .unwrap_err(),
            client
                .store(within(store("s", "p"), timeout))
                .await
                .unwrap_err(),
        ];
        for status in ended {
            // The client and the server watch the same deadline, and the first to notice ends the
            // call.
            let code = status.code();
            assert!(
                matches!(code, Code::DeadlineExceeded | Code::Cancelled),
                "{status:?}"
            );
        }
        assert!(started.elapsed() >= 3 * timeout - Duration::from_millis(30));
        assert!(
            started.elapsed() < 3 * timeout + SLACK,
            "{:?}",
            started.elapsed()
        );
    }
    server.resume();
    client.store(store("s", "p")).await.unwrap();
    tenant.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_own_limit_ends_a_call() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let call_timeout = Duration::from_millis(500);
    let serving = patient(
        &tenant,
        ServerOptions {
            call_timeout,
            ..options()
        },
    )
    .await;
    let mut client = serving.client().await;
    server.pause();
    let started = Instant::now();
    let ended = client.get(get("s", "p")).await;
    refused(ended, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    let patient = client
        .get(within(get("s", "p"), Duration::from_secs(60)))
        .await;
    refused(patient, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert!(
        started.elapsed() < 2 * call_timeout + SLACK,
        "{:?}",
        started.elapsed()
    );
    server.resume();
    until("the broker serves again", || {
        let mut client = client.clone();
        async move { client.store(store("s", "p")).await.is_ok() }
    })
    .await;
}

/// One call above the limit is refused at once. When there is room again, a call is admitted.
#[tokio::test(flavor = "multi_thread")]
async fn one_call_too_many_is_refused_at_once() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let options = ServerOptions {
        max_calls: 4,
        ..options()
    };
    let serving = patient(&tenant, options).await;
    // One connection may have half of the calls.
    let (client, other) = (serving.client().await, serving.client().await);
    server.pause();
    let waiting: Vec<_> = (0..4)
        .map(|number| {
            let mut client = [&client, &other][number % 2].clone();
            tokio::spawn(async move {
                // The calls below may arrive first.
                loop {
                    let answer = client.get(get("s", "p")).await;
                    if answer
                        .as_ref()
                        .is_err_and(|e| e.code() != Code::ResourceExhausted)
                    {
                        return answer;
                    }
                }
            })
        })
        .collect();
    until("there is no room", || {
        let mut client = client.clone();
        async move {
            let short = client
                .get(within(get("s", "p"), Duration::from_millis(50)))
                .await;
            short.unwrap_err().code() == Code::ResourceExhausted
        }
    })
    .await;
    let started = Instant::now();
    let refusal = client.clone().store(store("s", "p")).await;
    refused(refusal, Code::ResourceExhausted, "OVERLOADED");
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    server.resume();
    for call in waiting {
        refused(call.await.unwrap(), Code::NotFound, "ROW_NOT_FOUND");
    }
    until("there is room again", || {
        let mut client = client.clone();
        async move { client.store(store("s", "p")).await.is_ok() }
    })
    .await;
}
