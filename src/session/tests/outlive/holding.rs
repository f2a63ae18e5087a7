//! Who holds what cannot be made again is closed.
#![forbid(unsafe_code)]

use super::super::NOTHING;
use super::super::rig::{PRIMARY, Rig, STANDBY, complete, query};
use super::*;
use crate::wire::backend::TxStatus;

#[test]
fn who_has_what_cannot_be_made_again_is_closed_with_the_primary_and_not_with_a_standby() {
    for sql in [
        "CREATE TEMP TABLE x (n int)",
        "LISTEN x",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SELECT pg_advisory_lock(1)",
        "SELECT set_config('a.x', now()::text, false)",
    ] {
        for lost in [STANDBY, PRIMARY] {
            let mut rig = Rig::new("load_balance_mode = off");
            rig.run(sql, PRIMARY, "DONE", TxStatus::Idle);
            std::rc::Rc::make_mut(&mut rig.shared.routes).load_balance = true;
            if lost == STANDBY {
                rig.client(&query("SHOW work_mem"));
                let node = if rig.has(STANDBY) { STANDBY } else { PRIMARY };
                rig.node(node, &complete("SHOW", TxStatus::Idle));
                rig.client_got();
                if node == STANDBY {
                    rig.lose(STANDBY);
                }
                assert!(!rig.session.is_closed(), "{sql}");
            } else {
                rig.lose(PRIMARY);
                assert_eq!(rig.client_got(), ["E 57P01"], "{sql}");
                assert!(rig.session.is_closed(), "{sql}");
            }
        }
    }
}

#[test]
fn who_has_given_it_up_or_never_got_it_lives() {
    for texts in [
        &["LISTEN x", "UNLISTEN *"][..],
        &["SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock_all()"],
        &["DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c"],
        &["CREATE TEMP TABLE x (n int)", "DROP TABLE x"],
        &["CREATE TEMP TABLE x (n int)", "DISCARD ALL"],
        &["SELECT set_config('a.x', now()::text, false)", "RESET ALL"],
    ] {
        let mut rig = Rig::new("load_balance_mode = off");
        texts.iter().for_each(|sql| rig.run(sql, PRIMARY, "DONE", TxStatus::Idle));
        rig.lose(PRIMARY);
        assert!(!rig.session.is_closed(), "{texts:?}");
    }
    for sql in ["CREATE TEMP TABLE x (n int)", "LISTEN x", "DECLARE c CURSOR WITH HOLD FOR SELECT 1"] {
        let mut rig = in_transaction(PRIMARY);
        rig.run(sql, PRIMARY, "DONE", TxStatus::InTransaction);
        rig.lose(PRIMARY);
        rig.client(&query("ROLLBACK"));
        assert_eq!(rig.client_got(), ["C", "Z I"], "{sql} was not committed");
    }
}

#[test]
fn who_has_something_on_a_node_that_leads_no_more_is_closed() {
    let mut rig = Rig::new("");
    rig.run("LISTEN x", PRIMARY, "LISTEN", TxStatus::Idle);
    rig.promote();
    assert_eq!(rig.client_got(), ["E 57P01"]);
    let mut rig = Rig::new("");
    rig.run("SET a.b TO 1", PRIMARY, "SET", TxStatus::Idle);
    rig.promote();
    assert!(!rig.session.is_closed() && rig.has(PRIMARY), "what can be made again is no reason");
}

#[test]
fn what_is_written_on_a_node_that_leads_no_more_is_not_told_as_done() {
    let mut rig = Rig::new("");
    rig.client(&query("UPDATE t SET n = 1"));
    rig.promote();
    assert_eq!(rig.client_got(), NOTHING);
    rig.node(PRIMARY, &complete("UPDATE 1", TxStatus::Idle));
    assert_eq!((rig.client_got(), rig.has(PRIMARY)), (vec!["E 08007".to_owned(), "Z I".to_owned()], false));
    let mut rig = Rig::new("");
    rig.client(&query("UPDATE t SET n = 1"));
    rig.promote();
    rig.node(PRIMARY, &read_only());
    assert_eq!((rig.client_got(), rig.sent_to(STANDBY)), (vec![], vec!["Q UPDATE t SET n = 1".to_owned()]));
    let mut rig = in_transaction(PRIMARY);
    rig.promote();
    rig.client(&query("COMMIT"));
    assert_eq!(rig.client_got(), ["E 08006", "Z I"]);
    let mut rig = Rig::new("load_balance_mode = off");
    rig.client(&query("SELECT 1"));
    rig.promote();
    rig.node(PRIMARY, &complete("SELECT 1", TxStatus::Idle));
    assert_eq!((rig.client_got(), rig.sent_to(STANDBY)), (vec![], vec!["Q SELECT 1".to_owned()]));
}

#[test]
fn locks_taken_by_a_prepared_statement_count() {
    let mut rig = Rig::new("load_balance_mode = off");
    rig.run("PREPARE l AS SELECT pg_advisory_lock(1)", PRIMARY, "PREPARE", TxStatus::Idle);
    rig.run("EXECUTE l", PRIMARY, "SELECT 1", TxStatus::Idle);
    rig.lose(PRIMARY);
    assert_eq!(rig.client_got(), ["E 57P01"]);
}

#[test]
fn with_the_policy_of_pgpool_sessions_end_with_the_nodes_that_they_use() {
    let conf = "failover_session_policy = disconnect";
    let mut rig = Rig::new(conf);
    rig.run("SELECT 1", STANDBY, "SELECT 1", TxStatus::Idle);
    rig.lose(STANDBY);
    assert_eq!(rig.client_got(), ["E 57P01"]);
    assert!(rig.session.is_closed());
    // One that does not use it does not hear of it.
    let mut rig = Rig::new(conf);
    rig.down(STANDBY, false);
    assert!(!rig.session.is_closed());
    rig.lose(PRIMARY);
    assert!(rig.session.is_closed());
}
