//! The list of all cases, and the macro that makes a test of each case for every backend.

/// `conformance!(name => start, ...)` declares a module of tests for each backend, which `start` starts. A backend
/// takes one line.
macro_rules! conformance {
    ($($name:ident => $start:expr),* $(,)?) => {$(
        mod $name {
            use super::*;

            every_case!($start);
        }
    )*};
}

macro_rules! every_case {
    ($start:expr) => {
        tests! { $start =>
            store {
                store_keeps_every_field,
                store_notes_the_time,
                store_makes_a_row_whole_again,
                store_replaces_the_row_whole,
                store_answers_the_version_that_is_read,
                no_version_comes_twice,
                a_version_from_before_a_delete_fails,
                a_version_is_good_for_one_write,
                must_not_exist_writes_only_where_nothing_is,
                a_refused_write_changes_nothing,
            }
            read {
                get_of_an_unknown_row_is_not_found,
                get_all_answers_the_session_and_nothing_else,
                get_and_get_all_agree,
                expired_rows_are_returned,
                a_binding_has_to_hold,
                a_binding_has_to_hold_for_all_rows,
            }
            delete {
                delete_says_how_many,
                delete_takes_one_row,
                delete_with_a_version,
                delete_all_takes_the_session,
            }
            users {
                delete_user_takes_the_rows_of_one_user,
                delete_user_of_nobody_is_no_error,
                delete_user_spares_a_row_that_changed_hands,
                latest_is_the_one_that_expires_last,
                latest_prefers_what_does_not_expire,
                latest_prefers_what_has_an_access_token,
                latest_of_no_row_is_not_found,
            }
            identities {
                the_first_login_makes_a_user,
                one_subject_at_two_providers_is_two_users,
                a_rush_of_logins_makes_one_user,
                an_identity_leads_to_one_user,
                a_user_has_a_limit_of_identities,
                an_identity_that_is_removed_leads_to_nobody,
                identities_that_look_alike_never_meet,
                a_deleted_user_has_no_identities,
                a_deletion_races_with_everything,
                a_login_whose_answer_is_lost_makes_one_user,
                a_repeated_login_brings_no_deleted_user_back,
                a_link_whose_answer_is_lost_undoes_nothing,
                a_removal_whose_answer_is_lost_undoes_nothing,
            }
            authorizations {
                an_authorization_is_consumed_once,
                of_many_consumers_one_gets_it,
                a_misrouted_callback_burns_it,
                a_state_is_taken_once,
                an_authorization_expires,
                a_flood_locks_nobody_else_out,
                what_is_out_of_reach_stays,
                a_payload_has_a_limit,
                a_consumer_whose_answer_is_lost_has_it,
                a_consumer_who_comes_between_gets_it_alone,
            }
            listing {
                listing_tells_all_but_the_tokens,
                pages_put_together_are_the_whole,
                a_page_has_a_size,
                a_listing_survives_changes_between_pages,
                a_forged_page_token_is_refused,
                a_page_token_names_no_session,
            }
            lifetime {
                a_row_that_died_is_gone_for_every_reader,
                a_row_lives_a_second_at_least,
                a_new_row_has_a_new_life,
                an_index_outlives_every_row_in_it,
                an_index_lives_longer_with_a_longer_row,
            }
            limits {
                a_token_has_a_limit,
                a_row_has_a_limit,
                a_session_has_a_limit,
                a_row_that_keeps_a_token_has_a_limit_too,
            }
            carry_forward {
                carry_keeps_the_token_of_the_replaced_row,
                carry_prefers_the_token_that_comes,
                nothing_is_carried_unasked,
                carry_keeps_the_end_of_the_token,
                carry_falls_back_to_the_latest_row,
                carry_never_crosses_users_or_subjects,
                carry_needs_a_user,
                carry_prefers_a_token_that_has_not_expired,
                carry_never_takes_a_token_of_no_use,
                carry_never_copies_a_rotating_token,
                carry_obeys_a_precondition,
            }
            origins {
                a_row_notes_where_its_tokens_come_from,
                carry_keeps_the_origin_of_the_token,
                carry_takes_no_token_from_elsewhere,
                a_row_lives_as_long_as_its_providers_tokens,
            }
            carry_races {
                carry_sees_a_login_that_came_between,
                carry_sees_a_delete_that_came_between,
                carry_sees_a_source_that_changed_between,
                carry_under_a_precondition_never_drops_a_token,
                carry_racing_logins_keeps_the_last_token,
                carry_gives_up_on_a_row_that_keeps_changing,
            }
            conditions {
                compare_and_set_loses_no_update,
                must_not_exist_has_one_winner,
                racing_writes_have_different_versions,
                the_provider_limit_holds_in_a_rush,
            }
            invariants {
                i1_a_row_is_found_by_session_and_by_user,
                i1_a_row_moves_with_its_user,
                i1_a_deleted_row_is_in_no_index,
                i3_delete_user_leaves_no_row_in_any_session,
                i4_a_refresh_never_undoes_what_came_after_it,
                i5_the_index_forgets_rows_that_died,
                i6_ids_that_look_alike_never_meet,
                i8_an_unreadable_row_spoils_no_other,
                i9_reads_change_nothing,
            }
            races {
                i1_a_row_is_in_its_indexes_when_it_can_be_read,
                i1_a_row_is_in_its_indexes_until_it_is_gone,
                i2_delete_racing_store_leaves_a_row_whole_or_gone,
                i3_delete_user_racing_stores_leaves_no_older_row,
                i3_delete_user_spares_rows_that_change_hands_meanwhile,
                i4_a_refresh_racing_a_delete_or_a_login_loses,
                i7_a_write_is_readable_through_every_broker_at_once,
            }
            records {
                a_record_comes_back_whole,
                the_clock_of_the_store_goes_on,
                a_change_changes_the_record_and_its_row,
                a_change_of_what_has_changed_is_refused,
                a_repeated_change_is_done_once,
                one_of_many_changes_is_done,
                a_record_outlives_its_row,
                a_redeemed_token_is_not_stored,
                an_unreadable_row_has_a_record,
                i4_a_change_needs_a_row,
                i4_changes_racing_everything_undo_nothing,
                i1_changes_racing_everything_leave_rows_whole,
                an_end_is_told_to_every_broker,
            }
            lost_answers {
                i7_a_store_that_was_done_undoes_nothing_that_came_after_it,
                i7_a_store_that_was_done_is_recognized,
                i7_a_store_that_was_not_done_is_repeated_only_on_a_version,
                i7_a_store_whose_source_changed_begins_anew,
                i7_a_delete_of_a_version_is_done_once,
                i7_a_delete_spares_what_was_stored_after_it,
                i7_a_write_is_done_once_however_often_it_is_sent,
            }
            lost_answer_races {
                i7_no_write_is_applied_twice,
            }
            ids {
                i6_different_pairs_never_share_a_row,
            }
            model {
                the_broker_does_what_its_model_does,
            }
        }
    };
}

macro_rules! tests {
    ($start:expr => $($module:ident { $($case:ident),* $(,)? })*) => {$($(
        #[test]
        fn $case() {
            run(|| Box::pin($start()), cases::$module::$case);
        }
    )*)*};
}
