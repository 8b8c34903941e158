//! The table of who gets through (guarantees, section 8): every certificate beside every bearer token, for every RPC and every
//! role, over connections with TLS. `tests/rpc/callers/table.rs` has the table of the providers.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use testkit::{
    authority::{Authority, Identity, Wanted},
    waiting::until,
};
use token_broker::access::{Role, Rpc};
use tonic::transport::Channel;

use crate::{
    broker::{Broker, channel_to},
    shown::{Answer, Bearers, sha256, token},
};

/// The callers: one a role, with its name.
const CALLERS: [&str; 3] = ["auth-server", "sidecar", "admin"];

/// Every RPC, and which of the [`CALLERS`] may call it.
const RPCS: [(&str, [bool; 3]); 19] = [
    ("TokenBroker/Store", [true, false, false]),
    ("TokenBroker/Get", [true, false, false]),
    ("TokenBroker/GetAll", [true, false, false]),
    ("TokenBroker/Delete", [true, false, true]),
    ("TokenBroker/DeleteUser", [true, false, true]),
    ("TokenBroker/GetLatestForUser", [true, false, false]),
    ("TokenBroker/ListUserSessions", [true, false, true]),
    ("TokenBroker/BeginRefresh", [true, false, false]),
    ("TokenBroker/RenewRefresh", [true, false, false]),
    ("TokenBroker/CompleteRefresh", [true, false, false]),
    ("AccessTokens/GetAccessToken", [false, true, false]),
    ("AccessTokens/GetAllAccessTokens", [false, true, false]),
    ("Identities/ResolveUser", [true, false, false]),
    ("Identities/GetUser", [true, false, true]),
    ("Identities/LinkIdentity", [true, false, false]),
    ("Identities/UnlinkIdentity", [true, false, true]),
    ("Identities/ListIdentities", [true, false, true]),
    ("PendingAuthorizations/Create", [true, false, false]),
    ("PendingAuthorizations/Consume", [true, false, false]),
];

/// What the broker makes of a certificate and bearer tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// As the caller itself.
    Own,
    /// As the other caller, whose certificate or token was shown.
    Other,
    /// As nobody, for what was shown.
    Unknown,
    /// As nobody, for nothing was shown.
    Nothing,
}

use Known::{Nothing, Other, Own, Unknown};

/// One certificate beside each of [`Bearers::ALL`]: none, own, others', wrong, twice, two of its own, own and others', own and
/// wrong.
type Row = [Known; 8];

const WITHOUT_CERTIFICATE: Row = [
    Nothing, Own, Other, Unknown, Unknown, Unknown, Unknown, Unknown,
];
const OWN_CERTIFICATE: Row = [
    Own, Own, Unknown, Unknown, Unknown, Unknown, Unknown, Unknown,
];
const OTHERS_CERTIFICATE: Row = [
    Other, Unknown, Other, Unknown, Unknown, Unknown, Unknown, Unknown,
];
const CERTIFICATE_OF_NOBODY: Row = [Unknown; 8];
/// Without a certificate, when the policy names the caller no more.
const OTHERS_BEARER_ALONE: Row = [
    Nothing, Unknown, Other, Unknown, Unknown, Unknown, Unknown, Unknown,
];

/// A broker with a policy, whose clients may show a certificate.
struct World {
    broker: Broker,
    policy: TempDir,
}

/// Returns what a policy says of a caller.
fn caller(name: &str, dns_name: &str) -> String {
    let tokens = ["first", "second"].map(|which| sha256(&token(name, which)));
    format!(
        "[callers.{name}]\ndns-names = [\"{dns_name}\"]\nbearer-sha256 = {tokens:?}\nroles = [\"{name}\"]\nproviders = \"*\"\n"
    )
}

fn dns_name(caller: &str) -> String {
    format!("{caller}.test")
}

/// Returns the policy of all callers.
fn all() -> String {
    CALLERS.map(|name| caller(name, &dns_name(name))).concat()
}

impl World {
    async fn start(policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        fs::write(&path, policy).unwrap();
        let path = path.to_str().unwrap();
        let args = ["--policy", path, "--client-certificates", "optional"];
        Self {
            broker: Broker::with_domains_serving(&[], &args).await,
            policy: dir,
        }
    }

    fn certificate(&self, caller: &str) -> Identity {
        let named = Wanted::nobody().dns_name(&dns_name(caller));
        self.broker.clients.sign(&named)
    }

    async fn connect(&self, identity: Option<&Identity>) -> Channel {
        let config = self.broker.config(identity);
        let channel = channel_to(self.broker.process.address(), config).await;
        channel.unwrap()
    }

    /// Puts another policy in the place of the one in force, and waits until the broker has read it.
    async fn reload(&self, policy: &str) {
        let (new, path) = (
            self.policy.path().join("new"),
            self.policy.path().join("policy.toml"),
        );
        let said = || {
            let log = self.broker.process.log();
            log.matches("the policy was read again, and is in force")
                .count()
        };
        let before = said();
        fs::write(&new, policy).unwrap();
        fs::rename(new, path).unwrap();
        self.broker.process.signal("HUP");
        until("the new policy is in force", || async { said() > before }).await;
    }
}

/// What was seen at calls, and what of it isn't as it should be.
#[derive(Default)]
struct Seen {
    calls: usize,
    wrong: Vec<String>,
    /// What those were told who aren't known.
    told_unknown: BTreeSet<String>,
    told_nothing: BTreeSet<String>,
}

impl Seen {
    /// Calls every RPC with every bearer token as the caller `own`, on a connection whose certificate has this row. The other
    /// caller is the next one, so that each pair is seen both ways round.
    async fn row(&mut self, what: &str, channel: &Channel, own: usize, row: Row) {
        let other = (own + 1) % CALLERS.len();
        for (bearers, known) in Bearers::ALL.into_iter().zip(row) {
            for (rpc, may) in RPCS {
                let answer = bearers
                    .call(channel, rpc, CALLERS[own], CALLERS[other])
                    .await;
                let is_right = match (known, &answer) {
                    (Own, Answer::Served) => may[own],
                    (Own, Answer::NotAllowed) => !may[own],
                    (Other, Answer::Served) => may[other],
                    (Other, Answer::NotAllowed) => !may[other],
                    (Unknown, Answer::Unknown(_)) | (Nothing, Answer::NoCredentials(_)) => true,
                    _ => false,
                };
                self.calls += 1;
                if !is_right {
                    let name = CALLERS[own];
                    self.wrong.push(format!(
                        "{name}, {what}, {bearers:?}, {rpc}: known as {known:?}? {answer:?}"
                    ));
                }
                match answer {
                    Answer::Unknown(told) => _ = self.told_unknown.insert(told),
                    Answer::NoCredentials(told) => _ = self.told_nothing.insert(told),
                    _ => {}
                }
            }
        }
    }

    /// Calls with all certificates that the broker lets in.
    async fn certificates(&mut self, world: &World) {
        let nobodys = world.broker.good();
        for own in 0..CALLERS.len() {
            let (mine, others) = (
                world.certificate(CALLERS[own]),
                world.certificate(CALLERS[(own + 1) % CALLERS.len()]),
            );
            for (what, identity, row) in [
                ("no certificate", None, WITHOUT_CERTIFICATE),
                ("its certificate", Some(&mine), OWN_CERTIFICATE),
                ("another's certificate", Some(&others), OTHERS_CERTIFICATE),
                (
                    "nobody's certificate",
                    Some(&nobodys),
                    CERTIFICATE_OF_NOBODY,
                ),
            ] {
                let channel = world.connect(identity).await;
                self.row(what, &channel, own, row).await;
            }
        }
    }

    /// Checks that all was right, and that nobody who isn't known could tell one refusal from another.
    fn is_right(&self) {
        assert!(
            self.wrong.is_empty(),
            "{} of {}:\n{}",
            self.wrong.len(),
            self.calls,
            self.wrong.join("\n")
        );
        assert_eq!(self.told_unknown.len(), 1, "{:#?}", self.told_unknown);
        assert_eq!(self.told_nothing.len(), 1, "{:#?}", self.told_nothing);
    }
}

#[test]
fn the_table_has_every_rpc_and_every_role() {
    let mut every: Vec<_> = Rpc::ALL.iter().map(|rpc| rpc.full_name()).collect();
    let mut listed = RPCS.map(|(rpc, _)| rpc);
    every.sort_unstable();
    listed.sort_unstable();
    assert_eq!(every, listed);
    let roles: Vec<_> = Role::ALL.iter().map(|role| role.name()).collect();
    assert_eq!(roles, CALLERS);
}

#[tokio::test]
async fn who_gets_through_with_which_certificate_and_bearer_tokens() {
    let world = World::start(&all()).await;
    let mut seen = Seen::default();
    seen.certificates(&world).await;
    seen.is_right();
}

/// A broker that takes two callers for one is noticed: at each RPC, and wherever certificate and token disagree.
#[tokio::test]
async fn a_policy_that_mixes_callers_up_is_noticed() {
    // The certificate of the one with the tokens of the next.
    let mixed_up = [0, 1, 2].map(|at| caller(CALLERS[at], &dns_name(CALLERS[(at + 1) % 3])));
    let world = World::start(&mixed_up.concat()).await;
    let mut seen = Seen::default();
    seen.certificates(&world).await;
    for (rpc, _) in RPCS {
        let at_rpc = format!(", {rpc}:");
        assert!(
            seen.wrong.iter().any(|wrong| wrong.contains(&at_rpc)),
            "{rpc}"
        );
    }
    for pair in [
        "its certificate, None",
        "its certificate, Own",
        "another's certificate, Own",
        "another's certificate, Others",
    ] {
        let found = seen.wrong.iter().filter(|wrong| wrong.contains(pair));
        assert!(found.count() > RPCS.len() / 3, "{pair}");
    }
}

/// Certificates that aren't good have no connection, whatever token is shown beside them, also where certificates are optional.
#[tokio::test]
async fn no_token_helps_beside_a_certificate_that_is_not_good() {
    const HOUR: Duration = Duration::from_secs(3600);
    let world = World::start(&all()).await;
    let (now, clients) = (SystemTime::now(), &world.broker.clients);
    let stranger = Authority::new("client ca");
    for (rpc, may) in RPCS {
        let own = may.iter().position(|may| *may).unwrap();
        let (own, other) = (CALLERS[own], CALLERS[(own + 1) % CALLERS.len()]);
        let named = || Wanted::nobody().dns_name(&dns_name(own));
        for (what, identity) in [
            ("of another authority", stranger.sign(&named())),
            (
                "expired",
                clients.sign(&named().valid(now - 2 * HOUR, now - HOUR)),
            ),
            (
                "not yet valid",
                clients.sign(&named().valid(now + HOUR, now + 2 * HOUR)),
            ),
        ] {
            let config = world.broker.config(Some(&identity));
            for bearers in Bearers::ALL {
                let address = world.broker.process.address();
                let answer = match channel_to(address, config.clone()).await {
                    Ok(channel) => bearers.call(&channel, rpc, own, other).await,
                    Err(error) => Answer::NoConnection(error.to_string()),
                };
                assert!(
                    matches!(answer, Answer::NoConnection(_)),
                    "{what}, {bearers:?}, {rpc}: {answer:?}"
                );
            }
        }
        // The control: the same call with a good one.
        let channel = world.connect(Some(&world.certificate(own))).await;
        let answer = Bearers::Own.call(&channel, rpc, own, other).await;
        assert_eq!(answer, Answer::Served, "{rpc}");
    }
}

/// A policy that names a certificate no more counts at once: on connections that were open, and on new ones. It takes nothing
/// from the caller's tokens, nor from other callers.
#[tokio::test]
async fn a_certificate_is_revoked_by_another_policy() {
    let world = World::start(&all()).await;
    let mut seen = Seen::default();
    for own in 0..CALLERS.len() {
        let name = CALLERS[own];
        let (mine, others) = (
            world.certificate(name),
            world.certificate(CALLERS[(own + 1) % CALLERS.len()]),
        );
        let open = world.connect(Some(&mine)).await;
        let before = "its certificate, before";
        seen.row(before, &open, own, OWN_CERTIFICATE).await;

        let renamed = all().replace(&dns_name(name), "successor.test");
        world.reload(&renamed).await;
        for (what, channel, row) in [
            ("revoked, open", open, CERTIFICATE_OF_NOBODY),
            (
                "revoked, new",
                world.connect(Some(&mine)).await,
                CERTIFICATE_OF_NOBODY,
            ),
            (
                "no certificate, revoked",
                world.connect(None).await,
                WITHOUT_CERTIFICATE,
            ),
            (
                "another's certificate, revoked",
                world.connect(Some(&others)).await,
                OTHERS_CERTIFICATE,
            ),
        ] {
            seen.row(what, &channel, own, row).await;
        }

        let without = all().replace(&caller(name, &dns_name(name)), "");
        world.reload(&without).await;
        for (what, identity, row) in [
            ("removed", Some(&mine), CERTIFICATE_OF_NOBODY),
            ("no certificate, removed", None, OTHERS_BEARER_ALONE),
        ] {
            let channel = world.connect(identity).await;
            seen.row(what, &channel, own, row).await;
        }
        world.reload(&all()).await;
    }
    seen.is_right();
}
