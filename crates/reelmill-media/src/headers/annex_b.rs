//! Units between start codes, as elementary streams have them (ITU-T H.264 annex B).

/// The units in `data` that another start code follows, so that none is cut short;
/// without their start codes and the zeros behind them.
pub(super) fn units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts: Vec<usize> = memchr::memmem::find_iter(data, &[0, 0, 1]).collect();
    let pairs: Vec<_> = starts.windows(2).map(|pair| (pair[0] + 3, pair[1])).collect();
    pairs.into_iter().map(move |(from, to)| {
        let unit = &data[from..to.max(from)];
        let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
        &unit[..unit.len() - zeros]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_whole() {
        let found: Vec<_> = units(&[9, 0, 0, 0, 1, 7, 8, 0, 0, 1, 9, 0, 0, 0, 1, 6]).collect();
        assert_eq!(found, [&[7, 8][..], &[9]]);
        assert_eq!(units(&[0, 0, 1, 0, 0, 1]).count(), 1);
        assert_eq!(units(&[0, 0, 1]).count(), 0);
    }
}
