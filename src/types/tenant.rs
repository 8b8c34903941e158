//! The tenant: the auth server whose data a broker serves.

use std::{fmt, str::FromStr};

/// The name of one auth server's isolated data, written `namespace:name`.
///
/// Each part matches `[a-z0-9]([a-z0-9.-]*[a-z0-9])?` and has at most 253 bytes (guarantees, section 1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(String);

/// Why a string is not a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// There is not exactly one colon.
    #[error("must be written as namespace:name")]
    Shape,
    /// A part is empty, is too long, or contains other characters.
    #[error(
        "namespace and name must be 1 to 253 lower-case letters, digits, dots or dashes, beginning and ending with a letter or digit"
    )]
    Part,
}

impl Tenant {
    /// Returns the name as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = TenantError;

    fn from_str(tenant: &str) -> Result<Self, TenantError> {
        let (namespace, name) = tenant.split_once(':').ok_or(TenantError::Shape)?;
        if name.contains(':') {
            return Err(TenantError::Shape);
        }
        if !is_part(namespace) || !is_part(name) {
            return Err(TenantError::Part);
        }
        Ok(Self(tenant.to_owned()))
    }
}

fn is_part(part: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    match part.as_bytes() {
        [] => false,
        bytes => {
            bytes.len() <= 253
                && plain(bytes[0])
                && plain(bytes[bytes.len() - 1])
                && bytes.iter().all(|&c| plain(c) || c == b'.' || c == b'-')
        }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_tenant() {
        for good in ["default:default", "a:b", "toolhive-system:vmcp.1", "0:9"] {
            assert_eq!(
                good.parse::<Tenant>().map(|t| t.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in ["default", "a:b:c", ""] {
            assert_eq!(bad.parse::<Tenant>(), Err(TenantError::Shape), "{bad}");
        }
        let long = format!("{}:b", "a".repeat(254));
        for bad in ["A:b", "a:", ":b", "-a:b", "a:b.", "a_b:c", "a:b}", &long] {
            assert_eq!(bad.parse::<Tenant>(), Err(TenantError::Part), "{bad}");
        }
    }
}
