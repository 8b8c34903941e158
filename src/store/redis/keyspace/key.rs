//! The name of a key.

use std::{fmt, ops::Deref};

use redis::{RedisWrite, ToRedisArgs};
use zeroize::ZeroizeOnDrop;

use crate::types::{SecretBytes, wipe};

/// The name of a key in Redis, or the beginning of one. Session ids and states are spelled into it. Therefore `Debug` doesn't
/// print it, and its memory is wiped when it is dropped.
///
/// The client of Redis copies it into its own buffers. Those are not wiped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Puts a key together. Its memory is as large as it has to be from the start: a text that grows leaves a copy behind.
    pub(super) fn of<const N: usize>(parts: [&str; N]) -> Self {
        Self(parts.concat())
    }

    /// Takes a name that Redis told. Returns `None` if it isn't a text.
    #[must_use]
    pub fn told(name: SecretBytes) -> Option<Self> {
        str::from_utf8(&name).ok()?;
        String::from_utf8(name.into_exposed()).ok().map(Self)
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl ToRedisArgs for Key {
    fn write_redis_args<W: RedisWrite + ?Sized>(&self, out: &mut W) {
        out.write_arg(self.as_bytes());
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        wipe(std::mem::take(&mut self.0).into_bytes());
    }
}

impl ZeroizeOnDrop for Key {}
