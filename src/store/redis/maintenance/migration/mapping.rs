//! Which provider the data of each protocol type belongs to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::types::{IdError, PROTOCOL_TYPES, ProviderName, TypeNames};

type Pairs = BTreeMap<String, String>;

/// The provider of each protocol type, as configured (guarantees, section 5).
///
/// No two types have the same provider, and no provider has the name of another type. Otherwise two providers' subjects
/// would meet under one name, and with them two users (M4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Pairs", try_from = "Pairs")]
pub struct LegacyMapping(BTreeMap<String, ProviderName>);

/// Why a pair can't be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// The pair has no `=`.
    #[error("must be written as TYPE=PROVIDER, like oidc=corp-okta")]
    Shape,
    /// The text before the `=` is no protocol type. Any other text in a row is a provider's name, which is
    /// never changed (M3).
    #[error("maps something that is no protocol type: it must be oidc or oauth2")]
    Type,
    /// The text after the `=` is no provider's name.
    #[error("names a provider that {0}")]
    Provider(#[from] IdError),
    /// The type is already mapped to another provider.
    #[error("maps a type that is mapped to another provider already")]
    Twice,
    /// Another type is mapped to the provider, or the provider has the name of another type.
    #[error("gives two types one name, under which their subjects would meet")]
    Meet,
}

/// What the `provider_id` of an old row means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// A protocol type that is mapped to this provider.
    Mapped(&'a ProviderName),
    /// A protocol type, or nothing, for which no mapping names a provider.
    Unmapped,
    /// A provider's name.
    Logical,
}

impl LegacyMapping {
    /// Adds a pair that is written like `oidc=corp-okta`.
    ///
    /// # Errors
    /// A [`MappingError`] if the pair is malformed, or contradicts an earlier one.
    pub fn add(&mut self, pair: &str) -> Result<(), MappingError> {
        let (from, to) = pair.split_once('=').ok_or(MappingError::Shape)?;
        if !PROTOCOL_TYPES.contains(&from) {
            return Err(MappingError::Type);
        }
        let provider = ProviderName::new(to)?;
        match self.0.get(from) {
            Some(mapped) if *mapped == provider => return Ok(()),
            Some(_) => return Err(MappingError::Twice),
            None => {}
        }
        let other_type = from != to && PROTOCOL_TYPES.contains(&to);
        if other_type || self.0.values().any(|other| *other == provider) {
            return Err(MappingError::Meet);
        }
        self.0.insert(from.to_owned(), provider);
        Ok(())
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the mapped types, each with its provider.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &ProviderName)> {
        self.0.iter().map(|(from, to)| (from.as_str(), to))
    }

    /// Returns the types that are names of providers, too: those that are mapped to themselves.
    #[must_use]
    pub fn type_names(&self) -> TypeNames {
        let own = self.pairs().filter(|(from, to)| *from == to.as_str());
        own.fold(TypeNames::default(), |names, (from, _)| names.and(from))
    }

    /// Returns what `provider_id` means in a row of the older layout. An empty one is mapped only if there is exactly
    /// one mapping: with two it could be either.
    #[must_use]
    pub fn meaning(&self, provider_id: &str) -> Meaning<'_> {
        let mapped = match provider_id {
            "" if self.0.len() == 1 => self.0.values().next(),
            "" => None,
            named if PROTOCOL_TYPES.contains(&named) => self.0.get(named),
            _ => return Meaning::Logical,
        };
        mapped.map_or(Meaning::Unmapped, Meaning::Mapped)
    }
}

impl From<LegacyMapping> for Pairs {
    fn from(mapping: LegacyMapping) -> Self {
        let pairs = mapping.0.into_iter();
        pairs.map(|(from, to)| (from, to.into())).collect()
    }
}

impl TryFrom<Pairs> for LegacyMapping {
    type Error = MappingError;

    fn try_from(pairs: Pairs) -> Result<Self, MappingError> {
        let mut mapping = Self::default();
        for (from, to) in pairs {
            mapping.add(&format!("{from}={to}"))?;
        }
        Ok(mapping)
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
        let okta = ProviderName::new("corp-okta").unwrap();
        let one = mapping(&["oidc=corp-okta"]);
        assert_eq!(one.meaning("oidc"), Meaning::Mapped(&okta));
        assert_eq!(one.meaning(""), Meaning::Mapped(&okta), "the only mapping");
        assert_eq!(one.meaning("oauth2"), Meaning::Unmapped);
        assert_eq!(one.meaning("github"), Meaning::Logical);
        assert_eq!(one.meaning("corp-okta"), Meaning::Logical);
        let two = mapping(&["oidc=corp-okta", "oauth2=github"]);
        assert_eq!(two.meaning(""), Meaning::Unmapped, "either");
        assert_eq!(mapping(&[]).meaning("oidc"), Meaning::Unmapped);
    }

    #[test]
    fn what_is_no_mapping() {
        let mut mapping = mapping(&["oidc=a", "oidc=a"]);
        for (bad, error) in [
            ("oidc", MappingError::Shape),
            ("=a", MappingError::Type),
            ("github=a", MappingError::Type),
            ("oauth2=", MappingError::Provider(IdError::Empty)),
            ("oidc=b", MappingError::Twice),
            ("oauth2=a", MappingError::Meet),
            ("oauth2=oidc", MappingError::Meet),
        ] {
            assert_eq!(mapping.add(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn a_provider_may_be_called_like_its_own_type() {
        let oidc = ProviderName::new("oidc").unwrap();
        let same = mapping(&["oidc=oidc"]);
        assert_eq!(same.meaning("oidc"), Meaning::Mapped(&oidc));
        assert!(same.type_names().allow(&oidc));
        assert!(!mapping(&["oidc=okta"]).type_names().allow(&oidc));
    }
}
