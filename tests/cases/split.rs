//! Reads to standbys, writes to the primary, judged by the servers' own logs.

use super::scene::{BOTH, PRIMARY, STANDBY, Scene, reads_on_one};
use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, Cluster, shared, wait};

#[test]
fn each_statement_goes_where_it_can_run() {
    Scene::new("places", reads_on_one).expect(&[
        ("SELECT n FROM t", STANDBY),
        ("WITH x AS (SELECT n FROM t) SELECT * FROM x", STANDBY),
        ("SELECT n FROM t FOR UPDATE", PRIMARY),
        ("WITH x AS (DELETE FROM t RETURNING n) SELECT * FROM x", PRIMARY),
        ("SELECT n INTO u FROM t", PRIMARY),
        ("INSERT INTO t VALUES (2)", PRIMARY),
        ("UPDATE t SET n = 3", PRIMARY),
        ("DELETE FROM t WHERE n = 4", PRIMARY),
        ("TRUNCATE t", PRIMARY),
        ("CREATE INDEX ON t (n)", PRIMARY),
        ("EXPLAIN SELECT n FROM t", PRIMARY),
        ("SELECT txid_current() > 0 FROM t", PRIMARY),
        ("SELECT abs(n) FROM t", STANDBY),
        ("SHOW work_mem", STANDBY),
        ("SELECT 1; SELECT 2", PRIMARY),
    ]);
}

#[test]
fn reads_reach_every_standby_and_writes_only_the_primary() {
    let scene = Scene::new("spread", |conf| conf.weights([0, 1, 1]));
    let since = scene.marks();
    for number in 0..40 {
        let mut client = scene.client();
        client.query("SELECT n FROM t").succeeded();
        client.query(&format!("INSERT INTO t VALUES ({number})")).succeeded();
        client.terminate();
    }
    for node in &scene.cluster.nodes {
        let statements = node.log.statements(since[node.id], &scene.database);
        let count = |start: &str| statements.iter().filter(|text| text.starts_with(start)).count();
        let (reads, writes) = (count("SELECT n"), count("INSERT"));
        match node.id {
            0 => assert_eq!((reads, writes), (0, 40)),
            _ => assert!(reads > 0 && writes == 0, "node {}: {reads} reads, {writes} writes", node.id),
        }
    }
}

#[test]
fn a_session_keeps_the_node_it_drew() {
    let scene = Scene::new("sticky", |conf| conf.weights([1, 1, 1]));
    for _ in 0..5 {
        let since = scene.marks();
        let mut client = scene.client();
        for number in 0..10 {
            client.query(&format!("SELECT n + {number} FROM t")).succeeded();
        }
        client.terminate();
        let first = scene.nodes_that_ran("SELECT n + 0 FROM t", &since);
        for number in 1..10 {
            assert_eq!(scene.nodes_that_ran(&format!("SELECT n + {number} FROM t"), &since), first);
        }
    }
}

#[test]
fn with_statement_level_load_balance_one_session_reaches_every_node() {
    let scene =
        Scene::new("statement", |conf| conf.weights([1, 1, 1]).set("statement_level_load_balance", "on"));
    let since = scene.marks();
    let mut client = scene.client();
    for _ in 0..60 {
        client.query("SELECT n FROM t").succeeded();
    }
    wait::until_equal(vec![0, 1, 2], || scene.nodes_with("SELECT n FROM t", &since));
}

#[test]
fn without_load_balance_mode_everything_goes_to_the_primary() {
    let scene = Scene::new("off", |conf| reads_on_one(conf).set("load_balance_mode", "off"));
    scene.expect(&[
        ("SELECT n FROM t", PRIMARY),
        ("SET work_mem = '5MB'", PRIMARY),
        ("SHOW work_mem", PRIMARY),
    ]);
}

#[test]
fn in_raw_mode_everything_goes_to_the_first_node() {
    let cluster = shared();
    let database = cluster.database("raw");
    cluster.prepare(&database, "CREATE TABLE t (n int)");
    let conf = reads_on_one(Conf::of(cluster)).set("backend_clustering_mode", "'raw'");
    let balancer = Balancer::start_unready(conf);
    let scene = Scene { cluster, database, balancer };
    scene.expect(&[("SELECT n FROM t", PRIMARY), ("INSERT INTO t VALUES (1)", PRIMARY)]);
}

#[test]
fn the_primary_is_found_wherever_it_stands_in_the_file() {
    let cluster = shared();
    let database = cluster.database("order");
    cluster.prepare(&database, "CREATE TABLE t (n int)");
    let [primary, one, two] = &cluster.nodes[..] else { panic!("three nodes") };
    let balancer = Balancer::start(Conf::of_nodes(&[two, one, primary]).weights([1, 0, 0]));
    let scene = Scene { cluster, database, balancer };
    scene.expect(&[("SELECT n FROM t", &[2]), ("INSERT INTO t VALUES (1)", PRIMARY)]);
}

#[test]
fn settings_hold_on_both_nodes_of_a_session() {
    let scene = Scene::new("settings", reads_on_one);
    // A standby hears of a setting right before its next statement.
    scene.expect(&[("SET work_mem = '5MB'", PRIMARY), ("SET LOCAL TIME ZONE 'Asia/Tokyo'", PRIMARY)]);
    let mut client = scene.client();
    client.query("SET work_mem = '9MB'").succeeded();
    assert_eq!(client.ask("SELECT current_setting('work_mem') FROM t"), "9MB", "on the standby");
    assert_eq!(client.ask("SELECT current_setting('work_mem') FROM t FOR UPDATE"), "9MB", "on the primary");
    client.query("RESET work_mem").succeeded();
    assert_eq!(client.ask("SELECT current_setting('work_mem') FROM t"), "4MB");
    client.query("BEGIN; SET LOCAL work_mem = '3MB'; COMMIT").succeeded();
    assert_eq!(client.ask("SELECT current_setting('work_mem') FROM t"), "4MB");
}

#[test]
fn a_transaction_reads_on_the_standby_until_it_writes() {
    Scene::new("tx", reads_on_one).expect(&[
        ("BEGIN", BOTH),
        ("SELECT n FROM t", STANDBY),
        ("INSERT INTO t VALUES (5)", PRIMARY),
        ("SELECT n + 1 FROM t", PRIMARY),
        ("COMMIT", BOTH),
        ("SELECT n + 2 FROM t", STANDBY),
        ("BEGIN READ ONLY", BOTH),
        ("SELECT n + 3 FROM t", STANDBY),
        ("ROLLBACK", BOTH),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", PRIMARY),
        ("SELECT n + 4 FROM t", PRIMARY),
        ("END", PRIMARY),
    ]);
}

/// Each row: the mode, then where the three reads go: in the transaction that wrote, outside one, in a later one.
#[test]
fn disable_load_balance_on_write_says_how_long_a_write_is_remembered() {
    let cases: [(&str, [&[usize]; 3]); 4] = [
        ("off", [STANDBY, STANDBY, STANDBY]),
        ("transaction", [PRIMARY, STANDBY, STANDBY]),
        ("trans_transaction", [PRIMARY, STANDBY, PRIMARY]),
        ("always", [PRIMARY, PRIMARY, PRIMARY]),
    ];
    for (mode, [inside, outside, later]) in cases {
        eprintln!("---- {mode}");
        let set = |conf: Conf| reads_on_one(conf).set("disable_load_balance_on_write", &format!("'{mode}'"));
        let scene = Scene::new("memory", set);
        let statements = [
            "BEGIN",
            "INSERT INTO t VALUES (6)",
            "SELECT n FROM t",
            "COMMIT",
            "SELECT n + 1 FROM t",
            "BEGIN",
            "SELECT n + 2 FROM t",
            "COMMIT",
        ];
        let places = scene.places(&statements);
        assert_eq!([&places[2], &places[4], &places[6]], [inside, outside, later], "{mode}");
    }
}

#[test]
fn prepared_statements_follow_the_same_rules() {
    let scene = Scene::new("prepared", reads_on_one);
    let since = scene.marks();
    let mut client = scene.client();
    client.parse("read", "SELECT n FROM t WHERE n > $1").parse("write", "INSERT INTO t VALUES ($1)").sync();
    client.send().until_ready().succeeded();
    let mut run = |statement: &str| {
        client.bind("", statement, &["0"]).execute("", 0).sync();
        client.send().until_ready().succeeded();
    };
    run("read");
    assert_eq!(scene.nodes_that_ran("SELECT n FROM t WHERE n > $1", &since), STANDBY);
    run("write");
    assert_eq!(scene.nodes_that_ran("INSERT INTO t VALUES ($1)", &since), PRIMARY);

    // Parsed for the standby, and now needed at the primary.
    let since = scene.marks();
    client.query("BEGIN; INSERT INTO t VALUES (1); COMMIT").succeeded();
    client.query("BEGIN").succeeded();
    client.query("INSERT INTO t VALUES (2)").succeeded();
    client.bind("", "read", &["0"]).execute("", 0).sync();
    client.send().until_ready().succeeded();
    assert_eq!(scene.nodes_that_ran("SELECT n FROM t WHERE n > $1", &since), PRIMARY);
    client.query("COMMIT").succeeded();
}

#[test]
fn a_pipeline_over_several_nodes_is_answered_in_order() {
    let scene = Scene::new("order", reads_on_one);
    let mut client = scene.client();
    for number in 0..50 {
        let value = number.to_string();
        client.parse("", "SELECT $1::text FROM t").bind("", "", &[&value]).execute("", 0);
        client.parse("", "UPDATE t SET n = n").bind("", "", &[]).execute("", 0);
        client.sync();
    }
    client.send();
    for number in 0..50 {
        let reply = client.until_ready().succeeded();
        assert_eq!(reply.kinds(), "12DC12CZ");
        assert_eq!(reply.value(), Some(number.to_string()));
        assert_eq!(reply.tags(), ["SELECT 1", "UPDATE 1"]);
    }
}

#[test]
fn a_temporary_table_is_read_where_it_is() {
    Scene::new("temp", reads_on_one).expect(&[
        ("CREATE TEMP TABLE mine (n int)", PRIMARY),
        ("SELECT n FROM mine", PRIMARY),
        ("SELECT n FROM t", STANDBY),
    ]);
}

#[test]
fn functions_go_by_the_lists_when_there_are_any() {
    let scene =
        Scene::new("functions", |conf| reads_on_one(conf).set("write_function_list", "'abs,nextval'"));
    scene.expect(&[("SELECT abs(n) FROM t", PRIMARY), ("SELECT sign(n) FROM t", STANDBY)]);
    let scene =
        Scene::new("functions", |conf| reads_on_one(conf).set("read_only_function_list", "'abs,s.*'"));
    scene.expect(&[
        ("SELECT abs(n) FROM t", STANDBY),
        ("SELECT sign(n) FROM t", STANDBY),
        ("SELECT floor(n) FROM t", PRIMARY),
    ]);
}

#[test]
fn a_standby_that_is_too_far_behind_gets_no_reads() {
    let cluster = Cluster::private();
    cluster.prepare("postgres", "CREATE TABLE t (n int)");
    let conf = reads_on_one(Conf::of(&cluster)).set("delay_threshold", "100000");
    let balancer = Balancer::start(conf);
    let door = balancer.door("postgres");
    let mut client = Client::connect(&door);
    let mut reads_on = |what: &str, expected: usize| {
        wait::until_true(what, || {
            let port = client.ask("SELECT current_setting('port') FROM (SELECT count(*) FROM t) AS x");
            cluster.node_of_port(&port) == expected
        });
    };
    reads_on("reads to go to the standby", 1);
    cluster.on_node(1, "postgres", "SELECT pg_wal_replay_pause()");
    cluster.on_primary("postgres", "INSERT INTO t SELECT generate_series(1, 50000)");
    reads_on("reads to leave the standby that is behind", 0);
    cluster.on_node(1, "postgres", "SELECT pg_wal_replay_resume()");
    reads_on("reads to come back", 1);
}

#[test]
fn redirect_preference_lists_choose_the_node_for_reads() {
    let scene = Scene::new("redirect", |conf| {
        reads_on_one(conf)
            .set("database_redirect_preference_list", "'other_.*:0,.*redirect.*:standby'")
            .set("user_redirect_preference_list", "'alice:primary,.*:0'")
            .set("app_name_redirect_preference_list", "'to_the_third:2,half:2(0)'")
    });
    scene.expect(&[("SELECT n FROM t", STANDBY)]);
    for (application, statement, node) in
        [("to_the_third", "SELECT n + 2 FROM t", 2), ("half", "SELECT n + 3 FROM t", 1)]
    {
        let since = scene.marks();
        let mut client = Client::try_connect(&scene.door(), &[("application_name", application)]).unwrap();
        client.query(statement).succeeded();
        client.terminate();
        assert_eq!(scene.nodes_that_ran(statement, &since), [node], "{application}");
    }
    let by_user = |conf| reads_on_one(conf).set("user_redirect_preference_list", "'nobody:1,.*:0'");
    Scene::new("redirect_user", by_user).expect(&[("SELECT n + 4 FROM t", PRIMARY)]);
}

#[test]
fn other_modes_than_streaming_replication_balance_by_the_same_rules() {
    for mode in ["logical_replication", "slony"] {
        let cluster = shared();
        let database = cluster.database("mode");
        cluster.prepare(&database, "CREATE TABLE t (n int); CREATE UNLOGGED TABLE u (n int)");
        cluster.catch_up();
        let conf = reads_on_one(Conf::of(cluster)).set("backend_clustering_mode", mode);
        let scene = Scene { cluster, database, balancer: Balancer::start_unready(conf) };
        scene.expect(&[
            ("SELECT n FROM t", STANDBY),
            ("INSERT INTO t VALUES (2)", PRIMARY),
            ("SELECT n FROM u", PRIMARY),
            ("BEGIN", BOTH),
            ("SELECT n + 1 FROM t", STANDBY),
            ("UPDATE t SET n = 3", PRIMARY),
            ("SELECT n + 2 FROM t", PRIMARY),
            ("COMMIT", BOTH),
        ]);
    }
}

#[test]
fn settings_of_set_config_hold_on_all_nodes_or_keep_the_reads() {
    let scene = Scene::new("set_config", reads_on_one);
    let mut client = scene.client();
    let read = "SELECT current_setting('my.own', true) || ' ' || current_setting('port') FROM t";
    let standby = scene.cluster.nodes[1].port.to_string();
    client.query("SELECT set_config('my.own', 'it''s', false)").succeeded();
    assert_eq!(client.ask(read), format!("it's {standby}"));
    client.query("BEGIN").succeeded();
    client.query("SELECT set_config('my.own', 'b', true)").succeeded();
    client.query("COMMIT").succeeded();
    assert_eq!(client.ask(read), format!("it's {standby}"));
    // With a value that only the server knows.
    client.extended("SELECT set_config('my.own', $1, false)", &["c"]).succeeded();
    let primary = scene.cluster.nodes[0].port.to_string();
    assert_eq!(client.ask(read), format!("c {primary}"));
    client.query("DISCARD ALL").succeeded();
    assert!(client.ask("SELECT current_setting('port') FROM t") == standby);
}

#[test]
fn pgpool_quirks_bring_back_what_an_application_may_depend_on() {
    let scene = Scene::new("quirks", |conf| reads_on_one(conf).set("pgpool_quirks", "on"));
    scene.cluster.prepare(&scene.database, "CREATE VIEW v AS SELECT random() AS n");
    scene.cluster.catch_up();
    scene.expect(&[
        ("SELECT n FROM v", STANDBY),
        ("VALUES (1)", PRIMARY),
        ("BEGIN", BOTH),
        ("INSERT INTO t VALUES (9)", PRIMARY),
        ("SAVEPOINT a", PRIMARY),
        ("ROLLBACK TO a", PRIMARY),
        ("SELECT n FROM t", STANDBY),
        ("COMMIT", BOTH),
    ]);
}

#[test]
fn a_server_process_is_terminated_on_its_node() {
    let scene = Scene::new("terminate", reads_on_one);
    let (mut victim, mut other) = (scene.client(), scene.client());
    let pid = victim.ask("SELECT pg_backend_pid() FROM t");
    let at = scene.cluster.on_node(
        1,
        "postgres",
        &format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"),
    );
    assert_eq!(at, "1", "it is on the standby");
    assert_eq!(other.ask(&format!("SELECT pg_terminate_backend({pid})")), "t");
    // The session lives; what was under way may have failed, and the next read gets another process.
    wait::until_true("another process", || {
        let reply = victim.query("SELECT pg_backend_pid() FROM t");
        reply.error().is_none() && reply.value() != Some(pid.clone())
    });
}

#[test]
fn a_session_that_is_serializable_by_default_reads_on_the_primary() {
    let scene = Scene::new("serializable", reads_on_one);
    scene.expect(&[
        ("SELECT n FROM t", STANDBY),
        ("SET default_transaction_isolation = 'serializable'", PRIMARY),
        ("SELECT n + 1 FROM t", PRIMARY),
        ("BEGIN", PRIMARY),
        ("SELECT n + 2 FROM t", PRIMARY),
        ("END", PRIMARY),
        ("BEGIN ISOLATION LEVEL READ COMMITTED", BOTH),
        ("SELECT n + 3 FROM t", STANDBY),
        ("COMMIT", BOTH),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED", &[0]),
        ("SELECT n + 4 FROM t", STANDBY),
    ]);
}

#[test]
fn a_setting_of_a_part_keeps_the_rest() {
    let scene = Scene::new("datestyle", reads_on_one);
    let mut client = scene.client();
    client.query("SET DateStyle = 'ISO'").succeeded();
    client.query("SET DateStyle = 'DMY'").succeeded();
    let read = "SELECT '03-02-2001'::date || ' ' || current_setting('DateStyle') FROM t";
    assert_eq!(client.ask(read), "2001-02-03 ISO, DMY");
}
