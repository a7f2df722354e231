//! The progress reports that FFmpeg writes with `-progress pipe:1`.

use std::collections::BTreeMap;

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Progress {
    /// Video frames encoded.
    pub frames: u64,
    /// Seconds of output, 0 while unknown.
    pub out_seconds: f64,
    /// Frames encoded a second of real time.
    pub fps: f64,
    /// Seconds of output a second of real time, 0 while unknown.
    pub speed: f64,
    /// Bytes written, 0 while unknown.
    pub bytes: u64,
}

/// Puts the lines of a report together.
#[derive(Debug, Clone, Default)]
pub struct ProgressParser {
    now: Progress,
}

impl ProgressParser {
    /// Takes the next line; the report, when the line ends one. Values that
    /// FFmpeg does not know (`N/A`) keep what was known before.
    pub fn push(&mut self, line: &str) -> Option<Progress> {
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        let now = &mut self.now;
        match key.trim() {
            "frame" => set(&mut now.frames, value.parse().ok()),
            "fps" => set(&mut now.fps, number(value)),
            "total_size" => set(&mut now.bytes, value.parse().ok()),
            "out_time_us" => set(&mut now.out_seconds, number(value).map(|us| us.max(0.0) / 1e6)),
            "speed" => set(&mut now.speed, number(value.trim_end_matches('x'))),
            "progress" => return Some(*now),
            _ => {}
        }
        None
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Tells lines that show progress from lines that a stuck FFmpeg writes too:
/// newer ones report twice a second whatever happens.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    last: BTreeMap<&'static str, String>,
}

/// What grows as FFmpeg gets on.
const GROWING: &[&str] = &["frame", "out_time_us", "total_size"];

/// What else a report consists of.
const IDLE: &[&str] = &[
    "fps",
    "bitrate",
    "out_time_ms",
    "out_time",
    "dup_frames",
    "drop_frames",
    "speed",
    "elapsed",
    "progress",
];

impl Pulse {
    /// Whether `line` is a sign of life.
    pub(crate) fn beats(&mut self, line: &str) -> bool {
        let Some((key, value)) = line.split_once('=') else {
            return true;
        };
        if let Some(key) = GROWING.iter().find(|name| **name == key) {
            let before = self.last.insert(key, value.to_owned());
            return before.is_none_or(|before| before != value);
        }
        !IDLE.contains(&key) && !key.starts_with("stream_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by FFmpeg 5.1.9: a matroska output, then one to `-f null`.
    const MATROSKA: &str = "frame=1\nfps=0.00\nstream_0_0_q=0.0\nbitrate=N/A\ntotal_size=569\nout_time_us=0\nout_time_ms=0\nout_time=00:00:00.000000\ndup_frames=0\ndrop_frames=0\nspeed=N/A\nprogress=continue\nframe=206\nfps=204.91\nstream_0_0_q=28.0\nbitrate= 672.1kbits/s\ntotal_size=524288\nout_time_us=6241000\nout_time_ms=6241000\nout_time=00:00:06.241000\ndup_frames=0\ndrop_frames=0\nspeed=6.21x\nprogress=end";
    const NULL: &str = "frame=1\nfps=0.00\nstream_0_0_q=-0.0\nbitrate=N/A\ntotal_size=N/A\nout_time_us=-23220\nout_time_ms=-23220\nout_time=-00:00:00.023220\ndup_frames=0\ndrop_frames=0\nspeed=N/A\nprogress=continue";

    fn reports(text: &str) -> Vec<Progress> {
        let mut parser = ProgressParser::default();
        text.lines().filter_map(|line| parser.push(line)).collect()
    }

    #[test]
    fn reads_what_ffmpeg_writes() {
        let found = reports(MATROSKA);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].frames, found[0].bytes), (1, 569));
        let last =
            Progress { frames: 206, out_seconds: 6.241, fps: 204.91, speed: 6.21, bytes: 524_288 };
        assert_eq!(found[1], last);
    }

    #[test]
    fn unknown_and_negative_values_are_no_trouble() {
        let first = Progress { frames: 1, ..Progress::default() };
        assert_eq!(reports(NULL), [first]);
    }

    #[test]
    fn only_growth_is_a_sign_of_life() {
        let mut pulse = Pulse::default();
        assert!(pulse.beats("frame=1"));
        assert!(!pulse.beats("frame=1"));
        assert!(!pulse.beats("speed=0.1x"));
        assert!(!pulse.beats("stream_0_0_q=28.0"));
        assert!(!pulse.beats("progress=continue"));
        assert!(pulse.beats("frame=2"));
        assert!(pulse.beats("packet|pts=1"));
    }
}
