//! Users and identities (guarantees, section 2.3).

use std::{collections::HashSet, env, sync::Arc};

use testkit::{broker::Broker, rows::*};
use token_broker::{
    error::Error,
    identities::{UserOptions, Users},
    store::{Identities, Resolved},
    types::{IdentityKey, ProviderSet, Reach, Subject, UserId},
};
use tokio::task::{JoinSet, yield_now};

use crate::{
    backend::Backend,
    forgetful::{Fate, Forgetful, PATIENCE},
};

const OPTIONS: UserOptions = UserOptions {
    max_identities: 5,
    patience: PATIENCE,
};

fn identity(at: &str, subject: &str) -> IdentityKey {
    IdentityKey {
        provider: provider(at),
        subject: Subject::new(subject).unwrap(),
    }
}

fn users<B: Backend>(backend: &B) -> Users<B::Store> {
    Users::new(Arc::new(backend.store()), OPTIONS)
}

async fn made<S: Identities>(users: &Users<S>, identity: &IdentityKey) -> UserId {
    let Resolved { user, created } = users.resolve(identity).await.unwrap();
    assert!(created, "{identity:?} led to a user before");
    user
}

async fn found<S: Identities>(users: &Users<S>, identity: &IdentityKey) -> UserId {
    let Resolved { user, created } = users.resolve(identity).await.unwrap();
    assert!(!created, "{identity:?} led to nobody");
    user
}

async fn listed<S: Identities>(users: &Users<S>, user: &UserId) -> Vec<IdentityKey> {
    let found = users.list(user, &Reach::default()).await.unwrap();
    assert!(found.iter().all(|identity| identity.user == *user));
    found.into_iter().map(|identity| identity.key).collect()
}

/// A user is made at the first login, and found at the next ones through every broker.
pub async fn the_first_login_makes_a_user<B: Backend>(backend: B) {
    let [first, second] = [users(&backend), users(&backend)];
    let identity = identity("okta", "alice");
    let user = made(&first, &identity).await;
    assert_eq!(found(&second, &identity).await, user);
    let record = second.get(&user).await.unwrap();
    assert_eq!(record.id, user);
    assert!(record.created_at.is_some() && record.updated_at == record.created_at);
    let linked = &second.list(&user, &Reach::default()).await.unwrap()[..];
    let [linked] = linked else {
        panic!("{linked:?}")
    };
    assert_eq!((&linked.key, &linked.user), (&identity, &user));
    assert!(linked.linked_at.is_some() && linked.last_used_at.is_some());
    let nobody = second.get(&UserId::random()).await;
    assert!(matches!(nobody, Err(Error::UserNotFound)));
}

/// A subject means something at its provider alone.
pub async fn one_subject_at_two_providers_is_two_users<B: Backend>(backend: B) {
    let users = users(&backend);
    let made = [
        made(&users, &identity("okta", "1")).await,
        made(&users, &identity("github", "1")).await,
    ];
    assert_ne!(made[0], made[1]);
}

/// However many callbacks of one login arrive at once, at whichever brokers, there is one user.
pub async fn a_rush_of_logins_makes_one_user<B: Backend>(backend: B) {
    let brokers: Vec<_> = (0..3).map(|_| Arc::new(users(&backend))).collect();
    for round in 0..20 {
        let identity = identity("okta", &format!("s{round}"));
        let mut rush = JoinSet::new();
        for number in 0..30 {
            let (users, identity) = (Arc::clone(&brokers[number % 3]), identity.clone());
            rush.spawn(async move { users.resolve(&identity).await.unwrap() });
        }
        let all = rush.join_all().await;
        let made = all.iter().filter(|resolved| resolved.created).count();
        let users: HashSet<_> = all.iter().map(|resolved| &resolved.user).collect();
        assert_eq!((made, users.len()), (1, 1), "round {round}");
    }
}

/// A user has several identities, and an identity has one user.
pub async fn an_identity_leads_to_one_user<B: Backend>(backend: B) {
    let users = users(&backend);
    let (own, more) = (identity("okta", "a"), identity("github", "77"));
    let alice = made(&users, &own).await;
    let bob = made(&users, &identity("okta", "b")).await;
    assert!(users.link(&more, &alice).await.unwrap());
    assert!(!users.link(&more, &alice).await.unwrap(), "linked again");
    let refused = users.link(&more, &bob).await;
    assert!(matches!(refused, Err(Error::IdentityLinked)), "{refused:?}");
    assert_eq!(found(&users, &more).await, alice);
    assert_eq!(listed(&users, &alice).await, [more.clone(), own.clone()]);
    assert_eq!(listed(&users, &bob).await, [identity("okta", "b")]);
    let nobody = users.link(&identity("okta", "c"), &UserId::random()).await;
    assert!(matches!(nobody, Err(Error::UserNotFound)), "{nobody:?}");
    let reach = Reach {
        providers: ProviderSet::Named([provider("okta")].into()),
        client: None,
    };
    let within = users.list(&alice, &reach).await.unwrap();
    assert!(within.iter().map(|identity| &identity.key).eq([&own]));
}

/// The limit holds, and what was removed makes room.
pub async fn a_user_has_a_limit_of_identities<B: Backend>(backend: B) {
    let users = users(&backend);
    let alice = made(&users, &identity("okta", "0")).await;
    for number in 1..OPTIONS.max_identities {
        let more = identity("okta", &number.to_string());
        assert!(users.link(&more, &alice).await.unwrap());
    }
    let more = identity("github", "1");
    let refused = users.link(&more, &alice).await;
    let is_limit = matches!(refused, Err(Error::TooManyIdentities { limit: 5 }));
    assert!(is_limit, "{refused:?}");
    assert!(!users.link(&identity("okta", "1"), &alice).await.unwrap());
    assert!(users.unlink(&identity("okta", "1"), None).await.unwrap());
    assert!(users.link(&more, &alice).await.unwrap());
}

/// An identity that was removed leads to nobody. Its user stays.
pub async fn an_identity_that_is_removed_leads_to_nobody<B: Backend>(backend: B) {
    let users = users(&backend);
    let (own, other) = (identity("okta", "a"), identity("okta", "b"));
    let alice = made(&users, &own).await;
    let bob = made(&users, &other).await;
    assert!(
        !users.unlink(&own, Some(&bob)).await.unwrap(),
        "it isn't bob's"
    );
    assert_eq!(found(&users, &own).await, alice);
    assert!(users.unlink(&own, Some(&alice)).await.unwrap());
    assert!(!users.unlink(&own, None).await.unwrap(), "removed again");
    assert!(listed(&users, &alice).await.is_empty());
    assert_eq!(users.get(&alice).await.unwrap().id, alice);
    assert_ne!(made(&users, &own).await, alice);
    assert_eq!(listed(&users, &bob).await, [other]);
}

/// Ids that look like parts of keys lead to users of their own.
pub async fn identities_that_look_alike_never_meet<B: Backend>(backend: B) {
    let users = users(&backend);
    let alike = [
        ("a", "b:c"),
        ("a:b", "c"),
        ("a", "b%3Ac"),
        ("a:1:b", "c"),
        ("1", "a:b:c"),
        ("é", "1"),
        ("e", "\u{301}1"),
        ("a", "{b}"),
        ("a", "\"b\""),
        ("a", "b\\"),
        ("a", "\",\"last_used_at\":1"),
        ("a", "пользователь"),
    ];
    let mut made_for = HashSet::new();
    for (at, subject) in alike {
        assert!(made_for.insert(made(&users, &identity(at, subject)).await));
    }
    for (at, subject) in alike {
        let key = identity(at, subject);
        let user = found(&users, &key).await;
        assert_eq!(listed(&users, &user).await, [key]);
    }
}

/// What is deleted is gone: record and identities. A later login is another user's.
pub async fn a_deleted_user_has_no_identities<B: Backend>(backend: B) {
    let (users, broker) = (users(&backend), backend.broker());
    let (own, more) = (identity("okta", "a"), identity("github", "a"));
    let alice = made(&users, &own).await;
    users.link(&more, &alice).await.unwrap();
    broker.put(&key("s", "p"), &row(alice.as_str(), "at")).await;
    let deleted = broker.delete_user(&alice).await.unwrap();
    assert_eq!((deleted.rows, deleted.identities), (1, 2));
    assert!(deleted.existed);
    let gone = users.get(&alice).await;
    assert!(matches!(gone, Err(Error::UserNotFound)), "{gone:?}");
    assert!(listed(&users, &alice).await.is_empty());
    let linked = users.link(&more, &alice).await;
    assert!(matches!(linked, Err(Error::UserNotFound)), "{linked:?}");
    let next = made(&users, &own).await;
    assert_ne!(next, alice);
    assert!(users.link(&more, &next).await.unwrap());
    let again = broker.delete_user(&alice).await.unwrap();
    assert_eq!((again.identities, again.existed), (0, false));
    assert_eq!(found(&users, &own).await, next);
}

/// Logins, links and rows that race with the deletion of their user: no identity refuses a login or leads to the deleted
/// user, and no row is left that a second deletion doesn't find.
pub async fn a_deletion_races_with_everything<B: Backend>(backend: B) {
    let rounds = env::var("IDENTITY_RACES").map_or(60, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let (users, broker) = (Arc::new(users(&backend)), backend.broker());
        let name = |what: &str| format!("{what}{round}");
        let (own, more) = (identity("okta", &name("a")), identity("github", &name("a")));
        let alice = made(&users, &own).await;
        let mut race = JoinSet::new();
        for number in 0..6 {
            let (users, broker) = (Arc::clone(&users), broker.clone());
            let (own, more, alice) = (own.clone(), more.clone(), alice.clone());
            let row_key = key(&format!("s{round}-{number}"), "p");
            race.spawn(async move {
                for _ in 0..number {
                    yield_now().await;
                }
                match number {
                    0 | 3 => drop(users.resolve(&own).await.unwrap()),
                    1 | 4 => drop(users.link(&more, &alice).await),
                    2 => drop(broker.delete_user(&alice).await.unwrap()),
                    _ => _ = broker.put(&row_key, &row(alice.as_str(), "at")).await,
                }
            });
        }
        race.join_all().await;
        assert!(users.get(&alice).await.is_err(), "the user is back");
        broker.delete_user(&alice).await.unwrap();
        assert!(broker.listed(&alice).await.is_empty());
        assert!(listed(&users, &alice).await.is_empty());
        for identity in [&own, &more] {
            let resolved = users.resolve(identity).await.unwrap();
            assert_ne!(resolved.user, alice, "a deleted user logs in");
            assert!(users.get(&resolved.user).await.is_ok());
            assert!(listed(&users, &resolved.user).await.contains(identity));
        }
    }
}

/// Returns users at a broker that loses the answer to its first write.
fn forgetful<B: Backend>(
    backend: &B,
    fate: Fate,
    meanwhile: impl Future<Output = ()> + Send + 'static,
) -> Users<Forgetful<B::Store>> {
    let store = Forgetful::once(backend.store(), fate, meanwhile);
    Users::new(Arc::new(store), OPTIONS)
}

/// A login whose answer was lost is answered all the same, with the user that it made. There is no second one.
pub async fn a_login_whose_answer_is_lost_makes_one_user<B: Backend>(backend: B) {
    for fate in [Fate::NotDone, Fate::Done] {
        let identity = identity("okta", &format!("{fate:?}"));
        let user = made(&forgetful(&backend, fate, async {}), &identity).await;
        assert_eq!(found(&users(&backend), &identity).await, user);
    }
}

/// A user who was deleted while the answer was lost doesn't come back.
pub async fn a_repeated_login_brings_no_deleted_user_back<B: Backend>(backend: B) {
    let (own, deleter) = (identity("okta", "a"), backend.broker());
    let others = Arc::new(users(&backend));
    let (gone, told) = tokio::sync::oneshot::channel();
    let meanwhile = {
        let (others, own, deleter) = (Arc::clone(&others), own.clone(), Broker::clone(&deleter));
        async move {
            let first = found(&others, &own).await;
            deleter.delete_user(&first).await.unwrap();
            gone.send(first).unwrap();
        }
    };
    let user = made(&forgetful(&backend, Fate::Done, meanwhile), &own).await;
    let deleted = told.await.unwrap();
    assert_ne!(user, deleted);
    assert!(others.get(&deleted).await.is_err());
}

/// A link whose answer was lost is recognized, and isn't made again after somebody removed it.
pub async fn a_link_whose_answer_is_lost_undoes_nothing<B: Backend>(backend: B) {
    let others = Arc::new(users(&backend));
    let alice = made(&others, &identity("okta", "a")).await;
    let known = identity("github", "known");
    let users = forgetful(&backend, Fate::Done, async {});
    assert!(users.link(&known, &alice).await.unwrap());

    let removed = identity("github", "removed");
    let meanwhile = {
        let (others, removed) = (Arc::clone(&others), removed.clone());
        async move { assert!(others.unlink(&removed, None).await.unwrap()) }
    };
    let users = forgetful(&backend, Fate::Done, meanwhile);
    let lost = users.link(&removed, &alice).await;
    assert!(matches!(lost, Err(Error::OutcomeUnknown(_))), "{lost:?}");
    assert_eq!(listed(&others, &alice).await.len(), 2);
}

/// An identity that was linked again while the answer to its removal was lost stays.
pub async fn a_removal_whose_answer_is_lost_undoes_nothing<B: Backend>(backend: B) {
    let others = Arc::new(users(&backend));
    let (own, more) = (identity("okta", "a"), identity("github", "a"));
    let alice = made(&others, &own).await;
    others.link(&more, &alice).await.unwrap();
    let meanwhile = {
        let (others, more, alice) = (Arc::clone(&others), more.clone(), alice.clone());
        async move { assert!(others.link(&more, &alice).await.unwrap()) }
    };
    let users = forgetful(&backend, Fate::Done, meanwhile);
    let lost = users.unlink(&more, None).await;
    assert!(matches!(lost, Err(Error::OutcomeUnknown(_))), "{lost:?}");
    assert_eq!(found(&others, &more).await, alice);
    let users = forgetful(&backend, Fate::Done, async {});
    assert!(users.unlink(&more, None).await.unwrap());
}
