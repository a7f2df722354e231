//! Looks for changes of scene in stretches of a film, several at a time.

use crate::args::{self, VideoArgs};
use crate::encode::VideoJob;
use crate::process::ToolCommand;
use crate::tools::Tools;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::plan::VideoEncode;
use reelmill_core::scene::{self, Look};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A stretch that gives no sign of life for so long is given up.
const STALL: Duration = Duration::from_secs(30);

/// All stretches together are given up after this long, beyond what was predicted:
/// the machine may be busy, but a job that could begin must not wait for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far a prediction of the time it takes may be off.
const DOUBT: f64 = 10.0;

/// The frames (ticks, ascending) that begin scenes within `looks`, which were predicted
/// to take `seconds` of one core; `at_once` stretches are decoded beside each other.
///
/// # Errors
/// When FFmpeg fails on one of them, or it takes much longer than predicted.
pub async fn changes(
    tools: &Tools,
    job: VideoJob<'_>,
    (looks, seconds): (&[Look], f64),
    at_once: usize,
    cancel: &CancellationToken,
) -> Result<Vec<i64>, Failure> {
    let limit = PATIENCE + Duration::from_secs_f64(seconds.max(0.0) * DOUBT);
    // One thread each: there are as many stretches at once as there are cores.
    let encode = VideoEncode { threads: 1, ..job.encode.clone() };
    let video = VideoArgs { encode: &encode, ..job.args() };
    let commands = looks.iter().map(|look| {
        let command = tools.ffmpeg(args::scene_changes(video, *look)).stall_after(STALL);
        (command, *look)
    });
    let work = all(commands, at_once.max(1), cancel);
    let mut scores = tokio::time::timeout(limit, work).await.map_err(|_| {
        let message = format!("not done within {:.0} s", limit.as_secs_f64());
        Failure::new(FailureClass::Timeout, message)
    })??;
    scores.sort_by_key(|(pts, _)| *pts);
    Ok(scene::changes(&scores))
}

/// Runs the commands, `at_once` at a time; dropping it ends them.
async fn all(
    commands: impl Iterator<Item = (ToolCommand, Look)>,
    at_once: usize,
    cancel: &CancellationToken,
) -> Result<Vec<(i64, f64)>, Failure> {
    let mut running = JoinSet::new();
    let mut scores = Vec::new();
    let mut take = |done: Result<Result<Vec<(i64, f64)>, Failure>, tokio::task::JoinError>| {
        let found = done.map_err(|error| Failure::transient(format!("a task ended: {error}")))?;
        scores.extend(found?);
        Ok::<(), Failure>(())
    };
    for (command, look) in commands {
        if running.len() >= at_once
            && let Some(done) = running.join_next().await
        {
            take(done)?;
        }
        running.spawn(one(command, look, cancel.clone()));
    }
    while let Some(done) = running.join_next().await {
        take(done)?;
    }
    Ok(scores)
}

/// How much each frame of `look` changed.
async fn one(
    command: ToolCommand,
    look: Look,
    cancel: CancellationToken,
) -> Result<Vec<(i64, f64)>, Failure> {
    let mut scores = Vec::new();
    let mut time = None;
    let mut on_line = |line: &str| {
        if let Some(pts) = args::read_time(line) {
            time = Some(pts);
        } else if let (Some(pts), Some(score)) = (time, args::read_change(line))
            && (look.from..look.until).contains(&pts)
        {
            scores.push((pts, score));
        }
    };
    command.run_lines(&cancel, &mut on_line).await?;
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Source;
    use crate::fixture;
    use crate::{packets, probe};
    use reelmill_core::plan::{Plan, PlanLimits, SourceFacts, plan, plan_at_scenes};
    use reelmill_core::preset::Presets;
    use reelmill_core::scene::{Scenes, Scout, scout};
    use std::path::{Path, PathBuf};

    /// 12 s of four scenes, at frames 67, 149 and 233 of 300, with a keyframe each
    /// second whatever happens.
    async fn film(dir: &Path) -> PathBuf {
        let parts = [(67, "testsrc2"), (82, "mandelbrot"), (84, "smptebars"), (67, "rgbtestsrc")];
        let inputs: String = parts
            .map(|(frames, name)| {
                let seconds = f64::from(frames) / 25.0;
                format!("-f lavfi -t {seconds} -i {name}=s=160x120:r=25 ")
            })
            .concat();
        let args = format!(
            "{inputs} -filter_complex concat=n=4,format=yuv420p -c:v libx264 -preset ultrafast \
             -bf 2 -g 25 -sc_threshold 0 -threads 1 film.mp4"
        );
        fixture::ffmpeg(dir, &args).await;
        dir.join("film.mp4")
    }

    /// Plans the film with and without its scenes.
    async fn planned(tools: &Tools, path: &Path) -> (Plan, Vec<i64>, Plan) {
        let cancel = CancellationToken::new();
        let media = probe::probe(tools, path, &cancel).await.unwrap();
        let index = packets::index(tools, path, 0, &cancel).await.unwrap();
        let facts = SourceFacts { media: &media, index: Ok(&index), skeleton: Vec::new() };
        let preset = Presets::built_in().unwrap().get("hevc", &["speed=slow".into()]).unwrap();
        let limits = PlanLimits {
            slots: 2,
            queued: 0,
            threads: 1,
            chunk_seconds: Some(3.0),
            hardware: None,
        };
        let first = plan(facts.clone(), &preset, preset.format, limits).unwrap();
        let looks = vec![Look { preroll: None, from: 0, until: i64::MAX }];
        let encode = first.video.encode.as_ref().unwrap();
        let source = Source {
            path,
            start_micros: media.start_micros,
            codec: "h264",
            pixel_format: "yuv420p",
            partial: false,
        };
        let job = VideoJob { source, stream: 0, time_base: first.video.time_base, encode };
        let starts = changes(tools, job, (&looks, 1.0), 2, &cancel).await.unwrap();
        // So small a film is not worth a look by itself: a process costs more.
        assert!(matches!(scout(&first, &media, &index), Scout::TooDear(_)));
        let scenes = Scenes { starts: starts.clone(), note: None };
        let second = plan_at_scenes(facts, &scenes, &preset, preset.format, limits).unwrap();
        (first, starts, second)
    }

    #[tokio::test]
    async fn scenes_are_found_to_the_frame_and_chunks_start_there() {
        let (dir, tools) = (tempfile::tempdir().unwrap(), fixture::tools().await);
        let path = film(dir.path()).await;
        let (first, starts, second) = planned(&tools, &path).await;
        let base = first.video.time_base;
        let frame = |ticks: &i64| (base.seconds(*ticks) * 25.0).round() as i64;
        assert_eq!(starts.iter().map(frame).collect::<Vec<_>>(), [67, 149, 233]);
        let cuts = |plan: &Plan| -> Vec<i64> {
            plan.chunks().iter().map(|chunk| frame(&chunk.start)).collect()
        };
        assert_eq!(cuts(&first), [0, 75, 150, 225]);
        assert_eq!(cuts(&second), [0, 67, 149, 233]);
        let plain = |plan: &Plan| plan.frames();
        assert_eq!(plain(&first), plain(&second));
    }

    #[tokio::test]
    async fn what_cannot_be_looked_at_is_a_failure_and_not_no_scene() {
        let (dir, tools) = (tempfile::tempdir().unwrap(), fixture::tools().await);
        let path = film(dir.path()).await;
        let (first, ..) = planned(&tools, &path).await;
        let encode = first.video.encode.as_ref().unwrap();
        let gone = dir.path().join("gone.mp4");
        let source = Source {
            path: &gone,
            start_micros: 0,
            codec: "h264",
            pixel_format: "yuv420p",
            partial: false,
        };
        let job = VideoJob { source, stream: 0, time_base: first.video.time_base, encode };
        let look = Look { preroll: None, from: 0, until: 100_000 };
        let cancel = CancellationToken::new();
        let failure = changes(&tools, job, (&[look, look, look], 1.0), 2, &cancel).await;
        assert!(failure.unwrap_err().message.contains("gone.mp4"));
    }
}
