//! Sessions, failover and health checks against a model of PostgreSQL, over a network that loses what it can: one
//! thread, virtual time, no socket, no sleep. All chance comes from a seed, so a run that fails can be run again.
//!
//! `SIMULATION_SEED=7` begins with that seed, `SIMULATION_RUNS=1000` makes so many runs, `SIMULATION_TRACE=1` tells what
//! happens in them.

mod balancer;
mod client;
mod cluster;
mod dice;
mod event;
mod ledger;
mod network;
mod postgres;
mod sabotage;
mod scenario;
mod schedule;
mod statement;
mod supervisor;
mod trace;
mod worker;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use pgbalancer::log;
use pgbalancer::shm::{Segment, Sizes};

use sabotage::Sabotage;
use world::{Outcome, Seen, World};

/// Runs of every test run.
const RUNS: u64 = 400;

/// What they must have shown.
const MUST_SEE: [&str; 24] = [
    "a COPY is lost",
    "a client is slow",
    "a client vanishes",
    "a commit is in doubt",
    "a message is cut",
    "a promotion",
    "a read is answered in spite of a loss",
    "a script fails",
    "a script hangs",
    "a server hangs",
    "a server is cut off",
    "a server is killed",
    "a server is stopped",
    "a session ends with what it had",
    "a standby lies",
    "a statement waits in vain",
    "a transaction is lost",
    "a worker is killed",
    "a write is answered by the next primary",
    "a write is in doubt",
    "an operator asks for something",
    "connections are half open",
    "connections are reset",
    "sessions are quiet for a switchover",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn segment() -> Segment {
    Segment::create(Sizes {
        workers: 2,
        sessions_per_worker: 16,
        pools_per_worker: 64,
        nodes: 4,
        answers: 64,
        tables: 16,
        learned: 16,
    })
    .expect("memory")
}

/// A run; a panic in it is a fault like any other.
fn run(seed: u64, segment: Segment, sabotage: Option<Sabotage>, is_traced: bool) -> Outcome {
    let result = catch_unwind(AssertUnwindSafe(|| World::new(seed, segment, sabotage, is_traced).run()));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcome { wrong: Some(format!("panic: {}", text.unwrap_or_default())), ..Outcome::default() }
    })
}

#[test]
fn simulation_holds_the_rules() {
    let is_traced = number("SIMULATION_TRACE").is_some();
    let min = if is_traced { log::Level::Debug1 } else { log::Level::Panic };
    let levels = log::Levels { min, client_min: log::Level::Panic, verbosity: log::Verbosity::Default };
    log::configure(log::Settings { levels, prefix: String::new(), ..log::Settings::default() });
    let first = number("SIMULATION_SEED").unwrap_or(1);
    let runs = number("SIMULATION_RUNS").unwrap_or(if is_traced { 1 } else { RUNS });
    let segment = segment();
    let mut wrong = Vec::new();
    let (mut succeeded, mut events, mut seen) = (0, 0, Seen::new());
    let begin = std::time::Instant::now();
    for seed in first..first + runs {
        let outcome = run(seed, segment, None, is_traced);
        succeeded += outcome.succeeded;
        events += outcome.events;
        for (what, count) in outcome.seen {
            *seen.entry(what).or_default() += count;
        }
        if let Some(text) = outcome.wrong {
            eprintln!("seed {seed}: {text}");
            wrong.push(seed);
        }
    }
    eprintln!(
        "{runs} runs in {:?}: {succeeded} statements, {events} events, {} wrong",
        begin.elapsed(),
        wrong.len()
    );
    for (what, count) in &seen {
        eprintln!("{count:8} times {what}");
    }
    assert!(wrong.is_empty(), "SIMULATION_SEED={} SIMULATION_TRACE=1 replays the first", wrong[0]);
    if runs >= RUNS {
        let missing: Vec<&str> = MUST_SEE.into_iter().filter(|what| !seen.contains_key(what)).collect();
        assert!(missing.is_empty(), "these runs do not show enough: {missing:?}");
    }
}

#[test]
fn simulation_of_a_seed_replays_exactly() {
    let segment = segment();
    for seed in 1..=20 {
        let (first, second) = (run(seed, segment, None, false), run(seed, segment, None, false));
        assert_eq!((first.events, first.hash), (second.events, second.hash), "seed {seed}");
    }
}

#[test]
fn simulation_finds_what_breaks_a_rule() {
    /// Runs in which it must be found.
    const ENOUGH: u64 = 150;
    let segment = segment();
    for sabotage in Sabotage::ALL {
        let found = (1..=ENOUGH).find_map(|seed| {
            let wrong = run(seed, segment, None, false).wrong.is_none();
            run(seed, segment, Some(sabotage), false).wrong.filter(|_| wrong).map(|text| (seed, text))
        });
        match found {
            Some((seed, text)) => eprintln!("{sabotage:?}: seed {seed}: {text}"),
            None => panic!("{sabotage:?} is not found in {ENOUGH} runs"),
        }
    }
}
