//! What only the catalog knows decides where a read goes: what a view hides, what a partition is, what was created
//! unseen, what DDL of another session has changed.

use super::scene::{BOTH, PRIMARY, STANDBY, Scene, reads_on_one};
use crate::harness::{Client, wait};

/// Workers in turns, so that what one has asked is of use to another only if they share it.
fn two_workers(conf: crate::harness::balancer::Conf) -> crate::harness::balancer::Conf {
    reads_on_one(conf).set("num_init_children", "2").set("sessions_per_child", "1")
}

#[test]
fn views_are_read_where_what_they_hide_can_be_read() {
    let scene = Scene::new("views", reads_on_one);
    scene.cluster.prepare(
        &scene.database,
        "CREATE UNLOGGED TABLE unlogged (n int); CREATE SEQUENCE s;
         CREATE VIEW plain AS SELECT n FROM t; CREATE VIEW over_unlogged AS SELECT n FROM unlogged;
         CREATE VIEW over_view AS SELECT plain.n FROM plain, over_unlogged;
         CREATE VIEW over_function AS SELECT nextval('s') AS n;
         CREATE VIEW over_catalog AS SELECT relname FROM pg_class;
         CREATE MATERIALIZED VIEW stored AS SELECT random() AS n;
         CREATE TABLE pg_mine (n int);
         CREATE TABLE parts (n int) PARTITION BY LIST (n);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
         CREATE TABLE mixed (n int) PARTITION BY LIST (n);
         CREATE UNLOGGED TABLE mixed_1 PARTITION OF mixed FOR VALUES IN (1)",
    );
    scene.cluster.catch_up();
    scene.expect(&[
        ("SELECT n FROM plain", STANDBY),
        ("SELECT n FROM stored", STANDBY),
        ("SELECT n FROM parts", STANDBY),
        ("SELECT n FROM pg_mine", STANDBY),
        ("SELECT n FROM over_unlogged", PRIMARY),
        ("SELECT n FROM over_view", PRIMARY),
        ("SELECT n FROM over_function", PRIMARY),
        ("SELECT relname FROM over_catalog", PRIMARY),
        ("SELECT n FROM mixed", PRIMARY),
        ("SELECT last_value FROM s", PRIMARY),
        ("SELECT count(*) FROM information_schema.tables", PRIMARY),
        ("COPY (TABLE over_unlogged) TO STDOUT", PRIMARY),
    ]);
}

#[test]
fn temporary_tables_that_a_function_creates_are_found() {
    let create = "DO 'BEGIN CREATE TEMP TABLE \"hidden one\" (n int); END'";
    let setup = "CREATE TABLE parent (n int);
        CREATE FUNCTION child() RETURNS int LANGUAGE plpgsql AS
        'BEGIN CREATE TEMP TABLE child () INHERITS (parent); RETURN 1; END'";
    let scene = Scene::new("hidden", reads_on_one);
    scene.cluster.prepare(&scene.database, setup);
    scene.cluster.catch_up();
    scene.expect(&[
        ("SELECT n FROM parent WHERE n = 1", STANDBY),
        (create, PRIMARY),
        ("SELECT n FROM \"hidden one\"", PRIMARY),
        ("SELECT n FROM t", STANDBY),
        ("SELECT child()", PRIMARY),
        // The rows of the temporary child are rows of the parent, for this session.
        ("SELECT n FROM parent WHERE n = 2", PRIMARY),
        ("DROP TABLE \"hidden one\"", PRIMARY),
        ("SELECT n + 1 FROM t", STANDBY),
        ("DISCARD ALL", BOTH),
        ("SELECT n FROM parent WHERE n = 3", STANDBY),
    ]);
}

#[test]
fn a_temporary_table_is_known_wherever_it_is_mentioned() {
    let scene = Scene::new("mentioned", reads_on_one);
    scene.cluster.prepare(
        &scene.database,
        "CREATE FUNCTION reads() RETURNS bigint STABLE LANGUAGE plpgsql AS
         'BEGIN RETURN (SELECT count(*) FROM mine); END'",
    );
    scene.cluster.catch_up();
    scene.expect(&[
        ("CREATE TEMP TABLE mine (n int)", PRIMARY),
        ("SELECT pg_relation_filepath('mine') IS NULL", PRIMARY),
        ("SELECT row(1)::MINE", PRIMARY),
        ("SELECT reads()", PRIMARY),
        ("CREATE INDEX mine_index ON mine (n)", PRIMARY),
        ("SELECT 'mine_index'::regclass", PRIMARY),
        ("CREATE DOMAIN pg_temp.small AS int", PRIMARY),
        ("SELECT 1::small", PRIMARY),
        ("SELECT n FROM t", STANDBY),
    ]);
}

#[test]
fn what_a_rollback_takes_away_or_brings_back_is_known() {
    let scene =
        Scene::new("rolled_back", |conf| reads_on_one(conf).set("disable_load_balance_on_write", "'off'"));
    scene.expect(&[
        ("BEGIN", &[0]),
        ("CREATE TEMP TABLE gone (n int)", PRIMARY),
        ("SELECT n FROM gone", PRIMARY),
        ("ROLLBACK", &[0]),
        ("CREATE TABLE IF NOT EXISTS gone (n int)", PRIMARY),
        ("SELECT n FROM t", STANDBY),
    ]);
    scene.cluster.catch_up();
    scene.expect(&[("SELECT n + 1 FROM gone", STANDBY)]);
}

#[test]
fn ddl_of_one_session_is_known_to_all_workers() {
    let scene = Scene::new("ddl", two_workers);
    let since = scene.marks();
    let (mut one, mut two) = (scene.client(), scene.client());
    let place = |client: &mut Client, statement: &str| {
        client.query(statement).succeeded();
        scene.nodes_that_ran(statement, &since)
    };
    one.query("CREATE FUNCTION f() RETURNS int STABLE LANGUAGE sql AS 'SELECT 1'").succeeded();
    one.query("CREATE VIEW v AS SELECT n FROM t").succeeded();
    scene.cluster.catch_up();
    assert_eq!(place(&mut two, "SELECT f() + 1"), STANDBY);
    assert_eq!(place(&mut two, "SELECT n + 1 FROM v"), STANDBY);
    one.query("BEGIN").succeeded();
    one.query("ALTER FUNCTION f() VOLATILE").succeeded();
    assert_eq!(place(&mut two, "SELECT f() + 2"), STANDBY, "not true for others before COMMIT");
    one.query("COMMIT").succeeded();
    assert_eq!(place(&mut two, "SELECT f() + 3"), PRIMARY);
    one.query("CREATE OR REPLACE VIEW v AS SELECT f() AS n").succeeded();
    assert_eq!(place(&mut two, "SELECT n + 2 FROM v"), PRIMARY);
    one.query("BEGIN; ALTER FUNCTION f() STABLE; ROLLBACK").succeeded();
    assert_eq!(place(&mut one, "SELECT f() + 4"), PRIMARY);
    one.query("ALTER FUNCTION f() STABLE").succeeded();
    scene.cluster.catch_up();
    assert_eq!(place(&mut two, "SELECT f() + 5"), STANDBY);
    assert_eq!(place(&mut one, "SELECT f() + 6"), STANDBY);
}

#[test]
fn workers_share_what_the_catalog_said() {
    for (shared, questions) in [("on", 2), ("off", 4)] {
        let scene = Scene::new("shared_answers", |conf| {
            two_workers(conf).set("enable_shared_relcache", shared).set("log_per_node_statement", "on")
        });
        let (mut one, mut two) = (scene.client(), scene.client());
        for client in [&mut one, &mut two] {
            client.query("SELECT abs(n) FROM t").succeeded();
        }
        let asked = || {
            let log = scene.balancer.log();
            log.lines().filter(|line| line.contains("pg_proc") || line.contains("pg_inherits")).count()
        };
        wait::until_equal(questions, asked);
    }
}

#[test]
fn the_catalog_is_asked_where_relcache_query_target_says() {
    for (target, node) in [("primary", 0), ("load_balance_node", 1)] {
        let scene = Scene::new("query_target", |conf| {
            reads_on_one(conf).set("relcache_query_target", target).set("log_per_node_statement", "on")
        });
        let mut client = scene.client();
        client.query("SELECT abs(n) FROM t").succeeded();
        let log = scene.balancer.log();
        let of: Vec<&str> = log.lines().filter(|line| line.contains("pg_proc WHERE proname")).collect();
        assert_eq!(of.len(), 1, "{log}");
        assert!(of[0].contains(&format!("DB node id: {node} ")), "{of:?}");
    }
}

#[test]
fn a_session_that_waits_for_the_catalog_keeps_nobody_waiting() {
    let scene = Scene::new("slow_catalog", |conf| {
        reads_on_one(conf).set("num_init_children", "1").set("sessions_per_child", "4")
    });
    let (mut one, mut two) = (scene.client(), scene.client());
    let mut lock = Client::connect(&scene.cluster.door(0, &scene.database));
    lock.query("BEGIN; LOCK TABLE pg_inherits IN ACCESS EXCLUSIVE MODE").succeeded();
    one.simple("SELECT n FROM t").send();
    wait::until_true("the question to wait", || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%pg_inherits%'";
        scene.cluster.on_node(0, "postgres", waiting) == "1"
    });
    for _ in 0..3 {
        assert_eq!(two.ask("SELECT 1"), "1");
    }
    lock.query("ROLLBACK").succeeded();
    assert_eq!(one.until_ready().value().as_deref(), Some("1"));
}
