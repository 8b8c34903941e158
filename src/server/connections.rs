//! Accepts connections, limits how many are open, and makes room for new ones.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    activity::{Activity, who_makes_room},
    connection::Entrance,
    listeners::Listener,
    services::Shared,
    trouble::Trouble,
    wire::Wire,
    workers::Workers,
};
use crate::{
    meter::{Count, Gauge},
    rpc::Stopping,
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

/// The open connections.
#[derive(Default)]
pub(super) struct Connections {
    serving: JoinSet<()>,
    figures: Arc<ConnectionFigures>,
    activities: HashMap<Id, Arc<Activity>>,
}

/// What became of connections since the start.
#[derive(Debug, Default)]
pub struct ConnectionFigures {
    /// Those that are open.
    pub open: Gauge,
    /// Those that were accepted.
    pub accepted: Count,
    /// Idle ones that were asked to leave, to make room.
    pub asked_to_leave: Count,
    /// How often a new one had to wait for room.
    pub waited: Count,
    /// Those that couldn't be accepted, for example because no file descriptor was left.
    pub failed: Count,
}

impl Connections {
    /// Returns no connections yet.
    pub fn new(figures: Arc<ConnectionFigures>) -> Self {
        Self {
            figures,
            ..Self::default()
        }
    }

    /// Accepts connections and serves them, until `stopping` is signalled. Then nothing listens any more.
    ///
    /// When all places are taken, one more client is accepted, and waits. Connections without calls are asked to
    /// leave until there is room for it.
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
        let accepting = async {
            loop {
                let wire = accepted(&listener, &figures, &mut refused).await;
                figures.accepted.up();
                self.make_room(most, &mut full).await;
                let (serve, activity) = entrance.admit(stopping);
                let serve = counted(serve, Arc::clone(&figures));
                if let Some(task) = workers.serve(wire, &mut self.serving, serve) {
                    self.activities.insert(task.id(), activity);
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = stopping.begun() => {}
        }
    }

    /// Waits until fewer than `most` connections are open. Until then it asks idle ones to leave, one after the other.
    async fn make_room(&mut self, most: usize, full: &mut Trouble) {
        while let Some(ended) = self.serving.try_join_next_with_id() {
            self.forget(ended);
        }
        if self.serving.len() < most {
            return;
        }
        self.figures.waited.up();
        if let Some(times) = full.happened() {
            let connections = self.serving.len();
            tracing::warn!(
                connections,
                times,
                "max-connections is reached: idle connections are asked to make room, and new ones wait for it"
            );
        }
        while self.serving.len() >= most {
            if let Some(idle) = who_makes_room(self.activities.values(), IDLE) {
                idle.ask_to_leave();
                self.figures.asked_to_leave.up();
            }
            if let Ok(Some(ended)) = timeout(LOOK, self.serving.join_next_with_id()).await {
                self.forget(ended);
            }
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.activities.remove(&id);
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
            while self.activities.values().any(|other| other.is_sending()) {
                sleep(SENT).await;
            }
        };
        if timeout_at(end, sent).await.is_err() {
            return false;
        }
        let closed = async { while self.serving.join_next().await.is_some() {} };
        timeout_at(end.min(Instant::now() + GOODBYE), closed)
            .await
            .ok();
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
