//! Runs the cases. A conformance case is an async function that takes a backend and panics if the
//! backend breaks a guarantee.

use std::{any::Any, future::Future, panic::resume_unwind, pin::Pin};

use tokio::runtime::{Builder, Runtime};

use crate::{backend::Backend, dice::seed};

/// What runs, without its type. There are hundreds of cases, and the compiler makes tokio anew for each type of future.
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Starts a backend, runs a case on it, then audits the data.
pub fn run<B, F>(start: fn() -> Boxed<B>, case: fn(B) -> F)
where
    B: Backend,
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = runtime("case");
    let backend = runtime.block_on(start());
    if let Err(panic) = outcome(&runtime, Box::pin(case(backend.clone()))) {
        eprintln!("repeat with CONFORMANCE_SEED={}", seed());
        resume_unwind(panic);
    }
    let _inside = runtime.enter();
    backend.audit();
}

/// Runs a case on a backend that breaks a guarantee. Returns the message of the case's panic, or
/// `None` if the case doesn't notice.
pub fn panic_message<B, F>(backend: B, case: impl FnOnce(B) -> F) -> Option<String>
where
    B: Backend,
    F: Future<Output = ()> + Send + 'static,
{
    let panic = outcome(&runtime(QUIET), Box::pin(case(backend))).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
}

/// Runs a case. Returns its panic if it fails.
fn outcome(runtime: &Runtime, case: Boxed<()>) -> Result<(), Box<dyn Any + Send>> {
    let outcome = runtime.block_on(async { tokio::spawn(case).await });
    outcome.map_err(tokio::task::JoinError::into_panic)
}

/// The name of threads whose panics are expected. These panics aren't printed.
pub const QUIET: &str = "expected to panic";

/// Uses several threads, so that races can happen.
fn runtime(thread_name: &str) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(4).thread_name(thread_name);
    builder.enable_all().build().unwrap()
}
