//! The reports about backends.
#![forbid(unsafe_code)]

use super::{Context, time_text};
use crate::cluster::probe::seconds_text;
use crate::config::{Backend, ClusteringMode, Config, ShowRow};
use crate::error::NodeId;
use crate::shm::{NodeRow, NodeStatus, PgRole, PgStatus};

/// A finding of the replication check counts for this many of its periods, and this many seconds more
/// (the check may be waiting for a host): after that, nobody knows.
const FRESH_PERIODS: u64 = 3;
const FRESH_SECONDS: u64 = 60;

/// What is known of a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeReport {
    pub id: NodeId,
    pub hostname: String,
    pub port: u16,
    /// What we think of it.
    pub status: NodeStatus,
    /// Whether it answers.
    pub pg_status: PgStatus,
    /// Why it has its status; empty if there is nothing to say.
    pub reason: String,
    /// Its weight among the others, on the configuration's scale.
    pub weight: f64,
    /// Its share of the reads, of 1.
    pub share: f64,
    /// What we take it for, which need not be what it says itself.
    pub role: Role,
    /// What it says itself; where nodes have no roles of their own, the same again.
    pub pg_role: Option<Role>,
    /// Why it has its role, in words; empty where nobody has looked.
    pub role_reason: String,
    /// Reads sent to it.
    pub reads: u64,
    /// Whether the reads of the session that asks go there.
    pub is_balance_node: bool,
    /// How far it is behind the primary; an unknown delay reads 0, as in pgpool-II.
    pub delay_bytes: u64,
    pub delay_micros: u64,
    /// How often it was taken out of use.
    pub times_out: u64,
    /// How often it was put back in use.
    pub times_back: u64,
    /// Whether the configuration measures the delay by time.
    pub delay_by_time: bool,
    /// `state` of pg_stat_replication.
    pub replication_state: String,
    /// `sync_state` of pg_stat_replication.
    pub replication_sync_state: String,
    /// When status or role changed last (unix seconds).
    pub changed_at: u64,
}

/// What a node is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes the writes, in streaming replication.
    Primary,
    /// Replays them.
    Standby,
    /// The first in use, in the other modes.
    Main,
    /// The others.
    Replica,
}

impl Role {
    /// As all reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Standby => "standby",
            Role::Main => "main",
            Role::Replica => "replica",
        }
    }
}

/// Every configured backend, in the order of the numbers.
pub fn nodes(context: &Context<'_>) -> Vec<NodeReport> {
    let backends = context.config.backends();
    backends.into_iter().map(|backend| node(context, backend)).collect()
}

/// Its weight among the others: what an operator has given it, or the configuration.
fn weight(context: &Context<'_>, backend: &Backend) -> f64 {
    context.segment.weight(backend.id).unwrap_or(backend.weight)
}

/// The share of the reads, of 1, of the node with this number.
pub(super) fn share(context: &Context<'_>, id: &str) -> Option<f64> {
    let id: NodeId = id.parse().ok()?;
    let backends = context.config.backends();
    let whole: f64 = backends.iter().map(|backend| weight(context, backend)).sum();
    let own = backends.iter().find(|backend| backend.id == id).map(|backend| weight(context, backend))?;
    Some(if whole > 0.0 { own / whole } else { 0.0 })
}

fn node(context: &Context<'_>, backend: Backend) -> NodeReport {
    let row = known(context, &backend);
    let (config, probe) = (context.config, &row.probe);
    // What an old primary has written by itself is no delay.
    let behind = |lag: Option<u64>| lag.filter(|_| probe.pg_role == PgRole::Standby).unwrap_or(0);
    NodeReport {
        id: backend.id,
        port: backend.port,
        status: row.status,
        pg_status: probe.pg_status,
        reason: row.reason.to_string(),
        weight: weight(context, &backend),
        share: share(context, &backend.id.to_string()).unwrap_or(0.0),
        role: role(config, row.is_primary),
        pg_role: own_role(config, &row),
        role_reason: probe.why.to_string(),
        reads: context.segment.node_totals(backend.id).select,
        is_balance_node: context.session.and_then(|session| session.balance_node) == Some(backend.id),
        delay_bytes: behind(probe.lag_bytes),
        delay_micros: behind(probe.lag_micros),
        times_out: row.times_out,
        times_back: row.times_back,
        delay_by_time: config.delay_threshold_by_time > 0,
        replication_state: probe.state.to_string(),
        replication_sync_state: probe.sync_state.to_string(),
        changed_at: row.changed_at,
        hostname: backend.hostname,
    }
}

impl NodeReport {
    /// A row of `SHOW pool_nodes`.
    pub(super) fn values(self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.hostname,
            self.port.to_string(),
            status_text(self.status).to_owned(),
            pg_status_text(self.pg_status).to_owned(),
            format!("{:.6}", self.share),
            self.role.name().to_owned(),
            self.pg_role.map_or("unknown", Role::name).to_owned(),
            self.reads.to_string(),
            self.is_balance_node.to_string(),
            match self.delay_by_time {
                true => format!("{} second", seconds_text(self.delay_micros)),
                false => self.delay_bytes.to_string(),
            },
            self.replication_state,
            self.replication_sync_state,
            time_text(self.changed_at),
        ]
    }
}

/// The rows of `SHOW pool_status` about the state of a server.
pub(super) fn state(context: &Context<'_>, backend: &Backend) -> [ShowRow; 2] {
    let row = known(context, backend);
    let shown = |name: &str, value, description| ShowRow {
        item: format!("{name}{}", backend.id),
        value,
        description,
    };
    let lag = row.probe.lag_bytes.unwrap_or(0).to_string();
    [
        shown(
            "backend_status",
            status_text(row.status).to_owned(),
            "State of the server, as in SHOW POOL_NODES.",
        ),
        shown("standby_delay", lag, "Bytes that it is behind the primary."),
    ]
}

/// `SHOW pool_backend_stats`.
pub(super) fn backend_stats(context: &Context<'_>) -> Vec<Vec<String>> {
    context.config.backends().iter().map(|backend| stats(context, backend)).collect()
}

fn stats(context: &Context<'_>, backend: &Backend) -> Vec<String> {
    let row = known(context, backend);
    let totals = context.segment.node_totals(backend.id);
    let mut values = vec![
        backend.id.to_string(),
        backend.hostname.clone(),
        backend.port.to_string(),
        status_text(row.status).to_owned(),
        role(context.config, row.is_primary).name().to_owned(),
    ];
    let counts = [
        totals.select,
        totals.insert,
        totals.update,
        totals.delete,
        totals.ddl,
        totals.other,
        totals.panic,
        totals.fatal,
        totals.error,
    ];
    values.extend(counts.map(|count| count.to_string()));
    values
}

/// The row of a node, without a finding that is too old to be shown as the present state.
pub(super) fn known(context: &Context<'_>, backend: &Backend) -> NodeRow {
    let mut row = context.segment.node(backend.id);
    let period = u64::try_from(context.config.sr_check_period).unwrap_or(0).max(10);
    if row.probe.at.saturating_add(FRESH_PERIODS * period + FRESH_SECONDS) < context.now {
        row.probe = Default::default();
    }
    row
}

/// The word of all reports.
pub fn status_text(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Unused => "unused",
        NodeStatus::Waiting => "waiting",
        NodeStatus::Up => "up",
        NodeStatus::Down => "down",
        NodeStatus::Quarantine => "quarantine",
    }
}

/// The word of all reports.
pub fn pg_status_text(status: PgStatus) -> &'static str {
    match status {
        PgStatus::Unknown => "unknown",
        PgStatus::Up => "up",
        PgStatus::Down => "down",
    }
}

pub(super) fn role(config: &Config, is_primary: bool) -> Role {
    match (config.backend_clustering_mode, is_primary) {
        (ClusteringMode::StreamingReplication, true) => Role::Primary,
        (ClusteringMode::StreamingReplication, false) => Role::Standby,
        (_, true) => Role::Main,
        (_, false) => Role::Replica,
    }
}

fn own_role(config: &Config, row: &NodeRow) -> Option<Role> {
    match (config.backend_clustering_mode, row.probe.pg_role) {
        (ClusteringMode::StreamingReplication, PgRole::Primary) => Some(Role::Primary),
        (ClusteringMode::StreamingReplication, PgRole::Standby) => Some(Role::Standby),
        (ClusteringMode::StreamingReplication, PgRole::Unknown) => None,
        _ => Some(role(config, row.is_primary)),
    }
}
