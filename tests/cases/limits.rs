//! How many clients there may be, and how long clients, connections and workers may live. Beside pgpool-II where it
//! has the same limit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::balancer::{Conf, Program};
use crate::harness::client::PROTOCOL_3_0;
use crate::harness::message::Report;
use crate::harness::process::{self, is_alive, title};
use crate::harness::{Balancer, Client, shared, wait};

/// Ours and Debian's pgpool-II on the same lines.
fn both(conf: &Conf, check: impl Fn(&Balancer)) {
    for program in [Program::under_test(), Program::Pgpool(PathBuf::from("/usr/sbin/pgpool"))] {
        let balancer = Balancer::start_program(program, conf.clone(), &[]);
        balancer.wait_roles();
        check(&balancer);
    }
}

fn workers(balancer: &Balancer) -> Vec<i32> {
    let is_worker = |pid: &i32| title(*pid).ends_with(": wait for connection request");
    balancer.children().into_iter().filter(is_worker).filter(|pid| !title(*pid).contains("PCP")).collect()
}

#[test]
fn clients_beyond_the_places_that_are_not_reserved_are_refused() {
    let conf = Conf::of(shared()).set("num_init_children", "3").set("reserved_connections", "1");
    both(&conf, |balancer| {
        let door = balancer.door("postgres");
        // The client that waited for the roles may still count for a moment.
        let mut kept = vec![];
        wait::until_true("two places", || {
            kept.extend(Client::try_connect(&door, &[]).ok());
            kept.len() == 2
        });
        let told = Report {
            severity: "FATAL".to_owned(),
            code: "53300".to_owned(),
            message: "Sorry, too many clients already".to_owned(),
        };
        for _ in 0..3 {
            assert_eq!(Client::try_connect(&door, &[]).err(), Some(told.clone()));
        }
        kept.remove(0).terminate();
        wait::until_true("the place to be free again", || Client::try_connect(&door, &[]).is_ok());
        assert!(balancer.log_contains("ERROR:  Sorry, too many clients already"));
    });
}

#[test]
fn places_of_one_worker_are_reserved_as_well() {
    let conf = Conf::of(shared()).set("num_init_children", "1").set("sessions_per_child", "3");
    let balancer = Balancer::start(conf.set("reserved_connections", "1"));
    let door = balancer.door("postgres");
    let mut kept = vec![];
    wait::until_true("two places", || {
        kept.extend(Client::try_connect(&door, &[]).ok());
        kept.len() == 2
    });
    assert_eq!(Client::try_connect(&door, &[]).err().map(|report| report.code).as_deref(), Some("53300"));
    assert_eq!(kept[0].ask("SELECT 1"), "1");
}

#[test]
fn a_client_that_is_idle_too_long_is_told_so() {
    let conf = Conf::of(shared()).set("client_idle_limit", "1");
    both(&conf, |balancer| {
        for begin in ["SELECT 1", "BEGIN"] {
            let mut client = Client::connect(&balancer.door("postgres"));
            // Busy is not idle.
            assert!(client.query("SELECT pg_sleep(2.5)").error().is_none());
            client.query(begin).succeeded();
            let report = client.read().unwrap().report();
            assert_eq!((report.code.as_str(), report.message.as_str()), ("57000", "unable to read data"));
            assert!(client.is_closed_within(Duration::from_secs(5)));
        }
        balancer.wait_log("child connection forced to terminate due to client_idle_limit:1 is reached");
    });
}

#[test]
fn a_worker_is_replaced_after_so_many_clients() {
    let conf = Conf::of(shared()).set("num_init_children", "1").set("child_max_connections", "2");
    both(&conf, |balancer| {
        let served = |_| {
            let client = Client::connect(&balancer.door("postgres"));
            let worker = balancer.worker_of(&client);
            client.terminate();
            worker
        };
        // Each serves two, but for the first, which the test itself has used before.
        let mut counts = BTreeMap::new();
        (0..9).map(served).for_each(|worker| *counts.entry(worker).or_insert(0) += 1);
        assert!(counts.len() >= 4 && counts.values().all(|count| *count <= 2), "{counts:?}");
        balancer.wait_log("child exiting, 2 connections reached");
    });
}

#[test]
fn a_worker_of_many_sessions_takes_no_more_and_ends_with_the_last() {
    let conf = Conf::of(shared()).set("num_init_children", "1").set("sessions_per_child", "10");
    // The third is the client that waited for the roles.
    let balancer = Balancer::start(conf.set("child_max_connections", "3"));
    let door = balancer.door("postgres");
    let mut first = Client::connect(&door);
    let second = Client::connect(&door);
    let worker = balancer.worker_of(&first);
    assert_eq!(worker, balancer.worker_of(&second));
    let third = std::thread::spawn(move || Client::connect(&door));
    second.terminate();
    assert_eq!(first.ask("SELECT 1"), "1");
    assert!(is_alive(worker) && !third.is_finished());
    first.terminate();
    let mut third = third.join().unwrap();
    assert_eq!(third.ask("SELECT 1"), "1");
    assert_ne!(balancer.worker_of(&third), worker);
    wait::until_true("the first worker to be gone", || !is_alive(worker));
}

#[test]
fn an_idle_worker_that_has_served_is_replaced_by_age() {
    let conf = Conf::of(shared()).set("num_init_children", "3").set("child_life_time", "1");
    both(&conf, |balancer| {
        let client = Client::connect(&balancer.door("postgres"));
        let worker = balancer.worker_of(&client);
        wait::until_true("two idle workers", || workers(balancer).len() == 2);
        client.terminate();
        wait::until_true("the worker to be replaced", || {
            let now = workers(balancer);
            now.len() == 3 && !now.contains(&worker)
        });
    });
}

#[test]
fn a_worker_that_has_served_nobody_is_not_replaced() {
    let conf = Conf::of(shared()).set("num_init_children", "2").set("child_life_time", "1");
    let balancer = Balancer::start(conf);
    let client = Client::connect(&balancer.door("postgres"));
    let worker = balancer.worker_of(&client);
    wait::until_true("one idle worker", || workers(&balancer).len() == 1);
    let fresh = workers(&balancer)[0];
    client.terminate();
    wait::until_true("the one that served to be replaced", || {
        let now = workers(&balancer);
        now.len() == 2 && !now.contains(&worker)
    });
    let served = balancer.log().matches("exits with status 256").count();
    assert!(is_alive(fresh) || served > 1, "{}", balancer.log());
}

#[test]
fn a_kept_connection_is_closed_by_age() {
    let cluster = shared();
    let conf = Conf::of(cluster).weights([1, 0, 0]).set("connection_life_time", "1");
    both(&conf.set("num_init_children", "2"), |balancer| {
        let database = cluster.database("age");
        let mut client = Client::connect(&balancer.door(&database));
        assert_eq!(client.ask("SELECT 1"), "1");
        let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
        assert_eq!(cluster.on_primary("postgres", &count), "1");
        client.terminate();
        wait::until_true("no connection", || cluster.on_primary("postgres", &count) == "0");
    });
}

#[test]
fn a_burst_of_clients_is_shared_evenly() {
    let conf = Conf::of(shared()).weights([1, 0, 0]).set("num_init_children", "3");
    let balancer = Balancer::start(conf.set("sessions_per_child", "100"));
    let door = balancer.door("postgres");
    let connect = || (0..11).map(|_| Client::connect(&door)).collect::<Vec<_>>();
    let clients: Vec<Client> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(connect)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut counts = BTreeMap::new();
    clients.iter().for_each(|client| *counts.entry(balancer.worker_of(client)).or_insert(0) += 1);
    let (most, least) = (counts.values().max().unwrap(), counts.values().min().unwrap());
    assert!(counts.len() == 3 && most - least <= 4, "{counts:?}");
}

#[test]
fn nobody_waits_for_a_worker_that_is_stuck() {
    let conf = Conf::of(shared()).weights([1, 0, 0]).set("num_init_children", "2");
    let balancer = Balancer::start(conf.set("sessions_per_child", "100"));
    let door = balancer.door("postgres");
    let first = Client::connect(&door);
    let (busy, idle) = (balancer.worker_of(&first), workers(&balancer));
    let stuck = *idle.iter().find(|pid| **pid != busy).unwrap();
    process::stop(stuck);
    let start = Instant::now();
    let clients: Vec<Client> = (0..20).map(|_| Client::connect(&door)).collect();
    let took = start.elapsed();
    process::go_on(stuck);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(clients.iter().all(|client| balancer.worker_of(client) == busy));
}

/// In dynamic mode, with so many workers at the most and between one and two idle ones.
fn dynamic(most: &str) -> Balancer {
    let conf = Conf::of(shared())
        .set("process_management_mode", "dynamic")
        .set("process_management_strategy", "aggressive")
        .set("num_init_children", most)
        .set("min_spare_children", "1")
        .set("max_spare_children", "2");
    Balancer::start(conf)
}

/// Workers, busy or not.
fn all_workers(balancer: &Balancer) -> usize {
    balancer
        .children()
        .into_iter()
        .filter(|pid| ![" process", "PCP"].iter().any(|other| title(*pid).contains(other)))
        .count()
}

/// In dynamic mode there are a few idle workers, more when they are needed at once, and never more than the most.
#[test]
fn workers_come_when_they_are_needed() {
    let balancer = dynamic("12");
    let door = balancer.door("postgres");
    let workers = || all_workers(&balancer);
    assert_eq!(workers(), 2);
    // Quicker than the cycle of two seconds: each needs a worker, and two are there.
    let mut clients: Vec<Client> = (0..12).map(|_| Client::connect(&door)).collect();
    assert!(clients.iter_mut().all(|client| client.ask("SELECT 1") == "1"));
    assert_eq!(workers(), 12);
    // The next one waits until somebody leaves.
    let mut late = Client::open(&door);
    clients.pop().unwrap().terminate();
    late.introduce(&door, PROTOCOL_3_0, &[]).expect("the place of the one that left");
    assert_eq!(late.ask("SELECT 1"), "1");
}

/// A worker that is sent away loses no client: the one it was just told of goes to another.
#[test]
fn a_worker_that_leaves_loses_no_client() {
    let balancer = dynamic("8");
    let door = balancer.door("postgres");
    let workers = || all_workers(&balancer);
    let clients: Vec<Client> = (0..8).map(|_| Client::connect(&door)).collect();
    clients.into_iter().for_each(Client::terminate);
    assert_eq!(workers(), 8);
    // Until the idle ones have been too many for 25 cycles of two seconds; clients come all the time.
    wait::until("the idle workers to be sent away", Duration::from_secs(90), || {
        Client::connect(&door).terminate();
        // Not always two in the end: the clients that come all the time keep one or the other busy.
        (workers() < 6).then_some(())
    });
    Client::connect(&door).terminate();
}

/// pgpool-II refuses at once, before the first packet; here a client is heard first, so that a cancel request, which
/// needs no place for long, still comes through.
#[test]
fn a_cancel_request_needs_no_place_that_is_not_reserved() {
    let conf = Conf::of(shared()).set("num_init_children", "2").set("reserved_connections", "1");
    let balancer = Balancer::start(conf);
    let door = balancer.door("postgres");
    let mut client = wait::until("the place", wait::LIMIT, || Client::try_connect(&door, &[]).ok());
    assert_eq!(Client::try_connect(&door, &[]).err().map(|report| report.code).as_deref(), Some("53300"));
    client.simple("DO $$ BEGIN RAISE NOTICE 'runs'; PERFORM pg_sleep(60); END $$").send().until('N');
    client.cancel();
    assert_eq!(client.until_ready().error_code(), "57014");
}

/// Clients that the kernel takes while nobody looks: one more than the backlog, with this kernel.
#[test]
fn the_backlog_is_a_multiple_of_the_children() {
    for (multiplier, expected) in [("1", 4), ("3", 10)] {
        let conf =
            Conf::of(shared()).set("num_init_children", "3").set("listen_backlog_multiplier", multiplier);
        both(&conf, |balancer| {
            let all: Vec<i32> = std::iter::once(balancer.pid()).chain(balancer.children()).collect();
            all.iter().for_each(|pid| process::stop(*pid));
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], balancer.port));
            let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
            let mut waiting = vec![];
            while let Some(client) = connect() {
                waiting.push(client);
            }
            all.iter().for_each(|pid| process::go_on(*pid));
            assert_eq!(waiting.len(), expected, "listen_backlog_multiplier = {multiplier}");
        });
    }
}

/// A herd would wake all eight for each client.
#[test]
fn one_client_wakes_one_worker_whatever_serialize_accept_says() {
    for value in ["on", "off"] {
        let conf = Conf::of(shared()).set("num_init_children", "8").set("child_life_time", "0");
        let balancer = Balancer::start(conf.set("serialize_accept", value));
        let workers = workers(&balancer);
        let rest = || {
            wait::until_true("the workers to rest", || workers.iter().all(|pid| process::is_at_rest(*pid)));
        };
        rest();
        let count = || workers.iter().map(|pid| process::times_woken(*pid)).collect::<Vec<_>>();
        let mut woken = 0;
        for _ in 0..10 {
            let before = count();
            let client = Client::connect(&balancer.door("postgres"));
            // What is counted is going to sleep: the one that serves may still be awake.
            rest();
            woken += before.iter().zip(count()).filter(|(before, after)| *before != after).count();
            client.terminate();
            rest();
        }
        // Besides the one each time, those that look around once a second.
        assert!((10..=30).contains(&woken), "serialize_accept = {value}: {woken}");
    }
}
