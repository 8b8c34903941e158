//! Tests of what every store must guarantee: the semantics of each RPC (guarantees, section 2.1)
//! and the invariants I1 to I9 (guarantees, section 3.2), on every backend. I10 is in `tests/redis`.
//!
//! - `cases/` states the guarantees: each is an async function, named after the guarantee;
//! - `suite.rs` lists them; [`conformance!`] below makes a test of each for every backend;
//! - `teeth.rs` runs the cases on stores that are wrong on purpose (`naive/`). The cases must notice.
//!
//! A new backend implements `Backend` (`backend.rs`) and gets a line below. The tests of what only
//! Redis can get wrong, including I10, are in `tests/redis/`.
//!
//! A failed run prints its seed. `CONFORMANCE_SEED` repeats it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod suite;

mod backend;
mod cases;
mod dice;
mod forgetful;
mod guessing;
mod meddled;
mod naive;
mod run;
mod shared_servers;
mod teeth;

use backend::{MemoryBackend, OnRedis};
use guessing::guessing;
use naive::NaiveBackend;
use run::run;
use shared_servers::{
    ByScript, Oldest, OnCluster, OnClusterTls, OnSentinel, OnSentinelTls, Tcp, TcpTls, Unix, Valkey,
};

conformance! {
    memory => MemoryBackend::start,
    memory_sealed => MemoryBackend::start_sealed,
    redis => OnRedis::start::<Tcp>,
    redis_sealed => OnRedis::start_sealed::<Tcp>,
    redis_sealed_by_script => OnRedis::start_sealed::<ByScript>,
    redis_guessing => guessing,
    redis_by_script => OnRedis::start::<ByScript>,
    redis_tls => OnRedis::start::<TcpTls>,
    redis_unix => OnRedis::start::<Unix>,
    redis_sentinel => OnRedis::start::<OnSentinel>,
    redis_sentinel_tls => OnRedis::start::<OnSentinelTls>,
    redis_cluster => OnRedis::start::<OnCluster>,
    redis_cluster_tls => OnRedis::start::<OnClusterTls>,
    redis_6_2 => OnRedis::start::<Oldest>,
    valkey => OnRedis::start::<Valkey>,
    third => NaiveBackend::start,
}
