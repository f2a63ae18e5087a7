//! Clients at work while servers die: what the program is for. Each case has a cluster of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::harness::balancer::Conf;
use crate::harness::cluster::other_versions;
use crate::harness::load::{self, Failed, Load, Met};
use crate::harness::{Balancer, Client, Cluster, process, tools, wait};

const CLIENTS: usize = 32;

/// Standbys come back by themselves, and sessions share four workers.
fn conf(cluster: &Cluster) -> Conf {
    Conf::of(cluster)
        .with_places(cluster)
        .set("num_init_children", "4")
        .set("sessions_per_child", "20")
        .set("log_per_node_statement", "off")
        .set("auto_failback", "on")
        .set("auto_failback_interval", "1")
}

/// The state of the nodes as SHOW POOL_NODES has it.
fn statuses(balancer: &Balancer) -> Vec<String> {
    Client::connect(&balancer.door("postgres")).query("SHOW POOL_NODES").succeeded().column("status")
}

/// A directory with a script that promotes the server whose data directory it is given, and says so.
pub(super) fn promoting(cluster: &Cluster, text: &str) -> (tempfile::TempDir, PathBuf) {
    let pg_ctl = cluster.nodes[0].bin.join("pg_ctl");
    process::script(
        "promote.sh",
        format!("#!/bin/sh\n{}\n", text.replace("PG_CTL", pg_ctl.to_str().unwrap())),
    )
}

#[test]
fn readers_do_not_notice_that_standbys_die() {
    let cluster = Cluster::private();
    let door = cluster.door(0, "postgres");
    tools::run(tools::pgbench(&door).args(["-i", "-q", "-s", "1"])).succeeded();
    cluster.catch_up();
    let balancer = Balancer::start(conf(&cluster));
    balancer.wait_roles();
    let through = balancer.door("postgres");
    let modes = ["simple", "extended", "prepared"];
    for round in 0..20 {
        let victim = &cluster.standbys()[round % 2];
        let bench = std::thread::spawn({
            let (through, mode) = (through.clone(), modes[round % 3]);
            move || {
                let mut bench = tools::pgbench(&through);
                let clients = CLIENTS.to_string();
                bench.args(["-n", "-S", "-c", &clients, "-j", "2", "-t", "300", "-M", mode]);
                tools::run(&mut bench)
            }
        });
        let busy = "SELECT count(*) > 3 FROM pg_stat_activity WHERE application_name = 'pgbench'";
        wait::until_true("the clients to be at work", || {
            bench.is_finished() || cluster.on_node(victim.id, "postgres", busy) == "t"
        });
        assert!(!bench.is_finished(), "round {round} was over too early");
        victim.kill();
        let told = bench.join().unwrap();
        assert!(told.ok, "round {round}: {}\n{}", told.out, told.err);
        assert!(told.out.contains("number of failed transactions: 0 "), "round {round}: {}", told.out);
        assert!(!told.err.contains("aborted"), "round {round}: {}", told.err);
        victim.start();
        wait::until_equal("up".to_owned(), || statuses(&balancer)[victim.id].clone());
    }
}

/// What the clients were told of their rows.
#[derive(Default)]
struct Ledger {
    committed: BTreeSet<(usize, u64)>,
    /// COMMIT was sent and not answered with success.
    unknown: BTreeSet<(usize, u64)>,
    undone: BTreeSet<(usize, u64)>,
}

const LEDGER: &str = "CREATE TABLE ledger (client int, round bigint)";

/// One transaction of a client: a read, a row for the ledger, and the end.
fn book(client: &mut Client, number: usize, round: u64, ledger: &Mutex<Ledger>) -> Result<(), Failed> {
    let row = (number, round);
    let begun = load::run(client, "BEGIN")
        .and_then(|_| load::run(client, "SELECT count(*) FROM ledger WHERE client = -1"))
        .and_then(|_| load::run(client, &format!("INSERT INTO ledger VALUES ({number}, {round})")));
    if let Err(failed) = begun {
        ledger.lock().unwrap().undone.insert(row);
        return give_up(client, failed);
    }
    let ended = load::run(client, "COMMIT");
    let is_committed = ended.as_ref().is_ok_and(|reply| reply.tags() == ["COMMIT"]);
    let mut ledger = ledger.lock().unwrap();
    let place = if is_committed { &mut ledger.committed } else { &mut ledger.unknown };
    place.insert(row);
    drop(ledger);
    ended.map(drop).or_else(|failed| give_up(client, failed))
}

/// A failed transaction ends with ROLLBACK, whatever has become of its server.
fn give_up(client: &mut Client, failed: Failed) -> Result<(), Failed> {
    if matches!(failed, Failed::Told(_)) {
        let reply = client.try_query("ROLLBACK")?;
        assert_eq!(reply.status(), 'I', "after {failed:?}");
    }
    Err(failed)
}

/// Each row that a client was promised is there once, and no other is there that was not.
fn check(cluster: &Cluster, node: usize, ledger: &Ledger) {
    let mut client = Client::connect(&cluster.door(node, "postgres"));
    let mut found: BTreeMap<(usize, u64), u32> = BTreeMap::new();
    for row in client.query("SELECT client, round FROM ledger").succeeded().rows() {
        let number = |at: usize| row[at].as_deref().unwrap().parse::<u64>().unwrap();
        *found.entry((number(0) as usize, number(1))).or_default() += 1;
    }
    let lost: Vec<_> = ledger.committed.iter().filter(|row| !found.contains_key(row)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "applied more than once: {twice:?}");
    let risen: Vec<_> = found.keys().filter(|row| ledger.undone.contains(row)).collect();
    assert!(risen.is_empty(), "not committed and there all the same: {risen:?}");
}

fn keeping_a_ledger(balancer: &Balancer) -> (Load, Arc<Mutex<Ledger>>) {
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let load = Load::start(&balancer.door("postgres"), CLIENTS, {
        let ledger = Arc::clone(&ledger);
        move |client, number, round| book(client, number, round, &ledger)
    });
    (load, ledger)
}

fn only_open_transactions_failed(met: &Met) {
    assert!(met.disconnects.is_empty(), "{:?}", met.disconnects);
    let others: Vec<_> = met
        .errors
        .iter()
        .filter(|(_, error)| !error.code.starts_with("08") && !error.code.starts_with("40"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(met.errors.len() <= CLIENTS, "one a client at most: {:?}", met.errors);
}

#[test]
fn a_primary_that_dies_costs_its_open_transactions_and_nothing_else() {
    the_primary_dies(&Cluster::private());
}

/// The oldest and the newest version that we serve.
#[test]
fn so_with_other_versions_of_the_server() {
    for version in other_versions() {
        the_primary_dies(&Cluster::private_of(Some(version)));
    }
}

fn the_primary_dies(cluster: &Cluster) {
    cluster.prepare("postgres", LEDGER);
    // What a client was told must be on the standby that is promoted.
    cluster.on_primary("postgres", "ALTER SYSTEM SET synchronous_standby_names = '2 (node1, node2)'");
    cluster.on_primary("postgres", "SELECT pg_reload_conf()");
    let (_scripts, script) = promoting(cluster, "exec PG_CTL -D \"$1\" -w promote");
    let command = format!("'{} %R'", script.display());
    let balancer = Balancer::start(conf(cluster).set("failover_command", &command));
    balancer.wait_roles();
    let (load, ledger) = keeping_a_ledger(&balancer);
    wait::until_true("all clients to be at work", || load.done() > 500);
    cluster.nodes[0].kill();
    let (killed, before) = (load.now(), load.done());
    wait::until_true("work to go on", || load.done() > before + 500);
    let met = load.end();
    only_open_transactions_failed(&met);
    assert!(met.first_after(killed).is_some());
    check(cluster, 1, &ledger.lock().unwrap());
    let nodes = Client::connect(&balancer.door("postgres")).query("SHOW POOL_NODES").succeeded();
    assert_eq!(nodes.column("role")[..2], ["standby", "primary"]);
    assert_eq!(nodes.column("status")[0], "down");
}
