//! Calls that are refused because of what there is, or of how the broker is set up, and the list of all reasons.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use prost::Message;
use testkit::waiting::until;
use token_broker::proto::v1::{self, ErrorReason};

use crate::{
    caller::Caller,
    provider::HANGS,
    round::at_once,
    rpcs::{Round, expired},
    world::{PATIENCE, World},
};

const STORE: &str = "TokenBroker/Store";
const GET_ALL: &str = "TokenBroker/GetAll";
const ACCESS: &str = "AccessTokens/GetAccessToken";
const CREATE: &str = "PendingAuthorizations/Create";
const LINK: &str = "Identities/LinkIdentity";

/// Asserts that calls failed for every reason that there is.
pub fn all_were_told(world: &World) {
    let told = world.told.reasons();
    let every = (1..).map_while(|number| ErrorReason::try_from(number).ok());
    let names = every.map(|reason| {
        let name = reason.as_str_name().strip_prefix("ERROR_REASON_");
        name.unwrap().to_owned()
    });
    let names: BTreeSet<_> = names.collect();
    assert!(names.contains("TOO_MANY_PENDING"), "{names:?}");
    assert_eq!(told, names);
}

async fn call(caller: &Caller, round: &Round, rpc: &'static str) -> Option<Vec<u8>> {
    let (rpc, request) = round.request(rpc);
    caller.call(rpc, request, PATIENCE).await
}

/// Returns a round about which nothing is known yet, of tokens that have expired.
fn of_its_own(world: &World, id: &str) -> Round {
    Round {
        session: format!("{}-{id}", world.secrets.session),
        state: format!("{}-{id}", world.secrets.state),
        user: id.to_owned(),
        subject: id.to_owned(),
        expires_at: expired(),
        ..Round::good(&world.secrets)
    }
}

/// Makes calls that are refused because of what is stored.
pub async fn of_what_is_stored(world: &World) {
    let auth = world.auth().await;
    for round in [
        Round {
            refresh: String::new(),
            ..of_its_own(world, "unrefreshable")
        },
        Round {
            token_type: "DPoP".to_owned(),
            ..of_its_own(world, "bound")
        },
        Round {
            provider: "unconfigured".to_owned(),
            ..of_its_own(world, "unconfigured")
        },
    ] {
        call(&auth, &round, STORE).await.expect("it is stored");
        assert_eq!(call(&auth, &round, ACCESS).await, None);
    }
    let redeemed = of_its_own(world, "redeemed");
    call(&auth, &redeemed, STORE).await.expect("it is stored");
    call(&auth, &redeemed, ACCESS)
        .await
        .expect("it is redeemed");
    assert_eq!(call(&auth, &redeemed, STORE).await, None);
    let round = of_its_own(world, "misrouted");
    call(&auth, &round, CREATE).await.expect("it is pending");
    let elsewhere = Round {
        provider: "odd0".to_owned(),
        ..round
    };
    assert_eq!(
        call(&auth, &elsewhere, "PendingAuthorizations/Consume").await,
        None
    );
    let one = of_its_own(world, "one");
    let other = of_its_own(world, "other");
    let known = user(&auth, &one).await;
    user(
        &auth,
        &Round {
            subject: "other-2".to_owned(),
            ..other.clone()
        },
    )
    .await;
    assert_eq!(call(&auth, &Round { known, ..other }, LINK).await, None);
}

/// Returns the id of the user of an identity, who may be new.
async fn user(auth: &Caller, round: &Round) -> String {
    let answer = call(auth, round, "Identities/ResolveUser").await;
    let answer = answer.expect("there is a user");
    v1::ResolveUserResponse::decode(&*answer).unwrap().user_id
}

/// Has another broker serve the same data, which has low limits, and is another client of the providers.
pub async fn of_a_narrow_broker(world: &mut World) {
    let auth = world.auth().await;
    let round = of_its_own(world, "narrow");
    let known = user(&auth, &round).await;
    for rpc in [STORE, CREATE] {
        call(&auth, &round, rpc).await.expect("there is one");
    }
    let settings = "client-certificates = \"optional\"\nmax-calls = 1\nmax-providers = 1\n\
                    max-identities = 1\nmax-pending-of-client = 1\n";
    let narrow = world.another(settings, "another");
    let auth = world.auth_at(&narrow).await;
    serves(&auth, &round).await;
    // The tokens are the first client's.
    is_refused(world, &auth, (&round, ACCESS), "PROVIDER_CHANGED").await;
    let more = Round {
        provider: HANGS.to_owned(),
        known,
        subject: "more".to_owned(),
        state: format!("{}-more", round.state),
        ..round.clone()
    };
    for (rpc, reason) in [
        (STORE, "TOO_MANY_PROVIDERS"),
        (LINK, "TOO_MANY_IDENTITIES"),
        (CREATE, "TOO_MANY_PENDING"),
    ] {
        is_refused(world, &auth, (&more, rpc), reason).await;
    }
    let nobody = world.nobody_at(&narrow).await;
    is_refused(world, &nobody, (&round, GET_ALL), "NO_CREDENTIALS").await;
    until("there are too many calls", async || {
        join_all((0..20).map(|_| call(&auth, &round, STORE))).await;
        world.told.reasons().contains("OVERLOADED")
    })
    .await;
    world.end(narrow).await;
}

/// Makes a call, which is refused, until the reason was told. The call before may keep the only place for a moment longer.
async fn is_refused(
    world: &World,
    caller: &Caller,
    (round, rpc): (&Round, &'static str),
    reason: &str,
) {
    until(reason, async || {
        assert_eq!(call(caller, round, rpc).await, None, "{rpc}");
        world.told.reasons().contains(reason)
    })
    .await;
}

/// Has another broker serve the same data, which wants a replica that isn't there, and begins while Redis stands still.
pub async fn of_a_broker_without_replicas(world: &mut World) {
    let round = of_its_own(world, "lost");
    world.redis.pause();
    let settings =
        "durability = \"replicated\"\ndurability-timeout = \"100ms\"\ncall-timeout = \"600ms\"\n";
    let waits = world.another(settings, "client");
    let auth = world.auth_at(&waits).await;
    at_once(&auth, &round, PATIENCE).await;
    world.redis.resume();
    serves(&auth, &round).await;
    until("a write isn't durable", async || {
        at_once(&auth, &round, PATIENCE).await;
        world.told.reasons().contains("NOT_DURABLE")
    })
    .await;
    world.redis.pause();
    at_once(&auth, &round, PATIENCE).await;
    world.redis.resume();
    serves(&auth, &round).await;
    world.end(waits).await;
    world.serves().await;
}

async fn serves(auth: &Caller, round: &Round) {
    until("it serves", async || {
        call(auth, round, GET_ALL).await.is_some()
    })
    .await;
}
