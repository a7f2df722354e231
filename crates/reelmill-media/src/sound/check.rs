//! Whether an output of sound alone holds what the plan promised: every track
//! from beginning to end, as loud as the source, with its tags and pictures.

use super::SoundJob;
use crate::args::{self, Args, SoundOutput, SoundTrack, place, source_input};
use crate::audio::check_loudness;
use crate::encode::{STALL, refuse_read_error};
use crate::probe::probe;
use crate::tools::Tools;
use reelmill_core::check::{self, Check, Verdict};
use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use reelmill_core::media::{AudioInfo, MediaInfo, Stream, StreamKind};
use reelmill_core::preset::AudioCodec;
use reelmill_core::tracks::TrackAction;
use tokio_util::sync::CancellationToken;

/// How much shorter a track may be than the source's, seconds.
const SHORTER: f64 = 0.02;

/// How much longer it may be: what codecs fill up, and what decoders of some
/// leave out at the beginning.
const LONGER: f64 = 0.15;

/// How much louder or quieter a track may be as a whole, decibels.
const LEVEL: f64 = 1.5;

/// Below that level a track counts as silent, decibels.
const SILENCE: f64 = -80.0;

/// Codecs that keep every sample.
const LOSSLESS: [&str; 5] = ["flac", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le"];

/// Tags that every container with tags has a place for.
const TAGS: [&str; 6] = ["title", "artist", "album", "genre", "track", "date"];

/// A track as it sounds.
#[derive(Debug, Clone, PartialEq)]
struct Heard {
    /// Samples of each channel.
    samples: u64,
    /// Root mean square of all samples, decibels of full scale.
    level: f64,
    /// Digest of all samples.
    digest: String,
}

impl Heard {
    /// Reads what FFmpeg said and wrote.
    fn read(said: &[String], wrote: &[u8]) -> Option<Self> {
        let value = |name: &str| {
            let line =
                said.iter().rev().find(|line| line.contains("astats") && line.contains(name))?;
            line.rsplit_once(": ").map(|(_, value)| value.trim().to_owned())
        };
        Some(Self {
            samples: value("Number of samples")?.parse::<f64>().ok()? as u64,
            level: value("RMS level dB")?.parse().ok()?,
            digest: String::from_utf8_lossy(wrote).trim().to_owned(),
        })
    }
}

async fn heard(
    tools: &Tools,
    input: Args,
    stream: u32,
    cancel: &CancellationToken,
) -> Result<Option<Heard>, Failure> {
    let command = tools.ffmpeg(args::samples(input, stream)).stall_after(STALL);
    let output = command.run(cancel).await?;
    refuse_read_error(&output)?;
    Ok(Heard::read(&output.stderr, &output.stdout))
}

/// Measures the output and judges it.
pub(super) async fn verdict(
    tools: &Tools,
    job: SoundJob<'_>,
    output: &SoundOutput,
    cancel: &CancellationToken,
) -> Result<Verdict, Failure> {
    let media = probe(tools, job.out, cancel).await?;
    let found: Vec<(&Stream, &AudioInfo)> = media.audio().collect();
    if found.len() < output.tracks.len() {
        refuse_unheard(tools, job, output, cancel).await?;
    }
    let mut checks = vec![check::equal("audio tracks", &output.tracks.len(), &found.len())];
    for (number, (track, (stream, info))) in output.tracks.iter().zip(&found).enumerate() {
        let pair = Pair { tools, job, number, track, stream, info, cancel };
        checks.extend(pair.checks().await?);
    }
    let is_cover = |stream: &&Stream| matches!(stream.kind, StreamKind::Cover(_));
    let covers = media.streams.iter().filter(is_cover).count();
    let wanted = job.kept(|action| *action == TrackAction::Cover).count();
    checks.push(check::equal("cover art", &wanted, &covers));
    checks.push(tags(output, &media));
    if matches!(job.plan.container, Container::M4a | Container::Mka) {
        checks.push(check::equal("chapters", &job.media.chapters.len(), &media.chapters.len()));
    }
    Ok(Verdict { checks })
}

/// Names a track of which FFmpeg decodes nothing, as the cause of an output without it.
async fn refuse_unheard(
    tools: &Tools,
    job: SoundJob<'_>,
    output: &SoundOutput,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    for (number, track) in output.tracks.iter().enumerate() {
        let apart = track.encode.as_ref().and_then(|encode| encode.apart.as_ref());
        let (input, stream) = place(job.source, track.stream, apart);
        let was = heard(tools, input, stream, cancel).await?;
        if was.is_none_or(|was| was.samples == 0) {
            let stream = job.media.streams.iter().find(|it| it.index == track.stream);
            let codec = stream.map_or("unknown", |stream| stream.codec.as_str());
            return Err(unheard(number, codec));
        }
    }
    Ok(())
}

fn unheard(number: usize, codec: &str) -> Failure {
    Failure::input(format!("FFmpeg hears nothing in audio track {number} ({codec})")).advise(
        "check that it plays: it may be cut off or damaged, or of a kind that a newer FFmpeg knows",
    )
}

/// Whether the tags that every container knows are there. What a tag of a track
/// became is not asked: some containers have one place for both.
fn tags(output: &SoundOutput, media: &MediaInfo) -> Check {
    let of_track = media.audio().next().map(|(stream, _)| &stream.tags);
    let found = |key: &str| {
        media.tags.get(key).or_else(|| of_track.and_then(|tags| tags.get(key))).map(String::as_str)
    };
    let wanted = output.tags.iter().filter(|(key, _)| TAGS.contains(&key.as_str()));
    let wanted: Vec<_> = wanted.collect();
    let lost = wanted.iter().find(|(key, value)| found(key) != Some(value.as_str()));
    match lost {
        Some((key, value)) => {
            let have = found(key).unwrap_or("nothing");
            Check::new("tags", false, format!("{key} is '{have}' instead of '{value}'"))
        }
        None => Check::new("tags", true, format!("{} of the usual ones kept", wanted.len())),
    }
}

/// A track of the source and what became of it.
struct Pair<'a> {
    tools: &'a Tools,
    job: SoundJob<'a>,
    number: usize,
    track: &'a SoundTrack,
    stream: &'a Stream,
    info: &'a AudioInfo,
    cancel: &'a CancellationToken,
}

impl Pair<'_> {
    async fn checks(&self) -> Result<Vec<Check>, Failure> {
        let source = self.job.media.streams.iter().find(|it| it.index == self.track.stream);
        let Some((source, StreamKind::Audio(before))) = source.map(|it| (it, &it.kind)) else {
            return Err(Failure::permanent(format!("stream {} is no sound", self.track.stream)));
        };
        let name = |what: &str| format!("{what} of track {}", self.number);
        let codec = self.track.encode.as_ref().map_or(source.codec.as_str(), |it| it.codec.codec());
        let channels = self.track.encode.as_ref().map_or(before.channels, |it| it.channels);
        let mut checks = vec![
            check::equal(&name("codec"), &codec, &self.stream.codec.as_str()),
            check::equal(&name("channels"), &channels, &self.info.channels),
        ];
        let apart = self.track.encode.as_ref().and_then(|encode| encode.apart.as_ref());
        let (input, stream) = place(self.job.source, self.track.stream, apart);
        let (was, is) = tokio::try_join!(
            heard(self.tools, input, stream, self.cancel),
            heard(self.tools, source_input(self.job.out), self.stream.index, self.cancel),
        )?;
        let (Some(was), Some(is)) = (was, is) else {
            checks.push(Check::new(&name("sound"), false, "it cannot be decoded"));
            return Ok(checks);
        };
        if was.samples == 0 {
            return Err(unheard(self.number, &source.codec));
        }
        checks.push(self.length(&name("length"), (was.samples, before), is.samples));
        checks.push(self.level(&name("level"), &was, &is, before).await?);
        if self.keeps_samples(&source.codec, before) {
            checks.push(check::equal(&name("samples"), &was.digest, &is.digest));
        }
        Ok(checks)
    }

    fn length(&self, name: &str, (was, before): (u64, &AudioInfo), is: u64) -> Check {
        let (want, have) = (seconds(was, before), seconds(is, self.info));
        let passed = (-SHORTER..=LONGER).contains(&(have - want));
        Check::new(name, passed, format!("{have:.3} s, {want:.3} s in the source"))
    }

    async fn level(
        &self,
        name: &str,
        was: &Heard,
        is: &Heard,
        before: &AudioInfo,
    ) -> Result<Check, Failure> {
        let correction = self.track.encode.as_ref().and_then(|encode| encode.correction);
        if let Some(correction) = correction {
            let (input, stream) = (source_input(self.job.out), self.stream.index);
            let found =
                check_loudness(self.tools, input, stream, correction.wanted, self.cancel).await?;
            return Ok(Check::new(name, true, format!("{found:.1} LUFS")));
        }
        let silent = was.level < SILENCE;
        let mixed = before.channels != self.info.channels;
        let (have, want) = (seconds(is.samples, self.info), seconds(was.samples, before));
        let level = spread(is.level, have, want);
        let passed = if silent || mixed {
            silent == (level < SILENCE) || level < SILENCE + 20.0
        } else {
            (was.level - level).abs() <= LEVEL
        };
        let detail = format!("{level:.1} dB, {:.1} dB in the source", was.level);
        Ok(Check::new(name, passed, detail))
    }

    /// Whether every sample must be the same.
    fn keeps_samples(&self, codec: &str, before: &AudioInfo) -> bool {
        match &self.track.encode {
            None => true,
            Some(encode) => {
                encode.codec == AudioCodec::Flac
                    && encode.correction.is_none()
                    && LOSSLESS.contains(&codec)
                    && *before == AudioInfo { ..self.info.clone() }
            }
        }
    }
}

fn seconds(samples: u64, info: &AudioInfo) -> f64 {
    samples as f64 / f64::from(info.sample_rate.max(1))
}

/// The level (decibels) of a sound of `level` and `have` seconds if it lasted `want`: the
/// silence that fills up the last packet must not make a short one quieter.
fn spread(level: f64, have: f64, want: f64) -> f64 {
    if have > 0.0 && want > 0.0 { level + 10.0 * (have / want).log10() } else { level }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_that_fills_up_a_packet_does_not_count() {
        // 480 samples of -21 dB and 544 of silence are -24.3 dB.
        assert!((spread(-24.3, 1024.0, 480.0) + 21.0).abs() < 0.02);
        assert!((spread(-20.0, 60.02, 60.0) + 20.0).abs() < 0.01);
        assert!(spread(f64::NEG_INFINITY, 1.0, 1.0) < SILENCE);
    }

    #[test]
    fn what_the_filter_says_is_read() {
        let said = "[Parsed_astats_0 @ 0x5623fd3c7d40] Overall\n\
            [Parsed_astats_0 @ 0x5623fd3c7d40] RMS level dB: -24.084188\n\
            [Parsed_astats_0 @ 0x5623fd3c7d40] Number of samples: 132300\n\
            video:0kB audio:2250kB";
        let said: Vec<String> = said.lines().map(str::to_owned).collect();
        let found = Heard::read(&said, b"MD5=abc\n").unwrap();
        assert_eq!((found.samples, found.level), (132_300, -24.084_188));
        assert_eq!(found.digest, "MD5=abc");
        assert!(Heard::read(&said[..1], b"").is_none());
    }
}
