//! How many statements of whom ran where and how long they took, and the log of slow ones.

use std::collections::BTreeMap;

use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, shared, wait};

/// Statements and errors by node and user, in one database.
fn counted(asker: &mut Client, database: &str) -> BTreeMap<(String, String), (u64, u64)> {
    let shown = asker.query("SHOW POOL_TRAFFIC").succeeded();
    let number = |text: &String| text.parse::<u64>().unwrap();
    let [nodes, users, databases] = ["node_id", "username", "database"].map(|name| shown.column(name));
    let [statements, errors] = ["statements", "errors"].map(|name| shown.column(name));
    let of = (0..nodes.len()).filter(|row| databases[*row] == database);
    of.map(|row| ((nodes[row].clone(), users[row].clone()), (number(&statements[row]), number(&errors[row]))))
        .collect()
}

fn expected(rows: &[(&str, &str, u64, u64)]) -> BTreeMap<(String, String), (u64, u64)> {
    rows.iter()
        .map(|(node, user, statements, errors)| {
            (((*node).to_owned(), (*user).to_owned()), (*statements, *errors))
        })
        .collect()
}

#[test]
fn statements_and_errors_are_counted_by_user_database_and_node() {
    let cluster = shared();
    let database = cluster.database("traffic");
    cluster.prepare(&database, "CREATE TABLE t (n int); GRANT ALL ON t TO alice");
    let balancer = Balancer::start(Conf::of(cluster).weights([0, 1, 0]));
    let door = balancer.door(&database);
    let mut asker = Client::connect(&balancer.door("postgres"));
    let mut client = Client::connect(&door);
    client.query("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)").succeeded();
    client.query("SELECT pg_sleep(0), 1/0").error().unwrap();
    client.query("SELECT 1").succeeded();
    client.query("SHOW POOL_VERSION").succeeded();
    let simple = expected(&[("0", "postgres", 2, 1), ("1", "postgres", 1, 0)]);
    wait::until_equal(simple, || counted(&mut asker, &database));
    // A batch is as many statements as it executes; what stands behind its error is none.
    let mut alice = Client::connect(&door.as_user("alice"));
    for sql in ["INSERT INTO t VALUES (3)", "SELECT 1/(n - 3) FROM t", "INSERT INTO t VALUES (4)"] {
        alice.parse("", sql).bind("", "", &[]).execute("", 0);
    }
    alice.sync().send();
    alice.until_ready().error().unwrap();
    alice.parse("rows", "SELECT generate_series(1, 3)").bind("", "rows", &[]);
    alice.execute("", 2).execute("", 2).sync().send();
    alice.until_ready().succeeded();
    let extended = expected(&[
        ("0", "postgres", 2, 1),
        ("1", "postgres", 1, 0),
        ("0", "alice", 2, 1),
        ("1", "alice", 2, 0),
    ]);
    wait::until_equal(extended, || counted(&mut asker, &database));
}

#[test]
fn what_a_worker_has_counted_stays_when_it_is_replaced() {
    let cluster = shared();
    let database = cluster.database("traffic_worker");
    let balancer = Balancer::start(Conf::of(cluster).weights([1, 0, 0]));
    let mut asker = Client::connect(&balancer.door("postgres"));
    let mut client = Client::connect(&balancer.door(&database));
    client.query("SELECT 1").succeeded();
    let worker = balancer.worker_of(&client);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), nix::sys::signal::Signal::SIGKILL).unwrap();
    balancer.wait_log(&format!("child process with pid: {worker} exits"));
    let one = expected(&[("0", "postgres", 1, 0)]);
    assert_eq!(counted(&mut asker, &database), one);
}

#[test]
fn slow_statements_are_logged_with_their_time_and_their_node() {
    let cluster = shared();
    let database = cluster.database("slow");
    let balancer = Balancer::start(Conf::of(cluster).weights([1, 0, 0]));
    let mut client = Client::connect(&balancer.door(&database));
    client.query("SELECT pg_sleep(0.2), 'unlogged'").succeeded();
    client.query("PGPOOL SET log_min_duration_statement TO 100").succeeded();
    client.query("SELECT 'quick'").succeeded();
    client.query("SELECT pg_sleep(0.2), 'simple'").succeeded();
    client.parse("", "SELECT pg_sleep(0.2), 'unnamed'").bind("", "", &[]).execute("", 0).sync().send();
    client.until_ready().succeeded();
    client.parse("nap", "SELECT pg_sleep($1::float), 'named'").sync().send().until_ready().succeeded();
    client.bind("", "nap", &["0.2"]).execute("", 0).bind("", "nap", &["0"]).execute("", 0).sync().send();
    client.until_ready().succeeded();
    balancer.wait_log("execute nap: SELECT pg_sleep($1::float), 'named'\n");
    let log = balancer.log();
    let slow: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("duration: ")).map(|(_, rest)| rest).collect();
    assert_eq!(slow.len(), 3, "{slow:?}");
    for (line, end) in slow.iter().zip([
        " ms  statement: SELECT pg_sleep(0.2), 'simple'",
        " ms  execute <unnamed>: SELECT pg_sleep(0.2), 'unnamed'",
        " ms  execute nap: SELECT pg_sleep($1::float), 'named'",
    ]) {
        let millis: f64 = line.strip_suffix(end).unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        assert!(millis >= 100.0, "{line}");
    }
    assert!(log.contains("LOG:  DB node id: 0 duration: "));
    client.query("PGPOOL SET log_min_duration_statement TO 0").succeeded();
    client.query("SELECT 'all'").succeeded();
    balancer.wait_log(" ms  statement: SELECT 'all'\n");
}
