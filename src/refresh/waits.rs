//! Asking whether a call may wait for a provider.
//!
//! A gate bounds the callers who wait for one provider. Whoever serves the calls knows more: how many of all calls, and
//! of those of one client, wait already. It comes along with the task, because nothing between the two has to do with it.

use std::{future::Future, sync::Arc};

tokio::task_local! {
    static CALL: Arc<dyn Waits>;
}

/// A call that may have to wait for providers.
pub trait Waits: Send + Sync {
    /// Asks whether the call may wait now, until it ends. Returns `false` if too many calls wait already. A call that may
    /// wait for one provider may also wait for others.
    fn may_wait(&self) -> bool;
}

/// Runs `work` for `call`. Tasks that `work` spawns ask nobody.
pub fn for_call<F: Future>(
    call: Arc<dyn Waits>,
    work: F,
) -> impl Future<Output = F::Output> + use<F> {
    CALL.scope(call, work)
}

/// Whether the call for which this runs may wait. What runs for no call may.
pub(super) fn may_wait() -> bool {
    CALL.try_with(|call| call.may_wait()).unwrap_or(true)
}
