//! Odd sources: rows D7 to D14 of the acceptance table, and the traps, on films
//! made here.

use crate::convert::tools;
use crate::dolby_film::{FRAMES, Kind, film, made, run, units};
use crate::dolby_look::{brightest, count, decoded, pictures, record};
use crate::dolby_rows_d::{converted, in_order, planned, stale, wrapped};
use reelmill_media::hdr::nal::NalKind;
use reelmill_media::hdr::{access_unit, layer};
use reelmill_media::probe::probe;
use std::path::Path;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn d7_and_trap7_sets_in_the_header_only_and_compressed_tracks() {
    let folder = made("odd", |dir| {
        let source = film(Kind::Mel).mkv;
        let source = source.display();
        run(
            "ffmpeg",
            dir,
            &format!(
                "-v error -y -i {source} -map 0:v -c copy -bsf:v filter_units=remove_types=32-34 bare.mkv"
            ),
        );
        run("mkvmerge", dir, &format!("-q -o zlib.mkv --compression 0:zlib {source}"));
    });
    let dir = TempDir::new().unwrap();
    assert_eq!(count(&pictures(&folder.join("bare.mkv")), NalKind::SPS), 0);
    for name in ["bare.mkv", "zlib.mkv"] {
        let (out, _) = converted(&folder.join(name), &dir, &[]).await.unwrap();
        assert_eq!(brightest(&out), in_order(FRAMES), "{name}");
    }
}

#[tokio::test]
async fn d8_and_trap8_what_is_cut_off_fails() {
    let folder = made("cut-off", |dir| {
        let whole = std::fs::read(film(Kind::Fel).mkv).unwrap();
        std::fs::write(dir.join("cut.mkv"), &whole[..whole.len() * 6 / 10]).unwrap();
    });
    let dir = TempDir::new().unwrap();
    let failure = converted(&folder.join("cut.mkv"), &dir, &[]).await.unwrap_err();
    assert!(failure.message.contains("incomplete"), "{failure}");
}

#[tokio::test]
async fn d9_profile_5_is_refused_with_the_reason_and_the_source_untouched() {
    let source = film(Kind::Five).mkv;
    let before = std::fs::read(&source).unwrap();
    let refused = planned(&source, &[]).await.unwrap_err();
    let text = "Profile 5 has no HDR10 base layer; metadata conversion gives wrong colours";
    assert!(refused.message.contains(text), "{refused}");
    assert!(refused.advice.unwrap().contains("keep the file as it is"));
    assert_eq!(std::fs::read(&source).unwrap(), before);
}

#[tokio::test]
async fn d10_profile_8_4_is_not_relabelled() {
    let dir = TempDir::new().unwrap();
    let film = film(Kind::Phone);
    let (out, plan) = converted(&film.mkv, &dir, &[]).await.unwrap();
    assert!(plan.notes[0].contains("8.4 is kept"), "{:?}", plan.notes);
    assert_eq!(record(&out), [8, 1, 1, 0, 1, 4]);
    let units = |path: &Path| {
        let all = pictures(path);
        all.into_iter().map(|(_, units)| units).collect::<Vec<_>>()
    };
    assert_eq!(units(&film.mkv), units(&out));
}

#[tokio::test]
async fn d11_and_trap1_and_trap6_a_record_without_metadata_is_not_believed() {
    let refused = planned(&stale(), &[]).await.unwrap_err();
    assert!(refused.message.contains("no Dolby Vision in the stream"), "{refused}");
    let media = probe(&tools().await, &stale(), &CancellationToken::new()).await.unwrap();
    assert_eq!(media.video().unwrap().1.dolby_vision, None);
}

/// Converts, having kept the layer, and puts it back; the film as it is then.
async fn there_and_back(source: &Path, units: usize) {
    let dir = TempDir::new().unwrap();
    let cancel = CancellationToken::new();
    let (layer, back) = (dir.path().join("film.el.hevc"), dir.path().join("back.mkv"));
    let kept = layer::save(source, &layer, &cancel).unwrap();
    let (converted, _) = converted(source, &dir, &[]).await.unwrap();
    let put_back = layer::restore(&converted, &layer, &back, &cancel).unwrap();
    assert_eq!((kept, kept.units as usize), (put_back, units));
    assert_eq!(pictures(source), pictures(&back), "NAL unit for NAL unit, at their times");
    assert_eq!(record(&back), record(source));
}

#[tokio::test]
async fn d14_a_layer_that_was_kept_makes_the_film_what_it_was() {
    for kind in [Kind::Fel, Kind::Mel, Kind::Plus] {
        let film = film(kind);
        let count = units(&film.layer).iter().map(|unit| unit.nals().count()).sum();
        there_and_back(&film.mkv, count).await;
    }
    let Some(media) = crate::fixture::media("d14") else { return };
    let source = media.join("dv/p7_fel_360p_240f_full.mkv");
    let all: usize = pictures(&source).iter().map(|(_, units)| units.len()).sum();
    assert_eq!(all, 1750);
    there_and_back(&source, 755).await;
}

#[tokio::test]
async fn d14_a_layer_of_another_film_is_refused() {
    let dir = TempDir::new().unwrap();
    let cancel = CancellationToken::new();
    let [layer, back] = ["l.hevc", "back.mkv"].map(|name| dir.path().join(name));
    layer::save(&film(Kind::Fel).mkv, &layer, &cancel).unwrap();
    let (other, _) = converted(&film(Kind::Mel).mkv, &dir, &[]).await.unwrap();
    let refused = layer::restore(&other, &layer, &back, &cancel).unwrap_err().into_failure();
    assert!(refused.message.contains("do not belong together"), "{refused}");
    let none = layer::save(&other, &layer, &cancel).unwrap_err().into_failure();
    assert!(none.message.contains("no enhancement layer"), "{none}");
}

/// Hands over a few bytes at a time.
struct Dribble<'a>(&'a [u8], usize);

impl std::io::Read for Dribble<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let size = self.1.min(self.0.len()).min(to.len());
        let (now, rest) = self.0.split_at(size);
        to[..size].copy_from_slice(now);
        self.0 = rest;
        Ok(size)
    }
}

#[test]
fn d13_and_trap2_short_reads_change_nothing() {
    let path = film(Kind::Fel).hevc;
    let bytes = std::fs::read(&path).unwrap();
    let whole = units(&path);
    for size in [1, 7, 4096, 65_536] {
        let mut found = Vec::new();
        let mut take = |unit| {
            found.push(unit);
            Ok(())
        };
        access_unit::read_all(Dribble(&bytes, size), &mut take).unwrap();
        assert_eq!(found, whole, "{size} bytes at a time");
    }
}

#[test]
fn the_base_layer_decodes_as_the_film_does() {
    let film = film(Kind::Fel);
    let dir = TempDir::new().unwrap();
    std::fs::copy(&film.base, dir.path().join("base.hevc")).unwrap();
    wrapped(dir.path(), "base", "");
    assert_eq!(decoded(&film.mkv), decoded(&dir.path().join("base.mkv")));
}
