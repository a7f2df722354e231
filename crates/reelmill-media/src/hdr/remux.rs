//! Converts a film from Dolby Vision profile 7 to 8.1 without encoding it, and
//! proves the result.

mod proof;

use super::convert::{Converted, Converter, Options};
use super::nal::{self, NalKind};
use super::usual;
use crate::matroska::{self, Changed, Edits, Growth, Refusal, Track, header, packets, rewrite};
use crate::tools::Tools;
use proof::{Read, read, verify};
use reelmill_core::check::Verdict;
use reelmill_core::dolby::{self, DolbyKept, MetadataOnly};
use reelmill_core::error::Failure;
use reelmill_core::hdr::Keep;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Seconds by which the last packet may come before the declared end.
const END_TOLERANCE: f64 = 1.0;

/// A conversion, with all it needs.
#[derive(Debug, Clone, Copy)]
pub struct DolbyRemux<'a> {
    /// The source.
    pub source: &'a Path,
    /// A folder for temporary files: a copy of the source, when that is no
    /// Matroska file of the usual form.
    pub scratch: &'a Path,
    /// The output, a Matroska file.
    pub out: &'a Path,
    /// How.
    pub how: MetadataOnly,
    /// What the output has then.
    pub kept: DolbyKept,
}

impl DolbyRemux<'_> {
    /// Runs it and checks the result.
    ///
    /// # Errors
    /// As [`remux`]; class environment when MKVToolNix is needed and missing.
    pub async fn run(self, tools: &Tools, cancel: &CancellationToken) -> Result<Verdict, Failure> {
        let failure = match self.blocking(self.source, cancel).await {
            Ok(verdict) => return Ok(verdict),
            Err(Refusal::Odd(why)) => {
                tracing::info!(why, "MKVToolNix brings it into the usual form first");
                None
            }
            Err(Refusal::Failed(failure)) => Some(failure),
        };
        match failure {
            Some(failure) if is_matroska(self.source) => Err(failure),
            _ => {
                let usual = usual::bring(tools, self.source, self.scratch, cancel).await?;
                let done = self.blocking(&usual, cancel).await;
                done.map_err(Refusal::into_failure)
            }
        }
    }

    async fn blocking(self, source: &Path, cancel: &CancellationToken) -> Result<Verdict, Refusal> {
        let options = Options {
            drop_hdr10_plus: self.how.hdr10plus == Keep::Drop,
            allow_fel_loss: self.how.allow_fel_loss,
            base_nits: None,
            compatibility: self.kept.compatibility,
        };
        let stop = cancel.child_token();
        let _guard = stop.clone().drop_guard();
        let (source, out) = (source.to_owned(), self.out.to_owned());
        let work = move || remux(&source, &out, options, &|| (), &stop);
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Err(Failure::permanent("the conversion broke off").into()))
    }
}

/// Whether the file begins as Matroska files do.
fn is_matroska(path: &Path) -> bool {
    let mut start = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == [0x1A, 0x45, 0xDF, 0xA3]
}

/// Converts the Matroska file `source` to `out` and checks the result. Blocks.
///
/// # Errors
/// When it is odd, damaged, cut off or has no metadata that can be converted;
/// when it cannot be read or written; when cancelled.
pub fn remux(
    source: &Path,
    out: &Path,
    options: Options,
    alive: &(dyn Fn() + Sync),
    cancel: &CancellationToken,
) -> Result<Verdict, Refusal> {
    let found = header(source)?;
    let mut hevc = found.hevc();
    let Some(base) = hevc.next().cloned() else {
        return Err(Failure::input("the first video track is not HEVC").into());
    };
    let layer = hevc.next().cloned();
    let beside = match &layer {
        Some(layer) if !has_metadata(source, &base)? => Some(beside(source, layer)?),
        _ => None,
    };
    let fps = base.default_duration.map_or(24.0, |nanos| 1e9 / nanos.max(1) as f64);
    let record = match base.dolby_record.as_deref().and_then(|record| record.get(..24)) {
        // 8.4 stays 8.4: its base layer is HLG.
        Some(record) if record[2] >> 1 == 8 => std::array::from_fn(|at| record[at]),
        _ => record(&base, fps, options.compatibility),
    };
    let growth = Arc::new(Growth::default());
    let job =
        Job { source, out, base: &base, layer: layer.as_ref(), record, growth, alive, cancel };
    let (changed, done, read) = job.run(options, beside.as_ref())?;
    check_whole(source, &changed, &base, &done)?;
    verify(out, &changed, &base, &done, (read, &record))
}

/// A film that is rewritten, and read again meanwhile.
struct Job<'a> {
    source: &'a Path,
    out: &'a Path,
    base: &'a Track,
    layer: Option<&'a Track>,
    record: [u8; 24],
    growth: Arc<Growth>,
    alive: &'a (dyn Fn() + Sync),
    cancel: &'a CancellationToken,
}

/// Metadata of a track of its own: times and units.
type Beside = Vec<(i64, Vec<u8>)>;

/// Ends the growth of a file however the writing ends, so that nobody waits.
struct Ending<'a>(&'a Growth);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Job<'_> {
    /// Writes the output; a second thread reads what is written a moment later, so
    /// that it comes from memory.
    fn run(
        &self,
        options: Options,
        beside: Option<&Beside>,
    ) -> Result<(Changed, Converted, Read), Refusal> {
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| read(self.out, self.base, &self.growth));
            let written = {
                let _ending = Ending(&self.growth);
                self.write(options, beside)
            };
            let read = reader.join();
            let (changed, done) = written?;
            let broke = |_| Failure::permanent("reading the output broke off");
            Ok((changed, done, read.map_err(broke)??))
        })
    }

    fn write(
        &self,
        options: Options,
        beside: Option<&Beside>,
    ) -> Result<(Changed, Converted), Refusal> {
        let scale = header(self.source)?.scale;
        let length = self.base.nal_length_bytes();
        let mut converter = Converter::new(options);
        let mut used = 0;
        let mut change = |packet: matroska::Packet<'_>, to: &mut Vec<u8>| {
            let units = nal::in_packet(packet.payload, length)?;
            // Both tracks are coded in the same order; the times must agree too.
            let same = |(time, _): &&(i64, Vec<u8>)| *time == packet.time;
            let entry = beside.and_then(|track| track.get(used)).filter(same);
            let rpu = entry.map(|(_, rpu)| rpu.as_slice());
            used += usize::from(rpu.is_some());
            let name = || format!("the picture at {:.3} s", seconds(packet.time, scale));
            converter.picture(units, rpu, &name, &mut |unit| put(unit, length, to))
        };
        let edits = Edits {
            track: self.base.number,
            record: Some(self.record),
            drop: beside.and(self.layer).map(|layer| layer.number),
            change: &mut change,
            alive: self.alive,
            growth: self.growth.clone(),
        };
        let changed = rewrite(self.source, self.out, edits, self.cancel)?;
        let layer_pictures = beside.map(|track| track.len() as u64);
        let done = converter.finish()?;
        if layer_pictures.is_some_and(|all| all != done.pictures || used as u64 != all) {
            let message = format!(
                "the base layer has {} pictures, the track with the metadata {}",
                done.pictures,
                layer_pictures.unwrap_or_default()
            );
            return Err(Failure::input(message).advise("rip the source again").into());
        }
        Ok((changed, done))
    }
}

/// The record of profile 8 for a track.
fn record(track: &Track, fps: f64, compatibility: u8) -> [u8; 24] {
    let side = |pixels: u64| u32::try_from(pixels).unwrap_or(u32::MAX);
    let level = dolby::level((side(track.size.0), side(track.size.1)), fps);
    DolbyKept { stream: 0, convert: true, compatibility, level }.record()
}

pub(super) fn seconds(time: i64, scale: u64) -> f64 {
    time as f64 * scale as f64 / 1e9
}

/// Whether the first pictures of a track have metadata.
fn has_metadata(source: &Path, track: &Track) -> Result<bool, Refusal> {
    const LOOKED_AT: u32 = 50;
    let (mut seen, mut has) = (0, false);
    let enough = || Failure::transient("enough seen");
    let length = track.nal_length_bytes();
    let looked = packets(source, &|number| number == track.number, &mut |packet| {
        let units = nal::in_packet(packet.payload, length)?;
        has |= units.iter().any(|unit| NalKind::of(unit) == Some(NalKind::RPU));
        seen += 1;
        if has || seen >= LOOKED_AT { Err(enough()) } else { Ok(()) }
    });
    match looked {
        Err(Refusal::Failed(failure)) if failure == enough() => Ok(has),
        Err(other) => Err(other),
        Ok(_) => Ok(has),
    }
}

/// The metadata of a track of its own, in coding order, with its times.
fn beside(source: &Path, layer: &Track) -> Result<Beside, Refusal> {
    let mut track = Vec::new();
    let length = layer.nal_length_bytes();
    packets(source, &|number| number == layer.number, &mut |packet| {
        let units = nal::in_packet(packet.payload, length)?;
        let mut rpus = units.iter().filter(|unit| NalKind::of(unit) == Some(NalKind::RPU));
        match (rpus.next(), rpus.next()) {
            (Some(_), Some(_)) => {
                return Err(Failure::input("a picture has Dolby Vision metadata twice"));
            }
            (Some(rpu), None) => track.push((packet.time, rpu.to_vec())),
            (None, _) => {}
        }
        Ok(())
    })?;
    if track.is_empty() {
        return Err(dolby::none_in_stream().into());
    }
    Ok(track)
}

/// Writes a unit into a packet.
pub(super) fn put(unit: &[u8], length_bytes: usize, to: &mut Vec<u8>) -> Result<(), Failure> {
    let length = unit.len().to_be_bytes();
    let (spare, stated) = length.split_at(length.len() - length_bytes.min(length.len()));
    if spare.iter().any(|byte| *byte != 0) {
        return Err(Failure::input("a NAL unit has become too long for its packet"));
    }
    to.extend_from_slice(stated);
    to.extend_from_slice(unit);
    Ok(())
}

/// Whether all of the source was there: tools write what they get of a file that
/// is cut off, and say nothing.
fn check_whole(
    source: &Path,
    changed: &Changed,
    base: &Track,
    done: &Converted,
) -> Result<(), Failure> {
    let incomplete = |why: String| {
        Failure::input(format!("{} is incomplete: {why}", source.display()))
            .advise("copy or rip it again")
    };
    if let Some(stated) = changed.stated_packets.filter(|stated| *stated != done.pictures) {
        return Err(incomplete(format!("{stated} pictures are stated, {} found", done.pictures)));
    }
    let last = changed.last as f64 / 1e9;
    let frame = base.default_duration.unwrap_or_default() as f64 / 1e9;
    // The last cluster begins up to half a minute before the end.
    let slack = END_TOLERANCE + 33.0 + frame;
    match changed.header.duration {
        Some(declared) if last + slack < declared => {
            Err(incomplete(format!("{declared:.1} s are declared, it ends at about {last:.1} s")))
        }
        _ => Ok(()),
    }
}
