//! File descriptors: each connection takes one, and so does each connection to Redis.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors are kept for what isn't a served connection: those to Redis, files, the runtime's own, and
/// the client that waits for room.
const RESERVE: usize = 128;

/// Raises the process's limit on descriptors as far as it may, and returns how many clients' connections fit
/// below it, but no more than `wanted`. Warns if they are fewer.
pub(super) fn connections_that_fit(wanted: usize) -> usize {
    let limit = raised();
    let fitting = fitting(limit, wanted);
    if fitting < wanted {
        tracing::warn!(
            limit,
            "max-connections: only {fitting} of {wanted} connections fit below the limit on file \
             descriptors; raise it (ulimit -n, LimitNOFILE) to {} or lower max-connections",
            wanted + RESERVE
        );
    }
    fitting
}

/// Returns how many connections fit below `limit`, but no more than `wanted`. Redis gets descriptors in any
/// case.
fn fitting(limit: usize, wanted: usize) -> usize {
    let reserve = RESERVE.min(limit / 2);
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
        assert_eq!(fitting(65_536, 4_096), 4_096);
        assert_eq!(fitting(usize::MAX, 4_096), 4_096);
        assert_eq!(fitting(1_024, 4_096), 896);
        assert_eq!(fitting(64, 4_096), 32);
        assert_eq!(fitting(1, 4_096), 1);
    }
}
