//! What happens to a primary, and how it comes back.

use std::fmt;

use crate::support::sentinel::Sentinels;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Replicas and sentinels don't reach it. Its clients do, and it goes on answering them.
    Partition,
    /// SIGKILL.
    Kill,
    /// SIGSTOP: its connections stay open, and it answers nothing until it goes on.
    Stop,
}

impl Fault {
    pub(crate) const ALL: [Self; 3] = [Self::Partition, Self::Kill, Self::Stop];

    pub(crate) fn strike(self, deployment: &Sentinels, server: usize) {
        match self {
            Self::Partition => deployment.isolate(server),
            Self::Kill => deployment.servers[server].kill(),
            Self::Stop => deployment.servers[server].pause(),
        }
    }

    /// Lets the server come back, which still takes itself for a primary.
    pub(crate) fn end(self, deployment: &Sentinels, server: usize) {
        match self {
            Self::Partition => deployment.heal(server),
            Self::Kill => deployment.servers[server].restart(),
            Self::Stop => deployment.servers[server].resume(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Partition => "partition",
            Self::Kill => "SIGKILL",
            Self::Stop => "SIGSTOP",
        })
    }
}
