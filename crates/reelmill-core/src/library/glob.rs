//! Patterns for paths within a library.

use serde::{Deserialize, Serialize};

/// Longest pattern, bytes: each path is held against it byte by byte.
const LONGEST: usize = 256;

/// A pattern for paths: `?` is one character, `*` any within one name, `**` any
/// at all, `**/` any folders, also none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Byte(u8),
    One,
    Name,
    All,
    Folders,
}

impl TryFrom<String> for Glob {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(format!("a path pattern has 1 to {LONGEST} bytes"));
        }
        if text.starts_with('/') {
            return Err(format!("'{text}': paths within a library begin without a slash"));
        }
        let mut parts = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            (rest, parts) = match (first, after) {
                (b'*', [b'*', b'/', after @ ..]) => (after, with(parts, Part::Folders)),
                (b'*', [b'*', after @ ..]) => (after, with(parts, Part::All)),
                (b'*', after) => (after, with(parts, Part::Name)),
                (b'?', after) => (after, with(parts, Part::One)),
                (byte, after) => (after, with(parts, Part::Byte(*byte))),
            };
        }
        Ok(Self { text, parts })
    }
}

fn with(mut parts: Vec<Part>, part: Part) -> Vec<Part> {
    parts.push(part);
    parts
}

impl From<Glob> for String {
    fn from(glob: Glob) -> Self {
        glob.text
    }
}

impl Glob {
    /// Whether `path` fits.
    #[must_use]
    pub fn fits(&self, path: &[u8]) -> bool {
        // Every place in the pattern where matching may stand: no path takes
        // longer than its length times the pattern's.
        let mut at = vec![false; self.parts.len() + 1];
        self.enter(&mut at, 0);
        for byte in path {
            let mut next = vec![false; at.len()];
            for (place, part) in self.parts.iter().enumerate().filter(|(place, _)| at[*place]) {
                match part {
                    Part::Byte(wanted) if wanted == byte => self.enter(&mut next, place + 1),
                    Part::One if *byte != b'/' => self.enter(&mut next, place + 1),
                    Part::Name if *byte != b'/' => self.enter(&mut next, place),
                    Part::All => self.enter(&mut next, place),
                    Part::Folders => {
                        next[place] = true;
                        if *byte == b'/' {
                            self.enter(&mut next, place + 1);
                        }
                    }
                    Part::Byte(_) | Part::One | Part::Name => {}
                }
            }
            at = next;
        }
        at[self.parts.len()]
    }

    /// Stands at `place`, and beyond it where nothing need be there.
    fn enter(&self, at: &mut [bool], place: usize) {
        let mut place = place;
        at[place] = true;
        while let Some(Part::Name | Part::All | Part::Folders) = self.parts.get(place) {
            place += 1;
            at[place] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(glob: &str, path: &str) -> bool {
        Glob::try_from(glob.to_owned()).unwrap().fits(path.as_bytes())
    }

    #[test]
    fn patterns_fit_what_they_say() {
        assert!(fits("Films/**", "Films/A/b.mkv"));
        assert!(!fits("Films/**", "films/A/b.mkv"));
        assert!(fits("Films/*/*.mkv", "Films/A/b.mkv"));
        assert!(!fits("Films/*.mkv", "Films/A/b.mkv"));
        assert!(fits("**/*.mkv", "b.mkv") && fits("**/*.mkv", "A/B/b.mkv"));
        assert!(fits("**/sample/**", "A/sample/b.mkv") && !fits("**/sample/**", "A/a sample/b"));
        assert!(fits("?.mkv", "b.mkv") && !fits("?.mkv", "bb.mkv") && !fits("a?b", "a/b"));
        assert!(fits("**", "") && !fits("*", "a/b"));
        for bad in ["", "/Films/**"] {
            Glob::try_from(bad.to_owned()).unwrap_err();
        }
    }

    /// The same question, answered the slow and obvious way.
    fn plainly(glob: &[u8], path: &[u8]) -> bool {
        match (glob, path) {
            ([], []) => true,
            ([b'*', b'*', b'/', rest @ ..], path) => {
                plainly(rest, path)
                    || (0..path.len()).any(|at| path[at] == b'/' && plainly(rest, &path[at + 1..]))
            }
            ([b'*', b'*', rest @ ..], path) => {
                (0..=path.len()).any(|at| plainly(rest, &path[at..]))
            }
            ([b'*', rest @ ..], path) => (0..=path.len())
                .take_while(|at| *at == 0 || path[at - 1] != b'/')
                .any(|at| plainly(rest, &path[at..])),
            ([b'?', rest @ ..], [byte, path @ ..]) => *byte != b'/' && plainly(rest, path),
            ([wanted, rest @ ..], [byte, path @ ..]) => wanted == byte && plainly(rest, path),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_fits_as_the_obvious_way_does(glob in "[ab*?/]{1,8}", path in "[ab/]{0,8}") {
            prop_assume!(!glob.starts_with('/') && !glob.contains("***"));
            prop_assert_eq!(fits(&glob, &path), plainly(glob.as_bytes(), path.as_bytes()));
        }
    }
}
