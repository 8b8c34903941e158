//! Whether users and identities can be read, and whether each identity has its user and is in that user's set.

use super::{Check, Finding, FindingKind, report::BatchFindings};
use crate::{
    store::{
        Error,
        redis::{
            keyspace::Key,
            link::reply,
            maintenance::repeated,
            scripts::{Call, sha1_hex},
            user::{self, StoredUser},
        },
    },
    types::{IdentityKey, SecretBytes, UserId},
};

/// How often an identity is looked at while others keep changing it.
const ATTEMPTS: usize = 20;

/// A key that should hold an identity.
pub struct ExpectedIdentity {
    /// The key.
    pub key: Key,
    /// The provider and the subject in it.
    pub named: IdentityKey,
}

/// A key that should hold the record of a user.
pub struct ExpectedUser {
    /// The key.
    pub key: Key,
    /// The user in it.
    pub user: UserId,
}

/// An identity that was read, and where it belongs.
struct ReadIdentity {
    expected: ExpectedIdentity,
    user: UserId,
    set: Key,
    sha: String,
}

impl Check {
    /// Checks some records of users.
    pub(super) async fn users(&self, users: Vec<ExpectedUser>) -> Result<BatchFindings, Error> {
        let mut batch = BatchFindings::default();
        let keys: Vec<_> = users.iter().map(|expected| expected.key.as_str()).collect();
        for (expected, value) in users.iter().zip(self.values(&keys).await?) {
            let decoded = match &value {
                Value::Gone => continue,
                Value::Text(json) => StoredUser::decode(json, &expected.user).is_ok(),
                Value::OtherType => false,
            };
            batch.counts.users += 1;
            if !decoded {
                let finding = Finding::of(FindingKind::UnreadableUser, &expected.key, false);
                batch.findings.push(finding);
            }
        }
        Ok(batch)
    }

    /// Checks some identities.
    pub(super) async fn identities(
        &self,
        identities: Vec<ExpectedIdentity>,
    ) -> Result<BatchFindings, Error> {
        let mut batch = BatchFindings::default();
        let mut open = identities;
        for _ in 0..ATTEMPTS {
            if open.is_empty() {
                return Ok(batch);
            }
            open = self.look_at_identities(open, &mut batch).await?;
            batch.looked_again += open.len() as u64;
        }
        batch.counts.unsettled += open.len() as u64;
        Ok(batch)
    }

    /// Returns the identities that changed after they were read, before the script looked at them.
    async fn look_at_identities(
        &self,
        open: Vec<ExpectedIdentity>,
        batch: &mut BatchFindings,
    ) -> Result<Vec<ExpectedIdentity>, Error> {
        let read = self.read_identities(open, batch).await?;
        let mend: &[u8] = if self.repair { b"1" } else { b"" };
        let calls: Vec<_> = read
            .iter()
            .map(|read| Call {
                script: &self.scripts.check_identity,
                keys: vec![&read.expected.key, &read.set],
                args: vec![
                    self.keys.prefix().as_bytes(),
                    mend,
                    read.sha.as_bytes(),
                    read.user.as_str().as_bytes(),
                ],
            })
            .collect();
        let answers = repeated::call_each(&self.link, &calls, self.effect()).await?;
        drop(calls);
        let mut changed = Vec::new();
        for (read, answer) in read.into_iter().zip(answers) {
            let faults: Vec<String> = reply::parse(answer)?;
            if faults.first().is_some_and(|word| word == "changed") {
                changed.push(read.expected);
                continue;
            }
            batch.counts.identities += 1;
            for fault in faults {
                batch.findings.push(read.finding(&fault, self.repair)?);
            }
        }
        Ok(changed)
    }

    /// Reads the identities, and notes those that can't be read.
    async fn read_identities(
        &self,
        open: Vec<ExpectedIdentity>,
        batch: &mut BatchFindings,
    ) -> Result<Vec<ReadIdentity>, Error> {
        let keys: Vec<_> = open.iter().map(|expected| expected.key.as_str()).collect();
        let values = self.values(&keys).await?;
        let mut all = Vec::with_capacity(open.len());
        for (expected, value) in open.into_iter().zip(values) {
            let read = match value {
                Value::Gone => continue,
                Value::OtherType => None,
                Value::Text(json) => {
                    let identity = user::decode_identity(&json, &expected.named);
                    identity.map(|identity| (identity.user, sha1_hex(&json)))
                }
            };
            let Some((user, sha)) = read else {
                batch.counts.identities += 1;
                let finding = Finding::of(FindingKind::UnreadableIdentity, &expected.key, false);
                batch.findings.push(finding);
                continue;
            };
            all.push(ReadIdentity {
                set: self.keys.user_identities(&user),
                user,
                sha,
                expected,
            });
        }
        Ok(all)
    }

    /// Returns what some keys hold.
    pub(super) async fn values(&self, keys: &[&str]) -> Result<Vec<Value>, Error> {
        let texts = self.link.strings(keys.iter().copied()).await?;
        let no_text = keys.iter().zip(&texts).filter(|(_, text)| text.is_none());
        let kinds = self.link.kinds(no_text.map(|(key, _)| *key)).await?;
        let mut kinds = kinds.into_iter();
        let value = |text: Option<SecretBytes>| match text {
            Some(text) => Value::Text(text),
            // It may have been written just now. Then it counts as one that the walk has passed.
            None => match kinds.next().as_deref() {
                Some("none" | "string") | None => Value::Gone,
                Some(_) => Value::OtherType,
            },
        };
        Ok(texts.into_iter().map(value).collect())
    }
}

/// What a key holds.
pub(super) enum Value {
    Text(SecretBytes),
    OtherType,
    Gone,
}

impl ReadIdentity {
    /// Returns what the script found.
    fn finding(&self, fault: &str, repair: bool) -> Result<Finding, Error> {
        let key = &self.expected.key;
        match fault {
            "missing" => {
                let kind = FindingKind::MissingInIdentitySet;
                Ok(Finding::within(kind, key, &self.set, repair))
            }
            "userless" => Ok(Finding::of(FindingKind::IdentityWithoutUser, key, false)),
            _ => Err(Error::unavailable(
                "check_identity.lua gave no known answer",
            )),
        }
    }
}
