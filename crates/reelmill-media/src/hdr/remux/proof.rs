//! Proves a conversion: its output is read as it is written, packet by packet, and
//! held against what the source had.

use super::seconds;
use crate::hdr::convert::Converted;
use crate::hdr::digest::Digest;
use crate::hdr::nal::{self, NalKind};
use crate::hdr::rpu::Rpu;
use crate::hdr::sei;
use crate::matroska::{
    Changed, Growth, Header, Refusal, Track, TrackSum, header, packets_of_growing,
};
use reelmill_core::check::{Check, Verdict, equal};
use reelmill_core::error::Failure;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What reading the output found in its video.
#[derive(Debug, Default)]
struct Found {
    pictures: u64,
    layer_units: u64,
    kept: Digest,
    hdr10_plus: u64,
    /// The metadata last found to be good.
    last_good: Vec<u8>,
    /// What was wrong first, and when it is shown.
    wrong: Option<(String, i64)>,
}

impl Found {
    fn picture(&mut self, payload: &[u8], length: usize, at: i64) -> Result<(), Failure> {
        let (mut rpus, mut dynamic) = (0, false);
        for unit in nal::in_packet(payload, length)? {
            match NalKind::of(unit) {
                Some(NalKind::EL) => self.layer_units += 1,
                Some(NalKind::RPU) => {
                    rpus += 1;
                    // Pictures of a scene often have the same.
                    if self.last_good == unit {
                        continue;
                    }
                    let rpu = Rpu::parse(unit)?;
                    if rpu.profile() != 8 || rpu.layer().is_some() || rpu.has_residual_mapping() {
                        self.complain(format!("profile {}", rpu.profile()), at);
                    } else {
                        self.last_good = unit.to_vec();
                    }
                }
                Some(NalKind::SEI_PREFIX) => {
                    dynamic |= sei::hdr10_plus(unit).is_some();
                    self.kept.bytes(unit);
                }
                _ => self.kept.bytes(unit),
            }
        }
        if rpus != 1 {
            self.complain(format!("{rpus} times metadata"), at);
        }
        self.pictures += 1;
        self.hdr10_plus += u64::from(dynamic);
        Ok(())
    }

    fn complain(&mut self, what: String, at: i64) {
        self.wrong.get_or_insert((what, at));
    }
}

/// What reading the output gave.
pub(super) struct Read {
    header: Header,
    found: Found,
    tracks: BTreeMap<u64, TrackSum>,
}

/// Reads the output while it is written.
pub(super) fn read(out: &Path, base: &Track, growth: &Arc<Growth>) -> Result<Read, Refusal> {
    let mut found = Found::default();
    let mut tracks: BTreeMap<u64, TrackSum> = BTreeMap::new();
    let length = base.nal_length_bytes();
    let header = packets_of_growing(out, growth, &|_| true, &mut |packet| {
        let sum = tracks.entry(packet.track).or_default();
        let mut digest = Digest::of(sum.digest);
        digest.number(packet.time as u64);
        if packet.track == base.number {
            found.picture(packet.payload, length, packet.time)?;
        } else {
            digest.bytes(packet.payload);
        }
        *sum = TrackSum { packets: sum.packets + 1, digest: digest.value() };
        Ok(())
    })?;
    Ok(Read { header, found, tracks })
}

/// The verdict on the output, which is complete now.
pub(super) fn verify(
    out: &Path,
    changed: &Changed,
    base: &Track,
    done: &Converted,
    (read, record): (Read, &[u8; 24]),
) -> Result<Verdict, Refusal> {
    let Read { header: while_written, found, tracks } = read;
    // What stands before the packets was completed last.
    let read = header(out)?;
    let video = read.tracks.iter().find(|track| track.number == base.number);
    let stated = video.and_then(|track| track.dolby_record.clone());
    let others = |tracks: &BTreeMap<u64, TrackSum>| -> Vec<(u64, TrackSum)> {
        tracks.iter().filter(|(track, _)| **track != base.number).map(|(t, s)| (*t, *s)).collect()
    };
    let at = |(what, time): &(String, i64)| {
        format!("{what} at {:.3} s", seconds(*time, changed.header.scale))
    };
    let metadata = found
        .wrong
        .as_ref()
        .map(at)
        .unwrap_or_else(|| format!("profile 8.1, once in each of {}", found.pictures));
    let checks = vec![
        equal("bytes", &std::fs::metadata(out).map_or(0, |meta| meta.len()), &changed.bytes),
        Check::new("header", read == while_written, "as it was while the packets were read"),
        equal("pictures", &done.pictures, &found.pictures),
        Check::new("Dolby Vision metadata", found.wrong.is_none() && found.pictures > 0, metadata),
        equal("enhancement layer units", &0, &found.layer_units),
        Check::new(
            "base layer",
            done.kept == found.kept,
            format!("{} units, byte for byte and in order", done.kept_units),
        ),
        equal("HDR10+ pictures", &done.hdr10_plus, &found.hdr10_plus),
        equal("video times", &changed.tracks.get(&base.number), &tracks.get(&base.number)),
        equal("other tracks", &others(&changed.tracks).len(), &others(&tracks).len()),
        Check::new(
            "other tracks' packets",
            others(&changed.tracks) == others(&tracks),
            "byte for byte and at their times",
        ),
        Check::new(
            "Dolby Vision record",
            stated.as_deref() == Some(&record[..]),
            "profile 8, compatible with HDR10, no enhancement layer",
        ),
    ];
    Ok(Verdict { checks })
}
