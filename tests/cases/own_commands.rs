//! What is asked of us and not of PostgreSQL, over the extended protocol, and why a statement goes where it goes.

use super::scene::{Scene, reads_on_one};
use crate::harness::Client;

#[test]
fn our_commands_are_answered_in_the_extended_protocol() {
    let scene = Scene::new("own_extended", reads_on_one);
    let mut client = scene.client();
    let simple = client.query("SHOW POOL_NODES");
    let reply = client.extended("SHOW POOL_NODES", &[]);
    assert_eq!(reply.kinds(), "12TDDDCZ");
    assert_eq!((reply.columns(), reply.tags()), (simple.columns(), simple.tags()));
    assert_eq!(client.extended("PGPOOL SHOW port", &[]).columns(), ["port"]);
    assert_eq!(client.extended("PGPOOL SET client_idle_limit TO 77", &[]).kinds(), "12nCZ");
    assert_eq!(client.ask("PGPOOL SHOW client_idle_limit"), "77s");
    assert_eq!(client.extended("PGPOOL RESET client_idle_limit", &[]).tags(), ["SET"]);
    // A named statement, described alone, in pieces, and closed.
    client.parse("mine", "SHOW POOL_NODES").describe('S', "mine").sync().send();
    assert_eq!(client.until_ready().kinds(), "1tTZ");
    client.bind("p", "mine", &[]).execute("p", 2).execute("p", 2).execute("p", 2).sync().send();
    let pieces = client.until_ready();
    assert_eq!(
        (pieces.kinds(), pieces.tags()),
        ("2DDsDCCZ".to_owned(), ["SELECT 1", "SELECT 0"].map(str::to_owned).to_vec())
    );
    client.close('S', "mine").close('P', "p").bind("", "mine", &[]).sync().send();
    assert_eq!(client.until_ready().error_code(), "26000");
    // Errors are those of the protocol: the rest is skipped up to Sync.
    let error = client.extended("PGPOOL SHOW nosuch", &[]);
    assert_eq!((error.kinds().as_str(), error.error_code()), ("12EZ", "XX000".to_owned()));
    client
        .parse("twice", "SHOW POOL_VERSION")
        .parse("twice", "SHOW POOL_VERSION")
        .bind("", "twice", &[])
        .sync()
        .send();
    let error = client.until_ready();
    assert_eq!((error.kinds().as_str(), error.error_code()), ("1EZ", "42P05".to_owned()));
    client.parse("", "SHOW POOL_VERSION").bind("", "", &["1"]).execute("", 0).sync().send();
    assert_eq!(client.until_ready().error_code(), "08P01");
    assert_eq!(client.ask("SELECT n FROM t"), "1");
}

#[test]
fn our_commands_keep_their_place_among_statements_of_the_servers() {
    let scene = Scene::new("own_mixed", reads_on_one);
    let mut client = scene.client();
    client.query("BEGIN").succeeded();
    for (name, sql) in
        [("a", "SELECT n FROM t"), ("b", "SHOW POOL_VERSION"), ("c", "UPDATE t SET n = 2 RETURNING n")]
    {
        client.parse(name, sql).bind(name, name, &[]).execute(name, 0);
    }
    client.sync().send();
    let reply = client.until_ready();
    assert_eq!((reply.kinds().as_str(), reply.status()), ("12DC12DC12DCZ", 'T'));
    let rows: Vec<String> = reply.rows().into_iter().map(|row| row[0].clone().unwrap()).collect();
    assert_eq!((rows[0].as_str(), rows[2].as_str()), ("1", "2"));
    // The same name for one of ours and one of theirs.
    client.parse("", "SHOW POOL_VERSION").bind("", "", &[]).execute("", 0).sync().send();
    assert_eq!(client.until_ready().kinds(), "12DCZ");
    client.parse("", "SELECT n FROM t").bind("", "", &[]).execute("", 0).sync().send();
    assert_eq!(client.until_ready().rows(), [[Some("2".to_owned())]]);
    client.parse("b", "SELECT 1").sync().send();
    assert_eq!(client.until_ready().error_code(), "42P05");
    assert_eq!(client.query("ROLLBACK").tags(), ["ROLLBACK"]);
    // Pipelined: each answer after the one before.
    for sql in ["SELECT 11", "SHOW POOL_VERSION", "SELECT 12"] {
        client.parse("", sql).bind("", "", &[]).execute("", 0).sync();
    }
    client.send();
    let first = ["11", "4.7.2", "12"];
    for expected in first {
        assert!(client.until_ready().value().unwrap().starts_with(expected));
    }
}

fn explain(client: &mut Client, statement: &str) -> String {
    let reply = client.query(&format!("PGPOOL EXPLAIN ROUTE {statement}"));
    let column = |name: &str| reply.column(name).pop().unwrap();
    format!("{} {}: {}", column("node_id"), column("rule"), column("reason"))
}

#[test]
fn a_route_is_explained() {
    let scene = Scene::new("explained", reads_on_one);
    scene.cluster.prepare(
        &scene.database,
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW v AS SELECT f() AS n FROM t",
    );
    let mut client = scene.client();
    assert_eq!(explain(&mut client, "SELECT n FROM t"), "1 read: read");
    assert_eq!(
        explain(&mut client, "SELECT abs(n), f() FROM v"),
        "0 volatile_function: function f is volatile"
    );
    assert_eq!(explain(&mut client, "TABLE v;"), "0 view: view v: function f is volatile");
    assert_eq!(
        explain(&mut client, "INSERT INTO t VALUES (1)"),
        "0 primary_command: INSERT runs on the primary"
    );
    assert_eq!(explain(&mut client, "SELEC"), "0 not_parsed: not understood, so treated as a write");
    let all = client.extended("PGPOOL EXPLAIN ROUTE SELECT abs(n), f() FROM v", &[]);
    assert_eq!(all.column("candidates"), ["1"]);
    assert_eq!(all.column("relations"), ["v, t"]);
    assert_eq!(all.column("functions"), ["abs (not volatile), f (volatile)"]);
    assert_eq!(
        (all.column("target"), all.column("counts_as_write")),
        (vec!["primary".into()], vec!["anything".into()])
    );
    // Nothing of it has run, and it follows the state of the session.
    client.query("BEGIN").succeeded();
    assert_eq!(explain(&mut client, "SELECT n FROM t"), "1 read: read");
    client.query("UPDATE t SET n = 3").succeeded();
    assert_eq!(explain(&mut client, "SELECT n FROM t"), "0 transaction_wrote: the transaction has written");
    client.query("ROLLBACK").succeeded();
    assert_eq!(client.ask("SELECT count(*) FROM t"), "1");
    assert_eq!(client.query("PGPOOL EXPLAIN ROUTE").error_code(), "42601");
}
