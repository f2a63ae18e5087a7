//! The reports about backends.
#![forbid(unsafe_code)]

use super::{Context, time_text};
use crate::cluster::probe::seconds_text;
use crate::config::{Backend, ClusteringMode, Config, ShowRow};
use crate::shm::{NodeRow, NodeStatus, PgRole, PgStatus};

/// A finding of the replication check counts for this many of its periods, and this many seconds more
/// (the check may be waiting for a host): after that, nobody knows.
const FRESH_PERIODS: u64 = 3;
const FRESH_SECONDS: u64 = 60;

/// `SHOW pool_nodes`.
pub(super) fn nodes(context: &Context<'_>) -> Vec<Vec<String>> {
    let backends = context.config.backends();
    let whole: f64 = backends.iter().map(|backend| backend.weight).sum();
    backends.iter().map(|backend| node(context, backend, whole)).collect()
}

fn node(context: &Context<'_>, backend: &Backend, whole_weight: f64) -> Vec<String> {
    let row = known(context, backend);
    let weight = if whole_weight > 0.0 { backend.weight / whole_weight } else { 0.0 };
    let balanced = context.session.and_then(|session| session.balance_node) == Some(backend.id);
    vec![
        backend.id.to_string(),
        backend.hostname.clone(),
        backend.port.to_string(),
        status_text(row.status).to_owned(),
        pg_status_text(row.probe.pg_status).to_owned(),
        format!("{weight:.6}"),
        role_text(context.config, &row).to_owned(),
        pg_role_text(row.probe.pg_role).to_owned(),
        context.segment.node_totals(backend.id).select.to_string(),
        balanced.to_string(),
        delay_text(context.config, &row),
        row.probe.state.to_string(),
        row.probe.sync_state.to_string(),
        time_text(row.changed_at),
    ]
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
        role_text(context.config, &row).to_owned(),
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
fn known(context: &Context<'_>, backend: &Backend) -> NodeRow {
    let mut row = context.segment.node(backend.id);
    let period = u64::try_from(context.config.sr_check_period).unwrap_or(0).max(10);
    if row.probe.at.saturating_add(FRESH_PERIODS * period + FRESH_SECONDS) < context.now {
        row.probe = Default::default();
    }
    row
}

fn status_text(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Unused => "unused",
        NodeStatus::Waiting => "waiting",
        NodeStatus::Up => "up",
        NodeStatus::Down => "down",
        NodeStatus::Quarantine => "quarantine",
    }
}

fn pg_status_text(status: PgStatus) -> &'static str {
    match status {
        PgStatus::Unknown => "unknown",
        PgStatus::Up => "up",
        PgStatus::Down => "down",
    }
}

fn pg_role_text(role: PgRole) -> &'static str {
    match role {
        PgRole::Unknown => "unknown",
        PgRole::Primary => "primary",
        PgRole::Standby => "standby",
    }
}

/// What we take the node for, which need not be what it says itself.
fn role_text(config: &Config, row: &NodeRow) -> &'static str {
    match (config.backend_clustering_mode, row.is_primary) {
        (ClusteringMode::StreamingReplication, true) => "primary",
        (ClusteringMode::StreamingReplication, false) => "standby",
        (_, true) => "main",
        (_, false) => "replica",
    }
}

/// An unknown delay reads 0, as in pgpool-II: the column is parsed as a number.
fn delay_text(config: &Config, row: &NodeRow) -> String {
    match config.delay_threshold_by_time > 0 {
        true => format!("{} second", seconds_text(row.probe.lag_micros.unwrap_or(0))),
        false => row.probe.lag_bytes.unwrap_or(0).to_string(),
    }
}
