//! The names of sealing keys, and what tells keys apart.

use std::fmt;

/// The name of a sealing key, which people give it. It is no secret: it stands in front of what the key sealed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// Which key it is: its name, a dot, and its fingerprint in hexadecimal. The fingerprint is derived from the key, and tells two
/// keys of one name apart. Neither is a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

/// The fingerprint of a sealing key. It is derived from the key, and is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Reads a fingerprint: 16 hexadecimal digits, behind the key's name and a dot or alone. `None` if it isn't one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = match text.split_once('.') {
            Some((name, digits)) => KeyName::new(name).map(|_| digits)?,
            None => text,
        };
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_one = digits.len() == 2 * KeyId::FINGERPRINT && digits.bytes().all(is_digit);
        let number = is_one.then(|| u64::from_str_radix(digits, 16).ok());
        number.flatten().map(Self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl KeyName {
    /// The longest name, in bytes.
    pub const LONGEST: usize = 64;

    /// Returns the key's name, or `None` if it isn't made of 1 to 64 letters, digits, `-` and `_`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_name = (1..=Self::LONGEST).contains(&name.len()) && name.bytes().all(is_allowed);
        is_name.then(|| Self(name.to_owned()))
    }

    /// Returns a name for a key that is made at this time, in seconds since the epoch. Names of later keys sort behind it. Two
    /// keys of one name would be taken for each other, so that two that are made at once have names of their own.
    #[must_use]
    pub fn of_time(seconds: u64) -> Self {
        Self(format!("k{seconds}-{:08x}", rand::random::<u32>()))
    }

    /// Whether the name is one that [`KeyName::of_time`] makes, or made once: without what tells names of one time apart.
    #[must_use]
    pub fn is_of_a_time(&self) -> bool {
        let Some(rest) = self.0.strip_prefix('k') else {
            return false;
        };
        let (seconds, drawn) = rest.split_once('-').unwrap_or((rest, "00000000"));
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        matches!(seconds.len(), 10..=11)
            && seconds.bytes().all(|byte| byte.is_ascii_digit())
            && drawn.len() == 8
            && drawn.bytes().all(is_hex)
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl KeyId {
    /// How many bytes a fingerprint has.
    pub const FINGERPRINT: usize = 8;

    /// Returns the id of the key with this name and this fingerprint.
    #[must_use]
    pub fn new(name: &KeyName, fingerprint: [u8; Self::FINGERPRINT]) -> Self {
        let number = u64::from_be_bytes(fingerprint);
        Self(format!("{name}.{number:016x}"))
    }

    /// Reads an id as it is written. `None` if it isn't one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, fingerprint) = text.split_once('.')?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_fingerprint =
            fingerprint.len() == 2 * Self::FINGERPRINT && fingerprint.bytes().all(is_digit);
        (is_fingerprint && KeyName::new(name).is_some()).then(|| Self(text.to_owned()))
    }

    /// Returns the id as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.parts().0
    }

    /// Returns the fingerprint of the key, in hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        self.parts().1
    }

    /// Returns the fingerprint of the key.
    #[must_use]
    pub fn print(&self) -> Fingerprint {
        // An id is made with one.
        Fingerprint::parse(&self.0).unwrap_or(Fingerprint(0))
    }

    /// Whether both are the same key, whatever it is called.
    #[must_use]
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('.').unwrap_or_default()
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let name = KeyName::new("k-1_a").unwrap();
        let id = KeyId::new(&name, [0, 1, 2, 3, 4, 5, 6, 0xff]);
        assert_eq!(id.as_str(), "k-1_a.00010203040506ff");
        assert_eq!((id.name(), id.fingerprint()), ("k-1_a", "00010203040506ff"));
        assert_eq!(KeyId::parse(id.as_str()), Some(id.clone()));
        for other in [
            "k",
            "k.",
            "k.00010203040506f",
            "k.00010203040506ff0",
            "k.00010203040506FF",
            "k.00010203040506fg",
            "k.k.00010203040506ff",
            ".00010203040506ff",
        ] {
            assert_eq!(KeyId::parse(other), None, "{other}");
            assert_eq!(Fingerprint::parse(other), None, "{other}");
        }
        for text in [id.as_str(), id.fingerprint()] {
            assert_eq!(Fingerprint::parse(text), Some(id.print()));
        }
        assert_eq!(id.print().to_string(), id.fingerprint());
        let renamed = KeyId::parse("other.00010203040506ff").unwrap();
        assert!(renamed != id && renamed.is_same_key(&id));
    }
}
