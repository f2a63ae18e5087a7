//! What is shown of an answer, word for word as pgpool-II's tools show it. Columns that a version of the server does not
//! send are not shown.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::client::Answer;
use super::options::Options;
use super::rows;
use crate::sys::clock;

/// C's RAND_MAX, of which servers send the weights as shares.
const WHOLE_WEIGHT: f64 = 2_147_483_647.0;

const NODE: &[&str] = &[
    "Hostname",
    "Port",
    "Status",
    "Weight",
    "Status Name",
    "Backend Status Name",
    "Role",
    "Backend Role",
    "Replication Delay",
    "Replication State",
    "Replication Sync State",
    "Last Status Change",
];

const HEALTH: &[&str] = &[
    "Node Id",
    "Host Name",
    "Port",
    "Status",
    "Role",
    "Last Status Change",
    "Total Count",
    "Success Count",
    "Fail Count",
    "Skip Count",
    "Retry Count",
    "Average Retry Count",
    "Max Retry Count",
    "Max Health Check Duration",
    "Minimum Health Check Duration",
    "Average Health Check Duration",
    "Last Health Check",
    "Last Successful Health Check",
    "Last Skip Health Check",
    "Last Failed Health Check",
];

/// Labels of a process's row, and where each stands in what the server sends.
const PROCESS: &[(&str, usize)] = &[
    ("Database", 5),
    ("Username", 6),
    ("Start time", 1),
    ("Client connection count", 2),
    ("Major", 11),
    ("Minor", 12),
    ("Backend connection time", 7),
    ("Client connection time", 8),
    ("Client idle duration", 10),
    ("Client disconnection time", 9),
    ("Pool Counter", 13),
    ("Backend PID", 14),
    ("Connected", 15),
    ("PID", 0),
    ("Backend ID", 4),
    ("Status", 16),
    ("Load balance node", 17),
    ("client_host", 18),
    ("client_port", 19),
    ("statement", 20),
];

/// A row: labels and values below each other, or the values in a line.
fn row(labels: &[&str], values: &[String], verbose: bool) -> String {
    if !verbose {
        return values.join(" ") + "\n";
    }
    let width = labels.iter().map(|label| label.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (label, value) in labels.iter().zip(values) {
        let _ = writeln!(out, "{label:width$} : {value}");
    }
    out + "\n"
}

pub(super) fn node_count(answer: &Answer, options: &Options) -> String {
    let count =
        rows(answer, "CommandComplete").first().and_then(|row| row.first()).cloned().unwrap_or_default();
    match options.verbose {
        true => format!("Node Count\n____________\n {count}\n"),
        false => format!("{count}\n"),
    }
}

pub(super) fn nodes(answer: &Answer, options: &Options) -> String {
    let shown = rows(answer, "NodeInfo").into_iter().filter_map(|fields| node(fields, options));
    let out: String = shown.collect();
    if out.is_empty() { "No node information available\n\n".to_owned() } else { out }
}

fn node(fields: &[String], options: &Options) -> Option<String> {
    let field = |at: usize| fields.get(at).map_or("", String::as_str);
    // Since 4.4 a switch stands before the delay: whether it is a time.
    let newer = fields.len() > 12;
    let after = |at: usize| field(at + usize::from(newer));
    let (host, status, quarantine) = (field(0), field(2), field(3));
    if host.is_empty() && !options.all {
        return None;
    }
    let name = match (status, quarantine) {
        ("0", _) => "unused",
        ("1", _) => "waiting",
        ("2", _) => "up",
        ("3", "1") => "quarantine",
        ("3", _) => "down",
        _ => "unknown",
    };
    let role = match field(6) {
        "0" => "main",
        "1" => "replica",
        "2" => "primary",
        "3" => "standby",
        _ => "unknown",
    };
    let weight = field(5).parse::<f64>().unwrap_or(0.0) / WHOLE_WEIGHT;
    let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    let delay = match newer && field(8) == "1" {
        true => seconds(after(8), options.verbose),
        false => after(8).to_owned(),
    };
    let changed = after(11).parse().map(clock::local_text).unwrap_or_default();
    let values = [
        host.to_owned(),
        field(1).to_owned(),
        status.to_owned(),
        format!("{weight:.6}"),
        name.to_owned(),
        field(4).to_owned(),
        role.to_owned(),
        field(7).to_owned(),
        delay,
        or_none(after(9)),
        or_none(after(10)),
        changed,
    ];
    Some(row(NODE, &values, options.verbose))
}

/// Of microseconds.
fn seconds(micros: &str, verbose: bool) -> String {
    let seconds = micros.parse::<f64>().unwrap_or(0.0) / 1e6;
    match (verbose, seconds >= 2.0) {
        (false, _) => format!("{seconds:.6}"),
        (true, false) => format!("{seconds:.6} second"),
        (true, true) => format!("{seconds:.6} seconds"),
    }
}

pub(super) fn health(answer: &Answer, options: &Options) -> String {
    let shown = rows(answer, "CommandComplete").into_iter();
    shown.map(|values| row(HEALTH, values, options.verbose)).collect()
}

pub(super) fn process_count(answer: &Answer, options: &Options) -> String {
    let found = rows(answer, "CommandComplete");
    let pids = found.first().and_then(|row| row.get(1..)).unwrap_or_default();
    if !options.verbose {
        return pids.iter().map(|pid| format!("{pid} ")).collect::<String>() + "\n";
    }
    let mut out = "No \t | \t PID\n_____________________\n".to_owned();
    for (number, pid) in pids.iter().enumerate() {
        let _ = writeln!(out, "{number} \t | \t {pid}");
    }
    let _ = writeln!(out, "\nTotal Processes:{}", pids.len());
    out
}

pub(super) fn processes(answer: &Answer, options: &Options) -> String {
    let is_shown =
        |fields: &&[String]| options.all || fields.get(5).is_some_and(|database| !database.is_empty());
    let shown = rows(answer, "ProcessInfo").into_iter().filter(is_shown);
    let out: String = shown
        .map(|fields| {
            let there = PROCESS.iter().filter_map(|(label, at)| Some((*label, fields.get(*at)?.clone())));
            let (labels, values): (Vec<&str>, Vec<String>) = there.unzip();
            row(&labels, &values, options.verbose)
        })
        .collect();
    if out.is_empty() { "No process information available\n\n".to_owned() } else { out }
}

pub(super) fn pool_status(answer: &Answer, options: &Options) -> String {
    let mut out = String::new();
    for (number, fields) in rows(answer, "ProcessConfig").into_iter().enumerate() {
        let field = |at: usize| fields.get(at).map_or("", String::as_str);
        let (name, value, about) = (field(0), field(1), field(2));
        let _ = match options.verbose {
            true => {
                writeln!(out, "Name [{number:3}]:\t{name}\nValue:      \t{value}\nDescription:\t{about}\n")
            }
            false => writeln!(out, "name : {name}\nvalue: {value}\ndesc : {about}\n"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::pcp::options;
    use crate::cli::pcp::tool::Tool;

    fn options(line: &str) -> Options {
        let words = line.split_whitespace().map(str::to_owned).collect();
        options::parse(Tool::named("pcp_node_info").unwrap(), "pcp_node_info", words).unwrap().0
    }

    fn answer(lines: &[&str]) -> Answer {
        lines.iter().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    }

    #[test]
    fn a_node_of_either_version() {
        let old = answer(&["NodeInfo|h|1|3|1|down|1073741823.5|3|standby|4096|streaming||0"]);
        let line = "h 1 3 0.500000 quarantine down standby standby 4096 streaming none ";
        assert!(nodes(&old, &options("")).starts_with(line));
        for (by_time, delay, plain, verbose) in [
            ("0", "4096", "4096", "4096"),
            ("1", "1500000", "1.500000", "1.500000 second"),
            ("1", "2500000", "2.500000", "2.500000 seconds"),
        ] {
            let new = format!("NodeInfo|h|1|2|0|up|0|2|primary|{by_time}|{delay}||async|0");
            let line = format!("h 1 2 0.000000 up up primary primary {plain} none async ");
            assert!(nodes(&answer(&[&new]), &options("")).starts_with(&line));
            let shown = format!("Replication Delay      : {verbose}\n");
            assert!(nodes(&answer(&[&new]), &options("-v")).contains(&shown));
        }
    }

    #[test]
    fn what_is_not_used_is_shown_on_demand_only() {
        let unused = answer(&["ArraySize|1", "NodeInfo||0|0|0|down|0|3|unknown|0|||0", "CommandComplete"]);
        assert_eq!(nodes(&unused, &options("")), "No node information available\n\n");
        assert!(
            nodes(&unused, &options("-a"))
                .starts_with(" 0 0 0.000000 unused down standby unknown 0 none none ")
        );
        let idle = answer(&["ProcessInfo|10|start|0|0|1||||||0|0|0|0|0|0|Wait for connection"]);
        assert_eq!(processes(&idle, &options("")), "No process information available\n\n");
        assert_eq!(processes(&idle, &options("-a")), "  start 0 0 0   0  0 0 0 10 1 Wait for connection\n");
    }

    #[test]
    fn later_servers_have_more_columns() {
        let new = answer(&["ProcessInfo|10|start|1|0|1|db|ann|b|c|d|5|3|0|2|99|1|Idle|1|host|77|SELECT 1"]);
        assert_eq!(
            processes(&new, &options("")),
            "db ann start 1 3 0 b c 5 d 2 99 1 10 1 Idle 1 host 77 SELECT 1\n"
        );
        let shown = processes(&new, &options("-v"));
        assert!(shown.starts_with("Database                  : db\n"), "{shown}");
        assert!(shown.ends_with("statement                 : SELECT 1\n\n"), "{shown}");
    }

    #[test]
    fn foreign_answers_are_shown_as_far_as_they_go() {
        let nothing = Answer::new();
        let short = answer(&["NodeInfo", "ProcessInfo|1", "ProcessConfig|a", "CommandComplete"]);
        for answer in [nothing, short] {
            for line in ["-a", "-a -v"] {
                let options = options(line);
                let all = [node_count, nodes, health, process_count, processes, pool_status];
                all.iter().for_each(|print| drop(print(&answer, &options)));
            }
        }
    }
}
