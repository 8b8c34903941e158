//! Tests the log line of a call. It says what was called, how the call ended and how long it took,
//! and nothing else.

use serde_json::{Map, Value};
use testkit::{broker_process::BrokerProcess, waiting::until};

use crate::serving::{SECRET, get, store};

/// Returns the fields of the log lines of calls.
fn lines(log: &str) -> Vec<Map<String, Value>> {
    let line = |line: &str| serde_json::from_str::<Value>(line).ok();
    log.lines()
        .filter_map(line)
        .filter_map(|line| line["fields"].as_object().cloned())
        .filter(|fields| fields["message"] == "call")
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_a_line_without_a_secret() {
    let broker = BrokerProcess::start(&["--backend", "memory", "--log-level", "debug"]);
    broker.serving().await;
    let mut client = broker.client().await;
    client.store(store("s", "p")).await.unwrap();
    client.get(get("s", "other")).await.unwrap_err();
    client.get(get("s", "")).await.unwrap_err();
    until("the log has a line a call", || {
        let written = lines(&broker.log()).len();
        async move { written == 3 }
    })
    .await;
    let log = broker.log();
    for (line, expected) in lines(&log).iter().zip([
        r#"{"code":"OK","message":"call","rpc":"Store"}"#,
        r#"{"code":"NOT_FOUND","message":"call","reason":"ROW_NOT_FOUND","rpc":"Get"}"#,
        r#"{"code":"INVALID_ARGUMENT","message":"call","reason":"INVALID_FIELD","rpc":"Get"}"#,
    ]) {
        let mut line = line.clone();
        assert!(line.remove("micros").is_some_and(|micros| micros.is_u64()));
        assert_eq!(Value::Object(line).to_string(), expected);
    }
    assert!(!log.contains(SECRET), "{log}");
}
