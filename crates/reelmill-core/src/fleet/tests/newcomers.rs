//! Workers that nobody has seen work.

use super::*;

#[test]
fn a_newcomer_is_guessed_by_the_others() {
    let mut farm = Farm::of(&[300.0, 100.0, 200.0]);
    farm.0[0].1.clear();
    let seats = farm.seats(&[0.0; 3]);
    let typical = Typical::of(&seats);
    assert!((typical.seconds(&seats[0], X264, 2000) - 11.0).abs() < 1e-9);
}

#[test]
fn a_newcomer_is_guessed_by_its_benchmark_as_far_as_benchmarks_came_true() {
    let mut farm = Farm::of(&[300.0, 100.0, 200.0]);
    farm.0[0].1.clear();
    let benchmark = |speed| Speeds::from([(VideoEncoder::X264, speed)]);
    let benchmarks = [benchmark(1000.0), benchmark(200.0), benchmark(400.0)];
    let mut seats = farm.seats(&[0.0; 3]);
    for (seat, benchmarks) in seats.iter_mut().zip(&benchmarks) {
        seat.benchmarks = benchmarks;
    }
    let seconds = |seats: &[Seat<'_>], encoder| {
        Typical::of(seats).seconds(&seats[0], Some(encoder), 2000) - 1.0
    };
    // The others do half of what their benchmarks say.
    assert!((seconds(&seats, VideoEncoder::X264) - 4.0).abs() < 1e-9);
    // What is shown counts, whatever was benchmarked.
    let typical = Typical::of(&seats);
    assert!((typical.seconds(&seats[1], X264, 2000) - 21.0).abs() < 1e-9);
    // Of another encoder nobody has shown anything.
    let other = Speeds::from([(VideoEncoder::X265, 1000.0)]);
    seats[0].benchmarks = &other;
    assert!((seconds(&seats, VideoEncoder::X265) - 4.0).abs() < 1e-9);
    // Alone, the benchmark is all there is.
    assert!((seconds(&seats[..1], VideoEncoder::X265) - 2.0).abs() < 1e-9);
}

#[test]
fn a_slow_newcomer_gets_no_chunk_that_others_have_done_sooner() {
    let mut farm = Farm::of(&[1000.0, 1000.0]);
    farm.0[1].1.clear();
    let chunk = [chunk(1, 10_000)];
    let busy = farm.seats(&[4.0, 0.0]);
    let newcomer = busy[1].facts.id;
    assert_eq!(next(&chunk, &busy, newcomer), Some(0), "it is held for as fast as the other");
    let (fast, slow) = (1000.0, 300.0);
    let benchmarks = [fast, slow].map(|speed| Speeds::from([(VideoEncoder::X264, speed)]));
    let mut seats = farm.seats(&[4.0, 0.0]);
    for (seat, benchmarks) in seats.iter_mut().zip(&benchmarks) {
        seat.benchmarks = benchmarks;
    }
    assert_eq!(next(&chunk, &seats, newcomer), None, "33 s there, 15 s with the other");
}
