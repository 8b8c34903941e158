//! What comes before HTTP/2: TLS, and who is at the other end.

use std::sync::{Arc, Mutex};

use tokio::time::{Instant, timeout_at};

use super::{
    activity::Activity,
    trouble::Trouble,
    wire::{Transport, Wire},
};
use crate::{
    meter::HandshakeFailure,
    rpc::Stopping,
    tls::{Standing, Tls},
    types::{Channel, Peer, Right, lock},
};

/// How connections become ready for HTTP/2. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub(super) struct Handshakes {
    tls: Option<Arc<Tls>>,
    failures: Arc<Mutex<Trouble>>,
}

/// A connection that is ready for HTTP/2.
pub(super) struct Ready {
    pub transport: Transport,
    pub peer: Arc<Peer>,
    /// How long the client's certificate is good, if it has shown one.
    pub standing: Option<Standing>,
}

impl Handshakes {
    /// Returns how connections become ready over `tls`, or in plain text.
    pub fn new(tls: Option<Arc<Tls>>) -> Self {
        Self {
            tls,
            failures: Arc::default(),
        }
    }

    /// Makes a connection ready, but not beyond `end`. Gives up if the connection has to make room, or the broker stops:
    /// no call is lost by that.
    pub async fn done(
        &self,
        wire: Wire,
        end: Instant,
        activity: &Activity,
        stopping: &Stopping,
    ) -> Option<Ready> {
        let address = wire.peer();
        let Some(tls) = &self.tls else {
            let peer = Peer {
                channel: wire.channel(),
                address,
                certificate: None,
                right: Right::default(),
            };
            return Some(Ready {
                transport: Transport::Plain(wire),
                peer: Arc::new(peer),
                standing: None,
            });
        };
        let accepted = tokio::select! {
            accepted = timeout_at(end, tls.accept(wire)) => accepted,
            () = activity.asked_to_leave() => {
                tls.gave_up(HandshakeFailure::MadeRoom);
                return None;
            }
            () = stopping.begun() => return None,
        };
        match accepted {
            Ok(Ok(secured)) => {
                let (certificate, standing) = secured.client.unzip();
                let peer = Peer {
                    channel: Channel::Tls,
                    address,
                    certificate,
                    right: standing.as_ref().map(Standing::right).unwrap_or_default(),
                };
                Some(Ready {
                    transport: Transport::Tls(Box::new(secured.stream)),
                    peer: Arc::new(peer),
                    standing,
                })
            }
            Ok(Err(error)) => {
                let peer = address.map(tracing::field::display);
                tracing::debug!(peer, %error, "a TLS handshake failed");
                let mut failures = lock(&self.failures);
                if let Some(failures) = failures.happened() {
                    tracing::warn!(peer, %error, failures, "TLS handshakes fail");
                }
                None
            }
            Err(_) => {
                tls.gave_up(HandshakeFailure::TooSlow);
                let peer = address.map(tracing::field::display);
                tracing::debug!(peer, "a client hasn't finished its TLS handshake in time");
                None
            }
        }
    }
}
