//! The primary, as the sentinels report it.
//!
//! Every sentinel is asked four times a second, and at once when it announces something. Of their answers the
//! newest counts, by the configuration epoch on which the sentinels agree. So a sentinel that was cut off
//! isn't believed. A primary that was demoted is left within milliseconds of the announcement, or within
//! [`STALENESS`] if no announcement arrived.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{FromRedisValue, PushInfo, PushKind, Value};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{facts::refusal, primaries::Primaries};
use crate::store::redis::{
    Address,
    link::wire::{AtFault, ConnectError, Connector, Opened},
};

/// How often a sentinel is asked.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a sentinel may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long to wait for other sentinels after the first answer, because they may know more.
const FIRST: Duration = Duration::from_millis(300);
/// How long an answer of a sentinel counts. If no majority has named the primary for this time, another
/// server may have followed it.
pub const STALENESS: Duration = Duration::from_secs(2);

/// Any slot, because the primary holds all of them.
const ANY: u16 = 0;

/// The channels on which sentinels announce that the primary may be another one.
const CHANNELS: [&str; 3] = ["+switch-master", "+promoted-slave", "+config-update-from"];

/// The sentinels of a primary.
#[derive(Debug)]
pub struct Sentinels {
    board: Arc<Board>,
    addresses: Vec<Address>,
    connector: Connector,
    /// Asks the sentinels, from the first use on.
    tasks: OnceLock<JoinSet<()>>,
}

/// What the sentinels have said.
#[derive(Debug)]
struct Board {
    master: String,
    primaries: Primaries,
    heard: Mutex<Heard>,
    /// Until when a majority confirms the primary, in milliseconds since `begun`.
    confirmed_until: AtomicU64,
    begun: Instant,
}

#[derive(Debug)]
struct Heard {
    words: Vec<Option<Word>>,
    failures: Vec<Option<ConnectError>>,
    first: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Word {
    address: Address,
    epoch: u64,
    at: Instant,
}

impl Sentinels {
    pub(super) fn new(
        addresses: Vec<Address>,
        master: String,
        connector: Connector,
        primaries: Primaries,
    ) -> Self {
        let heard = Mutex::new(Heard {
            words: vec![None; addresses.len()],
            failures: vec![None; addresses.len()],
            first: None,
        });
        let board = Board {
            master,
            primaries,
            heard,
            confirmed_until: AtomicU64::new(0),
            begun: Instant::now(),
        };
        Self {
            board: Arc::new(board),
            addresses,
            connector,
            tasks: OnceLock::new(),
        }
    }

    /// Waits until a primary is known.
    pub(super) async fn primary(&self, patience: Duration) -> Result<(), ConnectError> {
        self.tasks.get_or_init(|| {
            let mut tasks = JoinSet::new();
            for (at, address) in self.addresses.iter().cloned().enumerate() {
                let (board, connector) = (Arc::clone(&self.board), self.connector.clone());
                tasks.spawn(follow(board, at, address, connector));
            }
            tasks
        });
        let known = timeout(patience, self.board.primaries.changed(ANY, None)).await;
        known.map_err(|_| self.board.why_unknown())
    }

    /// Returns why no primary is known.
    pub(super) fn why_unknown(&self) -> ConnectError {
        self.board.why_unknown()
    }

    pub(super) fn is_confirmed(&self) -> bool {
        let now = millis(self.board.begun.elapsed());
        self.board.confirmed_until.load(Ordering::Relaxed) > now
    }
}

impl Board {
    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the answer of the sentinel `at`.
    fn note(&self, at: usize, said: Result<Word, ConnectError>) {
        let mut heard = self.heard();
        let word = match said {
            Ok(word) => word,
            Err(error) => {
                heard.failures[at] = Some(error);
                return;
            }
        };
        let first = *heard.first.get_or_insert(word.at);
        heard.words[at] = Some(word);
        heard.failures[at] = None;

        let majority = heard.majority();
        let words = || heard.words.iter().flatten();
        let current = self
            .primaries
            .of(ANY)
            .map(|primary| primary.address.clone());
        let Some(newest) = heard.newest(current.as_ref()) else {
            return;
        };
        if current.is_none() && words().count() < majority && first.elapsed() < FIRST {
            return;
        }
        let mut times: Vec<_> = words()
            .filter(|word| word.address == newest.address)
            .map(|word| word.at)
            .collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(confirmed) = times.get(majority - 1) {
            let until = confirmed.saturating_duration_since(self.begun) + STALENESS;
            self.confirmed_until.store(millis(until), Ordering::Relaxed);
        }
        if self.primaries.switch(&newest.address) {
            let (address, epoch) = (&newest.address, newest.epoch);
            tracing::info!(%address, epoch, "the sentinels name the primary");
        }
    }

    /// Returns why no primary is known. Names a wrong setting only if most sentinels do. A single sentinel
    /// may just have been started, or not be set up yet.
    fn why_unknown(&self) -> ConnectError {
        let heard = self.heard();
        let failures: Vec<_> = heard.failures.iter().flatten().collect();
        let mut blaming = failures.iter().filter(|failure| failure.at_fault.is_some());
        if let Some(failure) = blaming.clone().next()
            && blaming.by_ref().count() >= heard.majority()
        {
            return (*failure).clone();
        }
        let found: Vec<_> = failures
            .iter()
            .map(|failure| failure.found.as_str())
            .collect();
        ConnectError::passing(match found.is_empty() {
            true => "no sentinel answers".to_owned(),
            false => found.join("; "),
        })
    }
}

impl Heard {
    fn majority(&self) -> usize {
        self.words.len() / 2 + 1
    }

    /// Returns the answer that counts: the one with the newest epoch. Of several with this epoch, one that
    /// names the `current` primary counts.
    ///
    /// If a majority has answered lately, the other sentinels are left out, because their answers may be out
    /// of date.
    fn newest(&self, current: Option<&Address>) -> Option<Word> {
        let fresh = |word: &&Word| word.at.elapsed() < STALENESS;
        let all: Vec<_> = self.words.iter().flatten().collect();
        let fresh: Vec<_> = all.iter().copied().filter(fresh).collect();
        let words = if fresh.len() >= self.majority() {
            fresh
        } else {
            all
        };
        let rank = |word: &&Word| (word.epoch, Some(&word.address) == current, word.at);
        words.into_iter().max_by_key(rank).cloned()
    }
}

/// Asks a sentinel again and again. Never returns.
async fn follow(board: Arc<Board>, at: usize, address: Address, connector: Connector) {
    loop {
        let error = listen(&board, at, &address, &connector).await;
        board.note(at, Err(error));
        sleep(PAUSE.mul_f64(rand::random_range(0.5..1.0))).await;
    }
}

/// Asks a sentinel again and again until that fails. Returns the error.
async fn listen(
    board: &Board,
    at: usize,
    address: &Address,
    connector: &Connector,
) -> ConnectError {
    let news = Arc::<Notify>::default();
    let announced = Arc::clone(&news);
    let opened = connector.open(address, move |push: PushInfo| {
        if matches!(push.kind, PushKind::Message | PushKind::Disconnection) {
            announced.notify_one();
        }
    });
    let mut sentinel = match opened.await {
        Ok(opened) => opened,
        Err(error) => return error,
    };
    sentinel.handle.set_response_timeout(connector.timeout);
    for channel in CHANNELS {
        if let Err(error) = sentinel.handle.subscribe(channel).await {
            let code = error.code().unwrap_or("nothing");
            let found = format!("{address} answered {code} to SUBSCRIBE {channel}");
            return match code {
                "NOPERM" => ConnectError::of(AtFault::SentinelUsername, found),
                "ERR" => ConnectError::of(AtFault::Url, format!("{address} is no sentinel")),
                _ => ConnectError::passing(found),
            };
        }
    }
    loop {
        let asked = timeout(PATIENCE, ask(&mut sentinel, address, &board.master)).await;
        match asked {
            Ok(Ok(word)) => board.note(at, Ok(word)),
            Ok(Err(error)) => return error,
            Err(_) => return ConnectError::passing(format!("{address}: no answer in time")),
        }
        _ = timeout(PAUSE, news.notified()).await;
    }
}

/// Asks which server the sentinel considers the primary, and since which epoch. During a failover, the answer
/// to the first question changes earlier than the answer to the second.
async fn ask(sentinel: &mut Opened, address: &Address, master: &str) -> Result<Word, ConnectError> {
    let mut pipeline = redis::Pipeline::new();
    pipeline
        .cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(master);
    pipeline.cmd("SENTINEL").arg("MASTER").arg(master);
    let at = Instant::now();
    let answers = sentinel.handle.send_packed_commands(&pipeline, 0, 2).await;
    let gone = |_| ConnectError::passing(format!("{address}: the connection ended"));
    let mut answers = answers.map_err(gone)?.into_iter();
    let (place, state) = (answers.next(), answers.next());
    for answer in [&place, &state] {
        if let Some(Value::ServerError(error)) = answer {
            let text = error.details().unwrap_or_default();
            return Err(if text.contains("No such master") {
                unknown(address, master)
            } else if text.contains("unknown command") {
                let found = "is no sentinel; the URL of a server begins with redis://";
                ConnectError::of(AtFault::Url, format!("{address} {found}"))
            } else {
                refusal(address, error)
            });
        }
    }
    let odd = || ConnectError::passing(format!("{address} gave no known answer"));
    let place: Option<(String, u16)> =
        Option::from_redis_value(place.unwrap_or(Value::Nil)).map_err(|_| odd())?;
    let (host, port) = place.ok_or_else(|| unknown(address, master))?;
    let state: std::collections::HashMap<String, String> =
        FromRedisValue::from_redis_value(state.unwrap_or(Value::Nil)).map_err(|_| odd())?;
    let epoch = state
        .get("config-epoch")
        .and_then(|epoch| epoch.parse().ok());
    Ok(Word {
        address: Address::Tcp(host, port),
        epoch: epoch.ok_or_else(odd)?,
        at,
    })
}

fn unknown(address: &Address, master: &str) -> ConnectError {
    let found = format!("the sentinel {address} knows no master called {master:?}");
    ConnectError::of(AtFault::Url, found)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(host: &str, epoch: u64, age: Duration) -> Option<Word> {
        let address = Address::Tcp(host.to_owned(), 6379);
        let at = Instant::now() - age;
        Some(Word { address, epoch, at })
    }

    /// Returns the address that counts of three answers if `current` was the primary.
    fn counts(words: [Option<Word>; 3], current: Option<&str>) -> String {
        let heard = Heard {
            words: words.into(),
            failures: vec![None; 3],
            first: None,
        };
        let current = current.map(|host| Address::Tcp(host.to_owned(), 6379));
        heard.newest(current.as_ref()).unwrap().address.to_string()
    }

    const NOW: Duration = Duration::ZERO;
    const LONG_AGO: Duration = Duration::from_secs(3_600);

    #[test]
    fn the_newest_epoch_counts() {
        let words = [word("a", 1, NOW), word("b", 2, NOW), word("a", 1, NOW)];
        assert_eq!(counts(words, Some("a")), "b:6379");
    }

    #[test]
    fn who_fell_silent_is_not_believed_for_ever() {
        // Two sentinels were set up again, which restarts their epochs, while the third was away.
        let words = [word("b", 0, NOW), word("b", 0, NOW), word("a", 7, LONG_AGO)];
        assert_eq!(counts(words, Some("a")), "b:6379");
        let words = [word("b", 0, NOW), None, word("a", 7, LONG_AGO)];
        assert_eq!(counts(words, Some("a")), "a:6379", "one is no majority");
    }

    #[test]
    fn two_spellings_of_one_epoch_do_not_take_turns() {
        let words = || {
            [
                word("a", 1, LONG_AGO / 3_600),
                word("b", 1, NOW),
                word("a", 1, NOW),
            ]
        };
        assert_eq!(counts(words(), Some("a")), "a:6379");
        assert_eq!(counts(words(), Some("b")), "b:6379");
    }

    #[tokio::test]
    async fn one_sentinel_that_is_not_set_up_ends_nothing() {
        let connector = Connector {
            access: crate::store::redis::Access::default(),
            peer: crate::store::redis::link::wire::Peer::Sentinel,
            connect_timeout: NOW,
            timeout: NOW,
        };
        let addresses = vec![Address::Tcp("s".to_owned(), 1); 3];
        let sentinels = Sentinels::new(
            addresses,
            "m".to_owned(),
            connector,
            Primaries::of_everything(),
        );
        let board = &sentinels.board;
        assert_eq!(board.why_unknown().found, "no sentinel answers");
        board.note(0, Err(ConnectError::of(AtFault::Url, "knows no master")));
        board.note(1, Err(ConnectError::passing("connection refused")));
        assert_eq!(board.why_unknown().at_fault, None);
        board.note(1, Err(ConnectError::of(AtFault::Url, "knows no master")));
        assert_eq!(board.why_unknown().at_fault, Some(AtFault::Url));
    }
}
