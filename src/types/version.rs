//! The version of a row.

use std::fmt;

use super::sha1;

/// An opaque number that is compared only for equality. Every write gives the row another one, also a write
/// after a delete (guarantees, section 1).
///
/// It is random. A counter would start over after a delete, and a caller with an old version could then
/// overwrite a new login. The range is 1 to 2^53 - 1: Lua and JavaScript represent these numbers exactly.
///
/// A version that was drawn is in the upper half of the range. One that was derived from a row's bytes is in the lower
/// half: it comes back if other software writes the same bytes again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version(u64);

impl Version {
    const END: u64 = 1 << 53;
    const DRAWN: u64 = 1 << 52;

    /// Returns a new version. The chance that it equals a given other one is 1 in 2^52.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random_range(Self::DRAWN..Self::END))
    }

    /// Whether a row that lost this version may have it again. Only a version that was drawn never comes back.
    #[must_use]
    pub fn may_come_back(self) -> bool {
        self.0 < Self::DRAWN
    }

    /// Returns the version with this number, or `None` if it is outside of the range.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        (1..Self::END).contains(&number).then_some(Self(number))
    }

    /// Returns the version of a row whose writer stored none: the first 52 bits of the SHA-1 of its bytes, or
    /// 1 if they are 0.
    #[must_use]
    pub fn derived_from(row: &[u8]) -> Self {
        let digest = sha1(row);
        let head = digest
            .iter()
            .take(7)
            .fold(0, |n, &byte| n << 8 | u64::from(byte));
        Self((head >> 4).max(1))
    }

    /// Returns the number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range() {
        assert_eq!(Version::from_number(0), None);
        assert_eq!(Version::from_number(1 << 53), None);
        assert_eq!(
            Version::from_number((1 << 53) - 1).map(Version::number),
            Some((1 << 53) - 1)
        );
    }

    #[test]
    fn only_what_is_drawn_never_comes_back() {
        assert!((0..100).all(|_| !Version::random().may_come_back()));
        let derived = |n: u32| Version::derived_from(&n.to_be_bytes());
        assert!((0..100).all(|n| derived(n).may_come_back()));
    }

    #[test]
    fn derived_from_the_head_of_the_sha1() {
        // sha1("null") = 2be88ca4242c76e8253ac62474851065032d6833
        assert_eq!(Version::derived_from(b"null").number(), 0x2_be88_ca42_42c7);
    }
}
