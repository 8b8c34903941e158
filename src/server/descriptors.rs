//! File descriptors: each connection takes one, and so does each connection to Redis.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors are kept for what isn't a served connection: files, the runtime of the main thread, its connections
/// to Redis and those that writes hold alone, and the client that waits for room.
const RESERVE: usize = 128;
/// How many are kept for each thread that serves connections: its runtime has four. At the default, it has four connections
/// to each primary, of which a broker with one tenant has one, and while one takes over another four.
const RESERVE_OF_A_WORKER: usize = 12;

/// Raises the process's limit on descriptors as far as it may, and returns how many clients' connections fit
/// below it beside what `workers` threads and `others`, such as probes, need, but no more than `wanted`. Warns if they are
/// fewer.
pub(super) fn connections_that_fit(wanted: usize, workers: usize, others: usize) -> usize {
    let limit = raised();
    let reserve = RESERVE + RESERVE_OF_A_WORKER * workers + others;
    let fitting = fitting(limit, reserve, wanted);
    if fitting < wanted {
        tracing::warn!(
            limit,
            "max-connections: only {fitting} of {wanted} connections fit below the limit on file \
             descriptors; raise it (ulimit -n, LimitNOFILE) to {} or lower max-connections",
            wanted + reserve
        );
    }
    fitting
}

/// Returns how many connections fit below `limit`, but no more than `wanted`. Redis gets descriptors in any
/// case.
fn fitting(limit: usize, reserve: usize, wanted: usize) -> usize {
    let reserve = reserve.min(limit / 2);
    wanted.min(limit - reserve).max(1)
}

/// Raises the soft limit to the hard one, and returns it.
fn raised() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: maximum,
        maximum,
    };
    // The limit stays as it was if the system refuses.
    let limit = match setrlimit(Resource::Nofile, highest) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    // No limit is a limit that nobody reaches.
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_always_gets_descriptors() {
        assert_eq!(fitting(65_536, RESERVE, 4_096), 4_096);
        assert_eq!(fitting(usize::MAX, RESERVE, 4_096), 4_096);
        assert_eq!(fitting(1_024, RESERVE, 4_096), 896);
        assert_eq!(fitting(64, RESERVE, 4_096), 32);
        assert_eq!(fitting(1, RESERVE, 4_096), 1);
    }
}
