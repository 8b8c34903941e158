//! Asking whether a call may wait for a provider.
//!
//! A gate bounds the callers who wait for one provider. Whoever serves the calls knows more: how many of all calls, and
//! of those of one client, wait already. It comes along with the task, because nothing between the two has to do with it.

use std::{any::Any, future::Future, sync::Arc};

use crate::types::ProviderName;

tokio::task_local! {
    static CALL: Arc<dyn Waits>;
}

/// The right to wait for a provider, until this is dropped.
pub type MayWait = Box<dyn Any + Send>;

/// A call that may have to wait for providers.
pub trait Waits: Send + Sync {
    /// Lets the call wait for a provider, for which `free` calls may, this one included. Returns `None` if too many calls wait
    /// already, at all or for this provider, or too many of the same caller.
    fn wait_for(&self, provider: &ProviderName, free: usize) -> Option<MayWait>;
}

/// Runs `work` for `call`. Tasks that `work` spawns ask nobody.
pub fn for_call<F: Future>(
    call: Arc<dyn Waits>,
    work: F,
) -> impl Future<Output = F::Output> + use<F> {
    CALL.scope(call, work)
}

/// Lets the call for which this runs wait for a provider, as [`Waits::wait_for`]. What runs for no call may.
pub(super) fn wait_for(provider: &ProviderName, free: usize) -> Option<MayWait> {
    let may_wait = CALL.try_with(|call| call.wait_for(provider, free));
    may_wait.unwrap_or_else(|_| Some(Box::new(())))
}
