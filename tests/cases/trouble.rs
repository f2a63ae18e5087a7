//! Real failures below clients at work: what the log says of them, what becomes of the clients, and that nobody waits for ever.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::balancer::Conf;
use crate::harness::cluster::Node;
use crate::harness::load::{self, Failed, Load, Met};
use crate::harness::namespace::{self, cut_off, reconnect};
use crate::harness::recovery::{source, with_settings};
use crate::harness::{Balancer, Client, Cluster, process, wait};

const READERS: usize = 8;
const WRITERS: usize = 4;

/// A node is given up 2 × 2 s after it has stopped answering, with a second between; the rest is for a busy machine.
const GIVEN_UP: Duration = Duration::from_secs(15);

fn conf(cluster: &Cluster) -> Conf {
    Conf::of(cluster)
        .with_places(cluster)
        .set("num_init_children", "4")
        .set("sessions_per_child", "20")
        .set("log_per_node_statement", "off")
        .set("health_check_period", "1")
        .set("health_check_timeout", "2")
        .set("health_check_user", "'postgres'")
        .set("health_check_max_retries", "1")
        .set("health_check_retry_delay", "1")
        .set("connect_timeout", "2000")
        .set("failover_wait_timeout", "20")
        .set("search_primary_node_timeout", "10")
        .set("auto_failback", "on")
        .set("auto_failback_interval", "1")
}

/// What is run when a node is lost.
fn script(text: &str) -> (tempfile::TempDir, PathBuf) {
    process::script("failover.sh", text)
}

/// The script that a site begins with.
fn sample(cluster: &Cluster) -> (tempfile::TempDir, PathBuf) {
    let bin = cluster.nodes[0].bin.to_str().unwrap();
    script(&with_settings(&source("conf-samples/failover.sh"), &[("PGBIN", bin)]))
}

fn command(script: &std::path::Path) -> String {
    format!("'{} %d %h %p %D %m %H %M %P %r %R %N %S'", script.display())
}

fn column(balancer: &Balancer, name: &str) -> Vec<String> {
    Client::connect(&balancer.door("postgres")).query("SHOW POOL_NODES").succeeded().column(name)
}

fn wait_status(balancer: &Balancer, node: usize, status: &str) {
    wait::until_equal(status.to_owned(), || column(balancer, "status")[node].clone());
}

/// Waits until the log has a line with each of these texts, in this order, and hands them back whole.
fn told(balancer: &Balancer, texts: &[&str]) -> Vec<String> {
    wait::until(&format!("{texts:?} in the log"), wait::LIMIT, || {
        let log = balancer.log();
        let mut lines = log.lines();
        texts.iter().map(|text| lines.find(|line| line.contains(text)).map(str::to_owned)).collect()
    })
}

/// What is said when a node goes out, and the reason below it: who is the first to notice may vary.
fn told_of_the_end(balancer: &Balancer, cluster: &Cluster, host: &str, node: usize) {
    let place = format!("host {host}({})", cluster.nodes[node].port);
    told(
        balancer,
        &[
            &format!("received degenerate backend request for node_id: {node} from pid ["),
            &format!("=== Starting degeneration. shutdown {place} ==="),
            "DETAIL:  ",
            &format!("=== Failover done. shutdown {place} ==="),
        ],
    );
}

/// Clients at work, and the longest that one of them has waited for anything.
struct Work {
    load: Load,
    slowest: Arc<AtomicU64>,
}

impl Work {
    fn start(
        balancer: &Balancer,
        clients: usize,
        piece: impl Fn(&mut Client) -> Result<(), Failed> + Send + Sync + 'static,
    ) -> Work {
        let slowest = Arc::new(AtomicU64::new(0));
        let load = Load::start(&balancer.door("postgres"), clients, {
            let slowest = Arc::clone(&slowest);
            move |client, _, _| {
                let begun = Instant::now();
                let result = piece(client);
                slowest.fetch_max(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
                result
            }
        });
        wait::until_true("the clients to be at work", || load.done() > 200);
        Work { load, slowest }
    }

    fn goes_on(&self) {
        let before = self.load.done();
        wait::until_true("the work to go on", || self.load.done() > before + 200);
    }

    /// What they have met; nobody has waited longer than `limit`.
    #[track_caller]
    fn end(self, limit: Duration) -> Met {
        let met = self.load.end();
        let slowest = Duration::from_millis(self.slowest.load(Ordering::Relaxed));
        assert!(slowest <= limit, "somebody waited {slowest:?}");
        met
    }
}

fn read(client: &mut Client) -> Result<(), Failed> {
    load::run(client, "SELECT count(*) FROM t").map(drop)
}

fn write(client: &mut Client) -> Result<(), Failed> {
    load::run(client, "INSERT INTO t VALUES (1)").map(drop)
}

#[track_caller]
fn nothing_was_noticed(met: &Met) {
    assert!(met.errors.is_empty() && met.disconnects.is_empty(), "{:?} {:?}", met.errors, met.disconnects);
}

/// A write that was under way when the primary was lost is not repeated; everybody keeps the connection.
#[track_caller]
fn one_error_each_at_most(met: &Met, clients: usize) {
    assert!(met.disconnects.is_empty(), "{:?}", met.disconnects);
    assert!(met.errors.len() <= clients, "{:?}", met.errors);
    let others: Vec<_> = met.errors.iter().filter(|(_, error)| !error.code.starts_with("08")).collect();
    assert!(others.is_empty(), "{others:?}");
}

fn cluster_with_table() -> Cluster {
    let cluster = Cluster::private();
    cluster.prepare("postgres", "CREATE TABLE t (a int)");
    cluster
}

/// Starts reads and writes, lets `fail` strike, and waits until the log has said what was done about it.
fn strike(balancer: &Balancer, fail: impl FnOnce(), until: impl FnOnce()) -> (Met, Met) {
    let readers = Work::start(balancer, READERS, read);
    let writers = Work::start(balancer, WRITERS, write);
    fail();
    until();
    readers.goes_on();
    writers.goes_on();
    (readers.end(GIVEN_UP), writers.end(GIVEN_UP))
}

#[test]
fn a_standby_that_hangs_is_given_up_and_comes_back() {
    let cluster = cluster_with_table();
    let balancer = Balancer::start(conf(&cluster));
    let node = &cluster.nodes[1];
    let (reads, writes) = strike(&balancer, || node.freeze(), || wait_status(&balancer, 1, "down"));
    told(
        &balancer,
        &["health check retrying on DB node: 1 (round:1)", "health check failed on node 1 (timeout:1)"],
    );
    told_of_the_end(&balancer, &cluster, "127.0.0.1", 1);
    nothing_was_noticed(&reads);
    nothing_was_noticed(&writes);
    node.go_on();
    wait_status(&balancer, 1, "up");
    told(&balancer, &[&format!("=== Failback done. reconnect host 127.0.0.1({}) ===", node.port)]);
}

#[test]
fn a_primary_that_hangs_is_replaced_and_stays_out() {
    let cluster = cluster_with_table();
    let (_dir, script) = sample(&cluster);
    let balancer = Balancer::start(conf(&cluster).set("failover_command", &command(&script)));
    let node = &cluster.nodes[0];
    let (reads, writes) = strike(
        &balancer,
        || node.freeze(),
        || {
            wait::until_equal("primary".to_owned(), || column(&balancer, "role")[1].clone());
        },
    );
    told_of_the_end(&balancer, &cluster, "127.0.0.1", 0);
    told(
        &balancer,
        &[
            "execute command: ",
            "failover.sh: primary 0 (127.0.0.1) failed: node 1 (127.0.0.1) is promoted",
            "failover_command for node 0 has ended well after ",
            "failover: set new primary node: 1",
        ],
    );
    nothing_was_noticed(&reads);
    one_error_each_at_most(&writes, WRITERS);
    // It comes to and knows nothing of all this: two primaries, and only the right one is written to.
    node.go_on();
    let writers = Work::start(&balancer, WRITERS, write);
    writers.goes_on();
    nothing_was_noticed(&writers.end(GIVEN_UP));
    assert_eq!(column(&balancer, "status")[0], "down");
    assert_eq!(column(&balancer, "role")[..2], ["standby", "primary"]);
}

#[test]
fn a_standby_whose_packets_get_lost_is_given_up_and_comes_back() {
    if !namespace::inside("cases::trouble::a_standby_whose_packets_get_lost_is_given_up_and_comes_back") {
        return;
    }
    let cluster = cluster_with_table();
    let (node, address) = (&cluster.nodes[1], "127.0.0.11");
    node.listen_everywhere();
    let balancer = Balancer::start(conf(&cluster).set("backend_hostname1", &format!("'{address}'")));
    let (reads, writes) = strike(&balancer, || cut_off(address), || wait_status(&balancer, 1, "down"));
    told(&balancer, &["health check failed on node 1 (timeout:1)"]);
    told_of_the_end(&balancer, &cluster, address, 1);
    nothing_was_noticed(&reads);
    nothing_was_noticed(&writes);
    reconnect(address);
    wait_status(&balancer, 1, "up");
}

#[test]
fn a_primary_whose_packets_get_lost_is_replaced() {
    if !namespace::inside("cases::trouble::a_primary_whose_packets_get_lost_is_replaced") {
        return;
    }
    let cluster = cluster_with_table();
    let (_dir, script) = sample(&cluster);
    let address = "127.0.0.11";
    cluster.nodes[0].listen_everywhere();
    let conf = conf(&cluster).set("backend_hostname0", &format!("'{address}'"));
    let mut balancer = Balancer::start(conf.set("failover_command", &command(&script)));
    let (reads, writes) = strike(
        &balancer,
        || cut_off(address),
        || {
            wait::until_equal("primary".to_owned(), || column(&balancer, "role")[1].clone());
        },
    );
    told_of_the_end(&balancer, &cluster, address, 0);
    told(&balancer, &["failover_command for node 0 has ended well", "failover: set new primary node: 1"]);
    nothing_was_noticed(&reads);
    one_error_each_at_most(&writes, WRITERS);
    // Nor does the end of the program wait for it.
    let begun = Instant::now();
    balancer.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_full_disk_below_a_table_is_the_business_of_the_statement() {
    if !namespace::inside("cases::trouble::a_full_disk_below_a_table_is_the_business_of_the_statement") {
        return;
    }
    let cluster = cluster_with_table();
    let space = cluster.primary().data().with_file_name("space");
    std::fs::create_dir(&space).unwrap();
    process::give_to_server_user(&space);
    namespace::small_disk(&space, "6m");
    // A standby would look for the same place on the same machine.
    cluster.standbys().iter().for_each(Node::kill);
    cluster.on_primary("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", space.display()));
    cluster.on_primary("postgres", "CREATE TABLE big (a text) TABLESPACE small");
    let balancer = Balancer::start_unready(conf(&cluster));
    wait_status(&balancer, 2, "down");
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("BEGIN").succeeded();
    let reply = client.query("INSERT INTO big SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
    assert_eq!(reply.error_code(), "53100");
    client.query("ROLLBACK").succeeded();
    client.query("INSERT INTO t VALUES (1)").succeeded();
    assert_eq!(column(&balancer, "status")[0], "up");
    assert!(!balancer.log_contains("degenerate backend request for node_id: 0"));
}

#[test]
fn a_primary_that_dies_of_a_full_disk_is_replaced() {
    if !namespace::inside("cases::trouble::a_primary_that_dies_of_a_full_disk_is_replaced") {
        return;
    }
    let cluster = cluster_with_table();
    let (_dir, script) = sample(&cluster);
    let node = &cluster.nodes[0];
    node.stop();
    namespace::small_disk(&node.data().join("pg_wal"), "96m");
    node.start();
    cluster.wait_streaming(0, 2);
    let balancer = Balancer::start(conf(&cluster).set("failover_command", &command(&script)));
    let readers = Work::start(&balancer, READERS, read);
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("CREATE TABLE filler (a int)").succeeded();
    // Until WAL has no room any more, which a server does not outlive.
    let fill = "INSERT INTO filler SELECT g FROM generate_series(1, 200000) g";
    let error = wait::until("the primary to die", Duration::from_secs(60), || client.query(fill).error());
    assert!(["08", "57"].contains(&&error.code[..2]), "{error:?}");
    wait::until_equal("primary".to_owned(), || column(&balancer, "role")[1].clone());
    told(&balancer, &["=== Starting degeneration", "execute command: ", "failover: set new primary node: 1"]);
    client.query("INSERT INTO t VALUES (1)").succeeded();
    readers.goes_on();
    nothing_was_noticed(&readers.end(GIVEN_UP));
    assert!(node.log.text().contains("No space left on device"));
}

/// Whom a server lets in says its pg_hba.conf.
fn set_hba(cluster: &Cluster, node: usize, first: &str) {
    let path = cluster.nodes[node].data().join("pg_hba.conf");
    let text = std::fs::read_to_string(&path).unwrap();
    process::write(&path, format!("{first}\n{text}"));
    cluster.on_node(node, "postgres", "SELECT pg_reload_conf()");
}

#[test]
fn a_server_that_refuses_the_health_check_serves_on_and_the_log_says_so() {
    let cluster = cluster_with_table();
    cluster.prepare("postgres", "CREATE ROLE checker LOGIN");
    let conf = conf(&cluster).set("health_check_user", "'checker'");
    let balancer = Balancer::start(conf);
    let readers = Work::start(&balancer, READERS, read);
    set_hba(&cluster, 1, "host all checker all reject");
    told(&balancer, &["pg_hba.conf rejects connection for host \"127.0.0.1\", user \"checker\""]);
    let checks = || balancer.log().matches("rejects connection").count();
    readers.goes_on();
    nothing_was_noticed(&readers.end(GIVEN_UP));
    assert_eq!(column(&balancer, "status")[1], "up");
    assert!(checks() < 10, "it is said once, not each second");
}

#[test]
fn a_standby_that_refuses_clients_serves_nobody_and_costs_nobody() {
    let cluster = cluster_with_table();
    let balancer = Balancer::start(conf(&cluster).weights([0, 1, 0]));
    set_hba(&cluster, 1, "host all alice all reject");
    let mut client = Client::connect(&balancer.door("postgres").as_user("alice"));
    let begun = Instant::now();
    let reply = client.query("SELECT 1");
    assert!(begun.elapsed() < Duration::from_secs(5));
    // Either another node answers, or the server's own words.
    let error = reply.error();
    assert!(error.as_ref().is_none_or(|error| error.code == "28000"), "{error:?}");
    assert_eq!(column(&balancer, "status")[1], "up");
    assert!(!balancer.log_contains("=== Starting degeneration"));
}

/// A client that writes when the primary has died, and is told within `failover_wait_timeout` (2 s) that there is none.
fn waits_in_vain(balancer: &Balancer, cluster: &Cluster) -> Client {
    cluster.nodes[0].kill();
    told(balancer, &["execute command: "]);
    let mut client = Client::connect(&balancer.door("postgres"));
    let begun = Instant::now();
    assert_eq!(client.query("INSERT INTO t VALUES (1)").error_code(), "57P03");
    assert!(begun.elapsed() < Duration::from_secs(6));
    client
}

#[test]
fn a_failover_command_that_fails_is_reported_and_nobody_waits_for_ever() {
    let cluster = cluster_with_table();
    let (_dir, script) = script("#!/bin/sh\necho no idea how; exit 3\n");
    let conf = conf(&cluster)
        .set("failover_command", &command(&script))
        .set("search_primary_node_timeout", "5")
        .set("failover_wait_timeout", "2");
    let balancer = Balancer::start(conf);
    let readers = Work::start(&balancer, READERS, read);
    let mut client = waits_in_vain(&balancer, &cluster);
    told(
        &balancer,
        &[
            "execute command: ",
            "no idea how",
            "failover_command for node 0 failed: exit status 3 after ",
            "find_primary_node_repeatedly: waiting for finding a primary node",
            "no primary node was found within search_primary_node_timeout (5 s)",
        ],
    );
    // Nobody looks for a primary any more, so nobody waits for one: a standby says what it cannot do.
    let begun = Instant::now();
    assert_eq!(client.query("INSERT INTO t VALUES (1)").error_code(), "25006");
    assert!(begun.elapsed() < Duration::from_secs(2));
    readers.goes_on();
    nothing_was_noticed(&readers.end(GIVEN_UP));
    // An operator helps out.
    cluster.nodes[2].promote();
    wait::until_equal("primary".to_owned(), || column(&balancer, "role")[2].clone());
    told(&balancer, &["failover: set new primary node: 2"]);
    client.query("INSERT INTO t VALUES (1)").succeeded();
}

#[test]
fn a_failover_command_that_hangs_is_waited_for_within_limits() {
    let cluster = cluster_with_table();
    let dir = process::server_dir("go");
    let go = dir.path().join("go");
    let bin = cluster.nodes[0].bin.display();
    let text = format!(
        "#!/bin/sh\nuntil [ -e {}  ]; do sleep 0.1; done; exec {bin}/pg_ctl -D ${{10}} -w promote\n",
        go.display()
    );
    let (_dir, script) = script(&text);
    let conf = conf(&cluster)
        .set("failover_command", &command(&script))
        .set("search_primary_node_timeout", "3")
        .set("failover_wait_timeout", "2");
    let balancer = Balancer::start(conf);
    let readers = Work::start(&balancer, READERS, read);
    let mut client = waits_in_vain(&balancer, &cluster);
    told(
        &balancer,
        &[
            "failover_command for node 0 has not ended after 3 s: nobody waits for it",
            "no primary node was found within search_primary_node_timeout (3 s)",
        ],
    );
    readers.goes_on();
    // In the end it does its work after all.
    process::write(&go, "");
    // In either order: nobody waits for its end any more.
    told(&balancer, &["failover_command for node 0 has ended well after "]);
    told(&balancer, &["failover: set new primary node: 1"]);
    wait::until_equal("primary".to_owned(), || column(&balancer, "role")[1].clone());
    client.query("INSERT INTO t VALUES (1)").succeeded();
    nothing_was_noticed(&readers.end(GIVEN_UP));
}

#[test]
fn a_reload_and_an_end_do_not_wait_for_a_hung_node() {
    let cluster = cluster_with_table();
    let mut balancer = Balancer::start(conf(&cluster).set("health_check_period", "0"));
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(&balancer.door("postgres"))).collect();
    cluster.nodes[0].freeze();
    clients.iter_mut().for_each(|client| {
        client.simple("INSERT INTO t VALUES (1)").send();
    });
    balancer.reload();
    balancer.wait_log("reloading config file");
    let begun = Instant::now();
    balancer.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    cluster.nodes[0].go_on();
}
