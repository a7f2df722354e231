//! Argument vectors for FFmpeg, from typed values. Pure: nothing is started.

mod audio;
mod concat;
mod encoder;
mod filter;
mod input;
mod picture;
mod stitch;
mod video;

pub use audio::{AUDIO_LEAD_MICROS, AudioTrack, audio};
pub use concat::concat_list;
pub use encoder::{encoder, output_colour};
pub use filter::picture_chain;
pub use input::{audio_input, concat_input, own_input, quiet, source_input};
pub use picture::{SMALL_SIDE, one_picture, small_pictures};
pub use stitch::{
    Metadata, Repair, StitchInputs, StitchTrack, StitchVideo, TrackSource, VideoInput, stitch,
};
pub use video::{VideoArgs, chunk, lead_in, whole};

use std::ffi::{OsStr, OsString};

/// An argument vector in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args(Vec<OsString>);

impl Args {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.push(arg.as_ref().to_owned());
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
        self.0.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// With the words of `text`, which must hold no quoting.
    #[must_use]
    pub fn words(self, text: &str) -> Self {
        self.args(text.split_whitespace())
    }
}

impl IntoIterator for Args {
    type Item = OsString;
    type IntoIter = std::vec::IntoIter<OsString>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Microseconds as FFmpeg's time options take them.
pub(crate) fn micros(value: i64) -> String {
    format!("{value}us")
}

#[cfg(test)]
mod tests;
