//! What pgpool2_exporter serves, by its names: dashboards and alerts that read them stay as they are.
//!
//! The exporter makes a metric of each number of SHOW POOL_NODES, POOL_BACKEND_STATS and POOL_HEALTH_CHECK_STATS, with
//! host, port and role as labels, and sums up POOL_PROCESSES and POOL_POOLS.
#![forbid(unsafe_code)]

use std::fmt::Display;

use super::exposition::Page;
use super::metrics::Seen;
use crate::admin::{self, HealthReport, NodeReport};
use crate::shm::Totals;

/// Adds them to a page.
pub(super) fn exporter(page: &mut Page, seen: &Seen<'_>) {
    // Its own state: it never asks another process, so nothing of it can fail.
    page.one("up", "gauge", "Whether the server is up.", 1);
    page.one("last_scrape_error", "gauge", "Whether the last scrape failed.", 0);
    nodes(page, seen);
    statistics(page, seen);
    health_checks(page, seen);
    let overview = &seen.overview;
    let used = overview.workers - overview.idle_workers;
    share(page, "frontend", "child processes", overview.workers as u64, used as u64);
    let totals = admin::pool_totals(seen.context);
    share(page, "backend", "connections to backends", totals.capacity, totals.active + totals.idle);
}

fn nodes(page: &mut Page, seen: &Seen<'_>) {
    let status = |node: &NodeReport| u64::from(node.status.is_used());
    let all: [Each<NodeReport>; 3] = [
        ("status", "1: up or waiting; 0: down or unused.", &|node| Box::new(status(node))),
        ("select_cnt", "Reads sent to the backend.", &|node| Box::new(node.reads)),
        ("replication_delay", "How far the backend is behind the primary.", &|node| Box::new(delay(node))),
    ];
    each(page, "pool_nodes", seen.nodes.iter().map(|node| (Labels::of_node(node), node)), &all);
}

/// As SHOW POOL_NODES has it: seconds, or bytes.
fn delay(node: &NodeReport) -> f64 {
    if node.delay_by_time { node.delay_micros as f64 / 1e6 } else { node.delay_bytes as f64 }
}

fn statistics(page: &mut Page, seen: &Seen<'_>) {
    let all: [Each<Totals>; 9] = [
        ("select_cnt", "SELECT statements sent to the backend.", &|totals| Box::new(totals.select)),
        ("insert_cnt", "INSERT statements sent to the backend.", &|totals| Box::new(totals.insert)),
        ("update_cnt", "UPDATE statements sent to the backend.", &|totals| Box::new(totals.update)),
        ("delete_cnt", "DELETE statements sent to the backend.", &|totals| Box::new(totals.delete)),
        ("ddl_cnt", "DDL statements sent to the backend.", &|totals| Box::new(totals.ddl)),
        ("other_cnt", "Other statements sent to the backend.", &|totals| Box::new(totals.other)),
        ("panic_cnt", "PANIC messages of the backend.", &|totals| Box::new(totals.panic)),
        ("fatal_cnt", "FATAL messages of the backend.", &|totals| Box::new(totals.fatal)),
        ("error_cnt", "ERROR messages of the backend.", &|totals| Box::new(totals.error)),
    ];
    each(
        page,
        "pool_backend_stats",
        seen.counted().map(|(node, totals)| (Labels::of_node(node), totals)),
        &all,
    );
}

fn health_checks(page: &mut Page, seen: &Seen<'_>) {
    let rows = admin::health(seen.context);
    let all: [Each<HealthReport>; 10] = [
        ("total_count", "Health checks.", &|row| Box::new(row.counts.total)),
        ("success_count", "Health checks that succeeded.", &|row| Box::new(row.counts.success)),
        ("fail_count", "Health checks that failed.", &|row| Box::new(row.counts.fail)),
        ("skip_count", "Health checks that were left out.", &|row| Box::new(row.counts.skip)),
        ("retry_count", "Health checks that were tried again.", &|row| Box::new(row.counts.retry)),
        ("average_retry_count", "Retries a health check.", &|row| Box::new(row.average_retries())),
        ("max_retry_count", "Most retries of a health check.", &|row| Box::new(row.counts.max_retry)),
        ("max_duration", "Milliseconds of the longest health check.", &|row| {
            Box::new(row.counts.max_duration)
        }),
        ("min_duration", "Milliseconds of the shortest health check.", &|row| {
            Box::new(row.counts.min_duration)
        }),
        ("average_duration", "Milliseconds a health check.", &|row| Box::new(row.average_duration())),
    ];
    each(page, "pool_health_check_stats", rows.iter().map(|row| (Labels::of_check(row), row)), &all);
}

/// Name of a metric, what it is, and how it is read.
type Each<'a, T> = (&'a str, &'a str, &'a dyn Fn(&T) -> Box<dyn Display>);

/// Metrics of a sample for each row.
fn each<'a, T: 'a>(
    page: &mut Page,
    group: &str,
    rows: impl Iterator<Item = (Labels<'a>, &'a T)>,
    all: &[Each<'_, T>],
) {
    let rows: Vec<_> = rows.collect();
    for (name, about, value) in all {
        let name = format!("{group}_{name}");
        page.family(&name, "gauge", about);
        for (Labels { hostname, port, role }, row) in &rows {
            let port = port.to_string();
            page.sample(&name, &[("hostname", hostname), ("port", &port), ("role", role)], value(row));
        }
    }
}

/// What the exporter calls a backend.
struct Labels<'a> {
    hostname: &'a str,
    port: u16,
    role: &'static str,
}

impl<'a> Labels<'a> {
    fn of_node(node: &'a NodeReport) -> Labels<'a> {
        Labels { hostname: &node.hostname, port: node.port, role: node.role.name() }
    }

    fn of_check(row: &'a HealthReport) -> Labels<'a> {
        Labels { hostname: &row.hostname, port: row.port, role: row.role.name() }
    }
}

/// How much of something is used.
fn share(page: &mut Page, name: &str, what: &str, total: u64, used: u64) {
    page.one(&format!("{name}_total"), "gauge", &format!("All {what}."), total);
    page.one(&format!("{name}_used"), "gauge", &format!("Used {what}."), used);
    let ratio = if total == 0 { 0.0 } else { used as f64 / total as f64 };
    page.one(&format!("{name}_used_ratio"), "gauge", &format!("Used {what}, of 1."), ratio);
}
