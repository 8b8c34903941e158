//! Tests that the OpenID provider is one: it rotates refresh tokens, and takes a second redemption for theft.

use testkit::{
    certificates::Certificates, oidc_provider::OidcProvider, provider::options_at_issuer,
};
use token_broker::{
    refresh::provider::{Answer, Provider, TokenAnswer},
    types::Secret,
};

async fn redeem(provider: &Provider, token: &Secret) -> Answer {
    provider.prepare().await.unwrap().send(token).await
}

fn tokens(answer: Answer) -> Box<TokenAnswer> {
    match answer {
        Answer::Tokens(tokens) => tokens,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_second_redemption_ends_the_family_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    Certificates::shared().write_to(dir.path());
    let server = OidcProvider::start(dir.path());
    let mut options = options_at_issuer("p", &server.issuer());
    options.client_id = "none".to_owned();
    options.ca_file = Some(dir.path().join("ca.pem"));
    let provider = Provider::new(options);
    let log_in = || Secret::new(server.log_in("none")).unwrap();
    let (first, other) = (log_in(), log_in());
    assert_ne!(first, other);
    let second = tokens(redeem(&provider, &first).await);
    let second = second.refresh_token.unwrap();
    assert_ne!(first, second);
    for token in [&first, &second] {
        let again = redeem(&provider, token).await;
        assert!(matches!(again, Answer::Refused { .. }), "{again:?}");
    }
    tokens(redeem(&provider, &other).await);
}
