//! The HEVC layer on streams that real tools wrote: every picture keeps its
//! metadata, whatever the order in which pictures are coded.

use crate::convert::tools;
use crate::fixture::media;
use reelmill_media::hdr::access_unit::{self, AccessUnit};
use reelmill_media::hdr::inject::{Metadata, write_with};
use reelmill_media::hdr::nal::{self, NalKind};
use reelmill_media::hdr::order::shown;
use reelmill_media::hdr::rpu::Rpu;
use reelmill_media::process::ToolCommand;
use std::path::Path;
use tokio_util::sync::CancellationToken;

fn units(path: &Path) -> Vec<AccessUnit> {
    let mut units = Vec::new();
    let mut take = |unit| {
        units.push(unit);
        Ok(())
    };
    access_unit::read_all(std::fs::File::open(path).unwrap(), &mut take).unwrap();
    units
}

/// For each access unit, the number of its picture in the order of being shown.
fn order(units: &[AccessUnit]) -> Vec<usize> {
    let places: Vec<_> = units.iter().map(|unit| unit.place.unwrap()).collect();
    shown(&places).unwrap()
}

/// The brightest of each picture as its metadata says, in the order of being shown.
fn levels(units: &[AccessUnit]) -> Vec<Option<u16>> {
    let mut levels = vec![None; units.len()];
    for (unit, number) in units.iter().zip(order(units)) {
        let rpu = unit.of_kind(NalKind::RPU).next();
        levels[number] = rpu.and_then(|nal| Rpu::parse(nal).unwrap().max_pq());
    }
    levels
}

fn without_rpus(units: &[AccessUnit]) -> Vec<u8> {
    let mut stream = Vec::new();
    for unit in units {
        for nal in unit.nals().filter(|nal| NalKind::of(nal) != Some(NalKind::RPU)) {
            nal::write(nal, &mut stream).unwrap();
        }
    }
    stream
}

/// Takes all RPUs out of the stream and puts them back by the order of being
/// shown, as after an encode; the units before and after.
fn reinjected(path: &Path) -> (Vec<AccessUnit>, Vec<AccessUnit>) {
    let before = units(path);
    let mut track = vec![Vec::new(); before.len()];
    for (unit, number) in before.iter().zip(order(&before)) {
        track[number] = unit.of_kind(NalKind::RPU).next().unwrap().to_vec();
    }
    let mut bare = Vec::new();
    let mut take = |unit| {
        bare.push(unit);
        Ok(())
    };
    access_unit::read_all(&without_rpus(&before)[..], &mut take).unwrap();
    let mut stream = Vec::new();
    for (unit, number) in bare.iter().zip(order(&bare)) {
        let metadata = Metadata { rpu: Some(&track[number]), hdr10_plus: None };
        write_with(unit, metadata, &mut stream).unwrap();
    }
    let mut after = Vec::new();
    let mut take = |unit| {
        after.push(unit);
        Ok(())
    };
    access_unit::read_all(&stream[..], &mut take).unwrap();
    (before, after)
}

#[test]
fn d4_radl_pictures_get_their_own_metadata_back() {
    let Some(media) = media("d4_radl") else { return };
    let (before, after) = reinjected(&media.join("dv/p81_radl_360p_240f.hevc"));
    let radl = before.iter().flat_map(|unit| unit.nals());
    assert!(radl.filter(|nal| matches!(NalKind::of(nal), Some(NalKind(6 | 7)))).count() > 0);
    let expected: Vec<_> = (0..240).map(|number| Some(2081 + number)).collect();
    assert_eq!(levels(&before), expected);
    assert_eq!(levels(&after), expected);
    assert_eq!(before.len(), after.len());
}

#[tokio::test]
async fn d5_pictures_keep_their_order_over_a_second_parameter_set_of_the_same_number() {
    let Some(media) = media("d5_two_sps") else { return };
    let path = media.join("dv/hdr10_two_sps_96f.hevc");
    let units = units(&path);
    let sets: std::collections::BTreeSet<_> =
        units.iter().flat_map(|unit| unit.of_kind(NalKind::SPS)).collect();
    assert_eq!((units.len(), sets.len()), (96, 2));
    assert_eq!(order(&units), decoded_order(&path).await);
}

/// For each picture in coding order, its number among those that FFmpeg's
/// decoder puts out.
async fn decoded_order(path: &Path) -> Vec<usize> {
    let output = ToolCommand::uncaged(&tools().await.ffprobe)
        .args(["-v", "error", "-select_streams", "v", "-show_entries", "frame=pkt_pos"])
        .args(["-of", "csv=p=0"])
        .arg(path)
        .run(&CancellationToken::new())
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let shown: Vec<u64> =
        text.lines().filter_map(|line| line.trim_matches(',').parse().ok()).collect();
    let mut coded = shown.clone();
    coded.sort_unstable();
    coded.iter().map(|at| shown.iter().position(|other| other == at).unwrap()).collect()
}

#[test]
fn d3_metadata_after_the_end_of_a_sequence_belongs_to_the_picture_before() {
    let Some(media) = media("d3_eos") else { return };
    let units = units(&media.join("dv/p7_mel_eos_256x144_259f.hevc"));
    assert_eq!(units.len(), 259);
    assert!(units.iter().any(|unit| unit.of_kind(NalKind::EOS).count() == 1));
    assert!(units.iter().all(|unit| unit.of_kind(NalKind::RPU).count() == 1));
    order(&units);
}

#[test]
fn trap5_missing_metadata_is_missing_where_it_is_missing() {
    let Some(media) = media("trap5_missing") else { return };
    let units = units(&media.join("dv/p7_fel_3_rpus_missing.hevc"));
    let levels = levels(&units);
    let missing = levels.iter().filter(|level| level.is_none()).count();
    assert_eq!((levels.len(), missing), (240, 3));
    for (number, level) in levels.iter().enumerate() {
        assert!(level.is_none_or(|level| usize::from(level) == 2081 + number), "{number}");
    }
}
