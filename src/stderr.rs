//! The process's stderr, to which one thread writes on behalf of all others. Whoever reads it may be slow, stuck or
//! gone, and the process goes on.

use std::{
    collections::VecDeque,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// How many bytes may wait to be written. What comes on top of that is lost.
const WAITING: usize = 1024 * 1024;

/// What waits to be written to stderr, or `None` if there is no thread to write it.
static QUEUE: LazyLock<Option<Arc<Queue>>> = LazyLock::new(|| {
    let queue = Arc::new(Queue::new(WAITING));
    let writing = Arc::clone(&queue);
    let writer = move || writing.write_all(&mut io::stderr(), tell_lost);
    let spawned = thread::Builder::new().name("stderr".into()).spawn(writer);
    spawned.is_ok().then_some(queue)
});

/// A writer to stderr that never blocks and never fails. Each call of [`Write::write`] hands over one text, which is
/// lost as a whole if too many others wait.
#[derive(Clone, Copy, Debug)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match &*QUEUE {
            Some(queue) => queue.push(text),
            // Nobody could be told that this failed.
            None => drop(io::stderr().write_all(text)),
        }
        Ok(text.len())
    }

    /// Does nothing: see [`written`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands over one text. It isn't followed by a line break.
pub fn print(text: &str) {
    // It can't fail.
    _ = Stderr.write(text.as_bytes());
}

/// Waits until everything is written, for `patience` at most. Returns whether it is.
pub fn written(patience: Duration) -> bool {
    let Some(queue) = &*QUEUE else {
        return true;
    };
    queue.written(patience)
}

fn tell_lost(texts: u64) {
    tracing::warn!(
        lines = texts,
        "lines of the log were lost, because stderr wasn't read or couldn't be written"
    );
}

/// Texts on the way to one writer.
#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// How many bytes may wait.
    most: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    /// How many bytes wait.
    bytes: usize,
    /// Whether a text is being written.
    is_writing: bool,
    /// How many texts were lost since somebody was told.
    lost: u64,
}

impl Queue {
    fn new(most: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            most,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, text: &[u8]) {
        let mut state = self.state();
        if state.bytes + text.len() > self.most {
            state.lost += 1;
            return;
        }
        state.bytes += text.len();
        state.waiting.push_back(text.to_vec());
        self.changed.notify_all();
    }

    /// Writes what comes, for ever. Calls `tell` with how many texts were lost, once the writer works and nothing waits.
    fn write_all(&self, out: &mut impl Write, tell: impl Fn(u64)) {
        loop {
            let text = self.next();
            let write = || out.write_all(&text).and_then(|()| out.flush());
            // Without this thread the log would end, and nobody could be told.
            let written = catch_unwind(AssertUnwindSafe(write));
            let lost = self.lost(matches!(written, Ok(Ok(()))));
            if lost > 0 {
                _ = catch_unwind(AssertUnwindSafe(|| tell(lost)));
            }
            self.state().is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for the next text. It counts as being written from now on.
    fn next(&self) -> Vec<u8> {
        let mut state = self.state();
        loop {
            if let Some(text) = state.waiting.pop_front() {
                state.bytes -= text.len();
                state.is_writing = true;
                return text;
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes note of what became of a text. Returns how many were lost, if now is the time to tell.
    fn lost(&self, is_written: bool) -> u64 {
        let mut state = self.state();
        match is_written {
            true if state.waiting.is_empty() => std::mem::take(&mut state.lost),
            true => 0,
            false => {
                state.lost += 1;
                0
            }
        }
    }

    fn written(&self, patience: Duration) -> bool {
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        let waited = self
            .changed
            .wait_timeout_while(self.state(), patience, is_busy);
        let (state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !result.timed_out()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

    use super::*;

    /// The text that a writer panics about.
    const PANICS: &[u8] = b"panics";

    /// A writer whose reader takes one text at a time, or fails.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            assert_ne!(text, PANICS, "as the test wants");
            let sent = self.0.send(text.to_vec());
            sent.map(|()| text.len())
                .map_err(|_| io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    /// Returns a queue of 20 bytes, the reader's end, and how many texts were told to be lost.
    fn piped() -> (Arc<Queue>, Receiver<Vec<u8>>, Receiver<u64>) {
        let queue = Arc::new(Queue::new(20));
        let ((write, read), (tell, told)) = (sync_channel(0), channel());
        let writing = Arc::clone(&queue);
        thread::spawn(move || writing.write_all(&mut Pipe(write), move |lost| _ = tell.send(lost)));
        (queue, read, told)
    }

    #[test]
    fn a_stuck_reader_holds_up_nobody_and_costs_bounded_memory() {
        let (queue, read, told) = piped();
        queue.push(b"first ");
        while !queue.state().is_writing {
            thread::yield_now();
        }
        for _ in 0..1000 {
            queue.push(b"12345678");
        }
        assert_eq!(queue.state().bytes, 16);
        assert_eq!(queue.state().lost, 998);
        assert!(!queue.written(Duration::from_millis(10)));
        assert!(told.try_recv().is_err());
        let texts: Vec<_> = (0..3).map(|_| read.recv_timeout(LONG).unwrap()).collect();
        assert_eq!(texts.concat(), b"first 1234567812345678");
        assert_eq!(told.recv_timeout(LONG), Ok(998));
        assert!(queue.written(LONG));
    }

    #[test]
    fn a_reader_that_is_gone_holds_up_nobody() {
        let (queue, read, told) = piped();
        drop(read);
        for _ in 0..1000 {
            queue.push(b"12345678");
        }
        assert!(queue.written(LONG));
        assert_eq!(queue.state().lost, 1000);
        assert!(told.try_recv().is_err(), "nobody would read it");
    }

    /// A text that can't be written because of a fault of the broker is lost, and the next ones aren't.
    #[test]
    fn a_panic_does_not_end_the_log() {
        let (queue, read, told) = piped();
        for text in [&b"first"[..], PANICS, b"last"] {
            queue.push(text);
        }
        for text in [b"first".to_vec(), b"last".to_vec()] {
            assert_eq!(read.recv_timeout(LONG), Ok(text));
        }
        assert_eq!(told.recv_timeout(LONG), Ok(1));
        assert!(queue.written(LONG));
    }
}
