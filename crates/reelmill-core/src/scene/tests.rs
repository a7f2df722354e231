//! Tests of scenes: which keyframes tell them, and where it is worth looking.

use super::*;
use crate::media::{Stream, StreamKind, VideoInfo};
use crate::packets::tests::stream;
use crate::time::TimeBase;
use std::collections::BTreeMap;

/// Frames of a stream of `count` with keyframes at `keys` (frames, beside the first).
fn with_keys(count: i64, keys: &[i64]) -> PacketIndex {
    let mut index = stream(count, count);
    for packet in &mut index.packets {
        packet.keyframe = packet.pts.is_some_and(|pts| pts == 0 || keys.contains(&pts));
    }
    index
}

fn told(count: i64, keys: &[i64]) -> Option<Vec<usize>> {
    keyed(&with_keys(count, keys).frames("mov").unwrap())
}

#[test]
fn keyframes_that_do_not_come_by_count_begin_scenes() {
    // As x264 left them in a real trailer: 250 after the one before comes by count.
    let trailer = [224, 334, 584, 621, 658, 772, 1022, 1140];
    assert_eq!(told(1253, &trailer), Some(vec![224, 334, 621, 658, 772, 1140]));
    let by_count: Vec<i64> = (1..20).map(|n| n * 48).collect();
    assert_eq!(told(1000, &by_count), None);
    let by_clock: Vec<i64> = (1..20).map(|n| n * 48_000 / 1001).collect();
    assert_eq!(told(1000, &by_clock), None);
    // Every two seconds whatever happens, and at scenes.
    let both = [48, 65, 96, 110, 124, 144, 150, 192];
    assert_eq!(told(220, &both), Some(vec![65, 110, 124, 150]));
    assert_eq!(told(500, &[100, 217, 300]), None, "too few to tell");
}

/// What is known of a film of `seconds` in 720p.
fn film(seconds: f64) -> MediaInfo {
    let picture = VideoInfo {
        width: 1280,
        height: 720,
        pixel_format: "yuv420p".into(),
        frame_rate: Some((25, 1)),
        ..VideoInfo::default()
    };
    let video = Stream {
        index: 0,
        codec: "h264".into(),
        profile: None,
        time_base: TimeBase::new(1, 25),
        start_ticks: Some(0),
        duration: Some(seconds),
        bit_rate: None,
        dispositions: vec![],
        tags: BTreeMap::new(),
        kind: StreamKind::Video(picture),
    };
    MediaInfo {
        format: "mov".into(),
        size: 50_000_000,
        duration: Some(seconds),
        start_micros: 0,
        streams: vec![video],
        chapters: vec![],
        tags: BTreeMap::new(),
    }
}

/// A film of `seconds` at 25 frames a second with keyframes by count, planned for two
/// slots with `set`.
fn planned(seconds: i64, set: &[&str]) -> (crate::media::MediaInfo, PacketIndex, Plan) {
    use crate::plan::{PlanLimits, SourceFacts, plan};
    let (media, index) = (film(seconds as f64), stream(seconds * 25, 50));
    let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
    let preset = crate::preset::Presets::built_in().unwrap().get("h264", &set).unwrap();
    let limits =
        PlanLimits { slots: 2, queued: 0, threads: 1, chunk_seconds: None, hardware: None };
    let facts = SourceFacts { media: &media, index: Ok(&index), skeleton: vec![] };
    let plan = plan(facts, &preset, preset.format, limits).unwrap();
    (media, index, plan)
}

#[test]
fn looks_surround_the_cuts_and_cost_little() {
    let (media, index, plan) = planned(1200, &[]);
    let Scout::Look { looks, seconds } = scout(&plan, &media, &index) else {
        panic!("worth a look");
    };
    let cuts = plan.chunks().len() - 1;
    assert!(looks.len() <= cuts && looks.len() > cuts / 2, "{} for {cuts}", looks.len());
    for cut in &plan.chunks()[1..] {
        assert!(looks.iter().any(|look| look.from < cut.start && cut.start < look.until));
    }
    for look in &looks {
        assert!(look.preroll.is_none_or(|key| key <= look.from - 2 && key % 50 == 0));
    }
    assert!(looks.windows(2).all(|pair| pair[0].until < pair[1].from));
    let encoding = 1200.0 * 25.0 * 1280.0 * 720.0 / 22e6;
    assert!(seconds <= encoding * WORTH, "{seconds} of {encoding}");
}

#[test]
fn nobody_looks_where_it_costs_more_than_it_saves_or_nothing_is_cut() {
    let (media, index, plan) = planned(1200, &["width=160"]);
    let Scout::TooDear(why) = scout(&plan, &media, &index) else { panic!("too dear") };
    assert!(why.contains("% of the time of encoding"), "{why}");
    let (media, index, plan) = planned(8, &[]);
    assert_eq!(scout(&plan, &media, &index), Scout::Needless, "in one piece");
    let (media, mut index, plan) = planned(1200, &[]);
    for (n, packet) in index.packets.iter_mut().enumerate() {
        packet.keyframe = n % 211 == 0 || n % 337 == 0;
    }
    assert_eq!(scout(&plan, &media, &index), Scout::Needless, "the keyframes tell");
}

#[test]
fn a_scene_begins_where_a_picture_changes_more_than_the_one_before() {
    assert_eq!(changes(&[(40, 0.1), (80, 31.0), (120, 9.9), (60, 12.0)]), [60, 80]);
}
