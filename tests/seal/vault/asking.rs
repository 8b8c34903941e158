//! One request to Vault: who asks, what comes back, and each way in which it fails.

use std::time::Duration;

use testkit::certificates::Certificates;
use token_broker::{
    seal::{Kms, KmsError, MasterKey, WrappedKey},
    types::SecretBytes,
    vault::{Login, Vault, VaultOptions},
};

use super::{Files, Mode, VaultServer};

async fn decrypt(options: VaultOptions, wrapped: &str) -> Result<SecretBytes, KmsError> {
    let key = WrappedKey::new(wrapped).unwrap();
    Vault::new(options).decrypt(&key).await
}

#[tokio::test]
async fn each_way_in_which_vault_fails_is_told() {
    let (mut vault, files) = (VaultServer::start().await, Files::new());
    let (wrapped, _) = vault.wrap("transit/broker");
    let mut options = files.options(&vault);
    for (mode, told, may_pass) in [
        (Mode::Fails(503, "Vault is sealed"), "unseal", true),
        (Mode::Fails(500, "hunter2"), "failed (500)", true),
        (Mode::Fails(429, "hunter2"), "quotas", true),
        (Mode::Fails(472, "hunter2"), "primary cluster", true),
        (Mode::Fails(473, "hunter2"), "standby", true),
        (Mode::Fails(403, "hunter2"), "denies permission", true),
        (Mode::Fails(404, "hunter2"), "vault-mount", false),
        (Mode::Fails(400, "hunter2"), "(400)", false),
        (Mode::Redirects, "no redirect is followed", true),
        (Mode::Hangs, "no answer came in time", true),
        (Mode::Huge, "too large", true),
        (Mode::Garbage, "isn't one of Vault's", true),
    ] {
        vault.behave(mode);
        // Who waits for an answer in vain is told so, which tells these apart.
        options.timeout = match mode {
            Mode::Hangs => Duration::from_millis(300),
            _ => Duration::from_secs(20),
        };
        let error = decrypt(options.clone(), &wrapped).await.unwrap_err();
        assert!(error.what.contains(told), "{mode:?}: {error}");
        assert_eq!(error.may_pass, may_pass, "{mode:?}: {error}");
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("hunter2") && !text.contains(&wrapped),
            "{text}"
        );
    }
    assert_eq!(vault.received().len(), 12, "each is asked once");
    vault.leave().await;
    let error = decrypt(options, &wrapped).await.unwrap_err();
    assert!(error.what.starts_with("Vault doesn't answer"), "{error}");
}

#[tokio::test]
async fn what_was_wrapped_by_another_key_stays_wrapped() {
    let (vault, files) = (VaultServer::start().await, Files::new());
    vault.rotate("transit/other");
    let (wrapped, _) = vault.wrap("transit/other");
    let error = decrypt(files.options(&vault), &wrapped).await.unwrap_err();
    assert!(error.what.contains("another key wrapped it"), "{error}");
    let nowhere = VaultOptions {
        key: "nowhere".to_owned(),
        ..files.options(&vault)
    };
    let error = decrypt(nowhere, &wrapped).await.unwrap_err();
    assert!(error.what.contains("no key of this name"), "{error}");
    let (old, _) = vault.wrap("transit/broker");
    vault.rotate("transit/broker");
    assert!(decrypt(files.options(&vault), &old).await.is_ok());
    vault.decrypt_from("transit/broker", 2);
    let error = decrypt(files.options(&vault), &old).await.unwrap_err();
    assert!(error.what.contains("min_decryption_version"), "{error}");
}

#[tokio::test]
async fn a_request_shows_its_token_and_its_namespace() {
    let (vault, files) = (VaultServer::start().await, Files::new());
    let (wrapped, plain) = vault.wrap("transit/broker");
    vault.live_in("team/a");
    let error = decrypt(files.options(&vault), &wrapped).await.unwrap_err();
    assert!(error.what.contains("vault-namespace"), "{error}");
    let within = VaultOptions {
        namespace: Some("team/a".to_owned()),
        ..files.options(&vault)
    };
    let key = decrypt(within.clone(), &wrapped).await.unwrap();
    assert_eq!(key.len(), MasterKey::BYTES);
    assert_eq!(vault.plain().last(), Some(&plain));
    let last = vault.received().pop().unwrap();
    assert!(
        last.head
            .starts_with("POST /v1/transit/decrypt/broker HTTP/1.1")
    );
    assert_eq!(last.header("x-vault-request"), Some("true"));

    // A token that was revoked, and then renewed in its file.
    vault.know(&["renewed"]);
    let error = decrypt(within.clone(), &wrapped).await.unwrap_err();
    assert!(
        error.what.contains("denies permission") && error.may_pass,
        "{error}"
    );
    files.write("token", "renewed");
    decrypt(within.clone(), &wrapped).await.unwrap();
    std::fs::remove_file(files.path("token")).unwrap();
    let error = decrypt(within, &wrapped).await.unwrap_err();
    assert_eq!(error, KmsError::passing("vault-token-file: no such file"));
}

#[tokio::test]
async fn a_broker_logs_in_as_a_service_account_or_by_a_role() {
    let (vault, files) = (VaultServer::start().await, Files::new());
    let (wrapped, _) = vault.wrap("transit/broker");
    vault.know(&[]);
    for (name, text) in [("jwt", "jwt"), ("role", "role"), ("secret", "secret")] {
        files.write(name, text);
    }
    let logins = [
        Login::Kubernetes {
            mount: "kubernetes".to_owned(),
            role: "token-broker".to_owned(),
            jwt: files.path("jwt"),
        },
        Login::AppRole {
            mount: "approle".to_owned(),
            role_id: files.path("role"),
            secret_id: files.path("secret"),
        },
    ];
    let files_of = [("jwt", "vault-role"), ("secret", "vault-secret-id-file")];
    for (login, (file, told)) in logins.into_iter().zip(files_of) {
        let options = VaultOptions {
            login,
            ..files.options(&vault)
        };
        decrypt(options.clone(), &wrapped).await.unwrap();
        files.write(file, "hunter2");
        let error = decrypt(options, &wrapped).await.unwrap_err();
        assert!(error.what.contains("refuses the login"), "{error}");
        assert!(
            error.what.contains(told) && !error.what.contains("hunter2"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_authority_of_its_own_vouches_for_vault() {
    let files = Files::new();
    Certificates::shared().write_to(files.0.path());
    let vault = VaultServer::start_with_tls(files.0.path()).await;
    let (wrapped, _) = vault.wrap("transit/broker");
    let with = |ca: &str| VaultOptions {
        ca: Some(files.path(ca)),
        ..files.options(&vault)
    };
    decrypt(with("ca.pem"), &wrapped).await.unwrap();
    let error = decrypt(with("other-ca.pem"), &wrapped).await.unwrap_err();
    assert!(
        error.what.contains("no trusted authority vouches"),
        "{error}"
    );
    assert_eq!(vault.received().len(), 1, "a token was sent to a stranger");
}
