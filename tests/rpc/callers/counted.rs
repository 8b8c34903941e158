//! Callers are counted by class, also those who are refused, and never by name.

use token_broker::{
    access::{Rights, Role, Rpc},
    types::Reach,
};

use super::world::{Asks, FOREIGN, OWN, Shows, World, policy, providers};
use crate::metrics::{CALLS, value, values};

#[tokio::test]
async fn callers_are_counted_by_class_and_not_by_name() {
    let rights = |roles: &[Role]| Rights {
        roles: roles.to_vec(),
        reach: Reach {
            providers: providers(&[OWN, FOREIGN]),
            client: None,
        },
        ..Rights::default()
    };
    let callers = [
        ("the-server", rights(&[Role::AuthServer])),
        ("the-proxy", rights(&[Role::Sidecar])),
        ("the-other", rights(&[Role::AuthServer, Role::Admin])),
    ];
    let world = World::start(policy(callers)).await;
    world.fill("the-server").await;
    let mut calls = Vec::new();
    for name in ["the-server", "the-other", "the-proxy"] {
        let mut caller = world.caller(name).await;
        calls.push(caller.call(Rpc::Get, Asks::at(OWN)).await.is_ok());
    }
    assert_eq!(calls, [true, true, false]);
    for shows in [Shows::default(), Shows::caller("made-up")] {
        let mut nobody = world.connect(shows).await;
        nobody.call(Rpc::Get, Asks::at(OWN)).await.unwrap_err();
    }
    let now = values(&world.serving);
    for (caller, code, reason) in [
        ("auth-server", "OK", ""),
        ("other", "OK", ""),
        ("sidecar", "PERMISSION_DENIED", "NOT_ALLOWED"),
        ("none", "UNAUTHENTICATED", "NO_CREDENTIALS"),
        ("none", "UNAUTHENTICATED", "UNKNOWN_CALLER"),
    ] {
        let labels = [
            "rpc=\"Get\"".to_owned(),
            format!("caller=\"{caller}\""),
            format!("code=\"{code}\""),
            format!("reason=\"{reason}\""),
        ];
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        assert_eq!(value(&now, CALLS, &labels), 1.0, "{labels:?}");
    }
    let text = world.serving.metrics();
    for name in ["the-server", "the-proxy", "the-other", "made-up"] {
        assert!(!text.contains(name), "{name}");
    }
}
