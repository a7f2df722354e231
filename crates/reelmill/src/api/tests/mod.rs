//! Tests of the network side, over real connections on this machine.

mod access;
mod access_grpc;
mod bytes;
mod commands;
mod connections;
mod dispatch;
mod document;
pub(crate) mod farm;
mod jobs;
mod owned;
pub(crate) mod proxy;
mod quota;
mod service;
mod uploads;
