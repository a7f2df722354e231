//! Argument vectors for FFmpeg, from typed values. Pure: nothing is started.

mod apart;
mod audio;
mod concat;
mod encoder;
mod filter;
pub mod hardware;
mod input;
mod picture;
mod scene;
mod score;
mod sound;
mod stitch;
mod video;

pub(crate) use apart::must_be_apart;
pub use apart::{Apart, place, take_out};
pub use audio::{AUDIO_LEAD_MICROS, AudioTrack, Correction, audio, loudness};
pub use concat::concat_list;
pub use encoder::{encoder, output_colour};
pub use filter::picture_chain;
pub use input::{
    audio_input, concat_input, own_input, quiet, source_input, unmoved, unmoved_ticks,
};
pub use picture::{SMALL_SIDE, comparable, full_range, one_picture, small_pictures};
pub use scene::{read_change, read_time, scene_changes};
pub use score::{Frames, read_score, score, trial};
pub use sound::{SoundCover, SoundOutput, SoundTrack, samples, sound};
pub use stitch::{
    Metadata, Repair, StitchInputs, StitchTrack, StitchVideo, TrackSource, VideoInput, stitch,
};
pub use video::{VideoArgs, chunk, lead_in, whole};

use crate::probe::file_url;
use crate::sandbox::Access;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// An argument vector in the making, and the files that it names: these, and
/// no others, the tool will be able to open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args {
    words: Vec<OsString>,
    access: Access,
}

impl Args {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.words.push(arg.as_ref().to_owned());
        self
    }

    /// With an option and its value.
    #[must_use]
    pub fn option(self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.arg(name).arg(value)
    }

    /// With an option and its value, where there is one.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<impl AsRef<OsStr>>) -> Self {
        match value {
            Some(value) => self.option(name, value),
            None => self,
        }
    }

    /// With more arguments.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.words.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// With the words of `text`, which must hold no quoting.
    #[must_use]
    pub fn words(self, text: &str) -> Self {
        self.args(text.split_whitespace())
    }

    /// With the arguments and files of another.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        self.words.extend(other.words);
        self.access.join(other.access);
        self
    }

    /// With the file `path` as input.
    #[must_use]
    pub fn open(self, path: &Path) -> Self {
        self.option("-i", file_url(path)).reads(path)
    }

    /// With the file `path` as output.
    #[must_use]
    pub fn write(self, path: &Path) -> Self {
        self.arg(file_url(path)).writes(path)
    }

    /// Allowed to read `path`, which some argument names in its own way.
    #[must_use]
    pub fn reads(mut self, path: &Path) -> Self {
        self.access.read(path);
        self
    }

    /// Allowed to write `path`, which some argument names in its own way.
    #[must_use]
    pub fn writes(mut self, path: &Path) -> Self {
        self.access.write(path);
        self
    }

    /// Allowed to use the graphics processors' devices.
    #[must_use]
    pub fn devices(mut self) -> Self {
        self.access.use_devices();
        self
    }

    /// The arguments.
    #[must_use]
    pub fn as_slice(&self) -> &[OsString] {
        &self.words
    }

    /// The arguments, and the files.
    pub(crate) fn into_parts(self) -> (Vec<OsString>, Access) {
        (self.words, self.access)
    }
}

/// Microseconds as FFmpeg's time options take them.
pub(crate) fn micros(value: i64) -> String {
    format!("{value}us")
}

#[cfg(test)]
#[cfg(unix)]
mod intent;
#[cfg(test)]
mod tests;
