//! SPIFFE ids.

use std::{fmt, str::FromStr};

/// The longest SPIFFE id, in bytes (SPIFFE-ID, section 2.3).
const LONGEST: usize = 2048;
/// The longest name of a trust domain, in bytes (SPIFFE-ID, section 2.3).
const LONGEST_TRUST_DOMAIN: usize = 255;

/// The SPIFFE id of a workload: `spiffe://<trust domain>/<path>` (SPIFFE-ID, section 2). The id of a trust domain itself, without
/// a path, is none: no workload's certificate has it (X.509-SVID, section 4.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Box<str>,
    /// Where the path begins, with its slash.
    path: usize,
}

/// Text that is no workload's SPIFFE id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSpiffeId {
    /// It is no SPIFFE id at all.
    #[error(
        "isn't a SPIFFE id: spiffe://<trust domain>/<path>, in the characters that SPIFFE allows"
    )]
    Malformed,
    /// It has no path.
    #[error("names a trust domain and no workload: spiffe://<trust domain>/<path>")]
    TrustDomain,
}

impl SpiffeId {
    /// The scheme of each SPIFFE id.
    pub const SCHEME: &str = "spiffe://";

    /// Returns the trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.text[Self::SCHEME.len()..self.path]
    }

    /// Returns the path, with its first slash.
    pub fn path(&self) -> &str {
        &self.text[self.path..]
    }

    /// Returns the id as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `name` may name a trust domain.
    pub fn is_trust_domain(name: &str) -> bool {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        };
        !name.is_empty() && name.len() <= LONGEST_TRUST_DOMAIN && name.bytes().all(allowed)
    }
}

impl FromStr for SpiffeId {
    type Err = NotSpiffeId;

    fn from_str(text: &str) -> Result<Self, NotSpiffeId> {
        let rest = text.strip_prefix(Self::SCHEME);
        let rest = rest.ok_or(NotSpiffeId::Malformed)?;
        let domain = rest.split('/').next().unwrap_or_default();
        let path = &rest[domain.len()..];
        let segment = |segment: &str| {
            let allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(allowed)
        };
        let is_path = path.is_empty() || path[1..].split('/').all(segment);
        if text.len() > LONGEST || !Self::is_trust_domain(domain) || !is_path {
            return Err(NotSpiffeId::Malformed);
        }
        if path.is_empty() {
            return Err(NotSpiffeId::TrustDomain);
        }
        Ok(Self {
            text: text.into(),
            path: Self::SCHEME.len() + domain.len(),
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_a_trust_domain_and_a_path() {
        let id: SpiffeId = "spiffe://prod.example/ns/default/sa/proxy".parse().unwrap();
        assert_eq!(id.trust_domain(), "prod.example");
        assert_eq!(id.path(), "/ns/default/sa/proxy");
        let domain = "spiffe://prod.example".parse::<SpiffeId>();
        assert_eq!(domain, Err(NotSpiffeId::TrustDomain));
    }

    #[test]
    fn other_text_is_none() {
        let long = format!("spiffe://a/{}", "b".repeat(LONGEST));
        for text in [
            "",
            "spiffe://",
            "spiffe:///path",
            "https://prod.example/path",
            "SPIFFE://prod.example/path",
            "spiffe://Prod.example/path",
            "spiffe://prod.example:8443/path",
            "spiffe://user@prod.example/path",
            "spiffe://prod.example/",
            "spiffe://prod.example/a//b",
            "spiffe://prod.example/a/../b",
            "spiffe://prod.example/a/.",
            "spiffe://prod.example/a?b",
            "spiffe://prod.example/a#b",
            "spiffe://prod.example/%61",
            &long,
        ] {
            assert_eq!(
                text.parse::<SpiffeId>(),
                Err(NotSpiffeId::Malformed),
                "{text}"
            );
        }
    }
}
