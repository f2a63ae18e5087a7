//! Who needs a primary while there is none, or comes in meanwhile, waits for one, but not for ever.
#![forbid(unsafe_code)]

use super::super::rig::{PRIMARY, Rig, STANDBY, complete, query};
use super::super::{NOTHING, parse_bind_execute};
use super::*;
use crate::session::Errand;
use crate::shm::Hold;
use crate::wire::backend::TxStatus;

#[test]
fn an_idle_session_does_not_notice_and_its_next_read_goes_elsewhere() {
    everywhere(|node, form| {
        let mut rig = reader(node, form);
        rig.client(&read(form));
        rig.node(node, &rows(form, false));
        rig.client_got();
        let other = replace(&mut rig, node);
        assert_eq!(rig.client_got(), NOTHING, "{form} on {node}");
        rig.client(&read(form));
        assert_eq!(rig.sent_to(other), sent(form), "{form} on {node}");
        rig.node(other, &rows(form, true));
        let all = [announced(form), &["D", "C", "Z I"]].concat();
        assert_eq!(rig.client_got(), all, "{form} on {node}");
    });
}

#[test]
fn a_write_waits_for_the_new_primary_and_reads_go_on() {
    for form in ["simple", "extended"] {
        let mut rig = Rig::new("");
        rig.run("SELECT 1", STANDBY, "SELECT 1", TxStatus::Idle);
        rig.search();
        rig.run("SELECT 2", STANDBY, "SELECT 1", TxStatus::Idle);
        let write = "INSERT INTO t VALUES (1)";
        rig.client(&if form == "simple" { query(write) } else { parse_bind_execute("", write) });
        rig.wait(20);
        assert_eq!((rig.client_got(), rig.sent_to(STANDBY)), (vec![], vec![]), "{form}");
        assert!(rig.session.is_at_rest());
        rig.promote();
        let expected: &[&str] = if form == "simple" { &["Q INSERT INTO t VALUES (1)"] } else { sent(form) };
        assert_eq!(rig.sent_to(STANDBY), expected, "{form}");
    }
}

#[test]
fn a_write_that_no_primary_comes_for_is_refused_in_time_and_the_session_lives() {
    for (form, told) in [("simple", &["E 57P03", "Z I"][..]), ("extended", &["E 57P03", "Z I"])] {
        let mut rig = Rig::new("failover_wait_timeout = 5");
        rig.search();
        let write = "INSERT INTO t VALUES (1)";
        rig.client(&if form == "simple" { query(write) } else { parse_bind_execute("", write) });
        rig.wait(4);
        assert_eq!(rig.client_got(), NOTHING);
        rig.wait(1);
        let bytes = rig.client_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("no primary: waited 5 s for a new one"), "{text}");
        assert_eq!(super::super::rig::words(&bytes, false), told, "{form}");
        rig.run("SELECT 1", STANDBY, "SELECT 1", TxStatus::Idle);
        // The next one has its own time.
        rig.client(&query(write));
        rig.wait(4);
        rig.promote();
        assert_eq!(rig.sent_to(STANDBY), ["Q INSERT INTO t VALUES (1)"]);
    }
}

#[test]
fn with_no_time_to_wait_a_write_is_refused_at_once() {
    let mut rig = Rig::new("failover_wait_timeout = 0");
    rig.search();
    rig.client(&query("INSERT INTO t VALUES (1)"));
    assert_eq!(rig.client_got(), ["E 57P03", "Z I"]);
}

#[test]
fn a_primary_that_cannot_be_reached_is_reported_once_and_tried_again() {
    let mut rig = Rig::new("");
    rig.lose(PRIMARY);
    rig.refuse(PRIMARY, true);
    rig.client(&query("INSERT INTO t VALUES (1)"));
    rig.wait(9);
    let errands = rig.errands();
    assert!(matches!(&errands[..], [Errand::Unreachable { node: PRIMARY, .. }]), "{errands:?}");
    assert_eq!(rig.client_got(), NOTHING);
    // Started again by whoever looks after it.
    rig.refuse(PRIMARY, false);
    rig.wait(1);
    assert_eq!(rig.sent_to(PRIMARY), ["Q INSERT INTO t VALUES (1)"]);
    rig.node(PRIMARY, &complete("INSERT 0 1", TxStatus::Idle));
    assert_eq!(rig.client_got(), ["C", "Z I"]);
}

#[test]
fn what_waits_for_a_primary_that_cannot_be_reached_goes_to_the_new_one() {
    let mut rig = Rig::new("");
    rig.lose(PRIMARY);
    rig.refuse(PRIMARY, true);
    rig.client(&query("INSERT INTO t VALUES (1)"));
    rig.search();
    rig.promote();
    assert_eq!(rig.sent_to(STANDBY), ["Q INSERT INTO t VALUES (1)"]);
}

#[test]
fn a_standby_that_cannot_be_reached_is_reported_and_read_around() {
    everywhere(|node, form| {
        if node == PRIMARY {
            return;
        }
        let mut rig = reader(node, form);
        if rig.has(STANDBY) {
            rig.lose(STANDBY);
        }
        rig.refuse(STANDBY, true);
        rig.client(&read(form));
        assert_eq!(rig.sent_to(PRIMARY), sent(form), "{form}");
        assert!(matches!(&rig.errands()[..], [Errand::Unreachable { node: STANDBY, .. }]));
    });
}

#[test]
fn who_waits_is_not_idle_and_can_be_cancelled() {
    let mut rig = Rig::new("client_idle_limit = 3");
    rig.search();
    rig.client(&query("INSERT INTO t VALUES (1)"));
    let now = rig.shared.now + std::time::Duration::from_secs(9);
    assert!(rig.session.idle_for(now).is_none());
    assert_eq!(rig.cancel(), 0);
    assert_eq!(rig.client_got(), ["E 57014", "Z I"]);
}

#[test]
fn the_end_of_no_transaction_waits_for_nobody() {
    for sql in ["ROLLBACK", "COMMIT"] {
        let mut rig = Rig::new("");
        rig.search();
        rig.run(sql, STANDBY, sql, TxStatus::Idle);
    }
}

#[test]
fn a_client_that_comes_while_no_node_takes_it_waits() {
    let mut rig = Rig::bare("failover_wait_timeout = 9");
    rig.refuse(PRIMARY, true);
    rig.refuse(STANDBY, true);
    rig.client(&start_up());
    rig.wait(5);
    assert_eq!(rig.client_got(), NOTHING);
    assert_eq!(rig.errands().len(), 2, "each node once");
    rig.refuse(PRIMARY, false);
    rig.wait(1);
    assert_eq!(rig.client_got(), ["R", "S", "K", "Z I"]);

    let mut rig = Rig::bare("failover_wait_timeout = 9");
    rig.cluster(|view| view.hold = Hold::Writes);
    rig.down(PRIMARY, false);
    rig.down(STANDBY, false);
    rig.client(&start_up());
    rig.wait(9);
    assert_eq!(rig.client_got().last().map(String::as_str), Some("E 57P03"));
    assert!(rig.session.is_closed());
}

#[test]
fn a_client_that_comes_while_all_nodes_are_out_of_use_is_told_so_at_once() {
    let mut rig = Rig::bare("");
    rig.down(PRIMARY, false);
    rig.down(STANDBY, false);
    rig.client(&start_up());
    assert_eq!(rig.client_got().last().map(String::as_str), Some("E 57P03"));
}
