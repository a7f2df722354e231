//! Films of which is known what each of their pieces gives.

use super::*;
use proptest::prelude::*;

/// A piece: bytes at a rate factor of 25, how fast they fall, how that changes, and
/// how far what it gives is off that by chance.
#[derive(Debug, Clone, Copy)]
struct Piece {
    at: f64,
    slope: f64,
    bend: f64,
    noise: f64,
    /// The bytes change only every so many units, where it is not 0.
    stair: f64,
}

impl Piece {
    fn made(&self, crf: f64) -> Coded {
        let seen = if self.stair > 0.0 { (crf / self.stair).floor() * self.stair } else { crf };
        let off = seen - 25.0;
        // The same every time, but not the same for two rate factors.
        let chance = (crf * 12.9898 + self.at).sin() * self.noise;
        let log = self.at.ln() - self.slope * off + self.bend * off * off + chance;
        Coded { crf, bytes: log.exp().max(20.0) as u64 }
    }
}

const SECONDS: f64 = 100.0;

/// How a film comes to its end: every pass, and how it was judged at last.
struct Story {
    passes: Vec<Vec<Coded>>,
    rate: Rate,
    end: Judgement,
    other: u64,
}

impl Story {
    fn tell(aim: Aim, encoder: VideoEncoder, film: &[Piece], first: f64, other: u64) -> Self {
        let mut rate = Rate::new(aim);
        let mut passes = Vec::new();
        loop {
            let crf = |at| rate.crf(at).unwrap_or(first);
            let made: Vec<Coded> =
                film.iter().enumerate().map(|(at, piece)| piece.made(crf(at))).collect();
            passes.push(made.clone());
            let got = Yield { encoder, first, made: &made, seconds: SECONDS, other };
            match rate.judge(got) {
                Judgement::Again(next) => {
                    assert_eq!(next.pass, rate.pass + 1);
                    assert_eq!(next.pieces.len(), film.len());
                    assert!(next.pass <= MOST_PASSES, "{next:?}");
                    rate = next;
                }
                end => return Self { passes, rate, end, other },
            }
        }
    }

    fn last(&self) -> &[Coded] {
        self.passes.last().unwrap()
    }

    fn pictures(&self) -> u64 {
        self.last().iter().map(|piece| piece.bytes).sum()
    }

    fn file(&self) -> u64 {
        self.pictures() + self.other
    }

    fn bits(&self) -> f64 {
        self.pictures() as f64 * 8.0 / SECONDS
    }
}

fn piece() -> impl Strategy<Value = Piece> {
    let parts = (1e3f64..1e7, 0.07f64..0.2, -0.0008f64..0.0008, 0.0f64..0.004);
    parts.prop_map(|(at, slope, bend, noise)| Piece { at, slope, bend, noise, stair: 0.0 })
}

/// What an encoder without fine steps makes of a picture that is the same all over.
fn stairs() -> impl Strategy<Value = Vec<Piece>> {
    let film = proptest::collection::vec(piece(), 1..12);
    (film, prop_oneof![Just(1.0), Just(2.0)]).prop_map(|(mut film, stair)| {
        film.iter_mut().for_each(|piece| piece.stair = stair);
        film
    })
}

fn film() -> impl Strategy<Value = Vec<Piece>> {
    proptest::collection::vec(piece(), 1..40)
}

fn encoder() -> impl Strategy<Value = VideoEncoder> {
    use VideoEncoder::{SvtAv1, Vp9, X264, X265};
    prop_oneof![Just(X264), Just(X265), Just(SvtAv1), Just(Vp9)]
}

fn sum(film: &[Piece], crf: f64) -> f64 {
    film.iter().map(|piece| piece.made(crf).bytes as f64).sum()
}

proptest! {
    /// A bit rate that lies well within what the encoder can do is reached, whatever
    /// each piece of the film is like, and no piece is made worse for it than others.
    #[test]
    fn a_bit_rate_is_reached(film in film(), encoder in encoder(), crf in 14.0f64..42.0) {
        let fine = matches!(encoder, VideoEncoder::X264 | VideoEncoder::X265);
        // On a longer scale each step is a smaller one.
        let steps = if fine { 1.0 } else { 0.6 };
        let film: Vec<Piece> =
            film.iter().map(|piece| Piece { slope: piece.slope * steps, ..*piece }).collect();
        let bits = sum(&film, crf) * 8.0 / SECONDS;
        let story = Story::tell(Aim::Bitrate { bits: bits as u64 }, encoder, &film, 25.0, 0);
        prop_assert_eq!(&story.end, &Judgement::Enough);
        let within = if fine || film.len() > 12 { 0.05 } else { 0.12 };
        let off = story.bits() / bits - 1.0;
        prop_assert!(off.abs() < within, "{off} {:?}", story.passes);
        let crfs = story.last().iter().map(|piece| piece.crf);
        let (low, high) = (crfs.clone().fold(99.0, f64::min), crfs.fold(0.0, f64::max));
        prop_assert!(high - low <= 1.0 + 1e-6, "{low} to {high}");
    }

    /// A cap holds, or is refused; refused only where no rate factor would do. What is
    /// under it at once stays as it is, and nothing gets better than was asked for.
    #[test]
    fn a_cap_holds(
        film in prop_oneof![film(), stairs()], encoder in encoder(), crf in 10.0f64..60.0,
        other in 0u64..1_000_000,
    ) {
        let (low, high, first) = encoder.crf_range().unwrap();
        let cap = sum(&film, crf.clamp(low, high + 5.0)) as u64 + other;
        let story = Story::tell(Aim::MaxSize { bytes: cap }, encoder, &film, first, other);
        match &story.end {
            Judgement::Enough => {
                prop_assert!(story.file() <= cap);
                prop_assert!(story.last().iter().all(|piece| piece.crf >= first));
                prop_assert_eq!(sum(&film, first) as u64 + other <= cap, story.passes.len() == 1);
            }
            Judgement::Hopeless(failure) => {
                let smallest = sum(&film, high) as u64 + other;
                prop_assert!(smallest as f64 > 0.97 * cap as f64, "{failure} {:?}", story.passes);
                prop_assert!(failure.message.contains(&story.file().to_string()), "{failure}");
            }
            Judgement::Again(_) => unreachable!(),
        }
    }

    /// More bits never ask for a higher rate factor.
    #[test]
    fn more_bits_are_never_worse(film in film(), encoder in encoder(), more in 1.0f64..4.0) {
        let scale = Scale::of(encoder).unwrap();
        let history: Vec<Vec<Coded>> = film.iter().map(|piece| vec![piece.made(30.0)]).collect();
        let curves = curves(&history, scale);
        let bytes = sum(&film, 33.0);
        let highest = |bytes| {
            let wanted = Wanted { bytes, under: true };
            next(&curves, wanted, scale, false).into_iter().fold(0.0, f64::max)
        };
        prop_assert!(highest(bytes * more) <= highest(bytes));
    }

    /// What has been made of a piece counts for it in all passes that follow.
    #[test]
    fn nothing_measured_is_forgotten(film in film()) {
        let bits = sum(&film, 38.0) * 8.0 / SECONDS;
        let aim = Aim::Bitrate { bits: bits as u64 };
        let story = Story::tell(aim, VideoEncoder::X264, &film, 25.0, 0);
        for (at, setting) in story.rate.pieces.iter().enumerate() {
            for pass in &story.passes[..story.passes.len() - 1] {
                let known = setting.before.iter().any(|one| *one == pass[at]);
                prop_assert!(known, "{setting:?}");
            }
        }
    }
}

const QUIET: Piece = Piece { at: 20_000.0, slope: 0.1, bend: 0.0, noise: 0.0, stair: 0.0 };
const WILD: Piece = Piece { at: 2_000_000.0, slope: 0.13, bend: 0.0, noise: 0.0, stair: 0.0 };

#[test]
fn no_piece_gets_a_share_of_bits() {
    let film = [QUIET, WILD, QUIET, WILD];
    let story = Story::tell(Aim::Bitrate { bits: 200_000 }, VideoEncoder::X264, &film, 25.0, 0);
    let bytes: Vec<u64> = story.last().iter().map(|piece| piece.bytes).collect();
    assert!(bytes[1] > 50 * bytes[0], "{bytes:?}");
}

#[test]
fn little_amiss_costs_few_pieces() {
    let film: Vec<Piece> = (0..20).map(|_| WILD).collect();
    let made: Vec<Coded> = film.iter().map(|piece| piece.made(30.0)).collect();
    let seconds = SECONDS;
    let got = Yield { encoder: VideoEncoder::X264, first: 25.0, made: &made, seconds, other: 0 };
    let settings = made.iter().map(|made| Setting { crf: made.crf, before: vec![] }).collect();
    let aim = Aim::Bitrate { bits: (got.bits() * 0.96) as u64 };
    let Judgement::Again(next) = (Rate { aim, pass: 2, pieces: settings }).judge(got) else {
        panic!("4 % too much");
    };
    let again = next.pieces.iter().filter(|piece| differs(piece.crf, 30.0)).count();
    assert!((1..=9).contains(&again), "{again} of 20");
}

#[test]
fn what_the_encoder_cannot_do_is_told() {
    let tell = |aim| Story::tell(aim, VideoEncoder::X264, &[QUIET, WILD], 25.0, 5_000);
    let least = tell(Aim::MaxSize { bytes: 30_000 });
    let Judgement::Hopeless(failure) = least.end else { panic!("{:?}", least.passes) };
    assert!(failure.message.contains("at crf 51 in pass 2"), "{failure}");
    let sound = tell(Aim::MaxSize { bytes: 4_000 });
    let Judgement::Hopeless(failure) = sound.end else { panic!("{:?}", sound.passes) };
    assert!(failure.message.contains("all else but the picture take 5000 bytes"), "{failure}");
    assert_eq!(sound.passes.len(), 1, "that is known after one pass");
    let all = tell(Aim::Bitrate { bits: 1_000_000_000 });
    assert_eq!((all.end.clone(), all.passes.len()), (Judgement::Enough, 2));
    let got = Yield {
        encoder: VideoEncoder::X264,
        first: 25.0,
        made: all.last(),
        seconds: SECONDS,
        other: 0,
    };
    let told = all.rate.check(got, 1).detail;
    assert!(told.contains("crf 1, 2 passes; the encoder comes no nearer"), "{told}");
}

#[test]
fn a_pass_is_read_back_as_it_was_written() {
    let before = vec![Coded { crf: 23.0, bytes: 1 << 40 }];
    let pieces = vec![Setting { crf: 24.3, before }];
    let rate = Rate { aim: Aim::MaxSize { bytes: 700_000_000 }, pass: 2, pieces };
    let text = serde_json::to_string(&rate).unwrap();
    assert_eq!(serde_json::from_str::<Rate>(&text).unwrap(), rate);
    assert!(text.starts_with(r#"{"aim":"max_size","bytes":700000000,"pass":2"#), "{text}");
}
