//! Runs the cases. A conformance case is an async function that takes a backend and panics if the
//! backend breaks a guarantee.

use std::{future::Future, panic::resume_unwind};

use tokio::runtime::{Builder, Runtime};

use crate::{backend::Backend, dice::seed};

/// Starts a backend, runs a case on it, then audits the data.
pub fn run<B, F>(case: impl FnOnce(B) -> F)
where
    B: Backend,
    F: Future<Output = ()> + Send + 'static,
{
    runtime("case").block_on(async {
        let backend = B::start().await;
        if let Err(panic) = tokio::spawn(case(backend.clone())).await {
            eprintln!("repeat with CONFORMANCE_SEED={}", seed());
            resume_unwind(panic.into_panic());
        }
        backend.audit();
    });
}

/// Runs a case on a backend that breaks a guarantee. Returns the message of the case's panic, or
/// `None` if the case doesn't notice.
pub fn panic_message<B, F>(backend: B, case: impl FnOnce(B) -> F) -> Option<String>
where
    B: Backend,
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = runtime(QUIET);
    let outcome = runtime.block_on(async { tokio::spawn(case(backend)).await });
    let failed = outcome.err()?;
    let panic = failed.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
}

/// The name of threads whose panics are expected. These panics aren't printed.
pub const QUIET: &str = "expected to panic";

/// Uses several threads, so that races can happen.
fn runtime(thread_name: &str) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(4).thread_name(thread_name);
    builder.enable_all().build().unwrap()
}
