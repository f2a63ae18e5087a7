//! The health check: when a server is given up, and when it is not.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, Cluster, namespace, ports, process, shared, tools, wait};

/// Checks of every node every second.
fn conf(cluster: &Cluster) -> Conf {
    Conf::of(cluster)
        .set("num_init_children", "2")
        .set("health_check_period", "1")
        .set("health_check_user", "'postgres'")
        .set("health_check_retry_delay", "1")
}

/// A column of a report.
fn column(balancer: &Balancer, report: &str, column: &str) -> Vec<String> {
    let mut client = Client::connect(&balancer.door("postgres"));
    let values = client.query(report).succeeded().column(column);
    client.terminate();
    values
}

/// What the checks of each node have counted.
fn counted(balancer: &Balancer, what: &str) -> Vec<u64> {
    let values = column(balancer, "SHOW POOL_HEALTH_CHECK_STATS", what);
    values.iter().map(|value| value.parse().expect("a count")).collect()
}

fn wait_counted(balancer: &Balancer, what: &str, node: usize, least: u64) {
    wait::until_true(&format!("{what} of node {node} to be {least}"), || {
        counted(balancer, what)[node] >= least
    });
}

fn wait_status(balancer: &Balancer, node: usize, status: &str) {
    let now = || column(balancer, "SHOW POOL_NODES", "status")[node].clone();
    wait::until_equal(status.to_owned(), now);
}

/// The lines that hold `text`, without what stands before it.
fn lines(balancer: &Balancer, text: &str) -> Vec<String> {
    let log = balancer.log();
    log.lines().filter_map(|line| line.find(text).map(|at| line[at..].to_owned())).collect()
}

#[test]
fn a_server_that_is_killed_or_hangs_is_taken_out_after_its_retries() {
    let cluster = Cluster::private();
    let conf = conf(&cluster)
        .set("health_check_max_retries", "2")
        .set("health_check_max_retries2", "1")
        .set("health_check_timeout2", "1")
        .set("health_check_retry_delay2", "0");
    let balancer = Balancer::start(conf);
    (0..3).for_each(|node| wait_counted(&balancer, "success_count", node, 1));

    cluster.nodes[1].kill();
    wait_status(&balancer, 1, "down");
    assert_eq!(
        lines(&balancer, "health check retrying on DB node: 1"),
        ["health check retrying on DB node: 1 (round:1)", "health check retrying on DB node: 1 (round:2)"]
    );
    assert_eq!(
        lines(&balancer, "health check failed on node 1"),
        ["health check failed on node 1 (timeout:0)"]
    );
    let place = format!("127.0.0.1:{}", cluster.nodes[1].port);
    balancer.wait_log(&format!("DETAIL:  failed to connect to PostgreSQL server on \"{place}\""));
    let of = |what: &str| counted(&balancer, what)[1];
    assert_eq!((of("fail_count"), of("retry_count"), of("max_retry_count")), (1, 2, 2));
    assert!((2000..10_000).contains(&of("max_duration")), "{} ms with two pauses", of("max_duration"));
    wait_counted(&balancer, "skip_count", 1, 1);
    // Between two looks there may be another check.
    wait::until_true("all checks to be counted by what they found", || {
        let total = of("total_count");
        total == of("success_count") + of("fail_count") + of("skip_count") && total == of("total_count")
    });

    cluster.nodes[2].freeze();
    wait_status(&balancer, 2, "down");
    cluster.nodes[2].go_on();
    assert_eq!(
        lines(&balancer, "health check failed on node 2"),
        ["health check failed on node 2 (timeout:1)"]
    );
    assert!(counted(&balancer, "max_duration")[2] >= 2000, "two attempts of a second");
    assert_eq!(counted(&balancer, "fail_count")[0], 0);
    assert_eq!(column(&balancer, "SHOW POOL_NODES", "role")[0], "primary");
}

/// It runs and answers; but what it says is that it serves nobody (57P03).
#[test]
fn a_server_that_takes_no_sessions_is_taken_out() {
    let cluster = Cluster::private();
    let node = &cluster.nodes[2];
    node.stop();
    let conf_path = node.data().join("postgresql.conf");
    let text = std::fs::read_to_string(&conf_path).unwrap();
    process::write(&conf_path, text + "\nhot_standby = off\n");
    node.start();
    let balancer = Balancer::start_unready(conf(&cluster));
    wait_status(&balancer, 2, "down");
    balancer.wait_log("health check failed on node 2 (timeout:0)");
    let reason = lines(&balancer, "DETAIL:  FATAL: ");
    assert!(reason[0].ends_with("(57P03)"), "{reason:?}");
}

/// A port where connections neither succeed nor fail.
fn deaf() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let held = std::iter::from_fn(connect).take(5000).collect();
    (listener, held)
}

#[test]
fn connect_timeout_and_health_check_timeout_bound_an_attempt() {
    let (listener, _held) = deaf();
    let port = listener.local_addr().unwrap().port().to_string();
    let nodes = shared();
    let conf = conf(nodes).set("backend_port1", &port).set("backend_port2", &port);
    let conf = conf.set("connect_timeout1", "300").set("health_check_timeout2", "1");
    let balancer = Balancer::start_unready(conf);
    wait_status(&balancer, 1, "down");
    wait_status(&balancer, 2, "down");
    assert_eq!(
        lines(&balancer, "health check failed on node 1"),
        ["health check failed on node 1 (timeout:0)"]
    );
    assert_eq!(
        lines(&balancer, "health check failed on node 2"),
        ["health check failed on node 2 (timeout:1)"]
    );
    let took = counted(&balancer, "max_duration");
    assert!((300..10_000).contains(&took[1]) && (1000..9000).contains(&took[2]), "{took:?}");
}

#[test]
fn a_name_server_that_says_nothing_costs_no_more_than_the_timeout() {
    if !namespace::inside("cases::health::a_name_server_that_says_nothing_costs_no_more_than_the_timeout") {
        return;
    }
    let _silent = UdpSocket::bind("127.0.0.1:53").unwrap();
    let dir = process::server_dir("names");
    let file = dir.path().join("resolv.conf");
    process::write(&file, "nameserver 127.0.0.1\n");
    tools::run(Command::new("mount").arg("--bind").arg(&file).arg("/etc/resolv.conf")).succeeded();
    let cluster = Cluster::private();
    let conf = conf(&cluster).set("backend_hostname2", "'somewhere.example'").weights([1, 1, 0]);
    let balancer = Balancer::start_unready(conf.set("health_check_timeout", "1"));
    wait_status(&balancer, 2, "down");
    balancer.wait_log("health check failed on node 2 (timeout:1)");
    balancer.wait_log("DETAIL:  could not resolve host \"somewhere.example\": no answer in time");
    assert!((1000..4000).contains(&counted(&balancer, "max_duration")[2]));
    assert_eq!(counted(&balancer, "fail_count")[..2], [0, 0]);
}

#[test]
fn a_refused_login_is_said_once_and_takes_no_server_out() {
    let wrong = "0".repeat(32);
    let pool_passwd = format!("scram_user:TEXTscram_user_secret\nmd5_user:md5{wrong}\n");
    let conf = conf(shared())
        .set("health_check_user0", "'scram_user'")
        .set("health_check_password0", "'wrong'")
        .set("health_check_user1", "'md5_user'")
        .set("health_check_user2", "'scram_user'")
        .set("health_check_database2", "'no_such_database'");
    let balancer = Balancer::start_with(conf, &[("pool_passwd", &pool_passwd)]);
    for node in 0..3 {
        wait_counted(&balancer, "fail_count", node, 3);
        let warnings = lines(&balancer, &format!("health check of node {node}: the login was refused: "));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }
    for (node, code) in [(0, "28P01"), (1, "28P01"), (2, "3D000")] {
        balancer.wait_log(&format!("health check of node {node}: the login was refused: FATAL: "));
        let warnings = lines(&balancer, &format!("health check of node {node}: "));
        assert!(warnings[0].ends_with(&format!("({code})")), "{warnings:?}");
    }
    assert!(balancer.log_contains("HINT:  Check health_check_user, health_check_password (or pool_passwd)"));
    assert!(column(&balancer, "SHOW POOL_NODES", "status").iter().all(|status| status != "down"));
    assert_eq!(counted(&balancer, "retry_count"), [0; 3]);
    assert_eq!(lines(&balancer, "health check failed"), Vec::<String>::new());
}

#[test]
fn it_logs_in_with_each_kind_of_password() {
    let md5 = shared().on_node(0, "postgres", "SELECT 'md5' || md5('md5_user_secretmd5_user')");
    let pool_passwd = format!("scram_user:TEXTscram_user_secret\nmd5_user:{md5}\n");
    let conf = conf(shared())
        .set("health_check_user0", "'scram_user'")
        .set("health_check_user1", "'md5_user'")
        .set("health_check_user2", "'password_user'")
        .set("health_check_password2", "'TEXTpassword_user_secret'")
        .set("health_check_database2", "''");
    let balancer = Balancer::start_with(conf, &[("pool_passwd", &pool_passwd)]);
    (0..3).for_each(|node| wait_counted(&balancer, "success_count", node, 2));
    assert_eq!(counted(&balancer, "fail_count"), [0; 3]);
}

#[test]
fn every_node_has_its_own_parameters_and_a_reload_changes_them_at_once() {
    let conf = conf(shared())
        .set("health_check_period", "3600")
        .set("health_check_period0", "0")
        .set("health_check_period1", "1");
    let mut balancer = Balancer::start(conf);
    wait_counted(&balancer, "total_count", 1, 3);
    let counts = counted(&balancer, "total_count");
    assert_eq!((counts[0], counts[2]), (0, 1));
    balancer.rewrite(|conf| {
        let conf = conf.set("health_check_period0", "1").set("health_check_period1", "0");
        conf.set("health_check_period2", "1").set("health_check_user2", "'nobody_here'")
    });
    balancer.reload();
    wait_counted(&balancer, "total_count", 0, 2);
    wait_counted(&balancer, "total_count", 2, 3);
    assert!(counted(&balancer, "fail_count")[2] > 0, "another user, whom the server does not know");
    let before = counted(&balancer, "total_count");
    wait_counted(&balancer, "total_count", 0, before[0] + 2);
    assert_eq!(counted(&balancer, "total_count")[1], before[1]);
}

#[test]
fn each_node_has_a_process_and_one_that_a_reload_adds_gets_one() {
    let nodes: Vec<_> = shared().nodes.iter().take(2).collect();
    let mut balancer = Balancer::start(
        Conf::of_nodes(&nodes).set("health_check_period", "1").set("health_check_user", "'postgres'"),
    );
    let process =
        |balancer: &Balancer, node: usize| balancer.child_titled(&format!(": health check process({node})"));
    let first = wait::until("the process of node 0", wait::LIMIT, || process(&balancer, 0));
    let second = wait::until("the process of node 1", wait::LIMIT, || process(&balancer, 1));
    assert_eq!(process(&balancer, 3), None);
    balancer.wait_log(&format!("health_check1 pid {second}: LOG:  process started"));

    let port = shared().nodes[2].port.to_string();
    balancer.rewrite(|conf| {
        conf.set("backend_hostname3", "'127.0.0.1'").set("backend_port3", &port).set("backend_weight3", "1")
    });
    balancer.reload();
    let third = wait::until("the process of node 3", wait::LIMIT, || process(&balancer, 3));
    wait_counted(&balancer, "total_count", 2, 1);
    assert_eq!((process(&balancer, 0), process(&balancer, 1)), (Some(first), Some(second)));
    assert_eq!(process(&balancer, 2), None);

    wait_counted(&balancer, "total_count", 0, 4);
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    let next = wait::until("another process of node 0", wait::LIMIT, || {
        process(&balancer, 0).filter(|pid| *pid != first)
    });
    balancer.wait_log(&format!("health_check0 pid {next}: LOG:  process started"));
    assert!(counted(&balancer, "total_count")[0] >= 4, "it goes on counting");
    wait_counted(&balancer, "total_count", 0, 6);
    balancer.wait_log("fork a new health check process with pid: ");
    assert!(process::is_alive(second) && process::is_alive(third));
}

#[test]
fn a_test_declares_a_server_dead_with_a_file() {
    let conf = conf(shared()).set("health_check_test", "on").set("health_check_max_retries", "1");
    let balancer = Balancer::start(conf);
    wait_counted(&balancer, "success_count", 1, 2);
    let request = balancer.dir.path().join("backend_down_request");
    process::write(&request, "2\tup\n1\tdown\n");
    wait_status(&balancer, 1, "down");
    wait::until_equal("2\tup\n1\talready_down\n".to_owned(), || std::fs::read_to_string(&request).unwrap());
    assert_eq!(
        lines(&balancer, "health check retrying on DB node"),
        ["health check retrying on DB node: 1 (round:1)"]
    );
    assert_eq!(counted(&balancer, "fail_count"), [0, 1, 0]);
}

#[test]
fn a_server_that_may_not_be_taken_out_is_only_logged() {
    let conf = conf(shared())
        .set("backend_port1", &ports::free().to_string())
        .set("backend_flag1", "'DISALLOW_TO_FAILOVER'");
    let balancer = Balancer::start_unready(conf);
    wait_counted(&balancer, "fail_count", 1, 2);
    balancer.wait_log("health check failed on node 1 but failover is disallowed for the node");
    assert!(column(&balancer, "SHOW POOL_NODES", "status")[1] != "down");
}
