//! The decision about one row. It is a function of bytes, so that a dry run and a run decide alike.

use serde::Deserialize;

use super::{
    LegacyMapping,
    mapping::Meaning,
    report::{Outcome, Reason},
};
use crate::{
    error::Unreadable,
    store::{
        Sealing,
        redis::row::{self, rewrite::Fields},
    },
    types::{RowKey, SecretBytes, SessionId, StoredRow, UserId, Version},
};

/// A row as it is to be, as far as the older row alone tells.
pub struct Rewritten {
    /// The new row's session and provider.
    pub key: RowKey,
    /// The new row.
    pub json: SecretBytes,
    /// The user that the row belongs to.
    pub user: Option<UserId>,
}

/// What is to be done to the older row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Move it: there is no row under the new key.
    Move,
    /// Move it over the row that an earlier migration made (M2). The user is the one that the replaced row
    /// belongs to.
    Supersede(Option<UserId>),
    /// Drop it: another writer put a newer row under the new key.
    Drop,
}

/// Rewrites `legacy`, the older row of `session`.
///
/// # Errors
/// What becomes of a row that can't move.
pub fn rewrite(
    session: SessionId,
    legacy: &[u8],
    mapping: &LegacyMapping,
) -> Result<Rewritten, Outcome> {
    if legacy == row::NULL {
        return Err(Outcome::Null);
    }
    let corrupt = |what| Outcome::Failed(Reason::Corrupt(what));
    let fields = Fields::parse(legacy).map_err(corrupt)?;
    let named = fields.provider_id().map_err(corrupt)?;
    let provider = match mapping.meaning(&named) {
        Meaning::Mapped(provider) => provider.clone(),
        Meaning::Unmapped => return Err(Outcome::Failed(Reason::Unmapped(named))),
        Meaning::Logical => return Err(Outcome::LeftAlone(Reason::Logical(named))),
    };
    // A row that the migration wrote carries its version once more, as a mark. A later writer gives the row another
    // version, and then the mark no longer counts, even if the writer kept it.
    let version = Version::random().number();
    let json = fields
        .rewrite(provider.as_str(), Some(version), &[("migrated", version)])
        .map_err(|_| Outcome::Failed(Reason::Unreadable("it can't be written".to_owned())))?;
    // A row that no reader can decode must not count as migrated (M6).
    match row::decode(&json, &provider) {
        // No broker writes one in the older layout. Its envelope would open nowhere else.
        Some(Ok(read)) if read.row.sealed.is_some() => Err(Outcome::Failed(Reason::Unreadable(
            "it is sealed, so that it can't move".to_owned(),
        ))),
        Some(Ok(read)) => Ok(Rewritten {
            key: RowKey { session, provider },
            json,
            user: read.row.user_id,
        }),
        Some(Err(error)) => Err(Outcome::Failed(Reason::Unreadable(error.to_string()))),
        None => Err(Outcome::Null),
    }
}

/// Decides about a row whose new key holds `existing`, which `sealing` opens if it is sealed.
///
/// # Errors
/// What becomes of a row that stays where it is.
pub fn decide(
    rewritten: &Rewritten,
    existing: Option<&[u8]>,
    sealing: &Sealing,
) -> Result<Decision, Outcome> {
    let Some(existing) = existing else {
        return Ok(Decision::Move);
    };
    let Some(decoded) = row::decode(existing, &rewritten.key.provider) else {
        return Ok(Decision::Move);
    };
    let is_sealed = |stored: &StoredRow| stored.row.sealed.is_some();
    let may_be_marked = decoded.as_ref().is_ok_and(|stored| !is_sealed(stored));
    match decoded.and_then(|stored| sealing.open(&rewritten.key, stored)) {
        // The migration seals nothing, and nothing vouches for a mark beside an envelope.
        Ok(stored) if may_be_marked && mark(existing) == Some(stored.version) => {
            Ok(Decision::Supersede(stored.row.user_id))
        }
        Ok(_) => Ok(Decision::Drop),
        // To drop the older row for one that no reader can open would lose the last readable copy.
        Err(Unreadable::Damaged(damage)) => {
            Err(Outcome::Failed(Reason::UnreadableTarget(damage.0)))
        }
        Err(Unreadable::KeyMissing(missing)) => {
            Err(Outcome::Failed(Reason::TargetKeyMissing(missing.key)))
        }
    }
}

/// Returns the version that the migration gave the row, if the row still carries the mark.
fn mark(row: &[u8]) -> Option<Version> {
    #[derive(Deserialize)]
    struct Marked {
        migrated: u64,
    }
    let marked: Marked = serde_json::from_slice(row).ok()?;
    Version::from_number(marked.migrated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> LegacyMapping {
        let mut mapping = LegacyMapping::default();
        mapping.add("oidc=okta").unwrap();
        mapping.add("oauth2=github").unwrap();
        mapping
    }

    fn session() -> SessionId {
        SessionId::new("s").unwrap()
    }

    fn of(legacy: &str) -> Result<Rewritten, Outcome> {
        rewrite(session(), legacy.as_bytes(), &mapping())
    }

    fn user(id: &str) -> Option<UserId> {
        UserId::new(id).ok()
    }

    #[test]
    fn a_row_is_marked_with_its_version() {
        let row =
            of(r#"{"provider_id":"oauth2","user_id":"u","x":[1.0],"migrated":true}"#).unwrap();
        let stored = row::decode(&row.json, &row.key.provider).unwrap().unwrap();
        let version = stored.version.number();
        assert_eq!(
            String::from_utf8(row.json.to_vec()).unwrap(),
            format!(
                r#"{{"version":{version},"user_id":"u","provider_id":"github","x":[1.0],"migrated":{version}}}"#
            )
        );
        assert_eq!((row.key.provider.as_str(), row.user), ("github", user("u")));
    }

    #[test]
    fn rows_that_do_not_move() {
        let outcome = |legacy: &str| of(legacy).err().unwrap();
        assert_eq!(outcome("null"), Outcome::Null);
        assert_eq!(
            outcome(r#"{"provider_id":"okta"}"#),
            Outcome::LeftAlone(Reason::Logical("okta".to_owned()))
        );
        assert_eq!(
            outcome(r#"{"provider_id":""}"#),
            Outcome::Failed(Reason::Unmapped(String::new()))
        );
        for corrupt in [
            "",
            "{",
            "\"null\"",
            r#"{"provider_id":7}"#,
            r#"{"user_id":"u","user_id":"u"}"#,
        ] {
            assert!(
                matches!(outcome(corrupt), Outcome::Failed(Reason::Corrupt(_))),
                "{corrupt}"
            );
        }
        // It is JSON, but no reader could use it.
        for unreadable in [r#""expires_at":"soon""#, r#""access_token":"a\r\n""#] {
            assert!(matches!(
                outcome(&format!(r#"{{"provider_id":"oidc",{unreadable}}}"#)),
                Outcome::Failed(Reason::Unreadable(_))
            ));
        }
    }

    #[test]
    fn only_a_row_that_nobody_wrote_since_gives_way() {
        let row = of(r#"{"provider_id":"oidc","user_id":"u"}"#).unwrap();
        let sealing = Sealing::off("ns:name".parse().unwrap());
        let decided = |existing: &str| decide(&row, Some(existing.as_bytes()), &sealing);
        assert_eq!(decide(&row, None, &sealing), Ok(Decision::Move));
        assert_eq!(decided("null"), Ok(Decision::Move));
        assert_eq!(
            decide(&row, Some(&row.json), &sealing),
            Ok(Decision::Supersede(user("u")))
        );
        for newer in [
            r#"{"provider_id":"okta"}"#,
            r#"{"provider_id":"okta","version":7}"#,
            r#"{"provider_id":"okta","version":8,"migrated":7}"#,
            r#"{"provider_id":"okta","migrated":7}"#,
            r#"{"provider_id":"okta","version":1,"migrated":true}"#,
        ] {
            assert_eq!(decided(newer), Ok(Decision::Drop), "{newer}");
        }
        assert!(matches!(
            decided("gone bad"),
            Err(Outcome::Failed(Reason::UnreadableTarget(_)))
        ));
    }
}
