//! Whether the members of indexes belong there.

use redis::Value;

use super::{
    Check, Finding, FindingKind,
    report::Part,
    role::{Index, Sort},
};
use crate::{
    error::Error,
    store::redis::{link::reply, scripts::Call},
};

/// Members that one script looks at: with rows of 2 KiB a third of a millisecond of Redis' time.
const PAGE: &[u8] = b"100";
const BEGIN: &[u8] = b"0";

impl Check {
    /// Looks at all members of some indexes.
    pub(super) async fn indexes(&self, indexes: Vec<Index>) -> Result<Part, Error> {
        let mut part = Part::default();
        for index in &indexes {
            let counts = &mut part.counts;
            *match index.sort {
                Sort::Session => &mut counts.session_indexes,
                Sort::User => &mut counts.user_indexes,
                Sort::Identities => &mut counts.identity_sets,
            } += 1;
        }
        let mut open: Vec<_> = indexes
            .into_iter()
            .map(|index| (index, BEGIN.to_vec()))
            .collect();
        while !open.is_empty() {
            let calls: Vec<_> = open
                .iter()
                .map(|(index, at)| self.page(index, at))
                .collect();
            let answers = self.link.call_each(&calls, self.effect()).await?;
            drop(calls);
            let mut rest = Vec::new();
            for ((index, _), answer) in open.into_iter().zip(answers) {
                let next = self.note(&index, answer, &mut part)?;
                if next != BEGIN {
                    rest.push((index, next));
                }
            }
            open = rest;
        }
        Ok(part)
    }

    fn page<'a>(&'a self, index: &'a Index, cursor: &'a [u8]) -> Call<'a> {
        let mend: &[u8] = if self.repair { b"1" } else { b"" };
        Call {
            script: &self.scripts.check_index,
            keys: vec![&index.key],
            args: vec![
                self.keys.prefix().as_bytes(),
                index.sort.name().as_bytes(),
                index.spelling.as_bytes(),
                cursor,
                PAGE,
                mend,
            ],
        }
    }

    /// Takes note of what a script told, and gives the cursor of the next page.
    fn note(&self, index: &Index, answer: Value, part: &mut Part) -> Result<Vec<u8>, Error> {
        let mut told = reply::list(answer)?.into_iter();
        let cursor: Vec<u8> = reply::parse(told.next().unwrap_or(Value::Nil))?;
        if cursor == b"type" {
            let finding = Finding::of(FindingKind::IndexOfWrongType, &index.key, false);
            part.findings.push(finding);
            return Ok(BEGIN.to_vec());
        }
        part.counts.members += reply::parse::<u64>(told.next().unwrap_or(Value::Int(0)))?;
        while let (Some(fault), Some(member)) = (told.next(), told.next()) {
            let fault: String = reply::parse(fault)?;
            let member: Vec<u8> = reply::parse(member)?;
            let member = String::from_utf8_lossy(&member);
            let kind = match (fault.as_str(), index.sort) {
                ("dangling", _) => FindingKind::DanglingMember,
                ("owner", Sort::Identities) => FindingKind::IdentityOfAnotherUser,
                ("owner", _) => FindingKind::RowOfAnotherUser,
                ("session", _) => FindingKind::RowOfAnotherSession,
                ("foreign", _) => FindingKind::ForeignMember,
                ("empty", _) => {
                    let finding =
                        Finding::of(FindingKind::IndexWithoutRows, &index.key, self.repair);
                    part.findings.push(finding);
                    continue;
                }
                _ => {
                    let unknown = "check_index.lua gave no known answer";
                    return Err(Error::store_unavailable(unknown));
                }
            };
            let finding = Finding::within(kind, &member, &index.key, self.repair);
            part.findings.push(finding);
        }
        Ok(cursor)
    }
}
