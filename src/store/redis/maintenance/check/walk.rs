//! The walk over all keys of the tenant. It tells what each key should hold, and has rows and indexes checked.

use futures_util::{
    future::BoxFuture,
    stream::{self, StreamExt, TryStreamExt},
};
use tokio::time::{Instant, sleep};

use super::{
    Check, CheckProgress, Report,
    indexes::{Index, IndexKind},
    pending::ExpectedPending,
    places::Places,
    report::BatchFindings,
    rows::ExpectedRow,
    users::{ExpectedIdentity, ExpectedUser},
};
use crate::{
    store::{
        Error,
        redis::{
            eviction,
            keyspace::{Key, Keyspace},
            link::topology::ServerSet,
            maintenance::{grace::Notes, progress::Progress, rounds::Rounds, scan::Scan, tenants},
        },
    },
    types::{RowKey, SecretBytes},
};

/// How many rows or indexes are checked together. A row may have 60 KiB.
const BATCH: usize = 100;
/// How many batches are on the way at once. While Redis works on one, another is decided on.
const WINDOW: usize = 3;

/// What a key should hold.
enum Role {
    /// A row.
    Row(ExpectedRow),
    /// An index.
    Index(Index),
    /// A row of the older layout, which a migration will move.
    Legacy,
    /// A record of refresh tokens.
    RefreshRecord(Key),
    /// An identity.
    Identity(ExpectedIdentity),
    /// The record of a user.
    User(ExpectedUser),
    /// A pending authorization.
    Pending(ExpectedPending),
    /// A set that counts pending authorizations.
    Places(Places),
    /// How large pending authorizations are.
    Sizes(Key),
    /// Another record of the brokers' own.
    Record,
    /// Anything else, which isn't checked.
    Other,
}

/// Checks all keys of the tenant, and again if servers changed meanwhile.
pub async fn walk(check: &Check, progress: &dyn Progress<CheckProgress>) -> Result<Report, Error> {
    let mut report = Report::new(check.keys.tenant(), check.repair, check.listed);
    let begun = Instant::now();
    let mut rounds = Rounds::new(&check.link);
    loop {
        let server_set = rounds.begin().await?;
        report.begin_round();
        let outcome = once(check, server_set, &mut report, begun, progress).await;
        if rounds.end(outcome).await?.is_some() {
            return finish(check, report, begun).await;
        }
    }
}

async fn finish(check: &Check, mut report: Report, begun: Instant) -> Result<Report, Error> {
    let notes = Notes::read(&check.link, &check.keys).await?;
    report.grace_period = notes.is_marked;
    report.is_migrated = notes.record.is_some();
    if report.is_empty() {
        report.tenants_with_data = Some(tenants::with_data(&check.link).await?);
    }
    report.eviction = eviction::policy(&check.link).await?;
    report.seconds = begun.elapsed().as_secs_f64();
    report.sort();
    report.log();
    Ok(report)
}

/// Checks all keys once.
async fn once(
    check: &Check,
    server_set: ServerSet,
    report: &mut Report,
    begun: Instant,
    progress: &dyn Progress<CheckProgress>,
) -> Result<(), Error> {
    let mut now = CheckProgress::default();
    let mut scan = Scan::new(&check.link, server_set, check.keys.pattern());
    loop {
        let page_begun = Instant::now();
        let Some(page) = scan.page().await? else {
            return Ok(());
        };
        now.walked.scanned += page.len() as u64;
        let sorted = sorted(check, page, report);
        let mut works: Vec<BoxFuture<'_, _>> = Vec::new();
        for records in batches(sorted.records) {
            works.push(Box::pin(check.records(records)));
        }
        for rows in batches(sorted.rows) {
            works.push(Box::pin(check.rows(rows)));
        }
        for indexes in batches(sorted.indexes) {
            works.push(Box::pin(check.indexes(indexes)));
        }
        for identities in batches(sorted.identities) {
            works.push(Box::pin(check.identities(identities)));
        }
        for users in batches(sorted.users) {
            works.push(Box::pin(check.users(users)));
        }
        for pending in batches(sorted.pending) {
            works.push(Box::pin(check.pending(pending)));
        }
        for places in batches(sorted.places) {
            works.push(Box::pin(check.places(places)));
        }
        for sizes in batches(sorted.sizes) {
            works.push(Box::pin(check.sizes(sizes)));
        }
        let mut works = stream::iter(works).buffer_unordered(WINDOW);
        while let Some(batch) = works.try_next().await? {
            report.add(batch);
        }
        now.walked.done = scan.done();
        now.walked.elapsed = begun.elapsed();
        now.damaged = report.damaged();
        now.mended = report.mended();
        progress.update(&now);
        // Leaves Redis half of its time at least.
        sleep(page_begun.elapsed()).await;
    }
}

/// The keys of a page that are looked at.
#[derive(Default)]
struct Sorted {
    rows: Vec<ExpectedRow>,
    indexes: Vec<Index>,
    /// Records of refresh tokens.
    records: Vec<Key>,
    identities: Vec<ExpectedIdentity>,
    users: Vec<ExpectedUser>,
    pending: Vec<ExpectedPending>,
    places: Vec<Places>,
    sizes: Vec<Key>,
}

/// Returns what is looked at among some keys, and counts the others.
fn sorted(check: &Check, page: Vec<SecretBytes>, report: &mut Report) -> Sorted {
    let mut sorted = Sorted::default();
    let mut batch = BatchFindings::default();
    for key in page {
        batch.counts.keys += 1;
        match role(&check.keys, key) {
            Role::Row(row) => sorted.rows.push(row),
            Role::Index(index) => sorted.indexes.push(index),
            Role::Legacy => batch.counts.legacy_rows += 1,
            Role::RefreshRecord(record) => {
                batch.counts.records += 1;
                sorted.records.push(record);
            }
            Role::Identity(identity) => sorted.identities.push(identity),
            Role::User(user) => sorted.users.push(user),
            Role::Pending(pending) => sorted.pending.push(pending),
            Role::Places(places) => {
                batch.counts.records += 1;
                sorted.places.push(places);
            }
            Role::Sizes(key) => sorted.sizes.push(key),
            Role::Record => batch.counts.records += 1,
            Role::Other => batch.counts.other_keys += 1,
        }
    }
    report.add(batch);
    sorted
}

/// Tells by its name what `key`, a key of the tenant, should hold.
fn role(keys: &Keyspace, key: SecretBytes) -> Role {
    let Some(key) = Key::told(key) else {
        return Role::Other;
    };
    if key.starts_with(&keys.records()) {
        return match (keys.parse_record(&key), keys.parse_pending_set(&key)) {
            (Some(_), _) => Role::RefreshRecord(key),
            (None, Some(client)) => Role::Places(Places::new(key, client)),
            (None, None) if keys.is_pending_bytes(&key) => Role::Sizes(key),
            (None, None) => Role::Record,
        };
    }
    if let Some(RowKey { session, provider }) = keys.parse_row(&key) {
        return Role::Row(ExpectedRow {
            session_index: keys.session_index(&session),
            provider,
            row: key,
        });
    }
    let (kind, spelled) = if keys.parse_session_index(&key).is_some() {
        (IndexKind::SessionRows, None)
    } else if let Some(spelled) = keys.parse_user_index(&key) {
        (IndexKind::UserRows, Some(spelled))
    } else if let Some(spelled) = keys.parse_user_identities(&key) {
        (IndexKind::UserIdentities, Some(spelled))
    } else if keys.parse_legacy_row(&key).is_some() {
        return Role::Legacy;
    } else {
        return user_or_identity(keys, key);
    };
    let user = spelled.and_then(Keyspace::parse_user);
    let spelling = user.and_then(|user| serde_json::to_string(user.as_str()).ok());
    Role::Index(Index {
        kind,
        spelling: spelling.map_or_else(String::new, |user| format!("\"user_id\":{user}")),
        key,
    })
}

/// Tells by its name what a key should hold that is neither a row nor an index.
fn user_or_identity(keys: &Keyspace, key: Key) -> Role {
    if let Some(named) = keys.parse_identity(&key) {
        return Role::Identity(ExpectedIdentity { key, named });
    }
    if let Some(state) = keys.parse_pending(&key) {
        return Role::Pending(ExpectedPending { key, state });
    }
    match keys.parse_user_record(&key) {
        Some(user) => Role::User(ExpectedUser { key, user }),
        None => Role::Other,
    }
}

fn batches<T>(all: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rest = all.into_iter();
    std::iter::from_fn(move || {
        let batch: Vec<_> = rest.by_ref().take(BATCH).collect();
        (!batch.is_empty()).then_some(batch)
    })
}
