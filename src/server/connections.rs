//! Accepts connections, limits how many are open, and makes room for new ones.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    activity::{Activity, Room, who_make_room},
    connection::Entrance,
    listeners::Listener,
    open::Open,
    services::Shared,
    trouble::Trouble,
    wire::Wire,
    workers::Workers,
};
use crate::{
    meter::{Count, Gauge},
    rpc::Stopping,
    upheld::unless_it_panics,
};

/// How long to wait after accepting a connection failed, for example because no file descriptor was
/// left.
const PAUSE: Duration = Duration::from_millis(50);
/// How often to look whether all answers have been sent.
const SENT: Duration = Duration::from_millis(10);
/// How long connections without calls have to say goodbye when the broker stops.
const GOODBYE: Duration = Duration::from_millis(500);
/// How long a connection has to be without calls before it is asked to make room. When there are more clients than
/// places, and all come back at once, this bounds how often each of them has to.
const IDLE: Duration = Duration::from_secs(1);
/// How long to wait for room before another connection is asked to make some.
const LOOK: Duration = Duration::from_millis(100);
/// One connection in so many may be leaving at once, if it is a stranger's or of a caller that has more than its part...
const PART_THAT_LEAVES: usize = 16;
/// ...but this many in any case.
const LEAVING: usize = 2;

/// The open connections.
pub(super) struct Connections {
    open: Open<Arc<Activity>>,
    figures: Arc<ConnectionFigures>,
    guests: Guests,
    /// When it was last looked for connections to ask.
    looked: Option<Instant>,
}

/// Whom a listener is for, and so how connections make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guests {
    /// Callers. Connections that have earned no place make room first, and all are asked before they are closed.
    Callers,
    /// Probes, which don't wait, and need their connection for a moment only. The oldest connection is closed at once.
    Probes,
}

/// What became of connections since the start.
#[derive(Debug, Default)]
pub struct ConnectionFigures {
    /// Those that are open.
    pub open: Gauge,
    /// Those that were accepted.
    pub accepted: Count,
    /// Those that were asked to leave, to make room.
    pub asked_to_leave: Count,
    /// How often a new one had to wait for room.
    pub waited: Count,
    /// Those that couldn't be accepted, for example because no file descriptor was left.
    pub failed: Count,
}

impl Connections {
    /// Returns no connections yet.
    pub fn new(guests: Guests, figures: Arc<ConnectionFigures>) -> Self {
        Self {
            open: Open::default(),
            figures,
            guests,
            looked: None,
        }
    }

    /// Accepts connections and serves them, until `stopping` is signalled. Then nothing listens any more.
    ///
    /// When all places are taken, one more client is accepted, and waits. Connections without calls make room until there
    /// is a place for it.
    pub async fn accept(
        &mut self,
        listener: Listener,
        entrance: &Entrance<impl Shared>,
        workers: &Workers,
        stopping: &Stopping,
    ) {
        let most = entrance.options.max_connections;
        let (mut refused, mut full) = (Trouble::default(), Trouble::default());
        let figures = Arc::clone(&self.figures);
        let mut accept = async || {
            loop {
                let wire = accepted(&listener, &figures, &mut refused).await;
                figures.accepted.up();
                self.make_room(most, &mut full).await;
                let (serve, activity) = entrance.admit(wire.source(), stopping);
                let serve = counted(serve, Arc::clone(&figures));
                self.open.add(activity.origin(), activity, |tasks| {
                    workers.serve(wire, tasks, serve)
                });
            }
        };
        // It has no end of its own.
        let accepting = async {
            while unless_it_panics("accepting connections", accept())
                .await
                .is_none()
            {}
        };
        tokio::select! {
            () = accepting => {}
            () = stopping.begun() => {}
        }
    }

    /// Waits until fewer than `most` connections are open. Until then it has others make room.
    async fn make_room(&mut self, most: usize, full: &mut Trouble) {
        self.open.forget_ended();
        if self.open.count() < most {
            return;
        }
        self.figures.waited.up();
        if let Some(times) = full.happened() {
            let connections = self.open.count();
            match self.guests {
                Guests::Callers => tracing::warn!(
                    connections,
                    times,
                    "max-connections is reached: idle connections are asked to make room, and new ones wait for it"
                ),
                Guests::Probes => tracing::warn!(
                    connections,
                    times,
                    "health-listen: all connections are taken: the oldest ones make room"
                ),
            }
        }
        while self.open.count() >= most {
            match self.guests {
                Guests::Callers => {
                    self.ask_to_leave(most);
                    self.open.one_ended(LOOK).await;
                }
                Guests::Probes => self.open.close_oldest(|_| Duration::ZERO).await,
            }
        }
    }

    /// Asks connections to leave, as many as may be leaving at once. To look at all of them takes a while, so it does
    /// that now and then only.
    fn ask_to_leave(&mut self, most: usize) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        let room = Room {
            most,
            least: IDLE,
            leaving: (most / PART_THAT_LEAVES).max(LEAVING),
        };
        for idle in who_make_room(self.open.known(), room) {
            idle.ask_to_leave();
            self.figures.asked_to_leave.up();
        }
    }

    /// Waits until all connections are closed, but not beyond `end`. Once `drained` is done, no call is left
    /// to wait for: what is still open a moment later belongs to a client that doesn't read, or is silent.
    ///
    /// Returns whether `drained` was done in time.
    pub async fn end(mut self, drained: impl Future<Output = ()>, end: Instant) -> bool {
        let sent = async {
            drained.await;
            // An answer stops counting as a call a moment before its connection is known to be sending it.
            sleep(SENT).await;
            while self.open.known().any(|activity| activity.is_sending()) {
                sleep(SENT).await;
            }
        };
        if timeout_at(end, sent).await.is_err() {
            return false;
        }
        let goodbye = end.min(Instant::now() + GOODBYE);
        timeout_at(goodbye, self.open.all_ended()).await.ok();
        true
    }
}

/// Returns what serves a connection as `serve` does, and counts it as open until it ends.
fn counted<F>(
    serve: impl FnOnce(Wire) -> F + Send,
    figures: Arc<ConnectionFigures>,
) -> impl FnOnce(Wire) -> BoxFuture<'static, ()> + Send
where
    F: Future<Output = ()> + Send + 'static,
{
    move |wire| {
        let serving = serve(wire);
        async move {
            let _open = figures.open.up();
            serving.await;
        }
        .boxed()
    }
}

async fn accepted(
    listener: &Listener,
    figures: &ConnectionFigures,
    failures: &mut Trouble,
) -> Wire {
    loop {
        match listener.accept().await {
            Ok(wire) => return wire,
            Err(error) => {
                figures.failed.up();
                if let Some(failures) = failures.happened() {
                    tracing::warn!(%error, failures, "can't accept connections");
                }
            }
        }
        sleep(PAUSE).await;
    }
}
