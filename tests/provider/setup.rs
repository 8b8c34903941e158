//! Providers for tests.

use std::time::Duration;

use testkit::token_endpoint::{Behaviour, TokenEndpoint};
use token_broker::{
    refresh::provider::{Answer, Provider, ProviderOptions},
    types::Secret,
};

/// How long a test's provider has to answer.
pub const TIMEOUT: Duration = Duration::from_millis(300);

pub const TOKEN: &str = "/token";

/// Options of a public client that does what a test's server needs.
pub fn options() -> ProviderOptions {
    testkit::provider::options("test")
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
