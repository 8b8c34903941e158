//! Which server is the primary now, and the connections to it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

use crate::store::redis::{Address, link::wire::ConnectionState};

/// A server that is the primary, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    /// Where it is.
    pub address: Address,
    /// Another one after each switch.
    pub term: u64,
}

/// What is known of the primary. When another server takes over, connections to the last one end at
/// once: it may go on answering, and not know.
#[derive(Debug, Default)]
pub struct Current {
    primary: watch::Sender<Option<Primary>>,
    lives: Mutex<Vec<Weak<ConnectionState>>>,
}

impl Current {
    /// The primary; `None` as long as none was found.
    pub fn get(&self) -> Option<Primary> {
        self.primary.borrow().clone()
    }

    /// From now on it is the server at `address`. Answers whether it was another one before.
    pub fn switch(&self, address: &Address) -> bool {
        self.change(address, ConnectionState::end)
    }

    /// As [`Current::switch`], by the word of the last primary itself: it knows, so what was sent to it
    /// before may be answered still.
    pub fn hand_over(&self, address: &Address) -> bool {
        self.change(address, ConnectionState::retire)
    }

    fn change(&self, address: &Address, leave: fn(&ConnectionState)) -> bool {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        let switched = self.primary.send_if_modified(|primary| {
            let term = match primary {
                Some(primary) if primary.address == *address => return false,
                Some(primary) => primary.term + 1,
                None => 1,
            };
            *primary = Some(Primary {
                address: address.clone(),
                term,
            });
            true
        });
        if switched {
            lives
                .drain(..)
                .filter_map(|life| life.upgrade())
                .for_each(|life| leave(&life));
        }
        switched
    }

    /// Ends the connection when `primary` is followed by another one. `false`: it has been.
    pub fn adopt(&self, primary: &Primary, life: &Arc<ConnectionState>) -> bool {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = self.primary.borrow().as_ref() == Some(primary);
        if is_current {
            lives.retain(|life| life.strong_count() > 0);
            lives.push(Arc::downgrade(life));
        }
        is_current
    }

    /// Waits until the primary is another one than that of `term`; 0 is the time before the first.
    pub async fn changed_from(&self, term: u64) {
        let mut primary = self.primary.subscribe();
        let is_other = |primary: &Option<Primary>| {
            primary.as_ref().is_some_and(|primary| primary.term != term)
        };
        // The sender lives as long as `self`.
        _ = primary.wait_for(is_other).await;
    }
}
