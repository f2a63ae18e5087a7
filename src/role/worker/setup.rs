//! What a worker is made of, from the configuration; and again after a reload.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::users::Askers;
use super::{RESOLVER, SIGNALS, SUPERVISOR, TICK, TICKER, Worker};
use crate::auth::hba::{self, Hba};
use crate::auth::outside::Outside;
use crate::auth::pool_passwd::{self, PoolPasswd};
use crate::auth::scram;
use crate::cluster::relcache::RelCache;
use crate::cluster::users::Users;
use crate::cluster::view::ClusterView;
use crate::config::{Config, IoMethod};
use crate::error::NodeId;
use crate::log::{Level, Line};
use crate::net::{Method, Names, Net, Resolver};
use crate::pool::{self, Connectors, Pool};
use crate::role::commands::Commands;
use crate::route::RouteConfig;
use crate::session::{Laggards, Random, Sessions, Shared};
use crate::shm::{Segment, WorkerRow};
use crate::sql;
use crate::supervisor::ChildContext;
use crate::sys;
use crate::sys::signals::Signals;
use crate::sys::ticker::Ticker;
use crate::tls::{Acceptor, Connector, TlsError};

/// Statement texts whose facts are kept, and their bytes.
const FACTS: usize = 4096;

impl Worker {
    pub(super) fn new(mut context: ChildContext) -> io::Result<Worker> {
        let signals = Signals::new()?;
        let mut net = open_net(&mut context)?;
        net.watch(signals.as_raw_fd(), SIGNALS)?;
        net.watch(context.supervisor.as_raw_fd(), SUPERVISOR)?;
        let ticker = Ticker::new(TICK)?;
        net.watch(ticker.as_raw_fd(), TICKER)?;
        let waker = net.waker(RESOLVER)?;
        let (resolver, names) = (Resolver::new(waker.clone()), Names::new(waker.clone()));
        let askers = Askers::new(waker.clone());
        let shared = shared(&context);
        let mut pool = Pool::new(
            pool::Settings::configured(&context.config),
            Rc::clone(&shared.passwords),
            resolver,
            Box::new(|| scram::nonce(&mut sys::random::fill)),
        );
        pool.unix_now = shared.unix_now;
        pool.connectors = shareable(&context.gate.secure.servers);
        let row =
            WorkerRow { pid: sys::process::own_id(), started_at: shared.unix_now, ..WorkerRow::default() };
        context.segment.set_worker(context.index, &row);
        sys::title::set("wait for connection request");
        let places = context.config.sessions_per_child.max(1) as usize;
        let now = shared.now;
        Ok(Worker {
            net,
            signals,
            ticker,
            sessions: Sessions::new(places, pool, shared),
            names,
            askers,
            outside: Outside::new(waker),
            last_tick: now,
            born: now,
            refusals: super::Refusals::default(),
            commands: Commands::new(&context.config),
            cancels: Vec::new(),
            tickets: Vec::new(),
            last_ticket: 0,
            stopping: false,
            leaving: false,
            full_until: None,
            courtesy: None,
            last_seen: now,
            doubted: None,
            row,
            context,
        })
    }

    /// HUP: takes what may change. What is wrong is left as it was; the supervisor has said so in the log.
    pub(super) fn reload(&mut self) {
        self.context.reload();
        self.commands.reload(&self.context.config);
        let (context, shared) = (&self.context, &mut self.sessions.shared);
        shared.config = Rc::new(context.config.clone());
        shared.routes = Rc::new(RouteConfig::from(&context.config));
        shared.passwords = Rc::new(read_passwords(context));
        shared.users.forget();
        shared.relations = relations(&context.config, context.segment);
        match read_hba(context) {
            Ok(rules) => shared.hba = rules,
            Err(e) => crate::say!(Debug1, "the old rules of pool_hba.conf stay in force: {}", e),
        }
        let tls = read_acceptor(context).and_then(|acceptor| Ok((acceptor, read_connectors(context)?)));
        match tls {
            Ok((acceptor, connectors)) => {
                shared.tls = acceptor;
                self.sessions.pool.connectors = connectors;
            }
            Err(e) => crate::say!(Debug1, "the old certificates stay in force: {}", e),
        }
        self.sessions.pool.settings = pool::Settings::configured(&context.config);
        self.sessions.pool.passwords = Rc::clone(&self.sessions.shared.passwords);
        self.sessions.on_reload(&mut self.net);
    }
}

fn shared(context: &ChildContext) -> Shared {
    let (config, now) = (&context.config, Instant::now());
    Shared {
        worker: context.index,
        config: Rc::new(config.clone()),
        routes: Rc::new(RouteConfig::from(config)),
        segment: context.segment,
        view: ClusterView::of(&context.segment, config),
        facts: sql::Cache::new(FACTS),
        relations: relations(config, context.segment),
        laggards: Laggards::default(),
        passwords: Rc::new(read_passwords(context)),
        users: Users::default(),
        // Where they were never right nobody is let in: `check` of no rules refuses.
        hba: config.enable_pool_hba.then(|| context.gate.rules.clone().unwrap_or_default()),
        tls: context.gate.secure.clients.clone().map(Rc::new),
        now,
        clock: (now, sys::clock::monotonic_micros()),
        unix_now: sys::clock::unix_seconds(),
        random: Random::new(seed()),
        errands: Vec::new(),
        out: Vec::new(),
        candidates: Vec::new(),
    }
}

/// Looks again whether io_uring is allowed: a limit may bind this process that did not bind the supervisor at its start.
fn open_net(context: &mut ChildContext) -> io::Result<Net> {
    let listeners = std::mem::take(&mut context.listeners).into_iter().map(Into::into).collect();
    let wanted = context.config.io_wanted();
    let method = if wanted == IoMethod::Epoll { Method::Epoll } else { Method::IoUring };
    // A client and a backend or two each, and what else the process watches.
    let sockets = usize::try_from(context.config.sessions_per_child).unwrap_or(1).saturating_mul(3);
    Net::new(method, sockets, listeners, |error| {
        let level = if wanted == IoMethod::Auto { Level::Debug1 } else { Level::Warning };
        let line = Line::new(level, format!("io_uring: {error}; this process waits with epoll"));
        line.hint("Rings count as locked memory: raise the limit (ulimit -l, LimitMEMLOCK).").emit();
    })
}

fn relations(config: &Config, segment: Segment) -> RelCache {
    let expire = Duration::from_secs(u64::try_from(config.relcache_expire).unwrap_or(0));
    RelCache::new(config.relcache_size.max(1) as usize, expire, segment, config.enable_shared_relcache)
}

fn read_passwords(context: &ChildContext) -> PoolPasswd {
    let files = &context.files;
    let (passwords, notes) = pool_passwd::load(files.pool_passwd.as_deref(), &files.key);
    for note in notes {
        crate::say!(Warning, "{}", note);
    }
    passwords
}

fn read_acceptor(context: &ChildContext) -> Result<Option<Rc<Acceptor>>, TlsError> {
    Ok(context.config.acceptor(&context.ticket_keys)?.map(Rc::new))
}

fn read_connectors(context: &ChildContext) -> Result<Connectors, TlsError> {
    Ok(shareable(&context.config.connectors()?))
}

fn shareable(connectors: &[(NodeId, Connector)]) -> Connectors {
    connectors.iter().map(|(node, connector)| (*node, Rc::new(connector.clone()))).collect()
}

fn read_hba(context: &ChildContext) -> Result<Option<Hba>, String> {
    context.config.enable_pool_hba.then(|| hba::load(&context.files.hba)).transpose()
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    sys::random::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
