//! bctl against the program itself: the lines of the seed as they are written there, each judged by what it does to the
//! cluster.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, Cluster, ports, shared, wait};

/// A server with the REST API, and a home for its clients.
struct Scene {
    balancer: Balancer,
    port: u16,
    home: tempfile::TempDir,
}

/// What a command left.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Scene {
    fn new(cluster: &Cluster, change: impl FnOnce(Conf) -> Conf) -> Scene {
        let port = ports::free();
        let conf = Conf::of(cluster).set("rest_api_enabled", "on").set("rest_api_port", &port.to_string());
        let balancer = Balancer::start(change(conf));
        let scene = Scene { balancer, port, home: tempfile::tempdir().unwrap() };
        wait::until_true("the REST API", || scene.run("bctl status").code == 0);
        scene
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bctl"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BCTL_")) {
            command.env_remove(name);
        }
        // The port is the only thing that a line of the seed cannot say here.
        command.env("HOME", self.home.path()).env("BCTL_PORT", self.port.to_string());
        command.args(words).stdin(Stdio::null());
        command
    }

    /// A line as it stands in the seed.
    fn run(&self, line: &str) -> Ran {
        self.words(&line.split_whitespace().skip(1).collect::<Vec<_>>())
    }

    fn words(&self, words: &[&str]) -> Ran {
        let output = self.command(words).output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn well(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}: {}{}", ran.out, ran.err);
        ran.out
    }

    fn json(&self, line: &str) -> Value {
        let out = self.well(line);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{line}: {error}:\n{out}"))
    }

    fn status_of(&self, id: usize) -> String {
        self.json("bctl -j nodes")["nodes"][id]["status"].as_str().unwrap().to_owned()
    }
}

#[test]
fn the_lines_of_the_seed_that_show_something() {
    let scene = Scene::new(shared(), |conf| conf);
    assert!(scene.well("bctl status").starts_with("Server: pgbalancer\nStatus: running\n"));
    assert!(
        scene.well("bctl nodes").starts_with("Nodes Information:\n  Total Nodes: 3\n  Node 1:\n    ID: 0\n")
    );
    for line in ["bctl --table nodes", "bctl -t nodes"] {
        let out = scene.well(line);
        let head = "┌────┬─────────────────┬───────┬──────────┬────────┬─────────┬──────────┐\n\
            │ ID │ Host            │ Port  │ Status   │ Weight │ Role    │ Rep Lag  │\n";
        assert!(out.starts_with(head) && out.contains("│ primary │") && out.contains("│ standby │"), "{out}");
    }
    for line in ["bctl --json nodes", "bctl -j nodes"] {
        assert_eq!(scene.json(line)["nodes"].as_array().unwrap().len(), 3, "{line}");
    }
    assert_eq!(scene.well("bctl nodes-count"), "3\n");
    assert!(scene.well("bctl processes").starts_with("Processes Information:\n"));
    assert_eq!(scene.well("bctl processes-count"), "8\n");
    assert!(scene.well("bctl health").starts_with("Health: healthy\n"));
    assert!(scene.well("bctl cache").starts_with("Query Cache:\n"));
    assert!(scene.well("bctl watchdog-status").starts_with("Watchdog Status:\nStatus: off\n"));
    assert!(scene.well("bctl --help").contains("nodes"));
    let ran = scene.run("bctl -H localhost -U admin -v --json status");
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["status"], "running");
    assert!(ran.err.contains("HTTP 200"), "{}", ran.err);
    for line in ["bctl watchdog-start", "bctl watchdog-stop"] {
        let ran = scene.run(line);
        assert!(ran.code == 1 && !ran.err.is_empty(), "{line}: there is none");
    }
}

#[test]
fn everything_else_that_is_shown() {
    let scene = Scene::new(shared(), |conf| conf);
    let client = Client::connect(&scene.balancer.door("postgres"));
    for line in [
        "nodes list",
        "nodes info 1",
        "nodes 1",
        "processes list",
        "pools",
        "traffic",
        "ai",
        "health stats",
        "sessions",
        "cache stats",
        "watchdog info",
        "events",
        "config show",
        "config show port",
        "top --once",
    ] {
        assert!(!scene.json(&format!("bctl -j {line}")).is_null());
        assert_eq!(scene.run(&format!("bctl {line}")).code, 0, "{line}");
        assert!(scene.well(&format!("bctl -t {line}")).contains('┌'), "{line}");
    }
    let route = scene.words(&["route", "INSERT INTO t VALUES (1)"]);
    assert!(
        route.code == 0 && route.out.contains(&format!("Node: {}\n", shared().primary().id)),
        "{}",
        route.out
    );
    assert_eq!(scene.run("bctl nodes info 99").code, 1);
    let process = &scene.json("bctl -j processes")["processes"][0]["pid"];
    assert_eq!(&scene.json(&format!("bctl -j processes {process}"))["pid"], process);
    drop(client);
}

#[test]
fn a_node_is_detached_and_attached_and_weighs_what_it_is_told() {
    let scene = Scene::new(shared(), |conf| conf.weights([0, 1, 0]));
    let reader = || scene.balancer.reader();
    assert_eq!(reader(), 1);
    assert_eq!(scene.well("bctl nodes-detach 1"), "Node 1 detached\n");
    wait::until_equal("down".to_owned(), || scene.status_of(1));
    assert_ne!(reader(), 1);
    for line in ["bctl nodes attach 1", "bctl nodes-attach 1"] {
        assert_eq!(scene.well(line), "Node 1 attached\n");
        wait::until_equal(1, reader);
    }
    scene.well("bctl nodes weight 1 0");
    scene.well("bctl nodes weight 2 1");
    wait::until_equal(2, reader);
    assert_eq!(scene.run("bctl nodes attach 99").code, 1);
}

#[test]
fn a_reload_a_pause_and_the_sessions() {
    let mut scene = Scene::new(shared(), |conf| conf);
    scene.balancer.rewrite(|conf| conf.set("client_idle_limit", "77"));
    assert_eq!(scene.well("bctl reload"), "Configuration reloaded\n");
    wait::until_equal("client_idle_limit = 77s\n".to_owned(), || {
        scene.well("bctl config show client_idle_limit")
    });
    let conf = scene.balancer.conf_path().display().to_string();
    assert!(scene.well(&format!("bctl config check {conf}")).ends_with("is valid\n"));
    let diff = scene.run(&format!("bctl config diff {conf}"));
    assert_eq!((diff.code, diff.out.as_str()), (0, "no differences\n"), "{}", diff.err);
    assert_eq!(scene.run("bctl logrotate").code, 1, "there is no log file");

    scene.well("bctl pause");
    assert_eq!(scene.json("bctl -j status")["paused"], true);
    scene.well("bctl resume");
    assert_eq!(scene.json("bctl -j status")["paused"], false);

    let mut client = Client::connect(&scene.balancer.door("postgres"));
    assert_eq!(client.ask("SELECT 1"), "1");
    let sessions = scene.json("bctl -j sessions");
    let id = sessions["sessions"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(scene.run(&format!("bctl sessions terminate {id}")).code, 1, "nobody can be asked");
    scene.well(&format!("bctl sessions cancel {id}"));
    scene.well(&format!("bctl sessions terminate {id} --yes"));
    wait::until_equal(0, || scene.json("bctl -j sessions")["sessions"].as_array().unwrap().len());
}

#[test]
fn events_are_followed() {
    let scene = Scene::new(shared(), |conf| conf);
    let file = scene.home.path().join("events");
    let mut follow = scene.command(&["events", "--follow", "-j"]);
    let mut child = follow.stdout(fs::File::create(&file).unwrap()).stderr(Stdio::null()).spawn().unwrap();
    // The stream may begin after an event that came too early.
    wait::until_true("an event", || {
        scene.well("bctl nodes-detach 2");
        wait::until_equal("down".to_owned(), || scene.status_of(2));
        scene.well("bctl nodes-attach 2");
        wait::until_true("the node", || scene.status_of(2) != "down");
        fs::read_to_string(&file).unwrap().lines().any(|line| {
            serde_json::from_str::<Value>(line)
                .is_ok_and(|event| event["kind"] == "node_status" && event["node"] == 2)
        })
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_standby_becomes_the_primary() {
    let cluster = Cluster::private();
    let scene = Scene::new(&cluster, |conf| conf);
    // As pcp_promote_node without -s: it is told who the primary is.
    cluster.on_node(1, "postgres", "SELECT pg_promote()");
    assert_eq!(scene.well("bctl nodes-promote 1"), "Node 1 promoted\n");
    wait::until_true("the new primary", || scene.json("bctl -j status")["primary"] == 1);
}

#[test]
fn the_server_is_stopped() {
    let mut scene = Scene::new(shared(), |conf| conf);
    assert_eq!(scene.well("bctl stop"), "Server stop initiated (smart)\n");
    assert!(scene.balancer.exit().success());
    assert_eq!(scene.run("bctl status").code, 2);
}

#[test]
fn a_token_is_needed_where_the_server_says_so() {
    let secret = "'0123456789abcdef0123456789abcdef'";
    let port = ports::free();
    let conf = Conf::of(shared())
        .set("rest_api_enabled", "on")
        .set("rest_api_port", &port.to_string())
        .set("rest_api_jwt_enabled", "on")
        .set("rest_api_jwt_secret", secret);
    let balancer = Balancer::start_with(conf, &[crate::harness::pcp::CONF]);
    let scene = Scene { balancer, port, home: tempfile::tempdir().unwrap() };
    wait::until_equal(3, || scene.run("bctl status").code);
    let password = scene.home.path().join("password");
    fs::write(&password, format!("{}\n", crate::harness::pcp::PASSWORD)).unwrap();
    fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let user = crate::harness::pcp::USER;
    scene.well(&format!("bctl -U {user} --password-file {} login", password.display()));
    scene.well("bctl status");
    scene.well("bctl nodes-attach 1");
    scene.well("bctl logout");
    assert_eq!(scene.run("bctl status").code, 3);
}
