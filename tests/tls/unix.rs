//! A broker on a Unix socket.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

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

/// An address says who called; over a Unix socket, the kernel does.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_event_tells_the_process_at_the_other_end() {
    let dir = tempfile::tempdir().unwrap();
    let [socket, key, audit] =
        ["broker.sock", "key", "audit.jsonl"].map(|name| dir.path().join(name));
    fs::write(&key, "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n").unwrap();
    fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let [key, file] = [&key, &audit].map(|path| path.display().to_string());
    let settings = [
        "--audit=required",
        "--audit-file",
        &file,
        "--audit-key-file",
        &key,
    ];
    let place = format!("unix:{}", socket.display());
    let _broker = BrokerProcess::listening_at(&settings, &place);
    let client = client(&socket).await.unwrap();
    until("it serves", || {
        let mut client = client.clone();
        async move { served(client.get(request()).await.map(drop)).is_ok() }
    })
    .await;
    let uid = fs::metadata(&socket).unwrap().uid();
    let peer = format!(r#""peer":"unix:uid={uid},pid={}""#, std::process::id());
    let events = fs::read_to_string(audit).unwrap();
    assert!(events.contains(&peer), "{events}");
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
