//! No word of ours stands within a long message of a server, which a client gets as it comes.
#![forbid(unsafe_code)]

use super::parse_bind_execute;
use super::rig::{CLIENT, Rig, STANDBY, query};

/// Length of a row that nobody keeps back until all of it is there.
const LONG: usize = 100_000;

/// A row, and how much of it is there first.
fn row() -> (Vec<u8>, usize) {
    let mut row = vec![b'D'];
    row.extend((LONG as u32).to_be_bytes());
    row.resize(LONG + 1, b'x');
    (row, LONG / 2)
}

#[test]
fn a_session_that_is_ended_says_why_only_between_messages() {
    let (row, half) = row();
    for (there, words) in [(half, 0), (row.len(), 1)] {
        let mut rig = Rig::new("");
        rig.client(&query("SELECT 1"));
        rig.node(STANDBY, &row[..there]);
        rig.step(|session, ctx| session.shut(ctx, "57P01", "terminating connection"));
        let got = rig.client_bytes();
        assert_eq!(got[..there], row[..there]);
        let end = String::from_utf8_lossy(&got[there..]);
        assert_eq!(end.matches("terminating connection").count(), words);
        assert_eq!(end.is_empty(), words == 0);
        assert!(rig.session.is_closed() && rig.wire.closed.contains(&CLIENT));
    }
}

#[test]
fn a_notice_about_a_statement_waits_for_the_end_of_the_row_before_it() {
    let (row, half) = row();
    let mut rig = Rig::new("notice_per_node_statement = on\n");
    let of_the_batch = rig.notices();
    rig.node(STANDBY, b"1\0\0\0\x042\0\0\0\x04");
    rig.node(STANDBY, &row[..half]);
    rig.client_bytes();
    assert_eq!(rig.notices(), 0, "the client is within a row");
    rig.node(STANDBY, &row[half..]);
    assert_eq!(rig.client_bytes(), row[half..]);
    rig.step(|session, ctx| session.pass_on(ctx, Vec::new()));
    assert_eq!(rig.client_got(), vec!["N"; of_the_batch]);
}

impl Rig {
    /// A batch more; what the client is told of it.
    fn notices(&mut self) -> usize {
        self.client(&parse_bind_execute("", "SELECT 1"));
        assert_eq!(self.sent_to(STANDBY), ["P", "B", "E", "S"]);
        self.client_got().len()
    }
}
