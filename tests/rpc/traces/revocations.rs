//! The spans of tokens that are revoked because their rows are deleted.

use token_broker::{
    proto::v1::{DeleteRequest, delete_request::Target},
    refresh::{Providers, Revocations},
};

use super::*;

#[tokio::test]
async fn a_revocation_is_a_part_of_the_call_that_deleted_the_row() {
    let endpoint = TokenEndpoint::start().await;
    let fails = || Behaviour::json(503, &format!(r#"{{"error":"{SECRET}"}}"#));
    let refuses = Behaviour::json(400, &format!(r#"{{"error":"no","why":"rt-{SECRET}"}}"#));
    endpoint.behave("/good", [fails(), Behaviour::json(200, "{}")]);
    endpoint.behave("/refuses", [refuses]);
    let at = |name: &str| {
        let mut at = provider::options(name);
        let url = endpoint.url(&format!("/{name}"));
        at.endpoints.revocation = Some(url.parse().unwrap());
        at.revoke_on_delete = true;
        at
    };
    let pause = Duration::from_millis(1);
    let all = vec![at("good"), at("refuses")];
    let providers = Providers::new(all).with_revocations(Revocations::new([pause, pause]));
    let ending = providers.revocations().clone();
    let rules = Rules {
        providers,
        ..rules("default:default".parse().unwrap())
    };
    let collecting = Collecting::start(Does::Take, None).await;
    let traces = Traces::start(collecting.options());
    let serving = traced(MemoryStore::new(), rules, &traces).await;
    let mut client = serving.client().await;
    let delete = |provider: &str| DeleteRequest {
        session_id: session("s"),
        target: Some(Target::Provider(provider.to_owned())),
        version: None,
    };
    for name in ["good", "refuses"] {
        client.store(store("s", name)).await.unwrap();
        client.delete(asking(delete(name))).await.unwrap();
    }
    let revoked = || async { ending.figures().revoked + ending.figures().failed == 2 };
    testkit::waiting::until("both have ended", revoked).await;
    // It is about to end: this one isn't tried.
    client.store(store("s", "good")).await.unwrap();
    ending.end(END).await;
    client.delete(asking(delete("good"))).await.unwrap();
    closed(&traces, END).await;

    let spans = collecting.spans();
    let calls = spans.iter().filter(|span| span.name.ends_with("/Delete"));
    let mut told = Vec::new();
    for call in calls {
        assert!(!is_failed(call), "the rows are deleted all the same");
        let of_it = |span: &&Span| span.parent_span_id == call.span_id && span.name == "revocation";
        for span in spans.iter().filter(of_it) {
            let (said, requests) = (said(span), children(&spans, span));
            assert!(requests.iter().all(|name| *name == "provider_request"));
            assert_eq!(said.len(), 2, "{said:?}");
            told.push((
                said["token_broker.provider"].clone(),
                said["token_broker.outcome"].clone(),
                requests.len(),
                is_failed(span),
            ));
        }
    }
    told.sort_unstable();
    let expected = [
        ("good", "dropped", 0, true),
        ("good", "revoked", 2, false),
        ("refuses", "failed", 1, true),
    ];
    let expected = expected.map(|(provider, outcome, requests, failed)| {
        (provider.to_owned(), outcome.to_owned(), requests, failed)
    });
    assert_eq!(told, expected);
    // The provider is told nothing of the trace, and the collector nothing of the tokens.
    for request in endpoint.received() {
        assert_eq!(request.header("traceparent"), None);
    }
    assert!(!holds(&collecting.bytes(), SECRET));
}
