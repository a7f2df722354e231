//! The pure heart of reelmill: values in, values out.
//!
//! Nothing here performs I/O, reads a clock or draws a random number: the
//! caller passes time and chance as arguments, so every decision the farm
//! makes can be replayed from a test.

pub mod binding;
pub mod check;
pub mod chunk;
pub mod container;
pub mod cut;
pub mod dispatch;
pub mod dolby;
pub mod encoder;
pub mod error;
pub mod facts;
pub mod fleet;
pub mod hardware;
pub mod hdr;
pub mod id;
pub mod job;
pub mod lease;
pub mod library;
pub mod load;
pub mod lockfile;
pub mod media;
pub mod names;
pub mod packets;
pub mod plan;
pub mod preset;
pub mod pts;
pub mod rate;
pub mod retry;
pub mod room;
pub mod scene;
pub mod schedule;
pub mod score;
pub mod settle;
pub mod slots;
pub mod task;
pub mod time;
pub mod tracks;
pub mod transition;
pub mod window;
pub mod work;
