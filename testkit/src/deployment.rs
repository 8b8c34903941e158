//! What a test needs to know of servers, whatever their topology: how a broker reaches them, and how
//! the test itself looks at what they hold.

use std::sync::Arc;

use token_broker::config::Settings;

use crate::redis_server::RedisServer;

/// The name of a setting and its value.
pub type Setting = (&'static str, String);

/// Gives a connection, of one who may do anything, to the primary that holds a key right now.
pub type Eyes = Arc<dyn Fn(&str) -> redis::Connection + Send + Sync>;

/// Servers that hold the data of brokers.
pub trait Deployment {
    /// The settings by which a broker reaches them.
    fn settings(&self) -> Vec<Setting>;

    /// How a test looks at what they hold.
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

/// Settings from their names and values. The last value of a setting counts.
pub fn settings(pairs: impl IntoIterator<Item = Setting>) -> Settings {
    Settings::from_pairs(pairs).expect("settings that exist")
}
