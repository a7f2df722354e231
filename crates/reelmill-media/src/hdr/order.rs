//! The order in which pictures are shown, which is not the order in which they
//! are coded.
//!
//! Order counts are signed: pictures that are coded after an IDR picture and
//! shown before it (RADL) have negative ones.

use super::nal::{NalKind, temporal_id};
use super::slice::FirstSlice;
use reelmill_core::error::Failure;

/// A picture's place in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which coded video sequence it is in; order counts start anew in each.
    pub sequence: u32,
    /// Its picture order count.
    pub order: i64,
}

/// Follows the order counts through a stream (H.265, 8.3.1).
#[derive(Debug, Clone, Default)]
pub struct OrderCounter {
    sequence: u32,
    /// Order count of the last picture that others are counted from.
    last: Option<i64>,
}

impl OrderCounter {
    /// The stream ends a sequence here: the next picture begins another.
    pub fn end_of_sequence(&mut self) {
        self.last = None;
    }

    /// The place of the next picture in coding order, which begins with `nal`.
    pub fn next(&mut self, nal: &[u8], slice: FirstSlice) -> Place {
        let kind = NalKind::of(nal).unwrap_or(NalKind(0));
        let begins = kind.is_idr() || kind.is_bla() || self.last.is_none();
        if begins {
            self.sequence = self.sequence.saturating_add(1);
        }
        let low = i64::from(slice.order_low);
        let order = match self.last.filter(|_| !begins) {
            None => low,
            Some(last) => nearest(low, last, 1 << slice.order_bits),
        };
        let counted_from = temporal_id(nal) == 0 && !kind.is_leading() && !kind.is_unreferenced();
        if counted_from || begins {
            self.last = Some(order);
        }
        Place { sequence: self.sequence, order }
    }
}

/// The number that is `low` modulo `range` and nearest to `last`.
fn nearest(low: i64, last: i64, range: i64) -> i64 {
    let base = last - last.rem_euclid(range);
    let last_low = last.rem_euclid(range);
    if low < last_low && last_low - low >= range / 2 {
        base + range + low
    } else if low > last_low && low - last_low > range / 2 {
        base - range + low
    } else {
        base + low
    }
}

/// For each picture in coding order, its number in the order of being shown.
///
/// # Errors
/// Class input, when two pictures claim the same place.
pub fn shown(places: &[Place]) -> Result<Vec<usize>, Failure> {
    let mut sorted: Vec<usize> = (0..places.len()).collect();
    sorted.sort_by_key(|picture| places[*picture]);
    for pair in sorted.windows(2) {
        if places[pair[0]] == places[pair[1]] {
            return Err(Failure::input(format!(
                "pictures {} and {} of the HEVC stream (in coding order) claim the same place",
                pair[0].min(pair[1]),
                pair[0].max(pair[1])
            ))
            .advise("the stream is damaged, or was joined from parts that do not fit"));
        }
    }
    let mut shown = vec![0; places.len()];
    for (number, picture) in sorted.into_iter().enumerate() {
        shown[picture] = number;
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDR: [u8; 2] = [19 << 1, 1];
    const CRA: [u8; 2] = [21 << 1, 1];
    const RADL: [u8; 2] = [6 << 1, 1];
    const RASL: [u8; 2] = [8 << 1, 1];
    const TRAIL: [u8; 2] = [1 << 1, 1];

    /// Numbers in the order of being shown of pictures (header, low order bits).
    fn run(pictures: &[([u8; 2], u32)], order_bits: u32) -> Vec<usize> {
        let mut counter = OrderCounter::default();
        let place = |(nal, order_low): &([u8; 2], u32)| {
            counter.next(nal, FirstSlice { order_low: *order_low, order_bits })
        };
        shown(&pictures.iter().map(place).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn trap3_radl_pictures_are_shown_before_the_idr_they_follow() {
        // The second IDR's leading pictures count -2 and -1: 254 and 255.
        let pictures =
            [(IDR, 0), (TRAIL, 1), (IDR, 0), (RADL, 254), (RADL, 255), (TRAIL, 1), (TRAIL, 2)];
        assert_eq!(run(&pictures, 8), [0, 1, 4, 2, 3, 5, 6]);
    }

    #[test]
    fn an_open_group_keeps_its_order_over_the_wrap_of_the_count() {
        let pictures =
            [(IDR, 0), (TRAIL, 6), (TRAIL, 12), (CRA, 2), (RASL, 0), (RASL, 14), (TRAIL, 4)];
        assert_eq!(run(&pictures, 4), [0, 1, 2, 5, 4, 3, 6]);
    }

    #[test]
    fn two_pictures_in_one_place_are_refused() {
        let place = Place { sequence: 1, order: 3 };
        assert!(shown(&[place, Place { order: 4, ..place }, place]).is_err());
    }

    proptest! {
        #[test]
        fn counts_are_followed_however_few_bits_are_coded(
            steps in prop::collection::vec(-3i64..7, 1..300), bits in 4u32..=16,
        ) {
            let mut counter = OrderCounter::default();
            counter.next(&IDR, FirstSlice { order_low: 0, order_bits: bits });
            let mut order = 0i64;
            for step in steps {
                order += step;
                let order_low = order.rem_euclid(1 << bits) as u32;
                let place = counter.next(&TRAIL, FirstSlice { order_low, order_bits: bits });
                prop_assert_eq!(place.order, order);
            }
        }
    }
}
