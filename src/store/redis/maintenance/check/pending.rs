//! Whether pending authorizations can be read, end some time, and are counted until then.

use std::time::Duration;

use super::{Check, Finding, FindingKind, report::BatchFindings, users::Value};
use crate::{
    error::Unopened,
    store::{
        Error, TAKEN_FOR,
        redis::{keyspace::Key, link::reply, maintenance::repeated, pending, scripts::Call},
    },
    types::{State, UnixTime},
};

/// How often an authorization is looked at while others keep changing it.
const ATTEMPTS: usize = 20;
/// The end of an authorization that has none, and can't be read: no broker keeps one longer.
const LONGEST_LIFE: Duration = Duration::from_secs(3600);
/// By how many of its first bytes a script knows an authorization again: they hold its id.
const HEAD: usize = 45;
/// What a state begins with that somebody has taken.
const TAKEN: &[u8] = br#"{"taken":""#;

/// A key that should hold a pending authorization.
pub struct ExpectedPending {
    /// The key.
    pub key: Key,
    /// The state in it.
    pub state: State,
}

/// An authorization that was read, and where it is counted.
struct ReadPending {
    expected: ExpectedPending,
    head: Vec<u8>,
    /// When it ends if Redis knows no end, in ms since 1970.
    end: String,
    sets: Vec<Key>,
}

impl Check {
    /// Checks some pending authorizations. What other software keeps under such keys is left alone.
    pub(super) async fn pending(
        &self,
        pending: Vec<ExpectedPending>,
    ) -> Result<BatchFindings, Error> {
        let mut batch = BatchFindings::default();
        let mut open = pending;
        for _ in 0..ATTEMPTS {
            if open.is_empty() {
                return Ok(batch);
            }
            open = self.look_at_pending(open, &mut batch).await?;
            batch.looked_again += open.len() as u64;
        }
        batch.counts.unsettled += open.len() as u64;
        Ok(batch)
    }

    /// Returns the authorizations that changed after they were read, before the script looked at them.
    async fn look_at_pending(
        &self,
        open: Vec<ExpectedPending>,
        batch: &mut BatchFindings,
    ) -> Result<Vec<ExpectedPending>, Error> {
        let mut read = Vec::with_capacity(open.len());
        let keys: Vec<_> = open.iter().map(|expected| expected.key.as_str()).collect();
        let values = self.values(&keys).await?;
        for (expected, value) in open.into_iter().zip(values) {
            match value {
                Value::Gone => {}
                Value::OtherType => batch.counts.other_keys += 1,
                Value::Text(json) => read.extend(self.read_pending(expected, &json, batch)),
            }
        }
        let calls: Vec<_> = read.iter().map(|read| self.look_for(read)).collect();
        let answers = repeated::call_each(&self.link, &calls, self.effect()).await?;
        drop(calls);
        let mut changed = Vec::new();
        for (read, answer) in read.into_iter().zip(answers) {
            let told: Vec<String> = reply::parse(answer)?;
            if told.first().is_some_and(|word| word == "changed") {
                changed.push(read.expected);
                continue;
            }
            let is_taken = read.head.starts_with(TAKEN);
            batch.counts.records += u64::from(is_taken);
            batch.counts.pending += u64::from(!is_taken);
            for fault in told.chunks(2) {
                batch.findings.push(read.finding(fault, self.repair)?);
            }
        }
        Ok(changed)
    }

    /// The call of the script that looks for an authorization where it is counted.
    fn look_for<'a>(&'a self, read: &'a ReadPending) -> Call<'a> {
        let mend: &[u8] = if self.repair { b"1" } else { b"" };
        let sets = read.sets.iter().map(Key::as_str);
        Call {
            script: &self.scripts.check_pending,
            keys: [read.expected.key.as_str()]
                .into_iter()
                .chain(sets)
                .collect(),
            args: vec![&read.head, read.end.as_bytes(), mend],
        }
    }

    /// Returns what is to be looked for of an authorization, and notes if it can't be read. Returns `None` if it isn't a
    /// broker's.
    fn read_pending(
        &self,
        expected: ExpectedPending,
        json: &[u8],
        batch: &mut BatchFindings,
    ) -> Option<ReadPending> {
        let mut read = ReadPending {
            head: json[..json.len().min(HEAD)].to_vec(),
            end: ms_at(UnixTime::now().plus(LONGEST_LIFE)),
            sets: Vec::new(),
            expected,
        };
        if json.starts_with(TAKEN) {
            read.end = ms_at(UnixTime::now().plus(TAKEN_FOR));
            return Some(read);
        }
        let Some(decoded) = pending::decode(json) else {
            batch.counts.other_keys += 1;
            return None;
        };
        read.sets.push(self.keys.all_pending());
        let opened = decoded.and_then(|pending| {
            read.sets.push(self.keys.pending_of_client(&pending.client));
            read.end = ms_at(pending.expires_at);
            match &self.sealing {
                Some(sealing) => sealing
                    .open_pending(&read.expected.state, pending)
                    .map(drop),
                None => Ok(()),
            }
        });
        match opened {
            Ok(()) => {}
            Err(Unopened::KeyMissing { .. }) => batch.counts.pending_key_missing += 1,
            Err(_) => {
                let kind = FindingKind::UnreadableAuthorization;
                let finding = Finding::of(kind, &read.expected.key, false);
                batch.findings.push(finding);
            }
        }
        Some(read)
    }
}

fn ms_at(time: UnixTime) -> String {
    time.seconds().saturating_mul(1_000).to_string()
}

impl ReadPending {
    /// Returns what the script found: a fault and a set.
    fn finding(&self, fault: &[String], repair: bool) -> Result<Finding, Error> {
        let key = &self.expected.key;
        let unknown = || Error::unavailable("check_pending.lua gave no known answer");
        let [fault, set] = fault else {
            return Err(unknown());
        };
        let kind = match fault.as_str() {
            "endless" => {
                return Ok(Finding::of(
                    FindingKind::AuthorizationWithoutEnd,
                    key,
                    repair,
                ));
            }
            "type" => return Ok(Finding::of(FindingKind::PendingSetOfWrongType, set, repair)),
            "missing" => FindingKind::MissingInPendingSet,
            "early" => FindingKind::PendingSetEndsEarly,
            _ => return Err(unknown()),
        };
        Ok(Finding::within(kind, key, set, repair))
    }
}
