//! Where connections come from, and which of them yield to others.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::types::Source;

/// Where a connection comes from, and since when it is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub source: Source,
    pub since: Instant,
}

impl Origin {
    /// Returns the origin of a connection that begins now.
    pub fn now(source: Source) -> Self {
        let since = Instant::now();
        Self { source, since }
    }
}

/// How long a connection of a probe lasts at least, so that whoever has just come can ask. Those that come again as soon as they have
/// made room would otherwise take all places in the time that a client needs to send its request.
pub(super) const LEAST: Duration = Duration::from_millis(20);

/// Returns which of these connections yield to so `many` others. Each is, of those from the source that has the most left,
/// the one that is there for longest.
///
/// Clients that connect from many sources, or share one with others (behind a NAT, or a mesh), yield in the order of coming.
pub(super) fn who_yield<T>(connections: impl Iterator<Item = (Origin, T)>, many: usize) -> Vec<T> {
    let mut sources: HashMap<Source, Vec<(Instant, T)>> = HashMap::new();
    for (origin, connection) in connections {
        let of_source = sources.entry(origin.source).or_default();
        of_source.push((origin.since, connection));
    }
    let mut sources: Vec<_> = sources.into_values().collect();
    for of_source in &mut sources {
        of_source.sort_by_key(|(since, _)| Reverse(*since));
    }
    // Of two sources with as many, the one whose oldest connection is older.
    let rank = |of_source: &[(Instant, T)]| {
        let (oldest, _) = of_source.last()?;
        Some((of_source.len(), Reverse(*oldest)))
    };
    let ranked = sources.iter().enumerate();
    let ranked = ranked.filter_map(|(at, of_source)| Some((rank(of_source)?, at)));
    let mut ranked: BinaryHeap<_> = ranked.collect();
    let mut yielding = Vec::new();
    while yielding.len() < many
        && let Some((_, at)) = ranked.pop()
        && let Some(of_source) = sources.get_mut(at)
    {
        yielding.extend(of_source.pop().map(|(_, connection)| connection));
        ranked.extend(rank(of_source).map(|rank| (rank, at)));
    }
    yielding
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn source(ip: &str) -> Source {
        Source::of(Some(SocketAddr::new(ip.parse().unwrap(), 1)))
    }

    fn yield_to(many: usize, connections: &[(&str, u64)]) -> Vec<usize> {
        let now = Instant::now();
        let all = connections.iter().enumerate();
        let all = all.map(|(number, (ip, after))| {
            let since = now + Duration::from_secs(*after);
            let source = source(ip);
            (Origin { source, since }, number)
        });
        who_yield(all, many)
    }

    #[test]
    fn the_oldest_of_the_source_with_the_most_yields() {
        assert!(yield_to(1, &[]).is_empty());
        assert_eq!(yield_to(1, &[("10.0.0.1", 2), ("10.0.0.1", 1)]), [1]);
        // Whoever has one connection keeps it, although it is the oldest.
        let many = [("10.0.0.1", 0), ("10.0.0.2", 3), ("10.0.0.2", 2)];
        assert_eq!(yield_to(1, &many), [2]);
        assert_eq!(yield_to(1, &[("10.0.0.1", 1), ("10.0.0.2", 0)]), [1]);
        // Until the others have as many.
        assert_eq!(yield_to(2, &many), [2, 0]);
        assert_eq!(yield_to(9, &many), [2, 0, 1]);
    }
}
