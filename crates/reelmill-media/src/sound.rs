//! Makes an output of sound alone, and proves it.

mod check;
mod picture_tag;

use crate::args::{self, Metadata, SoundCover, SoundOutput, SoundTrack};
use crate::audio::encoded_tracks;
use crate::encode::{OnProgress, refuse_read_error, remove, run};
use crate::stitch::{cover_file, dispositions, made_here, sound_tags, track_tags};
use crate::tools::Tools;
use reelmill_core::check::Verdict;
use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use reelmill_core::media::{MediaInfo, Stream};
use reelmill_core::plan::Plan;
use reelmill_core::tracks::{TrackAction, TrackPlan};
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// An output of sound alone, with all that it is made from.
#[derive(Debug, Clone, Copy)]
pub struct SoundJob<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What the probe found in the source.
    pub media: &'a MediaInfo,
    /// The source.
    pub source: &'a Path,
    /// A folder for temporary files: cover art.
    pub scratch: &'a Path,
    /// The output.
    pub out: &'a Path,
}

/// Makes the output and checks it. A verdict that does not pass is an answer,
/// not an error.
///
/// # Errors
/// When the source cannot be read or a tool fails.
pub async fn make(
    tools: &Tools,
    job: SoundJob<'_>,
    on_progress: OnProgress<'_>,
    cancel: &CancellationToken,
) -> Result<Verdict, Failure> {
    remove(job.out).await?;
    let output = job.output(tools, cancel).await?;
    let command = tools.ffmpeg(args::sound(job.source, &output, job.out));
    let told = run(command, on_progress, cancel).await?;
    refuse_read_error(&told)?;
    check::verdict(tools, job, &output, cancel).await
}

impl<'a> SoundJob<'a> {
    /// The streams that the plan keeps in a certain way, in order.
    fn kept(
        self,
        how: fn(&TrackAction) -> bool,
    ) -> impl Iterator<Item = (&'a TrackPlan, &'a Stream)> {
        let tracks = self.plan.tracks.iter().filter(move |track| how(&track.action));
        tracks.filter_map(move |track| {
            let stream = self.media.streams.iter().find(|stream| stream.index == track.stream)?;
            Some((track, stream))
        })
    }

    async fn output(
        self,
        tools: &Tools,
        cancel: &CancellationToken,
    ) -> Result<SoundOutput, Failure> {
        let container = self.plan.container;
        let mut encoded = encoded_tracks(
            tools,
            (self.source, &self.scratch.join("sound")),
            &self.plan.tracks,
            self.media,
            cancel,
        )
        .await?
        .into_iter();
        let mut tracks = Vec::new();
        for (track, stream) in self.kept(TrackAction::is_audio) {
            let (encode, extra) = match track.action {
                TrackAction::EncodeAudio { extra, .. } => (encoded.next(), extra),
                _ => (None, false),
            };
            let many = !container.holds_one_track();
            let tags = if many { track_tags(stream, container, extra) } else { Metadata::new() };
            let flags = if many && !extra { dispositions(stream) } else { Vec::new() };
            tracks.push(SoundTrack { stream: stream.index, encode, tags, dispositions: flags });
        }
        let (covers, long_tags) = self.covers(tools, cancel).await?;
        let tags = if container.holds_tags() { self.tags() } else { Metadata::new() };
        let start_micros = self.media.start_micros;
        Ok(SoundOutput { container, tracks, covers, start_micros, tags, long_tags })
    }

    /// Tags of the file: the source's, and its first track's where the source
    /// keeps them there (Ogg) or the output has no place for them else.
    fn tags(self) -> Metadata {
        let first = self.kept(TrackAction::is_audio).next().map(|(_, stream)| stream);
        let of_track = self.plan.container.holds_one_track() || self.media.is_format("ogg");
        let mut tags = sound_tags(self.media, first.filter(|_| of_track), self.plan.container);
        // A source that was made here already has the mark of its making.
        tags.retain(|(key, _)| !key.eq_ignore_ascii_case("reelmill"));
        tags.extend(made_here(self.plan.container));
        tags
    }

    async fn covers(
        self,
        tools: &Tools,
        cancel: &CancellationToken,
    ) -> Result<(Vec<SoundCover>, Option<std::path::PathBuf>), Failure> {
        let mut covers = Vec::new();
        let mut pictures = String::new();
        for (number, (_, stream)) in self.kept(|it| *it == TrackAction::Cover).enumerate() {
            match self.plan.container {
                Container::Mka | Container::Opus => {
                    let place = (self.source, self.scratch);
                    let cover = cover_file(tools, place, stream, number, cancel).await?;
                    if self.plan.container == Container::Mka {
                        covers.push(SoundCover::File(cover.path.clone(), cover.tags()));
                    } else {
                        pictures += &picture_tag::line(&cover.path, cover.mime()).await?;
                    }
                }
                _ => covers.push(SoundCover::Stream(stream.index)),
            }
        }
        if pictures.is_empty() {
            return Ok((covers, None));
        }
        let path = self.scratch.join("pictures.txt");
        tokio::fs::write(&path, format!(";FFMETADATA1\n{pictures}"))
            .await
            .map_err(|error| Failure::io(format_args!("write {}", path.display()), &error))?;
        Ok((covers, Some(path)))
    }
}
