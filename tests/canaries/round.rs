//! What is done to a broker while it is watched.

use std::time::Duration;

use futures_util::future::join_all;
use prost::Message;
use sha2::{Digest, Sha256};
use testkit::waiting::until;
use token_broker::{access::Rpc, proto::v1};

use crate::{
    caller::Caller,
    commands::contents,
    provider::{GOOD, HANGS},
    redis::Monitor,
    rpcs::{Round, expired},
    world::{PATIENCE, World},
};

/// How long a call may take that nobody answers.
const BRIEF: Duration = Duration::from_millis(800);

/// How long a call may take that has a token refreshed.
const REFRESH: Duration = Duration::from_secs(2);

/// How long a call may take that is to be told of an outage. The broker tells it after three seconds.
const OUTAGE: Duration = Duration::from_secs(9);

/// Makes every call, well and in every wrong way.
pub async fn of_all_calls(world: &World) {
    let auth = world.auth().await;
    good(world, &auth).await;
    refreshes(world, &auth).await;
    for round in Round::wrong(&world.secrets) {
        // There is something that it is wrong about.
        let mut stored = Round::good(&world.secrets);
        // The other one was redeemed already.
        stored.refresh += "-of another login";
        let (rpc, request) = stored.requests().swap_remove(0);
        auth.call(rpc, request, PATIENCE)
            .await
            .expect("it is stored");
        all(&auth, &round, PATIENCE).await;
    }
    strangers(world).await;
    malformed(world, &auth).await;
    // Nobody answers in time.
    let stored = Round {
        provider: HANGS.to_owned(),
        expires_at: expired(),
        ..Round::good(&world.secrets)
    };
    all(&auth, &stored, BRIEF).await;
    let ends = world.told.ends();
    for rpc in Rpc::ALL {
        let of_it = &ends[rpc.full_name()];
        assert!(of_it.contains("OK"), "{rpc} never succeeded: {of_it:?}");
        for code in ["InvalidArgument", "PermissionDenied", "Unauthenticated"] {
            assert!(of_it.contains(code), "{rpc} was never {code}: {of_it:?}");
        }
    }
}

/// Makes a call of each RPC, one after the other.
pub async fn all(caller: &Caller, round: &Round, within: Duration) {
    for (rpc, request) in round.requests() {
        caller.call(rpc, request, within).await;
    }
}

/// Makes a call of each RPC, all at the same time.
pub async fn at_once(caller: &Caller, round: &Round, within: Duration) {
    let calls = round.requests().into_iter();
    join_all(calls.map(|(rpc, request)| caller.call(rpc, request, within))).await;
}

/// Makes a call of each RPC that succeeds.
async fn good(world: &World, auth: &Caller) {
    let mut round = Round::good(&world.secrets);
    let sent = Sha256::digest(round.refresh.as_bytes());
    round.refresh_token_sha256 = sent.to_vec();
    let requests = round.requests();
    let has_request = |rpc: &Rpc| requests.iter().any(|(named, _)| *named == rpc.full_name());
    assert!(Rpc::ALL.iter().all(has_request), "an RPC has no request");
    let stored = auth
        .call(requests[0].0, requests[0].1.clone(), PATIENCE)
        .await;
    let stored = v1::StoreResponse::decode(&*stored.expect("it is stored")).unwrap();
    round.version = stored.version;
    let resolve = |(rpc, _): &&(_, _)| *rpc == "Identities/ResolveUser";
    let (rpc, request) = requests.iter().find(resolve).unwrap();
    let found = auth.call(rpc, request.clone(), PATIENCE).await;
    let found = v1::ResolveUserResponse::decode(&*found.expect("a user is found")).unwrap();
    round.known = found.user_id;
    for (rpc, request) in round.requests().into_iter().skip(1) {
        auth.call(rpc, request, PATIENCE).await;
    }
}

/// Has the tokens refreshed by a provider that answers as it should, and by all others.
async fn refreshes(world: &World, auth: &Caller) {
    let names = world.odd.iter().map(String::as_str).chain([GOOD]);
    let asked = names.map(|name| async move {
        let round = Round {
            provider: name.to_owned(),
            expires_at: expired(),
            ..Round::good(&world.secrets)
        };
        let requests = round.requests();
        for (rpc, request) in &requests[..3] {
            auth.call(rpc, request.clone(), PATIENCE).await;
        }
        // Where a provider fails, a call waits for as long as it may.
        let (rpc, request) = &requests[3];
        until(&format!("{name} is asked"), async || {
            auth.call(rpc, request.clone(), REFRESH).await;
            !world
                .endpoint
                .received_at(&format!("/token/{name}"))
                .is_empty()
        })
        .await;
        let (rpc, request) = &requests[4];
        auth.call(rpc, request.clone(), REFRESH).await;
    });
    join_all(asked).await;
    let round = Round::good(&world.secrets);
    for (rpc, request) in round.requests().into_iter().skip(10).take(2) {
        auth.call(rpc, request, PATIENCE).await;
    }
    until("a token is revoked", async || {
        !world.endpoint.received_at("/revoke").is_empty()
    })
    .await;
}

/// Calls as somebody who isn't known, or may not.
async fn strangers(world: &World) {
    let round = Round::good(&world.secrets);
    let wrong = &world.secrets.wrong_bearer;
    let (auth, proxy) = (
        world.caller("auth.test").await,
        world.caller("proxy.test").await,
    );
    let nobody = world.caller("nobody.test").await;
    for caller in [
        proxy.showing(&format!("Bearer {}", world.secrets.bearer)),
        proxy,
        nobody.showing(&format!("Bearer {wrong}")),
        auth.showing(&format!("Bearer {wrong}")),
        auth.showing(&format!("Basic {wrong}")),
        auth.showing(wrong),
        nobody,
    ] {
        all(&caller, &round, PATIENCE).await;
    }
}

/// Sends what is no request.
async fn malformed(world: &World, auth: &Caller) {
    let secrets = &world.secrets;
    for rpc in Rpc::ALL.iter().map(|rpc| rpc.full_name()) {
        // A text without a field, a field that is cut off, and one that is no UTF-8.
        for text in [&secrets.access, &secrets.refresh] {
            auth.call(rpc, text.clone().into_bytes(), PATIENCE).await;
            let cut = [&[0x0a, 0x7f][..], text.as_bytes()].concat();
            auth.call(rpc, cut, PATIENCE).await;
            let length = u8::try_from(text.len() + 1).unwrap();
            let no_text = [&[0x0a, length, 0xff][..], text.as_bytes()].concat();
            auth.call(rpc, no_text, PATIENCE).await;
        }
        for header in [
            "grpc-accept-encoding",
            "traceparent",
            "user-agent",
            "x-request-id",
        ] {
            let with = [(header, secrets.session.as_str())];
            auth.call_with(rpc, Vec::new(), PATIENCE, &with).await;
        }
    }
    let unknown = format!("TokenBroker/{}", secrets.session);
    auth.call(&unknown, Vec::new(), PATIENCE).await;
    let unknown = format!("{}/Get", secrets.session);
    auth.call(&unknown, Vec::new(), PATIENCE).await;
}

/// Replaces the broker's files by others that hold secrets which don't belong there.
pub async fn of_reloads(world: &World) {
    let errors = || {
        let log = world.process.log();
        let lines = log.lines().filter(|line| line.contains("\"ERROR\""));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let texts = contents(&world.secrets);
    let files = [
        ("tls.pem", "parts of TLS"),
        ("seal-keys", "seal-keys"),
        ("policy.toml", "the policy can't be read again"),
    ];
    let auth = world.auth().await;
    for text in [&texts[0], &texts[3], &texts[7]] {
        let before = errors().len();
        for (file, _) in files {
            world.write(file, text);
        }
        world.process.signal("HUP");
        until("each file is found wrong", async || {
            let new = errors().split_off(before);
            let is_told = |(_, told): &(_, &str)| new.iter().any(|line| line.contains(told));
            files.iter().all(is_told)
        })
        .await;
    }
    // Each is read for the next request to the provider.
    world.write(
        "client-secret",
        &format!("{0}\n{0}\n", world.secrets.client_secret),
    );
    world.write("provider.key", &texts[1]);
    refresh_once(world, &auth, "odd0").await;
    refresh_once(world, &auth, "odd2").await;
}

async fn refresh_once(world: &World, auth: &Caller, provider: &str) {
    let round = Round {
        session: format!("{}-again", world.secrets.session),
        provider: provider.to_owned(),
        expires_at: expired(),
        ..Round::good(&world.secrets)
    };
    for (rpc, request) in &round.requests()[..4] {
        auth.call(rpc, request.clone(), BRIEF).await;
    }
}

/// Takes Redis away, and gives it back with another password.
pub async fn at_an_outage(world: &mut World) {
    let auth = world.auth().await;
    let round = Round::good(&world.secrets);
    world.redis.kill();
    at_once(&auth, &round, OUTAGE).await;
    let unavailable = world.told.ends();
    assert!(unavailable["TokenBroker/Get"].contains("Unavailable"));
    world.redis.restart();
    world.monitor = Monitor::follow(&world.redis, &world.secrets.redis_password).await;
    world.serves().await;
}

/// Has calls in flight that wait for a provider, while the broker is asked to end.
pub async fn at_the_end(world: &World) {
    let auth = world.auth().await;
    let round = Round {
        provider: HANGS.to_owned(),
        session: format!("{}-at-the-end", world.secrets.session),
        expires_at: expired(),
        ..Round::good(&world.secrets)
    };
    let requests = round.requests();
    auth.call(requests[0].0, requests[0].1.clone(), PATIENCE)
        .await;
    let (rpc, request) = requests[3].clone();
    let waiting = world.endpoint.received_at("/token/hangs").len();
    tokio::spawn(async move { auth.call(rpc, request, PATIENCE).await });
    until("the provider is asked", async || {
        world.endpoint.received_at("/token/hangs").len() > waiting
    })
    .await;
}
