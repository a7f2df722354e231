//! The worker: takes tasks from a [`TaskSource`](crate::task_source::TaskSource),
//! does them with FFmpeg, reports. It knows nothing of who hands them out.

mod at_once;
mod benchmark;
mod depot;
mod depot_http;
mod depot_local;
mod execute;
mod gauge;
mod planning;
mod run;
mod scratch;
mod sizing;
mod spots;

pub(crate) use benchmark::{Benchmark, When};
pub(crate) use depot_http::HttpDepot;
pub(crate) use depot_local::LocalDepot;
pub(crate) use execute::no_index;
pub(crate) use planning::{analyse, plan_film};
pub(crate) use run::{Slot, Worker};
pub(crate) use scratch::Scratch;
pub(crate) use spots::{Spots, no_room};
