//! COPY in both directions, and COPY that goes wrong.

use std::io::Write;
use std::time::Duration;

use super::both_ways;
use crate::harness::message::Body;
use crate::harness::{Client, shared, tools, wait};

/// Rows of a kilobyte each; ten thousand make ten megabytes.
const MANY: &str = "SELECT n, repeat(chr(97 + n % 26), 1000) FROM generate_series(1, 10000) AS n";

#[test]
fn ten_megabytes_come_out_and_go_in_unchanged() {
    both_ways("copy", |door| {
        let out =
            tools::run(tools::psql(door).args(["-c", &format!("COPY ({MANY}) TO STDOUT")])).succeeded().out;
        assert_eq!(out.lines().count(), 10_000);

        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(out.as_bytes()).unwrap();
        let copy = format!("\\copy t FROM '{}'", file.path().display());
        let create = "CREATE TABLE t (n int, note text)";
        tools::run(tools::psql(door).args(["-c", create, "-c", &copy])).succeeded();
        let hash = "SELECT md5(string_agg(note, '' ORDER BY n)) FROM ";
        let mut client = Client::connect(door);
        let hash_of = |client: &mut Client, from: &str| client.ask(&format!("{hash} {from}"));
        let arrived = hash_of(&mut client, "t");
        assert_eq!(arrived, hash_of(&mut client, &format!("({MANY}) AS all_of(n, note)")));
    });
}

fn start_copy(client: &mut Client) {
    client.query("DROP TABLE IF EXISTS t; CREATE TABLE t (n int)").succeeded();
    client.simple("COPY t FROM STDIN").send();
    assert_eq!(client.until('G').kinds(), "G");
}

fn rows(client: &mut Client) -> String {
    client.ask("SELECT count(*) FROM t")
}

#[test]
fn copy_in_ends_well_with_copy_done() {
    both_ways("copy_done", |door| {
        let mut client = Client::connect(door);
        start_copy(&mut client);
        // Sync and Flush mean nothing while data flows.
        client.message('d', Body(b"1\n2\n".to_vec())).sync().flush();
        client.message('d', Body(b"3\n".to_vec())).message('c', Body::default());
        let reply = client.send().until_ready();
        assert_eq!((reply.kinds().as_str(), reply.tags()), ("CZ", vec!["COPY 3".to_owned()]));
        assert_eq!(rows(&mut client), "3");
    });
}

#[test]
fn copy_in_ends_badly_with_copy_fail_or_a_bad_row() {
    both_ways("copy_fail", |door| {
        let mut client = Client::connect(door);
        for (data, end, code) in [("1\n", 'f', "57014"), ("not a number\n", 'c', "22P02")] {
            start_copy(&mut client);
            let reason = if end == 'f' { Body::default().text("changed my mind") } else { Body::default() };
            client.message('d', Body(data.into())).message(end, reason);
            assert_eq!(client.send().until_ready().error_code(), code);
            assert_eq!(rows(&mut client), "0");
        }
    });
}

#[test]
fn copy_works_in_the_extended_protocol() {
    both_ways("copy_extended", |door| {
        let mut client = Client::connect(door);
        client.query("CREATE TABLE t (n int)").succeeded();
        client.parse("", "COPY t FROM STDIN").bind("", "", &[]).execute("", 0).flush().send();
        assert_eq!(client.until('G').kinds(), "12G");
        client.message('d', Body(b"5\n".to_vec())).message('c', Body::default()).sync();
        assert_eq!(client.send().until_ready().kinds(), "CZ");
        let reply = client.extended("COPY t TO STDOUT", &[]);
        assert_eq!(reply.kinds(), "12nHdcCZ");
    });
}

#[test]
fn a_client_that_vanishes_in_copy_leaves_nothing_behind() {
    both_ways("copy_vanish", |door| {
        let mut client = Client::connect(door);
        start_copy(&mut client);
        client.message('d', Body(b"1\n".to_vec())).send();
        drop(client);
        let copying = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND query LIKE 'COPY%' AND state <> 'idle'",
            door.database
        );
        wait::until_true("the COPY to end", || shared().on_primary("postgres", &copying) == "0");
        for _ in 0..3 {
            let mut next = Client::connect(door);
            assert_eq!(rows(&mut next), "0");
            next.terminate();
        }
        assert!(!Client::connect(door).is_closed_within(Duration::from_millis(50)));
    });
}
