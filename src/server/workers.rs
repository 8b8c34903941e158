//! The threads that serve connections.
//!
//! Each has a runtime of its own and keeps to its connections. So a call doesn't move between cores, and nothing that it
//! needs has to be woken on another one. A client with one connection has one thread.

use std::{io, sync::Arc, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::{Notify, oneshot},
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
pub(super) struct Workers {
    all: Vec<Worker>,
    /// Told when one has ended.
    over: Arc<Notify>,
}

/// The last thing that a thread does, whatever ends it.
#[derive(Debug)]
struct Last(Arc<Notify>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

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
        let over = Arc::default();
        let all = (0..count).map(|number| Worker::start(number, &over));
        Ok(Self {
            all: all.collect::<Result<_, _>>()?,
            over,
        })
    }

    /// Waits until one of the threads has ended, which none does by itself. Its connections have ended with it, and new ones
    /// would. Only one task may wait.
    pub async fn ended(&self) {
        self.over.notified().await;
    }

    /// Runs what `work` makes on each of the threads, and waits until all of it is done.
    pub async fn each<F>(&self, work: impl Fn() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for worker in &self.all {
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
            .all
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
    fn start(number: usize, over: &Arc<Notify>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let last = Last(Arc::clone(over));
        let run = move || {
            let _last = last;
            runtime.block_on(ended).ok();
        };
        let named = thread::Builder::new().name(format!("worker-{number}"));
        named.spawn(run)?;
        Ok(Self {
            runtime: handle,
            connections: Arc::new(()),
            _end: end,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        task::{Context, Wake},
        time::Duration,
    };

    use tokio::time::{sleep, timeout};

    use super::*;

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("as the test wants");
        }
    }

    /// A task that panics is the runtime's matter. A waker that panics ends the thread.
    #[tokio::test]
    async fn a_thread_that_ends_is_told_of() {
        let workers = Workers::start(1).unwrap();
        let soon = Duration::from_millis(50);
        let panics = || async { panic!("as the test wants") };
        workers.each(panics).await;
        timeout(soon, workers.ended()).await.unwrap_err();
        let waits = || async {
            let mut sleep = Box::pin(sleep(Duration::from_millis(1)));
            let waker = Arc::new(Panics).into();
            _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
            pending::<()>().await;
        };
        let ended = async {
            workers.each(waits).await;
            workers.ended().await;
        };
        timeout(Duration::from_secs(10), ended).await.unwrap();
    }
}
