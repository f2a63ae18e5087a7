//! The protocol, message by message: what PostgreSQL answers is what the program answers.

use std::time::Duration;

use super::both_ways;
use crate::harness::balancer::Conf;
use crate::harness::client::{Client, PROTOCOL_3_0};
use crate::harness::message::{Body, Reply};
use crate::harness::{Balancer, Door, shared, tools, wait};

const PROTOCOL_3_2: i32 = 0x3_0002;
const SSL_REQUEST: i32 = 80_877_103;
const GSSENC_REQUEST: i32 = 80_877_104;

#[test]
fn simple_queries_answer_with_the_same_messages() {
    let cases = [
        ("SELECT 1", "TDCZ"),
        ("", "IZ"),
        (";", "IZ"),
        ("SELECT 1; SELECT 2 WHERE false", "TDCTCZ"),
        ("SELECT 1; SELECT 1/0; SELECT 2", "TDCEZ"),
        ("SELEC", "EZ"),
        ("CREATE TEMP TABLE t (); DROP TABLE t", "CCZ"),
        ("/* only a comment */", "IZ"),
    ];
    both_ways("simple", |door| {
        let mut client = Client::connect(door);
        for (sql, kinds) in cases {
            assert_eq!(client.query(sql).kinds(), kinds, "{sql}");
        }
    });
}

#[test]
fn extended_queries_answer_with_the_same_messages() {
    both_ways("extended", |door| {
        let mut client = Client::connect(door);
        let reply = client.extended("SELECT $1::int + 1", &["41"]);
        assert_eq!((reply.kinds().as_str(), reply.value().as_deref()), ("12TDCZ", Some("42")));
        assert_eq!(client.extended("CREATE TEMP TABLE t (a int)", &[]).kinds(), "12nCZ");
        assert_eq!(client.extended("", &[]).kinds(), "12nIZ");

        client.parse("s", "SELECT generate_series(1, $1::int)").describe('S', "s").sync();
        assert_eq!(client.send().until_ready().kinds(), "1tTZ");
        client.bind("p", "s", &["5"]).execute("p", 2).execute("p", 2).execute("p", 2).sync();
        assert_eq!(client.send().until_ready().kinds(), "2DDsDDsDCZ");
        client.close('S', "s").close('P', "never opened").sync();
        assert_eq!(client.send().until_ready().kinds(), "33Z");
    });
}

#[test]
fn flush_brings_the_answers_without_a_sync() {
    both_ways("flush", |door| {
        let mut client = Client::connect(door);
        client.parse("", "SELECT 7").flush().send();
        assert_eq!(client.until('1').kinds(), "1");
        client.bind("", "", &[]).execute("", 0).flush().send();
        assert_eq!(client.until('C').value().as_deref(), Some("7"));
        assert_eq!(client.sync().send().until_ready().kinds(), "Z");
    });
}

#[test]
fn a_pipeline_is_answered_in_order() {
    both_ways("pipeline", |door| {
        let mut client = Client::connect(door);
        for number in 0..200 {
            client.parse("", "SELECT $1").bind("", "", &[&number.to_string()]).execute("", 0).sync();
        }
        client.send();
        for number in 0..200 {
            assert_eq!(client.until_ready().value(), Some(number.to_string()));
        }
    });
}

#[test]
fn simple_queries_may_be_sent_ahead() {
    both_ways("ahead", |door| {
        let mut client = Client::connect(door);
        client
            .simple("BEGIN")
            .simple("SELECT 1/0")
            .simple("SELECT 1")
            .simple("ROLLBACK")
            .simple("SELECT 2")
            .send();
        let statuses: String = (0..5).map(|_| client.until_ready().status()).collect();
        assert_eq!(statuses, "TEEII");
    });
}

#[test]
fn an_error_in_a_pipeline_skips_to_the_next_sync() {
    both_ways("pipeline_error", |door| {
        let mut client = Client::connect(door);
        client.parse("", "SELECT 1").bind("", "", &[]).execute("", 0);
        client.parse("", "SELECT 1/0").bind("", "", &[]).execute("", 0);
        client.parse("", "SELECT 3").bind("", "", &[]).execute("", 0).sync();
        client.parse("", "SELECT 4").bind("", "", &[]).execute("", 0).sync();
        let reply = client.send().until_ready();
        assert!(["12DC12EZ", "12DC1EZ"].contains(&reply.kinds().as_str()), "{}", reply.kinds());
        assert_eq!(reply.error_code(), "22012");
        assert_eq!(client.until_ready().value().as_deref(), Some("4"));
    });
}

#[test]
fn errors_of_every_phase_leave_the_session_usable() {
    type Phase = fn(&mut Client) -> &mut Client;
    let cases: [(&str, Phase, &str); 9] = [
        ("parse: syntax", |client| client.parse("", "SELEC 1"), "42601"),
        ("parse: no such table", |client| client.parse("", "SELECT * FROM nowhere"), "42P01"),
        ("bind: no such statement", |client| client.bind("", "nobody", &[]), "26000"),
        ("bind: too few values", |client| client.parse("", "SELECT $1::int").bind("", "", &[]), "08P01"),
        ("bind: a bad value", |client| client.parse("", "SELECT $1::int").bind("", "", &["x"]), "22P02"),
        ("describe: no such statement", |client| client.describe('S', "nobody"), "26000"),
        ("describe: no such portal", |client| client.describe('P', "nobody"), "34000"),
        ("execute: no such portal", |client| client.execute("nobody", 0), "34000"),
        (
            "execute: division by zero",
            |client| client.parse("", "SELECT 1/(SELECT 0)").bind("", "", &[]).execute("", 0),
            "22012",
        ),
    ];
    both_ways("phases", |door| {
        let mut client = Client::connect(door);
        for (phase, send, code) in cases {
            send(&mut client).sync().send();
            let reply = client.until_ready();
            assert_eq!(reply.error_code(), code, "{phase}");
            assert_eq!(reply.status(), 'I', "{phase}");
            assert_eq!(client.ask("SELECT 'usable'"), "usable", "after {phase}");
        }
    });
}

#[test]
fn an_error_in_a_transaction_fails_it_until_rollback() {
    both_ways("failed", |door| {
        let mut client = Client::connect(door);
        assert_eq!(client.query("BEGIN").status(), 'T');
        assert_eq!(client.query("SELECT 1/0").status(), 'E');
        assert_eq!(client.query("SELECT 1").error_code(), "25P02");
        assert_eq!(client.extended("SELECT 1", &[]).error_code(), "25P02");
        let commit = client.query("COMMIT");
        assert_eq!((commit.tags(), commit.status()), (vec!["ROLLBACK".to_owned()], 'I'));
    });
}

#[test]
fn notices_come_before_the_end_of_their_statement() {
    both_ways("notice", |door| {
        let mut client = Client::connect(door);
        let reply = client.query("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$");
        assert_eq!(reply.kinds(), "NNCZ");
        let texts: Vec<String> = reply.notices().into_iter().map(|notice| notice.message).collect();
        assert_eq!(texts, ["one", "two"]);
    });
}

#[test]
fn a_notification_reaches_an_idle_listener() {
    both_ways("notify", |door| {
        let mut listener = Client::connect(door);
        listener.query("LISTEN news").succeeded();
        Client::connect(door).query("NOTIFY news, 'hello'").succeeded();
        // Nothing was asked since: it comes by itself.
        let message = listener.read().unwrap();
        assert_eq!(message.kind, 'A');
        assert_eq!(&message.body[4..], b"news\0hello\0");
    });
}

#[test]
fn parameters_are_reported_at_start_and_when_they_change() {
    both_ways("parameter", |door| {
        let options =
            [("application_name", "probe"), ("options", "-c geqo_threshold=7"), ("TimeZone", "Asia/Tokyo")];
        let mut client = Client::try_connect(door, &options).unwrap();
        assert_eq!(client.parameters["application_name"], "probe");
        assert_eq!(client.parameters["TimeZone"], "Asia/Tokyo");
        assert!(client.parameters["server_version"].starts_with(|first: char| first.is_ascii_digit()));
        assert_eq!(client.ask("SHOW geqo_threshold"), "7");
        client.query("SET application_name = 'changed'").succeeded();
        assert_eq!(client.parameters["application_name"], "changed");
        client.query("RESET application_name").succeeded();
        assert_eq!(client.parameters["application_name"], "probe");
    });
}

#[test]
fn a_bad_start_up_option_is_refused_as_by_the_server() {
    both_ways("bad_option", |door| {
        let refused = Client::try_connect(door, &[("no_such_parameter", "1")]).err().expect("a refusal");
        assert_eq!((refused.severity.as_str(), refused.code.as_str()), ("FATAL", "42704"));
        let refused = Client::try_connect(&door.to("no_such_database"), &[]).err().expect("a refusal");
        assert_eq!(refused.code, "3D000");
        Client::connect(door).query("SELECT 1").succeeded();
    });
}

#[test]
fn a_function_call_message_is_answered() {
    const INT4PL: i32 = 177;
    both_ways("function", |door| {
        let mut client = Client::connect(door);
        let call = Body::default().int32(INT4PL).int16(0).int16(2);
        let call = call.int32(2).bytes(b"40").int32(1).bytes(b"2").int16(0);
        let reply = client.message('F', call).send().until_ready();
        assert_eq!(reply.kinds(), "VZ");
        assert_eq!(&reply.messages[0].body[4..], b"42");
    });
}

#[test]
fn encryption_requests_are_declined_and_the_session_goes_on() {
    both_ways("encryption", |door| {
        let mut client = Client::open(door);
        for request in [GSSENC_REQUEST, SSL_REQUEST] {
            client.send_packet(&request.to_be_bytes());
            let answer = client.read_bytes(1).unwrap();
            if answer == b"S" || answer == b"G" {
                return; // a server that can encrypt; the program cannot
            }
            assert_eq!(answer, b"N");
        }
        let start = Body::default().int32(PROTOCOL_3_0).text("user").text(&door.user);
        client.send_packet(&start.text("database").text(&door.database).bytes(&[0]).0);
        client.until_ready();
    });
}

#[test]
fn protocol_3_2_is_served_or_negotiated() {
    both_ways("minor", |door| {
        let mut client = Client::start(door, PROTOCOL_3_2, &[("_pq_.made_up", "1")]).unwrap();
        let negotiated = client.greeting.iter().find(|message| message.kind == 'v');
        let body = &negotiated.expect("NegotiateProtocolVersion for the unknown option").body;
        assert!(body.ends_with(b"_pq_.made_up\0"), "{body:?}");
        assert_eq!(client.ask("SELECT 1"), "1");
        assert!(client.key.len() >= 4);
    });
}

#[test]
fn what_is_not_the_protocol_is_refused_and_nobody_else_notices() {
    both_ways("garbage", |door| {
        let mut other = Client::connect(door);
        for packet in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 0, 0, 0, 0, 0], &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0]]
        {
            let mut client = Client::open(door);
            client.send_raw(packet);
            assert!(client.is_closed_within(Duration::from_secs(5)), "{packet:?}");
        }
        let mut client = Client::connect(door);
        client.message('?', Body::default()).send();
        assert!(client.is_closed_within(Duration::from_secs(5)));
        assert_eq!(other.ask("SELECT 'here'"), "here");
    });
}

#[test]
fn clients_connect_over_ipv6_and_the_unix_socket() {
    let cluster = shared();
    let database = cluster.database("places");
    let balancer = Balancer::start(Conf::of(cluster).set("listen_addresses", "'*'"));
    let door = balancer.door(&database);
    let unix = balancer.local_door(&database);
    let ipv6 = Door { host: "::1".to_owned(), ..door };
    let machine_has_ipv6 = std::net::TcpListener::bind(("::1", 0)).is_ok();
    for door in [Some(unix), machine_has_ipv6.then_some(ipv6)].into_iter().flatten() {
        let ran = tools::run(tools::psql(&door).args(["-c", "SELECT 'in'"])).succeeded();
        assert_eq!(ran.out, "in\n", "{}", door.host);
    }
}

#[test]
fn an_idle_session_notices_the_end_of_its_server_process() {
    both_ways("terminated", |door| {
        let mut client = Client::connect(door);
        let pid = client.ask("SELECT pg_backend_pid()");
        Client::connect(&shared().door(0, "postgres")).query(&format!("SELECT pg_terminate_backend({pid})"));
        wait::until_true("an error, the end, or another server process", || {
            if client.simple("SELECT pg_backend_pid()").try_send().is_err() {
                return true;
            }
            let mut reply = Reply::default();
            while !reply.kinds().ends_with(['E', 'Z']) {
                let Ok(message) = client.read() else { return true };
                reply.messages.push(message);
            }
            reply.error().is_some() || reply.value().as_ref() != Some(&pid)
        });
    });
}

#[test]
fn a_simple_query_within_a_batch_that_has_no_sync() {
    both_ways("within", |door| {
        Client::connect(door).query("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").succeeded();
        let count = || Client::connect(door).ask("SELECT count(*) FROM t");
        let mut client = Client::connect(door);
        // Behind a read, behind a write, behind what is only announced.
        client.parse("", "SELECT n FROM t").bind("", "", &[]).execute("", 0).simple("SELECT 5").send();
        assert_eq!(client.until_ready().kinds(), "12DCTDCZ");
        client
            .parse("s", "INSERT INTO t VALUES (2)")
            .bind("", "s", &[])
            .execute("", 0)
            .simple("SELECT n FROM t")
            .send();
        assert_eq!(client.until_ready().kinds(), "12CTDDCZ");
        client.parse("r", "SELECT 6").describe('S', "r").simple("SELECT 7").sync().send();
        assert_eq!(
            (client.until_ready().kinds().as_str(), client.until_ready().kinds().as_str()),
            ("1tTTDCZ", "Z")
        );
        // All of it is one transaction.
        client.bind("", "s", &[]).execute("", 0).simple("SELECT 1/0").send();
        assert_eq!(client.until_ready().kinds(), "2CEZ");
        assert_eq!(count(), "2");
        // Behind an error it is skipped, as all up to the Sync.
        client
            .parse("", "SELECT 1/0")
            .bind("", "", &[])
            .execute("", 0)
            .simple("INSERT INTO t VALUES (3)")
            .sync()
            .send();
        assert_eq!(client.until_ready().kinds(), "1EZ");
        assert_eq!(count(), "2");
        client.parse("", "BEGIN").bind("", "", &[]).execute("", 0).simple("INSERT INTO t VALUES (4)").send();
        let reply = client.until_ready();
        assert_eq!((reply.kinds().as_str(), reply.status()), ("12CCZ", 'T'));
        client.bind("", "s", &[]).execute("", 0).simple("ROLLBACK").send();
        assert_eq!((client.until_ready().status(), count().as_str()), ('I', "2"));
        // With an answer for the first part already here.
        client.parse("", "SELECT 8").bind("", "", &[]).execute("", 0).flush().send();
        assert_eq!(client.until('C').kinds(), "12DC");
        client.simple("SELECT 9").send();
        assert_eq!(client.until_ready().kinds(), "TDCZ");
    });
}

#[test]
fn a_transaction_that_has_failed_behind_a_chained_one_takes_its_end() {
    both_ways("chained", |door| {
        let mut client = Client::connect(door);
        client.query("BEGIN ISOLATION LEVEL REPEATABLE READ").succeeded();
        client.query("SET TIME ZONE 'America/Lima'").succeeded();
        let chained =
            "ROLLBACK AND CHAIN; SET client_min_messages = 'error'; COMMIT AND CHAIN; FETCH 2 FROM nothing";
        assert_eq!(client.query(chained).status(), 'E');
        assert_eq!(client.query("ROLLBACK").tags(), ["ROLLBACK"]);
        assert_eq!(client.ask("SHOW client_min_messages"), "error");
    });
}
