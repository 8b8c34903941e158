//! Certificates change while the broker serves.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use testkit::{
    authority::{Authority, Wanted},
    waiting::until,
};

use crate::broker::{Broker, request, served, stream};

/// Returns the certificate that the broker shows now.
async fn shown(broker: &Broker) -> Vec<u8> {
    let stream = broker.stream(broker.config(Some(&broker.good()))).await;
    let stream = stream.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Clients call all the time, and new ones connect, while the broker's certificate is swapped again and again. Not one call
/// fails, and the connections that were there stay.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_certificates_are_swapped() {
    let mut broker = Broker::start(&[]).await;
    let config = broker.config(Some(&broker.good()));
    let (over, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut callers = Vec::new();
    for _ in 0..8 {
        let mut client = broker.client(config.clone()).await.unwrap();
        let (over, calls) = (Arc::clone(&over), Arc::clone(&calls));
        callers.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                served(client.get(request()).await.map(drop)).unwrap();
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut before = shown(&broker).await;
    for _ in 0..3 {
        let (server, clients) = (
            broker.authority.sign(&Wanted::server()),
            broker.clients.pem.clone(),
        );
        broker.files.swap(|dir| {
            server.write_to(dir, "server");
            fs::write(dir.join("clients.pem"), clients).unwrap();
        });
        until("the new certificate is shown", || async {
            broker.serves(Some(&broker.good())).await.unwrap();
            shown(&broker).await != before
        })
        .await;
        before = shown(&broker).await;
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(calls.load(Ordering::Relaxed) > 100, "{calls:?}");
    let log = broker.process.ended().await.log;
    assert!(!log.contains("can't be used"), "{log}");
    assert_eq!(log.matches("the new ones are in force").count(), 3, "{log}");
}

/// SIGHUP has the files read at once. (The broker looks every second by itself, which the log tells apart.)
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_is_answered() {
    let broker = Broker::start(&[]).await;
    broker.process.signal("HUP");
    broker.process.tells("no file of TLS has changed").await;
    broker.serves(Some(&broker.good())).await.unwrap();
}

/// Whatever is wrong with a file, the broker goes on with what it held before, and the log says what is wrong. A certificate
/// counts although a bundle is broken.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_broken_change_nothing() {
    let mut broker = Broker::start(&["--metrics-listen", "127.0.0.1:0"]).await;
    let mut before = shown(&broker).await;
    let server = broker.authority.sign(&Wanted::server());
    let other = broker.authority.sign(&Wanted::server());
    let clients = broker.clients.pem.clone();
    type Fill<'a> = Box<dyn Fn(&Path) + 'a>;
    let whole = |dir: &Path| {
        server.write_to(dir, "server");
        fs::write(dir.join("clients.pem"), &clients).unwrap();
    };
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let intermediate = broker.authority.intermediate("intermediate", past);
    let broken: [(&str, Fill<'_>); 8] = [
        (
            "tls-key: the key isn't that",
            Box::new(|dir| {
                whole(dir);
                fs::write(dir.join("server.key"), &other.key).unwrap();
            }),
        ),
        (
            "tls-cert: the file holds no certificate",
            Box::new(|dir| {
                whole(dir);
                fs::write(dir.join("server.pem"), "").unwrap();
            }),
        ),
        (
            "tls-cert: no such file",
            Box::new(|dir| {
                whole(dir);
                fs::remove_file(dir.join("server.pem")).unwrap();
            }),
        ),
        (
            "tls-key: its rights are 0644",
            Box::new(|dir| {
                whole(dir);
                let key = dir.join("server.key");
                fs::set_permissions(key, PermissionsExt::from_mode(0o644)).unwrap();
            }),
        ),
        (
            "client-ca: the file holds no certificate",
            Box::new(|dir| {
                whole(dir);
                fs::write(dir.join("clients.pem"), "\n").unwrap();
            }),
        ),
        (
            "tls-cert: the file holds a damaged certificate",
            Box::new(|dir| {
                whole(dir);
                let half = &server.certificate[..server.certificate.len() / 2];
                fs::write(dir.join("server.pem"), half).unwrap();
            }),
        ),
        (
            "tls-cert: the certificate has expired",
            Box::new(|dir| {
                whole(dir);
                let expired = Wanted::server().valid(past, past + Duration::from_secs(1));
                broker.authority.sign(&expired).write_to(dir, "server");
            }),
        ),
        (
            "tls-cert: the certificate needs an intermediate one, number 2 of the chain, which has expired",
            Box::new(|dir| {
                whole(dir);
                let mut below = intermediate.sign(&Wanted::server());
                below.certificate += &intermediate.pem;
                below.write_to(dir, "server");
            }),
        ),
    ];
    let client_config = broker.config(Some(&broker.good()));
    let (process, files) = (&broker.process, &mut broker.files);
    for (told, fill) in broken {
        files.swap(&*fill);
        process.tells(told).await;
        let config = client_config.clone();
        let stream = stream(process.address(), config).await.unwrap();
        let now = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let is_renewed = now != before;
        assert_eq!(is_renewed, told.starts_with("client-ca"), "{told}");
        before = now;
    }
    broker.serves(Some(&broker.good())).await.unwrap();
    let failed = r#"token_broker_reloads_total{what="certificates",outcome="failed"} "#;
    let counted = async || broker.process.metric(failed) == Some(8);
    until("each is counted", counted).await;
    // What is in force comes back.
    broker.files.swap(whole);
    let told = "all parts of TLS are in order";
    broker.process.tells(told).await;
    assert_eq!(shown(&broker).await, before);
    broker.files.swap(|dir| {
        whole(dir);
        other.write_to(dir, "server");
    });
    until("the good files are in force", || async {
        shown(&broker).await != before
    })
    .await;
}

/// Clients of another authority are let in once it is named.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_added_lets_its_clients_in() {
    let mut broker = Broker::start(&[]).await;
    let second = Authority::new("second");
    let other = second.sign(&Wanted::nobody());
    assert!(broker.serves(Some(&other)).await.is_err());
    let both = format!("{}{}", broker.clients.pem, second.pem);
    let server = broker.authority.sign(&Wanted::server());
    broker.files.swap(|dir| {
        server.write_to(dir, "server");
        fs::write(dir.join("clients.pem"), both).unwrap();
    });
    until("they are let in", || async {
        broker.serves(Some(&other)).await.is_ok()
    })
    .await;
    broker.serves(Some(&broker.good())).await.unwrap();
}

/// Two authorities in one file, and then the same with a mistake by which parsers pass over the second. Its clients are served as
/// before, and the log says what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_parsers_would_pass_over_is_not_taken_away() {
    let mut broker = Broker::start(&[]).await;
    let (first, second) = (broker.clients.pem.clone(), Authority::new("second"));
    let of_second = second.sign(&Wanted::nobody());
    let server = broker.authority.sign(&Wanted::server());
    let fill = |dir: &Path, bundle: &str| {
        server.write_to(dir, "server");
        fs::write(dir.join("clients.pem"), bundle).unwrap();
    };
    let both = format!("\u{feff}{first}{}", second.pem);
    broker.files.swap(|dir| fill(dir, &both));
    until("both are let in", || async {
        broker.serves(Some(&of_second)).await.is_ok()
    })
    .await;
    for (told, bundle) in [
        (
            "has an END and a BEGIN: put a line break between them",
            format!("{}{}", first.trim_end(), second.pem),
        ),
        (
            "names another form of a certificate",
            first.clone() + &second.pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
        ),
    ] {
        broker.files.swap(|dir| fill(dir, &bundle));
        broker.process.tells(told).await;
        for identity in [&broker.good(), &of_second] {
            broker.serves(Some(identity)).await.unwrap();
        }
    }
}

/// Somebody writes a bundle in place, and is looked at halfway. What is there then doesn't count, and its clients are served as
/// before. What is there at the end does.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_is_written_in_place_counts_when_it_is_whole() {
    let broker = Broker::start(&[]).await;
    let path = broker.files.path("clients.pem");
    let third = Authority::new("third");
    let of_third = third.sign(&Wanted::nobody());
    let all = format!("{}{}", third.pem, broker.clients.pem);
    let (begin, rest) = all.split_at(all.len() - broker.clients.pem.len() / 2);
    let mut file = fs::File::create(path).unwrap();
    file.write_all(begin.as_bytes()).unwrap();
    let told = "client-ca: the file holds a damaged certificate";
    broker.process.tells(told).await;
    broker.serves(Some(&broker.good())).await.unwrap();
    assert!(broker.serves(Some(&of_third)).await.is_err());
    file.write_all(rest.as_bytes()).unwrap();
    until("the third authority counts", || async {
        broker.serves(Some(&of_third)).await.is_ok()
    })
    .await;
    broker.serves(Some(&broker.good())).await.unwrap();
}
