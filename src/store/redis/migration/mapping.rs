//! Which provider the rows of an old protocol type belong to.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::types::{IdError, ProviderName};

/// Protocol types that old auth servers wrote in the place of a provider.
const PROTOCOL_TYPES: [&str; 2] = ["oidc", "oauth2"];

/// Protocol type → provider, as configured (contract section 5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LegacyMapping(BTreeMap<String, String>);

/// Why a pair can't be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// There is no `=`, or nothing before it.
    #[error("must be written as TYPE=PROVIDER, like oidc=corp-okta")]
    Shape,
    /// What is behind the `=` is no provider.
    #[error("names a provider that {0}")]
    Provider(#[from] IdError),
    /// The type is mapped already, to another provider.
    #[error("maps a type that is mapped to {0:?} already")]
    Twice(String),
}

/// What the `provider_id` of an old row means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// A protocol type that is mapped to this provider.
    Mapped(ProviderName),
    /// A protocol type, or nothing, and no mapping says whose.
    Unmapped,
    /// The name of a provider already.
    Logical,
}

impl LegacyMapping {
    /// Adds a pair as it is written: `oidc=corp-okta`.
    ///
    /// # Errors
    /// A [`MappingError`] if it is malformed, or contradicts an earlier one.
    pub fn add(&mut self, pair: &str) -> Result<(), MappingError> {
        let (from, to) = pair.split_once('=').ok_or(MappingError::Shape)?;
        if from.is_empty() {
            return Err(MappingError::Shape);
        }
        let provider = ProviderName::new(to)?;
        match self.0.get(from) {
            Some(mapped) if mapped != provider.as_str() => Err(MappingError::Twice(mapped.clone())),
            _ => {
                self.0.insert(from.to_owned(), provider.into());
                Ok(())
            }
        }
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mapped types, each with its provider.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(from, to)| (from.as_str(), to.as_str()))
    }

    /// What `provider_id` means in a row of the older layout. Nothing at all is mapped only where
    /// there is one mapping exactly.
    #[must_use]
    pub fn meaning(&self, provider_id: &str) -> Meaning {
        let mapped = match provider_id {
            "" if self.0.len() == 1 => self.0.values().next(),
            "" => None,
            named => self.0.get(named),
        };
        match mapped.map(|name| ProviderName::new(name.as_str())) {
            Some(Ok(provider)) => Meaning::Mapped(provider),
            _ if provider_id.is_empty() || PROTOCOL_TYPES.contains(&provider_id) => {
                Meaning::Unmapped
            }
            _ => Meaning::Logical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(pairs: &[&str]) -> LegacyMapping {
        let mut mapping = LegacyMapping::default();
        pairs.iter().for_each(|pair| mapping.add(pair).unwrap());
        mapping
    }

    #[test]
    fn what_a_provider_id_means() {
        let okta = Meaning::Mapped(ProviderName::new("corp-okta").unwrap());
        let one = mapping(&["oidc=corp-okta"]);
        assert_eq!(one.meaning("oidc"), okta);
        assert_eq!(one.meaning(""), okta, "the only mapping");
        assert_eq!(one.meaning("oauth2"), Meaning::Unmapped);
        assert_eq!(one.meaning("github"), Meaning::Logical);
        let two = mapping(&["oidc=corp-okta", "oauth2=github"]);
        assert_eq!(two.meaning(""), Meaning::Unmapped, "either");
        assert_eq!(mapping(&[]).meaning("oidc"), Meaning::Unmapped);
    }

    #[test]
    fn what_is_no_mapping() {
        let mut mapping = mapping(&["oidc=a", "oidc=a"]);
        for bad in ["oidc", "=a", "oidc=", "oidc=b"] {
            assert!(mapping.add(bad).is_err(), "{bad}");
        }
    }
}
