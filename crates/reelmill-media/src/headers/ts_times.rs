//! How long a transport stream lasts, and how fast its pictures follow each other, as FFmpeg
//! concludes from the times of its first and last packets.

use super::reduce;
use super::ts::{Track, Watch, not_a_stream};
use super::ts_packets::{Begun, Grid, Packet};
use super::window::{Look, Window, unsure};

/// Ticks of the clock in a second.
const SECOND: i64 = 90_000;

/// Times from here on may soon begin anew.
const LATE: i64 = (1 << 33) - (1 << 30);

/// How far times may be apart that are thought of as going on.
const GAP: i64 = 60 * SECOND;

/// Bytes at the end that FFmpeg reads, twice as many each time it has to try again.
const TAIL: u64 = 250_000;
const TRIES: u32 = 6;

/// Bytes of a packet of open length at which FFmpeg ends it.
const LONGEST: usize = 204_800;

/// Packets at the end's beginning that FFmpeg may lose while it looks for its step.
const STEP: usize = 12;

/// Pictures a second, as a fraction, of the kind that FFmpeg rounds others to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    num: u32,
    den: u32,
}

impl Rate {
    /// The rate of pictures of this length, seconds as a fraction, if it is a usual one.
    pub(super) fn standard((length, scale): (u32, u32)) -> Option<Self> {
        let (num, den) = reduce(scale.into(), length.into(), i32::MAX as u64);
        let exact = u64::from(num) * length as u64 == u64::from(den) * u64::from(scale);
        let usual = match den {
            1 => (5..=60).contains(&num) || [80, 120, 240].contains(&num),
            2 | 3 | 4 | 6 | 12 => (5 * den..30 * den).contains(&num),
            1001 => [12, 15, 24, 30, 48, 60].iter().any(|rate| rate * 1000 == num),
            _ => false,
        };
        (exact && usual).then_some(Self { num, den })
    }

    /// Whether pictures at these times, in their order, follow each other at this rate.
    pub(super) fn is_kept_by(self, times: &[i64]) -> bool {
        let (num, den) = (i64::from(self.num), i64::from(self.den));
        let first = times.first().copied().unwrap_or(0);
        let off = |(number, time): (i64, &i64)| (time - first) * num - number * SECOND * den;
        (0..).zip(times).map(off).all(|off| off.abs() <= num)
    }

    pub(super) fn fraction(self) -> (u32, u32) {
        (self.num, self.den)
    }

    /// Ticks of a picture.
    fn length(self) -> i64 {
        SECOND * i64::from(self.den) / i64::from(self.num)
    }
}

/// When a stream is shown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    start: Option<i64>,
    /// The earliest and the latest time in the first seconds.
    bounds: (i64, i64),
}

impl Clock {
    /// Takes the times of a packet in the first seconds.
    pub(super) fn note(&mut self, low: i64, pts: i64) -> Look<()> {
        self.bounds = match self.start {
            None => (low, pts),
            Some(_) => (self.bounds.0.min(low), self.bounds.1.max(pts)),
        };
        self.start.get_or_insert(pts);
        match self.bounds.1 - self.bounds.0 < GAP && pts < LATE {
            true => Ok(()),
            false => unsure("times that leap, or are about to begin anew"),
        }
    }
}

/// What of a stream is known at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Lasting {
    /// Ticks from its start.
    duration: Option<i64>,
    last: i64,
}

/// A packet of a stream, in the making.
#[derive(Default)]
struct Making {
    /// Whether it goes on.
    open: bool,
    pts: Option<i64>,
    size: usize,
    /// Bytes it will have; 0 where that is open.
    whole: usize,
}

/// Microseconds from the first moment to the last.
pub(super) fn duration(
    file: &mut Window,
    grid: Grid,
    tracks: &mut [Track],
    watch: &mut Watch,
) -> Look<u64> {
    let starts: Vec<i64> = tracks.iter().filter_map(|track| track.clock.start).collect();
    let (first, last) = (starts.iter().min().copied(), starts.iter().max().copied());
    let (Some(first), Some(last)) = (first, last) else { return unsure("no times") };
    if last - first >= GAP {
        return unsure("times that leap");
    }
    let found = End { tracks, watch, grid, lost: 0 }.lasting(file)?;
    if found != (End { tracks, watch, grid, lost: STEP }.lasting(file)?) {
        return unsure("very few packets at its end");
    }
    // As FFmpeg rounds.
    let micros = |ticks: i64| (ticks * 200 + 9) / 18;
    let (mut longest, mut end) = (0, 0);
    for (track, lasting) in tracks.iter().zip(found) {
        let Some(start) = track.clock.start else { continue };
        let Some(duration) = lasting.duration else { return unsure("a stream that ends early") };
        longest = longest.max(micros(duration));
        end = end.max(micros(start) + micros(duration));
    }
    match longest.max(end - micros(first)) {
        1.. => Ok(longest.max(end - micros(first)) as u64),
        _ => unsure("no duration"),
    }
}

/// The end of the file.
struct End<'a> {
    tracks: &'a [Track],
    watch: &'a mut Watch,
    grid: Grid,
    /// Packets that are passed over where it begins.
    lost: usize,
}

impl End<'_> {
    fn lasting(mut self, file: &mut Window) -> Look<Vec<Lasting>> {
        let mut lasting = vec![Lasting::default(); self.tracks.len()];
        for attempt in 0..=TRIES {
            let again = lasting.iter().any(|it| it.last != 0);
            let offset = file.len.saturating_sub(TAIL << attempt);
            let most = TAIL << attempt.saturating_sub(1);
            self.read(file, offset, most, &mut lasting)?;
            let all = self.tracks.iter().zip(&lasting);
            let done = all.clone().all(|(track, it)| !track.is_played() || it.duration.is_some());
            if again || done || offset == 0 {
                break;
            }
        }
        Ok(lasting)
    }

    /// Reads packets from `offset` on, until those of streams come to so many bytes.
    fn read(
        &mut self,
        file: &mut Window,
        offset: u64,
        most: u64,
        lasting: &mut [Lasting],
    ) -> Look<()> {
        let (tracks, watch) = (self.tracks, &mut *self.watch);
        watch.restart();
        let mut making: Vec<Making> = tracks.iter().map(|_| Making::default()).collect();
        let mut lost = if offset > 0 { self.lost } else { 0 };
        let mut sum = 0;
        self.grid.walk(file, self.grid.from(offset), |packet| {
            if lost > 0 {
                lost -= 1;
                return Ok(true);
            }
            if !watch.passes(packet)? || packet.payload.is_empty() {
                return Ok(true);
            }
            let known = tracks.iter().position(|track| track.entry.pid == packet.pid);
            let Some(at) = known else { return Ok(true) };
            if !tracks[at].is_played() {
                return not_a_stream(packet).map(|()| true);
            }
            for (pts, size) in making[at].take(packet)? {
                note(&tracks[at], &mut lasting[at], pts)?;
                sum += size as u64;
            }
            Ok(sum < most)
        })?;
        let mut rest: Vec<usize> = (0..tracks.len()).filter(|at| making[*at].open).collect();
        rest.sort_unstable_by_key(|at| tracks[*at].entry.pid);
        for at in rest.into_iter().filter(|at| making[*at].size > 0) {
            if sum < most {
                note(&tracks[at], &mut lasting[at], making[at].pts)?;
                sum += making[at].size as u64;
            }
        }
        Ok(())
    }
}

impl Making {
    /// Takes a packet; hands over times and sizes of those of the stream that are over.
    fn take(&mut self, packet: &Packet<'_>) -> Look<Vec<(Option<i64>, usize)>> {
        let mut over = Vec::new();
        if packet.unfit {
            return unsure("scrambled or damaged packets");
        }
        let mut payload = packet.payload;
        if packet.start {
            if self.open && self.size > 0 {
                over.push((self.pts, self.size));
            }
            let begun = Begun::read(payload)?;
            payload = &payload[begun.header..];
            let whole = begun.length.saturating_sub(begun.header);
            *self = Self { open: true, pts: begun.pts, size: 0, whole };
        }
        if !self.open || payload.is_empty() {
            return Ok(over);
        }
        let most = if self.whole > 0 { self.whole } else { LONGEST };
        let mut more = payload.len();
        if self.size > 0 && self.size + more > most {
            over.push((self.pts, self.size));
            *self = Self { open: true, ..Self::default() };
        } else if self.size == 0 {
            more = more.min(most);
        }
        self.size += more;
        if self.whole > 0 && self.size == self.whole {
            over.push((self.pts, self.size));
            *self = Self::default();
        }
        Ok(over)
    }
}

/// Takes the time of a packet at the end.
fn note(track: &Track, lasting: &mut Lasting, pts: Option<i64>) -> Look<()> {
    let (Some(pts), Some(start)) = (pts, track.clock.start) else { return Ok(()) };
    if pts < track.clock.bounds.0 {
        return unsure("times that begin anew");
    }
    let length = match (track.rate(), track.samples()) {
        (Some(rate), _) => rate.length(),
        (None, Some((samples, rate))) => samples * SECOND / rate,
        (None, None) => return unsure("no times"),
    };
    let duration = pts + length - start;
    if duration > 0 {
        let longer = lasting.duration.is_some_and(|it| it < duration);
        if lasting.duration.is_none()
            || lasting.last <= 0
            || longer && (duration - lasting.last).abs() < GAP
        {
            lasting.duration = Some(duration);
        }
        lasting.last = duration;
    }
    Ok(())
}
