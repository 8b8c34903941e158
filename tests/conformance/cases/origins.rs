//! What a configured provider means for rows (guarantees, sections 2.1 and 3.1): a row notes where its refresh token was
//! obtained, and the token goes nowhere else.

use std::time::{Duration, Instant};

use testkit::{
    broker::{Broker, request},
    provider::{options_at_issuer, providers},
    rows::*,
    waiting::until,
};
use token_broker::{
    refresh::provider::{ProviderOptions, Rotation},
    store::Store,
    tokens::StoreTokens,
    types::{Origin, Row, RowKey},
};

use crate::backend::Backend;

const OLD: &str = "https://old.example";
const NEW: &str = "https://new.example";

fn origin(server: &str) -> Origin {
    Origin {
        server: server.to_owned(),
        client_id: "client".to_owned(),
    }
}

/// Returns a row whose caller claims that its tokens are from elsewhere.
fn claiming(token: &str) -> Row {
    Row {
        origin: Some(origin("https://claimed.example")),
        ..row("u", token)
    }
}

/// A broker whose provider `p` has this issuer and never rotates, with a change.
fn broker_at<B: Backend>(
    backend: &B,
    issuer: &str,
    change: impl FnOnce(&mut ProviderOptions),
) -> Broker<B::Store> {
    let mut options = options_at_issuer("p", issuer);
    options.rotation = Rotation::None;
    change(&mut options);
    backend.broker_with(|rules| rules.providers = providers([options]))
}

/// Stores a row without a refresh token, and returns the one that it kept, and where that is from.
async fn carried<S: Store>(broker: &Broker<S>, key: &RowKey) -> (String, Option<Origin>) {
    let silent = Row {
        refresh_token: None,
        ..claiming("silent")
    };
    broker.put_carrying(key, &silent).await;
    let stored = broker.read(key).await.unwrap().row;
    (refresh_token(&stored).to_owned(), stored.origin)
}

/// A row notes the provider's issuer and client of the moment, whatever its caller says, and nothing where the provider
/// isn't configured.
pub async fn a_row_notes_where_its_tokens_come_from<B: Backend>(backend: B) {
    let target = key("s", "p");
    let noted = async |broker: &Broker<B::Store>, carry_forward| {
        let request = StoreTokens {
            carry_forward,
            ..request(&target, &claiming("1"))
        };
        broker.store(request).await.unwrap();
        broker.read(&target).await.unwrap().row.origin
    };
    let plain = backend.broker();
    for carry_forward in [false, true] {
        for issuer in [OLD, NEW] {
            let broker = broker_at(&backend, issuer, |_| {});
            let noted = noted(&broker, carry_forward).await;
            assert_eq!(noted, Some(origin(issuer)));
        }
        assert_eq!(noted(&plain, carry_forward).await, None);
    }
}

/// A carried token is from where it was from before, also if the provider has moved, and whichever row it is from.
pub async fn carry_keeps_the_origin_of_the_token<B: Backend>(backend: B) {
    let moved = broker_at(&backend, NEW, |options| {
        options.formerly = vec![origin(OLD)]
    });
    broker_at(&backend, OLD, |_| {})
        .put(&key("s", "p"), &claiming("1"))
        .await;
    let expected = ("refresh-1".to_owned(), Some(origin(OLD)));
    for session in ["s", "t", "t"] {
        assert_eq!(carried(&moved, &key(session, "p")).await, expected);
    }
    // Nothing is known of a token that was stored before the provider was configured.
    backend.broker().put(&key("s", "p"), &claiming("2")).await;
    let expected = ("refresh-2".to_owned(), None);
    assert_eq!(carried(&moved, &key("s", "p")).await, expected);
    // Where the provider is configured no more, the token's origin still counts.
    moved.put(&key("s", "p"), &claiming("3")).await;
    let expected = ("refresh-3".to_owned(), Some(origin(NEW)));
    assert_eq!(carried(&backend.broker(), &key("s", "p")).await, expected);
}

/// A token that the provider's client can't redeem is carried neither from the replaced row nor from another one.
pub async fn carry_takes_no_token_from_elsewhere<B: Backend>(backend: B) {
    let old = broker_at(&backend, OLD, |_| {});
    let another = Origin {
        client_id: "another".to_owned(),
        ..origin(OLD)
    };
    let new = broker_at(&backend, NEW, |_| {});
    let other_client = broker_at(&backend, OLD, |options| {
        options.client_id.clone_from(&another.client_id);
    });
    for (broker, own) in [(new, origin(NEW)), (other_client, another)] {
        old.put(&key("s", "p"), &claiming("1")).await;
        old.put(&key("t", "p"), &claiming("2")).await;
        for session in ["s", "new"] {
            let nothing = (String::new(), Some(own.clone()));
            assert_eq!(carried(&broker, &key(session, "p")).await, nothing);
        }
        broker.delete_user(&user("u")).await.unwrap();
    }
}

/// Where a provider says how long its refresh tokens live, its rows are kept for as long, and other rows aren't.
pub async fn a_row_lives_as_long_as_its_providers_tokens<B: Backend>(backend: B) {
    let broker = broker_at(&backend, NEW, |options| {
        options.refresh_lifetime = Some(Duration::from_secs(1));
    });
    let ending = Row {
        expires_at: in_seconds(0),
        ..row("u", "1")
    };
    let (short, long) = (key("s", "p"), key("s", "q"));
    let started = Instant::now();
    broker.put(&short, &ending).await;
    broker.put(&long, &ending).await;
    until("the row dies", async || broker.read(&short).await.is_none()).await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(broker.read(&long).await.is_some());
}
