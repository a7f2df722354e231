//! Tests of the whole program: the real binary, the real FFmpeg, real
//! processes that are killed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has failed; tables are for the reader of its log"
)]

mod astray;
mod attack;
mod bad_input;
mod benchmark;
mod chaos;
mod convert;
mod corpus;
mod dolby;
#[expect(dead_code, reason = "the media crate's tests use all of it")]
#[path = "../../../reelmill-media/tests/it/dolby_film.rs"]
mod dolby_film;
#[expect(dead_code, reason = "the media crate's tests use all of it")]
#[path = "../../../reelmill-media/tests/it/dolby_look.rs"]
mod dolby_look;
mod dolby_share;
mod failed;
mod farm;
mod faults;
mod fire;
mod folder;
mod forecast;
mod hardware;
mod hdr_kept;
mod judge;
mod judges;
mod kept;
mod kill;
mod leftovers;
mod matrix;
mod outbox;
mod outbox_killed;
mod power;
mod replace;
mod rooms;
mod scan;
mod scenes;
mod secure;
mod shared;
mod siege;
mod size;
mod sound;
mod still;
mod support;
mod tracks;
mod upload;
mod watch;
