//! Looking at films with Dolby Vision: by our own reading of Matroska and NAL
//! units, and by tools that know nothing of reelmill.

use crate::dolby_film::{BAR, run};
use reelmill_media::hdr::nal::{NalKind, in_packet};
use reelmill_media::hdr::rpu::Rpu;
use reelmill_media::hdr::sei;
use reelmill_media::matroska::{header, packets};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A picture: its time in the container, ticks, and its NAL units.
pub(crate) type Picture = (i64, Vec<Vec<u8>>);

/// The pictures of the first HEVC track, in stored order.
pub(crate) fn pictures(path: &Path) -> Vec<Picture> {
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

/// The same in the order of being shown.
pub(crate) fn shown(path: &Path) -> Vec<Picture> {
    let mut found = pictures(path);
    found.sort_by_key(|(time, _)| *time);
    found
}

/// How many units of one kind they have.
pub(crate) fn count(pictures: &[Picture], kind: NalKind) -> usize {
    let units = pictures.iter().flat_map(|(_, units)| units);
    units.filter(|unit| NalKind::of(unit) == Some(kind)).count()
}

/// The units of each that `wanted` picks.
pub(crate) fn only(pictures: &[Picture], wanted: impl Fn(NalKind) -> bool) -> Vec<Picture> {
    let keep = |unit: &&Vec<u8>| NalKind::of(unit).is_some_and(&wanted);
    pictures
        .iter()
        .map(|(time, units)| (*time, units.iter().filter(keep).cloned().collect()))
        .collect()
}

/// The one unit of metadata of each picture, by the container's times.
pub(crate) fn rpus(path: &Path) -> Vec<Rpu> {
    let of = |(time, units): &Picture| {
        let mut rpus = units.iter().filter(|unit| NalKind::of(unit) == Some(NalKind::RPU));
        let rpu = Rpu::parse(rpus.next().unwrap_or_else(|| panic!("none at {time}"))).unwrap();
        assert!(rpus.next().is_none(), "two at {time}");
        rpu
    };
    shown(path).iter().map(of).collect()
}

/// What the metadata of each picture says of its brightest pixel.
pub(crate) fn brightest(path: &Path) -> Vec<u16> {
    rpus(path).iter().map(|rpu| rpu.max_pq().unwrap()).collect()
}

/// The HDR10+ unit of each picture that has one, by the container's times.
pub(crate) fn hdr10_plus(path: &Path) -> Vec<Vec<u8>> {
    let pictures = shown(path);
    pictures.iter().filter_map(|(_, units)| units.iter().find_map(|u| sei::hdr10_plus(u))).collect()
}

/// The distinct units of SEI of one kind, as messages.
pub(crate) fn messages(path: &Path, kind: u32) -> Vec<Vec<u8>> {
    let pictures = pictures(path);
    let units = pictures.iter().flat_map(|(_, units)| units);
    let of = units.filter_map(|unit| sei::messages(unit)).flatten();
    let mut found: Vec<_> = of.filter(|m| m.kind == kind).map(|m| m.payload).collect();
    found.sort();
    found.dedup();
    found
}

fn here() -> PathBuf {
    std::env::temp_dir()
}

/// What ffprobe says, with `options`.
pub(crate) fn probed(path: &Path, options: &str) -> Value {
    let args = format!("-v error -of json {options} {}", path.display());
    serde_json::from_str(&run("ffprobe", &here(), &args)).unwrap()
}

/// The container's Dolby Vision record: profile, level, metadata, enhancement
/// layer, base layer, compatibility.
pub(crate) fn record(path: &Path) -> [u64; 6] {
    let said = probed(path, "-select_streams v:0 -show_entries stream_side_data");
    let list = said["streams"][0]["side_data_list"].as_array().unwrap();
    let found = list.iter().find(|data| data["side_data_type"] == "DOVI configuration record");
    let found = found.unwrap_or_else(|| panic!("no record in {}", path.display()));
    [
        "dv_profile",
        "dv_level",
        "rpu_present_flag",
        "el_present_flag",
        "bl_present_flag",
        "dv_bl_signal_compatibility_id",
    ]
    .map(|key| found[key].as_u64().unwrap())
}

/// What mkvmerge says of a file.
pub(crate) fn identified(path: &Path) -> Value {
    serde_json::from_str(&run("mkvmerge", &here(), &format!("-J {}", path.display()))).unwrap()
}

/// Digest of the decoded video.
pub(crate) fn decoded(path: &Path) -> String {
    let args = format!("-v error -i {} -map 0:v:0 -vsync 0 -f md5 -", path.display());
    run("ffmpeg", &here(), &args).trim().to_owned()
}

/// The number that each decoded picture shows, the squares being `top` rows from
/// above in a picture of `size`.
pub(crate) fn numbers(path: &Path, size: (u32, u32), top: u32) -> Vec<u32> {
    let (width, height) = (16, 1);
    let square = size.0 / 16;
    let filter =
        format!("crop={}:{square}:0:{top},scale={width}:{height}:flags=area,format=gray", size.0);
    let dir = tempfile::tempdir().unwrap();
    let args = format!(
        "-v error -i {} -map 0:v:0 -vsync 0 -vf {filter} -f rawvideo gray.bin",
        path.display()
    );
    run("ffmpeg", dir.path(), &args);
    let bytes = std::fs::read(dir.path().join("gray.bin")).unwrap();
    let number = |row: &[u8]| (0..8).fold(0u32, |sum, bit| sum | u32::from(row[bit] > 100) << bit);
    bytes.chunks_exact(width * height).map(number).collect()
}

/// Rows above the squares.
pub(crate) const TOP: u32 = BAR;
