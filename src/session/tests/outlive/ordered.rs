//! What servers say when they go, and what the supervisor wants.
#![forbid(unsafe_code)]

use super::super::rig::{PRIMARY, Rig, STANDBY, complete, query};
use super::super::{NOTHING, answer_pbe, parse_bind_execute};
use super::*;
use crate::shm::Hold;
use crate::wire::backend::TxStatus;

#[test]
fn a_statement_that_an_administrator_has_ended_is_not_run_again() {
    let mut rig = Rig::new("");
    rig.client(&query("SELECT 1"));
    rig.node(STANDBY, &fatal("57P01"));
    rig.lose(STANDBY);
    // The node takes connections: it was meant for the statement.
    assert_eq!(rig.client_got(), ["E 08006", "Z I"]);
    assert_eq!(rig.sent_to(PRIMARY), NOTHING);
    assert!(rig.errands().is_empty(), "the node stays in use");
    rig.client(&query("SELECT 2"));
    let sent: Vec<_> = [STANDBY, PRIMARY].into_iter().flat_map(|node| rig.sent_to(node)).collect();
    assert_eq!(sent, ["Q SELECT 2"]);
}

#[test]
fn a_statement_on_a_server_that_is_stopped_is_run_again() {
    for code in ["57P01", "57P02"] {
        let mut rig = Rig::new("");
        rig.client(&query("SELECT 1"));
        rig.node(STANDBY, &fatal(code));
        rig.refuse(STANDBY, true);
        rig.lose(STANDBY);
        assert_eq!((rig.client_got(), rig.sent_to(PRIMARY)), (vec![], vec!["Q SELECT 1".to_owned()]));
    }
}

#[test]
fn nothing_is_sent_to_a_server_that_has_said_goodbye() {
    // The warning is that of a server that is shut down at once (SIGQUIT).
    for (form, severity) in FORMS.iter().flat_map(|form| [(*form, "FATAL"), (*form, "WARNING")]) {
        let mut rig = Rig::new("");
        rig.run("INSERT INTO t VALUES (1)", PRIMARY, "INSERT 0 1", TxStatus::Idle);
        rig.node(PRIMARY, &goodbye(severity, "57P01"));
        rig.refuse(PRIMARY, true);
        let sql = "INSERT INTO t VALUES (2)";
        rig.client(&if form == "simple" { query(sql) } else { parse_bind_execute("", sql) });
        assert_eq!((rig.client_got(), rig.has(PRIMARY)), (vec![], false), "{form} {severity}");
        rig.search();
        rig.promote();
        assert_eq!(rig.sent_to(STANDBY).len(), if form == "simple" { 1 } else { 4 }, "{form} {severity}");
    }
}

#[test]
fn a_warning_that_a_statement_raises_is_no_goodbye() {
    let mut rig = Rig::new("");
    rig.client(&query("DO $$BEGIN RAISE WARNING USING ERRCODE = '57P01'; END$$"));
    rig.node(PRIMARY, &goodbye("WARNING", "57P01"));
    rig.node(PRIMARY, &complete("DO", TxStatus::Idle));
    assert_eq!(rig.client_got(), ["N", "C", "Z I"]);
    rig.client(&query("INSERT INTO t VALUES (1)"));
    assert!(rig.has(PRIMARY));
    assert_eq!(rig.sent_to(PRIMARY).len(), 2);
}

#[test]
fn a_shutdown_is_reported_where_it_counts_as_a_failure() {
    for (conf, reports) in [("", 0), ("failover_on_backend_shutdown = on", 1)] {
        let mut rig = Rig::new(conf);
        rig.run("SELECT 1", STANDBY, "SELECT 1", TxStatus::Idle);
        rig.node(STANDBY, &fatal("57P01"));
        rig.lose(STANDBY);
        assert_eq!(rig.errands().len(), reports, "{conf}");
        assert_eq!(rig.client_got(), NOTHING);
    }
}

#[test]
fn what_waits_for_a_node_that_hangs_is_run_again_when_that_is_taken_out_of_use() {
    let mut rig = Rig::new("");
    rig.client(&query("SELECT 1"));
    let conn = rig.conn(STANDBY);
    rig.down(STANDBY, false);
    assert!(rig.wire.closed.contains(&conn));
    assert_eq!(rig.sent_to(PRIMARY), ["Q SELECT 1"]);
    let mut rig = in_transaction(PRIMARY);
    rig.client(&query("INSERT INTO t VALUES (1)"));
    rig.search();
    assert_eq!(rig.client_got(), ["E 08006", "Z E"]);
}

#[test]
fn on_a_node_that_an_operator_takes_out_of_use_things_end_in_order() {
    let mut rig = Rig::new("");
    rig.client(&query("SELECT 1"));
    let conn = rig.conn(STANDBY);
    rig.down(STANDBY, true);
    assert!(!rig.wire.closed.contains(&conn));
    rig.node(STANDBY, &complete("SELECT 1", TxStatus::Idle));
    assert_eq!(rig.client_got(), ["C", "Z I"]);
    assert!(rig.wire.closed.contains(&conn));
    rig.run("SELECT 2", PRIMARY, "SELECT 1", TxStatus::Idle);

    let mut rig = in_transaction(STANDBY);
    rig.down(STANDBY, true);
    assert!(rig.has(STANDBY));
    rig.run("INSERT INTO t VALUES (1)", PRIMARY, "INSERT 0 1", TxStatus::InTransaction);
    rig.run("COMMIT", PRIMARY, "COMMIT", TxStatus::Idle);
    assert!(!rig.has(STANDBY));
    assert_eq!(rig.client_got(), NOTHING);

    let mut rig = Rig::new("");
    rig.run("CREATE TEMP TABLE x (n int)", PRIMARY, "CREATE TABLE", TxStatus::Idle);
    rig.down(PRIMARY, true);
    assert_eq!(rig.client_got(), ["E 57P01"]);
}

#[test]
fn while_roles_change_what_is_open_goes_on_and_what_begins_waits() {
    for form in ["simple", "extended"] {
        let form_of = |sql: &str| if form == "simple" { query(sql) } else { parse_bind_execute("", sql) };
        let mut rig = in_transaction(PRIMARY);
        rig.cluster(|view| view.hold = Hold::Transactions);
        assert!(!rig.session.is_at_rest());
        rig.run("INSERT INTO t VALUES (1)", PRIMARY, "INSERT 0 1", TxStatus::InTransaction);
        rig.run("COMMIT", PRIMARY, "COMMIT", TxStatus::Idle);
        assert!(rig.session.is_at_rest());
        rig.client(&form_of("SELECT 1"));
        rig.wait(20);
        assert!(rig.session.is_at_rest());
        assert_eq!((rig.sent_to(PRIMARY), rig.sent_to(STANDBY)), (vec![], vec![]));
        rig.cluster(|view| (view.hold, view.primary) = (Hold::Nothing, Some(STANDBY)));
        let sent: Vec<_> = [PRIMARY, STANDBY].into_iter().flat_map(|node| rig.sent_to(node)).collect();
        assert_eq!(sent, self::sent(form));
        rig.client_got();
    }
    let mut rig = Rig::new("failover_wait_timeout = 5");
    rig.cluster(|view| view.hold = Hold::Transactions);
    rig.client(&query("BEGIN"));
    rig.wait(5);
    assert_eq!(rig.client_got(), ["E 57P03", "Z I"]);
}

#[test]
fn a_batch_that_has_begun_goes_on_while_roles_change_and_the_next_waits() {
    let mut rig = Rig::new("");
    let mut batch = parse_bind_execute("", "INSERT INTO t VALUES (1)");
    batch.truncate(batch.len() - SYNC.len());
    rig.client(&batch);
    rig.cluster(|view| view.hold = Hold::Transactions);
    rig.client(&batch);
    rig.client(SYNC);
    rig.client(&parse_bind_execute("", "INSERT INTO t VALUES (2)"));
    assert_eq!(rig.sent_to(PRIMARY), ["P", "B", "E", "P", "B", "E", "S"]);
    assert!(!rig.session.is_at_rest());
    let mut answer = answer_pbe(true, TxStatus::Idle);
    answer.truncate(answer.len() - 6);
    answer.extend(answer_pbe(true, TxStatus::Idle));
    rig.node(PRIMARY, &answer);
    assert!(rig.session.is_at_rest());
    assert_eq!(rig.sent_to(PRIMARY), NOTHING);
}
