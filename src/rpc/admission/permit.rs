//! What a call holds while it is in flight.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{LargeRead, Share, TenantShare, WAIT_FOR_LARGE_READS, bound::Taken, is_fair};
use crate::{
    error::Error,
    refresh::waits::{self, Waits},
    types::ProviderName,
};

/// A call's place among the calls in flight, and the bytes that it holds.
///
/// Whatever works for the call, or holds its request or its answer, has a share in the permit. The place is
/// free when the last of them is gone.
#[derive(Debug)]
#[must_use = "the call is in flight for as long as its permit is held"]
pub struct Permit {
    /// Among the calls of the connection, of the tenant and of the process.
    _places: [Taken; 3],
    connection: Arc<Share>,
    tenant: Arc<TenantShare>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    /// Of the bytes of the connection, of the tenant and of the process.
    bytes: [Taken; 3],
    /// Places among the large reads of the connection, of the tenant and of the process.
    reading: Option<[OwnedSemaphorePermit; 3]>,
    /// Whether it had such places.
    reads_much: bool,
    /// Places among the calls of the connection, of the tenant and of the process that wait for providers.
    waiting: Option<[Taken; 3]>,
    /// When the answer began to leave.
    leaving_since: Option<usize>,
}

impl Permit {
    pub(super) fn new(
        places: [Taken; 3],
        bytes: [Taken; 3],
        (connection, tenant): (Arc<Share>, Arc<TenantShare>),
    ) -> Self {
        Self {
            _places: places,
            connection,
            tenant,
            held: Mutex::new(Held {
                bytes,
                reading: None,
                reads_much: false,
                waiting: None,
                leaving_since: None,
            }),
        }
    }

    /// Adds `more` bytes to what the call holds.
    ///
    /// # Errors
    /// Returns [`Error::Overloaded`] if that is more than the connection, the tenant or the process may hold now, and
    /// [`Error::TooLarge`] if it is more than they ever may.
    pub fn hold(&self, more: usize) -> Result<(), Error> {
        self.held()
            .grow("the request", more, self.tenant.has_others)
    }

    /// Waits for a place among the calls that read many rows at once. The call keeps it until the size of
    /// its answer is known, or until it waits for a provider.
    ///
    /// # Errors
    /// Returns [`Error::Overloaded`] if no place becomes free in time.
    pub async fn large_read(&self, of: LargeRead) -> Result<(), Error> {
        let connection = &self.connection;
        let size = connection.expected.size();
        let places = async {
            let own = connection.large_reads.place(of, size).await?;
            let tenant = self.tenant.large_reads.place(of, size).await?;
            let all = connection.all.large_reads.place(of, size).await?;
            Some([own, tenant, all])
        };
        match timeout(WAIT_FOR_LARGE_READS, places).await {
            Ok(Some(places)) => {
                let mut held = self.held();
                held.reading = Some(places);
                held.reads_much = true;
                Ok(())
            }
            // The semaphores are never closed.
            Ok(None) | Err(_) => Err(Error::Overloaded),
        }
    }

    /// Takes note that the call is answered. From now on it holds the bytes of its answer only.
    ///
    /// # Errors
    /// Returns [`Error::Overloaded`] if the connection, the tenant or the process may not hold that much now, and
    /// [`Error::TooLarge`] if they never may: to repeat the call would not help.
    pub fn answered(&self, answer: usize) -> Result<(), Error> {
        let mut held = self.held();
        (held.reading, held.waiting) = (None, None);
        if held.reads_much {
            self.connection.expected.note(answer);
        }
        let before = held.bytes[0].amount();
        if answer > before {
            held.grow("the answer", answer - before, self.tenant.has_others)?;
        }
        for bytes in &mut held.bytes {
            bytes.shrink(answer);
        }
        held.leaving_since = Some(self.connection.leaving.begin());
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waits for Permit {
    /// Takes a place among the calls that wait for providers, which the call keeps until it is answered. What it wanted to
    /// read is read, so that others may.
    fn wait_for(&self, provider: &ProviderName) -> Option<waits::Place> {
        let mut held = self.held();
        let has_place = held.waiting.is_some();
        let connection = &self.connection;
        let (own, all) = (&connection.waiting, &connection.all.waiting);
        let tenant = &self.tenant.waiting;
        // Tenants may have providers of the same name, which aren't the same.
        let provider = (self.tenant.number, provider.clone());
        let waits = [
            own.wait_for(&provider, has_place)?,
            tenant.wait_for(&provider, has_place)?,
            all.wait_for(&provider, has_place)?,
        ];
        if !has_place {
            let places = [
                own.calls.take(1)?,
                tenant.calls.take(1)?,
                all.calls.take(1)?,
            ];
            held.waiting = Some(places);
        }
        held.reading = None;
        Some(Box::new(waits))
    }
}

impl Held {
    /// Adds `more` bytes. `has_others`: there are other tenants, to whom this one has to leave something.
    fn grow(&mut self, what: &'static str, more: usize, has_others: bool) -> Result<(), Error> {
        let [connection, tenant, process] = &mut self.bytes;
        let before = connection.amount();
        // What fits if this call is the only one. `is_fair` counts what the call holds already on both sides.
        let most = |of: &Taken| of.whole().most();
        let limit = (most(process) - before)
            .min(most(connection))
            .min(most(tenant));
        let size = before.saturating_add(more);
        if size > limit {
            return Err(Error::TooLarge { what, size, limit });
        }
        let tenant_is_fair = !has_others || is_fair(tenant.whole(), process.whole(), more);
        if !is_fair(connection.whole(), process.whole(), more) || !tenant_is_fair {
            return Err(Error::Overloaded);
        }
        if connection.grow(more) && tenant.grow(more) && process.grow(more) {
            return Ok(());
        }
        for bytes in [connection, tenant, process] {
            bytes.shrink(before);
        }
        Err(Error::Overloaded)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let since = self.held().leaving_since;
        if let Some(generation) = since {
            self.connection.leaving.end(generation);
        }
        self.connection.note_let_in();
    }
}
