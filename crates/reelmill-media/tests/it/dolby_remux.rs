//! Dolby Vision profile 7 to 8.1 without encoding, on real files.

use crate::convert::tools;
use crate::fixture::media;
use reelmill_core::dolby::{DolbyKept, MetadataOnly};
use reelmill_core::error::Failure;
use reelmill_media::hdr::convert::Options;
use reelmill_media::hdr::nal::{NalKind, in_packet};
use reelmill_media::hdr::remux::{DolbyRemux, remux};
use reelmill_media::hdr::rpu::Rpu;
use reelmill_media::matroska::{Refusal, header, packets};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

fn convert(source: &Path, dir: &TempDir, options: Options) -> Result<PathBuf, Failure> {
    let out = dir.path().join("out.mkv");
    let done = remux(source, &out, options, &|| (), &CancellationToken::new());
    let verdict = done.map_err(Refusal::into_failure)?;
    assert!(verdict.passed(), "{}", verdict.complaint());
    Ok(out)
}

/// (time, NAL units) of each picture of the first HEVC track.
fn pictures(path: &Path) -> Vec<(i64, Vec<Vec<u8>>)> {
    let head = header(path).unwrap();
    let track = head.hevc().next().unwrap().clone();
    let mut found = Vec::new();
    packets(path, &|number| number == track.number, &mut |packet| {
        let units = in_packet(packet.payload, track.nal_length_bytes())?;
        found.push((packet.time, units.into_iter().map(<[u8]>::to_vec).collect()));
        Ok(())
    })
    .unwrap();
    found
}

fn count(pictures: &[(i64, Vec<Vec<u8>>)], kind: NalKind) -> usize {
    let units = pictures.iter().flat_map(|(_, units)| units);
    units.filter(|unit| NalKind::of(unit) == Some(kind)).count()
}

/// The metadata of each picture, by the container's times.
fn rpus(path: &Path) -> Vec<Rpu> {
    let mut pictures = pictures(path);
    pictures.sort_by_key(|(time, _)| *time);
    let of = |units: &Vec<Vec<u8>>| {
        let mut rpus = units.iter().filter(|unit| NalKind::of(unit) == Some(NalKind::RPU));
        let rpu = Rpu::parse(rpus.next().unwrap()).unwrap();
        assert!(rpus.next().is_none());
        rpu
    };
    pictures.iter().map(|(_, units)| of(units)).collect()
}

#[test]
fn a1_to_a11_the_film_with_a_full_layer_becomes_81_and_nothing_else_changes() {
    let Some(media) = media("a1_to_a11") else { return };
    let dir = TempDir::new().unwrap();
    let source = media.join("dv/p7_fel_360p_240f_full.mkv");
    let before = pictures(&source);
    assert_eq!(
        (before.len(), count(&before, NalKind::RPU), count(&before, NalKind::EL)),
        (240, 240, 755)
    );
    assert!(rpus(&source).iter().all(|rpu| rpu.profile() == 7));
    let out = convert(&source, &dir, Options::default()).unwrap();
    let after = pictures(&out);
    assert_eq!(count(&after, NalKind::EL), 0);
    let found = rpus(&out);
    for (number, rpu) in found.iter().enumerate() {
        assert_eq!((rpu.profile(), rpu.layer(), rpu.has_residual_mapping()), (8, None, false));
        assert_eq!(rpu.mapping_pieces(), Some([1, 1, 1]));
        assert_eq!(rpu.max_pq(), Some(2081 + number as u16));
    }
    let base = |pictures: &[(i64, Vec<Vec<u8>>)]| -> Vec<(i64, Vec<Vec<u8>>)> {
        let keep = |unit: &&Vec<u8>| !matches!(NalKind::of(unit), Some(NalKind::RPU | NalKind::EL));
        let of = |(time, units): &(i64, Vec<Vec<u8>>)| {
            (*time, units.iter().filter(keep).cloned().collect())
        };
        pictures.iter().map(of).collect()
    };
    assert_eq!(base(&before), base(&after));
    let reference = rpus(&media.join("dv/ref_p81_noreencode_240f.mkv"));
    for (ours, theirs) in found.iter().zip(&reference) {
        assert_eq!(ours.write().unwrap(), theirs.write().unwrap());
    }
}

/// By the way that jobs go: what is no usual Matroska file is made one first.
async fn convert_any(source: &Path, dir: &TempDir) -> Result<PathBuf, Failure> {
    let out = dir.path().join("out.mkv");
    let how = MetadataOnly::default();
    let kept = DolbyKept { stream: 0, convert: true, compatibility: 1, level: 1 };
    let job = DolbyRemux { source, scratch: dir.path(), out: &out, how, kept };
    let verdict = job.run(&tools().await, &CancellationToken::new()).await?;
    assert!(verdict.passed(), "{}", verdict.complaint());
    Ok(out)
}

fn drop_dynamic() -> Options {
    Options { drop_hdr10_plus: true, ..Options::default() }
}

#[test]
fn c1_and_c2_hdr10_plus_is_kept_or_dropped_as_asked() {
    let Some(media) = media("c1_c2") else { return };
    let dir = TempDir::new().unwrap();
    let source = media.join("dv/p7_fel_hdr10plus_360p_240f.mkv");
    let seis = |path: &Path| {
        let mut pictures = pictures(path);
        pictures.sort_by_key(|(time, _)| *time);
        let of = |units: &Vec<Vec<u8>>| {
            units.iter().find_map(|unit| reelmill_media::hdr::sei::hdr10_plus(unit))
        };
        pictures.iter().filter_map(|(_, units)| of(units)).collect::<Vec<_>>()
    };
    let before = seis(&source);
    assert_eq!(before.len(), 240);
    let kept = convert(&source, &dir, Options::default()).unwrap();
    assert_eq!(seis(&kept), before);
    let dropped = convert(&source, &dir, drop_dynamic()).unwrap();
    assert_eq!((seis(&dropped).len(), rpus(&dropped).len()), (0, 240));
}

#[test]
fn d1_a_minimal_layer_keeps_its_mapping() {
    let Some(media) = media("d1_mel") else { return };
    let dir = TempDir::new().unwrap();
    let source = media.join("dv/p7_mel_360p_240f_full.mkv");
    let out = convert(&source, &dir, Options::default()).unwrap();
    let pieces = |path: &Path| rpus(path).iter().map(Rpu::mapping_pieces).collect::<Vec<_>>();
    assert_eq!(pieces(&source), pieces(&out));
    assert!(rpus(&out).iter().all(|rpu| rpu.profile() == 8));
}

#[tokio::test]
async fn d2_two_tracks_become_one() {
    let Some(media) = media("d2_dual") else { return };
    let dir = TempDir::new().unwrap();
    for name in ["dv/p7_fel_dualtrack_10f.mkv", "dv/fate/dovi-p7.mp4"] {
        let source = media.join(name);
        if !source.is_file() {
            continue;
        }
        let out = convert_any(&source, &dir).await.unwrap_or_else(|f| panic!("{name}: {f:#?}"));
        let head = header(&out).unwrap();
        assert_eq!(head.tracks.iter().filter(|track| track.video).count(), 1, "{name}");
        assert_eq!(rpus(&out).len(), 10, "{name}");
        let record = head.hevc().next().unwrap().dolby_record.clone().unwrap();
        assert_eq!((record[2] >> 1, record[4] >> 4), (8, 1));
    }
}

#[tokio::test]
async fn d3_raw_streams_with_an_end_of_sequence_before_the_layer() {
    let Some(media) = media("d3_raw") else { return };
    let dir = TempDir::new().unwrap();
    let source = media.join("dv/p7_mel_eos_256x144_259f.hevc");
    let out = convert_any(&source, &dir).await.unwrap();
    assert_eq!((rpus(&out).len(), count(&pictures(&out), NalKind::EL)), (259, 0));
}

#[tokio::test]
async fn d6_missing_metadata_fails_and_names_the_pictures() {
    let Some(media) = media("d6_missing") else { return };
    let dir = TempDir::new().unwrap();
    let source = media.join("dv/p7_fel_3_rpus_missing.hevc");
    let failure = convert_any(&source, &dir).await.unwrap_err();
    assert!(failure.message.contains("3 of 240 pictures"), "{failure}");
    assert_eq!(failure.message.matches("the picture at").count(), 3, "{failure}");
}

#[tokio::test]
async fn d7_sets_in_the_header_only_and_compressed_tracks() {
    let Some(media) = media("d7_odd") else { return };
    let dir = TempDir::new().unwrap();
    for name in ["dv/p81_paramsets_only_in_codecprivate.mkv", "dv/p7_zlib_track.mkv"] {
        let out = convert_any(&media.join(name), &dir).await.unwrap();
        assert_eq!(rpus(&out).len(), 240, "{name}");
    }
}

#[tokio::test]
async fn d8_what_is_cut_off_fails() {
    let Some(media) = media("d8_truncated") else { return };
    let dir = TempDir::new().unwrap();
    let failure = convert_any(&media.join("dv/p7_truncated.mkv"), &dir).await.unwrap_err();
    assert!(failure.message.contains("incomplete"), "{failure}");
}

#[tokio::test]
async fn d9_profile_5_is_refused_with_the_reason() {
    let Some(media) = media("d9_p5") else { return };
    let dir = TempDir::new().unwrap();
    let failure = convert_any(&media.join("hdr/dovi-p5.mp4"), &dir).await.unwrap_err();
    assert!(failure.message.contains("Profile 5 has no HDR10 base layer"), "{failure}");
}
