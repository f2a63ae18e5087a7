//! The REST API: what it reports is so, and what it does is seen on the cluster.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::balancer::{Conf, Program};
use crate::harness::pcp;
use crate::harness::rest::{ask, faults, get, open, over_unix, post, raw, shell};
use crate::harness::{Balancer, Client, Cluster, process, shared, wait};

pub(super) fn start(change: impl FnOnce(Conf) -> Conf) -> Balancer {
    let conf = Conf::of(shared()).set("rest_api_enabled", "on").weights([0, 1, 0]);
    let balancer = Balancer::start_with(change(conf), &[pcp::CONF]);
    balancer.wait_roles();
    balancer
}

fn node(balancer: &Balancer, id: usize) -> Value {
    get(balancer, &format!("/api/v1/nodes/{id}")).good()
}

#[test]
fn what_is_reported_is_so() {
    let balancer = start(|conf| conf);
    let mut client = Client::connect(&balancer.door("postgres"));
    client.ask("SELECT 1");
    let status = get(&balancer, "/api/v1/status").good();
    assert_eq!(status["status"], "running");
    assert_eq!((&status["nodes"], &status["healthy_nodes"]), (&json!(3), &json!(3)), "{status}");
    assert_eq!((&status["processes"], &status["max_connections"]), (&json!(8), &json!(8)));
    assert_eq!((&status["primary"], &status["connections"]), (&json!(0), &json!(1)));
    assert_eq!(status["clustering_mode"], "streaming_replication");
    let nodes = get(&balancer, "/api/v1/nodes/").good();
    let of = |id: usize, key: &str| nodes["nodes"][id][key].clone();
    for (id, role, weight) in [(0, "primary", 0.0), (1, "standby", 1.0), (2, "standby", 0.0)] {
        assert_eq!((of(id, "role"), of(id, "weight")), (json!(role), json!(weight)), "{nodes}");
        assert_eq!(of(id, "port"), json!(shared().nodes[id].port));
    }
    assert!(of(1, "select_count").as_u64() >= Some(1) && of(1, "connections") == json!(1), "{nodes}");
    assert_eq!(node(&balancer, 1)["host"], "127.0.0.1");
    let worker = balancer.worker_of(&client);
    let one = get(&balancer, &format!("/api/v1/processes/{worker}")).good();
    assert_eq!((&one["sessions"], &one["idle"]), (&json!(1), &json!(false)));
    let lent = |pools: &Value| {
        let pools = pools["pools"].as_array().unwrap().clone();
        pools.into_iter().filter(|pool| pool["connected"] == true && pool["backend_id"] == 1).count()
    };
    assert_eq!((lent(&one), lent(&get(&balancer, "/api/v1/pools").good())), (1, 1), "{one}");
    let stats = get(&balancer, "/api/pool-stats").good();
    assert_eq!((&stats["total_capacity"], &stats["num_init_children"]), (&json!(8 * 4 * 3), &json!(8)));
    assert_eq!(get(&balancer, "/api/v1/config/num_init_children").good()["value"], "8");
    assert_eq!(get(&balancer, "/api/v1/config/rest_api_jwt_secret").good()["value"], "*****");
    let health = get(&balancer, "/api/health").good();
    assert_eq!((&health["health"], &health["stats"]["total_connections"]), (&json!("healthy"), &json!(1)));
    client.terminate();
    wait::until_equal(json!(0), || get(&balancer, "/api/status").good()["connections"].clone());
}

#[test]
fn a_node_is_detached_attached_and_seen_so_by_everybody() {
    let balancer = start(|conf| conf);
    assert_eq!(balancer.reader(), 1);
    let done = post(&balancer, "/api/v1/nodes/1/detach", "").good();
    assert_eq!(done, json!({"message": "Node detached successfully", "status": "success"}));
    wait::until_equal(json!("down"), || node(&balancer, 1)["status"].clone());
    assert_ne!(balancer.reader(), 1);
    assert!(
        get(&balancer, "/metrics")
            .body
            .contains("pgbalancer_backend_up{node_id=\"1\",hostname=\"127.0.0.1\",role=\"standby\"} 0")
    );
    let refused = post(&balancer, "/api/v1/nodes/1/detach", "{\"gracefully\": true}").refused(409);
    assert_eq!(refused, "node 1 is down: attach it first");
    post(&balancer, "/api/v1/nodes/1/attach", "{}").good();
    wait::until_equal(1, || balancer.reader());
    for line in [
        "REST user \"\" from 127.0.0.1(",
        "): detach node 1: done",
        "): attach node 1: done",
        "): detach node 1 gracefully: refused: node 1 is down",
    ] {
        assert!(balancer.log_contains(line), "{line}");
    }
    let page = get(&balancer, "/metrics").body;
    for line in [
        "pgbalancer_backend_detach_total{node_id=\"1\",hostname=\"127.0.0.1\"} 1",
        "pgbalancer_failback_total 1",
    ] {
        assert!(page.contains(line), "{page}");
    }
    over_unix(&balancer, "POST", "/api/v1/nodes/1/detach").good();
    balancer.wait_log("REST user \"\" from [local]: detach node 1: done");
}

#[test]
fn a_reload_takes_effect() {
    let mut balancer = start(|conf| conf);
    balancer.rewrite(|conf| conf.set("client_idle_limit", "77"));
    let done = post(&balancer, "/api/v1/control/reload", "").good();
    assert_eq!(done["message"], "Configuration reloaded successfully");
    let shown = || Client::connect(&balancer.door("postgres")).ask("PGPOOL SHOW client_idle_limit");
    wait::until_equal("77s".to_owned(), shown);
    let value = || get(&balancer, "/api/v1/config/client_idle_limit").good()["value"].clone();
    wait::until_equal(json!("77s"), value);
}

#[test]
fn a_log_file_is_rotated_where_there_is_one() {
    let balancer = start(|conf| conf);
    let refused = post(&balancer, "/api/v1/control/logrotate", "").refused(409);
    assert!(refused.starts_with("logging_collector is off"), "{refused}");
    let logs = process::server_dir("logs");
    let conf = Conf::of(shared())
        .set("rest_api_enabled", "on")
        .set("logging_collector", "on")
        .set("log_directory", &format!("'{}'", logs.path().display()))
        .set("log_filename", "'%s.log'");
    let mut silent = Balancer::prepared_only(Program::under_test(), conf);
    silent.start_prepared();
    wait::until_true("the REST port", || TcpStream::connect(("127.0.0.1", silent.rest_port())).is_ok());
    // The names count seconds.
    wait::until_true("another log file", || {
        post(&silent, "/api/v1/control/logrotate", "").good();
        std::fs::read_dir(logs.path()).unwrap().count() > 1
    });
}

#[test]
fn a_node_is_promoted() {
    let cluster = Cluster::private();
    let conf = Conf::of(&cluster).set("rest_api_enabled", "on");
    let balancer = Balancer::start(conf);
    assert_eq!(post(&balancer, "/api/v1/nodes/0/promote", "").refused(409), "node 0 is the primary already");
    let mut stream = events(&balancer, "/api/v1/events");
    let done = post(&balancer, "/api/v1/nodes/1/promote", "").good();
    assert_eq!(done["message"], "Node promoted to primary");
    wait::until_equal(json!("primary"), || node(&balancer, 1)["role"].clone());
    let failover = stream.wait("failover");
    assert_eq!((&failover["old"], &failover["new"]), (&json!("0"), &json!("1")), "{failover}");
    assert!(get(&balancer, "/metrics").body.contains("pgbalancer_failover_total{reason=\"operator\"} 1\n"));
}

#[test]
fn all_ways_to_stop() {
    for (body, waits) in [
        ("", true),
        ("{\"mode\":\"smart\"}", true),
        ("{\"mode\":\"fast\"}", false),
        ("{\"mode\":\"immediate\"}", false),
    ] {
        let mut balancer = start(|conf| conf);
        let mut client = Client::connect(&balancer.door("postgres"));
        assert_eq!(client.ask("SELECT 1"), "1");
        let mut stream = events(&balancer, "/api/v1/events");
        let done = post(&balancer, "/api/v1/control/stop", body).good();
        assert_eq!(done["status"], "success", "{body}");
        assert_eq!(stream.wait("stop")["kind"], "stop");
        if waits {
            assert_eq!(client.ask("SELECT 2"), "2", "{body}: it waits for its clients");
            client.terminate();
        }
        assert!(balancer.exit().success(), "{body}");
    }
}

#[test]
fn what_does_not_exist_yet_says_so() {
    let balancer = start(|conf| conf);
    for path in ["/api/v1/cache/invalidate", "/api/v1/watchdog/start", "/api/v1/watchdog/stop"] {
        assert!(post(&balancer, path, "").refused(409).starts_with("there is no "), "{path}");
    }
    assert_eq!(get(&balancer, "/api/ai-stats").good()["enabled"], false);
    assert_eq!(get(&balancer, "/api/v1/watchdog/status").good()["status"], "off");
    let refused = post(&balancer, "/api/v1/nodes/1/recovery", "").refused(409);
    assert!(!refused.is_empty());
    assert!(balancer.log_contains("recover node 1: refused: "));
}

#[test]
fn requests_that_make_no_sense_are_told_why() {
    let balancer = start(|conf| conf);
    for (method, path, body, status) in [
        ("GET", "/api/v1/nodes/7", "", 404),
        ("GET", "/api/v1/nodes/abc", "", 400),
        ("GET", "/api/v1/nodes/-1", "", 400),
        ("POST", "/api/v1/nodes/99/attach", "", 404),
        ("POST", "/api/v1/nodes/abc/x/attach", "", 404),
        ("GET", "/api/v1/processes/1", "", 404),
        ("GET", "/api/v1/config/nosuch", "", 404),
        ("GET", "/nowhere", "", 404),
        ("POST", "/api/v1/nodes/1/detach", "{\"gracefully\": 7}", 400),
        ("POST", "/api/v1/nodes/1/detach", "{\"other\": 7}", 400),
        ("POST", "/api/v1/nodes/1/detach", "nonsense", 400),
        ("POST", "/api/v1/nodes/1/detach", "[true]", 400),
        ("POST", "/api/v1/nodes/1/detach", "null", 400),
        ("POST", "/api/v1/control/stop", "{\"mode\":\"now\"}", 400),
        ("GET", "/api/v1/events?follow=7", "", 400),
        ("GET", "/api/v1/status%zz", "", 400),
    ] {
        ask(&balancer, method, path, "", body).refused(status);
    }
    let wrong = ask(&balancer, "DELETE", "/api/v1/nodes", "", "");
    assert_eq!(wrong.field("allow"), Some("get, head"));
    wrong.refused(405);
    let wrong = get(&balancer, "/api/v1/nodes/1/attach");
    assert_eq!(wrong.field("allow"), Some("post"));
    wrong.refused(405);
    assert_eq!(balancer.reader(), 1, "nothing has changed");
}

#[test]
fn heads_of_answers() {
    let balancer = start(|conf| conf);
    let status = get(&balancer, "/api/v1/status");
    assert_eq!(status.field("content-type"), Some("application/json"));
    assert_eq!(status.field("cache-control"), Some("no-store"));
    let head = ask(&balancer, "HEAD", "/api/v1/version", "", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let length: usize = head.field("content-length").unwrap().parse().unwrap();
    assert_eq!(length, get(&balancer, "/api/v1/version").body.len());
    let document = get(&balancer, "/api/v1/openapi.json");
    let tag = document.field("etag").unwrap().to_owned();
    let again = ask(&balancer, "GET", "/api/v1/openapi.json", &format!("If-None-Match: {tag}\r\n"), "");
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let other = ask(&balancer, "GET", "/api/v1/openapi.json", "If-None-Match: \"0\"\r\n", "");
    assert_eq!(other.status, 200);
    // Several requests on one connection, the second before the first is answered.
    let twice = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(&balancer, twice).body.matches("HTTP/1.1 200").count(), 1);
}

/// Every report is called, and every answer is what the document says.
#[test]
fn answers_are_as_the_document_says() {
    let balancer = start(|conf| conf);
    let mut client = Client::connect(&balancer.door("postgres"));
    client.ask("SELECT 1");
    post(&balancer, "/api/v1/nodes/2/detach", "").good();
    let worker = balancer.worker_of(&client).to_string();
    let document = get(&balancer, "/api/v1/openapi.json").good();
    let mut called = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(operation) = item.get("get") else { continue };
        let target = path.replace("{id}", "1").replace("{pid}", &worker).replace("{name}", "port");
        let target = if target.ends_with("/events") { format!("{target}?follow=0") } else { target };
        let answer = get(&balancer, &target);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        let content = &operation["responses"]["200"]["content"];
        match content.get("application/json") {
            Some(json) => {
                let faults = faults(&answer.json(), &json["schema"], &target);
                assert!(faults.is_empty(), "{faults:#?}");
            }
            None => assert!(content.get("text/plain").is_some(), "{target}"),
        }
        called += 1;
    }
    assert!(called >= 20, "{called}");
    let error = &document["components"]["schemas"]["Error"];
    assert_eq!(faults(&get(&balancer, "/api/v1/nodes/9").json(), error, "error"), [""; 0]);
}

#[test]
fn lines_of_the_readme_work() {
    let conf = Conf::of(shared()).set("rest_api_enabled", "on");
    // The MD5 of `secret`.
    let users = ("pcp.conf", "admin:5ebe2294ecd0e0f08eab7690d2a6ee69\n");
    let balancer = Balancer::start_with(conf, &[users]);
    balancer.wait_roles();
    for path in [
        "status",
        "nodes",
        "pool-stats",
        "ai-stats",
        "health",
        "processes",
        "v1/status",
        "v1/nodes",
        "v1/health/stats",
    ] {
        let text = shell(&balancer, &format!("curl -sf http://localhost:8080/api/{path}"));
        assert!(serde_json::from_str::<Value>(&text).unwrap().is_object(), "{path}");
    }
    let token = shell(
        &balancer,
        "curl -sf -X POST http://localhost:8080/api/login -H \"Content-Type: application/json\" \
         -d '{\"username\":\"admin\",\"password\":\"secret\"}'",
    );
    let token: Value = serde_json::from_str(&token).unwrap();
    assert_eq!((&token["expires_in"], &token["token_type"]), (&json!(3600), &json!("Bearer")));
    let token = token["token"].as_str().unwrap();
    shell(
        &balancer,
        &format!("curl -sf -H \"Authorization: Bearer {token}\" http://localhost:8080/api/nodes"),
    );
    for (line, printed) in [
        ("curl -s http://localhost:8080/api/v1/nodes | jq '.nodes | length'", "3\n"),
        ("curl -s http://localhost:8080/api/v1/status | jq -e '.uptime >= 0'", "true\n"),
        ("curl -s http://localhost:8080/api/v1/status | jq -e '.healthy_nodes > 0'", "true\n"),
        (
            "curl -sX POST http://localhost:8080/api/v1/nodes/1/detach | jq -r .message",
            "Node detached successfully\n",
        ),
        (
            "curl -sX POST http://localhost:8080/api/v1/nodes/1/attach | jq -r .message",
            "Node attached successfully\n",
        ),
        (
            "curl -sX POST http://localhost:8080/api/v1/control/reload | jq -r .message",
            "Configuration reloaded successfully\n",
        ),
        (
            "TOKEN=$(curl -s -X POST http://localhost:8080/api/v1/auth/login | jq -r .token); \
             curl -s -H \"Authorization: Bearer $TOKEN\" http://localhost:8080/api/v1/status | jq -r .status",
            "running\n",
        ),
    ] {
        assert_eq!(shell(&balancer, line), printed, "{line}");
    }
}

#[test]
fn readiness_is_told() {
    let balancer = start(|conf| conf.set("num_init_children", "1"));
    assert_eq!(get(&balancer, "/healthz").body, "ok\n");
    wait::until_equal(200, || get(&balancer, "/readyz").status);
    let mut client = Client::connect(&balancer.door("postgres"));
    client.ask("SELECT 1");
    wait::until_equal(503, || get(&balancer, "/readyz").status);
    assert_eq!(get(&balancer, "/readyz").refused(503), "all places for clients are taken");
    assert_eq!(get(&balancer, "/healthz").status, 200);
    client.terminate();
    wait::until_equal(200, || get(&balancer, "/readyz").status);
}

/// A stream of events.
struct Events(BufReader<TcpStream>);

fn events(balancer: &Balancer, target: &str) -> Events {
    let mut stream = open(balancer);
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut events = Events(BufReader::new(stream));
    // Behind this line the stream has begun.
    assert!(events.line_with("retry: ").ends_with("1000"));
    events
}

impl Events {
    fn line_with(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream has ended");
            if line.starts_with(start) {
                return line.trim_end().to_owned();
            }
        }
    }

    fn next(&mut self) -> Value {
        let line = self.line_with("data: ");
        serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap()
    }

    /// The next event of a kind.
    fn wait(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next();
            if event["kind"] == kind {
                return event;
            }
        }
    }
}

#[test]
fn events_are_streamed_listed_and_resumed() {
    let balancer = start(|conf| conf);
    let mut stream = events(&balancer, "/api/v1/events");
    post(&balancer, "/api/v1/nodes/2/detach", "").good();
    let down = stream.wait("node_status");
    assert_eq!((&down["node"], &down["new"]), (&json!(2), &json!("down")), "{down}");
    post(&balancer, "/api/v1/nodes/2/attach", "").good();
    let back = stream.wait("node_status");
    assert_eq!((&back["old"], back["id"].as_u64()), (&json!("down"), down["id"].as_u64().map(|id| id + 1)));
    post(&balancer, "/api/v1/control/reload", "").good();
    stream.wait("reload");
    let list = get(&balancer, "/api/v1/events?follow=0").good();
    let kinds: Vec<&str> =
        list["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert!(kinds.starts_with(&["primary"]) || kinds.contains(&"start"), "{kinds:?}");
    let since = down["id"].as_u64().unwrap();
    let mut again = events(&balancer, &format!("/api/v1/events?since={since}"));
    assert_eq!(again.next(), back);
    let mut stream = open(&balancer);
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {since}\r\n\r\n")
        .unwrap();
    assert_eq!(Events(BufReader::new(stream)).next(), back);
}

#[test]
fn readings_have_a_stream_of_their_own() {
    let balancer = start(|conf| {
        conf.set("health_check_period", "1")
            .set("health_check_user", "'postgres'")
            .set("mqtt_publish_interval", "1")
    });
    let mut stream = events(&balancer, "/api/v1/events?readings=1&since=0");
    let result = stream.wait("health_check");
    assert_eq!((&result["new"], result["node"].is_u64()), (&json!("healthy"), true), "{result}");
    stream.wait("statistics");
    let list = get(&balancer, "/api/v1/events?follow=0&readings=1").good();
    let kinds: Vec<&str> =
        list["events"].as_array().unwrap().iter().filter_map(|event| event["kind"].as_str()).collect();
    assert!(kinds.contains(&"process_start") && !kinds.contains(&"start"), "{kinds:?}");
    let list = get(&balancer, "/api/v1/events?follow=0").good();
    assert!(!list.to_string().contains("health_check\","), "{list}");
}

#[test]
fn a_reader_of_events_that_is_too_slow_hears_what_it_has_missed() {
    let balancer = start(|conf| conf);
    // The ring has room for 1024.
    for _ in 0..600 {
        post(&balancer, "/api/v1/control/pause", "").good();
        post(&balancer, "/api/v1/control/resume", "").good();
    }
    let list = get(&balancer, "/api/v1/events?follow=0&since=1").good();
    let missed = list["missed"].as_u64().unwrap();
    assert_eq!(list["events"].as_array().unwrap().len(), 1024);
    assert!(missed > 100, "{missed}");
    let mut stream = events(&balancer, "/api/v1/events?since=1");
    let first = stream.next();
    assert_eq!((&first["kind"], &first["new"]), (&json!("missed"), &json!(missed.to_string())));
    assert_eq!((&first["id"], &stream.next()["id"]), (&json!(missed + 1), &json!(missed + 2)));
}

#[test]
fn the_process_is_replaced_when_it_dies_and_tokens_outlive_it() {
    let balancer = start(|conf| conf);
    let mut client = Client::connect(&balancer.door("postgres"));
    assert_eq!(client.ask("SELECT 1"), "1");
    let token = post(&balancer, "/api/v1/auth/login", "").good()["token"].as_str().unwrap().to_owned();
    let old = balancer.child_titled("REST API").expect("the REST API process");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(old), nix::sys::signal::Signal::SIGKILL).unwrap();
    balancer.wait_log(&format!("REST API process with pid: {old} exits with status 9 by signal 9"));
    let head = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(ask(&balancer, "GET", "/api/v1/status", &head, "").status, 200);
    assert_ne!(balancer.child_titled("REST API"), Some(old));
    assert_eq!(client.ask("SELECT 2"), "2");
}

#[test]
fn the_way_of_a_statement_is_told() {
    let balancer = start(|conf| conf.set("user_redirect_preference_list", "'ann:primary'"));
    let way = |body: Value| post(&balancer, "/api/v1/route", &body.to_string()).good();
    let read = way(json!({"sql": "SELECT * FROM t"}));
    assert_eq!((&read["node"], &read["candidates"]), (&json!(1), &json!([1])), "{read}");
    assert_eq!(way(json!({"sql": "SELECT * FROM t", "user": "ann"}))["node"], 0);
    let write = way(json!({"sql": "INSERT INTO t VALUES (1)", "database": "d", "application": "a"}));
    assert_eq!(write["node"], 0);
    let document = get(&balancer, "/api/v1/openapi.json").good();
    let schema = &document["paths"]["/api/v1/route"]["post"]["responses"]["200"]["content"]["application/json"]
        ["schema"];
    assert_eq!(faults(&write, schema, "route"), [""; 0]);
    for body in ["", "{}", "{\"sql\": 7}", "{\"sql\": \"SELECT 1\", \"more\": 1}"] {
        post(&balancer, "/api/v1/route", body).refused(400);
    }
    let deep = format!("SELECT {}1", "1+".repeat(30_000));
    post(&balancer, "/api/v1/route", &json!({"sql": deep}).to_string()).good();
    post(&balancer, "/api/v1/route", &json!({"sql": "x".repeat(70_000)}).to_string()).refused(413);
}

#[test]
fn a_node_is_recovered_while_the_answer_is_long_gone_and_nobody_else_may_begin() {
    let cluster = Cluster::private();
    cluster.prepare_recovery();
    // The first stage waits until the test lets it go on.
    let (go, real) = (process::server_dir("go"), cluster.primary().data().join("recovery_1st_stage"));
    std::fs::rename(&real, cluster.primary().data().join("real_stage")).unwrap();
    let gate = go.path().join("go");
    let text = format!(
        "#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.1; done\nexec \"$(dirname \"$0\")/real_stage\" \"$@\"\n",
        gate.display()
    );
    cluster.primary().script("recovery_1st_stage", &text);
    let conf = Conf::of(&cluster)
        .with_places(&cluster)
        .set("rest_api_enabled", "on")
        .set("recovery_user", "'postgres'")
        .set("recovery_1st_stage_command", "'recovery_1st_stage'");
    let balancer = Balancer::start_with(conf, &[pcp::CONF]);
    balancer.wait_roles();
    assert!(post(&balancer, "/api/v1/nodes/1/recovery", "").refused(409).contains("is alive"));
    for id in [1, 2] {
        post(&balancer, &format!("/api/v1/nodes/{id}/detach"), "").good();
    }
    cluster.nodes[1].kill();
    let begun = post(&balancer, "/api/v1/nodes/1/recovery", "");
    assert_eq!((begun.status, &begun.json()["status"]), (202, &json!("accepted")));
    let state = || get(&balancer, "/api/v1/nodes/1/recovery").good();
    wait::until_equal(json!(["running", "command of the 1st stage"]), || {
        json!([state()["state"], state()["step"]])
    });
    assert_eq!(get(&balancer, "/api/v1/nodes/2/recovery").good()["state"], "none");
    let busy = "another node is being recovered";
    assert_eq!(post(&balancer, "/api/v1/nodes/2/recovery", "").refused(409), busy);
    let tool = pcp::tool(&balancer, "pcp_recovery_node 2");
    assert!(tool.err.contains("already processing another recovery request"), "{} {}", tool.out, tool.err);
    assert_eq!(node(&balancer, 1)["status"], "down");
    process::write(&gate, "");
    wait::until("the node to be in use", std::time::Duration::from_secs(90), || {
        (node(&balancer, 1)["status"] != "down").then_some(())
    });
    balancer.wait_log("recover node 1: done");
    wait::until_equal(json!(["done", ""]), || json!([state()["state"], state()["reason"]]));
    assert!(state()["ended_at"].as_u64() >= state()["started_at"].as_u64() && state()["started_at"].is_u64());
    assert!(balancer.log_contains("attach node 1: done"));
}
