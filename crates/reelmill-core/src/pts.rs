//! Lists of presentation timestamps, stored at about one byte a frame.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

/// Strictly increasing presentation timestamps, in ticks.
///
/// Serialises as base64 of LEB128 varints: the first timestamp zigzagged, then
/// the differences, so that a feature film's list stays near 200 KB.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PtsList(Vec<i64>);

impl PtsList {
    /// A list of `pts`; `None` unless strictly increasing.
    #[must_use]
    pub fn new(pts: Vec<i64>) -> Option<Self> {
        pts.windows(2).all(|pair| pair[0] < pair[1]).then_some(Self(pts))
    }

    /// The timestamps.
    #[must_use]
    pub fn ticks(&self) -> &[i64] {
        &self.0
    }

    /// Frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<PtsList> for String {
    fn from(list: PtsList) -> Self {
        let mut bytes = Vec::with_capacity(list.0.len() + 8);
        let mut last = None;
        for pts in list.0 {
            match last {
                None => push_varint(&mut bytes, zigzag(pts)),
                Some(last) => push_varint(&mut bytes, pts.abs_diff(last)),
            }
            last = Some(pts);
        }
        BASE64.encode(bytes)
    }
}

impl TryFrom<String> for PtsList {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = BASE64.decode(text).map_err(|e| format!("not a timestamp list: {e}"))?;
        let mut rest = bytes.as_slice();
        let mut list: Vec<i64> = Vec::new();
        while !rest.is_empty() {
            let value = pop_varint(&mut rest).ok_or("timestamp list is cut short")?;
            let next = match list.last() {
                None => Some(unzigzag(value)),
                Some(last) => last.checked_add_unsigned(value).filter(|next| next > last),
            };
            list.push(next.ok_or("timestamp list does not increase")?);
        }
        Ok(Self(list))
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn pop_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_increasing_list_round_trips(
            first in i64::MIN / 4..i64::MAX / 4,
            steps in prop::collection::vec(1i64..1 << 40, 0..200),
        ) {
            let mut ticks = vec![first];
            for step in steps {
                ticks.push(ticks[ticks.len() - 1] + step);
            }
            let list = PtsList::new(ticks).unwrap();
            let text = String::from(list.clone());
            prop_assert_eq!(PtsList::try_from(text).unwrap(), list);
        }

        #[test]
        fn garbage_never_panics(text in "[A-Za-z0-9+/]{0,64}") {
            let _ = PtsList::try_from(text);
        }
    }

    #[test]
    fn a_constant_rate_costs_about_a_byte_a_frame() {
        let list = PtsList::new((0..1000).map(|n| n * 42).collect()).unwrap();
        assert!(String::from(list).len() < 1400);
    }

    #[test]
    fn refuses_lists_that_do_not_increase() {
        assert!(PtsList::new(vec![0, 0]).is_none());
    }
}
