//! A real OpenID provider, npm's `oidc-provider`, with rotation and the revocation of families on.

use std::fs;

use tempfile::TempDir;
use testkit::{
    certificates::Certificates,
    oidc_provider::{CLIENT_SECRET, OidcProvider},
};
use token_broker::refresh::provider::{
    Algorithm, Answer, Authentication, ClientCertificate, Provider, ProviderOptions, Revocation,
    SecretSource, TokenAnswer, TokenHint, Verdict, Why,
};

use crate::setup::{options, secret};

struct Setup {
    dir: TempDir,
    server: OidcProvider,
}

impl Setup {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Certificates::shared().write_to(dir.path());
        fs::write(dir.path().join("secret"), CLIENT_SECRET).unwrap();
        let server = OidcProvider::start(dir.path());
        Self { dir, server }
    }

    fn options(&self, authentication: Authentication) -> ProviderOptions {
        let mut options = options();
        options.endpoints.issuer = Some(self.server.issuer().parse().unwrap());
        options.client_id = authentication.name().to_owned();
        options.authentication = authentication;
        options.ca_file = Some(self.dir.path().join("ca.pem"));
        options
    }

    fn secret(&self) -> SecretSource {
        SecretSource::File(self.dir.path().join("secret"))
    }

    /// Every way to show who the client is.
    fn methods(&self) -> [Authentication; 5] {
        let file = |name: &str| self.dir.path().join(name);
        [
            Authentication::SecretBasic(self.secret()),
            Authentication::SecretPost(self.secret()),
            Authentication::PrivateKeyJwt {
                key: SecretSource::File(file("client.key")),
                key_id: Some("k1".to_owned()),
                algorithm: Algorithm::Es256,
                audience: None,
            },
            Authentication::TlsClientAuth(ClientCertificate {
                certificate: file("client.pem"),
                key: file("client.key"),
            }),
            Authentication::None,
        ]
    }
}

async fn redeem(provider: &Provider, token: &str) -> Answer {
    let prepared = provider.prepare().await.unwrap();
    prepared.send(&secret(token)).await
}

async fn tokens(provider: &Provider, token: &str) -> TokenAnswer {
    match redeem(provider, token).await {
        Answer::Tokens(tokens) => *tokens,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_way_to_show_who_the_client_is() {
    let setup = Setup::new();
    for method in setup.methods() {
        let name = method.name();
        let provider = Provider::new(setup.options(method));
        let first = setup.server.log_in(name);
        let answer = tokens(&provider, &first).await;
        let claims = answer.id_claims("sub").unwrap();
        assert_eq!(claims.subject.as_deref(), Some("alice"), "{name}");
        assert_eq!(claims.issuer, Some(setup.server.issuer()), "{name}");
        assert!(answer.expires_in.is_some(), "{name}");
        let next = answer.refresh_token.unwrap();
        assert_ne!(next.expose(), first, "{name}: rotated");
        tokens(&provider, next.expose()).await;
        let trial = provider.try_out(true).await;
        assert_eq!(trial.verdict, Verdict::ClientAccepted, "{name}");
        assert!(trial.revocation_endpoint.is_some());
    }
}

#[tokio::test]
async fn a_second_redemption_ends_the_family() {
    let setup = Setup::new();
    let provider = Provider::new(setup.options(Authentication::SecretPost(setup.secret())));
    let first = setup.server.log_in("client_secret_post");
    let next = tokens(&provider, &first).await.refresh_token.unwrap();
    let again = redeem(&provider, &first).await;
    assert!(
        matches!(&again, Answer::Refused { code } if code.as_str() == "invalid_grant"),
        "{again:?}"
    );
    let after = redeem(&provider, next.expose()).await;
    assert!(matches!(after, Answer::Refused { .. }), "{after:?}");
}

#[tokio::test]
async fn a_secret_that_was_changed_at_the_provider() {
    let setup = Setup::new();
    let options = setup.options(Authentication::SecretBasic(setup.secret()));
    fs::write(setup.dir.path().join("secret"), "old").unwrap();
    let provider = Provider::new(options);
    let token = setup.server.log_in("client_secret_basic");
    let prepared = provider.prepare().await.unwrap();
    fs::write(setup.dir.path().join("secret"), CLIENT_SECRET).unwrap();
    let answer = prepared.send(&secret(&token)).await;
    let Answer::OurFault {
        why,
        credentials_changed: true,
    } = answer
    else {
        panic!("{answer:?}")
    };
    assert!(
        matches!(&why, Why::ClientError(code) if code.as_str() == "invalid_client"),
        "{why:?}"
    );
    tokens(&provider, &token).await;
}

#[tokio::test]
async fn a_token_is_revoked() {
    let setup = Setup::new();
    for method in setup.methods() {
        let name = method.name();
        let provider = Provider::new(setup.options(method));
        let first = setup.server.log_in(name);
        let token = tokens(&provider, &first).await.refresh_token.unwrap();
        let revoked = provider.revoke(&token, TokenHint::RefreshToken).await;
        assert_eq!(revoked, Revocation::Revoked, "{name}");
        let answer = redeem(&provider, token.expose()).await;
        assert!(
            matches!(answer, Answer::Refused { .. }),
            "{name}: {answer:?}"
        );
    }
}
