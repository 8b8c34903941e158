//! `token-broker health` asks a broker over TLS and by a Unix socket.

use std::fs;

use testkit::{
    authority::{Authority, Wanted},
    broker_process::{BrokerProcess, program},
    stale_socket::leave_stale_socket,
    waiting::until,
};

use crate::broker::Broker;

/// Returns the exit code, and what was said.
fn health(args: &[&str]) -> (i32, String) {
    let done = program()
        .args(["health", "--timeout", "20s"])
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code().unwrap(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_certificate_and_a_name() {
    let broker = Broker::start(&["--health-listen", "127.0.0.1:0"]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    broker.good().write_to(dir.path(), "client");
    fs::write(file("ca.pem"), &broker.authority.pem).unwrap();
    fs::write(file("other.pem"), &broker.clients.pem).unwrap();
    let (addr, ca) = (broker.process.address().to_string(), file("ca.pem"));
    let (cert, key, other) = (file("client.pem"), file("client.key"), file("other.pem"));
    let stranger = Authority::new("stranger").sign(&Wanted::nobody().dns_name("caller.test"));
    stranger.write_to(dir.path(), "foreign");
    let (foreign, foreign_key) = (file("foreign.pem"), file("foreign.key"));
    let good = ["--addr", &addr, "--ca", &ca, "--cert", &cert, "--key", &key];
    until("it serves", || async { health(&good).0 == 0 }).await;
    let named = [&good[..], &["--server-name", "broker.test"]].concat();
    assert_eq!(health(&named).0, 0);
    let plain = broker.process.logged_address("health_address").to_string();
    assert_eq!(health(&["--addr", &plain]).0, 0);
    let no_socket = format!("unix:{}", file("no.sock"));
    let deserted = format!("unix:{}", file("deserted.sock"));
    leave_stale_socket(file("deserted.sock"));
    // What is said sends the reader to what is wrong.
    for (wrong, sends_to) in [
        (vec!["--addr", &addr], "it serves TLS, which --ca or --tls"),
        (
            vec!["--addr", &addr, "--ca", &ca],
            "it wants a certificate: set --cert and --key",
        ),
        (
            vec![
                "--addr",
                &addr,
                "--ca",
                &ca,
                "--cert",
                &foreign,
                "--key",
                &foreign_key,
            ],
            "it refuses the certificate of --cert",
        ),
        (
            vec![
                "--addr", &addr, "--ca", &other, "--cert", &cert, "--key", &key,
            ],
            "vouches for the broker's certificate: --ca names others",
        ),
        (
            [&good[..], &["--server-name", "other.test"]].concat(),
            "is not for other.test: set --server-name",
        ),
        (
            vec!["--addr", &plain, "--ca", &ca],
            "it doesn't speak TLS: if it is the broker's health-listen",
        ),
        (vec!["--addr", &no_socket], "there is no such socket"),
        (vec!["--addr", &deserted], "nobody listens on it"),
    ] {
        let (code, said) = health(&wrong);
        assert_eq!(code, 1, "{wrong:?}: {said}");
        assert!(said.contains(sends_to), "{wrong:?}: {said}");
    }
    for misused in [
        vec!["--addr", &addr, "--cert", &cert],
        vec!["--addr", &addr, "--ca", "/no/such"],
        vec!["--addr", &addr, "--ca", &ca, "--server-name", "no name"],
    ] {
        let (code, said) = health(&misused);
        assert_eq!(code, 2, "{misused:?}: {said}");
    }
}

/// A broker's own settings say where it is asked: at `health-listen`, where no certificate is needed, or at its socket.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_broker_s_settings_say() {
    let broker = Broker::start(&["--health-listen", "127.0.0.1:0"]).await;
    let plain = broker.process.logged_address("health_address").to_string();
    let listen = broker.process.address().to_string();
    let asked = ["--listen", &listen, "--health-listen", &plain];
    until("it serves", || async { health(&asked).0 == 0 }).await;
    assert_eq!(health(&["--listen", &listen]).0, 1);

    let dir = tempfile::tempdir().unwrap();
    let place = format!("unix:{}/broker.sock", dir.path().display());
    let _broker = BrokerProcess::listening_at(&[], &place);
    until("it serves", || async {
        health(&["--listen", &place]).0 == 0
    })
    .await;
    assert_eq!(health(&["--addr", &place]).0, 0);
    let (code, said) = health(&["--addr", "unix:relative"]);
    assert_eq!(code, 2, "{said}");
}
