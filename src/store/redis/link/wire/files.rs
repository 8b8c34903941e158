//! Reading files on a thread of their own: a file system may hang, and the threads that serve must not wait for it.

use std::thread;

use tokio::sync::{Mutex, oneshot};

/// Held while a file is read. A file system that hangs thus holds up one thread, however often the broker tries to
/// connect meanwhile.
static TURN: Mutex<()> = Mutex::const_new(());

/// Runs `read` on another thread. Returns `None` if there is no thread to be had.
///
/// The runtime's own threads for blocking work aren't used, because the process waits for them at its end.
pub async fn aside<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let turn = TURN.lock().await;
    let (done, answer) = oneshot::channel();
    let thread = thread::Builder::new().name("files".to_owned());
    let started = thread.spawn(move || {
        // Nobody may be waiting any more.
        done.send(read()).ok();
        drop(turn);
    });
    started.ok()?;
    answer.await.ok()
}
