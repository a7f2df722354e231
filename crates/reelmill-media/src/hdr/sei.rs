//! Supplemental information (SEI) of HEVC: finding, taking out and keeping
//! HDR10+ metadata (SMPTE ST 2094-40).

use super::nal::NalKind;
use crate::bits::{escape, unescape};

/// Mastering display colour volume.
pub const MASTERING_DISPLAY: u32 = 137;

/// Content light level.
pub const CONTENT_LIGHT: u32 = 144;

/// Registered user data, of which HDR10+ is one kind.
const USER_DATA: u32 = 4;

/// How user data that is HDR10+ begins: country, provider, application.
const HDR10_PLUS: [u8; 6] = [0xB5, 0x00, 0x3C, 0x00, 0x01, 0x04];

/// Messages in one unit, beyond which the rest is not looked at.
const MAX_MESSAGES: usize = 64;

/// One message of an SEI unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its payload type.
    pub kind: u32,
    /// Its payload, without emulation prevention bytes.
    pub payload: Vec<u8>,
}

impl Message {
    /// Whether it is HDR10+ metadata.
    #[must_use]
    pub fn is_hdr10_plus(&self) -> bool {
        self.kind == USER_DATA && self.payload.starts_with(&HDR10_PLUS)
    }
}

/// The messages of an SEI unit that comes before the picture; `None` when it is
/// another unit or damaged.
#[must_use]
pub fn messages(nal: &[u8]) -> Option<Vec<Message>> {
    if NalKind::of(nal) != Some(NalKind::SEI_PREFIX) {
        return None;
    }
    let plain = unescape(&nal[2..]);
    let mut rest = &plain[..];
    let mut messages = Vec::new();
    // What is left in the end is the stop bit.
    while !matches!(rest, [] | [0x80]) && messages.len() < MAX_MESSAGES {
        let kind = number(&mut rest)?;
        let size = number(&mut rest)? as usize;
        let (payload, after) = rest.split_at_checked(size)?;
        messages.push(Message { kind, payload: payload.to_vec() });
        rest = after;
    }
    Some(messages)
}

/// The brightest that the mastering display showed, nits, if `nal` says so.
#[must_use]
pub fn mastering_nits(nal: &[u8]) -> Option<u32> {
    let messages = messages(nal)?;
    let display = messages.iter().find(|message| message.kind == MASTERING_DISPLAY)?;
    let (brightest, _) = display.payload.get(16..)?.split_first_chunk::<4>()?;
    Some(u32::from_be_bytes(*brightest) / 10_000)
}

/// A number as a run of 255s and what is left.
fn number(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value = value.checked_add(u32::from(*byte))?;
        if *byte != 255 {
            return Some(value);
        }
    }
}

/// An SEI unit before the picture with these messages.
#[must_use]
pub fn write(messages: &[Message]) -> Vec<u8> {
    let mut plain = Vec::new();
    for message in messages {
        for value in [message.kind as usize, message.payload.len()] {
            plain.extend(std::iter::repeat_n(255, value / 255));
            plain.push((value % 255) as u8);
        }
        plain.extend_from_slice(&message.payload);
    }
    plain.push(0x80);
    let mut nal = vec![NalKind::SEI_PREFIX.0 << 1, 1];
    escape(&plain, &mut nal);
    nal
}

/// The HDR10+ metadata in `nal`, as a unit of its own: the very bytes when there
/// is nothing else in it.
#[must_use]
pub fn hdr10_plus(nal: &[u8]) -> Option<Vec<u8>> {
    let mut messages = messages(nal)?;
    let all = messages.len();
    messages.retain(Message::is_hdr10_plus);
    match messages.len() {
        0 => None,
        some if some == all => Some(nal.to_vec()),
        _ => Some(write(&messages)),
    }
}

/// What is left of a unit without HDR10+.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Without {
    /// All of it: there is none in it.
    All,
    /// This.
    Rest(Vec<u8>),
    /// Nothing.
    Nothing,
}

/// `nal` without HDR10+ metadata.
#[must_use]
pub fn without_hdr10_plus(nal: &[u8]) -> Without {
    let Some(mut messages) = messages(nal) else {
        return Without::All;
    };
    let all = messages.len();
    messages.retain(|message| !message.is_hdr10_plus());
    match messages.len() {
        some if some == all => Without::All,
        0 => Without::Nothing,
        _ => Without::Rest(write(&messages)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hdr10_plus_message() -> Message {
        Message { kind: 4, payload: [&HDR10_PLUS[..], &[1, 0, 0, 0, 0, 7]].concat() }
    }

    #[test]
    fn hdr10_plus_is_taken_out_of_a_unit_with_other_messages() {
        let light = Message { kind: CONTENT_LIGHT, payload: vec![3, 232, 1, 144] };
        let mixed = write(&[light.clone(), hdr10_plus_message()]);
        let alone = write(&[hdr10_plus_message()]);
        assert_eq!(hdr10_plus(&mixed).as_ref(), Some(&alone));
        assert_eq!(hdr10_plus(&alone).as_ref(), Some(&alone));
        assert_eq!(without_hdr10_plus(&mixed), Without::Rest(write(std::slice::from_ref(&light))));
        assert_eq!(without_hdr10_plus(&alone), Without::Nothing);
        assert_eq!(without_hdr10_plus(&write(&[light])), Without::All);
    }

    #[test]
    fn the_unit_that_x265_writes_is_read() {
        let nal = hex::decode("4e01900403e8019080").unwrap();
        let expected = Message { kind: CONTENT_LIGHT, payload: vec![3, 232, 1, 144] };
        assert_eq!(messages(&nal), Some(vec![expected.clone()]));
        assert_eq!(write(&[expected]), nal);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            sizes in prop::collection::vec((0u32..600, 0usize..600), 1..6), fill in 0u8..4,
        ) {
            let messages_in: Vec<Message> = sizes
                .into_iter()
                .map(|(kind, size)| Message { kind, payload: vec![fill; size] })
                .collect();
            prop_assert_eq!(messages(&write(&messages_in)), Some(messages_in));
        }

        #[test]
        fn nothing_breaks_it(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let nal = [&[78, 1][..], &bytes].concat();
            let _ = (messages(&nal), hdr10_plus(&nal), without_hdr10_plus(&nal), messages(&bytes));
        }
    }
}
