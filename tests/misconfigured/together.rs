//! Settings that don't fit each other.

use super::{ends, plain};

#[test]
fn settings_do_not_fit_each_other() {
    let url = plain().url();
    let base = [("redis-url", url)];
    for (setting, value, found) in [
        ("redis-tls-ca", "ca.pem", "without TLS"),
        ("redis-tls-server-name", "redis.test", "without TLS"),
        ("redis-sentinel-username", "broker", "no sentinels"),
        ("redis-sentinel-tls", "true", "no sentinels"),
        ("redis-failover-wait", "soon", "span of time"),
        ("durability", "eventual", "primary, replicated"),
        ("durability-replicas", "0", "from 1 to"),
        ("durability-timeout", "-1s", "span of time"),
        ("durability-connections", "many", "whole number"),
        ("redis-url", "redis://a,b", "several hosts"),
        ("redis-url", "redis+sentinel://a", "no master"),
        ("redis-url", "redis+cluster://a/1", "database"),
        ("redis-url", "http://broker:hunter2@redis", "unknown scheme"),
    ] {
        ends(&base, &[(setting, Some(value))], setting, found);
    }
}
