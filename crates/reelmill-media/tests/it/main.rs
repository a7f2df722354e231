//! Converts media through the whole of this crate and judges the outputs by an
//! independent decode of every frame.

#[cfg(test)]
mod attempts;
#[cfg(test)]
mod convert;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod dolby_facts;
#[cfg(test)]
mod dolby_film;
#[cfg(test)]
mod dolby_fuzz;
#[cfg(test)]
mod dolby_look;
#[cfg(test)]
mod dolby_remux;
#[cfg(test)]
mod dolby_rows_a;
#[cfg(test)]
mod dolby_rows_b;
#[cfg(test)]
mod dolby_rows_d;
#[cfg(test)]
mod dolby_rows_d7;
#[cfg(test)]
mod dolby_streams;
#[cfg(test)]
mod dolby_table;
#[cfg(test)]
mod exact;
#[cfg(test)]
mod filtered;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hdr10;
#[cfg(test)]
mod mutated;
#[cfg(test)]
mod tracks;
