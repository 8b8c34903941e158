//! Partitions between the servers, their sentinels and their clients.

use crate::sentinel::Sentinels;

impl Sentinels {
    /// Cuts the replication between a server and the others. Sentinels and clients still reach it.
    pub fn cut(&self, server: usize) {
        let port = self.links[server].port();
        self.cuts.send_modify(|cuts| {
            cuts.replication.insert(port);
        });
    }

    /// Cuts a server off from the other servers and from the sentinels. Clients still reach it.
    pub fn isolate(&self, server: usize) {
        let port = self.links[server].port();
        self.cuts.send_modify(|cuts| {
            cuts.replication.insert(port);
            cuts.sentinels.insert(port);
        });
    }

    /// Ends the partition: all peers reach the server again.
    pub fn heal(&self, server: usize) {
        let port = self.links[server].port();
        self.cuts.send_modify(|cuts| {
            cuts.replication.remove(&port);
            cuts.sentinels.remove(&port);
        });
    }
}
