//! A run: one event after the other until it is over or a rule is broken.

mod clients;
mod judge;
mod nodes;
mod troubles;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pgbalancer::cluster::failover::Request;
use pgbalancer::config::Config;
use pgbalancer::shm::{NodeStatus, Segment};

use super::client::Client;
use super::cluster::Cluster;
use super::dice::Dice;
use super::event::Event;
use super::ledger::Ledger;
use super::network::{Arrival, End, Network};
use super::sabotage::Sabotage;
use super::scenario::{Moment, Scenario};
use super::schedule::{Micros, SECOND};
use super::supervisor::Supervisor;
use super::trace::Trace;
use super::worker::{Worker, configuration};

/// Longest that anybody may wait: a script, the detection of a node that hangs, and the wait for a primary.
const LONGEST: Micros = 60 * SECOND;

/// After the end of all troubles: until then everything must be well again, and then nothing may fail.
const RECOVERY: Micros = 40 * SECOND;

/// A run.
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) config: Rc<Config>,
    pub(super) segment: Segment,
    pub(super) network: Network,
    pub(super) cluster: Cluster,
    pub(super) supervisor: Supervisor,
    pub(super) dice: Dice,
    pub(super) trace: Trace,
    pub(super) sabotage: Option<Sabotage>,
    pub(super) deliveries: u64,
    clients: Vec<Client>,
    workers: Vec<Worker>,
    ledger: Ledger,
    base: Instant,
    /// Standbys that are about to stream.
    streams: Vec<bool>,
    wrong: Option<String>,
    /// When connections to nodes were lost.
    pub(super) losses: Vec<Micros>,
    /// What has happened, and how often.
    seen: Seen,
    /// Clients that have passed the last examination.
    passed: Vec<u8>,
}

/// What has happened, and how often.
pub(super) type Seen = BTreeMap<&'static str, u64>;

/// What a run has shown.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) wrong: Option<String>,
    pub(super) succeeded: u64,
    pub(super) events: u64,
    pub(super) hash: u64,
    pub(super) seen: Seen,
}

impl World {
    pub(super) fn new(seed: u64, segment: Segment, sabotage: Option<Sabotage>, is_traced: bool) -> World {
        let mut dice = Dice::new(seed);
        let scenario = Scenario::draw(&mut dice);
        segment.renew();
        let config = Rc::new(configuration(&scenario.configuration));
        let mut network = Network::new(dice.split());
        (network.latency, network.cuts) = (scenario.latency, scenario.cuts);
        let base = Instant::now();
        let mut cluster = Cluster::new(scenario.nodes, scenario.is_synchronous, dice.split());
        if sabotage == Some(Sabotage::EarlyCommit) {
            cluster.commit_early();
        }
        for node in 0..scenario.nodes {
            segment.set_status(node, NodeStatus::Up, "", 0);
        }
        let client = |number| Client::new(number, dice.split(), &scenario);
        let clients: Vec<Client> = (0..scenario.clients).map(client).collect();
        let room = scenario.clients * 2;
        let worker = |number| Worker::new(number, dice.next(), &config, segment, room, base);
        let workers: Vec<Worker> = (0..scenario.workers).map(worker).collect();
        World {
            clients,
            workers,
            streams: vec![false; scenario.nodes],
            passed: vec![0; scenario.clients],
            supervisor: Supervisor::new(&config, dice.split()),
            trace: Trace::new(is_traced),
            sabotage,
            ledger: Ledger::new(scenario.must_see),
            deliveries: 0,
            wrong: None,
            losses: Vec::new(),
            seen: Seen::new(),
            scenario,
            config,
            segment,
            network,
            cluster,
            dice,
            base,
        }
    }

    /// Runs to the end.
    pub(super) fn run(mut self) -> Outcome {
        self.trace.note(0, || format!("{:#?}", self.scenario));
        self.begin();
        let mut events = 0;
        while self.wrong.is_none()
            && let Some(event) = self.network.schedule.next()
        {
            if self.is_over() {
                break;
            }
            events += 1;
            self.ledger.now = self.now();
            self.ledger.primary_since = self.segment.primary().map(|_| self.supervisor.primary_since);
            self.handle(event);
        }
        if self.wrong.is_none() {
            self.audit();
        }
        let succeeded = self.clients.iter().map(|client| client.succeeded).sum();
        Outcome { wrong: self.wrong, succeeded, events, hash: self.trace.hash(), seen: self.seen }
    }

    fn begin(&mut self) {
        self.ask(Request::Primary { node: Some(0) });
        self.plan_check(1);
        for node in 0..self.scenario.nodes {
            self.network.schedule.after(1, Event::Health(node));
        }
        for client in 0..self.clients.len() {
            let delay = self.dice.below(self.scenario.pause + 1);
            self.network.schedule.after(delay, Event::Client(client));
        }
        for worker in 0..self.workers.len() {
            self.network.schedule.after(SECOND, Event::Tick(worker));
        }
        for fault in 0..self.scenario.faults.len() {
            if let Moment::At(at) = self.scenario.faults[fault].moment {
                self.network.schedule.after(at, Event::Trouble(fault));
            }
        }
        self.network.schedule.after(SECOND / 2, Event::Supervise);
        self.network.schedule.after(SECOND, Event::Watch);
    }

    pub(super) fn now(&self) -> Micros {
        self.network.schedule.now
    }

    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.now())
    }

    fn is_over(&self) -> bool {
        self.now() > self.end_of_recovery() + LONGEST || self.passed.iter().all(|passed| *passed >= 2)
    }

    /// Whether nothing goes wrong any more.
    pub(super) fn is_calm(&self) -> bool {
        self.now() >= self.scenario.calm_at
    }

    fn end_of_recovery(&self) -> Micros {
        self.scenario.calm_at + RECOVERY
    }

    /// Something has happened that a test run shall have seen.
    pub(super) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// A rule is broken: the run is over.
    pub(super) fn fail(&mut self, text: String) {
        self.trace.note(self.network.schedule.now, || format!("WRONG: {text}"));
        self.wrong.get_or_insert(text);
    }

    fn judge(&mut self, client: usize, verdict: Result<(), String>) {
        if let Err(text) = verdict {
            self.fail(format!("client {client}: {text}"));
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connect(connection) => self.connect(connection),
            Event::Connected(connection) => self.arrive(connection, End::Worker, Arrival::Connected),
            Event::Deliver(connection, to) => self.deliver(connection, to),
            Event::Work(connection) => self.work(connection),
            Event::Stream(node) => self.stream(node),
            Event::Replay(node, up_to) => self.cluster.replay(node, up_to),
            Event::GiveUp(node) => {
                self.cluster.give_up(node);
                self.wake(self.cluster.leader);
            }
            Event::Rejoin(node) => self.rejoin(node),
            Event::Tick(worker) => {
                let now = self.instant();
                let errands = self.workers[worker].tick(&mut self.network, now);
                self.errands(errands);
                self.network.schedule.after(SECOND, Event::Tick(worker));
            }
            Event::Client(client) => self.go_on(client),
            Event::Trouble(fault) => self.trouble(fault),
            Event::Heal(fault) => self.heal(fault),
            Event::Supervise => self.supervise(),
            Event::Due => self.due(),
            Event::Glance => self.watch_planned(),
            Event::Failed(node, is_shutdown) => self.failed(node, is_shutdown),
            Event::Told => self.tell_workers(),
            Event::ScriptActs(id) => self.script_acts(id),
            Event::ScriptEnds(id, killed) => self.script_ends(id, killed),
            Event::ByHand => self.by_hand(),
            Event::Restart(node) => self.restart(node),
            Event::Check(turn) => self.check_turn(turn),
            Event::Answers(node) => self.answers(node),
            Event::Health(node) => self.check_health(node),
            Event::HealthAnswers(node, since) => self.health_answers(node, since),
            Event::Watch => self.watch(),
        }
    }

    /// Something has changed that the workers should look at.
    fn tell_workers(&mut self) {
        for worker in 0..self.workers.len() {
            let now = self.instant();
            let errands = self.workers[worker].wake(&mut self.network, now);
            self.errands(errands);
        }
    }
}
