//! Connections end when their client's certificate does.

use std::time::{Duration, Instant, SystemTime};

use testkit::{
    authority::{Authority, Wanted},
    waiting::until,
};
use tonic::Code;

use crate::{
    broker::{Broker, called, request, served},
    deaf::deaf,
};

const SECOND: Duration = Duration::from_secs(1);
/// Much more than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls have 2 s on a connection that has to end, and a minute otherwise, as their handshakes do.
const SOON: [&str; 4] = ["--call-timeout", "60s", "--max-connection-age-grace", "2s"];
/// They have a minute there, too, where nobody may wait for them.
const LONG: [&str; 4] = ["--call-timeout", "60s", "--max-connection-age-grace", "60s"];

/// Returns when a certificate expires that is good for about so many seconds yet. It is good to the end of this second.
fn expiring_in(seconds: u64) -> SystemTime {
    // Certificates know whole seconds.
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(now + seconds)
}

/// Returns how long after the end of a certificate something happened.
///
/// # Panics
/// Panics if it was before that.
fn after(end: SystemTime, happened: Instant) -> Duration {
    let ago = happened.elapsed();
    let at = SystemTime::now() - ago;
    at.duration_since(end).expect("it is good to its end")
}

/// A client calls all the time. It is served until its certificate expires, and not after that.
///
/// The client has one thread, because hyper loses calls where several share a connection that is ended or refused (see
/// `broker::called`).
#[tokio::test]
async fn a_certificate_expires_while_its_connection_is_in_use() {
    let broker = Broker::start(&[]).await;
    let end = expiring_in(7);
    let short = Wanted::nobody().valid(SystemTime::now() - SECOND, end);
    let short = broker.config(Some(&broker.clients.sign(&short)));
    let mut client = broker.client(short).await.unwrap();
    let mut long = broker
        .client(broker.config(Some(&broker.good())))
        .await
        .unwrap();
    let (mut calls, mut refusals) = (0, 0);
    while SystemTime::now() < end + 3 * SECOND || refusals == 0 {
        let asked = SystemTime::now();
        match served(client.get(request()).await.map(drop)) {
            Ok(()) => {
                // It is good to the end of its last second.
                let last = end + SECOND + Duration::from_millis(500);
                assert!(asked < last, "{asked:?} {end:?}");
                calls += 1;
            }
            Err(refused) => {
                assert!(SystemTime::now() > end, "{refused}");
                refusals += 1;
            }
        }
        served(long.get(request()).await.map(drop)).unwrap();
    }
    assert!(calls > 10, "{calls}");
}

/// A client that does nothing that it is told is told to go, and closed when its certificate expires.
#[tokio::test(flavor = "multi_thread")]
async fn who_ignores_that_its_certificate_expires_is_closed() {
    let broker = Broker::start(&LONG).await;
    // A tenth of it is between being told and the end.
    let end = expiring_in(10);
    let wanted = Wanted::nobody().valid(SystemTime::now() - SECOND, end);
    let config = broker.config(Some(&broker.clients.sign(&wanted)));
    let seen = broker.heedless(config).await.stay(PATIENCE).await;
    let (told, ended) = (seen.told.unwrap(), seen.ended.unwrap());
    assert!(told < ended, "{seen:?}");
    let late = after(end, ended);
    assert!(late < 20 * SECOND, "{late:?}");
}

/// The authority of some clients is taken away. Their connections end, also of those that don't listen. Others' stay. The test has
/// one thread, as above.
#[tokio::test]
async fn an_authority_that_is_taken_away_takes_its_connections_along() {
    let (prod, test) = (Authority::new("prod"), Authority::new("test"));
    let domains = [("prod.test", &prod), ("test.test", &test)];
    let mut broker = Broker::with_domains(&domains, &SOON).await;
    let [stays, goes, ignores] = [
        (&prod, "spiffe://prod.test/a"),
        (&test, "spiffe://test.test/a"),
        (&test, "spiffe://test.test/b"),
    ]
    .map(|(authority, id)| {
        let identity = authority.sign(&Wanted::nobody().uri(id));
        broker.config(Some(&identity))
    });
    let stays_raw = broker.heedless(stays.clone()).await;
    let ignores = broker.heedless(ignores).await;
    let mut stays = broker.client(stays).await.unwrap();
    let mut goes = broker.client(goes).await.unwrap();
    served(goes.get(request()).await.map(drop)).unwrap();
    let ignores = tokio::spawn(ignores.stay(PATIENCE));

    // Another authority of the same domain is in force.
    let successor = Authority::new("test");
    let (server, clients) = (
        broker.authority.sign(&Wanted::server()),
        broker.clients.pem.clone(),
    );
    broker.files.swap(|dir| {
        server.write_to(dir, "server");
        std::fs::write(dir.join("clients.pem"), clients).unwrap();
        std::fs::write(dir.join("prod.test.pem"), &prod.pem).unwrap();
        std::fs::write(dir.join("test.test.pem"), &successor.pem).unwrap();
    });
    let swapped = Instant::now();
    until("the clients of the old authority aren't served", || {
        let mut goes = goes.clone();
        async move { served(goes.get(request()).await.map(drop)).is_err() }
    })
    .await;
    served(stays.get(request()).await.map(drop)).unwrap();
    let ignored = ignores.await.unwrap();
    assert!(ignored.told.is_some(), "{ignored:?}");
    let took = ignored.ended.unwrap() - swapped;
    // A look every second, and 2 s for calls.
    assert!(took < 30 * SECOND, "{took:?}");
    // It reads everything that has come so far.
    let stayed = stays_raw.stay(3 * SECOND).await;
    assert!(
        stayed.told.is_none() && stayed.ended.is_none(),
        "{stayed:?}"
    );
}

/// The authority of some clients is taken away while the broker's certificate and another bundle are broken. Its connections
/// end all the same. Whatever is broken stays as it was.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_taken_away_whatever_else_is_broken() {
    let (prod, test) = (Authority::new("prod"), Authority::new("test"));
    let domains = [("prod.test", &prod), ("test.test", &test)];
    let mut broker = Broker::with_domains(&domains, &SOON).await;
    let id = |id: &str| Wanted::nobody().uri(id);
    let goes = test.sign(&id("spiffe://test.test/a"));
    let stays = prod.sign(&id("spiffe://prod.test/a"));
    broker.serves(Some(&goes)).await.unwrap();
    let ignores = broker.heedless(broker.config(Some(&goes))).await;
    let ignores = tokio::spawn(ignores.stay(PATIENCE));
    let (key, clients) = (
        broker.authority.sign(&Wanted::server()).key,
        broker.clients.pem.clone(),
    );
    let successor = Authority::new("test");
    broker.files.swap(|dir| {
        // A key without its certificate, and half of a bundle.
        broker
            .authority
            .sign(&Wanted::server())
            .write_to(dir, "server");
        std::fs::write(dir.join("server.key"), key).unwrap();
        std::fs::write(dir.join("clients.pem"), clients).unwrap();
        std::fs::write(dir.join("prod.test.pem"), &prod.pem[..prod.pem.len() / 2]).unwrap();
        std::fs::write(dir.join("test.test.pem"), &successor.pem).unwrap();
    });
    until("the clients of the old authority aren't served", || async {
        broker.serves(Some(&goes)).await.is_err()
    })
    .await;
    let ignored = ignores.await.unwrap();
    assert!(
        ignored.told.is_some() && ignored.ended.is_some(),
        "{ignored:?}"
    );
    broker.serves(Some(&stays)).await.unwrap();
    broker.serves(Some(&broker.good())).await.unwrap();
    let by_successor = successor.sign(&id("spiffe://test.test/a"));
    broker.serves(Some(&by_successor)).await.unwrap();
    for told in [
        "tls-key: the key isn't that of the certificate",
        "trust-domains, prod.test: the file holds a damaged certificate",
        "those that can be used are in force",
    ] {
        broker.process.tells(told).await;
    }
}

/// A client never hears that it should go when its authority is taken away. From the first call that is refused on, all are,
/// long before its connection is closed.
#[tokio::test(flavor = "multi_thread")]
async fn who_ignores_that_its_authority_is_taken_away_is_refused() {
    let test = Authority::new("test");
    let mut broker = Broker::with_domains(&[("test.test", &test)], &LONG).await;
    let identity = test.sign(&Wanted::nobody().uri("spiffe://test.test/a"));
    let stream = broker.stream(broker.config(Some(&identity))).await.unwrap();
    let client = deaf(stream).await;
    served(client.clone().get(request()).await.map(drop)).unwrap();

    let successor = Authority::new("test");
    let (server, clients) = (
        broker.authority.sign(&Wanted::server()),
        broker.clients.pem.clone(),
    );
    broker.files.swap(|dir| {
        server.write_to(dir, "server");
        std::fs::write(dir.join("clients.pem"), clients).unwrap();
        std::fs::write(dir.join("test.test.pem"), &successor.pem).unwrap();
    });
    let code = || {
        let mut client = client.clone();
        async move { client.get(request()).await.unwrap_err().code() }
    };
    until("a call is refused", || async {
        code().await == Code::Unauthenticated
    })
    .await;
    for _ in 0..20 {
        assert_eq!(code().await, Code::Unauthenticated);
    }
}

/// An authority expires while it is in force. The connections that it vouched for end then, nobody comes in by it
/// any more, and those whom its successor vouches for stay.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_expires_takes_its_connections_along() {
    // The broker starts before that, and a tenth of what is left then is between being told and the end.
    let end = expiring_in(12);
    let (old, mut new) = (Authority::until("test", end), Authority::new("test"));
    new.pem.push_str(&old.pem);
    let broker = Broker::with_domains(&[("test.test", &new)], &LONG).await;
    // The clients' own certificates are good for a day.
    let [goes, stays] = [&old, &new].map(|authority| {
        let identity = authority.sign(&Wanted::nobody().uri("spiffe://test.test/a"));
        broker.config(Some(&identity))
    });
    let goes_raw = broker.heedless(goes.clone()).await;
    let stays_raw = broker.heedless(stays.clone()).await;
    let gone = goes_raw.stay(PATIENCE).await;
    let ended = gone.ended.expect("its connection ends");
    assert!(gone.told.is_some_and(|told| told < ended), "{gone:?}");
    let late = after(end, ended);
    assert!(late < 20 * SECOND, "{late:?}");
    // It reads everything that has come so far.
    let stayed = stays_raw.stay(2 * SECOND).await;
    assert!(
        stayed.told.is_none() && stayed.ended.is_none(),
        "{stayed:?}"
    );
    let address = broker.process.address();
    called(address, goes).await.unwrap_err();
    let mut stays = broker.client(stays).await.unwrap();
    served(stays.get(request()).await.map(drop)).unwrap();
}
