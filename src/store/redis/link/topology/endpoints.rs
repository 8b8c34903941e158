//! Where a node says that clients should reach the nodes of its cluster: its answer to CLUSTER SLOTS.
//!
//! CLUSTER NODES names the addresses that the nodes use among themselves. Behind NAT, clients can't reach those, and
//! a certificate may be for a host name. So the preferred endpoint counts, which CLUSTER SLOTS and MOVED name. CLUSTER
//! SLOTS leaves out nodes without slots. Their endpoints are of the same kind as those that it names.

use std::collections::HashMap;

use redis::{FromRedisValue, Value};

use crate::store::redis::Address;

/// The endpoints that one node named.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// The host at which the node was asked.
    asked: String,
    named: HashMap<String, (Host, u16)>,
}

/// What a node names as the host of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Named(String),
    /// The host at which the node was asked: clients reach all nodes there.
    Asked,
    /// Host names are preferred, and the node has none.
    Nameless,
}

impl Endpoints {
    /// Reads the answer of the node at `asked`. What isn't understood is left out.
    pub fn read(answer: Value, asked: &Address) -> Self {
        let named = items(answer)
            .into_iter()
            .flat_map(|range| items(range).into_iter().skip(2))
            .filter_map(endpoint)
            .collect();
        let asked = match asked {
            Address::Tcp(host, _) => host.clone(),
            Address::Unix(_) => String::new(),
        };
        Self { asked, named }
    }

    /// Returns the address of a node. `ip`, `port` and `hostname` are what CLUSTER NODES says about it, and may be
    /// empty.
    pub fn address(&self, id: &str, ip: &str, port: u16, hostname: &str) -> Address {
        let (host, port) = match self.named.get(id) {
            Some((host, port)) => (Some(host), *port),
            None => (None, port),
        };
        let first = |hosts: [&str; 3]| {
            let host = hosts.into_iter().find(|host| !host.is_empty());
            host.unwrap_or_default().to_owned()
        };
        let host = match host {
            Some(Host::Named(host)) => host.clone(),
            Some(Host::Asked) => self.asked.clone(),
            Some(Host::Nameless) => first([ip, &self.asked, ""]),
            None if self.all_are_asked() => self.asked.clone(),
            None if self.prefers_names() => first([hostname, ip, &self.asked]),
            // A node may not know its own address yet.
            None => first([ip, &self.asked, ""]),
        };
        Address::Tcp(host, port)
    }

    fn all_are_asked(&self) -> bool {
        !self.named.is_empty() && self.named.values().all(|(host, _)| *host == Host::Asked)
    }

    /// Whether the endpoints are host names.
    fn prefers_names(&self) -> bool {
        self.named.values().any(|(host, _)| match host {
            Host::Named(host) => host.parse::<std::net::IpAddr>().is_err(),
            Host::Nameless => true,
            Host::Asked => false,
        })
    }
}

/// Reads `[host, port, id, ...]`.
fn endpoint(node: Value) -> Option<(String, (Host, u16))> {
    let mut fields = items(node).into_iter();
    let host = match Option::<String>::from_redis_value(fields.next()?).ok()? {
        None => Host::Asked,
        Some(host) if host.is_empty() => Host::Asked,
        Some(host) if host == "?" => Host::Nameless,
        Some(host) => Host::Named(host),
    };
    let port = u16::from_redis_value(fields.next()?).ok()?;
    let id = String::from_redis_value(fields.next()?).ok()?;
    Some((id, (host, port)))
}

fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    /// Returns endpoints of the nodes `a` and `b`, as the node at `asked` names them.
    fn named(a: Value, b: Value) -> Endpoints {
        let node = |host, id| Value::Array(vec![host, Value::Int(7000), text(id)]);
        let (first, last) = (Value::Int(0), Value::Int(16_383));
        let range = Value::Array(vec![first, last, node(a, "a"), node(b, "b")]);
        let asked = Address::Tcp("asked".to_owned(), 1);
        Endpoints::read(Value::Array(vec![range]), &asked)
    }

    /// Returns the addresses of `a`, and of `c`, which has no slots.
    fn hosts(endpoints: &Endpoints) -> [String; 2] {
        ["a", "c"].map(|id| endpoints.address(id, "10.0.0.1", 7000, "name").to_string())
    }

    #[test]
    fn the_preferred_endpoint_counts() {
        let ips = named(text("10.0.0.9"), text("10.0.0.8"));
        assert_eq!(hosts(&ips), ["10.0.0.9:7000", "10.0.0.1:7000"]);
        let names = named(text("redis-0.internal"), text("redis-1.internal"));
        assert_eq!(hosts(&names), ["redis-0.internal:7000", "name:7000"]);
        let unknown = named(Value::Nil, Value::Nil);
        assert_eq!(hosts(&unknown), ["asked:7000", "asked:7000"]);
    }

    #[test]
    fn a_node_without_a_name_or_an_address() {
        // Host names are preferred, and `a` has none yet.
        let nameless = named(text("?"), text("redis-1.internal"));
        assert_eq!(hosts(&nameless), ["10.0.0.1:7000", "name:7000"]);
        // `a` doesn't know its own address yet.
        let addressless = named(text(""), text("10.0.0.8"));
        assert_eq!(hosts(&addressless), ["asked:7000", "10.0.0.1:7000"]);
        let nothing = Endpoints::read(Value::Nil, &Address::Tcp("asked".to_owned(), 1));
        assert_eq!(hosts(&nothing), ["10.0.0.1:7000", "10.0.0.1:7000"]);
        assert_eq!(
            nothing.address("a", "", 1, "").to_string(),
            "asked:1",
            "nothing else is known"
        );
    }
}
