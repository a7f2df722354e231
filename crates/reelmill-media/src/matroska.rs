//! Matroska files, read and rewritten packet by packet.
//!
//! A rewrite is one pass: everything is copied as it stands (tracks, names,
//! languages, flags, colours, chapters, attachments, times) save the packets and
//! the fields that are meant to change, so that nothing has to be restated.
//! What no writer in use makes (laced video, clusters of unknown size) is
//! refused as *odd*: MKVToolNix can bring such a file into the usual form first.

mod cues;
mod ebml;
mod growth;
mod header;
mod input;
mod output;
mod packets;
mod rewrite;
mod tags;

pub use growth::Growth;
pub use header::{Header, Track, header};
pub use packets::{Packet, packets, packets_of_growing};
pub use rewrite::{Change, Changed, Edits, TrackSum, rewrite};

use reelmill_core::error::Failure;

/// Why a file was not read or rewritten.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// It is of an unusual form, in these words; MKVToolNix can make it usual.
    Odd(String),
    /// It failed.
    Failed(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Refusal {
    fn odd<T>(what: impl Into<String>) -> Result<T, Self> {
        Err(Self::Odd(what.into()))
    }

    /// The failure, when there is no other way to read the file.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Odd(what) => Failure::input(format!("the Matroska file is odd: {what}"))
                .advise("bring it into the usual form: 'mkvmerge -o usual.mkv FILE'"),
        }
    }
}
