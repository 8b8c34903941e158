//! The connections to one primary, and what keeps them open. All callers of a runtime share some of them. Others are
//! held by one caller at a time.
//!
//! Each runtime has shared connections of its own, because the task that drives a connection belongs to one runtime. To
//! hand a request to another thread, and the answer back, costs more than Redis takes for it.
//!
//! Each shared connection has a task that keeps it open. It connects, watches the connection, and connects again,
//! however many callers wait. While the server can't be connected to, one of the tasks at a time tries again. It pauses,
//! longer each time, so that many brokers don't overload a server that comes back.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::Duration,
};

use bb8_redis::bb8::Pool;
use tokio::{
    runtime::{Handle, Id},
    sync::{
        OwnedSemaphorePermit, Semaphore,
        watch::{Receiver, Sender},
    },
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    exclusive::{self, Manager},
    lane::{Lane, Place},
    request::Traffic,
    topology::{Primary, Servers},
    watch::{Finding, watch},
    wire::{ConnectError, Connection},
};
use crate::{types::lock, upheld::upheld};

/// How many requests for small answers each connection carries at once. More than a broker has calls in flight, so
/// that it matters only where callers leave before they are answered.
const SMALL_PLACES: usize = 2048;
/// How many requests for large answers each connection carries at once. While Redis works on one connection's
/// requests, all others wait.
const LARGE_PLACES: usize = 8;

/// How long to wait after the first failure to connect, in milliseconds. The pause doubles each time.
const PAUSE: std::ops::Range<u64> = 20..60;
/// How often the pause is doubled at most. The longest pause is short enough for a broker to be back within a second
/// of its server.
const LONGEST: u32 = 3;
/// How long to wait at least if a setting is wrong: the operator may be replacing a file.
const SETTING: Duration = Duration::from_millis(250);
/// A connection that ended sooner than this counts as a failure.
const SHORT: Duration = Duration::from_secs(1);
/// After how many connections that ended so soon the operator is told.
const SHORT_LIVES: u32 = 4;

/// The connections to one primary.
#[derive(Debug)]
pub struct Connections {
    dial: Dial,
    sizes: Sizes,
    /// What the callers of each runtime share.
    shared: RwLock<Vec<(Id, Arc<Lanes>)>>,
    /// The connections that one caller holds alone, for a write that waits for replicas.
    pub exclusive: Option<Pool<Manager>>,
}

/// The connections that all callers of one runtime share, and what keeps them open.
#[derive(Debug)]
struct Lanes {
    /// In the order of [`Traffic::ALL`].
    lanes: [Arc<Lane>; Traffic::ALL.len()],
    _keepers: JoinSet<()>,
}

/// How many connections a primary gets, and how long callers wait for them.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// How many connections the callers of a runtime share for reads. There are as many for writes, and half as many
    /// each for large reads and for scripts that read.
    pub shared: u32,
    /// How many connections there are for writes that wait for replicas. 0 if no write waits.
    pub exclusive: u32,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long an answer to a write that waits for replicas may take.
    pub exclusive_timeout: Duration,
    /// How long a caller waits for a connection.
    pub patience: Duration,
}

/// Connects to a server as long as it is the primary.
#[derive(Clone, Debug)]
pub struct Dial {
    servers: Servers,
    /// Weak, because the primary owns its connections.
    primary: Weak<Primary>,
    /// How long an answer may take.
    timeout: Duration,
    last_failure: LastFailure,
    silence: OnSilence,
    /// Whoever has failed takes the turn to try again.
    turn: Arc<Semaphore>,
    /// Tells all that wait for the next attempt when one has succeeded.
    success: Sender<()>,
    succeeded: Receiver<()>,
}

/// What is called when the server of a primary is silent or can't be connected to.
#[derive(Clone)]
pub struct OnSilence(Arc<Call>);

type Call = dyn Fn(&Arc<Primary>) + Send + Sync;

/// Why the last attempt to connect failed, for callers that wait for a connection in vain.
#[derive(Clone, Debug, Default)]
pub struct LastFailure(Arc<Mutex<Option<ConnectError>>>);

impl Connections {
    /// Returns the connections to `primary`.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    pub fn new(
        servers: &Servers,
        primary: &Arc<Primary>,
        sizes: Sizes,
        silence: OnSilence,
    ) -> Self {
        let success = Sender::default();
        let dial = Dial {
            servers: servers.clone(),
            primary: Arc::downgrade(primary),
            timeout: sizes.timeout,
            last_failure: LastFailure::default(),
            silence,
            turn: Arc::new(Semaphore::new(1)),
            succeeded: success.subscribe(),
            success,
        };
        let mut connections = Self {
            dial,
            sizes,
            shared: RwLock::default(),
            exclusive: None,
        };
        if sizes.exclusive > 0 {
            let dial = Dial {
                timeout: sizes.exclusive_timeout,
                ..connections.dial.clone()
            };
            let shared = connections.lane(Traffic::Reads);
            let pool = exclusive::pool(dial, shared, sizes.exclusive, sizes.patience);
            connections.exclusive = Some(pool);
        }
        connections
    }

    /// Returns the connections that the callers of this runtime share for such requests. When it is called first, it
    /// connects in the background, for all kinds of requests.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    pub fn lane(&self, traffic: Traffic) -> Arc<Lane> {
        let lanes = self.lanes(Handle::current().id());
        Arc::clone(&lanes.lanes[traffic as usize])
    }

    /// Takes a place for such a request if one is free on a connection that isn't in doubt. If this runtime has none,
    /// takes one of another runtime: slower, but better than to wait for a connection that may be dead.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    pub fn place_now(&self, traffic: Traffic) -> Option<(Connection, Place)> {
        self.lane(traffic).place_now().or_else(|| {
            let all = self.shared.read().unwrap_or_else(PoisonError::into_inner);
            let mut lanes = all.iter().map(|(_, lanes)| &lanes.lanes[traffic as usize]);
            lanes.find_map(|lane| lane.place_now())
        })
    }

    /// Returns why the last attempt to connect failed.
    pub fn last_failure(&self) -> Option<ConnectError> {
        self.dial.last_failure()
    }

    fn lanes(&self, runtime: Id) -> Arc<Lanes> {
        let of = |all: &[(Id, Arc<Lanes>)]| {
            let found = all.iter().find(|(id, _)| *id == runtime);
            found.map(|(_, lanes)| Arc::clone(lanes))
        };
        let known = of(&self.shared.read().unwrap_or_else(PoisonError::into_inner));
        known.unwrap_or_else(|| {
            let mut all = self.shared.write().unwrap_or_else(PoisonError::into_inner);
            of(&all).unwrap_or_else(|| {
                let lanes = Arc::new(Lanes::new(&self.dial, self.sizes));
                all.push((runtime, Arc::clone(&lanes)));
                lanes
            })
        })
    }
}

impl Lanes {
    /// Connects in the background.
    fn new(dial: &Dial, sizes: Sizes) -> Self {
        let mut keepers = JoinSet::new();
        let lanes = Traffic::ALL.map(|traffic| {
            let (connections, places) = match traffic {
                Traffic::Reads | Traffic::Writes => (sizes.shared, SMALL_PLACES),
                Traffic::LargeReads | Traffic::ScriptReads => {
                    (sizes.shared.div_ceil(2), LARGE_PLACES)
                }
            };
            let lane = Arc::new(Lane::new(connections, places));
            for at in 0..lane.size() {
                let (lane, dial) = (Arc::clone(&lane), dial.clone());
                keepers.spawn(upheld("keeping a connection to Redis open", move || {
                    keep(Arc::clone(&lane), at, dial.clone())
                }));
            }
            lane
        });
        Self {
            lanes,
            _keepers: keepers,
        }
    }
}

/// Keeps a connection of `lane` open as long as the server is the primary.
async fn keep(lane: Arc<Lane>, at: usize, mut dial: Dial) {
    // If this begins again, nobody has watched the connection that is there.
    lane.set(at, None);
    let (mut failures, mut short_lives) = (0, 0);
    let mut turn = None;
    while let Some(connected) = dial.connect().await {
        let begun = Instant::now();
        drop(turn.take());
        let error = match connected {
            Ok(connection) => {
                lane.set(at, Some(connection.clone()));
                dial.watched(&connection).await;
                lane.set(at, None);
                None
            }
            Err(error) => Some(error),
        };
        match error.is_none() && begun.elapsed() > SHORT {
            true => (failures, short_lives) = (0, 0),
            false => {
                turn = dial.pause(failures, error.as_ref()).await;
                failures += 1;
                short_lives += u32::from(error.is_none());
                if short_lives == SHORT_LIVES {
                    dial.warn_of_short_lives();
                }
            }
        }
    }
}

impl Dial {
    /// Tries once to connect. Returns `None` if the server isn't the primary any more.
    pub async fn connect(&mut self) -> Option<Result<Connection, ConnectError>> {
        self.succeeded.mark_unchanged();
        let primary = self
            .primary
            .upgrade()
            .filter(|primary| !primary.is_over())?;
        let connected = self.servers.connect(&primary, self.timeout).await;
        match &connected {
            Ok(_) => {
                self.servers.attempts().done.up();
                self.last_failure.set(None);
                self.success.send_replace(());
            }
            Err(error) => {
                self.servers.attempts().failed.up();
                self.last_failure.set(Some(error.clone()));
                (self.silence.0)(&primary);
            }
        }
        Some(connected.map(|(connection, _)| connection))
    }

    /// Watches a connection until it has to be replaced.
    pub async fn watched(&self, connection: &Connection) -> Finding {
        let finding = watch(connection).await;
        if finding == Finding::Silent
            && let Some(primary) = self.primary.upgrade()
        {
            let address = &primary.address;
            tracing::warn!(%address, "Redis doesn't answer over a connection, which is replaced");
            (self.silence.0)(&primary);
        }
        finding
    }

    /// Waits for the turn to try again, if there was an `error`, and then for a while, after this many failures before.
    /// Ends when another attempt to connect to the server has succeeded, or the server isn't the primary any more. The
    /// turn has to be held until the next attempt is over.
    pub async fn pause(
        &mut self,
        failures: u32,
        error: Option<&ConnectError>,
    ) -> Option<OwnedSemaphorePermit> {
        let pause = Duration::from_millis(rand::random_range(PAUSE) << failures.min(LONGEST));
        let pause = match error.and_then(|error| error.at_fault) {
            Some(_) => pause.max(SETTING),
            None => pause,
        };
        let primary = self.primary.upgrade()?;
        let turns = Arc::clone(&self.turn);
        let paused = async {
            // If a connection only ended soon, the server can be connected to, and nobody has to wait for others.
            let turn = match error {
                Some(_) => turns.acquire_owned().await.ok(),
                None => None,
            };
            sleep(pause).await;
            turn
        };
        let succeeded = async {
            match error {
                Some(_) => drop(self.succeeded.changed().await),
                // It is this connection that succeeded, and ended soon.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            turn = paused => turn,
            () = succeeded => None,
            () = primary.over() => None,
        }
    }

    fn warn_of_short_lives(&self) {
        let Some(primary) = self.primary.upgrade() else {
            return;
        };
        let address = &primary.address;
        tracing::warn!(
            %address,
            "connections to Redis end soon after they are opened: is an answer larger than its \
             client-output-buffer-limit or maxmemory-clients allows?"
        );
    }

    /// Waits until the server isn't the primary any more.
    pub async fn over(&self) {
        if let Some(primary) = self.primary.upgrade() {
            primary.over().await;
        }
    }

    /// Returns why the last attempt to connect failed.
    pub fn last_failure(&self) -> Option<ConnectError> {
        self.last_failure.get()
    }
}

impl OnSilence {
    /// Returns what calls `call`.
    pub fn new(call: impl Fn(&Arc<Primary>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }
}

impl fmt::Debug for OnSilence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnSilence")
    }
}

impl LastFailure {
    fn set(&self, error: Option<ConnectError>) {
        *lock(&self.0) = error;
    }

    /// Returns why the last attempt failed. Returns `None` if it succeeded, or there was none.
    pub fn get(&self) -> Option<ConnectError> {
        let last = lock(&self.0);
        last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::Traffic;

    #[test]
    fn each_kind_of_request_finds_its_lane() {
        for (at, traffic) in Traffic::ALL.into_iter().enumerate() {
            assert_eq!(traffic as usize, at);
        }
    }
}
