//! A broker on a Unix socket.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use hyper_util::rt::TokioIo;
use testkit::{broker_process::BrokerProcess, waiting::until};
use token_broker::proto::v1::token_broker_client::TokenBrokerClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::broker::{request, served};

async fn client(path: &Path) -> Result<TokenBrokerClient<Channel>, tonic::transport::Error> {
    let path = path.to_owned();
    let connect = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://broker");
    let channel = endpoint.connect_with_connector(connect).await?;
    Ok(TokenBrokerClient::new(channel))
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_by_a_socket_that_is_gone_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.sock");
    let place = format!("unix:{}", path.display());
    // A broker that was killed leaves its socket behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let broker = BrokerProcess::listening_at(&["--listen-mode", "660"], &place);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let client = client(&path).await.unwrap();
    until("it serves", || {
        let mut client = client.clone();
        async move { served(client.get(request()).await.map(drop)).is_ok() }
    })
    .await;
    assert!(broker.log().contains(&place), "{}", broker.log());
    assert!(broker.terminate().success());
    assert!(!path.exists());
}
