//! The nodes that may be asked about a cluster, and whose answers are believed.
//!
//! A server that left the cluster may belong to another one by now, and still be among the seeds. Its epochs say
//! nothing about the cluster that the broker uses. So an answer counts only if the server that gave it knows a primary
//! of this cluster.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::nodes::{Node, Told};
use crate::store::redis::Address;

/// The addresses of the nodes, and the ids of the primaries.
#[derive(Debug)]
pub struct Roster {
    seeds: Vec<Address>,
    /// Every address under which a node is known, with the node's id if that is known. A node may have several
    /// addresses, such as `localhost` and `127.0.0.1`.
    addresses: BTreeMap<Address, Option<String>>,
    /// The ids of the primaries that held slots when the nodes were asked last. Empty until then.
    holders: BTreeSet<String>,
    /// The nodes of other clusters that were warned of.
    strangers: BTreeSet<Address>,
}

impl Roster {
    /// Returns a roster of the seeds.
    pub fn new(seeds: Vec<Address>) -> Self {
        Self {
            addresses: seeds.iter().map(|seed| (seed.clone(), None)).collect(),
            seeds,
            holders: BTreeSet::new(),
            strangers: BTreeSet::new(),
        }
    }

    /// Returns the addresses to ask.
    pub fn addresses(&self) -> Vec<Address> {
        self.addresses.keys().cloned().collect()
    }

    /// Adds an address that a node of the cluster named.
    pub fn add(&mut self, address: &Address) {
        self.addresses.entry(address.clone()).or_default();
    }

    /// Returns the id of the node at `address`, if it is known.
    pub fn id(&self, address: &Address) -> Option<&str> {
        self.addresses.get(address)?.as_deref()
    }

    /// Returns how many answers are needed before the broker decides which cluster it uses: those of most seeds. One
    /// answer is enough once that is decided.
    pub fn quorum(&self) -> usize {
        match self.holders.is_empty() {
            true => self.seeds.len() / 2 + 1,
            false => 1,
        }
    }

    /// Whether the server that gave this answer belongs to the cluster, as far as that is known. `is_named` tells
    /// whether one of the cluster's primaries has sent requests to it.
    pub fn is_member(&self, told: &Told, is_named: bool) -> bool {
        let speaker = told.speaker();
        let is_only = |id: &str| Some(id) == speaker && self.holders.len() == 1;
        let knows = |node: &Node| {
            self.holders.contains(&node.id) && (Some(&*node.id) != speaker || is_only(&node.id))
        };
        self.holders.is_empty() || is_named || told.nodes.iter().any(knows)
    }

    /// Returns the answers of the cluster that most of the seeds belong to, if it isn't known yet which cluster is
    /// used, and the other answers. If there are several such clusters, the one with more nodes counts, and then the one
    /// whose seed comes first.
    pub fn of_one_cluster(&self, told: Vec<Told>) -> (Vec<Told>, Vec<Told>) {
        if !self.holders.is_empty() {
            return (told, Vec::new());
        }
        // A node that answered at two addresses is one node.
        let companions = |one: &Told| -> usize {
            let known = told.iter().filter(|other| one.knows(other));
            known.map(Told::speaker).collect::<BTreeSet<_>>().len()
        };
        let place = |one: &Told| self.seeds.iter().position(|seed| *seed == one.asked);
        let rank = |one: &&Told| (companions(one), one.nodes.len(), Reverse(place(one)));
        let Some(best) = told.iter().max_by_key(rank).cloned() else {
            return (told, Vec::new());
        };
        told.into_iter().partition(|other| best.knows(other))
    }

    /// Takes note of a server that belongs to another cluster. Returns whether it is the first time.
    pub fn note_stranger(&mut self, address: &Address) -> bool {
        self.strangers.insert(address.clone())
    }

    /// Takes note of what the nodes answered. `nodes` is what counts of it. Nodes that have left the cluster are
    /// forgotten. The seeds never are.
    pub fn update(&mut self, told: &[Told], nodes: &[Node]) {
        self.holders = nodes
            .iter()
            .filter(|node| node.is_primary && !node.slots.is_empty())
            .map(|node| node.id.clone())
            .collect();
        self.addresses = self.seeds.iter().map(|seed| (seed.clone(), None)).collect();
        let is_here: BTreeSet<_> = nodes.iter().map(|node| node.id.as_str()).collect();
        let named = told.iter().flat_map(|told| &told.nodes);
        let named = named.filter(|node| is_here.contains(&*node.id));
        for node in named.chain(nodes) {
            let id = Some(node.id.clone());
            self.addresses.insert(node.address.clone(), id);
        }
        // Who answered at an address is certain.
        for told in told {
            self.strangers.remove(&told.asked);
            let id = told.speaker().map(str::to_owned);
            self.addresses.insert(told.asked.clone(), id);
        }
    }
}

/// Returns the addresses at which each node answered.
pub fn reached(told: &[Told]) -> HashMap<&str, Vec<&Address>> {
    let mut reached = HashMap::<_, Vec<_>>::new();
    for told in told {
        if let Some(id) = told.speaker() {
            reached.entry(id).or_default().push(&told.asked);
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{
        super::{endpoints::Endpoints, nodes},
        *,
    };

    fn at(host: &str) -> Address {
        Address::Tcp(host.to_owned(), 1)
    }

    /// Returns the answer of the first of these nodes, which are primaries with a slot each.
    fn told(ids: &[&str]) -> Told {
        let asked = at(ids[0]);
        let line = |(slot, id): (usize, &&str)| {
            let myself = if *id == ids[0] { "myself," } else { "" };
            format!("{id} {id}:1@2 {myself}master - 0 0 9 connected {slot}\n")
        };
        let text: String = ids.iter().enumerate().map(line).collect();
        let endpoints = Endpoints::read(Value::Nil, &asked);
        Told {
            nodes: nodes::parse(&text, &endpoints),
            asked,
        }
    }

    fn roster(seeds: &[&str]) -> Roster {
        Roster::new(seeds.iter().map(|seed| at(seed)).collect())
    }

    fn hosts(told: &[Told]) -> Vec<String> {
        told.iter().map(|told| told.asked.to_string()).collect()
    }

    #[test]
    fn who_knows_none_of_our_primaries_is_no_member() {
        let mut roster = roster(&["a", "b", "x"]);
        let first = [told(&["a", "b", "c"]), told(&["b", "a", "c"])];
        assert!(roster.is_member(&told(&["x"]), false), "nothing is known");
        roster.update(&first, &first[0].nodes);
        assert!(!roster.is_member(&told(&["x", "y"]), false));
        assert!(!roster.is_member(&told(&["c"]), false), "it left, alone");
        assert!(roster.is_member(&told(&["d", "c"]), false));
        assert!(roster.is_member(&told(&["d"]), true), "MOVED named it");
    }

    #[test]
    fn a_cluster_of_one_node_knows_itself() {
        let mut roster = roster(&["a"]);
        let first = [told(&["a"])];
        roster.update(&first, &first[0].nodes);
        assert!(roster.is_member(&told(&["a"]), false));
        assert!(!roster.is_member(&told(&["x"]), false));
    }

    #[test]
    fn at_first_the_cluster_of_most_seeds_counts() {
        let roster = roster(&["a", "b", "x"]);
        assert_eq!(roster.quorum(), 2);
        let told = || vec![told(&["x"]), told(&["b", "a"]), told(&["a", "b"])];
        let (ours, others) = roster.of_one_cluster(told());
        assert_eq!(
            (hosts(&ours), hosts(&others)),
            (
                vec!["b:1".to_owned(), "a:1".to_owned()],
                vec!["x:1".to_owned()]
            )
        );
        let (ours, _) = roster.of_one_cluster(told()[..2].to_vec());
        assert_eq!(hosts(&ours), ["b:1"], "the larger one");
    }

    #[test]
    fn a_node_may_have_several_addresses() {
        let mut roster = roster(&["localhost"]);
        let mut first = told(&["a", "b"]);
        first.asked = at("localhost");
        let nodes = first.nodes.clone();
        roster.update(&[first], &nodes);
        assert_eq!(roster.id(&at("localhost")), Some("a"));
        assert_eq!(roster.id(&at("a")), Some("a"));
        assert_eq!(roster.addresses().len(), 3);
    }
}
