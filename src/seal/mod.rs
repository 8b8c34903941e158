//! Sealing: bytes in, bytes out (guarantees, section 7). It knows no store, and nothing of what it seals.
//!
//! `key` is a master key, `ring` the keys that a process has, `keys` the same while their file changes. `envelope` has
//! what was sealed, and the argument why its use of AES-GCM is sound. [`AssociatedData`] is what an envelope is bound to:
//! who seals another kind of payload begins with another kind of these.

mod associated;
mod envelope;
mod key;
mod keys;
mod ring;

pub use self::{
    associated::AssociatedData,
    key::MasterKey,
    keys::{Keys, KeysFileProblem},
    ring::{KeyRing, KeysProblem, NotOpened},
};
