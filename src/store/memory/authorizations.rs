//! Pending authorizations in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::time::Instant;

use super::MemoryStore;
use crate::{
    error::Unopened,
    store::{Authorizations, CreateOutcome, Error, NewAuthorization, PendingLimit, TAKEN_FOR},
    types::{ClientId, Nonce, Payload, PendingAuthorization, State, UnixTime},
};

/// How many expired ones a call takes out before its own work.
const BY_THE_WAY: usize = 16;

/// All pending authorizations, and the states that were taken lately.
#[derive(Debug, Default)]
pub(super) struct Pending {
    kept: HashMap<State, Kept>,
    /// When each expires, with a number that tells those apart that expire together.
    expirations: BTreeMap<(Instant, u64), State>,
    of_clients: HashMap<ClientId, OfClient>,
    pending: usize,
    bytes: u64,
    last_number: u64,
}

/// What is pending of a client, with what has expired and is still kept.
#[derive(Debug, Default)]
struct OfClient {
    expirations: BTreeSet<(Instant, u64)>,
    bytes: u64,
}

#[derive(Debug)]
struct Kept {
    expires: (Instant, u64),
    what: What,
}

#[derive(Debug)]
enum What {
    Pending(PendingAuthorization),
    TakenBy(Nonce),
}

impl Pending {
    /// Returns what is pending under a state, after what has expired is gone.
    fn at(&mut self, state: &State, now: Instant) -> Option<&Kept> {
        for _ in 0..BY_THE_WAY {
            match self.expirations.first_key_value() {
                Some((&(at, _), expired)) if at <= now => {
                    let expired = expired.clone();
                    self.remove(&expired);
                }
                _ => break,
            }
        }
        if self.kept.get(state)?.expires.0 <= now {
            self.remove(state);
        }
        self.kept.get(state)
    }

    fn insert(&mut self, state: &State, expires: Instant, what: What) {
        self.last_number += 1;
        let expires = (expires, self.last_number);
        if let What::Pending(pending) = &what {
            let size = size(state, pending);
            self.pending += 1;
            self.bytes += size;
            let of_client = self.of_clients.entry(pending.client.clone()).or_default();
            of_client.expirations.insert(expires);
            of_client.bytes += size;
        }
        self.expirations.insert(expires, state.clone());
        self.kept.insert(state.clone(), Kept { expires, what });
    }

    fn remove(&mut self, state: &State) {
        let Some(kept) = self.kept.remove(state) else {
            return;
        };
        self.expirations.remove(&kept.expires);
        if let What::Pending(pending) = kept.what {
            let size = size(state, &pending);
            self.pending -= 1;
            self.bytes -= size;
            if let Some(of_client) = self.of_clients.get_mut(&pending.client) {
                of_client.expirations.remove(&kept.expires);
                of_client.bytes -= size;
                if of_client.expirations.is_empty() {
                    self.of_clients.remove(&pending.client);
                }
            }
        }
    }

    fn create(&mut self, new: NewAuthorization<'_>, now: Instant) -> CreateOutcome {
        match self.at(new.state, now).map(|kept| &kept.what) {
            Some(What::Pending(pending)) if pending.id == new.pending.id => {
                return CreateOutcome::Created;
            }
            Some(_) => return CreateOutcome::Exists,
            None => {}
        }
        // What has expired doesn't count, though it may still be kept. Whatever makes room here was to go anyway.
        while let Some(limit) = self.reached(&new) {
            let expired = match limit {
                PendingLimit::OfClient | PendingLimit::BytesOfClient => {
                    let of_client = self.of_clients.get(&new.pending.client);
                    of_client.and_then(|of_client| of_client.expirations.first())
                }
                PendingLimit::OfTenant | PendingLimit::BytesOfTenant => {
                    self.expirations.first_key_value().map(|(at, _)| at)
                }
            };
            let expired = expired.filter(|(at, _)| *at <= now);
            let Some(state) = expired.and_then(|at| self.expirations.get(at)).cloned() else {
                return CreateOutcome::TooMany(limit);
            };
            self.remove(&state);
        }
        let what = What::Pending(new.pending.clone());
        self.insert(new.state, now + new.keep_for, what);
        CreateOutcome::Created
    }

    /// Returns a bound that leaves no room for another one.
    fn reached(&self, new: &NewAuthorization<'_>) -> Option<PendingLimit> {
        let of_client = self.of_clients.get(&new.pending.client);
        let count = of_client.map_or(0, |of_client| of_client.expirations.len());
        let bytes = of_client.map_or(0, |of_client| of_client.bytes);
        let size = size(new.state, new.pending);
        PendingLimit::ALL.into_iter().find(|limit| {
            let then = match limit {
                PendingLimit::OfClient => count as u64 + 1,
                PendingLimit::OfTenant => self.pending as u64 + 1,
                PendingLimit::BytesOfClient => bytes + size,
                PendingLimit::BytesOfTenant => self.bytes + size,
            };
            then > new.limits.of(*limit)
        })
    }

    fn take(&mut self, state: &State, id: Nonce, taker: Nonce, now: Instant) -> bool {
        let Some(kept) = self.at(state, now) else {
            return false;
        };
        match &kept.what {
            What::TakenBy(other) => return *other == taker,
            What::Pending(pending) if pending.id != id => return false,
            What::Pending(_) => {}
        }
        let until = kept.expires.0.min(now + TAKEN_FOR);
        self.remove(state);
        self.insert(state, until, What::TakenBy(taker));
        true
    }
}

/// Returns what an authorization counts for, in bytes: what its creator chose, and about as much as the rest takes.
fn size(state: &State, pending: &PendingAuthorization) -> u64 {
    const REST: usize = 512;
    let payload = match &pending.payload {
        Payload::Plain(payload) => payload.len(),
        Payload::Sealed(envelope) => envelope.as_str().len(),
    };
    let user = pending.user.as_ref().map_or(0, |user| user.as_str().len());
    let ids = pending.session.as_str().len() + pending.client.as_str().len() + user;
    let names = 2 * state.as_str().len() + pending.provider.as_str().len();
    (payload + ids + names + REST) as u64
}

impl Authorizations for MemoryStore {
    async fn create(&self, new: NewAuthorization<'_>) -> Result<CreateOutcome, Error> {
        Ok(self.0.pending().create(new, Instant::now()))
    }

    async fn pending(
        &self,
        state: &State,
    ) -> Result<Option<Result<PendingAuthorization, Unopened>>, Error> {
        let mut all = self.0.pending();
        Ok(
            match &all.at(state, Instant::now()).map(|kept| &kept.what) {
                Some(What::Pending(pending)) => Some(Ok(pending.clone())),
                Some(What::TakenBy(_)) | None => None,
            },
        )
    }

    async fn take(
        &self,
        state: &State,
        pending: &PendingAuthorization,
        taker: Nonce,
    ) -> Result<bool, Error> {
        let now = Instant::now();
        Ok(self.0.pending().take(state, pending.id, taker, now))
    }

    async fn now(&self) -> Result<UnixTime, Error> {
        Ok(UnixTime::now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        store::PendingLimits,
        types::{ProviderName, SecretBytes, SessionId},
    };

    const LIMITS: PendingLimits = PendingLimits {
        of_client: 100,
        of_tenant: 150,
    };

    fn create(all: &mut Pending, client: &str, number: usize, payload: usize) -> CreateOutcome {
        let keep_for = Duration::from_secs(60);
        let pending = PendingAuthorization {
            id: Nonce::random(),
            provider: ProviderName::new("p").unwrap(),
            session: SessionId::new("s").unwrap(),
            client: ClientId::new(client).unwrap(),
            user: None,
            expires_at: UnixTime::now(),
            payload: Payload::Plain(SecretBytes::new(vec![1; payload])),
        };
        let new = NewAuthorization {
            state: &State::new(format!("{client} {number}")).unwrap(),
            pending: &pending,
            keep_for,
            limits: LIMITS,
        };
        all.create(new, Instant::now())
    }

    /// However many have expired, of whomever, they keep nobody out.
    #[tokio::test(start_paused = true)]
    async fn what_has_expired_counts_for_nothing() {
        let (mut all, second) = (Pending::default(), Duration::from_secs(1));
        (0..50).for_each(|at| assert_eq!(create(&mut all, "flood", at, 1), CreateOutcome::Created));
        tokio::time::advance(second).await;
        (0..100).for_each(|at| assert_eq!(create(&mut all, "c", at, 1), CreateOutcome::Created));
        let full = create(&mut all, "c", 100, 1);
        assert_eq!(full, CreateOutcome::TooMany(PendingLimit::OfClient));
        let full = create(&mut all, "other", 0, 1);
        assert_eq!(full, CreateOutcome::TooMany(PendingLimit::OfTenant));
        tokio::time::advance(60 * second).await;
        for at in 100..200 {
            assert_eq!(create(&mut all, "c", at, 1), CreateOutcome::Created, "{at}");
        }
        (0..50).for_each(|at| assert_eq!(create(&mut all, "other", at, 1), CreateOutcome::Created));
    }

    /// Large payloads are bounded as well, and what they took is free again at their end.
    #[tokio::test(start_paused = true)]
    async fn bytes_are_bounded() {
        let mut all = Pending::default();
        for _ in 0..2 {
            let fits = (0..).take_while(|at| {
                create(&mut all, "flood", *at, 16 * 1024) == CreateOutcome::Created
            });
            let fits = fits.count();
            assert!((60..64).contains(&fits), "{fits} in 1 MiB");
            let full = create(&mut all, "flood", fits, 16 * 1024);
            assert_eq!(full, CreateOutcome::TooMany(PendingLimit::BytesOfClient));
            let full = create(&mut all, "other", 0, 16 * 1024);
            assert_eq!(full, CreateOutcome::TooMany(PendingLimit::BytesOfTenant));
            tokio::time::advance(Duration::from_secs(61)).await;
        }
        all.at(&State::new("x").unwrap(), Instant::now());
        while !all.kept.is_empty() {
            all.at(&State::new("x").unwrap(), Instant::now());
        }
        assert_eq!((all.pending, all.bytes, all.of_clients.len()), (0, 0, 0));
    }
}
