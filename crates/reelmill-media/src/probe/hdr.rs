//! HDR as the stream itself tells it, which a container may not.

use super::LIMIT;
use super::describe::{light, mastering};
use crate::args::{Args, quiet, source_input};
use crate::hdr::nal::{NalKind, read_all};
use crate::hdr::rpu::Rpu;
use crate::hdr::sei::{CONTENT_LIGHT, MASTERING_DISPLAY, messages};
use crate::headers;
use crate::tools::Tools;
use reelmill_core::dolby::DolbyVision;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::hdr::{ContentLight, MasteringDisplay};
use reelmill_core::media::{Hdr, MediaInfo, Stream, StreamKind, VideoInfo};
use serde_json::Value;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// How much of a stream FFmpeg is asked for where its pictures cannot be read in process,
/// seconds at its start, and at its end where it has Dolby Vision.
const LOOK: f64 = 2.0;

/// Most bytes of metadata that are kept of that.
const MOST: usize = 16 << 20;

/// Completes what the container says of the main video: mastering metadata,
/// HDR10+, Dolby Vision. What cannot be read is no reason to fail.
///
/// # Errors
/// When it is cancelled.
pub(super) async fn look(
    tools: &Tools,
    path: &Path,
    media: &mut MediaInfo,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let Some((stream, info)) = media.video().filter(|(stream, info)| candidate(stream, info))
    else {
        return Ok(());
    };
    let (index, hevc) = (stream.index, stream.codec == "hevc");
    let beside = media.streams.iter().find(|other| {
        let dolby = matches!(&other.kind, StreamKind::Video(info) if info.hdr == Hdr::DolbyVision);
        other.index != index && other.codec == "hevc" && dolby
    });
    let beside = beside.map(|stream| stream.index);
    let mut info = info.clone();
    let tracks = media.streams.iter().filter(|other| other.codec == "hevc").count();
    let read = if hevc && tracks == 1 { in_process(path).await } else { None };
    if let Some(found) = read {
        info.mastering = found.mastering.or(info.mastering);
        info.light = found.light.or(info.light);
        info.hdr10plus |= found.hdr10plus;
        info.dolby_vision = found.dolby_vision.map(|dolby| DolbyVision { stream: index, ..dolby });
        if info.dolby_vision.is_some() {
            info.hdr = Hdr::DolbyVision;
        }
    } else if hevc {
        units(tools, path, (index, None), &mut info, cancel).await?;
        if let (None, Some(other)) = (&info.dolby_vision, beside) {
            let mut found = VideoInfo::default();
            units(tools, path, (other, None), &mut found, cancel).await?;
            info.dolby_vision = found.dolby_vision;
        }
        if let Some(carrier) = info.dolby_vision.as_ref().map(|dolby| dolby.stream) {
            info.hdr = Hdr::DolbyVision;
            if let Some(end) = media.duration.filter(|end| *end > 2.0 * LOOK) {
                let mut last =
                    VideoInfo { dolby_vision: info.dolby_vision.take(), ..Default::default() };
                units(tools, path, (carrier, Some(end - LOOK)), &mut last, cancel).await?;
                info.dolby_vision = last.dolby_vision;
            }
        }
    } else {
        first_picture(tools, path, index, &mut info, cancel).await?;
    }
    let main = media.streams.iter_mut().find(|stream| stream.index == index);
    if let Some(Stream { kind: StreamKind::Video(video), .. }) = main {
        *video = info;
    }
    Ok(())
}

/// Whether a stream may hold such metadata.
fn candidate(stream: &Stream, info: &VideoInfo) -> bool {
    let deep = info.pixel_format.contains("10") || info.pixel_format.contains("12");
    info.hdr != Hdr::None || (stream.codec == "hevc" && deep)
}

/// What pictures all over the film say, read without a tool: starting one takes longer.
async fn in_process(path: &Path) -> Option<VideoInfo> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || headers::hdr(&path)).await.ok().flatten()
}

/// Reads the units of some seconds of a stream of HEVC, the first ones or those
/// `from` a time on.
async fn units(
    tools: &Tools,
    path: &Path,
    (stream, from): (u32, Option<f64>),
    info: &mut VideoInfo,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let args: Args = quiet()
        .maybe("-ss", from.map(|from| from.to_string()))
        .option("-t", LOOK.to_string())
        .join(source_input(path))
        .option("-map", format!("0:{stream}"))
        .words("-c copy -copyinkf -bsf:v hevc_mp4toannexb,filter_units=pass_types=39|62 -f data pipe:1");
    let command = tools.ffmpeg(args).limit(LIMIT).capture_limit(MOST);
    let Some(output) = forgiven(command.run(cancel).await)? else { return Ok(()) };
    let read = read_all(&output.stdout[..], &mut |nal| {
        note(nal, stream, info);
        Ok(())
    });
    if let Err(failure) = read {
        tracing::debug!(%failure, "metadata of the stream");
    }
    Ok(())
}

/// Takes in what a unit of `stream` says: that counts more than what the container
/// said.
pub(crate) fn note(nal: &[u8], stream: u32, info: &mut VideoInfo) {
    if NalKind::of(nal) == Some(NalKind::RPU) {
        if let Ok(rpu) = Rpu::parse(nal) {
            info.dolby_vision = Some(with(info.dolby_vision.take(), &rpu, stream));
        }
        return;
    }
    for message in messages(nal).unwrap_or_default() {
        match message.kind {
            MASTERING_DISPLAY => {
                info.mastering = display(&message.payload).or(info.mastering);
            }
            CONTENT_LIGHT => info.light = content(&message.payload).or(info.light),
            _ if message.is_hdr10_plus() => info.hdr10plus = true,
            _ => {}
        }
    }
}

/// What was seen so far and `rpu`: a film may have a full enhancement layer in
/// some scenes only.
fn with(seen: Option<DolbyVision>, rpu: &Rpu, stream: u32) -> DolbyVision {
    let mut all = seen.unwrap_or(DolbyVision {
        profile: rpu.profile(),
        layer: None,
        stream,
        levels: Vec::new(),
        source_max_pq: None,
    });
    all.layer = all.layer.max(rpu.layer());
    all.source_max_pq = all.source_max_pq.max(rpu.source_max_pq());
    all.levels.extend(rpu.levels());
    all.levels.sort_unstable();
    all.levels.dedup();
    all
}

/// The mastering display in a payload: green, blue, red, white, luminance.
pub(crate) fn display(payload: &[u8]) -> Option<MasteringDisplay> {
    let short = |at: usize| Some(u16::from_be_bytes(payload.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u32::from_be_bytes(payload.get(at..at + 4)?.try_into().ok()?));
    let point = |at| Some((short(at)?, short(at + 2)?));
    Some(MasteringDisplay {
        green: point(0)?,
        blue: point(4)?,
        red: point(8)?,
        white: point(12)?,
        max_luminance: long(16)?,
        min_luminance: long(20)?,
    })
}

/// The content light level in a payload; zeros say nothing.
pub(crate) fn content(payload: &[u8]) -> Option<ContentLight> {
    let short = |at: usize| Some(u16::from_be_bytes(payload.get(at..at + 2)?.try_into().ok()?));
    let light = ContentLight { max: short(0)?, average: short(2)? };
    (light != ContentLight::default()).then_some(light)
}

/// Decodes the first picture of another codec and takes what comes with it.
async fn first_picture(
    tools: &Tools,
    path: &Path,
    stream: u32,
    info: &mut VideoInfo,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let args = Args::new()
        .words("-v error -select_streams")
        .arg(stream.to_string())
        .words("-read_intervals %+#2 -show_frames -show_entries frame=pts:frame_side_data -of json")
        .join(source_input(path));
    let command = tools.ffprobe(args).limit(LIMIT).capture_limit(MOST);
    let Some(output) = forgiven(command.run(cancel).await)? else { return Ok(()) };
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let data = json["frames"][0]["side_data_list"].as_array();
    for data in data.into_iter().flatten() {
        match data["side_data_type"].as_str().unwrap_or_default() {
            "Mastering display metadata" => info.mastering = mastering(data).or(info.mastering),
            "Content light level metadata" => info.light = light(data).or(info.light),
            kind if kind.contains("2094-40") => info.hdr10plus = true,
            _ => {}
        }
    }
    Ok(())
}

/// What the container of the file at `path` records of Dolby Vision: profile,
/// level, compatibility, and whether metadata, enhancement and base are present.
///
/// # Errors
/// When the file cannot be read.
pub(crate) async fn dolby_record(
    tools: &Tools,
    path: &Path,
    cancel: &CancellationToken,
) -> Result<Option<(u8, u8, u8, [bool; 3])>, Failure> {
    let args = Args::new()
        .words("-v error -select_streams v:0 -show_entries stream_side_data -of json")
        .join(source_input(path));
    let output = tools.ffprobe(args).limit(LIMIT).capture_limit(MOST).run(cancel).await?;
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let data = json["streams"][0]["side_data_list"].as_array();
    let is_record = |data: &&Value| data["side_data_type"] == "DOVI configuration record";
    let found = data.into_iter().flatten().find(is_record);
    let number = |data: &Value, key: &str| data[key].as_u64().and_then(|n| u8::try_from(n).ok());
    Ok(found.and_then(|data| {
        let flag = |key| number(data, key) == Some(1);
        Some((
            number(data, "dv_profile")?,
            number(data, "dv_level")?,
            number(data, "dv_bl_signal_compatibility_id")?,
            ["rpu_present_flag", "el_present_flag", "bl_present_flag"].map(flag),
        ))
    }))
}

fn forgiven<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(failure) if failure.class == FailureClass::Cancelled => Err(failure),
        Err(failure) => {
            tracing::debug!(%failure, "metadata of the stream");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_that_real_encoders_wrote_are_read() {
        let mut info = VideoInfo::default();
        for unit in
            ["4e01891833c286c41d4c0bb884d03e803d13404200989680000003000180", "4e01900403e8019080"]
        {
            note(&hex::decode(unit).unwrap(), 0, &mut info);
        }
        let display = info.mastering.unwrap();
        let want = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)";
        assert_eq!(display.to_string(), want);
        assert_eq!(info.light, Some(ContentLight { max: 1000, average: 400 }));
    }
}
