//! Profile 7 to 8.1 without encoding: rows A1 to A11 of the acceptance table, on
//! a film made here and, where there is one, on a real one.

use crate::convert::tools;
use crate::dolby_film::{FIRST_PQ, FRAMES, Kind, film, made, run, units};
use crate::dolby_look::{
    brightest, count, decoded, identified, only, pictures, probed, record, rpus, shown,
};
use crate::fixture::media;
use reelmill_core::dolby::EnhancementLayer;
use reelmill_media::hdr::convert::Options;
use reelmill_media::hdr::nal::NalKind;
use reelmill_media::hdr::remux::remux;
use reelmill_media::matroska::{Refusal, packets};
use reelmill_media::probe::probe;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A source, what it becomes, and how many pictures and units of the enhancement
/// layer it has.
struct Pair {
    source: PathBuf,
    out: PathBuf,
    frames: usize,
    layer_units: usize,
    level: u64,
    _dir: TempDir,
}

fn convert(source: &Path, out: &Path) {
    let done = remux(source, out, Options::default(), &|| (), &CancellationToken::new());
    let verdict = done.map_err(Refusal::into_failure).unwrap();
    assert!(verdict.passed(), "{}", verdict.complaint());
}

fn pair(source: PathBuf, frames: usize, layer_units: usize, level: u64) -> Pair {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out.mkv");
    convert(&source, &out);
    Pair { source, out, frames, layer_units, level, _dir: dir }
}

/// The film made here, and the real ones.
fn pairs(row: &str) -> Vec<Pair> {
    let made = film(Kind::Fel);
    let layer_units = units(&made.layer).iter().map(|unit| unit.nals().count()).sum();
    let mut pairs = vec![pair(made.mkv, FRAMES, layer_units, 1)];
    if let Some(media) = media(row) {
        pairs.push(pair(media.join("dv/p7_fel_360p_240f_full.mkv"), 240, 755, 1));
    }
    pairs
}

#[tokio::test]
async fn a1_pictures_metadata_and_layer_are_counted_in_the_stream() {
    for Pair { source, frames, layer_units, .. } in pairs("a1") {
        let found = pictures(&source);
        let counted = (found.len(), count(&found, NalKind::RPU), count(&found, NalKind::EL));
        assert_eq!(counted, (frames, frames, layer_units));
        let media = probe(&tools().await, &source, &CancellationToken::new()).await.unwrap();
        let dolby = media.video().unwrap().1.dolby_vision.clone().unwrap();
        assert_eq!((dolby.profile, dolby.layer), (7, Some(EnhancementLayer::Fel)));
        assert!(dolby.levels.starts_with(&[1]) && dolby.levels.contains(&5), "{dolby:?}");
    }
}

#[test]
fn a2_and_trap10_the_layer_is_gone_and_each_picture_has_metadata_once() {
    for Pair { out, frames, .. } in pairs("a2") {
        let found = pictures(&out);
        assert_eq!(count(&found, NalKind::EL), 0);
        let once = only(&found, |kind| kind == NalKind::RPU);
        assert_eq!(once.len(), frames);
        assert!(once.iter().all(|(_, units)| units.len() == 1));
    }
}

#[test]
fn a3_the_record_says_profile_8_1_without_a_layer() {
    for Pair { out, level, .. } in pairs("a3") {
        assert_eq!(record(&out), [8, level, 1, 0, 1, 1]);
    }
    if let Some(media) = media("a3_2160p") {
        let large = pair(media.join("dv/p7_fel_2160p_48f.mkv"), 48, 0, 6);
        assert_eq!(record(&large.out), [8, large.level, 1, 0, 1, 1]);
    }
}

#[test]
fn a4_metadata_has_neither_layer_nor_residual_and_one_piece_of_mapping() {
    for Pair { out, .. } in pairs("a4") {
        for rpu in rpus(&out) {
            assert_eq!((rpu.profile(), rpu.layer(), rpu.has_residual_mapping()), (8, None, false));
            assert_eq!(rpu.mapping_pieces(), Some([1, 1, 1]));
        }
    }
}

#[test]
fn a5_metadata_is_in_order_by_the_containers_times() {
    for Pair { out, frames, .. } in pairs("a5") {
        let expected: Vec<u16> = (0..frames as u16).map(|number| FIRST_PQ + number).collect();
        assert_eq!(brightest(&out), expected);
    }
}

#[test]
fn a6_the_decoded_picture_is_the_same() {
    for Pair { source, out, frames, .. } in pairs("a6") {
        let after = decoded(&out);
        assert_eq!(decoded(&source), after);
        if frames == 240 {
            assert_eq!(after, "MD5=8c44c4f189b14e50486e4cf0e67cdad5");
        }
    }
}

#[test]
fn a7_every_other_unit_is_the_same_and_in_order() {
    for Pair { source, out, .. } in pairs("a7") {
        let base = |path| only(&pictures(path), |kind| !matches!(kind, NalKind::RPU | NalKind::EL));
        assert_eq!(base(&source), base(&out));
    }
}

#[test]
fn a8_times_and_duration_of_a_frame_are_the_same() {
    for Pair { source, out, .. } in pairs("a8") {
        let times = |path| shown(path).iter().map(|(time, _)| *time).collect::<Vec<_>>();
        assert_eq!(times(&source), times(&out));
        let track = identified(&out)["tracks"][0]["properties"].clone();
        assert_eq!(track["default_duration"], 41_708_333);
        let rates =
            probed(&out, "-select_streams v:0 -show_entries stream=r_frame_rate,avg_frame_rate");
        assert_eq!(rates["streams"][0]["r_frame_rate"], "24000/1001", "constant");
    }
}

/// (track, time, bytes) of every packet but those of the first track.
fn others(path: &Path) -> Vec<(u64, i64, Vec<u8>)> {
    let mut found = Vec::new();
    packets(path, &|number| number != 1, &mut |packet| {
        found.push((packet.track, packet.time, packet.payload.to_vec()));
        Ok(())
    })
    .unwrap();
    found
}

#[test]
fn a9_sound_subtitles_chapters_attachments_title_and_tags_are_the_same() {
    for Pair { source, out, .. } in pairs("a9") {
        let before = others(&source);
        assert!(before.len() > 10);
        assert_eq!(before, others(&out));
        let (one, two) = (identified(&source), identified(&out));
        assert_eq!(
            one["container"]["properties"]["title"],
            two["container"]["properties"]["title"]
        );
        for list in ["attachments", "chapters", "global_tags"] {
            let plain = |all: &Value| {
                let mut list = all[list].clone();
                for item in list.as_array_mut().unwrap() {
                    item.as_object_mut().unwrap().remove("file_name");
                }
                list
            };
            assert_eq!(plain(&one), plain(&two), "{list}");
        }
        let extracted = |path: &Path| {
            let dir = TempDir::new().unwrap();
            let path = path.display();
            run("mkvextract", dir.path(), &format!("{path} attachments 1:font chapters c.xml"));
            (
                std::fs::read(dir.path().join("font")).unwrap(),
                std::fs::read(dir.path().join("c.xml")).unwrap(),
            )
        };
        assert_eq!(extracted(&source), extracted(&out));
        let ac3 = two["tracks"].as_array().unwrap().iter().find(|track| track["codec"] == "AC-3");
        let first = ac3.unwrap()["properties"]["minimum_timestamp"].clone();
        assert_eq!(first, 120_000_000);
    }
}

#[test]
fn a10_name_language_flags_and_colours_of_every_track_are_the_same() {
    for Pair { source, out, .. } in pairs("a10") {
        let properties = |path: &Path| {
            let mut tracks = identified(path)["tracks"].clone();
            for track in tracks.as_array_mut().unwrap() {
                let properties = track["properties"].as_object_mut().unwrap();
                // How many bytes the picture has is another matter now.
                properties.retain(|key, _| {
                    !key.starts_with("tag_number_of_bytes")
                        && !key.starts_with("tag_bps")
                        && !key.starts_with("tag__statistics")
                        && !key.starts_with("codec_private")
                });
            }
            tracks
        };
        assert_eq!(properties(&source), properties(&out));
        let said = probed(&out, "-select_streams v:0 -show_entries stream_side_data");
        let list = said["streams"][0]["side_data_list"].to_string();
        assert!(
            list.contains("\"max_content\":1000") && list.contains("\"max_average\":400"),
            "{list}"
        );
    }
}

#[test]
fn a11_a_picture_that_starts_later_still_does() {
    let folder = made("fel-21ms", |dir| {
        let source = film(Kind::Fel).mkv;
        run("mkvmerge", dir, &format!("-q -o late.mkv --sync 0:21 {}", source.display()));
    });
    let late = pair(folder.join("late.mkv"), FRAMES, 0, 1);
    for path in [&late.source, &late.out] {
        let track = identified(path)["tracks"][0]["properties"].clone();
        assert_eq!(track["minimum_timestamp"], 21_000_000);
    }
}
