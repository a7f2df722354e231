//! Which test shows which row of the acceptance table and which trap.
//!
//! Rows: A without encoding, B with encoding in chunks, C HDR10+, D odd sources, E film
//! length and damage. Traps: what other programs got wrong.
//!
//! | row | tests |
//! |---|---|
//! | A1 | `a1_pictures_metadata_and_layer_are_counted_in_the_stream` |
//! | A2 | `a2_and_trap10_the_layer_is_gone_and_each_picture_has_metadata_once` |
//! | A3 | `a3_the_record_says_profile_8_1_without_a_layer` |
//! | A4 | `a4_metadata_has_neither_layer_nor_residual_and_one_piece_of_mapping` |
//! | A5 | `a5_metadata_is_in_order_by_the_containers_times` |
//! | A6 | `a6_the_decoded_picture_is_the_same` |
//! | A7 | `a7_every_other_unit_is_the_same_and_in_order` |
//! | A8 | `a8_times_and_duration_of_a_frame_are_the_same` |
//! | A9 | `a9_sound_subtitles_chapters_attachments_title_and_tags_are_the_same` |
//! | A10 | `a10_name_language_flags_and_colours_of_every_track_are_the_same` |
//! | A11 | `a11_a_picture_that_starts_later_still_does` |
//! | B1 | `b1_to_b6_a_film_with_a_full_layer_is_encoded_in_chunks_and_cropped` |
//! | B2 | `b1_to_b6_a_film_with_a_full_layer_is_encoded_in_chunks_and_cropped` |
//! | B3 | `b1_to_b6_the_real_film_is_encoded_in_chunks_and_cropped` |
//! | B3 | `b3_scaling_scales_the_bars` |
//! | B4 | `b1_to_b6_the_real_film_is_encoded_in_chunks_and_cropped` |
//! | B5 | `b1_to_b6_the_real_film_is_encoded_in_chunks_and_cropped` |
//! | B6 | `b1_to_b6_the_real_film_is_encoded_in_chunks_and_cropped` |
//! | B7 | `b7_a_worker_killed_in_mid_chunk_changes_nothing_of_a_film` |
//! | B7 | `b7_the_real_film_over_three_workers_one_of_which_is_killed` |
//! | C1 | `c1_hdr10_plus_goes_through_an_encode_frame_by_frame` |
//! | C1 | `c1_and_c2_without_an_encode_hdr10_plus_stays_or_goes_as_asked` |
//! | C2 | `c2_hdr10_plus_is_dropped_by_an_encode_as_asked` |
//! | C2 | `c1_and_c2_hdr10_plus_is_kept_or_dropped_as_asked` |
//! | D1 | `d1_a_minimal_layer_is_taken_out_without_a_warning_and_the_mapping_stays` |
//! | D1 | `d1_a_minimal_layer_is_encoded_without_a_warning` |
//! | D2 | `d2_two_tracks_become_one` |
//! | D2 | `d2_two_tracks_are_encoded_to_one` |
//! | D3 | `d3_and_trap9_an_end_of_sequence_before_layer_and_metadata` |
//! | D3 | `d3_raw_streams_with_an_end_of_sequence_before_the_layer` |
//! | D4 | `d4_radl_pictures_get_their_own_metadata_back` |
//! | D4 | `d4_and_trap3_pictures_before_their_idr_get_their_own_metadata` |
//! | D5 | `d5_pictures_keep_their_order_over_a_second_parameter_set_of_the_same_number` |
//! | D6 | `d6_and_trap5_missing_metadata_fails_and_names_the_pictures` |
//! | D6 | `d6_missing_metadata_fails_an_encode_and_names_the_frames` |
//! | D7 | `d7_and_trap7_sets_in_the_header_only_and_compressed_tracks` |
//! | D8 | `d8_and_trap8_what_is_cut_off_fails` |
//! | D9 | `d9_profile_5_is_refused_with_the_reason_and_the_source_untouched` |
//! | D9 | `d9_profile_5_is_not_encoded` |
//! | D10 | `d10_profile_8_4_is_not_relabelled` |
//! | D10 | `d10_profile_8_4_is_encoded_as_8_4` |
//! | D11 | `d11_and_trap1_and_trap6_a_record_without_metadata_is_not_believed` |
//! | D11 | `two_tracks_mp4_and_claims_that_are_not_true` |
//! | D12 | `d12_a_source_without_colours_is_refused` |
//! | D13 | `d13_and_trap2_short_reads_change_nothing` |
//! | D13 | `d13_pieces_of_any_size_give_the_same_units` |
//! | D14 | `d14_a_layer_that_was_kept_makes_the_film_what_it_was` |
//! | E1 | `make bench`: scripts/bench-dv.sh |
//! | E2 | `e2_damage_is_an_error_and_never_a_panic` |
//! | trap 1 | `d11_and_trap1_and_trap6_a_record_without_metadata_is_not_believed` |
//! | trap 2 | `d13_and_trap2_short_reads_change_nothing` |
//! | trap 3 | `trap3_radl_pictures_are_shown_before_the_idr_they_follow` |
//! | trap 4 | `trap4_a_later_set_of_the_same_number_takes_the_place_of_the_earlier` |
//! | trap 5 | `trap5_missing_metadata_is_missing_where_it_is_missing` |
//! | trap 6 | `d11_and_trap1_and_trap6_a_record_without_metadata_is_not_believed` |
//! | trap 7 | `d7_and_trap7_sets_in_the_header_only_and_compressed_tracks` |
//! | trap 8 | `d8_and_trap8_what_is_cut_off_fails` |
//! | trap 9 | `d3_and_trap9_an_end_of_sequence_before_layer_and_metadata` |
//! | trap 10 | `a2_and_trap10_the_layer_is_gone_and_each_picture_has_metadata_once` |
//! | trap 11 | `make bench`: a quarter of the film and the whole of it |
//! | trap 12 | `trap12_versions_that_damage_dolby_vision_are_refused` |

const TESTS: [&str; 14] = [
    include_str!("dolby_facts.rs"),
    include_str!("dolby_fuzz.rs"),
    include_str!("dolby_remux.rs"),
    include_str!("dolby_rows_a.rs"),
    include_str!("dolby_rows_b.rs"),
    include_str!("dolby_rows_d.rs"),
    include_str!("dolby_rows_d7.rs"),
    include_str!("dolby_streams.rs"),
    include_str!("../../src/hdr/nal.rs"),
    include_str!("../../src/hdr/order.rs"),
    include_str!("../../src/hdr/parameter_sets.rs"),
    include_str!("../../src/hdr/usual.rs"),
    include_str!("../../../reelmill/tests/it/dolby.rs"),
    include_str!("../../../reelmill-core/src/hdr/tests.rs"),
];

#[test]
fn every_row_and_trap_has_its_test() {
    let table: Vec<(&str, &str)> = include_str!("dolby_table.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | ")?.split_once(" | "))
        .collect();
    let rows =
        [("A", 1..=11), ("B", 1..=7), ("C", 1..=2), ("D", 1..=14), ("E", 1..=2), ("trap ", 1..=12)];
    for (letter, numbers) in rows {
        for number in numbers {
            let row = format!("{letter}{number}");
            let tests: Vec<&str> =
                table.iter().filter(|(name, _)| *name == row).map(|(_, tests)| *tests).collect();
            assert!(!tests.is_empty(), "no test for {row}");
            let named = tests.iter().flat_map(|tests| tests.split('`').skip(1).step_by(2));
            for name in named.filter(|name| *name != "make bench") {
                let is_there = TESTS.iter().any(|text| text.contains(&format!("fn {name}(")));
                assert!(is_there, "{row}: there is no test '{name}'");
            }
        }
    }
}
