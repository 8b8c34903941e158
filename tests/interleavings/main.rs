//! Goes through all interleavings of two or three redeemers, a provider, a store with a replica, callers and faults, on the rules that
//! the broker runs (`src/refresh/rules/`).
//!
//! A redeemer is a broker, or an auth server that redeems itself: the rules are the same. Each of their steps is one atomic
//! step of the store, whose answer may be lost and which may arrive late. [`World`] says what can happen, [`Claim`] what must
//! never be. Versions of the protocol that are broken on purpose show that the claims notice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test reports on stdout")]

mod provider;
mod redeemer;
mod world;

use stateright::{Checker, HasDiscoveries, Model, Property};
use token_broker::refresh::provider::Rotation;

use crate::{
    redeemer::Broken,
    world::{Claim, Event, Fault, UNIT, World},
};

/// Whether up to two faults happen, and not only one. That takes minutes, and an optimised build.
fn is_long() -> bool {
    std::env::var_os("INTERLEAVINGS").is_some_and(|form| form == "full")
}

/// What is explored.
#[derive(Clone, Debug)]
struct Setup {
    rotation: Rotation,
    /// Whether writes are confirmed by the replica before anything follows from them.
    replicated: bool,
    /// The faults that may happen, and how many of them in all.
    faults: &'static [Fault],
    at_most: u8,
    /// How many redeemers there are.
    redeemers: usize,
    /// How many attempts are made at most.
    attempts: u8,
    broken: Option<Broken>,
}

impl Setup {
    fn new(rotation: Rotation, faults: &'static [Fault]) -> Self {
        let replicated = faults.contains(&Fault::Failover);
        Self {
            rotation,
            replicated,
            faults,
            at_most: if is_long() { 2 } else { 1 },
            redeemers: 2,
            // A replica, and many sorts of faults, make many more states.
            attempts: if !replicated && (is_long() || faults.len() <= 4) {
                3
            } else {
                2
            },
            broken: None,
        }
    }

    /// Explores everything, or goes on until one of these claims doesn't hold. Returns the claims that don't hold, each with a
    /// way there.
    fn explore(self, due: &[Claim]) -> Vec<(Claim, String)> {
        let enough = match self.broken {
            Some(_) => HasDiscoveries::AnyOf(due.iter().map(|claim| claim.name()).collect()),
            None => HasDiscoveries::All,
        };
        // Two failovers are far from the start.
        let is_far = self.broken == Some(Broken::NoLineage);
        let is_large = is_long() && self.broken.is_none();
        let checker = self.checker().threads(2).finish_when(enough);
        if is_large || is_far {
            // It finds longer ways, and needs a fraction of the memory.
            return Self::found(&checker.spawn_dfs().join());
        }
        Self::found(&checker.spawn_bfs().join())
    }

    fn found(checker: &impl Checker<Self>) -> Vec<(Claim, String)> {
        assert!(checker.is_done());
        println!("{} states", checker.unique_state_count());
        let broken = Claim::ALL.into_iter().filter_map(|claim| {
            let path = checker.discovery(claim.name())?;
            let steps: Vec<_> = path
                .into_actions()
                .iter()
                .map(|e| format!("{e:?}"))
                .collect();
            Some((claim, steps.join("\n  ")))
        });
        broken.collect()
    }

    fn holds(self) {
        if let Some((claim, way)) = self.explore(&[]).first() {
            panic!("{claim:?} doesn't hold:\n  {way}");
        }
    }

    /// The control: with this fault in the protocol, the claim doesn't hold.
    fn notices(mut self, broken: Broken, claims: &[Claim]) {
        self.broken = Some(broken);
        self.at_most = 2;
        let found = self.explore(claims);
        let found: Vec<_> = found.into_iter().map(|(claim, _)| claim).collect();
        assert!(
            claims.iter().any(|claim| found.contains(claim)),
            "{broken:?} breaks only {found:?}"
        );
    }
}

impl Model for Setup {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        world.events(self, events);
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        world.after(self, event)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds<const CLAIM: usize>(setup: &Setup, world: &World) -> bool {
            world.holds(setup, Claim::ALL[CLAIM])
        }
        vec![
            Property::always(Claim::ALL[0].name(), holds::<0>),
            Property::always(Claim::ALL[1].name(), holds::<1>),
            Property::always(Claim::ALL[2].name(), holds::<2>),
            Property::always(Claim::ALL[3].name(), holds::<3>),
            Property::always(Claim::ALL[4].name(), holds::<4>),
        ]
    }
}

const DEATH: &[Fault] = &[Fault::Crash, Fault::NoAnswer];
const STORE: &[Fault] = &[Fault::AnswerLost, Fault::Late];
const CALLERS: &[Fault] = &[
    Fault::StoreAgain,
    Fault::LogIn,
    Fault::Delete,
    Fault::Rewrite,
];
const PROVIDER: &[Fault] = &[Fault::Passing, Fault::NotSent, Fault::BadHour];

#[test]
fn strict_when_processes_die_or_stall() {
    Setup::new(
        Rotation::Strict,
        &[Fault::Crash, Fault::NoAnswer, Fault::Stall],
    )
    .holds();
}

#[test]
fn strict_when_the_store_loses_answers_and_callers_write() {
    let faults = &[
        Fault::AnswerLost,
        Fault::Late,
        Fault::StoreAgain,
        Fault::LogIn,
        Fault::Delete,
        Fault::Rewrite,
    ];
    Setup::new(Rotation::Strict, faults).holds();
}

#[test]
fn strict_when_the_provider_does_not_serve() {
    Setup::new(Rotation::Strict, PROVIDER).holds();
}

#[test]
fn strict_when_another_server_takes_over() {
    // The replica makes many more states. With one fault, the others show nothing here that they don't show without it.
    let faults: &[Fault] = if is_long() {
        &[Fault::Failover, Fault::Delete, Fault::LogIn, Fault::Rewrite]
    } else {
        &[Fault::Failover]
    };
    Setup::new(Rotation::Strict, faults).holds();
}

#[test]
#[ignore = "it takes two faults: INTERLEAVINGS=full"]
fn strict_when_another_server_takes_over_and_processes_die() {
    let faults = &[Fault::Failover, Fault::Crash, Fault::Stall];
    Setup::new(Rotation::Strict, faults).holds();
}

#[test]
#[ignore = "half a minute: --include-ignored"]
fn three_redeemers_when_processes_die_or_stall() {
    let faults = &[Fault::Crash, Fault::NoAnswer, Fault::Stall];
    let mut setup = Setup::new(Rotation::Strict, faults);
    setup.redeemers = 3;
    setup.holds();
}

#[test]
#[ignore = "half a minute: --include-ignored"]
fn three_redeemers_when_the_store_loses_answers() {
    let mut setup = Setup::new(Rotation::Strict, STORE);
    setup.redeemers = 3;
    setup.holds();
}

#[test]
#[ignore = "it takes minutes: --include-ignored"]
fn three_redeemers_when_another_server_takes_over() {
    let mut setup = Setup::new(Rotation::Strict, &[Fault::Failover]);
    setup.redeemers = 3;
    setup.attempts = 3;
    setup.holds();
}

#[test]
fn grace_when_processes_die() {
    Setup::new(Rotation::Grace(4 * UNIT), DEATH).holds();
}

#[test]
fn no_rotation_when_processes_die_and_callers_write() {
    Setup::new(Rotation::None, DEATH).holds();
    Setup::new(Rotation::None, CALLERS).holds();
}

#[test]
fn redeeming_without_a_record_is_caught() {
    Setup::new(Rotation::Strict, &[]).notices(Broken::NoRecord, &[Claim::OneRedemption]);
}

#[test]
fn sending_without_a_look_at_the_lease_is_caught() {
    Setup::new(Rotation::Strict, &[Fault::Stall]).notices(Broken::NoLook, &[Claim::OneRedemption]);
}

#[test]
fn a_result_that_belongs_to_a_version_is_caught() {
    Setup::new(Rotation::Strict, CALLERS).notices(Broken::FencedByVersion, &[Claim::NoLostSession]);
}

#[test]
fn a_record_that_forgets_earlier_tokens_is_caught() {
    Setup::new(
        Rotation::Strict,
        &[Fault::StoreAgain, Fault::LogIn, Fault::Rewrite],
    )
    .notices(
        Broken::Forgets,
        &[Claim::OneRedemption, Claim::NoLostSession],
    );
}

#[test]
fn a_lease_that_is_not_renewed_until_the_result_is_written_is_caught() {
    Setup::new(Rotation::Strict, STORE).notices(
        Broken::NoRenewal,
        &[Claim::OneRedemption, Claim::NoLostSession],
    );
}

#[test]
fn silence_that_counts_across_servers_is_caught() {
    Setup::new(Rotation::Strict, &[Fault::Failover])
        .notices(Broken::NoLineage, &[Claim::OneRedemption]);
}

#[test]
fn a_result_that_is_given_up_too_early_is_caught() {
    let faults = &[Fault::Failover, Fault::Delete, Fault::LogIn];
    Setup::new(Rotation::Strict, faults)
        .notices(Broken::GivesUpUnconfirmed, &[Claim::NoLostSession]);
}
