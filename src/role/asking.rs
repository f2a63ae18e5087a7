//! Asking the nodes of the replication check: a thread each, whose connection is kept for the next round.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::helpers::Helpers;
use crate::auth::pool_passwd::Secret;
use crate::cluster::ask::ask;
use crate::cluster::client::{Client, ClientError, Target};
use crate::cluster::probe::{Answer, Reply};
use crate::error::NodeId;

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
    helpers: Helpers<Finished>,
    /// Goes up with every reload: connections and answers of before are of an old configuration.
    epoch: u64,
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
    epoch: u64,
    client: Option<Client>,
    outcome: Result<Answer, String>,
}

impl Asking {
    pub(super) fn new() -> io::Result<Asking> {
        Ok(Asking { seats: BTreeMap::new(), helpers: Helpers::new()?, epoch: 0 })
    }

    /// Forgets all connections: they may be of another user or another host than configured now.
    pub(super) fn forget(&mut self) {
        self.epoch += 1;
        self.seats.values_mut().for_each(|seat| (seat.client, seat.failing) = (None, None));
    }

    /// Asks a node, unless it is still being asked: then that answer counts, when it comes. Whether it is worth waiting
    /// for: one that hangs or failed last is likely to do so again.
    pub(super) fn start(&mut self, id: NodeId, job: Job) -> bool {
        let epoch = self.epoch;
        let seat = self.seats.entry(id).or_default();
        if seat.busy {
            return false;
        }
        let client = seat.client.take();
        match self.helpers.start(format!("node {id}"), move || Finished::of(id, epoch, client, &job)) {
            Ok(()) => seat.busy = true,
            Err(error) => seat.failing = Some(format!("could not start a thread: {error}")),
        }
        seat.failing.is_none()
    }

    /// The nodes that are done; `None`: asked before the reload, so what they said does not count.
    pub(super) fn finished(&mut self) -> Vec<(NodeId, Option<Reply>)> {
        let mut replies = Vec::new();
        while let Some(finished) = self.helpers.finished() {
            let seat = self.seats.entry(finished.id).or_default();
            seat.busy = false;
            if finished.epoch < self.epoch {
                replies.push((finished.id, None));
                continue;
            }
            seat.client = finished.client;
            seat.failing = finished.outcome.as_ref().err().cloned();
            let reply = finished.outcome.map_or_else(Reply::Failed, Reply::Answered);
            replies.push((finished.id, Some(reply)));
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
        self.helpers.rest();
    }
}

impl AsFd for Asking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.helpers.as_fd()
    }
}

impl Finished {
    fn of(id: NodeId, epoch: u64, client: Option<Client>, job: &Job) -> Finished {
        match ask_over(client, job) {
            Ok((client, answer)) => Finished { id, epoch, client: Some(client), outcome: Ok(answer) },
            Err(error) => Finished { id, epoch, client: None, outcome: Err(error.to_string()) },
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
