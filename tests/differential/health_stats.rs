//! `SHOW POOL_HEALTH_CHECK_STATS` of Debian's pgpool-II and of ours, with a server that is checked, one that is not, and
//! one that is not there: the same columns, the same form of each value, the same counts for the same story.

use std::path::PathBuf;

use regex::Regex;

use super::PGPOOL;
use crate::harness::balancer::{Conf, Program};
use crate::harness::message::Reply;
use crate::harness::{Balancer, Client, ports, shared, wait};

const REPORT: &str = "SHOW POOL_HEALTH_CHECK_STATS";

/// Columns whose values are the same in each run. The others differ by the moment, so their form is compared.
const EXACT: &[&str] = &[
    "node_id",
    "hostname",
    "port",
    "status",
    "role",
    "fail_count",
    "retry_count",
    "max_retry_count",
    "last_successful_health_check",
    "last_skip_health_check",
    "last_failed_health_check",
];

struct Side {
    _balancer: Balancer,
    reply: Reply,
}

impl Side {
    fn start(program: Program, dead_port: u16) -> Side {
        let conf = Conf::of(shared())
            .set("backend_port2", &dead_port.to_string())
            .set("health_check_user", "'postgres'")
            .set("health_check_period", "1")
            .set("health_check_period1", "0")
            .set("health_check_max_retries", "1")
            .set("health_check_retry_delay", "1");
        let balancer = Balancer::start_program(program, conf, &[]);
        balancer.wait_log("health check failed on node 2 (timeout:0)");
        balancer.wait_log("ailover done. shutdown host");
        // Theirs may send clients away for a moment then.
        let mut client = wait::until("a session", wait::LIMIT, || {
            Client::try_connect(&balancer.door("postgres"), &[]).ok()
        });
        let reply = wait::until("checks of all kinds", wait::LIMIT, || {
            let reply = client.query(REPORT).succeeded();
            let counts = |column: &str, node: usize| reply.column(column)[node].parse::<u64>().unwrap();
            let done = counts("success_count", 0) >= 3 && counts("skip_count", 2) >= 2;
            (done && reply.column("status")[1] == "up").then_some(reply)
        });
        Side { _balancer: balancer, reply }
    }

    /// The value, or its form.
    fn shown(&self, node: usize, column: &str) -> String {
        let value = self.reply.column(column)[node].clone();
        let forms = [
            ("INTEGER", r"^\d+$"),
            ("DECIMAL", r"^\d+\.\d{6}$"),
            ("TIME", r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$"),
        ];
        let form = forms.iter().find(|(_, pattern)| Regex::new(pattern).unwrap().is_match(&value));
        match form {
            Some((name, _)) if *name == "TIME" || !EXACT.contains(&column) => (*name).to_owned(),
            _ => value,
        }
    }

    fn number(&self, node: usize, column: &str) -> f64 {
        self.reply.column(column)[node].parse().unwrap()
    }

    /// What the columns must be to each other, in either program.
    fn holds_together(&self) {
        for node in [0, 2] {
            let of = |column: &str| self.number(node, column);
            let made = of("total_count") - of("skip_count");
            let ended = of("success_count") + of("fail_count");
            assert!((made - ended).abs() <= 1.0, "{made} {ended}: one may be under way");
            // They count a check that is under way, or not.
            let averages = [made, ended].map(|checks| format!("{:.6}", of("retry_count") / checks));
            let average = &self.reply.column("average_retry_count")[node];
            assert!(averages.contains(average), "{average} is none of {averages:?}");
            let between = of("min_duration") - 0.001..=of("max_duration") + 0.001;
            let averages = [1.0, made / ended].map(|part| of("average_duration") * part);
            assert!(averages.iter().any(|average| between.contains(average)), "{averages:?} {between:?}");
        }
        assert!((1000.0..5000.0).contains(&self.number(2, "max_duration")), "the pause counts");
        assert_eq!(self.number(1, "total_count"), 0.0);
    }
}

#[test]
fn health_checks_are_counted_and_shown_alike() {
    let dead_port = ports::free();
    let theirs = Side::start(Program::Pgpool(PathBuf::from(PGPOOL)), dead_port);
    let ours = Side::start(Program::under_test(), dead_port);
    let columns = theirs.reply.columns();
    assert_eq!((ours.reply.columns(), columns.len()), (columns.clone(), 20));
    for (node, column) in (0..3).flat_map(|node| columns.iter().map(move |column| (node, column.as_str()))) {
        assert_eq!(ours.shown(node, column), theirs.shown(node, column), "node {node}, {column}");
    }
    theirs.holds_together();
    ours.holds_together();
}
