//! Servers of the versions between the oldest and the newest: clients work, reads go to the standby, the catalog is understood.
//! What is lost and recovered with the oldest and the newest stands in `survive.rs` and `recovery.rs`.

use crate::harness::balancer::Conf;
use crate::harness::tools;
use crate::harness::{Balancer, Client, Cluster};

const SETUP: &str = "
    CREATE TABLE t (n int); INSERT INTO t VALUES (1); CREATE UNLOGGED TABLE unlogged (n int);
    CREATE VIEW v AS SELECT n FROM t; CREATE VIEW v_unlogged AS SELECT n FROM unlogged; CREATE SEQUENCE s;
    CREATE FUNCTION reader() RETURNS int STABLE LANGUAGE sql AS 'SELECT n FROM t';
    CREATE FUNCTION writer() RETURNS int VOLATILE LANGUAGE sql AS 'UPDATE t SET n = n RETURNING n'";

/// Where a read goes: to the standby (1) or to the primary (0).
const READS: [(&str, usize); 7] = [
    ("SELECT inet_server_port() FROM t", 1),
    ("SELECT inet_server_port() FROM v", 1),
    ("SELECT inet_server_port() FROM (SELECT reader()) r", 1),
    ("SELECT inet_server_port() FROM (SELECT writer()) w", 0),
    ("SELECT inet_server_port() FROM (SELECT count(*) FROM v_unlogged) u", 0),
    ("SELECT inet_server_port() FROM s", 0),
    ("SELECT inet_server_port() FROM pg_class LIMIT 1", 0),
];

#[test]
fn a_primary_and_a_standby_of_the_versions_in_between_are_served() {
    for version in [14, 16, 17] {
        let cluster = Cluster::small(Some(version), 1);
        cluster.prepare("postgres", SETUP);
        let verifier =
            cluster.on_primary("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'scram_user'");
        let conf = (Conf::of(&cluster)
            .with_places(&cluster)
            .set("backend_weight0", "0")
            .set("num_init_children", "2"))
        .set("enable_pool_hba", "on")
        .set("pool_passwd", "'pool_passwd'")
        .set("read_after_write", "session");
        let rules = "host all scram_user all scram-sha-256\nhost all all all trust\n";
        let passwords = format!("scram_user:{verifier}\n");
        let files = [("pool_hba.conf", rules), ("pool_passwd", &*passwords)];
        let balancer = Balancer::start_with(conf, &files);

        let mut client = Client::connect(&balancer.door("postgres"));
        assert!(client.ask("SHOW server_version").starts_with(&format!("{version}.")));
        let nodes = client.query("SHOW POOL_NODES").succeeded();
        assert_eq!(nodes.column("role"), ["primary", "standby"], "{version}");
        assert_eq!(nodes.column("replication_state"), ["", "streaming"], "{version}");
        for (sql, node) in READS {
            let port = client.ask(sql);
            assert_eq!(cluster.node_of_port(&port), node, "{version}: {sql}");
        }

        let mut psql = tools::psql(&balancer.door("postgres").as_user("scram_user"));
        let ran = tools::run(psql.args(["-c", "SELECT session_user"]).env("PGPASSWORD", "scram_user_secret"));
        assert_eq!(ran.succeeded().out, "scram_user\n", "{version}");
        let tour = |door| tools::run(&mut tools::python(door, "tour.py")).succeeded().out;
        assert_eq!(tour(&balancer.door("postgres")), tour(&cluster.door(0, "postgres")), "{version}");
    }
}
