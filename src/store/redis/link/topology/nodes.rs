//! What a node of a cluster knows about the others: its answer to CLUSTER NODES.

use std::collections::HashMap;

use super::{endpoints::Endpoints, primaries::Claim, roster::reached};
use crate::store::redis::Address;

/// What one node answered.
#[derive(Clone, Debug)]
pub struct Told {
    /// The address at which it was asked.
    pub asked: Address,
    /// What it knows about the nodes, itself included.
    pub nodes: Vec<Node>,
}

/// A node of a cluster, as another node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The node's id, which never changes.
    pub id: String,
    /// The node's address.
    pub address: Address,
    /// Whether the node is a primary.
    pub is_primary: bool,
    /// Whether the other nodes can't reach it.
    pub has_failed: bool,
    /// Whether the node says this of itself.
    pub is_itself: bool,
    /// The configuration epoch, which grows with each change of the holders of slots.
    pub epoch: u64,
    /// The ranges of slots that the node holds, each with its first and last slot.
    pub slots: Vec<(u16, u16)>,
    /// The slots that are moving from or to the node. A node reports only its own.
    pub moving: Vec<u16>,
}

impl Node {
    /// Whether the node holds `slot`.
    pub fn holds(&self, slot: u16) -> bool {
        self.slots
            .iter()
            .any(|&(first, last)| (first..=last).contains(&slot))
    }
}

impl Told {
    /// Returns the id of the node that answered.
    pub fn speaker(&self) -> Option<&str> {
        let itself = self.nodes.iter().find(|node| node.is_itself);
        itself.map(|node| node.id.as_str())
    }

    /// Whether this node and the other one know each other.
    pub fn knows(&self, other: &Self) -> bool {
        let has = |told: &Self, id| told.nodes.iter().any(|node| Some(&*node.id) == id);
        has(self, other.speaker()) && has(other, self.speaker())
    }
}

/// Returns the nodes in an answer to CLUSTER NODES. `endpoints` come from the same node. Leaves out nodes whose
/// address is unknown.
pub fn parse(answer: &str, endpoints: &Endpoints) -> Vec<Node> {
    answer
        .lines()
        .filter_map(|line| node(line, endpoints))
        .collect()
}

/// Merges the answers of several nodes. If answers about a node differ, the one with the newest epoch counts.
/// Each slot belongs to the primary with the newest epoch among those that claim it.
///
/// `held` are the addresses at which the broker uses nodes, by their ids. A node that can still be reached there keeps
/// this address, because the others may only be other spellings of it.
pub fn merge(told: &[Told], held: &HashMap<String, Address>) -> Vec<Node> {
    let mut newest = HashMap::<&str, &Node>::new();
    for node in told.iter().flat_map(|told| &told.nodes) {
        let known = newest.get(&*node.id);
        if known.is_none_or(|known| rank(known) < rank(node)) {
            newest.insert(&node.id, node);
        }
    }
    let reached = reached(told);
    let mut nodes: Vec<_> = newest.into_values().cloned().collect();
    for node in &mut nodes {
        let is_held = |at: &&&Address| held.get(&node.id) == Some(**at);
        let addresses = reached.get(&*node.id).into_iter().flatten();
        if let Some(&address) = addresses.into_iter().find(is_held) {
            node.address = address.clone();
        }
    }
    // Nodes with a newer epoch come first and take their slots from those that come later.
    nodes.sort_by(|a, b| (b.epoch, &a.id).cmp(&(a.epoch, &b.id)));
    let mut taken = vec![false; 1 << 14];
    for node in &mut nodes {
        if node.is_primary {
            node.slots = free(&node.slots, &mut taken);
        }
    }
    nodes
}

/// Ranks two answers about one node: the newer one counts. With the same epoch, an answer that the node has
/// failed or is no primary any more counts as newer than one that it works.
///
/// Otherwise the node's own answer counts: it knows best where it listens, after it was restarted elsewhere.
fn rank(node: &Node) -> (u64, bool, bool, bool) {
    (
        node.epoch,
        !node.is_primary,
        node.has_failed,
        node.is_itself,
    )
}

/// Returns the parts of `ranges` that aren't taken, and marks them as taken.
fn free(ranges: &[(u16, u16)], taken: &mut [bool]) -> Vec<(u16, u16)> {
    let mut free = Vec::<(u16, u16)>::new();
    for slot in ranges.iter().flat_map(|&(first, last)| first..=last) {
        let Some(is_taken) = taken.get_mut(usize::from(slot)) else {
            continue;
        };
        if std::mem::replace(is_taken, true) {
            continue;
        }
        match free.last_mut() {
            Some((_, last)) if *last + 1 == slot => *last = slot,
            _ => free.push((slot, slot)),
        }
    }
    free
}

/// Returns what the primaries among `nodes` hold.
pub fn claims(nodes: &[Node]) -> Vec<Claim> {
    let holders = nodes
        .iter()
        .filter(|node| node.is_primary && !node.slots.is_empty());
    let claim = |node: &Node| Claim {
        id: node.id.clone(),
        address: node.address.clone(),
        has_failed: node.has_failed,
        slots: node.slots.clone(),
    };
    holders.map(claim).collect()
}

/// Parses a line `<id> <ip:port@bus[,hostname[,more=...]]> <flags> <primary> <ping> <pong> <epoch> <link> <slot>...`.
fn node(line: &str, endpoints: &Endpoints) -> Option<Node> {
    let mut fields = line.split(' ');
    let id = fields.next()?.to_owned();
    let place = fields.next()?;
    let flags: Vec<_> = fields.next()?.split(',').collect();
    let epoch = fields.nth(3)?.parse().ok()?;
    let has = |flag: &str| flags.contains(&flag);
    if has("noaddr") || has("handshake") {
        return None;
    }
    let (ip, port) = place.split('@').next()?.rsplit_once(':')?;
    let hostname = place.split(',').nth(1).unwrap_or_default();
    let address = endpoints.address(&id, ip, port.parse().ok()?, hostname);
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
        address,
        is_primary: has("master"),
        has_failed: has("fail"),
        is_itself: has("myself"),
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
        let nodes = parse(answer, &endpoints("asked"));
        assert_eq!(nodes.len(), 3);
        assert!(!nodes[0].is_primary && nodes[0].slots.is_empty());
        let me = &nodes[1];
        assert_eq!(me.address, Address::Tcp("asked".into(), 30002));
        assert_eq!((me.epoch, &me.moving[..]), (2, &[93][..]));
        assert!(me.holds(5461) && me.holds(10922) && me.holds(7) && !me.holds(8));
        assert!(nodes[2].has_failed && nodes[2].holds(10923));
        assert_eq!(nodes[2].address, Address::Tcp("::1".into(), 30003));
    }

    fn endpoints(asked: &str) -> Endpoints {
        Endpoints::read(redis::Value::Nil, &Address::Tcp(asked.into(), 1))
    }

    fn told(answer: &str) -> Told {
        told_at("asked", answer)
    }

    fn told_at(host: &str, answer: &str) -> Told {
        Told {
            asked: Address::Tcp(host.to_owned(), 1),
            nodes: parse(answer, &endpoints(host)),
        }
    }

    fn merged<const N: usize>(answers: [&str; N]) -> Vec<Node> {
        merge(&answers.map(told), &HashMap::new())
    }

    fn held(nodes: &[Node]) -> Vec<(String, Vec<(u16, u16)>)> {
        let mut held: Vec<_> = claims(nodes)
            .into_iter()
            .map(|claim| (claim.address.to_string(), claim.slots))
            .collect();
        held.sort();
        held
    }

    #[test]
    fn the_newest_epoch_counts_slot_by_slot() {
        // `a` was cut off when `b` took over its slots. Later `b` got slot 9 from `c`.
        let stale = "a 1.1.1.1:1@2 myself,master - 0 0 1 connected 0-8\n\
                     b 1.1.1.1:2@2 slave a 0 0 1 connected\n\
                     c 1.1.1.1:3@2 master - 0 0 2 connected 9-20";
        let fresh = "a 1.1.1.1:1@2 master,fail - 0 0 1 connected\n\
                     b 1.1.1.1:2@2 myself,master - 0 0 3 connected 0-9\n\
                     c 1.1.1.1:3@2 master - 0 0 2 connected 10-20";
        let expected = [
            ("1.1.1.1:2".to_owned(), vec![(0, 9)]),
            ("1.1.1.1:3".to_owned(), vec![(10, 20)]),
        ];
        for order in [[stale, fresh], [fresh, stale]] {
            let nodes = merged(order);
            assert_eq!(held(&nodes), expected);
        }
    }

    #[test]
    fn a_primary_that_failed_keeps_its_slots_until_another_takes_them() {
        let nodes = merged([
            "a 1.1.1.1:1@2 master,fail - 0 0 1 connected 0-8\nb 1.1.1.1:2@2 slave a 0 0 1 connected",
        ]);
        let claims = claims(&nodes);
        assert_eq!(claims.len(), 1);
        assert!(claims[0].has_failed);
    }

    #[test]
    fn a_node_knows_best_where_it_listens() {
        let others = "a 1.1.1.1:1@2 master - 0 0 1 connected 0-8";
        let itself = "a 1.1.1.1:9@2 myself,master - 0 0 1 connected 0-8";
        for order in [[others, itself], [itself, others]] {
            let nodes = merged(order);
            assert_eq!(held(&nodes), [("1.1.1.1:9".to_owned(), vec![(0, 8)])]);
        }
    }

    #[test]
    fn two_spellings_of_a_node_do_not_take_turns() {
        // Each answer gives the node the host at which it was asked.
        let answer = "a :1@2 myself,master - 0 0 1 connected 0-8";
        let answers = ["localhost", "127.0.0.1"].map(|host| told_at(host, answer));
        for current in ["localhost", "127.0.0.1"] {
            let address = Address::Tcp(current.to_owned(), 1);
            let held = HashMap::from([("a".to_owned(), address.clone())]);
            let mut answers = answers.clone();
            for _ in 0..2 {
                answers.reverse();
                let nodes = merge(&answers, &held);
                assert_eq!((nodes.len(), &nodes[0].address), (1, &address));
            }
        }
    }

    #[test]
    fn a_node_that_is_gone_from_its_address_is_followed() {
        let answer = "a 1.1.1.1:9@2 myself,master - 0 0 1 connected 0-8";
        let elsewhere = Address::Tcp("1.1.1.1".to_owned(), 1);
        let held = HashMap::from([("a".to_owned(), elsewhere)]);
        let nodes = merge(&[told_at("1.1.1.2", answer)], &held);
        assert_eq!(nodes[0].address, Address::Tcp("1.1.1.1".to_owned(), 9));
    }
}
