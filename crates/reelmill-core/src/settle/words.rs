//! The words in which a replacement is told: places, operations, ends.

use serde::{Deserialize, Serialize};

/// How an output gets its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Under the source's name, by exchanging the two in one step.
    Exchange,
    /// Under the source's name: the source is moved away, then the output is
    /// linked to the name.
    Capture,
    /// Under a name of its own; then the source is moved away.
    NewName,
    /// Under a name of its own; the source stays.
    Beside,
}

/// Whose content a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The source that was converted.
    Original,
    /// Our output.
    Output,
    /// Anything else: the user's.
    Other,
}

/// A file that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    /// Whose it is.
    pub kind: Kind,
    /// The same for two names of one file, different for two files.
    pub node: u64,
}

/// A name that operations deal with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The source's name.
    Source,
    /// The output's name, where it is another one.
    Target,
    /// The finished output, hidden beside its place.
    Part,
    /// Where attempt n moves what it took from the source's name.
    Hold(u8),
    /// Where attempt n moves what it means to remove.
    Discard(u8),
}

/// One file operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Look what is there.
    Look(Place),
    /// Rename to a private name of this attempt, which is free.
    Move {
        /// From here.
        from: Place,
        /// To there.
        to: Place,
    },
    /// Give a file a name that must be free; whether the old name stays depends
    /// on the file system.
    Publish {
        /// The file.
        from: Place,
        /// The name.
        to: Place,
    },
    /// Exchange part and source in one step.
    Exchange,
    /// Remove a private name.
    Drop(Place),
    /// Make all of the above durable.
    Sync,
}

/// How an operation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reply {
    /// What a look saw; `None` when nothing is there.
    Saw(Option<Seen>),
    /// It was done.
    Done,
    /// The name is taken.
    Exists,
    /// There was nothing to act on.
    Missing,
    /// An error; it may or may not have been done.
    Failed,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The output is in place, the original is held.
    Replaced,
    /// The output is in place; the source is not ours to move.
    Published,
    /// Somebody changed or replaced the source; theirs is in place.
    Changed,
    /// Somebody deleted or moved the source; the output was discarded.
    Gone,
    /// Somebody deleted or moved the source; the output is in place.
    GonePublished,
    /// The output's name is taken by another file.
    Taken,
    /// File operations failed; the source is in its place.
    Failed,
    /// File operations failed and it is not known what is where: to be settled
    /// by another attempt.
    Unresolved,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Next {
    /// This operation.
    Do(Op),
    /// Nothing: it has ended.
    End(End),
}
