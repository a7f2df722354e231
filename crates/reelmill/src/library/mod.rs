//! Libraries: scanning them, judging their files by rules, working them off.

pub(crate) mod book;
pub(crate) mod hooks;
pub(crate) mod known;
pub(crate) mod ledger;
pub(crate) mod look;
pub(crate) mod machine;
pub(crate) mod place;
pub(crate) mod sample;
pub(crate) mod scan;
pub(crate) mod sidecar;
pub(crate) mod summary;
pub(crate) mod walk;
