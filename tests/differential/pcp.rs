//! The same command lines of Debian's `pcp_*` tools to Debian's pgpool-II and to ours, one after the other, before one
//! cluster: exit code and both streams, word for word but for times and process numbers. What a command does is seen
//! by where reads go.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use regex::Regex;

use super::PGPOOL;
use crate::harness::balancer::{Conf, Program};
use crate::harness::pcp::{self, bare_tool};
use crate::harness::tools::{self, run};
use crate::harness::{Balancer, Client, Cluster, ports, process, recovery, shared, wait};

/// What is done on both sides, in this order.
enum Step {
    /// Run a tool; both say the same.
    Same(&'static str),
    /// Run a tool; theirs says otherwise. Our answer has this in it.
    Other(&'static str, &'static str),
    /// Run a tool that theirs does damage with, and restarts the process that serves tools; ours refuses with this text.
    Refused(&'static str, &'static str),
    /// Run a tool that changes a node; both say the same, and both nodes are as wanted afterwards.
    Change(&'static str, [&'static str; 2]),
    /// Run a tool without a password, or with this line of a password file.
    Without(&'static str, &'static str),
    /// A session that writes on node 0 and reads on the other: this one.
    Session(usize),
}

use Step::{Change, Other, Refused, Same, Session, Without};

/// How long the checks may take to see a change.
const SOON: Duration = Duration::from_secs(10);

const STEPS: &[Step] = &[
    Session(1),
    Same("pcp_node_count"),
    Same("pcp_node_count -v"),
    Same("pcp_node_count --verbose"),
    Same("pcp_node_count -d"),
    Same("pcp_node_count 1 2"),
    Same("pcp_node_count -z"),
    Same("pcp_node_info"),
    Same("pcp_node_info -v"),
    Same("pcp_node_info -a"),
    Same("pcp_node_info --all --verbose"),
    Same("pcp_node_info 0"),
    Same("pcp_node_info -n 1"),
    Same("pcp_node_info --node-id=1 -v"),
    Same("pcp_node_info -d 1"),
    Same("pcp_node_info 2"),
    Same("pcp_node_info -n 128"),
    Same("pcp_node_info -n 129"),
    Same("pcp_node_info -n -1"),
    Same("pcp_node_info --help"),
    Same("pcp_node_info --version"),
    Same("pcp_health_check_stats 0"),
    Same("pcp_health_check_stats --verbose --node-id=1"),
    Same("pcp_health_check_stats"),
    Same("pcp_health_check_stats 7"),
    Same("pcp_health_check_stats -d 7"),
    Same("pcp_proc_count"),
    Same("pcp_proc_count -v"),
    Same("pcp_proc_count -d"),
    Same("pcp_proc_info"),
    Same("pcp_proc_info -a"),
    Same("pcp_proc_info -v"),
    Same("pcp_proc_info -v -a"),
    Same("pcp_proc_info 1"),
    Same("pcp_proc_info -P 1"),
    Same("pcp_proc_info -P 0"),
    Same("pcp_proc_info --process-id=x"),
    Same("pcp_watchdog_info"),
    Same("pcp_watchdog_info -v"),
    Same("pcp_watchdog_info 0"),
    Same("pcp_watchdog_info --watchdog-id=3 -d"),
    // States that nothing changes.
    Same("pcp_attach_node 1"),
    // Theirs says that it is done.
    Refused("pcp_attach_node 9", "node id: 9 is out of range. node id must be between [0 and 1]"),
    Same("pcp_attach_node"),
    Same("pcp_attach_node -n 129"),
    Refused("pcp_detach_node 9", "node id: 9 is out of range. node id must be between [0 and 1]"),
    Same("pcp_detach_node"),
    Same("pcp_promote_node 0"),
    Same("pcp_promote_node -s 0"),
    Same("pcp_promote_node --gracefully 0"),
    Same("pcp_promote_node 9"),
    Same("pcp_promote_node -g -s --node-id=9"),
    Same("pcp_promote_node"),
    Same("pcp_recovery_node 0"),
    Same("pcp_recovery_node -v 9"),
    Same("pcp_recovery_node --node-id=1"),
    Same("pcp_recovery_node"),
    // Out and back in.
    Change("pcp_detach_node 1", ["up", "down"]),
    Session(0),
    Same("pcp_node_info"),
    Same("pcp_node_info -v 1"),
    Same("pcp_detach_node 1"),
    Same("pcp_detach_node -g 1"),
    Same("pcp_promote_node -s 1"),
    // Theirs says that it is done; that it is not stands in its log only.
    Other("pcp_promote_node 1", "invalid promote backend request, node id : 1 status: [3] not valid"),
    Same("pcp_recovery_node -d 0"),
    Change("pcp_attach_node -n 1", ["up", "up"]),
    Session(1),
    Same("pcp_node_info"),
    Change("pcp_detach_node --gracefully --node-id=1", ["up", "down"]),
    Session(0),
    Change("pcp_attach_node -d 1", ["up", "up"]),
    Session(1),
    Same("pcp_reload_config"),
    Same("pcp_reload_config -s c"),
    Same("pcp_reload_config --scope=local -d"),
    Same("pcp_reload_config -s x"),
    // Who may not.
    Without("pcp_node_count -w -U operator", ""),
    Without("pcp_node_count -w -U operator", "*:*:operator:wrong"),
    Without("pcp_node_count -w -U nobody", "*:*:*:operator_secret"),
    Without("pcp_node_count -w -U operator", "localhost:*:operator:operator_secret"),
    Without("pcp_node_count -w -U operator -h 127.0.0.1", "localhost:*:operator:operator_secret"),
    Without("pcp_node_count -w -U operator -h /nowhere", ""),
    Same("pcp_node_count -p 70"),
    // The end.
    Same("pcp_stop_pgpool -m x"),
    Same("pcp_stop_pgpool -s x"),
    Same("pcp_stop_pgpool --mode=fast --scope=local -d"),
];

struct Side {
    balancer: Balancer,
    database: String,
    /// Theirs restarts the process that serves tools a while after a change.
    is_theirs: bool,
}

impl Side {
    fn start(cluster: &Cluster, program: Program, database: &str) -> Side {
        Side::before(cluster, program, database, |conf| conf.set("backend_application_name1", "'node1'"))
    }

    /// Before two nodes of a cluster.
    fn before(
        cluster: &Cluster,
        program: Program,
        database: &str,
        change: impl FnOnce(Conf) -> Conf,
    ) -> Side {
        let is_theirs = matches!(program, Program::Pgpool(_));
        let nodes: Vec<_> = cluster.nodes.iter().take(2).collect();
        let mut conf = change(Conf::of_nodes(&nodes))
            .set("backend_weight0", "0")
            .set("backend_weight1", "1")
            .set("num_init_children", "1")
            .set("max_pool", "2")
            .set("child_life_time", "0")
            .set("search_primary_node_timeout", "5")
            // Only with these theirs asks the nodes how they are.
            .set("health_check_user", "'postgres'")
            .set("health_check_period", "3600");
        if !is_theirs {
            conf = conf.set("pcp_node_info_format", "4.3");
        }
        let balancer = Balancer::start_program(program, conf, &[pcp::CONF]);
        balancer.wait_roles();
        Side { balancer, database: database.to_owned(), is_theirs }
    }

    fn run(&self, line: &str, password: &str) -> String {
        self.ran(&mut bare_tool(&self.balancer, line, password), line)
    }

    /// What a tool has said, in a form that is the same on both sides.
    fn ran(&self, command: &mut Command, line: &str) -> String {
        let ran = run(command);
        let said = format!("{}--- errors\n{}--- ended well: {}", ran.out, ran.err, ran.ok);
        let port = self.balancer.pcp_port().to_string();
        let said = said.replace(&format!(".{port}"), ".PORT");
        let (time, pid) = (
            Regex::new(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d").unwrap(),
            Regex::new(r"(?-u:\b\d{3,}\b)").unwrap(),
        );
        let said = time.replace_all(&said, "TIME").into_owned();
        // How long a check has taken.
        let lasts = Regex::new(r"(Duration +: |TIME( \d+){5} [\d.]+ \d+ )[\d. ]+").unwrap();
        let said = lasts.replace_all(&said, "${1}LASTS ").into_owned();
        // Their errors also name a place in their source.
        let place = Regex::new(r#"tos="E", len=\d+"#).unwrap();
        let said = place.replace_all(&said, r#"tos="E""#).into_owned();
        // A node in use that nobody has connected to yet.
        let waits = Regex::new(r"(?m)^(\S+ \d+|Status +:) 1( \S+ waiting|$)").unwrap();
        let said = waits.replace_all(&said, "$1 2$2").replace("waiting", "up");
        // Ports of nodes are the same on both sides; where numbers of processes may stand they are not told apart.
        let has_pids = line.starts_with("pcp_proc") || said.contains("from pid [");
        if has_pids { pid.replace_all(&said, "PID").into_owned() } else { said }
    }

    fn tool(&self, line: &str) -> String {
        self.run(&format!("{line} -w -U {}", pcp::USER), &format!("*:*:{}:{}", pcp::USER, pcp::PASSWORD))
    }

    /// How often the process that serves tools has started.
    fn starts(&self) -> usize {
        self.balancer.log().matches("PCP process: ").count()
    }

    fn change(&self, line: &str, statuses: [&str; 2]) -> String {
        let before = self.starts();
        let said = self.tool(line);
        for (id, wanted) in statuses.into_iter().enumerate() {
            let numbers = if wanted == "up" { ["1", "2"] } else { ["3", "3"] };
            wait::until_true(&format!("node {id} to be {wanted} after {line}"), || {
                numbers.contains(&pcp::node(&self.balancer, id)[2].as_str())
            });
        }
        if self.is_theirs {
            self.restarts(before);
        }
        said
    }

    /// Waits until their process that serves tools has restarted.
    fn restarts(&self, before: usize) {
        wait::until_true("their PCP process to have restarted", || self.starts() > before);
    }

    fn session(&self, reader: usize) {
        let mut client = Client::connect(&self.balancer.door(&self.database));
        client.query("INSERT INTO t VALUES (1)").succeeded();
        let port = client.ask("SELECT inet_server_port()");
        assert_eq!(pcp::node(&self.balancer, reader)[1], port);
        client.terminate();
    }
}

/// What two have said, once it is the same or has had the time to become so: a change of a moment ago is seen by
/// either's checks in their own time, and theirs forget the state of a standby while they ask for it.
fn alike(line: &str, say: impl Fn() -> [String; 2]) -> [String; 2] {
    let end = Instant::now() + SOON;
    let mut said = say();
    while said[0] != said[1] && line.starts_with("pcp_node_info") && Instant::now() < end {
        said = say();
    }
    said
}

/// What is wrong with a step, if anything.
fn compare(step: &Step, [theirs, ours]: [&Side; 2]) -> Option<String> {
    let both = |line: &str| [theirs, ours].map(|side| side.tool(line));
    let (line, [their, our], good) = match step {
        Session(reader) => {
            [theirs, ours].into_iter().for_each(|side| side.session(*reader));
            return None;
        }
        Same(line) => {
            let said = alike(line, || both(line));
            let same = said[0] == said[1];
            (line, said, same)
        }
        Other(line, text) => {
            let said = both(line);
            let good = said[0] != said[1] && said[1].contains(text);
            (line, said, good)
        }
        Refused(line, text) => {
            let before = theirs.starts();
            let said = both(line);
            theirs.restarts(before);
            let good = said[0].contains("Command Successful") && said[1].contains(text);
            (line, said, good)
        }
        Change(line, statuses) => {
            let said = [theirs, ours].map(|side| side.change(line, *statuses));
            let good = said[0] == said[1] && said[1].contains("Command Successful");
            (line, said, good)
        }
        Without(line, password) => {
            let said = [theirs, ours].map(|side| side.run(line, password));
            let same = said[0] == said[1];
            (line, said, same)
        }
    };
    (!good).then(|| format!("{line}\n--- theirs\n{their}\n--- ours\n{our}"))
}

#[test]
fn tools_print_the_same() {
    // Its own, since the delays of its standbys are compared.
    let cluster = Cluster::private();
    let database = cluster.database("pcp");
    cluster.prepare(&database, "CREATE TABLE t (n int)");
    let theirs = Side::start(&cluster, Program::Pgpool(PathBuf::from(PGPOOL)), &database);
    let mut ours = Side::start(&cluster, Program::under_test(), &database);
    let wrong: Vec<String> = STEPS.iter().filter_map(|step| compare(step, [&theirs, &ours])).collect();
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(ours.balancer.exit().success());
}

/// A program with a cluster of its own, a node of which is lost, recovered, and made the primary.
struct Hospital {
    cluster: Cluster,
    side: Side,
    _scripts: tempfile::TempDir,
}

impl Hospital {
    fn open(program: Program) -> Hospital {
        let cluster = Cluster::private();
        cluster.prepare_recovery();
        // Where theirs looks for the functions.
        recovery::install_functions(&cluster.door(0, "template1"));
        let scripts = process::server_dir("scripts");
        let pg_ctl = cluster.nodes[0].bin.join("pg_ctl");
        process::write(
            &scripts.path().join("failover"),
            format!("{} -D $1 -w -s promote\n", pg_ctl.display()),
        );
        let promote = format!("'sh {} %R'", scripts.path().join("failover").display());
        let side = Side::before(&cluster, program, "postgres", |conf| {
            let conf = conf
                .set("backend_application_name1", "'server1'")
                .set("recovery_user", "'postgres'")
                .set("recovery_1st_stage_command", "'recovery_1st_stage'")
                .set("failover_command", &promote);
            cluster.nodes.iter().take(2).fold(conf, |conf, node| {
                let data = format!("'{}'", node.data().display());
                conf.set(&format!("backend_data_directory{}", node.id), &data)
            })
        });
        Hospital { cluster, side, _scripts: scripts }
    }

    /// What is said of the nodes, without their ports, once node 1 is this and not behind.
    fn nodes(&self, [role, own, state]: [&str; 3]) -> String {
        wait::until_equal([role, own, "0", state].map(str::to_owned), || {
            let node = pcp::node(&self.side.balancer, 1);
            [6, 7, 8, 9].map(|column| node[column].clone())
        });
        let said = self.side.tool("pcp_node_info");
        let ports = self.cluster.nodes.iter().map(|node| (node.port.to_string(), format!("PORT{}", node.id)));
        ports.fold(said, |said, (port, name)| said.replace(&port, &name))
    }
}

#[test]
fn recovery_and_switchover_look_the_same() {
    let programs = [Program::Pgpool(PathBuf::from(PGPOOL)), Program::under_test()];
    let mut said: Vec<[String; 5]> = Vec::new();
    for hospital in programs.map(Hospital::open) {
        let (side, node) = (&hospital.side, &hospital.cluster.nodes[1]);
        side.change("pcp_detach_node 1", ["up", "down"]);
        node.kill();
        let refused = side.tool("pcp_recovery_node 0");
        std::fs::remove_dir_all(node.data()).unwrap();
        let recovered = side.change("pcp_recovery_node 1", ["up", "up"]);
        assert_eq!(hospital.cluster.on_node(1, "postgres", "SELECT pg_is_in_recovery()"), "t");
        let before = hospital.nodes(["standby", "standby", "streaming"]);
        let again = side.tool("pcp_recovery_node 1");
        side.change("pcp_promote_node --switchover 1", ["down", "up"]);
        let after = hospital.nodes(["primary", "primary", "none"]);
        assert_eq!(hospital.cluster.on_node(1, "postgres", "SELECT pg_is_in_recovery()"), "f");
        said.push([refused, recovered, before, again, after]);
    }
    let [theirs, ours] = said.try_into().unwrap();
    for (their, our) in theirs.into_iter().zip(ours) {
        assert_eq!(our, their);
    }
}

/// Lines for which our own tools say otherwise than Debian's, before any server, and why.
const OWN: &[(&str, &str)] = &[("pcp_node_info --version", "another version")];

/// Lines that are refused only as long as node 1 is down.
const CHANGING: &[&str] = &["pcp_detach_node 1", "pcp_detach_node -g 1", "pcp_promote_node -s 1"];

/// Columns that version 4.3 does not have, which our server sends and our tools show.
const LATER: &[&str] = &["pcp_proc_info"];

/// Our own tools beside Debian's, before either server.
#[test]
fn our_own_tools_print_the_same() {
    // Its own, since the delays of its standbys are compared.
    let cluster = Cluster::private();
    let database = cluster.database("pcp");
    cluster.prepare(&database, "CREATE TABLE t (n int)");
    let own = pcp::own_tools();
    let mut wrong = Vec::new();
    for program in [Program::Pgpool(PathBuf::from(PGPOOL)), Program::under_test()] {
        let side = Side::start(&cluster, program, &database);
        side.session(1);
        wait::until_equal(["0", "streaming"].map(str::to_owned), || {
            let node = pcp::node(&side.balancer, 1);
            [8, 9].map(|column| node[column].clone())
        });
        let said = |tools: &Path, line: &str, password: &str| {
            let said = side.ran(&mut pcp::tool_of(tools, &side.balancer, line, password), line);
            said.replace(&format!("{}/", tools.display()), "")
        };
        for step in STEPS {
            let (line, password) = match step {
                Same(line) if !CHANGING.contains(line) && !line.starts_with("pcp_stop_pgpool --mode") => {
                    (format!("{line} -w -U {}", pcp::USER), format!("*:*:{}:{}", pcp::USER, pcp::PASSWORD))
                }
                Without(line, password) => ((*line).to_owned(), (*password).to_owned()),
                _ => continue,
            };
            if !side.is_theirs && LATER.iter().any(|tool| line.starts_with(tool)) {
                continue;
            }
            let [their, our] = alike(&line, || {
                [Path::new("/usr/sbin"), own.path()].map(|tools| said(tools, &line, &password))
            });
            let is_known = OWN.iter().any(|(known, _)| line.starts_with(known));
            if (their == our) == is_known {
                wrong.push(format!("{line}\n--- Debian's\n{their}\n--- ours\n{our}"));
            }
        }
        // What changes something, by ours; and what they had both to show.
        let tool = |line: &str| {
            let line = format!("{line} -w -U {}", pcp::USER);
            said(own.path(), &line, &format!("*:*:{}:{}", pcp::USER, pcp::PASSWORD))
        };
        for (line, status) in [
            ("pcp_detach_node -g 1", "3"),
            ("pcp_attach_node --node=1", "up"),
            ("pcp_reload_config -s c", "up"),
        ] {
            let before = side.starts();
            let name = line.split(' ').next().unwrap();
            let said = tool(line);
            assert_eq!(said, format!("{name} -- Command Successful\n--- errors\n--- ended well: true"));
            let wanted: &[&str] = if status == "up" { &["1", "2"] } else { &["3"] };
            wait::until_true("the node to change", || {
                wanted.contains(&pcp::node(&side.balancer, 1)[2].as_str())
            });
            if side.is_theirs && name != "pcp_reload_config" {
                side.restarts(before);
            }
        }
        let mut side = side;
        let stop = format!("pcp_stop_pgpool -m f -w -U {}", pcp::USER);
        let password = format!("*:*:{}:{}", pcp::USER, pcp::PASSWORD);
        let ran = run(&mut pcp::tool_of(own.path(), &side.balancer, &stop, &password));
        assert_eq!(ran.succeeded().out, "pcp_stop_pgpool -- Command Successful\n");
        assert!(side.balancer.exit().success());
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// A password that is typed is not shown, counts before the one in a file, and may be wrong.
#[test]
fn a_password_is_typed_at_a_terminal() {
    let own = pcp::own_tools();
    let balancer = Balancer::start_with(Conf::of(shared()), &[pcp::CONF]);
    let right = format!("*:*:{}:{}", pcp::USER, pcp::PASSWORD);
    for (option, typed, file, told) in [
        ("-W", pcp::PASSWORD, "", true),
        ("--password", pcp::PASSWORD, "", true),
        ("", pcp::PASSWORD, "", true),
        ("-W", "wrong", "", false),
        ("-W", "wrong", right.as_str(), false),
        ("-w", "nothing asks", right.as_str(), true),
    ] {
        let line = format!("pcp_node_count {option} -U {}", pcp::USER);
        let said = [Path::new("/usr/sbin"), own.path()].map(|tools| {
            let tool = pcp::tool_of(tools, &balancer, &line, file);
            run(&mut tools::at_terminal(typed, &tool))
        });
        assert_eq!(said[0].out, said[1].out, "{line} {typed}");
        let asks = option != "-w";
        for ran in said {
            assert_eq!(ran.ok, told, "{line} {typed}: {}", ran.out);
            assert_eq!(ran.out.starts_with("Password: \n"), asks, "{line} {typed}: {}", ran.out);
            assert!(!ran.out.contains(typed), "{}", ran.out);
            assert_eq!(ran.out.ends_with("3\n"), told, "{line} {typed}: {}", ran.out);
        }
    }
}

/// What tools say before they ask any server, and of an option that there is not.
#[test]
fn our_own_tools_explain_themselves_the_same() {
    let own = pcp::own_tools();
    let mut tools = 0;
    for entry in std::fs::read_dir(own.path()).unwrap() {
        let name = entry.unwrap().file_name();
        for option in ["--help", "-?", "--version", "-V", "--nonsense", "-Z", "-h", "-m"] {
            let said = [Path::new("/usr/sbin"), own.path()].map(|tools| {
                let ran = run(Command::new(tools.join(&name)).arg(option));
                let said = format!("{}--- errors\n{}--- ended well: {}", ran.out, ran.err, ran.ok);
                said.replace(&format!("{}/", tools.display()), "")
            });
            // The version is our own.
            if matches!(option, "--version" | "-V") && said[0].ends_with("true") {
                let head = |said: &str| said.split('(').next().unwrap().to_owned();
                assert_eq!(head(&said[0]), head(&said[1]), "{name:?} {option}");
                assert!(said[1].ends_with("--- ended well: true"), "{}", said[1]);
            } else {
                assert_eq!(said[0], said[1], "{name:?} {option}");
            }
        }
        tools += 1;
    }
    assert_eq!(tools, 13);
}

/// By both tools, both programs end in all ways.
#[test]
fn all_ways_to_stop_look_the_same() {
    let own = pcp::own_tools();
    let password = format!("*:*:{}:{}", pcp::USER, pcp::PASSWORD);
    for (number, mode) in ["", "-m s", "-m f", "-m i", "--mode=smart", "-v -m fast", "-s l --mode=immediate"]
        .into_iter()
        .enumerate()
    {
        let line = format!("pcp_stop_pgpool {mode} -w -U {}", pcp::USER);
        let tools = if number % 2 == 0 { Path::new("/usr/sbin") } else { own.path() };
        let programs = [Program::Pgpool(PathBuf::from(PGPOOL)), Program::under_test()];
        let said = programs.map(|program| {
            let mut side = Side::start(shared(), program, "postgres");
            let said = side.ran(&mut pcp::tool_of(tools, &side.balancer, &line, &password), &line);
            assert!(side.balancer.exit().success(), "{mode}");
            said.replace(&format!("{}/", tools.display()), "")
        });
        assert_eq!(said[0], said[1], "{mode}");
        assert!(said[1].contains("Command Successful"), "{mode}: {}", said[1]);
    }
}

/// By the number of a process that is there, with a session behind it.
#[test]
fn a_process_is_shown_the_same() {
    let cluster = shared();
    let database = cluster.database("pcp_process");
    cluster.prepare(&database, "CREATE TABLE t (n int)");
    let sides = [Program::Pgpool(PathBuf::from(PGPOOL)), Program::under_test()]
        .map(|program| Side::start(cluster, program, &database));
    for side in &sides {
        side.session(1);
    }
    for options in ["-P PID", "PID", "--process-id=PID -v", "PID -a"] {
        let said = sides.each_ref().map(|side| {
            let pids = pcp::tool(&side.balancer, "pcp_proc_count").succeeded().out;
            let pid = pids.split_whitespace().last().unwrap().to_owned();
            let line = format!("pcp_proc_info {}", options.replace("PID", &pid));
            side.tool(&line)
        });
        assert_eq!(said[0], said[1], "{options}");
        assert!(said[1].contains(&database), "{options}: {}", said[1]);
    }
}

/// Without `-w`, away from any terminal: what is typed counts, else the file, if nobody else can read it.
#[test]
fn our_own_tools_find_the_password_in_the_same_places() {
    let side = Side::start(shared(), Program::under_test(), "postgres");
    let own = pcp::own_tools();
    let right = format!("*:*:{}:{}", pcp::USER, pcp::PASSWORD);
    let typed = side.balancer.dir.path().join("typed");
    for (answer, in_file, mode, served) in [
        (format!("{}\n", pcp::PASSWORD), "", 0o600, true),
        (pcp::PASSWORD.to_owned(), "*:*:*:wrong", 0o600, true),
        ("wrong\n".to_owned(), &right, 0o600, false),
        ("\n".to_owned(), &right, 0o600, true),
        (String::new(), &right, 0o400, true),
        (String::new(), &right, 0o640, false),
        (String::new(), "*:*:other:x", 0o600, false),
    ] {
        std::fs::write(&typed, &answer).unwrap();
        let said = [Path::new("/usr/sbin"), own.path()].map(|tools| {
            let line = format!("pcp_node_count -U {} -v", pcp::USER);
            let tool = pcp::tool_of(tools, &side.balancer, &line, in_file);
            let file = tool.get_envs().find_map(|(name, value)| (name == "PCPPASSFILE").then_some(value?));
            let file = PathBuf::from(file.unwrap());
            std::fs::write(&file, in_file).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            let mut alone = Command::new("setsid");
            alone.arg("--wait").arg(tool.get_program()).args(tool.get_args()).env("PCPPASSFILE", &file);
            let ran = run(alone.stdin(std::fs::File::open(&typed).unwrap()));
            std::fs::remove_file(&file).unwrap();
            // That a file is not looked at is said by Debian's with -d only.
            let err: String =
                ran.err.split_inclusive('\n').filter(|line| !line.starts_with("WARNING: ")).collect();
            assert_eq!(err != ran.err, mode == 0o640 && tools == own.path(), "{}", ran.err);
            (ran.ok, ran.out, err)
        });
        assert_eq!((said[0].0, said[0].1.ends_with(" 2\n")), (served, served), "{said:?}");
        assert_eq!(said[0], said[1], "{answer:?} {in_file:?} {mode:o}");
    }
}

/// Members of a watchdog, which only pgpool-II has.
#[test]
fn our_own_tool_shows_members_of_the_watchdog_the_same() {
    let member = |conf: Conf, id: usize| {
        let port = || ports::free().to_string();
        conf.set(&format!("hostname{id}"), "'localhost'")
            .set(&format!("wd_port{id}"), &port())
            .set(&format!("pgpool_port{id}"), &port())
            .set(&format!("heartbeat_hostname{id}"), "'localhost'")
            .set(&format!("heartbeat_port{id}"), &port())
            .set(&format!("heartbeat_device{id}"), "''")
    };
    let conf = Conf::of(shared()).set("use_watchdog", "on").set("enable_consensus_with_half_votes", "on");
    let conf = member(member(conf, 0), 1);
    let files = [pcp::CONF, ("pgpool_node_id", "0\n")];
    let balancer = Balancer::start_program(Program::Pgpool(PathBuf::from(PGPOOL)), conf, &files);
    let own = pcp::own_tools();
    let said = |tools: &Path, line: &str| {
        let line = format!("pcp_watchdog_info {line} -w -U {}", pcp::USER);
        let password = format!("*:*:{}:{}", pcp::USER, pcp::PASSWORD);
        let ran = run(&mut pcp::tool_of(tools, &balancer, &line, &password));
        (ran.ok, ran.out, ran.err)
    };
    let debians = Path::new("/usr/sbin");
    wait::until_true("a leader", || said(debians, "").1.contains(" LEADER "));
    for line in ["", "-v", "0", "-v 1", "-n 3", "-d", "-n -1", "--watchdog-id=0 --verbose"] {
        wait::until_equal(said(debians, line), || said(own.path(), line));
    }
}

/// All parameters, which are many and have our own descriptions: those of `SHOW POOL_STATUS`, which
/// `parameters` compares with theirs.
#[test]
fn parameters_are_those_of_show_pool_status() {
    let ours = Side::start(shared(), Program::under_test(), "postgres");
    let mut client = Client::connect(&ours.balancer.door("postgres"));
    let shown = client.query("SHOW POOL_STATUS").succeeded();
    let plain = pcp::tool(&ours.balancer, "pcp_pool_status");
    let verbose = pcp::tool(&ours.balancer, "pcp_pool_status -v");
    let (mut expected, mut expected_verbose) = (String::new(), String::new());
    for (number, row) in shown.rows().into_iter().enumerate() {
        let row: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
        let [item, value, description] = row.try_into().unwrap();
        // The tool has room for 80 bytes.
        let description: String = description.chars().take(80).collect();
        expected += &format!("name : {item}\nvalue: {value}\ndesc : {description}\n\n");
        expected_verbose +=
            &format!("Name [{number:3}]:\t{item}\nValue:      \t{value}\nDescription:\t{description}\n\n");
    }
    assert!(expected.lines().count() > 600);
    for (found, expected) in [(plain, expected), (verbose, expected_verbose)] {
        let found = found.succeeded().out;
        let other = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
        assert_eq!(other, None);
        assert_eq!(found.len(), expected.len());
    }
}

/// Without the parameter these tools would take one column for another, as they do with pgpool-II 4.4 and later.
#[test]
fn the_layout_of_a_node_s_row_is_chosen() {
    let mut side = Side::start(shared(), Program::under_test(), "postgres");
    // Delay, and two columns of pg_stat_replication.
    let columns = |side: &Side| pcp::node(&side.balancer, 1)[8..11].join(" ");
    wait::until_true("the older layout", || columns(&side).ends_with(" streaming async"));
    side.balancer.rewrite(|conf| conf.set("pcp_node_info_format", "4.4"));
    side.balancer.reload();
    wait::until_true("the newer layout", || {
        let columns = columns(&side);
        columns.starts_with("0 ") && columns.ends_with(" streaming")
    });
}
