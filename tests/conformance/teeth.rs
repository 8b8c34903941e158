//! Tests that the suite notices broken stores: a store with a known flaw fails the case for that
//! flaw, and the message says so. `main.rs` shows that the same store without a flaw passes all
//! cases.

use std::{panic, sync::Once, thread};

use crate::{
    cases::{
        authorizations::*, carry_races::*, conditions::*, delete::*, identities::*, ids::*,
        invariants::*, lifetime::*, lost_answer_races::*, races::*, read::*, records::*, store::*,
        users::*,
    },
    naive::{Flaw, NaiveBackend},
    run::{QUIET, panic_message},
};

/// How many tries a case has to notice a flaw. Some flaws show only if tasks interleave in a
/// certain way. [`Flaw::ReindexesInTwoSteps`] is the least visible, and shows in one of four or
/// five tries.
const CHANCES: usize = 100;

macro_rules! teeth {
    ($($test:ident: $flaw:ident, $case:ident;)*) => {$(
        #[test]
        fn $test() {
            bites(stringify!($case), Flaw::$flaw, $case);
        }
    )*};
}

teeth! {
    delete_in_two_steps: DeletesInTwoSteps, i2_delete_racing_store_leaves_a_row_whole_or_gone;
    unindexing_before_deleting: UnindexesBeforeDeleting, i1_a_row_is_in_its_indexes_until_it_is_gone;
    store_in_two_steps: StoresInTwoSteps, i1_a_row_is_in_its_indexes_when_it_can_be_read;
    reindexing_in_two_steps: ReindexesInTwoSteps, i3_delete_user_racing_stores_leaves_no_older_row;
    deleting_unseen: DeletesUnseen, i3_delete_user_spares_rows_that_change_hands_meanwhile;
    late_version: ChecksBeforeWriting, compare_and_set_loses_no_update;
    late_absence: ChecksBeforeWriting, must_not_exist_has_one_winner;
    late_limit: ChecksBeforeWriting, the_provider_limit_holds_in_a_rush;
    late_refresh: ChecksBeforeWriting, i4_a_refresh_racing_a_delete_or_a_login_loses;

    lost_member_of_a_session: ForgetsTheSessionIndex, i1_a_row_is_found_by_session_and_by_user;
    lost_member_of_a_user: ForgetsTheUserIndex, i1_a_row_is_found_by_session_and_by_user;
    member_of_the_old_user: TrustsTheOldUsersIndex, i1_a_row_moves_with_its_user;
    row_of_the_new_user_deleted: TrustsTheOldUsersIndex, delete_user_spares_a_row_that_changed_hands;
    dead_members: NeverPrunes, i5_the_index_forgets_rows_that_died;
    shortened_index: ShortensTheIndex, an_index_outlives_every_row_in_it;

    glued_ids: GluesIds, i6_ids_that_look_alike_never_meet;
    glued_random_ids: GluesIds, i6_different_pairs_never_share_a_row;
    folded_users: FoldsCase, i6_ids_that_look_alike_never_meet;

    one_page_of_a_user: DeletesOnePage, i3_delete_user_leaves_no_row_in_any_session;
    one_row_of_a_session_left: LeavesOneOfASession, delete_all_takes_the_session;
    any_version_deleted: DeletesAnyVersion, delete_with_a_version;

    counted_versions: CountsVersions, a_version_from_before_a_delete_fails;
    counted_versions_twice: CountsVersions, no_version_comes_twice;
    write_onto_nothing: WritesOntoNothing, i4_a_refresh_never_undoes_what_came_after_it;
    changed_source: IgnoresTheSource, carry_sees_a_source_that_changed_between;
    written_twice: WritesTwice, i7_no_write_is_applied_twice;
    deleted_twice: DeletesTwice, i7_no_write_is_applied_twice;
    changed_and_refused: ChangesBeforeRefusing, a_refused_write_changes_nothing;

    row_changed_unseen: ChangesAnyRow, a_change_of_what_has_changed_is_refused;
    row_changed_back: ChangesAnyRow, i4_changes_racing_everything_undo_nothing;
    record_changed_unseen: ChangesAnyRecord, a_change_of_what_has_changed_is_refused;
    record_changed_later: ChangesInTwoSteps, one_of_many_changes_is_done;
    record_gone_with_its_row: ForgetsTheRecord, a_record_outlives_its_row;
    redeemed_token: StoresRedeemedTokens, a_redeemed_token_is_not_stored;
    half_a_change: ChangesOnlyTheRecord, a_change_changes_the_record_and_its_row;
    untold_end: KeepsEndsToItself, an_end_is_told_to_every_broker;

    two_users: ResolvesInTwoSteps, a_rush_of_logins_makes_one_user;
    one_user_of_two_providers: ForgetsTheProvider, one_subject_at_two_providers_is_two_users;
    stolen_identity: LinksAnyIdentity, an_identity_leads_to_one_user;
    kept_identities: KeepsIdentities, a_deleted_user_has_no_identities;
    kept_user: KeepsIdentities, a_deletion_races_with_everything;
    two_winners: TakesInTwoSteps, of_many_consumers_one_gets_it;
    nothing_taken: TakesNothing, an_authorization_is_consumed_once;
    nothing_burnt: TakesNothing, a_misrouted_callback_burns_it;
    state_given_twice: CreatesOverAnother, a_state_is_taken_once;

    merged_rows: MergesRows, store_replaces_the_row_whole;
    old_life: KeepsTheOldLife, a_new_row_has_a_new_life;
    hidden_expired_rows: HidesExpiredRows, expired_rows_are_returned;
    delete_on_read: DeletesOnRead, i9_reads_change_nothing;
    one_row_spoils_all: FailsForOneRow, i8_an_unreadable_row_spoils_no_other;
    cached_reads: ReadsFromACache, i7_a_write_is_readable_through_every_broker_at_once;
}

/// Checks that the case fails with the flaw. If the case is named after an invariant, its message
/// must name it.
fn bites<F>(name: &str, flaw: Flaw, case: impl Fn(NaiveBackend) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    silence_expected_panics();
    let messages = (0..CHANCES).map(|_| panic_message(NaiveBackend::with(flaw), &case));
    let Some(message) = messages.flatten().next() else {
        panic!("{name} doesn't notice a store that is wrong: {flaw:?}");
    };
    let (head, _) = name.split_once('_').unwrap();
    let invariant = head
        .strip_prefix('i')
        .filter(|number| number.parse::<u8>().is_ok());
    if let Some(number) = invariant {
        assert!(
            message.contains(&format!("I{number}")),
            "{name} says only: {message}"
        );
    }
}

fn silence_expected_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() != Some(QUIET) {
                loud(info);
            }
        }));
    });
}
