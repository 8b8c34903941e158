//! Settings of providers for tests.

use std::time::Duration;

use token_broker::{
    refresh::{
        Providers,
        provider::{Authentication, Codes, Endpoints, ProviderOptions, Replay, Rotation},
    },
    types::ProviderName,
};

/// Returns options of a public client, without an address, at a provider that rotates refresh tokens.
pub fn options(name: &str) -> ProviderOptions {
    ProviderOptions {
        name: ProviderName::new(name).unwrap(),
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

/// Returns options for the issuer at this address.
pub fn options_at_issuer(name: &str, issuer: &str) -> ProviderOptions {
    let mut options = options(name);
    options.endpoints.issuer = Some(issuer.parse().unwrap());
    options
}

/// Returns the providers with these options.
pub fn providers(all: impl IntoIterator<Item = ProviderOptions>) -> Providers {
    Providers::new(all.into_iter().collect())
}
