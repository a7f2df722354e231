//! Libraries: folders of media that are scanned, asked about and worked off.
//!
//! What a walk found is held against what is known ([`files`]); what is missing
//! is judged before anybody believes it ([`missing`]); rules say what becomes of
//! each file and why ([`rules`]).

mod conditions;
pub mod files;
pub mod forecast;
mod glob;
pub mod hooks;
pub mod hours;
pub mod missing;
pub mod outcome;
pub mod quantity;
pub mod rules;

pub use glob::Glob;
