//! Cancel requests: the right key stops the statement that runs, and only that.

use super::both_ways;
use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, Cluster, Door, shared, wait};

const SLEEP: &str = "SELECT pg_sleep(60)";

fn wait_until_asleep(cluster: &Cluster, node: usize, door: &Door) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
        door.database
    );
    wait::until_true("the statement to run", || cluster.on_node(node, "postgres", &sql) == "1");
}

#[test]
fn a_running_statement_is_cancelled_and_the_session_lives() {
    both_ways("cancel", |door| {
        let mut client = Client::connect(door);
        for _ in 0..2 {
            client.simple(SLEEP).send();
            wait_until_asleep(shared(), 0, door);
            client.cancel();
            assert_eq!(client.until_ready().error_code(), "57014");
            assert_eq!(client.ask("SELECT 1"), "1");
        }
    });
}

#[test]
fn a_cancel_reaches_a_read_on_a_standby() {
    let cluster = shared();
    // A function of ours that says it only reads, so that the sleep may go to a standby.
    let database = cluster.database("cancel_standby");
    cluster.prepare(
        &database,
        "CREATE FUNCTION nap() RETURNS void STABLE LANGUAGE sql AS 'SELECT pg_sleep(60)'",
    );
    let balancer = Balancer::start(Conf::of(cluster).weights([0, 1, 0]));
    let door = balancer.door(&database);
    let mut client = Client::connect(&door);
    client.parse("", "SELECT nap()").bind("", "", &[]).execute("", 0).sync().send();
    wait_until_asleep(cluster, 1, &door);
    client.cancel();
    assert_eq!(client.until_ready().error_code(), "57014");
    assert_eq!(client.ask("SELECT 1"), "1");
}

#[test]
fn a_wrong_key_cancels_nothing() {
    both_ways("wrong_key", |door| {
        let mut client = Client::connect(door);
        client.simple("SELECT pg_sleep(1)").send();
        wait_until_asleep(shared(), 0, door);
        let wrong: Vec<u8> = client.key.iter().map(|byte| byte ^ 0x55).collect();
        client.cancel_with(&wrong);
        client.cancel_with(&[]);
        client.until_ready().succeeded();
    });
}

#[test]
fn a_cancel_between_statements_harms_nothing() {
    both_ways("late_cancel", |door| {
        let mut client = Client::connect(door);
        client.query("SELECT 1").succeeded();
        client.cancel();
        // It may arrive during the next statement, but not at one that comes long after.
        client.query("SELECT pg_sleep(0.2)");
        client.query("SELECT 1").succeeded();
    });
}

#[test]
fn a_statement_that_waits_for_the_catalog_is_cancelled_and_its_node_is_still_found() {
    let cluster = shared();
    let database = cluster.database("cancel_catalog");
    cluster.prepare(&database, "CREATE TABLE t (n int)");
    let balancer = Balancer::start(Conf::of(cluster).weights([0, 1, 0]));
    let mut client = Client::connect(&balancer.door(&database));
    // The connection that will ask is there: a new one could not be opened now.
    client.query("DELETE FROM t").succeeded();
    let mut locker = Client::connect(&cluster.door(0, &database));
    locker.query("BEGIN").succeeded();
    locker.query("LOCK TABLE pg_catalog.pg_class IN ACCESS EXCLUSIVE MODE").succeeded();
    client.simple("SELECT inet_server_port() FROM (SELECT count(n) FROM t) x").send();
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event_type = 'Lock'"
    );
    wait::until_true("the look-up to wait", || cluster.on_node(0, "postgres", &waits) == "1");
    client.cancel();
    assert_eq!(client.until_ready().error_code(), "57014");
    locker.query("ROLLBACK").succeeded();
    let port = client.ask("SELECT inet_server_port() FROM (SELECT count(n) FROM t) x");
    assert_eq!(port, cluster.nodes[1].port.to_string());
}
