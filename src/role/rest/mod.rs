//! The process of the REST API: one thread, one event loop for all clients.
//!
//! A thin shell: requests are understood and answers written in `face::rest`, what is wanted is reported or judged by
//! `admin` and done by the supervisor. HTTP is hyper's, on a runtime of tokio that is made after the fork and lives in this
//! process only. Passwords are checked in threads of it, since that takes long on purpose.
#![forbid(unsafe_code)]

mod commands;
mod connection;
mod events;
mod login;
mod meter;
mod patient;
mod reply;
mod seats;
mod serve;
mod wordless;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, LocalSet};

use super::FAILED;
use super::commands::Commands;
use super::recovering::Recovering;
use super::statistics::statements;
use super::users_file::UsersFile;
use crate::auth::pcp_conf::{self, PcpConf};
use crate::auth::token::Tokens;
use crate::config::{Config, LEAST_TOKEN_SECRET};
use crate::face::rest::{Attempts, Host, Policy, document};
use crate::shm::RecoveryBy;
use crate::supervisor::{ChildContext, Incoming, TokenSeed};
use crate::sys::limits::keep_freed_memory;
use crate::sys::signals::{Signal, Signals};
use crate::sys::watched::watch;
use crate::sys::{host, process};
use crate::tls::{Acceptor, TlsError};
use commands::Asker;
use login::AuthFile;
use meter::Meter;
use seats::Seats;

/// Freed memory that is kept for the next answers, in bytes: a long list is some hundred kilobytes.
const KEPT_MEMORY: u32 = 2 << 20;

/// How often time limits are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How long answers that are under way keep the process from ending, when it has to end at once.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Passwords that are checked at the same time.
const CHECKERS: usize = 2;

/// Long bodies that are read at the same time.
const LONG_BODIES: usize = 16;

/// Serves clients of the REST API until it is told to end or the supervisor is gone.
pub fn run(context: ChildContext) -> ! {
    let code = match live(context) {
        Ok(()) => 0,
        Err(error) => {
            crate::say!(Error, "REST API process: {error}");
            FAILED
        }
    };
    process::exit_now(code)
}

fn live(context: ChildContext) -> io::Result<()> {
    keep_freed_memory(KEPT_MEMORY);
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().enable_time().max_blocking_threads(CHECKERS).build()?;
    LocalSet::new().block_on(&runtime, async {
        let signals = Signals::new()?;
        let mut context = context;
        let listeners = std::mem::take(&mut context.listeners);
        let server = Rc::new(Server::new(context)?);
        let doors = connection::open(&server, listeners)?;
        crate::say!(Log, "REST API process: {} started", process::own_id());
        server.run(&signals, doors).await
    })
}

/// What all connections share.
struct Server {
    context: RefCell<ChildContext>,
    policy: RefCell<Rc<Policy>>,
    /// What clients at the port speak through, if anything.
    acceptor: RefCell<Option<Rc<Acceptor>>>,
    tokens: RefCell<Rc<Tokens>>,
    pcp_users: RefCell<UsersFile<PcpConf>>,
    auth_file: RefCell<AuthFile>,
    attempts: RefCell<Attempts>,
    checkers: Semaphore,
    long_bodies: Semaphore,
    commands: RefCell<Commands<Asker>>,
    recovering: RefCell<Recovering<()>>,
    meter: RefCell<Meter>,
    /// How busy the host was when that was looked at last.
    host: Cell<Host>,
    seats: Seats,
    /// Connections that had to leave for others since the log was told.
    displaced: Cell<u64>,
    /// Streams of events.
    streams: Cell<usize>,
    /// The OpenAPI document and its tag.
    document: (Bytes, String),
    /// True once the process ends.
    stopping: watch::Sender<bool>,
}

impl Server {
    fn new(context: ChildContext) -> io::Result<Server> {
        let document = serde_json::to_vec(&document()).unwrap_or_default();
        let tag = format!("\"{:016x}\"", tag(&document));
        let config = &context.config;
        Ok(Server {
            policy: RefCell::new(Rc::new(policy(config))),
            // In the clear instead, passwords and tokens would be: it ends, and is started again.
            acceptor: RefCell::new(first_acceptor(&context).map_err(io::Error::other)?),
            tokens: RefCell::new(Rc::new(tokens(config, &context.token_seed))),
            pcp_users: RefCell::new(UsersFile::new(context.files.pcp.clone(), pcp_conf::load)),
            auth_file: RefCell::new(AuthFile::of(config)),
            attempts: RefCell::new(Attempts::default()),
            checkers: Semaphore::new(CHECKERS),
            long_bodies: Semaphore::new(LONG_BODIES),
            commands: RefCell::new(Commands::new(config)),
            recovering: RefCell::new(Recovering::new(RecoveryBy::Rest)?),
            meter: RefCell::new(Meter::default()),
            host: Cell::default(),
            seats: Seats::default(),
            displaced: Cell::new(0),
            streams: Cell::new(0),
            document: (document.into(), tag),
            stopping: watch::Sender::new(false),
            context: RefCell::new(context),
        })
    }

    async fn run(self: &Rc<Self>, signals: &Signals, doors: Vec<JoinHandle<()>>) -> io::Result<()> {
        let told = watch(signals)?;
        let supervisor = watch(&self.context.borrow().supervisor)?;
        let recovery = watch(&*self.recovering.borrow())?;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The end: at the latest at this moment, if one is set.
        let mut stop: Option<Option<Instant>> = None;
        loop {
            tokio::select! {
                ready = told.readable() => {
                    ready?.clear_ready();
                    while let Some(signal) = signals.read() {
                        match signal {
                            Signal::Hangup => self.reload(),
                            Signal::Terminate => stop = Some(stop.flatten()),
                            Signal::Interrupt | Signal::Quit => stop = Some(Some(Instant::now() + LAST_WORDS)),
                            Signal::User1 | Signal::User2 | Signal::Child => {}
                        }
                    }
                    if stop.is_some() {
                        doors.iter().for_each(JoinHandle::abort);
                        self.stopping.send_replace(true);
                        self.seats.send_idle_away();
                    }
                }
                ready = supervisor.readable() => {
                    ready?.clear_ready();
                    if self.hear_supervisor() {
                        return Ok(());
                    }
                }
                ready = recovery.readable() => {
                    ready?.clear_ready();
                    self.hear_recovery();
                }
                _ = ticks.tick() => self.tick(Instant::now()),
                () = tokio::time::sleep(LAST_WORDS / 20), if stop.is_some() => {}
            }
            if let Some(by) = stop {
                // A recovery goes on, though nobody waits for it.
                let rests = self.seats.are_empty() && !self.recovering.borrow().is_under_way();
                if rests || by.is_some_and(|by| by <= Instant::now()) {
                    return Ok(());
                }
            }
        }
    }

    /// True: the supervisor is gone.
    fn hear_supervisor(&self) -> bool {
        loop {
            let incoming = self.context.borrow().supervisor.recv();
            match incoming {
                None => return false,
                Some(Incoming::Gone) => return true,
                Some(Incoming::Order(_)) => {}
                Some(Incoming::Answer(answer)) => {
                    let answered = self.commands.borrow_mut().answered(answer);
                    if let Some((asker, result)) = answered {
                        asker.hears(result);
                    }
                }
            }
        }
    }

    fn reload(&self) {
        let mut context = self.context.borrow_mut();
        context.reload();
        match acceptor(&context) {
            Ok(acceptor) => *self.acceptor.borrow_mut() = acceptor,
            Err(e) => crate::say!(Debug1, "the old certificate of the REST API stays in force: {e}"),
        }
        let config = &context.config;
        self.commands.borrow_mut().reload(config);
        *self.policy.borrow_mut() = Rc::new(policy(config));
        *self.tokens.borrow_mut() = Rc::new(tokens(config, &context.token_seed));
        *self.auth_file.borrow_mut() = AuthFile::of(config);
        self.pcp_users.borrow_mut().reload();
    }

    fn tick(&self, now: Instant) {
        let late = self.commands.borrow_mut().given_up(now);
        late.into_iter().for_each(|(asker, error)| asker.hears(Err(error)));
        let context = self.context.borrow();
        let total = statements(&context.segment, &context.config);
        self.meter.borrow_mut().note(total, now);
        self.host.set(Host {
            load: host::load(),
            available_memory: host::available_memory(),
            own_cpu_seconds: host::own_cpu_seconds(),
            own_memory: host::own_memory(),
        });
        if self.displaced.take() > 0 {
            crate::say!(
                Warning,
                "REST API connections were closed: there are more than {} at once",
                seats::MOST
            );
        }
    }
}

/// What the supervisor has made of the files.
fn first_acceptor(context: &ChildContext) -> Result<Option<Rc<Acceptor>>, TlsError> {
    let made = context.gate.secure.web.clone().filter(|_| context.config.rest_api_ssl);
    made.map_or_else(|| acceptor(context), |made| Ok(Some(Rc::new(made))))
}

fn acceptor(context: &ChildContext) -> Result<Option<Rc<Acceptor>>, TlsError> {
    Ok(context.config.web_acceptor(&context.ticket_keys)?.map(Rc::new))
}

fn policy(config: &Config) -> Policy {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let named = config.rest_api_listen_addresses.iter().chain(&config.rest_api_allowed_hosts).cloned();
    let hosts = named.chain(host).filter(|name| !name.is_empty() && name != "*").collect();
    Policy { asks_for_tokens: config.rest_api_jwt_enabled, hosts }
}

/// A secret that can be guessed is none.
fn tokens(config: &Config, seed: &TokenSeed) -> Tokens {
    match config.rest_api_jwt_secret.as_bytes() {
        secret if secret.len() >= LEAST_TOKEN_SECRET => Tokens::new(secret),
        _ => Tokens::new(seed.bytes()),
    }
}

fn tag(bytes: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    hasher.write(bytes);
    hasher.finish()
}
