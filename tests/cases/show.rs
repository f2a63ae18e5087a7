//! SHOW POOL_… and PGPOOL SHOW, as an exporter or an operator reads them.

use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, process, shared, wait};

fn scene() -> (Balancer, Client) {
    let conf = Conf::of(shared()).weights([1, 1, 2]).set("num_init_children", "3").set("max_pool", "2");
    let balancer = Balancer::start(conf);
    let client = Client::connect(&balancer.door("postgres"));
    (balancer, client)
}

#[test]
fn each_table_has_the_columns_that_exporters_ask_for() {
    let cases = [
        (
            "SHOW POOL_NODES",
            "node_id hostname port status pg_status lb_weight role pg_role select_cnt load_balance_node \
             replication_delay replication_state replication_sync_state last_status_change",
        ),
        (
            "show pool_processes",
            "pool_pid start_time client_connection_count database username backend_connection_time pool_counter status",
        ),
        (
            "SHOW pool_pools;",
            "pool_pid start_time client_connection_count pool_id backend_id database username backend_connection_time \
             client_connection_time client_disconnection_time client_idle_duration majorversion minorversion \
             pool_counter pool_backendpid pool_connected status",
        ),
        ("SHOW POOL_VERSION", "pool_version"),
        ("SHOW POOL_STATUS", "item value description"),
        ("PGPOOL SHOW ALL", "item value description"),
        ("PGPOOL SHOW backend", "item value description"),
        ("PGPOOL SHOW port", "port"),
    ];
    let (_balancer, mut client) = scene();
    for (command, columns) in cases {
        let reply = client.query(command).succeeded();
        assert_eq!(reply.columns().join(" "), columns, "{command}");
        let rows = reply.rows().len();
        assert!(rows > 0, "{command}");
        let kinds = format!("T{}CZ", "D".repeat(rows));
        assert_eq!(
            (reply.kinds(), reply.tags(), reply.status()),
            (kinds, vec![format!("SELECT {rows}")], 'I'),
            "{command}"
        );
    }
}

#[test]
fn pool_nodes_tells_role_status_weight_and_reads() {
    let cluster = shared();
    let database = cluster.database("nodes");
    cluster.prepare(&database, "CREATE TABLE t (n int)");
    let balancer = Balancer::start(Conf::of(cluster).weights([0, 0, 1]));
    let mut client = Client::connect(&balancer.door(&database));
    for _ in 0..5 {
        client.query("SELECT n FROM t").succeeded();
    }
    client.query("INSERT INTO t VALUES (1)").succeeded();
    let nodes = client.query("SHOW POOL_NODES").succeeded();
    assert_eq!(nodes.column("node_id"), ["0", "1", "2"]);
    assert_eq!(nodes.column("hostname"), ["127.0.0.1"; 3]);
    let ports: Vec<String> = cluster.nodes.iter().map(|node| node.port.to_string()).collect();
    assert_eq!(nodes.column("port"), ports);
    assert_eq!(nodes.column("role"), ["primary", "standby", "standby"]);
    assert_eq!(nodes.column("pg_role"), ["primary", "standby", "standby"]);
    assert_eq!(nodes.column("pg_status"), ["up"; 3]);
    assert!(nodes.column("status").iter().all(|status| ["up", "waiting"].contains(&status.as_str())));
    assert_eq!(nodes.column("lb_weight"), ["0.000000", "0.000000", "1.000000"]);
    assert_eq!(nodes.column("load_balance_node"), ["false", "false", "true"]);
    assert_eq!(nodes.column("select_cnt")[..], ["0", "0", "5"]);
}

#[test]
fn pool_processes_shows_a_row_a_session_place() {
    let (balancer, mut client) = scene();
    let worker = balancer.worker_of(&client).to_string();
    let reply = client.query("SHOW POOL_PROCESSES").succeeded();
    let pids = reply.column("pool_pid");
    assert_eq!(pids.len(), 3);
    let mine = pids.iter().position(|pid| *pid == worker).expect("the row of this session");
    assert_eq!(reply.column("database")[mine], "postgres");
    assert_eq!(reply.column("username")[mine], "postgres");
    for pid in pids {
        assert!(process::is_alive(pid.parse().unwrap()), "{pid}");
    }
}

#[test]
fn pool_pools_follows_sessions_and_their_backends() {
    let (balancer, mut client) = scene();
    let database = shared().database("pools");
    let mut session = Client::connect(&balancer.door(&database).as_user("alice"));
    let pid = session.ask("SELECT pg_backend_pid()");
    let mut row = || {
        let reply = client.query("SHOW POOL_POOLS").succeeded();
        let at = reply.column("pool_backendpid").iter().position(|of| *of == pid);
        at.map(|at| ["database", "username", "pool_connected"].map(|name| reply.column(name)[at].clone()))
    };
    let expected = |connected: &str| Some([database.clone(), "alice".to_owned(), connected.to_owned()]);
    wait::until_equal(expected("1"), &mut row);
    session.terminate();
    wait::until_equal(expected("0"), &mut row);
}

#[test]
fn the_version_can_be_parsed() {
    let (_balancer, mut client) = scene();
    let version = client.ask("SHOW POOL_VERSION");
    let first = version.split_whitespace().next().unwrap();
    let parts: Vec<Result<u32, _>> = first.split('.').map(str::parse).collect();
    assert!(parts.len() >= 2 && parts.iter().all(Result::is_ok), "{version}");
}

#[test]
fn parameters_show_their_value_and_an_unknown_one_is_an_error() {
    let (_balancer, mut client) = scene();
    assert_eq!(client.ask("PGPOOL SHOW num_init_children"), "3");
    assert_eq!(client.ask("pgpool show BACKEND_WEIGHT2"), "2");
    assert_eq!(client.ask("PGPOOL SHOW load_balance_mode;"), "on");
    let reply = client.query("PGPOOL SHOW no_such_parameter");
    let error = reply.error().unwrap();
    assert!(error.message.contains("no_such_parameter"), "{error:?}");
    assert_eq!(client.ask("SELECT 1"), "1");
    let status = client.query("SHOW POOL_STATUS").succeeded();
    let items = status.column("item");
    for item in ["listen_addresses", "port", "num_init_children", "backend_hostname0", "backend_port2"] {
        assert!(items.iter().any(|of| of == item), "{item}");
    }
}

#[test]
fn passwords_are_not_shown() {
    let balancer = Balancer::start(Conf::of(shared()).set("sr_check_password", "'very_private'"));
    let mut client = Client::connect(&balancer.door("postgres"));
    for command in ["SHOW POOL_STATUS", "PGPOOL SHOW ALL", "PGPOOL SHOW sr_check_password"] {
        let reply = client.query(command).succeeded();
        assert!(!format!("{:?}", reply.rows()).contains("very_private"), "{command}");
    }
}

#[test]
fn other_show_commands_are_postgresqls_own() {
    let (_balancer, mut client) = scene();
    assert_eq!(client.ask("SHOW server_version_num").len(), 6);
    assert_eq!(client.query("SHOW pool_no_such_thing").error_code(), "42704");
}
