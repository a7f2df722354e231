//! What a library knows of films with Dolby Vision: read in process, and the same as
//! the tools say.

use crate::convert::tools;
use crate::dolby_film::{Kind, film, made, run};
use crate::dolby_rows_d::{stale, two_tracks};
use crate::fixture::media;
use reelmill_core::dolby::EnhancementLayer::{Fel, Mel};
use reelmill_core::facts::{Facts, VideoFacts};
use reelmill_core::media::{Hdr, MediaInfo};
use reelmill_core::packets::Uncuttable;
use reelmill_core::plan::{Plan, PlanLimits, SourceFacts, plan};
use reelmill_core::preset::Presets;
use reelmill_media::headers::{Headers, read};
use reelmill_media::probe::{probe, probe_for};
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// The picture's facts as read in process, which must be the tools'.
async fn facts(path: &Path) -> VideoFacts {
    let Headers::Facts(quick) = read(path).unwrap() else {
        panic!("{}: {:?}", path.display(), read(path).unwrap());
    };
    let media = probe(&tools().await, path, &CancellationToken::new()).await.unwrap();
    let extension = path.extension().unwrap().to_str().unwrap();
    assert_eq!(quick, Facts::of(&media, extension), "{}", path.display());
    quick.video.unwrap()
}

#[tokio::test]
async fn the_pictures_tell_profile_layer_levels_and_hdr10_plus() {
    for (kind, profile, layer, plus) in [
        (Kind::Fel, 7, Some(Fel), false),
        (Kind::Mel, 7, Some(Mel), false),
        (Kind::Plus, 7, Some(Fel), true),
        (Kind::Five, 5, None, false),
        (Kind::Phone, 8, None, false),
    ] {
        let facts = facts(&film(kind).mkv).await;
        let dolby = facts.dolby_vision.unwrap();
        assert_eq!((dolby.profile, dolby.layer), (profile, layer), "{kind:?}");
        assert!([1, 5, 6].iter().all(|level| dolby.levels.contains(level)), "{dolby:?}");
        assert_eq!((facts.hdr, facts.hdr10plus), (Hdr::DolbyVision, Some(plus)), "{kind:?}");
    }
}

#[tokio::test]
async fn what_only_later_pictures_have_is_seen_too() {
    let folder = made("later", |dir| {
        let [first, then] = [Kind::Mel, Kind::Fel].map(|kind| film(kind).mkv);
        let words =
            format!("-q -o film.mkv -A -S -M {} -A -S -M +{}", first.display(), then.display());
        run("mkvmerge", dir, &words);
        run("ffmpeg", dir, "-v error -i film.mkv -map 0:v -c copy -strict unofficial film.mp4");
        // Without an index only the beginning can be looked at.
        run("mkvmerge", dir, "-q -o bare.mkv --cues 0:none film.mkv");
    });
    for (name, label) in [("film.mkv", "7 FEL"), ("film.mp4", "7 FEL"), ("bare.mkv", "7 MEL")] {
        let facts = facts(&folder.join(name)).await;
        assert_eq!(facts.dolby_vision.unwrap().label(), label, "{name}");
    }
}

#[tokio::test]
async fn two_tracks_mp4_and_claims_that_are_not_true() {
    let two = facts(&two_tracks()).await;
    assert_eq!(two.dolby_vision.unwrap().label(), "7 FEL");
    let claimed = facts(&stale()).await;
    assert_eq!((claimed.hdr, claimed.dolby_vision), (Hdr::Hdr10, None));
    let folder = made("phone-mp4", |dir| {
        let source = film(Kind::Phone).mkv;
        let words =
            format!("-v error -y -i {} -map 0:v -c copy -strict unofficial", source.display());
        run("ffmpeg", dir, &format!("{words} film.mp4"));
    });
    let phone = facts(&folder.join("film.mp4")).await;
    assert_eq!(phone.dolby_vision.unwrap().label(), "8");
}

#[tokio::test]
async fn real_files_tell_the_same() {
    let Some(media) = media("facts of Dolby Vision") else { return };
    for (name, label, plus) in [
        ("p7_fel_360p_240f_full.mkv", Some("7 FEL"), false),
        ("p7_mel_360p_240f_full.mkv", Some("7 MEL"), false),
        ("p7_fel_2160p_48f.mkv", Some("7 FEL"), false),
        ("p7_fel_hdr10plus_360p_240f.mkv", Some("7 FEL"), true),
        ("p7_fel_dualtrack_10f.mkv", Some("7 FEL"), false),
        ("p81_paramsets_only_in_codecprivate.mkv", Some("8"), false),
    ] {
        let facts = facts(&media.join("dv").join(name)).await;
        let found = facts.dolby_vision.map(|dolby| dolby.label());
        assert_eq!((found.as_deref(), facts.hdr10plus), (label, Some(plus)), "{name}");
    }
}

/// The plan for converting metadata alone, which must be the same whether a tool was asked or
/// not; whether one is needed.
async fn plan_of(path: &Path, without_tools: bool) -> Plan {
    let set = ["allow_fel_loss=true".to_owned()];
    let preset = Presets::built_in().unwrap().get("dv81-remux", &set).unwrap();
    let limits =
        PlanLimits { slots: 1, queued: 0, threads: 1, chunk_seconds: None, hardware: None };
    let planned = |media: &MediaInfo| {
        let index = Err(Uncuttable::Empty);
        plan(SourceFacts { media, index, skeleton: Vec::new() }, &preset, preset.format, limits)
    };
    let tools = tools().await;
    let cancel = CancellationToken::new();
    let whole = planned(&probe(&tools, path, &cancel).await.unwrap()).unwrap();
    // Another memory, and no tool to ask.
    let mut none = self::tools().await;
    (none.ffprobe, none.ffmpeg) = ("/nowhere".into(), "/nowhere".into());
    let brief = probe_for(&none, path, &preset, &cancel).await;
    assert_eq!(brief.is_ok(), without_tools, "{}: {brief:?}", path.display());
    let brief = match brief {
        Ok(media) => media,
        Err(_) => probe_for(&tools, path, &preset, &cancel).await.unwrap(),
    };
    assert_eq!(planned(&brief).unwrap(), whole, "{}", path.display());
    whole
}

#[tokio::test]
async fn converting_metadata_alone_needs_no_tool_to_make_the_same_plan() {
    for kind in [Kind::Fel, Kind::Mel, Kind::Plus, Kind::Phone] {
        plan_of(&film(kind).mkv, true).await;
    }
    let folder = made("attached", |dir| {
        let source = film(Kind::Fel).mkv;
        std::fs::write(dir.join("a.ttf"), [0; 100]).unwrap();
        std::fs::write(dir.join("a.srt"), "1\n00:00:01,000 --> 00:00:02,000\nHm.\n").unwrap();
        run("ffmpeg", dir, "-v error -y -f lavfi -i color=s=64x64 -frames:v 1 cover.jpg");
        let font = "--attachment-mime-type font/ttf --attach-file a.ttf";
        run("mkvmerge", dir, &format!("-q -o font.mkv {font} {} a.srt", source.display()));
        let cover = "--attachment-mime-type image/jpeg --attach-file cover.jpg";
        run("mkvmerge", dir, &format!("-q -o cover.mkv {cover} font.mkv"));
        run("mkvmerge", dir, "-q -o ticks.mkv --timestamp-scale 100000 font.mkv");
    });
    let font = plan_of(&folder.join("font.mkv"), true).await;
    let cover = plan_of(&folder.join("cover.mkv"), false).await;
    assert_eq!(cover.tracks.len(), font.tracks.len() + 1);
    plan_of(&folder.join("ticks.mkv"), false).await;
    plan_of(&two_tracks(), false).await;
}

#[tokio::test]
async fn real_films_have_the_same_plan_without_a_tool() {
    let Some(media) = media("plans of Dolby Vision") else { return };
    for (name, without_tools) in [
        ("p7_fel_360p_240f_full.mkv", true),
        ("p7_mel_360p_240f_full.mkv", true),
        ("p7_fel_2160p_48f.mkv", true),
        ("p7_fel_hdr10plus_360p_240f.mkv", true),
        ("p7_zlib_track.mkv", false),
        ("p7_fel_dualtrack_10f.mkv", false),
    ] {
        plan_of(&media.join("dv").join(name), without_tools).await;
    }
}
