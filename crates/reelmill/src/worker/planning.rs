//! Looking at a film and planning it, so that its chunks begin with scenes where that
//! is worth looking.

use super::execute::source;
use reelmill_core::chunk::ByteRange;
use reelmill_core::container::Container;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::hardware::Hardware;
use reelmill_core::job::Request;
use reelmill_core::media::MediaInfo;
use reelmill_core::packets::{PacketIndex, Uncuttable};
use reelmill_core::plan::{Plan, PlanLimits, SourceFacts, plan, plan_at_scenes};
use reelmill_core::preset::Preset;
use reelmill_core::scene::{Look, Scenes, Scout, scout};
use reelmill_media::encode::VideoJob;
use reelmill_media::tools::Tools;
use reelmill_media::{layout, packets, probe, scene};
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// All that is needed to plan a conversion by `preset`: the probe, the packet index (or why there is
/// none) and the bytes every reader needs.
///
/// # Errors
/// When the source cannot be read or is not media.
pub(crate) async fn analyse(
    tools: &Tools,
    path: &Path,
    (preset, uncuttable): (&Preset, Option<Uncuttable>),
    cancel: &CancellationToken,
) -> Result<(MediaInfo, Result<PacketIndex, Uncuttable>, Vec<ByteRange>), Failure> {
    let media = probe::probe_for(tools, path, preset, cancel).await?;
    let index = match (uncuttable, media.video()) {
        (Some(reason), _) => Err(reason),
        (None, None) => Err(Uncuttable::Empty),
        (None, Some((stream, _))) => Ok(packets::index(tools, path, stream.index, cancel).await?),
    };
    let skeleton = layout::skeleton(path, &media.format).unwrap_or_default();
    Ok((media, index, skeleton))
}

/// Makes the plan for converting the source of `facts`, which lies at `path`. Pictures
/// are looked at where that is cheap and the source's keyframes do not tell its scenes;
/// when it fails, the plan is made without, and says so.
///
/// # Errors
/// As [`plan`]; when cancelled.
pub(crate) async fn plan_film(
    tools: &Tools,
    path: &Path,
    facts: SourceFacts<'_>,
    (preset, container): (&Preset, Container),
    limits: PlanLimits,
    cancel: &CancellationToken,
) -> Result<Plan, Failure> {
    let first = plan(facts.clone(), preset, container, limits)?;
    let Ok(index) = facts.index.clone() else { return Ok(first) };
    let scenes = match scout(&first, facts.media, index) {
        Scout::Needless => return Ok(first),
        Scout::TooDear(why) => Scenes { note: Some(told(&why)), ..Scenes::default() },
        Scout::Look { looks, seconds } => {
            let job = (path, &first, &facts);
            match look(tools, job, (&looks, seconds), cancel).await {
                Ok(starts) => Scenes { starts, note: None },
                Err(failure) if failure.class == FailureClass::Cancelled => return Err(failure),
                Err(failure) => {
                    tracing::warn!(%failure, "looking for scenes failed");
                    Scenes { note: Some(told(&failure.message)), ..Scenes::default() }
                }
            }
        }
    };
    plan_at_scenes(facts, &scenes, preset, container, limits)
}

/// The same for a job, which hardware may have failed before.
///
/// # Errors
/// As [`plan_film`].
pub(super) async fn plan_request(
    tools: &Tools,
    path: &Path,
    facts: SourceFacts<'_>,
    request: &Request,
    limits: PlanLimits,
    cancel: &CancellationToken,
) -> Result<Plan, Failure> {
    let mut preset = request.preset.clone();
    if let (Some(video), Some(_)) = (&mut preset.video, &request.hardware_failed) {
        video.hardware = Hardware::Off;
    }
    let wanted = (&preset, request.container);
    let mut plan = plan_film(tools, path, facts, wanted, limits, cancel).await?;
    if let (Some(encode), Some(why)) = (&plan.video.encode, &request.hardware_failed) {
        plan.notes.push(format!("{} encodes, not hardware: {why}", encode.encoder));
    }
    Ok(plan)
}

/// Why a plan knows no scenes.
fn told(why: &str) -> String {
    format!("chunks start at keyframes, not at scenes: {why}")
}

async fn look(
    tools: &Tools,
    (path, plan, facts): (&Path, &Plan, &SourceFacts<'_>),
    (looks, seconds): (&[Look], f64),
    cancel: &CancellationToken,
) -> Result<Vec<i64>, Failure> {
    let Some(encode) = &plan.video.encode else { return Ok(Vec::new()) };
    let job = VideoJob {
        source: source(path, facts.media, false),
        stream: plan.video.stream,
        time_base: plan.video.time_base,
        encode,
    };
    let cores = crate::farm::cores() as usize;
    scene::changes(tools, job, (looks, seconds), cores, cancel).await
}
