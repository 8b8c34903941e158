//! The settings of one provider: the keys of a table `[providers.NAME]` in the file.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use crate::{
    config::{
        syntax::{
            Syntax, boolean, choice, file, number, parsed, span, span_from, span_or_none, text,
        },
        value::{Form, Value},
    },
    outbound::{Endpoint, Proxy},
    refresh::provider::{Algorithm, Replay},
    types::Origin,
};

/// How the client shows who it is, by the names of OpenID Connect's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Method {
    SecretBasic,
    SecretPost,
    PrivateKeyJwt,
    TlsClientAuth,
    None,
}

const METHODS: [(&str, Method); 5] = [
    ("client_secret_basic", Method::SecretBasic),
    ("client_secret_post", Method::SecretPost),
    ("private_key_jwt", Method::PrivateKeyJwt),
    ("tls_client_auth", Method::TlsClientAuth),
    ("none", Method::None),
];

impl Method {
    /// Returns the name.
    pub fn name(self) -> &'static str {
        let named = METHODS.iter().find(|(_, method)| *method == self);
        named.map_or("", |(name, _)| name)
    }
}

const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("RS256", Algorithm::Rs256),
    ("PS256", Algorithm::Ps256),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("EdDSA", Algorithm::EdDsa),
];

/// What becomes of a refresh token that was redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Rotates {
    Strict,
    Grace,
    None,
}

const ROTATIONS: [(&str, Rotates); 3] = [
    ("strict", Rotates::Strict),
    ("grace", Rotates::Grace),
    ("none", Rotates::None),
];

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

settings! {
    /// One provider.
    pub(in crate::config) struct ProviderSettings in "Providers" {
        /// A common provider whose settings to start from; `token-broker providers` lists them. What the table sets
        /// counts before the preset
        preset: Option<String> = text("the NAME of a preset").optional();
        /// The provider's issuer, whose metadata names the endpoints that aren't set (OpenID Connect Discovery,
        /// RFC 8414)
        issuer: Option<Endpoint> = issuer().optional();
        /// The token endpoint
        token_endpoint: Option<Endpoint> = parsed("URL").optional();
        /// The revocation endpoint (RFC 7009)
        revocation_endpoint: Option<Endpoint> = parsed("URL").optional();
        /// The id of the client that the tokens were issued to
        client_id: Option<String> = text("an ID").optional();
        /// How the client shows who it is: `client_secret_basic`, `client_secret_post`, `private_key_jwt`,
        /// `tls_client_auth` or `none`
        client_authentication: Option<Method> = choice("METHOD", &METHODS).optional()
            .otherwise("what the credentials that are set are for");
        /// A file that holds the client secret; read for each request
        client_secret_file: Option<PathBuf> = file().optional();
        /// The environment variable that holds the client secret
        client_secret_env: Option<String> = text("a VARIABLE").optional();
        /// A file that holds the private key (PEM) for `private_key_jwt`; read for each request
        private_key_file: Option<PathBuf> = file().optional();
        /// The id of the private key at the provider (`kid`)
        private_key_id: Option<String> = text("an ID").optional();
        /// The algorithm of the private key: `RS256`, `PS256`, `ES256`, `ES384` or `EdDSA`
        private_key_algorithm: Algorithm = choice("ALGORITHM", &ALGORITHMS).default("RS256");
        /// The audience of client assertions (`aud`)
        assertion_audience: Option<String> =
            text("an AUDIENCE").optional().otherwise("the token endpoint");
        /// A file that holds the client's certificate and its chain (PEM) for `tls_client_auth`; read for each request
        client_certificate_file: Option<PathBuf> = file().optional();
        /// A file that holds the private key (PEM) of the client's certificate
        client_certificate_key_file: Option<PathBuf> = file().optional();
        /// The scopes to ask for at a refresh. If unset, the provider keeps those that were granted
        scopes: Vec<String> = list("SCOPE");
        /// The resources to ask for (RFC 8707)
        resource: Vec<String> = list("URI");
        /// The audience to ask for
        audience: Option<String> = text("an AUDIENCE").optional();
        /// What the provider does with a refresh token that was redeemed: `strict` (replaces it, and a second
        /// redemption may count as theft), `grace` (replaces it, and a second redemption works for a while) or `none`
        /// (keeps it)
        rotation: Rotates = choice("ROTATION", &ROTATIONS).default("strict");
        /// How long a second redemption works with `rotation = "grace"`
        grace: Option<Duration> = span_from(SECOND).optional();
        /// `never`: a refresh token is never sent a second time when it isn't known whether it was redeemed; the user
        /// logs in again
        replay: Option<Replay> = replay().optional()
            .otherwise("as `rotation` allows");
        /// HTTP statuses that say, without an OAuth error, that the token wasn't redeemed, beside 429, and 503 and
        /// most 4xx with `Retry-After`. The list counts instead of the default
        not_redeemed_statuses: BTreeSet<u16> = statuses().otherwise(USUAL_STATUSES);
        /// Codes of errors that say that the token wasn't redeemed, beside `temporarily_unavailable`
        not_redeemed_codes: BTreeSet<String> = set("CODE");
        /// Codes of errors that say that the token is refused for good, beside `invalid_grant` and those that
        /// ask for another login, such as `interaction_required`
        refused_codes: BTreeSet<String> = set("CODE");
        /// Codes of errors that say that the client is at fault, beside `invalid_client` and its like
        misconfigured_codes: BTreeSet<String> = set("CODE");
        /// The object in the answer that holds the tokens, as a JSON pointer. If it isn't there, the answer itself does
        tokens_within: Option<String> = text("a POINTER").optional();
        /// How long to wait before a row is refreshed again because its new token was refused, too
        rejected_interval: Duration = span_or_none().default("1m");
        /// How long before its end an access token is refreshed, if the caller doesn't say
        margin: Duration = span_or_none().default("30s");
        /// How long the provider's answer may take
        timeout: Duration = span_from(MILLISECOND).default("10s");
        /// How long connecting to the provider may take
        connect_timeout: Duration = span().default("3s");
        /// How many requests of one broker may be under way at once
        max_concurrent: usize = number(1..=65_536).default("64");
        /// How many requests one broker may begin in a second
        max_rate: u32 = number(1..=1_000_000).default("100");
        /// How many callers of one broker may wait for refreshes; further ones are refused at once
        max_waiters: usize = number(1..=1_000_000).default("256");
        /// How long a refresh token lives if the provider doesn't say
        refresh_lifetime: Option<Duration> =
            span_from(SECOND).optional().otherwise("that of all providers");
        /// How long an access token lives if no answer says
        assume_expires_in: Option<Duration> = span_from(SECOND).optional().otherwise("for ever");
        /// The claim of the ID token that holds the user's subject
        subject_claim: String = text("a CLAIM").default("sub");
        /// Where refresh tokens of this provider were obtained earlier, as SERVER = CLIENT; they may still be sent here
        formerly: Vec<Origin> = origins();
        /// Revoke the tokens of a row that is deleted
        revoke_on_delete: bool = boolean().default("false");
        /// Whether revoking one token ends the user's other sessions too
        revocation_ends_grant: bool = boolean().default("false");
        /// Whether a refresh ends the old access token, so that nothing is refreshed ahead of time
        kills_access_token: bool = boolean().default("false");
        /// Certificates (PEM) of the authorities that may vouch for the provider; read for each request
        ca_file: Option<PathBuf> = file().optional().otherwise("the system's");
        /// A proxy that connections to the provider go through (CONNECT), as `http://HOST:PORT`
        proxy: Option<Proxy> = parsed("URL").optional();
        /// A file that holds the user and password for the proxy, as USER:PASSWORD; the proxy gets them in plain text
        proxy_credentials_file: Option<PathBuf> = file().optional();
    }
}

fn replay() -> Syntax<Replay> {
    Syntax::trimmed("REPLAY", |text| match text {
        "never" => Ok(Replay::Never),
        _ => Err(
            "must be never, or unset: then rotation says whether a token is sent again".to_owned(),
        ),
    })
}

fn issuer() -> Syntax<Endpoint> {
    Syntax::trimmed("URL", |text| {
        if text.contains("/.well-known/") {
            return Err(
                "must be the issuer alone: leave out /.well-known/ and what follows, which the broker adds"
                    .to_owned(),
            );
        }
        text.parse::<Endpoint>().map_err(str::to_owned)
    })
}

fn not_empty(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("must not be empty"),
        text => Ok(text.to_owned()),
    }
}

fn list(value_name: &'static str) -> Value<Vec<String>> {
    Value::list(Form::List, value_name, |list: &mut Vec<String>, text| {
        not_empty(text).map(|text| list.push(text))
    })
}

fn set(value_name: &'static str) -> Value<BTreeSet<String>> {
    Value::list(
        Form::List,
        value_name,
        |set: &mut BTreeSet<String>, text| not_empty(text).map(|text| _ = set.insert(text)),
    )
}

/// [`NOT_REDEEMED`](crate::refresh::provider::NOT_REDEEMED) as the help shows it.
const USUAL_STATUSES: &str = "401, 404, 405, 411, 413, 414, 415, 421, 431";

fn statuses() -> Value<BTreeSet<u16>> {
    Value::list(
        Form::List,
        "STATUS",
        |statuses: &mut BTreeSet<u16>, text| {
            let status = text.trim().parse().ok();
            let status = status.filter(|status| (300..=599).contains(status));
            let status = status.ok_or("must be an HTTP status from 300 to 599")?;
            statuses.insert(status);
            Ok::<_, &str>(())
        },
    )
}

fn origins() -> Value<Vec<Origin>> {
    Value::list(
        Form::Pairs,
        "SERVER=CLIENT",
        |origins: &mut Vec<Origin>, text| {
            let pair = text
                .rsplit_once('=')
                .map(|(server, client)| (server.trim(), client.trim()));
            let pair = pair.filter(|(server, client)| !server.is_empty() && !client.is_empty());
            let (server, client) =
                pair.ok_or("must be an issuer or token endpoint, and a client")?;
            origins.push(Origin {
                server: server.to_owned(),
                client_id: client.to_owned(),
            });
            Ok::<_, &str>(())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refresh::provider::NOT_REDEEMED;

    #[test]
    fn the_usual_statuses_are_those_that_the_help_shows() {
        assert_eq!(
            NOT_REDEEMED.map(|status| status.to_string()).join(", "),
            USUAL_STATUSES
        );
    }
}
