//! A transaction on the node fails and stays failed until its end, with nobody but us to say so.
#![forbid(unsafe_code)]

use super::super::rig::{PRIMARY, Rig, STANDBY, complete, error, query};
use super::super::{NOTHING, answer_pbe, bind, parse_bind_execute};
use super::*;
use crate::wire::backend::{self, TxStatus};
use crate::wire::frontend;

#[test]
fn a_statement_in_a_transaction_fails_it_and_nothing_is_run_again() {
    for node in [STANDBY, PRIMARY] {
        for form in ["simple", "extended"] {
            let mut rig = in_transaction(node);
            let sql = if node == STANDBY { "SELECT 1" } else { "INSERT INTO t VALUES (1)" };
            rig.client(&if form == "simple" { query(sql) } else { parse_bind_execute("", sql) });
            rig.sent_to(node);
            rig.sent_to(PRIMARY);
            rig.lose(node);
            assert_eq!(rig.client_got(), ["E 08006", "Z E"], "{form} on {node}");
            // The lead's locks do not wait for the client.
            if node == STANDBY {
                assert_eq!(rig.sent_to(PRIMARY), ["Q ROLLBACK"]);
            }
            rig.client(&query("SELECT 2"));
            assert_eq!(rig.client_got(), ["E 25P02", "Z E"]);
            rig.client(&query("SAVEPOINT s; SELECT 2"));
            assert_eq!(rig.client_got(), ["E 25P02", "Z E"]);
            rig.client(&query("ROLLBACK TO s"));
            assert_eq!(rig.client_got(), ["E 25P02", "Z E"]);
            rig.client(&query(""));
            assert_eq!(rig.client_got(), ["I", "Z E"]);
            rig.client(&query("ROLLBACK"));
            assert_eq!(rig.client_got(), ["C", "Z I"]);
            if node == STANDBY {
                rig.node(PRIMARY, &complete("ROLLBACK", TxStatus::Idle));
            }
            rig.run("INSERT INTO t VALUES (2)", PRIMARY, "INSERT 0 1", TxStatus::Idle);
        }
    }
}

#[test]
fn who_was_idle_in_a_transaction_hears_of_it_at_the_next_statement() {
    for node in [STANDBY, PRIMARY] {
        for (first, told) in [
            ("SELECT 2", &["E 08006", "Z E"][..]),
            ("COMMIT", &["E 08006", "Z I"]),
            ("END; SELECT 1", &["E 08006", "Z I"]),
            ("ROLLBACK", &["C", "Z I"]),
            ("COMMIT AND CHAIN", &["E 08006", "Z E"]),
        ] {
            let mut rig = in_transaction(node);
            rig.lose(node);
            assert_eq!(rig.client_got(), NOTHING);
            rig.client(&query(first));
            assert_eq!(rig.client_got(), told, "{first}");
        }
    }
}

#[test]
fn the_extended_protocol_in_a_transaction_without_a_server_is_a_servers() {
    let mut rig = in_transaction(PRIMARY);
    // Prepared before.
    let mut out = Vec::new();
    frontend::put_parse(&mut out, b"c", b"COMMIT", &[]);
    frontend::put_sync(&mut out);
    rig.client(&out);
    let mut answer = b"1\0\0\0\x04".to_vec();
    backend::put_ready(&mut answer, TxStatus::InTransaction);
    rig.node(PRIMARY, &answer);
    rig.client_got();
    rig.lose(PRIMARY);
    // All behind the error is skipped up to Sync.
    let mut batch = parse_bind_execute("", "SELECT 1");
    batch.truncate(batch.len() - SYNC.len());
    batch.extend(parse_bind_execute("", "ROLLBACK"));
    rig.client(&batch);
    assert_eq!(rig.client_got(), ["E 08006", "Z E"]);
    rig.client(&parse_bind_execute("", "SELECT 1"));
    assert_eq!(rig.client_got(), ["E 25P02", "Z E"]);
    let mut out = Vec::new();
    frontend::put_describe(&mut out, b'S', b"c");
    bind(&mut out, "c");
    frontend::put_describe(&mut out, b'P', b"");
    out.extend_from_slice(b"E\0\0\0\x09\0\0\0\0\0");
    frontend::put_sync(&mut out);
    rig.client(&out);
    assert_eq!(rig.client_got(), ["t", "n", "2", "n", "C", "Z I"]);
    rig.run("INSERT INTO t VALUES (2)", PRIMARY, "INSERT 0 1", TxStatus::Idle);
}

#[test]
fn a_statement_behind_the_end_of_the_lost_transaction_in_its_batch_is_served() {
    let mut rig = in_transaction(PRIMARY);
    rig.lose(PRIMARY);
    let mut batch = parse_bind_execute("r", "ROLLBACK");
    batch.truncate(batch.len() - SYNC.len());
    batch.extend(parse_bind_execute("", "INSERT INTO t VALUES (1)"));
    rig.client(&batch);
    assert_eq!(rig.client_got(), ["1", "2", "C"]);
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "S"]);
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    assert_eq!(rig.client_got(), ["1", "2", "C", "Z I"]);
    // The name that was given meanwhile is one of the session's like any other.
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.client(&parse_bind_execute("r", ""));
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "S"]);
}

#[test]
fn a_transaction_that_loses_one_node_after_the_other_fails_once() {
    let mut rig = in_transaction(STANDBY);
    rig.client(&query("SELECT 1"));
    rig.lose(STANDBY);
    assert_eq!(rig.client_got(), ["E 08006", "Z E"]);
    rig.lose(PRIMARY);
    rig.client(&query("COMMIT"));
    assert_eq!(rig.client_got(), ["C", "Z I"], "it is known");
}

#[test]
fn a_failed_transaction_stays_failed_when_its_node_dies() {
    let mut rig = in_transaction(PRIMARY);
    rig.client(&query("INSERT INTO t VALUES (1/0)"));
    rig.node(PRIMARY, &error(TxStatus::Failed));
    rig.client_got();
    rig.lose(PRIMARY);
    rig.client(&query("SELECT 1"));
    assert_eq!(rig.client_got(), ["E 25P02", "Z E"]);
    rig.client(&query("COMMIT"));
    assert_eq!(rig.client_got(), ["C", "Z I"]);
}

#[test]
fn settings_of_the_lost_transaction_are_undone_and_those_before_it_are_not() {
    let mut rig = Rig::new("");
    rig.run("SET a.x = 1", PRIMARY, "SET", TxStatus::Idle);
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.run("SET a.x = 2", PRIMARY, "SET", TxStatus::InTransaction);
    rig.lose(PRIMARY);
    rig.search();
    rig.promote();
    rig.client(&query("ROLLBACK"));
    rig.client_got();
    rig.client(&query("INSERT INTO t VALUES (1)"));
    assert_eq!(rig.sent_to(STANDBY), ["Q SET a.x = 1"]);
}
