//! What lies between the rows of the table: half an answer, a node that is left and not lost, what waits behind.
#![forbid(unsafe_code)]

use super::super::rig::{PRIMARY, Rig, STANDBY, complete, error, query};
use super::super::{NOTHING, answer_pbe, parse_bind_execute};
use super::*;
use crate::pool::Phase;
use crate::wire::backend::TxStatus;

/// An error without the ReadyForQuery that belongs to it.
fn half_an_error() -> Vec<u8> {
    let whole = error(TxStatus::Idle);
    whole.strip_suffix(b"Z\0\0\0\x05I").unwrap().to_vec()
}

#[test]
fn a_node_that_is_left_over_a_setting_ends_no_session_whatever_the_policy() {
    let mut rig = Rig::new("failover_session_policy = disconnect");
    rig.run("SET search_path TO a", PRIMARY, "SET", TxStatus::Idle);
    rig.client(&query("SELECT 1"));
    assert_eq!(rig.sent_to(STANDBY), ["Q SET search_path TO a"]);
    rig.node(STANDBY, &error(TxStatus::Idle));
    assert_eq!(rig.sent_to(PRIMARY), ["Q SELECT 1"]);
    assert!(!rig.session.is_closed() && !rig.has(STANDBY));
}

#[test]
fn who_listens_on_the_primary_outlives_a_standby() {
    let mut rig = Rig::new("");
    rig.run("LISTEN x", PRIMARY, "LISTEN", TxStatus::Idle);
    rig.run("SELECT 1", STANDBY, "SELECT 1", TxStatus::Idle);
    rig.lose(STANDBY);
    assert_eq!((rig.client_got(), rig.session.is_closed()), (vec![], false));
}

#[test]
fn connections_that_wait_in_the_pool_die_with_their_server() {
    let mut rig = Rig::new("");
    rig.run("SELECT 1", STANDBY, "SELECT 1", TxStatus::Idle);
    // Another session has come and gone, and left its connection.
    let first = rig.another_session();
    rig.run("SELECT 1", STANDBY, "SELECT 1", TxStatus::Idle);
    let left = rig.conn(STANDBY);
    rig.client(b"X\0\0\0\x04");
    rig.session = first;
    rig.pool_hears(left, &complete("DISCARD ALL", TxStatus::Idle));
    let idle = |rig: &Rig| rig.pool.slots().filter(|(_, b)| matches!(b.phase, Phase::Idle)).count();
    assert_eq!(idle(&rig), 1);
    rig.lose(STANDBY);
    assert_eq!(idle(&rig), 0);
}

#[test]
fn an_error_that_was_passed_on_is_the_answer_of_what_is_lost() {
    let mut rig = Rig::new("");
    rig.client(&query("INSERT INTO t VALUES (1)"));
    rig.node(PRIMARY, &half_an_error());
    assert_eq!(rig.client_got(), ["E 22012"]);
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), ["Z I"]);

    // What stands behind it is run again, and it is not.
    let mut rig = Rig::new("");
    rig.client(&[parse_bind_execute("", "SELECT 1"), parse_bind_execute("", "SELECT 2")].concat());
    assert_eq!(rig.sent_to(STANDBY).len(), 8);
    rig.node(STANDBY, &half_an_error());
    assert_eq!(rig.client_got(), ["E 22012"]);
    rig.lose(STANDBY);
    assert_eq!((rig.client_got(), rig.sent_to(PRIMARY).len()), (vec!["Z I".to_owned()], 4));
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    assert_eq!(rig.client_got(), ["1", "2", "C", "Z I"]);
}

#[test]
fn behind_an_error_in_a_batch_nothing_is_done_until_its_sync_also_when_the_node_is_lost() {
    let mut rig = Rig::new("");
    let mut batch = parse_bind_execute("", "INSERT INTO t VALUES (1)");
    batch.truncate(batch.len() - SYNC.len());
    rig.client(&batch);
    rig.client(b"H\0\0\0\x04");
    rig.node(PRIMARY, &half_an_error());
    assert_eq!(rig.client_got(), ["E 22012"]);
    rig.lose(PRIMARY);
    rig.client(&batch);
    assert_eq!((rig.client_got(), rig.has(PRIMARY)), (vec![], false));
    rig.client(SYNC);
    assert_eq!((rig.client_got(), rig.has(PRIMARY)), (vec!["Z I".to_owned()], false));
}

#[test]
fn after_a_commit_in_doubt_reads_see_what_it_may_have_written() {
    let mut rig = Rig::new("read_after_write = session");
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    rig.client(&query("COMMIT"));
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), ["E 08007", "Z I"]);
    rig.client(&query("SELECT 1"));
    assert_eq!(rig.sent_to(PRIMARY), ["Q SELECT pg_catalog.pg_current_wal_insert_lsn()"]);
}

#[test]
fn a_transaction_is_not_left_to_a_primary_that_an_operator_takes_out() {
    let mut rig = in_transaction(PRIMARY);
    rig.down(PRIMARY, true);
    assert_eq!(rig.client_got(), NOTHING);
    assert!(!rig.has(PRIMARY));
    rig.client(&query("INSERT INTO t VALUES (1)"));
    assert_eq!(rig.client_got(), ["E 08006", "Z E"]);
}

#[test]
fn who_waits_for_a_primary_waits_first_for_the_answers_before_it() {
    let mut rig = Rig::new("failover_wait_timeout = 5");
    rig.client(&parse_bind_execute("", "SELECT 1"));
    rig.search();
    rig.client(&parse_bind_execute("", "INSERT INTO t VALUES (1)"));
    rig.wait(20);
    assert_eq!(rig.client_got(), NOTHING);
    rig.node(STANDBY, &answer_pbe(true, TxStatus::Idle));
    assert_eq!(rig.client_got(), ["1", "2", "C", "Z I"]);
    rig.wait(4);
    assert_eq!(rig.client_got(), NOTHING);
    rig.wait(2);
    assert_eq!(rig.client_got(), ["E 57P03", "Z I"]);
}
