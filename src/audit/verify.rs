//! Checks the chain of written files.

mod lines;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use self::lines::{Found, Lines};
use super::{Hash, chain::Chain};

/// How each line begins.
const BEGIN: &[u8] = b"{\"seq\":";

/// What was found in files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many whole lines there are.
    pub lines: u64,
    /// The number of the first line. If it isn't 1, older files aren't among these.
    pub first: u64,
    /// The number of the last line.
    pub last: u64,
    /// The hash of the last line.
    pub hash: Hash,
    /// Whether the last line tells of an end in order.
    pub is_ended: bool,
    /// Whether the last file ends in the middle of a line: its writer is at work or was killed, or the file was cut.
    pub is_cut: bool,
    /// What the lines themselves tell to be missing.
    pub told_missing: Missing,
    /// Where the chain is broken, in the order of the lines.
    pub breaks: Vec<Break>,
    /// The anchors that no line has.
    pub anchors_missed: Vec<u64>,
}

/// How much a trail tells to be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// How many events were lost.
    pub lost: u64,
    /// How many calls were refused because their events couldn't be written.
    pub refused: u64,
}

impl Report {
    /// Whether nothing is wrong, as far as the lines tell.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.breaks.is_empty() && self.anchors_missed.is_empty()
    }
}

/// A place where the chain is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The file.
    pub file: PathBuf,
    /// The line in the file, from 1 on.
    pub line: u64,
    /// What is wrong.
    pub damage: Damage,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Lines were removed before it.
    #[error("lines {0} to {1} are missing before it")]
    Missing(u64, u64),
    /// It stands where another one should.
    #[error(
        "it is line {0} of the chain, and {1} should follow: lines were moved, or removed and put back"
    )]
    Moved(u64, u64),
    /// It isn't the line that the next one names.
    #[error("it was changed, or the line after it was: that one names another hash")]
    Changed,
    /// It can't be read, and no line tells that its writer failed.
    #[error("it was changed or cut: it is no line of an audit trail")]
    Unreadable,
    /// The broker had written lines elsewhere, and none of the files has them.
    #[error(
        "before it the broker wrote lines that are missing here: another file was put in the place of its own"
    )]
    Replaced,
    /// The chain begins anew.
    #[error("a new chain begins: nothing vouches for what stood between it and the lines before")]
    Anew,
}

/// A line that an operator knows from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Anchor {
    /// Parses an anchor, as the log has it: number, colon, hash.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(':')?;
        Some(Self {
            seq: seq.parse().ok()?,
            hash: Hash::parse(hash)?,
        })
    }
}

/// What matters of a line.
#[derive(Deserialize)]
struct Line {
    seq: u64,
    prev: String,
    event: String,
    /// The last line that was written elsewhere, in a line that tells of another file.
    after: Option<String>,
    #[serde(default)]
    torn: Vec<String>,
    #[serde(default)]
    lost: u64,
    #[serde(default)]
    refused: u64,
}

/// Checks files, which are put in the order of their first lines. Each of the `anchors` has to be there.
///
/// Two things can't be seen without an anchor: that lines are missing at the end, and that the last line was changed.
///
/// # Errors
/// Returns the system's error, and which file it is about.
pub fn verify(files: &[PathBuf], anchors: &[Anchor]) -> Result<Report, (PathBuf, io::Error)> {
    let mut check = Check {
        anchors: anchors.to_vec(),
        ..Check::default()
    };
    let mut ordered = Vec::new();
    for path in files {
        let first = check.survey(path).map_err(|error| (path.clone(), error))?;
        ordered.push((first, path));
    }
    ordered.sort();
    for (_, path) in ordered {
        check.file(path).map_err(|error| (path.clone(), error))?;
    }
    Ok(check.done())
}

#[derive(Default)]
struct Check {
    report: Report,
    anchors: Vec<Anchor>,
    /// The chain after the last line, and where that is.
    chain: Option<(Chain, PathBuf, u64)>,
    /// The lines that others tell to be torn. One that lacks nothing but its line break can be read, and doesn't count.
    told_torn: HashSet<Hash>,
    /// Lines that others tell to be somewhere.
    told_elsewhere: HashSet<Hash>,
    /// Those of them that are somewhere in these files.
    seen_elsewhere: HashSet<Hash>,
    /// Where they are told of.
    replaced: Vec<(Hash, Break)>,
    /// Lines that can't be read, and of which no other tells.
    torn: Vec<(PathBuf, u64)>,
    /// Whether the last line that was read has no line break, and may be the beginning of one.
    is_open: bool,
}

impl Check {
    /// Returns the number of the first line of a file that can be read, and collects the lines that others tell to be torn or
    /// elsewhere. A file without a line comes last.
    fn survey(&mut self, path: &Path) -> io::Result<u64> {
        let mut first = u64::MAX;
        let mut lines = Lines::of(path)?;
        while let Some(found) = lines.next()? {
            let (Found::Whole(bytes) | Found::Open(bytes)) = found else {
                continue;
            };
            let has = |key: &str| memchr::memmem::find(bytes, key.as_bytes()).is_some();
            if (first == u64::MAX || has("\"torn\":[\"") || has("\"after\":\""))
                && let Ok(line) = serde_json::from_slice::<Line>(bytes)
            {
                first = first.min(line.seq);
                let torn = line.torn.iter().filter_map(|torn| Hash::parse(torn));
                self.told_torn.extend(torn);
                let after = line.after.as_deref().and_then(Hash::parse);
                self.told_elsewhere.extend(after);
            }
        }
        Ok(first)
    }

    fn file(&mut self, path: &Path) -> io::Result<()> {
        let mut lines = Lines::of(path)?;
        let mut number = 0;
        while let Some(found) = lines.next()? {
            number += 1;
            self.is_open = false;
            let read = match found {
                Found::Whole(bytes) | Found::Open(bytes)
                    if self.told_torn.contains(&Hash::of(bytes)) =>
                {
                    continue;
                }
                Found::Whole(bytes) => serde_json::from_slice(bytes)
                    .map(|line| (line, Hash::of(bytes)))
                    .ok(),
                Found::Open(bytes) => {
                    self.is_open = may_become_a_line(bytes);
                    None
                }
                Found::TooLong => None,
            };
            match read {
                Some((line, hash)) => self.line(line, hash, path, number),
                None => self.torn.push((path.to_owned(), number)),
            }
        }
        Ok(())
    }

    fn line(&mut self, line: Line, hash: Hash, path: &Path, number: u64) {
        self.link(&line, path, number);
        if self.told_elsewhere.contains(&hash) {
            self.seen_elsewhere.insert(hash);
        }
        if let Some(after) = line.after.as_deref().and_then(Hash::parse) {
            let damage = Damage::Replaced;
            let file = path.to_owned();
            let line = number;
            self.replaced.push((after, Break { file, line, damage }));
        }
        let found = Anchor {
            seq: line.seq,
            hash,
        };
        self.anchors.retain(|anchor| *anchor != found);
        let report = &mut self.report;
        if report.lines == 0 {
            report.first = line.seq;
        }
        report.lines += 1;
        (report.last, report.hash) = (line.seq, hash);
        report.is_ended = line.event == "stop";
        let missing = &mut report.told_missing;
        missing.lost = missing.lost.saturating_add(line.lost);
        missing.refused = missing.refused.saturating_add(line.refused);
        let chain = Chain {
            seq: line.seq,
            last: hash,
        };
        self.chain = Some((chain, path.to_owned(), number));
    }

    /// Checks that the line follows the last one.
    fn link(&mut self, line: &Line, path: &Path, number: u64) {
        let Some((before, before_path, before_number)) = &self.chain else {
            return;
        };
        let (should, prev) = (before.seq.saturating_add(1), Hash::parse(&line.prev));
        let here = |damage| Break {
            file: path.to_owned(),
            line: number,
            damage,
        };
        let found = match line.seq {
            seq if seq == should && prev == Some(before.last) => return,
            seq if seq == should => Break {
                file: before_path.clone(),
                line: *before_number,
                damage: Damage::Changed,
            },
            1 if prev == Some(Hash::NONE) => here(Damage::Anew),
            seq if seq > should => here(Damage::Missing(should, seq - 1)),
            seq => here(Damage::Moved(seq, should)),
        };
        self.report.breaks.push(found);
    }

    fn done(mut self) -> Report {
        // A line at the very end that has no line break may still become one.
        let behind_all = |(path, line): &(PathBuf, u64)| match &self.chain {
            Some((_, last_path, last)) => path != last_path || line > last,
            None => true,
        };
        if self.is_open && self.torn.last().is_some_and(behind_all) {
            self.torn.pop();
            self.report.is_cut = true;
            self.report.is_ended = false;
        }
        let torn = self.torn.into_iter().map(|(file, line)| Break {
            file,
            line,
            damage: Damage::Unreadable,
        });
        // What can't be read explains what seems to be missing after it.
        let torn: Vec<_> = torn.collect();
        self.report.breaks.splice(0..0, torn);
        let replaced = self.replaced.into_iter();
        let replaced = replaced.filter(|(after, _)| !self.seen_elsewhere.contains(after));
        self.report.breaks.extend(replaced.map(|(_, found)| found));
        self.report.anchors_missed = self.anchors.iter().map(|anchor| anchor.seq).collect();
        self.report
    }
}

/// Whether what stands behind the last line break may be the beginning of a line, or a line that lacks its break alone.
fn may_become_a_line(bytes: &[u8]) -> bool {
    let begins = bytes.starts_with(BEGIN) || BEGIN.starts_with(bytes);
    begins && serde_json::from_slice::<Line>(bytes).map_or_else(|error| error.is_eof(), |_| true)
}

#[cfg(test)]
mod tests;
