//! Nodes are chosen by what they do (`load_balance_algorithm`), and what was learnt is shown, kept and forgotten.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::balancer::Conf;
use crate::harness::rest::{get, post};
use crate::harness::{Balancer, Client, Door, shared, tools, wait};

/// Two standbys that serve the reads of a database, by this algorithm.
struct Scene {
    balancer: Balancer,
    door: Door,
    ports: [String; 2],
}

impl Scene {
    fn new(topic: &str, algorithm: &str, change: impl FnOnce(Conf) -> Conf) -> Scene {
        let cluster = shared();
        let database = cluster.database(topic);
        let ports = [1, 2].map(|id: usize| cluster.nodes[id].port.to_string());
        let function = |name: &str, on_first: &str| {
            format!(
                "CREATE FUNCTION {name}() RETURNS int STABLE LANGUAGE plpgsql AS $$ BEGIN
                 IF inet_server_port() = {} THEN {on_first}; END IF; RETURN inet_server_port(); END $$",
                ports[0]
            )
        };
        for sql in [
            function("slow", "PERFORM pg_sleep(0.2)"),
            function("failing", "RAISE EXCEPTION USING ERRCODE = '53100'"),
            function("alike", "NULL"),
            "CREATE FUNCTION nap() RETURNS void STABLE LANGUAGE sql AS 'SELECT pg_sleep(60)'".to_owned(),
        ] {
            cluster.prepare(&database, &sql);
        }
        let conf = Conf::of(cluster).weights([0, 1, 1]).set("load_balance_algorithm", algorithm);
        let conf = conf.set("rest_api_enabled", "on").set("num_init_children", "4");
        let balancer = Balancer::start(change(conf));
        balancer.wait_roles();
        let door = balancer.door(&database);
        Scene { balancer, door, ports }
    }

    fn client(&self) -> Client {
        Client::connect(&self.door)
    }
}

/// A column of `SHOW POOL_AI`, of the two standbys.
fn shown(client: &mut Client, column: &str) -> [f64; 2] {
    let column = client.query("SHOW POOL_AI").column(column);
    [1, 2].map(|node: usize| column[node].parse().unwrap())
}

#[test]
fn a_slow_node_gets_few_reads_and_the_figures_say_why() {
    for algorithm in ["adaptive", "peak_ewma"] {
        let scene = Scene::new("learned_slow", algorithm, |conf| conf);
        let mut client = scene.client();
        let ports: Vec<String> = (0..60).map(|_| client.ask("SELECT slow()")).collect();
        let slow = ports.iter().filter(|port| **port == scene.ports[0]).count();
        assert!(slow < 20, "{algorithm}: {slow} of 60 went to the slow node");
        let queries = shown(&mut client, "total_queries");
        assert!(queries[0] >= slow as f64 && queries[1] >= (60 - slow) as f64, "{queries:?}");
        assert_eq!(shown(&mut client, "in_flight"), [0.0, 0.0]);
        if algorithm != "adaptive" {
            continue;
        }
        // Both protocols say of which nodes it chooses.
        let explained = client.query("PGPOOL EXPLAIN ROUTE SELECT slow()");
        let scores = explained.column("scores")[0].clone();
        assert!(scores.contains("node 1: score ") && scores.contains("node 2: score "), "{scores}");
        let stats = get(&scene.balancer, "/api/ai-stats").good();
        assert_eq!((&stats["enabled"], &stats["algorithm"]), (&true.into(), &"adaptive".into()));
        assert!(stats["ai_routed_queries"].as_u64().unwrap() >= 60, "{stats}");
        assert_eq!(stats["backends"].as_array().unwrap().len(), 3, "{stats}");
        let route = post(&scene.balancer, "/api/v1/route", "{\"sql\":\"SELECT slow()\"}").good();
        let expected = |at: usize| route["scores"][at]["expected_ms"].as_f64().unwrap();
        if slow > 0 {
            assert!(expected(0) > expected(1), "{route}");
        }
    }
}

#[test]
fn a_node_that_fails_is_kept_from_reads_and_its_errors_are_counted_as_its_own() {
    let scene = Scene::new("learned_failing", "adaptive", |conf| conf);
    let mut client = scene.client();
    let failed = (0..80).filter(|_| client.query("SELECT failing()").error().is_some()).count();
    assert!(failed < 20, "{failed} of 80 met the error");
    // What the statement itself does wrong is no fault of a node.
    assert_eq!(client.query("SELECT 1/0").error_code(), "22012");
    assert_eq!(shown(&mut client, "failed_queries"), [failed as f64, 0.0]);
    // It is told as soon as it is noticed, and the log says so.
    wait::until_true("the event", || {
        client.query("SELECT failing()");
        let events = get(&scene.balancer, "/api/v1/events?follow=0&readings=1").good();
        let is_it = |event: &serde_json::Value| {
            (&event["kind"], &event["node"], &event["new"]) == (&"ai".into(), &1.into(), &"failing".into())
        };
        events["events"].as_array().unwrap().iter().any(is_it)
    });
    scene.balancer.wait_log("routing takes node 1 for failing: its health score is 0.");
    assert_eq!(shown(&mut client, "in_flight"), [0.0, 0.0]);
}

#[test]
fn the_node_that_runs_less_is_chosen_and_what_ends_badly_runs_no_more() {
    let scene = Scene::new("learned_least", "least_connections", |conf| conf);
    let mut asker = scene.client();
    for ending in ["cancel", "leave", "kill"] {
        let mut sleeper = scene.client();
        sleeper.simple("SELECT nap()").send();
        wait::until_equal(1.0, || shown(&mut asker, "in_flight").iter().sum::<f64>());
        let busy = usize::from(shown(&mut asker, "in_flight")[0] == 0.0);
        for _ in 0..10 {
            assert_ne!(asker.ask("SELECT alike()"), scene.ports[busy], "{ending}");
        }
        match ending {
            "cancel" => wait::until_true("the statement to be cancelled", || {
                sleeper.cancel();
                sleeper.has_answer()
            }),
            "leave" => drop(sleeper),
            _ => {
                kill(Pid::from_raw(scene.balancer.worker_of(&sleeper)), Signal::SIGKILL).unwrap();
            }
        }
        wait::until_equal([0.0, 0.0], || shown(&mut asker, "in_flight"));
    }
}

#[test]
fn a_transaction_reads_on_one_node() {
    let scene = Scene::new("learned_transaction", "adaptive", |conf| conf);
    let mut client = scene.client();
    let mut seen = std::collections::BTreeSet::new();
    wait::until_true("both nodes to be chosen", || {
        client.query("BEGIN").succeeded();
        let first = client.ask("SELECT alike()");
        for _ in 0..5 {
            assert_eq!(client.ask("SELECT alike()"), first);
        }
        client.query("COMMIT").succeeded();
        seen.insert(first);
        seen.len() == 2
    });
}

#[test]
fn what_was_learnt_is_kept_over_a_restart_and_forgotten_when_that_is_wanted() {
    let mut scene = Scene::new("learned_kept", "adaptive", |conf| conf.set("ai_state_file", "'learned'"));
    let file = scene.balancer.dir.path().join("learned");
    let mut client = scene.client();
    (0..30).for_each(|_| drop(client.ask("SELECT alike()")));
    drop(client);
    scene.balancer.stop();
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("pgbalancer-ai 1 "));
    scene.balancer.start_again(&[]);
    scene.balancer.wait_log("routing goes on with what it has learnt, from ");
    scene.balancer.wait_roles();
    let mut client = scene.client();
    assert_eq!(shown(&mut client, "total_queries"), [0.0, 0.0], "counts begin anew");
    assert!(shown(&mut client, "avg_response_time").iter().any(|time| *time > 0.0));
    assert_eq!(client.query("PGPOOL AI RESET").succeeded().tags(), ["AI"]);
    assert_eq!(shown(&mut client, "avg_response_time"), [0.0, 0.0]);
    client.ask("SELECT alike()");
    let mut bctl = Command::new(env!("CARGO_BIN_EXE_bctl"));
    bctl.args(["-p", &scene.balancer.rest_port().to_string(), "ai", "reset"]);
    let reset = tools::run(bctl.env("HOME", scene.balancer.dir.path()));
    assert_eq!(reset.succeeded().out, "What routing has learnt is forgotten\n");
    assert_eq!(shown(&mut client, "avg_response_time"), [0.0, 0.0]);
    drop(client);
    scene.balancer.stop();
    std::fs::write(&file, "nonsense").unwrap();
    scene.balancer.start_again(&[]);
    scene.balancer.wait_log("routing learns anew: the first line is not");
}

#[test]
fn nothing_is_watched_unless_it_is_wanted_and_a_reload_is_enough_to_begin() {
    let mut scene = Scene::new("learned_off", "weighted_random", |conf| conf);
    let mut client = scene.client();
    (0..5).for_each(|_| drop(client.ask("SELECT alike()")));
    assert_eq!(shown(&mut client, "total_queries"), [0.0, 0.0]);
    assert_eq!(client.query("PGPOOL EXPLAIN ROUTE SELECT alike()").column("scores"), [""]);
    scene
        .balancer
        .rewrite(|conf| conf.set("load_balance_algorithm", "heuristic").set("ai_load_balancing", "on"));
    scene.balancer.reload();
    wait::until_true("statements to be watched", || {
        client.ask("SELECT alike()");
        shown(&mut client, "total_queries").iter().sum::<f64>() > 0.0
    });
    assert_eq!(get(&scene.balancer, "/api/v1/status").good()["ai_enabled"], true);
}
