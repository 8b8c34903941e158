//! The writer of one destination: takes all events that wait, and writes them as one.

use std::{
    collections::VecDeque,
    io, mem,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Hash,
    chain::Chain,
    crowd::Refusals,
    desk::Desk,
    entry::Entry,
    figures::{Figures, count},
    line::{Note, Spelling},
    queue::{Queue, Taken},
    sink::{Partial, Sink},
    tail::Tail,
};

/// How often an idle writer looks whether its file is still there.
const TICK: Duration = Duration::from_secs(1);
/// How long a writer waits before it tries again.
const RETRY: Duration = Duration::from_millis(200);
/// How much is written at once, in bytes, unless one line is longer.
const BATCH: usize = 256 * 1024;
/// How often the log has the end of the chain.
const ANCHORS: Duration = Duration::from_secs(60);

/// Writes the events of a queue to a sink.
///
/// If a write fails, whoever waits for one of its events is told. The events stay, and are written when that works again,
/// after a line that tells of the gap. Nothing that was written is ever taken back: what a failed write has left of a line
/// is closed by a line break, and the next line names its hash.
pub(super) struct Writer<S> {
    sink: S,
    queue: Arc<Queue>,
    figures: Arc<Figures>,
    spelling: Spelling,
    /// Whether the disk must have the lines.
    sync: bool,
    chain: Chain,
    backlog: VecDeque<Item>,
    /// What stands behind the last line break.
    partial: Vec<u8>,
    /// Lines that stand there without their ends, and that no line has named.
    torn: Vec<Hash>,
    /// What the next line about a gap has to tell.
    lost: u64,
    refused: u64,
    is_failing: bool,
    anchor: (Instant, u64),
    buffer: Vec<u8>,
    /// Where each line in the buffer ends, and the chain after it.
    ends: Vec<(usize, Chain)>,
}

/// What becomes a line.
enum Item {
    Note(Note),
    Event(Arc<Entry>),
}

impl<S: Sink> Writer<S> {
    /// Makes the writer of `sink`, whose lines end with `tail`.
    pub fn new(
        sink: S,
        tail: Tail,
        queue: Arc<Queue>,
        figures: Arc<Figures>,
        instance: String,
        sync: bool,
    ) -> Self {
        let chain = tail.chain.unwrap_or_default();
        Self {
            sink,
            queue,
            figures,
            spelling: Spelling { instance },
            sync,
            chain,
            backlog: VecDeque::from([Item::Note(Note::Start)]),
            partial: tail.torn,
            torn: Vec::new(),
            lost: 0,
            refused: 0,
            is_failing: false,
            anchor: (Instant::now(), chain.seq),
            buffer: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Writes until the queue is closed.
    pub fn run(mut self) {
        // Whatever ends this thread, nobody waits for it.
        let _ended = Ended {
            queue: Arc::clone(&self.queue),
            figures: Arc::clone(&self.figures),
        };
        let mut patience = Duration::ZERO;
        loop {
            let Taken { entries, end } = self.queue.take(patience);
            if self.is_failing {
                entries.iter().for_each(|entry| entry.failed());
            }
            self.backlog.extend(entries.into_iter().map(Item::Event));
            let stepped = self.step();
            if let Err(error) = &stepped {
                self.failed(error);
            }
            if let Some(end) = end {
                if stepped.is_ok() {
                    self.stop();
                    return;
                }
                if Instant::now() >= end {
                    self.give_up();
                    return;
                }
                // The queue is closed, so it has nothing to wait for.
                std::thread::sleep(RETRY / 10);
            }
            if self.queue.note_unstuck() {
                self.figures.failing.fetch_sub(1, Ordering::Relaxed);
                tracing::info!(to = self.sink.name(), "audit: a write has ended at last");
            }
            patience = if self.is_failing { RETRY } else { TICK };
            self.tell_anchor(ANCHORS);
        }
    }

    /// Writes all that waits.
    fn step(&mut self) -> io::Result<()> {
        if let Some(tail) = self.sink.ready()? {
            self.moved(tail);
        }
        self.lost += self.queue.lost.swap(0, Ordering::Relaxed);
        self.refused += self.queue.refused.swap(0, Ordering::Relaxed);
        // While nothing can be written they stay counts, of which there is one a caller, and no lines wait.
        if !self.is_failing {
            let refusals = self.queue.crowd.take_due(Instant::now());
            self.tell(refusals);
        }
        while !self.backlog.is_empty() || self.has_gap() {
            self.write_some()?;
            // To look costs as much as to write, and the next step looks as well.
            if !self.backlog.is_empty()
                && let Some(tail) = self.sink.ready()?
            {
                self.moved(tail);
            }
        }
        Ok(())
    }

    /// Has denials told that were counted. The events of the policies that they were denied by may still wait, and come first.
    fn tell(&mut self, refusals: Vec<Refusals>) {
        if refusals.is_empty() {
            return;
        }
        let waiting = self.queue.take_waiting();
        self.backlog.extend(waiting.into_iter().map(Item::Event));
        let notes = refusals.into_iter().map(Note::Denied);
        self.backlog.extend(notes.map(Item::Note));
    }

    /// The next lines go to another place, which ends with `tail`.
    fn moved(&mut self, tail: Tail) {
        if !self.partial.is_empty() {
            self.torn.push(Hash::of(&self.partial));
        }
        self.partial = tail.torn;
        let mut after = None;
        if let Some(chain) = tail.chain {
            if chain != self.chain {
                // The line about it names the last one that was written, so that `verify` misses that.
                count(&self.figures.failures);
                tracing::error!(
                    to = self.sink.name(),
                    found = chain.seq,
                    written = self.chain.seq,
                    "audit: another file is in the place of the one that was written: lines may be missing"
                );
                after = Some(self.chain.last);
            }
            self.chain = chain;
        }
        self.backlog.push_front(Item::Note(Note::File { after }));
    }

    fn has_gap(&self) -> bool {
        let is_torn = !self.partial.is_empty() || !self.torn.is_empty();
        self.is_failing || is_torn || self.lost > 0 || self.refused > 0
    }

    /// Returns the line about what is missing, if anything is.
    fn gap(&self) -> Option<Note> {
        let partial = (!self.partial.is_empty()).then(|| Hash::of(&self.partial));
        self.has_gap().then(|| Note::Gap {
            torn: self.torn.iter().copied().chain(partial).collect(),
            lost: self.lost,
            refused: self.refused,
        })
    }

    /// Writes the first lines that wait, as many as fit into one batch.
    fn write_some(&mut self) -> io::Result<()> {
        let has_gap = self.spell();
        let (written, mut error) = match self.sink.write(&self.buffer) {
            Ok(()) => (self.buffer.len(), None),
            Err(Partial { written, error }) => (written, Some(error)),
        };
        if error.is_none() && self.sync {
            error = self.sink.sync().err();
        }
        // Before anybody is woken, who then asks how the writer fares.
        match &error {
            Some(error) => self.failing(error),
            None => self.recovered(),
        }
        self.settle(written, has_gap, error.is_none() || !self.sync);
        error.map_or(Ok(()), Err)
    }

    /// Fills the buffer. Returns whether the first line is about a gap.
    fn spell(&mut self) -> bool {
        self.buffer.clear();
        self.ends.clear();
        let gap = self.gap();
        let mut chain = self.chain;
        if !self.partial.is_empty() {
            self.buffer.push(b'\n');
        }
        if let Some(gap) = &gap {
            chain = self.spelling.note(&mut self.buffer, chain, gap);
            self.ends.push((self.buffer.len(), chain));
        }
        for item in &self.backlog {
            chain = match item {
                Item::Note(note) => self.spelling.note(&mut self.buffer, chain, note),
                Item::Event(entry) => {
                    let is_withheld = entry.is_withheld();
                    self.spelling
                        .event(&mut self.buffer, chain, &entry.event, is_withheld)
                }
            };
            self.ends.push((self.buffer.len(), chain));
            if self.buffer.len() >= BATCH {
                break;
            }
        }
        gap.is_some()
    }

    /// Takes note that so many bytes of the buffer stand there. `is_confirmed`: those lines count as written.
    fn settle(&mut self, written: usize, has_gap: bool, is_confirmed: bool) {
        let mut from = 0;
        if !self.partial.is_empty() {
            if written == 0 {
                return;
            }
            from = 1;
            self.torn.push(Hash::of(&mem::take(&mut self.partial)));
        }
        let mut confirmed = Vec::new();
        let ends = mem::take(&mut self.ends);
        let whole = ends.iter().take_while(|(end, _)| *end <= written);
        for (at, (end, chain)) in whole.enumerate() {
            (from, self.chain) = (*end, *chain);
            if has_gap && at == 0 {
                self.torn.clear();
                (self.lost, self.refused) = (0, 0);
                continue;
            }
            if let Some(Item::Event(entry)) = self.backlog.pop_front() {
                if is_confirmed {
                    count(&self.figures.written);
                    confirmed.push(entry);
                } else {
                    entry.failed();
                }
            }
        }
        self.ends = ends;
        Desk::written(confirmed.into_iter().filter(|entry| entry.written()));
        self.partial
            .extend(self.buffer.get(from..written).unwrap_or_default());
    }

    /// Takes note that what waits can't be written now.
    fn failed(&mut self, error: &io::Error) {
        count(&self.figures.failures);
        self.failing(error);
        for item in &self.backlog {
            if let Item::Event(entry) = item {
                entry.failed();
            }
        }
    }

    fn failing(&mut self, error: &io::Error) {
        if mem::replace(&mut self.is_failing, true) {
            return;
        }
        self.queue.note_failing(true);
        count(&self.figures.failing);
        tracing::error!(to = self.sink.name(), %error, "audit: events can't be written");
    }

    fn recovered(&mut self) {
        if !mem::take(&mut self.is_failing) {
            return;
        }
        self.figures.failing.fetch_sub(1, Ordering::Relaxed);
        self.queue.note_failing(false);
        tracing::info!(to = self.sink.name(), "audit: events are written again");
    }

    /// Tells the log how the chain ends, if that is new and the last time is `pause` ago.
    fn tell_anchor(&mut self, pause: Duration) {
        let (told, seq) = self.anchor;
        if seq == self.chain.seq || told.elapsed() < pause {
            return;
        }
        self.anchor = (Instant::now(), self.chain.seq);
        let Chain { seq, last } = self.chain;
        tracing::info!(to = self.sink.name(), anchor = %format_args!("{seq}:{last}"), "audit");
    }

    /// Ends the lines in order.
    fn stop(&mut self) {
        let refusals = self.queue.crowd.take();
        self.tell(refusals);
        self.backlog.push_back(Item::Note(Note::Stop));
        if let Err(error) = self.step().and_then(|()| self.sink.sync()) {
            tracing::error!(to = self.sink.name(), %error, "audit: the last line can't be written");
        }
        self.tell_anchor(Duration::ZERO);
    }

    /// Leaves what can't be written.
    fn give_up(&mut self) {
        let refusals = self.queue.crowd.take();
        self.tell(refusals);
        let events = self.backlog.iter().map(|item| match item {
            Item::Event(_) => 1,
            Item::Note(Note::Denied(refusals)) => refusals.total(),
            Item::Note(_) => 0,
        });
        let lost = events.sum();
        self.figures.lost.fetch_add(lost, Ordering::Relaxed);
        tracing::error!(
            to = self.sink.name(),
            events = lost,
            "audit: the process ends, and these events were never written"
        );
        self.tell_anchor(Duration::ZERO);
    }
}

impl<S> Drop for Writer<S> {
    /// Nobody waits for what won't be written.
    fn drop(&mut self) {
        for item in &self.backlog {
            if let Item::Event(entry) = item {
                entry.failed();
            }
        }
    }
}

/// Tells the queue that its writer has ended.
struct Ended {
    queue: Arc<Queue>,
    figures: Arc<Figures>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let waiting = self.queue.ended();
        if std::thread::panicking() {
            count(&self.figures.failures);
            count(&self.figures.failing);
            let waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
            self.figures.lost.fetch_add(waiting, Ordering::Relaxed);
            tracing::error!(
                to = self.queue.name(),
                "audit: the writer has ended by a fault of the broker, which has to be restarted"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Event, Kind, crowd::WINDOW, entry::entry};

    /// A disk that is full until it isn't.
    struct Disk {
        is_full: bool,
        text: String,
    }

    impl Sink for Disk {
        fn name(&self) -> String {
            "a test".to_owned()
        }

        fn ready(&mut self) -> io::Result<Option<Tail>> {
            Ok(None)
        }

        fn write(&mut self, bytes: &[u8]) -> Result<(), Partial> {
            if self.is_full {
                let error = io::ErrorKind::StorageFull.into();
                return Err(Partial { written: 0, error });
            }
            self.text += std::str::from_utf8(bytes).unwrap();
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn writer(is_full: bool) -> (Writer<Disk>, Arc<Queue>) {
        let figures = Arc::<Figures>::default();
        let queue = Arc::new(Queue::new("a test".to_owned(), Arc::clone(&figures)));
        let disk = Disk {
            is_full,
            text: String::new(),
        };
        let (tail, instance) = (Tail::default(), "i".to_owned());
        let own = Arc::clone(&queue);
        (
            Writer::new(disk, tail, own, figures, instance, false),
            queue,
        )
    }

    /// A policy comes into force while the writer is busy, and denies what is counted.
    #[test]
    fn what_waits_comes_before_denials_that_were_counted_later() {
        let (mut writer, queue) = writer(false);
        let policy = Event::new(Kind::Policy(Hash::NONE), None, "");
        queue.push(&[entry(policy, 1, None, None)]);
        let long_ago = Instant::now() - 2 * WINDOW;
        queue.crowd.count(None, ("Get", "UNKNOWN_CALLER"), long_ago);
        writer.step().unwrap();
        let kinds = writer.sink.text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["event"].as_str().unwrap().to_owned()
        });
        assert!(
            kinds.eq(["start", "policy", "unknown-callers"]),
            "{}",
            writer.sink.text
        );
    }

    /// Strangers knock for days while the disk is full.
    #[test]
    fn denials_pile_up_as_counts_and_not_as_lines() {
        let (mut writer, queue) = writer(true);
        let long_ago = Instant::now() - 2 * WINDOW;
        for _ in 0..1_000 {
            queue.crowd.count(None, ("Get", "UNKNOWN_CALLER"), long_ago);
            writer.step().unwrap_err();
        }
        assert!(writer.backlog.len() <= 2, "{}", writer.backlog.len());
        writer.sink.is_full = false;
        // The first step finds that the disk is well, and the second tells what was counted until then.
        writer.step().unwrap();
        writer.step().unwrap();
        let text = &writer.sink.text;
        let counted = text.lines().filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["count"].as_u64()
        });
        assert_eq!(counted.sum::<u64>(), 1_000, "{text}");
    }
}
