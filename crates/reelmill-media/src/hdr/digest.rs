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
        let (words, rest) = bytes.as_chunks::<8>();
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
