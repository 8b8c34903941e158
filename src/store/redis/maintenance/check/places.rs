//! Whether the members of the sets that count pending authorizations belong there.

use redis::Value;

use super::{Check, Finding, FindingKind, report::BatchFindings};
use crate::{
    store::{
        Error,
        redis::{keyspace::Key, link::reply, maintenance::repeated, scripts::Call},
    },
    types::ClientId,
};

/// How many members one script looks at.
const PAGE: &[u8] = b"100";

/// A key that should hold a sorted set of pending authorizations, and how far it was looked at.
pub struct Places {
    key: Key,
    /// How the JSON of an authorization spells the set's client. Empty if it is the set of all clients.
    client: String,
    /// The score to go on at.
    from: Vec<u8>,
    /// The member with that score that was looked at last.
    last: Vec<u8>,
}

impl Places {
    /// The set at `key`, of one client or of all.
    pub fn new(key: Key, client: Option<ClientId>) -> Self {
        let spelling = client.and_then(|client| serde_json::to_string(client.as_str()).ok());
        Self {
            key,
            client: spelling.map_or_else(String::new, |client| format!("\"client\":{client}")),
            from: b"-inf".to_vec(),
            last: Vec::new(),
        }
    }
}

impl Check {
    /// Checks all members of some sets.
    pub(super) async fn places(&self, places: Vec<Places>) -> Result<BatchFindings, Error> {
        let mut batch = BatchFindings::default();
        let mend: &[u8] = if self.repair { b"1" } else { b"" };
        let mut open = places;
        while !open.is_empty() {
            let calls = open.iter().map(|places| Call {
                script: &self.scripts.check_places,
                keys: vec![places.key.as_str()],
                args: vec![
                    self.keys.prefix().as_bytes(),
                    places.client.as_bytes(),
                    &places.from,
                    &places.last,
                    PAGE,
                    mend,
                ],
            });
            let calls: Vec<_> = calls.collect();
            let answers = repeated::call_each(&self.link, &calls, self.effect()).await?;
            drop(calls);
            let mut rest = Vec::new();
            for (places, answer) in open.into_iter().zip(answers) {
                rest.extend(self.note_places(places, answer, &mut batch)?);
            }
            open = rest;
        }
        Ok(batch)
    }

    /// Checks some keys that say how large pending authorizations are.
    pub(super) async fn sizes(&self, keys: Vec<Key>) -> Result<BatchFindings, Error> {
        let mut batch = BatchFindings::default();
        batch.counts.records += keys.len() as u64;
        let mend: &[u8] = if self.repair { b"1" } else { b"" };
        let calls: Vec<_> = keys
            .iter()
            .map(|key| Call {
                script: &self.scripts.check_sizes,
                keys: vec![key.as_str()],
                args: vec![mend],
            })
            .collect();
        let answers = repeated::call_each(&self.link, &calls, self.effect()).await?;
        drop(calls);
        for (key, answer) in keys.iter().zip(answers) {
            if reply::parse::<u64>(answer)? == 1 {
                let finding = Finding::of(FindingKind::PendingSetOfWrongType, key, self.repair);
                batch.findings.push(finding);
            }
        }
        Ok(batch)
    }

    /// Notes what the script found. Returns what is left to be looked at of the set.
    fn note_places(
        &self,
        places: Places,
        answer: Value,
        batch: &mut BatchFindings,
    ) -> Result<Option<Places>, Error> {
        let mut told = reply::list(answer)?.into_iter();
        let from: Vec<u8> = reply::parse(told.next().unwrap_or(Value::Nil))?;
        if from == b"type" {
            let finding = Finding::of(FindingKind::PendingSetOfWrongType, &places.key, self.repair);
            batch.findings.push(finding);
            return Ok(None);
        }
        let last: Vec<u8> = reply::parse(told.next().unwrap_or(Value::Nil))?;
        batch.counts.members += reply::parse::<u64>(told.next().unwrap_or(Value::Int(0)))?;
        while let (Some(fault), Some(member)) = (told.next(), told.next()) {
            let fault: String = reply::parse(fault)?;
            let member: Vec<u8> = reply::parse(member)?;
            let kind = match fault.as_str() {
                "foreign" => FindingKind::ForeignMember,
                "vacant" => FindingKind::PlaceOfNobody,
                "dangling" => FindingKind::DanglingMember,
                _ => {
                    let unknown = "check_places.lua gave no known answer";
                    return Err(Error::unavailable(unknown));
                }
            };
            let member = String::from_utf8_lossy(&member);
            let finding = Finding::within(kind, &member, &places.key, self.repair);
            batch.findings.push(finding);
        }
        Ok((!from.is_empty()).then_some(Places {
            from,
            last,
            ..places
        }))
    }
}
