//! Dolby Vision and HDR10+ through an encode in chunks: rows B1 to B6, C1, C2 and
//! what of D belongs to encodes. B7 needs processes to kill and is tested with
//! the program.

use crate::convert::{Conversion, preset};
use crate::dolby_film::{BAR, FIRST_PQ, FRAMES, Film, Kind, SIZE, film};
use crate::dolby_look::{
    TOP, brightest, count, hdr10_plus, identified, messages, numbers, only, pictures, probed,
    record, rpus,
};
use crate::fixture::media;
use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use reelmill_core::hdr::Bars;
use reelmill_media::hdr::nal::NalKind;
use reelmill_media::hdr::sei::{CONTENT_LIGHT, MASTERING_DISPLAY};
use std::collections::BTreeSet;
use std::path::Path;

/// Fast, and in at least three chunks.
async fn encoded(source: &Path, set: &[&str], container: Container) -> Result<Conversion, Failure> {
    let all = [&["speed=ultrafast", "keyframe_seconds=1"], set].concat();
    Conversion::run(source, &preset("dv81-hevc", &all), container, 0.8).await
}

async fn verified(source: &Path, set: &[&str]) -> Conversion {
    let made = encoded(source, set, Container::Mkv).await.unwrap();
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{}", verdict.complaint());
    made
}

/// The bars of the film made here, cut off.
fn without_bars() -> String {
    format!("crop={}:{}:0:{BAR}", SIZE.0, SIZE.1 - 2 * BAR)
}

fn in_order(frames: usize) -> Vec<u16> {
    (0..frames as u16).map(|number| FIRST_PQ + number).collect()
}

#[tokio::test]
async fn b1_to_b6_a_film_with_a_full_layer_is_encoded_in_chunks_and_cropped() {
    let Film { mkv, .. } = film(Kind::Fel);
    let made = verified(&mkv, &[&without_bars()]).await;
    let counts: Vec<usize> = made.plan.chunks().iter().map(|chunk| chunk.pts.len()).collect();
    assert!(counts.len() >= 3, "{counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), FRAMES, "b1: frames of the chunks");
    let size = (SIZE.0, SIZE.1 - 2 * BAR);
    let expected: Vec<u32> = (0..FRAMES as u32).collect();
    assert_eq!(numbers(&made.out, size, TOP - BAR), expected, "b2: pictures in order");
    assert_eq!(record(&made.out), [8, 1, 1, 0, 1, 1], "b3: record");
    assert_eq!(brightest(&made.out), in_order(FRAMES), "b3: metadata in order");
    let bars: BTreeSet<_> = rpus(&made.out).iter().map(|rpu| format!("{:?}", rpu.bars())).collect();
    assert_eq!(bars, BTreeSet::from([format!("{:?}", Some(Bars::default()))]), "b3: no bars left");
    one_set_of_parameters(&made);
    hdr10_as_in_the_source(&made.out);
    hdr10_as_in_the_source(&mkv);
    colours(&made.out);
    assert_eq!(language(&made.out), language(&mkv));
}

fn language(path: &Path) -> String {
    identified(path)["tracks"][0]["properties"]["language"].as_str().unwrap_or_default().to_owned()
}

/// Row B4: each chunk has the same parameter sets.
fn one_set_of_parameters(made: &Conversion) {
    let distinct: BTreeSet<&String> = made.digests.iter().collect();
    assert_eq!((made.digests.len() >= 3, distinct.len()), (true, 1), "b4");
    for kind in [NalKind::VPS, NalKind::SPS, NalKind::PPS] {
        let sets = only(&pictures(&made.out), |it| it == kind);
        let distinct: BTreeSet<_> = sets.into_iter().flat_map(|(_, units)| units).collect();
        assert!(distinct.len() <= 1, "b4: {kind:?}");
    }
}

/// Row B5.
fn hdr10_as_in_the_source(path: &Path) {
    let display = hex::decode("33c286c41d4c0bb884d03e803d1340420098968000000001").unwrap();
    assert_eq!(messages(path, MASTERING_DISPLAY), [display], "b5");
    assert_eq!(messages(path, CONTENT_LIGHT), [hex::decode("03e80190").unwrap()], "b5");
}

/// Row B6.
fn colours(path: &Path) {
    let said = probed(
        path,
        "-select_streams v:0 -show_entries stream=color_primaries,color_transfer,color_space,color_range",
    );
    let stream = &said["streams"][0];
    let found = ["color_primaries", "color_transfer", "color_space", "color_range"];
    let found = found.map(|key| stream[key].as_str().unwrap().to_owned());
    assert_eq!(found, ["bt2020", "smpte2084", "bt2020nc", "tv"], "b6");
}

#[tokio::test]
async fn b1_to_b6_the_real_film_is_encoded_in_chunks_and_cropped() {
    let Some(media) = media("b1_to_b6") else { return };
    let source = media.join("dv/p7_fel_360p_240f_full.mkv");
    let all = ["speed=ultrafast", "crop=640:268:0:46"];
    let made = Conversion::run(&source, &preset("dv81-hevc", &all), Container::Mkv, 3.0).await;
    let made = made.unwrap();
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{}", verdict.complaint());
    assert!(made.plan.chunks().len() >= 3);
    assert_eq!(record(&made.out), [8, 1, 1, 0, 1, 1]);
    assert_eq!(brightest(&made.out), in_order(240));
    assert!(rpus(&made.out).iter().all(|rpu| rpu.bars() == Some(Bars::default())));
    one_set_of_parameters(&made);
    hdr10_as_in_the_source(&made.out);
    colours(&made.out);
    assert_eq!((language(&source), language(&made.out)), ("und".into(), "und".into()));
    // The metadata's bytes are those of the expected result.
    let expected = rpus(&media.join("dv/ref_p81_reencoded_crop_chunked_240f.mkv"));
    for (ours, theirs) in rpus(&made.out).iter().zip(&expected) {
        assert_eq!(ours.write().unwrap(), theirs.write().unwrap());
    }
}

#[tokio::test]
async fn b3_scaling_scales_the_bars() {
    let made = verified(&film(Kind::Mel).mkv, &["width=128"]).await;
    let bars = Bars { left: 0, right: 0, top: BAR as u16 / 2, bottom: BAR as u16 / 2 };
    assert!(rpus(&made.out).iter().all(|rpu| rpu.bars() == Some(bars)));
}

#[tokio::test]
async fn c1_hdr10_plus_goes_through_an_encode_frame_by_frame() {
    let source = film(Kind::Plus).mkv;
    let made = verified(&source, &[]).await;
    let before = hdr10_plus(&source);
    assert_eq!(before.len(), FRAMES);
    assert!(before.iter().collect::<BTreeSet<_>>().len() > FRAMES / 2, "they differ");
    assert_eq!(hdr10_plus(&made.out), before);
    assert_eq!(brightest(&made.out), in_order(FRAMES));
}

#[tokio::test]
async fn c2_hdr10_plus_is_dropped_by_an_encode_as_asked() {
    let made = verified(&film(Kind::Plus).mkv, &["hdr10plus=drop"]).await;
    assert_eq!(hdr10_plus(&made.out).len(), 0);
    assert_eq!(brightest(&made.out), in_order(FRAMES));
}

#[tokio::test]
async fn d1_a_minimal_layer_is_encoded_without_a_warning() {
    let made = verified(&film(Kind::Mel).mkv, &[]).await;
    assert!(!made.plan.notes.iter().any(|note| note.contains("warning")), "{:?}", made.plan.notes);
    assert_eq!(record(&made.out), [8, 1, 1, 0, 1, 1]);
}

#[tokio::test]
async fn d2_two_tracks_are_encoded_to_one() {
    let source = crate::dolby_rows_d::two_tracks();
    let made = verified(&source, &[]).await;
    let tracks = identified(&made.out)["tracks"].as_array().unwrap().len();
    assert_eq!((tracks, brightest(&made.out)), (1, in_order(FRAMES)));
}

#[tokio::test]
async fn d6_missing_metadata_fails_an_encode_and_names_the_frames() {
    let source = crate::dolby_rows_d::three_missing();
    let failure = encoded(&source, &[], Container::Mkv).await.err().unwrap();
    assert!(failure.message.contains("exactly one unit of Dolby Vision"), "{failure}");
    assert!(failure.message.contains(" s"), "{failure}");
}

#[tokio::test]
async fn d9_profile_5_is_not_encoded() {
    let failure = encoded(&film(Kind::Five).mkv, &[], Container::Mkv).await.err().unwrap();
    assert!(failure.message.contains("Profile 5 has no HDR10 base layer"), "{failure}");
}

#[tokio::test]
async fn d10_profile_8_4_is_encoded_as_8_4() {
    let source = film(Kind::Phone).mkv;
    for container in [Container::Mkv, Container::Mp4] {
        let made = encoded(&source, &[], container).await.unwrap();
        let verdict = made.verify().await.unwrap();
        assert!(verdict.passed(), "{}", verdict.complaint());
        assert_eq!(record(&made.out), [8, 1, 1, 0, 1, 4], "{container}");
    }
}

#[tokio::test]
async fn d11_a_record_without_metadata_is_not_believed() {
    let source = crate::dolby_rows_d::stale();
    let failure = encoded(&source, &[], Container::Mkv).await.err().unwrap();
    assert!(failure.message.contains("no Dolby Vision in the stream"), "{failure}");
    let all = ["speed=ultrafast"];
    let made = Conversion::run(&source, &preset("hevc", &all), Container::Mkv, 0.8).await.unwrap();
    assert!(made.plan.notes.iter().any(|note| note.contains("claims Dolby Vision")));
    let said = probed(&made.out, "-select_streams v:0 -show_entries stream_side_data");
    assert!(!said.to_string().contains("DOVI"), "{said}");
    assert_eq!(count(&pictures(&made.out), NalKind::RPU), 0);
}
