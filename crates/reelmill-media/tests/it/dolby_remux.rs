//! Dolby Vision profile 7 to 8.1 without encoding, on real files.

use crate::fixture::media;
use reelmill_core::error::Failure;
use reelmill_media::hdr::convert::Options;
use reelmill_media::hdr::nal::{NalKind, in_packet};
use reelmill_media::hdr::remux::remux;
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
