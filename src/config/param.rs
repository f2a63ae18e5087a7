//! What a row of the table of parameters says, and the short functions that its rows are written with.
#![forbid(unsafe_code)]

use super::slot::Slot;
use super::table::Config;
use super::unit::Unit;
use super::value::{Kind, Word};
use crate::error::MAX_NODES;

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At the start of the program only.
    Init,
    /// When the configuration is read again.
    Reload,
    /// As `Reload`; a session may also change it for itself.
    Session,
}

/// Whether nodes have a value each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// One value.
    One,
    /// `name0`, `name1` … below this number; there is no value for all.
    Each(usize),
    /// `name` for all of them, `name0`, `name1` … below this number for one.
    AllOrEach(usize),
}

/// What a parameter takes and how it is shown.
#[derive(Debug)]
pub struct Spec {
    /// Its values.
    pub kind: Kind,
    /// Per node or not.
    pub nodes: Nodes,
    /// A secret: shown as `*****`.
    pub hidden: bool,
    /// A value for the sample file that says more than the default.
    pub example: Option<&'static str>,
    /// A value that the sample file sets: what is best for new sites, where the default is pgpool-II's.
    pub sample: Option<&'static str>,
    /// Names it had before, or has in other documents.
    pub old_names: &'static [&'static str],
}

impl Spec {
    /// Each node has its own value.
    pub const fn each(mut self) -> Spec {
        self.nodes = Nodes::Each(MAX_NODES);
        self
    }

    /// As `each`, for the ways of the heartbeat: a node may have two.
    pub const fn each_heartbeat(mut self) -> Spec {
        self.nodes = Nodes::Each(2 * MAX_NODES);
        self
    }

    /// One value for all nodes, and each may have its own.
    pub const fn all_or_each(mut self) -> Spec {
        self.nodes = Nodes::AllOrEach(MAX_NODES);
        self
    }

    /// Is never shown.
    pub const fn hidden(mut self) -> Spec {
        self.hidden = true;
        self
    }

    /// For the sample file.
    pub const fn example(mut self, literal: &'static str) -> Spec {
        self.example = Some(literal);
        self
    }

    /// Set in the sample file.
    pub const fn sample(mut self, literal: &'static str) -> Spec {
        self.sample = Some(literal);
        self
    }

    /// Other names.
    pub const fn was(mut self, names: &'static [&'static str]) -> Spec {
        self.old_names = names;
        self
    }
}

/// One parameter.
pub struct Param {
    /// As a file has it, in lower case.
    pub name: &'static str,
    /// The chapter it stands in.
    pub group: Group,
    /// When a change takes effect.
    pub change: Change,
    /// Values.
    pub spec: Spec,
    /// One line about it.
    pub about: &'static str,
    /// Its field.
    pub slot: fn(&Config) -> &dyn Slot,
    /// Its field, to be written.
    pub slot_mut: fn(&mut Config) -> &mut dyn Slot,
}

impl Param {
    /// The name, with the number of the node if there is one.
    pub fn name_of(&self, id: Option<usize>) -> String {
        id.map_or_else(|| self.name.to_owned(), |id| format!("{}{id}", self.name))
    }
}

/// The chapters of the table, of the sample file and of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Where clients connect.
    Connection,
    /// Where the servers are.
    Backends,
    /// Kept connections and processes.
    Pool,
    /// Logging in.
    Authentication,
    /// TLS.
    Tls,
    /// The log.
    Log,
    /// Files and directories.
    Files,
    /// Which node does what.
    Balance,
    /// Standbys and their delay.
    Streaming,
    /// Replication done by us.
    Replication,
    /// Is a node alive.
    HealthCheck,
    /// What happens when it is not.
    Failover,
    /// Bringing a node back.
    Recovery,
    /// Several of us.
    Watchdog,
    /// The members of the watchdog.
    WatchdogNodes,
    /// How the members hear each other.
    Heartbeat,
    /// Query results kept in memory.
    Cache,
    /// The adaptive balancer.
    Adaptive,
    /// The REST API.
    Rest,
    /// Events.
    Mqtt,
}

impl Group {
    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Group::Connection => "Connections",
            Group::Backends => "Backends",
            Group::Pool => "Processes and pools",
            Group::Authentication => "Authentication",
            Group::Tls => "TLS",
            Group::Log => "Log",
            Group::Files => "Files",
            Group::Balance => "Load balancing",
            Group::Streaming => "Streaming replication",
            Group::Replication => "Replication by the balancer",
            Group::HealthCheck => "Health check",
            Group::Failover => "Failover and failback",
            Group::Recovery => "Online recovery",
            Group::Watchdog => "Watchdog",
            Group::WatchdogNodes => "Members of the watchdog",
            Group::Heartbeat => "Heartbeat",
            Group::Cache => "Query cache and relation cache",
            Group::Adaptive => "Adaptive load balancing",
            Group::Rest => "REST API",
            Group::Mqtt => "MQTT events",
        }
    }

    /// The name that `PGPOOL SHOW` knows the group by.
    pub fn shown_as(self) -> Option<&'static str> {
        match self {
            Group::Backends => Some("backend"),
            Group::WatchdogNodes => Some("watchdog"),
            Group::Heartbeat => Some("heartbeat"),
            Group::HealthCheck => Some("health_check"),
            _ => None,
        }
    }
}

const fn spec(kind: Kind) -> Spec {
    Spec { kind, nodes: Nodes::One, hidden: false, example: None, sample: None, old_names: &[] }
}

pub(super) const INT_MAX: i64 = i32::MAX as i64;

const fn number(default: i64, least: i64, most: i64, unit: Unit) -> Spec {
    spec(Kind::Int { default, least, most, unit })
}

pub(super) const fn switch(default: bool) -> Spec {
    spec(Kind::Bool(default))
}

pub(super) const fn int(default: i64, least: i64, most: i64) -> Spec {
    number(default, least, most, Unit::None)
}

pub(super) const fn port(default: i64) -> Spec {
    number(default, 1024, 65535, Unit::None)
}

pub(super) const fn mode(default: i64, most: i64) -> Spec {
    number(default, 0, most, Unit::Octal)
}

pub(super) const fn bytes(default: i64, least: i64, most: i64) -> Spec {
    number(default, least, most, Unit::Bytes)
}

pub(super) const fn kilobytes(default: i64, least: i64, most: i64) -> Spec {
    number(default, least, most, Unit::Kilobytes)
}

pub(super) const fn millis(default: i64, least: i64, most: i64) -> Spec {
    number(default, least, most, Unit::Milliseconds)
}

pub(super) const fn seconds(default: i64, least: i64, most: i64) -> Spec {
    number(default, least, most, Unit::Seconds)
}

pub(super) const fn minutes(default: i64, least: i64, most: i64) -> Spec {
    number(default, least, most, Unit::Minutes)
}

pub(super) const fn float(default: f64, least: f64, most: f64) -> Spec {
    spec(Kind::Float { default, least, most })
}

pub(super) const fn text(default: &'static str) -> Spec {
    checked(default, |text| Ok(text.to_owned()))
}

pub(super) const fn checked(default: &'static str, check: fn(&str) -> Result<String, String>) -> Spec {
    spec(Kind::Text { default, check })
}

pub(super) const fn list(default: &'static str, separator: char) -> Spec {
    spec(Kind::List { default, separator, check: |_| Ok(()) })
}

/// Regular expressions.
pub(super) const fn patterns(separator: char) -> Spec {
    spec(Kind::List { default: "", separator, check: super::pattern::check })
}

pub(super) const fn words(default: &'static str, words: &'static [Word]) -> Spec {
    spec(Kind::Words { default, words })
}
