//! What becomes of a row.

use crate::{
    error::Unreadable,
    seal::KeyRing,
    store::{
        Error, Sealing,
        redis::row::{self, rewrite},
    },
    types::{Envelope, KeyId, RowKey, SecretBytes, StoredRow},
};

/// What a row is sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealedWith {
    /// This key.
    Key(KeyId),
    /// Nothing.
    Nothing,
    /// It can't be told.
    Unknown,
}

/// What becomes of a row.
pub enum Decision {
    /// It stays as it is.
    Stays(SealedWith),
    /// It is replaced by these bytes.
    Replace(SealedWith, SecretBytes),
    /// It can't be sealed: it is damaged, or its key is missing.
    Unreadable(SealedWith, Unreadable),
}

/// Decides about the row of `key` with these bytes. `None` if it is `null`, and so no row.
///
/// # Errors
/// Returns [`Error::Unavailable`] if it can't be sealed although it can be read.
pub fn decide(sealing: &Sealing, key: &RowKey, bytes: &[u8]) -> Option<Result<Decision, Error>> {
    let stored = match row::decode(bytes, &key.provider)? {
        Ok(stored) => stored,
        Err(unreadable) => return Some(Ok(Decision::Unreadable(SealedWith::Unknown, unreadable))),
    };
    let ring = sealing.keys.ring();
    let with = SealedWith::of(stored.row.sealed.as_ref(), &ring);
    let opened = match sealing.open(key, stored) {
        Ok(opened) => opened,
        Err(unreadable) => return Some(Ok(Decision::Unreadable(with, unreadable))),
    };
    let first = ring.sealing();
    if first.is_none_or(|first| with == SealedWith::Key(first.clone())) {
        return Some(Ok(Decision::Stays(with)));
    }
    Some(again(sealing, key, &opened, bytes).map(|json| match json {
        Some(json) => Decision::Replace(with, json),
        None => Decision::Stays(with),
    }))
}

/// Returns the bytes of the row, sealed anew. The version is that of the row: where the row has none, the one that readers
/// derived from its bytes.
fn again(
    sealing: &Sealing,
    key: &RowKey,
    opened: &StoredRow,
    bytes: &[u8],
) -> Result<Option<SecretBytes>, Error> {
    let version = opened.version;
    let Some(row) = sealing.seal(key, &opened.row, version)? else {
        return Ok(None);
    };
    let stored = StoredRow { row, version };
    let json = rewrite::replace(bytes, &stored, &key.provider);
    json.map(Some)
        .map_err(|error| Error::unavailable(format!("a row {error}")))
}

impl SealedWith {
    fn of(envelope: Option<&Envelope>, ring: &KeyRing) -> Self {
        match envelope {
            None => Self::Nothing,
            Some(envelope) => ring.key_of(envelope).map_or(Self::Unknown, Self::Key),
        }
    }
}
