//! The bounds on calls to one provider: how many at once, how many a second, and how many callers wait for them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};

use super::waits;
use crate::types::{ProviderName, lock};

/// The bounds of one provider in this process.
#[derive(Debug)]
pub struct Gate {
    slots: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
    /// How many calls may be made at once, and how many callers may wait.
    most: [usize; 2],
    rate: Mutex<Rate>,
}

/// One of the calls that the provider may have at once. It is free again when this is dropped.
#[derive(Debug)]
pub struct CallSlot(
    #[expect(dead_code, reason = "held until it is dropped")] Option<OwnedSemaphorePermit>,
);

/// The right to wait for a refresh. It is given back when it is dropped.
#[derive(Debug)]
pub struct Waiter {
    _place: OwnedSemaphorePermit,
    _of_call: waits::MayWait,
}

impl Gate {
    /// Returns a gate for `concurrent` calls at once, `rate` calls a second, and `waiters` callers that wait.
    #[must_use]
    pub fn new(concurrent: usize, rate: u32, waiters: usize, now: Instant) -> Self {
        let most = [concurrent, waiters].map(|count| count.min(Semaphore::MAX_PERMITS));
        let [slots, waiters] = most.map(|count| Arc::new(Semaphore::new(count)));
        Self {
            slots,
            waiters,
            most,
            rate: Mutex::new(Rate::new(rate, now)),
        }
    }

    /// Waits until a call may be made.
    pub async fn enter(&self) -> CallSlot {
        // The semaphore is never closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        loop {
            let taken = lock(&self.rate).take(Instant::now());
            match taken {
                Ok(()) => return CallSlot(slot),
                Err(wait) => sleep(wait).await,
            }
        }
    }

    /// Returns how many calls are being made.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.most[0].saturating_sub(self.slots.available_permits())
    }

    /// Returns how many callers wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.most[1].saturating_sub(self.waiters.available_permits())
    }

    /// Asks to wait for the provider, whose gate this is, for the call whose task this is. Returns `None` if too many
    /// wait already, for this provider or [at all](waits).
    #[must_use]
    pub fn wait(&self, provider: &ProviderName) -> Option<Waiter> {
        let _place = Arc::clone(&self.waiters).try_acquire_owned().ok()?;
        let free = self.waiters.available_permits() + 1;
        let _of_call = waits::wait_for(provider, free)?;
        Some(Waiter { _place, _of_call })
    }
}

/// So many calls a second, and as many at once after a second without any.
#[derive(Debug)]
struct Rate {
    a_second: f64,
    left: f64,
    at: Instant,
}

impl Rate {
    fn new(a_second: u32, now: Instant) -> Self {
        let a_second = f64::from(a_second.max(1));
        Self {
            a_second,
            left: a_second,
            at: now,
        }
    }

    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.a_second).min(self.a_second);
        self.at = self.at.max(now);
        if self.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.left) / self.a_second));
        }
        self.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn provider() -> ProviderName {
        ProviderName::new("acme").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_calls_at_once() {
        let gate = Gate::new(2, 100, 1, Instant::now());
        let (first, second) = (gate.enter().await, gate.enter().await);
        let mut third = Box::pin(gate.enter());
        assert!(timeout(Duration::from_secs(9), &mut third).await.is_err());
        drop(first);
        let third = timeout(Duration::from_millis(1), third).await.unwrap();
        drop((second, third));
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_calls_a_second() {
        let gate = Gate::new(100, 4, 1, Instant::now());
        let begun = Instant::now();
        for _ in 0..4 + 15 {
            gate.enter().await;
        }
        // 4 at the start, and 4 a second from then on.
        let took = begun.elapsed().as_secs_f64();
        assert!((took - 3.75).abs() < 0.1, "{took}");
        // Rest isn't saved up.
        tokio::time::advance(Duration::from_secs(3600)).await;
        let begun = Instant::now();
        for _ in 0..6 {
            gate.enter().await;
        }
        let took = begun.elapsed().as_secs_f64();
        assert!((took - 0.5).abs() < 0.1, "{took}");
    }

    #[tokio::test]
    async fn a_call_that_may_not_wait_takes_no_place() {
        struct Call(bool);
        impl waits::Waits for Call {
            fn wait_for(&self, _: &ProviderName, _: usize) -> Option<waits::MayWait> {
                self.0.then(|| Box::new(()) as waits::MayWait)
            }
        }
        let gate = Gate::new(1, 1, 1, Instant::now());
        let waits = async |may| {
            let call = Arc::new(Call(may));
            let wait = waits::for_call(call, async { gate.wait(&provider()) });
            wait.await.is_some()
        };
        assert!(!waits(false).await);
        assert!(waits(true).await);
    }

    #[test]
    fn so_many_waiters() {
        let gate = Gate::new(1, 1, 2, Instant::now());
        let wait = || gate.wait(&provider());
        let (first, _second) = (wait().unwrap(), wait().unwrap());
        assert!(wait().is_none());
        drop(first);
        assert!(wait().is_some());
    }
}
