//! What a balancer may do in the simulation, and those that ours is compared with, as their authors describe them.

use std::collections::VecDeque;

use pgbalancer::route::learn::Candidate;

use crate::simulation::dice::Dice;

/// What a policy remembers of a statement that runs.
#[derive(Clone, Copy)]
pub(super) struct Token {
    pub(super) node: usize,
    pub(super) begin: u64,
    /// In flight on the node before it.
    pub(super) before: usize,
    pub(super) ours: Option<pgbalancer::route::learn::Ticket>,
}

pub(super) trait Policy {
    fn choose(&mut self, candidates: &[Candidate], kind: Option<usize>, now: u64, dice: &mut Dice) -> usize;
    fn begin(&mut self, worker: usize, node: usize, kind: usize, now: u64) -> Token;
    fn end(&mut self, worker: usize, token: Token, is_ok: bool, now: u64);
    fn back(&mut self, _node: usize, _now: u64) {}
}

/// In 0..1.
pub(super) fn unit(dice: &mut Dice) -> f64 {
    (dice.next() >> 11) as f64 / (1_u64 << 53) as f64
}

/// In flight on each node: what all of them know.
pub(super) struct Flights(pub(super) Vec<usize>);

impl Flights {
    fn begin(&mut self, node: usize, now: u64) -> Token {
        self.0[node] += 1;
        Token { node, begin: now, before: self.0[node] - 1, ours: None }
    }

    fn end(&mut self, token: Token) {
        self.0[token.node] -= 1;
    }
}

macro_rules! flights {
    () => {
        fn begin(&mut self, _worker: usize, node: usize, _kind: usize, now: u64) -> Token {
            self.flights.begin(node, now)
        }
    };
}

/// pgpool-II's: by weight alone.
pub(super) struct WeightedRandom;

impl Policy for WeightedRandom {
    fn choose(&mut self, candidates: &[Candidate], _: Option<usize>, _: u64, dice: &mut Dice) -> usize {
        let mut left = unit(dice) * candidates.iter().map(|one| one.weight).sum::<f64>();
        let drawn = candidates.iter().find(|one| {
            left -= one.weight;
            left < 0.0
        });
        drawn.unwrap_or(&candidates[0]).node
    }

    fn begin(&mut self, _: usize, node: usize, _: usize, now: u64) -> Token {
        Token { node, begin: now, before: 0, ours: None }
    }

    fn end(&mut self, _: usize, _: Token, _: bool, _: u64) {}
}

/// By weight in turns (nginx's smooth way).
pub(super) struct RoundRobin(pub(super) Vec<f64>);

impl Policy for RoundRobin {
    fn choose(&mut self, candidates: &[Candidate], _: Option<usize>, _: u64, _: &mut Dice) -> usize {
        let total: f64 = candidates.iter().map(|one| one.weight).sum();
        candidates.iter().for_each(|one| self.0[one.node] += one.weight);
        let best = candidates.iter().max_by(|a, b| self.0[a.node].total_cmp(&self.0[b.node]));
        let node = best.map_or(0, |one| one.node);
        self.0[node] -= total;
        node
    }

    fn begin(&mut self, _: usize, node: usize, _: usize, now: u64) -> Token {
        Token { node, begin: now, before: 0, ours: None }
    }

    fn end(&mut self, _: usize, _: Token, _: bool, _: u64) {}
}

/// The least of a cost; ties are broken at random.
fn least(candidates: &[Candidate], dice: &mut Dice, cost: impl Fn(usize) -> f64) -> usize {
    let (mut best, mut ties) = ((f64::INFINITY, 0), 0);
    for one in candidates {
        let cost = cost(one.node);
        if cost < best.0 {
            (best, ties) = ((cost, one.node), 1);
        } else if cost == best.0 {
            ties += 1;
            if dice.below(ties) == 0 {
                best.1 = one.node;
            }
        }
    }
    best.1
}

/// The node with the fewest statements in flight, of all nodes.
pub(super) struct LeastInFlight {
    pub(super) flights: Flights,
}

impl Policy for LeastInFlight {
    fn choose(&mut self, candidates: &[Candidate], _: Option<usize>, _: u64, dice: &mut Dice) -> usize {
        least(candidates, dice, |node| self.flights.0[node] as f64)
    }

    flights!();

    fn end(&mut self, _: usize, token: Token, _: bool, _: u64) {
        self.flights.end(token);
    }
}

/// The better of two drawn at random, by Finagle's peak EWMA of latency times what is in flight.
pub(super) struct PeakEwma {
    pub(super) flights: Flights,
    /// Cost in microseconds and when it was computed.
    pub(super) costs: Vec<(f64, u64)>,
}

impl PeakEwma {
    /// Finagle's time constant.
    const DECAY: f64 = 10_000_000.0;
    /// Its cost of a node that has not answered yet.
    const PENALTY: f64 = 1e12;

    fn observe((cost, stamp): (f64, u64), rtt: f64, now: u64) -> (f64, u64) {
        let kept = (-(now.saturating_sub(stamp) as f64) / Self::DECAY).exp();
        (if rtt > cost { rtt } else { cost * kept + rtt * (1.0 - kept) }, now)
    }

    fn cost(&self, node: usize, now: u64) -> f64 {
        let (cost, pending) = (Self::observe(self.costs[node], 0.0, now).0, self.flights.0[node] as f64);
        if cost == 0.0 && pending > 0.0 { Self::PENALTY + pending } else { cost * (pending + 1.0) }
    }
}

impl Policy for PeakEwma {
    fn choose(&mut self, candidates: &[Candidate], _: Option<usize>, now: u64, dice: &mut Dice) -> usize {
        let first = dice.below(candidates.len() as u64) as usize;
        let second = (first + 1 + dice.below(candidates.len() as u64 - 1) as usize) % candidates.len();
        let pair = [candidates[first], candidates[second]];
        least(&pair, dice, |node| self.cost(node, now))
    }

    flights!();

    fn end(&mut self, _: usize, token: Token, _: bool, now: u64) {
        self.flights.end(token);
        let rtt = now.saturating_sub(token.begin) as f64;
        self.costs[token.node] = Self::observe(self.costs[token.node], rtt, now);
    }
}

/// Prequal's hot-cold rule (Wydrowski et al., NSDI 2024) on three fresh probes: nodes with more in flight than a quantile
/// of what was seen lately are hot; the fastest cold one, else the hot one with the least in flight.
pub(super) struct Prequal {
    pub(super) flights: Flights,
    /// What recent probes have found in flight, and how many found how much.
    seen: VecDeque<usize>,
    found: Vec<usize>,
    /// The last latencies of each node for what was in flight when they began.
    latencies: Vec<Vec<Vec<f64>>>,
}

impl Prequal {
    /// The paper's quantile, 2^-0.25.
    const QUANTILE: f64 = 0.84;
    const PROBES: usize = 3;
    const REMEMBERED: usize = 64;
    const SAMPLES: usize = 7;

    pub(super) fn new(nodes: usize) -> Prequal {
        let latencies = vec![vec![Vec::new(); Self::REMEMBERED]; nodes];
        let found = vec![0; Self::REMEMBERED];
        Prequal { flights: Flights(vec![0; nodes]), seen: VecDeque::new(), found, latencies }
    }

    /// The median of latencies that began with as many in flight, or nearly.
    fn latency(&self, node: usize) -> f64 {
        let at = self.flights.0[node].min(Self::REMEMBERED - 1);
        let buckets = &self.latencies[node];
        let near = |by: usize| [buckets.get(at + by), at.checked_sub(by).and_then(|at| buckets.get(at))];
        let mut known = (0..Self::REMEMBERED).flat_map(near).flatten();
        let Some(bucket) = known.find(|bucket| !bucket.is_empty()) else { return 0.0 };
        let mut sorted = [0.0; Self::SAMPLES];
        let sorted = &mut sorted[..bucket.len()];
        sorted.copy_from_slice(bucket);
        sorted.sort_unstable_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// Remembers what a probe has found.
    fn remember(&mut self, in_flight: usize) {
        let in_flight = in_flight.min(Self::REMEMBERED - 1);
        self.seen.push_back(in_flight);
        self.found[in_flight] += 1;
        if self.seen.len() > Self::REMEMBERED {
            self.found[self.seen.pop_front().unwrap_or(0)] -= 1;
        }
    }

    /// Above so many in flight a node is hot.
    fn limit(&self) -> usize {
        let mut left = (self.seen.len() as f64 * Self::QUANTILE).ceil() as usize;
        self.found
            .iter()
            .take_while(|found| {
                let is_below = **found < left;
                left = left.saturating_sub(**found);
                is_below
            })
            .count()
    }
}

impl Policy for Prequal {
    fn choose(&mut self, candidates: &[Candidate], _: Option<usize>, _: u64, dice: &mut Dice) -> usize {
        let mut probed = candidates.to_vec();
        while probed.len() > Self::PROBES {
            probed.swap_remove(dice.below(probed.len() as u64) as usize);
        }
        probed.iter().for_each(|one| self.remember(self.flights.0[one.node]));
        let limit = self.limit();
        let cold: Vec<Candidate> =
            probed.iter().copied().filter(|one| self.flights.0[one.node] <= limit).collect();
        match cold.is_empty() {
            true => least(&probed, dice, |node| self.flights.0[node] as f64),
            false => least(&cold, dice, |node| self.latency(node)),
        }
    }

    flights!();

    fn end(&mut self, _: usize, token: Token, _: bool, now: u64) {
        self.flights.end(token);
        let bucket = &mut self.latencies[token.node][token.before.min(Self::REMEMBERED - 1)];
        if bucket.len() == Self::SAMPLES {
            bucket.remove(0);
        }
        bucket.push(now.saturating_sub(token.begin) as f64);
    }
}
