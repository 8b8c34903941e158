//! What happens to a primary, and how it comes back.

use std::{collections::BTreeMap, fmt};

use testkit::{
    redis_server::RedisServer,
    sentinel::{MASTER, Sentinels},
    waiting::found,
};

use crate::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Replicas and sentinels don't reach it. Its clients do, and it goes on answering them.
    Partition,
    /// SIGKILL.
    Kill,
    /// SIGSTOP: its connections stay open, and it answers nothing until it goes on.
    Stop,
    /// As [`Fault::Partition`], and one of the brokers is on the primary's side: right before they
    /// switch, it doesn't hear from the sentinels any more.
    Inside,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] = [Self::Partition, Self::Kill, Self::Stop, Self::Inside];

    pub(crate) async fn strike(self, world: &World, server: usize) {
        let deployment = &world.deployment;
        match self {
            Self::Partition => deployment.isolate(server),
            Self::Kill => deployment.servers[server].kill(),
            Self::Stop => deployment.servers[server].pause(),
            Self::Inside => {
                deployment.isolate(server);
                found("a sentinel misses the primary", || misses_it(deployment)).await;
                world.far.cut();
            }
        }
    }

    /// Lets the server come back, which still takes itself for a primary.
    pub(crate) fn end(self, world: &World, server: usize) {
        let deployment = &world.deployment;
        match self {
            Self::Partition => deployment.heal(server),
            Self::Kill => deployment.servers[server].restart(),
            Self::Stop => deployment.servers[server].resume(),
            Self::Inside => {
                deployment.heal(server);
                world.far.heal();
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
