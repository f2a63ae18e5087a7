//! All balancers in all scenarios, each with the same seeds; and whether ours meets its targets.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::measure::{Figures, Interval, interval};
use super::scenario::{Scenario, Target};
use super::{OURS, POLICIES, WEIGHTED_RANDOM, run};

/// What counts as no slower: where nothing can be gained, two good balancers differ by chance.
const AS_GOOD: f64 = 1.005;
/// A share of 1 is what a node has that is as good as the others.
const FAIR: f64 = 0.9;

/// What has been seen in a scenario: for each policy the figures of each seed.
pub(super) struct Compared {
    pub(super) scenario: Scenario,
    pub(super) figures: Vec<Vec<Figures>>,
}

/// Runs them all, on as many threads as there are processors.
pub(super) fn compare(scenarios: Vec<Scenario>, seeds: std::ops::Range<u64>) -> Vec<Compared> {
    let jobs: Vec<(usize, usize)> =
        (0..scenarios.len()).flat_map(|at| (0..POLICIES.len()).map(move |policy| (at, policy))).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&(at, policy)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let figures: Vec<Figures> =
                        seeds.clone().map(|seed| run(&scenarios[at], policy, seed)).collect();
                    done.lock().expect("nobody panics with it").push(((at, policy), figures));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("all have ended");
    done.sort_by_key(|(job, _)| *job);
    let mut done = done.into_iter().map(|(_, figures)| figures);
    let of = |scenario| Compared { scenario, figures: done.by_ref().take(POLICIES.len()).collect() };
    scenarios.into_iter().map(of).collect()
}

impl Compared {
    pub(super) fn interval(&self, policy: usize, of: fn(&Figures) -> f64) -> Interval {
        interval(&self.figures[policy].iter().map(of).collect::<Vec<f64>>())
    }

    pub(super) fn mean(&self, policy: usize, of: fn(&Figures) -> f64) -> f64 {
        self.interval(policy, of).mean
    }

    /// The best of the others: where nodes fail, of those that meet the limit of errors, if there is any.
    pub(super) fn best(&self, judged: usize, of: fn(&Figures) -> f64) -> Option<usize> {
        let is_good = |policy: &usize| self.mean(*policy, |figures| figures.errors) < 0.02;
        let others = (0..POLICIES.len()).filter(|policy| *policy != judged).filter(is_good);
        others.min_by(|a, b| self.mean(*a, of).total_cmp(&self.mean(*b, of)))
    }

    /// How many times the best of the others it takes, seed by seed.
    pub(super) fn ratio(&self, judged: usize, of: fn(&Figures) -> f64) -> Option<Interval> {
        let best = &self.figures[self.best(judged, of)?];
        let ratios = self.figures[judged].iter().zip(best).map(|(ours, best)| of(ours) / of(best));
        Some(interval(&ratios.collect::<Vec<f64>>()))
    }

    /// Targets that a policy misses; `slack` is for the chance in few seeds.
    pub(super) fn missed(&self, judged: usize, slack: f64) -> Vec<String> {
        let p95: fn(&Figures) -> f64 = |figures| figures.p95;
        let p99: fn(&Figures) -> f64 = |figures| figures.p99;
        let mut missed = Vec::new();
        let mut at_most = |what: &str, value: f64, limit: f64| {
            if value > limit {
                let name = self.scenario.name;
                missed.push(format!("{}, {name}: {what} is {value:.4}, over {limit:.4}", POLICIES[judged]));
            }
        };
        let best =
            |of: fn(&Figures) -> f64| self.best(judged, of).map_or(f64::INFINITY, |one| self.mean(one, of));
        match self.scenario.target {
            Target::Equal => {
                at_most("p95", self.mean(judged, p95), best(p95) * 1.03 * slack);
                at_most("p99", self.mean(judged, p99), best(p99) * 1.03 * slack);
            }
            Target::Unequal => {
                at_most("p99", self.mean(judged, p99), best(p99) * AS_GOOD * slack);
                let tenth = self.mean(WEIGHTED_RANDOM, p99) / 10.0;
                if judged == OURS {
                    at_most("p99 beside weighted random", self.mean(judged, p99), tenth);
                }
            }
            Target::Failing => {
                at_most("the part of errors", self.mean(judged, |figures| figures.errors), 0.02);
            }
            Target::Mixed => at_most("p99", self.mean(judged, p99), best(p99) * 0.8),
            Target::None => {}
        }
        if self.scenario.recovers.is_some() && self.scenario.target != Target::None {
            at_most("what a recovered node lacks", FAIR - self.mean(judged, |figures| figures.share), 0.0);
        }
        missed
    }
}
