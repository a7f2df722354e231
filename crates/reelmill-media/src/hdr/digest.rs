//! A fast digest against mix-ups and damage; none against malice.

/// Digest of what it is fed, in order. One changed bit always changes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// One that goes on from `value`.
    #[must_use]
    pub fn of(value: u64) -> Self {
        Self(value)
    }

    /// Feeds a number.
    pub fn number(&mut self, number: u64) {
        // Multiplying by an odd number and turning lose nothing.
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }

    /// Feeds bytes and how many they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        // Four sums that do not wait for each other are reckoned side by side.
        let (blocks, rest) = bytes.as_chunks::<32>();
        let mut sums = [Self(1), Self(2), Self(3), Self(4)];
        for block in blocks {
            for (sum, word) in sums.iter_mut().zip(block.as_chunks::<8>().0) {
                sum.number(u64::from_le_bytes(*word));
            }
        }
        for sum in sums.iter().filter(|_| !blocks.is_empty()) {
            self.number(sum.0);
        }
        let (words, rest) = rest.as_chunks::<8>();
        for word in words {
            self.number(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.number(u64::from_le_bytes(last));
        self.number(bytes.len() as u64);
    }

    /// The digest.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changed_bit_or_byte_of_length_or_two_in_other_places_change_it() {
        let of = |bytes: &[u8]| {
            let mut digest = Digest::default();
            digest.bytes(bytes);
            digest.value()
        };
        for length in [0usize, 1, 7, 8, 31, 32, 33, 64, 100] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let longer = [&bytes[..], &[0]].concat();
            let whole = of(&bytes);
            assert_ne!(of(&longer), whole, "{length} bytes and one more");
            for bit in 0..length * 8 {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(of(&changed), whole, "bit {bit} of {length} bytes");
            }
            for at in 8..length {
                let mut changed = bytes.clone();
                changed.swap(at, at - 8);
                assert_ne!(of(&changed), whole, "bytes {at} of {length} changed places");
            }
        }
    }
}
