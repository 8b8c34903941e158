//! The faults of a primary, and how it comes back.

use std::{collections::BTreeMap, fmt};

use testkit::{
    redis_server::RedisServer,
    sentinel::{MASTER, Sentinels},
    waiting::found,
};

use crate::setup::Setup;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Replicas and sentinels can't reach the primary. Its clients can, and it still answers them.
    Partition,
    /// SIGKILL.
    Kill,
    /// SIGSTOP: the connections stay open, but the primary answers nothing until it continues.
    Stop,
    /// Like [`Fault::Partition`], but one of the brokers is on the primary's side: right before the
    /// sentinels switch, it stops hearing from them.
    Inside,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] = [Self::Partition, Self::Kill, Self::Stop, Self::Inside];

    pub(crate) async fn strike(self, setup: &Setup, server: usize) {
        let deployment = &setup.deployment;
        match self {
            Self::Partition => deployment.isolate(server),
            Self::Kill => deployment.servers[server].kill(),
            Self::Stop => deployment.servers[server].pause(),
            Self::Inside => {
                deployment.isolate(server);
                found("a sentinel misses the primary", || misses_it(deployment)).await;
                setup.far.cut();
            }
        }
    }

    /// Lets the server come back. It still believes that it is the primary.
    pub(crate) fn end(self, setup: &Setup, server: usize) {
        let deployment = &setup.deployment;
        match self {
            Self::Partition => deployment.heal(server),
            Self::Kill => deployment.servers[server].restart(),
            Self::Stop => deployment.servers[server].resume(),
            Self::Inside => {
                deployment.heal(server);
                setup.far.heal();
            }
        }
    }
}

fn misses_it(deployment: &Sentinels) -> Option<()> {
    let misses = |sentinel: &RedisServer| {
        let known = sentinel.ask::<BTreeMap<String, String>>(&["SENTINEL", "MASTER", MASTER]);
        known.is_ok_and(|known| known["flags"].contains("s_down"))
    };
    deployment.sentinels.iter().any(misses).then_some(())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Partition => "partition",
            Self::Kill => "SIGKILL",
            Self::Stop => "SIGSTOP",
            Self::Inside => "partition, a broker inside",
        })
    }
}
