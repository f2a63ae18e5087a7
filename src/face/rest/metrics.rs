//! `/metrics`: what is known, as Prometheus reads it. What nobody counts is not there.
#![forbid(unsafe_code)]

use super::View;
use super::exporter::exporter;
use super::exposition::Page;
use super::head::Found;
use super::refusal::Refusal;
use crate::admin::{self, Context, NodeReport, Overview, Role};
use crate::identity;
use crate::route::learn;
use crate::shm::{FailoverReason, HealthRow, Totals};

/// The page.
pub(super) fn metrics(view: &View<'_>, _: &Found) -> Result<String, Refusal> {
    let context = &view.admin;
    let nodes = admin::nodes(context);
    let seen = Seen {
        context,
        overview: admin::overview(context),
        totals: nodes.iter().map(|node| context.segment.node_totals(node.id)).collect(),
        nodes,
    };
    let mut page = Page::new("pgbalancer_");
    server(&mut page, &seen);
    nodes_in_use(&mut page, &seen);
    pools_and_processes(&mut page, &seen);
    statements(&mut page, &seen);
    learned(&mut page, &seen);
    health_checks(&mut page, &seen);
    changes(&mut page, &seen);
    if context.config.mqtt_enabled {
        mqtt(&mut page, &seen);
    }
    let mut page = page.of_names("process_");
    own_process(&mut page, view);
    if context.config.rest_api_exporter_metrics {
        page = page.of_names("pgpool2_");
        exporter(&mut page, &seen);
    }
    Ok(page.text())
}

/// What several metrics are made of.
pub(super) struct Seen<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) overview: Overview,
    pub(super) nodes: Vec<NodeReport>,
    /// What was counted on each of the nodes.
    totals: Vec<Totals>,
}

impl Seen<'_> {
    pub(super) fn counted(&self) -> impl Iterator<Item = (&NodeReport, &Totals)> {
        self.nodes.iter().zip(&self.totals)
    }

    /// Of all nodes.
    fn sum(&self, count: impl Fn(&Totals) -> u64) -> u64 {
        self.totals.iter().map(count).fold(0, u64::saturating_add)
    }
}

fn server(page: &mut Page, seen: &Seen<'_>) {
    let overview = &seen.overview;
    page.one("up", "gauge", "Whether it runs.", 1);
    page.family("version_info", "gauge", "Version of pgbalancer.");
    page.sample("version_info", &[("version", identity::VERSION)], 1);
    page.one("start_time_seconds", "gauge", "When it started, in unix seconds.", overview.started_at);
    page.one("uptime_seconds", "gauge", "Seconds since the start.", overview.uptime);
    page.one("clients", "gauge", "Clients that are connected.", overview.clients);
    page.one("clients_max", "gauge", "Clients that there is room for.", overview.max_clients);
    let ready = u8::from(admin::readiness(seen.context).is_ok());
    page.one("ready", "gauge", "Whether a client would be served now.", ready);
    page.one("backend_total", "gauge", "Configured nodes.", overview.nodes);
}

fn nodes_in_use(page: &mut Page, seen: &Seen<'_>) {
    let nodes = &seen.nodes;
    let is_up = |node: &NodeReport| node.status.is_used() && node.pg_status != crate::shm::PgStatus::Down;
    page.family("backend_up", "gauge", "Whether the node is in use and not known to be down.");
    for node in nodes {
        let role = node.role.name();
        page.of_node("backend_up", node, &[("role", role)], u8::from(is_up(node)));
    }
    page.each("backend_role", "gauge", "1: primary, or main; 0: standby, or replica.", nodes, |node| {
        u8::from(matches!(node.role, Role::Primary | Role::Main))
    });
    page.each("backend_weight", "gauge", "Share of the reads, relative to the other nodes.", nodes, |node| {
        node.weight
    });
    page.each("backend_connections", "gauge", "Open connections to the node.", nodes, |node| {
        admin::links(seen.context, node.id).open
    });
    let lag = "Seconds behind the primary, 0 where that is not known.";
    page.each("backend_replication_lag_seconds", "gauge", lag, nodes, |node| node.delay_micros as f64 / 1e6);
    let lag = "Bytes behind the primary, 0 where that is not known.";
    page.each("backend_replication_lag_bytes", "gauge", lag, nodes, |node| node.delay_bytes);
    page.family("backend_queries_total", "counter", "Statements sent to the node.");
    for (node, totals) in seen.counted() {
        let sent = KINDS.iter().map(|(_, count)| count(totals)).sum::<u64>();
        page.of_node("backend_queries_total", node, &[], sent);
    }
    page.family("backend_errors_total", "counter", "Errors received from the node.");
    for (node, totals) in seen.counted() {
        for (severity, count) in [("PANIC", totals.panic), ("FATAL", totals.fatal), ("ERROR", totals.error)] {
            page.of_node("backend_errors_total", node, &[("severity", severity)], count);
        }
    }
}

/// As all programs name it.
fn own_process(page: &mut Page, view: &View<'_>) {
    let cpu = "Processor time of the process that serves this page.";
    page.one("cpu_seconds_total", "counter", cpu, view.host.own_cpu_seconds);
    let memory = "Memory of the process that serves this page.";
    page.one("resident_memory_bytes", "gauge", memory, view.host.own_memory);
}

fn pools_and_processes(page: &mut Page, seen: &Seen<'_>) {
    let totals = admin::pool_totals(seen.context);
    let capacity = "Connections to nodes that there is room for.";
    page.one("pool_connections_total", "gauge", capacity, totals.capacity);
    page.one("pool_connections_active", "gauge", "Connections that a client has.", totals.active);
    page.one("pool_connections_idle", "gauge", "Connections kept for the next client.", totals.idle);
    page.one("pool_utilization_percent", "gauge", "Open connections, of 100.", totals.percent());
    let hits = "Times that a session got a connection that was open.";
    page.one("pool_hits_total", "counter", hits, seen.sum(|totals| totals.pool_hits));
    let misses = "Times that a connection had to be opened for a session.";
    page.one("pool_misses_total", "counter", misses, seen.sum(|totals| totals.pool_misses));
    let overview = &seen.overview;
    page.one("process_total", "gauge", "Worker processes.", overview.workers);
    page.one("process_active", "gauge", "Those with a client.", overview.workers - overview.idle_workers);
    page.one("process_idle", "gauge", "Those without.", overview.idle_workers);
}

fn statements(page: &mut Page, seen: &Seen<'_>) {
    page.family("queries_total", "counter", "Statements sent to all nodes.");
    for (kind, count) in KINDS {
        page.sample("queries_total", &[("type", kind)], seen.sum(count));
    }
    let about = "Transactions by their end, also those of statements that stand alone.";
    page.family("transactions_total", "counter", about);
    let ends: [(&str, Count); 2] =
        [("committed", |totals| totals.committed), ("aborted", |totals| totals.aborted)];
    for (end, count) in ends {
        page.sample("transactions_total", &[("status", end)], seen.sum(count));
    }
    page.family("query_duration_seconds", "histogram", "How long statements took, from sending to the end.");
    let segment = seen.context.segment;
    for node in &seen.nodes {
        let counts = segment.latency(node.id);
        // Read behind the counts: a statement that ends in between shows in the sum alone.
        page.histogram("query_duration_seconds", node, &counts, segment.traffic_micros(node.id));
    }
}

/// What routing has learnt.
fn learned(page: &mut Page, seen: &Seen<'_>) {
    let learned = admin::learned(seen.context);
    let report = &learned.report;
    let enabled = u8::from(seen.context.config.is_adaptive());
    page.one("ai_enabled", "gauge", "Whether nodes are chosen by what was learnt of them.", enabled);
    page.one("ai_learning_rate", "gauge", "How fast knowledge fades.", learned.learning_rate);
    let rate = "Most of the choices that may only look how a node does.";
    page.one("ai_exploration_rate", "gauge", rate, learned.exploration_rate);
    let chosen = "Statements whose node was chosen by what was learnt.";
    page.one("ai_decisions_total", "counter", chosen, report.ai_routed_queries);
    let explored = "Those that were sent only to look how the node does.";
    page.one("ai_exploration_decisions_total", "counter", explored, report.exploration_queries);
    let mut each = |name: &str, about: &str, value: fn(&learn::NodeReport) -> f64| {
        page.family(name, "gauge", about);
        for (node, known) in seen.nodes.iter().zip(&report.nodes) {
            page.of_node(name, node, &[], value(known));
        }
    };
    let health = "1: no errors by fault of the node; towards 0: nothing but errors.";
    each("backend_health_score", health, |node| node.health_score);
    each("ai_response_time_seconds", "How long statements have taken lately.", |node| {
        node.avg_response_time / 1000.0
    });
    each("ai_in_flight", "Statements that the node runs.", |node| node.in_flight as f64);
}

type Count = fn(&Totals) -> u64;

/// The kinds of statements.
const KINDS: [(&str, Count); 6] = [
    ("SELECT", |totals| totals.select),
    ("INSERT", |totals| totals.insert),
    ("UPDATE", |totals| totals.update),
    ("DELETE", |totals| totals.delete),
    ("DDL", |totals| totals.ddl),
    ("OTHER", |totals| totals.other),
];

fn health_checks(page: &mut Page, seen: &Seen<'_>) {
    let rows: Vec<HealthRow> = seen.nodes.iter().map(|node| seen.context.segment.health(node.id)).collect();
    let counted = || seen.nodes.iter().zip(&rows);
    page.family("health_check_total", "counter", "Health checks by what they found.");
    for (node, row) in counted() {
        for (result, count) in [("success", row.success), ("fail", row.fail), ("skip", row.skip)] {
            page.of_node("health_check_total", node, &[("result", result)], count);
        }
    }
    page.family("health_check_failures_total", "counter", "Health checks that failed.");
    for (node, row) in counted() {
        page.of_node("health_check_failures_total", node, &[], row.fail);
    }
    page.family(
        "health_check_duration_seconds",
        "histogram",
        "How long health checks took, with all retries.",
    );
    for (node, row) in counted() {
        page.histogram("health_check_duration_seconds", node, &row.classes, row.micros);
    }
}

fn changes(page: &mut Page, seen: &Seen<'_>) {
    page.family("failover_total", "counter", "Primaries that were replaced, by why.");
    for reason in FailoverReason::ALL {
        let count = seen.context.segment.failovers(reason);
        page.sample("failover_total", &[("reason", reason.name())], count);
    }
    let nodes = &seen.nodes;
    let back: u64 = nodes.iter().map(|node| node.times_back).sum();
    page.one("failback_total", "counter", "Nodes that were put back in use.", back);
    page.each("backend_detach_total", "counter", "Times the node was taken out of use.", nodes, |node| {
        node.times_out
    });
    page.each("backend_attach_total", "counter", "Times the node was put back in use.", nodes, |node| {
        node.times_back
    });
}

fn mqtt(page: &mut Page, seen: &Seen<'_>) {
    let row = seen.context.segment.mqtt();
    page.one(
        "mqtt_connected",
        "gauge",
        "Whether there is a connection to the broker.",
        u8::from(row.is_connected),
    );
    page.one(
        "mqtt_connections_total",
        "counter",
        "Connections to the broker that were made.",
        row.connections,
    );
    page.one("mqtt_messages_queued", "gauge", "Messages that wait for the broker.", row.queued);
    page.family("mqtt_messages_total", "counter", "Messages by what became of them.");
    for (fate, count) in [("published", row.published), ("dropped", row.dropped), ("refused", row.refused)] {
        page.sample("mqtt_messages_total", &[("result", fate)], count);
    }
    page.one(
        "mqtt_events_missed_total",
        "counter",
        "Events that were gone before they were published.",
        row.missed,
    );
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::super::{Head, Host};
    use super::*;
    use crate::admin::tests::{config, context, segment};
    use crate::shm::{NodeStatus, PoolRow};

    fn page(conf: &str) -> String {
        let (segment, config) = (segment(1), config(conf));
        segment.counters(0, 1).select.fetch_add(5, std::sync::atomic::Ordering::Relaxed);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        segment.counters(0, 0).committed.fetch_add(4, relaxed);
        segment.counters(1, 1).aborted.fetch_add(1, relaxed);
        segment.counters(1, 0).pool_hits.fetch_add(3, relaxed);
        segment.counters(1, 1).pool_misses.fetch_add(2, relaxed);
        for status in [NodeStatus::Down, NodeStatus::Waiting, NodeStatus::Down] {
            segment.set_status(1, status, "", 1);
        }
        segment.traffic_counts(0, "ann", "db").statement(1, 250);
        segment.traffic_counts(1, "bob", "db").statement(1, 90_000_000);
        let mut row = HealthRow { micros: 5_500_000, ..HealthRow::default() };
        (row.classes[0], row.classes[12]) = (2, 1);
        segment.set_health(1, &row);
        segment.count_failover(FailoverReason::HealthCheck);
        for node in 0..2 {
            let row = PoolRow { backend_pid: 9, ..PoolRow::default() };
            segment.set_pool(0, 0, node, &row);
        }
        let host = Host { own_cpu_seconds: 1.5, own_memory: 4096, ..Host::default() };
        let view = View { admin: context(&segment, &config), queries_per_second: 0.0, host };
        let found = Found::of(&Head { method: "GET", target: "/metrics", ..Head::default() }).ok().unwrap();
        metrics(&view, &found).unwrap()
    }

    #[test]
    fn values_are_those_of_the_segment() {
        let page = page("");
        for line in [
            "pgbalancer_backend_up{node_id=\"0\",hostname=\"one\",role=\"primary\"} 1",
            "pgbalancer_backend_up{node_id=\"1\",hostname=\"/run\",role=\"standby\"} 0",
            "pgbalancer_backend_weight{node_id=\"1\",hostname=\"/run\"} 3",
            "pgbalancer_backend_queries_total{node_id=\"1\",hostname=\"/run\"} 5",
            "pgbalancer_backend_replication_lag_seconds{node_id=\"1\",hostname=\"/run\"} 2.5",
            "pgbalancer_queries_total{type=\"SELECT\"} 5",
            "pgbalancer_backend_detach_total{node_id=\"1\",hostname=\"/run\"} 2",
            "pgbalancer_failback_total 1",
            "# TYPE pgbalancer_failover_total counter",
            "pgbalancer_failover_total{reason=\"health_check\"} 1",
            "pgbalancer_failover_total{reason=\"operator\"} 0",
            "pgbalancer_transactions_total{status=\"committed\"} 4",
            "pgbalancer_transactions_total{status=\"aborted\"} 1",
            "pgbalancer_pool_hits_total 3",
            "pgbalancer_pool_misses_total 2",
            "pgbalancer_query_duration_seconds_bucket{node_id=\"1\",hostname=\"/run\",le=\"0.00025\"} 1",
            "pgbalancer_query_duration_seconds_bucket{node_id=\"1\",hostname=\"/run\",le=\"60\"} 1",
            "pgbalancer_query_duration_seconds_bucket{node_id=\"1\",hostname=\"/run\",le=\"+Inf\"} 2",
            "pgbalancer_query_duration_seconds_sum{node_id=\"1\",hostname=\"/run\"} 90.00025",
            "pgbalancer_query_duration_seconds_count{node_id=\"1\",hostname=\"/run\"} 2",
            "pgbalancer_query_duration_seconds_count{node_id=\"0\",hostname=\"one\"} 0",
            "pgbalancer_health_check_duration_seconds_bucket{node_id=\"1\",hostname=\"/run\",le=\"1\"} 2",
            "pgbalancer_health_check_duration_seconds_bucket{node_id=\"1\",hostname=\"/run\",le=\"2.5\"} 3",
            "pgbalancer_health_check_duration_seconds_sum{node_id=\"1\",hostname=\"/run\"} 5.5",
            "process_cpu_seconds_total 1.5",
            "process_resident_memory_bytes 4096",
        ] {
            assert!(page.lines().any(|there| there == line), "{line}\n{page}");
        }
    }

    #[test]
    fn the_names_of_pgpool2_exporter_are_there_when_they_are_asked_for() {
        assert!(!page("").contains("pgpool2_"));
        let page = page("rest_api_exporter_metrics = on");
        for line in [
            "# TYPE pgpool2_pool_nodes_status gauge",
            "pgpool2_pool_nodes_status{hostname=\"one\",port=\"5432\",role=\"primary\"} 1",
            "pgpool2_pool_nodes_status{hostname=\"/run\",port=\"5433\",role=\"standby\"} 0",
            "pgpool2_pool_backend_stats_select_cnt{hostname=\"/run\",port=\"5433\",role=\"standby\"} 5",
            "pgpool2_pool_health_check_stats_average_duration{hostname=\"/run\",port=\"5433\",role=\"standby\"} 0",
            "pgpool2_backend_used 2",
            "pgpool2_backend_total 8",
            "pgpool2_backend_used_ratio 0.25",
        ] {
            assert!(page.lines().any(|there| there == line), "{line}\n{page}");
        }
    }

    #[test]
    fn names_of_hosts_are_escaped() {
        let page = page("backend_hostname1 = 'a\"b'");
        assert!(page.contains("hostname=\"a\\\"b\""), "{page}");
    }

    const HEAD: &str = "\
# Metrics

What `/metrics` has with `rest_api_enabled = on`, in the text format of Prometheus. This page is made of the code
(`UPDATE_METRICS_PAGE=1 cargo test --lib metrics`). Counters begin with the program and outlive the processes that count;
`role` is primary or standby (main or replica where nodes have no roles of their own). Histograms have the bounds
0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250 and 500 ms, 1, 2.5, 5, 10, 30 and 60 s.

`pgbalancer_failover_total` by `reason`: `health_check` (it gave the primary up), `session` (a session could not reach it),
`shutdown` (it told a session that it ends), `false_primary` (it was one of two), `operator` (promoted, switched over or
detached by hand), `roles` (the servers changed their roles themselves).

A transaction is what PostgreSQL ends with ReadyForQuery outside a block: a statement that stands alone is one. A client
that goes away inside a block has aborted its transaction. Some gauges end in `_total`, which names of Prometheus do not: they are
those of the dashboards that were made for pgbalancer.

With `rest_api_exporter_metrics = on` the page also has what pgpool2_exporter serves, by its names (`pgpool2_up`,
`pgpool2_pool_nodes_*`, `pgpool2_pool_backend_stats_*`, `pgpool2_pool_health_check_stats_*`, `pgpool2_frontend_*`,
`pgpool2_backend_*`), so that its dashboards stay as they are.

| metric | type | labels | what it is |
|---|---|---|---|
";

    /// The page of the documents, of what `/metrics` has.
    fn document() -> String {
        let (text, mut lines) = (page("mqtt_enabled = on"), HEAD.to_owned());
        let (mut about, mut kind) = ("", "");
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "HELP", _, help] => about = help,
                ["#", "TYPE", _, what] => kind = what,
                // The first sample of each has the labels of all.
                _ if !kind.is_empty() => {
                    let name = line.split(['{', ' ']).next().unwrap().trim_end_matches("_bucket");
                    let labels: Vec<String> = line
                        .split(['{', ','])
                        .filter_map(|part| part.split_once("=\""))
                        .map(|(label, _)| format!("`{label}`"))
                        .collect();
                    let _ = writeln!(lines, "| `{name}` | {kind} | {} | {about} |", labels.join(", "));
                    kind = "";
                }
                _ => {}
            }
        }
        lines
    }

    #[test]
    fn the_page_in_the_documents_is_this_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/ref/metrics.md");
        if std::env::var_os("UPDATE_METRICS_PAGE").is_some() {
            std::fs::write(&path, document()).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == document(), "UPDATE_METRICS_PAGE=1 cargo test --lib metrics writes it anew");
    }
}
