//! What a library knows of films with Dolby Vision: read in process, and the same as
//! the tools say.

use crate::convert::tools;
use crate::dolby_film::{Kind, film, made, run};
use crate::dolby_rows_d::{stale, two_tracks};
use crate::fixture::media;
use reelmill_core::dolby::EnhancementLayer::{Fel, Mel};
use reelmill_core::facts::{Facts, VideoFacts};
use reelmill_core::media::Hdr;
use reelmill_media::headers::{Headers, read};
use reelmill_media::probe::probe;
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
