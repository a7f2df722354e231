//! Plans: the immutable list of what is done for one job, and why.

mod estimate;
mod picture;
mod pieces;
mod size;
mod sound;

pub use estimate::{copied, rough, usual_speed};

use crate::chunk::{ByteRange, Chunk};
use crate::container::{Container, OutputKind};
use crate::dolby::{self, DolbyKept, MetadataOnly};
use crate::encoder::VideoEncoder;
use crate::error::Failure;
use crate::hdr::{self, Keep};
use crate::media::{MediaInfo, Stream};
use crate::packets::{PacketIndex, Uncuttable};
use crate::preset::{ImagePreset, Preset};
use crate::rate::Rate;
use crate::scene::Scenes;
use crate::time::TimeBase;
use crate::tracks::{Dropped, TrackAction, TrackPlan, Tracks};
use estimate::estimate;
use picture::video_encode;
pub use picture::{ToneMapping, VideoEncode};
use pieces::{by_hardware, choose_cut, threads, whole};
use serde::{Deserialize, Serialize};
pub use size::Pieces;

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
    /// The picture; left out where the output has none.
    #[serde(default, skip_serializing_if = "VideoPlan::is_absent")]
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
    /// How it is encoded; nothing when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encode: Option<VideoEncode>,
    /// Which pass it is towards which size, where one is aimed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
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
    /// copied.
    Metadata {
        /// How.
        how: MetadataOnly,
        /// What the output has then.
        kept: DolbyKept,
    },
    /// No picture: the output is sound alone, made in one go. Nothing else that
    /// is said about the picture has a meaning then.
    Absent,
    /// A still picture, made in one go. What else is said about encoding has no
    /// meaning then.
    Still {
        /// How.
        image: ImagePreset,
    },
}

impl Default for VideoPlan {
    fn default() -> Self {
        Self { stream: 0, time_base: TimeBase::MICROS, encode: None, rate: None, cut: Cut::Absent }
    }
}

impl VideoPlan {
    /// Whether the output has no picture.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.cut == Cut::Absent
    }
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
    /// Hardware encodes it, faster than it could be cut up and put together.
    Hardware,
}

impl std::fmt::Display for WholeReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsafe(reason) => write!(f, "it cannot be cut safely: {reason}"),
            Self::Short => f.write_str("it is too short to gain from being cut"),
            Self::Busy => f.write_str("other work keeps every slot busy"),
            Self::OneSlot => f.write_str("only one encoder can run at a time here"),
            Self::Hardware => f.write_str("hardware encodes it"),
        }
    }
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
    /// The hardware encoder that some worker has proven, of those that the preset
    /// allows the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<VideoEncoder>,
}

/// Makes the plan for converting the source of `facts` with `preset` into
/// `container`, where nobody looked for its scenes.
///
/// # Errors
/// When the source has no picture, or its facts contradict the request.
pub fn plan(
    facts: SourceFacts<'_>,
    preset: &Preset,
    container: Container,
    limits: PlanLimits,
) -> Result<Plan, Failure> {
    plan_at_scenes(facts, &Scenes::default(), preset, container, limits)
}

/// The same with what is known of its `scenes`.
///
/// # Errors
/// As [`plan`].
pub fn plan_at_scenes(
    facts: SourceFacts<'_>,
    scenes: &Scenes,
    preset: &Preset,
    container: Container,
    limits: PlanLimits,
) -> Result<Plan, Failure> {
    if preset.remux {
        return metadata_only(facts, preset, container);
    }
    let SourceFacts { media, index, skeleton } = facts;
    preset.fits(container)?;
    match container.kind() {
        OutputKind::Sound => return sound::sound_alone(media, preset, container),
        OutputKind::Picture => return still(media, preset, container),
        OutputKind::Film if media.is_still() => {
            return Err(Failure::input("the source is a still picture")
                .advise("choose a format for pictures: webp, avif, jpg or png"));
        }
        OutputKind::Film => {}
    }
    let (stream, info) = media.video().ok_or_else(|| no_video(media))?;
    let wanted = preset.video.as_ref().ok_or_else(|| no_video(media))?;
    if stream.codec == "unknown" {
        return Err(Failure::input("the picture is coded in a way that this FFmpeg does not know")
            .advise("a newer FFmpeg may decode it: 'reelmill doctor' shows which one is used"));
    }
    let mut tracks = Tracks::decide(media, container, &preset.audio);
    let mut encode = video_encode(info, wanted, &mut tracks.notes)?;
    let picture = (encode.size, encode.pixel_format.as_str());
    if encode.tonemap.is_none() {
        encode.hdr = hdr::decide(info, wanted, container, picture, &mut tracks.notes)?;
    }
    if index.as_ref().is_ok_and(|index| index.packets.is_empty()) {
        return Err(Failure::input("the file holds no pictures, though its header tells of some")
            .advise("it is cut short or damaged: copy or download it again"));
    }
    let cut = match by_hardware(&mut encode, wanted, limits, &mut tracks.notes) {
        true => whole(media, WholeReason::Hardware),
        false => choose_cut(media, index.clone(), (&encode, &scenes.starts), limits),
    };
    tracks.notes.extend(scenes.note.clone());
    encode.threads = threads(&cut, limits);
    let time_base = stream.time_base.ok_or_else(|| no_time_base(stream))?;
    let rate = wanted.aim().map(Rate::new);
    let estimate = estimate(media, (info, index.ok()), &encode, &cut, limits);
    let estimate = estimate.towards(rate.as_ref(), media);
    let video = VideoPlan { stream: stream.index, time_base, encode: Some(encode), rate, cut };
    Ok(made(media, container, video, tracks, skeleton, estimate))
}

fn made(
    media: &MediaInfo,
    container: Container,
    video: VideoPlan,
    tracks: Tracks,
    skeleton: Vec<ByteRange>,
    estimate: Estimate,
) -> Plan {
    Plan {
        version: PLAN_VERSION,
        container,
        origin_micros: media.start_micros,
        video,
        tracks: tracks.kept,
        dropped: tracks.dropped,
        notes: tracks.notes,
        skeleton,
        source_bytes: media.size,
        estimate,
    }
}

/// The plan of a still picture.
fn still(media: &MediaInfo, preset: &Preset, container: Container) -> Result<Plan, Failure> {
    let (stream, info) = media.video().ok_or_else(|| {
        Failure::input("the source has no picture").advise("choose a picture: PNG, JPEG, GIF…")
    })?;
    if !media.is_still() && !["gif", "apng"].contains(&stream.codec.as_str()) {
        return Err(Failure::input(format!("the source is a film, {container} is for pictures"))
            .advise("choose a format for films"));
    }
    let cut = Cut::Still { image: preset.image.unwrap_or_default() };
    let pixels = f64::from(info.width) * f64::from(info.height);
    Ok(Plan {
        version: PLAN_VERSION,
        container,
        origin_micros: 0,
        video: VideoPlan { stream: stream.index, cut, ..VideoPlan::default() },
        tracks: Vec::new(),
        dropped: Vec::new(),
        notes: Vec::new(),
        skeleton: Vec::new(),
        source_bytes: media.size,
        estimate: Estimate { seconds: pixels / 4e6, bytes: (pixels / 4.0) as u64 },
    })
}

/// Nothing is encoded: every track but an enhancement layer's stays as it is.
fn metadata_only(
    facts: SourceFacts<'_>,
    preset: &Preset,
    container: Container,
) -> Result<Plan, Failure> {
    let SourceFacts { media, skeleton, .. } = facts;
    let (stream, info) = media.video().ok_or_else(|| no_video(media))?;
    if container != Container::Mkv {
        let message = format!("Dolby Vision metadata is converted in mkv only, not in {container}");
        return Err(Failure::permanent(message).advise("name the output .mkv"));
    }
    if stream.codec != "hevc" {
        let message = format!("Dolby Vision profile 7 is HEVC; this is {}", stream.codec);
        return Err(Failure::input(message).advise("choose a preset that encodes"));
    }
    let how = MetadataOnly {
        allow_fel_loss: preset.video.as_ref().is_some_and(|video| video.allow_fel_loss),
        hdr10plus: preset.video.as_ref().map_or(Keep::Keep, |video| video.hdr10plus),
    };
    let mut notes = Vec::new();
    let kept = dolby::for_metadata(info, how, &mut notes)?;
    let layer = Some(kept.stream).filter(|layer| *layer != stream.index);
    let mut tracks = Tracks::all(media, layer);
    notes.append(&mut tracks.notes);
    tracks.notes = notes;
    let time_base = stream.time_base.ok_or_else(|| no_time_base(stream))?;
    let cut = Cut::Metadata { how, kept };
    let video = VideoPlan { stream: stream.index, time_base, encode: None, rate: None, cut };
    let estimate = copied(media.size);
    // The times stay as they are, whatever they begin with.
    Ok(Plan { origin_micros: 0, ..made(media, container, video, tracks, skeleton, estimate) })
}

fn no_video(media: &MediaInfo) -> Failure {
    if media.audio().next().is_some() {
        return Failure::input("the source has sound but no picture").advise(
            "choose a format for sound alone, such as m4a or opus (see 'reelmill presets')",
        );
    }
    Failure::input("the source has no video stream").advise("is it a video file?")
}

fn no_time_base(stream: &Stream) -> Failure {
    Failure::input(format!("video stream {} has no time base", stream.index))
}

impl Plan {
    /// The chunks; empty when the video is encoded whole.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        match &self.video.cut {
            Cut::Chunks { chunks } => chunks,
            Cut::Whole { .. } | Cut::Metadata { .. } | Cut::Absent | Cut::Still { .. } => &[],
        }
    }

    /// Why the video is encoded whole, if it is.
    #[must_use]
    pub fn whole_reason(&self) -> Option<&WholeReason> {
        match &self.video.cut {
            Cut::Chunks { .. } | Cut::Metadata { .. } | Cut::Absent | Cut::Still { .. } => None,
            Cut::Whole { reason, .. } => Some(reason),
        }
    }

    /// Whether any audio track of a film is encoded anew, which is a task of its
    /// own.
    #[must_use]
    pub fn encodes_audio(&self) -> bool {
        !self.video.is_absent()
            && self
                .tracks
                .iter()
                .any(|track| matches!(track.action, TrackAction::EncodeAudio { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::StartsAt;
    use crate::media::{FieldOrder, StreamKind, VideoInfo};
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
        PlanLimits { slots, queued: 0, threads: 1, chunk_seconds: None, hardware: None }
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
    fn pictures_of_a_codec_that_ffmpeg_does_not_know_are_refused_as_that() {
        let mut media = film(120.0, picture());
        media.streams[0].codec = "unknown".into();
        let refused = make(&media, Ok(&stream(3000, 50)), &[], limits(2)).unwrap_err();
        assert_eq!(refused.class, crate::error::FailureClass::Input);
        assert!(refused.message.contains("does not know"), "{refused}");
    }

    #[test]
    fn what_a_plan_gives_goes_by_the_frames_that_are_there() {
        let index = stream(250, 50);
        let made = |seconds| {
            let media = film(seconds, picture());
            make(&media, Ok(&index), &[], limits(1)).unwrap().estimate
        };
        let whole = make(&film(143_165.0, picture()), Ok(&index), &[], limits(1)).unwrap();
        assert!(matches!(whole.video.cut, Cut::Whole { declared: Some(it), .. } if it < 11.0));
        let (honest, wrong) = (made(10.0), made(143_165.0));
        assert_eq!(honest.bytes, wrong.bytes);
        let rough = rough(VideoEncoder::X264, (1280, 720), 25.0, 10.0, 1);
        assert_eq!(honest, rough);
    }

    #[test]
    fn hardware_encodes_whole_and_only_what_it_can_do_as_well() {
        let index = stream(3000, 50);
        let nvenc = Some(VideoEncoder::H264Nvenc);
        let made = |info: VideoInfo, set: &[&str], hardware| {
            let limits = PlanLimits { hardware, ..limits(2) };
            make(&film(120.0, info), Ok(&index), set, limits).unwrap()
        };
        let encoder = |plan: &Plan| plan.video.encode.as_ref().unwrap().encoder;
        let plan = made(picture(), &["hardware=auto", "crf=24"], nvenc);
        assert_eq!(encoder(&plan), VideoEncoder::H264Nvenc);
        assert_eq!(plan.whole_reason(), Some(&WholeReason::Hardware));
        let encode = plan.video.encode.as_ref().unwrap();
        assert_eq!((encode.crf, &encode.speed), (Some(24.0), &None));
        assert_eq!(plan.work(1).and_then(|work| work.encode().map(|e| e.encoder)), nvenc);
        let ten = VideoInfo { pixel_format: "yuv420p10le".into(), ..picture() };
        let fields = VideoInfo { field_order: FieldOrder::TopFirst, ..picture() };
        let refused = [
            (picture(), vec!["hardware=auto"], None, "was proven"),
            (ten, vec!["hardware=auto"], nvenc, "takes no yuv420p10le"),
            (fields, vec!["hardware=auto"], nvenc, "cannot mark fields"),
            (picture(), vec!["hardware=auto", "target_score=0.98"], nvenc, "for a score"),
            (picture(), vec!["hardware=auto", "bitrate=800k"], nvenc, "holds no size"),
        ];
        for (info, set, hardware, why) in refused {
            let plan = made(info, &set, hardware);
            assert_eq!(encoder(&plan), VideoEncoder::X264, "{why}");
            assert!(plan.notes.iter().any(|note| note.contains(why)), "{why}: {:?}", plan.notes);
            assert!(!plan.chunks().is_empty(), "{why}");
        }
        let off = made(picture(), &[], nvenc);
        assert_eq!((encoder(&off), off.notes.len()), (VideoEncoder::X264, 0));
    }

    #[test]
    fn chunks_start_at_scenes_that_were_found() {
        let (media, index) = (film(120.0, picture()), stream(3000, 50));
        let preset = Presets::built_in().unwrap().get("h264", &[]).unwrap();
        let facts = SourceFacts { media: &media, index: Ok(&index), skeleton: vec![] };
        let starts: Vec<i64> = (1..30).map(|n| n * 103).collect();
        let note = Some("only some".to_owned());
        let scenes = Scenes { starts: starts.clone(), note };
        let plan = plan_at_scenes(facts, &scenes, &preset, preset.format, limits(2)).unwrap();
        assert!(plan.chunks().len() > 9);
        for chunk in &plan.chunks()[1..] {
            assert_eq!(chunk.starts_at, Some(StartsAt::Scene));
            assert!(starts.contains(&chunk.start), "{}", chunk.start);
        }
        assert_eq!(plan.chunks()[0].starts_at, None);
        assert!(plan.notes.contains(&"only some".to_owned()));
    }

    #[test]
    fn sizes_follow_the_request() {
        let size = |info: VideoInfo, set: &[&str]| {
            let plan = make(&film(8.0, info), Ok(&stream(200, 50)), set, limits(1)).unwrap();
            let encode = plan.video.encode.unwrap();
            (encode.size, encode.crop, plan.notes.len())
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
