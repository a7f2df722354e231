//! Byte ranges of downloads (RFC 9110, section 14).

use std::ops::Range;

/// What a `Range` header asks of something that has so many bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of it: no range, or one that is ignored, as it may be.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Bytes that are not there.
    BeyondEnd,
}

/// Reads a `Range` header. Only a single range is served; several at once are
/// ignored, as are units other than bytes.
pub(crate) fn asked(header: Option<&str>, length: u64) -> Asked {
    let Some(set) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
        return Asked::Whole;
    };
    let Some((first, last)) = set.trim().split_once('-') else {
        return Asked::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        return match number(last) {
            None => Asked::Whole,
            Some(0) => Asked::BeyondEnd,
            Some(_) if length == 0 => Asked::BeyondEnd,
            Some(tail) => Asked::Part(length.saturating_sub(tail)..length),
        };
    }
    let Some(first) = number(first) else {
        return Asked::Whole;
    };
    let end = match last {
        "" => length,
        last => match number(last) {
            Some(last) if last >= first => last.saturating_add(1).min(length),
            _ => return Asked::Whole,
        },
    };
    if first >= length { Asked::BeyondEnd } else { Asked::Part(first..end) }
}

/// Digits only: no sign, no blank. Numbers beyond 64 bits mean "very far".
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read_as_the_standard_has_them() {
        let of = |header| asked(Some(header), 10);
        assert_eq!(asked(None, 10), Asked::Whole);
        assert_eq!(of("bytes=0-0"), Asked::Part(0..1));
        assert_eq!(of("bytes=2-"), Asked::Part(2..10));
        assert_eq!(of("bytes=2-99"), Asked::Part(2..10));
        assert_eq!(of("bytes=-3"), Asked::Part(7..10));
        assert_eq!(of("bytes=-99"), Asked::Part(0..10));
        assert_eq!(of("bytes=10-"), Asked::BeyondEnd);
        assert_eq!(of("bytes=-0"), Asked::BeyondEnd);
        assert_eq!(of("bytes=99999999999999999999999-"), Asked::BeyondEnd);
        for ignored in ["bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=a-b", "bytes=+1-2", "x"] {
            assert_eq!(of(ignored), Asked::Whole, "{ignored}");
        }
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::BeyondEnd);
        assert_eq!(asked(Some("bytes=-1"), 0), Asked::BeyondEnd);
    }

    proptest! {
        #[test]
        fn a_part_lies_within_and_is_never_empty(header in "bytes=[0-9]{0,4}-[0-9]{0,4}", length in 0u64..3000) {
            if let Asked::Part(range) = asked(Some(&header), length) {
                prop_assert!(range.start < range.end && range.end <= length);
            }
        }
    }
}
