//! `PGPOOL SET`: what a session has for itself, in two sessions of one process.

use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, shared, wait};

/// One worker with room for two sessions.
fn scene(conf: Conf) -> (Balancer, Client, Client) {
    let conf = conf.set("num_init_children", "1").set("sessions_per_child", "4");
    let balancer = Balancer::start(conf.set("log_per_node_statement", "off"));
    let clients = ["one", "two"].map(|_| Client::connect(&balancer.door("postgres")));
    let [one, two] = clients;
    (balancer, one, two)
}

#[test]
fn a_setting_holds_for_its_session_alone_until_it_is_reset() {
    let (balancer, mut one, mut two) = scene(Conf::of(shared()));
    one.query("PGPOOL SET log_statement TO on").succeeded();
    for turn in ["first", "second"] {
        one.query(&format!("SELECT 'one {turn}'")).succeeded();
        two.query(&format!("SELECT 'two {turn}'")).succeeded();
    }
    assert_eq!(one.ask("PGPOOL SHOW log_statement"), "on");
    assert_eq!(two.ask("PGPOOL SHOW log_statement"), "off");
    one.query("BEGIN").succeeded();
    one.query("PGPOOL RESET log_statement").succeeded();
    one.query("ROLLBACK").succeeded();
    one.query("SELECT 'one third'").succeeded();
    let log = balancer.log();
    assert!(log.contains("statement: SELECT 'one first'") && log.contains("statement: SELECT 'one second'"));
    assert!(!log.contains("'two ") && !log.contains("'one third'"), "{log}");
}

#[test]
fn the_session_hears_and_logs_what_it_wants() {
    let (balancer, mut one, mut two) = scene(Conf::of(shared()));
    one.query("PGPOOL SET log_min_messages TO debug1").succeeded();
    one.query("SELECT 'by one'").succeeded();
    two.query("SELECT 'by two'").succeeded();
    let routed = |log: &str| log.matches("DEBUG1:  route: ").count();
    let of_one = routed(&balancer.log());
    assert!(of_one > 0);
    two.query("SELECT 'by two again'").succeeded();
    one.query("PGPOOL SET log_min_messages TO panic").succeeded();
    one.query("PGPOOL SET log_statement TO on").succeeded();
    one.query("SELECT 'silent'").succeeded();
    assert_eq!(routed(&balancer.log()), of_one);
    assert!(!balancer.log_contains("'silent'"));
    let heard = |client: &mut Client| client.query("SELECT 1").succeeded().notices().len();
    two.query("PGPOOL SET client_min_messages TO debug1").succeeded();
    assert!(heard(&mut two) > 0 && heard(&mut one) == 0);
    two.query("PGPOOL RESET ALL").succeeded();
    assert_eq!(heard(&mut two), 0);
}

#[test]
fn a_setting_survives_a_reload_and_what_is_not_set_follows_it() {
    let (mut balancer, mut one, mut two) = scene(Conf::of(shared()));
    one.query("PGPOOL SET log_statement TO on").succeeded();
    balancer.rewrite(|conf| conf.set("allow_sql_comments", "on").set("log_statement", "off"));
    balancer.reload();
    wait::until_equal("on".to_owned(), || two.ask("PGPOOL SHOW allow_sql_comments"));
    assert_eq!(one.ask("PGPOOL SHOW allow_sql_comments"), "on");
    assert_eq!(one.ask("PGPOOL SHOW log_statement"), "on");
    one.query("PGPOOL SET log_statement TO DEFAULT").succeeded();
    assert_eq!(one.ask("PGPOOL SHOW log_statement"), "off");
    assert_eq!(one.ask("PGPOOL SHOW allow_sql_comments"), "on");
}

#[test]
fn routing_and_the_idle_limit_follow_the_session() {
    let cluster = shared();
    let (balancer, mut one, mut two) = scene(Conf::of(cluster).weights([0, 1, 0]));
    let comment = "/* a comment */ SELECT inet_server_port()";
    let [primary, standby] = [0, 1].map(|node| cluster.nodes[node].port.to_string());
    assert_eq!(one.ask(comment), primary);
    one.query("PGPOOL SET allow_sql_comments TO on").succeeded();
    assert_eq!((one.ask(comment), two.ask(comment)), (standby, primary.clone()));
    one.query("PGPOOL SET client_idle_limit TO 1").succeeded();
    let error = one.until('E').error().expect("an end");
    assert_eq!(error.code, "57000", "{error:?}");
    assert_eq!(two.ask(comment), primary);
    drop(balancer);
}
