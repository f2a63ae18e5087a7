//! Balancers against each other on simulated nodes with queues: the learner of `route::learn`, the very code that the
//! program runs, beside those that it must not be worse than.
//!
//! `BALANCER_SEEDS=30` compares all of them in all scenarios with so many seeds, from `BALANCER_FIRST` (1000) on, and
//! writes the tables and plots of doc/adaptive.md anew.

mod compare;
mod measure;
mod node;
mod original;
mod ours;
mod plot;
mod policy;
mod scenario;
mod table;
mod world;

use std::path::Path;

use compare::{Compared, compare};
use measure::{Figures, figures};
use pgbalancer::route::learn::Algorithm;
use policy::{Flights, LeastInFlight, PeakEwma, Policy, Prequal, RoundRobin, WeightedRandom};
use scenario::Scenario;
use world::{Seen, WORKERS, World};

/// Those that are compared.
const POLICIES: [&str; 7] = [
    "adaptive (ours)",
    "weighted random",
    "round robin",
    "least in flight",
    "P2C, peak EWMA",
    "Prequal's hot-cold",
    "the original's",
];
const OURS: usize = 0;
const WEIGHTED_RANDOM: usize = 1;

/// Seeds of every test run, others than those with which the constants of the learner were chosen: 1 to 22.
const FEW: std::ops::Range<u64> = 1000..1002;

fn make(policy: usize, nodes: usize) -> Box<dyn Policy> {
    let flights = || Flights(vec![0; nodes]);
    match policy {
        OURS => Box::new(ours::Ours::new(WORKERS, nodes, Algorithm::Adaptive)),
        WEIGHTED_RANDOM => Box::new(WeightedRandom),
        2 => Box::new(RoundRobin(vec![0.0; nodes])),
        3 => Box::new(LeastInFlight { flights: flights() }),
        4 => Box::new(PeakEwma { flights: flights(), costs: vec![(0.0, 0); nodes] }),
        5 => Box::new(Prequal::new(nodes)),
        _ => Box::new(original::Original::new(nodes)),
    }
}

fn seen(scenario: &Scenario, policy: usize, seed: u64) -> Seen {
    let nodes = scenario.slowness.len();
    World::new(scenario, seed, &|| make(policy, nodes)).run()
}

fn run(scenario: &Scenario, policy: usize, seed: u64) -> Figures {
    figures(scenario, seen(scenario, policy, seed))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn missed(compared: &[Compared], policy: usize, slack: f64) -> Vec<String> {
    compared.iter().flat_map(|one| one.missed(policy, slack)).collect()
}

#[test]
fn balancer_meets_its_targets() {
    let Some(seeds) = number("BALANCER_SEEDS") else {
        let compared = compare(scenario::judged(), FEW);
        let ours = missed(&compared, OURS, 1.02);
        assert!(ours.is_empty(), "{ours:#?}");
        // The targets are none that anybody meets.
        for (policy, name) in POLICIES.iter().enumerate().skip(1) {
            assert!(!missed(&compared, policy, 1.02).is_empty(), "{name}");
        }
        return;
    };
    let first = number("BALANCER_FIRST").unwrap_or(FEW.start);
    let seeds = first..first + seeds.max(2);
    let (judged, others) =
        (compare(scenario::judged(), seeds.clone()), compare(scenario::others(), seeds.clone()));
    let text = table::render(&judged, &others, seeds.end - seeds.start);
    eprintln!("{text}");
    write(&text, &judged, first..first + 5);
    let ours = missed(&judged, OURS, 1.0);
    assert!(ours.is_empty(), "{ours:#?}");
}

/// Writes tables and plots into the documents.
fn write(tables: &str, judged: &[Compared], seeds: std::ops::Range<u64>) {
    const MARKS: [&str; 2] = ["<!-- tables: rendered -->\n", "<!-- tables end -->"];
    let doc = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc");
    let page = std::fs::read_to_string(doc.join("adaptive.md")).expect("the page");
    let (before, rest) = page.split_once(MARKS[0]).expect("the first mark");
    let (_, behind) = rest.split_once(MARKS[1]).expect("the second mark");
    let page = format!("{before}{}\n{tables}{}{behind}", MARKS[0], MARKS[1]);
    let scenario = |name: &str| {
        let found = judged.iter().find(|one| one.scenario.name.starts_with(name));
        &found.expect("a scenario of that number").scenario
    };
    for (name, text) in [
        ("adaptive.md", page),
        ("adaptive/p99.svg", plot::bars(judged)),
        ("adaptive/degrading.svg", plot::slowest_by_second(scenario("3 "), seeds.clone())),
        ("adaptive/degrading-share.svg", plot::share_by_second(scenario("3 "), 0, seeds.clone())),
        ("adaptive/failing-share.svg", plot::share_by_second(scenario("5 "), 2, seeds)),
    ] {
        std::fs::write(doc.join(name), text).expect("a file of the documents");
    }
}

#[test]
fn balancer_runs_can_be_made_again() {
    let scenario = &scenario::judged()[6];
    for (policy, name) in POLICIES.iter().enumerate() {
        let (first, second) = (seen(scenario, policy, 7), seen(scenario, policy, 7));
        assert_eq!((first.latencies, first.sent), (second.latencies, second.sent), "{name}");
    }
}
