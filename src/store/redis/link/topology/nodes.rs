//! What a node of a cluster knows of the others: its answer to CLUSTER NODES.

use crate::store::redis::Address;

/// A node, as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, for good.
    pub id: String,
    /// Where it is.
    pub address: Address,
    /// Whether it holds slots of its own.
    pub is_primary: bool,
    /// Whether the others can't reach it.
    pub has_failed: bool,
    /// Grows with each change of who holds what.
    pub epoch: u64,
    /// First and last slots of what it holds.
    pub slots: Vec<(u16, u16)>,
    /// Slots on their way from or to it. A node tells that of itself only.
    pub moving: Vec<u16>,
}

impl Node {
    /// Whether the slot is its.
    pub fn holds(&self, slot: u16) -> bool {
        self.slots
            .iter()
            .any(|&(first, last)| (first..=last).contains(&slot))
    }
}

/// The nodes in an answer of the node at `asked`. Those that nobody knows the place of are left out.
pub fn parse(answer: &str, asked: &Address) -> Vec<Node> {
    answer
        .lines()
        .filter_map(|line| node(line, asked))
        .collect()
}

/// `<id> <ip:port@bus[,hostname]> <flags> <primary> <ping> <pong> <epoch> <link> <slot>...`
fn node(line: &str, asked: &Address) -> Option<Node> {
    let mut fields = line.split(' ');
    let id = fields.next()?.to_owned();
    let place = fields.next()?;
    let flags: Vec<_> = fields.next()?.split(',').collect();
    let epoch = fields.nth(3)?.parse().ok()?;
    let has = |flag: &str| flags.contains(&flag);
    if has("noaddr") || has("handshake") {
        return None;
    }
    let (host, port) = place.split('@').next()?.rsplit_once(':')?;
    let host = match (host, asked) {
        // It doesn't know its own address yet.
        ("", Address::Tcp(asked, _)) => asked,
        (host, _) => host,
    };
    let (mut slots, mut moving) = (Vec::new(), Vec::new());
    for field in fields.skip(1) {
        if let Some(inner) = field.strip_prefix('[') {
            moving.extend(
                inner
                    .split('-')
                    .next()
                    .and_then(|slot| slot.parse::<u16>().ok()),
            );
        } else {
            let (first, last) = field.split_once('-').unwrap_or((field, field));
            slots.extend(first.parse().ok().zip(last.parse().ok()));
        }
    }
    Some(Node {
        id,
        address: Address::Tcp(host.to_owned(), port.parse().ok()?),
        is_primary: has("master"),
        has_failed: has("fail"),
        epoch,
        slots,
        moving,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_redis_7() {
        let answer = "\
07c37d 127.0.0.1:30004@31004,hostname4 slave e7d1ee 0 1426238317239 4 connected
67ed2d :30002@31002 myself,master - 0 1426238316232 2 connected 5461-10922 [93-<-e7d1ee] 7
292f8b ::1:30003@31003 master,fail - 0 1426238318243 3 connected 10923 [5->-07c37d]
6ec239 127.0.0.1:30005@31005 handshake - 0 0 0 connected
";
        let nodes = parse(answer, &Address::Tcp("asked".into(), 1));
        assert_eq!(nodes.len(), 3);
        assert!(!nodes[0].is_primary && nodes[0].slots.is_empty());
        let me = &nodes[1];
        assert_eq!(me.address, Address::Tcp("asked".into(), 30002));
        assert_eq!((me.epoch, &me.moving[..]), (2, &[93][..]));
        assert!(me.holds(5461) && me.holds(10922) && me.holds(7) && !me.holds(8));
        assert!(nodes[2].has_failed && nodes[2].holds(10923));
        assert_eq!(nodes[2].address, Address::Tcp("::1".into(), 30003));
    }
}
