//! What an envelope is bound to.

use crate::types::{SecretBytes, UnixTime};

/// The associated data of an envelope: it opens only together with the same ones.
///
/// Each part has its length before it, in eight bytes, so that no two lists of parts are the same bytes. They may hold a
/// session id, and so they are wiped.
#[derive(Debug)]
pub struct AssociatedData(SecretBytes);

impl AssociatedData {
    /// Begins the associated data of a kind of payload, such as `row`. Two kinds never open each other's envelopes.
    #[must_use]
    pub fn of(kind: &str) -> Self {
        Self(SecretBytes::with_capacity(1024)).text(kind)
    }

    /// Adds a part.
    #[must_use]
    pub fn bytes(mut self, part: &[u8]) -> Self {
        self.0.extend_from_slice(&(part.len() as u64).to_be_bytes());
        self.0.extend_from_slice(part);
        self
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, part: &str) -> Self {
        self.bytes(part.as_bytes())
    }

    /// Adds a number.
    #[must_use]
    pub fn number(self, part: u64) -> Self {
        self.bytes(&part.to_be_bytes())
    }

    /// Adds a text that may be missing. A missing one isn't the same as an empty one.
    #[must_use]
    pub fn optional(self, part: Option<&str>) -> Self {
        match part {
            Some(part) => self.number(1).text(part),
            None => self.number(0),
        }
    }

    /// Adds a time that may be missing.
    #[must_use]
    pub fn time(self, part: Option<UnixTime>) -> Self {
        match part {
            Some(part) => self.number(1).bytes(&part.seconds().to_be_bytes()),
            None => self.number(0),
        }
    }

    /// Returns the bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lists_of_parts_are_the_same() {
        let begin = || AssociatedData::of("row");
        let all = [
            begin(),
            begin().text(""),
            begin().text("ab"),
            begin().text("a").text("b"),
            begin().text("").text("ab"),
            begin().optional(None),
            begin().optional(Some("")),
            begin().optional(Some("ab")),
            begin().time(None).text("ab"),
            begin().time(UnixTime::from_seconds(1)),
            AssociatedData::of("ro").text("w"),
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[..at] {
                assert_ne!(one.as_bytes(), other.as_bytes());
            }
        }
    }
}
