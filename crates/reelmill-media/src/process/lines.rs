//! Bytes from a pipe, as lines of bounded length.

use std::collections::VecDeque;

/// Splits a byte stream into lines, ended by LF, CR or both; bytes of a line
/// beyond a limit are dropped, and empty lines too.
#[derive(Debug)]
pub(super) struct Lines {
    line: Vec<u8>,
    limit: usize,
}

impl Lines {
    /// Lines of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { line: Vec::new(), limit }
    }

    /// Takes the next bytes and hands over the lines they complete.
    pub(super) fn push(&mut self, bytes: &[u8], take: &mut dyn FnMut(&str)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.keep(&rest[..end]);
            self.finish(take);
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    /// Hands over the last line, should it lack a line end.
    pub(super) fn finish(&mut self, take: &mut dyn FnMut(&str)) {
        if !self.line.is_empty() {
            take(&String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// The last lines of a byte stream, without control characters.
#[derive(Debug)]
pub(super) struct Tail {
    lines: Lines,
    last: VecDeque<String>,
    count: usize,
}

impl Tail {
    /// Keeps the last `count` lines, each of at most `bytes` bytes.
    pub(super) fn new(count: usize, bytes: usize) -> Self {
        Self { lines: Lines::new(bytes), last: VecDeque::new(), count }
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (last, count) = (&mut self.last, self.count);
        self.lines.push(bytes, &mut |line| keep(last, count, line));
    }

    /// The lines, oldest first.
    pub(super) fn into_lines(mut self) -> Vec<String> {
        let (last, count) = (&mut self.last, self.count);
        self.lines.finish(&mut |line| keep(last, count, line));
        self.last.into()
    }
}

/// What FFmpeg says for lines that it leaves out; those that are kept tell as much.
const REPEATED: &str = "Last message repeated";

fn keep(last: &mut VecDeque<String>, count: usize, line: &str) {
    if line.trim_start().starts_with(REPEATED) {
        return;
    }
    if last.len() == count {
        last.pop_front();
    }
    last.push_back(line.chars().filter(|c| !c.is_control()).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(parts: &[&[u8]], limit: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut lines = Lines::new(limit);
        let mut take = |line: &str| found.push(line.to_owned());
        for part in parts {
            lines.push(part, &mut take);
        }
        lines.finish(&mut take);
        found
    }

    #[test]
    fn what_was_left_out_is_not_told_as_a_reason() {
        let mut tail = Tail::new(2, 100);
        tail.push(b"first\nwhy\n    Last message repeated 3 times\n");
        assert_eq!(tail.into_lines(), ["first", "why"]);
    }

    #[test]
    fn lines_may_come_in_any_pieces() {
        let parts: [&[u8]; 4] = [b"fra", b"me=1\r\nfps", b"=2\rspeed=3\n\nla", b"st"];
        assert_eq!(split(&parts, 100), ["frame=1", "fps=2", "speed=3", "last"]);
    }

    #[test]
    fn long_lines_are_cut_and_odd_bytes_replaced() {
        assert_eq!(split(&[b"abcdef\nx\xffy\n"], 3), ["abc", "x\u{fffd}y"]);
    }

    #[test]
    fn the_tail_is_short_and_printable() {
        let mut tail = Tail::new(2, 100);
        tail.push(b"one\ntwo\x1b[31m\x07\nthree");
        assert_eq!(tail.into_lines(), ["two[31m", "three"]);
    }
}
