//! Tests of the whole program: the real binary, the real FFmpeg, real
//! processes that are killed.

mod bad_input;
mod convert;
mod corpus;
mod farm;
mod judge;
mod kill;
mod support;
