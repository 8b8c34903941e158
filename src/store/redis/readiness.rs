//! Whether writes can work, for the health of the broker.

use std::sync::LazyLock;

use super::{link::Link, scripts::Script};
use crate::store::Error;

/// It is asked for four times a second, so it is short.
static CAN_WRITE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/can_write.lua")));

/// Asks the primary whether scripts may be called, by source and by hash, and whether they may write. `key` must be a
/// key that never holds anything.
///
/// The commands are no requests that wait for a slot to move: while it moves, the node that it moves to is asked too.
///
/// # Errors
/// Returns [`Error::Unavailable`] if no write can work until an operator helps.
pub(super) async fn writes_work(link: &Link, key: &str) -> Result<(), Error> {
    let keys = [key];
    link.read(&CAN_WRITE.by_source(b"", &keys, &[])).await?;
    link.read(&CAN_WRITE.by_hash(b"", &keys, &[]))
        .await
        .map(drop)
}
