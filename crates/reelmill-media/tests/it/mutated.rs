//! Mutated files: whatever bytes a file has, it is converted rightly or refused
//! in one line, in time, and nothing is left.

use crate::convert::{Conversion, preset};
use crate::fixture::film_with_sound;
use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than any conversion of a one-second film takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// How many bits of a file are flipped, of all.
const RATIOS: [f64; 5] = [0.000_02, 0.000_2, 0.002, 0.01, 0.05];

/// Xorshift: the same seed makes the same file everywhere.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// `bytes` with `ratio` of their bits flipped, one at least; every eighth also
/// loses its end, and every ninth a piece of its middle.
fn mutate(bytes: &[u8], ratio: f64, seed: u64) -> Vec<u8> {
    let mut chance = Chance::new(seed);
    let mut bytes = bytes.to_vec();
    let flips = ((bytes.len() * 8) as f64 * ratio).ceil() as usize;
    for _ in 0..flips {
        let at = chance.below(bytes.len());
        bytes[at] ^= 1 << chance.below(8);
    }
    if seed % 8 == 7 {
        bytes.truncate(chance.below(bytes.len()).max(64));
    }
    if seed % 9 == 8 {
        let from = chance.below(bytes.len());
        let to = (from + chance.below(4096)).min(bytes.len());
        bytes.drain(from..to);
    }
    bytes
}

/// How a mutated file ended.
enum Fate {
    Converted,
    Refused(Failure),
}

async fn fate(path: &Path) -> Result<Fate, String> {
    let preset = preset("h264", &["speed=ultrafast"]);
    let work = async {
        let made = match Conversion::run(path, &preset, Container::Mkv, 0.4).await {
            Ok(made) => made,
            Err(failure) => return Ok(Fate::Refused(failure)),
        };
        match made.verify().await {
            Ok(verdict) if verdict.passed() => made.judge(false).await.map(|_| Fate::Converted),
            Ok(verdict) => Ok(Fate::Refused(Failure::permanent(verdict.complaint()))),
            Err(failure) => Ok(Fate::Refused(failure)),
        }
    };
    tokio::time::timeout(LIMIT, Box::pin(work)).await.map_err(|_| "it hangs".to_owned())?
}

#[tokio::test]
async fn mutated_files_are_converted_rightly_or_refused_in_one_line() {
    let long = std::env::var_os("REELMILL_TEST_LONG").is_some_and(|value| value == "1");
    let count = if long { 2000 } else { 24 };
    let dir = TempDir::new().unwrap();
    let mut films = Vec::new();
    for name in ["film.mkv", "film.mp4", "film.ts"] {
        let film = film_with_sound(dir.path(), name, 1, "-s 64x48 -b:a 32k").await;
        films.push((name, std::fs::read(film).unwrap()));
    }
    let mut table: BTreeMap<(&str, String), [usize; 2]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for seed in 0..count {
        let (name, bytes) = &films[seed as usize % 3];
        let ratio = RATIOS[seed as usize / 3 % RATIOS.len()];
        let path = dir.path().join(format!("mutated-{seed}-{name}"));
        std::fs::write(&path, mutate(bytes, ratio, seed)).unwrap();
        let row = table.entry((name, format!("{ratio}"))).or_default();
        match fate(&path).await {
            Ok(Fate::Converted) => row[0] += 1,
            Ok(Fate::Refused(failure)) => {
                row[1] += 1;
                let message = &failure.message;
                if message.is_empty() || message.contains('\n') {
                    wrong.push(format!("seed {seed} {name} {ratio}: no line: {failure:?}"));
                }
            }
            Err(why) => wrong.push(format!("seed {seed} {name} {ratio}: {why}")),
        }
        std::fs::remove_file(&path).unwrap();
    }
    println!("{:<10} {:>8} {:>9} {:>8}", "container", "ratio", "converted", "refused");
    for ((name, ratio), [converted, refused]) in &table {
        println!("{name:<10} {ratio:>8} {converted:>9} {refused:>8}");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let sum = |at: usize| table.values().map(|row| row[at]).sum::<usize>();
    assert!(sum(0) > 0 && sum(1) > 0, "the mutations do either too little or too much");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
}
