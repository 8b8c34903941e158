//! Settling older data: reading the values of many pieces, deciding, and calling the scripts that act.
//!
//! Others may write between the decision and the script. So a script acts only if the keys still hold the values
//! that the decision was made on. Otherwise it answers `changed`, and the piece is looked at again. In this way each
//! piece goes in one atomic step, even if two brokers migrate at once. [`Step`] has the scripts' arguments.

use super::{
    LegacyMapping, Migration,
    find::{Candidate, OlderData},
    identity::{self, Copied},
    report::{Outcome, Reason},
    row::{self, Rewritten},
    step::{Older, Shared, Step},
};
use crate::{
    store::{
        Error,
        redis::{
            keyspace::{Key, Keyspace},
            link::{Effect, reply},
            maintenance::repeated,
            scripts::sha1_hex,
        },
    },
    types::SecretBytes,
};

/// How often a piece is looked at while others keep changing it.
const ATTEMPTS: usize = 20;

/// Settles batches of older data.
#[derive(Clone, Copy)]
pub struct Settler<'a> {
    /// Whose data.
    pub migration: &'a Migration,
    /// Which provider each protocol type stands for.
    pub mapping: &'a LegacyMapping,
    /// Whether the scripts act. Otherwise they only look.
    pub apply: bool,
}

/// Candidates, each with what became of it.
pub type Settled = Vec<(Candidate, Outcome)>;

/// The value of a key, wiped when it is dropped. `None` if the key holds no string.
type Stored = Option<SecretBytes>;

impl Settler<'_> {
    /// Settles `candidates`.
    ///
    /// # Errors
    /// [`Error::Unavailable`]. Then each piece is either as it was or done.
    pub async fn settle(self, candidates: Vec<Candidate>) -> Result<Settled, Error> {
        let mut settled = Vec::with_capacity(candidates.len());
        let mut open = candidates;
        for _ in 0..ATTEMPTS {
            if open.is_empty() {
                return Ok(settled);
            }
            open = self.attempt(open, &mut settled).await?;
        }
        let kept_changing = |candidate| (candidate, Outcome::Failed(Reason::KeptChanging));
        settled.extend(open.into_iter().map(kept_changing));
        Ok(settled)
    }

    /// Returns the candidates that changed meanwhile.
    async fn attempt(
        self,
        open: Vec<Candidate>,
        settled: &mut Settled,
    ) -> Result<Vec<Candidate>, Error> {
        let mut changed = Vec::new();
        let plans = self.plan(open, settled, &mut changed).await?;
        let steps = self.decide(plans, settled).await?;
        self.carry_out(steps, settled, &mut changed).await?;
        Ok(changed)
    }

    /// Reads the older values and plans what is to be under the new keys.
    async fn plan(
        self,
        open: Vec<Candidate>,
        settled: &mut Settled,
        changed: &mut Vec<Candidate>,
    ) -> Result<Vec<(Candidate, Plan)>, Error> {
        let keys = open.iter().map(|candidate| candidate.key.as_str());
        let values = self.values(keys).await?;
        let mut plans = Vec::with_capacity(open.len());
        let mut no_string = Vec::new();
        for (candidate, value) in open.into_iter().zip(values) {
            let Some(older) = value else {
                no_string.push(candidate);
                continue;
            };
            match Plan::new(&candidate, &older, &self.migration.keys, self.mapping) {
                Ok(plan) => plans.push((candidate, plan)),
                Err(outcome) => settled.push((candidate, outcome)),
            }
        }
        let keys = no_string.iter().map(|candidate| candidate.key.as_str());
        let types = self.migration.link.kinds(keys).await?;
        for (candidate, value_type) in no_string.into_iter().zip(types) {
            match value_type.as_str() {
                "none" => settled.push((candidate, Outcome::Vanished)),
                "string" => changed.push(candidate),
                _ => settled.push((candidate, Outcome::Failed(Reason::NotAString))),
            }
        }
        Ok(plans)
    }

    /// Reads what is under the new keys already, and decides what is to be done.
    async fn decide(
        self,
        plans: Vec<(Candidate, Plan)>,
        settled: &mut Settled,
    ) -> Result<Vec<(Candidate, Step)>, Error> {
        let keys = plans.iter().map(|(_, plan)| plan.key.as_str());
        let values = self.values(keys).await?;
        let mut steps = Vec::with_capacity(plans.len());
        for ((candidate, plan), existing) in plans.into_iter().zip(values) {
            let existing = existing.as_deref();
            match plan.step(&candidate.key, existing, self.migration) {
                Ok(step) => steps.push((candidate, step)),
                Err(outcome) => settled.push((candidate, outcome)),
            }
        }
        Ok(steps)
    }

    /// Calls the scripts.
    async fn carry_out(
        self,
        mut steps: Vec<(Candidate, Step)>,
        settled: &mut Settled,
        changed: &mut Vec<Candidate>,
    ) -> Result<(), Error> {
        // Pieces of one kind go together.
        steps.sort_by_key(|(candidate, _)| candidate.is_row());
        let shared = Shared::new(self.migration, self.apply);
        let calls = shared.calls(steps.iter().map(|(_, step)| step));
        let link = &self.migration.link;
        let answers = repeated::call_each(link, &calls, Effect::Writes).await?;
        drop(calls);
        let unknown = || Error::unavailable("a script gave no known answer");
        let mut all = Vec::with_capacity(steps.len());
        for answer in answers {
            all.extend(reply::parse::<Vec<String>>(answer)?);
        }
        if all.len() != steps.len() {
            return Err(unknown());
        }
        for ((candidate, step), answer) in steps.into_iter().zip(all) {
            match answer.as_str() {
                "done" => settled.push((candidate, step.outcome)),
                "changed" => changed.push(candidate),
                "type" => settled.push((candidate, Outcome::Failed(Reason::WrongType))),
                _ => return Err(unknown()),
            }
        }
        Ok(())
    }

    async fn values<'k>(self, keys: impl Iterator<Item = &'k str>) -> Result<Vec<Stored>, Error> {
        self.migration.link.strings(keys).await
    }
}

/// The new key and value of a piece, worked out from its older value alone. [`Plan::step`] then looks at what the new
/// key holds already.
struct Plan {
    key: Key,
    older: Older,
    content: Content,
}

enum Content {
    Row(Rewritten),
    Identity(Copied),
}

impl Plan {
    /// Plans for `candidate`, which holds `older`. `Err` is no failure: the piece stays where it is, and `Err` holds its
    /// outcome.
    fn new(
        candidate: &Candidate,
        older: &[u8],
        keys: &Keyspace,
        mapping: &LegacyMapping,
    ) -> Result<Self, Outcome> {
        let (key, content) = match &candidate.data {
            OlderData::Row(session) => {
                let rewritten = row::rewrite(session.clone(), older, mapping)?;
                (keys.row(&rewritten.key), Content::Row(rewritten))
            }
            OlderData::Identity(identity) => {
                let copied = identity::rewrite(identity, older)?;
                let provider = identity.provider.as_str();
                let key = keys.identity(provider, &identity.subject);
                (key, Content::Identity(copied))
            }
        };
        Ok(Self {
            key,
            older: Older {
                sha: sha1_hex(older),
                bytes: older.len(),
            },
            content,
        })
    }

    /// Decides what to do, given the value `existing` of the new key. `Err` is no failure: there is nothing to do, and
    /// `Err` holds the piece's outcome.
    fn step(
        self,
        older_key: &Key,
        existing: Option<&[u8]>,
        migration: &Migration,
    ) -> Result<Step, Outcome> {
        let Migration { keys, sealing, .. } = migration;
        let names = [older_key.clone(), self.key];
        match self.content {
            Content::Row(rewritten) => {
                let decision = row::decide(&rewritten, existing, sealing)?;
                let sha = existing.map(sha1_hex).unwrap_or_default();
                Ok(Step::row(keys, rewritten, decision, names, self.older, sha))
            }
            Content::Identity(copied) => match existing {
                Some(existing) => Err(identity::decide(&copied, existing)),
                None => Ok(Step::identity(keys, copied, names, self.older)),
            },
        }
    }
}
