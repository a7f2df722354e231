//! Compares encoded packets with the frames they must be. Pure.

use super::readback::Encoded;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::time::TimeBase;

/// How far a packet's time may be off, microseconds: libvpx counts time in a
/// clock of its own.
pub(super) fn slack(encoder: VideoEncoder) -> i64 {
    if encoder == VideoEncoder::Vp9 { 1 } else { 0 }
}

/// Whether `found` holds exactly the frames at `planned` (ticks, ascending),
/// with times relative to `origin`; else what differs first.
pub(super) fn times(
    (planned, base): (&[i64], TimeBase),
    origin: i64,
    found: &Encoded,
    slack_micros: i64,
) -> Result<(), String> {
    if found.pts.len() != planned.len() {
        return Err(format!("{} frames instead of {}", found.pts.len(), planned.len()));
    }
    let pairs = planned.iter().map(|tick| tick - origin).zip(&found.pts);
    for (at, (want, have)) in pairs.enumerate() {
        if !same_time((want, base), (*have, found.time_base), slack_micros) {
            let seconds = found.time_base.seconds(*have);
            let wanted = base.seconds(want);
            return Err(format!("frame {at} is at {seconds:.6} s instead of {wanted:.6} s"));
        }
    }
    if !found.starts_with_keyframe {
        return Err("the first frame is not a keyframe".into());
    }
    Ok(())
}

/// Exact for a slack of 0.
fn same_time(want: (i64, TimeBase), have: (i64, TimeBase), slack_micros: i64) -> bool {
    let scaled = |(ticks, base): (i64, TimeBase), other: TimeBase| {
        i128::from(ticks) * i128::from(base.num()) * i128::from(other.den())
    };
    let off = (scaled(want, have.1) - scaled(have, want.1)).abs();
    let second = i128::from(want.1.den()) * i128::from(have.1.den());
    off * 1_000_000 <= i128::from(slack_micros) * second
}

/// The times that frames decoded at `seen` get in the output: those that share
/// the time of the frame before move to the next tick.
///
/// # Errors
/// What is wrong, when a frame has no time or times step back: then nobody can
/// say when the frames are to be shown.
pub(super) fn spread(seen: &[Option<i64>]) -> Result<Vec<i64>, String> {
    let untimed = seen.iter().filter(|pts| pts.is_none()).count();
    if untimed > 0 {
        return Err(format!("{untimed} of {} decoded frames carry no time", seen.len()));
    }
    let mut times: Vec<i64> = Vec::with_capacity(seen.len());
    let mut before = None;
    for (at, pts) in seen.iter().flatten().enumerate() {
        if before.is_some_and(|before| *pts < before) {
            return Err(format!("the times of the frames step back at frame {at}"));
        }
        let next = times.last().map_or(*pts, |last| (*pts).max(last + 1));
        times.push(next);
        before = Some(*pts);
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(den: u32) -> TimeBase {
        TimeBase::new(1, den).unwrap()
    }

    fn encoded(den: u32, pts: &[i64]) -> Encoded {
        Encoded {
            time_base: base(den),
            pts: pts.to_vec(),
            starts_with_keyframe: true,
            digest: String::new(),
            bytes: 0,
        }
    }

    #[test]
    fn times_are_compared_exactly_over_time_bases() {
        let planned = [1000, 1040, 1081];
        let check = |found: &Encoded, slack| times((&planned, base(1000)), 1000, found, slack);
        assert_eq!(check(&encoded(64_000, &[0, 2560, 5184]), 0), Ok(()));
        assert!(check(&encoded(64_000, &[0, 2560, 5185]), 1).is_err());
        assert_eq!(check(&encoded(1_000_000, &[0, 40_001, 81_000]), 1), Ok(()));
        assert!(check(&encoded(1_000_000, &[0, 40_001, 81_000]), 0).is_err());
        assert!(check(&encoded(1000, &[0, 40]), 0).unwrap_err().contains("2 frames"));
    }

    #[test]
    fn a_part_must_start_with_a_keyframe() {
        let mut found = encoded(25, &[0]);
        found.starts_with_keyframe = false;
        assert!(times((&[5], base(25)), 5, &found, 0).is_err());
    }

    #[test]
    fn frames_of_one_moment_are_spread_and_steps_back_refused() {
        assert_eq!(spread(&[Some(3), Some(3), Some(3), Some(9)]).unwrap(), [3, 4, 5, 9]);
        assert!(spread(&[Some(3), Some(2)]).is_err());
        assert!(spread(&[Some(3), None]).unwrap_err().contains("1 of 2"));
    }
}
