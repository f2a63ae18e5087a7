//! What children ask of the supervisor, and what it tells them: one JSON text a datagram.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use crate::admin::StopMode;
use crate::admin::{SessionId, Weight};
use crate::cluster::failover;
use crate::error::NodeId;
use crate::shm::Note;
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
    /// What shall become of a node, or what was seen of it: the manager decides.
    Nodes(failover::Request),
    /// The node that should be the primary refused a write: the roles must be looked at now.
    RolesDoubted,
    /// Read the configuration again, everybody.
    Reload,
    /// Begin a new log file.
    RotateLog,
    /// Stop the whole program.
    Stop(StopMode),
    /// Cancel what a session does.
    CancelSession(SessionId),
    /// End a session.
    TerminateSession(SessionId),
    /// Hold new transactions back; answered when those under way have ended.
    Pause,
    /// Hold them back no longer.
    Resume,
    /// Give a node another share of the reads.
    SetWeight {
        /// Which one.
        node: NodeId,
        /// What it is now.
        weight: Weight,
    },
    /// Forget what routing has learnt.
    ForgetLearned,
    /// Note what has happened. The only request that gets no answer.
    Note(Note),
}

/// The reply to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done, or under way.
    Done,
    /// It is not, for this reason.
    Refused(String),
    /// It is in force, but what it waits for is still under way.
    Draining,
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
    /// Cancel what the session with this number does, if it is still in this place.
    CancelSession {
        /// Its place in the worker.
        place: u32,
        /// Its number.
        number: u64,
    },
    /// End the session with this number, if it is still in this place.
    TerminateSession {
        /// Its place in the worker.
        place: u32,
        /// Its number.
        number: u64,
    },
    /// End, unless a client has come.
    Leave,
    /// To the replication check: look at the nodes now.
    LookAtNodes,
    /// To the workers: the state of the nodes or what is held back has changed; who waits for that shall look now.
    LookAtCluster,
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

/// A child's end and the supervisor's, for tests of what a child does.
#[cfg(test)]
pub(crate) fn socket_pair() -> (ToSupervisor, OwnedFd) {
    let (ours, theirs) = crate::sys::socket::seqpacket_pair().unwrap_or_else(|error| panic!("{error}"));
    (ToSupervisor::new(theirs), ours)
}

/// Sends a child an answer or an order.
pub(super) fn tell(fd: &OwnedFd, message: &Incoming) -> io::Result<()> {
    send_packet(fd, &serde_json::to_vec(message)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::EventKind;
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
            Request::Nodes(failover::Request::Failed {
                node: 1,
                reason: "connection refused".into(),
                cause: failover::Cause::HealthCheck,
            }),
            Request::Nodes(failover::Request::Promote { node: 1, switchover: true, gracefully: false }),
            Request::Nodes(failover::Request::Answers { node: 127, streams: true }),
            Request::Nodes(failover::Request::Primary { node: None }),
            Request::Nodes(failover::Request::Primary { node: Some(0) }),
            Request::Nodes(failover::Request::Quarantine { node: 1, reason: "no majority".into() }),
            Request::Reload,
            Request::RotateLog,
            Request::Stop(StopMode::Fast),
            Request::TerminateSession(SessionId { pid: 5, place: 7, number: u64::MAX }),
            Request::SetWeight { node: 1, weight: Weight::new(0.1).unwrap() },
            Request::Note(Note {
                kind: EventKind::HealthCheck,
                node: Some(2),
                new: "up".into(),
                values: [1, 2, 3, 4, 5, u64::MAX],
                ..Note::default()
            }),
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
}
