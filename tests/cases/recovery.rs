//! Online recovery on real servers: standbys are made anew by the scripts of conf-samples, and every way to fail says so.

use std::time::{Duration, Instant};

use pgbalancer::auth::pool_passwd::Secret;
use pgbalancer::cluster::client::{Client as Asking, Limits, Target};
use pgbalancer::config::{self, Config};
use pgbalancer::recovery::{self, RealServers, RecoveryError, Seen, Stage, Supervisor};
use pgbalancer::shm::NodeStatus;

use crate::harness::balancer::Conf;
use crate::harness::cluster::other_versions;
use crate::harness::{Balancer, Client, Cluster, pcp, process, shared, wait};

/// Takes nodes into use at once, and notes which.
#[derive(Default)]
struct Boss(Vec<usize>);

impl Supervisor for Boss {
    fn hold_clients(&mut self, _: bool) -> Result<(), String> {
        Err("streaming replication holds nobody up".to_owned())
    }

    fn clients(&mut self) -> usize {
        0
    }

    fn attach(&mut self, node: usize) -> Result<(), String> {
        self.0.push(node);
        Ok(())
    }

    fn goes_on(&mut self, _: &str) {}

    fn is_attached(&mut self, node: usize) -> bool {
        self.0.contains(&node)
    }
}

fn conf(cluster: &Cluster) -> Conf {
    let conf = Conf::of(cluster)
        .set("recovery_user", "'postgres'")
        .set("recovery_1st_stage_command", "'recovery_1st_stage'")
        .set("recovery_timeout", "20");
    cluster.nodes.iter().fold(conf, |conf, node| {
        conf.set(&format!("backend_data_directory{}", node.id), &format!("'{}'", node.data().display()))
    })
}

fn loaded(conf: &Conf) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pgbalancer.conf");
    std::fs::write(&path, conf.text()).unwrap();
    config::load(&path).ok().unwrap().config
}

/// Recovers node 1 while nodes 0 and 2 are up, as a PCP process would.
fn recover(conf: &Conf, password: Option<&str>) -> Result<Vec<usize>, RecoveryError> {
    let statuses = vec![NodeStatus::Up, NodeStatus::Down, NodeStatus::Up];
    let plan = recovery::plan(&loaded(conf), &Seen { statuses, primary: Some(0) }, 1)?;
    let mut boss = Boss::default();
    recovery::run(&plan, &mut RealServers::new(password.and_then(Secret::parse)), &mut boss)?;
    Ok(boss.0)
}

/// Node 1 streams from the primary, under the name that the balancer knows it by, and has its newest rows.
fn is_a_standby_again(cluster: &Cluster) {
    let mut primary = Client::connect(&cluster.door(0, "postgres"));
    wait::until_true("the standby to stream", || {
        let sql = "SELECT state FROM pg_stat_replication WHERE application_name = 'server1'";
        primary.query(sql).value().as_deref() == Some("streaming")
    });
    primary.query("INSERT INTO t VALUES ('last')").succeeded();
    cluster.catch_up();
    let count = "SELECT count(*) FROM t";
    assert_eq!(cluster.on_node(1, "postgres", count), primary.ask(count));
    assert_eq!(cluster.on_node(1, "postgres", "SELECT pg_is_in_recovery()"), "t");
}

#[test]
fn a_standby_is_made_anew_whatever_is_left_of_it() {
    let cluster = Cluster::private();
    // Or pg_rewind refuses.
    cluster.on_primary("postgres", "ALTER SYSTEM SET wal_log_hints = on");
    cluster.primary().stop();
    cluster.primary().start();
    cluster.prepare("postgres", "CREATE TABLE t (a text)");
    cluster.prepare_recovery();
    let conf = conf(&cluster);
    let node = &cluster.nodes[1];

    // Nothing is left.
    node.kill();
    std::fs::remove_dir_all(node.data()).unwrap();
    cluster.on_primary("postgres", "INSERT INTO t VALUES ('while it was away')");
    assert_eq!(recover(&conf, None), Ok(vec![1]));
    is_a_standby_again(&cluster);

    // Killed, it must not be rewound: that would have it write where the primary has written.
    node.kill();
    cluster.on_primary("postgres", "INSERT INTO t VALUES ('while it was killed')");
    assert_eq!(recover(&conf, None), Ok(vec![1]));
    is_a_standby_again(&cluster);

    // It has gone a way of its own.
    node.promote();
    cluster.on_node(1, "postgres", "INSERT INTO t SELECT 'lost' FROM generate_series(1, 1000)");
    node.kill();
    assert_eq!(recover(&conf, None), Ok(vec![1]));
    is_a_standby_again(&cluster);

    // With the functions of Debian's package, in the database where sites before pgpool-II 4.7 have them.
    let available = "SELECT 1 FROM pg_available_extensions WHERE name = 'pgpool_recovery'";
    if cluster.on_primary("postgres", available) == "1" {
        let drop = "SELECT string_agg(format('DROP FUNCTION %s', oid::regprocedure), '; ') FROM pg_proc WHERE proname LIKE 'pgpool%'";
        let drop = cluster.on_primary("postgres", drop);
        cluster.on_primary("postgres", &drop);
        cluster.on_primary("template1", "CREATE EXTENSION pgpool_recovery");
        node.stop();
        assert_eq!(recover(&conf, None), Ok(vec![1]));
        is_a_standby_again(&cluster);
    } else {
        eprintln!("not tried: there is no package with the C functions here (scripts/need test)");
        return;
    }
    let log = cluster.primary().log.text();
    let ways: Vec<&str> =
        log.lines().filter_map(|line| line.strip_prefix("recovery_1st_stage: node 1: ")).collect();
    let ways: Vec<&str> = ways.iter().filter_map(|way| way.split(' ').next()).collect();
    assert_eq!(ways, ["copied", "copied", "rewound", "rewound"]);
}

/// Runs the recovery, which must fail, and returns message and detail.
fn failure(conf: &Conf, password: Option<&str>) -> (String, String) {
    let error = recover(conf, password).unwrap_err();
    assert!(!error.hint().is_empty(), "{error}");
    (error.to_string(), error.detail())
}

#[test]
fn every_failure_is_told_with_its_cause() {
    let cluster = Cluster::private();
    let primary = cluster.primary();
    let data = primary.data().to_str().unwrap().to_owned();
    let conf = conf(&cluster).set("recovery_timeout", "2");
    let first = "executing recovery, execution of command failed at \"1st stage\"";

    let (message, detail) = failure(&conf, None);
    assert_eq!(message, "node recovery failed, function pgpool_recovery is not installed on node 0");
    assert!(detail.contains("\"postgres\" and \"template1\""), "{detail}");

    cluster.prepare_recovery();
    let (message, detail) = failure(&conf, None);
    assert_eq!(message, first);
    // Nobody has stopped its server.
    assert!(detail.contains("command:\"recovery_1st_stage\", ERROR: pgpool_recovery failed"), "{detail}");
    assert!(primary.log.text().contains("a server runs on 127.0.0.1 in"));

    let wrong = conf.clone().set("recovery_user", "'scram_user'");
    let (message, detail) = failure(&wrong, Some("wrong"));
    assert_eq!(message, "node recovery failed, unable to connect to main node: 0");
    assert!(detail.contains("password authentication failed for user \"scram_user\""), "{detail}");
    let (message, detail) = failure(&wrong, Some("scram_user_secret"));
    assert_eq!(message, first);
    assert!(detail.contains("permission denied for function pgpool_recovery"), "{detail}");

    let missing = conf.clone().set("recovery_1st_stage_command", "'missing'");
    let (message, detail) = failure(&missing, None);
    assert_eq!(message, first);
    let expected = format!(
        "command:\"missing\", ERROR: pgpool_recovery failed: {data}/missing: command not found (P0001)"
    );
    assert_eq!(detail, expected);

    // Scripts that do nothing, so node 1 stays away; the hint tells where to look.
    cluster.nodes[1].kill();
    let nothing = conf.clone().set("recovery_1st_stage_command", "'nothing'");
    primary.script("nothing", "#!/bin/sh\n");
    primary.script("pgpool_remote_start", "#!/bin/sh\nexit 1\n");
    let (message, _) = failure(&nothing, None);
    let expected = format!(
        "\"ERROR: pgpool_remote_start failed: {data}/pgpool_remote_start: child process exited with exit code 1 (P0001)\""
    );
    assert_eq!(message, format!("executing remote start failed with error: {expected}"));

    primary.script("pgpool_remote_start", "#!/bin/sh\n");
    let begun = Instant::now();
    let (message, detail) = failure(&nothing, None);
    assert_eq!(message, "recovery is checking if postmaster is started");
    assert!(
        detail.contains("user:\"postgres\" failed to start in 2 second, failed to connect to"),
        "{detail}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10));

    primary.script("pgpool_remote_start", "#!/bin/sh\nexec sleep 10\n");
    let begun = Instant::now();
    let (message, _) = failure(&nothing, None);
    assert!(message.contains("no answer within 2 s; the script may still run"), "{message}");
    assert!(begun.elapsed() < Duration::from_secs(9));

    // It comes up, but goes a way of its own.
    let bin = cluster.nodes[1].bin.display();
    let start = format!(
        "#!/bin/sh\nrm $2/standby.signal; exec {bin}/pg_ctl -D $2 -l $2/start.log -w start >/dev/null\n"
    );
    primary.script("pgpool_remote_start", &start);
    let (message, _) = failure(
        &conf.clone().set("recovery_1st_stage_command", "'nothing'").set("recovery_timeout", "20"),
        None,
    );
    assert_eq!(message, "node recovery failed, node 1 is no standby");

    // The primary dies below the script.
    primary.script("slow", "#!/bin/sh\n: >running\nexec sleep 30\n");
    std::thread::scope(|scope| {
        let slow = conf.clone().set("recovery_1st_stage_command", "'slow'");
        let recovering = scope.spawn(move || failure(&slow, None));
        wait::until_true("the script to run", || primary.data().join("running").exists());
        primary.kill();
        let (message, detail) = recovering.join().unwrap();
        assert_eq!(message, first);
        assert!(detail.starts_with("command:\"slow\", "), "{detail}");
    });
}

#[test]
fn scripts_of_older_extensions_get_what_they_know() {
    let cluster = Cluster::private();
    let (data, dir) = (cluster.primary().data(), process::server_dir("arguments"));
    cluster.prepare_recovery();
    let file = dir.path().join("arguments");
    cluster.primary().script("note", &format!("#!/bin/bash\nprintf '<%s>' \"$@\" >'{}'\n", file.display()));
    cluster.primary().script("pgpool_remote_start", "#!/bin/sh\nexit 1\n");
    let conf = conf(&cluster).set("recovery_1st_stage_command", "'note'");
    let [source, target] = [&cluster.nodes[0], &cluster.nodes[1]];
    let all = [
        data.display().to_string(),
        "127.0.0.1".to_owned(),
        target.data().display().to_string(),
        source.port.to_string(),
        "1".to_owned(),
        target.port.to_string(),
        "127.0.0.1".to_owned(),
    ];
    let types = ["text", "text", "text", "text", "integer", "text", "text"];
    for count in (3..=7).rev() {
        assert!(matches!(recover(&conf, None), Err(RecoveryError::RemoteStart(_))));
        let expected: String = all[..count].iter().map(|argument| format!("<{argument}>")).collect();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), expected);
        let form = types[..count].join(", ");
        cluster.on_primary("postgres", &format!("DROP FUNCTION pgpool_recovery({form})"));
    }
    assert!(matches!(recover(&conf, None), Err(RecoveryError::NoFunction { .. })));

    // Where all may create, somebody has left a function for the superuser to call.
    let trap = "CREATE FUNCTION pgpool_recovery(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'; \
        ALTER FUNCTION pgpool_recovery(text, text, text) OWNER TO alice";
    cluster.on_primary("postgres", trap);
    assert!(matches!(recover(&conf, None), Err(RecoveryError::NoFunction { .. })));
}

#[test]
fn a_long_stage_is_waited_for_and_reported() {
    let door = shared().door(0, "postgres");
    let target = Target {
        host: door.host,
        port: door.port,
        user: door.user,
        database: door.database,
        application_name: "test",
        tls: None,
    };
    let mut client =
        Asking::connect(&target, None, Limits { connect: wait::LIMIT, whole: wait::LIMIT }).unwrap();
    let mut beats = 0;
    let rows =
        client.rows_at_last("SELECT 1 FROM pg_sleep(2)", Duration::from_millis(100), &mut || beats += 1);
    assert_eq!(rows.unwrap(), [[Some("1".to_owned())]]);
    assert!((2..=20).contains(&beats), "{beats}");
    // A time limit of an earlier call says nothing about a later one.
    assert!(client.rows("SELECT pg_sleep(0.2)", wait::LIMIT).is_ok());
    assert_eq!(Stage::First.name(), "1st stage");
}

/// A first stage for servers that come without pg_basebackup: nobody writes while the test copies.
const COPY: &str = r#"#!/bin/bash
set -e
mkdir -p -m 700 "$3"
cp -a "$1/." "$3"
rm "$3/postmaster.pid"
echo "port = $6
primary_conninfo = 'host=$7 port=$4 user=postgres application_name=server$5'" >>"$3/postgresql.auto.conf"
touch "$3/standby.signal"
"#;

#[test]
fn nodes_of_the_oldest_and_the_newest_version_are_recovered() {
    for version in other_versions() {
        let cluster = Cluster::private_of(Some(version));
        cluster.prepare("postgres", "CREATE TABLE t (a text)");
        cluster.prepare_recovery();
        cluster.primary().script("copy", COPY);
        cluster.nodes[1].kill();
        std::fs::remove_dir_all(cluster.nodes[1].data()).unwrap();
        cluster.on_primary("postgres", "CHECKPOINT");
        let conf = conf(&cluster).set("recovery_1st_stage_command", "'copy'");
        assert_eq!(recover(&conf, None), Ok(vec![1]), "{version}");
        is_a_standby_again(&cluster);
    }
}

fn start(cluster: &Cluster, conf: Conf) -> Balancer {
    let conf = conf.set("health_check_period", "1").set("health_check_user", "'postgres'");
    let balancer = Balancer::start_with(conf.set("pcp_node_info_format", "4.3"), &[pcp::CONF]);
    balancer.wait_roles();
    assert_eq!(cluster.nodes.len(), 3);
    balancer
}

fn wait_status(balancer: &Balancer, node: usize, status: &str) {
    let mut client = Client::connect(&balancer.door("postgres"));
    wait::until_equal(status.to_owned(), || {
        client.query("SHOW POOL_NODES").succeeded().column("status")[node].clone()
    });
}

/// What the tool prints: nothing but an error.
fn refused(balancer: &Balancer, line: &str) -> String {
    let ran = pcp::tool(balancer, line);
    assert_eq!(ran.out, "", "{line}");
    ran.err.trim_end().to_owned()
}

#[test]
fn pcp_recovery_node_brings_a_lost_standby_back_while_clients_work() {
    let cluster = Cluster::private();
    cluster.prepare("postgres", "CREATE TABLE t (a text)");
    cluster.prepare_recovery();
    let balancer = start(&cluster, conf(&cluster));
    let node = &cluster.nodes[1];
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("SELECT count(*) FROM t").succeeded();
    node.kill();
    std::fs::remove_dir_all(node.data()).unwrap();
    wait_status(&balancer, 1, "down");
    client.query("INSERT INTO t VALUES ('while it was away')").succeeded();
    // That the process is held up meanwhile (a debugger, a suspended machine) is no end of a connection.
    let data = cluster.primary().data();
    std::fs::rename(data.join("recovery_1st_stage"), data.join("the_rest")).unwrap();
    let waits = "#!/bin/sh\n: >begun\nuntil [ -e go ]; do sleep 0.1; done\nexec ./the_rest \"$@\"\n";
    cluster.primary().script("recovery_1st_stage", waits);
    let process = balancer.child_titled("PCP: wait for connection request").expect("the PCP process");
    let ran = std::thread::scope(|scope| {
        let recovery = scope.spawn(|| pcp::tool(&balancer, "pcp_recovery_node 1").succeeded());
        wait::until_true("the script to run", || data.join("begun").exists());
        process::stop(process);
        wait::until_true("the process to stand still", || process::is_stopped(process));
        process::go_on(process);
        process::write(&data.join("go"), "");
        recovery.join().unwrap()
    });
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("pcp_recovery_node -- Command Successful\n", ""));
    wait_status(&balancer, 1, "up");
    is_a_standby_again(&cluster);
    client.query("SELECT count(*) FROM t").succeeded();
    let place = format!("host 127.0.0.1({})", node.port);
    for line in [
        "starting recovering node 1",
        "node recovery, 1st stage is done",
        "node recovery, node: 1 restarted",
        &format!("=== Failback done. reconnect {place} ==="),
        "recovery done",
        "recover node 1: done",
    ] {
        assert!(balancer.log_contains(line), "{line}");
    }
}

#[test]
fn what_pcp_recovery_node_prints_when_it_cannot() {
    let cluster = Cluster::private();
    cluster.prepare_recovery();
    cluster.primary().script("fails", "#!/bin/sh\nexit 3\n");
    let conf = conf(&cluster).set("recovery_1st_stage_command", "'fails'");
    let balancer = start(&cluster, conf);
    let failed = "ERROR:  process recovery request failed\nDETAIL:  ";
    assert_eq!(refused(&balancer, "pcp_recovery_node 9"), format!("{failed}node id 9 is not valid"));
    let primary = format!("{failed}primary server cannot be recovered by online recovery.");
    assert_eq!(refused(&balancer, "pcp_recovery_node 0"), primary);
    assert_eq!(
        refused(&balancer, "pcp_recovery_node 1"),
        "ERROR:  node recovery failed, node id: 1 is alive"
    );

    cluster.nodes[1].kill();
    wait_status(&balancer, 1, "down");
    let text = refused(&balancer, "pcp_recovery_node 1");
    let begin = "ERROR:  executing recovery, execution of command failed at \"1st stage\"\nDETAIL:  command:\"fails\", ";
    assert!(text.starts_with(begin) && text.contains("exit code 3"), "{text}");
    assert!(balancer.log_contains("HINT:  The script is in the data directory of the node"));
}
