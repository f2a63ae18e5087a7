//! The new primary gets what the old one had of the session.
#![forbid(unsafe_code)]

use super::super::rig::{PRIMARY, Rig, STANDBY, complete, query};
use super::super::{answer_pbe, parse_bind_execute};
use crate::wire::backend::TxStatus;

#[test]
fn the_new_primary_has_all_that_the_old_one_had() {
    let mut rig = Rig::new("");
    rig.run("SET search_path TO a", PRIMARY, "SET", TxStatus::Idle);
    rig.client(&query("SELECT 1"));
    rig.node(STANDBY, &complete("SET", TxStatus::Idle));
    rig.node(STANDBY, &complete("SELECT 1", TxStatus::Idle));
    rig.run("SET default_transaction_isolation TO serializable", PRIMARY, "SET", TxStatus::Idle);
    rig.client(&parse_bind_execute("w", "INSERT INTO t VALUES (1)"));
    rig.node(PRIMARY, &answer_pbe(true, TxStatus::Idle));
    rig.client_got();
    rig.lose(PRIMARY);
    rig.search();
    rig.promote();
    rig.sent_to(STANDBY);
    rig.client(&parse_bind_execute("w", ""));
    // The rest it has, from the time when it was a standby.
    assert_eq!(rig.sent_to(STANDBY), ["Q SET default_transaction_isolation TO serializable"]);
    rig.node(STANDBY, &complete("SET", TxStatus::Idle));
    assert_eq!(rig.sent_to(STANDBY), ["P", "B", "E", "S"]);
}

#[test]
fn positions_of_the_old_primary_hold_up_no_read() {
    let mut rig = Rig::new("read_after_write = session");
    rig.run("INSERT INTO t VALUES (1)", PRIMARY, "INSERT 0 1", TxStatus::Idle);
    let lsn = |lsn: &[u8]| {
        let mut answer = b"D".to_vec();
        answer.extend_from_slice(&(10 + lsn.len() as u32).to_be_bytes());
        answer.extend_from_slice(b"\0\x01");
        answer.extend_from_slice(&(lsn.len() as u32).to_be_bytes());
        answer.extend_from_slice(lsn);
        answer.extend(complete("SELECT 1", TxStatus::Idle));
        answer
    };
    rig.client(&query("SELECT 1"));
    assert_eq!(rig.sent_to(PRIMARY), ["Q SELECT pg_catalog.pg_current_wal_insert_lsn()"]);
    rig.node(PRIMARY, &lsn(b"F/1000"));
    assert_eq!(rig.sent_to(STANDBY), ["Q SELECT pg_catalog.pg_last_wal_replay_lsn()"]);
    rig.node(STANDBY, &lsn(b"F/1000"));
    rig.node(STANDBY, &complete("SELECT 1", TxStatus::Idle));
    rig.client_got();
    // The other way round, and back: what PRIMARY said on its former timeline says nothing.
    rig.lose(PRIMARY);
    rig.search();
    rig.promote();
    rig.cluster(|view| (view.primary, view.nodes[PRIMARY].usable) = (Some(PRIMARY), true));
    rig.client(&query("SELECT 2"));
    assert_eq!(rig.sent_to(PRIMARY), ["Q SELECT pg_catalog.pg_current_wal_insert_lsn()"]);
}
