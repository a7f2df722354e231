//! HDR metadata in HEVC streams: Dolby Vision and HDR10+, read and written
//! without an encoder.
//!
//! From below: [`nal`] cuts a byte stream into NAL units, [`parameter_sets`] and
//! [`mod@slice`] read as much of them as tells which picture they belong to,
//! [`access_unit`] puts together what belongs to one picture, [`order`] says
//! which picture is shown when. [`rpu`] and [`sei`] know the metadata themselves,
//! [`inject`] puts them into a stream that has none.

pub mod access_unit;
pub mod convert;
pub mod digest;
pub mod inject;
pub mod layer;
pub mod nal;
pub mod order;
pub mod parameter_sets;
pub mod remux;
pub mod rpu;
pub mod sei;
pub mod slice;
mod usual;
