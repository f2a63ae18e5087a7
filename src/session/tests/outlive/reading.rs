//! Reads outside a transaction are run again, once, as long as the client has no row.
#![forbid(unsafe_code)]

use super::super::rig::{PRIMARY, Rig, STANDBY, error, query};
use super::super::{NOTHING, parse_bind_execute};
use super::*;
use crate::wire::backend::TxStatus;

#[test]
fn a_read_of_which_the_client_has_no_row_is_run_again_elsewhere() {
    everywhere(|node, form| {
        for so_far in [Vec::new(), announcements(form, false)] {
            let mut rig = reader(node, form);
            rig.client(&read(form));
            let has = if so_far.is_empty() { &[][..] } else { announced(form) };
            rig.node(node, &so_far);
            assert_eq!(rig.client_got(), has, "{form} on {node}");
            let other = replace(&mut rig, node);
            assert_eq!(rig.sent_to(other), sent(form), "{form} on {node}");
            rig.node(other, &rows(form, true));
            let missing = if so_far.is_empty() { announced(form) } else { &[] };
            let all = [missing, &["D", "C", "Z I"]].concat();
            assert_eq!(rig.client_got(), all, "{form} on {node} {so_far:?}");
            rig.run("SELECT 2", other, "SELECT 1", TxStatus::Idle);
        }
    });
}

#[test]
fn a_read_of_which_the_client_has_rows_fails_and_the_session_lives() {
    everywhere(|node, form| {
        let mut rig = reader(node, form);
        rig.client(&read(form));
        let mut begun = announcements(form, false);
        begun.extend_from_slice(ROW);
        rig.node(node, &begun);
        rig.client_got();
        let other = replace(&mut rig, node);
        assert_eq!(rig.client_got(), ["E 08006", "Z I"], "{form} on {node}");
        assert_eq!(rig.sent_to(other), NOTHING);
        rig.client(&read(form));
        assert_eq!(rig.sent_to(other), sent(form), "{form} on {node}");
    });
}

#[test]
fn a_read_on_the_primary_is_run_again_as_soon_as_a_standby_may_serve_it() {
    let mut rig = Rig::new("");
    // A function that nobody knows to be harmless keeps it on the primary, until the catalog has told.
    std::rc::Rc::make_mut(&mut rig.shared.routes).load_balance = false;
    rig.client(&query("SELECT 1"));
    assert_eq!(rig.sent_to(PRIMARY), ["Q SELECT 1"]);
    std::rc::Rc::make_mut(&mut rig.shared.routes).load_balance = true;
    rig.lose(PRIMARY);
    assert_eq!(rig.sent_to(STANDBY), ["Q SELECT 1"]);
}

#[test]
fn what_calls_a_function_is_run_again_only_if_the_catalog_says_that_it_reads() {
    for (letter, sql) in
        [(b'0', "SELECT f()"), (b'3', "SELECT f()"), (b'1', "SELECT f()"), (b'2', "SELECT f()")]
    {
        for form in ["simple", "extended"] {
            let mut rig = reader(PRIMARY, form);
            rig.client(&if form == "simple" { query(sql) } else { parse_bind_execute("", sql) });
            let first = rig.sent_to(PRIMARY);
            let other = replace(&mut rig, PRIMARY);
            assert_eq!((rig.sent_to(other).len(), rig.client_got()), (1, vec![]), "a question");
            rig.node(other, &said(letter));
            if matches!(letter, b'0' | b'3') {
                assert_eq!((rig.sent_to(other), rig.client_got()), (first, vec![]), "{form}");
            } else {
                assert_eq!(rig.client_got(), ["E 08007", "Z I"], "{form} {letter}");
                assert_eq!(rig.sent_to(other), NOTHING);
            }
        }
    }
}

#[test]
fn the_statement_behind_one_that_was_not_run_again_is_announced() {
    let mut rig = reader(PRIMARY, "simple");
    rig.client(&query("SELECT f()"));
    rig.node(PRIMARY, b"T\0\0\0\x06\0\0");
    let other = replace(&mut rig, PRIMARY);
    rig.node(other, &said(b'2'));
    assert_eq!(rig.client_got(), ["T", "E 08007", "Z I"]);
    rig.client(&query("SELECT 1"));
    rig.node(other, &rows("simple", true));
    assert_eq!(rig.client_got(), ["T", "D", "C", "Z I"]);
}

#[test]
fn what_may_have_been_done_is_not_said_to_have_only_waited() {
    for form in ["simple", "extended"] {
        let mut rig = reader_with(PRIMARY, form, "failover_wait_timeout = 5");
        let sql = "SELECT f()";
        rig.client(&if form == "simple" { query(sql) } else { parse_bind_execute("", sql) });
        // Nobody is there to say whether it only reads.
        rig.down(STANDBY, false);
        rig.search();
        rig.wait(4);
        assert_eq!(rig.client_got(), NOTHING);
        rig.wait(1);
        assert_eq!(rig.client_got(), ["E 08007", "Z I"], "{form}");
    }
}

#[test]
fn what_may_have_been_done_is_not_done_again() {
    for sql in [
        "INSERT INTO t VALUES (1)",
        "SELECT n FROM t FOR UPDATE",
        "SELECT 1; DELETE FROM t",
        "CALL p()",
        "SELECT pg_terminate_backend(7)",
        "LISTEN x",
        "NOTIFY x",
    ] {
        for form in ["simple", "extended"] {
            if form == "extended" && sql.contains(';') {
                continue;
            }
            let mut rig = reader(PRIMARY, form);
            rig.client(&if form == "simple" { query(sql) } else { parse_bind_execute("", sql) });
            rig.sent_to(PRIMARY);
            let other = replace(&mut rig, PRIMARY);
            assert_eq!(rig.client_got(), ["E 08007", "Z I"], "{sql}");
            assert_eq!(rig.sent_to(other), NOTHING, "{sql}");
            rig.run("INSERT INTO t VALUES (2)", other, "INSERT 0 1", TxStatus::Idle);
        }
    }
}

#[test]
fn what_leaves_nothing_behind_is_begun_again() {
    for sql in ["BEGIN", "SET search_path TO a", "SHOW work_mem"] {
        let mut rig = reader(PRIMARY, "simple");
        rig.client(&query(sql));
        assert_eq!(rig.sent_to(PRIMARY), [format!("Q {sql}")]);
        let other = replace(&mut rig, PRIMARY);
        assert_eq!(rig.sent_to(other), [format!("Q {sql}")]);
    }
}

#[test]
fn a_statement_that_takes_two_nodes_with_it_is_not_given_a_third() {
    let mut rig = Rig::new("");
    rig.client(&query("SELECT 1"));
    rig.lose(STANDBY);
    assert_eq!(rig.sent_to(PRIMARY), ["Q SELECT 1"]);
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), ["E 08006", "Z I"]);
    // The next one has its chance.
    rig.client(&query("SELECT 2"));
    assert_eq!(rig.sent_to(PRIMARY), ["Q SELECT 2"]);
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), NOTHING);
}

#[test]
fn a_transaction_that_has_failed_before_its_node_dies_is_failed_and_not_over() {
    let mut rig = in_transaction(PRIMARY);
    let mut batch = parse_bind_execute("", "INSERT INTO t VALUES (1)");
    batch.truncate(batch.len() - SYNC.len());
    batch.extend(parse_bind_execute("", "COMMIT"));
    rig.client(&batch);
    let refusal = error(TxStatus::Failed);
    rig.node(PRIMARY, &refusal[..refusal.len() - 6]);
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), ["E 22012", "Z E"]);
}
