//! Reads that must see what was written: in the same transaction, the same session, any session.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::scene::{PRIMARY, STANDBY, Scene, reads_on_one};
use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, Cluster, wait};

const WRITE: &str = "UPDATE written SET n = n + 1 RETURNING n";
/// A trigger writes the table that is read.
const WRITE_BY_TRIGGER: &str = "UPDATE counted SET n = n + 1 RETURNING n";
const READ: &str = "SELECT current_setting('port') || ' ' || n FROM written";

/// What readers have seen.
#[derive(Debug, Default)]
struct Seen {
    reads: AtomicUsize,
    stale: AtomicUsize,
    /// Reads that a standby served: of the table that is written, and of another.
    written_by_standby: AtomicUsize,
    quiet_by_standby: AtomicUsize,
}

/// A cluster whose standbys are behind by these times.
fn delayed(delays: [&str; 2]) -> Cluster {
    let cluster = Cluster::private();
    cluster.prepare(
        "postgres",
        "CREATE TABLE written (n int); INSERT INTO written VALUES (0);
         CREATE TABLE counted (n int); INSERT INTO counted VALUES (0);
         CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN UPDATE written SET n = NEW.n; RETURN NEW; END';
         CREATE TRIGGER up AFTER UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION count_up();
         CREATE TABLE quiet (n int); INSERT INTO quiet VALUES (0);
         CREATE FUNCTION read_written() RETURNS int STABLE LANGUAGE sql AS 'SELECT n FROM written'",
    );
    cluster.catch_up();
    for (node, delay) in [(1, delays[0]), (2, delays[1])] {
        cluster.on_node(node, "postgres", &format!("ALTER SYSTEM SET recovery_min_apply_delay = '{delay}'"));
        cluster.on_node(node, "postgres", "SELECT pg_reload_conf()");
        wait::until_true("the delay", || {
            cluster.on_node(node, "postgres", "SHOW recovery_min_apply_delay") == delay
        });
    }
    cluster
}

/// One writer counts up and says so once it knows; readers in other sessions must not see less.
fn read_while_written(cluster: &Cluster, mode: &str, write: &str, reads: usize) -> Seen {
    let conf = Conf::of(cluster)
        .weights([0, 1, 1])
        .set("read_after_write", mode)
        .set("num_init_children", "2")
        .set("sessions_per_child", "8");
    let balancer = Balancer::start(conf);
    let door = balancer.door("postgres");
    let told = AtomicI64::new(cluster.on_primary("postgres", "SELECT n FROM written").parse().unwrap());
    let (seen, over) = (Seen::default(), AtomicBool::new(false));
    let on_standby = |port: &str| cluster.node_of_port(port) != 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(&door);
            for turn in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let n = match turn % 3 {
                    0 => client.ask(write),
                    1 => client.extended(write, &[]).value().unwrap(),
                    _ => {
                        client.query("BEGIN").succeeded();
                        let n = client.ask(write);
                        client.query("COMMIT").succeeded();
                        n
                    }
                };
                told.store(n.parse().unwrap(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let readers: Vec<_> = (0..6)
            .map(|reader| {
                let (door, seen, told) = (&door, &seen, &told);
                scope.spawn(move || {
                    let mut client = Client::connect(door);
                    while seen.reads.fetch_add(1, Ordering::Relaxed) < reads {
                        let least = told.load(Ordering::SeqCst);
                        let row = match reader {
                            0 => client.ask("SELECT current_setting('port') || ' ' || read_written()"),
                            1 => client.extended(READ, &[]).value().unwrap(),
                            _ => client.ask(READ),
                        };
                        let (port, n) = row.split_once(' ').unwrap();
                        seen.stale
                            .fetch_add(usize::from(n.parse::<i64>().unwrap() < least), Ordering::Relaxed);
                        seen.written_by_standby.fetch_add(usize::from(on_standby(port)), Ordering::Relaxed);
                        let port = client.ask("SELECT current_setting('port') FROM quiet");
                        seen.quiet_by_standby.fetch_add(usize::from(on_standby(&port)), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        over.store(true, Ordering::Relaxed);
    });
    seen
}

#[test]
fn no_read_is_stale_for_any_session_with_read_after_write_global() {
    let cluster = delayed(["30ms", "3ms"]);
    let reads = 50_000;
    let began = Instant::now();
    let seen = read_while_written(&cluster, "global", WRITE, reads);
    let share = |of: &AtomicUsize| of.load(Ordering::Relaxed) * 100 / reads;
    eprintln!(
        "{} reads in {:?}: standbys served {}% of the table that is written every 10 ms, {}% of the other",
        2 * reads,
        began.elapsed(),
        share(&seen.written_by_standby),
        share(&seen.quiet_by_standby)
    );
    assert_eq!(seen.stale.load(Ordering::Relaxed), 0, "{seen:?}");
    assert!(share(&seen.quiet_by_standby) > 90, "{seen:?}");
    assert!(seen.written_by_standby.load(Ordering::Relaxed) > 0, "{seen:?}");
    cluster.on_primary("postgres", "UPDATE counted SET n = (SELECT n FROM written)");
    let seen = read_while_written(&cluster, "global", WRITE_BY_TRIGGER, 5_000);
    assert_eq!(seen.stale.load(Ordering::Relaxed), 0, "{seen:?}");
    // The same without it: were nothing ever stale here, the above would say nothing.
    let seen = read_while_written(&cluster, "off", WRITE, 2_000);
    assert!(seen.stale.load(Ordering::Relaxed) > 0, "{seen:?}");
}

#[test]
fn a_session_reads_its_own_writes_with_read_after_write_session() {
    let cluster = delayed(["20ms", "0"]);
    let stale = |mode: &str| {
        let conf = Conf::of(&cluster).weights([0, 1, 0]).set("read_after_write", mode);
        let balancer = Balancer::start(conf);
        let mut client = Client::connect(&balancer.door("postgres"));
        let (mut stale, mut by_standby) = (0, 0);
        for turn in 0..100 {
            let written: i64 = match turn % 3 {
                0 => client.ask(WRITE).parse().unwrap(),
                1 => client.extended(WRITE, &[]).value().unwrap().parse().unwrap(),
                _ => {
                    client.query("BEGIN").succeeded();
                    let n = client.ask(WRITE).parse().unwrap();
                    client.query("COMMIT").succeeded();
                    n
                }
            };
            for _ in 0..2 {
                let row = client.ask(READ);
                let (port, n) = row.split_once(' ').unwrap();
                stale += usize::from(n.parse::<i64>().unwrap() < written);
                by_standby += usize::from(cluster.node_of_port(port) == 1);
            }
            if turn % 10 == 0 {
                // Long enough for the standby to follow.
                wait::until_true("the standby to serve again", || {
                    let port = client.ask("SELECT current_setting('port') FROM written");
                    cluster.node_of_port(&port) == 1
                });
            }
        }
        (stale, by_standby)
    };
    let (off, _) = stale("off");
    assert!(off > 0, "nothing is ever stale here");
    let (own, by_standby) = stale("session");
    eprintln!("of 200 reads behind writes a standby served {by_standby}");
    assert_eq!(own, 0);
}

#[test]
fn dml_adaptive_reads_the_written_tables_on_the_primary() {
    let scene = Scene::new("adaptive", |conf| {
        reads_on_one(conf)
            .set("disable_load_balance_on_write", "'dml_adaptive'")
            .set("dml_adaptive_object_relationship_list", "'t:tied,put():kept'")
    });
    scene.cluster.prepare(
        &scene.database,
        "CREATE TABLE other (n int); CREATE TABLE tied (n int); CREATE TABLE kept (n int);
         CREATE VIEW v AS SELECT n FROM t;
         CREATE FUNCTION put() RETURNS int LANGUAGE sql AS 'INSERT INTO kept VALUES (1) RETURNING n'",
    );
    scene.cluster.catch_up();
    scene.expect(&[
        ("BEGIN", &[0, 1]),
        ("INSERT INTO t VALUES (7)", PRIMARY),
        ("SELECT n FROM other", STANDBY),
        ("SELECT n FROM t", PRIMARY),
        ("SELECT n FROM v", PRIMARY),
        ("SELECT n FROM tied", PRIMARY),
        ("SELECT n FROM kept", STANDBY),
        ("SELECT put()", PRIMARY),
        ("SELECT n + 1 FROM kept", PRIMARY),
        ("SAVEPOINT a", PRIMARY),
        ("ROLLBACK TO a", PRIMARY),
        ("SELECT n + 1 FROM t", PRIMARY),
        ("SELECT n + 1 FROM other", STANDBY),
        ("DO 'BEGIN NULL; END'", PRIMARY),
        ("SELECT n + 2 FROM other", PRIMARY),
        ("COMMIT", &[0, 1]),
        ("SELECT n + 2 FROM t", STANDBY),
    ]);
}

#[test]
fn dml_adaptive_global_keeps_reads_of_what_others_have_written_for_a_while() {
    let scene = Scene::new("adaptive_global", |conf| {
        reads_on_one(conf)
            .set("disable_load_balance_on_write", "'dml_adaptive_global'")
            .set("track_table_mutation_cold_start_duration", "0")
            .set("track_table_mutation_max_staleness", "1500")
            .set("num_init_children", "2")
    });
    scene.cluster.prepare(&scene.database, "CREATE TABLE other (n int)");
    scene.cluster.catch_up();
    let since = scene.marks();
    let (mut writer, mut reader) = (scene.client(), scene.client());
    let place = |client: &mut Client, statement: &str| {
        client.query(statement).succeeded();
        scene.nodes_that_ran(statement, &since)
    };
    assert_eq!(place(&mut reader, "SELECT n FROM t"), STANDBY);
    writer.query("BEGIN").succeeded();
    writer.query("INSERT INTO t VALUES (2)").succeeded();
    assert_eq!(place(&mut reader, "SELECT n + 1 FROM t"), STANDBY, "not committed");
    writer.query("COMMIT").succeeded();
    assert_eq!(place(&mut reader, "SELECT n + 2 FROM t"), PRIMARY);
    assert_eq!(place(&mut writer, "SELECT n + 3 FROM t"), PRIMARY);
    assert_eq!(place(&mut reader, "SELECT n FROM other"), STANDBY);
    let mut number = 10;
    wait::until_true("the table to be forgotten", || {
        number += 1;
        place(&mut reader, &format!("SELECT n + {number} FROM t")) == STANDBY
    });
    writer.query("DO 'BEGIN NULL; END'").succeeded();
    assert_eq!(place(&mut reader, "SELECT n + 1 FROM other"), PRIMARY, "it may have written anything");
}

#[test]
fn after_the_start_dml_adaptive_global_trusts_no_standby() {
    let scene = Scene::new("cold", |conf| {
        reads_on_one(conf)
            .set("disable_load_balance_on_write", "'dml_adaptive_global'")
            .set("track_table_mutation_cold_start_duration", "60000")
    });
    scene.expect(&[("SELECT n FROM t", PRIMARY)]);
}
