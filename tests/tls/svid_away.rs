//! The agent of the Workload API comes late, ends, comes back, or isn't one.

use testkit::{
    broker_process::program,
    waiting::until,
    workload_api::{Answer, PlayedAgent},
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::spiffe::Spiffe;

/// A broker that starts before its agent waits for it: it takes no caller, its health says so, and it can be told to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_waits_for_an_agent_that_comes_late() {
    let args = ["--health-listen", "127.0.0.1:0"];
    let mut spiffe = Spiffe::before_serving(&args, |_, _| ());
    spiffe.logs("there is no certificate yet").await;
    let address = spiffe.process.logged_address("health_address");
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let health = HealthClient::new(endpoint.connect().await.unwrap());
    let asked = || {
        let mut health = health.clone();
        async move {
            let answer = health.check(HealthCheckRequest::default()).await;
            answer.unwrap().into_inner().status()
        }
    };
    assert_eq!(asked().await, ServingStatus::NotServing);
    let refused = spiffe.serves("spiffe://prod.test/proxy").await;
    assert!(refused.is_err(), "there is no certificate");
    spiffe.agent.start();
    until("it serves", || async {
        asked().await == ServingStatus::Serving
    })
    .await;
    spiffe.serves("spiffe://prod.test/proxy").await.unwrap();
    spiffe.logs("the agent answers again").await;
    assert!(spiffe.process.terminate().success());
}

/// While its agent is away, a broker goes on with what it has. What the agent gives when it is back counts.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_ends_and_comes_back() {
    let mut spiffe = Spiffe::start(&[]).await;
    let before = spiffe.shown().await;
    let mut client = {
        let config = spiffe.config("spiffe://prod.test/proxy");
        spiffe.client(config).await.unwrap()
    };
    spiffe.agent.stop();
    spiffe.logs("the agent gives nothing").await;
    assert_eq!(spiffe.shown().await, before);
    spiffe.serves("spiffe://partner.test/proxy").await.unwrap();
    spiffe.agent.gives(spiffe.gift());
    spiffe.agent.start();
    until("the new certificate is shown", || async {
        spiffe.shown().await != before
    })
    .await;
    let answer = client.get(crate::broker::request()).await;
    crate::broker::served(answer.map(drop)).unwrap();
}

/// What answers isn't an agent, and says so: the start fails, because waiting is of no use. An agent that knows no identity
/// of the broker yet is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_fails_where_no_agent_answers() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let mut agent = PlayedAgent::started(&socket, Answer::Refuses(Code::Unimplemented));
    let run = || {
        let (mut program, socket) = (program(), format!("unix:{}", socket.display()));
        tokio::task::spawn_blocking(move || {
            let output = program
                .args(["--listen", "127.0.0.1:0", "--spiffe-workload-api", &socket])
                .output()
                .unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            (output.status.code(), told)
        })
    };
    let (code, told) = run().await.unwrap();
    assert_eq!(code, Some(2), "{told}");
    let expected = "spiffe-workload-api: what answers there isn't SPIFFE's Workload API";
    assert!(told.contains(expected), "{told}");
    agent.stop();

    let spiffe = Spiffe::before_serving(&[], |gift, agent| {
        agent.refuses(Code::PermissionDenied);
        agent.start();
        drop(gift);
    });
    spiffe.logs("PermissionDenied").await;
    spiffe.agent.gives(spiffe.gift());
    until("it serves", || async {
        spiffe.serves("spiffe://prod.test/proxy").await.is_ok()
    })
    .await;
}
