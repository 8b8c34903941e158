//! One walk over all keys of the tenant.

use futures_util::{
    future::BoxFuture,
    stream::{self, StreamExt, TryStreamExt},
};
use tokio::time::{Instant, sleep};

use super::{
    Check, Report, Snapshot,
    place::{Index, Place, Role, role},
    report::Part,
};
use crate::{
    error::Error,
    store::redis::{migration::scan::Scan, progress::Progress},
};

/// Rows or indexes that are looked at together. A row may have 60 KiB.
const BATCH: usize = 100;
/// How many batches are on the way at once: while Redis works on one, another is decided on.
const WINDOW: usize = 3;

/// Checks all keys of the tenant.
pub async fn walk(check: &Check, progress: &dyn Progress<Snapshot>) -> Result<Report, Error> {
    let begun = Instant::now();
    let mut report = Report::new(check.repair, check.listed);
    let mut now = Snapshot::default();
    let mut scan = Scan::new(&check.pool, check.keys.pattern());
    loop {
        let page_begun = Instant::now();
        let Some(page) = scan.page().await? else {
            break;
        };
        now.walked.scanned += page.len() as u64;
        let (rows, indexes) = sorted(check, page, &mut report);
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
    report.grace_period = check.is_grace().await?;
    report.seconds = begun.elapsed().as_secs_f64();
    report.sort();
    report.log();
    Ok(report)
}

/// The rows and the indexes among some keys.
fn sorted(check: &Check, page: Vec<Vec<u8>>, report: &mut Report) -> (Vec<Place>, Vec<Index>) {
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

impl Check {
    async fn is_grace(&self) -> Result<bool, Error> {
        let mut exists = redis::cmd("EXISTS");
        exists.arg(self.keys.grace());
        crate::store::redis::reply::parse(self.pool.read(&exists).await?)
    }
}
