//! Pending authorizations in Redis: what other software keeps under such keys is left alone, everything ends by itself, and a
//! sealed payload opens nowhere else (guarantees, section 2.4).

use std::time::Duration;

use testkit::{
    launch::{Launch, Program},
    pending::{client, consume, new_pending, pending_in},
    redis_tenant::RedisTenant,
    rows::*,
    waiting::until,
};
use token_broker::{
    authorizations::{Authorizations, NewPending},
    error::Error,
    store::redis::RedisStore,
    types::{Payload, SecretBytes, UnixTime},
};

use crate::tenant;

fn pending(tenant: &RedisTenant) -> Authorizations<RedisStore> {
    pending_in(tenant.store(), 10, 20)
}

fn new(state: &str, seconds: u64) -> NewPending {
    NewPending {
        ttl: Duration::from_secs(seconds),
        ..new_pending(state)
    }
}

/// What isn't the broker's is nothing that could be consumed, but its state is taken. The bytes and the ends stay.
#[tokio::test]
async fn what_other_software_keeps_is_left_alone() {
    for text in [
        r#"{"client_id":"c","state":"x","pkce_verifier":"v"}"#,
        r#"{"client_id":"c","broker":"00000000000000000000000000000000","provider":"okta"}"#,
        r#"{"broker":7}"#,
        "null",
        "[]",
        "",
        "\u{0}\u{1}",
    ] {
        let tenant = tenant();
        tenant.run::<()>(&["SET", &tenant.key("pending:x"), text, "EX", "600"]);
        stays(&tenant, text).await;
    }
    for command in ["HSET", "RPUSH"] {
        let tenant = tenant();
        tenant.run::<()>(&[command, &tenant.key("pending:x"), "broker", "x"]);
        stays(&tenant, command).await;
    }
}

async fn stays(tenant: &RedisTenant, what: &str) {
    let (pending, before) = (pending(tenant), tenant.snapshot());
    let none = consume(&pending, "x").await;
    assert!(
        matches!(none, Err(Error::StateNotFound)),
        "{what}: {none:?}"
    );
    let taken = pending.create(new_pending("x")).await;
    assert!(
        matches!(taken, Err(Error::StateExists)),
        "{what}: {taken:?}"
    );
    assert!(tenant.snapshot() == before, "{what}: something was written");
}

/// Its own, which somebody has damaged, is told of and stays.
#[tokio::test]
async fn what_cannot_be_read_is_told_of_and_stays() {
    let tenant = tenant();
    let pending = pending(&tenant);
    pending.create(new_pending("x")).await.unwrap();
    let text: String = tenant.run(&["GET", &tenant.key("pending:x")]);
    for damaged in [
        &text[..text.len() - 1],
        &text[..45],
        &text.replace("\"session\"", "\"no\""),
    ] {
        tenant.write_row("pending:x", damaged);
        let before = tenant.snapshot();
        let told = consume(&pending, "x").await;
        assert!(matches!(told, Err(Error::RecordUnreadable(_))), "{told:?}");
        assert!(tenant.snapshot() == before);
    }
    tenant.write_row("pending:x", &text);
    assert!(consume(&pending, "x").await.is_ok());
}

fn left(tenant: &RedisTenant, key: &str) -> i64 {
    tenant.run(&["PTTL", &tenant.key(key)])
}

fn has_about(left: i64, seconds: i64) {
    let of = seconds * 1000;
    assert!(
        (of - 5_000..=of).contains(&left),
        "{left} ms of {seconds} s"
    );
}

/// An authorization ends when its time is over. The sets that count it end with the last one in them, and are no larger than
/// what waits.
#[tokio::test]
async fn everything_ends() {
    let tenant = tenant();
    let pending = pending(&tenant);
    let sets = ["broker:pending", "broker:pending:c"];
    pending.create(new_pending("x")).await.unwrap();
    pending.create(new("y", 60)).await.unwrap();
    has_about(left(&tenant, "pending:x"), 600);
    has_about(left(&tenant, "pending:y"), 60);
    for set in sets {
        has_about(left(&tenant, set), 600);
        assert_eq!(tenant.run::<u64>(&["ZCARD", &tenant.key(set)]), 2);
    }
    pending.create(new("z", 3600)).await.unwrap();
    sets.iter()
        .for_each(|set| has_about(left(&tenant, set), 3600));

    // Who took it is known for a minute at most, and as long as it would have waited.
    consume(&pending, "x").await.unwrap();
    has_about(left(&tenant, "pending:x"), 60);
    let taken: String = tenant.run(&["GET", &tenant.key("pending:x")]);
    assert!(!taken.contains("payload") && taken.len() < 64, "{taken}");
    for set in sets {
        assert_eq!(tenant.run::<u64>(&["ZCARD", &tenant.key(set)]), 2);
    }

    // What has expired leaves the sets with the next one.
    pending.create(new("v", 1)).await.unwrap();
    until("it has expired", async || left(&tenant, "pending:v") == -2).await;
    pending.create(new("w", 60)).await.unwrap();
    for set in sets {
        let members: Vec<String> = tenant.run(&["ZRANGE", &tenant.key(set), "0", "-1"]);
        assert!(!members.contains(&tenant.key("pending:v")), "{members:?}");
    }
    for key in tenant.snapshot().names() {
        assert!(
            left(&tenant, &key[tenant.prefix().len()..]) > 0,
            "{key} stays for ever"
        );
    }
}

/// Somebody has prolonged the life of a value in Redis. It is good until its own end and the minute by which clocks may differ,
/// to the second.
#[tokio::test]
async fn whoever_prolongs_a_value_gains_a_minute() {
    let tenant = tenant();
    let pending = pending(&tenant);
    let second = || UnixTime::now().seconds();
    for (ago, is_good) in [
        (0, true),
        (59, true),
        (60, false),
        (61, false),
        (3_600, false),
    ] {
        // Again, if a second began meanwhile.
        for number in 0.. {
            let state = format!("x{ago}-{number}");
            pending.create(new_pending(&state)).await.unwrap();
            let key = tenant.key(&format!("pending:{state}"));
            let text: String = tenant.run(&["GET", &key]);
            let at = text.split("\"expires_at\":").nth(1).unwrap();
            let at = &at[..at.find(',').unwrap()];
            let begun = second();
            let prolonged = text.replace(at, &(begun - ago).to_string());
            tenant.run::<()>(&["SET", &key, &prolonged]);
            let told = consume(&pending, &state).await;
            if second() == begun {
                assert_eq!(told.is_ok(), is_good, "{ago} s ago: {told:?}");
                break;
            }
            assert!(number < 100);
            tenant.run::<()>(&[
                "DEL",
                &key,
                &tenant.key("broker:pending:c"),
                &tenant.key("broker:pending"),
            ]);
        }
    }
}

/// A payload that was sealed is good for its state, session, client, user, provider and time. What is moved doesn't open, and
/// stays, so that the right callback still finds it when it is moved back.
#[tokio::test]
async fn a_sealed_payload_opens_nowhere_else() {
    let tenant = tenant();
    let pending = pending_in(tenant.sealed_store(&["k"]), 10, 20);
    for state in ["x", "y"] {
        pending.create(new_pending(state)).await.unwrap();
    }
    let texts = ["x", "y"]
        .map(|state| -> String { tenant.run(&["GET", &tenant.key(&format!("pending:{state}"))]) });
    assert!(
        texts
            .iter()
            .all(|text| !text.contains("verifier") && !text.contains("payload"))
    );
    let refused = async |text: &str, what: &str| {
        tenant.write_row("pending:x", text);
        let before = tenant.snapshot();
        let told = consume(&pending, "x").await;
        assert!(
            matches!(told, Err(Error::RecordUnreadable(_))),
            "{what}: {told:?}"
        );
        assert!(tenant.snapshot() == before, "{what}: it is gone");
    };
    refused(&texts[1], "another state's").await;
    for (from, to) in [
        ("\"session\":\"s\"", "\"session\":\"t\""),
        ("\"client\":\"c\"", "\"client\":\"d\""),
        ("\"user\":\"u\"", "\"user\":\"v\""),
        ("\"user\":\"u\",", ""),
        ("\"provider\":\"okta\"", "\"provider\":\"evil\""),
        ("\"expires_at\":", "\"expires_at\":9"),
    ] {
        let edited = texts[0].replace(from, to);
        assert_ne!(edited, texts[0], "{from}");
        refused(&edited, from).await;
    }
    // The id, by which a repeated `Consume` knows it.
    let id = &texts[1][..45];
    refused(&[id, &texts[0][45..]].concat(), "another's id").await;

    tenant.write_row("pending:x", &texts[0]);
    let taken = consume(&pending, "x").await.unwrap();
    let Payload::Plain(payload) = &taken.payload else {
        panic!("it isn't opened")
    };
    assert_eq!(&**payload, b"payload of x");
}

/// The control: without a key such edits go unnoticed.
#[tokio::test]
async fn a_payload_that_is_not_sealed_is_good_anywhere() {
    let tenant = tenant();
    let pending = pending(&tenant);
    pending.create(new_pending("x")).await.unwrap();
    let text: String = tenant.run(&["GET", &tenant.key("pending:x")]);
    tenant.write_row(
        "pending:x",
        &text.replace("\"session\":\"s\"", "\"session\":\"t\""),
    );
    assert_eq!(consume(&pending, "x").await.unwrap().session, session("t"));
}

/// One client's payloads fill its own room, and not the store: bytes are bounded as numbers are. What is consumed or has expired
/// makes room again.
#[tokio::test]
async fn bytes_are_bounded_too() {
    let tenant = tenant();
    let pending = pending_in(tenant.store(), 200, 400);
    let of = |id: &str, number: usize| NewPending {
        client: client(id),
        payload: SecretBytes::new(vec![7; 16 * 1024]),
        ..new_pending(&format!("{id}{number}"))
    };
    let mut kept = 0;
    let full = loop {
        match pending.create(of("flood", kept)).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    // 1 MiB of what is 22 KiB each, in base64.
    let whose = matches!(
        full,
        Error::TooManyPending {
            of: "the client",
            limit: 1_048_576,
            unit: "bytes"
        }
    );
    assert!(whose && (40..48).contains(&kept), "{kept}: {full:?}");
    // The tenant's bound is 1 MiB too here.
    let full = pending.create(of("other", 0)).await;
    assert!(
        matches!(
            full,
            Err(Error::TooManyPending {
                of: "the tenant",
                unit: "bytes",
                ..
            })
        ),
        "{full:?}"
    );
    let sizes = ["broker:pending-bytes", "broker:pending-bytes:flood"];
    for key in sizes {
        assert!(left(&tenant, key) > 0, "{key} stays for ever");
    }
    consume(&pending, "flood0").await.unwrap();
    pending.create(of("other", 0)).await.unwrap();
    for number in 1..kept {
        consume(&pending, &format!("flood{number}")).await.unwrap();
    }
    consume(&pending, "other0").await.unwrap();
    for key in sizes {
        assert_eq!(left(&tenant, key), -2, "{key}: nothing waits");
    }
}

/// What is noted of sizes for minutes that are over, or can't come, doesn't count, whoever wrote it.
#[tokio::test]
async fn sizes_of_other_minutes_are_forgotten() {
    let tenant = tenant();
    let pending = pending(&tenant);
    let minute = UnixTime::now().seconds() / 60;
    let text = |at: i64| {
        format!(
            "{at}=99999999999 x {}=99999999999 {}=5",
            minute - 2,
            minute + 3
        )
    };
    for key in ["broker:pending-bytes", "broker:pending-bytes:c"] {
        tenant.run::<()>(&["SET", &tenant.key(key), &text(minute + 1_000)]);
    }
    pending.create(new_pending("x")).await.unwrap();
    let kept: String = tenant.run(&["GET", &tenant.key("broker:pending-bytes:c")]);
    assert!(!kept.contains("99999") && kept.contains("=5 "), "{kept}");
    // The control: a minute that is to come counts.
    tenant.run::<()>(&[
        "SET",
        &tenant.key("broker:pending-bytes:c"),
        &text(minute + 30),
    ]);
    let full = pending.create(new_pending("y")).await;
    assert!(
        matches!(full, Err(Error::TooManyPending { .. })),
        "{full:?}"
    );
}

/// Redis has no memory left. What would free some is done: a callback gets its authorization.
#[tokio::test]
async fn a_callback_needs_no_memory() {
    for program in [Program::Usual, Program::Oldest, Program::Valkey] {
        let server = Launch::new(program).start();
        let tenant = RedisTenant::on(&server);
        let pending = pending(&tenant);
        pending.create(new_pending("x")).await.unwrap();
        tenant.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
        // The control.
        let refused = pending.create(new_pending("y")).await;
        assert!(
            matches!(refused, Err(Error::StoreUnavailable(_))),
            "{refused:?}"
        );
        consume(&pending, "x").await.unwrap();
        assert!(matches!(
            consume(&pending, "x").await,
            Err(Error::StateNotFound)
        ));
    }
}

/// What other software wrote with ids or a payload that no call takes isn't given out.
#[tokio::test]
async fn what_no_call_takes_is_not_given_out() {
    let tenant = tenant();
    let pending = pending(&tenant);
    pending.create(new_pending("x")).await.unwrap();
    let text: String = tenant.run(&["GET", &tenant.key("pending:x")]);
    let at = text.find("\"payload\":\"").unwrap() + "\"payload\":\"".len();
    let large = [&text[..at], &"AAAA".repeat(6_000), &text[at..]].concat();
    for bad in [
        text.replace("\"session\":\"s\"", "\"session\":\"s\\n\""),
        text.replace(
            "\"client\":\"c\"",
            &format!("\"client\":\"{}\"", "c".repeat(513)),
        ),
        large,
    ] {
        assert_ne!(bad, text);
        tenant.write_row("pending:x", &bad);
        let told = consume(&pending, "x").await;
        assert!(matches!(told, Err(Error::RecordUnreadable(_))), "{told:?}");
    }
}
