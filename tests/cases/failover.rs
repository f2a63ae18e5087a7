//! What the program does when nodes die and come back: scripts with their values, statuses, the status file.
//! Each case has a cluster of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::balancer::{Conf, Program};
use crate::harness::load::{self, Load};
use crate::harness::pcp::{self, tool};
use crate::harness::{Balancer, Client, Cluster, process, wait};

/// Scripts, and what they have noted.
struct Scripts {
    dir: tempfile::TempDir,
}

/// Every placeholder, each with its letter.
const ALL: &str = "d=%d h=%h p=%p D=%D m=%m H=%H M=%M P=%P r=%r R=%R N=%N S=%S";

impl Scripts {
    fn new() -> Scripts {
        Scripts { dir: process::server_dir("scripts") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command that notes its arguments, a line a run, and then does this.
    fn command(&self, name: &str, arguments: &str, then: &str) -> String {
        let (script, notes) = (self.path(&format!("{name}.sh")), self.path(name));
        process::write(&script, format!("echo \"$@\" >>'{}'\n{then}\n", notes.display()));
        format!("'sh {} {arguments}'", script.display())
    }

    fn notes(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn wait_notes(&self, name: &str, count: usize) -> Vec<String> {
        wait::until(&format!("{count} notes of {name}"), wait::LIMIT, || {
            Some(self.notes(name)).filter(|notes| notes.len() >= count)
        })
    }
}

/// What `ALL` gives.
fn told(cluster: &Cluster, node: usize, new_main: usize, old_main: usize, old_primary: usize) -> String {
    let port = |node: usize| cluster.nodes[node].port;
    let data = |node: usize| cluster.nodes[node].data().display().to_string();
    format!(
        "d={node} h=127.0.0.1 p={} D={} m={new_main} H=127.0.0.1 M={old_main} P={old_primary} r={} R={} \
         N=127.0.0.1 S={}",
        port(node),
        data(node),
        port(new_main),
        data(new_main),
        port(old_primary)
    )
}

/// The health check finds a node that is dead within a second.
fn conf(cluster: &Cluster) -> Conf {
    Conf::of(cluster)
        .with_places(cluster)
        .set("num_init_children", "2")
        .set("sessions_per_child", "20")
        .set("health_check_period", "1")
        .set("health_check_user", "'postgres'")
}

/// Promotes the new main node, if it is the primary that failed.
fn promoting(cluster: &Cluster) -> String {
    let pg_ctl = cluster.nodes[0].bin.join("pg_ctl");
    format!(
        "for word; do eval \"$(echo $word | sed s/=/_is=/)\"; done\n\
         if [ \"$d_is\" = \"$P_is\" ]; then {} -D \"$R_is\" -w -s promote; fi",
        pg_ctl.display()
    )
}

fn start(conf: Conf) -> Balancer {
    let balancer = Balancer::start_with(conf, &[pcp::CONF]);
    balancer.wait_roles();
    balancer
}

fn show(balancer: &Balancer, column: &str) -> Vec<String> {
    Client::connect(&balancer.door("postgres")).query("SHOW POOL_NODES").succeeded().column(column)
}

fn wait_statuses(balancer: &Balancer, expected: [&str; 3]) {
    let is_up = |status: String| if status == "waiting" { "up".to_owned() } else { status };
    let found = || show(balancer, "status").into_iter().map(is_up).collect::<Vec<_>>();
    wait::until_equal(expected.map(str::to_owned).to_vec(), found);
}

fn status_file(balancer: &Balancer) -> String {
    std::fs::read_to_string(balancer.dir.path().join("pgpool_status")).unwrap_or_default()
}

/// The lines of the main process about failover.
fn lines(balancer: &Balancer) -> Vec<String> {
    let log = balancer.log();
    let texts = log.lines().filter_map(|line| line.split_once("LOG:  ").map(|(_, text)| text.to_owned()));
    let begins = [
        "received",
        "Pgpool-II",
        "===",
        "execute",
        "failover",
        "starting",
        "start ",
        "find_primary_node_rep",
    ];
    texts.filter(|text| begins.iter().any(|begin| text.starts_with(begin))).collect()
}

#[test]
fn a_promoting_script_makes_the_next_primary_and_the_others_follow() {
    let cluster = Cluster::private();
    let scripts = Scripts::new();
    let conf = conf(&cluster)
        .set("failover_command", &scripts.command("failover", ALL, &promoting(&cluster)))
        .set("follow_primary_command", &scripts.command("follow", ALL, "echo up; echo down >&2"));
    let balancer = start(conf);
    wait::until_equal("up\nup\nup\n".to_owned(), || status_file(&balancer));
    cluster.nodes[0].kill();
    let followed = scripts.wait_notes("follow", 2);
    assert_eq!(scripts.notes("failover"), [told(&cluster, 0, 1, 0, 0)]);
    assert_eq!(followed, [told(&cluster, 0, 1, 0, 0), told(&cluster, 2, 1, 0, 0)]);
    wait_statuses(&balancer, ["down", "up", "down"]);
    assert_eq!(show(&balancer, "role"), ["standby", "primary", "standby"]);
    assert_eq!(status_file(&balancer), "down\nup\ndown\n");
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("CREATE TABLE after_it (n int)").succeeded();
    assert_eq!(client.ask("SELECT inet_server_port()"), cluster.nodes[1].port.to_string());
    balancer.wait_log("follow_primary_command for node 2: up");
    balancer.wait_log("follow_primary_command for node 2: down");
    balancer.wait_log("follow_primary_command for node 2 has ended well after ");
    let host = |node: usize| format!("host 127.0.0.1({})", cluster.nodes[node].port);
    let mut expected = vec![
        "Pgpool-II parent process has received failover request".to_owned(),
        format!("=== Starting degeneration. shutdown {} ===", host(0)),
        format!(
            "execute command: sh {} {}",
            scripts.path("failover.sh").display(),
            told(&cluster, 0, 1, 0, 0)
        ),
    ];
    let found = lines(&balancer);
    assert!(
        found[0].starts_with("received degenerate backend request for node_id: 0 from pid ["),
        "{found:?}"
    );
    assert_eq!(found[1..4], expected);
    expected = vec![
        format!("starting follow degeneration. shutdown {}", host(0)),
        format!("starting follow degeneration. shutdown {}", host(2)),
        "failover: 2 follow backends have been degenerated".to_owned(),
        "failover: set new primary node: 1".to_owned(),
        "failover: set new main node: 1".to_owned(),
        format!("=== Failover done. shutdown {} ===", host(0)),
        "start triggering follow command.".to_owned(),
    ];
    let at = found.iter().position(|line| *line == expected[0]).expect("the follow degeneration");
    assert_eq!(found[at..at + 7], expected, "{found:?}");
}

#[test]
fn a_standby_that_streams_again_is_attached_only_if_auto_failback_says_so() {
    let cluster = Cluster::private();
    let scripts = Scripts::new();
    let conf = conf(&cluster)
        .set("failover_command", &scripts.command("failover", ALL, "exit 7"))
        .set("failback_command", &scripts.command("failback", ALL, ""))
        .set("auto_failback_interval", "1");
    let mut balancer = start(conf);
    cluster.nodes[1].kill();
    wait_statuses(&balancer, ["up", "down", "up"]);
    assert_eq!(scripts.wait_notes("failover", 1), [told(&cluster, 1, 0, 0, 0)]);
    balancer.wait_log("failover_command for node 1 failed: exit status 7 after");
    cluster.nodes[1].start();
    // It is seen to stream, and nothing comes of it.
    wait::until_equal("streaming".to_owned(), || show(&balancer, "replication_state")[1].clone());
    wait_statuses(&balancer, ["up", "down", "up"]);
    assert!(scripts.notes("failback").is_empty());
    balancer.rewrite(|conf| conf.set("auto_failback", "on"));
    balancer.reload();
    wait_statuses(&balancer, ["up", "up", "up"]);
    assert_eq!(scripts.wait_notes("failback", 1), [told(&cluster, 1, 0, 0, 0)]);
    balancer.wait_log("request auto failback, node id:1");
    balancer.wait_log(&format!("=== Failback done. reconnect host 127.0.0.1({}) ===", cluster.nodes[1].port));
    assert_eq!(status_file(&balancer), "up\nup\nup\n");
}

#[test]
fn a_node_that_must_stay_stays() {
    let cluster = Cluster::private();
    let scripts = Scripts::new();
    let conf = conf(&cluster)
        .set("failover_command", &scripts.command("failover", ALL, ""))
        .set("backend_flag1", "'DISALLOW_TO_FAILOVER'");
    let balancer = start(conf);
    let text = "is canceled because failover is disallowed on the node";
    cluster.nodes[1].kill();
    wait::until_true("the health check to notice", || {
        balancer.log_contains("failover is disallowed") || balancer.log_contains(text)
    });
    cluster.nodes[2].kill();
    wait_statuses(&balancer, ["up", "up", "down"]);
    assert_eq!(scripts.wait_notes("failover", 1), [told(&cluster, 2, 0, 0, 0)]);
}

#[test]
fn a_server_that_says_it_shuts_down_goes_out_only_if_that_is_wanted() {
    let cluster = Cluster::private();
    for (wanted, status) in [("off", "up"), ("on", "down")] {
        let conf = conf(&cluster)
            .set("health_check_period", "0")
            .set("failover_on_backend_error", "off")
            .set("failover_on_backend_shutdown", wanted)
            .weights([0, 1, 0]);
        let balancer = start(conf);
        let mut client = Client::connect(&balancer.door("postgres"));
        assert_eq!(client.ask("SELECT inet_server_port()"), cluster.nodes[1].port.to_string());
        cluster.nodes[1].stop();
        balancer.wait_log("connection to backend 1 was lost: FATAL: terminating connection due to administrator command (57P01)");
        // It is served all the same, elsewhere.
        assert_ne!(client.ask("SELECT inet_server_port()"), cluster.nodes[1].port.to_string());
        wait_statuses(&balancer, ["up", status, "up"]);
        cluster.nodes[1].start();
    }
}

#[test]
fn two_nodes_at_once_have_their_scripts_one_after_the_other() {
    let cluster = Cluster::private();
    let scripts = Scripts::new();
    let command = scripts.command("failover", "%d %m %P", "sleep 0.5; echo done >>\"$0.ends\"");
    let balancer = start(conf(&cluster).set("failover_command", &command));
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    wait_statuses(&balancer, ["up", "down", "down"]);
    wait::until_equal(2, || scripts.notes("failover.sh.ends").len());
    let mut notes = scripts.notes("failover");
    notes.sort();
    assert_eq!(notes, ["1 0 0", "2 0 0"]);
    let found = lines(&balancer);
    let begins: Vec<usize> = (0..found.len()).filter(|at| found[*at].starts_with("execute")).collect();
    let ended = found.iter().position(|line| line.starts_with("failover_command for node")).unwrap();
    assert!(begins[0] < ended && ended < begins[1], "{found:?}");
    assert_eq!(status_file(&balancer), "up\ndown\ndown\n");
}

#[test]
fn a_script_that_hangs_holds_up_nothing_but_itself() {
    let cluster = Cluster::private();
    let scripts = Scripts::new();
    let hang = "trap 'echo ended >>$0.ends; exit 1' TERM; while :; do sleep 0.1; done";
    let conf = conf(&cluster)
        .set("failover_command", &scripts.command("failover", ALL, hang))
        .set("failover_wait_timeout", "60");
    let mut balancer = start(conf);
    cluster.nodes[0].kill();
    scripts.wait_notes("failover", 1);
    // Sessions come and read meanwhile.
    wait_statuses(&balancer, ["down", "up", "up"]);
    assert_eq!(Client::connect(&balancer.door("postgres")).query("SELECT 1").value().as_deref(), Some("1"));
    balancer.wait_log("failover_command for node 0 still runs after 10 s");
    // An operator does what the script did not.
    cluster.nodes[2].promote();
    wait::until_equal("primary".to_owned(), || show(&balancer, "role")[2].clone());
    Client::connect(&balancer.door("postgres")).query("CREATE TABLE after_it (n int)").succeeded();
    let begin = Instant::now();
    balancer.stop();
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert_eq!(scripts.notes("failover.sh.ends"), ["ended"]);
}

#[test]
fn a_node_that_dies_while_the_program_stops_promotes_nobody() {
    let cluster = Cluster::private();
    let scripts = Scripts::new();
    let conf = conf(&cluster).set("failover_command", &scripts.command("failover", ALL, ""));
    let mut balancer = start(conf);
    // The health check asks, and is heard at the same time as the signal to stop.
    process::stop(balancer.pid());
    cluster.nodes[0].kill();
    balancer.wait_log("health check failed on node 0 (timeout:0)");
    balancer.signal(Signal::SIGINT);
    process::go_on(balancer.pid());
    assert!(balancer.exit().success());
    assert!(scripts.notes("failover").is_empty());
    assert!(!balancer.log_contains("=== Starting degeneration"));
}

#[test]
fn a_search_for_a_primary_ends_and_one_that_comes_later_is_taken() {
    let cluster = Cluster::private();
    let scripts = Scripts::new();
    let conf = conf(&cluster)
        .set("failover_command", &scripts.command("failover", ALL, "exit 3"))
        .set("follow_primary_command", &scripts.command("follow", ALL, ""))
        .set("search_primary_node_timeout", "1");
    let balancer = start(conf);
    cluster.nodes[0].kill();
    balancer.wait_log("failover_command for node 0 failed: exit status 3 after ");
    balancer.wait_log(
        "no primary node was found within search_primary_node_timeout (1 s): what needs one waits no longer",
    );
    balancer.wait_log("failover: no follow backends are degenerated");
    balancer.wait_log("failover: set new primary node: -1");
    wait_statuses(&balancer, ["down", "up", "up"]);
    cluster.nodes[1].promote();
    wait::until_equal("primary".to_owned(), || show(&balancer, "role")[1].clone());
    balancer.wait_log("failover: set new primary node: 1");
    assert!(scripts.notes("follow").is_empty());
}

#[test]
fn nodes_that_were_down_stay_so_over_a_restart_unless_that_is_discarded() {
    let cluster = Cluster::private();
    let mut balancer = start(conf(&cluster));
    let path = balancer.dir.path().join("pgpool_status");
    let name = path.display().to_string();
    balancer.wait_log(&format!("Backend status file {name} does not exist"));
    cluster.nodes[1].kill();
    wait::until_equal("up\ndown\nup\n".to_owned(), || status_file(&balancer));
    cluster.nodes[1].start();
    let mut restart = |content: Option<&[u8]>, options: &[&'static str], expected: [&str; 3], line: &str| {
        balancer.stop();
        content.into_iter().for_each(|content| process::write(&path, content));
        balancer.start_again(options);
        balancer.wait_log(line);
        wait_statuses(&balancer, expected);
    };
    let down = |node| format!("reading status file: {node} th backend is set to down status");
    restart(None, &[], ["up", "down", "up"], &down(1));
    let old: Vec<u8> = [2i32, 2, 3].into_iter().chain([0; 125]).flat_map(i32::to_ne_bytes).collect();
    restart(Some(&old), &[], ["up", "up", "down"], &down(2));
    // In the present form, as soon as it has started.
    wait::until_equal("up\nup\ndown\n".to_owned(), || std::fs::read_to_string(&path).unwrap());
    let discarded = format!("Backend status file {name} discarded");
    restart(None, &["-D"], ["up", "up", "up"], &discarded);
    let ignored = "status file says of no backend that it is up: it is ignored";
    restart(Some(b"down\ndown\ndown\n"), &[], ["up", "up", "up"], ignored);
}

#[test]
fn a_program_that_takes_over_knows_what_the_one_before_it_knew() {
    let cluster = Cluster::private();
    let scripts = Scripts::new();
    let command = scripts.command("failover", "%d %m %P", "");
    let mut balancer = start(conf(&cluster).set("failover_command", &command));
    let mut old = Client::connect(&balancer.door("postgres"));
    cluster.nodes[1].kill();
    wait_statuses(&balancer, ["up", "down", "up"]);
    cluster.nodes[1].start();
    scripts.wait_notes("failover", 1);
    // Only the old one will notice what dies.
    balancer.rewrite(|conf| conf.set("health_check_period", "0"));
    let upgrade = balancer.command(&["--upgrade"]).output().unwrap();
    assert!(upgrade.status.success(), "{}", String::from_utf8_lossy(&upgrade.stderr));
    wait_statuses(&balancer, ["up", "down", "up"]);
    // One of the two decides, and the sessions of both see it.
    cluster.nodes[2].kill();
    wait_statuses(&balancer, ["up", "down", "down"]);
    let seen = || old.query("SHOW POOL_NODES").succeeded().column("status")[1..].to_vec();
    wait::until_equal(vec!["down".to_owned(), "down".to_owned()], seen);
    assert_eq!(scripts.wait_notes("failover", 2), ["1 0 0", "2 0 0"]);
    let stop = balancer.command(&["-m", "fast", "stop"]).output().unwrap();
    assert!(stop.status.success());
    assert!(matches!(Program::under_test(), Program::Ours(_)));
}

#[test]
fn when_all_nodes_are_down_the_first_that_is_attached_works_again() {
    let cluster = Cluster::private();
    let scripts = Scripts::new();
    let conf = conf(&cluster)
        .set("failover_command", &scripts.command("failover", "%d %m %H %P %N", ""))
        .set("failback_command", &scripts.command("failback", "%d %m %M %P", ""))
        .set("search_primary_node_timeout", "20")
        .set("auto_failback", "on")
        .set("auto_failback_interval", "1");
    let balancer = start(conf);
    for (count, node) in [1, 2, 0].into_iter().enumerate() {
        cluster.nodes[node].kill();
        scripts.wait_notes("failover", count + 1);
        let place = format!("host 127.0.0.1({})", cluster.nodes[node].port);
        balancer.wait_log(&format!("=== Failover done. shutdown {place} ==="));
    }
    assert_eq!(scripts.notes("failover")[2], "0 -1  0 127.0.0.1");
    balancer.wait_log(
        "find_primary_node_repeatedly: all of the backends are down. Giving up finding primary node",
    );
    assert!(
        balancer.log_contains("WARNING:  All the DB nodes are in down status and skip writing status file.")
    );
    assert_eq!(status_file(&balancer), "up\ndown\ndown\n", "as it was while one was up");
    let refused = Client::try_connect(&balancer.door("postgres"), &[]).err().expect("a refusal");
    assert!(refused.message.contains("all backend nodes are down"), "{refused:?}");
    cluster.nodes.iter().for_each(|node| node.start());
    // That they are there again is not enough.
    wait::until_equal(vec!["up".to_owned(); 3], || pg_statuses(&balancer));
    assert_eq!(pcp::node(&balancer, 0)[2], "3");
    tool(&balancer, "pcp_attach_node 0").succeeded();
    Client::connect(&balancer.door("postgres")).query("CREATE TABLE after_it (n int)").succeeded();
    // The others stream from it, and follow by themselves.
    wait_statuses(&balancer, ["up", "up", "up"]);
    assert_eq!(scripts.wait_notes("failback", 1)[0], "0 0 0 0");
    wait::until_equal("up\nup\nup\n".to_owned(), || status_file(&balancer));
}

/// Of the nodes that cannot be asked through the program.
fn pg_statuses(balancer: &Balancer) -> Vec<String> {
    (0..3).map(|id| pcp::node(balancer, id)[5].clone()).collect()
}

#[test]
fn an_operator_promotes_a_standby_and_the_others_go_out() {
    let cluster = Cluster::private();
    let scripts = Scripts::new();
    let conf = conf(&cluster)
        .set("failover_command", &scripts.command("failover", ALL, ""))
        .set("follow_primary_command", &scripts.command("follow", ALL, ""));
    let balancer = start(conf);
    tool(&balancer, "pcp_promote_node 2").succeeded();
    let followed = scripts.wait_notes("follow", 2);
    assert_eq!(followed, [told(&cluster, 0, 2, 0, 0), told(&cluster, 1, 2, 0, 0)]);
    assert!(scripts.notes("failover").is_empty());
    assert_eq!(show(&balancer, "role"), ["standby", "standby", "primary"]);
    wait_statuses(&balancer, ["down", "down", "up"]);
    balancer.wait_log(&format!("=== Promotion done. promoted host 127.0.0.1({}) ===", cluster.nodes[2].port));
    // The operator's word counts although the server does not say so yet.
    let mut client = Client::connect(&balancer.door("postgres"));
    assert_eq!(client.query("CREATE TABLE t (n int)").error_code(), "25006");
    cluster.nodes[2].promote();
    client.query("CREATE TABLE t (n int)").succeeded();
}

const CLIENTS: usize = 32;

#[test]
fn a_switchover_under_load_costs_no_error_and_no_row() {
    let cluster = Cluster::private();
    cluster.prepare("postgres", "CREATE TABLE ledger (client int, round bigint)");
    let scripts = Scripts::new();
    let conf = conf(&cluster)
        .set("log_per_node_statement", "off")
        .set("failover_command", &scripts.command("failover", ALL, &promoting(&cluster)))
        .set("follow_primary_command", &scripts.command("follow", ALL, ""));
    let balancer = start(conf);
    let booked: Arc<Mutex<BTreeSet<(usize, u64)>>> = Arc::default();
    let load = Load::start(&balancer.door("postgres"), CLIENTS, {
        let booked = Arc::clone(&booked);
        move |client, number, round| {
            load::run(client, "BEGIN")?;
            load::run(client, "SELECT count(*) FROM ledger WHERE client = -1")?;
            load::run(client, &format!("INSERT INTO ledger VALUES ({number}, {round})"))?;
            load::run(client, "COMMIT")?;
            booked.lock().unwrap().insert((number, round));
            load::run(client, "SELECT 1")?;
            Ok(())
        }
    });
    wait::until_true("all clients to be at work", || load.done() > 500);
    tool(&balancer, "pcp_promote_node -s 2").succeeded();
    wait_statuses(&balancer, ["down", "down", "up"]);
    let before = load.done();
    wait::until_true("work to go on", || load.done() > before + 500);
    let met = load.end();
    assert!(met.errors.is_empty() && met.disconnects.is_empty(), "{:?} {:?}", met.errors, met.disconnects);
    assert_eq!(scripts.notes("failover"), [told(&cluster, 0, 2, 0, 0)]);
    assert_eq!(scripts.wait_notes("follow", 2).len(), 2);
    let mut client = Client::connect(&cluster.door(2, "postgres"));
    let mut rows = BTreeSet::new();
    for row in client.query("SELECT client, round FROM ledger").succeeded().rows() {
        let number = |at: usize| row[at].as_deref().unwrap().parse::<u64>().unwrap();
        assert!(rows.insert((number(0) as usize, number(1))), "{row:?} is there twice");
    }
    let lost: Vec<_> = booked.lock().unwrap().difference(&rows).copied().collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

#[test]
fn what_is_planned_waits_for_transactions_but_not_for_ever() {
    let cluster = Cluster::private();
    let scripts = Scripts::new();
    let conf = conf(&cluster)
        .set("failover_command", &scripts.command("failover", ALL, &promoting(&cluster)))
        .set("failover_wait_timeout", "10");
    let balancer = start(conf);
    let door = balancer.door("postgres");
    let mut open = Client::connect(&door);
    open.query("BEGIN; CREATE TABLE t (n int)").succeeded();
    // The tool itself calls that a success.
    let refused = tool(&balancer, "pcp_promote_node -s -g 1");
    let why = "given up after 5 s, since transactions are still under way";
    assert!(refused.err.contains(why), "{} {}", refused.out, refused.err);
    assert!(balancer.log_contains(&format!("WARNING:  switchover to node 1: {why}")));
    open.query("INSERT INTO t VALUES (1)").succeeded();
    // Others wait meanwhile, and are served when it has gone on.
    let mut waiting = None;
    let detached = std::thread::scope(|scope| {
        let detach = scope.spawn(|| tool(&balancer, "pcp_detach_node -g 2"));
        balancer.wait_log(
            "graceful detach of node 2: new transactions wait until those under way have ended, at most 5 s",
        );
        let mut other = Client::connect(&door);
        other.simple("SELECT 'served'").send();
        open.query("COMMIT").succeeded();
        assert_eq!(other.until_ready().value().as_deref(), Some("served"));
        waiting = Some(other);
        detach.join().unwrap()
    });
    detached.succeeded();
    wait_statuses(&balancer, ["up", "up", "down"]);
    // A standby that lacks what was committed does not become the primary.
    cluster.on_node(1, "postgres", "SELECT pg_wal_replay_pause()");
    open.query("INSERT INTO t SELECT generate_series(1, 1000)").succeeded();
    let refused = tool(&balancer, "pcp_promote_node -s 1").err;
    assert!(refused.contains("given up after 5 s, since the standby has not replayed "), "{refused}");
    wait_statuses(&balancer, ["up", "up", "down"]);
    cluster.on_node(1, "postgres", "SELECT pg_wal_replay_resume()");
    tool(&balancer, "pcp_promote_node -s 1").succeeded();
    wait_statuses(&balancer, ["down", "up", "down"]);
    assert_eq!(scripts.wait_notes("failover", 2), [told(&cluster, 2, 0, 0, 0), told(&cluster, 0, 1, 0, 0)]);
    assert_eq!(open.ask("SELECT count(*) FROM t"), "1001");
}
