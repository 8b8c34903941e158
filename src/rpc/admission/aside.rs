//! Places for calls to the services beside the broker's own, which anybody may call.

mod held;

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use self::held::{Held, Number};
use super::{Share, bound::Taken};
use crate::{error::Error, types::lock};

/// The places for calls to a service beside the broker's own. They aren't among the calls in flight, and a
/// shutdown doesn't wait for them.
///
/// When all are taken, whoever has the most gives one up to the next call: strangers, by the addresses that they come from,
/// and before them a caller that has more than half. If all are callers', one of these gives way to a caller only. So
/// whoever has few keeps them beside who has many, however fast those call.
#[derive(Debug)]
pub struct SidePlaces(Arc<Mutex<Held>>);

/// The place of a call to a service beside the broker's own, until this is dropped or another call needs it.
#[derive(Debug)]
pub struct Aside {
    connection: Arc<Share>,
    number: Number,
    held: Arc<Mutex<Held>>,
    lost: Option<oneshot::Receiver<()>>,
    _of_connection: Taken,
}

impl SidePlaces {
    /// Makes places for `most` calls at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Held::new(most))))
    }

    /// Gives a place to a call over this connection, which has `_of_connection` for it.
    pub(super) fn take(
        &self,
        connection: &Arc<Share>,
        _of_connection: Taken,
    ) -> Result<Aside, Error> {
        let (number, lost) = lock(&self.0).take(connection)?;
        Ok(Aside {
            connection: Arc::clone(connection),
            number,
            held: Arc::clone(&self.0),
            lost: Some(lost),
            _of_connection,
        })
    }
}

impl Aside {
    /// Returns what ends when another call has taken the place. This can be asked for once.
    pub fn lost(&mut self) -> oneshot::Receiver<()> {
        let never = || oneshot::channel().1;
        self.lost.take().unwrap_or_else(never)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        lock(&self.held).give_up(&self.connection, self.number);
    }
}
