//! Numbers about what the broker's trust rests on: certificates and sealing keys.

use super::{Count, Gauge};
use crate::types::labels;

labels! {
    /// Something that is read again while the broker runs.
    pub enum Reload {
        /// The broker's certificate and its key, and the bundles that verify callers.
        Certificates = "certificates",
        /// The keys that seal rows.
        SealingKeys = "sealing_keys",
    }
}

labels! {
    /// Which key seals after the key file changed.
    pub enum KeyChange {
        /// One that was in the file before.
        Known = "known",
        /// One that wasn't.
        Unknown = "unknown",
    }
}

labels! {
    /// Why a TLS handshake failed.
    pub enum HandshakeFailure {
        /// The client's certificate isn't good, or there is none.
        Certificate = "certificate",
        /// The client wants something that the broker doesn't speak, or doesn't speak TLS.
        Protocol = "protocol",
        /// The client closed the connection on the way.
        CutOff = "cut_off",
        /// It wasn't done in time.
        TooSlow = "too_slow",
        /// It wasn't done when another client needed the place.
        MadeRoom = "made_room",
    }
}

/// How often one thing was read again.
#[derive(Debug, Default)]
pub struct Reloads {
    /// It is in force.
    pub done: Count,
    /// It couldn't be read or was wrong, so that the last one stays in force.
    pub failed: Count,
}

/// What those who guard the broker have counted. Each fills its own numbers.
#[derive(Debug, Default)]
pub struct Trust {
    reloads: [Reloads; Reload::ALL.len()],
    /// The sealing keys that are in use, to seal or to open.
    pub sealing_keys: Gauge,
    sealing_key_changes: [Count; KeyChange::ALL.len()],
    handshakes_failed: [Count; HandshakeFailure::ALL.len()],
    /// When the broker's own certificate expires, or one that it needs, in seconds since 1970. 0 if it has none.
    pub certificate_expires: Gauge,
    /// Connections that ended because their client's certificate expired, or its last authority.
    pub clients_expired: Count,
    /// Connections that ended because no authority vouched for their client any more, after a reload.
    pub clients_unverified: Count,
}

impl Trust {
    /// Returns how many TLS handshakes failed for this reason.
    #[must_use]
    pub fn handshakes_failed(&self, why: HandshakeFailure) -> &Count {
        &self.handshakes_failed[why as usize]
    }

    /// Returns how often another key began to seal.
    #[must_use]
    pub fn sealing_key_changes(&self, to: KeyChange) -> &Count {
        &self.sealing_key_changes[to as usize]
    }

    /// Returns how often this was read again.
    #[must_use]
    pub fn reloads(&self, of: Reload) -> &Reloads {
        &self.reloads[of as usize]
    }
}
