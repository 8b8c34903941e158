//! Accepts connections, and limits how many are open.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use super::connection::Entrance;
use crate::rpc::Stopping;

/// How long to wait after accepting a connection failed, for example because no file descriptor was
/// left.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the log tells that connections can't be accepted.
const TELL: Duration = Duration::from_secs(60);
/// How long connections without calls have to say goodbye when the broker stops.
const GOODBYE: Duration = Duration::from_millis(500);

/// The open connections.
#[derive(Default)]
pub(super) struct Connections(JoinSet<()>);

impl Connections {
    /// Accepts connections and serves them, until `stopping` is signalled. Then nothing listens any more.
    pub async fn accept(
        &mut self,
        listener: TcpListener,
        entrance: &Entrance,
        stopping: &Stopping,
    ) {
        let places = Arc::new(Semaphore::new(entrance.options.max_connections));
        let mut trouble = Trouble::default();
        let accepting = async {
            loop {
                // The semaphore is never closed.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                let stream = trouble.accept(&listener).await;
                let serving = entrance.serve(stream, stopping);
                while self.0.try_join_next().is_some() {}
                self.0.spawn(async {
                    serving.await;
                    drop(place);
                });
            }
        };
        tokio::select! {
            () = accepting => {}
            () = stopping.begun() => {}
        }
    }

    /// Waits until all connections are closed, but not beyond `end`. Once `drained` is done, no call is left
    /// to wait for: what is still open a moment later belongs to a client that doesn't read, or is silent.
    ///
    /// Returns whether `drained` was done in time.
    pub async fn end(mut self, drained: impl Future<Output = ()>, end: Instant) -> bool {
        if timeout_at(end, drained).await.is_err() {
            return false;
        }
        let closed = async { while self.0.join_next().await.is_some() {} };
        timeout_at(end.min(Instant::now() + GOODBYE), closed)
            .await
            .ok();
        true
    }
}

/// What keeps connections from being accepted.
#[derive(Default)]
struct Trouble {
    told: Option<Instant>,
    failures: u64,
}

impl Trouble {
    async fn accept(&mut self, listener: &TcpListener) -> TcpStream {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => self.note(&error),
            }
            sleep(PAUSE).await;
        }
    }

    fn note(&mut self, error: &io::Error) {
        self.failures += 1;
        if self.told.is_some_and(|told| told.elapsed() < TELL) {
            return;
        }
        tracing::warn!(%error, failures = self.failures, "can't accept connections");
        (self.told, self.failures) = (Some(Instant::now()), 0);
    }
}
