//! Proves which encoders work on this machine, and which build each is.

use crate::args::{Args, hardware};
use crate::process::ToolOutput;
use crate::tools::Tools;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::error::Failure;
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A trial takes a tenth of a second; a busy machine may need longer.
const LIMIT: Duration = Duration::from_secs(60);

/// A trial of one encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderTrial {
    /// The encoder.
    pub encoder: VideoEncoder,
    /// Its fingerprint, or why it cannot be used, in one sentence. Encoders
    /// with equal fingerprints write equal bytes, so that their chunks fit
    /// together: the fingerprint covers the version of FFmpeg, the version that
    /// the encoder's library states, and the bytes of the trial.
    pub outcome: Result<String, String>,
}

/// The encoder by FFmpeg's name.
#[must_use]
pub fn ffmpeg_encoder_name(encoder: VideoEncoder) -> &'static str {
    match encoder {
        VideoEncoder::X264 => "libx264",
        VideoEncoder::X265 => "libx265",
        VideoEncoder::SvtAv1 => "libsvtav1",
        VideoEncoder::Vp9 => "libvpx-vp9",
        VideoEncoder::Ffv1 => "ffv1",
        VideoEncoder::H264Nvenc => "h264_nvenc",
        VideoEncoder::HevcNvenc => "hevc_nvenc",
        VideoEncoder::Av1Nvenc => "av1_nvenc",
        VideoEncoder::H264Qsv => "h264_qsv",
        VideoEncoder::HevcQsv => "hevc_qsv",
        VideoEncoder::Av1Qsv => "av1_qsv",
        VideoEncoder::H264Vaapi => "h264_vaapi",
        VideoEncoder::HevcVaapi => "hevc_vaapi",
        VideoEncoder::Av1Vaapi => "av1_vaapi",
        VideoEncoder::H264Amf => "h264_amf",
        VideoEncoder::HevcAmf => "hevc_amf",
        VideoEncoder::Av1Amf => "av1_amf",
        VideoEncoder::H264Videotoolbox => "h264_videotoolbox",
        VideoEncoder::HevcVideotoolbox => "hevc_videotoolbox",
    }
}

/// Encodes a few small frames with each of `encoders`, two at a time; the outcomes
/// are in their order.
pub async fn prove_encoders(
    tools: &Tools,
    encoders: &[VideoEncoder],
    cancel: &CancellationToken,
) -> Vec<EncoderTrial> {
    let mut trials = Vec::new();
    for pair in encoders.chunks(2) {
        match *pair {
            [one, two] => {
                let (one, two) = tokio::join!(prove(tools, one, cancel), prove(tools, two, cancel));
                trials.extend([one, two]);
            }
            _ => {
                for encoder in pair {
                    trials.push(prove(tools, *encoder, cancel).await);
                }
            }
        }
    }
    trials
}

/// Tries one encoder.
pub async fn prove(
    tools: &Tools,
    encoder: VideoEncoder,
    cancel: &CancellationToken,
) -> EncoderTrial {
    if let Some(kind) = encoder.hardware()
        && !hardware::may_be(kind, &devices())
    {
        let message = match hardware::signs(kind) {
            [] => "no such hardware on this system".to_owned(),
            signs => {
                let signs = signs.join(", ");
                format!("no such hardware: {} has none of {signs}", devices().display())
            }
        };
        return EncoderTrial { encoder, outcome: Err(message) };
    }
    let output = trial(tools, encoder, cancel).await;
    let outcome = output
        .map_err(|failure| failure.message)
        .and_then(|output| fingerprint(&tools.version.text, &output));
    EncoderTrial { encoder, outcome }
}

/// Where devices lie; tests have some that are none.
fn devices() -> PathBuf {
    let named = std::env::var_os("REELMILL_TEST_DEVICES").filter(|_| cfg!(debug_assertions));
    named.map_or_else(|| PathBuf::from(hardware::DEVICES), PathBuf::from)
}

/// Encodes single-threaded, for the bytes must not depend on the machine.
async fn trial(
    tools: &Tools,
    encoder: VideoEncoder,
    cancel: &CancellationToken,
) -> Result<ToolOutput, Failure> {
    // At level info, x265 and SVT-AV1 state their versions.
    let args = Args::new().args(["-nostdin", "-hide_banner", "-nostats", "-v", "info"]);
    let args = match hardware::Way::of(encoder) {
        // Hardware takes no pictures so small as software does.
        Some(way) => args
            .join(way.device())
            .args(["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25", "-frames:v", "8", "-vf"])
            .arg(format!("format=yuv420p{}", way.upload("yuv420p")))
            .args(["-c:v", ffmpeg_encoder_name(encoder), "-g", "8"])
            .join(way.quality(encoder.crf_range().map(|range| range.2))),
        None => args
            .args(["-f", "lavfi", "-i", "testsrc2=s=64x64:r=25"])
            .args(["-frames:v", "8", "-pix_fmt", "yuv420p"])
            .args(["-c:v", ffmpeg_encoder_name(encoder), "-threads", "1"])
            .args(settings(encoder)),
    };
    let args = args.args(["-f", "rawvideo", "pipe:1"]);
    tools.ffmpeg(args).limit(LIMIT).capture_limit(1 << 20).run(cancel).await
}

/// Fast settings, with the options that encoding relies on.
fn settings(encoder: VideoEncoder) -> &'static [&'static str] {
    match encoder {
        VideoEncoder::X264 => &["-preset", "veryfast", "-x264-params", "stitchable=1"],
        VideoEncoder::X265 => &[
            "-preset",
            "ultrafast",
            // The settings that x265 notes in the stream name the processor.
            "-x265-params",
            "info=0:pools=none:frame-threads=1",
        ],
        VideoEncoder::SvtAv1 => &["-preset", "10", "-svtav1-params", "lp=1"],
        VideoEncoder::Vp9 => &["-deadline", "good", "-cpu-used", "8", "-b:v", "0", "-crf", "40"],
        VideoEncoder::Ffv1 => &["-level", "3"],
        _ => &[],
    }
}

fn fingerprint(ffmpeg: &str, output: &ToolOutput) -> Result<String, String> {
    if output.stdout.is_empty() {
        return Err("the trial gave no output".into());
    }
    let mut digest = Sha256::new();
    for part in [ffmpeg.as_bytes(), library(&output.stderr).as_bytes()] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.update(&output.stdout);
    Ok(hex::encode(&digest.finalize()[..8]))
}

/// What the encoder's library says of its version. (x264 says it in the
/// stream, and so in the trial's bytes; libvpx nowhere.)
fn library(stderr: &[String]) -> String {
    const PHRASES: [&str; 2] = ["HEVC encoder version", "SVT-AV1 Encoder Lib"];
    let version = |line: &String| {
        let at = PHRASES.iter().find_map(|phrase| line.find(phrase))?;
        Some(line[at..].trim().to_owned())
    };
    stderr.iter().find_map(version).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use reelmill_core::error::FailureClass;
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn every_encoder_gets_a_stable_outcome() {
        let tools = fixture::tools().await;
        let cancel = CancellationToken::new();
        let all = VideoEncoder::SOFTWARE;
        let trials = prove_encoders(&tools, &all, &cancel).await;
        assert_eq!(trials, prove_encoders(&tools, &all, &cancel).await);
        let encoders: Vec<_> = trials.iter().map(|trial| trial.encoder).collect();
        assert_eq!(encoders, all);
        let works = trials.iter().filter_map(|trial| trial.outcome.as_ref().ok());
        let different: BTreeSet<_> = works.clone().collect();
        assert_eq!(different.len(), works.count(), "{trials:?}");
        // FFV1 is part of every FFmpeg.
        assert!(trials[4].outcome.is_ok(), "{trials:?}");
    }

    #[tokio::test]
    async fn an_encoder_that_does_not_work_says_why() {
        let mut tools = fixture::tools().await;
        tools.ffmpeg = "/nowhere/ffmpeg".into();
        let trial = prove(&tools, VideoEncoder::X265, &CancellationToken::new()).await;
        let reason = trial.outcome.unwrap_err();
        assert!(reason.contains("cannot start /nowhere/ffmpeg"), "{reason}");
    }

    #[tokio::test]
    async fn ffmpeg_without_an_encoder_is_the_machines_fault() {
        let failure = crate::process::ToolCommand::uncaged(&fixture::tools().await.ffmpeg)
            .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1"])
            .args(["-c:v", "libnothing", "-f", "null", "-"])
            .run(&CancellationToken::new())
            .await
            .unwrap_err();
        assert_eq!(failure.class, FailureClass::Environment);
        assert!(failure.message.contains("libnothing"), "{failure}");
    }

    #[test]
    fn fingerprints_follow_ffmpeg_library_and_bytes() {
        let output = |said: &str, bytes: &[u8]| ToolOutput {
            stdout: bytes.to_vec(),
            stderr: vec![said.to_owned()],
        };
        let x265 = "x265 [info]: HEVC encoder version 3.5+1-f0c1022b6";
        let base = fingerprint("5.1", &output(x265, b"abc")).unwrap();
        assert_eq!(base.len(), 16);
        let noise = format!("{x265}  ");
        assert_eq!(fingerprint("5.1", &output(&noise, b"abc")).unwrap(), base);
        let newer = "x265 [info]: HEVC encoder version 4.0";
        for other in [
            fingerprint("5.2", &output(x265, b"abc")),
            fingerprint("5.1", &output(newer, b"abc")),
            fingerprint("5.1", &output(x265, b"abd")),
        ] {
            assert_ne!(other.unwrap(), base);
        }
        assert!(fingerprint("5.1", &output(x265, b"")).is_err());
    }
}
