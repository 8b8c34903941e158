//! Memory that is never written to disk.

use super::ServeError;
use crate::config::MemoryLock;

/// Keeps the process's memory out of swap, as far as `wanted`. Pages are locked when they are first used, so that
/// the process takes no more memory than otherwise.
///
/// Without the right to lock everything, nothing is locked: with a limit, an allocation would fail later on, and
/// end the process.
///
/// # Errors
/// Returns a [`ServeError::Misconfigured`] if it is [required](MemoryLock::Required) and can't be done.
pub(super) fn lock(wanted: MemoryLock) -> Result<(), ServeError> {
    if wanted == MemoryLock::Off {
        return Ok(());
    }
    match (lock_all(), wanted) {
        (Ok(()), _) => tracing::debug!("memory is locked: it is never swapped out"),
        (Err(why), MemoryLock::Required) => {
            let why = format!("memory-lock: memory can't be locked: {why}");
            return Err(ServeError::Misconfigured(why));
        }
        (Err(why), _) => tracing::info!("memory isn't locked, and may be swapped out: {why}"),
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn lock_all() -> Result<(), String> {
    use rustix::{
        mm::{MlockAllFlags, mlockall},
        process::{Resource, getrlimit},
        thread::{CapabilitySet, capabilities},
    };

    let may_lock =
        capabilities(None).is_ok_and(|has| has.effective.contains(CapabilitySet::IPC_LOCK));
    if !may_lock && getrlimit(Resource::Memlock).current.is_some() {
        return Err(
            "the process has a limit on locked memory; give it no limit (ulimit -l unlimited, LimitMEMLOCK=infinity), or the \
             capability IPC_LOCK, which a container's settings give to processes of root alone"
                .to_owned(),
        );
    }
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all).map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
fn lock_all() -> Result<(), String> {
    Err("this system isn't supported".to_owned())
}
