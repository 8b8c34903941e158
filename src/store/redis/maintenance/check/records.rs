//! Whether records of refresh tokens can be read.

use super::{Check, Finding, FindingKind, report::BatchFindings};
use crate::store::{
    Error,
    redis::{
        keyspace::Key,
        link::{Effect, reply},
        maintenance::repeated,
        records,
        scripts::Call,
    },
};

impl Check {
    /// Checks the records at some keys.
    pub(super) async fn records(&self, keys: Vec<Key>) -> Result<BatchFindings, Error> {
        let grace = self.keys.grace();
        let call = |record| Call {
            script: &self.scripts.look_at_record,
            // The row, which comes first otherwise, needn't be read.
            keys: vec![record, record, grace.as_str()],
            args: vec![self.keys.prefix().as_bytes()],
        };
        let calls: Vec<_> = keys.iter().map(Key::as_str).map(call).collect();
        let answers = repeated::call_each(&self.link, &calls, Effect::Reads).await?;
        let mut batch = BatchFindings::default();
        for (key, answer) in keys.iter().zip(answers) {
            let fields = reply::list(answer)?.pop().unwrap_or(redis::Value::Nil);
            if records::decode(&fields).is_err() {
                let finding = Finding::of(FindingKind::UnreadableRecord, key, false);
                batch.findings.push(finding);
            }
        }
        Ok(batch)
    }
}
