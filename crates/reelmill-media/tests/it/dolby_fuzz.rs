//! Damaged streams and metadata: an error, never a panic, a hang or memory
//! without end. Row E2 of the acceptance table.
//!
//! So many inputs are tried as `REELMILL_FUZZ_RUNS` says, from the seed that
//! `REELMILL_FUZZ_SEED` says; a failure names the input's number.

use crate::dolby_film::{Kind, film, hdr10_plus, rpus};
use reelmill_core::hdr::Bars;
use reelmill_media::hdr::access_unit::Assembler;
use reelmill_media::hdr::nal::{NalKind, Splitter, in_packet};
use reelmill_media::hdr::parameter_sets::{ParameterSets, pps, sps};
use reelmill_media::hdr::rpu::{Rpu, to_81};
use reelmill_media::hdr::sei;
use reelmill_media::hdr::slice::first_slice;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Inputs that are tried where nobody asks for more.
const RUNS: u64 = 20_000;

/// A plain source of chance (xorshift), the same for the same seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Flips bits, overwrites, cuts, doubles and takes out: one to four times.
fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    const TELLING: [u8; 8] = [0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF];
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        match dice.below(7) {
            _ if bytes.is_empty() => return,
            0 | 1 => bytes[at] ^= 1 << dice.below(8),
            2 => bytes[at] = TELLING[dice.below(TELLING.len())],
            3 => bytes.truncate(at),
            4 => {
                let end = (at + 1 + dice.below(16)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            5 => {
                let end = (at + 1 + dice.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => bytes[at] = dice.next() as u8,
        }
    }
}

/// The checksum of metadata (CRC-32/MPEG-2), bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| {
            if sum >> 31 == 1 { sum << 1 ^ 0x04C1_1DB7 } else { sum << 1 }
        })
    })
}

/// Damaged metadata with a right checksum, so that more than that is tried.
fn damaged_rpu(plain: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut content = plain.to_vec();
    damage(&mut content, dice);
    escaped(content)
}

/// Metadata with its checksum, escapes and header.
fn escaped(mut content: Vec<u8>) -> Vec<u8> {
    let sum = checksum(content.get(1..).unwrap_or_default());
    content.extend(sum.to_be_bytes());
    content.push(0x80);
    let mut nal = vec![0x7C, 1];
    let mut zeros = 0;
    for byte in content {
        if zeros >= 2 && byte <= 3 {
            nal.push(3);
            zeros = 0;
        }
        nal.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
    nal
}

/// Metadata without header, escapes, checksum and end.
fn plain(nal: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut zeros = 0;
    for byte in &nal[2..] {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        plain.push(*byte);
    }
    plain.truncate(plain.len() - 5);
    plain
}

fn metadata(nal: &[u8]) {
    let _ = to_81(nal);
    if let Ok(mut rpu) = Rpu::parse(nal) {
        let _ = (rpu.levels(), rpu.max_pq(), rpu.mapping_pieces(), rpu.bars());
        let _ = rpu.set_bars(Bars { left: 1, right: 2, top: 3, bottom: 4 });
        let _ = rpu.write();
    }
}

/// A byte stream, handed over in pieces; what comes out is no more than went in.
fn stream(bytes: &[u8], piece: usize) {
    let (mut splitter, mut assembler) = (Splitter::new(), Assembler::default());
    let mut out = 0;
    let mut take = |unit: reelmill_media::hdr::access_unit::AccessUnit| {
        out += unit.nals().map(<[u8]>::len).sum::<usize>();
        Ok(())
    };
    for piece in bytes.chunks(piece) {
        if splitter.push(piece, &mut |nal| assembler.push(nal, &mut take)).is_err() {
            return;
        }
    }
    let _ = splitter.finish(&mut |nal| assembler.push(nal, &mut take));
    let _ = assembler.finish(&mut take);
    assert!(out <= bytes.len(), "{out} bytes of units from {}", bytes.len());
}

/// What is damaged.
struct Seeds {
    streams: Vec<Vec<u8>>,
    rpus: Vec<Vec<u8>>,
    plain: Vec<Vec<u8>>,
    units: Vec<Vec<u8>>,
    sets: ParameterSets,
}

fn seeds() -> Seeds {
    let kinds = [Kind::Fel, Kind::Mel, Kind::Five, Kind::Phone];
    let rpus: Vec<Vec<u8>> =
        kinds.into_iter().flat_map(|kind| rpus(kind).into_iter().take(3)).collect();
    let bytes = std::fs::read(film(Kind::Plus).hevc).unwrap();
    let mut units = vec![hdr10_plus(7)];
    let mut sets = ParameterSets::default();
    reelmill_media::hdr::nal::read_all(&bytes[..], &mut |nal| {
        sets.note(nal);
        if units.len() < 60 {
            units.push(nal[..nal.len().min(300)].to_vec());
        }
        Ok(())
    })
    .unwrap();
    let joined = |some: &[Vec<u8>]| -> Vec<u8> {
        some.iter().flat_map(|unit| [&[0, 0, 1], &unit[..]].concat()).collect()
    };
    let streams = units.chunks(12).map(joined).collect();
    Seeds { streams, plain: rpus.iter().map(|nal| plain(nal)).collect(), rpus, units, sets }
}

fn one(seeds: &Seeds, dice: &mut Dice) {
    let pick = |list: &[Vec<u8>], dice: &mut Dice| list[dice.below(list.len())].clone();
    match dice.below(4) {
        0 => {
            let mut bytes = pick(&seeds.streams, dice);
            damage(&mut bytes, dice);
            stream(&bytes, 1 + dice.below(200));
        }
        1 => {
            let mut nal = pick(&seeds.units, dice);
            damage(&mut nal, dice);
            let _ = (first_slice(&nal, &seeds.sets), sps(&nal), pps(&nal), NalKind::of(&nal));
            let _ = (sei::messages(&nal), sei::hdr10_plus(&nal), sei::without_hdr10_plus(&nal));
            let _ = in_packet(&nal, 1 + dice.below(4));
        }
        2 => {
            let mut nal = pick(&seeds.rpus, dice);
            damage(&mut nal, dice);
            metadata(&nal);
        }
        _ => metadata(&damaged_rpu(&pick(&seeds.plain, dice), dice)),
    }
}

#[test]
fn e2_damage_is_an_error_and_never_a_panic() {
    let number = |name: &str, usual: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let (runs, seed) = (number("REELMILL_FUZZ_RUNS", RUNS), number("REELMILL_FUZZ_SEED", 1));
    let seeds = seeds();
    assert_eq!(checksum(b"123456789"), 0x0376_E6E7);
    for (nal, plain) in seeds.rpus.iter().zip(&seeds.plain) {
        assert_eq!(&escaped(plain.clone()), nal, "what is not damaged is whole");
        assert!(Rpu::parse(nal).is_ok());
    }
    // What the library panics about is caught and told as a failure; that is said
    // to nobody else.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut failed = None;
    for run in 0..runs {
        let mut dice = Dice((seed << 32 | run).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        if catch_unwind(AssertUnwindSafe(|| one(&seeds, &mut dice))).is_err() {
            failed = Some(run);
            break;
        }
    }
    std::panic::set_hook(usual);
    assert_eq!(failed, None, "of seed {seed}");
}
