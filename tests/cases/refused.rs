//! A read that a standby refuses, though nothing said that it would: it runs on the primary, and the client does not
//! notice.

use super::scene::{STANDBY, Scene, reads_on_one};
use crate::harness::Client;
use crate::harness::message::Reply;

/// A function that says it only reads, and takes a number from a sequence.
const LIAR: &str = "CREATE SEQUENCE s; CREATE FUNCTION liar(n int) RETURNS bigint STABLE LANGUAGE sql
    AS 'SELECT nextval(''s'')'; CREATE TABLE later (n int); INSERT INTO later VALUES (1)";

fn scene(topic: &str) -> Scene {
    let scene = Scene::new(topic, reads_on_one);
    scene.cluster.prepare(&scene.database, LIAR);
    scene.cluster.catch_up();
    scene
}

#[test]
fn a_read_that_a_standby_refuses_runs_on_the_primary_unseen() {
    let scene = scene("refused");
    let direct = |run: &dyn Fn(&mut Client) -> Vec<Reply>| {
        let expected = run(&mut Client::connect(&scene.cluster.door(0, &scene.database)));
        let got = run(&mut scene.client());
        let both = [expected, got].map(|replies| replies.iter().map(Reply::kinds).collect::<Vec<_>>());
        assert_eq!(both[0], both[1]);
    };
    direct(&|client| vec![client.query("SELECT liar(1)"), client.query("SELECT liar(1)")]);
    direct(&|client| vec![client.extended("SELECT liar(2)", &[]), client.extended("SELECT liar(2)", &[])]);
    // A named statement, bound again and again; in a batch with another one before it.
    direct(&|client| {
        client.parse("other", "SELECT n FROM t").parse("named", "SELECT liar(3)");
        client.bind("", "named", &[]).describe('P', "").execute("", 0).sync().send();
        let first = client.until_ready();
        client.bind("", "named", &[]).execute("", 0).sync().send();
        let second = client.until_ready();
        client.bind("", "other", &[]).execute("", 0).sync().send();
        vec![first, second, client.until_ready()]
    });
    // In a transaction, that goes on.
    direct(&|client| {
        ["BEGIN", "SELECT n FROM t", "SELECT liar(4)", "SELECT n FROM t", "UPDATE t SET n = n", "COMMIT"]
            .map(|sql| client.query(sql))
            .into()
    });
    // By PREPARE and EXECUTE.
    direct(&|client| {
        ["PREPARE p AS SELECT liar(5)", "EXECUTE p", "EXECUTE p", "SELECT 1"]
            .map(|sql| client.query(sql))
            .into()
    });
    // What fails on the primary as well fails.
    direct(&|client| vec![client.query("SELECT liar(6), 1 / (n - 1) FROM t"), client.query("SELECT 1")]);
    assert!(scene.balancer.log_contains("backend 1 refused a read as a standby, it is run on the primary"));
}

#[test]
fn what_was_refused_is_remembered_until_the_catalog_changes() {
    let scene = scene("refused_once");
    let since = scene.marks();
    let mut client = scene.client();
    for _ in 0..3 {
        client.query("SELECT liar(1), 'again'").succeeded();
    }
    assert_eq!(scene.nodes_that_ran("SELECT liar(1), 'again'", &since), [0, 1]);
    let refusals = || scene.balancer.log().matches("refused a read as a standby").count();
    assert_eq!(refusals(), 1);
    // A table that became unlogged behind our back.
    client.query("SELECT n FROM later").succeeded();
    scene.cluster.on_primary(&scene.database, "DROP TABLE later; CREATE UNLOGGED TABLE later (n int)");
    scene.cluster.catch_up();
    client.query("SELECT n FROM later").succeeded();
    client.query("SELECT n FROM later").succeeded();
    assert_eq!(refusals(), 2);
    client.query("DROP TABLE later; CREATE TABLE later (n int)").succeeded();
    scene.cluster.catch_up();
    let since = scene.marks();
    client.query("SELECT n FROM later").succeeded();
    assert_eq!(scene.nodes_that_ran("SELECT n FROM later", &since), STANDBY);
}
