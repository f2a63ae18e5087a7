//! Any bytes from a PCP client, in any pieces: refused or understood, and nobody is let in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgbalancer::auth::pcp_conf::PcpConf;
use pgbalancer::face::pcp::{Conversation, Next};

fuzz_target!(|pieces: Vec<Vec<u8>>| {
    let users = PcpConf::parse(b"ann:5ebe2294ecd0e0f08eab7690d2a6ee69", "pcp.conf").0;
    let mut talk = Conversation::default();
    for piece in &pieces {
        talk.push(piece);
        loop {
            match talk.next(&users, || *b"salt") {
                Next::Wait => break,
                Next::Say(_) => {}
                Next::Refuse(refusal) if refusal.is_fatal => return,
                other => panic!("a stranger gets {other:?}"),
            }
        }
    }
});
