//! A single server, and the name by which clients find it.
//!
//! When a managed Redis fails over, or a service in Kubernetes, its name moves to another server. Connections to the
//! last one stay open, and lead to a replica from then on. Whoever notices that raises a doubt. Then the name is
//! resolved again. If it leads to a primary, all connections are made anew. As long as it doesn't, they are kept,
//! because reads work at a replica too.
//!
//! The last server may go on as a primary. Then the first new connection shows that the name has moved (`servers`).

use std::{
    convert::Infallible,
    mem,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use super::{
    primaries::Primaries,
    primary::Leave,
    servers::{Doubt, Servers},
};
use crate::{store::redis::Address, upheld::upheld};

/// How long to wait before the name is resolved again.
const PAUSE: Duration = Duration::from_millis(500);
/// Any slot, because the server holds all of them.
const ANY: u16 = 0;

/// The name of a single server, and the task that follows it when the server is in doubt.
#[derive(Debug)]
pub struct Name {
    look: Arc<Look>,
    /// Runs from the first use on.
    task: OnceLock<JoinSet<Infallible>>,
}

#[derive(Debug)]
struct Look {
    address: Address,
    servers: Servers,
    primaries: Primaries,
    doubt: Doubt,
}

impl Name {
    /// Returns the name, which leads to the primary of everything.
    pub(super) fn new(
        address: Address,
        servers: Servers,
        primaries: Primaries,
        doubt: Doubt,
    ) -> Self {
        primaries.switch(&address);
        let look = Look {
            address,
            servers,
            primaries,
            doubt,
        };
        Self {
            look: Arc::new(look),
            task: OnceLock::new(),
        }
    }

    /// Follows the name from now on.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    pub(super) fn follow(&self) {
        self.task.get_or_init(|| {
            let mut task = JoinSet::new();
            let (look, mut again) = (Arc::clone(&self.look), false);
            task.spawn(upheld("following the name of Redis", move || {
                if mem::replace(&mut again, true) {
                    // The doubt was about to be looked into.
                    look.doubt.raise();
                }
                look_when_in_doubt(Arc::clone(&look))
            }));
            task
        });
    }

    /// Takes note that a connection leads to a replica.
    pub(super) fn suspect(&self) {
        self.look.doubt.raise();
    }
}

/// Resolves the name whenever the server is in doubt.
async fn look_when_in_doubt(look: Arc<Look>) -> Infallible {
    loop {
        look.doubt.raised().await;
        let last = look.primaries.of(ANY);
        if let Some(last) = last
            && look.leads_to_a_primary().await
            // A connection may have found out meanwhile.
            && look.primaries.terms().renew(&last, Leave::WhenAnswered)
        {
            let address = &look.address;
            tracing::info!(%address, "the server was a replica, and its name leads to a primary now");
        }
        sleep(PAUSE).await;
    }
}

impl Look {
    async fn leads_to_a_primary(&self) -> bool {
        let timeout = self.servers.connect_timeout();
        let found = self.servers.connect_to(&self.address, timeout, None).await;
        found.is_ok_and(|(_, facts)| facts.role == "master")
    }
}
