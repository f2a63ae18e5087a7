//! The MQTT process against a real Mosquitto: what subscribers get, and what becomes of messages while the broker is not
//! there, is slow or refuses us.

mod broker;
mod flood;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgbalancer::face::mqtt::topic;
use serde_json::{Value, json};

use crate::harness::balancer::Conf;
use crate::harness::mosquitto::{Got, Mosquitto, Subscriber};
use crate::harness::rest::{faults, get, post};
use crate::harness::{Balancer, Client, Cluster, shared, wait};

fn conf_of(cluster: &Cluster, broker: &Mosquitto) -> Conf {
    Conf::of(cluster)
        .set("rest_api_enabled", "on")
        .set("mqtt_enabled", "on")
        .set("mqtt_broker", "'localhost'")
        .set("mqtt_port", &broker.port.to_string())
        .set("mqtt_qos", "1")
        .set("mqtt_reconnect_delay_max", "1")
}

fn conf(broker: &Mosquitto) -> Conf {
    conf_of(shared(), broker)
}

fn mqtt(balancer: &Balancer) -> Value {
    get(balancer, "/api/v1/mqtt").good()
}

fn wait_connected(balancer: &Balancer) {
    wait::until_true("the connection to the broker", || mqtt(balancer)["connected"] == true);
}

#[test]
fn the_status_of_nodes_is_published_and_kept() {
    let broker = Mosquitto::start();
    let all = broker.subscribe(&["-t", "pgbalancer/#"]);
    let mut balancer = Balancer::start(conf(&broker));
    all.wait_on("pgbalancer/status", |got| got.payload == "online");
    post(&balancer, "/api/v1/nodes/2/detach", "").good();
    let down = all.wait_on("pgbalancer/nodes/2/status", |got| got.json()["status"] == "down").json();
    assert_eq!((&down["node_id"], down["timestamp"].is_u64()), (&json!(2), true), "{down}");
    let change = all.wait_on("pgbalancer/nodes/status", |got| got.json()["new_status"] == "down").json();
    assert_eq!((&change["event"], &change["node_id"]), (&json!("node_status_change"), &json!(2)), "{change}");
    let late = broker.subscribe(&["-t", "pgbalancer/nodes/+/status", "-t", "pgbalancer/status"]);
    late.wait_on("pgbalancer/nodes/2/status", |got| got.retained && got.json()["status"] == "down");
    late.wait_on("pgbalancer/nodes/0/status", |got| got.retained && got.json()["status"] == "up");
    assert_eq!(get(&balancer, "/api/v1/status").good()["mqtt_enabled"], true);
    balancer.stop();
    late.wait_on("pgbalancer/status", |got| !got.retained && got.payload == "offline");
    all.wait_on("pgbalancer/events/stop", |got| got.json()["new"] == "fast");
}

fn source(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The lines for the shell of doc/mqtt.md, at work; each ends with its first message.
fn document_lines(broker: &Mosquitto) -> Vec<(String, Child)> {
    let text = source("doc/mqtt.md");
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("mosquitto_sub"));
    let run = |line: &str| {
        let line = format!("exec {line} -p {} -C 1", broker.port);
        let child = Command::new("bash").args(["-c", &line]).stdout(Stdio::null()).spawn().unwrap();
        (line, child)
    };
    let lines: Vec<_> = lines.map(run).collect();
    assert_eq!(lines.len(), 4);
    lines
}

/// What is wrong with a message by the AsyncAPI document.
fn wrong(document: &Value, got: &Got) -> Vec<String> {
    let topic = got.topic.strip_prefix("pgbalancer/").expect("the prefix");
    let Some(row) = topic::find(topic) else { return vec![format!("{topic} is in no row")] };
    let address = format!("{{prefix}}/{}", row.address);
    let mut channels = document["channels"].as_object().unwrap().values();
    let channel = channels.find(|channel| channel["address"] == json!(address)).expect("a channel");
    if let Some(events) = channel["parameters"]["event"]["enum"].as_array() {
        let event = topic.rsplit('/').next().unwrap();
        assert!(events.contains(&json!(event)), "{event} is not in the document");
    }
    let message = &channel["messages"]["message"];
    let value = match message["contentType"].as_str() {
        Some("text/plain") => json!(got.payload),
        _ => got.json(),
    };
    faults(&value, &message["payload"], topic)
}

#[test]
fn every_kind_of_event_is_published_as_the_document_says() {
    let cluster = Cluster::private();
    let broker = Mosquitto::start();
    let all = broker.subscribe(&["-t", "pgbalancer/#"]);
    let conf = conf_of(&cluster, &broker)
        .with_places(&cluster)
        .set("health_check_period", "1")
        .set("health_check_user", "'postgres'")
        .set("mqtt_publish_interval", "1")
        .set("recovery_user", "'postgres'")
        .set("recovery_1st_stage_command", "'nothing'");
    let mut lines = document_lines(&broker);
    let mut balancer = Balancer::start(conf);
    let on = |topic: &str, fits: &dyn Fn(&Value) -> bool| {
        all.wait_on(&format!("pgbalancer/{topic}"), |got| fits(&got.json())).json()
    };
    on("events/start", &|_| true);
    on("events/primary", &|event| event["new"] == "0");
    on("health", &|event| event["status"] == "healthy" && event["response_time_ms"].as_f64() > Some(0.0));
    on("nodes/1/health", &|event| event["healthy"] == true);
    let worker = balancer.worker_of(&Client::connect(&balancer.door("postgres")));
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    let crash = on("events/process_crash", &|event| event["pid"] == worker);
    assert_eq!((&crash["new"], &crash["reason"]), (&json!("child"), &json!("ended by signal 9")));
    on("events/process_start", &|event| event["new"] == "child");
    let mut client = Client::connect(&balancer.door("postgres"));
    client.ask("SELECT 1");
    on("stats/connections", &|event| event["total"] == 1 && event["idle"] == 1);
    on("stats/queries", &|event| event["statements"].as_u64() > Some(0));
    post(&balancer, "/api/v1/control/pause", "").good();
    post(&balancer, "/api/v1/control/resume", "").good();
    on("events/pause", &|_| true);
    on("events/resume", &|_| true);
    balancer.rewrite(|conf| conf.set("log_statement", "on"));
    post(&balancer, "/api/v1/control/reload", "").good();
    on("events/config_reload", &|event| event["reason"] == "log_statement");
    post(&balancer, "/api/v1/ai-stats/reset", "").good();
    on("ai/decisions", &|event| event["new"] == "reset");
    post(&balancer, "/api/v1/nodes/2/detach", "").good();
    on("nodes/2/events", &|event| event["event"] == "detach");
    post(&balancer, "/api/v1/nodes/2/attach", "").good();
    on("nodes/2/events", &|event| event["event"] == "attach");
    on("events/failback", &|event| event["node_id"] == 2);
    cluster.nodes[0].kill();
    on("nodes/0/events", &|event| event["event"] == "down");
    on("events/failover_start", &|event| event["node_id"] == 0);
    cluster.nodes[1].promote();
    let failover = on("cluster/failover", &|_| true);
    assert_eq!((&failover["old_primary"], &failover["new_primary"]), (&json!(0), &json!(1)), "{failover}");
    assert_eq!((&failover["event"], &failover["cluster_status"]), (&json!("failover"), &json!("degraded")));
    on("events/failover", &|event| event["new_primary"] == 1);
    on("events/failover_end", &|event| event["new"] == "1");
    on("nodes/1/role", &|event| event["role"] == "primary" && event["old_role"] == "standby");
    on("events/role", &|event| event["node_id"] == 0 && event["new"] == "standby");
    post(&balancer, "/api/v1/nodes/0/recovery", "");
    on("events/recovery", &|event| event["node_id"] == 0 && event["new"] == "started");
    on("events/recovery", &|event| event["new"] == "failed" && event["reason"] != "");
    on("nodes/0/events", &|event| event["event"] == "recovery");
    post(&balancer, "/api/v1/nodes/2/promote", "").good();
    on("events/promotion", &|event| event["node_id"] == 2);
    on("nodes/2/events", &|event| event["event"] == "promote");
    balancer.stop();
    on("events/stop", &|_| true);
    all.wait_on("pgbalancer/status", |got| got.payload == "offline");

    for (line, child) in &mut lines {
        wait::until_equal(Some(Some(0)), || child.try_wait().unwrap().map(|status| status.code()));
        eprintln!("{line} has got a message");
    }

    let document: Value = serde_json::from_str(&source("doc/ref/asyncapi.json")).unwrap();
    let all = all.all();
    let wrong: Vec<String> = all.iter().flat_map(|got| wrong(&document, got)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let said: BTreeSet<&str> = all.iter().filter_map(|got| got.topic.strip_prefix("pgbalancer/")).collect();
    let seen: BTreeSet<&str> = said.into_iter().filter_map(topic::find).map(|row| row.address).collect();
    // Nothing was missed.
    let unseen: Vec<&str> =
        topic::TOPICS.iter().map(|row| row.address).filter(|row| !seen.contains(row)).collect();
    assert_eq!(unseen, ["events/missed"]);
}

/// The numbers of the events of a topic, in the order in which they came.
fn numbers(subscriber: &Subscriber, topic: &str) -> Vec<u64> {
    let own = subscriber.all().into_iter().filter(|got| got.topic == topic);
    own.map(|got| got.json()["id"].as_u64().unwrap()).collect()
}

#[test]
fn a_process_that_dies_is_replaced_and_goes_on_where_it_was() {
    let broker = Mosquitto::start();
    let all = broker.subscribe(&["-t", "pgbalancer/#"]);
    let balancer = Balancer::start(conf(&broker));
    wait_connected(&balancer);
    let pause = || {
        post(&balancer, "/api/v1/control/pause", "").good();
        post(&balancer, "/api/v1/control/resume", "").good();
    };
    pause();
    wait::until_equal(1, || numbers(&all, "pgbalancer/events/resume").len());
    let pid = balancer.child_titled("MQTT").expect("the MQTT process");
    // Held up, it reads nothing of what happens now.
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    pause();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    balancer.wait_log(&format!("MQTT process with pid: {pid} exits with status 9 by signal 9"));
    all.wait_on("pgbalancer/status", |got| got.payload == "offline");
    let last = |topic: &str| BTreeSet::from_iter(numbers(&all, topic)).len();
    wait::until_equal((2, 2), || (last("pgbalancer/events/pause"), last("pgbalancer/events/resume")));
    all.wait_on("pgbalancer/events/process_crash", |got| got.json()["new"] == "MQTT");
    let counts = mqtt(&balancer);
    assert!(counts["connections"].as_u64() >= Some(2) && counts["missed"] == 0, "{counts}");
}

#[test]
fn versions_and_qualities() {
    for (version, qos) in [("'3.1.1'", "0"), ("'3.1.1'", "2"), ("'5'", "0"), ("'5'", "1"), ("'5'", "2")] {
        let broker = Mosquitto::start();
        let all = broker.subscribe(&["-t", "site/a/#"]);
        let conf = conf(&broker)
            .set("mqtt_version", version)
            .set("mqtt_qos", qos)
            .set("mqtt_topic_prefix", "'site/a'")
            .set("mqtt_client_id", "'balancer of a'");
        let balancer = Balancer::start(conf);
        wait_connected(&balancer);
        for _ in 0..20 {
            post(&balancer, "/api/v1/control/reload", "").good();
        }
        wait::until_equal(20, || numbers(&all, "site/a/events/config_reload").len());
        let ids = numbers(&all, "site/a/events/config_reload");
        assert!(ids.is_sorted_by(|one, next| one < next), "{version} {qos}: {ids:?}");
        let protocol = if version == "'5'" { "p5" } else { "p2" };
        let log = broker.log();
        let line =
            log.lines().find(|line| line.contains("as balancer of a")).expect("the line of the broker");
        assert!(line.contains(protocol), "{line}");
        assert!(log.contains(&format!("(d0, q{qos}, r0, ")), "{version} {qos}");
    }
}

#[test]
fn what_is_not_wanted_is_not_published() {
    let broker = Mosquitto::start();
    let all = broker.subscribe(&["-t", "pgbalancer/#"]);
    let mut balancer = Balancer::start(
        conf(&broker)
            .set("mqtt_publish_node_status", "off")
            .set("mqtt_publish_failover", "off")
            .set("mqtt_publish_health_check", "off")
            .set("mqtt_publish_statistics", "off")
            .set("mqtt_publish_interval", "1")
            .set("health_check_period", "1")
            .set("health_check_user", "'postgres'"),
    );
    post(&balancer, "/api/v1/nodes/2/detach", "").good();
    all.wait_on("pgbalancer/nodes/2/events", |got| got.json()["event"] == "detach");
    post(&balancer, "/api/v1/nodes/2/attach", "").good();
    all.wait_on("pgbalancer/events/failback", |_| true);
    let of = |ring: &str, kind: &str| {
        let list = get(&balancer, &format!("/api/v1/events?follow=0&readings={ring}")).good();
        list["events"].as_array().unwrap().iter().any(|event| event["kind"] == kind)
    };
    wait::until_true("readings", || of("1", "health_check") && of("1", "statistics"));
    balancer.rewrite(|conf| conf.set("mqtt_publish_health_check", "on"));
    balancer.reload();
    all.wait_on("pgbalancer/health", |_| true);
    let topics: Vec<String> = all.all().into_iter().map(|got| got.topic).collect();
    for topic in ["nodes/status", "nodes/2/status", "nodes/0/role", "stats/connections", "stats/queries"] {
        assert!(!topics.contains(&format!("pgbalancer/{topic}")), "{topic}");
    }
}

fn bctl(balancer: &Balancer, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bctl"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BCTL_")) {
        command.env_remove(name);
    }
    let port = balancer.rest_port().to_string();
    command.env("HOME", balancer.dir.path()).env("BCTL_PORT", port).args(words);
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn bctl_shows_publishes_and_subscribes() {
    let broker = Mosquitto::start();
    let all = broker.subscribe(&["-t", "#"]);
    let mut balancer = Balancer::start(conf(&broker));
    wait_connected(&balancer);
    let (code, shown, _) = output(&mut bctl(&balancer, &["mqtt"]));
    assert_eq!(code, Some(0));
    for line in
        ["Connected: yes", &format!("Broker: mqtt://localhost:{}", broker.port), "pgbalancer/nodes/status"]
    {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    wait::until_true("a message with the broker", || {
        let (_, json, _) = output(&mut bctl(&balancer, &["-j", "mqtt"]));
        serde_json::from_str::<Value>(&json).unwrap()["published"].as_u64() > Some(0)
    });

    // The server is asked for the broker; a file and an option say it, too.
    let at = format!("localhost:{}", broker.port);
    let file = balancer.conf_path();
    let ways: [&[&str]; 3] = [&[], &["-b", &at], &["--file", file.to_str().unwrap()]];
    for (number, way) in ways.into_iter().enumerate() {
        let (topic, message) = (format!("a/{number}"), format!("message {number}"));
        let (code, said, errors) = output(bctl(&balancer, &["mqtt-publish", &topic, &message]).args(way));
        assert_eq!((code, said), (Some(0), format!("Published to {topic}: {message}\n")), "{errors}");
        all.wait_on(&topic, |got| got.payload == message);
    }
    output(&mut bctl(&balancer, &["mqtt", "publish", "--retain", "kept/x", "y z"]));
    for (words, line) in [
        (["-v", "mqtt-subscribe", "kept/+"].as_slice(), "kept/x y z"),
        (&["mqtt-monitor"], "pgbalancer/status online"),
        (
            &["-j", "mqtt", "subscribe", "kept/#"],
            "{\"payload\":\"y z\",\"retained\":true,\"topic\":\"kept/x\"}",
        ),
    ] {
        let path = balancer.dir.path().join("subscribed");
        let out = std::fs::File::create(&path).unwrap();
        let mut child = bctl(&balancer, words).stdout(out).spawn().unwrap();
        let printed = || std::fs::read_to_string(&path).unwrap();
        wait::until_true(line, || printed().lines().any(|printed| printed == line));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (code, _, errors) = output(&mut bctl(&balancer, &["mqtt-publish", "a/#", "x"]));
    assert!(code == Some(4) && errors.contains("a/#"), "{errors}");
    let (code, _, errors) = output(&mut bctl(&balancer, &["mqtt-publish", "-b", "localhost:1", "a", "x"]));
    assert!(code == Some(2) && errors.contains("nobody listens there"), "{errors}");
    balancer.rewrite(|conf| conf.set("mqtt_enabled", "off"));
    balancer.stop();
    let (code, _, errors) = output(&mut bctl(&balancer, &["mqtt"]));
    assert!(code == Some(2), "{errors}");
}
