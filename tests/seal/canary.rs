//! Looks for tokens in everything that Redis has: its keys, its files, its log of slow commands, and what a client that
//! monitors sees.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use testkit::{
    broker::Broker,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::{key, row, user},
    snapshot::Content,
    waiting::until,
};
use token_broker::{
    store::{Sealed, redis::RedisStore},
    tokens::Binding,
};

/// What is planted, and where it may be found only with sealing off.
const CANARIES: [&str; 3] = [
    "canary-access-5f0e",
    "canary-refresh-77a1",
    "canary-id-9c2d",
];

/// A server that notes every command as slow, and writes an append-only file.
fn server() -> RedisServer {
    RedisServer::start_with(&[
        "--slowlog-log-slower-than",
        "0",
        "--slowlog-max-len",
        "1000",
        "--appendonly",
        "yes",
    ])
}

/// Stores, reads, lists, carries forward and deletes.
async fn use_all(broker: &Broker<Sealed<RedisStore>>) {
    for number in 0..5 {
        let mut planted = row("u", CANARIES[0]);
        planted.refresh_token = testkit::rows::secret(CANARIES[1]);
        planted.id_token = testkit::rows::secret(CANARIES[2]);
        let at = key(&format!("s{number}"), "p");
        broker.put(&at, &planted).await;
        broker.get(&at, &Binding::default()).await.unwrap();
        broker.rows_of(&at.session).await;
        planted.refresh_token = None;
        broker.put_carrying(&at, &planted).await;
    }
    broker.listed(&user("u")).await;
    broker
        .latest_for_user(&user("u"), &key("s", "p").provider, &Default::default())
        .await
        .unwrap();
    assert!(broker.remove(&key("s4", "p")).await);
}

/// Returns how a text may be spelled.
fn spellings(text: &str) -> Vec<Vec<u8>> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    // Base64 of the same text differs by where it begins.
    let encoded = (0..3).map(|shift| {
        let shifted = [&vec![b' '; shift], text.as_bytes()].concat();
        let encoded = STANDARD.encode(shifted);
        let inner = encoded.as_bytes();
        inner[4..inner.len() - 4].to_vec()
    });
    let percent: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let plain = [
        text.as_bytes().to_vec(),
        hex.into_bytes(),
        percent.into_bytes(),
    ];
    plain.into_iter().chain(encoded).collect()
}

/// Returns where the canaries were found.
fn found(places: &[(&'static str, Vec<u8>)]) -> Vec<&'static str> {
    let spellings: Vec<_> = CANARIES.into_iter().flat_map(spellings).collect();
    let holds = |bytes: &[u8]| {
        spellings
            .iter()
            .any(|spelled| memchr::memmem::find(bytes, spelled).is_some())
    };
    let found = places.iter().filter(|(_, bytes)| holds(bytes));
    found.map(|(place, _)| *place).collect()
}

/// Uses a broker with these keys, and returns where canaries were found.
async fn leaks(keys: &[&str]) -> Vec<&'static str> {
    let redis = server();
    let tenant = RedisTenant::on(&redis);
    let monitored = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&monitored);
    let address = format!("127.0.0.1:{}", redis.port());
    let following = std::thread::spawn(move || follow(&address, &seen));
    until("the monitor follows", async || {
        tenant.run::<()>(&["PING"]);
        !monitored.lock().unwrap().is_empty()
    })
    .await;
    use_all(&tenant.sealed_broker(keys)).await;
    let mut places = vec![("keys", dump(&tenant))];
    let slow: redis::Value = tenant.run(&["SLOWLOG", "GET", "-1"]);
    places.push(("slow log", bytes_in(&slow)));
    tenant.run::<()>(&["SAVE"]);
    let mut files = Vec::new();
    read_all(redis.dir(), &mut files);
    places.push(("files", files));
    tenant.run::<()>(&["ECHO", "the end"]);
    until("the monitor has seen the end", async || {
        memchr::memmem::find(&monitored.lock().unwrap(), b"\"the end\"").is_some()
    })
    .await;
    places.push(("monitor", monitored.lock().unwrap().clone()));
    drop(redis);
    following.join().unwrap();
    found(&places)
}

/// Writes what a client that monitors the server sees.
fn follow(address: &str, seen: &Mutex<Vec<u8>>) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"MONITOR\r\n").unwrap();
    let mut buffer = [0; 65_536];
    while let Ok(length) = stream.read(&mut buffer)
        && length > 0
    {
        seen.lock().unwrap().extend_from_slice(&buffer[..length]);
    }
}

/// Returns the names and the values of all keys. Redis' own dump of a long value is compressed, so that it hides text.
fn dump(tenant: &RedisTenant) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, value) in tenant.snapshot_of_all().0 {
        all.extend(key);
        match value.content {
            Content::Text(bytes) | Content::Other(bytes) => all.extend(bytes),
            Content::Set(members) => all.extend(members.into_iter().flatten()),
        }
    }
    all
}

fn bytes_in(value: &redis::Value) -> Vec<u8> {
    match value {
        redis::Value::BulkString(bytes) => bytes.clone(),
        redis::Value::Array(items) => items.iter().flat_map(bytes_in).collect(),
        redis::Value::SimpleString(text) => text.clone().into_bytes(),
        _ => Vec::new(),
    }
}

fn read_all(dir: &std::path::Path, all: &mut Vec<u8>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, all);
        } else if let Ok(bytes) = fs::read(&path) {
            all.extend(bytes);
        }
    }
}

#[tokio::test]
async fn redis_has_no_token_with_sealing_on_and_every_one_with_it_off() {
    assert_eq!(
        leaks(&[]).await,
        ["keys", "slow log", "files", "monitor"],
        "the control"
    );
    assert_eq!(leaks(&["k"]).await, [] as [&str; 0]);
}
