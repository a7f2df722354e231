//! The worker: takes tasks from a [`TaskSource`](crate::task_source::TaskSource),
//! does them with FFmpeg, reports. It knows nothing of who hands them out.

mod depot;
mod depot_http;
mod depot_local;
mod execute;
mod gauge;
mod run;
mod scratch;
mod spots;

pub(crate) use depot_http::HttpDepot;
pub(crate) use depot_local::LocalDepot;
pub(crate) use execute::{analyse, no_index};
pub(crate) use run::{Slot, Worker};
pub(crate) use scratch::Scratch;
pub(crate) use spots::{Spots, no_room};
