//! What a connection leaves behind that was lost.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::pool::{Backend, Expect, LastWords};

/// What a lost connection leaves behind.
#[derive(Debug, Default)]
pub struct Lost {
    /// What the socket said, or why we closed it.
    reason: String,
    /// The server's FATAL error before it closed.
    last_words: Option<LastWords>,
    /// The client has the begin of a message, and nobody its end.
    pub(super) mid_message: bool,
    /// We have left a server that lives.
    pub(super) left: bool,
    /// What was not answered.
    pub(super) expects: VecDeque<Expect>,
}

impl Lost {
    /// What is left of a connection that has closed or will be.
    pub fn of(backend: &mut Backend, reason: &str) -> Lost {
        Lost {
            reason: reason.to_owned(),
            last_words: backend.last_words.take(),
            mid_message: backend.is_mid_message(),
            left: false,
            expects: std::mem::take(&mut backend.expects),
        }
    }

    /// ReadyForQuery that the client still waits for from it.
    pub(super) fn queries(&self) -> usize {
        self.expects.iter().filter(|expect| expect.is_owed()).count()
    }

    pub(super) fn code(&self) -> &str {
        self.last_words.as_ref().map_or("", |words| &words.code)
    }

    pub(super) fn text(&self) -> &str {
        self.last_words.as_ref().map_or(&self.reason, |words| &words.text)
    }

    /// An administrator has ended the connection, or stops the server.
    pub(super) fn is_ended_by_hand(&self) -> bool {
        self.code() == "57P01"
    }

    /// The server goes away and all its connections with it, as far as it has said anything.
    pub(super) fn is_of_the_server(&self) -> bool {
        // The others: this session was idle too long, or was in the way of somebody.
        !self.left && matches!(self.code(), "" | "57P01" | "57P02")
    }
}
