//! Cases of the model.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::mean::{Mean, feed};
use super::*;

const SECOND: u64 = 1_000_000;
const CLASS: Class = Class { key: 77, size: 0 };

fn words(workers: usize, nodes: usize) -> Vec<AtomicU64> {
    (0..Model::words_needed(workers, nodes)).map(|_| AtomicU64::new(0)).collect()
}

/// Random bits from a seed (splitmix64).
fn bits(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn candidates(weights: &[f64]) -> Vec<Candidate> {
    weights.iter().enumerate().map(|(node, weight)| Candidate { node, weight: *weight }).collect()
}

/// How many of a thousand choices fall on each node, with nothing running.
fn drawn(model: &Model, settings: &Settings, candidates: &[Candidate], class: Class, now: u64) -> Vec<usize> {
    let mut random = bits(5);
    let mut counts = vec![0; model.nodes];
    for _ in 0..1000 {
        let choice = model.choose(settings, candidates, class, now, &mut random).unwrap();
        counts[choice.node] += 1;
    }
    counts
}

/// Statements one after the other, each node in turn, with the latency that it has.
fn teach(model: &Model, settings: &Settings, class: Class, latencies: &[u64], times: u64, now: u64) -> u64 {
    for turn in 0..times {
        for (node, latency) in latencies.iter().enumerate() {
            let now = now + turn * 1000;
            let ticket = model.begin(settings, 0, node, class, Why::Chosen, now);
            model.end(settings, 0, ticket, *latency, Outcome::Ok, now + 1);
        }
    }
    now + times * 1000
}

#[test]
fn one_that_knows_nothing_goes_by_weight() {
    let words = words(1, 3);
    let model = Model::new(&words, 1, 3).unwrap();
    for algorithm in [Algorithm::Adaptive, Algorithm::WeightedRandom, Algorithm::LeastConnections] {
        let settings = Settings::new(algorithm, 0.01, 0.1, [0.4, 0.3, 0.3]);
        let counts = drawn(&model, &settings, &candidates(&[2.0, 1.0, 1.0]), CLASS, SECOND);
        // The fewest for its weight is the heaviest while nothing runs.
        let share = if algorithm == Algorithm::LeastConnections { 1000..=1000 } else { 440..=560 };
        assert!(share.contains(&counts[0]), "{algorithm:?}: {counts:?}");
    }
    assert_eq!(model.choose(&Settings::default(), &[], CLASS, SECOND, &mut bits(1)), None);
}

#[test]
fn a_slower_node_is_avoided() {
    for algorithm in [Algorithm::Adaptive, Algorithm::PeakEwma] {
        let words = words(1, 3);
        let model = Model::new(&words, 1, 3).unwrap();
        let settings = Settings::new(algorithm, 0.01, 0.1, [0.4, 0.3, 0.3]);
        let now = teach(&model, &settings, CLASS, &[2000, 20_000, 2000], 100, SECOND);
        let counts = drawn(&model, &settings, &candidates(&[1.0; 3]), CLASS, now);
        assert!(counts[1] < 5, "{algorithm:?}: {counts:?}");
    }
}

#[test]
fn fast_errors_make_a_node_worse() {
    for algorithm in [Algorithm::Adaptive, Algorithm::PeakEwma] {
        let words = words(1, 3);
        let model = Model::new(&words, 1, 3).unwrap();
        let settings = Settings::new(algorithm, 0.01, 0.1, [0.4, 0.3, 0.3]);
        let now = teach(&model, &settings, CLASS, &[2000; 3], 100, SECOND);
        for turn in 0..10 {
            let ticket = model.begin(&settings, 0, 2, CLASS, Why::Chosen, now + turn);
            model.end(&settings, 0, ticket, 10, Outcome::Error, now + turn);
        }
        let counts = drawn(&model, &settings, &candidates(&[1.0; 3]), CLASS, now + 20);
        assert!(counts[2] < 5, "{algorithm:?}: {counts:?}");
        let report = model.report(&settings, now + 20);
        assert_eq!((report.nodes[2].failed_queries, report.nodes[2].successful_queries), (10, 100));
        assert!(report.nodes[2].health_score < 0.01 && report.nodes[0].health_score > 0.99);
    }
}

#[test]
fn what_a_dead_worker_ran_is_subtracted() {
    let words = words(3, 2);
    let model = Model::new(&words, 3, 2).unwrap();
    let settings = Settings::default();
    let mut tickets: Vec<Ticket> =
        (0..6).map(|n| model.begin(&settings, n % 3, n % 2, CLASS, Why::Given, SECOND)).collect();
    let in_flight = |node: usize| model.report(&settings, SECOND).nodes[node].in_flight;
    assert_eq!((in_flight(0), in_flight(1)), (3, 3));
    // It died between its row and the sum.
    model.row(1, 0).unwrap().counts.fetch_add(1, Ordering::Relaxed);
    model.forget_worker(1);
    assert_eq!((in_flight(0), in_flight(1)), (2, 2));
    for (number, ticket) in tickets.drain(..).enumerate().filter(|(number, _)| number % 3 != 1) {
        model.end(&settings, number % 3, ticket, 10, Outcome::Ok, SECOND);
    }
    assert_eq!((in_flight(0), in_flight(1)), (0, 0));
    assert_eq!(model.running(0).unwrap().short_work.load(Ordering::Relaxed), 0);
    assert_eq!(model.report(&settings, SECOND).total_queries, 6);
}

#[test]
fn a_mean_forgets_by_time() {
    let word = AtomicU64::new(0);
    for turn in 0..1000 {
        feed(&word, 100.0, 1.0, 1.0, turn * 1000, 1e7);
    }
    let mean = Mean::load(&word);
    assert!((mean.mean - 100.0).abs() < 0.1, "{mean:?}");
    let weight = |seconds: u64| mean.weight_at(seconds * SECOND, 1e7);
    assert!((900.0..1000.0).contains(&weight(1)), "{}", weight(1));
    assert!((300.0..400.0).contains(&weight(11)), "{}", weight(11));
    assert!(weight(100) < 10.0);
    assert_eq!(mean.weight_at(0, 1e7), mean.weight, "a clock that is a little behind");
    // Many small steps in either direction are not lost to rounding.
    for turn in 0..3000 {
        feed(&word, if turn % 2 == 0 { 0.0 } else { 400.0 }, 1.0, 1.0, SECOND + turn * 1000, 1e7);
    }
    assert!((150.0..210.0).contains(&Mean::load(&word).mean), "{:?}", Mean::load(&word));
}

#[test]
fn what_was_learned_outlives_a_restart() {
    let (old, new) = (words(1, 3), words(2, 3));
    let (old, new) = (Model::new(&old, 1, 3).unwrap(), Model::new(&new, 2, 3).unwrap());
    let settings = Settings::default();
    let now = teach(&old, &settings, CLASS, &[2000, 20_000, 2000], 200, SECOND);
    let text = old.export(&settings, now);
    // The clock of the new one begins anew.
    assert_eq!(new.import(&settings, &text, 5), Ok(()));
    let counts = drawn(&new, &settings, &candidates(&[1.0; 3]), CLASS, 10);
    assert!(counts[1] < 5, "{counts:?}");
    new.reset();
    let counts = drawn(&new, &settings, &candidates(&[1.0; 3]), CLASS, 10);
    assert!(counts[1] > 250, "{counts:?}");
}

#[test]
fn a_file_that_is_something_else_is_refused_and_changes_nothing() {
    let words = words(1, 2);
    let model = Model::new(&words, 1, 2).unwrap();
    let settings = Settings::default();
    let now = teach(&model, &settings, CLASS, &[2000, 20_000], 100, SECOND);
    let good = model.export(&settings, now);
    let head = "pgbalancer-ai 1 2\n";
    for (text, error) in [
        (String::new(), StateError::Head),
        ("pgbalancer-ai 2 2\n".to_owned(), StateError::Head),
        ("pgbalancer-ai 1 3\n".to_owned(), StateError::Nodes(3, 2)),
        (format!("{head}typical 1 1\nnode 2 speed 1 1\n"), StateError::Line(3)),
        (format!("{head}node 1 speed -1 1\n"), StateError::Line(2)),
        (format!("{head}node 1 speed NaN 1\n"), StateError::Line(2)),
        (format!("{head}node 1 speed 1 1e9\n"), StateError::Line(2)),
        (format!("{head}node 1 speed 1 1 1\n"), StateError::Line(2)),
        (format!("{head}node 1 health 1 1\n"), StateError::Line(2)),
        (format!("{head}class 0 all 1 1\n"), StateError::Line(2)),
        (format!("{head}group 4 all 1 1\n"), StateError::Line(2)),
        (format!("{head}\n"), StateError::Line(2)),
        (format!("{head}{}", "typical 1 1\n".repeat(1 << 19)), StateError::TooLong),
    ] {
        assert_eq!(model.import(&settings, &text, now), Err(error), "{text:.80}");
        assert_eq!(model.export(&settings, now), good);
    }
}

#[test]
fn only_what_the_node_is_to_blame_for_is_an_error() {
    for code in ["57P01", "57P02", "57P03", "53100", "53200", "53300", "58030", "XX000", "XX001"] {
        assert_eq!(Outcome::of_sqlstate(code.as_bytes()), Outcome::Error, "{code}");
    }
    for code in ["42601", "23505", "40001", "40P01", "57014", "25006", "22012", "", "5"] {
        assert_eq!(Outcome::of_sqlstate(code.as_bytes()), Outcome::Ok, "{code}");
    }
    assert_eq!(Outcome::of_sqlstate(b"08006"), Outcome::Lost);
}

proptest! {
    #[test]
    fn any_words_are_a_model(
        seed in any::<u64>(), now in any::<u64>(), latency in any::<u64>(), weights in proptest::array::uniform3(0.0_f64..10.0),
    ) {
        let mut random = bits(seed);
        let words: Vec<AtomicU64> = (0..Model::words_needed(2, 3)).map(|_| AtomicU64::new(random())).collect();
        let model = Model::new(&words, 2, 3).unwrap();
        for algorithm in [Algorithm::Adaptive, Algorithm::PeakEwma, Algorithm::LeastConnections] {
            let settings = Settings::new(algorithm, 0.01, 0.5, [0.4, 0.3, 0.3]);
            let candidates = candidates(&weights);
            for size in 0..4 {
                let class = Class { key: random(), size };
                if let Some(choice) = model.choose(&settings, &candidates, class, now, &mut random) {
                    prop_assert!(choice.node < 3);
                    let ticket = model.begin(&settings, 1, choice.node, class, Why::Chosen, now);
                    model.end(&settings, 1, ticket, latency, Outcome::Ok, now.wrapping_add(latency));
                }
            }
            for score in model.scores(&settings, &candidates, CLASS, now) {
                prop_assert!(score.score.is_finite() && (0.0..=1.0).contains(&score.health), "{score:?}");
            }
            let _ = model.report(&settings, now);
            let text = model.export(&settings, now);
            model.forget_worker(0);
            model.node_back(0, now);
            prop_assert_eq!(model.import(&settings, &text, now), Ok(()));
        }
    }
}

/// Begins statements that do not end.
fn occupy(model: &Model, settings: &Settings, node: usize, class: Class, number: usize, now: u64) {
    for _ in 0..number {
        let _runs_on = model.begin(settings, 0, node, class, Why::Given, now);
    }
}

#[test]
fn a_node_that_comes_back_is_warmed_up() {
    let words = words(1, 2);
    let model = Model::new(&words, 1, 2).unwrap();
    let settings = Settings::default();
    let now = teach(&model, &settings, CLASS, &[2000; 2], 500, SECOND);
    model.node_back(1, now);
    let share = |now| {
        let scores = model.scores(&settings, &candidates(&[1.0; 2]), CLASS, now);
        assert!((scores[0].share + scores[1].share - 1.0).abs() < 1e-6);
        scores[1].share
    };
    let shares: Vec<f64> = (0..6).map(|part| share(now + part * SECOND / 2)).collect();
    assert!(shares[0] < 0.1 && shares.is_sorted(), "{shares:?}");
    assert!((share(now + 3 * SECOND) - 0.5).abs() < 0.05);
}

#[test]
fn a_bad_node_gets_no_more_looks_than_its_share() {
    let words = words(1, 3);
    let model = Model::new(&words, 1, 3).unwrap();
    let settings = Settings::default();
    let mut now = teach(&model, &settings, CLASS, &[2000, 200_000, 2000], 200, SECOND);
    let (mut random, mut looks, mut sent) = (bits(9), 0, 0);
    for _ in 0..100_000 {
        now += 1000;
        let choice = model.choose(&settings, &candidates(&[1.0; 3]), CLASS, now, &mut random).unwrap();
        let why = if choice.explored { Why::Explored } else { Why::Chosen };
        let ticket = model.begin(&settings, 0, choice.node, CLASS, why, now);
        let latency = if choice.node == 1 { 200_000 } else { 2000 };
        model.end(&settings, 0, ticket, latency, Outcome::Ok, now);
        looks += u64::from(choice.explored);
        sent += u64::from(choice.node == 1);
        assert!(!choice.explored || choice.node == 1, "of the others something was heard");
    }
    // 100 s with at most a look in half a second, and one in twenty of those that may.
    assert!((20..=200).contains(&sent), "{sent}");
    assert_eq!(model.report(&settings, now).exploration_queries, looks);
}

#[test]
fn a_short_statement_is_not_put_behind_long_ones() {
    let words = words(1, 2);
    let model = Model::new(&words, 1, 2).unwrap();
    let settings = Settings::default();
    let long = Class { key: 99, size: 0 };
    let mut now = teach(&model, &settings, long, &[200_000; 2], 50, SECOND);
    now = teach(&model, &settings, CLASS, &[2000; 2], 1000, now);
    // The same number runs on each.
    occupy(&model, &settings, 0, long, 3, now);
    occupy(&model, &settings, 1, CLASS, 3, now);
    let counts = drawn(&model, &settings, &candidates(&[1.0; 2]), CLASS, now);
    assert!(counts[0] < 10, "{counts:?}");
}

#[test]
fn a_node_that_gives_no_sign_of_life_is_avoided() {
    let words = words(1, 2);
    let model = Model::new(&words, 1, 2).unwrap();
    let settings = Settings::default();
    let now = teach(&model, &settings, CLASS, &[2000; 2], 500, SECOND);
    for node in [0, 1] {
        occupy(&model, &settings, node, CLASS, 1, now);
    }
    let share = |now| model.scores(&settings, &candidates(&[1.0; 2]), CLASS, now)[1].share;
    assert!((share(now) - 0.5).abs() < 0.1, "{}", share(now));
    // One of them answers another statement a second later.
    let later = now + SECOND;
    let ticket = model.begin(&settings, 0, 0, CLASS, Why::Given, later);
    model.end(&settings, 0, ticket, 2000, Outcome::Ok, later);
    assert!(share(later) < 1e-3, "{}", share(later));
}

#[test]
fn long_statements_leave_a_lane_to_short_ones() {
    let words = words(1, 2);
    let model = Model::new(&words, 1, 2).unwrap();
    let settings = Settings::default();
    let long = Class { key: 99, size: 0 };
    let mut now = teach(&model, &settings, long, &[200_000; 2], 50, SECOND);
    now = teach(&model, &settings, CLASS, &[2000; 2], 1000, now);
    for (node, running) in [(0, 6), (1, 5)] {
        model.learned(node).unwrap().room.store(Mean::new(8.0, 100.0, now).encode(), Ordering::Relaxed);
        occupy(&model, &settings, node, long, running, now);
    }
    let fuller = |class| model.scores(&settings, &candidates(&[1.0; 2]), class, now)[0].share;
    assert!(fuller(long) > 0.99 && fuller(CLASS) < 0.5, "{} {}", fuller(long), fuller(CLASS));
}

#[test]
fn nodes_that_are_alike_share_and_nobody_herds() {
    let words = words(1, 4);
    let model = Model::new(&words, 1, 4).unwrap();
    let settings = Settings::default();
    let now = teach(&model, &settings, CLASS, &[2000, 2050, 1950, 2100], 500, SECOND);
    let counts = drawn(&model, &settings, &candidates(&[1.0; 4]), CLASS, now);
    assert!(counts.iter().all(|count| (180..=320).contains(count)), "{counts:?}");
}

#[test]
fn a_flood_of_classes_drives_no_frequent_one_out() {
    let words = words(1, 2);
    let model = Model::new(&words, 1, 2).unwrap();
    let settings = Settings::default();
    let mut now = teach(&model, &settings, CLASS, &[2000, 20_000], 200, SECOND);
    for key in 1..5000 {
        now = teach(&model, &settings, Class { key: key << 32 | 1, size: 1 }, &[500; 2], 1, now);
    }
    assert!(model.own_place(CLASS).is_some());
    let latency = |class| model.scores(&settings, &candidates(&[1.0; 2]), class, now)[0].latency_micros;
    assert!((1000.0..3000.0).contains(&latency(CLASS)), "{}", latency(CLASS));
    // One that was never seen is like the others of its size.
    let unseen = Class { key: 3, size: 1 };
    assert!((300.0..900.0).contains(&latency(unseen)), "{}", latency(unseen));
}

#[test]
fn a_class_finds_no_place_among_frequent_ones_until_they_are_gone() {
    let words = words(1, 2);
    let model = Model::new(&words, 1, 2).unwrap();
    let settings = Settings::default();
    let mut now = SECOND;
    for key in 1..=4 {
        now = teach(&model, &settings, Class { key, size: 0 }, &[2000; 2], 100, now);
    }
    let fifth = Class { key: 5, size: 0 };
    assert!(model.claim_place(fifth, now, settings.memory).is_none());
    let late = now + 200 * SECOND;
    assert!(model.claim_place(fifth, late, settings.memory).is_some());
    assert!(model.own_place(fifth).is_some());
}
