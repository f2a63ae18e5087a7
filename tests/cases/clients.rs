//! Real clients get through the program what a direct connection gives.

use crate::harness::balancer::Conf;
use crate::harness::cluster::{Cluster, Door};
use crate::harness::tap::Tap;
use crate::harness::tools::{self, Ran};
use crate::harness::{Balancer, shared};

/// Runs the same on a database of its own, directly and through the program, and wants the same output and the same
/// messages from the server. Then with reads on a standby, which must print the same.
fn same_as_direct(topic: &str, run: impl Fn(&Door) -> Ran) {
    let cluster = shared();
    let direct = Tap::before(&cluster.door(0, &cluster.database(topic)));
    let expected = run(direct.door()).succeeded();
    let balancer = start_without_reads_elsewhere(cluster);
    let through = Tap::before(&balancer.door(&cluster.database(topic)));
    let got = run(through.door()).succeeded();
    assert_eq!((&got.out, &got.err), (&expected.out, &expected.err));
    // Which of several connections a pool of the client's uses is its own affair.
    for (got, expected) in through.heard().iter().zip(&direct.heard()).take(1) {
        let differs = got.iter().zip(expected).position(|(got, expected)| got != expected);
        let at = differs.unwrap_or(got.len().min(expected.len()));
        let part = |words: &[String]| words[at.saturating_sub(2)..(at + 3).min(words.len())].join("\n");
        assert!(got == expected, "message {at}, got\n{}\nexpected\n{}", part(got), part(expected));
    }
    drop(balancer);
    // The scripts read what they have just written.
    let conf = Conf::of(cluster).weights([0, 1, 0]).set("read_after_write", "session");
    let balancer = Balancer::start(conf);
    let got = run(&balancer.door(&cluster.database(topic))).succeeded();
    assert_eq!((&got.out, &got.err), (&expected.out, &expected.err), "with reads on a standby");
}

/// The scripts read what they have just written outside transactions, which a standby may not have yet.
fn start_without_reads_elsewhere(cluster: &Cluster) -> Balancer {
    Balancer::start(Conf::of(cluster).weights([1, 0, 0]))
}

#[test]
fn a_psql_session_prints_the_same() {
    let script = "\\set VERBOSITY verbose
        CREATE TABLE t (id serial PRIMARY KEY, note text);
        INSERT INTO t (note) VALUES ('a'), (NULL), ('ü') RETURNING *;
        SELECT * FROM t ORDER BY id;
        \\d t
        BEGIN; DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id; FETCH 2 FROM c; COMMIT;
        SELECT 1 AS a \\; SELECT 2 AS b;
        SET application_name = 'changed'; SHOW application_name;
        \\copy t (note) TO STDOUT
        DROP TABLE t;";
    same_as_direct("psql", |door| {
        tools::run(tools::psql(door).args(["-a", "-c", "SELECT 1"]).args(commands(script)))
    });
}

/// A `-c` for each line, as if typed.
fn commands(script: &str) -> Vec<String> {
    script.lines().flat_map(|line| ["-c".to_owned(), line.trim().to_owned()]).collect()
}

#[test]
fn a_psql_error_reads_the_same() {
    same_as_direct("psql_error", |door| {
        let mut ran = tools::run(tools::psql(door).args(["-c", "SELECT 1/0", "-c", "SELEC 1"]));
        ran.ok = true;
        ran
    });
}

#[test]
fn the_tour_of_psycopg_prints_the_same() {
    same_as_direct("psycopg", |door| tools::run(&mut tools::python(door, "tour.py")));
}

#[test]
fn the_tour_of_asyncpg_prints_the_same() {
    same_as_direct("asyncpg", |door| tools::run(&mut tools::python(door, "tour_asyncpg.py")));
}

#[test]
fn the_tour_of_node_postgres_prints_the_same() {
    same_as_direct("node", |door| tools::run(&mut tools::node(door, "tour.js")));
}

/// Every client and every transaction must get through: (what to run, transactions asked for).
fn pgbench_gets_through(name: &str, arguments: &[&str]) {
    let cluster = shared();
    let database = cluster.database(name);
    tools::run(tools::pgbench(&cluster.door(0, &database)).args(["-i", "-q"])).succeeded();
    cluster.catch_up();
    let balancer = Balancer::start(Conf::of(cluster));
    for load in [&["-t", "40"][..], &["-S", "-t", "200"]] {
        let mut bench = tools::pgbench(&balancer.door(&database));
        let ran = tools::run(bench.args(["-n", "-c", "4", "-j", "2"]).args(load).args(arguments)).succeeded();
        assert!(ran.out.contains("number of failed transactions: 0 "), "{}", ran.out);
    }
    let history = cluster.on_primary(&database, "SELECT count(*) FROM pgbench_history");
    assert_eq!(history, "160");
    let sums =
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches)";
    assert_eq!(cluster.on_primary(&database, sums), "t");
}

#[test]
fn pgbench_gets_through_with_simple_queries() {
    pgbench_gets_through("bench_simple", &["-M", "simple"]);
}

#[test]
fn pgbench_gets_through_with_extended_queries() {
    pgbench_gets_through("bench_extended", &["-M", "extended"]);
}

#[test]
fn pgbench_gets_through_with_prepared_statements() {
    pgbench_gets_through("bench_prepared", &["-M", "prepared"]);
}

#[test]
fn pgbench_gets_through_with_a_connection_per_transaction() {
    pgbench_gets_through("bench_connect", &["-C"]);
}

#[test]
fn more_clients_than_workers_wait_their_turn() {
    let cluster = shared();
    let database = cluster.database("crowd");
    tools::run(tools::pgbench(&cluster.door(0, &database)).args(["-i", "-q"])).succeeded();
    cluster.catch_up();
    let balancer = Balancer::start(Conf::of(cluster).set("num_init_children", "2"));
    // A thread each: a thread of pgbench waits for one connection while its others hold workers.
    let mut bench = tools::pgbench(&balancer.door(&database));
    tools::run(bench.args(["-n", "-S", "-C", "-c", "6", "-j", "6", "-t", "20"])).succeeded();
}

#[test]
fn the_log_says_how_sockets_are_waited_for() {
    let cluster = shared();
    for method in ["auto", "epoll"] {
        // Over what the run has chosen: a name set again takes the new value.
        // Processes of one session use epoll in any case, unless told otherwise.
        let conf = Conf::of(cluster).set("sessions_per_child", "2").set("io_method", &format!("'{method}'"));
        let balancer = Balancer::start(conf);
        let log = balancer.log();
        let says = |method: &str| log.contains(&format!("io_method: {method}"));
        assert!(
            if method == "auto" { says("io_uring") || says("epoll, since") } else { says("epoll") },
            "{log}"
        );
    }
}
