//! From the command line's wishes to a running tree: what must be made before the first fork is made here.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::child::Files;
use super::child::Gate;
use super::collector::Collector;
use super::listen;
use super::nodes::{self, Nodes};
use super::pidfile::{Found, PidFile};
use super::run::Supervisor;
use super::status_file::StatusFile;
use super::tree::{Role, Tree};
use super::upgrade::{Inheritance, Predecessor, Program, Service};
use crate::auth::hba;
use crate::auth::{pool_key, scram};
use crate::config::{self, Config, IoMethod};
use crate::error::exit;
use crate::log;
use crate::net::Net;
use crate::route::learn::Model;
use crate::shm::{Segment, Sizes};
use crate::sys::notify::Notifier;
use crate::sys::{clock, limits, process, random, signals};
use crate::tls::TicketKeys;

/// How to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The configuration file, absolute.
    pub config_path: PathBuf,
    /// pool_hba.conf, if named (`-a`).
    pub hba_path: Option<PathBuf>,
    /// pcp.conf, if named (`-F`).
    pub pcp_path: Option<PathBuf>,
    /// The key of encrypted passwords, if not in its usual place.
    pub key_path: Option<PathBuf>,
    /// Stay in the foreground (`-n`).
    pub foreground: bool,
    /// Log from DEBUG1 on (`-d`).
    pub debug: bool,
    /// Forget which nodes were down (`-D`).
    pub discard_status: bool,
    /// What to start when a new version shall take over.
    pub program: Program,
    /// Whom to tell how it goes.
    pub notifier: Notifier,
}

impl Launch {
    /// The options that say the same, for a program that takes over: what this one knows of the nodes it shall know.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["-f".into(), self.config_path.clone().into()];
        let files = [("-a", &self.hba_path), ("-F", &self.pcp_path), ("-k", &self.key_path)];
        for (option, path) in files.into_iter().filter_map(|(option, path)| Some((option, path.as_ref()?))) {
            words.extend([option.into(), path.into()]);
        }
        words.extend(self.foreground.then(|| "-n".into()));
        words.extend(self.debug.then(|| "-d".into()));
        words
    }
}

/// Why it did not start.
struct Failure {
    text: String,
    exit: u8,
}

/// Most answers of the catalog that workers share: 9 MB, if all were used.
const MAX_SHARED_ANSWERS: usize = 16_384;

/// Starts the tree of these roles and runs it until it is stopped. Returns the exit code.
pub fn start(launch: &Launch, roles: &'static [Role]) -> u8 {
    match prepare(launch, roles) {
        Ok(supervisor) => supervisor.run(),
        Err(failure) => {
            crate::say!(Fatal, "{}", failure.text);
            failure.exit
        }
    }
}

/// Set in the environment, it leaves core dumps and debuggers possible: for who looks for a defect.
const KEEP_OPEN: &str = "PGBALANCER_DUMPABLE";

fn prepare(launch: &Launch, roles: &'static [Role]) -> Result<Supervisor, Failure> {
    if std::env::var_os(KEEP_OPEN).is_none() {
        // Passwords and keys will lie there.
        process::hide_memory().map_err(|error| fatal("could not keep the memory from others", error))?;
    }
    let config = load(launch)?;
    let pid_file = PidFile::new(&config.pid_file_name, &launch.config_path);
    let mut inheritance = Inheritance::take().map_err(|error| fatal("could not take over", error))?;
    if inheritance.is_none() {
        claim(&pid_file)?;
    }
    log_panics();
    let mut collector =
        Collector::open(&config).map_err(|error| fatal("could not make the pipe of the log", error))?;
    if let Err(error) = limits::raise_open_files() {
        crate::say!(Warning, "could not raise the limit of open files: {error}");
    }
    choose_io(config.io_wanted())?;
    let files = files(launch, &config);
    let cannot = |text| Failure { text, exit: exit::FATAL };
    let rules = config.enable_pool_hba.then(|| hba::load(&files.hba)).transpose().map_err(cannot)?;
    let ticket_keys = TicketKeys::new(&mut random::fill);
    let secure = config.secure(&ticket_keys).map_err(|error| cannot(error.to_string()))?;
    // Before the fork: a user's salt must be the same whichever worker shows it, or it tells who does not exist.
    let mut secret = [0; 32];
    random::fill(&mut secret);
    scram::set_mock_secret(secret);
    let down = StatusFile::new(&config, launch).remember(launch.discard_status);
    let segment =
        Segment::create(sizes(&config)).map_err(|error| fatal("could not make the segment", error))?;
    crate::say!(Log, "allocating shared memory segment of size: {}", segment.bytes());
    Nodes { segment: &segment, config: &config }.begin(&down, clock::unix_seconds());
    let listeners = listen::open(&config, inheritance.as_mut().map(|inheritance| &mut inheritance.listeners))
        .map_err(|error| Failure { text: error.to_string(), exit: exit::FATAL })?;
    // One that takes over has left the terminal with the one before, and writes the pid file when it is ready.
    if inheritance.is_none() {
        detach(launch, &pid_file).inspect_err(|_| listen::remove_files(&listeners))?;
    }
    if let Some(collector) = &mut collector {
        collector.redirect(&config).map_err(|error| fatal("could not redirect the log", error))?;
    }
    // Before the first fork, so that no signal to a new child is lost.
    signals::block().map_err(|error| fatal("could not block signals", error))?;
    let tree = Tree::new(roles, &config, Instant::now());
    let mut supervisor = Supervisor::new(config, launch, files, segment, listeners, pid_file, tree);
    if let Some(inheritance) = inheritance {
        supervisor.predecessor = Some(Predecessor::new(inheritance));
        supervisor.service = Service::Awaited;
    }
    supervisor.collector = collector;
    supervisor.ticket_keys = ticket_keys;
    supervisor.gate = Gate { rules, secure };
    Ok(supervisor)
}

/// Says how workers will wait for their sockets; each makes its own ring or epoll.
fn choose_io(wanted: IoMethod) -> Result<(), Failure> {
    let uring = || Net::probe().map_err(|error| format!("the kernel does not allow io_uring: {error}"));
    match wanted {
        IoMethod::Epoll => crate::say!(Log, "io_method: epoll"),
        IoMethod::IoUring => {
            uring().map_err(|text| Failure { text: format!("io_method: {text}"), exit: exit::FATAL })?;
            crate::say!(Log, "io_method: io_uring");
        }
        IoMethod::Auto => match uring() {
            Ok(()) => crate::say!(Log, "io_method: io_uring"),
            Err(text) => crate::say!(Log, "io_method: epoll, since {}", text),
        },
    }
    Ok(())
}

fn load(launch: &Launch) -> Result<Config, Failure> {
    let loaded = config::load(&launch.config_path).map_err(|rejected| {
        rejected.lines().for_each(|line| crate::say!(Error, "{line}"));
        let text = format!("configuration file {} contains errors", launch.config_path.display());
        Failure { text, exit: exit::FATAL }
    })?;
    log::configure(crate::config::log_settings(&loaded.config, launch.debug));
    loaded.notes.iter().for_each(|note| crate::say!(Warning, "{note}"));
    Ok(loaded.config)
}

/// Sees to it that no other supervisor lives by this pid file.
fn claim(pid_file: &PidFile) -> Result<(), Failure> {
    match pid_file.look() {
        Found::Nothing => Ok(()),
        Found::Stale => {
            // Said to who starts us, whatever log_min_messages is, as pgpool-II does.
            eprintln!(
                "NOTICE:  pid file {} names no running process; starting anyway",
                pid_file.path().display()
            );
            Ok(())
        }
        Found::Live(pid) => {
            let program = crate::identity::program();
            let text =
                format!("pid file {} found. is another {program}({pid}) running?", pid_file.path().display());
            Err(Failure { text, exit: exit::USAGE })
        }
    }
}

fn detach(launch: &Launch, pid_file: &PidFile) -> Result<(), Failure> {
    let write = |pid| {
        pid_file
            .write(pid)
            .map_err(|error| fatal(&format!("could not write {}", pid_file.path().display()), error))
    };
    if launch.foreground {
        return write(process::own_id());
    }
    // The parent writes it before it ends: who started us may look for the file at once.
    process::daemonise(|child| match write(child) {
        Ok(()) => i32::from(exit::OK),
        Err(failure) => {
            crate::say!(Fatal, "{}", failure.text);
            let _ = process::send_signal(child, signals::Number::SIGKILL);
            i32::from(failure.exit)
        }
    })
    .map_err(|error| fatal("could not leave the terminal", error))
}

fn files(launch: &Launch, config: &Config) -> Files {
    let directory = launch.config_path.parent().unwrap_or(Path::new("/"));
    Files {
        hba: launch.hba_path.clone().unwrap_or_else(|| directory.join("pool_hba.conf")),
        pcp: launch.pcp_path.clone().unwrap_or_else(|| directory.join("pcp.conf")),
        key: launch.key_path.clone().unwrap_or_else(key_path),
        pool_passwd: (!config.pool_passwd.is_empty()).then(|| directory.join(&config.pool_passwd)),
    }
}

/// A daemon leaves the directory that a relative name counts from.
fn key_path() -> PathBuf {
    let path = pool_key::default_path();
    std::path::absolute(&path).unwrap_or(path)
}

fn sizes(config: &Config) -> Sizes {
    let count = |number: i64| usize::try_from(number).unwrap_or(1).max(1);
    let sessions_per_worker = count(config.sessions_per_child);
    let (workers, nodes) = (count(config.num_init_children), nodes::capacity(config));
    Sizes {
        workers,
        sessions_per_worker,
        pools_per_worker: count(config.max_pool).saturating_mul(sessions_per_worker),
        nodes,
        tables: count(config.track_table_mutation_table_size),
        answers: if config.enable_shared_relcache { shared_answers(config) } else { 0 },
        learned: Model::words_needed(workers, nodes),
    }
}

/// As many as a worker keeps of both kinds of question, for a few databases.
fn shared_answers(config: &Config) -> usize {
    usize::try_from(config.relcache_size).unwrap_or(0).clamp(1, MAX_SHARED_ANSWERS / 8) * 8
}

/// A panic is a defect; its place belongs in the log, not on a terminal that nobody watches.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| crate::say!(Panic, "{panic}")));
}

fn fatal(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure { text: format!("{what}: {error}"), exit: exit::FATAL }
}
