//! Rust text, taken apart as far as the rules need it: code without comments
//! and literals, the literals, what `use` brings in, where the tests begin.

/// A Rust file taken apart.
pub(crate) struct Rust {
    /// The file as it is.
    pub(crate) text: String,
    /// The code: same lines and columns, comments and literals blank.
    code: String,
    /// String literals: (line from 1, what stands between the quotes).
    pub(crate) literals: Vec<(usize, String)>,
    /// Every path that a `use` names, groups written out: (line, path).
    uses: Vec<(usize, String)>,
    /// Lines before the `#[cfg(test)] mod tests` that ends the file.
    pub(crate) own_lines: usize,
}

impl Rust {
    pub(crate) fn new(text: &str) -> Self {
        let (code, literals) = Scan::new(text).run();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.windows(2).rposition(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        });
        let own_lines = tail.unwrap_or(lines.len());
        Self { text: text.to_owned(), uses: uses(&code), code, literals, own_lines }
    }

    /// Characters of string literals on line `number` (from 1).
    pub(crate) fn literal_width(&self, number: usize) -> usize {
        let here = self.literals.iter().filter(|(line, _)| *line <= number);
        let pieces = here.filter_map(|(line, text)| text.lines().nth(number - line));
        pieces.map(|piece| piece.chars().count()).sum()
    }

    /// Lines whose code mentions `word` (an identifier, a path such as
    /// `std::fs`, or a macro such as `dbg!`), written out or through a `use`.
    pub(crate) fn mentions(&self, word: &str) -> Vec<usize> {
        let code = self.code.lines().enumerate().map(|(at, line)| (at + 1, line));
        let uses = self.uses.iter().map(|(line, path)| (*line, path.as_str()));
        let found = code.chain(uses).filter(|(_, text)| has_word(text, word));
        let mut lines: Vec<usize> = found.map(|(line, _)| line).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }
}

/// Whether `text` has `word` standing free, not as a part of a longer name.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(part_of_name)
            && (!word.ends_with(part_of_name) || !after.is_some_and(part_of_name))
    })
}

/// Every path named by a `use`, with the line that it begins on.
fn uses(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let starts_line = code[..at].rsplit('\n').next().is_some_and(|before| {
            let before = before.trim();
            before.is_empty() || before.starts_with("pub") || before.ends_with(['{', ';'])
        });
        if let (true, Some(end)) = (starts_line, code[at..].find(';')) {
            let tree: String =
                code[at + 4..at + end].split_whitespace().collect::<Vec<_>>().join(" ");
            let line = code[..at].matches('\n').count() + 1;
            let mut paths = Vec::new();
            write_out("", &tree, &mut paths);
            found.extend(paths.into_iter().map(|path| (line, path)));
        }
    }
    found
}

/// Writes out `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn write_out(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((head, group)) = tree.split_once('{') else {
        paths.push(format!("{prefix}{}", tree.trim()));
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let inside = group.rsplit_once('}').map_or(group, |(inside, _)| inside);
    let (mut depth, mut from) = (0, 0);
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                write_out(&prefix, &inside[from..at], paths);
                from = (at + 1).min(inside.len());
            }
            _ => {}
        }
    }
}

/// A pass over Rust text that parts code from comments and literals.
struct Scan {
    text: Vec<char>,
    at: usize,
    line: usize,
    code: String,
    literals: Vec<(usize, String)>,
}

impl Scan {
    fn new(text: &str) -> Self {
        Self { text: text.chars().collect(), at: 0, line: 1, code: String::new(), literals: vec![] }
    }

    fn run(mut self) -> (String, Vec<(usize, String)>) {
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('/')) => self.blank_until(|scan| scan.peek(0) == Some('\n')),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('r', Some('"' | '#')) if !self.inside_name() => self.raw_string(),
                ('\'', _) => self.quote(),
                _ => self.keep(),
            }
        }
        (self.code, self.literals)
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    /// Whether the text so far ends within a name, so that `r"` there is not
    /// the start of a raw string (but `br"` and `cr"` are).
    fn inside_name(&self) -> bool {
        let name: String =
            self.code.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        !matches!(name.as_str(), "" | "b" | "c")
    }

    fn keep(&mut self) {
        if let Some(c) = self.peek(0) {
            self.line += usize::from(c == '\n');
            self.code.push(c);
            self.at += 1;
        }
    }

    fn blank(&mut self) {
        if let Some(c) = self.peek(0) {
            self.line += usize::from(c == '\n');
            self.code.push(if c == '\n' { '\n' } else { ' ' });
            self.at += 1;
        }
    }

    fn blank_until(&mut self, end: impl Fn(&Self) -> bool) {
        while self.at < self.text.len() && !end(self) {
            self.blank();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.text.len() {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                _ => {
                    self.blank();
                    continue;
                }
            }
            self.blank();
            self.blank();
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        let line = self.line;
        self.blank();
        let from = self.at;
        while !matches!(self.peek(0), None | Some('"')) {
            if self.peek(0) == Some('\\') {
                self.blank();
            }
            self.blank();
        }
        self.literal(line, from);
        self.blank();
    }

    fn raw_string(&mut self) {
        let hashes = self.text[self.at + 1..].iter().take_while(|c| **c == '#').count();
        if self.peek(1 + hashes) != Some('"') {
            return self.keep();
        }
        let line = self.line;
        (0..hashes + 2).for_each(|_| self.blank());
        let from = self.at;
        self.blank_until(|scan| {
            scan.peek(0) == Some('"') && (1..=hashes).all(|n| scan.peek(n) == Some('#'))
        });
        self.literal(line, from);
        (0..=hashes).for_each(|_| self.blank());
    }

    fn literal(&mut self, line: usize, from: usize) {
        let to = self.at.min(self.text.len());
        self.literals.push((line, self.text[from..to].iter().collect()));
    }

    /// A character literal, or else a lifetime.
    fn quote(&mut self) {
        match (self.peek(1), self.peek(2)) {
            (Some('\\'), _) => {
                (0..3).for_each(|_| self.blank());
                self.blank_until(|scan| scan.peek(0) == Some('\''));
                self.blank();
            }
            (_, Some('\'')) => (0..3).for_each(|_| self.blank()),
            _ => self.keep(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = "let a = \"sqlx \\\" x\"; // sqlx\n/* sqlx /* nested */ sqlx */ let b = '\"';\n\
                    let c = r#\"sqlx \" \"#; let d: &'a str = b\"x\"; let e = '\\''; sqlx::q();";
        let rust = Rust::new(text);
        assert_eq!(rust.mentions("sqlx"), [3], "{}", rust.code);
        let literals: Vec<&str> = rust.literals.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(literals, ["sqlx \\\" x", "sqlx \" ", "x"]);
        assert_eq!(rust.literals[1].0, 3);
        assert_eq!([1, 2, 3].map(|line| rust.literal_width(line)), [9, 0, 8]);
        assert_eq!(Rust::new("x(\"a\nbcd\n\", \"e\")").literal_width(2), 3);
        assert_eq!(rust.code.len(), text.len());
    }

    #[test]
    fn only_whole_names_count() {
        let rust = Rust::new("tokio_util::io(); my_tokio(); x.dbg(); eprintln!();\nuse tokio;");
        assert_eq!(rust.mentions("tokio"), [2]);
        assert_eq!(rust.mentions("dbg!"), [0; 0]);
        assert_eq!(rust.mentions("println!"), [0; 0]);
        assert_eq!(rust.mentions("eprintln!"), [1]);
    }

    #[test]
    fn groups_hide_nothing() {
        let rust = Rust::new("\npub(crate) use std::{\n    io, fs::{self, File},\n    time as t};");
        let paths: Vec<&str> = rust.uses.iter().map(|(_, path)| path.as_str()).collect();
        assert_eq!(paths, ["std::io", "std::fs::self", "std::fs::File", "std::time as t"]);
        assert_eq!(rust.mentions("std::fs"), [2]);
    }

    #[test]
    fn the_tests_at_the_end_do_not_count_as_own_lines() {
        let with = "//! x\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(Rust::new(with).own_lines, 3);
        assert_eq!(Rust::new("//! x\n#[cfg(test)]\nmod tests;\n").own_lines, 3);
    }
}
