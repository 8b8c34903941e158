//! How long it takes to write and to read a row's JSON, to seal and to open its tokens, to spell and parse its key, and to
//! judge who calls.
//!
//! `cargo bench --bench codecs` measures, and compares with the run before. `cargo bench --bench codecs -- read` measures
//! what has `read` in its name. Without cargo's argument `--bench`, as `cargo test` runs it, everything runs once.
#![allow(
    clippy::unwrap_used,
    reason = "a failed benchmark has nothing to clean up"
)]

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use token_broker::{
    access::{Caller, Credential, Guard, Policy, Rights, Role, Rpc, Shown, TokenSha256},
    seal::{KeyRing, Keys, MasterKey},
    store::{
        Sealing,
        redis::{keyspace::Keyspace, row},
    },
    types::{
        Channel, ClientId, KeyName, Origin, Peer, PeerCertificate, ProviderName, Right, Row,
        RowKey, Secret, SecretBytes, SessionId, StoredRow, Subject, Tenant, UnixTime, UserId,
        Version,
    },
};

fn main() {
    let criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let mut criterion = criterion.configure_from_args();
    rows(&mut criterion);
    keys(&mut criterion);
    callers(&mut criterion);
    criterion.final_summary();
}

fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("row");
    let (provider, version) = (provider(), Version::from_number(1 << 52).unwrap());
    for (name, row) in [
        ("0.2 KiB", small_row()),
        ("2 KiB", row_with(1_000)),
        ("60 KiB", row_with(60_000)),
    ] {
        let json = row::encode(&row, &provider, version).unwrap().to_vec();
        group.throughput(Throughput::Bytes(json.len() as u64));
        // Both wipe the secrets, which is part of what they cost.
        group.bench_function(BenchmarkId::new("write", name), |bencher| {
            bencher.iter(|| row::encode(black_box(&row), &provider, version).unwrap());
        });
        group.bench_function(BenchmarkId::new("read", name), |bencher| {
            bencher.iter_batched(
                || json.clone(),
                |json| row::decode(&SecretBytes::new(black_box(json)), &provider),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("wipe", name), |bencher| {
            let copy = || SecretBytes::new(json.clone());
            bencher.iter_batched(copy, drop, BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("label", name), |bencher| {
            bencher.iter(|| row::Label::of(black_box(&json), Some(&provider)));
        });
        let (sealing, key) = (sealing(), row_key());
        let seal = |row: &Row| sealing.seal(&key, row, version).unwrap().unwrap();
        group.bench_function(BenchmarkId::new("seal", name), |bencher| {
            bencher.iter(|| seal(black_box(&row)));
        });
        let sealed = StoredRow {
            row: seal(&row),
            version,
        };
        group.bench_function(BenchmarkId::new("open", name), |bencher| {
            let copy = || sealed.clone();
            let open = |sealed| sealing.open(&key, sealed).unwrap();
            bencher.iter_batched(copy, open, BatchSize::SmallInput);
        });
    }
}

fn keys(criterion: &mut Criterion) {
    let keyspace = Keyspace::new(&"namespace:name".parse().unwrap());
    let mut group = criterion.benchmark_group("key");
    for (name, session) in [
        ("plain", "0000002a-0000-4000-8000-000000000000"),
        ("encoded", "0000002a:0000/4000 8000%000000000000"),
    ] {
        let session = SessionId::new(session).unwrap();
        let provider = provider();
        let row = RowKey { session, provider };
        let (key, session_rows) = (keyspace.row(&row), keyspace.session_rows(&row.session));
        group.bench_function(BenchmarkId::new("write", name), |bencher| {
            bencher.iter(|| keyspace.row(black_box(&row)));
        });
        group.bench_function(BenchmarkId::new("read", name), |bencher| {
            bencher.iter(|| keyspace.parse_row(black_box(&key)).unwrap());
        });
        // This is how the rows of one session are told apart.
        group.bench_function(BenchmarkId::new("read provider", name), |bencher| {
            bencher.iter(|| {
                keyspace
                    .provider_in(&session_rows, black_box(&key))
                    .unwrap()
            });
        });
    }
}

fn provider() -> ProviderName {
    ProviderName::new("provider-1").unwrap()
}

/// Returns how rows are sealed.
fn sealing() -> Sealing {
    let key = MasterKey::generate(&KeyName::new("k").unwrap()).unwrap();
    Sealing {
        keys: Keys::fixed(KeyRing::of(vec![key])),
        ..Sealing::off("namespace:name".parse().unwrap())
    }
}

fn row_key() -> RowKey {
    RowKey {
        session: SessionId::new("session-1").unwrap(),
        provider: provider(),
    }
}

/// Without a policy, and by one of a thousand callers, each known by everything.
fn callers(criterion: &mut Criterion) {
    const TOKEN: &str = "Bearer 0zQm4cVvPZ8m1YbqkqVtq3d0J6w7x8y9AbCdEfGhIjK";
    let tenant: Arc<Tenant> = Arc::new("a:b".parse().unwrap());
    let mut policy = Policy::default();
    for number in 0..1_000 {
        let rights = Rights {
            roles: vec![Role::Sidecar],
            ..Rights::default()
        };
        let token = match number {
            7 => TOKEN.trim_start_matches("Bearer ").to_owned(),
            _ => format!("token-{number}"),
        };
        let credentials = vec![
            Credential::Spiffe(spiffe(number).parse().unwrap()),
            Credential::Dns(format!("proxy-{number}.prod.example")),
            Credential::Bearer(TokenSha256::of(token.as_bytes())),
        ];
        let caller = Caller::new(format!("c{number}"), Arc::clone(&tenant), rights);
        policy.add(caller, credentials).unwrap();
    }
    let peer = |spiffe: Option<String>, dns: Option<String>| Peer {
        channel: Channel::Tls,
        address: None,
        certificate: Some(PeerCertificate {
            spiffe_id: spiffe.map(|id| id.parse().unwrap()),
            uris: Vec::new(),
            dns_names: dns.into_iter().collect(),
        }),
        right: Right::default(),
    };
    let by_spiffe = peer(Some(spiffe(7)), None);
    let by_dns = peer(None, Some("proxy-7.prod.example".to_owned()));
    let by_token = Peer {
        channel: Channel::Tls,
        address: None,
        certificate: None,
        right: Right::default(),
    };
    let (open, guard) = (Guard::open(tenant.as_ref().clone()), Guard::of(policy));
    let mut group = criterion.benchmark_group("judge");
    for (name, guard, peer, token) in [
        ("nobody", &open, &by_token, None),
        ("spiffe id", &guard, &by_spiffe, None),
        ("dns name", &guard, &by_dns, None),
        ("bearer", &guard, &by_token, Some(TOKEN.as_bytes())),
    ] {
        let shown = Shown {
            peer: Some(peer),
            authorizations: usize::from(token.is_some()),
            authorization: token,
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| guard.judge(Rpc::GetAccessToken, black_box(shown)).unwrap());
        });
    }
}

fn spiffe(number: usize) -> String {
    format!("spiffe://prod.example/ns/default/sa/proxy-{number}")
}

/// Returns a row that has little more than an access token.
fn small_row() -> Row {
    Row {
        access_token: Secret::new("a".repeat(20)),
        expires_at: UnixTime::from_seconds(1_700_000_000),
        ..Row::default()
    }
}

/// Returns a row with everything in it, whose access token has this many bytes.
fn row_with(access_token: usize) -> Row {
    Row {
        sealed: None,
        access_token: Secret::new("a".repeat(access_token)),
        refresh_token: Secret::new("r".repeat(200)),
        id_token: Secret::new("i".repeat(600)),
        token_type: "Bearer".to_owned(),
        scopes: vec!["openid".to_owned(), "repo:read".to_owned()],
        expires_at: UnixTime::from_seconds(1_700_000_000),
        session_expires_at: UnixTime::from_seconds(1_700_100_000),
        refresh_expires_at: UnixTime::from_seconds(1_700_200_000),
        user_id: UserId::new("user-1").ok(),
        upstream_subject: Subject::new("subject-of-user-1").ok(),
        client_id: ClientId::new("client").ok(),
        updated_at: UnixTime::from_seconds(1_700_000_000),
        reauth: None,
        origin: Origin::from_stored("https://idp.example".to_owned(), "broker".to_owned()),
    }
}
