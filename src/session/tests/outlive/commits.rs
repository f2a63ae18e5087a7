//! What became of COMMIT and ROLLBACK is told as far as it is known, and not guessed.
#![forbid(unsafe_code)]

use super::super::rig::{PRIMARY, STANDBY, complete, query};
use super::super::{NOTHING, parse_bind_execute};
use super::*;
use crate::wire::backend::TxStatus;

#[test]
fn commit_of_a_transaction_that_is_known_to_have_failed_answers_rollback() {
    let mut rig = in_transaction(PRIMARY);
    rig.client(&query("INSERT INTO t VALUES (1)"));
    rig.lose(PRIMARY);
    rig.client_got();
    rig.client(&query("COMMIT"));
    assert!(rig.client_bytes().starts_with(b"C\0\0\0\x0dROLLBACK\0Z\0\0\0\x05I"));
}

#[test]
fn what_became_of_a_commit_is_not_guessed() {
    for form in ["simple", "extended"] {
        let mut rig = in_transaction(PRIMARY);
        rig.run("INSERT INTO t VALUES (1)", PRIMARY, "INSERT 0 1", TxStatus::InTransaction);
        rig.client(&if form == "simple" { query("COMMIT") } else { parse_bind_execute("", "COMMIT") });
        rig.lose(PRIMARY);
        assert_eq!(rig.client_got(), ["E 08007", "Z I"], "{form}");
        rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    }
    // Executed, but not yet ended with Sync.
    let mut rig = in_transaction(PRIMARY);
    let mut batch = parse_bind_execute("", "COMMIT");
    batch.truncate(batch.len() - SYNC.len());
    rig.client(&batch);
    rig.lose(PRIMARY);
    rig.client(SYNC);
    assert_eq!(rig.client_got(), ["E 08007", "Z I"]);
    // A pipeline of which one is the COMMIT: who takes the first error for the whole must not run all of it again.
    let mut rig = in_transaction(PRIMARY);
    let mut two = parse_bind_execute("", "INSERT INTO t VALUES (1)");
    two.extend(parse_bind_execute("", "COMMIT"));
    rig.client(&two);
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), ["E 08007", "Z E", "E 08007", "Z I"]);
}

#[test]
fn a_rollback_whose_answer_was_lost_is_over_and_what_stood_behind_it_is_not_known() {
    let mut rig = in_transaction(PRIMARY);
    rig.client(&query("ROLLBACK"));
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), ["E 08006", "Z I"]);
    let mut rig = in_transaction(PRIMARY);
    let mut batch = parse_bind_execute("", "ROLLBACK");
    batch.truncate(batch.len() - SYNC.len());
    batch.extend(parse_bind_execute("", "INSERT INTO t VALUES (1)"));
    rig.client(&batch);
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), ["E 08007", "Z I"]);
}

#[test]
fn the_lead_commits_although_a_standby_that_was_read_has_died() {
    let mut rig = in_transaction(STANDBY);
    rig.client(&query("COMMIT"));
    rig.sent_to(PRIMARY);
    rig.lose(STANDBY);
    rig.node(PRIMARY, &complete("COMMIT", TxStatus::Idle));
    assert_eq!(rig.client_got(), ["C", "Z I"]);
    rig.run("INSERT INTO t VALUES (2)", PRIMARY, "INSERT 0 1", TxStatus::Idle);
}

#[test]
fn a_statement_on_the_lead_ends_before_the_transaction_does_that_has_lost_a_standby() {
    let mut rig = in_transaction(STANDBY);
    rig.client(&query("INSERT INTO t VALUES (1)"));
    rig.sent_to(PRIMARY);
    rig.lose(STANDBY);
    assert_eq!(rig.sent_to(PRIMARY), NOTHING);
    rig.node(PRIMARY, &complete("INSERT 0 1", TxStatus::InTransaction));
    assert_eq!(rig.client_got(), ["C", "Z T"]);
    assert_eq!(rig.sent_to(PRIMARY), ["Q ROLLBACK"]);
    rig.client(&query("COMMIT"));
    assert_eq!(rig.client_got(), ["E 08006", "Z I"]);
}
