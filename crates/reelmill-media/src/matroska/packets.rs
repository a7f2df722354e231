//! Reads the packets of a Matroska file.

use super::Refusal;
use super::ebml::{self, children, number, variable};
use super::growth::Growth;
use super::header::{Header, read};
use super::input::{Head, Input};
use reelmill_core::error::Failure;
use std::path::Path;
use std::sync::Arc;

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The track that it belongs to.
    pub track: u64,
    /// When it is shown, ticks.
    pub time: i64,
    /// Ticks that it lasts, where stated.
    pub duration: Option<u64>,
    /// Whether decoding may start with it.
    pub key: bool,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// The head of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) track: u64,
    pub(super) time: i16,
    pub(super) flags: u8,
    /// Track, time and flags as they are written.
    pub(super) head: &'a [u8],
    pub(super) payload: &'a [u8],
}

pub(super) fn block(content: &[u8]) -> Option<Block<'_>> {
    let (track, rest) = variable(content, 8, true)?;
    let ([high, low, flags], payload) = rest.split_first_chunk::<3>()?;
    let head = &content[..content.len() - payload.len()];
    let time = i16::from_be_bytes([*high, *low]);
    Some(Block { track: track?, time, flags: *flags, head, payload })
}

/// The block in a block group, the ticks that it lasts, whether it is a key.
pub(super) fn of_group(group: &[u8]) -> Option<(Block<'_>, Option<u64>, bool)> {
    let (mut found, mut duration, mut key) = (None, None, true);
    for child in children(group) {
        let child = child?;
        match child.id {
            ebml::BLOCK => found = Some(block(child.content)?),
            ebml::BLOCK_DURATION => duration = number(child.content),
            ebml::REFERENCE_BLOCK => key = false,
            _ => {}
        }
    }
    Some((found?, duration, key))
}

/// Hands over the packets of the tracks that `wanted` picks, in file order.
///
/// # Errors
/// When the file is damaged, cut off or odd; what `on_packet` fails with.
pub fn packets(
    path: &Path,
    wanted: &dyn Fn(u64) -> bool,
    on_packet: &mut dyn FnMut(Packet<'_>) -> Result<(), Failure>,
) -> Result<Header, Refusal> {
    all(Input::open(path)?, wanted, on_packet)
}

/// The same of a file that is still being written, up to where it ends growing.
///
/// # Errors
/// As [`packets`].
pub fn packets_of_growing(
    path: &Path,
    growth: &Arc<Growth>,
    wanted: &dyn Fn(u64) -> bool,
    on_packet: &mut dyn FnMut(Packet<'_>) -> Result<(), Failure>,
) -> Result<Header, Refusal> {
    all(Input::open_growing(path, growth)?, wanted, on_packet)
}

fn all(
    mut input: Input,
    wanted: &dyn Fn(u64) -> bool,
    on_packet: &mut dyn FnMut(Packet<'_>) -> Result<(), Failure>,
) -> Result<Header, Refusal> {
    let segment = input.segment()?;
    let end = segment.size.map_or(input.len, |size| segment.content + size);
    let (header, mut next) = read(&mut input)?;
    while let Some(head) = next {
        if head.id == ebml::CLUSTER {
            of_cluster(&mut input, head, wanted, on_packet)?;
        } else {
            input.skip(head.known()?)?;
        }
        next = if input.at < end { input.head()? } else { None };
    }
    Ok(header)
}

fn of_cluster(
    input: &mut Input,
    cluster: Head,
    wanted: &dyn Fn(u64) -> bool,
    on_packet: &mut dyn FnMut(Packet<'_>) -> Result<(), Failure>,
) -> Result<(), Refusal> {
    let end = cluster.content + cluster.known()?;
    let (mut base, mut content) = (0, Vec::new());
    while input.at < end {
        let head = input.head()?.ok_or_else(|| input.truncated())?;
        if !matches!(head.id, ebml::TIMESTAMP | ebml::SIMPLE_BLOCK | ebml::BLOCK_GROUP) {
            input.skip(head.known()?)?;
            continue;
        }
        input.take(head.known()?, &mut content)?;
        if head.id == ebml::TIMESTAMP {
            base = number(&content).unwrap_or_default() as i64;
            continue;
        }
        let found = if head.id == ebml::SIMPLE_BLOCK {
            block(&content).map(|block| (block, None, block.flags & 0x80 != 0))
        } else {
            of_group(&content)
        };
        let (block, duration, key) = found.ok_or_else(|| input.damaged(head.at))?;
        if wanted(block.track) {
            let (track, payload) = (block.track, block.payload);
            let time = base.saturating_add(block.time.into());
            on_packet(Packet { track, time, duration, key, payload })?;
        }
    }
    Ok(())
}
