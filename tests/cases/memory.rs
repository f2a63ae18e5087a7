//! A worker's memory stays what it is, however many statements and clients it has served.

use crate::harness::balancer::Conf;
use crate::harness::process::memory_kib;
use crate::harness::{Balancer, Client, shared};

/// What the figures may differ by though nothing is kept: the allocator's own.
const SLACK_KIB: u64 = 512;

/// One worker, and its size.
fn worker(sessions: &str) -> Balancer {
    let conf = Conf::of(shared()).set("num_init_children", "1").set("sessions_per_child", sessions);
    Balancer::start(conf.set("log_per_node_statement", "off"))
}

fn size(balancer: &Balancer) -> u64 {
    let title = "wait for connection request";
    let worker = balancer.child_titled(title).or_else(|| balancer.children().first().copied());
    memory_kib(worker.expect("a worker"))
}

/// Texts that nobody has sent before, in every dress; answers are read a batch at a time.
fn statements(client: &mut Client, numbers: std::ops::Range<usize>) {
    for batch in numbers.collect::<Vec<_>>().chunks(50) {
        for number in batch {
            client.simple(&format!("SELECT {number} AS simple{number}"));
            let name = format!("s{}", number % 7);
            client.parse(&name, &format!("SELECT $1::int AS named{number}"));
            client.bind("", &name, &["1"]).describe('P', "").execute("", 0).close('S', &name).sync();
            client.parse("", "SELECT 1").bind("", "", &[]).execute("", 0).sync();
        }
        client.send();
        for _ in 0..batch.len() * 3 {
            client.until_ready().succeeded();
        }
    }
}

#[test]
fn a_worker_is_as_large_after_many_statements_as_after_some() {
    let balancer = worker("10");
    let mut client = Client::connect(&balancer.door(&shared().database("flat")));
    // The facts of the first 4096 texts are kept; from then on each one that comes pushes one out.
    statements(&mut client, 0..3000);
    let before = size(&balancer);
    statements(&mut client, 3000..9000);
    let after = size(&balancer);
    assert!(after <= before + SLACK_KIB, "{before} KiB became {after} KiB");
}

/// Clients that say goodbye, that vanish, and that are refused.
fn clients(balancer: &Balancer, database: &str, count: usize) {
    let door = balancer.door(database);
    for number in 0..count {
        match number % 8 {
            0 => drop(Client::connect(&door)),
            1 => drop(Client::try_connect(&door.to("no_such_database"), &[])),
            2 => drop(Client::open(&door)),
            _ => {
                let mut client = Client::connect(&door);
                assert_eq!(client.ask("SELECT 1"), "1");
                client.terminate();
            }
        }
    }
}

#[test]
fn a_worker_is_as_large_after_many_clients_as_after_some() {
    let balancer = worker("10");
    let database = shared().database("flat_clients");
    clients(&balancer, &database, 400);
    let before = size(&balancer);
    clients(&balancer, &database, 1600);
    let after = size(&balancer);
    assert!(after <= before + SLACK_KIB, "{before} KiB became {after} KiB");
}

/// Two megabytes through one session must not stay with it, nor with the worker.
#[test]
fn sessions_give_their_buffers_back() {
    let balancer = worker("20");
    let door = balancer.door(&shared().database("buffers"));
    let mut clients: Vec<Client> = (0..12).map(|_| Client::connect(&door)).collect();
    let large = "x".repeat(900_000);
    let exchange = |client: &mut Client| {
        assert_eq!(client.ask(&format!("SELECT length('{large}')")), "900000");
        assert_eq!(client.ask("SELECT repeat('y', 1200000)").len(), 1_200_000);
    };
    clients.iter_mut().take(2).for_each(exchange);
    let before = size(&balancer);
    clients.iter_mut().for_each(exchange);
    let after = size(&balancer);
    assert!(after <= before + 4 * SLACK_KIB, "{before} KiB became {after} KiB");
}
