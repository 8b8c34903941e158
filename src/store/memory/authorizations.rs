//! Pending authorizations in memory.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::MemoryStore;
use crate::{
    error::Unopened,
    store::{Authorizations, CreateOutcome, Error, NewAuthorization, TAKEN_FOR},
    types::{ClientId, Nonce, PendingAuthorization, State},
};

/// How many expired ones a call takes out before its own work.
const BY_THE_WAY: usize = 16;

/// All pending authorizations, and the states that were taken lately.
#[derive(Debug, Default)]
pub(super) struct Pending {
    kept: HashMap<State, Kept>,
    /// When each expires, with a number that tells those apart that expire together.
    expirations: BTreeMap<(Instant, u64), State>,
    of_clients: HashMap<ClientId, usize>,
    pending: usize,
    last_number: u64,
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
            self.pending += 1;
            *self.of_clients.entry(pending.client.clone()).or_default() += 1;
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
            self.pending -= 1;
            if let Some(count) = self.of_clients.get_mut(&pending.client) {
                *count -= 1;
                if *count == 0 {
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
        let of_client = self.of_clients.get(&new.pending.client);
        if of_client.is_some_and(|count| *count >= new.limits.of_client)
            || self.pending >= new.limits.of_tenant
        {
            return CreateOutcome::TooMany;
        }
        let what = What::Pending(new.pending.clone());
        self.insert(new.state, now + new.keep_for, what);
        CreateOutcome::Created
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
}
