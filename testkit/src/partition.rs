//! Partitions between the servers, the sentinels that watch them and the clients.

use crate::sentinel::Sentinels;

impl Sentinels {
    /// Cuts the replication between a server and the others. Sentinels and clients reach it.
    pub fn cut(&self, server: usize) {
        let port = self.links[server].port();
        self.cuts.send_modify(|cuts| {
            cuts.replication.insert(port);
        });
    }

    /// Cuts a server off from the others and from the sentinels. Clients reach it.
    pub fn isolate(&self, server: usize) {
        let port = self.links[server].port();
        self.cuts.send_modify(|cuts| {
            cuts.replication.insert(port);
            cuts.sentinels.insert(port);
        });
    }

    /// Lets everybody reach a server again.
    pub fn heal(&self, server: usize) {
        let port = self.links[server].port();
        self.cuts.send_modify(|cuts| {
            cuts.replication.remove(&port);
            cuts.sentinels.remove(&port);
        });
    }
}
