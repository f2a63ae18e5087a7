//! The reports about worker processes, their clients and their pooled connections.
#![forbid(unsafe_code)]

use super::{AdminError, Context, time_text};
use crate::error::NodeId;
use crate::shm::{PoolRow, Segment, SessionRow, SessionStatus, WorkerRow};
use crate::sys::process::ProcessId;

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

/// A place of a connection to a backend, and what its process does.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolReport {
    pub worker: WorkerRow,
    /// Number of the place in its worker.
    pub pool_id: usize,
    pub node: NodeId,
    /// The connection; empty where there is none.
    pub row: PoolRow,
    pub status: SessionStatus,
    /// Worker and slot of the session that has the connection: see [`Segment::session`].
    pub holder: Option<(usize, usize)>,
}

/// A row for each place of a connection, used or not. Where a worker has many sessions the places are many too,
/// and only those in use are shown.
pub fn pools<'a>(context: &'a Context<'_>) -> impl Iterator<Item = PoolReport> + 'a {
    let segment = context.segment;
    let all = segment.sizes().sessions_per_worker == 1;
    workers(segment).flat_map(move |(index, worker)| {
        let only = segment.session_status(index, 0);
        let shown = if all { segment.sizes().pools_per_worker } else { used_places(context, index) };
        let places = places(context, index, shown).filter(move |(_, _, row)| all || row.backend_pid != 0);
        places.map(move |(pool_id, node, row)| {
            let slot = usize::try_from(row.session_plus_1).unwrap_or(0).checked_sub(1);
            // pgpool-II shows the state of the process in all its rows; so do we while that has one client at most.
            let status = match slot {
                _ if all => only,
                Some(slot) => segment.session_status(index, slot),
                None => SessionStatus::default(),
            };
            PoolReport { worker, pool_id, node, row, status, holder: slot.map(|slot| (index, slot)) }
        })
    })
}

impl PoolReport {
    /// A row of `SHOW pool_pools`.
    pub fn values(&self) -> Vec<String> {
        let (worker, row) = (&self.worker, &self.row);
        vec![
            worker.pid.to_string(),
            time_text(worker.started_at),
            worker.client_connections.to_string(),
            self.pool_id.to_string(),
            self.node.to_string(),
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
            self.status.name().to_owned(),
        ]
    }
}

/// The workers that live.
pub fn process_workers(context: &Context<'_>) -> Vec<WorkerRow> {
    workers(context.segment).map(|(_, row)| row).collect()
}

/// A worker by the number of its process.
///
/// # Errors
/// There is none with this number.
pub fn find_process(context: &Context<'_>, pid: i64) -> Result<WorkerRow, AdminError> {
    let mut all = workers(context.segment).map(|(_, row)| row);
    all.find(|row| i64::from(row.pid) == pid).ok_or(AdminError::UnknownProcess(pid))
}

/// Connections to a node that are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Links {
    /// All of them.
    pub open: u64,
    /// Those that a session has.
    pub lent: u64,
}

/// The connections of all workers to a node.
pub fn links(context: &Context<'_>, node: NodeId) -> Links {
    let segment = context.segment;
    let mut links = Links::default();
    for worker in 0..segment.sizes().workers {
        // Places behind those that were ever used are empty.
        for pool in 0..segment.pools_used(worker, node) {
            let row = segment.pool(worker, pool, node);
            links.open += u64::from(row.backend_pid != 0);
            links.lent += u64::from(row.backend_pid != 0 && row.session_plus_1 != 0);
        }
    }
    links
}

/// How full the pools are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PoolTotals {
    /// Connections that there is room for, to all nodes together.
    pub capacity: u64,
    /// Connections that sessions have.
    pub active: u64,
    /// Connections that are kept for the next session.
    pub idle: u64,
}

impl PoolTotals {
    /// Used places, of 100.
    pub fn percent(&self) -> f64 {
        match self.capacity {
            0 => 0.0,
            capacity => (self.active + self.idle) as f64 * 100.0 / capacity as f64,
        }
    }
}

/// Of the connections to all nodes.
pub fn pool_totals(context: &Context<'_>) -> PoolTotals {
    let (sizes, backends) = (context.segment.sizes(), context.config.backends());
    let places = sizes.workers.saturating_mul(sizes.pools_per_worker).saturating_mul(backends.len());
    let mut totals = PoolTotals { capacity: places as u64, ..PoolTotals::default() };
    for backend in backends {
        let Links { open, lent } = links(context, backend.id);
        totals.active += lent;
        totals.idle += open.saturating_sub(lent);
    }
    totals
}

/// The process numbers of the workers.
pub fn worker_pids(context: &Context<'_>) -> Vec<ProcessId> {
    workers(context.segment).map(|(_, row)| row.pid).collect()
}

pub(super) fn workers(segment: &Segment) -> impl Iterator<Item = (usize, WorkerRow)> + '_ {
    (0..segment.sizes().workers).map(|index| (index, segment.worker(index))).filter(|(_, row)| row.pid != 0)
}

/// Clients of a worker, with their slots.
pub(super) fn busy_sessions(segment: &Segment, worker: usize) -> Vec<(u32, SessionRow)> {
    let slots = 0..segment.sizes().sessions_per_worker;
    let all = slots.map(|slot| (slot as u32, segment.session(worker, slot)));
    all.filter(|(_, row)| row.status != SessionStatus::WaitForConnection).collect()
}

fn lent_pools(context: &Context<'_>, worker: usize) -> Vec<PoolRow> {
    let used = used_places(context, worker);
    places(context, worker, used).map(|(_, _, row)| row).filter(|row| row.session_plus_1 != 0).collect()
}

/// How many places of a worker were ever used for some node: of ten thousand most never are, and a look at each would
/// cost more than the whole report.
fn used_places(context: &Context<'_>, worker: usize) -> usize {
    let used = |node| context.segment.pools_used(worker, node);
    context.config.backends().iter().map(|backend| used(backend.id)).max().unwrap_or(0)
}

/// The first so many places of connections to the configured nodes.
fn places<'a>(
    context: &'a Context<'_>,
    worker: usize,
    count: usize,
) -> impl Iterator<Item = (usize, NodeId, PoolRow)> + 'a {
    let nodes: Vec<NodeId> = context.config.backends().iter().map(|backend| backend.id).collect();
    let pair = move |at: usize| Some((at / nodes.len(), *nodes.get(at % nodes.len())?));
    let all = (0..count.saturating_mul(context.config.backends().len())).map_while(pair);
    all.map(move |(pool, node)| (pool, node, context.segment.pool(worker, pool, node)))
}
