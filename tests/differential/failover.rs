//! The same servers die behind both programs, and an operator asks both for the same: what each says of it, which scripts
//! it runs with which values, and what it leaves in the status file. Each program has a cluster of its own.

use std::path::PathBuf;

use regex::Regex;

use super::PGPOOL;
use super::log_lines::differences;
use crate::harness::balancer::{Conf, Program};
use crate::harness::pcp::{self, tool};
use crate::harness::{Balancer, Cluster, process, wait};

const ALL: &str = "%d %h %p %D %m %H %M %P %r %R %N %S";

const MAIN: &str = "node 1 was the main node before, as both have said when it was attached";

/// Lines on one side only (`<` theirs, `>` ours), and why.
const KNOWN: &[(&str, &str)] = &[
    ("< Restart all children", "no worker restarts, whoever dies"),
    ("< Do not restart children because …", "no worker restarts, whoever dies"),
    ("> failover_command for node N has ended well after T s", "how a script ended is of interest"),
    ("> failback_command for node N has ended well after T s", "how a script ended is of interest"),
    ("> follow_primary_command for node N has ended well after T s", "how a script ended is of interest"),
    (
        "< find_primary_node_repeatedly: waiting for finding a primary node",
        "a primary that is there is not looked for when another node comes back",
    ),
    (
        "< execute command: sh SCRIPTS/follow 0 127.0.0.1 PORT0 DATA0 1 127.0.0.1 2 2 PORT1 DATA1 127.0.0.1 PORT2",
        MAIN,
    ),
    (
        "> execute command: sh SCRIPTS/follow 0 127.0.0.1 PORT0 DATA0 1 127.0.0.1 1 2 PORT1 DATA1 127.0.0.1 PORT2",
        MAIN,
    ),
    (
        "< execute command: sh SCRIPTS/follow 2 127.0.0.1 PORT2 DATA2 1 127.0.0.1 2 2 PORT1 DATA1 127.0.0.1 PORT2",
        MAIN,
    ),
    (
        "> execute command: sh SCRIPTS/follow 2 127.0.0.1 PORT2 DATA2 1 127.0.0.1 1 2 PORT1 DATA1 127.0.0.1 PORT2",
        MAIN,
    ),
    (
        "> switchover to node 2: new transactions wait until those under way have ended, at most 15 s",
        "sessions outlive it",
    ),
];

/// Lines of theirs that come or do not: a second one who notices the death asks before the first has been heard.
const SOMETIMES: &[&str] = &[
    "received degenerate backend request for node_id: 0 from pid [P]",
    "received degenerate backend request for node_id: 1 from pid [P]",
    "Pgpool-II parent process has received failover request",
    "failover: no backends are degenerated",
];

/// What happens, and the line after which nothing more is said of it.
#[derive(Clone, Copy)]
enum Step {
    Kill(usize, &'static str),
    Tool(&'static str, &'static str),
}

const DEATHS: &[Step] =
    &[Step::Kill(1, "failover done"), Step::Kill(0, "execute command: sh SCRIPTS/follow 1")];

const WISHES: &[Step] = &[
    Step::Tool("pcp_detach_node 1", "failover done"),
    Step::Tool("pcp_attach_node 1", "failback done"),
    Step::Tool("pcp_promote_node -s 2", "execute command: sh SCRIPTS/follow 1"),
    Step::Tool("pcp_attach_node 1", "failback done"),
    Step::Tool("pcp_promote_node 1", "execute command: sh SCRIPTS/follow 2"),
];

struct Side {
    cluster: Cluster,
    balancer: Balancer,
    scripts: tempfile::TempDir,
    /// pgpool-II's process for tools starts anew with every change, and a tool that comes meanwhile is not served.
    restarts: bool,
    read_up_to: usize,
}

impl Side {
    fn start(program: Program) -> Side {
        let cluster = Cluster::private();
        let scripts = process::server_dir("scripts");
        let pg_ctl = cluster.nodes[0].bin.join("pg_ctl");
        let promote = format!("[ $1 != $8 ] || {} -D ${{10}} -w -s promote\n", pg_ctl.display());
        process::write(&scripts.path().join("failover"), promote);
        process::write(&scripts.path().join("follow"), ":\n");
        process::write(&scripts.path().join("failback"), ":\n");
        let command = |name: &str| format!("'sh {} {ALL}'", scripts.path().join(name).display());
        let conf = Conf::of(&cluster)
            .set("num_init_children", "2")
            .set("log_line_prefix", "'%P|'")
            .set("log_per_node_statement", "off")
            .set("health_check_period", "1")
            .set("health_check_user", "'postgres'")
            .set("sr_check_database", "'postgres'")
            .set("failover_command", &command("failover"))
            .set("failback_command", &command("failback"))
            .set("follow_primary_command", &command("follow"));
        let conf = cluster.nodes.iter().fold(conf, |conf, node| {
            conf.set(&format!("backend_data_directory{}", node.id), &format!("'{}'", node.data().display()))
        });
        let restarts = matches!(program, Program::Pgpool(_));
        let balancer = Balancer::start_program(program, conf, &[pcp::CONF]);
        balancer.wait_roles();
        let read_up_to = balancer.log().len();
        Side { cluster, balancer, scripts, restarts, read_up_to }
    }

    /// What is said until nothing is left to be said, and what the status file says then.
    fn step(&mut self, step: Step) -> (Vec<String>, String) {
        let last = match step {
            Step::Kill(node, last) => {
                self.cluster.nodes[node].kill();
                last
            }
            Step::Tool(line, last) => {
                tool(&self.balancer, line).succeeded();
                last
            }
        };
        let lines = wait::until(&format!("\"{last}\" in the log"), wait::LIMIT, || {
            let lines = self.lines();
            let is_over = |line: &String| {
                ["failover", "failback", "promotion"].iter().any(|of| line.starts_with(&format!("{of} done")))
            };
            (lines.iter().any(is_over) && lines.iter().any(|line| line.starts_with(last))).then_some(lines)
        });
        wait::until_true("tools to be served", || {
            let log = self.balancer.log();
            !self.restarts || log[self.read_up_to..].contains("PCP process: ")
        });
        self.read_up_to = self.balancer.log().len();
        let file = std::fs::read_to_string(self.balancer.dir.path().join("pgpool_status")).unwrap();
        (lines, file)
    }

    /// What is new in the log about failover, in one form. pgpool-II lets a child run the scripts of those that follow,
    /// so these lines stand apart.
    fn lines(&self) -> Vec<String> {
        let wanted = Regex::new(
            r"^(received |Pgpool-II parent process has|=== |[Ss]tarting |Restart |Do not restart |execute |start trigg|[Ff]ail(over|back)(:| done|_command)|[Pp]romotion |switchover |Node |follow_primary|find_primary_node_repeatedly|All the DB)",
        )
        .unwrap();
        let same: Vec<(Regex, String)> = self
            .cluster
            .nodes
            .iter()
            .flat_map(|node| {
                let data = regex::escape(node.data().to_str().unwrap());
                [
                    (format!(r"(?-u:\b){}(?-u:\b)", node.port), format!("PORT{}", node.id)),
                    (data, format!("DATA{}", node.id)),
                ]
            })
            .chain([
                (regex::escape(self.scripts.path().to_str().unwrap()), "SCRIPTS".to_owned()),
                (r"pid \[\d+\]".to_owned(), "pid [P]".to_owned()),
                (
                    r"^((?:failover|failback|follow_primary)_command for node )\d+( has ended well after )[0-9.]+ s$"
                        .to_owned(),
                    "${1}N${2}T s".to_owned(),
                ),
                ("^(Do not restart children because) .*".to_owned(), "$1 …".to_owned()),
                // Newer versions underline these.
                (r"^=== (.*) ===$".to_owned(), "$1".to_owned()),
                ("^Starting (degeneration|fail back)".to_owned(), "starting $1".to_owned()),
                ("^Failover done".to_owned(), "failover done".to_owned()),
                ("^Failback done".to_owned(), "failback done".to_owned()),
                ("^Promotion done".to_owned(), "promotion done".to_owned()),
                // Nobody has used it yet, or somebody has.
                (r"^(Node \d is not down \(status: )[12]\)".to_owned(), "${1}1 or 2)".to_owned()),
            ])
            .map(|(pattern, by)| (Regex::new(&pattern).unwrap(), by))
            .collect();
        let log = self.balancer.log();
        let texts =
            log[self.read_up_to..].lines().filter_map(|line| line.split_once("LOG:  ").map(|(_, text)| text));
        let lines = texts.filter(|text| wanted.is_match(text)).map(|text| {
            same.iter().fold(text.to_owned(), |text, (rule, by)| rule.replace_all(&text, by).into_owned())
        });
        let is_apart = |line: &String| {
            line.contains("SCRIPTS/follow") || line.starts_with("start trigg") || line.starts_with("follow_")
        };
        let (mut apart, mut lines): (Vec<String>, Vec<String>) = lines.partition(is_apart);
        lines.append(&mut apart);
        lines
    }
}

/// The differences that have no explanation; `used` gets the explanations of the others.
fn compare(steps: &'static [Step], used: &mut Vec<&str>) -> Vec<String> {
    let program = Program::under_test();
    let same_program = matches!(program, Program::Pgpool(_));
    let mut theirs = Side::start(Program::Pgpool(PathBuf::from(PGPOOL)));
    let mut ours = Side::start(program);
    let mut unexplained = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let (their, their_file) = theirs.step(*step);
        let (our, our_file) = ours.step(*step);
        assert!(their.len() > 6, "{their:?}");
        assert_eq!(our_file, their_file, "step {number}");
        for line in differences(&their, &our) {
            match KNOWN.iter().find(|(known, _)| *known == line).filter(|_| !same_program) {
                Some((known, _)) => used.push(known),
                None if (same_program || line.starts_with('<')) && SOMETIMES.contains(&&line[2..]) => {}
                None => unexplained.push(format!("step {number}: {line}")),
            }
        }
    }
    unexplained
}

#[test]
fn the_same_deaths_and_wishes_give_the_same_lines_and_the_same_commands() {
    let mut used = Vec::new();
    let unexplained = [compare(DEATHS, &mut used), compare(WISHES, &mut used)].concat();
    assert!(unexplained.is_empty(), "{} differences:\n{}", unexplained.len(), unexplained.join("\n"));
    let unused: Vec<_> = KNOWN.iter().filter(|(line, _)| !used.contains(line)).collect();
    let same_program = matches!(Program::under_test(), Program::Pgpool(_));
    assert!(same_program || unused.is_empty(), "no difference any more: {unused:#?}");
}
