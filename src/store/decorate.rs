//! What is put around the stores of a broker that is assembled from its configuration.

use super::FullStore;

/// Puts a decorator around the store of each tenant, over its sealing: what it sees is plain.
pub trait Decorate {
    /// The decorated store.
    type Of<S: FullStore>: FullStore;

    /// Puts it around a store.
    fn around<S: FullStore>(&self, store: S) -> Self::Of<S>;
}

/// Puts nothing around a store. It is what the program does; tests put there what fails on purpose.
#[derive(Debug, Clone, Copy, Default)]
pub struct Undecorated;

impl Decorate for Undecorated {
    type Of<S: FullStore> = S;

    fn around<S: FullStore>(&self, store: S) -> S {
        store
    }
}
