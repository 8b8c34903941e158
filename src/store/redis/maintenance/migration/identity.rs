//! The decision about one identity (guarantees, section 5, M4).

use serde::Deserialize;

use super::report::{Outcome, Reason};
use crate::{
    store::redis::row::rewrite::Fields,
    types::{ProviderName, SecretBytes, UserId},
};

/// What the older key of an identity says.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct IdentityKey {
    /// The protocol type in the key.
    pub protocol: String,
    /// The provider that the type is mapped to.
    pub provider: ProviderName,
    /// The user's subject at the provider.
    pub subject: String,
}

/// A copy of an identity, for its provider's name.
pub struct Copied {
    /// The copy.
    pub json: SecretBytes,
    /// The user of the identity and of the copy.
    pub user: UserId,
}

#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    provider_subject: Option<String>,
}

/// Makes the copy of `legacy`, the identity under `key`.
///
/// # Errors
/// What becomes of an identity that isn't copied.
pub fn rewrite(key: &IdentityKey, legacy: &[u8]) -> Result<Copied, Outcome> {
    let corrupt = |what| Outcome::Failed(Reason::Corrupt(what));
    let fields = Fields::parse(legacy).map_err(corrupt)?;
    let named = fields.provider_id().map_err(corrupt)?;
    if !named.is_empty() && named != key.protocol {
        return Err(Outcome::LeftAlone(Reason::Logical(named)));
    }
    let stored = read(legacy).map_err(|what| Outcome::Failed(Reason::Unreadable(what)))?;
    // A login finds the identity by its key. A value that names another subject must not decide who logs in.
    if stored
        .provider_subject
        .is_some_and(|subject| !subject.is_empty() && subject != key.subject)
    {
        return Err(Outcome::Failed(Reason::OtherSubject));
    }
    let user = stored.user_id.and_then(UserId::from_stored);
    let user = user.ok_or(Outcome::Failed(Reason::NoUser))?;
    // The copy would be one that no login can use (M6).
    user.check()
        .map_err(|wrong| Outcome::Failed(Reason::Unreadable(format!("user_id {wrong}"))))?;
    let json = fields
        .rewrite(key.provider.as_str(), None, &[])
        .map_err(|_| Outcome::Failed(Reason::Unreadable("it can't be written".to_owned())))?;
    Ok(Copied { json, user })
}

/// Returns what becomes of an identity where the new key holds `existing`, which is never overwritten.
pub fn decide(copied: &Copied, existing: &[u8]) -> Outcome {
    match read(existing) {
        Err(what) => Outcome::Failed(Reason::UnreadableTarget(what)),
        Ok(stored) if stored.user_id.as_deref() == Some(copied.user.as_str()) => Outcome::Present,
        Ok(_) => Outcome::LeftAlone(Reason::OtherUser),
    }
}

fn read(json: &[u8]) -> Result<Stored, String> {
    // The error's own text would quote the value.
    serde_json::from_slice(json).map_err(|_| "no identity in JSON".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> IdentityKey {
        IdentityKey {
            protocol: "oidc".to_owned(),
            provider: ProviderName::new("okta").unwrap(),
            subject: "a:b".to_owned(),
        }
    }

    #[test]
    fn the_copy_differs_in_the_provider_only() {
        let json = r#"{"user_id":"u","provider_id":"oidc","provider_subject":"a:b","x":1.0}"#;
        let copied = rewrite(&key(), json.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(copied.json.to_vec()).unwrap(),
            json.replace("oidc", "okta")
        );
        assert_eq!(copied.user.as_str(), "u");
        assert_eq!(decide(&copied, &copied.json), Outcome::Present);
        assert_eq!(
            decide(&copied, br#"{"user_id":"v"}"#),
            Outcome::LeftAlone(Reason::OtherUser)
        );
    }

    #[test]
    fn identities_that_are_not_copied() {
        let outcome = |json: &str| rewrite(&key(), json.as_bytes()).err().unwrap();
        assert_eq!(
            outcome(r#"{"user_id":"u","provider_id":"github"}"#),
            Outcome::LeftAlone(Reason::Logical("github".to_owned()))
        );
        for (reason, json) in [
            (Reason::NoUser, r#"{"provider_id":"oidc"}"#),
            (Reason::NoUser, r#"{"user_id":""}"#),
            (
                Reason::OtherSubject,
                r#"{"user_id":"u","provider_subject":"c"}"#,
            ),
        ] {
            assert_eq!(outcome(json), Outcome::Failed(reason));
        }
        for corrupt in ["null", "x", r#"{"user_id":"u","user_id":"v"}"#] {
            assert!(matches!(
                outcome(corrupt),
                Outcome::Failed(Reason::Corrupt(_))
            ));
        }
        for unreadable in [r#"{"user_id":7}"#, r#"{"user_id":"a\nb"}"#] {
            assert!(matches!(
                outcome(unreadable),
                Outcome::Failed(Reason::Unreadable(_))
            ));
        }
    }
}
