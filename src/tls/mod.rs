//! TLS for the broker's own port: its certificate, who may vouch for clients, and what becomes of both when they change.
//!
//! `options` says where its parts come from. `files` reads all files as of one instant, and `offer` takes apart what an
//! agent gives by SPIFFE's Workload API. Both make `parts`, each of which may be broken, and `material` makes of these what a
//! handshake needs. `own` is the broker's certificate, and `chain` says which others it needs. `authorities` are who vouches
//! for clients, and until when, `verifier` decides whether a client's is good, and `identity` what it says. [`Tls`]
//! (`reload`) has the material in force, and takes what is new; `follow` looks for that. A connection holds a [`Standing`], which says when its client's certificate
//! is good no longer, and `not_secured` says why there is none. `client` is the other side, for `token-broker health`.
//!
//! rustls does the work, on aws-lc-rs, with TLS 1.2 and 1.3 alone. No session is resumed: each handshake verifies
//! the client's certificate by what is in force at that moment.

mod authorities;
mod chain;
mod client;
mod files;
mod follow;
mod identity;
mod material;
mod not_secured;
mod offer;
mod options;
mod own;
mod parts;
mod reload;
mod standing;
mod verifier;

pub use self::{
    client::{ClientFiles, client},
    identity::read as read_certificate,
    not_secured::NotSecured,
    options::{ClientCertificates, Source, TlsOptions, TlsPart, TlsProblem},
    reload::{Secured, Tls},
    standing::{End, Standing},
};

/// The only protocol that is spoken over TLS (RFC 9113, section 3.2).
const ALPN: &[u8] = b"h2";

/// Returns the time of this machine's clock, in seconds since 1970.
fn now() -> u64 {
    use tokio_rustls::rustls::pki_types::UnixTime;
    UnixTime::now().as_secs()
}
