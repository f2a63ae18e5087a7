//! A primary that refuses writes may be none.
#![forbid(unsafe_code)]

use super::super::rig::{PRIMARY, Rig, STANDBY, query};
use super::super::{NOTHING, parse_bind_execute};
use super::*;
use crate::session::Errand;
use crate::wire::backend::TxStatus;

#[test]
fn a_standby_that_refuses_even_what_must_go_there_is_asked_twice_and_not_for_ever() {
    let mut rig = Rig::new("");
    rig.run("SELECT 1", STANDBY, "SELECT 1", TxStatus::Idle);
    rig.client(&query(""));
    for _ in 0..2 {
        assert_eq!(rig.sent_to(STANDBY), ["Q "]);
        assert_eq!(rig.client_got(), NOTHING);
        rig.node(STANDBY, &read_only());
    }
    assert_eq!(rig.client_got(), ["E 25006", "Z I"]);
    // That was about this statement.
    rig.client(&query(""));
    assert_eq!(rig.sent_to(STANDBY), ["Q "]);
}

#[test]
fn an_error_that_was_kept_from_the_client_is_no_answer_when_the_node_is_lost() {
    let whole = read_only();
    let half = whole.strip_suffix(b"Z\0\0\0\x05I").unwrap();
    let mut rig = Rig::new("");
    rig.client(&query("SELECT 1"));
    rig.node(STANDBY, half);
    rig.lose(STANDBY);
    assert_eq!((rig.client_got(), rig.sent_to(PRIMARY)), (vec![], vec!["Q SELECT 1".to_owned()]));
    let mut rig = Rig::new("");
    rig.client(&query("INSERT INTO t VALUES (1)"));
    rig.node(PRIMARY, half);
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), ["E 08007", "Z I"]);
}

#[test]
fn a_write_refused_by_what_was_the_primary_waits_for_the_one_that_is() {
    for form in ["simple", "extended"] {
        let sql = "INSERT INTO t VALUES (1)";
        let mut rig = Rig::new("");
        rig.client(&if form == "simple" { query(sql) } else { parse_bind_execute("", sql) });
        let first = rig.sent_to(PRIMARY);
        rig.node(PRIMARY, &read_only());
        assert!(matches!(&rig.errands()[..], [Errand::RolesDoubted]));
        assert_eq!(rig.sent_to(PRIMARY), ["Q SELECT pg_catalog.pg_is_in_recovery()"]);
        rig.node(PRIMARY, &said(b't'));
        rig.wait(9);
        assert_eq!((rig.client_got(), rig.sent_to(PRIMARY)), (vec![], vec![]));
        rig.promote();
        assert_eq!(rig.sent_to(STANDBY), first, "{form}");
        // What the new one says is the last word.
        rig.node(STANDBY, &read_only());
        assert_eq!(rig.client_got(), ["E 25006", "Z I"]);
    }
}

#[test]
fn a_write_that_a_true_primary_refuses_has_its_error() {
    for (letter, seconds) in [(b'f', 0), (b't', 30)] {
        for form in ["simple", "extended"] {
            let sql = "INSERT INTO t VALUES (1)";
            let mut rig = Rig::new("");
            rig.client(&if form == "simple" { query(sql) } else { parse_bind_execute("", sql) });
            rig.node(PRIMARY, &read_only());
            rig.sent_to(PRIMARY);
            rig.node(PRIMARY, &said(letter));
            rig.wait(seconds);
            assert_eq!(rig.client_got(), ["E 25006", "Z I"], "{form}");
            rig.run(sql, PRIMARY, "INSERT 0 1", TxStatus::Idle);
        }
    }
}

#[test]
fn in_a_transaction_the_error_is_passed_on_and_the_roles_are_doubted() {
    for (begin, doubts) in [("BEGIN", 1), ("BEGIN READ ONLY", 0)] {
        let mut rig = Rig::new("");
        rig.run(begin, PRIMARY, "BEGIN", TxStatus::InTransaction);
        rig.client(&query("INSERT INTO t VALUES (1)"));
        rig.node(PRIMARY, &read_only());
        assert_eq!((rig.client_got(), rig.errands().len()), (vec!["E 25006".into(), "Z I".into()], doubts));
    }
}
