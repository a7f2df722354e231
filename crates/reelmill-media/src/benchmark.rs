//! Measures how fast encoders are on this machine, on a film that FFmpeg makes up.

use crate::args::hardware::Way;
use crate::args::{self, Args};
use crate::progress::{Progress, ProgressParser};
use crate::tools::Tools;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::hdr::HdrKept;
use reelmill_core::media::{Colour, FieldOrder};
use reelmill_core::plan::VideoEncode;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Size of the picture: large enough that an encoder has work, small enough that the
/// slowest shows something.
const SIZE: (u32, u32) = (480, 272);

/// How long encoding is watched once the first frames are out.
const WATCHED: Duration = Duration::from_millis(600);

/// After so long a slow machine has shown what it will show.
const LIMIT: Duration = Duration::from_secs(8);

/// Thousands of pixels a second that each of `copies` encoders yields, with one thread
/// each, while all of them run: what a slot of a busy worker can do. Starting up is not
/// counted. `None` where nothing came out in time, or `cancel` ended it.
pub async fn benchmark(
    tools: &Tools,
    encoder: VideoEncoder,
    copies: u32,
    cancel: &CancellationToken,
) -> Option<f64> {
    // Most hardware takes few streams at once, and shares its time among them.
    let copies = if encoder.hardware().is_some() { 1 } else { copies.max(1) };
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..copies {
        let (tools, cancel) = (tools.clone(), cancel.child_token());
        running.spawn(async move { one(&tools, encoder, &cancel).await });
    }
    let mut speeds = Vec::new();
    while let Some(ended) = running.join_next().await {
        speeds.extend(ended.ok().flatten());
    }
    if cancel.is_cancelled() || speeds.is_empty() {
        return None;
    }
    Some(speeds.iter().sum::<f64>() / speeds.len() as f64)
}

async fn one(tools: &Tools, encoder: VideoEncoder, cancel: &CancellationToken) -> Option<f64> {
    let enough = cancel.child_token();
    let (mut parser, mut watched) = (ProgressParser::default(), Watched::default());
    let mut on_line = |line: &str| {
        if let Some(now) = parser.push(line)
            && watched.see(Instant::now(), now)
        {
            enough.cancel();
        }
    };
    let command = tools.ffmpeg(arguments(encoder)).limit(LIMIT);
    // Being stopped is how it is meant to end.
    let _ = command.run_lines_any(&enough, &mut on_line).await;
    let (width, height) = SIZE;
    Some(watched.fps()? * f64::from(width * height) / 1000.0)
}

/// The first and the last report in which frames were out.
#[derive(Debug, Default)]
struct Watched {
    first: Option<(Instant, u64)>,
    last: Option<(Instant, u64)>,
}

impl Watched {
    /// Takes a report; whether that is enough.
    fn see(&mut self, at: Instant, now: Progress) -> bool {
        if now.frames == 0 {
            return false;
        }
        let first = *self.first.get_or_insert((at, now.frames));
        self.last = Some((at, now.frames));
        now.frames > first.1 && at - first.0 >= WATCHED
    }

    fn fps(&self) -> Option<f64> {
        let ((begun, before), (ended, after)) = self.first.zip(self.last)?;
        let seconds = (ended - begun).as_secs_f64();
        (after > before && seconds > 0.0).then(|| (after - before) as f64 / seconds)
    }
}

fn arguments(encoder: VideoEncoder) -> Args {
    let (width, height) = SIZE;
    let encode = usual(encoder);
    let way = Way::of(encoder);
    let upload = way.map(|way| way.upload("yuv420p")).unwrap_or_default();
    let args = Args::new().words("-nostdin -hide_banner -nostats -v error");
    way.map_or(args.clone(), |way| args.join(way.device()))
        .words("-filter_threads 1 -f lavfi -i")
        .arg(format!("testsrc2=s={width}x{height}:r=25:d=3600"))
        .option("-vf", format!("format={}{upload}", encode.pixel_format))
        .join(args::encoder(&encode, "yuv420p"))
        .words("-progress pipe:1 -stats_period 0.1 -f null -")
}

/// How the built-in presets encode.
fn usual(encoder: VideoEncoder) -> VideoEncode {
    let speed = match encoder {
        VideoEncoder::SvtAv1 => Some("8"),
        VideoEncoder::Vp9 => Some("2"),
        _ => None,
    };
    VideoEncode {
        encoder,
        crf: encoder.crf_range().map(|(_, _, usual)| usual),
        target: None,
        speed: speed.map(str::to_owned),
        tune: None,
        keyframe_interval: 250,
        pixel_format: encoder.pixel_format("yuv420p").0.to_owned(),
        source_size: SIZE,
        turned: 0,
        size: SIZE,
        window: None,
        crop: false,
        deinterlace: false,
        tonemap: None,
        field_order: FieldOrder::Progressive,
        colour: Colour::default(),
        hdr: HdrKept::default(),
        threads: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[tokio::test]
    async fn every_encoder_shows_how_fast_it_is() {
        let tools = fixture::tools().await;
        let cancel = CancellationToken::new();
        let mut speeds = Vec::new();
        for encoder in VideoEncoder::SOFTWARE {
            let speed = benchmark(&tools, encoder, 1, &cancel).await;
            speeds.push(speed.unwrap_or_else(|| panic!("{encoder} shows nothing")));
        }
        assert!(speeds.iter().all(|speed| speed.is_finite() && *speed > 1.0), "{speeds:?}");
    }

    #[tokio::test]
    async fn what_does_not_work_or_is_stopped_shows_nothing() {
        let mut tools = fixture::tools().await;
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert_eq!(benchmark(&tools, VideoEncoder::X264, 2, &cancel).await, None);
        tools.ffmpeg = "/nowhere/ffmpeg".into();
        let speed = benchmark(&tools, VideoEncoder::X264, 2, &CancellationToken::new()).await;
        assert_eq!(speed, None);
    }

    #[test]
    fn starting_up_is_not_counted() {
        let (begun, mut watched) = (Instant::now(), Watched::default());
        let at = |millis| begun + Duration::from_millis(millis);
        let frames = |frames| Progress { frames, ..Progress::default() };
        assert!(!watched.see(at(500), frames(0)));
        assert!(!watched.see(at(1000), frames(10)));
        assert_eq!(watched.fps(), None);
        assert!(!watched.see(at(1500), frames(20)), "not watched for long enough");
        assert!(watched.see(at(2000), frames(30)));
        assert_eq!(watched.fps(), Some(20.0));
    }
}
