//! Seeds by the thousand, one replayed, and protections left out.

use super::store::Mutant;
use super::world::Setup;
use super::{Outcome, in_memory, run, usual};
use reelmill_core::job::JobState;
use reelmill_store::{SqliteStore, Store};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn setup(seed: u64) -> Setup {
    Setup { seed, mutant: Mutant::None, calm: false, loud: false }
}

/// The seeds to run, `usual` unless the environment says otherwise.
fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("REELMILL_SIM_SEEDS") else { return usual };
    let (from, to) = text.split_once("..").expect("REELMILL_SIM_SEEDS is from..to");
    from.parse().unwrap()..to.parse().unwrap()
}

fn long() -> bool {
    std::env::var_os("REELMILL_TEST_LONG").is_some_and(|value| value == "1")
}

/// Fails with the story of a seed that went wrong.
fn tell(setup: Setup, outcome: &Outcome) -> ! {
    let again = in_memory(Setup { loud: true, ..setup }, &usual());
    let story = again.story.join("\n");
    let (seed, wrong) = (setup.seed, outcome.wrong.join("\n  "));
    panic!(
        "{story}\n\nseed {seed} ({:?}): {} steps\n  {wrong}\nREELMILL_SIM_SEED={seed} replays it",
        setup.mutant, outcome.steps
    );
}

/// Runs all seeds on as many threads as there are cores; each world in one.
fn run_all(seeds: Range<u64>) -> Vec<Outcome> {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    let outcomes = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let settings = usual();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = in_memory(setup(seed), &settings);
                    if !outcome.wrong.is_empty() {
                        next.store(seeds.end, Ordering::Relaxed);
                        tell(setup(seed), &outcome);
                    }
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

#[test]
fn no_job_is_lost_and_nothing_counts_twice_whatever_goes_wrong() {
    if let Ok(seed) = std::env::var("REELMILL_SIM_SEED") {
        let setup = Setup { loud: true, ..setup(seed.parse().unwrap()) };
        let outcome = in_memory(setup, &usual());
        println!("{}\n{:?}", outcome.story.join("\n"), outcome.wrong);
        assert!(outcome.wrong.is_empty());
        return;
    }
    let seeds = seeds(0..if long() { 20_000 } else { 2000 });
    let begun = std::time::Instant::now();
    let outcomes = run_all(seeds.clone());
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let ended = |state: JobState| {
        outcomes.iter().flat_map(|outcome| &outcome.ends).filter(|end| **end == state).count()
    };
    println!(
        "seeds {seeds:?}: {} steps in {:.1} s; jobs: {} completed, {} failed, {} cancelled; \
         {} workers lost, {} words refused, {} rivals, {} passes beyond the first",
        sum(|o| o.steps),
        begun.elapsed().as_secs_f64(),
        ended(JobState::Completed),
        ended(JobState::Failed),
        ended(JobState::Cancelled),
        sum(|o| o.losses.into()),
        sum(|o| o.refused.into()),
        sum(|o| o.rivals.into()),
        sum(|o| o.passes.into()),
    );
    // What never happens in a simulation is not tested by it.
    if outcomes.len() >= 1000 {
        assert!(ended(JobState::Completed) > 1000 && ended(JobState::Failed) > 20);
        assert!(sum(|o| o.passes.into()) > 300);
        assert!(sum(|o| o.losses.into()) > 500 && sum(|o| o.refused.into()) > 500);
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 0..8 {
        let loud = Setup { loud: true, ..setup(seed) };
        let (one, other) = (in_memory(loud, &usual()), in_memory(loud, &usual()));
        assert_eq!(one.story, other.story, "seed {seed}");
        assert_eq!(one, other, "seed {seed}");
        assert_eq!(one.trace, in_memory(setup(seed), &usual()).trace, "telling changes nothing");
    }
    assert_ne!(in_memory(setup(1), &usual()).trace, in_memory(setup(2), &usual()).trace);
}

#[test]
fn in_a_calm_world_every_film_is_converted_and_no_worker_is_lost() {
    for seed in 0..50 {
        let calm = Setup { calm: true, ..setup(seed) };
        let outcome = in_memory(calm, &usual());
        if !outcome.wrong.is_empty() {
            tell(calm, &outcome);
        }
    }
}

#[test]
fn rows_in_sqlite_tell_the_same_story_as_rows_in_memory() {
    for seed in 0..if long() { 100 } else { 4 } {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.db");
        let loud = Setup { loud: true, ..setup(seed) };
        let outcome = runtime.block_on(async {
            let store = SqliteStore::open(&path).await.unwrap();
            let outcome = run(loud, Arc::new(store.clone()), usual()).await;
            store.close().await.unwrap();
            outcome
        });
        let memory = in_memory(loud, &usual());
        let mut pairs = outcome.story.iter().zip(&memory.story);
        assert_eq!(pairs.find(|(one, other)| one != other), None, "seed {seed}");
        assert_eq!(outcome, memory, "seed {seed}");
    }
}

/// The first seed at which a protection that is left out shows.
fn caught(mutant: Mutant, calm: bool, seeds: u64) -> Option<(u64, Vec<String>)> {
    caught_as(mutant, calm, seeds, |_| true)
}

/// The first seed at which it shows in something that `is` it.
fn caught_as(
    mutant: Mutant,
    calm: bool,
    seeds: u64,
    is: fn(&String) -> bool,
) -> Option<(u64, Vec<String>)> {
    (0..seeds).find_map(|seed| {
        let outcome = in_memory(Setup { mutant, calm, ..setup(seed) }, &usual());
        outcome.wrong.iter().any(is).then_some((seed, outcome.wrong))
    })
}

#[test]
fn a_farm_without_fencing_is_caught() {
    caught_as(Mutant::NoFencing, false, 500, |what| {
        what.contains("grant that had ended") || what.contains("counts, but")
    })
    .expect("it was not noticed");
}

#[test]
fn a_farm_that_does_not_know_a_report_again_is_caught() {
    let (seed, wrong) = caught(Mutant::Forgetful, false, 500).expect("it was not noticed");
    assert!(wrong.iter().any(|what| what.contains("counts, but")), "{seed}: {wrong:?}");
}

#[test]
fn a_lease_shorter_than_a_heartbeat_is_caught() {
    let (seed, wrong) = caught(Mutant::ShortLease, true, 100).expect("it was not noticed");
    assert!(wrong.iter().any(|what| what.contains("nothing went wrong")), "{seed}: {wrong:?}");
}

#[test]
fn a_farm_whose_sweeper_is_off_is_caught() {
    let (seed, wrong) = caught(Mutant::NoSweeper, false, 500).expect("it was not noticed");
    assert!(wrong.iter().any(|what| what.contains("never ends")), "{seed}: {wrong:?}");
}

#[test]
fn a_farm_that_holds_a_task_guilty_of_every_crash_is_caught() {
    let (seed, wrong) = caught(Mutant::Hasty, false, 2000).expect("it was not noticed");
    assert!(wrong.iter().any(|what| what.contains("killed nobody")), "{seed}: {wrong:?}");
}

#[test]
fn a_farm_that_lets_a_task_kill_on_and_on_is_caught() {
    let (seed, wrong) = caught(Mutant::Patient, false, 500).expect("it was not noticed");
    assert!(wrong.iter().any(|what| what.contains("more than")), "{seed}: {wrong:?}");
}
