//! bctl against a server that answers as the document of the API says: which requests it makes, what it prints in each
//! format, how it ends. (`bctl_real.rs` has the same program against the real one.)

mod access;
mod actions;
mod local;
mod reports;
mod terminal;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::http::{Asked, Fake, Reply};

/// What a command left.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// bctl with a home of its own and nobody to ask.
fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bctl"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BCTL_")) {
        command.env_remove(name);
    }
    command.env("HOME", home).env("TZ", "UTC").stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A server with a home for its clients.
struct Scene {
    fake: Fake,
    home: tempfile::TempDir,
}

impl Scene {
    fn new(answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Scene {
        Scene { fake: Fake::start(answers), home: tempfile::tempdir().unwrap() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = command(self.home.path());
        command.args(["-H", "127.0.0.1", "-p", &self.fake.port.to_string()]).args(words);
        command
    }

    fn words(&self, words: &[&str]) -> Ran {
        run(&mut self.command(words))
    }

    fn run(&self, line: &str) -> Ran {
        self.words(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Method and path of the requests since the last look, without what all of them begin with.
    fn asked(&self) -> Vec<String> {
        self.fake.asked().iter().map(|asked| asked.line.replace("/api/v1", "")).collect()
    }

    /// A file in the home.
    fn file(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }
}

fn node(id: u16, status: &str, role: &str) -> Value {
    json!({
        "id": id, "host": "localhost", "port": 5432 + id, "status": status, "weight": 1.0, "role": role,
        "replication_lag": 0, "pg_status": "up", "pg_role": role, "replication_lag_bytes": 0,
        "replication_lag_seconds": 0.0, "replication_state": "streaming", "replication_sync_state": "async",
        "select_count": 7, "connections": 2, "last_status_change": null, "reason": "health check", "role_reason": "",
    })
}

/// The answers of the document.
fn usual(asked: &Asked) -> Reply {
    let ok = |value: Value| (200, value.to_string());
    let done = |message: &str| ok(json!({ "message": message, "status": "success" }));
    let path = asked.line.replace("/api/v1", "");
    match path.as_str() {
        "GET /status" => ok(json!({
            "status": "running", "uptime": 100, "version": "1.0.0", "connections": 5, "nodes": 2, "healthy_nodes": 1,
            "processes": 4, "ai_enabled": false, "rest_api_enabled": true, "mqtt_enabled": false, "primary": 0,
            "clustering_mode": "streaming_replication", "max_connections": 32, "paused": false, "started_at": 86400,
        })),
        "GET /nodes" => ok(json!({ "nodes": [node(0, "up", "primary"), node(1, "down", "standby")] })),
        "GET /nodes/0" => ok(node(0, "up", "primary")),
        "GET /nodes/1" => ok(node(1, "down", "standby")),
        "GET /health/stats" => ok(json!({
            "health": "degraded",
            "checks": { "backend_connectivity": "failed", "memory_usage": "normal", "load_average": "low" },
            "stats": { "total_connections": 9, "active_connections": 1, "queries_per_second": 12.5, "cache_hit_ratio": null },
            "nodes": [{ "node_id": 1, "status": "down", "total_count": 10, "success_count": 8, "fail_count": 2,
                "skip_count": 0, "retry_count": 1, "last_health_check": 86400, "last_failed_health_check": null }],
        })),
        "GET /processes" => ok(json!({
            "processes": [{ "pid": 11, "sessions": 1, "idle": false, "started_at": 86400, "connections": 2 },
                { "pid": 12, "sessions": 0, "idle": true, "started_at": 86400, "connections": 0 }],
            "total": 2, "active": 1, "idle": 1,
        })),
        "GET /processes/11" => ok(json!({
            "pid": 11, "sessions": 1, "idle": false, "started_at": 86400, "connections": 2,
            "pools": [{ "pid": 11, "pool_id": 0, "backend_id": 1, "database": "shop", "username": "ann", "connected": true }],
        })),
        "GET /pools" => ok(json!({ "pools": [{
            "pid": 11, "pool_id": 0, "backend_id": 1, "database": "shop", "username": "ann", "created_at": 86400,
            "client_connected_at": 86400, "client_disconnected_at": null, "client_idle": 3, "major": 3, "minor": 0,
            "counter": 4, "backend_pid": 99, "connected": true, "status": "in use" }] })),
        "GET /sessions" => ok(json!({ "sessions": [
            { "id": "11-0-7", "pid": 11, "user": "ann", "database": "shop", "application": "psql", "client": "127.0.0.1:5000",
                "state": "active", "connected_at": 86400, "node": 1 }] })),
        "GET /traffic" => ok(json!({
            "traffic": [{ "node": 0, "user": "ann", "database": "shop", "statements": 40, "errors": 1, "duration_seconds": 1.5 }],
            "latency": { "buckets_ms": [1, 10], "counts": [30, 9, 1] },
        })),
        "GET /ai-stats" => ok(json!({
            "enabled": true, "algorithm": "adaptive", "learning_rate": 0.01, "exploration_rate": 0.1,
            "total_queries": 40, "ai_routed_queries": 30, "exploration_queries": 2,
            "backends": [{ "id": 1, "avg_response_time": 1.25, "health_score": 1.0, "error_rate": 0.0, "slowness": 1.0,
                "in_flight": 0, "room": 4.0, "current_load": 0.0, "total_queries": 40, "failed_queries": 0,
                "chosen_queries": 30, "exploration_queries": 2 }],
        })),
        "GET /watchdog/info" => ok(json!({ "status": "off", "quorum": null, "nodes": [], "health": "off" })),
        "GET /watchdog/status" => {
            ok(json!({ "status": "off", "uptime": 0, "active_nodes": 0, "quorum_status": "off" }))
        }
        "GET /cache/stats" => ok(json!({ "enabled": false })),
        "GET /events?follow=0" => ok(json!({ "events": [event(3)] })),
        "GET /events?follow=0&since=3" => ok(json!({ "events": [] })),
        "GET /events" | "GET /events?since=3" => (
            200,
            format!(
                "event: node_status\nid: 4\ndata: {}\n\n: alive\n\nevent: node_status\nid: 5\ndata: {}\n\n",
                event(4),
                event(5)
            ),
        ),
        "GET /config" => ok(json!({ "parameters": [
            { "name": "port", "value": "9999", "description": "where clients connect", "default": "9999" },
            { "name": "child_life_time", "value": "1min", "description": "life", "default": "5min" }] })),
        "GET /config/port" => ok(
            json!({ "name": "port", "value": "9999", "description": "where clients connect", "default": "9999" }),
        ),
        "POST /route" => ok(
            json!({ "node": 1, "rule": "read", "reason": "a read goes to a standby", "candidates": [0, 1] }),
        ),
        "POST /nodes/1/recovery" => {
            (202, json!({ "message": "it goes on", "status": "accepted" }).to_string())
        }
        "GET /nodes/1/recovery" => {
            ok(json!({ "state": "done", "step": "", "reason": "", "started_at": 1, "ended_at": 2 }))
        }
        path if path.starts_with("POST /cache") || path.starts_with("POST /watchdog") => {
            (409, json!({ "error": "Conflict", "message": "there is none", "status": 409 }).to_string())
        }
        path if path.contains("/9") => {
            (404, json!({ "error": "Not found", "message": "there is no node 9", "status": 404 }).to_string())
        }
        path if path.starts_with("POST ") => done("as asked"),
        path => (404, json!({ "error": "Endpoint not found", "message": path, "status": 404 }).to_string()),
    }
}

fn event(id: u64) -> Value {
    json!({ "id": id, "at": 86400.5, "kind": "node_status", "node": 1, "old": "up", "new": "down", "reason": "no answer" })
}
