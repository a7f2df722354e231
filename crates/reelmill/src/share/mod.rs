//! Sharing a folder between machines, and replacing files in it: slots, lock
//! files, trash, all below `.reelmill/` in the library's root.

pub(crate) mod desk;
pub(crate) mod fs;
pub(crate) mod leftovers;
pub(crate) mod library;
pub(crate) mod lock;
pub(crate) mod part;
pub(crate) mod placing;
pub(crate) mod probe;
pub(crate) mod queue;
pub(crate) mod real_fs;
pub(crate) mod record;
pub(crate) mod recover;
#[cfg(test)]
mod sim;
pub(crate) mod trash;
pub(crate) mod undo;
