//! Every parameter, from one table: reading files, checking, reloading, showing, the sample file and the
//! reference page. Pure but for `load`, `reload`, which read files. Notes are for the caller to log.
#![forbid(unsafe_code)]

mod check;
mod lexer;
mod lists;
mod load;
mod logging;
mod migrate;
mod mqtt;
mod names;
mod old_mode;
mod own;
pub mod param;
mod pattern;
mod reload;
pub mod render;
mod show;
pub mod slot;
pub mod table;
mod tls;
pub mod unit;
pub mod value;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::NodeId;
use crate::tls::Wanted;

pub use check::LEAST_TOKEN_SECRET;
pub use lists::{Redirect, RedirectTo, Relationship, limit_in_list, redirects, relationships};
pub use load::{Loaded, load, parse_text};
pub use logging::{log_levels, log_settings};
pub use migrate::{Migrated, migrate};
pub use mqtt::Broker;
pub use own::{NotSet, Own};
pub use pattern::regex as pattern_regex;
pub use reload::{Reloaded, reload};
pub use show::{Described, Show, ShowRow, describe_one, described, show, status};
pub use slot::PerNode;
pub use table::Config;
pub use tls::Secure;
pub use words::*;

/// A line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A warning about a file that is used all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where, if it is about a line.
    pub place: Option<Place>,
    /// What.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        placed(f, self.place.as_ref(), &self.text)
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where, if it is about a line.
    pub place: Option<Place>,
    /// What.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        placed(f, self.place.as_ref(), &self.text)
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is to be said about files that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why not.
    pub errors: Vec<ConfigError>,
    /// What would be said of them otherwise.
    pub notes: Vec<Note>,
}

impl Rejected {
    /// All of it, a line each; the warnings first.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.notes.iter().map(ToString::to_string).chain(self.errors.iter().map(ToString::to_string))
    }
}

impl From<ConfigError> for Rejected {
    fn from(error: ConfigError) -> Self {
        Rejected { errors: vec![error], notes: Vec::new() }
    }
}

fn placed(f: &mut fmt::Formatter<'_>, place: Option<&Place>, text: &str) -> fmt::Result {
    match place {
        Some(place) => write!(f, "{place}: {text}"),
        None => f.write_str(text),
    }
}

/// A server that is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The N of `backend_hostnameN`.
    pub id: NodeId,
    /// Host, or directory of a Unix socket.
    pub hostname: String,
    /// Port.
    pub port: u16,
    /// Share of the reads, relative to the others.
    pub weight: f64,
    /// For commands.
    pub data_directory: String,
    /// What a standby calls itself at the primary.
    pub application_name: String,
    /// May be detached.
    pub allow_to_failover: bool,
    /// Is the primary, whatever it says.
    pub always_primary: bool,
    /// How connections to it are secured, if they are.
    pub tls: Option<Wanted>,
}

impl Config {
    /// The servers that are used, by number. A place without host or port is free.
    pub fn backends(&self) -> Vec<Backend> {
        self.backend_hostname.ids().filter_map(|id| self.backend(id)).collect()
    }

    fn backend(&self, id: NodeId) -> Option<Backend> {
        let hostname = self.backend_hostname.get(id);
        let port = u16::try_from(*self.backend_port.get(id)).ok()?;
        if hostname.is_empty() || port == 0 {
            return None;
        }
        let flags = self.backend_flag.get(id);
        let has = |flag| flags.split('|').any(|word| word == flag);
        Some(Backend {
            id,
            hostname: hostname.clone(),
            port,
            weight: *self.backend_weight.get(id),
            data_directory: self.backend_data_directory.get(id).clone(),
            application_name: self.backend_application_name.get(id).clone(),
            allow_to_failover: !has("DISALLOW_TO_FAILOVER"),
            always_primary: has("ALWAYS_PRIMARY"),
            tls: self.tls_of(id),
        })
    }

    /// `io_method`, where `auto` is epoll for processes of one session: io_uring saves them nothing and costs them
    /// buffers.
    pub fn io_wanted(&self) -> IoMethod {
        match self.io_method {
            IoMethod::Auto if self.sessions_per_child == 1 => IoMethod::Epoll,
            method => method,
        }
    }

    /// How the server for reads is chosen: `ai_load_balancing` says so, too, unless `load_balance_algorithm` names one.
    pub fn balance_algorithm(&self) -> LoadBalanceAlgorithm {
        match self.load_balance_algorithm {
            LoadBalanceAlgorithm::WeightedRandom if self.ai_load_balancing => LoadBalanceAlgorithm::Adaptive,
            algorithm => algorithm,
        }
    }

    /// Whether servers are chosen by all that was learnt of them.
    pub fn is_adaptive(&self) -> bool {
        self.balance_algorithm() == LoadBalanceAlgorithm::Adaptive
    }

    /// The file that a parameter names: relative to the directory of the configuration file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.base_dir.join(Path::new(name))
    }
}

/// Shows the settings that differ from the defaults; secrets are masked.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in show::changed_from_default(self) {
            map.entry(&name, &value);
        }
        map.finish()
    }
}
