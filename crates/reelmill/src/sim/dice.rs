//! Random numbers that fall the same for the same seed.

/// The next 64 bits of the sequence that stands at `state` (SplitMix64).
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Dice of one seed.
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (next(&mut self.0) % bound as u64) as usize
    }

    /// A number in `from..to`.
    pub(super) fn between(&mut self, from: i64, to: i64) -> i64 {
        from + (next(&mut self.0) % (to - from).unsigned_abs()) as i64
    }

    /// True `percent` times of a hundred.
    pub(super) fn hits(&mut self, percent: usize) -> bool {
        self.below(1000) < percent * 10
    }
}
