//! The file as a whole: its one table `callers`.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::caller;
use crate::{
    access::Policy,
    config::{
        listed::unknown_key,
        nearest::{did_you_mean, nearest},
    },
    types::Tenant,
};

/// The one key at the top of the file.
const CALLERS: &str = "callers";

/// What is wrong, and in which line.
pub(super) type Wrong = (usize, String);

/// The text of the file, and what is wrong with it.
pub(super) struct Document<'a> {
    text: &'a str,
    wrong: Vec<Wrong>,
}

impl Document<'_> {
    /// Adds what is wrong at a place in the text. No message quotes a value, which may be a token in the wrong place.
    pub fn add(&mut self, at: usize, message: impl Into<String>) {
        let line = self.text[..at.min(self.text.len())].matches('\n').count() + 1;
        self.wrong.push((line, message.into()));
    }

    /// How many mistakes were found so far.
    pub fn mistakes(&self) -> usize {
        self.wrong.len()
    }
}

/// Reads the text of a policy for a broker that serves these tenants.
///
/// # Errors
/// Returns everything that is wrong, in the order of the lines.
pub(super) fn parse(text: &str, served: &[Tenant]) -> Result<Policy, Vec<Wrong>> {
    let mut document = Document {
        text,
        wrong: Vec::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    // What follows a mistake of syntax may be misread.
    if let Some(error) = errors.first() {
        // The error's own text would quote the line.
        let at = error.span().map_or(0, |span| span.start);
        document.add(at, error.message());
        return Err(document.wrong);
    }
    let mut policy = Policy::default();
    for (written, value) in in_order(table.get_ref()) {
        let (at, name) = (written.span().start, written.get_ref().as_ref());
        match (name, value.get_ref()) {
            (CALLERS, DeValue::Table(callers)) => {
                for (name, value) in in_order(callers) {
                    caller::read(&mut document, name, value, served, &mut policy);
                }
            }
            (CALLERS, _) => document.add(at, "callers must be tables, as in [callers.web-proxy]"),
            (name, value) => {
                let meant = match value {
                    DeValue::Table(_) => format!(
                        "; the table of a caller is written [{CALLERS}.{}]",
                        unknown_key(name)
                    ),
                    _ => did_you_mean(nearest(name, [CALLERS])),
                };
                let name = unknown_key(name);
                document.add(at, format!("{name} is no key of a policy{meant}"));
            }
        }
    }
    // So is a file that was cut off before its first caller.
    if policy.callers().len() == 0 && document.wrong.is_empty() {
        document.add(0, "there is no caller in it, so that nobody could call");
    }
    if document.wrong.is_empty() {
        return Ok(policy);
    }
    document.wrong.sort_by_key(|(line, _)| *line);
    Err(document.wrong)
}

type Entry<'a, 't> = (
    &'a Spanned<std::borrow::Cow<'t, str>>,
    &'a Spanned<DeValue<'t>>,
);

/// Returns the entries of a table as they stand in the text.
pub(super) fn in_order<'a, 't>(table: &'a DeTable<'t>) -> Vec<Entry<'a, 't>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}
