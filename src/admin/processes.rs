//! The reports about worker processes, their clients and their pooled connections.
#![forbid(unsafe_code)]

use super::{Context, time_text};
use crate::error::NodeId;
use crate::shm::{PoolRow, Segment, SessionRow, SessionStatus, WorkerRow};

/// `SHOW pool_processes`: a row for each client, and one for each worker without clients.
pub(super) fn processes(context: &Context<'_>) -> Vec<Vec<String>> {
    let segment = context.segment;
    let mut rows = Vec::new();
    for (index, worker) in workers(segment) {
        let sessions = busy_sessions(segment, index);
        if sessions.is_empty() {
            rows.push(process(&worker, &SessionRow::default(), &PoolRow::default()));
        }
        let lent = lent_pools(context, index);
        for (slot, session) in &sessions {
            let pool = lent.iter().find(|pool| pool.session_plus_1 == slot + 1);
            rows.push(process(&worker, session, pool.unwrap_or(&PoolRow::default())));
        }
    }
    rows
}

fn process(worker: &WorkerRow, session: &SessionRow, pool: &PoolRow) -> Vec<String> {
    let counter = if pool.pool_counter == 0 { String::new() } else { pool.pool_counter.to_string() };
    vec![
        worker.pid.to_string(),
        time_text(worker.started_at),
        worker.client_connections.to_string(),
        session.database.to_string(),
        session.user.to_string(),
        time_text(pool.backend_connected_at),
        counter,
        session.status.name().to_owned(),
    ]
}

/// `SHOW pool_pools`: a row for each place of a connection, used or not. Where a worker has many sessions the
/// places are many too, and only those in use are shown.
pub(super) fn pools(context: &Context<'_>) -> Vec<Vec<String>> {
    let segment = context.segment;
    let all = segment.sizes().sessions_per_worker == 1;
    let mut rows = Vec::new();
    for (index, worker) in workers(segment) {
        let only = segment.session(index, 0).status;
        for (pool_id, node, row) in places(context, index) {
            if !all && row.backend_pid == 0 {
                continue;
            }
            // pgpool-II shows the state of the process in all its rows; so do we while that has one client at most.
            let status = match usize::try_from(row.session_plus_1).unwrap_or(0).checked_sub(1) {
                Some(slot) => segment.session(index, slot).status,
                None if all => only,
                None => SessionStatus::default(),
            };
            rows.push(pool(&worker, pool_id, node, &row, status));
        }
    }
    rows
}

fn pool(
    worker: &WorkerRow,
    pool_id: usize,
    node: NodeId,
    row: &PoolRow,
    status: SessionStatus,
) -> Vec<String> {
    vec![
        worker.pid.to_string(),
        time_text(worker.started_at),
        worker.client_connections.to_string(),
        pool_id.to_string(),
        node.to_string(),
        row.database.to_string(),
        row.user.to_string(),
        time_text(row.backend_connected_at),
        time_text(row.client_connected_at),
        time_text(row.client_disconnected_at),
        // How long a client has been idle is not kept: a statement costs no clock for it.
        "0".to_owned(),
        row.major.to_string(),
        row.minor.to_string(),
        row.pool_counter.to_string(),
        row.backend_pid.to_string(),
        u8::from(row.session_plus_1 != 0).to_string(),
        status.name().to_owned(),
    ]
}

fn workers(segment: &Segment) -> impl Iterator<Item = (usize, WorkerRow)> + '_ {
    (0..segment.sizes().workers).map(|index| (index, segment.worker(index))).filter(|(_, row)| row.pid != 0)
}

/// Clients of a worker, with their slots.
fn busy_sessions(segment: &Segment, worker: usize) -> Vec<(u32, SessionRow)> {
    let slots = 0..segment.sizes().sessions_per_worker;
    let all = slots.map(|slot| (slot as u32, segment.session(worker, slot)));
    all.filter(|(_, row)| row.status != SessionStatus::WaitForConnection).collect()
}

fn lent_pools(context: &Context<'_>, worker: usize) -> Vec<PoolRow> {
    places(context, worker).map(|(_, _, row)| row).filter(|row| row.session_plus_1 != 0).collect()
}

/// Places of connections to the configured nodes.
fn places<'a>(
    context: &'a Context<'_>,
    worker: usize,
) -> impl Iterator<Item = (usize, NodeId, PoolRow)> + 'a {
    let nodes: Vec<NodeId> = context.config.backends().iter().map(|backend| backend.id).collect();
    let pools = 0..context.segment.sizes().pools_per_worker;
    let all = pools.flat_map(move |pool| nodes.clone().into_iter().map(move |node| (pool, node)));
    all.map(move |(pool, node)| (pool, node, context.segment.pool(worker, pool, node)))
}
