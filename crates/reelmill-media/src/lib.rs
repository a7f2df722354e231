//! Drives FFmpeg for reelmill: probes, indexes, encodes, stitches, checks.
//!
//! This crate knows media and the tools that handle it; it knows nothing of
//! jobs, leases or networks. Every tool is started by [`process`] in its [`sandbox`], and every
//! file that a tool opens is named by a `file:` path behind
//! [`probe::input_guard`].

pub mod args;
pub mod audio;
pub mod benchmark;
mod bits;
pub mod capability;
mod dynamic;
pub mod encode;
pub mod hdr;
pub mod headers;
mod imprint;
#[doc(hidden)]
pub mod judge;
mod language_tags;
pub mod layout;
mod listing;
pub mod matroska;
pub mod packets;
pub mod probe;
pub mod process;
pub mod progress;
pub mod sandbox;
pub mod scene;
pub mod sound;
pub mod still;
pub mod stitch;
pub mod subtitles;
pub mod tools;
pub mod verify;

#[cfg(test)]
mod fixture;
