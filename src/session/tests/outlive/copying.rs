//! COPY, in and out.
#![forbid(unsafe_code)]

use super::super::rig::{PRIMARY, Rig, query};
use super::super::{NOTHING, parse_bind_execute};
use super::*;
use crate::wire::backend::TxStatus;

#[test]
fn copy_data_for_a_lost_node_is_dropped_until_its_end() {
    let write = "INSERT INTO t VALUES (1)";
    for done in [&b"c\0\0\0\x04"[..], b"f\0\0\0\x07no\0"] {
        let mut rig = Rig::new("");
        rig.client(&query("COPY t FROM STDIN"));
        rig.node(PRIMARY, b"G\0\0\0\x07\0\0\0");
        rig.client(b"d\0\0\0\x05x");
        rig.client_got();
        rig.lose(PRIMARY);
        assert_eq!(rig.client_got(), ["E 08007", "Z I"]);
        rig.client(b"d\0\0\0\x05x");
        rig.client(done);
        rig.run(write, PRIMARY, "INSERT 0 1", TxStatus::Idle);

        let mut rig = Rig::new("");
        rig.client(&parse_bind_execute("", "COPY t FROM STDIN"));
        let mut answer = b"1\0\0\0\x042\0\0\0\x04".to_vec();
        answer.extend_from_slice(b"G\0\0\0\x07\0\0\0");
        rig.node(PRIMARY, &answer);
        rig.client_got();
        rig.lose(PRIMARY);
        assert_eq!(rig.client_got(), ["E 08006"]);
        rig.client(b"d\0\0\0\x05x");
        rig.client(done);
        assert_eq!(rig.client_got(), NOTHING);
        rig.client(SYNC);
        assert_eq!(rig.client_got(), ["Z I"]);
        rig.run(write, PRIMARY, "INSERT 0 1", TxStatus::Idle);
    }
}

#[test]
fn copy_out_is_run_again_before_its_first_row_and_fails_behind_it() {
    let mut rig = reader(PRIMARY, "simple");
    rig.client(&query("COPY (SELECT 1) TO STDOUT"));
    let other = replace(&mut rig, PRIMARY);
    assert_eq!(rig.sent_to(other), ["Q COPY (SELECT 1) TO STDOUT"]);
    let mut rig = reader(PRIMARY, "simple");
    rig.client(&query("COPY (SELECT 1) TO STDOUT"));
    rig.node(PRIMARY, b"H\0\0\0\x07\0\0\0d\0\0\0\x05x");
    rig.client_got();
    replace(&mut rig, PRIMARY);
    assert_eq!(rig.client_got(), ["E 08006", "Z I"]);
}
