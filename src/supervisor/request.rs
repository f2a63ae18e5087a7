//! What children ask of the supervisor, and what it tells them: one JSON text a datagram.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::NodeId;
use crate::sys::signals::Signal;
use crate::sys::socket::{receive_packet, send_packet};

/// What a child may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Have another worker pass on a cancel request: that one has the session.
    Cancel {
        /// The worker that has it; `None`: none of this program.
        worker: Option<usize>,
        /// Process number of the cancel request.
        pid: i32,
        /// Key of the cancel request.
        key: Vec<u8>,
        /// Who wants to hear that it is done.
        ticket: Ticket,
    },
    /// A cancel request has been carried out.
    Cancelled(Ticket),
    /// The kernel has told this worker, and no other, of a client that it has no place for.
    ClientWaits,
    /// This worker has no place left for another client.
    Full,
    /// A node failed a session or the replication check.
    BackendFailed {
        /// Which one.
        node: NodeId,
        /// In words, for the log and the node's row.
        reason: String,
    },
    /// A node answers.
    BackendAnswers {
        /// Which one.
        node: NodeId,
    },
    /// The replication check found the primary, or that there is none.
    Primary {
        /// Which one.
        node: Option<NodeId>,
    },
    /// Read the configuration again, everybody.
    Reload,
    /// Begin a new log file.
    RotateLog,
    /// Stop the whole program.
    Stop(StopMode),
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StopMode {
    /// When the last client has gone.
    Smart,
    /// Now, in order.
    Fast,
    /// Now.
    Immediate,
}

impl StopMode {
    /// By its first letter, as pgpool-II takes it.
    pub fn parse(word: &str) -> Option<StopMode> {
        match word.chars().next()? {
            's' => Some(StopMode::Smart),
            'f' => Some(StopMode::Fast),
            'i' => Some(StopMode::Immediate),
            _ => None,
        }
    }

    /// The signal that asks for it.
    pub fn signal(self) -> Signal {
        match self {
            StopMode::Smart => Signal::Terminate,
            StopMode::Fast => Signal::Interrupt,
            StopMode::Immediate => Signal::Quit,
        }
    }
}

/// The reply to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done, or under way.
    Done,
    /// It is not, for this reason.
    Refused(String),
}

/// What the supervisor tells a child unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Pass on a cancel request to the nodes of the session that has this key.
    Cancel {
        /// Process number of the cancel request.
        pid: i32,
        /// Key of the cancel request.
        key: Vec<u8>,
        /// Whom to tell when it is done.
        ticket: Ticket,
    },
    /// The cancel request that this worker passed on has been carried out.
    Cancelled(Ticket),
    /// End, unless a client has come.
    Leave,
    /// A client may wait at the listening sockets though the kernel does not say so.
    LookForClients,
}

/// A client waits for the end of its cancel request: only then may it be sure that no later statement is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The worker that has the client.
    pub worker: usize,
    /// Its number there.
    pub number: u64,
}

/// What a child receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Incoming {
    /// The reply to its oldest request without one.
    Answer(Answer),
    /// Something to do.
    Order(Order),
    /// The supervisor is dead: exit.
    #[serde(skip)]
    Gone,
}

/// The longest datagram; requests are a few hundred bytes.
const MAX_PACKET: usize = 64 * 1024;

/// A child's end of its request socket. Nothing here waits; poll the descriptor.
pub struct ToSupervisor {
    fd: OwnedFd,
}

impl ToSupervisor {
    pub(super) fn new(fd: OwnedFd) -> ToSupervisor {
        ToSupervisor { fd }
    }

    /// Sends a request; `WouldBlock` if the supervisor does not keep up.
    pub fn send(&self, request: &Request) -> io::Result<()> {
        send_packet(&self.fd, &serde_json::to_vec(request)?)
    }

    /// The next thing that has come, if any.
    pub fn recv(&self) -> Option<Incoming> {
        match receive(&self.fd) {
            Received::Message(incoming) => Some(incoming),
            Received::Nothing => None,
            Received::Closed => Some(Incoming::Gone),
        }
    }
}

impl AsFd for ToSupervisor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ToSupervisor {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// What a look at a request socket gives.
pub(super) enum Received<T> {
    Message(T),
    Nothing,
    Closed,
}

/// Takes the next message; what is not understood is skipped.
pub(super) fn receive<T: DeserializeOwned>(fd: &OwnedFd) -> Received<T> {
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        match receive_packet(fd, &mut buffer) {
            Ok(0) => return Received::Closed,
            Ok(length) => match serde_json::from_slice(buffer.get(..length).unwrap_or_default()) {
                Ok(message) => return Received::Message(message),
                Err(error) => crate::say!(Warning, "could not read a message of another process: {error}"),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Received::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Received::Closed,
        }
    }
}

/// Sends a child an answer or an order.
pub(super) fn tell(fd: &OwnedFd, message: &Incoming) -> io::Result<()> {
    send_packet(fd, &serde_json::to_vec(message)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::seqpacket_pair;

    #[test]
    fn requests_and_answers_go_through_the_socket() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        let child = ToSupervisor::new(theirs);
        let requests = [
            Request::Cancel {
                worker: Some(3),
                pid: -5,
                key: vec![0, 255, 7],
                ticket: Ticket { worker: 1, number: 2 },
            },
            Request::BackendFailed { node: 1, reason: "connection refused".into() },
            Request::BackendAnswers { node: 127 },
            Request::Primary { node: None },
            Request::Primary { node: Some(0) },
            Request::Reload,
            Request::RotateLog,
            Request::Stop(StopMode::Fast),
        ];
        for request in &requests {
            child.send(request).unwrap();
        }
        for request in requests {
            assert!(matches!(receive::<Request>(&ours), Received::Message(got) if got == request));
        }
        assert!(matches!(receive::<Request>(&ours), Received::Nothing));
        assert_eq!(child.recv(), None);
        let told = [
            Incoming::Answer(Answer::Refused("no".into())),
            Incoming::Order(Order::Cancelled(Ticket { worker: 1, number: 2 })),
        ];
        for message in told {
            tell(&ours, &message).unwrap();
            assert_eq!(child.recv(), Some(message));
        }
        drop(ours);
        assert_eq!(child.recv(), Some(Incoming::Gone));
    }

    #[test]
    fn nonsense_is_skipped() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        send_packet(&theirs, b"{\"Reboot\":1}").unwrap();
        send_packet(&theirs, b"\"Reload\"").unwrap();
        assert!(matches!(receive::<Request>(&ours), Received::Message(Request::Reload)));
    }

    #[test]
    fn stop_modes_are_known_by_their_first_letter() {
        for (word, mode) in [
            ("s", Some(StopMode::Smart)),
            ("smart", Some(StopMode::Smart)),
            ("fast", Some(StopMode::Fast)),
            ("immediate", Some(StopMode::Immediate)),
            ("now", None),
            ("", None),
        ] {
            assert_eq!(StopMode::parse(word), mode, "{word}");
        }
    }
}
