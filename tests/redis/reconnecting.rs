//! Tests how the broker connects again: not too often, not once more for each caller, and without blocking the
//! threads that serve.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use testkit::{
    broker_process::BrokerProcess, redis_server::RedisServer, redis_tenant::RedisTenant, rows::*,
};
use token_broker::{
    proto::v1,
    store::{Health, Store},
};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

/// How often a broker may dial a server that is away for two seconds: three connections, each after pauses that
/// grow to a fraction of a second.
const MOST_DIALS: usize = 60;

/// A server that is gone, as a load balancer shows it: it takes connections and ends them.
#[tokio::test(flavor = "multi_thread")]
async fn attempts_to_connect_are_paced_however_many_callers_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let dials = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&dials);
    let _accepting = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            drop(connection);
        }
    });
    let server = RedisServer::shared();
    for durability in ["primary", "replicated"] {
        let tenant = RedisTenant::on(server)
            .with("redis-url", &url)
            .with("durability", durability);
        let store = tenant.store_with(Duration::from_secs(1));
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            let store = store.clone();
            callers.spawn(async move {
                loop {
                    _ = tokio::time::timeout(Duration::from_millis(100), async {
                        _ = store.get(&key("s", "p")).await;
                        store.delete(&key("s", "p"), None).await
                    })
                    .await;
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        dials.store(0, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let dialled = dials.load(Ordering::SeqCst);
        // A slow machine may take longer.
        let most = MOST_DIALS * usize::try_from(begun.elapsed().as_millis()).unwrap() / 2_000;
        assert!(dialled > 3, "{durability}: it keeps trying: {dialled}");
        assert!(dialled < most, "{durability}: {dialled} of {most}");
    }
}

/// A pipe is in the place of the password. Connecting fails, and waits for nobody, and neither does a thread that serves.
#[test]
fn a_pipe_in_the_place_of_the_password_blocks_no_thread() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("password");
    // The settings are checked before anything connects.
    std::fs::write(&pipe, "secret").unwrap();
    let tenant =
        RedisTenant::on(RedisServer::shared()).with("redis-password-file", pipe.to_str().unwrap());
    let store = tenant.store_with(Duration::from_millis(300));
    std::fs::remove_file(&pipe).unwrap();
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let failed = runtime.block_on(async move { store.ready().await });
        runtime.shutdown_background();
        done.send(failed.is_err()).unwrap();
    });
    let ended = is_done.recv_timeout(Duration::from_secs(10));
    assert_eq!(ended, Ok(true), "the thread is blocked");
}

/// Redis ends all of its connections, again and again, as when it is short of memory for its clients. Reads are sent
/// again, however many threads and connections the broker has.
#[tokio::test(flavor = "multi_thread")]
async fn reads_survive_the_end_of_all_connections() {
    let server = RedisServer::start();
    let url = format!("--redis-url={}", server.url());
    let broker = BrokerProcess::start(&[
        "--backend=redis",
        &url,
        "--workers=4",
        // To connect may take long on a slow machine.
        "--redis-connect-timeout=5s",
    ]);
    broker.serving().await;
    let request = |session: &str| v1::GetAllRequest {
        session_id: session.to_owned(),
        binding: None,
    };
    let ending = Duration::from_secs(3);
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let mut client = broker.client().await;
        let request = request(&format!("s{caller}"));
        callers.spawn(async move {
            let (begun, mut reads) = (Instant::now(), 0);
            while begun.elapsed() < ending {
                client.get_all(request.clone()).await.unwrap();
                reads += 1;
            }
            reads
        });
    }
    while !callers.is_empty() {
        server
            .ask::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .unwrap();
        let pause = Duration::from_millis(700);
        if let Ok(Some(reads)) = timeout(pause, callers.join_next()).await {
            assert!(reads.unwrap() > 20);
        }
    }
}
