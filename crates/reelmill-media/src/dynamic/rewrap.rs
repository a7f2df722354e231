//! Puts metadata into an encoded file, packet by packet, and keeps every time.
//!
//! FFmpeg takes the packets out of the NUT file and puts them back; between, they
//! lie in an MP4 file, which states when each is decoded and when it is shown.

use super::{FrameMetadata, carrier};
use crate::args::{own_input, quiet};
use crate::encode::{STALL, remove};
use crate::hdr::access_unit;
use crate::hdr::access_unit::Assembler;
use crate::hdr::inject::{Metadata, write_with};
use crate::hdr::nal::{NalKind, read_all};
use crate::listing::list;
use crate::tools::Tools;
use reelmill_core::error::Failure;
use reelmill_core::time::TimeBase;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Gives the frames of `out` their metadata, in order of being shown.
pub(super) async fn rewrap(
    tools: &Tools,
    frames: Vec<FrameMetadata>,
    out: &Path,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let listing = list(tools, own_input(out), "v", cancel).await?;
    let stream = listing.only().ok_or_else(|| wrong("it holds no video"))?;
    let base = stream.time_base.ok_or_else(|| wrong("it has no time base"))?;
    let keys: Vec<u32> =
        (1u32..).zip(&stream.packets).filter(|(_, packet)| packet.key).map(|(n, _)| n).collect();
    let packets: Option<Vec<(i64, usize)>> =
        stream.packets.iter().map(|packet| Some((packet.pts?, packet.size as usize))).collect();
    let packets = packets.ok_or_else(|| wrong("a packet has no time"))?;
    let frames = in_stored_order(&packets, frames)?;
    let (raw, between) = (out.with_extension("raw"), out.with_extension("between.mp4"));
    let args = quiet().arg("-copyts").join(own_input(out));
    let args = args.words("-map 0:v:0 -c copy -f data").write(&raw);
    tools.ffmpeg(args).stall_after(STALL).run(cancel).await?;
    let job = Job { raw: raw.clone(), between: between.clone(), base, packets, keys, frames };
    let done = tokio::task::spawn_blocking(move || job.write()).await;
    let late =
        done.map_err(|e| Failure::transient(format!("writing metadata ended early: {e}")))??;
    remove(&raw).await?;
    let args = quiet()
        .words("-copyts -protocol_whitelist file -f mov")
        .open(&between)
        .words("-map 0:v:0 -c copy -bsf:v")
        .arg(format!("setts=pts=PTS-({late}):dts=DTS-({late})"))
        // MP4 has no track without a language; tags come from the source later.
        .words("-map_metadata -1 -map_metadata:s -1 -avoid_negative_ts disabled -f nut")
        .write(out);
    tools.ffmpeg(args).stall_after(STALL).run(cancel).await?;
    remove(&between).await
}

/// Metadata that is given in order of being shown, in order of being stored.
fn in_stored_order(
    packets: &[(i64, usize)],
    frames: Vec<FrameMetadata>,
) -> Result<Vec<FrameMetadata>, Failure> {
    if packets.len() != frames.len() {
        return Err(wrong(&format!("{} packets for {} frames", packets.len(), frames.len())));
    }
    let mut order: Vec<usize> = (0..packets.len()).collect();
    order.sort_by_key(|at| packets[*at].0);
    if order.windows(2).any(|pair| packets[pair[0]].0 == packets[pair[1]].0) {
        return Err(wrong("two packets have one time"));
    }
    let mut stored = vec![FrameMetadata::default(); frames.len()];
    for (at, frame) in order.into_iter().zip(frames) {
        stored[at] = frame;
    }
    Ok(stored)
}

fn wrong(why: &str) -> Failure {
    Failure::transient(format!("the encoded file cannot be given its HDR metadata: {why}"))
}

struct Job {
    raw: PathBuf,
    between: PathBuf,
    base: TimeBase,
    packets: Vec<(i64, usize)>,
    /// Numbers of the packets that decoding may start with, from 1.
    keys: Vec<u32>,
    frames: Vec<FrameMetadata>,
}

impl Job {
    /// Writes the file between; yields by how many of its ticks it is late.
    fn write(self) -> Result<i64, Failure> {
        let io = |error: std::io::Error| {
            Failure::io(format_args!("write {}", self.between.display()), &error)
        };
        let raw = std::fs::File::open(&self.raw).map_err(io)?;
        let mut raw = BufReader::with_capacity(1 << 20, raw);
        let file = std::fs::File::create(&self.between).map_err(io)?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&carrier::start()).map_err(io)?;
        // The first packet brings the parameter sets that tell the others apart.
        let mut assembler = Assembler::default();
        let mut sizes = Vec::with_capacity(self.packets.len());
        for ((_, size), frame) in self.packets.iter().zip(&self.frames) {
            let mut packet = vec![0; *size];
            raw.read_exact(&mut packet).map_err(io)?;
            let packet = one(&mut assembler, &packet, frame)?;
            sizes.push(u32::try_from(packet.len()).map_err(|_| wrong("a packet is too large"))?);
            file.write_all(&packet).map_err(io)?;
        }
        if raw.read(&mut [0]).map_err(io)? != 0 {
            return Err(wrong("its packets do not add up"));
        }
        let num = i64::from(self.base.num());
        let times: Vec<i64> = self.packets.iter().map(|(pts, _)| pts * num).collect();
        let index = carrier::index(self.base.den(), &times, &sizes, &self.keys);
        let (index, late) = index.ok_or_else(|| wrong("its times are too far apart"))?;
        file.write_all(&index).map_err(io)?;
        let mut file = file.into_inner().map_err(|error| io(error.into_error()))?;
        let media = sizes.iter().map(|size| u64::from(*size)).sum::<u64>();
        file.seek(SeekFrom::Start(carrier::SIZE_AT)).map_err(io)?;
        file.write_all(&carrier::media_size(media)).map_err(io)?;
        Ok(late)
    }
}

/// One packet with its metadata.
fn one(
    assembler: &mut Assembler,
    packet: &[u8],
    frame: &FrameMetadata,
) -> Result<Vec<u8>, Failure> {
    let mut units: Vec<access_unit::AccessUnit> = Vec::new();
    let mut take = |unit| {
        units.push(unit);
        Ok(())
    };
    read_all(packet, &mut |nal| assembler.push(nal, &mut take))?;
    assembler.end_of_packet(&mut take)?;
    let [unit] = &units[..] else {
        return Err(wrong(&format!("a packet holds {} pictures", units.len())));
    };
    if unit.of_kind(NalKind::RPU).next().is_some() {
        return Err(wrong("a frame has Dolby Vision metadata already"));
    }
    let metadata = Metadata { rpu: frame.rpu.as_deref(), hdr10_plus: frame.hdr10plus.as_deref() };
    let mut out = Vec::with_capacity(packet.len() + 1024);
    write_with(unit, metadata, &mut out)?;
    Ok(out)
}
