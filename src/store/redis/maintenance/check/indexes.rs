//! Whether the members of indexes belong there.

use redis::Value;

use super::{Check, Finding, FindingKind, report::BatchFindings};
use crate::store::{
    Error,
    redis::{keyspace::Key, link::reply, maintenance::repeated, scripts::Call, telling::Told},
};

/// About how many members one script looks at. With rows of 2 KiB that takes a third of a millisecond of Redis' time.
const PAGE: &[u8] = b"100";
/// The cursor of the first page. It also follows the last page.
const BEGIN: &[u8] = b"0";

/// A key that should hold an index: a set of the keys of rows or identities.
pub struct Index {
    /// The key.
    pub key: Key,
    /// What the index should hold.
    pub kind: IndexKind,
    /// How the members' JSON spells the user of the index. Empty if the user isn't known.
    pub spelling: String,
}

/// What an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// A session's rows.
    SessionRows,
    /// A user's rows.
    UserRows,
    /// A user's identities.
    UserIdentities,
}

impl IndexKind {
    /// Returns the name that `check_index.lua` has for it.
    fn name(self) -> &'static str {
        match self {
            Self::SessionRows => "session",
            Self::UserRows => "user",
            Self::UserIdentities => "identities",
        }
    }
}

impl Check {
    /// Checks all members of some indexes.
    pub(super) async fn indexes(&self, indexes: Vec<Index>) -> Result<BatchFindings, Error> {
        let mut batch = BatchFindings::default();
        for index in &indexes {
            let counts = &mut batch.counts;
            *match index.kind {
                IndexKind::SessionRows => &mut counts.session_indexes,
                IndexKind::UserRows => &mut counts.user_indexes,
                IndexKind::UserIdentities => &mut counts.identity_sets,
            } += 1;
        }
        let mut open: Vec<_> = indexes
            .into_iter()
            .map(|index| (index, BEGIN.to_vec(), Told::default()))
            .collect();
        while !open.is_empty() {
            let calls: Vec<_> = open
                .iter()
                .map(|(index, at, told)| self.page(index, at, told))
                .collect();
            let answers = repeated::call_each(&self.link, &calls, self.effect()).await?;
            drop(calls);
            let mut rest = Vec::new();
            for ((index, at, mut told), answer) in open.into_iter().zip(answers) {
                let Some(answer) = told.tell(&self.keys, answer)? else {
                    rest.push((index, at, told));
                    continue;
                };
                let next = self.note(&index, answer, &mut batch)?;
                if next != BEGIN {
                    rest.push((index, next, Told::default()));
                }
            }
            open = rest;
        }
        Ok(batch)
    }

    /// The call of the script that looks at a page of an index.
    fn page<'a>(&'a self, index: &'a Index, cursor: &'a [u8], told: &'a Told) -> Call<'a> {
        let mend: &[u8] = if self.repair { b"1" } else { b"" };
        Call {
            script: &self.scripts.check_index,
            keys: vec![&index.key],
            args: [
                self.keys.prefix().as_bytes(),
                index.kind.name().as_bytes(),
                index.spelling.as_bytes(),
                cursor,
                PAGE,
                mend,
            ]
            .into_iter()
            .chain(told.args())
            .collect(),
        }
    }

    /// Notes what the script found, and returns the cursor of the next page.
    fn note(
        &self,
        index: &Index,
        answer: Value,
        batch: &mut BatchFindings,
    ) -> Result<Vec<u8>, Error> {
        let mut told = reply::list(answer)?.into_iter();
        let cursor: Vec<u8> = reply::parse(told.next().unwrap_or(Value::Nil))?;
        if cursor == b"type" {
            let finding = Finding::of(FindingKind::IndexOfWrongType, &index.key, false);
            batch.findings.push(finding);
            return Ok(BEGIN.to_vec());
        }
        batch.counts.members += reply::parse::<u64>(told.next().unwrap_or(Value::Int(0)))?;
        batch.counts.others_rows += reply::parse::<u64>(told.next().unwrap_or(Value::Int(0)))?;
        while let (Some(fault), Some(member)) = (told.next(), told.next()) {
            let fault: String = reply::parse(fault)?;
            let member: Vec<u8> = reply::parse(member)?;
            let member = String::from_utf8_lossy(&member);
            let kind = match (fault.as_str(), index.kind) {
                ("dangling", _) => FindingKind::DanglingMember,
                ("owner", IndexKind::UserIdentities) => FindingKind::IdentityOfAnotherUser,
                ("owner", _) => FindingKind::RowOfAnotherUser,
                ("session", _) => FindingKind::RowOfAnotherSession,
                ("foreign", _) => FindingKind::ForeignMember,
                ("empty", _) => {
                    let finding =
                        Finding::of(FindingKind::IndexWithoutRows, &index.key, self.repair);
                    batch.findings.push(finding);
                    continue;
                }
                _ => {
                    let unknown = "check_index.lua gave no known answer";
                    return Err(Error::unavailable(unknown));
                }
            };
            let finding = Finding::within(kind, &member, &index.key, self.repair);
            batch.findings.push(finding);
        }
        Ok(cursor)
    }
}
