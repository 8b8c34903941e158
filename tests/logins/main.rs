//! Users and logins with real parts: three broker processes on one Redis, and a thousand calls that are all on their way at the
//! same instant (guarantees, sections 2.3 and 2.4).
//!
//! | what | file |
//! |---|---|
//! | the brokers, and how a thousand calls come to be under way at once | `brokers` |
//! | `ResolveUser`: one user, whatever fails | `resolving` |
//! | `Consume`: one winner | `consuming` |
//! | both on a cluster, and where writes wait for replicas; a failover | `elsewhere`, `failover` |
//! | `Create`: one client's flood | `flood` |
//! | `DeleteUser` in a process that is killed between every two of its commands | `deleting`, `deletion` |
//! | steps that are broken on purpose: each test is seen to notice the one that concerns it | `flaws` |
//!
//! `LOGIN_KILLS` is how many brokers are killed in `deleting`: by default one before each command, in each of its cases.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and the long form prints what it did"
)]

mod brokers;
mod consuming;
mod deleting;
mod deletion;
mod elsewhere;
mod failover;
mod flaws;
mod flood;
mod resolving;

/// What the keys of the tenant begin with.
const PREFIX: &str = "thv:auth:{default:default}:";
/// How many calls are under way at once.
const CROWD: usize = 1_000;
