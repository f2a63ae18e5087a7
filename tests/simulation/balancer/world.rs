//! A run: events in the order of their time. Who arrives when, and how long it would take, comes from the seed alone and
//! is the same for all policies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pgbalancer::route::learn::Candidate;

use super::node::{Arrival, Node};
use super::policy::{Policy, Token, unit};
use super::scenario::{Change, Clients, SECOND, Scenario, THINK};
use crate::simulation::dice::Dice;

/// Workers, each of which takes statements in turn.
pub(super) const WORKERS: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Change(usize),
    /// A statement or session arrives from outside.
    Arrive,
    /// The next statement of a session or client.
    Next(usize),
    /// A statement leaves its slot.
    Done(usize),
    /// It has failed without one.
    Failed(usize),
    /// A statement of a node whose processors are shared ends, if nothing came between.
    Shared(usize, u64),
}

struct Statement {
    kind: usize,
    worker: usize,
    token: Token,
    begin: u64,
    session: Option<usize>,
}

struct Session {
    /// Fixed for the session.
    node: Option<usize>,
    left: u32,
    worker: usize,
    /// Its own chance, so that what it does hangs from nobody else.
    dice: Dice,
}

/// What a run has shown.
#[derive(Default)]
pub(super) struct Seen {
    /// Latencies of each kind that succeeded, in microseconds.
    pub(super) latencies: Vec<Vec<u64>>,
    pub(super) failed: u64,
    /// Statements sent to each node in each second.
    pub(super) sent: Vec<Vec<u32>>,
    /// Latencies of all kinds that began in each second.
    pub(super) by_second: Vec<Vec<u64>>,
}

pub(super) struct World<'a> {
    scenario: &'a Scenario,
    policies: Vec<Box<dyn Policy>>,
    nodes: Vec<Node>,
    is_away: Vec<bool>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
    now: u64,
    statements: Vec<Option<Statement>>,
    free: Vec<usize>,
    sessions: Vec<Session>,
    arrivals: Dice,
    choices: Dice,
    turn: usize,
    seen: Seen,
}

impl<'a> World<'a> {
    pub(super) fn new(scenario: &'a Scenario, seed: u64, make: &dyn Fn() -> Box<dyn Policy>) -> World<'a> {
        let mut dice = Dice::new(seed);
        let policies = (0..if scenario.own_models { WORKERS } else { 1 }).map(|_| make()).collect();
        let seconds = scenario.until.div_ceil(SECOND) as usize + 1;
        let nodes = scenario.slowness.len();
        World {
            scenario,
            policies,
            nodes: scenario
                .slowness
                .iter()
                .map(|slow| Node::new(scenario.slots, *slow, scenario.is_shared))
                .collect(),
            is_away: vec![false; nodes],
            events: BinaryHeap::new(),
            number: 0,
            now: 0,
            statements: Vec::new(),
            free: Vec::new(),
            sessions: Vec::new(),
            arrivals: dice.split(),
            choices: dice.split(),
            turn: 0,
            seen: Seen {
                latencies: vec![Vec::new(); scenario.kinds.len()],
                failed: 0,
                sent: vec![vec![0; seconds]; nodes],
                by_second: vec![Vec::new(); seconds],
            },
        }
    }

    /// Until the end; those that began before it are waited for.
    pub(super) fn run(mut self) -> Seen {
        for (number, (at, ..)) in self.scenario.changes.iter().enumerate() {
            self.at(*at, Event::Change(number));
        }
        match self.scenario.clients {
            Clients::Closed(clients) => (0..clients).for_each(|_| {
                let session = self.session(u32::MAX);
                let begin = exponential(&mut self.arrivals, THINK as f64);
                self.at(begin, Event::Next(session));
            }),
            _ => self.at(0, Event::Arrive),
        }
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            self.happen(event);
        }
        self.seen
    }

    fn at(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((at, self.number, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Change(number) => {
                let (_, node, change) = self.scenario.changes[number];
                self.nodes[node].change(change, self.now);
                self.await_end(node);
                match change {
                    Change::Away => self.is_away[node] = true,
                    Change::Back | Change::Caught => self.is_away[node] = false,
                    _ => {}
                }
                if change == Change::Back {
                    let now = self.now;
                    self.policies.iter_mut().for_each(|policy| policy.back(node, now));
                }
            }
            Event::Arrive => self.arrive(),
            Event::Next(session) => self.next_of(session),
            Event::Done(number) => {
                let node = self.statements[number].as_ref().map(|statement| statement.token.node);
                let node = node.expect("it runs");
                if let Some((next, time)) = self.nodes[node].leave() {
                    self.at(self.now + time, Event::Done(next));
                }
                self.end(number, true);
            }
            Event::Failed(number) => self.end(number, false),
            Event::Shared(node, version) => {
                if let Some(number) = self.nodes[node].end_of(version, self.now) {
                    self.end(number, true);
                    self.await_end(node);
                }
            }
        }
    }

    /// A statement or session arrives, and it is known when the next one will.
    fn arrive(&mut self) {
        if self.now >= self.scenario.until {
            return;
        }
        let each: f64 = self.scenario.kinds.iter().map(|kind| kind.mean as f64 * kind.part).sum();
        let slots = (self.scenario.slots * self.nodes.len()) as f64;
        let mut gap = each / (slots * self.scenario.load);
        if let Clients::Sessions(statements) = self.scenario.clients {
            gap *= f64::from(statements);
            let session = self.session(statements);
            self.next_of(session);
        } else {
            let mut dice = self.arrivals.split();
            let worker = self.next_worker();
            self.send(worker, None, &mut dice);
        }
        let gap = exponential(&mut self.arrivals, gap);
        self.at(self.now + gap, Event::Arrive);
    }

    fn next_worker(&mut self) -> usize {
        self.turn += 1;
        self.turn % WORKERS
    }

    fn session(&mut self, statements: u32) -> usize {
        let (dice, worker) = (self.arrivals.split(), self.next_worker());
        self.sessions.push(Session { node: None, left: statements, worker, dice });
        self.sessions.len() - 1
    }

    fn next_of(&mut self, number: usize) {
        let session = &mut self.sessions[number];
        if session.left == 0 || self.now >= self.scenario.until {
            return;
        }
        session.left -= 1;
        let worker = session.worker;
        let mut dice = session.dice.split();
        if matches!(self.scenario.clients, Clients::Sessions(_)) && self.sessions[number].node.is_none() {
            self.sessions[number].node = Some(self.choose(worker, None));
        }
        self.send(worker, Some(number), &mut dice);
    }

    fn policy(&mut self, worker: usize) -> &mut dyn Policy {
        let number = worker % self.policies.len();
        &mut *self.policies[number]
    }

    fn choose(&mut self, worker: usize, kind: Option<usize>) -> usize {
        let weights = self.scenario.weights.iter().enumerate();
        let may = weights.filter(|(node, _)| !self.is_away[*node]);
        let candidates: Vec<Candidate> =
            may.map(|(node, weight)| Candidate { node, weight: *weight }).collect();
        let (now, mut dice) = (self.now, self.choices.split());
        self.policy(worker).choose(&candidates, kind, now, &mut dice)
    }

    /// Sends a statement to the node of its session, or to the one that is chosen.
    fn send(&mut self, worker: usize, session: Option<usize>, dice: &mut Dice) {
        let (mut left, kinds) = (unit(dice), &self.scenario.kinds);
        let kind = kinds.iter().position(|kind| {
            left -= kind.part;
            left < 0.0
        });
        let kind = kind.unwrap_or(0);
        let time = exponential(dice, kinds[kind].mean as f64);
        let fixed = session.and_then(|session| self.sessions[session].node);
        let node = fixed.unwrap_or_else(|| self.choose(worker, Some(kind)));
        let now = self.now;
        let token = self.policy(worker).begin(worker, node, kind, now);
        let statement = Statement { kind, worker, token, begin: now, session };
        let number = self.free.pop().unwrap_or(self.statements.len());
        if number == self.statements.len() {
            self.statements.push(None);
        }
        self.statements[number] = Some(statement);
        if let Some(count) = self.seen.sent[node].get_mut((now / SECOND) as usize) {
            *count += 1;
        }
        match self.nodes[node].arrive(number, time, now) {
            Arrival::Runs(time) => self.at(now + time, Event::Done(number)),
            Arrival::Fails(time) => self.at(now + time, Event::Failed(number)),
            Arrival::Waits => self.await_end(node),
        }
    }

    fn await_end(&mut self, node: usize) {
        if let Some((at, version)) = self.nodes[node].next_end() {
            self.at(at, Event::Shared(node, version));
        }
    }

    fn end(&mut self, number: usize, is_ok: bool) {
        let Some(statement) = self.statements[number].take() else { return };
        self.free.push(number);
        let now = self.now;
        self.policy(statement.worker).end(statement.worker, statement.token, is_ok, now);
        if statement.begin >= self.scenario.from {
            let latency = now - statement.begin;
            if is_ok {
                self.seen.latencies[statement.kind].push(latency);
                self.seen.by_second[(statement.begin / SECOND) as usize].push(latency);
            } else {
                self.seen.failed += 1;
            }
        }
        if let Some(session) = statement.session {
            let think = exponential(&mut self.sessions[session].dice, THINK as f64);
            self.at(now + think, Event::Next(session));
        }
    }
}

/// Exponential with that mean, at least 1.
fn exponential(dice: &mut Dice, mean: f64) -> u64 {
    ((-(1.0 - unit(dice)).ln() * mean) as u64).max(1)
}
