//! Partitions between the servers, the sentinels that watch them and the clients.

use super::sentinel::Sentinels;

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

    /// Cuts a server off from clients, too.
    pub fn cut_off(&self, server: usize) {
        self.isolate(server);
        let port = self.links[server].port();
        self.cuts.send_modify(|cuts| {
            cuts.clients.insert(port);
        });
    }

    /// Lets everybody reach a server again.
    pub fn heal(&self, server: usize) {
        let port = self.links[server].port();
        self.cuts.send_modify(|cuts| {
            for cut in [
                &mut cuts.replication,
                &mut cuts.sentinels,
                &mut cuts.clients,
            ] {
                cut.remove(&port);
            }
        });
    }
}
