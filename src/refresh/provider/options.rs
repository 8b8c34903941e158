//! The settings of a provider, as the program uses them. `docs/providers.md` says what each is for.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::SecretSource;
use crate::{
    outbound::{Endpoint, Proxy},
    types::{Origin, ProviderName},
};

/// The settings of a provider. They are valid together.
#[derive(Clone, Debug)]
pub struct ProviderOptions {
    /// The logical name of the provider.
    pub name: ProviderName,
    /// Where its endpoints are.
    pub endpoints: Endpoints,
    /// The id of the broker's client at the provider.
    pub client_id: String,
    /// How the client shows who it is.
    pub authentication: Authentication,
    /// The `scope` to ask for. Empty: the parameter isn't sent, and the provider keeps what was granted.
    pub scopes: Vec<String>,
    /// The values of `resource` (RFC 8707).
    pub resource: Vec<String>,
    /// The value of `audience`.
    pub audience: Option<String>,
    /// What the provider does with a refresh token that was redeemed.
    pub rotation: Rotation,
    /// Whether a token in doubt may be sent again.
    pub replay: Replay,
    /// What the codes and statuses of errors mean.
    pub codes: Codes,
    /// The JSON pointer (RFC 6901) of the object that holds the tokens, if it isn't the answer itself.
    pub tokens_within: Option<String>,
    /// How often a row may be refreshed because its fresh token was refused.
    pub rejected_interval: Duration,
    /// How long before its end an access token is refreshed, at most.
    pub margin: Duration,
    /// How long the answer to a request may take.
    pub timeout: Duration,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
    /// How many requests may be under way at once.
    pub max_concurrent: usize,
    /// How many requests may be begun in a second.
    pub max_rate: u32,
    /// How many callers may wait for refreshes.
    pub max_waiters: usize,
    /// How long a refresh token lives if the provider doesn't say. `None`: as for all providers.
    pub refresh_lifetime: Option<Duration>,
    /// How long an access token lives if no answer ever said. `None`: for ever.
    pub assume_expires_in: Option<Duration>,
    /// The claim of the ID token that holds the user's subject.
    pub subject_claim: String,
    /// Where refresh tokens of the same provider were obtained earlier, and may still be sent here.
    pub formerly: Vec<Origin>,
    /// Whether tokens are revoked when their row is deleted.
    pub revoke_on_delete: bool,
    /// Whether revoking one token ends the user's other sessions too.
    pub revocation_ends_grant: bool,
    /// Whether a refresh ends the old access token.
    pub kills_access_token: bool,
    /// Certificates (PEM) of the authorities that may vouch for the provider. `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy that connections go through.
    pub proxy: Option<Proxy>,
    /// The user and password for the proxy, as `USER:PASSWORD`.
    pub proxy_credentials: Option<SecretSource>,
}

/// Where the endpoints of a provider are.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// The issuer, whose metadata names the endpoints that aren't set.
    pub issuer: Option<Endpoint>,
    /// The token endpoint (RFC 6749, section 3.2).
    pub token: Option<Endpoint>,
    /// The revocation endpoint (RFC 7009).
    pub revocation: Option<Endpoint>,
}

/// How the client shows who it is.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// `client_secret_basic`: a secret in the `Authorization` header.
    SecretBasic(SecretSource),
    /// `client_secret_post`: a secret in the body.
    SecretPost(SecretSource),
    /// `private_key_jwt`: an assertion that the client signs (RFC 7523).
    PrivateKeyJwt {
        /// The private key (PEM).
        key: SecretSource,
        /// The id of the key at the provider.
        key_id: Option<String>,
        /// The algorithm of the signature.
        algorithm: Algorithm,
        /// The audience of the assertion. `None`: the token endpoint.
        audience: Option<String>,
    },
    /// `tls_client_auth` and `self_signed_tls_client_auth`: a certificate (RFC 8705).
    TlsClientAuth(ClientCertificate),
    /// `none`: a public client.
    None,
}

impl Authentication {
    /// Returns the name in OpenID Connect's registry.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SecretBasic(_) => "client_secret_basic",
            Self::SecretPost(_) => "client_secret_post",
            Self::PrivateKeyJwt { .. } => "private_key_jwt",
            Self::TlsClientAuth(_) => "tls_client_auth",
            Self::None => "none",
        }
    }
}

/// The certificate that the client presents.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The file with the certificate and its chain (PEM).
    pub certificate: PathBuf,
    /// The file with the private key (PEM).
    pub key: PathBuf,
}

/// The algorithm of a signature (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with PKCS #1 padding and SHA-256.
    Rs256,
    /// RSA with PSS padding and SHA-256.
    Ps256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 5] = [
        Self::Rs256,
        Self::Ps256,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// Returns the name in the header of a JWT.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// What a provider does with a refresh token that was redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It is replaced, and a second redemption may count as theft.
    Strict,
    /// It is replaced, and redeeming it again works for this long.
    Grace(Duration),
    /// It stays valid.
    None,
}

/// Whether a refresh token in doubt may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// As the provider's [`Rotation`] allows.
    AsRotationAllows,
    /// Never.
    Never,
}

/// The statuses that say, without an OAuth error, that the token wasn't redeemed, unless the operator names others. Who
/// answers so has refused the client (401), found no way to the token endpoint (404, 405, 421), or didn't take the request as
/// it is (411, 413, 414, 415, 431). A provider that has redeemed a token has no reason to.
pub const NOT_REDEEMED: [u16; 9] = [401, 404, 405, 411, 413, 414, 415, 421, 431];

/// What the codes and statuses of errors mean, beyond what RFC 6749 says. Codes are compared without regard to case.
#[derive(Clone, Debug)]
pub struct Codes {
    /// Statuses that say, without an OAuth error, that the token wasn't redeemed.
    pub not_redeemed_statuses: BTreeSet<u16>,
    /// Codes that say that the token wasn't redeemed, and may be sent later.
    pub not_redeemed: BTreeSet<String>,
    /// Codes that say that the token is refused for good.
    pub refused: BTreeSet<String>,
    /// Codes that say that the client is at fault.
    pub our_fault: BTreeSet<String>,
}

impl Default for Codes {
    fn default() -> Self {
        Self {
            not_redeemed_statuses: NOT_REDEEMED.into(),
            not_redeemed: BTreeSet::new(),
            refused: BTreeSet::new(),
            our_fault: BTreeSet::new(),
        }
    }
}

impl ProviderOptions {
    /// Returns where tokens are obtained with these settings.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let Endpoints { issuer, token, .. } = &self.endpoints;
        let server = issuer.as_ref().or(token.as_ref());
        Origin {
            server: server.map(ToString::to_string).unwrap_or_default(),
            client_id: self.client_id.clone(),
        }
    }

    /// Whether a refresh token that was obtained at `origin` may be sent to this provider.
    #[must_use]
    pub fn accepts(&self, origin: &Origin) -> bool {
        *origin == self.origin() || self.formerly.contains(origin)
    }
}
