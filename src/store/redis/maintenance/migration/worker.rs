//! Reading, deciding and doing, for many pieces of older data at once.

use zeroize::Zeroizing;

use super::{
    LegacyMapping, Migration,
    candidate::Candidate,
    outcome::{Outcome, Reason},
    step::Aim,
};
use crate::{
    error::Error,
    store::redis::{link::Effect, reply},
};

/// How often a piece is looked at that others write meanwhile.
const ATTEMPTS: usize = 20;

/// Works batches off.
#[derive(Clone, Copy)]
pub struct Worker<'a> {
    /// Whose data.
    pub migration: &'a Migration,
    /// Which type stands for which provider.
    pub mapping: &'a LegacyMapping,
    /// Whether anything is changed, or only looked at in the same way.
    pub apply: bool,
}

impl Worker<'_> {
    /// What becomes of each candidate. What is read may change before it is acted on: the scripts
    /// notice, and the piece is looked at again.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`]. Then each piece is either as it was or done.
    pub async fn settle(
        self,
        candidates: Vec<Candidate>,
    ) -> Result<Vec<(Candidate, Outcome)>, Error> {
        let mut settled = Vec::with_capacity(candidates.len());
        let mut open = candidates;
        for _ in 0..ATTEMPTS {
            if open.is_empty() {
                return Ok(settled);
            }
            open = self.attempt(open, &mut settled).await?;
        }
        let given_up = open.into_iter().map(|candidate| {
            let outcome = Outcome::Failed(Reason::KeptChanging);
            (candidate, outcome)
        });
        settled.extend(given_up);
        Ok(settled)
    }

    /// Gives back those that changed under its hands.
    async fn attempt(
        self,
        open: Vec<Candidate>,
        settled: &mut Vec<(Candidate, Outcome)>,
    ) -> Result<Vec<Candidate>, Error> {
        let Migration {
            link,
            keys,
            scripts,
            ..
        } = self.migration;
        let mut changed = Vec::new();

        let values = self.values(open.iter().map(Candidate::key)).await?;
        let missing = open
            .iter()
            .zip(&values)
            .filter(|(_, value)| value.is_none());
        let mut kinds = link
            .kinds(missing.map(|(open, _)| open.key()))
            .await?
            .into_iter();
        let mut aims = Vec::with_capacity(open.len());
        for (candidate, legacy) in open.into_iter().zip(values) {
            let aim = match &legacy {
                Some(legacy) => Aim::new(&candidate, legacy, keys, self.mapping),
                None => match kinds.next().as_deref() {
                    Some("none") | None => Err(Outcome::Vanished),
                    Some("string") => {
                        changed.push(candidate);
                        continue;
                    }
                    Some(_) => Err(Outcome::Failed(Reason::NotAString)),
                },
            };
            match aim {
                Ok(aim) => aims.push((candidate, aim)),
                Err(outcome) => settled.push((candidate, outcome)),
            }
        }

        let existing = self
            .values(aims.iter().map(|(_, aim)| aim.key.as_str()))
            .await?;
        let mut steps = Vec::with_capacity(aims.len());
        for ((candidate, aim), existing) in aims.into_iter().zip(existing) {
            let existing = existing.as_ref().map(|bytes| bytes.as_slice());
            match aim.step(candidate.key(), existing, keys, self.apply) {
                Ok(step) => steps.push((candidate, step)),
                Err(outcome) => settled.push((candidate, outcome)),
            }
        }

        let calls: Vec<_> = steps.iter().map(|(_, step)| step.call(scripts)).collect();
        let answers = link.call_each(&calls, Effect::Guarded).await?;
        drop(calls);
        for ((candidate, step), answer) in steps.into_iter().zip(answers) {
            match reply::parse::<String>(answer)?.as_str() {
                "done" => settled.push((candidate, step.outcome)),
                "changed" => changed.push(candidate),
                "type" => settled.push((candidate, Outcome::Failed(Reason::WrongType))),
                _ => return Err(Error::store_unavailable("a script gave no known answer")),
            }
        }
        Ok(changed)
    }

    /// What the keys hold, as far as that is strings.
    async fn values<'k>(
        self,
        keys: impl Iterator<Item = &'k str>,
    ) -> Result<Vec<Option<Zeroizing<Vec<u8>>>>, Error> {
        let values = self.migration.link.strings(keys).await?;
        Ok(values
            .into_iter()
            .map(|value| value.map(Zeroizing::new))
            .collect())
    }
}
