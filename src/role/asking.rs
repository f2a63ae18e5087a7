//! The threads of the replication check: one asks one node and goes; its connection is kept for the next round.
//!
//! The only place of this program where a process has threads of its own: a name that does not resolve
//! and a host that drops packets must not hold up the others. This process forks nothing.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use crate::auth::pool_passwd::Secret;
use crate::cluster::ask::ask;
use crate::cluster::client::{Client, ClientError, Target};
use crate::cluster::probe::{Answer, Reply};
use crate::error::NodeId;

/// These threads call nothing deep; the C library's resolver is the hungriest.
const STACK: usize = 256 * 1024;

/// How to reach a node.
pub(super) struct Job {
    pub(super) target: Target,
    pub(super) secret: Option<Secret>,
    /// Bounds the log-in, and again the questions.
    pub(super) limit: Duration,
}

/// The nodes being asked. Its descriptor is readable when one of them is done.
pub(super) struct Asking {
    seats: BTreeMap<NodeId, Seat>,
    /// Goes up with every round and every reload.
    round: u64,
    /// Connections of earlier rounds are of an old configuration.
    valid_from: u64,
    done: (Sender<Finished>, Receiver<Finished>),
    wake: (PipeReader, Arc<PipeWriter>),
}

#[derive(Default)]
struct Seat {
    busy: bool,
    client: Option<Client>,
    /// How it failed last, until it answers.
    failing: Option<String>,
}

struct Finished {
    id: NodeId,
    round: u64,
    client: Option<Client>,
    outcome: Result<Answer, String>,
}

impl Asking {
    pub(super) fn new() -> io::Result<Asking> {
        let (reader, writer) = io::pipe()?;
        let wake = (reader, Arc::new(writer));
        Ok(Asking { seats: BTreeMap::new(), round: 0, valid_from: 0, done: mpsc::channel(), wake })
    }

    /// Begins a round: answers to earlier ones come too late from now on.
    pub(super) fn begin(&mut self) {
        self.round += 1;
    }

    /// Forgets all connections: they may be of another user or another host than configured now.
    pub(super) fn forget(&mut self) {
        self.round += 1;
        self.valid_from = self.round;
        self.seats.values_mut().for_each(|seat| (seat.client, seat.failing) = (None, None));
    }

    /// Asks a node, unless it is still being asked.
    pub(super) fn start(&mut self, id: NodeId, job: Job) {
        let seat = self.seats.entry(id).or_default();
        if seat.busy {
            return;
        }
        let (round, client, sender, wake) =
            (self.round, seat.client.take(), self.done.0.clone(), Arc::clone(&self.wake.1));
        let work = move || {
            let finished = Finished::of(id, round, client, &job);
            // The receiver lives as long as the process.
            let _ = sender.send(finished).is_ok() && (&*wake).write_all(&[0]).is_ok();
        };
        match thread::Builder::new().name(format!("node {id}")).stack_size(STACK).spawn(work) {
            Ok(_) => seat.busy = true,
            Err(error) => seat.failing = Some(format!("could not start a thread: {error}")),
        }
    }

    /// The nodes that are done; those asked in an earlier round only free their seat.
    pub(super) fn finished(&mut self) -> Vec<(NodeId, Reply)> {
        let mut replies = Vec::new();
        while let Ok(finished) = self.done.1.try_recv() {
            let seat = self.seats.entry(finished.id).or_default();
            seat.busy = false;
            if finished.round < self.valid_from {
                continue;
            }
            seat.client = finished.client;
            seat.failing = finished.outcome.as_ref().err().cloned();
            if finished.round == self.round {
                let reply = finished.outcome.map_or_else(Reply::Failed, Reply::Answered);
                replies.push((finished.id, reply));
            }
        }
        replies
    }

    /// What is to be said of a node that has not replied in this round.
    pub(super) fn overdue(&self, id: NodeId) -> Reply {
        let failing = self.seats.get(&id).and_then(|seat| seat.failing.clone());
        failing.map_or(Reply::Late, Reply::Failed)
    }

    /// Takes the wake-ups off the descriptor, which must be readable.
    pub(super) fn rest(&mut self) {
        let _ = self.wake.0.read(&mut [0; 256]);
    }
}

impl AsFd for Asking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.0.as_fd()
    }
}

impl Finished {
    fn of(id: NodeId, round: u64, client: Option<Client>, job: &Job) -> Finished {
        match ask_over(client, job) {
            Ok((client, answer)) => Finished { id, round, client: Some(client), outcome: Ok(answer) },
            Err(error) => Finished { id, round, client: None, outcome: Err(error.to_string()) },
        }
    }
}

/// A kept connection may have died with its server since: then it is opened again, and only that may fail.
fn ask_over(kept: Option<Client>, job: &Job) -> Result<(Client, Answer), ClientError> {
    if let Some(mut client) = kept
        && let Ok(answer) = ask(&mut client, job.limit)
    {
        return Ok((client, answer));
    }
    let mut client = Client::connect(&job.target, job.secret.as_ref(), job.limit)?;
    let answer = ask(&mut client, job.limit)?;
    Ok((client, answer))
}
