//! Users and identities as JSON, in toolhive's spelling. What toolhive writes is read, and toolhive reads what this writes.

use serde::{Deserialize, Serialize};

use crate::{
    error::Damage,
    types::{Identity, IdentityKey, UnixTime, UserId, UserRecord},
};

/// A user's record.
#[derive(Deserialize)]
pub(super) struct StoredUser {
    #[serde(default)]
    created_at: i64,
    #[serde(default)]
    updated_at: i64,
}

impl StoredUser {
    /// Reads the record of a user. The key says whose it is.
    pub(super) fn decode(json: &[u8], user: &UserId) -> Result<UserRecord, Damage> {
        // serde would also accept an array.
        let stored: Option<Self> = (json.trim_ascii_start().first() == Some(&b'{'))
            .then(|| serde_json::from_slice(json).ok())
            .flatten();
        let stored = stored.ok_or_else(|| Damage("the user's record can't be read".to_owned()))?;
        Ok(UserRecord {
            id: user.clone(),
            created_at: UnixTime::from_stored(stored.created_at),
            updated_at: UnixTime::from_stored(stored.updated_at),
        })
    }
}

#[derive(Deserialize)]
struct StoredIdentity {
    user_id: String,
    #[serde(default)]
    linked_at: i64,
    #[serde(default)]
    last_used_at: i64,
}

/// Reads the identity under `key`. Returns `None` if it can't be read, or leads to a user whom no call can name.
pub(super) fn decode_identity(json: &[u8], key: &IdentityKey) -> Option<Identity> {
    if json.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let stored: StoredIdentity = serde_json::from_slice(json).ok()?;
    Some(Identity {
        key: key.clone(),
        user: UserId::new(stored.user_id).ok()?,
        linked_at: UnixTime::from_stored(stored.linked_at),
        last_used_at: UnixTime::from_stored(stored.last_used_at),
    })
}

#[derive(Serialize)]
struct UntilTime<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct LinkUntilTime<'a> {
    user_id: &'a str,
    provider_id: &'a str,
    provider_subject: &'a str,
}

/// Returns the JSON of a new user's record up to the value of `created_at`. Redis knows the time.
pub(super) fn record_until_time(user: &UserId) -> String {
    until(&UntilTime { id: user.as_str() }, "created_at")
}

/// Returns the JSON of a new identity up to the value of `linked_at`.
pub(super) fn link_until_time(key: &IdentityKey, user: &UserId) -> String {
    let link = LinkUntilTime {
        user_id: user.as_str(),
        provider_id: key.provider.as_str(),
        provider_subject: key.subject.as_str(),
    };
    until(&link, "linked_at")
}

fn until(object: &impl Serialize, field: &str) -> String {
    // Texts alone always have a spelling in JSON.
    let mut json = serde_json::to_string(object).unwrap_or_default();
    json.pop();
    json + ",\"" + field + "\":"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ProviderName, Subject};

    #[test]
    fn the_spelling_is_toolhives() {
        let user = UserId::new("u-1").unwrap();
        assert_eq!(record_until_time(&user), r#"{"id":"u-1","created_at":"#);
        let key = IdentityKey {
            provider: ProviderName::new("okta").unwrap(),
            subject: Subject::new("a\"b").unwrap(),
        };
        assert_eq!(
            link_until_time(&key, &user),
            r#"{"user_id":"u-1","provider_id":"okta","provider_subject":"a\"b","linked_at":"#
        );
    }

    #[test]
    fn what_is_no_object_is_not_read() {
        let user = UserId::new("u").unwrap();
        for json in [
            "",
            "null",
            "[]",
            "[1,2]",
            "{",
            "7",
            "{\"created_at\":\"x\"}",
        ] {
            assert!(
                StoredUser::decode(json.as_bytes(), &user).is_err(),
                "{json}"
            );
        }
        assert!(StoredUser::decode(b"{}", &user).is_ok());
    }
}
