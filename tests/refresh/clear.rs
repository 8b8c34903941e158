//! What a provider refused in a bad hour is taken back (R6).

use std::{sync::Arc, time::Duration};

use testkit::{
    broker_process::{output, program},
    redis_server::RedisServer,
    rotating_provider::{Fault, RotatingProvider, Rules},
    token_endpoint::Behaviour,
    waiting::until,
};
use token_broker::{
    error::Error,
    refresh::{Cleared, Kept, clear, provider::Replay},
    store::MemoryStore,
    tokens::Wanted,
    types::ReauthReason,
};

use crate::brokers::{Process, access_token, expired, key, options, redis};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_refusal_of_late_is_taken_back_and_an_older_one_is_not() {
    let provider = RotatingProvider::start(Rules::default()).await;
    provider.fail(|number| Fault {
        instead: (number == 0).then(|| Behaviour::json(400, r#"{"error":"invalid_grant"}"#)),
        ..Fault::default()
    });
    let store = Arc::new(MemoryStore::new());
    let broker = Process::start(Arc::clone(&store), options(&provider));
    let key = key("s");
    broker.put(&key, expired(&provider.log_in())).await.unwrap();
    let refused = broker.get(&key, Wanted::default()).await;
    assert!(matches!(
        refused,
        Err(Error::ReauthRequired(ReauthReason::Refused))
    ));
    let older = Cleared::Kept(Kept::Older);
    until("the refusal is an older one", || async {
        let cleared = clear(&*store, &key, Duration::from_millis(1), true).await;
        cleared.unwrap() == older
    })
    .await;
    let cleared = clear(&*store, &key, Duration::from_millis(1), false).await;
    assert_eq!(cleared.unwrap(), older);

    let taken_back = Cleared::TakenBack;
    assert_eq!(clear(&*store, &key, HOUR, true).await.unwrap(), taken_back);
    let still_refused = broker.get(&key, Wanted::default()).await;
    assert!(still_refused.is_err(), "a dry run changes nothing");
    assert_eq!(clear(&*store, &key, HOUR, false).await.unwrap(), taken_back);
    assert_eq!(broker.read(&key).await.unwrap().row.reauth, None);
    let got = broker.get(&key, Wanted::default()).await.unwrap();
    assert!(provider.accepts(access_token(&got)));
    let again = clear(&*store, &key, HOUR, false).await.unwrap();
    assert_eq!(again, Cleared::Nothing);
}

#[tokio::test]
async fn what_is_in_doubt_stays_so_and_is_told() {
    let provider = RotatingProvider::start(Rules::default()).await;
    provider.fail(|_| Fault {
        instead: Some(Behaviour::answer(500, &[], "")),
        ..Fault::default()
    });
    let store = Arc::new(MemoryStore::new());
    let mut options = options(&provider);
    options.replay = Replay::Never;
    let broker = Process::start(Arc::clone(&store), options);
    let key = key("s");
    broker.put(&key, expired(&provider.log_in())).await.unwrap();
    let got = broker.get(&key, Wanted::default()).await;
    assert!(matches!(
        got,
        Err(Error::ReauthRequired(ReauthReason::InDoubt))
    ));
    let cleared = clear(&*store, &key, HOUR, false).await.unwrap();
    assert_eq!(cleared, Cleared::Kept(Kept::InDoubt));
}

/// One damaged record or row must not keep an operator from mending all others.
#[tokio::test]
async fn what_can_not_be_read_does_not_stop_the_command() {
    let provider = RotatingProvider::start(Rules::default()).await;
    provider.fail(|_| Fault {
        instead: Some(Behaviour::json(400, r#"{"error":"invalid_grant"}"#)),
        ..Fault::default()
    });
    let tenant = redis();
    let broker = Process::start(tenant.store(), options(&provider));
    let sessions = ["a", "b", "c", "damaged-record", "damaged-row"];
    for session in sessions {
        let key = key(session);
        broker.put(&key, expired(&provider.log_in())).await.unwrap();
        broker.get(&key, Wanted::default()).await.unwrap_err();
    }
    let record = tenant.key("broker:refresh:damaged-record:p");
    tenant.run::<()>(&["HSET", &record, "change", "x"]);
    tenant.write_row("upstream:damaged-row:p", "{");

    let clear = async || {
        let mut command = program();
        command.args(["providers", "clear-refused", "p", "--since", "1h"]);
        command.args([
            "--backend",
            "redis",
            "--redis-url",
            &RedisServer::shared().url(),
        ]);
        command.args(["--tenant", &tenant.name().to_string()]);
        command.args(["--redis-timeout=5s", "--redis-connect-timeout=5s"]);
        let done = output(command).await;
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    let (code, stdout, stderr) = clear().await;
    assert_eq!(code, Some(3), "{stderr}");
    let left = "0 older than --since, 0 for good, 0 in doubt, 1 that can't be read, 1 whose record can't be read";
    assert_eq!(
        stdout,
        format!("refusals taken back: 3\nleft as they are: {left}\n")
    );
    assert!(stderr.contains("token-broker check"), "{stderr}");
    for session in &sessions[..3] {
        let row = broker.read(&key(session)).await.unwrap().row;
        assert_eq!(row.reauth, None, "{session}");
    }

    tenant.run::<()>(&["DEL", &record, &tenant.key("broker:refresh:damaged-row:p")]);
    assert_eq!(clear().await.0, Some(0));
}
