//! What a child process is born with.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use zeroize::Zeroizing;

use super::request::ToSupervisor;
use crate::auth::hba::Hba;
use crate::config::{self, Config, Secure};
use crate::net;
use crate::shm::Segment;
use crate::sys::random;
pub use crate::sys::socket::ListenerKind;
use crate::tls::TicketKeys;

/// Everything a role's `run` gets.
pub struct ChildContext {
    /// Which of its role, from 0: the row of a worker in the segment.
    pub index: usize,
    /// The configuration in force.
    pub config: Config,
    /// Where it stands.
    pub config_path: PathBuf,
    /// The shared segment.
    pub segment: Segment,
    /// The sockets of the role's door, non-blocking; empty for roles that have none.
    pub listeners: Vec<Listener>,
    /// The way to the supervisor.
    pub supervisor: ToSupervisor,
    /// Other files of the configuration.
    pub files: Files,
    /// For the log collector: what it reads.
    pub log_source: Option<LogSource>,
    /// What tokens are signed with where the configuration has no secret.
    pub token_seed: TokenSeed,
    /// What the tickets of TLS sessions are made with.
    pub ticket_keys: TicketKeys,
    /// Who comes in.
    pub gate: Gate,
    pub(super) debug: bool,
}

/// Who comes in and how connections are secured, as it was read last without a mistake: before the fork, so that a process
/// that replaces another needs no file that has been spoilt since.
#[derive(Clone, Default)]
pub struct Gate {
    /// Those of pool_hba.conf, with `enable_pool_hba`.
    pub rules: Option<Hba>,
    /// TLS.
    pub secure: Secure,
}

/// Random bytes, different in each run of the program.
#[derive(Clone)]
pub struct TokenSeed(Zeroizing<[u8; 32]>);

impl TokenSeed {
    pub(super) fn random() -> TokenSeed {
        let mut bytes = Zeroizing::new([0; 32]);
        random::fill(&mut *bytes);
        TokenSeed(bytes)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &*self.0
    }
}

/// What the log collector reads.
pub struct LogSource {
    /// The reading end of the pipe.
    pub pipe: OwnedFd,
    /// Records that found it full.
    pub lost: &'static AtomicU64,
}

/// Files beside the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// pool_hba.conf.
    pub hba: PathBuf,
    /// pool_passwd, unless `pool_passwd = ''`.
    pub pool_passwd: Option<PathBuf>,
    /// pcp.conf.
    pub pcp: PathBuf,
    /// The key of encrypted passwords; need not be there.
    pub key: PathBuf,
}

/// A listening socket, shared by all processes of a role.
pub struct Listener {
    /// The socket.
    pub fd: OwnedFd,
    /// What it listens on.
    pub kind: ListenerKind,
    /// Whom it lets in.
    pub door: Door,
}

/// Who comes in by a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Clients of PostgreSQL.
    Clients,
    /// The tools that speak PCP.
    Pcp,
    /// Clients of the REST API.
    Rest,
}

impl From<Listener> for net::Listener {
    fn from(listener: Listener) -> net::Listener {
        match listener.kind {
            ListenerKind::Tcp(_) => net::Listener::tcp(listener.fd),
            ListenerKind::Unix(_) => net::Listener::unix(listener.fd),
        }
    }
}

impl ChildContext {
    /// Reads the configuration again, as HUP asks: what may change does, the log included. The supervisor reads the
    /// same file and reports what is wrong with it.
    pub fn reload(&mut self) {
        crate::say!(Log, "reloading config file");
        if let Ok(reloaded) = config::reload(&self.config, &self.config_path) {
            self.config = reloaded.config;
            crate::log::configure(crate::config::log_settings(&self.config, self.debug));
        }
    }
}
