//! Plans: the immutable list of what is done for one job, and why.

use crate::chunk::{ByteRange, Chunk};
use crate::container::Container;
use crate::cut::{ChunkLength, MIN_AUTO_SECONDS, cut};
use crate::encoder::{VideoEncoder, subsampled};
use crate::error::Failure;
use crate::media::{Colour, FieldOrder, Hdr, MediaInfo, Stream, VideoInfo};
use crate::packets::{PacketIndex, Uncuttable};
use crate::preset::{DolbyPreset, Preset, VideoPreset};
use crate::time::TimeBase;
use crate::tracks::{Dropped, TrackAction, TrackPlan, Tracks};
use serde::{Deserialize, Serialize};

/// Version of the stored form of [`Plan`].
pub const PLAN_VERSION: u32 = 1;

/// What is done for one job. Never edited: to change it, cancel and plan again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this form.
    pub version: u32,
    /// Output container.
    pub container: Container,
    /// When the source's earliest stream starts, microseconds: the zero of the
    /// output's clock.
    pub origin_micros: i64,
    /// The picture.
    pub video: VideoPlan,
    /// The other tracks, in source order.
    pub tracks: Vec<TrackPlan>,
    /// What the output will not have.
    pub dropped: Vec<Dropped>,
    /// Things worth telling.
    pub notes: Vec<String>,
    /// Bytes of the source that every reader needs (headers, indexes), so that a
    /// worker without the file can fetch only these and its chunk's; empty when
    /// the layout is not known and the whole file is needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skeleton: Vec<ByteRange>,
    /// Bytes of the source.
    pub source_bytes: u64,
    /// What it will take and give.
    pub estimate: Estimate,
}

/// What is known of a source when its plan is made.
#[derive(Debug, Clone)]
pub struct SourceFacts<'a> {
    /// The probe.
    pub media: &'a MediaInfo,
    /// The packet index of the main video stream, or why there is none.
    pub index: Result<&'a PacketIndex, Uncuttable>,
    /// Bytes that every reader needs; empty when not known.
    pub skeleton: Vec<ByteRange>,
}

/// What is done with the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoPlan {
    /// Stream index in the source.
    pub stream: u32,
    /// Seconds per tick of that stream; every tick below counts these.
    pub time_base: TimeBase,
    /// How it is encoded.
    pub encode: VideoEncode,
    /// In which pieces.
    pub cut: Cut,
}

/// In which pieces a video is encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cut", rename_all = "snake_case")]
pub enum Cut {
    /// In chunks.
    Chunks {
        /// In order.
        chunks: Vec<Chunk>,
    },
    /// In one piece.
    Whole {
        /// Why.
        reason: WholeReason,
        /// Seconds that the source declares, to check the output against.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        declared: Option<f64>,
    },
    /// Not encoded at all: Dolby Vision metadata is converted while the file is
    /// copied. What is said about encoding has no meaning then.
    Metadata {
        /// How.
        dolby: DolbyPreset,
    },
}

/// Why a video is encoded in one piece.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum WholeReason {
    /// It cannot be cut safely.
    Unsafe(Uncuttable),
    /// It is too short to gain from cutting.
    Short,
    /// Other work keeps all slots busy: cutting would not make it ready sooner.
    Busy,
    /// There is only one slot.
    OneSlot,
}

impl std::fmt::Display for WholeReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsafe(reason) => write!(f, "it cannot be cut safely: {reason}"),
            Self::Short => f.write_str("it is too short to gain from being cut"),
            Self::Busy => f.write_str("other work keeps every slot busy"),
            Self::OneSlot => f.write_str("only one encoder can run at a time here"),
        }
    }
}

/// How the picture is encoded: the same for every chunk of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoEncode {
    /// The encoder.
    pub encoder: VideoEncoder,
    /// Constant rate factor; `None` for lossless encoders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crf: Option<f64>,
    /// Speed setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    /// Tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<String>,
    /// Longest distance between keyframes, frames.
    pub keyframe_interval: u32,
    /// Pixel format to encode in, by FFmpeg's name.
    pub pixel_format: String,
    /// Size of the decoded, upright picture, pixels.
    pub source_size: (u32, u32),
    /// Size of the output picture, pixels.
    pub size: (u32, u32),
    /// Whether the picture is cut to its even part rather than scaled.
    #[serde(default)]
    pub crop: bool,
    /// Field order to mark the output with.
    pub field_order: FieldOrder,
    /// Colour description.
    pub colour: Colour,
    /// Encoder threads; 0 for as many as the machine has.
    pub threads: u32,
}

/// What a plan will take and give: rough, from general experience.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Seconds of wall time with the slots the plan was made for.
    pub seconds: f64,
    /// Bytes of output.
    pub bytes: u64,
}

/// What the planner knows of the farm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PlanLimits {
    /// Encoders that can run at once for this job.
    pub slots: u32,
    /// Tasks of other jobs already waiting for those slots.
    pub queued: u32,
    /// Threads of one encoder when several run beside each other.
    pub threads: u32,
    /// Chunk length the user asked for, seconds.
    #[serde(default)]
    pub chunk_seconds: Option<f64>,
}

/// Makes the plan for converting the source of `facts` with `preset` into
/// `container`.
///
/// # Errors
/// When the source has no picture, or its facts contradict the request.
pub fn plan(
    facts: SourceFacts<'_>,
    preset: &Preset,
    container: Container,
    limits: PlanLimits,
) -> Result<Plan, Failure> {
    let SourceFacts { media, index, skeleton } = facts;
    let (stream, info) = media.video().ok_or_else(|| no_video(media))?;
    let encoder = preset.video.encoder;
    if !container.holds_video(encoder.codec()) {
        let message = format!("{container} cannot hold {} video", encoder.codec());
        return Err(Failure::permanent(message).advise("choose another --format or preset"));
    }
    let mut tracks = Tracks::decide(media, container, &preset.audio);
    let mut encode = video_encode(info, &preset.video, &mut tracks.notes)?;
    let cut = match preset.dolby {
        Some(dolby) => metadata_only(stream, container, dolby, &mut tracks)?,
        None => choose_cut(media, index, limits),
    };
    encode.threads = threads(&cut, limits);
    let time_base = stream.time_base.ok_or_else(|| no_time_base(stream))?;
    let estimate = estimate(media, info, &encode, &cut, limits);
    Ok(Plan {
        version: PLAN_VERSION,
        container,
        origin_micros: media.start_micros,
        video: VideoPlan { stream: stream.index, time_base, encode, cut },
        tracks: tracks.kept,
        dropped: tracks.dropped,
        notes: tracks.notes,
        skeleton,
        source_bytes: media.size,
        estimate,
    })
}

/// Nothing is encoded: every track but an enhancement layer's stays as it is.
fn metadata_only(
    stream: &Stream,
    container: Container,
    dolby: DolbyPreset,
    tracks: &mut Tracks,
) -> Result<Cut, Failure> {
    if container != Container::Mkv {
        let message = format!("Dolby Vision metadata is converted in mkv only, not in {container}");
        return Err(Failure::permanent(message).advise("name the output .mkv"));
    }
    if stream.codec != "hevc" {
        let message = format!("Dolby Vision profile 7 is HEVC; this is {}", stream.codec);
        return Err(Failure::input(message).advise("choose a preset that encodes"));
    }
    tracks.notes = vec![
        "nothing is encoded: Dolby Vision becomes profile 8.1, the enhancement layer is taken out"
            .into(),
    ];
    Ok(Cut::Metadata { dolby })
}

fn no_video(media: &MediaInfo) -> Failure {
    if media.audio().next().is_some() {
        return Failure::input("the source has sound but no picture")
            .advise("choose a source with a video stream");
    }
    Failure::input("the source has no video stream").advise("is it a video file?")
}

fn no_time_base(stream: &Stream) -> Failure {
    Failure::input(format!("video stream {} has no time base", stream.index))
}

fn choose_cut(
    media: &MediaInfo,
    index: Result<&PacketIndex, Uncuttable>,
    limits: PlanLimits,
) -> Cut {
    let declared = media.video().and_then(|(stream, _)| stream.duration).or(media.duration);
    let whole = |reason| Cut::Whole { reason, declared };
    let index = match index {
        Ok(index) => index,
        Err(reason) => return whole(WholeReason::Unsafe(reason)),
    };
    let frames = match index.frames(&media.format) {
        Ok(frames) => frames,
        Err(reason) => return whole(WholeReason::Unsafe(reason)),
    };
    let ticks = frames.pts.ticks();
    let seconds = index.time_base.seconds(ticks[ticks.len() - 1] - ticks[0]);
    let length = match limits.chunk_seconds {
        Some(seconds) => ChunkLength::Fixed(seconds),
        None if limits.slots < 2 => return whole(WholeReason::OneSlot),
        None if limits.queued >= limits.slots => return whole(WholeReason::Busy),
        None if seconds < 2.0 * MIN_AUTO_SECONDS => return whole(WholeReason::Short),
        None => ChunkLength::Auto { slots: limits.slots },
    };
    let chunks = cut(&frames, length);
    if chunks.len() < 2 {
        return whole(WholeReason::Short);
    }
    Cut::Chunks { chunks }
}

/// A whole file may use the machine unless others wait for it too.
fn threads(cut: &Cut, limits: PlanLimits) -> u32 {
    match cut {
        Cut::Whole { reason: WholeReason::Busy, .. } | Cut::Chunks { .. } => limits.threads,
        Cut::Whole { .. } | Cut::Metadata { .. } => 0,
    }
}

fn video_encode(
    info: &VideoInfo,
    preset: &VideoPreset,
    notes: &mut Vec<String>,
) -> Result<VideoEncode, Failure> {
    let encoder = preset.encoder;
    let (pixel_format, whole) = encoder.pixel_format(&info.pixel_format);
    if !whole {
        notes.push(format!(
            "{} pixels become {pixel_format}, the nearest that {encoder} takes",
            info.pixel_format
        ));
    }
    let source_size = info.upright_size();
    if source_size.0 == 0 || source_size.1 == 0 {
        return Err(Failure::input("the video stream does not say how large its picture is")
            .advise("the picture is damaged, or larger than reelmill opens: check that it plays"));
    }
    let (size, crop) = output_size(source_size, preset, pixel_format, notes);
    let interlaced = info.field_order != FieldOrder::Progressive;
    let keep_fields = encoder.keeps_interlacing() && size == source_size;
    if interlaced && !keep_fields {
        notes.push(format!(
            "the interlaced picture is encoded as whole frames: {encoder} cannot mark fields"
        ));
    }
    note_hdr(info, notes);
    let fps = info.fps().filter(|fps| fps.is_finite() && *fps > 0.0).unwrap_or(25.0);
    Ok(VideoEncode {
        encoder,
        crf: preset.crf.or(encoder.crf_range().map(|(_, _, usual)| usual)),
        speed: preset.speed.clone(),
        tune: preset.tune.clone(),
        keyframe_interval: ((fps * preset.keyframe_seconds).round() as u32).clamp(1, 10_000),
        pixel_format: pixel_format.to_owned(),
        source_size,
        size,
        crop,
        field_order: if keep_fields { info.field_order } else { FieldOrder::Progressive },
        colour: info.colour.clone(),
        threads: 0,
    })
}

fn note_hdr(info: &VideoInfo, notes: &mut Vec<String>) {
    match info.hdr {
        Hdr::None | Hdr::Hlg => {}
        Hdr::Hdr10 => notes.push(
            "HDR10: the colour description is kept; mastering metadata is not carried yet".into(),
        ),
        Hdr::DolbyVision => {
            notes
                .push("Dolby Vision metadata is not carried over: the base picture is kept".into());
        }
    }
}

/// Output size, and whether it is reached by cropping one row or column.
fn output_size(
    source: (u32, u32),
    preset: &VideoPreset,
    pixel_format: &str,
    notes: &mut Vec<String>,
) -> ((u32, u32), bool) {
    let wanted = wanted_size(source, preset, notes);
    let (even_x, even_y) =
        if preset.encoder.needs_even_size() { subsampled(pixel_format) } else { (false, false) };
    let even = |size: u32, must: bool| if must { (size & !1).max(2) } else { size };
    let size = (even(wanted.0, even_x), even(wanted.1, even_y));
    let crop = wanted == source && size != source;
    if crop {
        notes.push(format!(
            "{}x{} is cut to {}x{}: {} needs even sizes with {pixel_format}",
            source.0, source.1, size.0, size.1, preset.encoder
        ));
    }
    (size, crop)
}

fn wanted_size(source: (u32, u32), preset: &VideoPreset, notes: &mut Vec<String>) -> (u32, u32) {
    let along = |size: u32, of: u32, other: u32| {
        let scaled = (f64::from(other) * f64::from(size) / f64::from(of) / 2.0).round() * 2.0;
        (scaled as u32).max(2)
    };
    let wanted = match (preset.width, preset.height) {
        (None, None) => return source,
        (Some(width), None) => (width, along(width, source.0, source.1)),
        (None, Some(height)) => (along(height, source.1, source.0), height),
        (Some(width), Some(height)) => (width, height),
    };
    if !preset.upscale && (wanted.0 > source.0 || wanted.1 > source.1) {
        notes.push(format!(
            "{}x{} would enlarge the picture, so it stays {}x{} (set upscale=true to enlarge)",
            wanted.0, wanted.1, source.0, source.1
        ));
        return source;
    }
    wanted
}

/// Million pixels a second that one thread encodes at usual speeds, and bits
/// for each pixel; from our own runs on a 2-core machine, order of magnitude.
fn experience(encoder: VideoEncoder) -> (f64, f64) {
    match encoder {
        VideoEncoder::X264 => (22.0, 0.08),
        VideoEncoder::X265 => (6.0, 0.05),
        VideoEncoder::SvtAv1 => (14.0, 0.04),
        VideoEncoder::Vp9 => (4.0, 0.06),
        VideoEncoder::Ffv1 => (60.0, 4.0),
    }
}

/// Thousands of pixels a second that one thread of `encoder` usually encodes.
#[must_use]
pub fn usual_speed(encoder: VideoEncoder) -> f64 {
    experience(encoder).0 * 1000.0
}

/// What `seconds` of video of `size` pixels at `fps` frames a second would take
/// and give, encoded in `slots` places at once.
#[must_use]
pub fn rough(
    encoder: VideoEncoder,
    size: (u32, u32),
    fps: f64,
    seconds: f64,
    slots: u32,
) -> Estimate {
    let all = f64::from(size.0) * f64::from(size.1) * fps * seconds;
    let (rate, bits) = experience(encoder);
    let bytes = (all * bits / 8.0) as u64;
    Estimate { seconds: all / 1e6 / rate / f64::from(slots.max(1)), bytes }
}

fn estimate(
    media: &MediaInfo,
    info: &VideoInfo,
    encode: &VideoEncode,
    cut: &Cut,
    limits: PlanLimits,
) -> Estimate {
    let duration = media.duration.unwrap_or(0.0);
    let pixels = f64::from(encode.size.0) * f64::from(encode.size.1);
    let all = pixels * info.fps().unwrap_or(25.0) * duration;
    let (rate, bits) = experience(encode.encoder);
    let parallel = match cut {
        Cut::Chunks { chunks } => (chunks.len() as u32).min(limits.slots),
        Cut::Whole { .. } | Cut::Metadata { .. } => 1,
    };
    let audio_bits: u64 = media.audio().filter_map(|(stream, _)| stream.bit_rate).sum();
    let bytes = (all * bits + audio_bits as f64 * duration) / 8.0;
    Estimate { seconds: all / 1e6 / rate / f64::from(parallel.max(1)), bytes: bytes as u64 }
}

impl Plan {
    /// The chunks; empty when the video is encoded whole.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        match &self.video.cut {
            Cut::Chunks { chunks } => chunks,
            Cut::Whole { .. } | Cut::Metadata { .. } => &[],
        }
    }

    /// Why the video is encoded whole, if it is.
    #[must_use]
    pub fn whole_reason(&self) -> Option<&WholeReason> {
        match &self.video.cut {
            Cut::Chunks { .. } | Cut::Metadata { .. } => None,
            Cut::Whole { reason, .. } => Some(reason),
        }
    }

    /// Whether any audio track is encoded anew.
    #[must_use]
    pub fn encodes_audio(&self) -> bool {
        self.tracks.iter().any(|track| matches!(track.action, TrackAction::EncodeAudio { .. }))
    }

    /// Every frame of the output, ticks; `None` when only decoding can tell.
    #[must_use]
    pub fn frames(&self) -> Option<Vec<i64>> {
        match &self.video.cut {
            Cut::Chunks { chunks } => {
                Some(chunks.iter().flat_map(|chunk| chunk.pts.ticks().iter().copied()).collect())
            }
            Cut::Whole { .. } | Cut::Metadata { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::StreamKind;
    use crate::packets::tests::stream;
    use crate::preset::Presets;
    use crate::task::TaskKind;
    use crate::time::Timestamp;
    use crate::work::Work;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn film(seconds: f64, info: VideoInfo) -> MediaInfo {
        let video = Stream {
            index: 0,
            codec: "h264".into(),
            profile: None,
            time_base: TimeBase::new(1, 25),
            start_ticks: Some(0),
            duration: Some(seconds),
            bit_rate: None,
            dispositions: vec!["default".into()],
            tags: BTreeMap::new(),
            kind: StreamKind::Video(info),
        };
        MediaInfo {
            format: "matroska,webm".into(),
            size: 50_000_000,
            duration: Some(seconds),
            start_micros: 0,
            streams: vec![video],
            chapters: vec![],
            tags: BTreeMap::new(),
        }
    }

    fn picture() -> VideoInfo {
        VideoInfo {
            width: 1280,
            height: 720,
            pixel_format: "yuv420p".into(),
            frame_rate: Some((25, 1)),
            ..VideoInfo::default()
        }
    }

    fn limits(slots: u32) -> PlanLimits {
        PlanLimits { slots, queued: 0, threads: 1, chunk_seconds: None }
    }

    fn make(
        media: &MediaInfo,
        index: Result<&PacketIndex, Uncuttable>,
        set: &[&str],
        limits: PlanLimits,
    ) -> Result<Plan, Failure> {
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        let preset = Presets::built_in().unwrap().get("h264", &set).unwrap();
        let facts = SourceFacts { media, index, skeleton: vec![] };
        plan(facts, &preset, preset.format, limits)
    }

    #[test]
    fn a_film_is_cut_when_slots_are_idle_and_whole_otherwise() {
        let (media, index) = (film(120.0, picture()), stream(3000, 50));
        let cut = |limits| make(&media, Ok(&index), &[], limits).unwrap();
        assert_eq!(cut(limits(2)).chunks().len(), 12);
        assert_eq!(cut(limits(1)).whole_reason(), Some(&WholeReason::OneSlot));
        let busy = PlanLimits { queued: 9, ..limits(2) };
        assert_eq!(cut(busy).whole_reason(), Some(&WholeReason::Busy));
        let damaged = Uncuttable::Damaged { message: "cut off".into() };
        let whole = make(&media, Err(damaged), &[], limits(2)).unwrap();
        assert!(whole.whole_reason().unwrap().to_string().contains("cut off"));
        let short = make(&film(8.0, picture()), Ok(&stream(200, 50)), &[], limits(2)).unwrap();
        assert_eq!(short.whole_reason(), Some(&WholeReason::Short));
    }

    #[test]
    fn sizes_follow_the_request() {
        let size = |info: VideoInfo, set: &[&str]| {
            let plan = make(&film(8.0, info), Ok(&stream(200, 50)), set, limits(1)).unwrap();
            (plan.video.encode.size, plan.video.encode.crop, plan.notes.len())
        };
        assert_eq!(size(picture(), &[]), ((1280, 720), false, 0));
        assert_eq!(size(picture(), &["width=640"]), ((640, 360), false, 0));
        assert_eq!(size(picture(), &["height=360"]), ((640, 360), false, 0));
        assert_eq!(size(picture(), &["width=1920"]), ((1280, 720), false, 1));
        assert_eq!(size(picture(), &["width=1920", "upscale=true"]), ((1920, 1080), false, 0));
        let turned = VideoInfo { rotation: 90, ..picture() };
        assert_eq!(size(turned, &[]), ((720, 1280), false, 0));
        let odd = VideoInfo { width: 161, height: 121, ..picture() };
        assert_eq!(size(odd, &[]), ((160, 120), true, 1));
    }

    #[test]
    fn the_last_chunks_get_more_threads() {
        let (media, index) = (film(120.0, picture()), stream(3000, 50));
        let plan = make(&media, Ok(&index), &[], limits(2)).unwrap();
        let threads = |waiting, slots| match plan.work(1).unwrap().among(waiting, slots) {
            Work::EncodeChunk { encode, .. } => encode.threads,
            other => panic!("{other:?}"),
        };
        assert_eq!(threads(2, 2), 1, "others wait for the cores");
        assert_eq!((threads(1, 2), threads(0, 2)), (2, 2));
        assert_eq!(threads(0, 1), 1, "a worker with one encoder has no core to spare");
    }

    #[test]
    fn sound_alone_is_refused() {
        let mut media = film(8.0, picture());
        media.streams.clear();
        let refused = make(&media, Err(Uncuttable::Empty), &[], limits(1)).unwrap_err();
        assert_eq!(refused.class, crate::error::FailureClass::Input);
    }

    #[test]
    fn a_plan_reads_the_same_after_storage() {
        let (media, index) = (film(120.0, picture()), stream(3000, 50));
        let plan = make(&media, Ok(&index), &[], limits(2)).unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
        let short = make(&film(20.0, picture()), Ok(&stream(500, 50)), &[], limits(2)).unwrap();
        insta::assert_json_snapshot!(short);
    }

    proptest! {
        #[test]
        fn every_task_of_a_plan_has_work_and_every_frame_one_task(
            frames in 30i64..4000, gop in 5i64..300, slots in 1u32..12,
            seconds in prop::option::of(0.5f64..40.0),
        ) {
            let index = stream(frames, gop.min(frames / 3));
            let media = film(frames as f64 / 25.0, picture());
            let limits = PlanLimits { chunk_seconds: seconds, ..limits(slots) };
            let plan = make(&media, Ok(&index), &[], limits).unwrap();
            let job = crate::id::JobId(uuid::Uuid::from_u128(1));
            let tasks = plan.tasks(job, 0, Timestamp(0));
            let mut covered = 0;
            for task in &tasks {
                let work = plan.work(task.id.number);
                match (task.kind, work) {
                    (TaskKind::EncodeChunk, Some(Work::EncodeChunk { chunk, .. })) => {
                        covered += chunk.pts.len();
                    }
                    (TaskKind::EncodeVideo, Some(Work::EncodeVideo { .. })) => covered += frames as usize,
                    (TaskKind::Finish, Some(Work::Finish)) => {}
                    (kind, work) => prop_assert!(false, "{:?} got {:?}", kind, work),
                }
            }
            prop_assert_eq!(covered, frames as usize);
            prop_assert!(plan.work(tasks.len() as u32 + 1).is_none());
        }
    }
}
