//! Reports and commands behind every management face: one core, seen through SQL, PCP and REST today.
//!
//! A face turns what its client sent into a [`Request`], calls [`handle`] and encodes the [`Reply`], or takes a typed
//! report ([`nodes`], [`pools`] …); what changes something is a [`Command`]. It adds nothing. Reads the segment and
//! the configuration, writes neither, talks to no client.
#![forbid(unsafe_code)]

mod columns;
mod command;
mod health;
mod learned;
mod nodes;
mod overview;
mod processes;
mod route;
mod sessions;
mod traffic;

use thiserror::Error;

pub use command::{Actor, Command, MAX_WEIGHT, StopMode, Weight, audit, check, find_node};
pub use health::{HealthReport, health};
pub use learned::{Learned, NodeScore, learned, scores_text};
pub use nodes::{NodeReport, Role, nodes, pg_status_text, status_text};
pub use overview::{Overview, overview, readiness};
pub use processes::{
    Links, PoolReport, PoolTotals, find_process, links, pool_totals, pools, process_workers, worker_pids,
};
pub use route::{RouteQuestion, RouteReport, route};
pub use sessions::{SessionId, SessionReport, find_session, sessions, state_text};
pub use traffic::{Latency, NodeLatency, TrafficReport, TrafficRow, traffic};

use crate::config::{self, Config, Show, ShowRow};
use crate::error::NodeId;
use crate::identity;
use crate::recovery::RecoveryError;
use crate::shm::{NodeStatus, Segment};

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    ShowNodes,
    ShowProcesses,
    ShowPools,
    ShowSessions,
    ShowTraffic,
    ShowCache,
    ShowVersion,
    ShowStatus,
    ShowBackendStats,
    ShowHealthCheckStats,
    ShowLearned,
    /// A parameter, a group of parameters, or `all`.
    ConfigShow(String),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Every row has as many values as there are columns.
    Table { columns: Vec<String>, rows: Vec<Vec<String>> },
}

/// Why a request was refused; the text goes to whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdminError {
    #[error("config variable \"{0}\" not found")]
    UnknownParameter(String),
    /// `end`: one more than the highest number.
    #[error("there is no node {number}")]
    UnknownNode { number: i64, end: usize },
    #[error("no process {0} serves clients")]
    UnknownProcess(i64),
    #[error("node {node} is {}", status_text(*.status))]
    NotInUse { node: NodeId, status: NodeStatus },
    #[error("failover is disallowed on node {node}")]
    FailoverForbidden { node: NodeId },
    #[error("node {node} is the primary already")]
    AlreadyPrimary { node: NodeId },
    #[error("node {node} cannot be promoted: nodes have roles in streaming replication only")]
    NotStreaming { node: NodeId },
    #[error("{}", recovery_text(.0))]
    Recovery(RecoveryError),
    #[error("another node is being recovered")]
    RecoveryUnderWay,
    #[error("logging_collector is off")]
    NoCollector,
    #[error("there is no query cache")]
    NoCache,
    #[error("there is no watchdog")]
    NoWatchdog,
    #[error(
        "\"{0}\" is no session: the id of one reads <process>-<place>-<number>, as SHOW POOL_SESSIONS shows it"
    )]
    NotASessionId(String),
    #[error("there is no session {0} (any more); SHOW POOL_SESSIONS shows those that are there")]
    UnknownSession(SessionId),
    #[error("a weight is a number from 0 to {most}, not {0}", most = command::MAX_WEIGHT)]
    NotAWeight(String),
    #[error("nothing is paused")]
    NotPaused,
    /// The command is in force, but what it waits for has not ended.
    #[error("paused, but transactions that began before are still under way; RESUME takes the pause back")]
    Draining,
    #[error("a pause waits for all transactions, and this one asks for it: end it first")]
    WaitsForItself,
    #[error("permission denied: superusers only, but for sessions of one's own user")]
    NotPermitted,
    /// What the supervisor, who knows more, has against it.
    #[error("{0}")]
    Refused(String),
    /// It has not said what came of it, or cannot be asked.
    #[error("{0}")]
    Unanswered(String),
}

fn recovery_text(error: &RecoveryError) -> String {
    match error.detail() {
        detail if detail.is_empty() => error.to_string(),
        detail => format!("{error}: {detail}"),
    }
}

/// What a request may look at.
pub struct Context<'a> {
    pub segment: &'a Segment,
    pub config: &'a Config,
    /// The session that asks, where it is one.
    pub session: Option<SessionFacts>,
    /// Unix seconds.
    pub now: u64,
}

/// What reports say about the session that asks for them.
#[derive(Debug, Clone, Copy, Default)]
pub struct SessionFacts {
    /// Where its reads go.
    pub balance_node: Option<NodeId>,
}

/// Does what is asked.
pub fn handle(request: Request, context: &Context<'_>) -> Result<Reply, AdminError> {
    Ok(match request {
        Request::ShowNodes => table(columns::NODES, rows(nodes(context), NodeReport::values)),
        Request::ShowBackendStats => table(columns::BACKEND_STATS, nodes::backend_stats(context)),
        Request::ShowHealthCheckStats => {
            table(columns::HEALTH_CHECK_STATS, rows(health(context), |report| report.values()))
        }
        Request::ShowLearned => {
            table(columns::LEARNED, learned(context).report.nodes.iter().map(learned::values).collect())
        }
        Request::ShowProcesses => table(columns::PROCESSES, processes::processes(context)),
        Request::ShowPools => table(columns::POOLS, pools(context).map(|pool| pool.values()).collect()),
        Request::ShowSessions => table(columns::SESSIONS, rows(sessions(context), SessionReport::values)),
        Request::ShowTraffic => table(columns::TRAFFIC, rows(traffic(context).traffic, TrafficRow::values)),
        Request::ShowCache => table(columns::CACHE, vec![no_cache()]),
        Request::ShowVersion => table(columns::VERSION, vec![vec![identity::pool_version()]]),
        Request::ShowStatus => table(columns::PARAMETERS, parameters(status(context))),
        Request::ConfigShow(name) => match config::show(context.config, &name) {
            Some(Show::One { name, value }) => Reply::Table { columns: vec![name], rows: vec![vec![value]] },
            Some(Show::Rows(rows)) => table(columns::PARAMETERS, parameters(rows)),
            None => return Err(AdminError::UnknownParameter(name)),
        },
    })
}

/// As pgpool-II tells of a cache that is off.
fn no_cache() -> Vec<String> {
    columns::CACHE
        .iter()
        .map(|name| if *name == "cache_hit_ratio" { "0.00" } else { "0" }.to_owned())
        .collect()
}

fn table(columns: &[&str], rows: Vec<Vec<String>>) -> Reply {
    Reply::Table { columns: columns.iter().map(|name| (*name).to_owned()).collect(), rows }
}

fn rows<T>(reports: Vec<T>, values: impl Fn(T) -> Vec<String>) -> Vec<Vec<String>> {
    reports.into_iter().map(values).collect()
}

/// Whether operators hold all new transactions back.
pub fn is_paused(context: &Context<'_>) -> bool {
    context.segment.pause().is_some()
}

/// The parameters, and of each server its state, behind its directory.
pub fn status(context: &Context<'_>) -> Vec<ShowRow> {
    let backends = context.config.backends();
    let mut rows = Vec::new();
    for mut row in config::status(context.config) {
        if let Some(share) = row.item.strip_prefix("backend_weight").and_then(|id| nodes::share(context, id))
        {
            row.value = format!("{share:.6}");
        }
        let id = row.item.strip_prefix("backend_data_directory").and_then(|id| id.parse().ok());
        rows.push(row);
        let of = backends.iter().find(|backend| Some(backend.id) == id);
        rows.extend(of.into_iter().flat_map(|backend| nodes::state(context, backend)));
    }
    rows.push(ShowRow {
        item: "paused".to_owned(),
        value: u8::from(is_paused(context)).to_string(),
        description: "Whether new transactions wait for RESUME.",
    });
    rows
}

fn parameters(rows: Vec<ShowRow>) -> Vec<Vec<String>> {
    rows.into_iter().map(|row| vec![row.item, row.value, row.description.to_owned()]).collect()
}

/// Local time; empty for what never happened.
fn time_text(unix_seconds: u64) -> String {
    match unix_seconds {
        0 => String::new(),
        at => crate::sys::clock::local_text(at),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::shm::{
        NodeStatus, PgRole, PgStatus, PoolRow, Probe, SessionRow, SessionStatus, Sizes, WorkerRow,
    };

    pub(crate) const NOW: u64 = 1_800_000_000;

    const CONF: &str = "
        backend_hostname0 = 'one'
        backend_port0 = 5432
        backend_weight0 = 1
        backend_hostname1 = '/run'
        backend_port1 = 5433
        backend_weight1 = 3
    ";

    pub(crate) fn config(more: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgbalancer.conf");
        std::fs::write(&path, format!("{CONF}{more}\n")).unwrap();
        config::load(&path).unwrap().config
    }

    pub(crate) fn context<'a>(segment: &'a Segment, config: &'a Config) -> Context<'a> {
        Context { segment, config, session: None, now: NOW }
    }

    pub(crate) fn segment(sessions_per_worker: usize) -> Segment {
        let sizes =
            Sizes { workers: 2, sessions_per_worker, pools_per_worker: 2, nodes: 2, ..Sizes::default() };
        let segment = Segment::create(sizes).unwrap();
        segment.set_status(0, NodeStatus::Up, "", NOW);
        segment.set_status(1, NodeStatus::Waiting, "", NOW);
        segment.set_primary(Some(0), NOW);
        let probe = Probe {
            pg_status: PgStatus::Up,
            pg_role: PgRole::Standby,
            lag_bytes: Some(4096),
            lag_micros: Some(2_500_000),
            state: "streaming".into(),
            sync_state: "async".into(),
            at: NOW,
            ..Probe::default()
        };
        segment.set_probe(1, probe);
        segment
    }

    /// The values of some columns, a line a row.
    fn show(request: Request, context: &Context<'_>, wanted: &[&str]) -> Vec<String> {
        let Reply::Table { columns, rows } = handle(request, context).unwrap();
        assert!(rows.iter().all(|row| row.len() == columns.len()));
        let place = |name: &&str| columns.iter().position(|column| column == name).unwrap();
        let places: Vec<usize> = wanted.iter().map(place).collect();
        rows.iter()
            .map(|row| places.iter().map(|at| row[*at].as_str()).collect::<Vec<_>>().join("|"))
            .collect()
    }

    #[test]
    fn nodes_as_pgpool_shows_them() {
        let segment = segment(1);
        let session = Some(SessionFacts { balance_node: Some(1) });
        let names = ["node_id", "hostname", "port", "status", "pg_status", "lb_weight", "role", "pg_role"];
        let more = ["select_cnt", "load_balance_node", "replication_delay", "replication_state"];
        let cases = [
            ("", NOW, "1|/run|5433|waiting|up|0.750000|standby|standby", "0|true|4096|streaming"),
            (
                "delay_threshold_by_time = 1",
                NOW,
                "1|/run|5433|waiting|up|0.750000|standby|standby",
                "0|true|2.500000 second|streaming",
            ),
            (
                "backend_clustering_mode = raw",
                NOW,
                "1|/run|5433|waiting|up|0.750000|replica|replica",
                "0|true|4096|streaming",
            ),
            ("", NOW + 1000, "1|/run|5433|waiting|unknown|0.750000|standby|unknown", "0|true|0|"),
        ];
        for (conf, now, first, second) in cases {
            let config = config(conf);
            let context = Context { segment: &segment, config: &config, session, now };
            assert_eq!(show(Request::ShowNodes, &context, &names)[1], first, "{conf}");
            assert_eq!(show(Request::ShowNodes, &context, &more)[1], second, "{conf}");
            assert!(
                show(Request::ShowNodes, &context, &names)[0].starts_with("0|one|5432|up|unknown|0.250000|")
            );
        }
    }

    #[test]
    fn statements_of_all_workers_are_counted() {
        let (segment, config) = (segment(1), config(""));
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        segment.counters(0, 1).select.fetch_add(2, relaxed);
        segment.counters(1, 1).select.fetch_add(3, relaxed);
        segment.counters(1, 1).error.fetch_add(1, relaxed);
        let context = context(&segment, &config);
        let names = ["node_id", "role", "select_cnt", "insert_cnt", "error_cnt"];
        assert_eq!(show(Request::ShowBackendStats, &context, &names), ["0|primary|0|0|0", "1|standby|5|0|1"]);
        assert_eq!(
            show(Request::ShowNodes, &context, &["select_cnt", "load_balance_node"]),
            ["0|false", "5|false"]
        );
    }

    fn client(user: &str, status: SessionStatus) -> SessionRow {
        SessionRow {
            user: user.into(),
            database: "db".into(),
            client_port: 7,
            status,
            ..SessionRow::default()
        }
    }

    fn lent(user: &str) -> PoolRow {
        PoolRow {
            session_plus_1: 1,
            user: user.into(),
            database: "db".into(),
            backend_connected_at: NOW,
            client_connected_at: NOW,
            pool_counter: 4,
            backend_pid: 99,
            major: 3,
            ..PoolRow::default()
        }
    }

    #[test]
    fn clients_and_their_connections() {
        let config = config("");
        let names = ["pool_pid", "database", "username", "pool_counter", "status"];
        for sessions in [1, 3] {
            let segment = segment(sessions);
            let context = context(&segment, &config);
            assert!(show(Request::ShowProcesses, &context, &names).is_empty(), "no worker has begun");
            for (index, pid) in [(0, 10), (1, 11)] {
                segment.set_worker(index, &WorkerRow { pid, started_at: NOW, ..WorkerRow::default() });
            }
            segment.set_session(1, 0, &client("ann", SessionStatus::ExecuteCommand));
            segment.set_pool(1, 0, 0, &lent("ann"));
            let idle = PoolRow { session_plus_1: 0, client_disconnected_at: NOW, ..lent("bob") };
            segment.set_pool(1, 1, 0, &idle);
            let expected = ["10||||Wait for connection", "11|db|ann|4|Execute command"];
            assert_eq!(show(Request::ShowProcesses, &context, &names), expected);
            let names = [
                "pool_pid",
                "pool_id",
                "backend_id",
                "username",
                "pool_backendpid",
                "pool_connected",
                "status",
            ];
            let rows = show(Request::ShowPools, &context, &names);
            let (ann, bob) = ("11|0|0|ann|99|1|Execute command", "11|1|0|bob|99|0|");
            if sessions == 1 {
                assert_eq!(rows.len(), 2 * 2 * 2);
                assert_eq!(rows[0], "10|0|0||0|0|Wait for connection");
                assert_eq!([&rows[4], &rows[6]], [ann, &format!("{bob}Execute command")]);
            } else {
                assert_eq!(rows, [ann, &format!("{bob}Wait for connection")]);
            }
        }
    }

    #[test]
    fn every_client_of_a_worker_has_a_row() {
        let (segment, config) = (segment(3), config(""));
        segment.set_worker(0, &WorkerRow { pid: 10, ..WorkerRow::default() });
        segment.set_session(0, 0, &client("ann", SessionStatus::Idle));
        segment.set_session(0, 2, &client("bob", SessionStatus::IdleInTransaction));
        let context = context(&segment, &config);
        let rows = show(Request::ShowProcesses, &context, &["username", "status"]);
        assert_eq!(rows, ["ann|Idle", "bob|Idle in transaction"]);
    }

    #[test]
    fn parameters_and_version() {
        let (segment, config) = (segment(1), config("port = 9998"));
        let context = context(&segment, &config);
        assert_eq!(show(Request::ConfigShow("port".into()), &context, &["port"]), ["9998"]);
        let rows = show(Request::ConfigShow("backend".into()), &context, &["item", "value"]);
        assert_eq!(rows[0], "backend_hostname0|one");
        assert!(show(Request::ShowStatus, &context, &["item", "value"]).contains(&"port|9998".to_owned()));
        assert!(show(Request::ShowVersion, &context, &["pool_version"])[0].starts_with("4.7.2 (pgbalancer "));
        let unknown = handle(Request::ConfigShow("nosuch".into()), &context).unwrap_err();
        assert_eq!(unknown.to_string(), "config variable \"nosuch\" not found");
    }
}
