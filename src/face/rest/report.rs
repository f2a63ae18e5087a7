//! The reports as bodies.
#![forbid(unsafe_code)]

use super::View;
use super::body::{
    Adaptive, CacheStats, Checks, Health, HealthNumbers, Mqtt, MqttTopic, Node, NodeHealth, Nodes, Parameter,
    Parameters, Pool, PoolStats, Pools, Process, ProcessWithPools, Processes, Recovery, Sessions, Status,
    Versions, WatchdogInfo, WatchdogStatus,
};
use super::head::Found;
use super::refusal::Refusal;
use crate::admin::{
    self, AdminError, HealthReport, NodeReport, PoolReport, Role, TrafficReport, pg_status_text, status_text,
};
use crate::config;
use crate::face::mqtt::topic::TOPICS;
use crate::identity;
use crate::shm::{RecoveryRow, WorkerRow};

type Result<T> = std::result::Result<T, Refusal>;

/// A moment; 0 stands for never.
fn moment(seconds: u64) -> Option<u64> {
    (seconds != 0).then_some(seconds)
}

pub(super) fn status(view: &View<'_>, _: &Found) -> Result<Status> {
    let (seen, config) = (admin::overview(&view.admin), view.admin.config);
    Ok(Status {
        status: "running",
        uptime: seen.uptime,
        version: identity::VERSION,
        connections: seen.clients,
        nodes: seen.nodes,
        healthy_nodes: seen.healthy_nodes,
        processes: seen.workers,
        ai_enabled: config.is_adaptive(),
        rest_api_enabled: config.rest_api_enabled,
        mqtt_enabled: config.mqtt_enabled,
        primary: seen.primary,
        clustering_mode: parameter_value(view, "backend_clustering_mode"),
        max_connections: seen.max_clients,
        paused: seen.is_paused,
        started_at: seen.started_at,
    })
}

fn parameter_value(view: &View<'_>, name: &str) -> String {
    config::describe_one(view.admin.config, name).map(|param| param.value).unwrap_or_default()
}

pub(super) fn nodes(view: &View<'_>, _: &Found) -> Result<Nodes> {
    Ok(Nodes { nodes: admin::nodes(&view.admin).into_iter().map(|report| node_of(view, report)).collect() })
}

pub(super) fn node(view: &View<'_>, found: &Found) -> Result<Node> {
    let backend = admin::find_node(&view.admin, found.number()?)?;
    let report = admin::nodes(&view.admin).into_iter().find(|report| report.id == backend.id);
    let gone = AdminError::UnknownNode { number: found.number()?, end: 0 };
    report.map(|report| node_of(view, report)).ok_or_else(|| gone.into())
}

pub(super) fn recovery(view: &View<'_>, found: &Found) -> Result<Recovery> {
    let node = admin::find_node(&view.admin, found.number()?)?.id;
    let (row, is_under_way) = view.admin.segment.recovery();
    let row = if row.node_plus_1 as usize == node + 1 { row } else { RecoveryRow::default() };
    let (state, reason) = match row {
        RecoveryRow { node_plus_1: 0, .. } => ("none", String::new()),
        RecoveryRow { ended_at: 0, .. } if is_under_way => ("running", String::new()),
        RecoveryRow { ended_at: 0, .. } => ("failed", "the process that recovered it has ended".to_owned()),
        RecoveryRow { failure, .. } if failure.as_str().is_empty() => ("done", String::new()),
        RecoveryRow { failure, .. } => ("failed", failure.to_string()),
    };
    let (started_at, ended_at) = (moment(row.begun_at), moment(row.ended_at));
    Ok(Recovery { state, step: row.step.to_string(), reason, started_at, ended_at })
}

fn node_of(view: &View<'_>, report: NodeReport) -> Node {
    Node {
        id: report.id,
        host: report.hostname,
        port: report.port,
        status: status_text(report.status),
        weight: report.weight,
        role: report.role.name(),
        replication_lag: report.delay_bytes,
        pg_status: pg_status_text(report.pg_status),
        pg_role: report.pg_role.map_or("unknown", Role::name),
        replication_lag_bytes: report.delay_bytes,
        replication_lag_seconds: report.delay_micros as f64 / 1e6,
        replication_state: report.replication_state,
        replication_sync_state: report.replication_sync_state,
        select_count: report.reads,
        connections: admin::links(&view.admin, report.id).open,
        last_status_change: moment(report.changed_at),
        reason: report.reason,
        role_reason: report.role_reason,
    }
}

pub(super) fn health(view: &View<'_>, _: &Found) -> Result<Health> {
    let seen = admin::overview(&view.admin);
    let health = match seen.healthy_nodes {
        0 => "down",
        some if some < seen.nodes => "degraded",
        _ => "healthy",
    };
    Ok(Health {
        health,
        checks: Checks {
            backend_connectivity: if seen.healthy_nodes > 0 { "passed" } else { "failed" },
            memory_usage: if view.host.available_memory < 0.1 { "high" } else { "normal" },
            load_average: match view.host.load {
                load if load < 0.5 => "low",
                load if load <= 1.0 => "normal",
                _ => "high",
            },
        },
        stats: HealthNumbers {
            total_connections: seen.clients,
            active_connections: admin::pool_totals(&view.admin).active,
            queries_per_second: view.queries_per_second,
            cache_hit_ratio: None,
        },
        nodes: admin::health(&view.admin).into_iter().map(node_health).collect(),
    })
}

fn node_health(report: HealthReport) -> NodeHealth {
    let counts = &report.counts;
    NodeHealth {
        node_id: report.id,
        status: status_text(report.status),
        role: report.role.name(),
        port: report.port,
        last_status_change: moment(report.changed_at),
        total_count: counts.total,
        success_count: counts.success,
        fail_count: counts.fail,
        skip_count: counts.skip,
        retry_count: counts.retry,
        average_retry_count: report.average_retries(),
        max_retry_count: counts.max_retry,
        max_duration: counts.max_duration,
        min_duration: counts.min_duration,
        average_duration: report.average_duration(),
        last_health_check: moment(counts.last),
        last_successful_health_check: moment(counts.last_success),
        last_skip_health_check: moment(counts.last_skip),
        last_failed_health_check: moment(counts.last_fail),
        hostname: report.hostname,
    }
}

pub(super) fn processes(view: &View<'_>, _: &Found) -> Result<Processes> {
    let processes: Vec<Process> = admin::process_workers(&view.admin).iter().map(process_of).collect();
    let idle = processes.iter().filter(|process| process.idle).count();
    Ok(Processes { total: processes.len(), active: processes.len() - idle, idle, processes })
}

fn process_of(row: &WorkerRow) -> Process {
    Process {
        pid: row.pid,
        sessions: row.sessions,
        idle: row.sessions == 0,
        started_at: row.started_at,
        connections: row.client_connections,
    }
}

pub(super) fn process(view: &View<'_>, found: &Found) -> Result<ProcessWithPools> {
    let worker = admin::find_process(&view.admin, found.number()?)?;
    let Process { pid, sessions, idle, started_at, connections } = process_of(&worker);
    let all = admin::pools(&view.admin);
    let pools = all.filter(|report| report.worker.pid == pid).map(pool_of).collect();
    Ok(ProcessWithPools { pid, sessions, idle, started_at, connections, pools })
}

pub(super) fn sessions(view: &View<'_>, _: &Found) -> Result<Sessions> {
    Ok(Sessions { sessions: admin::sessions(&view.admin) })
}

pub(super) fn traffic(view: &View<'_>, _: &Found) -> Result<TrafficReport> {
    Ok(admin::traffic(&view.admin))
}

pub(super) fn pools(view: &View<'_>, _: &Found) -> Result<Pools> {
    Ok(Pools { pools: admin::pools(&view.admin).map(pool_of).collect() })
}

fn pool_of(report: PoolReport) -> Pool {
    let row = &report.row;
    Pool {
        pid: report.worker.pid,
        pool_id: report.pool_id,
        backend_id: report.node,
        database: row.database.to_string(),
        username: row.user.to_string(),
        created_at: moment(row.backend_connected_at),
        client_connected_at: moment(row.client_connected_at),
        client_disconnected_at: moment(row.client_disconnected_at),
        client_idle: None,
        major: row.major,
        minor: row.minor,
        counter: row.pool_counter,
        backend_pid: row.backend_pid,
        connected: row.session_plus_1 != 0,
        status: report.status.name(),
    }
}

pub(super) fn pool_stats(view: &View<'_>, _: &Found) -> Result<PoolStats> {
    let (totals, config) = (admin::pool_totals(&view.admin), view.admin.config);
    Ok(PoolStats {
        total_capacity: totals.capacity,
        active_connections: totals.active,
        idle_connections: totals.idle,
        utilization_percent: totals.percent(),
        num_init_children: config.num_init_children,
        max_pool: config.max_pool,
        sessions_per_child: config.sessions_per_child,
    })
}

pub(super) fn parameters(view: &View<'_>, _: &Found) -> Result<Parameters> {
    let all = config::described(view.admin.config).into_iter();
    Ok(Parameters { parameters: all.map(parameter_of).collect() })
}

pub(super) fn parameter(view: &View<'_>, found: &Found) -> Result<Parameter> {
    let name = found.text();
    let unknown = || AdminError::UnknownParameter(name.escape_debug().to_string()).into();
    config::describe_one(view.admin.config, name).map(parameter_of).ok_or_else(unknown)
}

fn parameter_of(param: config::Described) -> Parameter {
    let config::Described { name, value, description, default } = param;
    Parameter { name, value, description, default }
}

pub(super) fn version(_: &View<'_>, _: &Found) -> Result<Versions> {
    Ok(Versions { version: identity::VERSION, pool_version: identity::pool_version() })
}

pub(super) fn adaptive(view: &View<'_>, _: &Found) -> Result<Adaptive> {
    let learned = admin::learned(&view.admin);
    Ok(Adaptive {
        enabled: view.admin.config.is_adaptive(),
        algorithm: learned.algorithm.word(),
        learning_rate: learned.learning_rate,
        exploration_rate: learned.exploration_rate,
        total_queries: learned.report.total_queries,
        ai_routed_queries: learned.report.ai_routed_queries,
        exploration_queries: learned.report.exploration_queries,
        backends: learned.report.nodes,
    })
}

pub(super) fn watchdog_info(_: &View<'_>, _: &Found) -> Result<WatchdogInfo> {
    Ok(WatchdogInfo { status: "off", quorum: None, nodes: Vec::new(), health: "off" })
}

pub(super) fn watchdog_status(_: &View<'_>, _: &Found) -> Result<WatchdogStatus> {
    Ok(WatchdogStatus { status: "off", uptime: 0, active_nodes: 0, quorum_status: "off" })
}

pub(super) fn cache(_: &View<'_>, _: &Found) -> Result<CacheStats> {
    Ok(CacheStats { enabled: false })
}

pub(super) fn mqtt(view: &View<'_>, _: &Found) -> Result<Mqtt> {
    let (config, row) = (view.admin.config, view.admin.segment.mqtt());
    let prefix = &config.mqtt_topic_prefix;
    let topics = TOPICS.iter().map(|topic| MqttTopic {
        topic: format!("{prefix}/{}", topic.address),
        about: topic.about,
        retained: topic.retained,
    });
    Ok(Mqtt {
        enabled: config.mqtt_enabled,
        connected: row.is_connected,
        broker: config.broker().address(),
        version: config.mqtt_version.word(),
        client_id: config.mqtt_client_id.clone(),
        topic_prefix: prefix.clone(),
        qos: config.mqtt_qos,
        connected_at: moment(row.connected_at),
        connections: row.connections,
        error: row.error.to_string(),
        published: row.published,
        dropped: row.dropped,
        refused: row.refused,
        missed: row.missed,
        queued: row.queued,
        queue_size: config.mqtt_queue_size,
        topics: topics.collect(),
    })
}

/// Whoever asks hears that the process lives.
pub(super) fn alive(_: &View<'_>, _: &Found) -> Result<String> {
    Ok("ok\n".to_owned())
}

pub(super) fn ready(view: &View<'_>, _: &Found) -> Result<String> {
    match admin::readiness(&view.admin) {
        Ok(()) => Ok("ready\n".to_owned()),
        Err(why) => Err(Refusal::new(503, why)),
    }
}
