//! The places for events, of which each caller leaves some to the others.

use std::time::Duration;

use testkit::waiting::until;
use token_broker::{
    access::{Guard, Rights, Role},
    audit::Duty,
    proto::v1,
    types::Reach,
};

use super::trail::*;
use crate::{
    callers::world::{OWN, Shows, policy, providers},
    serving::{get, store},
};

/// While the disk is full, the events of a caller that goes on calling fill its part of the places and no more.
#[tokio::test]
async fn one_caller_cannot_take_all_places_of_the_trail() {
    const PLACES: usize = 40;
    let rights = || Rights {
        roles: vec![Role::AuthServer],
        reach: Reach {
            providers: providers(&[OWN]),
            client: None,
        },
        ..Rights::default()
    };
    let guard = Guard::of(policy([("stolen", rights()), ("server", rights())]));
    let audited = Audited::start_at(guard, Duty::BestEffort, PLACES).await;
    let connect = async |name| {
        let channel = audited.serving.channel().await;
        v1::token_broker_client::TokenBrokerClient::with_interceptor(channel, Shows::caller(name))
    };
    let mut server = connect("server").await;
    until("calls are admitted", || {
        let mut server = server.clone();
        async move { server.store(store("s", OWN)).await.is_ok() }
    })
    .await;
    let totals = || audited.audit.figures().unwrap().totals();
    until("all events are written", || async { totals().waiting == 0 }).await;
    let before = audited.lines();
    audited.point_to("/dev/full");
    let mut stolen = connect("stolen").await;
    for _ in 0..PLACES * 2 {
        stolen.get(get("s", OWN)).await.unwrap();
    }
    // Three quarters of the places, and one more if an event was just being handed over.
    let lost = totals().lost;
    assert!((49..=50).contains(&lost), "{lost}");
    for _ in 0..5 {
        server.get(get("s", OWN)).await.unwrap();
    }
    assert_eq!(totals().lost, lost);
    audited.point_to("first");
    until("all events are written", || async { totals().waiting == 0 }).await;
    audited.audit.close(Duration::from_secs(10)).await;
    let calls = audited.calls(before);
    let of = |caller: &str| calls.iter().filter(|call| call["caller"] == caller).count() as u64;
    assert_eq!((of("stolen"), of("server")), (80 - lost, 5));
}
