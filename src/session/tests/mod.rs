//! The session's behaviour, without a socket.
#![forbid(unsafe_code)]

mod deaths;
mod hangs;
mod outlive;
mod pausing;
mod random;
mod rig;
mod server;
mod within;

use rig::{PRIMARY, Rig, STANDBY, complete, error, query};

use crate::wire::backend::{TxStatus, put_bind_complete, put_close_complete, put_parse_complete, put_ready};
use crate::wire::frontend;

const NOTHING: [&str; 0] = [];

fn parse_bind_execute(name: &str, sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    if !sql.is_empty() {
        frontend::put_parse(&mut out, name.as_bytes(), sql.as_bytes(), &[0, 0]);
    }
    bind(&mut out, name);
    out.extend_from_slice(b"E\0\0\0\x09\0\0\0\0\0");
    frontend::put_sync(&mut out);
    out
}

fn bind(out: &mut Vec<u8>, statement: &str) {
    bind_portal(out, "", statement);
}

fn bind_portal(out: &mut Vec<u8>, portal: &str, statement: &str) {
    let mut body = portal.as_bytes().to_vec();
    body.push(0);
    body.extend_from_slice(statement.as_bytes());
    body.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0]);
    out.push(b'B');
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(&body);
}

fn answer_pbe(parse: bool, status: TxStatus) -> Vec<u8> {
    let mut out = Vec::new();
    if parse {
        put_parse_complete(&mut out);
    }
    put_bind_complete(&mut out);
    out.extend_from_slice(&complete("SELECT 0", status));
    out
}

#[test]
fn a_client_is_welcomed_with_the_primarys_parameters() {
    let mut rig = Rig::bare("");
    let mut packet = Vec::new();
    frontend::put_startup(&mut packet, crate::wire::PROTOCOL_3_0, &[("user", "u")]);
    rig.client(&packet);
    assert_eq!(rig.client_got(), ["R", "S", "K", "Z I"]);
}

#[test]
fn reads_go_to_the_standby_and_writes_to_the_primary() {
    let mut rig = Rig::new("");
    rig.client(&query("SELECT 1"));
    assert_eq!(rig.sent_to(STANDBY), ["Q SELECT 1"]);
    rig.node(STANDBY, &complete("SELECT 1", TxStatus::Idle));
    assert_eq!(rig.client_got(), ["C", "Z I"]);
    rig.run("INSERT INTO t VALUES (1)", PRIMARY, "INSERT 0 1", TxStatus::Idle);
    rig.run("SELECT 2", STANDBY, "SELECT 1", TxStatus::Idle);
}

#[test]
fn a_node_joins_the_transaction_when_it_is_read_from_and_leaves_with_it() {
    let mut rig = Rig::new("");
    rig.run("BEGIN ISOLATION LEVEL REPEATABLE READ", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.client(&query("SELECT 1"));
    assert_eq!(rig.sent_to(STANDBY), ["Q BEGIN ISOLATION LEVEL REPEATABLE READ", "Q SELECT 1"]);
    rig.node(STANDBY, &complete("BEGIN", TxStatus::InTransaction));
    assert_eq!(rig.client_got(), NOTHING);
    rig.node(STANDBY, &complete("SELECT 1", TxStatus::InTransaction));
    assert_eq!(rig.client_got(), ["C", "Z T"]);
    rig.run("COMMIT", PRIMARY, "COMMIT", TxStatus::Idle);
    assert_eq!(rig.sent_to(STANDBY), ["Q COMMIT"]);
}

#[test]
fn after_a_write_the_transaction_reads_from_the_primary() {
    let mut rig = Rig::new("");
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.run("UPDATE t SET a = 1", PRIMARY, "UPDATE 1", TxStatus::InTransaction);
    rig.run("SELECT 1", PRIMARY, "SELECT 1", TxStatus::InTransaction);
    rig.run("SAVEPOINT s", PRIMARY, "SAVEPOINT", TxStatus::InTransaction);
    rig.run("ROLLBACK TO s", PRIMARY, "ROLLBACK", TxStatus::InTransaction);
    rig.run("SELECT 2", PRIMARY, "SELECT 1", TxStatus::InTransaction);
}

#[test]
fn a_failure_on_the_standby_fails_the_transaction_everywhere() {
    let mut rig = Rig::new("");
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.client(&query("SELECT 1/0"));
    rig.node(STANDBY, &complete("BEGIN", TxStatus::InTransaction));
    rig.node(STANDBY, &error(TxStatus::Failed));
    assert_eq!(rig.client_got(), ["E 22012", "Z E"]);
    rig.sent_to(STANDBY);
    // The failed node itself says that nothing more can be done.
    rig.client(&query("INSERT INTO t VALUES (1)"));
    assert_eq!(rig.sent_to(STANDBY), ["Q INSERT INTO t VALUES (1)"]);
    rig.node(STANDBY, &error(TxStatus::Failed));
    rig.client(&query("COMMIT"));
    assert_eq!(rig.sent_to(STANDBY), ["Q COMMIT"]);
    rig.node(STANDBY, &complete("ROLLBACK", TxStatus::Idle));
    assert_eq!(rig.sent_to(PRIMARY), ["Q ROLLBACK"]);
    rig.node(PRIMARY, &complete("ROLLBACK", TxStatus::Idle));
    rig.run("INSERT INTO t VALUES (2)", PRIMARY, "INSERT 0 1", TxStatus::Idle);
}

#[test]
fn rollback_to_a_savepoint_brings_a_failed_standby_back() {
    let mut rig = Rig::new("disable_load_balance_on_write = 'off'");
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.run("SAVEPOINT s", PRIMARY, "SAVEPOINT", TxStatus::InTransaction);
    rig.client(&query("SELECT 1/0"));
    rig.node(STANDBY, &complete("BEGIN", TxStatus::InTransaction));
    rig.node(STANDBY, &error(TxStatus::Failed));
    rig.sent_to(STANDBY);
    rig.run("ROLLBACK TO s", PRIMARY, "ROLLBACK", TxStatus::InTransaction);
    assert_eq!(rig.sent_to(STANDBY), ["Q ROLLBACK"]);
    rig.node(STANDBY, &complete("ROLLBACK", TxStatus::Idle));
    rig.client(&query("SELECT 2"));
    assert_eq!(rig.sent_to(STANDBY), ["Q BEGIN", "Q SELECT 2"]);
}

#[test]
fn a_transaction_begun_inside_a_string_stays_on_the_primary() {
    let mut rig = Rig::new("");
    rig.run("BEGIN; SELECT 1", PRIMARY, "SELECT 1", TxStatus::InTransaction);
    rig.run("SELECT 2", PRIMARY, "SELECT 1", TxStatus::InTransaction);
}

#[test]
fn settings_reach_the_standby_before_its_next_statement() {
    let mut rig = Rig::new("");
    rig.run("SET search_path TO a", PRIMARY, "SET", TxStatus::Idle);
    rig.client(&query("SELECT 1"));
    assert_eq!(rig.sent_to(STANDBY), ["Q SET search_path TO a"]);
    rig.node(STANDBY, &complete("SET", TxStatus::Idle));
    assert_eq!(rig.sent_to(STANDBY), ["Q SELECT 1"]);
    rig.node(STANDBY, &complete("SELECT 1", TxStatus::Idle));
    assert_eq!(rig.client_got(), ["C", "Z I"]);
    // And once only.
    rig.run("SELECT 2", STANDBY, "SELECT 1", TxStatus::Idle);
}

#[test]
fn a_statement_prepared_on_the_standby_is_prepared_on_the_primary_when_it_must_run_there() {
    let mut rig = Rig::new("");
    rig.client(&parse_bind_execute("s", "SELECT 1"));
    assert_eq!(rig.sent_to(STANDBY), ["P", "B", "E", "S"]);
    rig.node(STANDBY, &answer_pbe(true, TxStatus::Idle));
    assert_eq!(rig.client_got(), ["1", "2", "C", "Z I"]);
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.run("INSERT INTO t VALUES (1)", PRIMARY, "INSERT 0 1", TxStatus::InTransaction);
    rig.client(&parse_bind_execute("s", ""));
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "S"]);
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::InTransaction));
    assert_eq!(rig.client_got(), ["2", "C", "Z T"]);
}

#[test]
fn batches_to_one_node_follow_without_waiting() {
    let mut rig = Rig::new("");
    let mut two = parse_bind_execute("", "SELECT 1");
    two.extend(parse_bind_execute("", "SELECT 2"));
    two.extend(parse_bind_execute("", "INSERT INTO t VALUES (1)"));
    rig.client(&two);
    assert_eq!(rig.sent_to(STANDBY), ["P", "B", "E", "S", "P", "B", "E", "S"]);
    assert_eq!(rig.sent_to(PRIMARY), NOTHING);
    rig.node(STANDBY, &answer_pbe(true, TxStatus::Idle));
    assert_eq!(rig.sent_to(PRIMARY), NOTHING);
    rig.node(STANDBY, &answer_pbe(true, TxStatus::Idle));
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "S"]);
}

#[test]
fn a_batch_moves_to_the_primary_when_it_writes() {
    let mut rig = Rig::new("");
    let mut batch = parse_bind_execute("", "SELECT 1");
    batch.truncate(batch.len() - 5);
    batch.extend(parse_bind_execute("", "INSERT INTO t VALUES (1)"));
    rig.client(&batch);
    assert_eq!(rig.sent_to(STANDBY), ["P", "B", "E", "S"]);
    rig.node(STANDBY, &answer_pbe(true, TxStatus::Idle));
    assert_eq!(rig.client_got(), ["1", "2", "C"]);
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "S"]);
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    assert_eq!(rig.client_got(), ["1", "2", "C", "Z I"]);
}

#[test]
fn an_error_before_the_move_ends_the_batch() {
    let mut rig = Rig::new("");
    let mut batch = parse_bind_execute("", "SELECT 1/0");
    batch.truncate(batch.len() - 5);
    batch.extend(parse_bind_execute("", "INSERT INTO t VALUES (1)"));
    rig.client(&batch);
    rig.node(STANDBY, &error(TxStatus::Idle));
    assert_eq!(rig.client_got(), ["E 22012", "Z I"]);
    assert_eq!(rig.sent_to(PRIMARY), NOTHING);
    rig.run("SELECT 2", STANDBY, "SELECT 1", TxStatus::Idle);
}

#[test]
fn begin_and_commit_in_the_extended_protocol_are_seen() {
    let mut rig = Rig::new("");
    rig.client(&parse_bind_execute("", "BEGIN"));
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "S"]);
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::InTransaction));
    rig.client(&parse_bind_execute("", "SELECT 1"));
    assert_eq!(rig.sent_to(STANDBY), ["Q BEGIN", "P", "B", "E", "S"]);
    rig.node(STANDBY, &complete("BEGIN", TxStatus::InTransaction));
    rig.node(STANDBY, &answer_pbe(true, TxStatus::InTransaction));
    rig.client(&parse_bind_execute("", "COMMIT"));
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    assert_eq!(rig.sent_to(STANDBY), ["Q COMMIT"]);
}

#[test]
fn a_sync_sent_ahead_of_copy_in_is_not_waited_for() {
    let mut rig = Rig::new("");
    rig.client(&parse_bind_execute("", "COPY t FROM STDIN"));
    let mut answer = Vec::new();
    put_parse_complete(&mut answer);
    put_bind_complete(&mut answer);
    answer.extend_from_slice(b"G\0\0\0\x07\0\0\0");
    rig.node(PRIMARY, &answer);
    rig.client(b"d\0\0\0\x05x");
    rig.client(b"c\0\0\0\x04S\0\0\0\x04");
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "S", "d", "c", "S"]);
    rig.node(PRIMARY, &complete("COPY 1", TxStatus::Idle));
    assert_eq!(rig.client_got(), ["1", "2", "G", "C", "Z I"]);
    rig.run("SELECT 2", STANDBY, "SELECT 1", TxStatus::Idle);
}

#[test]
fn close_of_a_statement_is_answered_once() {
    let mut rig = Rig::new("");
    rig.client(&parse_bind_execute("s", "SELECT 1"));
    rig.node(STANDBY, &answer_pbe(true, TxStatus::Idle));
    rig.client_got();
    let mut out = Vec::new();
    frontend::put_close(&mut out, b'S', b"s");
    frontend::put_sync(&mut out);
    rig.client(&out);
    let mut answer = Vec::new();
    put_close_complete(&mut answer);
    put_ready(&mut answer, TxStatus::Idle);
    rig.node(STANDBY, &answer);
    assert_eq!(rig.client_got(), ["3", "Z I"]);
}

#[test]
fn a_lost_idle_standby_costs_nothing() {
    let mut rig = Rig::new("");
    rig.run("SELECT 1", STANDBY, "SELECT 1", TxStatus::Idle);
    rig.lose(STANDBY);
    assert_eq!(rig.client_got(), NOTHING);
    rig.run("SELECT 2", STANDBY, "SELECT 1", TxStatus::Idle);
}

#[test]
fn a_slow_client_stops_the_backend() {
    let mut rig = Rig::new("");
    rig.client(&query("SELECT 1"));
    rig.wire.stuck.insert(rig.session.client, 1 << 20);
    rig.node(STANDBY, b"D\0\0\0\x06\0\0");
    let conn = rig.conn(STANDBY);
    assert_eq!(rig.wire.paused, [conn]);
    rig.wire.stuck.clear();
    rig.step(|session, ctx| session.on_client_drained(ctx));
    assert!(rig.wire.paused.is_empty());
}

#[test]
fn a_row_of_a_gigabyte_is_passed_on_as_it_comes() {
    let mut rig = Rig::new("");
    rig.client(&query("SELECT 1"));
    rig.node(STANDBY, b"D\x3f\xff\xff\xff\0\x01");
    assert_eq!(rig.client_bytes(), b"D\x3f\xff\xff\xff\0\x01");
    rig.node(STANDBY, &[7; 1000]);
    assert_eq!(rig.client_bytes(), [7; 1000]);
}

#[test]
fn answers_cut_anywhere_arrive_whole() {
    let mut rig = Rig::new("");
    rig.client(&query("SELECT 1"));
    let mut answer = b"T\0\0\0\x06\0\0D\0\0\0\x06\0\0".to_vec();
    answer.extend(complete("SELECT 1", TxStatus::Idle));
    for byte in answer {
        rig.node(STANDBY, &[byte]);
    }
    assert_eq!(rig.client_got(), ["T", "D", "C", "Z I"]);
}

#[test]
fn requests_cut_anywhere_arrive_whole() {
    let mut rig = Rig::new("");
    for byte in parse_bind_execute("", "SELECT 1") {
        rig.client(&[byte]);
    }
    assert_eq!(rig.sent_to(STANDBY), ["P", "B", "E", "S"]);
}

#[test]
fn what_is_no_message_ends_the_session() {
    let mut rig = Rig::new("");
    rig.client(b"!\0\0\0\x04");
    assert_eq!(rig.client_got(), ["E 08P01"]);
    assert!(rig.session.is_closed());
}

#[test]
fn a_cancel_request_is_handed_to_the_worker() {
    let mut rig = Rig::bare("");
    let mut packet = Vec::new();
    frontend::put_cancel(&mut packet, 7, b"abcd");
    rig.client(&packet);
    assert_eq!(rig.errands().len(), 1);
    assert!(!rig.session.is_closed(), "the client waits until it is done");
    rig.step(|session, ctx| session.cancel_is_done(ctx));
    assert!(rig.session.is_closed());
}

#[test]
fn a_connection_is_reset_before_the_next_client() {
    let mut rig = Rig::new("");
    rig.run("SELECT 1", STANDBY, "SELECT 1", TxStatus::Idle);
    let conn = rig.conn(STANDBY);
    rig.client(b"X\0\0\0\x04");
    let sent = rig.wire.sent.remove(&conn).unwrap();
    assert_eq!(sent, query("DISCARD ALL"));
    assert!(!rig.wire.closed.contains(&conn));
}

#[test]
fn a_connection_with_an_unfinished_statement_is_not_kept() {
    let mut rig = Rig::new("");
    rig.client(&query("SELECT 1"));
    let conn = rig.conn(STANDBY);
    rig.step(|session, ctx| session.on_client_closed(ctx));
    assert!(rig.wire.closed.contains(&conn));
}

#[test]
fn a_setting_overwritten_in_a_transaction_comes_back_on_the_node_that_joined() {
    let mut rig = Rig::new("");
    rig.run("SET a.x = 1", PRIMARY, "SET", TxStatus::Idle);
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.client(&query("SET a.x = 2"));
    rig.node(PRIMARY, &complete("SET", TxStatus::InTransaction));
    std::rc::Rc::make_mut(&mut rig.shared.routes).on_write = crate::route::OnWrite::Off;
    rig.client(&query("SELECT 1"));
    assert_eq!(rig.sent_to(STANDBY), ["Q SET a.x = 1", "Q BEGIN", "Q SET a.x = 2"]);
}

#[test]
fn a_chained_transaction_goes_on_on_its_lead_when_another_node_had_failed_it() {
    let mut rig = Rig::new("");
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.client(&query("SELECT 1/0"));
    rig.node(STANDBY, &complete("BEGIN", TxStatus::InTransaction));
    rig.node(STANDBY, &error(TxStatus::Failed));
    rig.run("ROLLBACK AND CHAIN", STANDBY, "ROLLBACK", TxStatus::InTransaction);
    assert_eq!(rig.sent_to(PRIMARY), ["Q ROLLBACK AND CHAIN"]);
    rig.node(PRIMARY, &complete("ROLLBACK", TxStatus::InTransaction));
    rig.run("INSERT INTO t VALUES (1)", PRIMARY, "INSERT 0 1", TxStatus::InTransaction);
}

#[test]
fn a_batch_behind_another_keeps_its_begin_until_it_has_succeeded() {
    let mut rig = Rig::new("");
    let mut out = parse_bind_execute("", "INSERT INTO t VALUES (1)");
    out.extend(parse_bind_execute("", "BEGIN"));
    rig.client(&out);
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "S", "P", "B", "E", "S"]);
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::InTransaction));
    rig.client(&query("SELECT 1"));
    assert_eq!(rig.sent_to(STANDBY), ["Q BEGIN", "Q SELECT 1"]);
}

#[test]
fn a_statement_closed_on_one_node_is_closed_on_the_other_before_its_name_is_used_again() {
    let mut rig = Rig::new("");
    rig.client(&parse_bind_execute("s", "SELECT 1"));
    rig.node(STANDBY, &answer_pbe(true, TxStatus::Idle));
    let mut out = Vec::new();
    frontend::put_parse(&mut out, b"w", b"INSERT INTO t VALUES (1)", &[0, 0]);
    frontend::put_close(&mut out, b'S', b"s");
    frontend::put_sync(&mut out);
    rig.client(&out);
    rig.sent_to(STANDBY);
    let mut answer = Vec::new();
    put_parse_complete(&mut answer);
    put_close_complete(&mut answer);
    put_ready(&mut answer, TxStatus::Idle);
    rig.node(PRIMARY, &answer);
    rig.client(&parse_bind_execute("s", "SELECT 2"));
    assert_eq!(rig.sent_to(STANDBY), ["C", "P", "B", "E", "S"]);
}

#[test]
fn a_question_to_the_catalog_does_not_end_what_a_batch_has_begun_on_the_primary() {
    let mut rig = Rig::new("");
    let mut out = parse_bind_execute("", "INSERT INTO t VALUES (1)");
    out.truncate(out.len() - 5);
    out.extend(parse_bind_execute("", "SELECT f()"));
    rig.client(&out);
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "P", "B", "E", "S"]);
}

#[test]
fn a_name_given_by_prepare_that_failed_is_not_taken() {
    let mut rig = Rig::new("");
    rig.client(&query("PREPARE q AS SELECT 1"));
    assert_eq!(rig.sent_to(PRIMARY), ["Q PREPARE q AS SELECT 1"]);
    rig.node(PRIMARY, &error(TxStatus::Idle));
    rig.client(&query("PREPARE q AS INSERT INTO t VALUES (1)"));
    assert_eq!(rig.sent_to(PRIMARY), ["Q PREPARE q AS INSERT INTO t VALUES (1)"]);
}

#[test]
fn prepare_of_a_name_that_another_node_has_is_refused() {
    let mut rig = Rig::new("");
    rig.client(&parse_bind_execute("q", "SELECT 1"));
    rig.node(STANDBY, &answer_pbe(true, TxStatus::Idle));
    rig.client_got();
    rig.client(&query("PREPARE q AS INSERT INTO t VALUES (1)"));
    // The primary gets the first one, so that it refuses the second.
    assert_eq!(rig.sent_to(PRIMARY), ["P", "S"]);
    let mut answer = Vec::new();
    put_parse_complete(&mut answer);
    put_ready(&mut answer, TxStatus::Idle);
    rig.node(PRIMARY, &answer);
    assert_eq!(rig.client_got(), NOTHING);
    assert_eq!(rig.sent_to(PRIMARY), ["Q PREPARE q AS INSERT INTO t VALUES (1)"]);
}

#[test]
fn statements_that_execute_each_other_do_no_harm() {
    let mut rig = Rig::new("");
    rig.client(&parse_bind_execute("a", "EXECUTE b"));
    rig.node(PRIMARY, &error(TxStatus::Idle));
    let mut out = Vec::new();
    frontend::put_parse(&mut out, b"a", b"EXECUTE b", &[0, 0]);
    frontend::put_parse(&mut out, b"b", b"EXECUTE a", &[0, 0]);
    rig.client(&out);
    rig.client(&parse_bind_execute("b", ""));
    assert_eq!(rig.sent_to(PRIMARY).last().map(String::as_str), Some("S"));
}

#[test]
fn what_is_written_in_the_batch_that_begins_a_transaction_is_remembered() {
    let mut rig = Rig::new("");
    let mut batch = Vec::new();
    for sql in ["BEGIN", "INSERT INTO t VALUES (1)"] {
        let mut one = parse_bind_execute("", sql);
        // One Sync for both.
        one.truncate(one.len() - 5);
        batch.extend(one);
    }
    frontend::put_sync(&mut batch);
    rig.client(&batch);
    assert_eq!(rig.sent_to(PRIMARY).len(), 7);
    let mut answer = Vec::new();
    for tag in ["BEGIN", "INSERT 0 1"] {
        put_parse_complete(&mut answer);
        put_bind_complete(&mut answer);
        crate::wire::backend::put_command_complete(&mut answer, tag);
    }
    put_ready(&mut answer, TxStatus::InTransaction);
    rig.node(PRIMARY, &answer);
    rig.client(&query("SELECT 1"));
    assert_eq!(rig.sent_to(PRIMARY), ["Q SELECT 1"], "a standby does not have what it has written");
}

/// Transactions committed and aborted, connections that were there and that were opened, on both nodes.
fn counted(rig: &Rig) -> [u64; 4] {
    let of = |node| rig.shared.segment.node_totals(node);
    let both = [of(PRIMARY), of(STANDBY)];
    let sum = |count: fn(&crate::shm::Totals) -> u64| both.iter().map(count).sum::<u64>();
    [sum(|of| of.committed), sum(|of| of.aborted), sum(|of| of.pool_hits), sum(|of| of.pool_misses)]
}

#[test]
fn transactions_are_counted_by_their_ends() {
    let mut rig = Rig::new("");
    let ends = |rig: &Rig| counted(rig)[..2].to_vec();
    rig.run("SELECT 1", STANDBY, "SELECT 1", TxStatus::Idle);
    assert_eq!(ends(&rig), [1, 0]);
    rig.client(&query("SELECT 1/0"));
    rig.node(STANDBY, &error(TxStatus::Idle));
    assert_eq!(ends(&rig), [1, 1]);
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.run("INSERT INTO t VALUES (1)", PRIMARY, "INSERT 0 1", TxStatus::InTransaction);
    assert_eq!(ends(&rig), [1, 1], "it has not ended");
    rig.run("COMMIT", PRIMARY, "COMMIT", TxStatus::Idle);
    assert_eq!(ends(&rig), [2, 1]);
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.run("ROLLBACK AND CHAIN", PRIMARY, "ROLLBACK", TxStatus::InTransaction);
    rig.run("COMMIT AND CHAIN", PRIMARY, "COMMIT", TxStatus::InTransaction);
    assert_eq!(ends(&rig), [3, 2]);
    // What the client leaves open comes to nothing.
    rig.step(|session, ctx| session.on_client_closed(ctx));
    assert_eq!(ends(&rig), [3, 3]);
}

#[test]
fn a_transaction_that_begins_and_ends_in_one_string_is_one() {
    let mut rig = Rig::new("");
    let mut out = Vec::new();
    for tag in ["BEGIN", "INSERT 0 1"] {
        crate::wire::backend::put_command_complete(&mut out, tag);
    }
    out.extend_from_slice(&complete("COMMIT", TxStatus::Idle));
    rig.client(&query("BEGIN; INSERT INTO t VALUES (1); COMMIT"));
    rig.node(PRIMARY, &out);
    assert_eq!(counted(&rig)[..2], [1, 0]);
}

#[test]
fn connections_that_were_there_and_that_had_to_be_opened_are_counted() {
    let mut rig = Rig::new("");
    assert_eq!(counted(&rig)[2..], [0, 1], "the primary's, for its greeting");
    rig.run("SELECT 1", STANDBY, "SELECT 1", TxStatus::Idle);
    rig.run("SELECT 2", STANDBY, "SELECT 1", TxStatus::Idle);
    assert_eq!(counted(&rig)[2..], [0, 2]);
}
