//! Whether rows can be read, and whether they are in the indexes in which they belong.

use serde::Deserialize;

use super::{Check, Finding, FindingKind, report::BatchFindings};
use crate::{
    error::Unreadable,
    store::{
        Decoded, Error,
        redis::{
            keyspace::Key,
            link::reply,
            maintenance::repeated,
            row,
            scripts::{Call, sha1_hex},
        },
    },
    types::{ProviderName, UserId},
};

/// How often a row is looked at while others keep changing it.
const ATTEMPTS: usize = 20;

/// A key that should hold a row, and what the key says about where the row belongs.
pub struct ExpectedRow {
    /// The key.
    pub row: Key,
    /// The provider in the key.
    pub provider: ProviderName,
    /// The index of the session in the key.
    pub session_index: Key,
}

/// What is read of a row that can't be decoded.
#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    provider_id: Option<serde_json::Value>,
}

/// A row that was read, and where it belongs.
struct ReadRow {
    expected: ExpectedRow,
    user: Option<UserId>,
    user_index: Option<Key>,
    sha: String,
}

impl Check {
    /// Checks some rows.
    pub(super) async fn rows(&self, rows: Vec<ExpectedRow>) -> Result<BatchFindings, Error> {
        let mut batch = BatchFindings::default();
        let mut open = rows;
        for _ in 0..ATTEMPTS {
            if open.is_empty() {
                return Ok(batch);
            }
            open = self.attempt(open, &mut batch).await?;
            batch.looked_again += open.len() as u64;
        }
        // Nothing can be said of a row that changed each time that it was looked at.
        batch.counts.unsettled += open.len() as u64;
        Ok(batch)
    }

    /// Returns the rows that changed after they were read, before the script looked at them.
    async fn attempt(
        &self,
        open: Vec<ExpectedRow>,
        batch: &mut BatchFindings,
    ) -> Result<Vec<ExpectedRow>, Error> {
        let mut changed = Vec::new();
        let rows = self.read(open, batch, &mut changed).await?;
        let grace = self.keys.grace();
        let calls: Vec<_> = rows.iter().map(|row| self.look(row, &grace)).collect();
        let answers = repeated::call_each(&self.link, &calls, self.effect()).await?;
        drop(calls);
        for (row, answer) in rows.into_iter().zip(answers) {
            let told: Vec<String> = reply::parse(answer)?;
            if told.first().is_some_and(|word| word == "changed") {
                changed.push(row.expected);
                continue;
            }
            batch.counts.rows += 1;
            for fault in told.chunks(2) {
                batch.findings.push(row.finding(fault, self.repair)?);
            }
        }
        Ok(changed)
    }

    /// The call of the script that looks for a row in its indexes.
    fn look<'a>(&'a self, row: &'a ReadRow, grace: &'a str) -> Call<'a> {
        let mend: &[u8] = if self.repair { b"1" } else { b"" };
        let mut keys = vec![&*row.expected.row, &*row.expected.session_index, grace];
        keys.extend(row.user_index.as_deref());
        Call {
            script: &self.scripts.check_row,
            keys,
            args: vec![
                self.keys.prefix().as_bytes(),
                row.user.as_ref().map_or("", UserId::as_str).as_bytes(),
                mend,
                row.sha.as_bytes(),
            ],
        }
    }

    /// Whether no broker can read a row. Counts it if it is sealed.
    fn is_damaged(
        &self,
        expected: &ExpectedRow,
        decoded: Decoded,
        batch: &mut BatchFindings,
    ) -> bool {
        let (Ok(stored), Some(key)) = (decoded, self.keys.parse_row(&expected.row)) else {
            return true;
        };
        batch.counts.sealed_rows += u64::from(stored.row.sealed.is_some());
        let Some(sealing) = &self.sealing else {
            return stored.row.is_half_sealed();
        };
        match sealing.open(&key, stored) {
            Ok(_) => false,
            Err(Unreadable::Damaged(_)) => true,
            Err(Unreadable::KeyMissing(_)) => {
                batch.counts.key_missing += 1;
                false
            }
        }
    }

    /// Reads the rows, and notes what is wrong with them apart from the indexes.
    async fn read(
        &self,
        open: Vec<ExpectedRow>,
        batch: &mut BatchFindings,
        changed: &mut Vec<ExpectedRow>,
    ) -> Result<Vec<ReadRow>, Error> {
        let keys = open.iter().map(|expected| expected.row.as_str());
        let values = self.link.strings(keys).await?;
        let (mut rows, mut no_string) = (Vec::with_capacity(open.len()), Vec::new());
        for (expected, value) in open.into_iter().zip(values) {
            let Some(bytes) = value else {
                no_string.push(expected);
                continue;
            };
            let Some(decoded) = row::decode(&bytes, &expected.provider) else {
                batch.counts.null_rows += 1;
                continue;
            };
            if self.is_damaged(&expected, decoded, batch) {
                let kind = Named::read(&bytes).fault(&expected.provider);
                let finding = Finding::of(kind, &expected.row, false);
                batch.findings.push(finding);
            }
            let user = row::Label::of(&bytes, Some(&expected.provider)).user;
            rows.push(ReadRow {
                user_index: user.as_ref().map(|user| self.keys.user_index(user)),
                user,
                sha: sha1_hex(&bytes),
                expected,
            });
        }
        let keys = no_string
            .iter()
            .map(|expected: &ExpectedRow| expected.row.as_str());
        let types = self.link.kinds(keys).await?;
        for (expected, value_type) in no_string.into_iter().zip(types) {
            match value_type.as_str() {
                "none" => {}
                "string" => changed.push(expected),
                _ => {
                    let finding = Finding::of(FindingKind::UnreadableRow, &expected.row, false);
                    batch.findings.push(finding);
                }
            }
        }
        Ok(rows)
    }
}

impl Named {
    /// A row that isn't an object names no provider.
    fn read(bytes: &[u8]) -> Self {
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Self::default();
        }
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// Returns what is wrong with a row that can't be decoded, under a key that names `provider`.
    fn fault(&self, provider: &ProviderName) -> FindingKind {
        let named = self.provider_id.as_ref().and_then(|id| id.as_str());
        match named {
            Some(named) if !named.is_empty() && named != provider.as_str() => {
                FindingKind::RowOfAnotherProvider
            }
            _ => FindingKind::UnreadableRow,
        }
    }
}

impl ReadRow {
    /// Returns what the script found: an index and its fault.
    fn finding(&self, fault: &[String], repair: bool) -> Result<Finding, Error> {
        let unknown = || Error::unavailable("check_row.lua gave no known answer");
        let [index, fault] = fault else {
            return Err(unknown());
        };
        let kind = match (index.as_str(), fault.as_str()) {
            ("session", "missing") => FindingKind::MissingInSessionIndex,
            ("session", "early") => FindingKind::SessionIndexEndsEarly,
            ("user", "missing") => FindingKind::MissingInUserIndex,
            ("user", "early") => FindingKind::UserIndexEndsEarly,
            _ => return Err(unknown()),
        };
        let index = match index.as_str() {
            "session" => &self.expected.session_index,
            _ => self.user_index.as_ref().ok_or_else(unknown)?,
        };
        Ok(Finding::within(kind, &self.expected.row, index, repair))
    }
}
