//! What a child process is born with.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use super::request::ToSupervisor;
use crate::config::{self, Config};
use crate::shm::Segment;
pub use crate::sys::socket::ListenerKind;

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
    /// Sockets to accept clients on, non-blocking; empty for roles that serve none.
    pub listeners: Vec<Listener>,
    /// The way to the supervisor.
    pub supervisor: ToSupervisor,
    /// Other files of the configuration.
    pub files: Files,
    /// For the log collector: what it reads.
    pub log_source: Option<LogSource>,
    pub(super) debug: bool,
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
}

/// A listening socket, shared by all workers.
pub struct Listener {
    /// The socket.
    pub fd: OwnedFd,
    /// What it listens on.
    pub kind: ListenerKind,
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
