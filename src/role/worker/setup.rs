//! What a worker is made of, from the configuration; and again after a reload.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{RESOLVER, SIGNALS, SUPERVISOR, TICK, TICKER, Worker};
use crate::auth::hba::{self, Hba};
use crate::auth::pool_passwd::{self, PoolPasswd};
use crate::auth::scram;
use crate::cluster::relcache::RelCache;
use crate::cluster::view::{ClusterView, NodeView};
use crate::config::{Config, IoMethod};
use crate::net::{Listener, Method, Names, Net, Resolver};
use crate::pool::{self, Pool, Site};
use crate::route::RouteConfig;
use crate::session::{Laggards, Random, Shared};
use crate::shm::{NodeStatus, Segment, WorkerRow};
use crate::sql;
use crate::supervisor::{self, ChildContext, ListenerKind};
use crate::sys;
use crate::sys::signals::Signals;
use crate::sys::ticker::Ticker;

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
        let (resolver, names) = (Resolver::new(waker.clone()), Names::new(waker));
        let shared = shared(&context);
        let pool = Pool::new(
            pool_settings(&context.config),
            Rc::clone(&shared.passwords),
            resolver,
            Box::new(|| scram::nonce(&mut sys::random::fill)),
        );
        let row =
            WorkerRow { pid: sys::process::own_id(), started_at: shared.unix_now, ..WorkerRow::default() };
        context.segment.set_worker(context.index, &row);
        sys::title::set("wait for connection request");
        let sessions = context.config.sessions_per_child.max(1) as usize;
        let now = shared.now;
        Ok(Worker {
            generation: context.segment.generation(),
            net,
            signals,
            ticker,
            sessions: (0..sessions).map(|_| None).collect(),
            free: (0..sessions as u32).rev().collect(),
            pool,
            names,
            last_tick: now,
            born: now,
            shared,
            cancels: Vec::new(),
            tickets: Vec::new(),
            last_ticket: 0,
            stopping: false,
            leaving: false,
            full_until: None,
            courtesy: None,
            last_seen: now,
            row,
            context,
        })
    }

    /// HUP: takes what may change. What is wrong is left as it was; the supervisor has said so in the log.
    pub(super) fn reload(&mut self) {
        self.context.reload();
        let (context, shared) = (&self.context, &mut self.shared);
        shared.config = Rc::new(context.config.clone());
        shared.routes = Rc::new(RouteConfig::from(&context.config));
        shared.passwords = Rc::new(read_passwords(context));
        shared.relations = relations(&context.config, context.segment);
        match read_hba(context) {
            Ok(rules) => shared.hba = rules,
            Err(e) => crate::say!(Warning, "the old rules of pool_hba.conf stay in force: {}", e),
        }
        self.pool.settings = pool_settings(&context.config);
        self.pool.passwords = Rc::clone(&shared.passwords);
        for session in self.sessions.iter_mut().flatten() {
            session.on_reload(&self.shared);
        }
        self.see_cluster();
    }
}

fn shared(context: &ChildContext) -> Shared {
    let config = &context.config;
    Shared {
        worker: context.index,
        config: Rc::new(config.clone()),
        routes: Rc::new(RouteConfig::from(config)),
        segment: context.segment,
        view: view(&context.segment, config),
        facts: sql::Cache::new(FACTS),
        relations: relations(config, context.segment),
        laggards: Laggards::default(),
        passwords: Rc::new(read_passwords(context)),
        // Without its rules nobody is let in: `check` of no rules refuses.
        hba: read_hba(context).unwrap_or_else(|e| {
            crate::say!(Error, "no client is let in: {}", e);
            Some(Hba::default())
        }),
        now: Instant::now(),
        unix_now: sys::clock::unix_seconds(),
        random: Random::new(seed()),
        errands: Vec::new(),
        out: Vec::new(),
    }
}

/// `auto` looks again here: a limit may bind this process that did not bind the supervisor at its start.
fn open_net(context: &mut ChildContext) -> io::Result<Net> {
    let listeners = std::mem::take(&mut context.listeners).into_iter().map(listener).collect();
    let method = match context.config.io_wanted() {
        IoMethod::IoUring => Method::IoUring,
        IoMethod::Epoll => Method::Epoll,
        IoMethod::Auto => Method::Auto,
    };
    Net::new(method, listeners)
}

fn listener(listener: supervisor::Listener) -> Listener {
    match listener.kind {
        ListenerKind::Tcp(_) => Listener::tcp(listener.fd),
        ListenerKind::Unix(_) => Listener::unix(listener.fd),
    }
}

/// The state of the nodes as routing sees it.
pub(super) fn view(segment: &Segment, config: &Config) -> ClusterView {
    let primary = segment.primary();
    let nodes: Vec<NodeView> = config
        .backends()
        .into_iter()
        .map(|backend| {
            let row = segment.node(backend.id);
            NodeView {
                id: backend.id,
                usable: matches!(row.status, NodeStatus::Waiting | NodeStatus::Up),
                weight: backend.weight,
                is_primary: primary == Some(backend.id),
                lag_bytes: row.probe.lag_bytes,
                lag_micros: row.probe.lag_micros,
            }
        })
        .collect();
    let usable = |id: &usize| nodes.iter().any(|node| node.id == *id && node.usable);
    let main = nodes.iter().find(|node| node.usable).map(|node| node.id);
    ClusterView { primary: primary.filter(usable), main, nodes }
}

fn pool_settings(config: &Config) -> pool::Settings {
    let sites = config.backends().into_iter().map(|backend| Site {
        node: backend.id,
        host: backend.hostname,
        port: backend.port,
        connect_timeout: connect_timeout(*config.connect_timeout.get(backend.id)),
    });
    pool::Settings {
        sites: sites.collect(),
        connection_cache: config.connection_cache,
        limit: (config.max_pool.max(1) * config.sessions_per_child.max(1)) as usize,
        reset_queries: config.reset_query_list.clone(),
        log_per_node_statement: config.log_per_node_statement,
    }
}

/// Zero means for ever, as in pgpool-II; a day is long enough for that.
fn connect_timeout(milliseconds: i64) -> Duration {
    match u64::try_from(milliseconds) {
        Ok(0) | Err(_) => Duration::from_secs(86_400),
        Ok(milliseconds) => Duration::from_millis(milliseconds),
    }
}

fn relations(config: &Config, segment: Segment) -> RelCache {
    let expire = Duration::from_secs(u64::try_from(config.relcache_expire).unwrap_or(0));
    RelCache::new(config.relcache_size.max(1) as usize, expire, segment, config.enable_shared_relcache)
}

/// A missing file means that no user has a password here.
fn read_passwords(context: &ChildContext) -> PoolPasswd {
    let Some(path) = &context.files.pool_passwd else { return PoolPasswd::default() };
    match pool_passwd::load(path) {
        Ok((passwords, notes)) => {
            for note in notes {
                crate::say!(Warning, "{}", note);
            }
            passwords
        }
        Err(e) => {
            crate::say!(Debug1, "no passwords are read from {}: {}", path.display(), e);
            PoolPasswd::default()
        }
    }
}

fn read_hba(context: &ChildContext) -> Result<Option<Hba>, String> {
    if !context.config.enable_pool_hba {
        return Ok(None);
    }
    let path = &context.files.hba;
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let beside = |name: &str| path.parent().unwrap_or(Path::new("")).join(name);
    let mut include = |name: &str| std::fs::read_to_string(beside(name));
    hba::parse(&text, &path.to_string_lossy(), &mut include).map(Some).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("; ")
    })
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    sys::random::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
