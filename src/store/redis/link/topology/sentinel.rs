//! The primary, as the sentinels report it.
//!
//! Every sentinel is asked four times a second, and at once when it announces something. Of their answers the
//! newest counts, by the configuration epoch on which the sentinels agree. So a sentinel that was cut off
//! isn't believed. A primary that was demoted is left within milliseconds of the announcement, or within
//! [`STALENESS`] if no announcement arrived.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, OnceLock,
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

use super::{
    facts::refusal,
    primaries::Primaries,
    votes::{STALENESS, Votes, Word},
};
use crate::{
    store::redis::{
        Address,
        link::wire::{AtFault, ConnectError, Connector, Opened},
    },
    types::lock,
    upheld::upheld,
};

/// How often a sentinel is asked.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a sentinel may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long to wait for other sentinels after the first answer, because they may know more.
const FIRST: Duration = Duration::from_millis(300);
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
    tasks: OnceLock<JoinSet<Infallible>>,
}

/// What the sentinels have said.
#[derive(Debug)]
struct Board {
    master: String,
    primaries: Primaries,
    votes: Mutex<Votes>,
    /// Until when a majority confirms the primary, in milliseconds since `begun`.
    confirmed_until: AtomicU64,
    begun: Instant,
}

impl Sentinels {
    pub(super) fn new(
        addresses: Vec<Address>,
        master: String,
        connector: Connector,
        primaries: Primaries,
    ) -> Self {
        let board = Board {
            master,
            primaries,
            votes: Mutex::new(Votes::of(addresses.len())),
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
                tasks.spawn(upheld("asking a sentinel", move || {
                    follow(Arc::clone(&board), at, address.clone(), connector.clone())
                }));
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
    /// Takes note of the answer of the sentinel `at`.
    fn note(&self, at: usize, said: Result<Word, ConnectError>) {
        let mut votes = lock(&self.votes);
        let word = match said {
            Ok(word) => word,
            Err(error) => {
                votes.failures[at] = Some(error);
                return;
            }
        };
        let first = *votes.first.get_or_insert(word.at);
        votes.words[at] = Some(word);
        votes.failures[at] = None;

        let current = self
            .primaries
            .of(ANY)
            .map(|primary| primary.address.clone());
        let Some(newest) = votes.newest(current.as_ref()) else {
            return;
        };
        if current.is_none() && votes.count() < votes.majority() && first.elapsed() < FIRST {
            return;
        }
        if let Some(confirmed) = votes.confirmed(&newest) {
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
        let votes = lock(&self.votes);
        let failures: Vec<_> = votes.failures.iter().flatten().collect();
        let mut blaming = failures.iter().filter(|failure| failure.at_fault.is_some());
        if let Some(failure) = blaming.clone().next()
            && blaming.by_ref().count() >= votes.majority()
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

/// Asks a sentinel again and again.
async fn follow(
    board: Arc<Board>,
    at: usize,
    address: Address,
    connector: Connector,
) -> Infallible {
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
    pipeline.cmd("SENTINEL").arg("MYID");
    let at = Instant::now();
    let answers = sentinel.handle.send_packed_commands(&pipeline, 0, 3).await;
    let gone = |_| ConnectError::passing(format!("{address}: the connection ended"));
    let mut answers = answers.map_err(gone)?.into_iter();
    let (place, state, voter) = (answers.next(), answers.next(), answers.next());
    // What only poses as a sentinel may have no id. It has a vote all the same.
    let voter = voter.filter(|voter| !is_unknown(voter));
    for answer in [&place, &state, &voter] {
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
        voter: String::from_redis_value(voter.unwrap_or(Value::Nil)).unwrap_or_default(),
        run_id: state.get("runid").cloned().unwrap_or_default(),
        address: Address::Tcp(host, port),
        epoch: epoch.ok_or_else(odd)?,
        at,
    })
}

/// Whether the answer says that there is no such command.
fn is_unknown(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "ERR")
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

    const NOW: Duration = Duration::ZERO;

    #[tokio::test]
    async fn one_sentinel_that_is_not_set_up_ends_nothing() {
        let connector = Connector {
            access: crate::store::redis::Access::default(),
            peer: crate::store::redis::link::wire::Peer::Sentinel,
            connect_timeout: NOW,
            timeout: NOW,
            largest: crate::store::redis::Largest::for_messages(1),
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
