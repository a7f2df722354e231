//! `reelmill plan`: what would be done, and why. Writes nothing.

use super::args::{Common, PlanArgs};
use super::choice::{choose, kind_of};
use super::convert::check_input;
use super::folder::kind;
use super::out;
use crate::exit::{Ending, Exit};
use crate::farm;
use crate::worker::{analyse, no_index, plan_film};
use reelmill_core::chunk::StartsAt;
use reelmill_core::hdr::HdrKept;
use reelmill_core::plan::{Cut, Plan, PlanLimits, SourceFacts, VideoPlan};
use reelmill_core::rate::{Aim, MOST_PASSES, Rate};
use reelmill_core::tracks::TrackAction;
use tokio_util::sync::CancellationToken;

/// Runs the command.
pub(crate) async fn run(args: PlanArgs, common: &Common) -> Result<Exit, Ending> {
    let preset = choose(&args.encode, None, kind(&args.input).map(kind_of))?.preset;
    let tools = common.tools().await?;
    let cancel = CancellationToken::new();
    check_input(&tools, &args.input, &preset, &cancel).await?;
    let wanted = (&preset, no_index(&preset, preset.format));
    let (media, index, skeleton) = analyse(&tools, &args.input, wanted, &cancel).await?;
    let slots = args.encode.workers.unwrap_or_else(farm::cores);
    let limits = PlanLimits {
        slots,
        queued: 0,
        threads: (farm::cores() / slots).max(1),
        chunk_seconds: args.encode.chunk_seconds,
        hardware: farm::hardware_for(&tools, &preset, &cancel).await,
    };
    let index = index.as_ref().map_err(Clone::clone);
    let facts = SourceFacts { media: &media, index, skeleton };
    let wanted = (&preset, preset.format);
    let plan = plan_film(&tools, &args.input, facts, wanted, limits, &cancel).await?;
    if common.json {
        out::json(&plan);
    } else {
        for line in tell(&plan) {
            out::line(&line);
        }
    }
    Ok(Exit::Done)
}

/// A plan for people.
fn tell(plan: &Plan) -> Vec<String> {
    let mut lines = vec![tell_picture(&plan.video)];
    lines.extend(plan.video.rate.as_ref().map(tell_size));
    let kept = match (&plan.video.encode, &plan.video.cut) {
        (Some(encode), _) => tell_hdr(&encode.hdr),
        (None, Cut::Metadata { kept, .. }) => {
            tell_hdr(&HdrKept { dolby_vision: Some(*kept), ..HdrKept::default() })
        }
        (None, _) => None,
    };
    lines.extend(kept);
    lines.extend(tell_cut(plan));
    for track in &plan.tracks {
        lines.push(format!("track     stream {}: {}", track.stream, tell_action(&track.action)));
    }
    for dropped in &plan.dropped {
        lines.push(format!(
            "dropped   stream {} ({}): {}",
            dropped.stream, dropped.what, dropped.reason
        ));
    }
    lines.extend(plan.notes.iter().map(|note| format!("note      {note}")));
    lines.push(format!(
        "output    {}, about {} in about {}",
        plan.container,
        out::bytes(plan.estimate.bytes),
        out::seconds(plan.estimate.seconds)
    ));
    lines
}

fn tell_picture(video: &VideoPlan) -> String {
    let Some(encode) = &video.encode else {
        if video.is_absent() {
            return "picture   none: sound alone".to_owned();
        }
        if let Cut::Still { image } = video.cut {
            return format!("picture   stream {}: quality {}", video.stream, image.quality);
        }
        return format!("picture   stream {}: hevc as it is, nothing is encoded", video.stream);
    };
    format!(
        "picture   stream {}: {} {}x{} {}{}{}",
        video.stream,
        encode.encoder,
        encode.size.0,
        encode.size.1,
        encode.pixel_format,
        encode.crf.map_or(String::new(), |crf| format!(", crf {crf}")),
        encode.speed.as_ref().map_or(String::new(), |speed| format!(", speed {speed}")),
    )
}

fn tell_size(rate: &Rate) -> String {
    match rate.aim {
        Aim::Bitrate { bits } => format!(
            "size      {:.0} kb/s of picture on average, one rate factor for all, in 2 to \
             {MOST_PASSES} passes",
            bits as f64 / 1000.0
        ),
        Aim::MaxSize { bytes } => format!(
            "size      at most {}; with more, another rate factor for all, in up to \
             {MOST_PASSES} passes",
            out::bytes(bytes)
        ),
    }
}

/// What is kept of the source's HDR, beside its colour description.
fn tell_hdr(hdr: &HdrKept) -> Option<String> {
    let light = |value: u32| f64::from(value) / 10_000.0;
    let mastering = hdr.mastering.map(|display| {
        format!(
            "mastered on {} to {} nits",
            light(display.min_luminance),
            light(display.max_luminance)
        )
    });
    let content = hdr.light.map(|content| {
        format!("content up to {} nits, frames to {}", content.max, content.average)
    });
    let plus = hdr.hdr10plus.then(|| "HDR10+ of every frame".to_owned());
    let dolby =
        hdr.dolby_vision.map(|kept| format!("Dolby Vision profile 8.{}", kept.compatibility));
    let kept: Vec<String> = [mastering, content, plus, dolby].into_iter().flatten().collect();
    (!kept.is_empty()).then(|| format!("hdr       kept: {}", kept.join("; ")))
}

fn tell_cut(plan: &Plan) -> Vec<String> {
    let base = plan.video.time_base;
    match &plan.video.cut {
        Cut::Whole { reason, .. } => vec![format!("chunks    none, in one piece: {reason}")],
        Cut::Metadata { .. } | Cut::Absent | Cut::Still { .. } => Vec::new(),
        Cut::Chunks { chunks } => {
            let frames: usize = chunks.iter().map(|chunk| chunk.pts.len()).sum();
            let mut lines = vec![format!("chunks    {} of {frames} frames in all", chunks.len())];
            lines.extend(chunks.iter().map(|chunk| {
                format!(
                    "  {:>6}  from {:>10.3} s, {:>6} frames{}",
                    chunk.number,
                    base.seconds(chunk.start),
                    chunk.pts.len(),
                    chunk.starts_at.map_or("", tell_start)
                )
            }));
            lines
        }
    }
}

fn tell_start(starts_at: StartsAt) -> &'static str {
    match starts_at {
        StartsAt::Scene => ", at a scene",
        StartsAt::Interval => ", where a keyframe is due",
        StartsAt::Keyframe => ", at a keyframe of the source",
        StartsAt::Balance => ", to balance the work",
    }
}

fn tell_action(action: &TrackAction) -> String {
    match action {
        TrackAction::CopyAudio => "audio, as it is".into(),
        TrackAction::EncodeAudio { codec, bit_rate, channels, loudness, extra } => {
            let rate =
                if *bit_rate > 0 { format!(", {} kb/s", bit_rate / 1000) } else { String::new() };
            let loud = loudness
                .map_or(String::new(), |loud| format!(", brought to {} LUFS", loud.integrated));
            let what = if *extra { "added: audio" } else { "audio" };
            format!("{what} to {}{rate}, {channels} channels{loud}", codec.codec())
        }
        TrackAction::Subtitle { fate } => match fate {
            reelmill_core::container::SubtitleFate::Copy => "subtitles, as they are".into(),
            other => format!("subtitles, converted ({other:?})"),
        },
        TrackAction::Attachment => "attachment".into(),
        TrackAction::Cover => "cover art".into(),
    }
}
