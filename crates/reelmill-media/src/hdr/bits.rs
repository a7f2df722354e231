//! Reads bits of a NAL unit's payload.

/// Bits of a payload, first to last, without the emulation prevention bytes
/// (the 3 of `00 00 03`). Every read tells `None` at the end.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Zero bytes right before `bytes`.
    zeros: u8,
    current: u8,
    /// Bits of `current` not yet read.
    left: u8,
}

impl<'a> Bits<'a> {
    /// The bits of `payload`: a NAL unit after its header.
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { bytes: payload, zeros: 0, current: 0, left: 0 }
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.current = self.next_byte()?;
            self.left = 8;
        }
        self.left -= 1;
        Some(self.current >> self.left & 1 == 1)
    }

    /// A number of up to 32 bits.
    pub(super) fn number(&mut self, bits: u32) -> Option<u32> {
        (0..bits).try_fold(0u32, |value, _| Some(value << 1 | u32::from(self.bit()?)))
    }

    pub(super) fn skip(&mut self, bits: u32) -> Option<()> {
        (0..bits).try_for_each(|_| self.bit().map(|_| ()))
    }

    /// An unsigned Exp-Golomb number.
    pub(super) fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.number(zeros)?;
        Some((1u32 << zeros) - 1 + rest)
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (mut byte, mut rest) = self.bytes.split_first()?;
        if self.zeros >= 2 && *byte == 3 {
            self.zeros = 0;
            (byte, rest) = rest.split_first()?;
        }
        self.bytes = rest;
        self.zeros = if *byte == 0 { (self.zeros + 1).min(2) } else { 0 };
        Some(*byte)
    }
}

/// `payload` without its emulation prevention bytes.
pub(super) fn unescape(payload: &[u8]) -> Vec<u8> {
    let mut bits = Bits::new(payload);
    let mut plain = Vec::with_capacity(payload.len());
    while let Some(byte) = bits.next_byte() {
        plain.push(byte);
    }
    plain
}

/// `plain` with emulation prevention bytes.
pub(super) fn escape(plain: &[u8], out: &mut Vec<u8>) {
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
        let read: Vec<_> = (0..5).map(|_| bits.golomb()).collect();
        assert_eq!(read, [Some(0), Some(1), Some(2), Some(3), Some(6)]);
        assert_eq!(Bits::new(&[0; 9]).golomb(), None);
        assert_eq!(Bits::new(&[]).golomb(), None);
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
