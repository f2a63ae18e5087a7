//! A worker process without sockets and signals: the real sessions and their pool, over the simulated network.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pgbalancer::cluster::relcache::RelCache;
use pgbalancer::cluster::view::ClusterView;
use pgbalancer::config::{self, Config};
use pgbalancer::net::{ConnId, Owner, Peer, Resolver, Waker};
use pgbalancer::pool::{Backend, Phase, Pool, Settings};
use pgbalancer::route::RouteConfig;
use pgbalancer::session::{Errand, Laggards, Random, Session, Sessions, Shared};
use pgbalancer::shm::Segment;
use pgbalancer::sql;

use super::network::{Arrival, Network, Sockets};

/// The configuration of a run.
pub(super) fn configuration(text: &str) -> Config {
    let missing = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    match config::parse_text(text, Path::new("simulation.conf"), &missing) {
        Ok(loaded) => loaded.config,
        Err(_) => panic!("the configuration is wrong: {text}"),
    }
}

/// A worker.
pub(super) struct Worker {
    number: usize,
    sessions: Sessions,
}

impl Worker {
    pub(super) fn new(
        number: usize,
        seed: u64,
        config: &Rc<Config>,
        segment: Segment,
        places: usize,
        now: Instant,
    ) -> Worker {
        let shared = Shared {
            worker: number,
            routes: Rc::new(RouteConfig::from(&**config)),
            segment,
            view: ClusterView::of(&segment, config),
            facts: sql::Cache::new(256),
            laggards: Laggards::default(),
            relations: RelCache::new(64, Duration::ZERO, segment, true),
            passwords: Rc::default(),
            users: Default::default(),
            hba: None,
            tls: None,
            now,
            clock: (now, 0),
            unix_now: 0,
            random: Random::new(seed),
            errands: Vec::new(),
            out: Vec::new(),
            candidates: Vec::new(),
            config: Rc::clone(config),
        };
        let resolver = Resolver::new(Waker::new().expect("a waker"));
        let nonce = Box::new(|| "nonce".to_owned());
        let pool = Pool::new(Settings::configured(config), Rc::default(), resolver, nonce);
        Worker { number, sessions: Sessions::new(places, pool, shared) }
    }

    /// How many sessions there are.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// Connections to nodes that belong to sessions which are no more.
    pub(super) fn orphans(&self) -> usize {
        let is_gone = |slot: u32| self.sessions.owner(Owner::Client(slot)).is_none();
        let is_leased = |backend: &Backend| matches!(backend.phase, Phase::Leased);
        let slots = self.sessions.pool.slots();
        slots.filter(|(_, backend)| is_leased(backend) && backend.session.is_none_or(is_gone)).count()
    }

    /// A place for a client, if there is one.
    pub(super) fn take_place(&mut self) -> Option<u32> {
        self.sessions.take_place()
    }

    /// A client has come.
    pub(super) fn welcome(&mut self, slot: u32, client: ConnId, now: Instant) {
        let deadline = now + Duration::from_secs(60);
        self.sessions.add(Session::new(slot, client, Peer::Local, now, Some(deadline)));
    }

    /// Something has happened to a connection.
    pub(super) fn on_arrival(
        &mut self,
        network: &mut Network,
        now: Instant,
        (id, owner): (ConnId, Owner),
        arrival: Arrival,
    ) -> Vec<Errand> {
        let wire = &mut Sockets { network, worker: self.number };
        self.sessions.look_around(wire, now);
        match (arrival, owner) {
            (Arrival::Connected, Owner::Backend(slot)) => self.sessions.connected(wire, id, slot),
            (Arrival::Connected, _) => {}
            (Arrival::Bytes(bytes), _) => self.sessions.received(wire, id, owner, &bytes),
            (Arrival::Drained, _) => self.sessions.drained(wire, id, owner),
            (Arrival::Closed(reason), _) => self.sessions.closed(wire, id, owner, &reason),
        }
        self.settle(network)
    }

    /// The supervisor has something changed.
    pub(super) fn wake(&mut self, network: &mut Network, now: Instant) -> Vec<Errand> {
        self.sessions.look_around(&mut Sockets { network, worker: self.number }, now);
        self.settle(network)
    }

    /// Once a second.
    pub(super) fn tick(&mut self, network: &mut Network, now: Instant) -> Vec<Errand> {
        let wire = &mut Sockets { network, worker: self.number };
        self.sessions.look_around(wire, now);
        self.sessions.tick(wire, now);
        self.settle(network)
    }

    /// The end of a turn.
    fn settle(&mut self, network: &mut Network) -> Vec<Errand> {
        let errands = self.sessions.settle(&mut Sockets { network, worker: self.number });
        self.sessions.ended();
        self.sessions.tell_quiet();
        errands
    }
}
