//! Who is known, and what each caller may call, with peers that are made up.

use std::sync::Arc;

use super::*;
use crate::{
    error::Error,
    types::{Channel, Peer, PeerCertificate, ProviderName, ProviderSet, Reach, Right, Tenant},
};

fn tenant() -> Tenant {
    "a:b".parse().unwrap()
}

fn spiffe(path: &str) -> Credential {
    Credential::Spiffe(format!("spiffe://prod.example/{path}").parse().unwrap())
}

fn token(token: &str) -> Credential {
    Credential::Bearer(TokenSha256::of(token.as_bytes()))
}

/// Returns a policy of the callers `one` and `two`, each known by everything that a caller can be known by.
fn policy() -> Policy {
    let mut policy = Policy::default();
    for (name, role) in [("one", Role::Sidecar), ("two", Role::AuthServer)] {
        let rights = Rights {
            roles: vec![role],
            ..Rights::default()
        };
        let credentials = vec![
            spiffe(name),
            Credential::Uri(format!("urn:{name}")),
            Credential::Dns(format!("{name}.example")),
            token(&format!("token-{name}")),
        ];
        let caller = Caller::new(name.to_owned(), Arc::new(tenant()), rights);
        policy.add(caller, credentials).unwrap();
    }
    policy
}

/// Returns a certificate. Names that begin with `spiffe:` or `urn:` are URIs.
fn certificate(names: &[&str]) -> PeerCertificate {
    let of = |begin: &str| {
        names
            .iter()
            .filter(|name| name.starts_with(begin))
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    PeerCertificate {
        spiffe_id: of("spiffe:").first().map(|id| id.parse().unwrap()),
        uris: of("urn:"),
        dns_names: names
            .iter()
            .filter(|name| !name.contains(':'))
            .map(|name| (*name).to_owned())
            .collect(),
    }
}

/// Returns who calls over a channel, with these names in a certificate and these headers.
fn who(channel: Channel, names: &[&str], headers: &[&str]) -> String {
    let peer = Peer {
        channel,
        address: None,
        certificate: (!names.is_empty()).then(|| certificate(names)),
        right: Right::default(),
    };
    shown(Some(&peer), headers)
}

fn shown(peer: Option<&Peer>, headers: &[&str]) -> String {
    let policy = policy();
    let shown = Shown {
        peer,
        authorizations: headers.len(),
        authorization: headers.first().map(|header| header.as_bytes()),
    };
    match policy.identify(shown) {
        Ok(caller) => caller.name.clone(),
        Err(Error::NoCredentials) => "none".to_owned(),
        Err(Error::UnknownCaller(_)) => "unknown".to_owned(),
        Err(other) => panic!("{other}"),
    }
}

const ONE: &str = "spiffe://prod.example/one";
const TWO: &str = "spiffe://prod.example/two";

#[test]
fn who_calls() {
    use Channel::{Loopback, Network, Tls, Unix};
    for (expected, channel, names, headers) in [
        // No credentials.
        ("none", Tls, &[][..], &[][..]),
        ("none", Loopback, &[], &[]),
        ("none", Network, &[], &[]),
        // A certificate.
        ("one", Tls, &[ONE], &[]),
        ("one", Tls, &["urn:one"], &[]),
        ("one", Tls, &["one.example"], &[]),
        (
            "one",
            Tls,
            &["urn:else", "else.example", "one.example"],
            &[],
        ),
        ("one", Tls, &["urn:one", "one.example"], &[]),
        ("unknown", Tls, &["spiffe://prod.example/on"], &[]),
        ("unknown", Tls, &["spiffe://other.example/one"], &[]),
        ("unknown", Tls, &["urn:One"], &[]),
        ("unknown", Tls, &["a.one.example"], &[]),
        ("unknown", Tls, &["*.example"], &[]),
        // A certificate of two callers.
        ("unknown", Tls, &["one.example", "two.example"], &[]),
        ("unknown", Tls, &["urn:one", "two.example"], &[]),
        // Beside a SPIFFE id no other name counts.
        ("one", Tls, &[ONE, "two.example", "urn:two"], &[]),
        (
            "unknown",
            Tls,
            &["spiffe://evil.example/x", "two.example"],
            &[],
        ),
        // A bearer token.
        ("one", Tls, &[], &["Bearer token-one"]),
        ("one", Unix, &[], &["Bearer token-one"]),
        ("one", Loopback, &[], &["bearer token-one"]),
        ("unknown", Network, &[], &["Bearer token-one"]),
        ("unknown", Tls, &[], &["Bearer token-on"]),
        ("unknown", Tls, &[], &["Bearer token-one "]),
        ("unknown", Tls, &[], &["Bearer  token-one"]),
        ("unknown", Tls, &[], &["Bearer token-one, Bearer token-one"]),
        ("unknown", Tls, &[], &["Bearer "]),
        ("unknown", Tls, &[], &["Bearer"]),
        ("unknown", Tls, &[], &[""]),
        ("unknown", Tls, &[], &["token-one"]),
        ("unknown", Tls, &[], &["Basic token-one"]),
        // Two bearer tokens, also of one caller.
        (
            "unknown",
            Tls,
            &[],
            &["Bearer token-one", "Bearer token-two"],
        ),
        (
            "unknown",
            Tls,
            &[],
            &["Bearer token-one", "Bearer token-one"],
        ),
        (
            "unknown",
            Tls,
            &[ONE],
            &["Bearer token-one", "Bearer token-one"],
        ),
        // Both have to agree.
        ("one", Tls, &[ONE], &["Bearer token-one"]),
        ("unknown", Tls, &[ONE], &["Bearer token-two"]),
        ("unknown", Tls, &[TWO], &["Bearer token-one"]),
        ("unknown", Tls, &[ONE], &["Bearer else"]),
        ("unknown", Tls, &[ONE], &["Basic dTpw"]),
        ("unknown", Tls, &["else.example"], &["Bearer token-one"]),
    ] {
        let found = who(channel, names, headers);
        assert_eq!(found, expected, "{channel:?} {names:?} {headers:?}");
    }
}

/// What the transport has not told is not taken for anything good.
#[test]
fn without_a_peer_no_bearer_token_counts() {
    assert_eq!(shown(None, &[]), "none");
    assert_eq!(shown(None, &["Bearer token-one"]), "unknown");
}

#[test]
fn a_long_token_is_not_even_hashed() {
    let long = format!("Bearer {}", "x".repeat(1 << 20));
    assert_eq!(who(Channel::Tls, &[], &[&long]), "unknown");
}

#[test]
fn a_credential_belongs_to_one_caller() {
    let mut policy = policy();
    let caller = Caller::new("three".to_owned(), Arc::new(tenant()), Rights::default());
    let credentials = vec![spiffe("three"), token("token-two"), spiffe("one")];
    let taken = policy.add(caller, credentials).unwrap_err();
    assert_eq!(taken, [(1, "two".to_owned()), (2, "one".to_owned())]);
}

/// Every RPC and every role, as a reviewer wants to read it: auth server, sidecar, admin.
#[test]
fn what_each_role_may_call() {
    let table: [(Rpc, [bool; Role::ALL.len()]); _] = [
        (Rpc::Store, [true, false, false]),
        (Rpc::Get, [true, false, false]),
        (Rpc::GetAll, [true, false, false]),
        (Rpc::Delete, [true, false, true]),
        (Rpc::DeleteUser, [true, false, true]),
        (Rpc::GetLatestForUser, [true, false, false]),
        (Rpc::ListUserSessions, [true, false, true]),
        (Rpc::BeginRefresh, [true, false, false]),
        (Rpc::RenewRefresh, [true, false, false]),
        (Rpc::CompleteRefresh, [true, false, false]),
        (Rpc::GetAccessToken, [false, true, false]),
        (Rpc::GetAllAccessTokens, [false, true, false]),
        (Rpc::ResolveUser, [true, false, false]),
        (Rpc::GetUser, [true, false, true]),
        (Rpc::LinkIdentity, [true, false, false]),
        (Rpc::UnlinkIdentity, [true, false, true]),
        (Rpc::ListIdentities, [true, false, true]),
        (Rpc::Create, [true, false, false]),
        (Rpc::Consume, [true, false, false]),
    ];
    assert_eq!(table.len(), Rpc::ALL.len());
    for (rpc, expected) in table {
        for (role, may) in Role::ALL.into_iter().zip(expected) {
            let rights = Rights {
                roles: vec![role],
                ..Rights::default()
            };
            let caller = Caller::new("c".to_owned(), Arc::new(tenant()), rights);
            assert_eq!(caller.allowed.has(rpc), may, "{rpc} {}", role.name());
            assert_eq!(caller.class.name(), role.name());
        }
    }
}

#[test]
fn each_class_has_a_number_of_its_own() {
    let numbers = Class::all().map(Class::index);
    assert!(numbers.eq(0..Class::COUNT));
}

#[test]
fn rights_add_up_and_nothing_else_is_allowed() {
    let caller = |roles, rpcs: &[Rpc]| {
        let rights = Rights {
            roles,
            rpcs: rpcs.iter().copied().collect(),
            ..Rights::default()
        };
        Caller::new("c".to_owned(), Arc::new(tenant()), rights)
    };
    let both = caller(vec![Role::Sidecar, Role::Admin], &[Rpc::Get]);
    let allowed: Vec<_> = both.allowed.iter().collect();
    assert_eq!(
        allowed,
        [
            Rpc::Get,
            Rpc::Delete,
            Rpc::DeleteUser,
            Rpc::ListUserSessions,
            Rpc::GetAccessToken,
            Rpc::GetAllAccessTokens,
            Rpc::GetUser,
            Rpc::UnlinkIdentity,
            Rpc::ListIdentities
        ]
    );
    assert_eq!(both.class.name(), "other");
    assert!(caller(vec![], &[]).allowed.is_empty());
}

#[test]
fn providers_and_clients() {
    let provider = |name| ProviderName::new(name).unwrap();
    let client = |id| crate::types::ClientId::new(id).ok();
    let rights = Rights {
        reach: Reach {
            providers: ProviderSet::Named([provider("github")].into()),
            client: client("c"),
        },
        ..Rights::default()
    };
    let kept = Caller::new("c".to_owned(), Arc::new(tenant()), rights);
    assert!(kept.may_use(&provider("github")).is_ok());
    for foreign in ["gitlab", "GitHub", "github ", "*"] {
        let denied = kept.may_use(&provider(foreign));
        assert!(matches!(denied, Err(Error::NotAllowed(_))), "{foreign}");
    }
    assert!(matches!(
        kept.may_use_all_providers(),
        Err(Error::NotAllowed(_))
    ));
    assert!(kept.may_read(client("c").as_ref()).is_ok());
    assert!(matches!(kept.may_read(None), Err(Error::Invalid(_))));
    assert!(matches!(
        kept.may_read(client("d").as_ref()),
        Err(Error::NotAllowed(_))
    ));

    let anybody = Caller::anybody(tenant());
    assert!(anybody.may_use(&provider("any")).is_ok() && anybody.may_use_all_providers().is_ok());
    assert!(anybody.may_read(None).is_ok());
    assert!(Rpc::ALL.iter().all(|rpc| anybody.allowed.has(*rpc)));
}

#[test]
fn a_call_is_judged_by_the_policy_in_force() {
    let peer = Peer {
        channel: Channel::Tls,
        address: None,
        certificate: Some(certificate(&[ONE])),
        right: Right::default(),
    };
    let shown = Shown {
        peer: Some(&peer),
        authorizations: 0,
        authorization: None,
    };
    let guard = Guard::of(policy());
    let caller = guard.judge(Rpc::GetAccessToken, shown).unwrap();
    assert_eq!(
        (caller.name.as_str(), caller.class.name()),
        ("one", "sidecar")
    );
    let denied = guard.judge(Rpc::Get, shown).unwrap_err();
    assert!(matches!(denied.error, Error::NotAllowed(_)));
    assert_eq!(denied.caller.unwrap().name, "one");

    guard.replace(Policy::default());
    let denied = guard.judge(Rpc::GetAccessToken, shown).unwrap_err();
    assert!(matches!(denied.error, Error::UnknownCaller(_)) && denied.caller.is_none());
    // It began before, and goes on.
    assert!(caller.allowed.has(Rpc::GetAccessToken));
    let counted =
        |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
    let counts = guard.counts();
    assert_eq!(
        (counted(&counts.not_allowed), counted(&counts.unknown)),
        (1, 1)
    );

    let open = Guard::open(tenant());
    open.replace(Policy::default());
    let nobody = Shown {
        peer: None,
        authorizations: 0,
        authorization: None,
    };
    assert!(open.judge(Rpc::Store, nobody).is_ok());
}

#[test]
fn whose_right_has_ended_is_not_let_in() {
    let peer = Peer {
        address: None,
        channel: Channel::Tls,
        certificate: Some(certificate(&[ONE])),
        right: Right::default(),
    };
    let shown = Shown {
        peer: Some(&peer),
        authorizations: 0,
        authorization: None,
    };
    let guards = [Guard::of(policy()), Guard::open(tenant())];
    let are_let_in = || {
        guards
            .each_ref()
            .map(|guard| guard.judge(Rpc::GetAccessToken, shown).is_ok())
    };
    assert_eq!(are_let_in(), [true; 2]);
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    peer.right.lasts_until(now + 60);
    assert_eq!(are_let_in(), [true; 2]);
    peer.right.lasts_until(now - 1);
    assert_eq!(are_let_in(), [false; 2]);
    peer.right.lasts_until(now + 60);
    peer.right.end();
    assert_eq!(are_let_in(), [false; 2]);
}
