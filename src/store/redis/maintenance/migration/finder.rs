//! Finding older data among all keys of the tenant.

use std::mem;

use super::candidate::{Candidate, Classifier, Found};
use crate::{
    error::Error,
    store::redis::{
        keyspace::Keyspace,
        link::Link,
        maintenance::{grace, scan::Scan, seen::Seen},
    },
};

/// How many pieces of older data go together, at most.
const BATCH: usize = 256;

/// Whether the grace period begins (guarantees, section 5, M7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// It stays as it is.
    Keep,
    /// It begins if the tenant holds any data.
    WithData,
    /// It begins.
    Begin,
}

/// A part of what is found, and how far the search is.
#[derive(Default)]
pub struct Batch {
    /// Older data. May be none: there is one batch a page at least.
    pub candidates: Vec<Candidate>,
    /// Keys in the place of older data that no id gives, and whether they are in a row's.
    pub no_ids: Vec<(String, bool)>,
    /// Keys of the tenant that were looked at so far.
    pub scanned: u64,
    /// The part of the database that was, 0 to 1.
    pub done: f64,
    /// Whether the tenant is in its grace period.
    pub grace: bool,
}

/// Goes through the keys.
pub struct Finder<'a> {
    link: &'a Link,
    keys: &'a Keyspace,
    classifier: Classifier<'a>,
    scan: Scan<'a>,
    /// A scan may find a key more than once, which must not count twice.
    seen: Seen,
    open: Vec<Candidate>,
    next: Batch,
    begins: Grace,
    apply: bool,
}

impl<'a> Finder<'a> {
    /// Begins the grace period, if that depends on nothing.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`].
    pub async fn new(
        link: &'a Link,
        keys: &'a Keyspace,
        classifier: Classifier<'a>,
        begins: Grace,
        apply: bool,
    ) -> Result<Self, Error> {
        let mut finder = Self {
            link,
            keys,
            classifier,
            scan: Scan::new(link, keys.pattern()),
            seen: Seen::default(),
            open: Vec::new(),
            next: Batch::default(),
            begins,
            apply,
        };
        finder.next.grace = grace::is_open(link, keys).await?;
        if begins == Grace::Begin {
            finder.begin_grace().await?;
        }
        Ok(finder)
    }

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`].
    pub async fn next(&mut self) -> Result<Option<Batch>, Error> {
        if self.open.is_empty() {
            let Some(page) = self.scan.page().await? else {
                return Ok(None);
            };
            for key in page {
                self.look_at(&key).await?;
            }
            self.next.done = self.scan.done();
        }
        let rest = self.open.split_off(self.open.len().min(BATCH));
        Ok(Some(Batch {
            candidates: mem::replace(&mut self.open, rest),
            no_ids: mem::take(&mut self.next.no_ids),
            ..self.next
        }))
    }

    async fn look_at(&mut self, key: &[u8]) -> Result<(), Error> {
        self.next.scanned += 1;
        // Before anything is migrated: writes that follow must know.
        let may_begin = self.begins == Grace::WithData && !self.next.grace;
        if may_begin && self.classifier.is_data(key) {
            self.begin_grace().await?;
        }
        let Some(found) = self.classifier.find(key) else {
            return Ok(());
        };
        if self.seen.is_new(&[key]) {
            match found {
                Found::Candidate(candidate) => self.open.push(candidate),
                Found::NoId { key, is_row } => self.next.no_ids.push((key, is_row)),
            }
        }
        Ok(())
    }

    async fn begin_grace(&mut self) -> Result<(), Error> {
        if self.apply {
            grace::begin(self.link, self.keys).await?;
        }
        self.next.grace = true;
        Ok(())
    }
}
