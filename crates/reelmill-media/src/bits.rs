//! Single bits and Exp-Golomb numbers, as headers and parameter sets are written
//! in, and the emulation prevention bytes between them.

/// Reads bits, the highest of each byte first. Past the end everything fails.
#[derive(Debug)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    /// Whether the 3 of `00 00 03` is passed over.
    escaped: bool,
    /// Zero bytes right before `bytes`.
    zeros: u8,
    current: u8,
    /// Bits of `current` not yet read.
    left: u8,
}

impl<'a> Bits<'a> {
    /// The bits of `data` as they are.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { bytes: data, escaped: false, zeros: 0, current: 0, left: 0 }
    }

    /// The bits of a NAL unit's payload, without its emulation prevention bytes.
    pub(crate) fn of_payload(payload: &'a [u8]) -> Self {
        Self { escaped: true, ..Self::new(payload) }
    }

    pub(crate) fn bit(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.current = self.next_byte()?;
            self.left = 8;
        }
        self.left -= 1;
        Some(self.current >> self.left & 1 == 1)
    }

    /// The next `count` bits (at most 32) as a number.
    pub(crate) fn uint(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0u32, |value, _| Some(value << 1 | u32::from(self.bit()?)))
    }

    pub(crate) fn skip(&mut self, count: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.bit().map(|_| ()))
    }

    /// An unsigned Exp-Golomb number (`ue(v)`).
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.uint(zeros)?;
        Some((1u32 << zeros) - 1 + rest)
    }

    /// A signed Exp-Golomb number (`se(v)`).
    pub(crate) fn se(&mut self) -> Option<i64> {
        let value = i64::from(self.ue()?);
        Some(if value % 2 == 0 { -(value / 2) } else { value / 2 + 1 })
    }

    /// Passes over what is left of the byte that was begun.
    pub(crate) fn align(&mut self) {
        self.left = 0;
    }

    /// Bits that are left, of data without emulation prevention bytes.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() * 8 + usize::from(self.left)
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (mut byte, mut rest) = self.bytes.split_first()?;
        if self.escaped && self.zeros >= 2 && *byte == 3 {
            self.zeros = 0;
            (byte, rest) = rest.split_first()?;
        }
        self.bytes = rest;
        self.zeros = if *byte == 0 { (self.zeros + 1).min(2) } else { 0 };
        Some(*byte)
    }
}

/// `payload` without its emulation prevention bytes.
pub(crate) fn unescape(payload: &[u8]) -> Vec<u8> {
    let mut bits = Bits::of_payload(payload);
    let mut plain = Vec::with_capacity(payload.len());
    while let Some(byte) = bits.next_byte() {
        plain.push(byte);
    }
    plain
}

/// Appends `plain` with emulation prevention bytes to `out`.
pub(crate) fn escape(plain: &[u8], out: &mut Vec<u8>) {
    let mut zeros = 0;
    for byte in plain {
        if zeros >= 2 && *byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        out.push(*byte);
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exp_golomb_numbers_are_read_as_the_standard_lists_them() {
        // 1, 010, 011, 00100, 00111 and the stop bit.
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0011, 0b1100_0000]);
        let read: Vec<_> = (0..5).map(|_| bits.ue()).collect();
        assert_eq!(read, [Some(0), Some(1), Some(2), Some(3), Some(6)]);
        assert_eq!(Bits::new(&[0; 9]).ue(), None);
        assert_eq!(Bits::new(&[]).ue(), None);
    }

    proptest! {
        #[test]
        fn what_is_escaped_holds_no_start_code_and_reads_the_same(
            plain in prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 3, 4, 255]), 0..200),
        ) {
            let mut escaped = Vec::new();
            escape(&plain, &mut escaped);
            let codes = escaped.windows(3).filter(|w| w[0] == 0 && w[1] == 0 && w[2] < 3).count();
            prop_assert_eq!(codes, 0);
            prop_assert_eq!(unescape(&escaped), plain);
        }
    }
}
