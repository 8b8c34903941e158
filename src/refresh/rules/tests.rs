use std::time::Duration;

use super::*;
use crate::types::{
    AttemptId, EntryState, Lineage, ReauthReason, Record, StoreTime, TokenHash, Version,
};

const TIMEOUT: Duration = Duration::from_secs(10);

fn policy(rotation: Rotation) -> Policy {
    Policy {
        rotation,
        never_replay: false,
        request_timeout: TIMEOUT,
        rejected_interval: Duration::from_secs(60),
    }
}

fn id(n: u128) -> AttemptId {
    AttemptId::from_number(n)
}

fn token(n: u8) -> TokenHash {
    TokenHash::from_bytes([n; 32])
}

fn version(n: u64) -> Version {
    Version::from_number(n).unwrap()
}

/// A record, a token, a policy and a clock.
struct World {
    record: Record,
    policy: Policy,
    now: StoreTime,
    lineage: Option<Lineage>,
    may_resend: bool,
}

impl World {
    fn new(rotation: Rotation) -> Self {
        Self {
            record: Record::default(),
            policy: policy(rotation),
            now: StoreTime::from_millis(1_000_000),
            lineage: Some(Lineage::new(1)),
            may_resend: true,
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.plus(span);
    }

    fn take(&mut self, attempt: u128) -> Take {
        let taking = Taking {
            attempt: id(attempt),
            policy: &self.policy,
            may_resend: self.may_resend,
            is_rejected: false,
            now: self.now,
            lineage: self.lineage,
        };
        take(&mut self.record, token(1), &taking)
    }

    /// A refusal as most are: the row holds the token, and an operator may take the verdict back.
    fn refusal(&self, attempt: u128) -> Refusal {
        Refusal {
            attempt: id(attempt),
            is_held: true,
            for_good: false,
            now: self.now,
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Option<ReauthReason> {
        refused(&mut self.record, token(1), refusal)
    }

    /// Takes the token for another attempt as early as possible. Returns what came of it, and after how long.
    fn take_over(&mut self, attempt: u128) -> (Take, Duration) {
        let begun = self.now;
        loop {
            match self.take(attempt) {
                Take::Wait(until) | Take::Asked(until) => {
                    assert!(until > self.now, "waits for nothing");
                    self.now = until;
                }
                outcome => return (outcome, self.now.since(begun)),
            }
        }
    }

    fn state(&self) -> EntryState {
        self.record.entry(token(1)).unwrap().state
    }

    fn answered(&self, attempt: u128, successor: u8) -> Answered {
        Answered {
            attempt: id(attempt),
            token: token(1),
            successor: token(successor),
            taken_at: version(1),
            version: version(100 + u64::try_from(attempt).unwrap()),
        }
    }
}

fn held(token_number: u8, version_number: u64) -> Option<Held> {
    Some(Held {
        token: Some(token(token_number)),
        version: version(version_number),
    })
}

#[test]
fn one_attempt_has_the_token_and_keeps_it() {
    let mut world = World::new(Rotation::Strict);
    assert_eq!(world.take(1), Take::Taken);
    let until = world.now.plus(LEASE);
    assert_eq!(world.take(2), Take::Wait(until));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.take(1), Take::Taken);
    let until = world.now.plus(LEASE);
    assert_eq!(world.take(2), Take::Wait(until));
}

#[test]
fn strict_a_token_of_a_dead_holder_is_sent_once_more_and_never_a_third_time() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    // The lease, the request's timeout, and a lease in which a holder that lives can show itself.
    assert_eq!(world.take_over(2), (Take::Taken, LEASE + TIMEOUT + LEASE));
    let doubt = Take::Verdict(ReauthReason::InDoubt);
    assert_eq!(world.take_over(3), (doubt, LEASE + TIMEOUT + LEASE));
    assert_eq!(world.state(), EntryState::InDoubt);
}

#[test]
fn a_holder_that_shows_itself_keeps_the_token() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    world.pass(LEASE + TIMEOUT);
    assert!(matches!(world.take(2), Take::Asked(_)));
    assert!(renew(&mut world.record, token(1), id(1), world.now));
    let until = world.now.plus(LEASE);
    assert_eq!(world.take(2), Take::Wait(until));
}

/// What the holder wrote may be lost when another server takes over.
#[test]
fn the_silence_of_a_holder_counts_only_within_one_lineage() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    world.pass(LEASE + TIMEOUT);
    assert!(matches!(world.take(2), Take::Asked(_)));
    for lineage in 2..5 {
        world.pass(LEASE);
        world.lineage = Some(Lineage::new(lineage));
        let until = world.now.plus(LEASE);
        assert_eq!(world.take(2), Take::Asked(until));
        assert_eq!(world.take(2), Take::Wait(until), "it is noted");
    }
    world.pass(LEASE);
    assert_eq!(world.take(2), Take::Taken);
}

/// An older broker notes no lineage. A store may not tell it.
#[test]
fn silence_in_a_lineage_that_is_not_known_does_not_count() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    world.pass(LEASE + TIMEOUT);
    world.lineage = None;
    for _ in 0..3 {
        let until = world.now.plus(LEASE);
        assert_eq!(world.take(2), Take::Asked(until));
        world.now = until;
    }
    world.lineage = Some(Lineage::new(1));
    assert_eq!(world.take_over(2), (Take::Taken, LEASE));
}

#[test]
fn without_rotation_or_a_holder_that_lives_no_lineage_is_needed() {
    let mut world = World::new(Rotation::None);
    world.lineage = None;
    world.take(1);
    assert_eq!(world.take_over(2), (Take::Taken, LEASE));

    let mut world = World::new(Rotation::Strict);
    world.lineage = None;
    world.take(1);
    no_answer(
        &mut world.record,
        token(1),
        id(1),
        world.now,
        Duration::ZERO,
    );
    assert_eq!(world.take_over(2), (Take::Taken, TIMEOUT));
}

#[test]
fn a_holder_whose_token_was_taken_over_does_not_renew() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    world.take_over(2);
    assert!(!renew(&mut world.record, token(1), id(1), world.now));
    assert!(renew(&mut world.record, token(1), id(2), world.now));
}

#[test]
fn never_replay_means_doubt_at_once() {
    let mut world = World::new(Rotation::Strict);
    world.policy.never_replay = true;
    world.take(1);
    let (outcome, _) = world.take_over(2);
    assert_eq!(outcome, Take::Verdict(ReauthReason::InDoubt));
}

#[test]
fn a_second_sending_waits_while_the_provider_is_down() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    no_answer(
        &mut world.record,
        token(1),
        id(1),
        world.now,
        Duration::ZERO,
    );
    world.pass(TIMEOUT);
    world.may_resend = false;
    assert!(matches!(world.take(2), Take::Wait(_)));
    world.may_resend = true;
    assert_eq!(world.take(2), Take::Taken);
}

#[test]
fn without_rotation_a_lease_is_all_to_wait_for() {
    let mut world = World::new(Rotation::None);
    for attempt in 1..10 {
        let (outcome, waited) = world.take_over(attempt);
        assert_eq!(outcome, Take::Taken);
        assert!(waited <= LEASE);
    }
}

#[test]
fn who_gets_no_answer_again_and_again_pauses() {
    let mut world = World::new(Rotation::None);
    world.take(1);
    let pause = Duration::from_secs(7);
    no_answer(&mut world.record, token(1), id(1), world.now, pause);
    assert_eq!(world.take(2), Take::Taken);
    no_answer(&mut world.record, token(1), id(2), world.now, pause);
    assert_eq!(world.take(3), Take::Wait(world.now.plus(pause)));
}

#[test]
fn within_the_grace_a_token_is_sent_again_at_once_by_who_has_no_answer() {
    let mut world = World::new(Rotation::Grace(Duration::from_secs(30)));
    world.take(1);
    for attempt in 1..5 {
        no_answer(
            &mut world.record,
            token(1),
            id(attempt),
            world.now,
            Duration::ZERO,
        );
        assert_eq!(world.take(attempt + 1), Take::Taken);
    }
    // All of these count when the grace is over.
    no_answer(
        &mut world.record,
        token(1),
        id(5),
        world.now,
        Duration::ZERO,
    );
    world.pass(Duration::from_secs(30));
    assert_eq!(world.take(6), Take::Verdict(ReauthReason::InDoubt));
}

#[test]
fn what_was_surely_not_redeemed_does_not_count() {
    let mut world = World::new(Rotation::Strict);
    for attempt in 1..40 {
        assert_eq!(world.take(attempt), Take::Taken);
        let not_before = world.now.plus(Duration::from_secs(1));
        assert!(!passing(
            &mut world.record,
            token(1),
            id(attempt),
            not_before
        ));
        assert_eq!(world.take(attempt + 1), Take::Wait(not_before));
        world.now = not_before;
    }
    let entry = world.record.entry(token(1)).unwrap();
    assert_eq!((entry.failures, entry.unresolved()), (39, 0));
    assert!(entry.attempts.len() < 20, "{}", entry.attempts.len());
}

#[test]
fn an_attempt_that_was_withdrawn_does_not_come_back() {
    let mut world = World::new(Rotation::Strict);
    // The taking is still on its way when it is withdrawn.
    withdraw(&mut world.record, token(1), id(1));
    assert_eq!(world.take(1), Take::Ended);
    assert_eq!(world.take(2), Take::Taken);
}

#[test]
fn withdrawing_lifts_the_doubt_of_that_attempt_alone() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    world.take_over(2);
    world.take_over(3);
    assert_eq!(world.state(), EntryState::InDoubt);
    assert!(!withdraw(&mut world.record, token(1), id(1)));
    assert_eq!(world.state(), EntryState::InDoubt);
    assert!(withdraw(&mut world.record, token(1), id(2)));
    assert_eq!(world.take(4), Take::Taken);
}

#[test]
fn refused_is_a_verdict_unless_another_attempt_may_be_the_reason() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    let verdict = world.refuse(world.refusal(1));
    assert_eq!(verdict, Some(ReauthReason::Refused));
    assert_eq!(world.take(2), Take::Verdict(ReauthReason::Refused));
    let later = world.now.plus(Duration::from_millis(1));
    assert!(!clear_refused(&mut world.record, token(1), later));
    assert!(clear_refused(&mut world.record, token(1), world.now));
    assert_eq!(world.take(3), Take::Taken);

    let mut world = World::new(Rotation::Strict);
    world.take(1);
    world.take_over(2);
    let verdict = world.refuse(world.refusal(2));
    assert_eq!(verdict, Some(ReauthReason::InDoubt));
    assert!(!clear_refused(
        &mut world.record,
        token(1),
        StoreTime::default()
    ));
    // The answer of the first attempt ends the doubt.
    let late = world.answered(1, 2);
    assert_eq!(
        place(&world.record, held(1, 1), &late),
        Placing::Write(version(1))
    );
    written(&mut world.record, &late);
    assert!(matches!(world.state(), EntryState::Redeemed(Some(_))));
}

#[test]
fn an_answer_about_another_user_is_never_taken_back() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    world.refuse(Refusal {
        for_good: true,
        ..world.refusal(1)
    });
    assert!(!clear_refused(
        &mut world.record,
        token(1),
        StoreTime::default()
    ));
}

#[test]
fn a_result_goes_to_whatever_row_holds_the_redeemed_token() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    let answered = world.answered(1, 2);
    let place_on = |row| place(&world.record, row, &answered);
    assert_eq!(place_on(held(1, 1)), Placing::Write(version(1)));
    assert_eq!(place_on(held(1, 7)), Placing::Write(version(7)));
    assert_eq!(place_on(held(9, 7)), Placing::GiveUp);
    assert_eq!(place_on(None), Placing::GiveUp);
    assert_eq!(place_on(held(2, 101)), Placing::Confirm);
}

#[test]
fn an_answer_without_a_refresh_token_goes_only_to_the_row_that_was_read() {
    let mut world = World::new(Rotation::None);
    world.take(1);
    let answered = world.answered(1, 1);
    let place_on = |row| place(&world.record, row, &answered);
    assert_eq!(place_on(held(1, 1)), Placing::Write(version(1)));
    assert_eq!(place_on(held(1, 7)), Placing::Withdraw);
    assert_eq!(place_on(held(1, 101)), Placing::Confirm);
    written(&mut world.record, &answered);
    assert_eq!(world.take(2), Take::Taken);
}

#[test]
fn of_two_results_that_of_the_later_attempt_stays() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    world.take_over(2);
    let (first, second) = (world.answered(1, 2), world.answered(2, 3));
    written(&mut world.record, &first);
    let row = held(2, 101);
    assert_eq!(
        place(&world.record, row, &second),
        Placing::Write(version(101))
    );
    // Somebody has stored the first result again: that is newer than both.
    assert_eq!(place(&world.record, held(2, 7), &second), Placing::GiveUp);
    written(&mut world.record, &second);
    assert_eq!(place(&world.record, held(3, 102), &first), Placing::GiveUp);
}

#[test]
fn a_redeemed_token_that_comes_back_is_in_doubt() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    let answered = world.answered(1, 2);
    written(&mut world.record, &answered);
    assert_eq!(world.take(2), Take::Verdict(ReauthReason::InDoubt));
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    given_up(&mut world.record, token(1), id(1));
    assert_eq!(world.take(2), Take::Verdict(ReauthReason::InDoubt));
}

#[test]
fn refreshing_because_of_a_refusal_is_throttled_and_the_new_token_inherits_that() {
    let mut world = World::new(Rotation::Strict);
    let take_rejected = |world: &mut World, number, attempt| {
        let taking = Taking {
            attempt: id(attempt),
            policy: &world.policy,
            may_resend: true,
            is_rejected: true,
            now: world.now,
            lineage: world.lineage,
        };
        take(&mut world.record, token(number), &taking)
    };
    assert_eq!(take_rejected(&mut world, 1, 1), Take::Taken);
    let answered = world.answered(1, 2);
    written(&mut world.record, &answered);
    assert_eq!(take_rejected(&mut world, 2, 2), Take::Throttled);
    world.pass(Duration::from_secs(60));
    assert_eq!(take_rejected(&mut world, 2, 3), Take::Taken);
}

/// An attempt is one sending. Who may have sent under an id gets no lease under it again.
#[test]
fn an_id_that_may_have_sent_gets_no_other_lease() {
    let mut world = World::new(Rotation::None);
    world.take(1);
    no_answer(
        &mut world.record,
        token(1),
        id(1),
        world.now,
        Duration::ZERO,
    );
    assert_eq!(world.take(1), Take::Ended);
    assert_eq!(world.take(2), Take::Taken);

    let mut world = World::new(Rotation::Strict);
    world.take(1);
    world.take_over(2);
    assert_eq!(world.take(1), Take::Ended);
}

/// Else the token could be stored and sent again.
#[test]
fn a_token_that_was_answered_for_another_user_is_refused_also_if_no_row_holds_it() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    let verdict = world.refuse(Refusal {
        is_held: false,
        for_good: true,
        ..world.refusal(1)
    });
    assert_eq!(verdict, None);
    assert_eq!(world.state(), EntryState::Refused { for_good: true });
}

#[test]
fn an_answer_that_keeps_the_token_leaves_it_as_good_as_before() {
    let mut world = World::new(Rotation::None);
    world.take(1);
    let kept = world.answered(1, 1);
    for row in [None, held(7, 2)] {
        assert_eq!(place(&world.record, row, &kept), Placing::Withdraw);
    }
}

#[test]
fn a_token_that_the_provider_gives_out_again_is_as_good_as_new() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    let answered = world.answered(1, 2);
    written(&mut world.record, &answered);
    let back = Answered {
        token: token(2),
        successor: token(1),
        ..world.answered(2, 1)
    };
    written(&mut world.record, &back);
    assert_eq!(world.take(3), Take::Taken);
    // The other one is redeemed, and stays known before older ones do.
    assert!(world.record.is_redeemed(token(2)));
    let answered = world.answered(3, 3);
    for n in 10..17 {
        world.record.entry_mut(token(n)).state = EntryState::Redeemed(None);
    }
    world.record.move_to_end(token(1));
    written(&mut world.record, &answered);
    assert!(world.record.is_redeemed(token(1)));
}

#[test]
fn an_entry_does_not_grow_without_end() {
    let mut world = World::new(Rotation::None);
    for attempt in 1..100 {
        assert_eq!(world.take_over(attempt).0, Take::Taken);
        if attempt % 2 == 0 {
            no_answer(&mut world.record, token(1), id(attempt), world.now, LEASE);
        }
    }
    let entry = world.record.entry(token(1)).unwrap();
    assert!(entry.attempts.len() <= REMEMBERED + 1);
    assert_eq!(entry.holder, Some(id(99)));
    // Without the holder, it would still be in doubt.
    assert!(entry.unresolved() > 2);
}

/// Somebody has stored the new token, or an earlier attempt got the same one.
#[test]
fn the_new_token_may_be_in_the_row_before_the_result() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    world.take_over(2);
    let (first, second) = (world.answered(1, 2), world.answered(2, 2));
    assert_eq!(place(&world.record, held(2, 7), &first), Placing::Note);
    let mut noted = world.record.clone();
    given_up(&mut noted, token(1), id(1));
    assert!(noted.is_redeemed(token(1)));
    // The row that was stored is newer than any result.
    assert_eq!(place(&noted, held(2, 7), &second), Placing::Note);
    written(&mut world.record, &first);
    let by_the_first = held(2, 101);
    assert_eq!(place(&world.record, by_the_first, &first), Placing::Confirm);
    assert_eq!(
        place(&world.record, by_the_first, &second),
        Placing::Write(version(101))
    );
}

#[test]
fn the_token_that_was_redeemed_last_is_forgotten_last() {
    let mut world = World::new(Rotation::Strict);
    world.take(1);
    for n in 10..18 {
        world.record.entry_mut(token(n)).state = EntryState::Redeemed(None);
    }
    let answered = world.answered(1, 2);
    written(&mut world.record, &answered);
    assert!(world.record.is_redeemed(token(1)));
}
