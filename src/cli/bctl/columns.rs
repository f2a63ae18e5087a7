//! Which values of the API each report shows, and how they are called.
#![forbid(unsafe_code)]

use super::text::{Field, Kind, field, plain};

/// A list: path and key, its heading, what one of them is called, the columns of its table and the lines of its blocks.
pub(super) struct List {
    pub(super) path: &'static str,
    pub(super) key: &'static str,
    pub(super) heading: &'static str,
    pub(super) one: &'static str,
    pub(super) many: &'static str,
    pub(super) columns: &'static [Field],
    pub(super) lines: &'static [Field],
    /// Widths below which the columns do not fall.
    pub(super) widths: &'static [u16],
}

/// The nodes, as the original draws them.
pub(super) const NODES: List = List {
    path: "/nodes",
    key: "nodes",
    heading: "Nodes Information:",
    one: "Node",
    many: "nodes",
    columns: &[
        plain("ID", "id"),
        plain("Host", "host"),
        plain("Port", "port"),
        plain("Status", "status"),
        plain("Weight", "weight"),
        plain("Role", "role"),
        plain("Rep Lag", "replication_lag"),
    ],
    lines: &[
        plain("ID", "id"),
        plain("Host", "host"),
        plain("Port", "port"),
        plain("Status", "status"),
        plain("Weight", "weight"),
        plain("Role", "role"),
        plain("Replication Lag", "replication_lag"),
    ],
    widths: &[2, 15, 5, 8, 6, 7, 8],
};

pub(super) const NODE: &[Field] = &[
    plain("ID", "id"),
    plain("Host", "host"),
    plain("Port", "port"),
    plain("Status", "status"),
    plain("Reason", "reason"),
    field("Last Status Change", "last_status_change", Kind::Time),
    plain("Weight", "weight"),
    plain("Role", "role"),
    plain("Role Reason", "role_reason"),
    plain("PostgreSQL Status", "pg_status"),
    plain("PostgreSQL Role", "pg_role"),
    plain("Replication Lag", "replication_lag"),
    field("Replication Delay", "replication_lag_seconds", Kind::Seconds),
    plain("Replication State", "replication_state"),
    plain("Replication Sync State", "replication_sync_state"),
    plain("Selects", "select_count"),
    plain("Connections", "connections"),
];

pub(super) const STATUS: &[Field] = &[
    plain("Status", "status"),
    plain("Version", "version"),
    field("Uptime", "uptime", Kind::Seconds),
    plain("Connections", "connections"),
    plain("Max Connections", "max_connections"),
    plain("Nodes", "nodes"),
    plain("Healthy Nodes", "healthy_nodes"),
    plain("Primary", "primary"),
    plain("Processes", "processes"),
    plain("Clustering Mode", "clustering_mode"),
    plain("Paused", "paused"),
    field("Started", "started_at", Kind::Time),
];

pub(super) const PROCESSES: List = List {
    path: "/processes",
    key: "processes",
    heading: "Processes Information:",
    one: "Process",
    many: "processes",
    columns: PROCESS,
    lines: PROCESS,
    widths: &[],
};

pub(super) const PROCESS: &[Field] = &[
    plain("PID", "pid"),
    plain("Sessions", "sessions"),
    plain("Idle", "idle"),
    plain("Connections", "connections"),
    plain("Nodes", "nodes"),
    field("Started", "started_at", Kind::Time),
];

pub(super) const POOLS: List = List {
    path: "/pools",
    key: "pools",
    heading: "Pools Information:",
    one: "Pool",
    many: "pools",
    // What blocks show behind them tells little in a row.
    columns: POOL.split_at(10).0,
    lines: POOL,
    widths: &[],
};

const POOL: &[Field] = &[
    plain("PID", "pid"),
    plain("Pool", "pool_id"),
    plain("Node", "backend_id"),
    plain("Database", "database"),
    plain("User", "username"),
    plain("Backend PID", "backend_pid"),
    plain("Uses", "counter"),
    plain("Connected", "connected"),
    plain("Status", "status"),
    field("Created", "created_at", Kind::Time),
    field("Client Connected", "client_connected_at", Kind::Time),
    field("Client Disconnected", "client_disconnected_at", Kind::Time),
    field("Client Idle", "client_idle", Kind::Seconds),
];

pub(super) const SESSIONS: List = List {
    path: "/sessions",
    key: "sessions",
    heading: "Sessions Information:",
    one: "Session",
    many: "sessions",
    columns: SESSION,
    lines: SESSION,
    widths: &[],
};

const SESSION: &[Field] = &[
    plain("ID", "id"),
    plain("PID", "pid"),
    plain("User", "user"),
    plain("Database", "database"),
    plain("Application", "application"),
    plain("Client", "client"),
    plain("State", "state"),
    plain("Node", "node"),
    field("Connected", "connected_at", Kind::Time),
];

pub(super) const TRAFFIC: List = List {
    path: "/traffic",
    key: "traffic",
    heading: "Traffic Information:",
    one: "Entry",
    many: "entries",
    columns: FLOW,
    lines: FLOW,
    widths: &[],
};

const FLOW: &[Field] = &[
    plain("Node", "node"),
    plain("User", "user"),
    plain("Database", "database"),
    plain("Statements", "statements"),
    plain("Errors", "errors"),
    field("Time", "duration_seconds", Kind::Seconds),
];

pub(super) const ADAPTIVE: &[Field] = &[
    plain("Adaptive Routing", "enabled"),
    plain("Algorithm", "algorithm"),
    plain("Learning Rate", "learning_rate"),
    plain("Exploration Rate", "exploration_rate"),
    plain("Statements", "total_queries"),
    plain("Of Its Choice", "ai_routed_queries"),
    plain("To Learn", "exploration_queries"),
];

pub(super) const LEARNED: List = List {
    path: "/ai-stats",
    key: "backends",
    heading: "What Was Learnt:",
    one: "Node",
    many: "nodes",
    columns: WHAT,
    lines: WHAT,
    widths: &[],
};

const WHAT: &[Field] = &[
    plain("Node", "id"),
    plain("Response Time (ms)", "avg_response_time"),
    plain("Health", "health_score"),
    plain("Error Rate", "error_rate"),
    plain("Slowness", "slowness"),
    plain("In Flight", "in_flight"),
    plain("Room", "room"),
    plain("Load", "current_load"),
    plain("Statements", "total_queries"),
    plain("Failed", "failed_queries"),
    plain("Of Its Choice", "chosen_queries"),
    plain("To Learn", "exploration_queries"),
];

pub(super) const HEALTH: &[Field] = &[
    plain("Health", "health"),
    plain("Backend Connectivity", "checks.backend_connectivity"),
    plain("Memory Usage", "checks.memory_usage"),
    plain("Load Average", "checks.load_average"),
    plain("Total Connections", "stats.total_connections"),
    plain("Active Connections", "stats.active_connections"),
    plain("Queries Per Second", "stats.queries_per_second"),
    plain("Cache Hit Ratio", "stats.cache_hit_ratio"),
];

pub(super) const CHECKS: List = List {
    path: "/health/stats",
    key: "nodes",
    heading: "Health Checks:",
    one: "Node",
    many: "nodes",
    columns: &[
        plain("Node", "node_id"),
        plain("Status", "status"),
        plain("Checks", "total_count"),
        plain("Good", "success_count"),
        plain("Failed", "fail_count"),
        plain("Skipped", "skip_count"),
        plain("Retries", "retry_count"),
        field("Last", "last_health_check", Kind::Time),
        field("Last Failed", "last_failed_health_check", Kind::Time),
    ],
    lines: &[
        plain("ID", "node_id"),
        plain("Host", "hostname"),
        plain("Port", "port"),
        plain("Status", "status"),
        plain("Role", "role"),
        field("Last Status Change", "last_status_change", Kind::Time),
        plain("Checks", "total_count"),
        plain("Good", "success_count"),
        plain("Failed", "fail_count"),
        plain("Skipped", "skip_count"),
        plain("Retries", "retry_count"),
        plain("Average Retries", "average_retry_count"),
        plain("Most Retries", "max_retry_count"),
        plain("Longest (ms)", "max_duration"),
        plain("Shortest (ms)", "min_duration"),
        plain("Average (ms)", "average_duration"),
        field("Last", "last_health_check", Kind::Time),
        field("Last Good", "last_successful_health_check", Kind::Time),
        field("Last Skipped", "last_skip_health_check", Kind::Time),
        field("Last Failed", "last_failed_health_check", Kind::Time),
    ],
    widths: &[],
};

pub(super) const MQTT: &[Field] = &[
    plain("Enabled", "enabled"),
    plain("Connected", "connected"),
    plain("Broker", "broker"),
    plain("Version", "version"),
    plain("Client ID", "client_id"),
    plain("QoS", "qos"),
    field("Connected Since", "connected_at", Kind::Time),
    plain("Error", "error"),
    plain("Connections", "connections"),
    plain("Published", "published"),
    plain("Queued", "queued"),
    plain("Queue Size", "queue_size"),
    plain("Dropped", "dropped"),
    plain("Refused", "refused"),
    plain("Missed Events", "missed"),
];

pub(super) const TOPICS: List = List {
    path: "/mqtt",
    key: "topics",
    heading: "Topics:",
    one: "Topic",
    many: "topics",
    columns: TOPIC,
    lines: TOPIC,
    widths: &[],
};

const TOPIC: &[Field] = &[plain("Topic", "topic"), plain("Retained", "retained"), plain("About", "about")];

pub(super) const WATCHDOG: &[Field] = &[
    plain("Status", "status"),
    plain("Quorum", "quorum"),
    plain("Health", "health"),
    field("Uptime", "uptime", Kind::Seconds),
    plain("Active Nodes", "active_nodes"),
    plain("Quorum Status", "quorum_status"),
    plain("Note", "note"),
];

pub(super) const MEMBERS: List = List {
    path: "/watchdog/info",
    key: "nodes",
    heading: "Members:",
    one: "Member",
    many: "members",
    columns: MEMBER,
    lines: MEMBER,
    widths: &[],
};

const MEMBER: &[Field] = &[
    plain("ID", "id"),
    plain("Host", "host"),
    plain("Port", "port"),
    plain("Status", "status"),
    field("Last Heartbeat", "last_heartbeat", Kind::Time),
];

pub(super) const EVENTS: List = List {
    path: "/events?follow=0",
    key: "events",
    heading: "Events:",
    one: "Event",
    many: "events",
    columns: &[
        plain("ID", "id"),
        field("Time", "at", Kind::Time),
        plain("Kind", "kind"),
        plain("Node", "node"),
        plain("Old", "old"),
        plain("New", "new"),
        plain("Reason", "reason"),
    ],
    lines: &[],
    widths: &[],
};

pub(super) const PARAMETERS: List = List {
    path: "/config",
    key: "parameters",
    heading: "Parameters:",
    one: "Parameter",
    many: "parameters",
    columns: &[
        plain("Name", "name"),
        plain("Value", "value"),
        plain("Default", "default"),
        plain("Description", "description"),
    ],
    lines: &[],
    widths: &[],
};

pub(super) const ROUTE: &[Field] = &[
    plain("Node", "node"),
    plain("Target", "target"),
    plain("Rule", "rule"),
    plain("Reason", "reason"),
    plain("Candidates", "candidates"),
    plain("Assumed", "assumed"),
];
