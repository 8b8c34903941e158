//! The protocol types that older software wrote in place of a provider's name.

use super::ProviderName;

/// The protocol types of toolhive's older layout.
pub const PROTOCOL_TYPES: [&str; 2] = ["oidc", "oauth2"];

/// Which protocol types are also names of providers of a tenant (guarantees, section 1). Usually none is.
///
/// Under such a name lies what older software kept of other providers: identities that were copied, and stay for a way back.
/// A provider of that name would reach their users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeNames([bool; PROTOCOL_TYPES.len()]);

impl TypeNames {
    /// Allows a protocol type as a provider's name. Any other text changes nothing.
    #[must_use]
    pub fn and(mut self, protocol_type: &str) -> Self {
        for (known, allowed) in PROTOCOL_TYPES.iter().zip(&mut self.0) {
            *allowed |= *known == protocol_type;
        }
        self
    }

    /// Whether a provider may have this name.
    #[must_use]
    pub fn allow(self, provider: &ProviderName) -> bool {
        let mut types = PROTOCOL_TYPES.iter().zip(self.0);
        types.all(|(known, allowed)| allowed || *known != provider.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_allowed_is() {
        let allow = |names: TypeNames, name: &str| names.allow(&ProviderName::new(name).unwrap());
        let none = TypeNames::default();
        for (name, is_allowed) in [
            ("oidc", false),
            ("oauth2", false),
            ("OIDC", true),
            ("oidc2", true),
            ("okta", true),
        ] {
            assert_eq!(allow(none, name), is_allowed, "{name}");
        }
        let one = none.and("oidc").and("okta");
        assert!(allow(one, "oidc") && !allow(one, "oauth2"));
    }
}
