//! The threads that serve connections.
//!
//! Each has a runtime of its own and keeps to its connections. So a call doesn't move between cores, and nothing that it
//! needs has to be woken on another one. A client with one connection has one thread.

use std::{io, sync::Arc, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::{AbortHandle, JoinSet},
};

use super::wire::Wire;

/// How many there are at most unless the operator wants more. More would only wait for the store.
const MOST: usize = 16;

/// Returns how many threads serve connections, of which the operator wants `wanted`. More than there are cores would get
/// in each other's way.
pub(super) fn count(wanted: Option<usize>) -> usize {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    wanted.unwrap_or_else(|| cores().min(MOST))
}

/// The threads that serve connections. They end when this is dropped, and so do their connections.
#[derive(Debug)]
pub(super) struct Workers(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Each of its connections has a share.
    connections: Arc<()>,
    _end: oneshot::Sender<()>,
}

impl Workers {
    /// Starts this many threads.
    ///
    /// # Errors
    /// Returns the error of the system that has no thread to give.
    pub fn start(count: usize) -> io::Result<Self> {
        (0..count)
            .map(Worker::start)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Runs what `work` makes on each of the threads, and waits until all of it is done.
    pub async fn each<F>(&self, work: impl Fn() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for worker in &self.0 {
            tasks.spawn_on(work(), &worker.runtime);
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Hands a connection to the thread that has the fewest, and runs there what `serve` makes of it. The task belongs
    /// to `tasks`.
    pub fn serve<F>(
        &self,
        wire: Wire,
        tasks: &mut JoinSet<()>,
        serve: impl FnOnce(Wire) -> F + Send + 'static,
    ) -> Option<AbortHandle>
    where
        F: Future<Output = ()> + Send,
    {
        let worker = self
            .0
            .iter()
            .min_by_key(|worker| Arc::strong_count(&worker.connections))?;
        // The thread's own runtime has to watch the socket.
        let parcel = wire.pack().ok()?;
        let connection = Arc::clone(&worker.connections);
        let serving = async move {
            if let Ok(wire) = parcel.unpack() {
                serve(wire).await;
            }
            drop(connection);
        };
        Some(tasks.spawn_on(serving, &worker.runtime))
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || runtime.block_on(ended))?;
        Ok(Self {
            runtime: handle,
            connections: Arc::new(()),
            _end: end,
        })
    }
}
