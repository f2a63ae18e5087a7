//! Pooled connections: used again, clean, and never for somebody else.

use std::collections::BTreeSet;

use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, Door, shared, wait};

/// One worker with one session, so that whoever comes next meets what the last one left.
fn one_worker() -> Conf {
    Conf::of(shared()).weights([1, 0, 0]).set("num_init_children", "1")
}

fn backend_pid(door: &Door) -> String {
    session(door, |client| client.ask("SELECT pg_backend_pid()"))
}

fn session<T>(door: &Door, talk: impl FnOnce(&mut Client) -> T) -> T {
    let mut client = Client::connect(door);
    let answer = talk(&mut client);
    client.terminate();
    answer
}

#[test]
fn the_next_session_gets_the_same_backend_after_discard_all() {
    let cluster = shared();
    let database = cluster.database("reuse");
    let balancer = Balancer::start(one_worker());
    let door = balancer.door(&database);
    let mark = cluster.primary().log.mark();
    let first = backend_pid(&door);
    assert_eq!(backend_pid(&door), first);
    wait::until_true("DISCARD ALL at the server", || {
        let statements = cluster.primary().log.statements(mark, &database);
        statements.iter().filter(|text| text.trim() == "DISCARD ALL").count() == 2
    });
}

#[test]
fn nothing_of_a_session_is_left_for_the_next() {
    // (what one does, what the next asks, what a new session would see)
    let cases = [
        ("SET work_mem = '7MB'", "SHOW work_mem", "4MB"),
        ("SET search_path = nowhere", "SHOW search_path", "\"$user\", public"),
        ("CREATE TEMP TABLE mine ()", "SELECT to_regclass('pg_temp.mine') IS NULL", "t"),
        ("PREPARE mine AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements", "0"),
        ("LISTEN mine", "SELECT count(*) FROM pg_listening_channels()", "0"),
        (
            "SELECT pg_advisory_lock(7)",
            "SELECT pg_try_advisory_lock(7) AND pg_advisory_unlock_all() IS NOT NULL",
            "t",
        ),
        ("DECLARE mine CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors", "0"),
        ("BEGIN; CREATE TABLE unfinished ()", "SELECT to_regclass('unfinished') IS NULL", "t"),
        ("BEGIN; SELECT 1/0", "SELECT 'clean'", "clean"),
        ("SET ROLE alice", "SELECT current_user", "postgres"),
        ("SET SESSION AUTHORIZATION bob", "SELECT session_user", "postgres"),
    ];
    let database = shared().database("clean");
    let balancer = Balancer::start(one_worker());
    let door = balancer.door(&database);
    for (leave, ask, fresh) in cases {
        session(&door, |client| client.query(leave));
        assert_eq!(session(&door, |client| client.ask(ask)), fresh, "after {leave}");
    }
}

#[test]
fn named_statements_and_portals_of_the_protocol_are_gone_too() {
    let database = shared().database("names");
    let balancer = Balancer::start(one_worker());
    let door = balancer.door(&database);
    for _ in 0..3 {
        session(&door, |client| {
            let reply = client.parse("mine", "SELECT 1").sync().send().until_ready();
            assert_eq!(reply.kinds(), "1Z");
        });
    }
}

#[test]
fn another_user_or_database_never_gets_the_connection() {
    let cluster = shared();
    let (one, two) = (cluster.database("one"), cluster.database("two"));
    let balancer = Balancer::start(one_worker());
    let mut seen = BTreeSet::new();
    for user in ["alice", "bob", "postgres"] {
        for database in [&one, &two] {
            let door = balancer.door(database).as_user(user);
            let row = session(&door, |client| {
                client
                    .query("SELECT pg_backend_pid(), session_user, current_database()")
                    .succeeded()
                    .rows()
                    .remove(0)
            });
            let texts: Vec<String> = row.into_iter().map(Option::unwrap).collect();
            assert_eq!(texts[1..], [user.to_owned(), database.clone()]);
            assert!(seen.insert(texts[0].clone()), "backend {} served somebody before {user}", texts[0]);
        }
    }
}

#[test]
fn start_up_options_are_part_of_what_a_connection_is() {
    let database = shared().database("options");
    let balancer = Balancer::start(one_worker());
    let door = balancer.door(&database);
    for value in ["7", "9", "7"] {
        let option = format!("-c geqo_threshold={value}");
        let mut client = Client::try_connect(&door, &[("options", &option)]).unwrap();
        assert_eq!(client.ask("SHOW geqo_threshold"), value);
        client.terminate();
    }
    assert_eq!(session(&door, |client| client.ask("SHOW geqo_threshold")), "12");
}

#[test]
fn the_application_name_is_that_of_the_session_not_of_the_connection() {
    let database = shared().database("appname");
    let balancer = Balancer::start(one_worker());
    let door = balancer.door(&database);
    for name in ["first", "second", "first"] {
        let mut client = Client::try_connect(&door, &[("application_name", name)]).unwrap();
        assert_eq!(client.ask("SHOW application_name"), name);
        assert_eq!(client.parameters["application_name"], name);
        client.terminate();
    }
}

#[test]
fn a_full_pool_gives_up_the_connection_idle_for_longest() {
    let cluster = shared();
    let databases: Vec<String> = (0..3).map(|_| cluster.database("evict")).collect();
    let balancer = Balancer::start(one_worker().set("max_pool", "2"));
    let pid = |number: usize| backend_pid(&balancer.door(&databases[number]));
    let (zero, one) = (pid(0), pid(1));
    assert_eq!((pid(0), pid(1)), (zero.clone(), one.clone()), "two connections fit");
    assert_eq!(pid(0), zero);
    let _two = pid(2); // the place of database 1
    assert_eq!(pid(0), zero);
    assert_ne!(pid(1), one);
    let names = databases.join("','");
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname IN ('{names}')");
    wait::until_true("two connections to be left", || cluster.on_primary("postgres", &count) == "2");
}

#[test]
fn without_connection_cache_each_session_has_a_new_connection() {
    let cluster = shared();
    let database = cluster.database("nocache");
    let balancer = Balancer::start(one_worker().set("connection_cache", "off"));
    let door = balancer.door(&database);
    assert_ne!(backend_pid(&door), backend_pid(&door));
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
    wait::until_true("no connection to be left", || cluster.on_primary("postgres", &count) == "0");
}

#[test]
fn the_reset_query_list_is_what_runs_between_sessions() {
    let cluster = shared();
    let database = cluster.database("reset");
    let balancer =
        Balancer::start(one_worker().set("reset_query_list", "'ABORT; RESET ALL; DEALLOCATE ALL'"));
    let mark = cluster.primary().log.mark();
    session(&balancer.door(&database), |client| client.query("SET work_mem = '7MB'"));
    wait::until_true("the list at the server", || {
        let statements = cluster.primary().log.statements(mark, &database);
        let ran: Vec<&str> = statements.iter().map(|text| text.trim()).collect();
        ran.ends_with(&["RESET ALL", "DEALLOCATE ALL"]) && !ran.contains(&"DISCARD ALL")
    });
}

#[test]
fn a_connection_opens_when_a_session_first_needs_its_node() {
    let cluster = shared();
    let database = cluster.database("lazy");
    cluster.prepare(&database, "CREATE TABLE t (n int)");
    let balancer = Balancer::start(Conf::of(cluster).weights([0, 1, 0]));
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
    let connections = || [0, 1, 2].map(|node| cluster.on_node(node, "postgres", &count));
    let mut client = Client::connect(&balancer.door(&database));
    client.query("SELECT * FROM t").succeeded();
    assert_eq!(connections()[2], "0", "nobody needed node 2");
    client.query("INSERT INTO t VALUES (1)").succeeded();
    assert_eq!(connections(), ["1", "1", "0"]);
}

#[test]
fn a_pooled_connection_that_the_server_closed_is_replaced_unseen() {
    let cluster = shared();
    let database = cluster.database("closed");
    let balancer = Balancer::start(one_worker());
    let door = balancer.door(&database);
    let pid = backend_pid(&door);
    cluster.on_primary("postgres", &format!("SELECT pg_terminate_backend({pid}, 5000)"));
    assert_ne!(backend_pid(&door), pid);
}
