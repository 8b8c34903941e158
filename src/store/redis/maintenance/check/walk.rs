//! One walk over all keys of the tenant.

use futures_util::{
    future::BoxFuture,
    stream::{self, StreamExt, TryStreamExt},
};
use tokio::time::{Instant, sleep};

use super::{
    Check, CheckProgress, Report,
    report::Part,
    role::{ExpectedRow, Index, Role, role},
};
use crate::{
    error::Error,
    store::redis::maintenance::{grace, progress::Progress, rounds::Rounds, scan::Scan},
};

/// Rows or indexes that are looked at together. A row may have 60 KiB.
const BATCH: usize = 100;
/// How many batches are on the way at once: while Redis works on one, another is decided on.
const WINDOW: usize = 3;

/// Checks all keys of the tenant, whichever servers hold them.
pub async fn walk(check: &Check, progress: &dyn Progress<CheckProgress>) -> Result<Report, Error> {
    let mut report = Report::new(check.repair, check.listed);
    let begun = Instant::now();
    let mut rounds = Rounds::new(&check.link);
    loop {
        rounds.begin().await?;
        report.begin_round();
        let outcome = once(check, &mut report, begun, progress).await;
        if rounds.end(outcome).await?.is_some() {
            return finish(check, report, begun).await;
        }
    }
}

async fn finish(check: &Check, mut report: Report, begun: Instant) -> Result<Report, Error> {
    report.grace_period = grace::is_open(&check.link, &check.keys).await?;
    report.seconds = begun.elapsed().as_secs_f64();
    report.sort();
    report.log();
    Ok(report)
}

/// Goes through the keys once.
async fn once(
    check: &Check,
    report: &mut Report,
    begun: Instant,
    progress: &dyn Progress<CheckProgress>,
) -> Result<(), Error> {
    let mut now = CheckProgress::default();
    let mut scan = Scan::new(&check.link, check.keys.pattern());
    loop {
        let page_begun = Instant::now();
        let Some(page) = scan.page().await? else {
            return Ok(());
        };
        now.walked.scanned += page.len() as u64;
        let (rows, indexes) = sorted(check, page, report);
        let works = batches(rows)
            .map(|rows| Box::pin(check.rows(rows)) as BoxFuture<'_, _>)
            .chain(batches(indexes).map(|some| Box::pin(check.indexes(some)) as BoxFuture<'_, _>));
        let mut works = stream::iter(works).buffer_unordered(WINDOW);
        while let Some(part) = works.try_next().await? {
            report.add(part);
        }
        now.walked.done = scan.done();
        now.walked.elapsed = begun.elapsed();
        now.damaged = report.damaged();
        now.mended = report.mended();
        progress.update(&now);
        sleep(page_begun.elapsed()).await;
    }
}

/// The rows and the indexes among some keys.
fn sorted(
    check: &Check,
    page: Vec<Vec<u8>>,
    report: &mut Report,
) -> (Vec<ExpectedRow>, Vec<Index>) {
    let (mut rows, mut indexes) = (Vec::new(), Vec::new());
    let mut part = Part::default();
    for key in page {
        part.counts.keys += 1;
        match role(&check.keys, key) {
            Role::Row(row) => rows.push(row),
            Role::Index(index) => indexes.push(index),
            Role::Legacy => part.counts.legacy_rows += 1,
            Role::Other => part.counts.other_keys += 1,
        }
    }
    report.add(part);
    (rows, indexes)
}

fn batches<T>(all: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rest = all.into_iter();
    std::iter::from_fn(move || {
        let batch: Vec<_> = rest.by_ref().take(BATCH).collect();
        (!batch.is_empty()).then_some(batch)
    })
}
