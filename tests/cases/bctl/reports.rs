//! What is shown: as blocks, as tables, as JSON.

use super::*;

/// The table of the original's README.
pub(super) const NODE_TABLE: &str = "\
┌────┬─────────────────┬───────┬──────────┬────────┬─────────┬──────────┐
│ ID │ Host            │ Port  │ Status   │ Weight │ Role    │ Rep Lag  │
├────┼─────────────────┼───────┼──────────┼────────┼─────────┼──────────┤
│ 0  │ localhost       │ 5432  │ up       │ 1      │ primary │ 0        │
│ 1  │ localhost       │ 5433  │ down     │ 1      │ standby │ 0        │
└────┴─────────────────┴───────┴──────────┴────────┴─────────┴──────────┘
Total nodes: 2
";

pub(super) const NODE_BLOCKS: &str = "\
Nodes Information:
  Total Nodes: 2
  Node 1:
    ID: 0
    Host: localhost
    Port: 5432
    Status: up
    Weight: 1
    Role: primary
    Replication Lag: 0

  Node 2:
    ID: 1
    Host: localhost
    Port: 5433
    Status: down
    Weight: 1
    Role: standby
    Replication Lag: 0

";

#[test]
fn nodes_are_listed_as_the_original_lists_them() {
    let scene = Scene::new(usual);
    for line in ["nodes", "nodes list", "nodes-list"] {
        let ran = scene.run(line);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, NODE_BLOCKS, ""), "{line}");
    }
    for line in ["-t nodes", "nodes --table", "nodes -t list"] {
        assert_eq!(scene.run(line).out, NODE_TABLE, "{line}");
    }
    assert_eq!(scene.asked(), ["GET /nodes"; 6]);
}

/// Every report: what is asked for, and words of what is shown as blocks and as a table.
#[test]
fn reports_are_shown_in_three_formats() {
    let scene = Scene::new(usual);
    for (line, asked, block, table) in [
        (
            "status",
            "GET /status",
            "Server: pgbalancer\nStatus: running\nVersion: 1.0.0\nUptime: 100 seconds\n",
            "│ Healthy Nodes   │ 1 ",
        ),
        ("nodes info 1", "GET /nodes/1", "Node 1:\n  ID: 1\n", "│ Status                 │ down "),
        ("nodes 1", "GET /nodes/1", "  Reason: health check\n", "│ Last Status Change     │ - "),
        ("processes info 11", "GET /processes/11", "    Database: shop\n", "│ shop     │ ann  │"),
        ("processes 11", "GET /processes/11", "Process 11:\n  PID: 11\n", "│ PID         │ 11 "),
        ("pools", "GET /pools", "    Client Idle: 3 seconds\n", "│ 11  │ 0    │ 1    │ shop     │ ann  │"),
        (
            "traffic",
            "GET /traffic",
            "Latency:\n  up to 1 ms: 30\n  up to 10 ms: 9\n  up to any time: 1\n",
            "│ 10 ms    │ 9 ",
        ),
        (
            "health",
            "GET /health/stats",
            "Health: degraded\nBackend Connectivity: failed\n",
            "│ 1    │ down   │ 10     │ 8 ",
        ),
        (
            "health stats",
            "GET /health/stats",
            "    Last: 1970-01-02 00:00:00\n    Last Failed: -\n",
            "Total nodes: 1\n",
        ),
        ("sessions", "GET /sessions", "    ID: 11-0-7\n", "│ 11-0-7 │ 11  │ ann  │ shop "),
        (
            "sessions list",
            "GET /sessions",
            "Sessions Information:\n  Total Sessions: 1\n",
            "Total sessions: 1\n",
        ),
        ("ai", "GET /ai-stats", "Adaptive Routing: yes\nAlgorithm: adaptive\n", "│ 1    │ 1.25 "),
        ("ai stats", "GET /ai-stats", "    Response Time (ms): 1.25\n", "Total nodes: 1\n"),
        ("cache", "GET /cache/stats", "Query Cache:\n  Enabled: no\n", "│ Enabled │ no "),
        ("cache stats", "GET /cache/stats", "  Enabled: no\n", "│ Enabled │ no "),
        ("watchdog", "GET /watchdog/info", "Watchdog Status:\nStatus: off\nQuorum: -\n", "│ Quorum │ - "),
        ("watchdog info", "GET /watchdog/info", "Health: off\n", "│ Health │ off "),
        (
            "watchdog-status",
            "GET /watchdog/status",
            "Uptime: 0 seconds\nActive Nodes: 0\n",
            "│ Quorum Status │ off ",
        ),
        (
            "events",
            "GET /events?follow=0",
            "1970-01-02 00:00:00  node_status  node 1  up -> down  (no answer)\n",
            "│ 3  │ 1970-01-02 00:00:00 │ node_status │",
        ),
        ("events --since 3", "GET /events?follow=0&since=3", "", "Total events: 0\n"),
        (
            "config show",
            "GET /config",
            "port = 9999\nchild_life_time = 1min\n",
            "│ child_life_time │ 1min  │ 5min ",
        ),
        ("config show port", "GET /config/port", "port = 9999\n", "│ port │ 9999  │ 9999 "),
        (
            "route SELECT",
            "POST /route",
            "Node: 1\nRule: read\nReason: a read goes to a standby\nCandidates: 0, 1\n",
            "│ Candidates │ 0, 1 ",
        ),
    ] {
        let ran = scene.run(line);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
        assert!(ran.out.contains(block), "{line}:\n{}", ran.out);
        let ran = scene.run(&format!("{line} --table"));
        assert!(ran.code == 0 && ran.out.contains(table) && ran.out.starts_with('┌'), "{line}:\n{}", ran.out);
        let requests = scene.fake.asked();
        let ran = scene.run(&format!("--json {line}"));
        let shown: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{line}: {error}"));
        let sent: Value = serde_json::from_str(&usual(&requests[0]).1).unwrap();
        assert_eq!((ran.code, shown, ran.err.as_str()), (0, sent, ""), "{line}");
        assert_eq!(scene.asked(), [asked], "{line}");
    }
}

#[test]
fn processes_say_which_nodes_serve_their_clients() {
    let scene = Scene::new(usual);
    let ran = scene.run("processes");
    assert!(
        ran.out.contains(
            "  Process 1:\n    PID: 11\n    Sessions: 1\n    Idle: no\n    Connections: 2\n    Nodes: 1\n"
        ),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("  Process 2:\n    PID: 12\n") && ran.out.contains("    Nodes: -\n"),
        "{}",
        ran.out
    );
    assert_eq!(scene.asked(), ["GET /processes", "GET /sessions"]);
    let ran = scene.run("-t processes-list");
    assert!(ran.out.contains("│ 11  │ 1        │ no   │ 2           │ 1     │"), "{}", ran.out);
}

#[test]
fn a_server_without_sessions_has_processes_all_the_same() {
    let scene = Scene::new(|asked| match asked.line.as_str() {
        "GET /api/v1/sessions" => (404, json!({ "error": "Not found", "status": 404 }).to_string()),
        _ => usual(asked),
    });
    let ran = scene.run("processes");
    assert!(ran.code == 0 && ran.out.contains("PID: 11\n") && !ran.out.contains("Nodes:"), "{}", ran.out);
}

#[test]
fn counts_are_counts() {
    let scene = Scene::new(usual);
    for line in [
        "nodes-count",
        "nodes count",
        "-v nodes-count",
        "processes-count",
        "processes count",
        "-t processes-count",
    ] {
        assert_eq!(scene.run(line).out, "2\n", "{line}");
    }
    let counted: Value = serde_json::from_str(&scene.run("-j nodes-count").out).unwrap();
    assert_eq!(counted, json!({ "count": 2 }));
}

#[test]
fn a_route_is_asked_for_with_the_session_it_is_for() {
    let scene = Scene::new(usual);
    let words = ["route", "SELECT 1", "--user", "ann", "--database", "shop", "--application", "psql"];
    assert_eq!(scene.words(&words).code, 0);
    assert_eq!(scene.words(&["route", "--", "-- note\nSELECT 1"]).code, 0);
    let bodies: Vec<Value> =
        scene.fake.asked().iter().map(|asked| serde_json::from_str(&asked.body).unwrap()).collect();
    assert_eq!(
        bodies[0],
        json!({ "sql": "SELECT 1", "user": "ann", "database": "shop", "application": "psql" })
    );
    assert_eq!(
        bodies[1],
        json!({ "sql": "-- note\nSELECT 1", "user": "", "database": "", "application": "" })
    );
}

#[test]
fn events_are_followed_until_the_stream_ends() {
    let scene = Scene::new(usual);
    let ran = scene.run("events --follow");
    let line = "1970-01-02 00:00:00  node_status  node 1  up -> down  (no answer)\n";
    assert_eq!(ran.out, line.repeat(2));
    assert!(ran.code == 2 && ran.err.contains("go on with --since 5"), "{}", ran.err);
    let ran = scene.run("events -f --since 3 -j");
    let events: Vec<Value> =
        ran.out.lines().take(2).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events, [event(4), event(5)]);
    let asked = scene.fake.asked();
    assert_eq!(asked[0].headers["accept"], "text/event-stream");
    assert_eq!(asked[1].line, "GET /api/v1/events?since=3");
}

#[test]
fn files_are_checked_and_compared_by_our_own_loader() {
    let scene = Scene::new(usual);
    let good = scene.file("good.conf", "child_life_time = 60\n", 0o644);
    let bad = scene.file("bad.conf", "child_life_time = soon\n", 0o644);
    let ran = scene.run(&format!("config check {good}"));
    assert_eq!((ran.code, ran.out), (0, format!("configuration file {good} is valid\n")));
    let ran = scene.run(&format!("config check {bad}"));
    assert!(
        ran.code == 1 && ran.out.contains("bad.conf:1: ") && ran.out.ends_with("contains errors\n"),
        "{}",
        ran.out
    );
    let told: Value = serde_json::from_str(&scene.run(&format!("-j config check {bad}")).out).unwrap();
    assert!(told["valid"] == false && told["errors"].as_array().unwrap().len() == 1, "{told}");
    let ran = scene.run("config check /nowhere/file");
    assert!(ran.code == 1 && ran.err.contains("/nowhere/file"), "{}", ran.err);
    assert!(scene.asked().is_empty(), "no server is needed");

    let ran = scene.run(&format!("config diff {good}"));
    assert_eq!(ran.code, 1);
    // The server here tells of two parameters only.
    assert!(
        !ran.out.contains("child_life_time\n")
            && ran.out.contains("num_init_children\n  file:   32\n  server: (none)\n"),
        "{}",
        ran.out
    );
    let other = scene.file("other.conf", "child_life_time = 2min\n", 0o644);
    let told: Value = serde_json::from_str(&scene.run(&format!("-j config diff {other}")).out).unwrap();
    let found = told["differences"].as_array().unwrap().iter().find(|one| one["name"] == "child_life_time");
    assert_eq!(found.unwrap(), &json!({ "name": "child_life_time", "file": "2min", "server": "1min" }));
    let ran = scene.run(&format!("-t config diff {other}"));
    assert!(ran.out.contains("│ child_life_time "), "{}", ran.out);
    assert_eq!(scene.run(&format!("config diff {bad}")).code, 1);
}

#[test]
fn one_screen_of_top() {
    let scene = Scene::new(usual);
    let ran = scene.run("top --once");
    let first = format!(
        "pgbalancer 1.0.0 at 127.0.0.1:{}, up 100 s, clients 5 of 32, processes 4, nodes 1 of 2 healthy, queries/s 12.5\n",
        scene.fake.port
    );
    assert!(ran.code == 0 && ran.out.starts_with(&first), "{}", ran.out);
    assert!(
        ran.out.contains(NODE_TABLE.split_once("Total").unwrap().0) && ran.out.contains("│ 11-0-7 │ ann "),
        "{}",
        ran.out
    );
    let told: Value = serde_json::from_str(&scene.run("-j top").out).unwrap();
    assert_eq!(told["sessions"]["sessions"][0]["id"], "11-0-7");
    let ran = scene.run("top");
    assert!(ran.code == 1 && ran.err.contains("top --once"), "{}", ran.err);
}

#[test]
fn texts_of_a_server_do_not_command_the_terminal() {
    let scene = Scene::new(|asked| match asked.line.as_str() {
        "GET /api/v1/nodes" => {
            let mut evil = node(0, "up", "primary");
            evil["host"] = json!("a\u{1b}]0;title\u{7}\n│b\u{9b}2J");
            (200, json!({ "nodes": [evil] }).to_string())
        }
        _ => (409, json!({ "error": "x\u{1b}[31m", "message": "y\r\n", "status": 409 }).to_string()),
    });
    let clean = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
    for line in ["nodes", "-t nodes", "-j nodes", "reload", "-j reload", "-v reload"] {
        let ran = scene.run(line);
        assert!(clean(&ran.out) && clean(&ran.err), "{line}: {:?} {:?}", ran.out, ran.err);
    }
    assert!(scene.run("-t nodes").out.lines().count() == 6);
}
