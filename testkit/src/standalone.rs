//! A single server.

use crate::{
    deployment::{Deployment, Eyes, Setting},
    launch::{Launch, Program},
    redis_server::RedisServer,
    security::Security,
};

/// A single server, and the settings by which a broker reaches it.
pub struct Standalone {
    /// The server.
    pub server: RedisServer,
    settings: Vec<Setting>,
}

impl Standalone {
    /// Starts a server that listens on a port.
    pub fn start(program: Program, security: Security) -> Self {
        let server = security.of_server(Launch::new(program)).start();
        let url = format!(
            "{}127.0.0.1:{}/0",
            security.url_start(""),
            security.port(&server)
        );
        let mut settings = security.settings(&server);
        settings.push(("redis-url", url));
        Self { server, settings }
    }

    /// Starts a server that brokers reach by a Unix socket.
    pub fn on_a_socket() -> Self {
        let launch = Launch::default().lines(["unixsocket {dir}/redis.sock"]);
        let server = Security::ACL.of_server(launch).start();
        let socket = server.dir().join("redis.sock");
        let mut settings = Security::ACL.settings(&server);
        let url = format!("unix://{}?db=0&user=broker", socket.display());
        settings.push(("redis-url", url));
        Self { server, settings }
    }
}

impl Deployment for Standalone {
    fn settings(&self) -> Vec<Setting> {
        self.settings.clone()
    }

    fn eyes(&self) -> Eyes {
        self.server.eyes()
    }
}
