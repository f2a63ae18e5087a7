//! Batches and messages that a death cuts anywhere.
#![forbid(unsafe_code)]

use super::super::rig::{PRIMARY, Rig, STANDBY, complete, query};
use super::super::{NOTHING, answer_pbe, bind, parse_bind_execute};
use super::*;
use crate::wire::backend::TxStatus;
use crate::wire::frontend;

#[test]
fn a_batch_that_was_not_ended_is_known_not_to_have_been_committed() {
    let mut rig = Rig::new("");
    let mut batch = parse_bind_execute("", "INSERT INTO t VALUES (1)");
    batch.truncate(batch.len() - SYNC.len());
    rig.client(&batch);
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), ["E 08006"]);
    rig.client(&parse_bind_execute("", "INSERT INTO t VALUES (2)"));
    assert_eq!((rig.client_got(), rig.has(PRIMARY)), (vec!["Z I".to_owned()], false));
}

#[test]
fn what_a_batch_that_was_not_ended_has_committed_itself_is_not_known() {
    let mut rig = Rig::new("");
    for sql in ["INSERT INTO t VALUES (1)", "COMMIT", "INSERT INTO t VALUES (2)"] {
        let statement = parse_bind_execute("", sql);
        rig.client(&statement[..statement.len() - SYNC.len()]);
    }
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), ["E 08007"]);
}

#[test]
fn batches_without_a_pause_are_run_again_from_the_first_that_may_be() {
    let mut rig = Rig::new("");
    let mut all = parse_bind_execute("", "SELECT 1");
    all.extend(parse_bind_execute("a", "SELECT 2"));
    all.extend(parse_bind_execute("", "SELECT 3"));
    rig.client(&all);
    assert_eq!(rig.sent_to(STANDBY).len(), 12);
    let mut begun = b"1\0\0\0\x042\0\0\0\x04".to_vec();
    begun.extend_from_slice(ROW);
    rig.node(STANDBY, &begun);
    rig.client_got();
    rig.lose(STANDBY);
    // The first has its rows; the others have nothing.
    assert_eq!(rig.client_got(), ["E 08006", "Z I"]);
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "S", "P", "B", "E", "S"]);
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    assert_eq!(rig.client_got(), ["1", "2", "C", "Z I", "1", "2", "C", "Z I"]);
    // The name was given once.
    rig.client(&parse_bind_execute("a", ""));
    assert_eq!(rig.sent_to(PRIMARY), ["B", "E", "S"]);
}

#[test]
fn each_batch_that_is_lost_has_an_error_of_its_own() {
    let mut rig = Rig::new("");
    let mut all = parse_bind_execute("", "INSERT INTO t VALUES (1)");
    all.extend(parse_bind_execute("", "INSERT INTO t VALUES (2)"));
    let mut open = parse_bind_execute("", "INSERT INTO t VALUES (3)");
    open.truncate(open.len() - SYNC.len());
    all.extend(open);
    rig.client(&all);
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), ["E 08007", "Z I", "E 08007", "Z I", "E 08006"]);
    rig.client(SYNC);
    assert_eq!(rig.client_got(), ["Z I"]);
}

#[test]
fn a_batch_without_its_sync_goes_on_elsewhere() {
    let mut rig = Rig::new("");
    let all = parse_bind_execute("", "SELECT 1");
    let (begin, end) = all.split_at(all.len() - SYNC.len() - 10);
    rig.client(begin);
    rig.client(b"H\0\0\0\x04");
    rig.node(STANDBY, b"1\0\0\0\x042\0\0\0\x04");
    rig.client_got();
    rig.lose(STANDBY);
    rig.client(end);
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "H", "E", "S"]);
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    assert_eq!(rig.client_got(), ["C", "Z I"]);
}

#[test]
fn a_message_that_was_half_passed_on_comes_again_whole() {
    let mut rig = Rig::new("");
    let mut out = Vec::new();
    frontend::put_parse(&mut out, b"", b"SELECT $1", &[]);
    bind(&mut out, "");
    let cut = out.len() - 3;
    rig.client(&out[..cut]);
    rig.lose(STANDBY);
    rig.client(&out[cut..]);
    rig.client(SYNC);
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "S"]);
}

#[test]
fn a_name_whose_parse_was_lost_is_free() {
    let mut rig = Rig::new("");
    rig.client(&parse_bind_execute("a", "INSERT INTO t VALUES (1)"));
    rig.lose(PRIMARY);
    rig.client_got();
    rig.client(&parse_bind_execute("a", "INSERT INTO t VALUES (2)"));
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "S"]);
}

#[test]
fn rows_cut_by_the_end_of_the_node_do_not_end_the_session() {
    let mut rig = Rig::new("");
    rig.client(&query("SELECT 1"));
    let mut row = b"D\0\0\x20\0\0\x01".to_vec();
    row.resize(5000, b'x');
    let mut begun = ROW.to_vec();
    begun.extend(&row);
    rig.node(STANDBY, &begun);
    rig.node(STANDBY, b"more");
    assert_eq!(rig.client_got(), ["D"], "half a row is of no use");
    rig.lose(STANDBY);
    assert_eq!(rig.client_got(), ["E 08006", "Z I"]);
    // One that arrives whole goes on whole.
    rig.client(&query("SELECT 2"));
    let node = if rig.has(STANDBY) { STANDBY } else { PRIMARY };
    rig.node(node, &row);
    assert_eq!(rig.client_got(), NOTHING);
    row.resize(0x2001, b'y');
    let mut rest = row.split_off(5000);
    rest.extend(complete("SELECT 1", TxStatus::Idle));
    rig.node(node, &rest);
    assert_eq!(rig.client_got(), ["D", "C", "Z I"]);
}

#[test]
fn a_message_that_was_held_back_was_not_given() {
    let table = b"T\0\0\0\x06\0\0";
    for (begun, had, rest) in [
        (table[..6].to_vec(), &[][..], &["T", "D", "C", "Z I"][..]),
        ([table, &ROW[..6]].concat(), &["T"], &["D", "C", "Z I"]),
    ] {
        let mut rig = Rig::new("");
        rig.client(&query("SELECT 1"));
        rig.node(STANDBY, &begun);
        assert_eq!(rig.client_got(), had);
        let other = replace(&mut rig, STANDBY);
        assert_eq!(rig.sent_to(other), ["Q SELECT 1"]);
        // In pieces, too.
        let (first, second) = (rows("simple", true), 6);
        rig.node(other, &first[..second]);
        rig.node(other, &first[second..]);
        assert_eq!(rig.client_got(), rest);
    }
}

#[test]
fn a_long_row_cut_by_the_end_of_the_node_ends_the_session() {
    let mut rig = Rig::new("");
    rig.client(&query("SELECT 1"));
    rig.node(STANDBY, b"D\x3f\xff\xff\xff\0\x01");
    rig.lose(STANDBY);
    assert!(rig.session.is_closed());
    assert!(rig.wire.closed.contains(&rig.session.client));
}
