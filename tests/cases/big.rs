//! Big values and slow readers: bounded memory, and nobody else disturbed.

use std::time::{Duration, Instant};

use super::both_ways;
use crate::harness::balancer::Conf;
use crate::harness::process::peak_memory_kib;
use crate::harness::{Balancer, Client, Door, shared};

const MIB: usize = 1 << 20;

/// What a worker may hold for one session, whatever flows through it.
const ROOM_KIB: u64 = 32 * 1024;

#[test]
fn a_value_of_64_mib_comes_and_goes_unchanged() {
    both_ways("big", |door| {
        let mut client = Client::connect(door);
        // The log of the servers is read by other tests and should not hold the value.
        client.query("SET log_statement = 'none'").succeeded();
        let size = 64 * MIB;
        let reply = client.extended(&format!("SELECT repeat('ab', {size} / 2)"), &[]).succeeded();
        let value = reply.value().unwrap();
        assert_eq!(value.len(), size);
        let reply =
            client.extended("SELECT length($1), md5($1), md5(repeat('ab', length($1) / 2))", &[&value]);
        let row = reply.succeeded().rows().remove(0);
        assert_eq!(row[0], Some(size.to_string()));
        assert_eq!(row[1], row[2]);
        let literal = format!("SELECT length('{value}')");
        assert_eq!(client.ask(&literal), size.to_string());
    });
}

#[test]
fn a_value_of_64_mib_costs_the_worker_a_buffer() {
    let balancer = Balancer::start(Conf::of(shared()).weights([1, 0, 0]));
    let mut client = Client::connect(&balancer.door("postgres"));
    let worker = balancer.worker_of(&client);
    client.query("SELECT 1").succeeded();
    let before = peak_memory_kib(worker);
    assert_eq!(read_one_value(&mut client, 64 * MIB), 64 * MIB);
    let grown = peak_memory_kib(worker) - before;
    assert!(grown < ROOM_KIB, "the worker grew by {grown} KiB");
}

#[test]
#[ignore = "slow: moves a gigabyte and needs several for the server"]
fn slow_a_value_of_a_gigabyte_costs_the_worker_a_buffer() {
    // The most PostgreSQL can put into one value.
    let size = 1024 * MIB - 64;
    let balancer = Balancer::start(Conf::of(shared()).weights([1, 0, 0]));
    let mut client = Client::connect(&balancer.door("postgres"));
    let worker = balancer.worker_of(&client);
    client.query("SELECT 1").succeeded();
    let before = peak_memory_kib(worker);
    assert_eq!(read_one_value(&mut client, size), size);
    let grown = peak_memory_kib(worker) - before;
    assert!(grown < ROOM_KIB, "the worker grew by {grown} KiB");
    assert_eq!(client.ask("SELECT 1"), "1");
}

/// Asks for one value of this size and throws it away piece by piece; returns the length it was announced with.
fn read_one_value(client: &mut Client, size: usize) -> usize {
    client.simple(&format!("SELECT repeat('x', {size})")).send();
    assert_eq!(client.until('T').kinds(), "T");
    // D, length of the message, number of columns, length of the column.
    let head = client.read_bytes(1 + 4 + 2 + 4).unwrap();
    assert_eq!(head[0], b'D');
    let length = u32::from_be_bytes(head[7..].try_into().unwrap()) as usize;
    let mut left = length;
    while left > 0 {
        left -= client.read_bytes(left.min(MIB)).unwrap().len();
    }
    client.until_ready().succeeded();
    length
}

/// Two hundred megabytes in rows of a kilobyte.
const MANY_ROWS: &str = "SELECT repeat('x', 1000) FROM generate_series(1, 200000)";

#[test]
fn a_slow_reader_stops_its_server_and_nobody_else() {
    let conf =
        Conf::of(shared()).weights([1, 0, 0]).set("num_init_children", "2").set("sessions_per_child", "10");
    let balancer = Balancer::start(conf);
    let door = balancer.door("postgres");
    let mut slow = Client::connect(&door);
    let worker = balancer.worker_of(&slow);
    slow.query("SELECT 1").succeeded();
    let before = peak_memory_kib(worker);
    slow.simple(MANY_ROWS).send();

    // Others, some of them in the same worker, are served while the answer waits.
    serve_others(&door, Duration::from_secs(1));
    let grown = peak_memory_kib(worker) - before;
    assert!(grown < ROOM_KIB, "the worker grew by {grown} KiB while nobody read");

    let mut rows = 0;
    loop {
        match slow.read().unwrap().kind {
            'D' => rows += 1,
            'Z' => break,
            _ => {}
        }
    }
    assert_eq!(rows, 200_000);
    let grown = peak_memory_kib(worker) - before;
    assert!(grown < ROOM_KIB, "the worker grew by {grown} KiB");
}

fn serve_others(door: &Door, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let mut others: Vec<Client> = (0..8).map(|_| Client::connect(door)).collect();
        for other in &mut others {
            assert_eq!(other.ask("SELECT 'served'"), "served");
        }
        others.into_iter().for_each(Client::terminate);
    }
}

#[test]
fn a_client_that_sends_much_and_reads_nothing_is_held_back() {
    let balancer = Balancer::start(Conf::of(shared()).weights([1, 0, 0]));
    let mut client = Client::connect(&balancer.door("postgres"));
    let worker = balancer.worker_of(&client);
    client.query("SELECT 1").succeeded();
    let before = peak_memory_kib(worker);
    // A pipeline of a hundred megabytes of answers; we read only when all is sent.
    for _ in 0..100 {
        client.parse("", "SELECT repeat('y', 1000000)").bind("", "", &[]).execute("", 0).sync();
    }
    client.send();
    for _ in 0..100 {
        client.until_ready().succeeded();
    }
    let grown = peak_memory_kib(worker) - before;
    assert!(grown < ROOM_KIB, "the worker grew by {grown} KiB");
}
