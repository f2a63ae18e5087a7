//! Faults made on purpose: each breaks a rule that the simulation says to hold, so that it is known to notice.

use super::network::{Arrival, End, Peer};
use super::schedule::SECOND;
use super::world::World;

/// A broken program, or a broken server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// ReadyForQuery says that no transaction is open where one is.
    WrongStatus,
    /// A failed transaction is said to go on.
    ForgottenFailure,
    /// The client gets something twice.
    DoubleAnswer,
    /// The client does not get an answer.
    LostAnswer,
    /// A write is sent twice.
    RepeatedWrite,
    /// A commit is told before the standbys have it.
    EarlyCommit,
    /// The standby that is promoted lacks the last commit.
    LostCommit,
    /// Sessions write to a node that is not the primary.
    WrongPrimary,
    /// A node that is well stays out of use.
    ForgottenNode,
}

impl Sabotage {
    pub(super) const ALL: [Sabotage; 9] = [
        Sabotage::WrongStatus,
        Sabotage::ForgottenFailure,
        Sabotage::DoubleAnswer,
        Sabotage::LostAnswer,
        Sabotage::RepeatedWrite,
        Sabotage::EarlyCommit,
        Sabotage::LostCommit,
        Sabotage::WrongPrimary,
        Sabotage::ForgottenNode,
    ];
}

impl World {
    /// Something is about to arrive.
    pub(super) fn spoil(&mut self, peer: Peer, to: End, arrival: &mut Arrival) {
        let (Some(sabotage), Arrival::Bytes(bytes)) = (self.sabotage, arrival) else { return };
        let is_client = to == End::Peer && matches!(peer, Peer::Client(_));
        let is_node = to == End::Peer && matches!(peer, Peer::Node(_));
        match sabotage {
            Sabotage::WrongStatus if is_client => replace(bytes, b"Z\0\0\0\x05T", b"Z\0\0\0\x05I"),
            Sabotage::ForgottenFailure if is_client => replace(bytes, b"Z\0\0\0\x05E", b"Z\0\0\0\x05T"),
            Sabotage::DoubleAnswer if is_client && self.now() > SECOND => bytes.extend_from_within(..),
            Sabotage::LostAnswer if is_client && self.now() > SECOND => bytes.clear(),
            Sabotage::RepeatedWrite if is_node && bytes.starts_with(b"Q") => {
                let is_write = bytes.windows(11).any(|part| part == b"INSERT INTO");
                if is_write && bytes.ends_with(b"\0") {
                    bytes.extend_from_within(..);
                }
            }
            _ => return,
        }
        if matches!(sabotage, Sabotage::DoubleAnswer | Sabotage::LostAnswer) {
            // Once is enough.
            self.sabotage = None;
        }
    }
}

fn replace(bytes: &mut [u8], from: &[u8; 6], to: &[u8; 6]) {
    for at in 0..bytes.len().saturating_sub(from.len() - 1) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
    }
}
