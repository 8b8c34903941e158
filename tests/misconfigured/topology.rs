//! What serves is of another topology than the settings say.

use testkit::deployment::Deployment;

use super::{ends, nodes, plain, sentinels};

#[test]
fn the_topology_is_another_one() {
    let server = plain().port();
    let (node, sentinel) = (nodes().port(0), sentinels().sentinels[0].port());
    for (url, found) in [
        (
            format!("redis+cluster://127.0.0.1:{server}"),
            "is no node of a cluster",
        ),
        (
            format!("redis+sentinel://127.0.0.1:{server}/mymaster"),
            "is no sentinel",
        ),
        (
            format!("redis://127.0.0.1:{node}"),
            "is a node of a cluster",
        ),
        (
            format!("redis+sentinel://127.0.0.1:{node}/mymaster"),
            "is no sentinel",
        ),
        (
            format!("redis://127.0.0.1:{server}/99"),
            "has no database 99",
        ),
    ] {
        ends(&[], &[("redis-url", Some(&url))], "redis-url", found);
    }
    let password = sentinels().settings();
    let url = format!("redis://broker@127.0.0.1:{sentinel}");
    let changes = [
        ("redis-url", Some(url.as_str())),
        ("redis-sentinel-password", None),
        ("redis-sentinel-username", None),
    ];
    ends(&password, &changes, "redis-url", "127.0.0.1");
}

#[test]
fn the_sentinels_know_another_master() {
    let settings = sentinels().settings();
    let url = sentinels().url().replace("mymaster", "elsewhere");
    ends(
        &settings,
        &[("redis-url", Some(&url))],
        "redis-url",
        "no master called \"elsewhere\"",
    );
}
