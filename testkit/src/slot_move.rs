//! Moves a slot of a cluster from one primary to another, in the steps of `redis-cli`. A test may
//! stop halfway, with some of the keys on each node.

use crate::cluster::Cluster;

/// How long moving a batch of keys may take, in milliseconds.
const PATIENCE: &str = "10000";

/// A slot that is being moved.
#[derive(Clone, Copy, Debug)]
pub struct SlotMove {
    /// The slot.
    pub slot: u16,
    /// The node that the slot leaves.
    pub from: usize,
    /// The node that gets the slot.
    pub to: usize,
}

impl Cluster {
    /// Moves a slot completely.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let moving = self.begin_move(slot, from, to);
        while self.move_keys(moving, 100) > 0 {}
        self.finish_move(moving);
    }

    /// Begins to move a slot. From now on, clients ask `to` for keys that `from` doesn't have.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) -> SlotMove {
        self.set_slot(to, slot, &["IMPORTING", &self.ids[from]]);
        self.set_slot(from, slot, &["MIGRATING", &self.ids[to]]);
        SlotMove { slot, from, to }
    }

    /// Moves at most `count` keys of the slot. Returns how many keys there were to move.
    pub fn move_keys(&self, moving: SlotMove, count: usize) -> usize {
        let SlotMove { slot, from, to } = moving;
        let mut node = self.nodes[from].raw();
        let mut keys = redis::cmd("CLUSTER");
        keys.arg("GETKEYSINSLOT").arg(slot).arg(count);
        let keys: Vec<Vec<u8>> = keys.query(&mut node).unwrap();
        if keys.is_empty() {
            return 0;
        }
        let mut migrate = redis::cmd("MIGRATE");
        migrate
            .arg("127.0.0.1")
            .arg(self.port(to))
            .arg("")
            .arg(0)
            .arg(PATIENCE);
        if let Some((user, password)) = self.nodes[to].login() {
            migrate.arg("AUTH2").arg(user).arg(password);
        }
        migrate.arg("KEYS").arg(&keys);
        migrate.exec(&mut node).unwrap();
        keys.len()
    }

    /// Ends the move, so that the slot is `to`'s. Tells the other nodes.
    pub fn finish_move(&self, moving: SlotMove) {
        let SlotMove { slot, from, to } = moving;
        let others = (0..self.nodes.len()).filter(|&i| i != to && i != from);
        for node in [to, from].into_iter().chain(others) {
            let command = [
                "CLUSTER",
                "SETSLOT",
                &slot.to_string(),
                "NODE",
                &self.ids[to],
            ];
            if node == to || node == from {
                self.nodes[node].ask::<()>(&command).unwrap();
            } else {
                // Replicas refuse this, and nodes that are down don't answer. They learn of it later.
                self.nodes[node].ask_promptly::<()>(&command).ok();
            }
        }
    }

    /// Cancels a move, and moves the keys back. Clients can't find these keys until then.
    pub fn call_off_move(&self, moving: SlotMove) {
        let SlotMove { slot, from, to } = moving;
        let back = SlotMove {
            slot,
            from: to,
            to: from,
        };
        self.set_slot(from, slot, &["STABLE"]);
        while self.move_keys(back, 100) > 0 {}
        self.set_slot(to, slot, &["STABLE"]);
    }

    fn set_slot(&self, node: usize, slot: u16, how: &[&str]) {
        let slot = slot.to_string();
        let command = [&["CLUSTER", "SETSLOT", &slot], how].concat();
        self.nodes[node].ask::<()>(&command).unwrap();
    }
}
