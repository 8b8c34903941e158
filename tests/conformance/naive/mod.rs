//! A third backend: the simplest store that keeps every guarantee or, with a [`Flaw`], breaks one
//! of them. It shows that the suite detects broken stores, and how much work a new backend is.

mod flaw;
mod records;
mod state;
mod store;
mod users;

use std::sync::Arc;

pub use flaw::Flaw;
use state::State;
use store::NaiveStore;
use token_broker::{
    error::Unreadable,
    store::MemoryStore,
    types::{RowKey, Tenant, UserId},
};
use tokio::{
    sync::{Mutex, MutexGuard, Notify},
    task::{block_in_place, yield_now},
};

use crate::backend::Backend;

/// Data in maps, with rows and indexes in separate maps.
#[derive(Clone)]
pub struct NaiveBackend {
    flaw: Flaw,
    state: Arc<Mutex<State>>,
    /// Raised with each attempt that ends.
    ended: Arc<Notify>,
    /// Users and pending authorizations are those of another backend. A flaw stands before it.
    others: Arc<MemoryStore>,
}

impl NaiveBackend {
    /// Starts a backend without a flaw, and without any data.
    pub async fn start() -> Self {
        Self::with(Flaw::None)
    }

    /// Returns a backend with a flaw.
    pub fn with(flaw: Flaw) -> Self {
        Self {
            flaw,
            state: Arc::default(),
            ended: Arc::default(),
            others: Arc::default(),
        }
    }

    /// Returns the state, without expired rows.
    async fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().await;
        state.bury(self.flaw);
        state
    }

    /// Separates two steps. With exactly this flaw, other calls can run between them.
    async fn gap<'a>(&'a self, flaw: Flaw, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if self.flaw != flaw {
            return state;
        }
        drop(state);
        for _ in 0..3 {
            yield_now().await;
        }
        self.state.lock().await
    }
}

impl Backend for NaiveBackend {
    type Store = NaiveStore;

    fn fresh(&self) -> Self {
        Self::with(self.flaw)
    }

    fn store(&self) -> NaiveStore {
        NaiveStore::new(self.clone())
    }

    fn tenant(&self) -> Tenant {
        "naive:naive".parse().unwrap()
    }

    async fn user_index_size(&self, user: &UserId) -> usize {
        let state = self.state().await;
        state.users.get(user).map_or(0, |index| index.members.len())
    }

    fn spoil(&self, key: &RowKey) -> bool {
        let mut state = block_in_place(|| self.state.blocking_lock());
        let row = state.rows.get_mut(&self.flaw.row_key(key));
        row.unwrap().decoded = Err(Unreadable::damaged("spoiled"));
        true
    }

    fn dump(&self) -> impl PartialEq + Send {
        block_in_place(|| self.state.blocking_lock()).clone()
    }
}
