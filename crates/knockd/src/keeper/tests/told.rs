//! What programs are told of openings and closings.

use super::*;

#[test]
fn programs_are_told_of_each_grant_when_it_comes_and_when_it_goes() {
    let mut bench = Bench::new(RECIPE, 8);
    bench.open();
    bench.end(End::Exited(0));
    bench.pass(60_000);
    bench.end(End::Exited(3));
    let told = [
        "knocked",
        "open Commands(7)",
        "close Commands(7) Time",
        "command-failed Commands(7)",
    ];
    assert_eq!(bench.events, told);
}

#[test]
fn what_the_log_leaves_out_programs_are_told_all_the_same() {
    let mut bench = Bench::new("start_command = x", 8);
    for _ in 0..5_000 {
        bench.open();
    }
    let openings = bench.lines.iter().filter(|line| line.contains("SESAME"));
    assert!(openings.count() < 2_500);
    let told = bench.events.iter().filter(|event| *event == "knocked");
    assert_eq!(told.count(), 5_000);
}

#[test]
fn what_was_never_begun_is_told_as_closed_at_a_stop() {
    let mut bench = Bench::new(RECIPE, 1);
    bench.open();
    bench.open();
    bench.keeper.stop(OnStop::Close, bench.now);
    bench.poll();
    bench.end(End::Exited(0));
    let closed = bench.events.iter().filter(|e| e.starts_with("close"));
    let closed: Vec<_> = closed.collect();
    assert_eq!(closed, ["close Commands(8) Stop", "close Commands(7) Stop"]);
}
