//! Which texts were seen before, at 16 bytes each. A walk over the keys may find a key more than once.

use std::collections::HashSet;

use sha1::{Digest, Sha1};

/// Remembers texts by their digests.
#[derive(Clone, Debug, Default)]
pub struct Seen(HashSet<[u8; 16]>);

impl Seen {
    /// Takes note of `parts`. Returns whether this combination is new.
    pub fn insert(&mut self, parts: &[&[u8]]) -> bool {
        let mut hash = Sha1::new();
        for part in parts {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let mut head = [0; 16];
        head.copy_from_slice(&hash.finalize()[..16]);
        self.0.insert(head)
    }
}
