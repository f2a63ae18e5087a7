//! A backend that cannot be reached delays nobody who does not need it.

use std::time::{Duration, Instant};

use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, ports, shared};

/// What a session may take although a backend hangs; a look-up or connection that is waited for takes longer.
const PROMPT: Duration = Duration::from_secs(3);

fn sessions_are_prompt(conf: Conf) {
    let database = shared().database("unreachable");
    let conf = conf.weights([1, 0, 0]).set("sr_check_period", "0").set("num_init_children", "2");
    let balancer = Balancer::start_unready(conf);
    let door = balancer.door(&database);
    let start = Instant::now();
    for _ in 0..5 {
        let mut client = Client::connect(&door);
        assert_eq!(client.ask("SELECT 1"), "1");
        client.query("CREATE TABLE IF NOT EXISTS t (n int)").succeeded();
        client.terminate();
    }
    assert!(start.elapsed() < PROMPT, "{:?}", start.elapsed());
}

#[test]
fn a_name_that_does_not_resolve() {
    sessions_are_prompt(Conf::of(shared()).set("backend_hostname2", "'nowhere.invalid'"));
}

#[test]
fn a_port_where_nobody_listens() {
    sessions_are_prompt(Conf::of(shared()).set("backend_port2", &ports::free().to_string()));
}

/// A listener whose queue is full: connections to it neither succeed nor fail.
#[test]
fn a_host_that_does_not_answer() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = deaf.local_addr().unwrap().port();
    // The kernel takes as many as the queue holds (128 in std) and lets further ones hang.
    let address = deaf.local_addr().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let _held: Vec<_> = std::iter::from_fn(|| connect().ok()).take(5000).collect();
    sessions_are_prompt(Conf::of(shared()).set("backend_port2", &port.to_string()));
}

#[test]
fn a_read_goes_elsewhere_or_fails_clearly_when_its_node_cannot_be_reached() {
    let cluster = shared();
    let database = cluster.database("elsewhere");
    cluster.prepare(&database, "CREATE TABLE t (n int)");
    let conf = Conf::of(cluster).weights([0, 0, 1]).set("backend_port2", &ports::free().to_string());
    let balancer = Balancer::start_unready(conf.set("sr_check_period", "0"));
    let start = Instant::now();
    let mut client = Client::connect(&balancer.door(&database));
    let reply = client.query("SELECT count(*) FROM t");
    assert!(reply.error().is_some() || reply.value().as_deref() == Some("0"), "{}", reply.kinds());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}
