//! Rules on small farms, and whole films on simulated ones.

mod newcomers;

use super::*;
use crate::id::JobId;
use crate::schedule::ProvenEncoder;
use crate::task::TaskKind;
use crate::time::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;

const X264: Option<VideoEncoder> = Some(VideoEncoder::X264);

fn worker(number: u128) -> WorkerFacts {
    let fingerprint = "x264-164".to_owned();
    WorkerFacts {
        id: WorkerId(Uuid::from_u128(number)),
        encoders: vec![ProvenEncoder { encoder: VideoEncoder::X264, fingerprint }],
        house: false,
        encodes: true,
        streams: true,
    }
}

fn id(number: u32) -> TaskId {
    TaskId { job: JobId(Uuid::from_u128(1)), generation: 0, number }
}

fn chunk(number: u32, cost: u64) -> Candidate {
    Candidate {
        task: id(number),
        kind: TaskKind::EncodeChunk,
        priority: 50,
        queued: Timestamp(0),
        owner: String::new(),
        weight: cost,
        cost,
        size: SizeClass::Medium,
        needs: X264,
        pin: None,
        failed_on: vec![],
        losses: 0,
    }
}

static NONE: Speeds = Speeds::new();

/// Workers of these speeds, with what each has shown.
struct Farm(Vec<(WorkerFacts, BTreeMap<VideoEncoder, f64>)>);

impl Farm {
    fn of(speeds: &[f64]) -> Self {
        let one =
            |(n, speed): (u128, &f64)| (worker(n), BTreeMap::from([(VideoEncoder::X264, *speed)]));
        Self((1u128..).zip(speeds).map(one).collect())
    }

    fn seats(&self, free_in: &[f64]) -> Vec<Seat<'_>> {
        let mut seats = Vec::new();
        for ((facts, speeds), free_in) in self.0.iter().zip(free_in) {
            seats.push(Seat { facts, speeds, benchmarks: &NONE, score: 1.0, free_in: *free_in });
        }
        seats
    }
}

fn takers(list: &[Candidate], farm: &Farm, free_in: &[f64]) -> Vec<usize> {
    deal(list, &farm.seats(free_in)).iter().map(|turn| turn.seat).collect()
}

#[test]
fn a_chunk_goes_to_whoever_has_it_done_first() {
    let farm = Farm::of(&[1000.0, 100.0]);
    let list = [chunk(1, 10_000), chunk(2, 10_000)];
    assert_eq!(takers(&list, &farm, &[0.0, 0.0]), [0, 0], "11 s + 11 s beats 101 s");
    assert_eq!(takers(&list, &farm, &[95.0, 0.0]), [1, 0], "the fast one is busy");
    let seats = farm.seats(&[0.0, 0.0]);
    assert_eq!(next(&list, &seats, worker(1).id), Some(0));
    assert_eq!(next(&list, &seats, worker(2).id), None, "it would only hold the job up");
}

#[test]
fn a_small_source_leaves_the_fast_worker_free() {
    let farm = Farm::of(&[1000.0, 100.0]);
    let small = Candidate { size: SizeClass::Small, ..chunk(1, 10_000) };
    assert_eq!(takers(std::slice::from_ref(&small), &farm, &[0.0, 0.0]), [1]);
    assert_eq!(takers(&[small], &farm, &[0.0, 9.0]), [0], "the slow one is busy");
}

#[test]
fn a_large_source_goes_to_who_can_fetch_a_part_of_it() {
    let mut farm = Farm::of(&[1000.0, 100.0]);
    farm.0[0].0.streams = false;
    let large = Candidate { size: SizeClass::Large, ..chunk(1, 10_000) };
    assert_eq!(takers(std::slice::from_ref(&large), &farm, &[0.0, 0.0]), [1]);
    farm.0[1].0.encodes = false;
    assert_eq!(takers(&[large], &farm, &[0.0, 0.0]), [0], "better than nobody");
}

#[test]
fn what_failed_goes_elsewhere_first() {
    let farm = Farm::of(&[1000.0, 100.0]);
    let failed = Candidate { failed_on: vec![worker(1).id], ..chunk(1, 10_000) };
    assert_eq!(takers(std::slice::from_ref(&failed), &farm, &[0.0, 0.0]), [1]);
    let alone = Farm::of(&[1000.0]);
    assert_eq!(takers(&[failed], &alone, &[0.0]), [0]);
}

#[test]
fn a_machine_that_others_use_counts_for_less() {
    let farm = Farm::of(&[1000.0, 500.0]);
    let mut seats = farm.seats(&[0.0, 0.0]);
    seats[0].score = 0.2;
    assert_eq!(deal(&[chunk(1, 10_000)], &seats)[0].seat, 1);
}

#[test]
fn a_late_chunk_is_tried_again_by_who_is_faster() {
    let farm = Farm::of(&[1000.0]);
    let seats = farm.seats(&[0.0]);
    let slow = |number, done, elapsed| Underway {
        task: id(number),
        worker: worker(7).id,
        needs: X264,
        cost: 10_000,
        done,
        elapsed,
        predicted: 11.0,
    };
    let typical = Typical::of(&seats);
    let asked = |list: &[Underway]| rival(list, &seats[0], &typical);
    assert_eq!(asked(&[slow(1, Some(0.5), 6.0)]), None, "6 s are left, it would take 11");
    assert_eq!(asked(&[slow(1, Some(0.1), 6.0), slow(2, Some(0.05), 6.0)]), Some(id(2)));
    assert_eq!(asked(&[slow(1, None, 5.0)]), None, "nothing is known against it");
    assert_eq!(asked(&[slow(1, None, 50.0)]), Some(id(1)), "it is far too late");
}

#[test]
fn it_is_told_why_a_task_waits_and_where_it_will_go() {
    let farm = Farm::of(&[1000.0]);
    let seats = farm.seats(&[4.0]);
    let rare = Candidate { pin: Some("other".into()), ..chunk(3, 10) };
    let list = [chunk(1, 9000), chunk(2, 9000), rare];
    let turns = deal(&list, &seats);
    let second = explain(1, &turns, &seats);
    assert_eq!((second.why, second.worker), (Waits::Behind { tasks: 1 }, Some(worker(1).id)));
    assert_eq!((second.starts_in, second.takes), (Some(14.0), Some(10.0)));
    assert_eq!(explain(2, &turns, &seats).why, Waits::Nobody);
}

proptest! {
    /// Whoever waits, somebody takes what somebody can do: nothing waits while
    /// all that can do it are idle.
    #[test]
    fn nothing_waits_while_all_are_idle(
        speeds in prop::collection::vec(1.0f64..1e6, 1..6),
        costs in prop::collection::vec((0u64..1_000_000_000, 0u8..3), 1..20),
    ) {
        let farm = Farm::of(&speeds);
        let size = |class| [SizeClass::Small, SizeClass::Medium, SizeClass::Large][class as usize];
        let list: Vec<Candidate> = (1u32..)
            .zip(&costs)
            .map(|(n, (cost, class))| Candidate { size: size(*class), ..chunk(n, *cost) })
            .collect();
        let free = vec![0.0; speeds.len()];
        let seats = farm.seats(&free);
        let turns = deal(&list, &seats);
        prop_assert_eq!(turns.len(), list.len());
        let taken = seats.iter().any(|seat| next(&list, &seats, seat.facts.id).is_some());
        prop_assert!(taken);
    }
}

/// What is wrong with a worker in a simulated farm.
#[derive(Clone, Copy)]
struct Trouble {
    /// From then on it has a tenth of its speed, seconds.
    slow_from: f64,
}

/// A film on a simulated farm: seconds, chunks of so many seconds.
struct Film<'a> {
    speeds: &'a [f64],
    chunk: f64,
    seed: u64,
    trouble: Option<Trouble>,
    rivals: bool,
    /// First come, first served, in the film's order.
    naive: bool,
}

fn dice(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) as f64 + 0.5) / f64::from(1u32 << 31)
}

fn log_normal(state: &mut u64, sigma: f64) -> f64 {
    let (a, b) = (dice(state), dice(state));
    let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
    (sigma * normal - sigma * sigma / 2.0).exp()
}

const FILM: f64 = 5400.0;
const UNIT: f64 = 1000.0;

/// One chunk on one worker.
#[derive(Clone, Copy)]
struct Run {
    chunk: usize,
    worker: usize,
    begun: f64,
    ends: f64,
}

impl Film<'_> {
    /// When all is done, over the least time that any schedule needs.
    fn ratio(&self) -> f64 {
        let mut state = self.seed;
        let count = (FILM / self.chunk) as usize;
        let work: Vec<f64> =
            (0..count).map(|_| self.chunk * log_normal(&mut state, 0.45)).collect();
        // Predictions are off by some ten percent.
        let guess: Vec<u64> =
            work.iter().map(|w| (w * UNIT * log_normal(&mut state, 0.1)) as u64).collect();
        let all: f64 = work.iter().map(|w| w + OVERHEAD).sum();
        let bound = all / self.speeds.iter().sum::<f64>();
        let fastest = self.speeds.iter().copied().fold(0.0, f64::max);
        let longest = work.iter().copied().fold(0.0, f64::max) / fastest;
        self.makespan(&work, &guess) / bound.max(longest)
    }

    fn time(&self, worker: usize, work: f64, at: f64) -> f64 {
        let normal = OVERHEAD + work / self.speeds[worker];
        match self.trouble {
            Some(trouble) if worker == 0 => {
                let before = (trouble.slow_from - at).clamp(0.0, normal);
                before + (normal - before) * 10.0
            }
            _ => normal,
        }
    }

    fn makespan(&self, work: &[f64], guess: &[u64]) -> f64 {
        let farm = Farm::of(&self.speeds.iter().map(|speed| speed * UNIT).collect::<Vec<_>>());
        let mut waiting: Vec<usize> = (0..work.len()).collect();
        if !self.naive {
            waiting.sort_by_key(|chunk| std::cmp::Reverse(guess[*chunk]));
        }
        let mut runs: Vec<Run> = Vec::new();
        let mut done = vec![false; work.len()];
        let mut now = 0.0;
        while done.contains(&false) {
            for worker in 0..self.speeds.len() {
                if runs.iter().any(|run| run.worker == worker) {
                    continue;
                }
                if let Some(chunk) = self.pick(&farm, worker, &waiting, &runs, guess, now) {
                    waiting.retain(|other| *other != chunk);
                    let ends = now + self.time(worker, work[chunk], now);
                    runs.push(Run { chunk, worker, begun: now, ends });
                }
            }
            // A look at least every few seconds, as reports and claims make it.
            let first = runs.iter().map(|run| run.ends).fold(now + 5.0, f64::min);
            now = first;
            for run in runs.clone().iter().filter(|run| run.ends <= now) {
                done[run.chunk] = true;
            }
            runs.retain(|run| !done[run.chunk]);
        }
        now
    }

    fn pick(
        &self,
        farm: &Farm,
        worker: usize,
        waiting: &[usize],
        runs: &[Run],
        guess: &[u64],
        now: f64,
    ) -> Option<usize> {
        if self.naive {
            return waiting.first().copied();
        }
        let idle = farm.seats(&vec![0.0; self.speeds.len()]);
        let typical = Typical::of(&idle);
        let underway: Vec<Underway> = runs
            .iter()
            .map(|run| {
                let cost = guess[run.chunk];
                Underway {
                    task: id(run.chunk as u32),
                    worker: idle[run.worker].facts.id,
                    needs: X264,
                    cost,
                    done: Some((now - run.begun) / (run.ends - run.begun)),
                    elapsed: now - run.begun,
                    predicted: typical.seconds(&idle[run.worker], X264, cost),
                }
            })
            .collect();
        let mut free = vec![0.0; self.speeds.len()];
        for (run, under) in runs.iter().zip(&underway) {
            free[run.worker] = under.left();
        }
        let seats = farm.seats(&free);
        let list: Vec<Candidate> =
            waiting.iter().take(64).map(|n| chunk(*n as u32, guess[*n])).collect();
        if let Some(at) = next(&list, &seats, seats[worker].facts.id) {
            return Some(list[at].task.number as usize);
        }
        let single =
            |one: &Underway| runs.iter().filter(|r| id(r.chunk as u32) == one.task).count() == 1;
        let alone: Vec<Underway> = underway.into_iter().filter(single).collect();
        let twice = if self.rivals { rival(&alone, &seats[worker], &typical) } else { None };
        twice.map(|task| task.number as usize)
    }
}

/// The middle of 11 films.
fn middle(film: impl Fn(u64) -> f64) -> f64 {
    let mut ratios: Vec<f64> = (1..=11).map(film).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[5]
}

/// A farm of the table: its name and the speeds of its workers.
type Fleet = (&'static str, &'static [f64]);

const FLEETS: [Fleet; 4] = [
    ("8 equal", &[1.0; 8]),
    ("16 equal", &[1.0; 16]),
    ("4 x 1, 2 x .5, 2 x .2", &[1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.2, 0.2]),
    ("1 x 2, 5 x .6, 2 x .15", &[2.0, 0.6, 0.6, 0.6, 0.6, 0.6, 0.15, 0.15]),
];

/// Prints, with `--nocapture`, how far from the least possible time films of
/// 90 minutes are done on simulated farms.
#[test]
fn films_are_done_within_a_twentieth_of_the_least_time() {
    println!("time over the least possible, middle of 11 films of 90 min, 1 s overhead a chunk");
    println!("{:<24} {:>11} {:>8} {:>8} {:>8}", "farm", "60 s, naive", "60 s", "30 s", "120 s");
    let (trouble, rivals) = (None, true);
    for (name, speeds) in FLEETS {
        let of = |chunk, naive| {
            middle(|seed| Film { speeds, chunk, seed, trouble, rivals, naive }.ratio())
        };
        let (naive, minute, half, two) =
            (of(60.0, true), of(60.0, false), of(30.0, false), of(120.0, false));
        println!("{name:<24} {naive:>11.3} {minute:>8.3} {half:>8.3} {two:>8.3}");
        assert!(minute < naive, "{name}");
        assert!(minute < 1.06 && half < 1.06, "{name}: {minute:.3}, {half:.3}");
    }
}

/// Prints, with `--nocapture`, what one worker at a tenth of its speed costs.
#[test]
fn a_worker_that_becomes_slow_costs_little_where_others_try_again() {
    let speeds = &[1.0; 8];
    println!("8 equal workers, one at a tenth of its speed from the middle on:");
    for chunk in [30.0, 120.0] {
        let of = |trouble, rivals| {
            middle(|seed| Film { speeds, chunk, seed, trouble, rivals, naive: false }.ratio())
        };
        let trouble = Some(Trouble { slow_from: 340.0 });
        let (well, alone, again) = (of(None, true), of(trouble, false), of(trouble, true));
        println!("{chunk:>4} s: well {well:.3}, slow {alone:.3}, tried again {again:.3}");
        assert!(again < alone && again < 1.0 + (alone - 1.0) * 0.8, "{chunk} s");
    }
}
