//! The bodies of the reports. Keys are never renamed; more may be added.
#![forbid(unsafe_code)]

use super::schema::{answer, described};
use crate::admin::{Latency, NodeLatency, NodeScore, RouteReport, SessionReport, TrafficReport, TrafficRow};
use crate::route::learn;

answer! {
    /// The MQTT process. Counts begin with the program and outlive the process.
    pub(super) struct Mqtt {
        /// Events are published over MQTT.
        pub enabled: bool,
        /// The process is connected to the broker.
        pub connected: bool,
        /// The broker, as mqtt://host:port or mqtts://host:port.
        pub broker: String,
        /// The version of MQTT: 3.1.1 or 5.
        pub version: &'static str,
        /// Our name there.
        pub client_id: String,
        /// Start of all topics.
        pub topic_prefix: String,
        /// 0, 1 or 2.
        pub qos: i64,
        /// When the connection began (unix seconds).
        pub connected_at: Option<u64>,
        /// Connections that were made.
        pub connections: u64,
        /// Why there is no connection; empty: there is one, or none was tried.
        pub error: String,
        /// Messages that the broker has taken.
        pub published: u64,
        /// Messages that were dropped because too many waited.
        pub dropped: u64,
        /// Messages that the broker has refused.
        pub refused: u64,
        /// Events that were gone before they could be published.
        pub missed: u64,
        /// Messages that wait.
        pub queued: u64,
        /// Messages that may wait.
        pub queue_size: i64,
        /// What is published.
        pub topics: Vec<MqttTopic>,
    }

    /// A topic.
    pub(super) struct MqttTopic {
        /// With the prefix; a place in braces stands for a number or a name.
        pub topic: String,
        /// What is published there.
        pub about: &'static str,
        /// The broker keeps the last message.
        pub retained: bool,
    }

    /// The whole at a glance.
    pub(super) struct Status {
        /// Always `running`: one that does not run does not answer.
        pub status: &'static str,
        /// Seconds since the start.
        pub uptime: u64,
        /// Version of pgbalancer.
        pub version: &'static str,
        /// Clients that are connected now.
        pub connections: u64,
        /// Configured nodes.
        pub nodes: usize,
        /// Nodes that are in use and not known to be down.
        pub healthy_nodes: usize,
        /// Worker processes.
        pub processes: usize,
        /// Adaptive balancing is at work.
        pub ai_enabled: bool,
        /// The REST API is offered.
        pub rest_api_enabled: bool,
        /// Events are published over MQTT.
        pub mqtt_enabled: bool,
        /// Number of the primary.
        pub primary: Option<usize>,
        /// `backend_clustering_mode`.
        pub clustering_mode: String,
        /// Clients that there is room for.
        pub max_connections: u64,
        /// New transactions wait, for a planned change.
        pub paused: bool,
        /// When it started (unix seconds).
        pub started_at: u64,
    }

    /// A node.
    pub(super) struct Node {
        /// Its number.
        pub id: usize,
        /// Its host, or the directory of its Unix socket.
        pub host: String,
        /// Its port.
        pub port: u16,
        /// What we think of it: up, down, waiting, unused or quarantine.
        pub status: &'static str,
        /// Its share of the reads, relative to the other nodes.
        pub weight: f64,
        /// What it is to us: primary, standby, main or replica.
        pub role: &'static str,
        /// Bytes that it is behind; 0 where that is not known.
        pub replication_lag: u64,
        /// Whether it answers: up, down or unknown.
        pub pg_status: &'static str,
        /// What it says it is: primary, standby or unknown.
        pub pg_role: &'static str,
        /// Bytes that it is behind; 0 where that is not known.
        pub replication_lag_bytes: u64,
        /// Seconds that it is behind; 0 where that is not known.
        pub replication_lag_seconds: f64,
        /// `state` of pg_stat_replication.
        pub replication_state: String,
        /// `sync_state` of pg_stat_replication.
        pub replication_sync_state: String,
        /// Reads sent to it since the start.
        pub select_count: u64,
        /// Connections to it that are open.
        pub connections: u64,
        /// When status or role changed last (unix seconds).
        pub last_status_change: Option<u64>,
        /// Why it has its status; empty where there is nothing to say.
        pub reason: String,
        /// Why it has its role; empty where nobody has looked.
        pub role_reason: String,
    }

    /// The last recovery of a node since the start.
    pub(super) struct Recovery {
        /// none: there was none, or another node was recovered since; running; done; failed.
        pub state: &'static str,
        /// What is done now, or was done last.
        pub step: String,
        /// Why it failed; empty where it did not.
        pub reason: String,
        /// When it began (unix seconds).
        pub started_at: Option<u64>,
        /// When it ended.
        pub ended_at: Option<u64>,
    }

    /// All nodes.
    pub(super) struct Nodes {
        /// In the order of their numbers.
        pub nodes: Vec<Node>,
    }

    /// How things stand, and what the health checks have counted.
    pub(super) struct Health {
        /// healthy: all nodes are; degraded: some are; down: none is.
        pub health: &'static str,
        /// Verdicts.
        pub checks: Checks,
        /// Numbers.
        pub stats: HealthNumbers,
        /// What the health check of each node has counted since the start.
        pub nodes: Vec<NodeHealth>,
    }

    /// Verdicts.
    pub(super) struct Checks {
        /// passed: some node is healthy; failed: none is.
        pub backend_connectivity: &'static str,
        /// Of the host: normal, or high where less than a tenth is available.
        pub memory_usage: &'static str,
        /// Of the host: low, normal, or high where more waits than there are processors.
        pub load_average: &'static str,
    }

    /// Numbers.
    pub(super) struct HealthNumbers {
        /// Clients that are connected.
        pub total_connections: u64,
        /// Connections to nodes that a client has now.
        pub active_connections: u64,
        /// Statements a second, over the last ten seconds.
        pub queries_per_second: f64,
        /// Null as long as there is no query cache.
        pub cache_hit_ratio: Option<f64>,
    }

    /// What the health check of a node has counted.
    pub(super) struct NodeHealth {
        /// Number of the node.
        pub node_id: usize,
        /// Its host.
        pub hostname: String,
        /// Its port.
        pub port: u16,
        /// What we think of it.
        pub status: &'static str,
        /// What it is to us.
        pub role: &'static str,
        /// When status or role changed last (unix seconds).
        pub last_status_change: Option<u64>,
        /// Checks begun.
        pub total_count: u64,
        /// Checks that found it well.
        pub success_count: u64,
        /// Checks that did not.
        pub fail_count: u64,
        /// Checks left out because it was down.
        pub skip_count: u64,
        /// Retries.
        pub retry_count: u64,
        /// Retries a check.
        pub average_retry_count: f64,
        /// Most retries of one check.
        pub max_retry_count: u64,
        /// Longest check (ms).
        pub max_duration: u64,
        /// Shortest check (ms).
        pub min_duration: u64,
        /// Milliseconds a check.
        pub average_duration: f64,
        /// When the last check ended (unix seconds).
        pub last_health_check: Option<u64>,
        /// The last that found it well.
        pub last_successful_health_check: Option<u64>,
        /// The last that was left out.
        pub last_skip_health_check: Option<u64>,
        /// The last that failed.
        pub last_failed_health_check: Option<u64>,
    }

    /// A worker process.
    pub(super) struct Process {
        /// Its process number.
        pub pid: i32,
        /// Clients that it serves now.
        pub sessions: u64,
        /// It serves none.
        pub idle: bool,
        /// When it started (unix seconds).
        pub started_at: u64,
        /// Clients that it has served.
        pub connections: u64,
    }

    /// All worker processes.
    pub(super) struct Processes {
        /// One each.
        pub processes: Vec<Process>,
        /// How many.
        pub total: usize,
        /// Those with a client.
        pub active: usize,
        /// Those without.
        pub idle: usize,
    }

    /// A worker process with its connections.
    pub(super) struct ProcessWithPools {
        /// Its process number.
        pub pid: i32,
        /// Clients that it serves now.
        pub sessions: u64,
        /// It serves none.
        pub idle: bool,
        /// When it started (unix seconds).
        pub started_at: u64,
        /// Clients that it has served.
        pub connections: u64,
        /// The places for its connections to nodes.
        pub pools: Vec<Pool>,
    }

    /// A place for a connection to a node.
    pub(super) struct Pool {
        /// Process number of the worker.
        pub pid: i32,
        /// Number of the place.
        pub pool_id: usize,
        /// Number of the node.
        pub backend_id: usize,
        /// Database; empty where there is no connection.
        pub database: String,
        /// User.
        pub username: String,
        /// When it was opened (unix seconds).
        pub created_at: Option<u64>,
        /// When it was lent to a client last.
        pub client_connected_at: Option<u64>,
        /// When that client left.
        pub client_disconnected_at: Option<u64>,
        /// How long the client has been idle; null, since that is not kept.
        pub client_idle: Option<u64>,
        /// Version of the protocol, major.
        pub major: u32,
        /// Version of the protocol, minor.
        pub minor: u32,
        /// How often it was lent.
        pub counter: u64,
        /// Process number at the node.
        pub backend_pid: i32,
        /// A client has it.
        pub connected: bool,
        /// What the client does.
        pub status: &'static str,
    }

    /// All places for connections; with many sessions a worker, only those in use.
    pub(super) struct Pools {
        /// One each.
        pub pools: Vec<Pool>,
    }

    /// How full the pools are.
    pub(super) struct PoolStats {
        /// Connections that there is room for, to all nodes together.
        pub total_capacity: u64,
        /// Connections that a client has.
        pub active_connections: u64,
        /// Connections that are kept for the next client.
        pub idle_connections: u64,
        /// Open connections, of 100.
        pub utilization_percent: f64,
        /// `num_init_children`.
        pub num_init_children: i64,
        /// `max_pool`.
        pub max_pool: i64,
        /// `sessions_per_child`.
        pub sessions_per_child: i64,
    }

    /// A parameter.
    pub(super) struct Parameter {
        /// Its name.
        pub name: String,
        /// Its value; a secret shows as `*****`.
        pub value: String,
        /// A line about it.
        pub description: &'static str,
        /// Its value without a setting.
        pub default: String,
    }

    /// All parameters.
    pub(super) struct Parameters {
        /// In the order of the sample file.
        pub parameters: Vec<Parameter>,
    }

    /// Versions.
    pub(super) struct Versions {
        /// Version of pgbalancer.
        pub version: &'static str,
        /// What `SHOW POOL_VERSION` says.
        pub pool_version: String,
    }

    /// What adaptive balancing has learnt.
    pub(super) struct Adaptive {
        /// It is at work: `load_balance_algorithm` is adaptive.
        pub enabled: bool,
        /// `load_balance_algorithm`, as it is in force.
        pub algorithm: &'static str,
        /// `ai_learning_rate`.
        pub learning_rate: f64,
        /// `ai_exploration_rate`.
        pub exploration_rate: f64,
        /// Statements that were sent to nodes while it has learnt.
        pub total_queries: u64,
        /// Those whose node it has chosen.
        pub ai_routed_queries: u64,
        /// Those of them that went there only to learn.
        pub exploration_queries: u64,
        /// What it knows of each node.
        pub backends: Vec<learn::NodeReport>,
    }

    /// The watchdog and its members.
    pub(super) struct WatchdogInfo {
        /// off: there is none.
        pub status: &'static str,
        /// Whether there is a quorum.
        pub quorum: Option<bool>,
        /// The members.
        pub nodes: Vec<u64>,
        /// How it is; off: there is none.
        pub health: &'static str,
    }

    /// The watchdog.
    pub(super) struct WatchdogStatus {
        /// off: there is none.
        pub status: &'static str,
        /// Seconds since its start.
        pub uptime: u64,
        /// Members that are alive.
        pub active_nodes: u64,
        /// Whether there is a quorum; off: there is no watchdog.
        pub quorum_status: &'static str,
    }

    /// All sessions.
    pub(super) struct Sessions {
        /// The sessions.
        pub sessions: Vec<SessionReport>,
    }

    /// The query cache.
    pub(super) struct CacheStats {
        /// There is one.
        pub enabled: bool,
    }
}

described! {
    /// A client's session.
    SessionReport {
        /// Its name: process, place and number, which no other session ever has.
        id: String,
        /// Its worker process.
        pid: i32,
        /// As whom it has logged in.
        user: String,
        /// Its database.
        database: String,
        /// Its application_name.
        application: String,
        /// Address and port, or [local].
        client: String,
        /// idle, active, idle in transaction or authentication.
        state: &'static str,
        /// Since when it is there.
        connected_at: u64,
        /// Where its reads go, if that is chosen for the whole session.
        node: Option<usize>,
    }

    /// What one user had in one database on one node.
    TrafficRow {
        /// The node.
        node: usize,
        /// The user.
        user: String,
        /// The database.
        database: String,
        /// Statements since the start.
        statements: u64,
        /// How many of them failed.
        errors: u64,
        /// How long they took together.
        duration_seconds: f64,
    }

    /// How many statements took how long on a node.
    NodeLatency {
        /// The node.
        node: usize,
        /// In each class.
        counts: Vec<u64>,
    }

    /// How many statements took how long.
    Latency {
        /// Upper bounds of the classes; the last class has none.
        buckets_ms: Vec<f64>,
        /// Of all nodes together, in each class.
        counts: Vec<u64>,
        /// Of each node.
        nodes: Vec<NodeLatency>,
    }

    /// Statements by node, user and database.
    TrafficReport {
        /// Where there was something.
        traffic: Vec<TrafficRow>,
        /// How long they took.
        latency: Latency,
    }

    /// What was learnt of a node, for statements like one.
    NodeScore {
        /// The node.
        node_id: usize,
        /// Microseconds that are expected, made worse by errors and fullness: less is better.
        score: f64,
        /// Milliseconds that are expected.
        expected_ms: f64,
        /// Statements that it runs.
        in_flight: u64,
        /// 1: no errors; towards 0: nothing but errors.
        health: f64,
        /// Part of such statements that it would get.
        share: f64,
    }

    /// What adaptive balancing has learnt of a node.
    learn::NodeReport {
        /// The node.
        id: usize,
        /// Milliseconds that statements have taken lately.
        avg_response_time: f64,
        /// What it runs, in parts of what it runs before it gets slower: 0 to 1.
        current_load: f64,
        /// Statements that were sent there.
        total_queries: u64,
        /// Those that it has done; errors of the statement itself count as done.
        successful_queries: u64,
        /// Those that failed by its fault.
        failed_queries: u64,
        /// Part of those of late that failed by its fault, 0 to 1.
        error_rate: f64,
        /// What it is expected to run, by what it ran lately: 0 to 1.
        predicted_load: f64,
        /// 1: no errors; towards 0: nothing but errors.
        health_score: f64,
        /// Statements that it runs.
        in_flight: u64,
        /// Statements that it runs at once before they get slower.
        room: f64,
        /// Part of its share that it has while it is warmed up, 0 to 1.
        warm: f64,
        /// Time of a statement in relation to the other nodes: 2 takes twice as long.
        slowness: f64,
        /// Statements that were sent there by choice.
        chosen_queries: u64,
        /// Those of them that went there only to learn.
        exploration_queries: u64,
    }

    /// Where a statement would go.
    RouteReport {
        /// The node; of a read the one that this session would have drawn.
        node: Option<usize>,
        /// The part that the node plays.
        target: String,
        /// The rule, in a word.
        rule: String,
        /// The rule, in a sentence.
        reason: String,
        /// The nodes that could serve a read.
        candidates: Vec<usize>,
        /// What was learnt of those nodes, for such a statement; empty where nothing is learnt.
        scores: Vec<NodeScore>,
        /// What only the catalog knows and was taken to be so.
        assumed: Vec<String>,
    }
}
