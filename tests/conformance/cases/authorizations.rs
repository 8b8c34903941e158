//! Pending authorizations (guarantees, section 2.4).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use testkit::{
    pending::{client, consume, new_pending, pending_in, state},
    rows::*,
};
use token_broker::{
    authorizations::{Authorizations, NewPending},
    error::Error,
    store,
    types::{Payload, PendingAuthorization, ProviderSet, Reach, SecretBytes},
};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    backend::Backend,
    forgetful::{Fate, Forgetful},
};

const OF_CLIENT: usize = 3;

fn authorizations<B: Backend>(backend: &B) -> Authorizations<B::Store> {
    pending_in(backend.store(), OF_CLIENT, 5)
}

fn payload(pending: &PendingAuthorization) -> &str {
    match &pending.payload {
        Payload::Plain(bytes) => str::from_utf8(bytes).unwrap(),
        Payload::Sealed(_) => panic!("it is sealed"),
    }
}

async fn is_gone<S: store::Authorizations>(pending: &Authorizations<S>, text: &str) {
    let gone = consume(pending, text).await;
    assert!(matches!(gone, Err(Error::StateNotFound)), "{gone:?}");
}

/// Everything comes back, through every broker, and once.
pub async fn an_authorization_is_consumed_once<B: Backend>(backend: B) {
    let [first, second] = [authorizations(&backend), authorizations(&backend)];
    is_gone(&first, "x").await;
    for odd in ["x", "a:b {%}", "\"", "idx", "é"] {
        first.create(new_pending(odd)).await.unwrap();
        let taken = consume(&second, odd).await.unwrap();
        assert_eq!(payload(&taken), format!("payload of {odd}"));
        assert_eq!(
            (taken.provider, taken.session, taken.client, taken.user),
            (provider("okta"), session("s"), client("c"), Some(user("u")))
        );
        is_gone(&first, odd).await;
        is_gone(&second, odd).await;
    }
    let bytes = SecretBytes::new((0..=255).collect());
    let nobody = NewPending {
        user: None,
        payload: bytes,
        ..new_pending("y")
    };
    first.create(nobody).await.unwrap();
    let taken = consume(&second, "y").await.unwrap();
    assert_eq!(taken.user, None);
    let Payload::Plain(bytes) = &taken.payload else {
        panic!("it is sealed")
    };
    assert!(bytes.iter().copied().eq(0..=255));
}

/// However many callbacks arrive at once, one gets it.
pub async fn of_many_consumers_one_gets_it<B: Backend>(backend: B) {
    let brokers: Vec<_> = (0..3).map(|_| Arc::new(authorizations(&backend))).collect();
    for round in 0..20 {
        let text = format!("state {round}");
        brokers[0].create(new_pending(&text)).await.unwrap();
        let mut rush = JoinSet::new();
        for number in 0..30 {
            let (pending, text) = (Arc::clone(&brokers[number % 3]), text.clone());
            rush.spawn(async move { consume(&pending, &text).await.is_ok() });
        }
        let won = rush.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1, "round {round}");
    }
}

/// A callback of another provider burns it: nobody gets it, not even the right one.
pub async fn a_misrouted_callback_burns_it<B: Backend>(backend: B) {
    let pending = authorizations(&backend);
    let at = async |text: &str, name: &str| {
        let name = provider(name);
        let reach = Reach::default();
        pending.consume(&state(text), Some(&name), &reach).await
    };
    pending.create(new_pending("x")).await.unwrap();
    let burnt = at("x", "github").await;
    assert!(matches!(burnt, Err(Error::ProviderMismatch)), "{burnt:?}");
    let late = at("x", "okta").await;
    assert!(matches!(late, Err(Error::StateNotFound)), "{late:?}");
    pending.create(new_pending("y")).await.unwrap();
    assert!(at("y", "okta").await.is_ok());
}

/// A state is taken while something is pending under it.
pub async fn a_state_is_taken_once<B: Backend>(backend: B) {
    let [first, second] = [authorizations(&backend), authorizations(&backend)];
    first.create(new_pending("x")).await.unwrap();
    let other = NewPending {
        payload: SecretBytes::new(b"another".to_vec()),
        ..new_pending("x")
    };
    let taken = second.create(other).await;
    assert!(matches!(taken, Err(Error::StateExists)), "{taken:?}");
    let kept = consume(&second, "x").await.unwrap();
    assert_eq!(payload(&kept), "payload of x");
}

/// What has expired is gone, and makes room.
pub async fn an_authorization_expires<B: Backend>(backend: B) {
    const TTL: Duration = Duration::from_secs(1);
    let pending = authorizations(&backend);
    let begun = Instant::now();
    for text in ["x", "y", "z"] {
        let short = NewPending {
            ttl: TTL,
            ..new_pending(text)
        };
        pending.create(short).await.unwrap();
    }
    match pending.create(new_pending("early")).await {
        Err(Error::TooManyPending { .. }) => {}
        // It came so late that one has expired.
        Ok(_) if begun.elapsed() >= TTL => _ = consume(&pending, "early").await.unwrap(),
        other => panic!("{other:?}"),
    }
    let started = Instant::now();
    // There is room for as many as have expired.
    for text in ["u", "v", "w"] {
        while matches!(
            pending.create(new_pending(text)).await,
            Err(Error::TooManyPending { .. })
        ) {
            assert!(started.elapsed() < Duration::from_secs(20));
            sleep(Duration::from_millis(20)).await;
        }
    }
    for text in ["x", "y", "z"] {
        is_gone(&pending, text).await;
    }
    assert!(consume(&pending, "w").await.is_ok());
}

/// One client's flood leaves room for others, and what is consumed makes room.
pub async fn a_flood_locks_nobody_else_out<B: Backend>(backend: B) {
    let pending = authorizations(&backend);
    let of = |id: &str, text: &str| NewPending {
        client: client(id),
        ..new_pending(text)
    };
    for number in 0..OF_CLIENT {
        pending
            .create(of("flood", &format!("f{number}")))
            .await
            .unwrap();
    }
    let full = pending.create(of("flood", "more")).await;
    assert!(
        matches!(full, Err(Error::TooManyPending { .. })),
        "{full:?}"
    );
    pending.create(of("other", "o1")).await.unwrap();
    pending.create(of("other", "o2")).await.unwrap();
    let full = pending.create(of("third", "t1")).await;
    assert!(
        matches!(full, Err(Error::TooManyPending { .. })),
        "of the tenant: {full:?}"
    );
    consume(&pending, "f0").await.unwrap();
    pending.create(of("third", "t1")).await.unwrap();
    assert!(consume(&pending, "o1").await.is_ok());
}

/// What isn't within a caller's reach stays, and counts as none.
pub async fn what_is_out_of_reach_stays<B: Backend>(backend: B) {
    let pending = authorizations(&backend);
    pending.create(new_pending("x")).await.unwrap();
    let of = |providers, client| Reach { providers, client };
    let github = ProviderSet::Named([provider("github")].into());
    for reach in [
        of(github, None),
        of(ProviderSet::All, Some(client("another"))),
    ] {
        let out = pending.consume(&state("x"), None, &reach).await;
        assert!(matches!(out, Err(Error::StateNotFound)), "{out:?}");
    }
    let own = of(
        ProviderSet::Named([provider("okta")].into()),
        Some(client("c")),
    );
    assert!(pending.consume(&state("x"), None, &own).await.is_ok());
}

/// A payload has a limit.
pub async fn a_payload_has_a_limit<B: Backend>(backend: B) {
    let pending = authorizations(&backend);
    let of = |size| NewPending {
        payload: SecretBytes::new(vec![0xff; size]),
        ..new_pending("x")
    };
    let refused = pending.create(of(16 * 1024 + 1)).await;
    assert!(matches!(
        refused,
        Err(Error::TooLarge { limit: 16_384, .. })
    ));
    pending.create(of(16 * 1024)).await.unwrap();
    assert!(consume(&pending, "x").await.is_ok());
}

fn forgetful<B: Backend>(
    backend: &B,
    fate: Fate,
    meanwhile: impl Future<Output = ()> + Send + 'static,
) -> Authorizations<Forgetful<B::Store>> {
    let store = Forgetful::once(backend.store(), fate, meanwhile);
    pending_in(store, OF_CLIENT, 5)
}

/// A caller whose answer was lost on the way from the store has it all the same, and nobody else.
pub async fn a_consumer_whose_answer_is_lost_has_it<B: Backend>(backend: B) {
    let others = authorizations(&backend);
    for fate in [Fate::NotDone, Fate::Done] {
        let text = format!("{fate:?}");
        let broker = forgetful(&backend, fate, async {});
        broker.create(new_pending(&text)).await.unwrap();
        let taken = consume(&forgetful(&backend, fate, async {}), &text).await;
        assert_eq!(payload(&taken.unwrap()), format!("payload of {text}"));
        is_gone(&others, &text).await;
    }
}

/// Whoever comes while the answer is lost gets it, and the first caller doesn't: it wasn't taken for it.
pub async fn a_consumer_who_comes_between_gets_it_alone<B: Backend>(backend: B) {
    let others = Arc::new(authorizations(&backend));
    others.create(new_pending("x")).await.unwrap();
    let meanwhile = {
        let others = Arc::clone(&others);
        async move { assert!(consume(&others, "x").await.is_ok()) }
    };
    let late = consume(&forgetful(&backend, Fate::NotDone, meanwhile), "x").await;
    assert!(matches!(late, Err(Error::OutcomeUnknown(_))), "{late:?}");
}
