//! PAUSE and RESUME: what has begun ends, what begins waits, and nothing but RESUME ends that.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::operations::{error, start};
use super::survive::promoting;
use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, Cluster, Door, shared, wait};

/// Whoever sends something from now on is held back.
fn wait_paused(balancer: &Balancer) {
    let mut asker = Client::connect(&balancer.door("postgres"));
    wait::until_equal(["1".to_owned()].to_vec(), || {
        let status = asker.query("SHOW POOL_STATUS").succeeded();
        let of = status.column("item").into_iter().zip(status.column("value"));
        of.filter(|(item, _)| item == "paused").map(|(_, value)| value).collect()
    });
}

/// A client with a statement that is held back.
fn held(door: &Door, sql: &str) -> Client {
    let mut client = Client::connect(door);
    client.simple(sql).send();
    client
}

#[test]
fn a_pause_ends_transactions_and_holds_new_ones_until_resume() {
    let cluster = shared();
    let database = cluster.database("pause");
    cluster.prepare(&database, "CREATE TABLE t (n int)");
    let balancer = start(|conf| conf.set("failover_wait_timeout", "1"));
    let door = balancer.door(&database);
    let mut operator = Client::connect(&door);
    let mut writer = Client::connect(&door);
    writer.query("BEGIN").succeeded();
    writer.query("INSERT INTO t VALUES (1)").succeeded();
    operator.simple("PGPOOL PAUSE").send();
    wait_paused(&balancer);
    let mut waiting: Vec<Client> = (0..2).map(|_| held(&door, "INSERT INTO t VALUES (2)")).collect();
    // What has begun goes on, and the operator hears when it has ended.
    writer.query("INSERT INTO t VALUES (1)").succeeded();
    writer.query("COMMIT").succeeded();
    assert_eq!(operator.until_ready().succeeded().tags(), ["PAUSE"]);
    assert_eq!(cluster.on_primary(&database, "SELECT count(*) FROM t"), "2");
    let mut extended = Client::connect(&door);
    extended.parse("", "INSERT INTO t VALUES (2)").bind("", "", &[]).execute("", 0).sync().send();
    // The same again is done at once. It is not a matter of time: nothing is refused after failover_wait_timeout.
    assert_eq!(operator.query("PGPOOL PAUSE").succeeded().tags(), ["PAUSE"]);
    waiting.push(held(&door, "BEGIN"));
    // A statement that waits can be cancelled.
    let mut cancelled = held(&door, "INSERT INTO t VALUES (3)");
    wait::until_true("the statement to be cancelled", || {
        cancelled.cancel();
        cancelled.has_answer()
    });
    assert_eq!(cancelled.until_ready().error_code(), "57014");
    assert_eq!(cluster.on_primary(&database, "SELECT count(*) FROM t"), "2");
    assert_eq!(operator.query("PGPOOL RESUME").succeeded().tags(), ["RESUME"]);
    for client in waiting.iter_mut().chain([&mut extended]) {
        client.until_ready().succeeded();
    }
    assert_eq!(cluster.on_primary(&database, "SELECT count(*) FROM t"), "5");
    assert_eq!(error(&operator.query("PGPOOL RESUME")), "nothing is paused");
    operator.query("BEGIN").succeeded();
    let own = error(&operator.query("PGPOOL PAUSE"));
    assert!(own.starts_with("a pause waits for all transactions, and this one asks for it"), "{own}");
}

#[test]
fn a_pause_survives_a_worker_and_its_statements_are_refused_after_pause_timeout() {
    let cluster = shared();
    let database = cluster.database("pause_worker");
    let balancer = start(|conf| conf.set("num_init_children", "4"));
    let door = balancer.door(&database);
    let mut operator = Client::connect(&door);
    let victim = Client::connect(&door);
    operator.query("PGPOOL PAUSE").succeeded();
    let worker = balancer.worker_of(&victim);
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    balancer.wait_log(&format!("child process with pid: {worker} exits"));
    assert_eq!(operator.query("PGPOOL PAUSE").succeeded().tags(), ["PAUSE"], "the new worker is quiet, too");
    // All workers but those of the operator and of whoever asks are held as well.
    let mut waiting: Vec<Client> = (0..2).map(|_| held(&door, "CREATE TEMP TABLE made (n int)")).collect();
    operator.query("PGPOOL SET pause_timeout TO 1").succeeded();
    let refused = operator.query("SELECT 1");
    assert_eq!(
        (refused.error_code().as_str(), error(&refused).as_str()),
        ("57P03", "pgbalancer is paused: waited 1 s for RESUME (pause_timeout)")
    );
    assert!(waiting.iter().all(|client| !client.has_answer()));
    operator.query("PGPOOL RESUME").succeeded();
    waiting.iter_mut().for_each(|client| drop(client.until_ready().succeeded()));
    assert_eq!(operator.ask("SELECT 1"), "1");
}

#[test]
fn a_pause_that_is_not_quiet_in_time_says_so_and_is_in_force() {
    let balancer = start(|conf| conf);
    let door = balancer.door("postgres");
    let mut holder = Client::connect(&door);
    holder.query("BEGIN").succeeded();
    let mut operator = Client::connect(&door);
    let told = error(&operator.query("PGPOOL PAUSE"));
    assert!(told.starts_with("paused, but transactions that began before are still under way"), "{told}");
    let mut waits = held(&door, "SELECT 1");
    holder.query("COMMIT").succeeded();
    assert_eq!(operator.query("PGPOOL PAUSE").succeeded().tags(), ["PAUSE"]);
    assert!(!waits.has_answer());
    operator.query("PGPOOL RESUME").succeeded();
    assert_eq!(waits.until_ready().value().as_deref(), Some("1"));
}

#[test]
fn a_failover_during_a_pause_goes_on_and_the_pause_stays() {
    let cluster = Cluster::private();
    cluster.prepare("postgres", "CREATE TABLE t (n int)");
    let (_scripts, script) = promoting(&cluster, "[ $1 = $2 ] || exit 0; exec PG_CTL -D \"$3\" -w promote");
    let conf = Conf::of(&cluster)
        .with_places(&cluster)
        .set("health_check_period", "1")
        .set("health_check_user", "'postgres'")
        .set("failover_command", &format!("'{} %d %P %R'", script.display()));
    let balancer = Balancer::start(conf);
    let door = balancer.door("postgres");
    let mut operator = Client::connect(&door);
    operator.query("PGPOOL PAUSE").succeeded();
    let mut waits = held(&door, "INSERT INTO t VALUES (1)");
    cluster.nodes[0].kill();
    let expected = ["standby", "primary", "standby"].map(str::to_owned).to_vec();
    wait::until_equal(expected, || operator.query("SHOW POOL_NODES").succeeded().column("role"));
    assert!(!waits.has_answer());
    operator.query("PGPOOL RESUME").succeeded();
    waits.until_ready().succeeded();
    assert_eq!(cluster.on_node(1, "postgres", "SELECT count(*) FROM t"), "1");
}

#[test]
fn a_paused_program_is_not_upgraded_and_stops_at_once_when_told_so() {
    let mut balancer = start(|conf| conf);
    let door = balancer.door("postgres");
    let mut operator = Client::connect(&door);
    operator.query("PGPOOL PAUSE").succeeded();
    balancer.signal(Signal::SIGUSR2);
    balancer.wait_log("no upgrade: the program is paused");
    let mut waits = held(&door, "SELECT 1");
    // Reports and settings of ours need no server.
    assert_eq!(operator.query("SHOW POOL_VERSION").succeeded().rows().len(), 1);
    balancer.signal(Signal::SIGINT);
    assert!(waits.is_closed_within(wait::LIMIT));
    assert!(balancer.exit().success());
}
