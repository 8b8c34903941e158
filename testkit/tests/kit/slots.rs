//! Tests the slots of keys against Redis.

use testkit::{cluster::slot, redis_server::RedisServer};

#[test]
fn slots_are_those_of_redis() {
    // The first two are told by the specification, the third by a server.
    assert_eq!(slot("123456789"), 0x31c3);
    assert_eq!(slot("{user1000}.following"), slot("{user1000}.followers"));
    assert_eq!(slot("foo{}{bar}"), 8363);
}

#[test]
fn a_keys_slot_is_the_one_that_redis_says() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    for key in [
        "",
        "123456789",
        "thv:auth:{a:b}:upstream:s:p",
        "{}x",
        "{x",
        "x}y{z}{w}",
        "{{x}}",
        "日本",
    ] {
        let told: u16 = server.ask(&["CLUSTER", "KEYSLOT", key]).unwrap();
        assert_eq!(slot(key), told, "{key}");
    }
}
