//! What once left a client waiting, or told it the wrong thing.
#![forbid(unsafe_code)]

use super::rig::{PRIMARY, Rig, STANDBY, complete, error, query};
use super::{NOTHING, answer_pbe, bind, parse_bind_execute};
use crate::net::HIGH_WATER;
use crate::wire::backend::{TxStatus, put_parse_complete, put_ready};
use crate::wire::frontend;

fn parse(name: &str, sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::put_parse(&mut out, name.as_bytes(), sql.as_bytes(), &[]);
    out
}

const SYNC: &[u8] = b"S\0\0\0\x04";

#[test]
fn statements_that_execute_each_other_are_followed_once() {
    let mut rig = Rig::new("");
    rig.client(&parse("a", "EXECUTE b"));
    rig.client(&parse("b", "EXECUTE a"));
    let mut out = Vec::new();
    bind(&mut out, "a");
    rig.client(&out);
    assert!(!rig.session.is_closed());
}

#[test]
fn a_query_behind_an_error_in_its_batch_does_not_wait_for_ever() {
    let mut rig = Rig::new("");
    rig.client(&parse("", "BAD"));
    rig.client(&query("SELECT 1"));
    rig.client(SYNC);
    // Asked for its answer, the server sends the error; the query is skipped, the Sync ends it all.
    assert_eq!(rig.sent_to(PRIMARY), ["P", "H"]);
    let (error, ready) = (error(TxStatus::Idle), b"Z\0\0\0\x05I");
    rig.node(PRIMARY, error.strip_suffix(ready).unwrap());
    assert_eq!((rig.client_got(), rig.sent_to(PRIMARY)), (vec!["E 22012".to_owned()], vec!["S".to_owned()]));
    rig.node(PRIMARY, ready);
    assert_eq!(rig.client_got(), ["Z I"]);
    rig.run("SELECT 2", STANDBY, "SELECT 1", TxStatus::Idle);
}

#[test]
fn an_error_of_one_batch_does_not_undo_what_the_next_one_sets() {
    let mut rig = Rig::new("");
    let mut two = parse_bind_execute("", "INSERT INTO t VALUES (1)");
    two.extend(parse_bind_execute("", "SET search_path TO a"));
    rig.client(&two);
    rig.node(PRIMARY, &error(TxStatus::Idle));
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    rig.client(&query("SELECT 1"));
    assert_eq!(rig.sent_to(STANDBY), ["Q SET search_path TO a"]);
}

#[test]
fn a_batch_on_the_primary_is_not_torn_by_a_question_to_the_catalog() {
    let mut rig = Rig::new("");
    rig.client(&parse("a", "INSERT INTO t VALUES (1)"));
    rig.client(&parse("b", "SELECT f(1)"));
    rig.client(SYNC);
    assert_eq!(rig.sent_to(PRIMARY), ["P", "P", "S"]);
}

#[test]
fn a_connection_with_a_batch_open_is_not_lent_again() {
    let mut rig = Rig::new("");
    rig.client(&parse("", "SELECT 1"));
    let mut out = Vec::new();
    bind(&mut out, "");
    rig.client(&out);
    let mut answer = Vec::new();
    put_parse_complete(&mut answer);
    rig.node(STANDBY, &answer);
    let conn = rig.conn(STANDBY);
    rig.client(b"X\0\0\0\x04");
    assert!(rig.wire.closed.contains(&conn));
}

#[test]
fn answers_of_our_own_stop_at_a_slow_client() {
    let mut rig = Rig::new("");
    rig.wire.stuck.insert(rig.session.client, 2 * HIGH_WATER);
    rig.client(&query("SHOW POOL_STATUS"));
    assert_eq!(rig.client_got(), NOTHING);
    rig.wire.stuck.clear();
    rig.step(|session, ctx| session.on_client_drained(ctx));
    assert_eq!(rig.client_got().last().map(String::as_str), Some("Z I"));
}

#[test]
fn a_long_message_stops_at_a_slow_node() {
    let mut rig = Rig::new("");
    rig.client(&parse("", "INSERT INTO t VALUES ($1)"));
    rig.sent_to(PRIMARY);
    rig.client(b"B\x3f\xff\xff\xff\0\0\0\0");
    let conn = rig.conn(PRIMARY);
    rig.wire.sent.remove(&conn);
    rig.wire.stuck.insert(conn, 2 * HIGH_WATER);
    rig.client(&vec![1; 100_000]);
    assert!(!rig.wire.sent.contains_key(&conn));
    assert_eq!(rig.wire.paused, [rig.session.client]);
    rig.wire.stuck.clear();
    rig.step(|session, ctx| session.pump(ctx));
    assert_eq!(rig.wire.sent[&conn].len(), 100_000);
    assert!(rig.wire.paused.is_empty());
}

#[test]
fn a_name_without_an_end_is_not_collected() {
    let mut rig = Rig::new("");
    let mut frame = b"P\x3f\xff\xff\xff".to_vec();
    frame.extend_from_slice(&[b'x'; 70_000]);
    rig.client(&frame);
    assert_eq!(rig.client_got(), ["E 08P01"]);
}

#[test]
fn what_a_node_cannot_do_that_cannot_join_the_transaction_is_done_by_the_lead() {
    let mut rig = Rig::new("");
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.client(&query("SELECT 1"));
    rig.node(STANDBY, &error(TxStatus::Idle));
    assert_eq!((rig.client_got(), rig.sent_to(PRIMARY)), (Vec::new(), vec!["Q SELECT 1".to_owned()]));
    rig.node(PRIMARY, &complete("SELECT 1", TxStatus::InTransaction));
    assert_eq!(rig.client_got(), ["C", "Z T"]);
    rig.run("COMMIT", PRIMARY, "COMMIT", TxStatus::Idle);
}

#[test]
fn a_primary_that_does_not_take_a_setting_is_not_asked_for_ever() {
    let mut rig = Rig::new("");
    rig.run("SET search_path TO a", PRIMARY, "SET", TxStatus::Idle);
    rig.lose(PRIMARY);
    rig.client(&query("INSERT INTO t VALUES (1)"));
    rig.node(PRIMARY, &error(TxStatus::Idle));
    assert_eq!(rig.client_got(), ["E 08006", "Z I"]);
}

#[test]
fn a_transaction_that_ends_and_begins_in_one_string_ends_on_the_standby() {
    let mut rig = Rig::new("");
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.client(&query("SELECT 1"));
    rig.node(STANDBY, &complete("BEGIN", TxStatus::InTransaction));
    rig.node(STANDBY, &complete("SELECT 1", TxStatus::InTransaction));
    rig.sent_to(STANDBY);
    rig.run("COMMIT; BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    assert_eq!(rig.sent_to(STANDBY), ["Q COMMIT"]);
}

#[test]
fn copy_data_sent_ahead_of_the_answer_is_not_lost() {
    let mut rig = Rig::new("");
    rig.client(&query("COPY t FROM STDIN"));
    rig.client(b"d\0\0\0\x05xc\0\0\0\x04");
    assert_eq!(rig.sent_to(PRIMARY), ["Q COPY t FROM STDIN", "d", "c"]);
    rig.node(PRIMARY, b"G\0\0\0\x07\0\0\0");
    rig.node(PRIMARY, &complete("COPY 1", TxStatus::Idle));
    assert_eq!(rig.client_got(), ["G", "C", "Z I"]);
    rig.run("SELECT 2", STANDBY, "SELECT 1", TxStatus::Idle);
}

#[test]
fn a_sync_behind_copy_data_sent_ahead_is_waited_for() {
    let mut rig = Rig::new("");
    let mut all = parse_bind_execute("", "COPY t FROM STDIN");
    all.truncate(all.len() - SYNC.len());
    all.extend_from_slice(b"d\0\0\0\x05xc\0\0\0\x04S\0\0\0\x04");
    rig.client(&all);
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "d", "c", "S"]);
    let mut answer = answer_pbe(true, TxStatus::Idle);
    answer.truncate(10);
    answer.extend_from_slice(b"G\0\0\0\x07\0\0\0");
    rig.node(PRIMARY, &answer);
    rig.node(PRIMARY, &complete("COPY 1", TxStatus::Idle));
    assert_eq!(rig.client_got(), ["1", "2", "G", "C", "Z I"]);
}

#[test]
fn a_name_closed_on_one_node_is_free_on_the_others() {
    let mut rig = Rig::new("");
    rig.client(&parse_bind_execute("s", "SELECT 1"));
    rig.node(STANDBY, &answer_pbe(true, TxStatus::Idle));
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.run("INSERT INTO t VALUES (1)", PRIMARY, "INSERT 0 1", TxStatus::InTransaction);
    rig.client(&parse_bind_execute("s", ""));
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::InTransaction));
    rig.run("COMMIT", PRIMARY, "COMMIT", TxStatus::Idle);
    rig.client(b"C\0\0\0\x07Ss\0S\0\0\0\x04");
    assert_eq!(rig.sent_to(PRIMARY), ["C", "S"]);
    let mut answer = b"3\0\0\0\x04".to_vec();
    put_ready(&mut answer, TxStatus::Idle);
    rig.node(PRIMARY, &answer);
    rig.sent_to(STANDBY);
    rig.client(&parse("s", "SELECT 2"));
    assert_eq!(rig.sent_to(STANDBY), ["C", "P"]);
}

#[test]
fn what_follows_the_end_of_a_failed_transaction_in_its_batch_goes_to_the_primary() {
    let mut rig = Rig::new("");
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.client(&query("SELECT 1/0"));
    rig.node(STANDBY, &complete("BEGIN", TxStatus::InTransaction));
    rig.node(STANDBY, &error(TxStatus::Failed));
    let mut batch = parse_bind_execute("", "ROLLBACK");
    batch.truncate(batch.len() - SYNC.len());
    batch.extend(parse_bind_execute("", "INSERT INTO t VALUES (1)"));
    rig.sent_to(PRIMARY);
    rig.client(&batch);
    let mut answer = b"1\0\0\0\x042\0\0\0\x04".to_vec();
    answer.extend(complete("ROLLBACK", TxStatus::Idle));
    rig.node(STANDBY, &answer);
    assert_eq!(rig.sent_to(PRIMARY), ["Q ROLLBACK", "P", "B", "E", "S"]);
}

#[test]
fn what_follows_a_read_on_the_standby_in_its_batch_may_write() {
    let mut rig = Rig::new("");
    let mut batch = parse_bind_execute("", "SELECT 1");
    batch.truncate(batch.len() - SYNC.len());
    batch.extend(parse_bind_execute("", "INSERT INTO t VALUES (1)"));
    rig.client(&batch);
    rig.node(STANDBY, &answer_pbe(true, TxStatus::Idle));
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "S"]);
}

#[test]
fn a_cancel_request_reaches_a_batch_without_its_sync() {
    let mut rig = Rig::new("");
    rig.client(&parse("", "SELECT 1"));
    rig.node(STANDBY, b"1\0\0\0\x04");
    assert_eq!(rig.cancel(), 1);
}

#[test]
fn a_statement_that_waits_for_the_catalog_is_cancelled_and_the_question_is_not() {
    let mut rig = Rig::new("");
    rig.client_got();
    rig.client(&query("SELECT n FROM t"));
    assert_eq!(rig.sent_to(PRIMARY).len(), 1);
    assert_eq!(rig.cancel(), 0);
    let told = rig.client_bytes();
    assert!(told.windows(5).any(|code| code == b"57014") && told.ends_with(b"Z\0\0\0\x05I"), "{told:?}");
    // Its answer is of use to the next one, and that is served.
    rig.client(&query("SELECT n FROM t"));
    assert!(rig.sent_to(STANDBY).is_empty());
    let mut answer = b"D\0\0\0\x0b\0\x01\0\0\0\x01|".to_vec();
    answer.extend(complete("SELECT 1", TxStatus::Idle));
    rig.node(PRIMARY, &answer);
    assert_eq!(rig.sent_to(STANDBY), ["Q SELECT n FROM t"]);
    assert!(rig.client_got().is_empty());
    // What runs is cancelled where it runs.
    assert_eq!(rig.cancel(), 1);
}

#[test]
fn an_extended_statement_that_waits_for_the_catalog_is_cancelled() {
    let mut rig = Rig::new("");
    rig.client_got();
    rig.client(&parse_bind_execute("", "SELECT n FROM t"));
    assert_eq!(rig.cancel(), 0);
    rig.node(PRIMARY, &complete("SELECT 0", TxStatus::Idle));
    let told = rig.client_bytes();
    assert!(told.windows(5).any(|code| code == b"57014") && told.ends_with(b"Z\0\0\0\x05I"), "{told:?}");
    assert!(rig.sent_to(STANDBY).is_empty());
}

#[test]
fn to_execute_what_prepare_has_made_is_not_to_prepare_it_again() {
    let mut rig = Rig::new("");
    rig.run("PREPARE a AS SELECT 1", PRIMARY, "PREPARE", TxStatus::Idle);
    rig.client(&parse_bind_execute("a", ""));
    // It is prepared where it is executed, too.
    assert_eq!(rig.sent_to(STANDBY), ["P", "B", "E", "C", "C", "B", "E", "S"]);
    let mut answer = Vec::new();
    put_parse_complete(&mut answer);
    crate::wire::backend::put_bind_complete(&mut answer);
    crate::wire::backend::put_command_complete(&mut answer, "PREPARE");
    crate::wire::backend::put_close_complete(&mut answer);
    crate::wire::backend::put_close_complete(&mut answer);
    answer.extend(answer_pbe(false, TxStatus::Idle));
    rig.node(STANDBY, &answer);
    // The node has it still, and not an older one of that name.
    rig.client(&parse_bind_execute("a", ""));
    assert_eq!(rig.sent_to(STANDBY), ["B", "E", "S"]);
    rig.node(STANDBY, &answer_pbe(false, TxStatus::Idle));
    rig.client(b"C\0\0\0\x07Sa\0S\0\0\0\x04");
    assert_eq!(rig.sent_to(PRIMARY), ["C", "S"]);
}

#[test]
fn a_statement_that_a_standby_cannot_prepare_is_executed_on_the_primary() {
    let mut rig = Rig::new("");
    rig.run("PREPARE a AS SELECT 1", PRIMARY, "PREPARE", TxStatus::Idle);
    rig.client(&query("EXECUTE a"));
    assert_eq!(rig.sent_to(STANDBY), ["P", "B", "E", "C", "C", "S"]);
    rig.node(STANDBY, &error(TxStatus::Idle));
    assert_eq!(rig.sent_to(PRIMARY), ["Q EXECUTE a"]);
}

#[test]
fn what_a_string_has_prepared_is_executed_where_it_is() {
    let mut rig = Rig::new("");
    rig.run("PREPARE a AS SELECT 1; EXPLAIN SELECT 1", PRIMARY, "PREPARE", TxStatus::Idle);
    rig.run("EXECUTE a", PRIMARY, "SELECT 1", TxStatus::Idle);
}

/// What was parsed just before is not decided again, and yet it is known whether it writes.
#[test]
fn a_write_that_was_just_parsed_is_remembered_as_one() {
    for (sql, next) in [("INSERT INTO t VALUES (1)", PRIMARY), ("SELECT 1", STANDBY)] {
        let mut rig = Rig::new("");
        rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
        rig.client(&parse_bind_execute("", sql));
        if next == STANDBY {
            rig.node(STANDBY, &complete("BEGIN", TxStatus::InTransaction));
        }
        rig.node(next, &answer_pbe(true, TxStatus::InTransaction));
        for node in [PRIMARY, STANDBY] {
            rig.sent_to(node);
        }
        rig.client(&query("SELECT 2"));
        assert_eq!(rig.sent_to(next), ["Q SELECT 2"], "{sql}");
    }
}

/// A server that finds nothing in its catalog.
fn answer_questions(rig: &mut Rig) {
    while rig.sent_to(PRIMARY).first().is_some_and(|sent| sent.contains("pg_catalog")) {
        rig.node(PRIMARY, &complete("SELECT 0", TxStatus::Idle));
    }
}

#[test]
fn what_is_written_behind_a_write_without_a_pause_is_told_when_it_is_done() {
    let mut rig = Rig::new("read_after_write = global");
    let insert = |rig: &mut Rig| {
        rig.client(&parse_bind_execute("", "INSERT INTO a VALUES (1)"));
        answer_questions(rig);
    };
    insert(&mut rig);
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    let before = rig.shared.segment.commits();
    insert(&mut rig);
    insert(&mut rig);
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    let first = rig.shared.segment.commits();
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    let second = rig.shared.segment.commits();
    assert!(before < first && first < second, "{before} {first} {second}");
}

#[test]
fn a_transaction_that_begins_behind_a_batch_and_writes_reads_where_it_wrote() {
    let mut rig = Rig::new("");
    rig.client(&parse_bind_execute("", "INSERT INTO a VALUES (1)"));
    let mut batch = parse_bind_execute("", "BEGIN");
    batch.truncate(batch.len() - SYNC.len());
    batch.extend(parse_bind_execute("", "INSERT INTO a VALUES (2)"));
    rig.client(&batch);
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    let mut answer = b"1\0\0\0\x042\0\0\0\x04C\0\0\0\x0aBEGIN\0".to_vec();
    answer.extend(answer_pbe(true, TxStatus::InTransaction));
    rig.node(PRIMARY, &answer);
    rig.sent_to(PRIMARY);
    rig.client(&query("SELECT n FROM a"));
    assert_eq!(rig.sent_to(PRIMARY), ["Q SELECT n FROM a"]);
}

#[test]
fn what_execute_writes_is_told_to_others() {
    let mut rig = Rig::new("read_after_write = global");
    rig.run("PREPARE p AS INSERT INTO a VALUES (1)", PRIMARY, "PREPARE", TxStatus::Idle);
    for form in ["simple", "extended"] {
        let before = rig.shared.segment.commits();
        rig.client(&if form == "simple" { query("EXECUTE p") } else { parse_bind_execute("", "EXECUTE p") });
        answer_questions(&mut rig);
        match form {
            "simple" => rig.node(PRIMARY, &complete("INSERT 0 1", TxStatus::Idle)),
            _ => rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle)),
        }
        assert!(rig.shared.segment.commits() > before, "{form}");
    }
}
