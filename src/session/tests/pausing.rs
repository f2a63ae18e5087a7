//! A pause holds what begins and nothing that has begun, and the time of it is none that a server has cost.
#![forbid(unsafe_code)]

use super::rig::{PRIMARY, Rig, STANDBY, complete, query};
use super::{NOTHING, parse_bind_execute};
use crate::wire::backend::TxStatus;

const WRITE: &str = "INSERT INTO t VALUES (1)";

fn pause(rig: &mut Rig, paused: bool) {
    rig.cluster(|view| view.paused = paused);
}

#[test]
fn new_statements_wait_in_both_protocols_and_go_on_at_once() {
    for (form, bytes) in [("simple", query(WRITE)), ("extended", parse_bind_execute("", WRITE))] {
        let mut rig = Rig::new("failover_wait_timeout = 1");
        pause(&mut rig, true);
        rig.client(&bytes);
        rig.wait(1000);
        assert_eq!((rig.client_got(), rig.sent_to(PRIMARY)), (vec![], vec![]), "{form}");
        assert!(rig.session.is_at_rest(), "{form}");
        pause(&mut rig, false);
        assert_eq!(rig.sent_to(PRIMARY).len(), if form == "simple" { 1 } else { 4 }, "{form}");
    }
}

#[test]
fn a_transaction_that_has_begun_goes_on_to_its_end() {
    let mut rig = Rig::new("");
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    pause(&mut rig, true);
    assert!(!rig.session.is_at_rest());
    rig.run(WRITE, PRIMARY, "INSERT 0 1", TxStatus::InTransaction);
    rig.run("COMMIT", PRIMARY, "COMMIT", TxStatus::Idle);
    assert!(rig.session.is_at_rest());
    rig.client(&query("BEGIN"));
    assert_eq!(rig.sent_to(PRIMARY), NOTHING);
}

#[test]
fn the_limit_is_that_of_pauses_and_the_next_statement_has_its_own_time() {
    let mut rig = Rig::new("pause_timeout = 5");
    pause(&mut rig, true);
    for _ in 0..2 {
        rig.client(&query(WRITE));
        rig.wait(4);
        assert_eq!(rig.client_got(), NOTHING);
        rig.wait(1);
        assert_eq!(rig.client_got(), ["E 57P03", "Z I"]);
    }
}

#[test]
fn who_waits_for_a_primary_after_a_pause_has_all_of_the_time_for_that() {
    let mut rig = Rig::new("failover_wait_timeout = 5");
    pause(&mut rig, true);
    rig.client(&query(WRITE));
    rig.wait(100);
    rig.search();
    pause(&mut rig, false);
    rig.wait(4);
    assert_eq!(rig.client_got(), NOTHING);
    rig.promote();
    rig.node(STANDBY, &complete("INSERT 0 1", TxStatus::Idle));
    assert_eq!(rig.client_got(), ["C", "Z I"]);
}
