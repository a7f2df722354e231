//! What waits for a server: requests that were made while none could be reached,
//! and outputs that are to be fetched when they are ready. A folder of this user,
//! a file for each; delivering them is the client's.

mod entry;
mod folder;
mod source;

pub(crate) use entry::{Entry, Output, Stage, Trouble, Wanted};
pub(crate) use folder::{Found, Outbox};
pub(crate) use source::Source;
