//! How long a client's certificate is good.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::sleep};
use tokio_rustls::rustls::{
    Error,
    pki_types::{CertificateDer, UnixTime},
};

use super::{identity, material::Material, now};
use crate::{
    meter::Trust,
    types::{PeerCertificate, Right},
};

/// How often to look at the clock at least. It may be set, and the machine may have slept.
const LOOK: Duration = Duration::from_secs(30);

/// How much of what is left of a certificate's life its connection is told to go ahead of the end, at most. Otherwise who connects
/// with a certificate that is about to expire would be told so at once, and connect again.
const AHEAD: u32 = 10;

/// A client's certificate that was verified, and may be so no longer.
#[derive(Debug)]
pub struct Standing {
    /// The client's certificate, and what it brought with it.
    chain: Vec<CertificateDer<'static>>,
    material: watch::Receiver<Option<Arc<Material>>>,
    /// By which authorities the chain was verified last.
    verified_by: [u8; 32],
    /// The last second in which the chain is good, and an authority that vouches for it, since 1970.
    end: u64,
    was_told: bool,
    /// What the connection's calls are told of this.
    right: Right,
    trust: Arc<Trust>,
}

/// What has become of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It will expire soon. Its connection should be told to go.
    IsNear,
    /// It has expired, or the last authority that vouched for it. Its connection has to end now.
    Expired,
    /// Since a reload no authority vouches for it. Its connection has to end.
    Unverified,
}

impl Standing {
    /// Verifies a chain by what is in force now.
    ///
    /// # Errors
    /// Returns why it isn't good.
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        material: watch::Receiver<Option<Arc<Material>>>,
        trust: Arc<Trust>,
    ) -> Result<(Self, PeerCertificate), Error> {
        let mut standing = Self {
            chain,
            material,
            verified_by: [0; 32],
            end: 0,
            was_told: false,
            right: Right::default(),
            trust,
        };
        let identity = standing.verify()?;
        Ok((standing, identity))
    }

    /// Returns the right of the connection's calls, which ends when the certificate is good no longer.
    pub fn right(&self) -> Right {
        self.right.clone()
    }

    /// Waits until something becomes of the certificate, or of the authorities that vouch for it. Returns it with what is left to wait for, if anything is.
    /// [`End::IsNear`] comes `ahead` of the end, or less if the certificate hasn't long to live.
    pub async fn next(mut self, ahead: Duration) -> (End, Option<Self>) {
        let mut ahead = ahead.min(self.left() / AHEAD);
        loop {
            let left = self.left();
            if left.is_zero() {
                self.right.end();
                self.trust.clients_expired.up();
                return (End::Expired, None);
            }
            if !self.was_told && left <= ahead {
                self.was_told = true;
                return (End::IsNear, Some(self));
            }
            let pause = match self.was_told {
                true => left,
                false => left.saturating_sub(ahead),
            };
            tokio::select! {
                () = sleep(pause.min(LOOK)) => {}
                () = changed(&mut self.material) => {
                    if self.is_known_to_be_good() {
                        continue;
                    }
                    if self.verify().is_err() {
                        self.right.end();
                        self.trust.clients_unverified.up();
                        return (End::Unverified, None);
                    }
                    ahead = ahead.min(self.left() / AHEAD);
                }
            }
        }
    }

    /// Returns how long the chain is good yet. It is good to the end of its last second.
    fn left(&self) -> Duration {
        let end = Duration::from_secs(self.end.saturating_add(1));
        let end = SystemTime::UNIX_EPOCH.checked_add(end);
        end.map_or(Duration::MAX, |end| {
            end.duration_since(SystemTime::now()).unwrap_or_default()
        })
    }

    /// Whether only the broker's own certificate has changed.
    fn is_known_to_be_good(&mut self) -> bool {
        let material = self.material.borrow_and_update();
        material
            .as_ref()
            .is_some_and(|material| material.authorities == self.verified_by)
    }

    /// Verifies the chain by what is in force now, and finds out when that will end.
    fn verify(&mut self) -> Result<PeerCertificate, Error> {
        let Some(material) = self.material.borrow_and_update().clone() else {
            return Err(Error::NoCertificatesPresented);
        };
        let (Some(verifier), Some((certificate, intermediates))) =
            (&material.verifier, self.chain.split_first())
        else {
            return Err(Error::NoCertificatesPresented);
        };
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let now = now();
        let identity = verifier.verify(certificate, intermediates, at(now))?;
        let mut ends: Vec<_> = self
            .chain
            .iter()
            .filter_map(identity::validity)
            .map(|validity| validity.end)
            .chain(verifier.ends(&identity))
            .filter(|end| *end >= now)
            .collect();
        ends.sort_unstable();
        // A client may bring certificates that its own doesn't need.
        let is_good = |end: &u64| {
            let after = at(end.saturating_add(1));
            verifier.verify(certificate, intermediates, after).is_ok()
        };
        self.end = ends.into_iter().find(|end| !is_good(end)).unwrap_or(now);
        self.right.lasts_until(self.end);
        self.verified_by = material.authorities;
        Ok(identity)
    }
}

async fn changed(material: &mut watch::Receiver<Option<Arc<Material>>>) {
    if material.changed().await.is_err() {
        // Nothing will change any more.
        std::future::pending().await
    }
}
