//! Names of files: hidden ones of ours, outputs' ones, and how bytes that are no
//! text are written down.

/// Longest name that file systems take, bytes.
pub const LONGEST: usize = 255;

/// Writes any bytes as text: what is not UTF-8, and `%` and control characters,
/// as `%` and two hexadecimal digits.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter == '%' || letter.is_control() {
                let mut buffer = [0; 4];
                letter.encode_utf8(&mut buffer).bytes().for_each(|byte| push(&mut text, byte));
            } else {
                text.push(letter);
            }
        }
        chunk.invalid().iter().for_each(|byte| push(&mut text, *byte));
    }
    text
}

fn push(text: &mut String, byte: u8) {
    text.push('%');
    for digit in [byte >> 4, byte & 15] {
        text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
    }
}

/// The bytes that [`encode`] wrote; `None` when it did not write this.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

/// `name` shortened to `room` bytes, between characters where it is text; what
/// follows its last dot stays.
#[must_use]
pub fn shortened(name: &[u8], room: usize) -> Vec<u8> {
    if name.len() <= room {
        return name.to_vec();
    }
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| name.len() - at <= 16);
    let (stem, ending) = name.split_at(dot.unwrap_or(name.len()));
    let mut keep = room.saturating_sub(ending.len()).min(stem.len());
    // Continuation bytes of UTF-8 belong to the character before them.
    while keep > 0 && keep < stem.len() && stem[keep] & 0xC0 == 0x80 {
        keep -= 1;
    }
    let mut short = stem[..keep].to_vec();
    short.extend(&ending[..ending.len().min(room)]);
    short
}

/// The hidden name under which the output for `name` waits beside its place;
/// `mark` tells jobs and attempts apart.
#[must_use]
pub fn part(name: &[u8], mark: &str) -> Vec<u8> {
    let ending = format!(".reelmill-{mark}.part");
    let mut part = vec![b'.'];
    part.extend(shortened(name, LONGEST - 1 - ending.len()));
    part.extend(ending.bytes());
    part
}

/// `name` with `extension` (without its dot) instead of its own.
#[must_use]
pub fn with_extension(name: &[u8], extension: &str) -> Vec<u8> {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0);
    let mut new = name[..dot.unwrap_or(name.len())].to_vec();
    new.push(b'.');
    new.extend(extension.bytes());
    new
}

/// Whether two names differ at most in upper and lower case, so that some file
/// systems hold them to be the same.
#[must_use]
pub fn same_but_for_case(one: &[u8], other: &[u8]) -> bool {
    match (std::str::from_utf8(one), std::str::from_utf8(other)) {
        (Ok(one), Ok(other)) => one.to_lowercase() == other.to_lowercase(),
        _ => one.eq_ignore_ascii_case(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_get_their_ending_and_stay_hidden() {
        assert_eq!(with_extension(b"film.tar.avi", "mkv"), b"film.tar.mkv");
        assert_eq!(with_extension(b"film", "mkv"), b"film.mkv");
        assert_eq!(with_extension(b".film", "mkv"), b".film.mkv");
        assert_eq!(part(b"film.mkv", "ab-0"), b".film.mkv.reelmill-ab-0.part");
        assert!(same_but_for_case(b"Film.MKV", b"film.mkv"));
        assert!(!same_but_for_case(b"film.mkv", b"film.mp4"));
        assert_eq!(shortened("ääää.mkv".as_bytes(), 9), "ää.mkv".as_bytes());
    }

    proptest! {
        #[test]
        fn any_bytes_survive_being_written_down(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let text = encode(&bytes);
            prop_assert_eq!(decode(&text), Some(bytes));
            prop_assert!(!text.chars().any(char::is_control));
        }

        #[test]
        fn hidden_names_are_never_too_long(name in prop::collection::vec(1u8..255, 1..256)) {
            let part = part(&name, "0123456789abcdef0123-12");
            prop_assert!(part.len() <= LONGEST);
            prop_assert!(part.starts_with(b".") && part.ends_with(b".part"));
        }
    }
}
