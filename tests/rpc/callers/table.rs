//! Every RPC, every role, the caller's own and a foreign provider, and all that a call may show.

use token_broker::{
    access::{Concerns, Rights, Role, Rpc},
    types::Reach,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::world::{Asks, FOREIGN, OWN, Shows, World, policy, providers};
use crate::refusal::refusal;

/// The reason of a refusal by the policy, or `None` if the policy let the call through. What the service itself answers
/// doesn't matter.
fn refused(answer: Result<(), Status>) -> Option<String> {
    let status = answer.err()?;
    let reason = status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default();
    let is_of_policy = matches!(
        reason.as_str(),
        "NO_CREDENTIALS" | "UNKNOWN_CALLER" | "NOT_ALLOWED"
    );
    is_of_policy.then(|| {
        // Also checks that it repeats no secret.
        let refusal = refusal::<()>(Err(status));
        let code = match reason.as_str() {
            "NOT_ALLOWED" => Code::PermissionDenied,
            _ => Code::Unauthenticated,
        };
        assert_eq!((refusal.code, refusal.retry_after), (code, None));
        reason
    })
}

fn rights(role: Role, names: Option<&[&str]>) -> Rights {
    Rights {
        roles: vec![role],
        reach: Reach {
            providers: names.map(providers).unwrap_or_default(),
            client: None,
        },
        ..Rights::default()
    }
}

async fn world() -> World {
    let callers = [
        ("auth-server", rights(Role::AuthServer, Some(&[OWN]))),
        ("sidecar", rights(Role::Sidecar, Some(&[OWN]))),
        ("admin", rights(Role::Admin, Some(&[OWN]))),
        ("auth-server of all", rights(Role::AuthServer, None)),
        ("sidecar of all", rights(Role::Sidecar, None)),
        ("admin of all", rights(Role::Admin, None)),
    ];
    let world = World::start(policy(callers)).await;
    world.fill("auth-server of all").await;
    world
}

#[tokio::test]
async fn every_rpc_every_role_own_and_foreign_providers() {
    let world = world().await;
    for role in Role::ALL {
        for is_of_all in [false, true] {
            let name = match is_of_all {
                true => format!("{} of all", role.name()),
                false => role.name().to_owned(),
            };
            let mut caller = world.caller(&name).await;
            for rpc in Rpc::ALL {
                for provider in [OWN, FOREIGN] {
                    let reaches = match rpc.concerns() {
                        Concerns::One | Concerns::OneOrAll => is_of_all || provider == OWN,
                        Concerns::All => is_of_all,
                        Concerns::Own | Concerns::None => true,
                    };
                    let may = role.has(*rpc) && reaches;
                    let answer = refused(caller.call(*rpc, Asks::at(provider)).await);
                    let expected = (!may).then(|| "NOT_ALLOWED".to_owned());
                    assert_eq!(answer, expected, "{name}: {rpc} at {provider}");
                }
            }
        }
    }
}

#[tokio::test]
async fn whoever_is_not_known_may_call_nothing() {
    let world = world().await;
    let of = |headers: &[&str]| Shows(headers.iter().map(|&header| header.to_owned()).collect());
    let good = || Shows::caller("auth-server of all");
    for (what, shows, reason) in [
        ("nothing", of(&[]), "NO_CREDENTIALS"),
        ("a wrong token", of(&["Bearer xSECRETx"]), "UNKNOWN_CALLER"),
        ("another scheme", of(&["Basic xSECRETx"]), "UNKNOWN_CALLER"),
        ("no token", of(&["Bearer"]), "UNKNOWN_CALLER"),
        ("an empty header", of(&[""]), "UNKNOWN_CALLER"),
        (
            "two tokens",
            good().and(Shows::caller("sidecar")),
            "UNKNOWN_CALLER",
        ),
        ("one token twice", good().and(good()), "UNKNOWN_CALLER"),
        (
            "a good and a wrong one",
            good().and(of(&["Bearer x"])),
            "UNKNOWN_CALLER",
        ),
        (
            "a wrong and a good one",
            of(&["Bearer x"]).and(good()),
            "UNKNOWN_CALLER",
        ),
    ] {
        let mut caller = world.connect(shows).await;
        for rpc in Rpc::ALL {
            let answer = refused(caller.call(*rpc, Asks::at(OWN)).await);
            assert_eq!(answer.as_deref(), Some(reason), "{what}: {rpc}");
        }
    }
    // Nothing was done for them.
    let mut auth = world.caller("auth-server of all").await;
    assert!(auth.call(Rpc::Get, Asks::at(OWN)).await.is_ok());
}

/// An answer doesn't tell a caller whether there is something that it may not see.
#[tokio::test]
async fn a_refusal_does_not_depend_on_what_is_stored() {
    let world = world().await;
    let mut caller = world.caller("auth-server").await;
    let there = caller.call(Rpc::Get, Asks::at(FOREIGN)).await.unwrap_err();
    let absent = caller
        .call(Rpc::Get, Asks::at("nowhere"))
        .await
        .unwrap_err();
    let told = |status: &Status| {
        (
            status.code(),
            status.message().to_owned(),
            status.details().to_owned(),
        )
    };
    assert_eq!(told(&there), told(&absent));
}
