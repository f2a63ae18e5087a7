//! The same statements through Debian's pgpool-II and through ours, against the same cluster: each must reach the same
//! nodes and have the same outcome. Both say in their logs which node got what. What differs on purpose
//! stands in `differences.rs` with its reason.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::harness::balancer::{Conf, Program};
use crate::harness::client::Client;
use crate::harness::message::Reply;
use crate::harness::{Balancer, Door, shared};

mod cache;
mod commands;
mod differences;
mod encode;
mod failover;
mod health_stats;
mod log_lines;
mod parameters;
mod pcp;
mod routes;
mod sequences;

use differences::DIFFERENCES;
use sequences::{SEQUENCES, Sequence};

const PGPOOL: &str = "/usr/sbin/pgpool";

/// The statements around every sequence: when they stand in the log, so does everything before them.
const BEGIN: &str = "SELECT 'beginning of the sequence'";
const END: &str = "SELECT 'end of the sequence'";

/// What became of a statement: the nodes that got it and what the client was told.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Fate {
    statement: &'static str,
    nodes: BTreeSet<usize>,
    outcome: String,
}

/// One program with its way to a database of its own.
struct Side {
    balancer: Balancer,
    door: Door,
    read_up_to: RefCell<usize>,
}

impl Side {
    fn start(program: Program) -> Side {
        let cluster = shared();
        let database = cluster.database("differential");
        cluster.prepare(
            &database,
            "CREATE TABLE t (n int, note text); INSERT INTO t VALUES (1, 'one'), (2, 'two');
             CREATE UNLOGGED TABLE unlogged (n int); CREATE VIEW v AS SELECT n FROM t; CREATE SEQUENCE s;
             CREATE SCHEMA other; CREATE TABLE other.t (n int);
             CREATE FUNCTION reader() RETURNS int STABLE LANGUAGE sql AS 'SELECT 1';
             CREATE FUNCTION writer() RETURNS int VOLATILE LANGUAGE sql AS 'INSERT INTO t VALUES (3) RETURNING n';
             CREATE PROCEDURE proc() LANGUAGE sql AS 'INSERT INTO t VALUES (4)';
             CREATE VIEW v_unlogged AS SELECT n FROM unlogged; CREATE VIEW v_writer AS SELECT writer() AS n;
             CREATE VIEW v_catalog AS SELECT count(*) AS n FROM pg_class",
        );
        // All reads to node 1, so that chance plays no part; one worker, so that its log is in one order.
        let conf =
            Conf::of(cluster).weights([0, 1, 0]).set("num_init_children", "1").set("sr_check_period", "1");
        let balancer = Balancer::start_program(program, conf, &[]);
        balancer.wait_roles();
        let door = balancer.door(&database);
        Side { balancer, door, read_up_to: RefCell::new(0) }
    }

    fn run(&self, sequence: &'static Sequence) -> Vec<Fate> {
        let mut client = Client::connect(&self.door);
        // Both nodes are in use before it begins: when a connection opens is not what is compared.
        client.query("DELETE FROM t WHERE false").succeeded();
        client.query(BEGIN).succeeded();
        self.balancer.wait_log_after(&mut self.read_up_to.borrow_mut(), BEGIN);
        let run = |statement: &&'static str| (*statement, outcome(&send(&mut client, statement)));
        let outcomes: Vec<_> = sequence.statements.iter().map(run).collect();
        client.query("ROLLBACK");
        client.query(END);
        let log = self.balancer.wait_log_after(&mut self.read_up_to.borrow_mut(), END);
        client.terminate();
        shared().catch_up();
        let got: Vec<(usize, &str)> = log.lines().filter_map(node_and_statement).collect();
        let fate = |(statement, outcome): (&'static str, String)| {
            let text = statement.strip_prefix(EXTENDED).unwrap_or(statement);
            let nodes = got.iter().filter(|(_, of)| *of == text).map(|(node, _)| *node).collect();
            Fate { statement, nodes, outcome }
        };
        outcomes.into_iter().map(fate).collect()
    }
}

const EXTENDED: &str = "extended: ";

fn send(client: &mut Client, statement: &str) -> Reply {
    match statement.strip_prefix(EXTENDED) {
        Some(sql) => client.extended(sql, &[]),
        None => client.query(statement),
    }
}

/// The error code or the command tags. How many rows a standby has seen is a matter of time, not of routing.
fn outcome(reply: &Reply) -> String {
    let tag =
        |tag: String| tag.trim_end_matches(|last: char| last.is_ascii_digit() || last == ' ').to_owned();
    match reply.error() {
        Some(error) => error.code,
        None => reply.tags().into_iter().map(tag).collect::<Vec<_>>().join(", "),
    }
}

/// Of a line `… DB node id: N backend pid: P statement: TEXT`. Queries that a program runs for itself are not looked for
/// by the caller, nor are Parse and Bind, which go with their Execute.
fn node_and_statement(line: &str) -> Option<(usize, &str)> {
    let (_, rest) = line.split_once("LOG:  DB node id: ")?;
    let (node, rest) = rest.split_once(" backend pid: ")?;
    let (_, text) = rest.split_once(" statement: ")?;
    Some((node.parse().ok()?, text.strip_prefix("Execute: ").unwrap_or(text)))
}

#[test]
fn statements_reach_the_nodes_that_pgpool_sends_them_to() {
    let program = Program::under_test();
    let same_program = matches!(program, Program::Pgpool(_));
    let theirs = Side::start(Program::Pgpool(PathBuf::from(PGPOOL)));
    let ours = Side::start(program);
    let mut unexplained = Vec::new();
    let mut unused: Vec<String> = DIFFERENCES.iter().map(ToString::to_string).collect();
    for sequence in SEQUENCES {
        let pairs = theirs.run(sequence).into_iter().zip(ours.run(sequence));
        for (their, our) in pairs.filter(|(their, our)| their != our) {
            let known = DIFFERENCES.iter().find(|known| known.is_about(sequence.name, their.statement));
            match known.filter(|_| !same_program) {
                Some(known) => unused.retain(|row| *row != known.to_string()),
                None => unexplained.push(format!(
                    "{}: {}\n    pgpool-II: nodes {:?}, {}\n    ours:      nodes {:?}, {}",
                    sequence.name, their.statement, their.nodes, their.outcome, our.nodes, our.outcome
                )),
            }
        }
    }
    assert!(unexplained.is_empty(), "{} differences:\n{}", unexplained.len(), unexplained.join("\n"));
    assert!(same_program || unused.is_empty(), "no difference any more:\n{}", unused.join("\n"));
}

/// What is compared must not be empty: a change in the form of the log would make everything equal.
#[test]
fn the_logs_are_understood() {
    let theirs = Side::start(Program::Pgpool(PathBuf::from(PGPOOL)));
    let sequence = SEQUENCES.iter().find(|sequence| sequence.name == "reads and writes").unwrap();
    let fates = theirs.run(sequence);
    let nodes = |statement: &str| {
        fates
            .iter()
            .find(|fate| fate.statement == statement)
            .map(|fate| fate.nodes.iter().copied().collect::<Vec<_>>())
    };
    assert_eq!(nodes("SELECT n FROM t"), Some(vec![1]));
    assert_eq!(nodes("INSERT INTO t VALUES (10)"), Some(vec![0]));
    assert_eq!(nodes("SET work_mem = '5MB'"), Some(vec![0, 1]));
    assert_eq!(nodes("extended: SELECT n + 1 FROM t"), Some(vec![1]));
}
