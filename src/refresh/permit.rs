//! The breakers of one provider, and the permits that calls need of them.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    breaker::{Admission, Breaker, BreakerOptions, ProbeId},
    gate,
};
use crate::types::lock;

/// The breakers of one provider. Rows are told apart by hashes.
#[derive(Debug)]
pub(super) struct Breakers {
    /// Stops calls while the provider fails.
    calls: Mutex<Breaker<u64>>,
    /// Stops second sendings while answers to several rows leave it open what they are about.
    resending: Mutex<Breaker<u64>>,
}

/// The right to make one call: the slot of the call, and the probes that it is. Whoever has it tells what came of the
/// call. If it is dropped before, none was made.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breakers: &'a Breakers,
    /// Which probe the call is, if calls are stopped.
    probe: Option<ProbeId>,
    /// Which probe the call is, if second sendings are stopped.
    resending: Option<ProbeId>,
    _slot: gate::CallSlot,
}

/// Why a call may not be made, and how long it makes no sense to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The provider fails.
    Calls(Duration),
    /// It isn't known what the provider's answers are about, and the call may be the last that its token is good for.
    Resending(Duration),
}

/// What is let through again since the provider answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restored {
    /// Calls were stopped.
    pub calls: bool,
    /// Second sendings were stopped.
    pub resending: bool,
}

impl Breakers {
    /// Returns breakers that are closed.
    pub fn new(options: BreakerOptions) -> Self {
        Self {
            calls: Mutex::new(Breaker::new(options)),
            resending: Mutex::new(Breaker::new(options)),
        }
    }

    /// Asks for a call that has this slot. `is_resent` says whether its token may have been redeemed.
    pub fn admit(&self, slot: gate::CallSlot, is_resent: bool) -> Result<Permit<'_>, Stopped> {
        let now = Instant::now();
        let mut permit = Permit {
            breakers: self,
            probe: None,
            resending: None,
            _slot: slot,
        };
        let admission = lock(&self.calls).admit(now);
        permit.probe = probe(admission).map_err(Stopped::Calls)?;
        if is_resent {
            let admission = lock(&self.resending).admit(now);
            permit.resending = probe(admission).map_err(Stopped::Resending)?;
        }
        Ok(permit)
    }

    /// Returns how long it makes no sense to ask for a call, if calls are stopped.
    pub fn stopped(&self) -> Option<Duration> {
        lock(&self.calls).stopped(Instant::now())
    }

    /// Whether the provider fails, so that there are no calls but probes.
    pub fn is_open(&self) -> bool {
        lock(&self.calls).is_open()
    }

    /// Whether a token that may have been redeemed can be sent again.
    pub fn may_resend(&self) -> bool {
        !self.is_open() && lock(&self.resending).stopped(Instant::now()).is_none()
    }
}

fn probe(admission: Admission) -> Result<Option<ProbeId>, Duration> {
    match admission {
        Admission::Free => Ok(None),
        Admission::Probe(id) => Ok(Some(id)),
        Admission::Stopped { retry_after } => Err(retry_after),
    }
}

impl Permit<'_> {
    /// Tells that the provider answered as one that works.
    pub fn works(self) -> Restored {
        Restored {
            calls: lock(&self.breakers.calls).succeeded(),
            resending: lock(&self.breakers.resending).succeeded(),
        }
    }

    /// Tells that the call about `row` failed in a way that says that the provider fails. Returns whether that stops calls
    /// from now on.
    pub fn provider_fails(self, row: u64) -> bool {
        self.resending_is_unclear();
        let mut calls = lock(&self.breakers.calls);
        calls.failed(row, self.probe, Instant::now())
    }

    /// Tells that it isn't known what the answer about `row` is about. `is_in_doubt` says whether the token may have been
    /// redeemed.
    pub fn unclear(self, row: u64, is_in_doubt: bool) {
        let now = Instant::now();
        if let Some(probe) = self.probe {
            lock(&self.breakers.calls).unclear(probe, now);
        }
        if is_in_doubt {
            let mut resending = lock(&self.breakers.resending);
            resending.failed(row, self.resending, now);
        } else {
            self.resending_is_unclear();
        }
    }

    fn resending_is_unclear(&self) {
        if let Some(probe) = self.resending {
            let mut resending = lock(&self.breakers.resending);
            resending.unclear(probe, Instant::now());
        }
    }
}

impl Drop for Permit<'_> {
    /// Lets others probe, if it was not told what came of the call.
    fn drop(&mut self) {
        let now = Instant::now();
        if let Some(probe) = self.probe {
            lock(&self.breakers.calls).withdraw(probe, now);
        }
        if let Some(probe) = self.resending {
            lock(&self.breakers.resending).withdraw(probe, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pause that is over when the clock has moved. Without one nothing is ever stopped.
    const PAUSE: Duration = Duration::from_nanos(1);

    const OPTIONS: BreakerOptions = BreakerOptions {
        rows: 3,
        within: Duration::from_secs(600),
        pause: PAUSE,
        longest_pause: PAUSE,
        probe: Duration::from_secs(600),
    };

    struct Scene {
        breakers: Breakers,
        gate: gate::Gate,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                breakers: Breakers::new(OPTIONS),
                gate: gate::Gate::new(100, 100, 1, tokio::time::Instant::now()),
            }
        }

        async fn ask(&self, is_resent: bool) -> Result<Permit<'_>, Stopped> {
            let slot = self.gate.enter().await;
            let now = Instant::now();
            while now.elapsed() <= PAUSE {}
            self.breakers.admit(slot, is_resent)
        }

        async fn permit(&self, is_resent: bool) -> Permit<'_> {
            self.ask(is_resent).await.unwrap()
        }

        /// Calls about three rows fail.
        async fn provider_fails(&self) {
            for row in 0..3 {
                self.permit(false).await.provider_fails(row);
            }
            assert!(self.breakers.is_open());
        }

        /// It isn't known what became of three rows.
        async fn rows_are_in_doubt(&self) {
            for row in 0..3 {
                self.permit(false).await.unclear(row, true);
            }
        }
    }

    #[tokio::test]
    async fn a_call_that_is_no_probe_gives_up_none() {
        let scene = Scene::new();
        let free = [scene.permit(false).await, scene.permit(false).await];
        scene.provider_fails().await;
        let probe = scene.permit(false).await;
        let [dropped, failed] = free;
        drop(dropped);
        assert!(matches!(scene.ask(false).await, Err(Stopped::Calls(_))));
        failed.provider_fails(7);
        assert!(matches!(scene.ask(false).await, Err(Stopped::Calls(_))));
        drop(probe);
        scene.permit(false).await;
    }

    #[tokio::test]
    async fn a_call_that_sends_nothing_again_gives_up_no_second_sending() {
        let scene = Scene::new();
        scene.rows_are_in_doubt().await;
        let resending = scene.permit(true).await;
        let is_stopped = async || {
            let asked = scene.ask(true).await;
            matches!(asked, Err(Stopped::Resending(_)))
        };
        drop(scene.permit(false).await);
        assert!(is_stopped().await);
        scene.permit(false).await.provider_fails(7);
        assert!(is_stopped().await);
        scene.permit(false).await.unclear(7, false);
        assert!(is_stopped().await);
        drop(resending);
        scene.permit(true).await;
    }

    /// What is stopped may be probed again, whatever a probe found out.
    #[tokio::test]
    async fn each_end_of_a_probe_is_one_of_its_own() {
        let ends: [fn(Permit<'_>); 5] = [
            |permit| drop(permit),
            |permit| _ = permit.provider_fails(7),
            |permit| permit.unclear(7, true),
            |permit| permit.unclear(7, false),
            |permit| _ = permit.works(),
        ];
        for (number, end) in ends.into_iter().enumerate() {
            let scene = Scene::new();
            scene.rows_are_in_doubt().await;
            scene.provider_fails().await;
            end(scene.permit(true).await);
            let again = scene.ask(true).await;
            assert!(again.is_ok(), "{number}: {again:?}");
        }
    }
}
