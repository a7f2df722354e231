//! Keeps what a conversion to profile 8.1 takes out of a film, its enhancement
//! layer and metadata, and puts it back: then the film is what it was, NAL unit
//! for NAL unit.
//!
//! What is kept is a raw HEVC stream, as other tools write it too: the layer's
//! units without their wrapping, each picture's metadata after them, in coding
//! order.

use super::access_unit::{AccessUnit, read_all};
use super::nal::{self, NalKind};
use super::remux::{put, seconds};
use super::rpu;
use crate::matroska::{Edits, Packet, Refusal, Track, header, packets, rewrite};
use reelmill_core::dolby;
use reelmill_core::error::Failure;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use tokio_util::sync::CancellationToken;

/// What comes before a unit of the layer in a film: the header of type 63.
const WRAPPING: [u8; 2] = [0x7E, 0x01];

/// Pictures of the layer that are read ahead.
const AHEAD: usize = 16;

/// What was kept or put back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layer {
    /// Pictures.
    pub pictures: u64,
    /// Units of the enhancement layer.
    pub units: u64,
}

/// Writes the enhancement layer and the metadata of the film at `source`, a
/// Matroska file, to the raw stream `out`. Blocks.
///
/// # Errors
/// Class input when there is no layer, a picture lacks metadata, or the film is
/// put together so that it could not be rebuilt exactly; when a file cannot be
/// read or written; when cancelled.
pub fn save(source: &Path, out: &Path, cancel: &CancellationToken) -> Result<Layer, Refusal> {
    let head = header(source)?;
    let track = first(head.hevc().next())?;
    let io = |error: std::io::Error| Failure::io(format!("write {}", out.display()), &error);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(out).map_err(io)?);
    let (mut kept, length) = (Layer::default(), track.nal_length_bytes());
    packets(source, &|number| number == track.number, &mut |packet| {
        stop(cancel)?;
        let units = nal::in_packet(packet.payload, length)?;
        let at = || format!("the picture at {:.3} s", seconds(packet.time, head.scale));
        let taken = taken_out(&units).map_err(|why| {
            Failure::input(format!("{}: {why}", at()))
                .advise("its enhancement layer cannot be kept so that it can be put back")
        })?;
        for unit in taken {
            kept.units += u64::from(NalKind::of(unit) == Some(NalKind::EL));
            let plain = unit.strip_prefix(&WRAPPING).unwrap_or(unit);
            nal::write(plain, &mut file).map_err(io)?;
        }
        kept.pictures += 1;
        Ok(())
    })?;
    file.into_inner().map_err(|error| io(error.into_error()))?.sync_all().map_err(io)?;
    if kept.units == 0 {
        return Err(Failure::input("there is no enhancement layer in the stream")
            .advise("only profile 7 has one, and this film's is gone or lies in a track of its own")
            .into());
    }
    Ok(kept)
}

fn first(track: Option<&Track>) -> Result<Track, Failure> {
    track.cloned().ok_or_else(|| Failure::input("the first video track is not HEVC"))
}

fn stop(cancel: &CancellationToken) -> Result<(), Failure> {
    if cancel.is_cancelled() {
        return Err(Failure::new(
            reelmill_core::error::FailureClass::Cancelled,
            "it was cancelled",
        ));
    }
    Ok(())
}

/// The units at a picture's end that a conversion takes out or changes; or why
/// putting them back would not give the same picture.
fn taken_out<'a>(units: &[&'a [u8]]) -> Result<Vec<&'a [u8]>, &'static str> {
    let kind = |unit: &&[u8]| NalKind::of(unit);
    let begin =
        units.iter().position(|unit| matches!(kind(unit), Some(NalKind::EL | NalKind::RPU)));
    let (_, taken) = units.split_at(begin.ok_or("it has no metadata")?);
    let (last, layer) = taken.split_last().ok_or("it has no metadata")?;
    if kind(last) != Some(NalKind::RPU) {
        return Err("its metadata is not at its end");
    }
    if layer.iter().any(|unit| kind(unit) != Some(NalKind::EL)) {
        return Err("other units stand between its layer and its metadata");
    }
    let whole = |unit: &&[u8]| unit.last() != Some(&0);
    let wrapped = |unit: &&[u8]| unit.len() > 4 && unit.starts_with(&WRAPPING);
    if !layer.iter().all(wrapped) || !taken.iter().all(whole) {
        return Err("its layer is wrapped in an unusual way");
    }
    Ok(taken.to_vec())
}

/// Puts the layer in the raw stream `layer` back into the film at `source`, whose
/// metadata are those of the layer after their conversion, and writes the film
/// of profile 7 to `out`. Blocks.
///
/// # Errors
/// Class input when the two do not belong together; when a file cannot be read
/// or written; when cancelled.
pub fn restore(
    source: &Path,
    layer: &Path,
    out: &Path,
    cancel: &CancellationToken,
) -> Result<Layer, Refusal> {
    let head = header(source)?;
    let track = first(head.hevc().next())?;
    let file = File::open(layer)
        .map_err(|error| Failure::io(format!("read {}", layer.display()), &error))?;
    let (sender, receiver) = sync_channel::<Result<AccessUnit, Failure>>(AHEAD);
    let fps = track.default_duration.map_or(24.0, |nanos| 1e9 / nanos.max(1) as f64);
    let side = |pixels: u64| u32::try_from(pixels).unwrap_or(u32::MAX);
    let level = dolby::level((side(track.size.0), side(track.size.1)), fps);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let gone = || Failure::transient("nobody reads the layer any more");
            let mut hand_over = |unit| sender.send(Ok(unit)).map_err(|_| gone());
            if let Err(failure) = read_all(BufReader::new(file), &mut hand_over) {
                // Whoever has gone knows why.
                let _ = sender.send(Err(failure));
            }
        });
        let mut back = Back {
            layer: receiver,
            done: Layer::default(),
            scale: head.scale,
            length: track.nal_length_bytes(),
        };
        let mut change = |packet: Packet<'_>, to: &mut Vec<u8>| back.picture(packet, to);
        let edits = Edits {
            track: track.number,
            record: Some(dolby::record_7(level)),
            drop: None,
            change: &mut change,
            alive: &|| (),
            growth: Arc::default(),
        };
        rewrite(source, out, edits, cancel)?;
        back.finish().map_err(Refusal::from)
    })
}

struct Back {
    layer: Receiver<Result<AccessUnit, Failure>>,
    done: Layer,
    scale: u64,
    length: usize,
}

fn strangers(why: &str) -> Failure {
    Failure::input(format!("the film and the layer do not belong together: {why}"))
        .advise("use the layer that was kept of this very film, and a film that was only converted")
}

impl Back {
    fn picture(&mut self, packet: Packet<'_>, to: &mut Vec<u8>) -> Result<(), Failure> {
        let at = format!("{:.3} s", seconds(packet.time, self.scale));
        let unit = match self.layer.recv() {
            Ok(unit) => unit?,
            Err(_) => return Err(strangers(&format!("the layer ends before {at}"))),
        };
        let mut converted = None;
        for nal in nal::in_packet(packet.payload, self.length)? {
            match NalKind::of(nal) {
                Some(NalKind::RPU) => converted = Some(nal),
                Some(NalKind::EL) => return Err(strangers("the film has a layer already")),
                _ => put(nal, self.length, to)?,
            }
        }
        let original = unit.of_kind(NalKind::RPU).next();
        let same = match (original, converted) {
            (Some(original), Some(converted)) => rpu::to_81(original)? == converted,
            _ => false,
        };
        if !same {
            return Err(strangers(&format!("their metadata differ at {at}")));
        }
        for nal in unit.nals() {
            if NalKind::of(nal) == Some(NalKind::RPU) {
                put(nal, self.length, to)?;
            } else {
                self.done.units += 1;
                put(&[&WRAPPING, nal].concat(), self.length, to)?;
            }
        }
        self.done.pictures += 1;
        Ok(())
    }

    fn finish(self) -> Result<Layer, Failure> {
        match self.layer.recv() {
            Ok(Err(failure)) => Err(failure),
            Ok(Ok(_)) => Err(strangers("the layer has more pictures")),
            Err(_) => Ok(self.done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: [u8; 3] = [2, 1, 0x80];
    const EL: [u8; 5] = [0x7E, 1, 2, 1, 0x80];
    const RPU: [u8; 3] = [0x7C, 1, 0x19];

    #[test]
    fn only_what_can_be_put_back_is_taken_out() {
        assert_eq!(taken_out(&[&SLICE, &EL, &EL, &RPU]).unwrap(), [&EL[..], &EL, &RPU]);
        assert_eq!(taken_out(&[&SLICE, &RPU]).unwrap(), [&RPU[..]]);
        for odd in [
            &[&SLICE[..]][..],
            &[&SLICE, &EL],
            &[&SLICE, &RPU, &EL],
            &[&EL, &SLICE, &RPU],
            &[&SLICE, &[0x7E, 1, 2, 1, 0], &RPU],
            &[&SLICE, &[0x7E, 9, 2, 1, 4], &RPU],
        ] {
            assert!(taken_out(odd).is_err(), "{odd:?}");
        }
    }
}
