//! A broker on a Unix socket.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use hyper_util::rt::TokioIo;
use testkit::{
    broker_process::{BrokerProcess, program},
    stale_socket::leave_stale_socket,
    waiting::until,
};
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
    leave_stale_socket(&path);
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

/// What is in a socket's way is a mistake in the settings, which a look at them finds as well. It stays as it is.
#[test]
fn a_socket_has_a_folder_and_nothing_in_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("file"), "precious").unwrap();
    fs::create_dir(path("folder")).unwrap();
    std::os::unix::fs::symlink("away", path("link")).unwrap();
    leave_stale_socket(path("stale"));
    for (name, code) in [
        ("no/socket", Some(2)),
        ("file/socket", Some(2)),
        ("file", Some(2)),
        ("folder", Some(2)),
        ("link", Some(2)),
        ("stale", Some(0)),
        ("new", Some(0)),
    ] {
        let place = format!("unix:{}", path(name).display());
        let run = |more: &[&str]| {
            let mut command = program();
            let done = command.args(["--listen", &place]).args(more).output();
            let done = done.unwrap();
            (done.status.code(), String::from_utf8(done.stderr).unwrap())
        };
        let (checked, says) = run(&["--check-config"]);
        assert_eq!(checked, code, "{name}: {says}");
        if code == Some(2) {
            assert!(says.contains("--listen: can't serve on"), "{name}: {says}");
            assert_eq!(run(&[]), (checked, says), "{name}");
        }
    }
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "precious");
    assert!(!path("new").exists() && path("stale").exists());
    let place = format!("unix:{}", path("stale").display());
    let broker = BrokerProcess::listening_at(&[], &place);
    // Whether another process listens is for the start to find out.
    let mut check = program();
    let check = check.args(["--listen", &place, "--check-config"]).output();
    assert_eq!(check.unwrap().status.code(), Some(0));
    let mut second = program();
    let second = second.args(["--listen", &place]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(broker.terminate().success());
}
