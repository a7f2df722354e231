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
        self.begin_byte()?;
        self.left -= 1;
        Some(self.current >> self.left & 1 == 1)
    }

    /// The next `count` bits (at most 32) as a number.
    pub(crate) fn uint(&mut self, count: u32) -> Option<u32> {
        let (mut value, mut wanted) = (0u64, count);
        while wanted > 0 {
            self.begin_byte()?;
            let taken = wanted.min(self.left.into());
            self.left -= taken as u8;
            value = value << taken | u64::from(self.current >> self.left & (0xFF >> (8 - taken)));
            wanted -= taken;
        }
        Some(value as u32)
    }

    pub(crate) fn skip(&mut self, count: usize) -> Option<()> {
        let begun = count.min(self.left.into());
        self.left -= begun as u8;
        let (bytes, bits) = ((count - begun) / 8, (count - begun) % 8);
        if self.escaped {
            (0..bytes).try_for_each(|_| self.next_byte().map(|_| ()))?;
        } else {
            let rest = self.bytes.get(bytes..);
            self.bytes = rest.unwrap_or_default();
            rest?;
        }
        self.uint(bits as u32).map(|_| ())
    }

    /// An unsigned Exp-Golomb number (`ue(v)`).
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        loop {
            self.begin_byte()?;
            let unread = self.current << (8 - self.left);
            let run = unread.leading_zeros().min(self.left.into());
            zeros += run;
            if zeros > 31 {
                return None;
            }
            self.left -= run as u8;
            if self.left > 0 {
                // The one that ends them.
                self.left -= 1;
                break;
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

    /// Sees to it that there is a bit that was not yet read.
    fn begin_byte(&mut self) -> Option<()> {
        if self.left == 0 {
            self.current = self.next_byte()?;
            self.left = 8;
        }
        Some(())
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
    let mut plain = Vec::with_capacity(payload.len());
    let mut rest = payload;
    while let Some(at) = rest.windows(3).position(|bytes| *bytes == [0, 0, 3]) {
        plain.extend_from_slice(&rest[..at + 2]);
        rest = &rest[at + 3..];
    }
    plain.extend_from_slice(rest);
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

    /// Reads bits one by one, as the standard describes the numbers.
    struct Slow {
        bits: Vec<bool>,
        at: usize,
    }

    impl Slow {
        fn of(data: &[u8], escaped: bool) -> Self {
            let mut bytes = Vec::new();
            for byte in data {
                let dropped = escaped && *byte == 3 && bytes.ends_with(&[Some(0), Some(0)]);
                bytes.push(if dropped { None } else { Some(*byte) });
            }
            let of = |byte: u8| (0..8).rev().map(move |at| byte >> at & 1 == 1);
            Self { bits: bytes.into_iter().flatten().flat_map(of).collect(), at: 0 }
        }

        fn uint(&mut self, count: usize) -> Option<u32> {
            let bits = self.bits.get(self.at..self.at + count)?;
            self.at += count;
            Some(bits.iter().fold(0, |value, bit| value << 1 | u32::from(*bit)))
        }

        fn ue(&mut self) -> Option<u32> {
            let zeros = self.bits[self.at..].iter().take_while(|bit| !**bit).count();
            if zeros > 31 {
                return None;
            }
            self.at += zeros;
            self.uint(zeros + 1).map(|value| value - 1)
        }
    }

    proptest! {
        #[test]
        fn bits_are_read_as_one_by_one(
            data in prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 3, 0x5A, 255]), 0..40),
            escaped: bool,
            steps in prop::collection::vec((0..3, 0usize..33), 0..40),
        ) {
            let mut quick = if escaped { Bits::of_payload(&data) } else { Bits::new(&data) };
            let mut slow = Slow::of(&data, escaped);
            for (kind, count) in steps {
                let (read, expected) = match kind {
                    0 => (quick.uint(count as u32), slow.uint(count)),
                    1 => (quick.skip(3 * count).map(|()| 0), {
                        let there = slow.at + 3 * count <= slow.bits.len();
                        slow.at += if there { 3 * count } else { 0 };
                        there.then_some(0)
                    }),
                    _ => (quick.ue(), slow.ue()),
                };
                prop_assert_eq!(read, expected);
                if read.is_none() {
                    break;
                }
            }
        }

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
