//! How the client shows who it is, and what happens when its files change.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Command,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tempfile::TempDir;
use testkit::{captured_log::CapturedLog, token_endpoint::Behaviour};
use token_broker::refresh::provider::{
    Algorithm, Answer, Authentication, ClientCertificate, PrepareError, Provider, SecretSource,
};

use crate::setup::{options_at, redeem, secret, server, tokens};

fn file(dir: &TempDir, text: &str) -> SecretSource {
    let path = dir.path().join("secret");
    fs::write(&path, text).unwrap();
    SecretSource::File(path)
}

#[tokio::test]
async fn a_secret_in_the_header_is_encoded_first() {
    let (dir, server) = (TempDir::new().unwrap(), server(tokens()).await);
    let mut options = options_at(&server);
    options.client_id = "the client".to_owned();
    options.authentication = Authentication::SecretBasic(file(&dir, "se:cret+é\n"));
    redeem(options).await;
    let request = &server.received()[0];
    let value = request
        .header("authorization")
        .unwrap()
        .strip_prefix("Basic ")
        .unwrap();
    let pair = String::from_utf8(STANDARD.decode(value).unwrap()).unwrap();
    assert_eq!(pair, "the%20client:se%3Acret%2B%C3%A9");
    assert_eq!(request.parameter("client_id"), None);
    assert_eq!(request.parameter("client_secret"), None);
}

#[tokio::test]
async fn a_secret_in_the_body() {
    let (dir, server) = (TempDir::new().unwrap(), server(tokens()).await);
    let mut options = options_at(&server);
    options.authentication = Authentication::SecretPost(file(&dir, "se cret\r\n"));
    redeem(options).await;
    let request = &server.received()[0];
    assert_eq!(request.parameter("client_id"), Some("client"));
    assert_eq!(request.parameter("client_secret"), Some("se%20cret"));
    assert_eq!(request.header("authorization"), None);
}

#[tokio::test]
async fn a_public_client_names_itself() {
    let server = server(tokens()).await;
    redeem(options_at(&server)).await;
    let request = &server.received()[0];
    assert_eq!(request.parameter("client_id"), Some("client"));
    assert_eq!(request.header("authorization"), None);
}

#[tokio::test]
async fn an_assertion_is_signed_anew_for_each_request() {
    let server = server(tokens()).await;
    let dir = TempDir::new().unwrap();
    testkit::certificates::Certificates::shared().write_to(dir.path());
    let mut options = options_at(&server);
    options.authentication = Authentication::PrivateKeyJwt {
        key: SecretSource::File(dir.path().join("client.key")),
        key_id: Some("k1".to_owned()),
        algorithm: Algorithm::Es256,
        audience: None,
    };
    redeem(options.clone()).await;
    redeem(options).await;
    let assertions: Vec<_> = server
        .received()
        .iter()
        .map(|request| request.parameter("client_assertion").unwrap().to_owned())
        .collect();
    assert_eq!(assertions.len(), 2);
    assert_ne!(assertions[0], assertions[1]);
    let kind = server.received()[0]
        .parameter("client_assertion_type")
        .unwrap()
        .to_owned();
    assert!(kind.ends_with("jwt-bearer"), "{kind}");
}

#[tokio::test]
async fn a_secret_that_changed_is_noticed() {
    let dir = TempDir::new().unwrap();
    let server = server(Behaviour::json(401, r#"{"error":"invalid_client"}"#)).await;
    let mut options = options_at(&server);
    options.authentication = Authentication::SecretPost(file(&dir, "old"));
    let provider = Provider::new(options);

    let prepared = provider.prepare().await.unwrap();
    let answer = prepared.send(&secret("r")).await;
    assert!(
        matches!(
            answer,
            Answer::OurFault {
                credentials_changed: false,
                ..
            }
        ),
        "{answer:?}"
    );

    let prepared = provider.prepare().await.unwrap();
    file(&dir, "new");
    let answer = prepared.send(&secret("r")).await;
    assert!(
        matches!(
            answer,
            Answer::OurFault {
                credentials_changed: true,
                ..
            }
        ),
        "{answer:?}"
    );

    provider.prepare().await.unwrap().send(&secret("r")).await;
    let sent: Vec<_> = server.received();
    let sent: Vec<_> = sent
        .iter()
        .map(|request| request.parameter("client_secret").unwrap())
        .collect();
    assert_eq!(sent, ["old", "old", "new"]);
}

#[tokio::test]
async fn a_broken_file_keeps_what_was() {
    let (dir, server) = (TempDir::new().unwrap(), server(tokens()).await);
    let mut options = options_at(&server);
    options.authentication = Authentication::SecretPost(file(&dir, "good"));
    let provider = Provider::new(options);
    provider.prepare().await.unwrap();
    file(&dir, "\n");
    provider.prepare().await.unwrap().send(&secret("r")).await;
    fs::remove_file(dir.path().join("secret")).unwrap();
    provider.prepare().await.unwrap().send(&secret("r")).await;
    for request in server.received() {
        assert_eq!(request.parameter("client_secret"), Some("good"));
    }
}

/// Thousands of requests may come while a file is broken.
#[tokio::test]
async fn the_log_has_one_line_about_a_file_that_stays_broken() {
    let (log, _logging) = CapturedLog::of_this_thread();
    let (dir, server) = (TempDir::new().unwrap(), server(tokens()).await);
    let mut options = options_at(&server);
    options.authentication = Authentication::SecretPost(file(&dir, "good"));
    let provider = Provider::new(options);
    let prepare = async || drop(provider.prepare().await.unwrap());
    prepare().await;
    let told = || {
        log.text()
            .matches("the earlier credentials stay in use")
            .count()
    };
    for (text, times) in [("\n", 1), ("a\nb", 2), ("good", 2), ("\n", 3)] {
        file(&dir, text);
        for _ in 0..3 {
            prepare().await;
        }
        assert_eq!(told(), times, "{text:?}: {}", log.text());
    }
}

#[tokio::test]
async fn credentials_that_were_never_good_are_told() {
    let (dir, server) = (TempDir::new().unwrap(), server(tokens()).await);
    let missing = SecretSource::File(dir.path().join("missing"));
    for (source, told) in [
        (missing, "client-secret-file: no such file"),
        (file(&dir, "\n"), "client-secret-file: it is empty"),
        (
            SecretSource::Variable("NO_SUCH_VARIABLE_HERE".to_owned()),
            "client-secret-env: no variable of this name is set",
        ),
    ] {
        let mut options = options_at(&server);
        options.authentication = Authentication::SecretBasic(source);
        let error = Provider::new(options).prepare().await.unwrap_err();
        assert!(matches!(error, PrepareError::Misconfigured(_)));
        assert!(error.to_string().starts_with(told), "{error}");
    }
    assert_eq!(server.connections(), 0);
}

/// Of a private key, and not of a client secret, which many deployments mount as they mount anything.
#[tokio::test]
async fn a_private_key_that_others_may_read_is_refused() {
    let server = server(tokens()).await;
    let dir = TempDir::new().unwrap();
    testkit::certificates::Certificates::shared().write_to(dir.path());
    let file = |name: &str| dir.path().join(name);
    let mut by_assertion = options_at(&server);
    by_assertion.authentication = Authentication::PrivateKeyJwt {
        key: SecretSource::File(file("client.key")),
        key_id: None,
        algorithm: Algorithm::Es256,
        audience: None,
    };
    let mut by_certificate = options_at(&server);
    by_certificate.authentication = Authentication::TlsClientAuth(ClientCertificate {
        certificate: file("client.pem"),
        key: file("client.key"),
    });
    for (mode, is_refused) in [(0o600, false), (0o640, false), (0o644, true), (0o660, true)] {
        fs::set_permissions(file("client.key"), Permissions::from_mode(mode)).unwrap();
        for options in [&by_assertion, &by_certificate] {
            match Provider::new(options.clone()).prepare().await {
                Ok(_) => assert!(!is_refused, "{mode:o}"),
                Err(PrepareError::Misconfigured(what)) => {
                    assert!(
                        is_refused && what.contains(&format!("{mode:04o}")),
                        "{what}"
                    );
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_device_in_the_place_of_a_file_is_refused() {
    let server = server(tokens()).await;
    let mut options = options_at(&server);
    let device = SecretSource::File("/dev/zero".into());
    options.authentication = Authentication::SecretPost(device);
    let wrong = Provider::new(options).prepare().await.unwrap_err();
    let PrepareError::Misconfigured(what) = wrong else {
        panic!("{wrong:?}")
    };
    assert!(what.ends_with("must be a file"), "{what}");
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_holds_up_nobody() {
    let (dir, server) = (TempDir::new().unwrap(), server(tokens()).await);
    let path = dir.path().join("secret");
    fs::write(&path, "secret").unwrap();
    let mut options = options_at(&server);
    options.authentication = Authentication::SecretPost(SecretSource::File(path.clone()));
    let (known, unknown) = (Provider::new(options.clone()), Provider::new(options));
    known.prepare().await.unwrap();
    // Whoever opens a pipe as usual waits for somebody who writes to it.
    fs::remove_file(&path).unwrap();
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let begun = std::time::Instant::now();
    for _ in 0..8 {
        known.prepare().await.unwrap();
        let PrepareError::Misconfigured(what) = unknown.prepare().await.unwrap_err() else {
            panic!("the pipe is waited for")
        };
        assert!(what.contains("it is a pipe"), "{what}");
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
}
