//! Tests of the network side, over real connections on this machine.

mod access;
pub(crate) mod farm;
pub(crate) mod proxy;
mod uploads;
