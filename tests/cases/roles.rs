//! Who is the primary, whoever made it that: roles are followed while the program runs.

use std::time::{Duration, Instant};

use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, Cluster, process, shared, wait};

fn column(balancer: &Balancer, column: &str) -> Vec<String> {
    let mut client = Client::connect(&balancer.door("postgres"));
    let values = client.query("SHOW POOL_NODES").succeeded().column(column);
    client.terminate();
    values
}

fn wait_primary(balancer: &Balancer, node: usize) {
    wait::until_true(&format!("node {node} to be the primary"), || {
        column(balancer, "role").iter().position(|role| role == "primary") == Some(node)
    });
}

#[test]
fn a_server_promoted_behind_our_back_gets_the_writes_and_the_old_primary_does_not_come_back_as_one() {
    let cluster = Cluster::private();
    let [old, new, third] = &cluster.nodes[..] else { panic!("three nodes") };
    // It stays in use, so that it is not for being out that nothing goes there.
    let conf = Conf::of(&cluster).weights([1, 1, 1]).set("backend_flag0", "'DISALLOW_TO_FAILOVER'");
    let mut balancer = Balancer::start(conf);
    old.kill();
    new.promote();
    let promoted = Instant::now();
    balancer.wait_log("failover: set new primary node: 1");
    let took = promoted.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?} with a period of a second");
    balancer.wait_log("LOG:  find_primary_node: primary node is 1");
    let log = balancer.log();
    let mut details = log.lines().filter(|line| line.contains("DETAIL:  node 0 does not answer: "));
    assert!(details.any(|line| line.ends_with("; node 1 is not in recovery, timeline 2")), "{log}");
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("CREATE TABLE written (port int)").succeeded();
    let port = "INSERT INTO written SELECT inet_server_port() RETURNING port";
    assert_eq!(client.ask(port), new.port.to_string());

    // Somebody starts the old one as it was. The other standby has gone over.
    third.follow(new);
    old.start();
    balancer.wait_log("node 0 says it is a primary, and so does node 1: keeping node 1");
    balancer.wait_log("DETAIL:  All standbys follow node 1. Nothing is read from node 0");
    assert_ne!(column(&balancer, "status")[0], "down", "it is not out, and yet not read from");
    for _ in 0..20 {
        let mut reader = Client::connect(&balancer.door("postgres"));
        assert_ne!(reader.ask("SELECT inet_server_port()"), old.port.to_string());
        reader.terminate();
    }
    wait_primary(&balancer, 1);
    assert_eq!(client.ask(port), new.port.to_string());

    let allowed = "'ALLOW_TO_FAILOVER'";
    balancer.rewrite(|conf| conf.set("detach_false_primary", "on").set("backend_flag0", allowed));
    balancer.reload();
    balancer.wait_log("verify_backend_node_status: primary 0 owns only 0 standbys out of 1");
    balancer.wait_log("DETAIL:  Node 1 is the true primary: all standbys follow node 1.");
    balancer.wait_log("received degenerate backend request for node_id: 0 from pid");
    balancer.wait_log("DETAIL:  false primary: all standbys follow node 1");
    wait_primary(&balancer, 1);
}

/// No look at the nodes is due for an hour, and no session has lost a server.
#[test]
fn servers_that_changed_roles_are_noticed_when_one_refuses_a_write() {
    let cluster = Cluster::private();
    cluster.prepare("postgres", "CREATE TABLE written (port int)");
    let conf = Conf::of(&cluster).set("sr_check_period", "3600").set("num_init_children", "1");
    let balancer = Balancer::start(conf.set("backend_flag0", "'DISALLOW_TO_FAILOVER'"));
    wait::until_equal(vec!["up".to_owned(); 3], || column(&balancer, "status"));
    let [old, new, _] = &cluster.nodes[..] else { panic!("three nodes") };
    old.stop();
    new.promote();
    old.follow(new);
    cluster.wait_streaming(1, 1);
    assert_eq!(balancer.log().matches("find_primary_node: primary node is").count(), 1);
    let mut client = Client::connect(&balancer.door("postgres"));
    let begun = Instant::now();
    let port = client.ask("INSERT INTO written SELECT inet_server_port() RETURNING port");
    let took = begun.elapsed();
    assert_eq!(port, new.port.to_string());
    assert!(took < Duration::from_secs(15), "{took:?}");
    balancer.wait_log("find_primary_node: primary node is 1");
    let log = balancer.log();
    let why = "DETAIL:  node 0 is in recovery and receives from ";
    assert!(
        log.lines().any(|line| line.contains(why) && line.contains("; node 1 is not in recovery")),
        "{log}"
    );
}

/// A standby that was promoted by mistake: the primary lives, and the other standby follows it.
#[test]
fn a_second_primary_changes_nothing_for_the_first() {
    let cluster = Cluster::private();
    let balancer = Balancer::start(Conf::of(&cluster).weights([0, 1, 0]).set("detach_false_primary", "on"));
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("CREATE TABLE written (n int)").succeeded();
    cluster.nodes[1].promote();
    balancer.wait_log("node 1 says it is a primary, and so does node 0: keeping node 0");
    balancer.wait_log("verify_backend_node_status: primary 1 owns only 0 standbys out of 1");
    balancer.wait_log("received degenerate backend request for node_id: 1 from pid");
    client.query("INSERT INTO written VALUES (1)").succeeded();
    assert_eq!(cluster.on_node(0, "postgres", "SELECT count(*) FROM written"), "1");
    wait_primary(&balancer, 0);
    balancer.wait_log("failover: set new primary node");
    assert_eq!(balancer.log().matches("failover: set new primary node").count(), 1);
}

#[test]
fn a_node_with_always_primary_is_the_primary_whatever_it_says() {
    let balancer = Balancer::start(Conf::of(shared()).set("backend_flag1", "'ALWAYS_PRIMARY'"));
    assert_eq!(column(&balancer, "role"), ["standby", "primary", "standby"]);
    assert_eq!(column(&balancer, "pg_role")[1], "primary");
}

#[test]
fn a_standby_is_known_by_its_name_at_the_primary() {
    let conf = Conf::of(shared()).set("backend_application_name2", "'node2'");
    let balancer = Balancer::start(conf);
    let names = ["replication_state", "replication_sync_state"];
    wait::until_equal([["", "", "streaming"], ["", "", "async"]].map(|row| row.map(str::to_owned)), || {
        names.map(|name| column(&balancer, name).try_into().unwrap())
    });
}

#[test]
fn a_command_may_tell_the_delays_and_may_hang() {
    let conf = Conf::of(shared())
        .set("log_standby_delay", "'always'")
        .set("delay_threshold_by_time", "1")
        .set("replication_delay_source_cmd", "'echo 0 1500 -1; echo >&2 beside the matter'")
        .set("replication_delay_source_timeout", "3");
    let mut balancer = Balancer::start(conf);
    let delays = |balancer: &Balancer| column(balancer, "replication_delay");
    wait::until_equal("1.500000 second".to_owned(), || delays(&balancer)[1].clone());
    assert_eq!(delays(&balancer)[0], "0.000000 second");
    balancer.wait_log(
        "Replication of node: 1 is behind 1.500000 second(s) from the primary server (node: 0) (external command)",
    );
    assert!(!balancer.log_contains("Replication of node: 2 is"));

    let change = |balancer: &mut Balancer, command: &str| {
        balancer.rewrite(|conf| conf.set("replication_delay_source_cmd", &format!("'{command}'")));
        balancer.reload();
    };
    change(&mut balancer, "echo 1 2 3 4");
    balancer.wait_log("WARNING:  replication_delay_source_cmd: 4 numbers for 3 nodes (or 2 standbys)");
    wait::until_equal("0.000000 second".to_owned(), || delays(&balancer)[1].clone());
    change(&mut balancer, "exit 3");
    balancer.wait_log("WARNING:  replication_delay_source_cmd: exit status: 3");
    let sleeper = format!("sleep {}", 1_000_000 + std::process::id());
    change(&mut balancer, &format!("{sleeper} & wait"));
    balancer.wait_log("WARNING:  replication_delay_source_cmd: killed after 3 seconds");
    // There is no other round to bring what the command says.
    balancer.rewrite(|conf| conf.set("sr_check_period", "3600"));
    change(&mut balancer, "sleep 0.5; echo 700 800");
    wait::until_equal(["0.000000", "0.700000", "0.800000"].map(|delay| format!("{delay} second")), || {
        delays(&balancer).try_into().unwrap()
    });
    wait::until_equal(Vec::<i32>::new(), || process::titled(&sleeper));
    assert_eq!(balancer.log().matches("replication_delay_source_cmd: ").count(), 3, "each once");
}
