//! What a client sees when a node dies: each row of the table in doc/architecture.md, in each protocol, on each node.
#![forbid(unsafe_code)]

mod batches;
mod commits;
mod copying;
mod doubted;
mod edges;
mod holding;
mod ordered;
mod reading;
mod rebuilt;
mod transactions;
mod waiting;

use super::rig::{PRIMARY, Rig, STANDBY, complete, query};
use super::{answer_pbe, parse_bind_execute};
use crate::error::NodeId;
use crate::wire::backend::{self, Notice, TxStatus};
use crate::wire::frontend;

const SYNC: &[u8] = b"S\0\0\0\x04";
const ROW: &[u8] = b"D\0\0\0\x06\0\0";

/// The ways to run a statement.
const FORMS: [&str; 3] = ["simple", "extended", "prepared"];

/// A session whose reads go to `node`; for `prepared`, SELECT 1 has been run there under a name.
fn reader(node: NodeId, form: &str) -> Rig {
    reader_with(node, form, "")
}

fn reader_with(node: NodeId, form: &str, conf: &str) -> Rig {
    let mode = if node == PRIMARY { "load_balance_mode = off\n" } else { "" };
    let mut rig = Rig::new(&format!("{mode}{conf}"));
    if form == "prepared" {
        rig.client(&parse_bind_execute("s", "SELECT 1"));
        assert_eq!(rig.sent_to(node), ["P", "B", "E", "S"]);
        rig.node(node, &answer_pbe(true, TxStatus::Idle));
        rig.client_got();
    }
    rig
}

fn read(form: &str) -> Vec<u8> {
    match form {
        "simple" => query("SELECT 1"),
        "extended" => parse_bind_execute("", "SELECT 1"),
        _ => parse_bind_execute("s", ""),
    }
}

/// What a node is sent for that read which has run nothing of the session yet.
fn sent(form: &str) -> &'static [&'static str] {
    if form == "simple" { &["Q SELECT 1"] } else { &["P", "B", "E", "S"] }
}

/// What announces the answer; `anew`: the statement had to be prepared first.
fn announcements(form: &str, anew: bool) -> Vec<u8> {
    match form {
        "simple" => b"T\0\0\0\x06\0\0".to_vec(),
        "extended" => b"1\0\0\0\x042\0\0\0\x04".to_vec(),
        _ if anew => b"1\0\0\0\x042\0\0\0\x04".to_vec(),
        _ => b"2\0\0\0\x04".to_vec(),
    }
}

fn announced(form: &str) -> &'static [&'static str] {
    match form {
        "simple" => &["T"],
        "extended" => &["1", "2"],
        _ => &["2"],
    }
}

fn rows(form: &str, anew: bool) -> Vec<u8> {
    let mut out = announcements(form, anew);
    out.extend_from_slice(ROW);
    out.extend(complete("SELECT 1", TxStatus::Idle));
    out
}

/// The node dies, and the other one takes its place.
fn replace(rig: &mut Rig, node: NodeId) -> NodeId {
    rig.refuse(node, true);
    rig.lose(node);
    if node == STANDBY {
        rig.down(STANDBY, false);
        return PRIMARY;
    }
    rig.search();
    rig.promote();
    STANDBY
}

/// All nodes and forms.
fn everywhere(mut case: impl FnMut(NodeId, &'static str)) {
    for node in [STANDBY, PRIMARY] {
        for form in FORMS {
            case(node, form);
        }
    }
}

/// A transaction that has read on `node` and is idle.
fn in_transaction(node: NodeId) -> Rig {
    let mut rig = Rig::new("");
    rig.run("BEGIN", PRIMARY, "BEGIN", TxStatus::InTransaction);
    if node == STANDBY {
        rig.client(&query("SELECT 1"));
        rig.node(STANDBY, &complete("BEGIN", TxStatus::InTransaction));
        rig.node(STANDBY, &complete("SELECT 1", TxStatus::InTransaction));
        rig.client_got();
        rig.sent_to(STANDBY);
    }
    rig
}

/// The answer of the catalog to a question of ours.
fn said(letter: u8) -> Vec<u8> {
    let mut answer = b"D\0\0\0\x0b\0\x01\0\0\0\x01".to_vec();
    answer.push(letter);
    answer.extend(complete("SELECT 1", TxStatus::Idle));
    answer
}

fn goodbye(severity: &'static str, code: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let notice = Notice { severity, code, message: "terminating", detail: None, hint: None };
    match severity {
        "FATAL" => backend::put_error(&mut out, &notice),
        _ => backend::put_notice(&mut out, &notice),
    }
    out
}

fn fatal(code: &str) -> Vec<u8> {
    goodbye("FATAL", code)
}

fn read_only() -> Vec<u8> {
    let mut out = Vec::new();
    let text = "cannot execute INSERT in a read-only transaction";
    let notice = Notice { severity: "ERROR", code: "25006", message: text, detail: None, hint: None };
    backend::put_error(&mut out, &notice);
    backend::put_ready(&mut out, TxStatus::Idle);
    out
}

fn start_up() -> Vec<u8> {
    let mut packet = Vec::new();
    frontend::put_startup(&mut packet, crate::wire::PROTOCOL_3_0, &[("user", "u"), ("database", "d")]);
    packet
}
