//! Watching a connection, whoever waits for an answer over it.
//!
//! A caller that leaves early learns nothing about a connection, and one that waits long learns it late. Therefore
//! each connection has a watch of its own. When nothing has come for a while, it asks the server for the time. Any
//! byte that comes shows that the connection works, also a part of a large answer, or the answer to an earlier
//! request. The time matters, too: it tells how late a request may begin.

use std::{future::Future, sync::Arc, thread, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::wire::{Connection, ConnectionState, Life};

/// Into how many parts the time for an answer is divided. After one part without a byte the server is asked; it is
/// found silent within two parts more than the time for an answer.
const PARTS: u32 = 8;
/// After how many parts without an answer other connections are preferred.
const DOUBTFUL: u32 = 2;

/// Why the watch over a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The connection ended, or its server can't be used.
    Ended,
    /// The connection is open, and nothing came for as long as an answer may take.
    Silent,
}

/// A connection together with its watch, which ends with it.
#[derive(Debug)]
pub struct Watched {
    /// The connection.
    pub connection: Connection,
    _watch: JoinSet<()>,
}

impl Watched {
    /// Returns `connection`, watched by a task that runs `watch`.
    pub fn new(connection: Connection, watch: impl Future<Output = ()> + Send + 'static) -> Self {
        let mut task = JoinSet::new();
        let unwatched = Unwatched(Arc::clone(connection.state()));
        task.spawn(async move {
            let _unwatched = unwatched;
            watch.await;
        });
        Self {
            connection,
            _watch: task,
        }
    }
}

/// Ends a connection whose watch panics: nobody would notice that it is silent.
struct Unwatched(Arc<ConnectionState>);

impl Drop for Unwatched {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end();
        }
    }
}

/// Watches a connection until it has to be replaced. One that is silent is given up: it gets no new requests, and ends
/// when those who wait have waited for as long as an answer may take.
pub async fn watch(connection: &Connection) -> Finding {
    let finding = look(connection).await;
    if finding == Finding::Silent {
        let (state, timeout) = (Arc::clone(connection.state()), connection.timeout());
        state.retire();
        tokio::spawn(async move {
            sleep(timeout).await;
            state.end();
        });
    }
    finding
}

async fn look(connection: &Connection) -> Finding {
    let life = connection.state().life();
    let part = (connection.timeout() / PARTS).max(Duration::from_millis(1));
    loop {
        tokio::select! {
            () = life.over() => return over(life),
            () = sleep(part) => {}
        }
        let is_stale = connection.state().clock().is_stale();
        if (!life.was_heard() || is_stale)
            && let Some(finding) = asked(connection, part).await
        {
            return finding;
        }
    }
}

fn over(life: &Life) -> Finding {
    match life.is_silent() {
        true => Finding::Silent,
        false => Finding::Ended,
    }
}

/// Asks the server, and waits until anything comes. Returns what is wrong, if something is.
async fn asked(connection: &Connection, part: Duration) -> Option<Finding> {
    let life = connection.state().life();
    let answer = connection.clone().answers(vec![redis::cmd("TIME")]);
    tokio::pin!(answer);
    let mut silent = Duration::ZERO;
    let finding = loop {
        let begun = Instant::now();
        tokio::select! {
            biased;
            () = life.over() => break Some(over(life)),
            answer = &mut answer => {
                if let Some(time) = answer.ok().and_then(|mut answers| answers.pop()) {
                    connection.state().tell_time(time);
                }
                break None;
            }
            () = sleep(part) => {}
        }
        if life.was_heard() {
            silent = Duration::ZERO;
        } else {
            // If this process stood still, it couldn't hear anything.
            silent += begun.elapsed().min(2 * part);
        }
        life.doubt(silent >= DOUBTFUL * part);
        if silent >= connection.timeout() {
            break Some(Finding::Silent);
        }
    };
    if finding.is_none() {
        life.doubt(false);
    }
    finding
}
