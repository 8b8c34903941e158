//! The walk over the rows.

use tokio::time::{Instant, sleep};

use super::{
    Counts, Done, Report, Reseal, ResealProgress,
    row::{Decision, decide},
};
use crate::{
    store::{
        Error,
        redis::{
            keyspace::Key,
            link::{Effect, reply},
            maintenance::{
                grace, progress::Progress, repeated, rounds::Rounds, scan::Scan, seen::Seen,
                tenants,
            },
            row,
            rows::sealed_in_grace,
            scripts::{Call, sha1_hex},
        },
    },
    types::{RowKey, SecretBytes},
};

/// How many rows are read at once. At the largest size of a row by default that is 4 MiB.
const BATCH: usize = 64;
/// How often a row is looked at while others keep changing it.
const ATTEMPTS: usize = 20;

/// A row that has to be replaced.
struct Replacement {
    row: Key,
    sha: String,
    json: SecretBytes,
}

impl Reseal {
    /// Goes through all rows once, and again if servers changed meanwhile. `done` is what earlier passes did.
    pub(super) async fn pass(
        &self,
        writes: bool,
        progress: &dyn Progress<ResealProgress>,
        done: Done,
    ) -> Result<Report, Error> {
        let begun = Instant::now();
        let mut report = Report::new(&self.sealing, done);
        let mut rounds = Rounds::new(&self.link);
        loop {
            let servers = rounds.begin().await?;
            report.counts = Counts::default();
            let scan = Scan::new(&self.link, servers, self.keys.row_pattern());
            let outcome = self.once(scan, writes, &mut report, begun, progress).await;
            if rounds.end(outcome).await?.is_some() {
                report.in_grace = grace::is_open(&self.link, &self.keys).await?;
                if report.is_empty() {
                    report.tenants_with_data = Some(tenants::with_data(&self.link).await?);
                }
                report.seconds = begun.elapsed().as_secs_f64();
                return Ok(report);
            }
        }
    }

    async fn once(
        &self,
        mut scan: Scan<'_>,
        writes: bool,
        report: &mut Report,
        begun: Instant,
        progress: &dyn Progress<ResealProgress>,
    ) -> Result<(), Error> {
        let (mut now, mut seen) = (ResealProgress::default(), Seen::default());
        loop {
            let page_begun = Instant::now();
            let Some(page) = scan.page().await? else {
                return Ok(());
            };
            sleep(self.rest(page_begun.elapsed())).await;
            now.walked.scanned += page.len() as u64;
            let (mut rows, mut older) = (Vec::new(), Vec::new());
            for key in page {
                // SCAN may show a key twice, and the counts must be right.
                if seen.insert(&[&key])
                    && let Some(name) = Key::told(key)
                {
                    match self.keys.parse_row(&name) {
                        Some(key) => rows.push((name, key)),
                        None if self.keys.parse_legacy_row(&name).is_some() => older.push(name),
                        None => {}
                    }
                }
            }
            for batch in older.chunks(BATCH) {
                report.counts.older += self.count(batch).await?;
            }
            while !rows.is_empty() {
                let batch = rows.split_off(rows.len().saturating_sub(BATCH));
                self.rows(batch, writes, report).await?;
                now.done = report.done;
                now.walked.done = scan.done();
                now.walked.elapsed = begun.elapsed();
                progress.update(&now);
            }
        }
    }

    /// Counts rows of the older layout. Those that are gone, `null`, or no string are none.
    async fn count(&self, rows: &[Key]) -> Result<u64, Error> {
        let begun = Instant::now();
        let values = self.link.strings(rows.iter().map(Key::as_str)).await?;
        sleep(self.rest(begun.elapsed())).await;
        let rows = values.iter().flatten().filter(|row| ***row != *row::NULL);
        Ok(rows.count() as u64)
    }

    /// Seals some rows, or only counts them.
    async fn rows(
        &self,
        mut open: Vec<(Key, RowKey)>,
        writes: bool,
        report: &mut Report,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            if open.is_empty() {
                return Ok(());
            }
            let begun = Instant::now();
            open = self.attempt(open, writes, report).await?;
            sleep(self.rest(begun.elapsed())).await;
        }
        report.counts.unsettled += open.len() as u64;
        Ok(())
    }

    /// Returns the rows that changed after they were read, before they were written.
    async fn attempt(
        &self,
        open: Vec<(Key, RowKey)>,
        writes: bool,
        report: &mut Report,
    ) -> Result<Vec<(Key, RowKey)>, Error> {
        let values = self
            .link
            .strings(open.iter().map(|(row, _)| &**row))
            .await?;
        let (mut replaced, mut of) = (Vec::new(), Vec::new());
        for ((row, key), bytes) in open.into_iter().zip(values) {
            // A row that is gone is nobody's any more, and what isn't a string is for `check`.
            let Some(bytes) = bytes else { continue };
            match decide(&self.sealing, &key, &bytes).transpose()? {
                None => {}
                Some(Decision::Replace(_, json)) if writes => {
                    let sha = sha1_hex(&bytes);
                    replaced.push(Replacement { row, sha, json });
                    of.push(key);
                }
                Some(Decision::Replace(with, _) | Decision::Stays(with)) => {
                    report.counts.add(&with);
                }
                Some(Decision::Unreadable(with, unreadable)) => {
                    report.counts.add(&with);
                    report.counts.add_unreadable(&unreadable);
                }
            }
        }
        self.write(replaced, of, report).await
    }

    async fn write(
        &self,
        replaced: Vec<Replacement>,
        of: Vec<RowKey>,
        report: &mut Report,
    ) -> Result<Vec<(Key, RowKey)>, Error> {
        if replaced.is_empty() {
            return Ok(Vec::new());
        }
        let mark = self.keys.grace();
        let calls: Vec<_> = replaced
            .iter()
            .map(|new| Call {
                script: &self.scripts.reseal_row,
                keys: vec![&*new.row, &*mark],
                args: vec![
                    self.keys.prefix().as_bytes(),
                    new.sha.as_bytes(),
                    &*new.json,
                ],
            })
            .collect();
        let answers = repeated::call_each(&self.link, &calls, Effect::Writes).await?;
        drop(calls);
        let mut changed = Vec::new();
        for ((new, key), answer) in replaced.into_iter().zip(of).zip(answers) {
            match reply::of_write::<String>(answer)?.as_str() {
                "written" => report.resealed(),
                "changed" => changed.push((new.row, key)),
                "grace" => return Err(sealed_in_grace()),
                _ => return Err(reply::odd_outcome()),
            }
        }
        Ok(changed)
    }
}
