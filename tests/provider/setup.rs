//! Providers for tests.

use std::time::Duration;

use testkit::token_endpoint::{Behaviour, TokenEndpoint};
use token_broker::{
    refresh::provider::{
        Answer, Authentication, Codes, Endpoints, Provider, ProviderOptions, Replay, Rotation,
    },
    types::{ProviderName, Secret},
};

/// How long a test's provider has to answer.
pub const TIMEOUT: Duration = Duration::from_millis(300);

pub const TOKEN: &str = "/token";

/// Options of a public client that does what a test's server needs.
pub fn options() -> ProviderOptions {
    ProviderOptions {
        name: ProviderName::new("test").unwrap(),
        endpoints: Endpoints::default(),
        client_id: "client".to_owned(),
        authentication: Authentication::None,
        scopes: Vec::new(),
        resource: Vec::new(),
        audience: None,
        rotation: Rotation::Strict,
        replay: Replay::AsRotationAllows,
        codes: Codes::default(),
        tokens_within: None,
        rejected_interval: Duration::from_secs(60),
        margin: Duration::from_secs(30),
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(10),
        max_concurrent: 10,
        max_rate: 10,
        max_waiters: 10,
        refresh_lifetime: None,
        assume_expires_in: None,
        subject_claim: "sub".to_owned(),
        formerly: Vec::new(),
        revoke_on_delete: false,
        revocation_ends_grant: false,
        kills_access_token: false,
        ca_file: None,
        proxy: None,
        proxy_credentials: None,
    }
}

/// Options for the token endpoint of `server`.
pub fn options_at(server: &TokenEndpoint) -> ProviderOptions {
    let mut options = options();
    options.endpoints.token = Some(server.url(TOKEN).parse().unwrap());
    options
}

/// A server that behaves so at its token endpoint.
pub async fn server(behaviour: Behaviour) -> TokenEndpoint {
    let server = TokenEndpoint::start().await;
    server.behave(TOKEN, [behaviour]);
    server
}

pub fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned()).unwrap()
}

/// Redeems a token.
pub async fn redeem(options: ProviderOptions) -> Answer {
    let prepared = Provider::new(options).prepare().await.unwrap();
    prepared.send(&secret("the-refresh-token")).await
}

/// Redeems a token at a server that behaves so.
pub async fn answer_to(behaviour: Behaviour) -> Answer {
    let server = server(behaviour).await;
    redeem(options_at(&server)).await
}

/// An answer with tokens.
pub fn tokens() -> Behaviour {
    Behaviour::json(
        200,
        r#"{"access_token":"a","refresh_token":"r","token_type":"Bearer","expires_in":3600}"#,
    )
}
