//! SPIFFE's Workload API: what an agent on this machine, such as SPIRE's, gives to a workload.
//!
//! `wire` has the messages, and `agent` the call and when it is made again. What comes of it is an [`Update`], in
//! which nothing was verified yet: that is `tls`'s.
//!
//! The messages are taken apart here and not by a library, because each part of an update is judged by itself: a bundle that
//! shrinks counts even if the certificate beside it is damaged.

mod agent;
mod wire;

pub use agent::{Agent, Failure};

use crate::types::SecretBytes;

/// All that an agent gives to the broker as of one moment (Workload API, section 5.2.1). A later one replaces it as a whole.
#[derive(Debug)]
pub struct Update {
    /// The broker's identities, with the one to use unless it knows better in front.
    pub svids: Vec<Svid>,
    /// The authorities of foreign trust domains: the name or SPIFFE id of each, and its bundle.
    pub federated: Vec<(String, Vec<u8>)>,
}

/// One of the broker's identities.
#[derive(Debug)]
pub struct Svid {
    /// The SPIFFE id, as the agent spells it.
    pub id: String,
    /// The certificate, and the intermediate ones after it (DER, one behind the other).
    pub certificates: Vec<u8>,
    /// The private key (PKCS #8, DER).
    pub key: SecretBytes,
    /// The authorities of the id's trust domain (DER, one behind the other).
    pub bundle: Vec<u8>,
}
