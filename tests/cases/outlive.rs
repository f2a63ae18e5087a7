//! What each client sees when a server dies under it: the table in doc/architecture.md, on real servers. Each case has a
//! cluster of its own.

use std::time::Duration;

use super::survive::promoting;
use crate::harness::balancer::Conf;
use crate::harness::message::Reply;
use crate::harness::{Balancer, Client, Cluster, Door, wait};

/// A million rows, more than all buffers on the way take.
const MANY_ROWS: &str = "SELECT a.filler FROM rows a, rows b";

const TABLES: &str = "
    CREATE TABLE t (n int); INSERT INTO t VALUES (1);
    CREATE TABLE rows AS SELECT repeat('x', 200) AS filler FROM generate_series(1, 1000);
    CREATE TABLE slow (n int);
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(20); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle();
    CREATE ROLE somebody; GRANT SELECT ON t TO somebody;";

struct Scene {
    cluster: Cluster,
    balancer: Balancer,
    /// Only reads, by the word of the configuration, and has no end on the node that the reads go to.
    long_read: String,
    _scripts: tempfile::TempDir,
}

impl Scene {
    /// All reads go to one node; a primary that dies is replaced by node 1.
    fn new(reads_on: usize, change: impl FnOnce(Conf) -> Conf) -> Scene {
        let cluster = Cluster::private();
        cluster.prepare("postgres", TABLES);
        let (scripts, script) =
            promoting(&cluster, "[ $1 = $2 ] || exit 0; exec PG_CTL -D \"$3\" -w promote");
        let mut weights = [0; 3];
        weights[reads_on] = 1;
        let mut conf = Conf::of(&cluster)
            .weights(weights)
            .set("num_init_children", "2")
            .set("sessions_per_child", "30")
            .set("read_only_function_list", "'pg_sleep,inet_server_port'")
            .set("failover_command", &format!("'{} %d %P %R'", script.display()));
        for node in &cluster.nodes {
            let name = format!("backend_data_directory{}", node.id);
            conf = conf.set(&name, &format!("'{}'", node.data().display()));
        }
        let balancer = Balancer::start(change(conf));
        let port = cluster.nodes[reads_on].port;
        let long_read =
            format!("SELECT pg_sleep(CASE inet_server_port() WHEN {port} THEN 60 ELSE 0 END), 'read'");
        Scene { cluster, balancer, long_read, _scripts: scripts }
    }

    fn door(&self) -> Door {
        self.balancer.door("postgres")
    }

    fn client(&self) -> Client {
        Client::connect(&self.door())
    }

    /// Waits until so many statements like this run on the node.
    fn wait_busy(&self, node: usize, like: &str, count: usize) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '{like}' \
             AND pid <> pg_backend_pid()"
        );
        let mut client = Client::connect(&self.cluster.door(node, "postgres"));
        wait::until_equal(count.to_string(), || client.ask(&sql));
    }
}

fn code_and_status(reply: &Reply) -> (String, char) {
    (reply.error_code(), reply.status())
}

/// A session that has run this.
fn having(scene: &Scene, statements: &[&str]) -> Client {
    let mut client = scene.client();
    for sql in statements {
        client.query(sql).succeeded();
    }
    client
}

/// The long read, under way in each protocol.
fn readers(scene: &Scene) -> Vec<Client> {
    let mut simple = scene.client();
    simple.simple(&scene.long_read).send();
    let mut extended = scene.client();
    extended.parse("", &scene.long_read).bind("", "", &[]).describe('P', "").execute("", 0).sync().send();
    let mut prepared = scene.client();
    prepared.parse("p", &scene.long_read).sync().send().until_ready();
    prepared.bind("", "p", &[]).execute("", 0).sync().send();
    vec![simple, extended, prepared]
}

/// It has sent a read of many rows and has the first.
fn slow_reader(scene: &Scene) -> Client {
    let mut client = scene.client();
    client.simple(MANY_ROWS).send();
    client.until('D');
    client
}

fn lives(client: &mut Client) {
    client.query("INSERT INTO t VALUES (2)").succeeded();
    client.query("SELECT n FROM t").succeeded();
}

#[test]
fn what_clients_see_when_a_standby_dies() {
    let scene = Scene::new(1, |conf| conf);
    let mut idle = having(&scene, &["SET search_path TO public", "SELECT n FROM t"]);
    let mut readers = readers(&scene);
    let mut rows = slow_reader(&scene);
    let mut idle_tx = having(&scene, &["BEGIN", "SELECT n FROM t"]);
    let mut busy_tx = having(&scene, &["BEGIN", "SELECT n FROM t"]);
    busy_tx.simple(&scene.long_read).send();
    let mut holder = having(&scene, &["CREATE TEMP TABLE mine (n int)", "LISTEN x", "SELECT n FROM t"]);
    scene.wait_busy(1, "%pg_sleep%", 4);

    scene.cluster.nodes[1].kill();

    assert_eq!(idle.ask("SELECT n FROM t"), "1");
    for (at, reader) in readers.iter_mut().enumerate() {
        let reply = reader.until_ready().succeeded();
        let all = ["TDCZ", "12TDCZ", "2DCZ"];
        assert_eq!((reply.kinds().as_str(), reply.rows().len()), (all[at], 1));
    }
    let reply = rows.until_ready();
    assert_eq!(code_and_status(&reply), ("08006".into(), 'I'));
    assert!(reply.rows().len() < 1_000_000);
    assert_eq!(code_and_status(&busy_tx.until_ready()), ("08006".into(), 'E'));
    assert_eq!(code_and_status(&busy_tx.query("SELECT n FROM t")), ("25P02".into(), 'E'));
    let end = busy_tx.query("COMMIT");
    assert_eq!((end.tags(), end.status()), (vec!["ROLLBACK".to_owned()], 'I'));
    assert_eq!(code_and_status(&idle_tx.query("SELECT n FROM t")), ("08006".into(), 'E'));
    let end = idle_tx.extended("ROLLBACK", &[]).succeeded();
    assert_eq!((end.kinds().as_str(), end.status()), ("12nCZ", 'I'));
    // What is on the primary is not touched.
    holder.query("INSERT INTO mine VALUES (1)").succeeded();
    assert_eq!(holder.ask("SELECT n FROM mine"), "1");
    for client in
        [&mut idle, &mut rows, &mut idle_tx, &mut busy_tx, &mut holder].into_iter().chain(&mut readers)
    {
        lives(client);
    }
}

#[test]
fn what_clients_see_when_the_primary_dies() {
    let scene = Scene::new(0, |conf| conf);
    let mut idle = having(&scene, &["SET search_path TO public", "SET ROLE somebody"]);
    idle.parse("q", "SELECT current_user, current_setting('search_path'), $1::int").sync().send();
    idle.until_ready().succeeded();
    let mut readers = readers(&scene);
    let mut rows = slow_reader(&scene);
    let mut idle_tx = having(&scene, &["BEGIN", "INSERT INTO t VALUES (100)"]);
    let mut busy_tx = having(&scene, &["BEGIN", "INSERT INTO t VALUES (100)"]);
    busy_tx.simple("UPDATE t SET n = n + 1 WHERE pg_sleep(20) IS NULL").send();
    let mut committing = having(&scene, &["BEGIN", "INSERT INTO slow VALUES (1)"]);
    committing.simple("COMMIT").send();
    let mut writer = scene.client();
    writer.simple("INSERT INTO slow VALUES (2)").send();
    let held = [
        &["CREATE TEMP TABLE mine (n int)"][..],
        &["LISTEN x"],
        &["DECLARE c CURSOR WITH HOLD FOR SELECT n FROM t"],
        &["SELECT pg_advisory_lock(1)"],
    ];
    let mut holders: Vec<Client> = held.iter().map(|statements| having(&scene, statements)).collect();
    let given_up = [
        &["CREATE TEMP TABLE mine (n int)", "DROP TABLE mine"][..],
        &["LISTEN x", "UNLISTEN *"],
        &["SELECT pg_advisory_lock(2)", "SELECT pg_advisory_unlock(2)"],
    ];
    let mut others: Vec<Client> = given_up.iter().map(|statements| having(&scene, statements)).collect();
    scene.wait_busy(0, "%pg_sleep%", 4);
    scene.wait_busy(0, "COMMIT", 1);
    scene.wait_busy(0, "INSERT INTO slow%", 1);

    scene.cluster.nodes[0].kill();

    // Who comes now comes in, and its write waits for the new primary.
    let mut newcomer = scene.client();
    newcomer.query("INSERT INTO t VALUES (3)").succeeded();
    assert_eq!(scene.cluster.on_node(1, "postgres", "SELECT pg_is_in_recovery()"), "f");
    let reply = idle.bind("", "q", &["7"]).execute("", 0).sync().send().until_ready().succeeded();
    let row: Vec<String> = reply.rows()[0].iter().map(|value| value.clone().unwrap()).collect();
    assert_eq!(row, ["somebody", "public", "7"]);
    idle.query("RESET ROLE").succeeded();
    for reader in &mut readers {
        assert_eq!(reader.until_ready().succeeded().rows().len(), 1);
    }
    assert_eq!(code_and_status(&rows.until_ready()), ("08006".into(), 'I'));
    assert_eq!(code_and_status(&busy_tx.until_ready()), ("08006".into(), 'E'));
    assert_eq!(busy_tx.query("ROLLBACK").succeeded().status(), 'I');
    assert_eq!(code_and_status(&idle_tx.query("COMMIT")), ("08006".into(), 'I'));
    assert_eq!(code_and_status(&committing.until_ready()), ("08007".into(), 'I'));
    assert_eq!(code_and_status(&writer.until_ready()), ("08007".into(), 'I'));
    for holder in &mut holders {
        let last = holder.until('E');
        assert_eq!(last.error_code(), "57P01");
        assert!(holder.is_closed_within(Duration::from_secs(5)));
    }
    let living =
        [&mut idle, &mut rows, &mut idle_tx, &mut busy_tx, &mut committing, &mut writer, &mut newcomer];
    for client in living.into_iter().chain(&mut readers).chain(&mut others) {
        lives(client);
    }
    assert_eq!(idle.ask("SELECT count(*) FROM t WHERE n >= 100"), "0");
}

#[test]
fn a_primary_that_is_started_again_is_waited_for() {
    let scene = Scene::new(0, |conf| conf.set("backend_flag0", "'DISALLOW_TO_FAILOVER'"));
    let mut writer = having(&scene, &["SELECT n FROM t"]);
    let mut late = scene.client();
    scene.cluster.nodes[0].kill();
    writer.simple("INSERT INTO t VALUES (2)").send();
    let refused = "is canceled because failover is disallowed on the node";
    wait::until_true("the supervisor to be told", || scene.balancer.log_contains(refused));
    late.parse("", "INSERT INTO t VALUES (3)").bind("", "", &[]).execute("", 0).sync().send();
    let newcomer = std::thread::spawn({
        let door = scene.door();
        move || Client::connect(&door).query("INSERT INTO t VALUES (4)").error()
    });
    scene.cluster.nodes[0].start();
    writer.until_ready().succeeded();
    late.until_ready().succeeded();
    assert_eq!(newcomer.join().unwrap(), None);
}

#[test]
fn who_waits_in_vain_for_a_primary_is_told_so_in_time() {
    let scene = Scene::new(0, |conf| conf.set("failover_wait_timeout", "2").set("failover_command", "''"));
    let mut client = having(&scene, &["SELECT n FROM t"]);
    scene.cluster.nodes[0].kill();
    for _ in 0..2 {
        let reply = client.query("INSERT INTO t VALUES (2)");
        let error = reply.error().unwrap();
        assert_eq!((error.code.as_str(), error.severity.as_str(), reply.status()), ("57P03", "ERROR", 'I'));
    }
    assert_eq!(client.ask("SELECT n FROM t"), "1");
    // Somebody makes one, however late.
    scene.cluster.nodes[1].promote();
    wait::until_true("the new primary", || client.query("INSERT INTO t VALUES (2)").error().is_none());
}

#[test]
fn an_administrator_who_ends_a_statement_ends_it_and_not_the_session_or_the_node() {
    let scene = Scene::new(1, |conf| conf);
    let mut readers = readers(&scene);
    let mut idle = having(&scene, &["SELECT n FROM t"]);
    scene.wait_busy(1, "%pg_sleep%", 3);
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    scene.cluster.on_node(1, "postgres", end);
    for reader in &mut readers {
        assert_eq!(code_and_status(&reader.until_ready()), ("08006".into(), 'I'));
    }
    assert_eq!(idle.ask("SELECT n FROM t"), "1");
    assert_eq!(
        scene.cluster.on_node(
            0,
            "postgres",
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%read%' AND pid <> pg_backend_pid()"
        ),
        "0"
    );
    readers.iter_mut().for_each(lives);
    assert_eq!(idle.query("SHOW POOL_NODES").column("status")[1], "up");
}

#[test]
fn readers_do_not_notice_that_a_standby_is_stopped_and_started() {
    let scene = Scene::new(1, |conf| conf);
    let mut readers = readers(&scene);
    let mut idle = having(&scene, &["SELECT n FROM t"]);
    scene.wait_busy(1, "%pg_sleep%", 3);
    scene.cluster.nodes[1].stop();
    for reader in &mut readers {
        reader.until_ready().succeeded();
    }
    assert_eq!(idle.ask("SELECT n FROM t"), "1");
    scene.cluster.nodes[1].start();
    readers.iter_mut().for_each(lives);
}

#[test]
fn a_standby_that_hangs_holds_up_nobody_for_ever() {
    let scene = Scene::new(1, |conf| {
        let conf = conf.set("health_check_period", "1").set("health_check_timeout", "1");
        conf.set("health_check_user", "'postgres'")
    });
    let mut readers = readers(&scene);
    let mut in_tx = having(&scene, &["BEGIN", "SELECT n FROM t"]);
    in_tx.simple(&scene.long_read).send();
    scene.wait_busy(1, "%pg_sleep%", 4);
    scene.cluster.nodes[1].freeze();
    for reader in &mut readers {
        reader.until_ready().succeeded();
    }
    assert_eq!(code_and_status(&in_tx.until_ready()), ("08006".into(), 'E'));
    in_tx.query("ROLLBACK").succeeded();
    lives(&mut in_tx);
    scene.cluster.nodes[1].go_on();
}

/// As when something else than we looks after the cluster.
#[test]
fn a_write_that_a_former_primary_refuses_goes_to_the_new_one() {
    let scene =
        Scene::new(2, |conf| conf.set("sr_check_period", "600").set("failover_on_backend_error", "off"));
    let mut writers: Vec<Client> = (0..2).map(|_| having(&scene, &["INSERT INTO t VALUES (2)"])).collect();
    let mut in_tx = having(&scene, &["SELECT n FROM t"]);
    let [old, new, _] = &scene.cluster.nodes[..] else { panic!("three nodes") };
    new.promote();
    old.follow(new);
    in_tx.query("BEGIN").succeeded();
    writers[0].simple("INSERT INTO t VALUES (3)").send();
    writers[1].parse("", "INSERT INTO t VALUES (4)").bind("", "", &[]).execute("", 0).sync().send();
    for writer in &mut writers {
        writer.until_ready().succeeded();
    }
    assert_eq!(scene.cluster.on_node(1, "postgres", "SELECT count(*) FROM t WHERE n IN (3, 4)"), "2");
    // A transaction on the former primary is lost.
    assert_eq!(in_tx.query("INSERT INTO t VALUES (5)").error_code(), "08006");
    in_tx.query("ROLLBACK").succeeded();
    lives(&mut in_tx);
}

#[test]
fn with_the_policy_of_pgpool_those_who_use_the_node_are_closed() {
    let scene = Scene::new(1, |conf| conf.set("failover_session_policy", "disconnect"));
    let mut uses_it = having(&scene, &["SELECT n FROM t"]);
    let mut does_not = having(&scene, &["INSERT INTO t VALUES (2)"]);
    scene.cluster.nodes[1].kill();
    assert_eq!(uses_it.until('E').error_code(), "57P01");
    assert!(uses_it.is_closed_within(Duration::from_secs(5)));
    lives(&mut does_not);
    assert!(scene.balancer.children().len() > 2, "the workers live");
}
