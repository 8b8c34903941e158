//! Sealing: bytes in, bytes out (guarantees, section 7). It knows no store, and nothing of what it seals.
//!
//! `key` is a master key, `ring` the keys that a process has, `file` the text that they come from, `keys` the same while the
//! file changes, and `follow` notices that. In a file keys may be wrapped: `kms` is who unwraps them, `unlock` asks for that,
//! and `rewrap` has a file wrapped. `demands` is what the keys of a file have to be. `envelope` has
//! what was sealed, and the argument why its use of AES-GCM is sound. [`AssociatedData`] is what an envelope is bound to:
//! who seals another kind of payload begins with another kind of these.

mod associated;
mod comment;
mod demands;
mod envelope;
mod file;
mod follow;
mod key;
mod keys;
mod kms;
mod rewrap;
mod ring;
mod unlock;

pub use self::{
    associated::AssociatedData,
    demands::Demands,
    envelope::Opened,
    file::KeyFile,
    key::MasterKey,
    keys::{Keys, KeysFileProblem},
    kms::{Kms, KmsError, WrappedKey},
    rewrap::{Proof, Rewrapped},
    ring::{KeyRing, KeysProblem, NotOpened},
    unlock::NotUnwrapped,
};
