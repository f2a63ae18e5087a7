//! Names of the columns of every report, as pgpool-II has them: scripts and exporters read them.
#![forbid(unsafe_code)]

/// A report on the backends.
pub(super) const NODES: &[&str] = &[
    "node_id",
    "hostname",
    "port",
    "status",
    "pg_status",
    "lb_weight",
    "role",
    "pg_role",
    "select_cnt",
    "load_balance_node",
    "replication_delay",
    "replication_state",
    "replication_sync_state",
    "last_status_change",
];

/// Statements sent to and errors received from each backend.
pub(super) const BACKEND_STATS: &[&str] = &[
    "node_id",
    "hostname",
    "port",
    "status",
    "role",
    "select_cnt",
    "insert_cnt",
    "update_cnt",
    "delete_cnt",
    "ddl_cnt",
    "other_cnt",
    "panic_cnt",
    "fatal_cnt",
    "error_cnt",
];

/// What the health checks have counted.
pub(super) const HEALTH_CHECK_STATS: &[&str] = &[
    "node_id",
    "hostname",
    "port",
    "status",
    "role",
    "last_status_change",
    "total_count",
    "success_count",
    "fail_count",
    "skip_count",
    "retry_count",
    "average_retry_count",
    "max_retry_count",
    "max_duration",
    "min_duration",
    "average_duration",
    "last_health_check",
    "last_successful_health_check",
    "last_skip_health_check",
    "last_failed_health_check",
];

/// Client sessions.
pub(super) const PROCESSES: &[&str] = &[
    "pool_pid",
    "start_time",
    "client_connection_count",
    "database",
    "username",
    "backend_connection_time",
    "pool_counter",
    "status",
];

/// Pooled connections.
pub(super) const POOLS: &[&str] = &[
    "pool_pid",
    "start_time",
    "client_connection_count",
    "pool_id",
    "backend_id",
    "database",
    "username",
    "backend_connection_time",
    "client_connection_time",
    "client_disconnection_time",
    "client_idle_duration",
    "majorversion",
    "minorversion",
    "pool_counter",
    "pool_backendpid",
    "pool_connected",
    "status",
];

/// The version.
pub(super) const VERSION: &[&str] = &["pool_version"];

/// Several parameters.
pub(super) const PARAMETERS: &[&str] = &["item", "value", "description"];

/// A report on the clients (ours).
pub(super) const SESSIONS: &[&str] = &[
    "session_id",
    "pool_pid",
    "database",
    "username",
    "application_name",
    "client",
    "status",
    "client_connection_time",
    "load_balance_node",
];

/// Statements of each user in each database on each node (ours).
pub(super) const TRAFFIC: &[&str] =
    &["node_id", "username", "database", "statements", "errors", "duration_seconds"];

/// What routing has learnt of each node (ours).
pub(super) const LEARNED: &[&str] = &[
    "node_id",
    "avg_response_time",
    "current_load",
    "predicted_load",
    "health_score",
    "error_rate",
    "slowness",
    "in_flight",
    "room",
    "warm",
    "total_queries",
    "successful_queries",
    "failed_queries",
    "chosen_queries",
    "exploration_queries",
];

/// The query cache.
pub(super) const CACHE: &[&str] = &[
    "num_cache_hits",
    "num_selects",
    "cache_hit_ratio",
    "num_hash_entries",
    "used_hash_entries",
    "num_cache_entries",
    "used_cache_entries_size",
    "free_cache_entries_size",
    "fragment_cache_entries_size",
];
