//! What every engine must do, run on each of them.

pub(crate) mod fixture;
mod jobs;
mod leases;
mod lists;
mod model;
mod queue;
mod records;
mod restart;
mod rollup;
mod service;

use crate::{MemoryStore, SqliteStore};

/// Makes a test of each case for each engine.
macro_rules! conformance {
    ($($group:ident: $($case:ident),+;)+) => {
        mod memory {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$group::$case(&super::MemoryStore::new()).await;
                }
            )+)+
        }

        mod sqlite {
            $($(
                #[tokio::test]
                async fn $case() {
                    let folder = tempfile::tempdir().unwrap();
                    let path = folder.path().join("jobs.db");
                    let store = super::SqliteStore::open(&path).await.unwrap();
                    super::$group::$case(&store).await;
                }
            )+)+
        }
    };
}

conformance! {
    jobs:
        a_submission_sent_again_yields_the_first_job,
        the_same_key_of_another_owner_is_another_submission,
        an_uploading_job_has_no_tasks_until_its_source_is_here,
        cancelling_stops_all_and_refuses_the_late_report,
        ending_a_job_tells_why,
        a_job_that_has_ended_stays_as_it_is,
        reopening_keeps_what_is_done,
        reopening_before_anything_was_encoded_frees_the_build,
        planning_again_starts_a_generation,
        another_pass_keeps_what_it_can_and_refuses_the_last_ones_words,
        the_first_build_counts,
        a_claim_binds_the_job_to_its_build,
        a_result_counts_together_with_the_row_of_its_bytes,
        a_completed_job_lets_go_of_all_but_its_output,
        priority_moves_a_job_in_the_queue,
        deleting_takes_everything_but_the_blob_rows;
    rollup:
        a_job_lives_from_submission_to_output,
        stages_open_one_after_the_other,
        history_tells_it_in_order,
        a_task_given_up_fails_its_job_and_cancels_the_rest,
        a_cut_that_failed_leaves_the_job_running,
        events_do_not_reach_tasks_ahead_of_their_stage;
    leases:
        a_stale_epoch_is_refused,
        a_repeated_completion_is_told_apart_from_a_stale_one,
        an_expired_lease_is_found_and_swept,
        a_stalled_lease_is_due_too,
        failures_are_retried_after_a_pause_up_to_the_limit,
        a_task_that_takes_its_workers_with_it_is_quarantined,
        a_job_whose_chunks_take_their_workers_by_turns_ends_too,
        the_first_of_two_results_counts,
        workers_lost_on_a_job_are_counted_until_something_is_done,
        giving_back_costs_nothing,
        renewals_come_in_batches,
        an_empty_batch_is_nothing,
        grace_gives_every_lease_a_full_period,
        tasks_of_a_worker_are_found,
        one_of_many_claims_wins;
    queue:
        tasks_come_by_rank_then_weight,
        waiting_lifts_a_job_over_a_later_one,
        house_work_is_not_hidden_by_a_flood_of_chunks,
        an_encoder_or_build_that_nobody_has_hides_nothing,
        each_owner_is_looked_at,
        a_paused_task_is_not_ready_and_says_when;
    lists:
        jobs_are_listed_newest_first_page_by_page,
        filters_combine,
        jobs_are_found_by_the_start_of_their_id,
        jobs_are_counted_by_state;
    records:
        workers_are_kept_and_seen,
        blob_rows_are_kept_and_those_of_no_job_are_found,
        keys_are_kept_and_revoked,
        settings_are_kept,
        the_store_can_be_checked;
    service:
        a_dispatched_job_changes_only_from_what_it_was,
        an_outbox_is_filled_once_and_emptied_by_due_time,
        the_audit_log_only_grows,
        what_an_owner_keeps_is_counted,
        settings_are_listed_by_their_beginning,
        jobs_are_listed_by_time,
        keys_end_at_their_time;
}
