//! What a test needs to know about servers of any topology: the settings by which a broker reaches
//! them, and a connection for the test itself.

use std::sync::Arc;

use token_broker::config::Settings;

use crate::redis_server::RedisServer;

/// The name of a setting and its value.
pub type Setting = (&'static str, String);

/// Returns a connection to the primary that currently holds a key. The connection's user has all
/// rights.
pub type Eyes = Arc<dyn Fn(&str) -> redis::Connection + Send + Sync>;

/// Servers that hold brokers' data.
pub trait Deployment {
    /// Returns the settings by which a broker reaches the servers.
    fn settings(&self) -> Vec<Setting>;

    /// Returns how a test connects to the servers itself.
    fn eyes(&self) -> Eyes;
}

impl Deployment for RedisServer {
    fn settings(&self) -> Vec<Setting> {
        vec![("redis-url", self.url())]
    }

    fn eyes(&self) -> Eyes {
        let client = self.client();
        Arc::new(move |_| client.get_connection().unwrap())
    }
}

/// Makes settings from names and values. If a name occurs several times, the last value counts.
pub fn settings(pairs: impl IntoIterator<Item = Setting>) -> Settings {
    Settings::from_pairs(pairs).expect("settings that exist")
}
