//! Clients that go away without a word, or never say one.

use std::time::Duration;

use crate::harness::balancer::Conf;
use crate::harness::message::Body;
use crate::harness::{Balancer, Client, Door, shared, wait};

/// Server processes that still work for this database.
fn busy(database: &str) -> String {
    let sql =
        format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND state <> 'idle'");
    shared().on_primary("postgres", &sql)
}

#[test]
fn the_work_of_a_client_that_vanishes_is_undone() {
    let cluster = shared();
    let database = cluster.database("vanish");
    cluster.prepare(&database, "CREATE TABLE t (n int)");
    let balancer = Balancer::start(Conf::of(cluster).set("num_init_children", "1"));
    let door = balancer.door(&database);
    type Leave = fn(&mut Client);
    let leave: [(&str, Leave); 4] = [
        ("in a transaction", |client| drop(client.query("BEGIN; INSERT INTO t VALUES (1)"))),
        ("in a failed transaction", |client| {
            drop(client.query("BEGIN; INSERT INTO t VALUES (1); SELECT 1/0"))
        }),
        ("with an answer on its way", |client| {
            client.simple("SELECT repeat('x', 1000) FROM generate_series(1, 50000)").send();
        }),
        ("in the middle of a message", |client| client.send_raw(&[b'Q', 0, 0, 1, 0, b'S'])),
    ];
    for (how, go) in leave {
        let mut client = Client::connect(&door);
        go(&mut client);
        drop(client);
        // There is one worker only: whoever comes next gets what the other left.
        let mut next = Client::connect(&door);
        assert_eq!(next.query("SELECT count(*) FROM t").status(), 'I', "{how}");
        assert_eq!(next.ask("SELECT count(*) FROM t"), "0", "{how}");
        next.terminate();
        wait::until_true(how, || busy(&database) == "0");
    }
}

#[test]
fn a_long_statement_of_a_client_that_vanished_does_not_keep_its_worker() {
    let cluster = shared();
    let database = cluster.database("vanish_long");
    let balancer = Balancer::start(Conf::of(cluster).weights([1, 0, 0]).set("num_init_children", "1"));
    let door = balancer.door(&database);
    let mut client = Client::connect(&door);
    client.simple("SELECT pg_sleep(600)").send();
    wait::until_true("the statement to run", || busy(&database) == "1");
    drop(client);
    assert_eq!(Client::connect(&door).ask("SELECT 'next'"), "next");
}

#[test]
fn a_connection_that_says_nothing_is_closed_after_authentication_timeout() {
    let cluster = shared();
    let conf = Conf::of(cluster).set("num_init_children", "1").set("authentication_timeout", "1");
    let balancer = Balancer::start(conf);
    let door = balancer.door("postgres");
    let half_a_packet = &[0, 0, 0, 100, 0, 3, 0, 0, b'u'][..];
    for said in [&[][..], &[0, 0], half_a_packet] {
        let mut silent = Client::open(&door);
        silent.send_raw(said);
        assert!(silent.is_closed_within(Duration::from_secs(10)), "after {said:?}");
        assert_eq!(Client::connect(&door).ask("SELECT 1"), "1");
    }
}

#[test]
fn silent_connections_do_not_hold_up_others_in_the_same_worker() {
    let conf = Conf::of(shared()).set("num_init_children", "1").set("sessions_per_child", "50");
    let balancer = Balancer::start(conf);
    let door = balancer.door("postgres");
    let _silent: Vec<Client> = (0..20).map(|_| Client::open(&door)).collect();
    assert_eq!(Client::connect(&door).ask("SELECT 1"), "1");
}

#[test]
fn an_unfinished_message_holds_up_only_its_own_session() {
    let conf = Conf::of(shared()).set("num_init_children", "1").set("sessions_per_child", "10");
    let balancer = Balancer::start(conf);
    let door = balancer.door("postgres");
    let mut stuck = Client::connect(&door);
    stuck.send_raw(&[b'Q', 0, 0, 0, 13, b'S', b'E']);
    assert_eq!(session(&door), "1");
    stuck.send_raw(b"LECT 5\0");
    assert_eq!(stuck.until_ready().value().as_deref(), Some("5"));
}

fn session(door: &Door) -> String {
    let mut client = Client::connect(door);
    let answer = client.ask("SELECT 1");
    client.message('X', Body::default()).send();
    answer
}
