//! A new program takes over without a client noticing (`--upgrade`, USR2).
//!
//! The old supervisor starts the program anew and hands it the listening sockets. Once that one serves clients it says so;
//! from then on it is the service (pid file, files of the sockets), and the old one stops smartly: its sessions
//! finish in the processes that they began in. As long as both live a link carries what one must do for the other:
//! cancel requests for the old sessions, the command to stop, and what becomes of the nodes: one of them decides, and the
//! other does the same. A new program that does not get so far changes nothing.
#![forbid(unsafe_code)]

mod nodes;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::child::ListenerKind;
use super::listen::Inherited;
use super::request::{Answer, Order, Received, StopMode, Ticket, receive};
use super::run::Supervisor;
use crate::cluster::failover::{Cause, Request, Told};
use crate::error::{NodeId, exit};
use crate::sys::process::{self, Ending, ProcessId};
use crate::sys::signals::Number;
use crate::sys::socket::{send_packet, seqpacket_pair};
use crate::sys::takeover;

/// Names the link and the listening sockets, by the numbers of their descriptors: `LINK,SOCKET,SOCKET…`.
const VARIABLE: &str = "PGBALANCER_TAKEOVER";

/// How long a new program may take until it serves clients.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A ticket of a worker of the other supervisor, under a number of ours.
const ELSEWHERE: usize = usize::MAX;

/// What two supervisors tell each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Word {
    /// From the new one: it serves clients.
    Ready,
    /// From the new one: perhaps the old one has the session.
    Cancel { pid: i32, key: Vec<u8>, ticket: Ticket },
    /// From the old one: that is done.
    Cancelled(Ticket),
    /// From the old one: a client may wait at the listening sockets though the kernel does not say so.
    LookForClients,
    /// From the new one: the service is to stop.
    Stop(StopMode),
    /// From the one that decides about the nodes, with the number of its hold.
    Nodes(Told, u64),
    /// From the old one: this node failed a session of its own.
    NodeFailed { node: NodeId, reason: String, cause: Cause, by: ProcessId },
    /// From the old one: of its sessions, too, none keeps the hold of this number from going on.
    Quiet(u64),
}

fn say(link: &OwnedFd, word: &Word) -> io::Result<()> {
    send_packet(link, &serde_json::to_vec(word)?)
}

/// How this program was started.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// What it was called.
    pub name: OsString,
}

impl Program {
    /// `name` is `argv[0]`. A link stays one: it may lead to another version by the time it is followed.
    pub fn new(name: &OsStr) -> Program {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let found = match Path::new(name).components().count() {
            0 => None,
            1 => std::env::split_paths(&paths).map(|dir| dir.join(name)).find(|path| path.is_file()),
            _ => std::path::absolute(name).ok(),
        };
        let path = found.or_else(|| std::env::current_exe().ok()).unwrap_or_default();
        Program { path, name: name.to_owned() }
    }
}

/// What a program that took over was given.
pub(super) struct Inheritance {
    link: OwnedFd,
    pub(super) listeners: Vec<Inherited>,
}

impl Inheritance {
    /// None: this program was started by itself.
    ///
    /// # Errors
    /// The variable names what is not open, or no listening socket.
    pub(super) fn take() -> io::Result<Option<Inheritance>> {
        let Some(value) = takeover::take_variable(VARIABLE) else { return Ok(None) };
        let value = value.to_string_lossy();
        let numbers: Result<Vec<RawFd>, _> = value.split(',').map(str::parse).collect();
        let numbers = numbers.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut fds = numbers.into_iter().map(takeover::adopt);
        let link = fds.next().unwrap_or_else(|| Err(io::ErrorKind::InvalidInput.into()))?;
        let listener = |fd: io::Result<OwnedFd>| {
            let fd = fd?;
            Ok(Inherited { kind: takeover::listens_on(&fd)?, fd })
        };
        let listeners: io::Result<Vec<Inherited>> = fds.map(listener).collect();
        Ok(Some(Inheritance { link, listeners: listeners? }))
    }
}

/// Whose the pid file and the files of the sockets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Still those of the program that this one is to take over from.
    Awaited,
    /// This program's.
    Held,
    /// Those of the one that has taken over from it.
    Passed,
}

/// The program that shall take over, or has.
pub(super) struct Successor {
    pid: ProcessId,
    link: OwnedFd,
    /// Until when it has to be ready; `None` once it is.
    due: Option<Instant>,
    /// Its cancel requests that our workers see to.
    cancels: Vec<(u64, Ticket)>,
    last: u64,
    /// The number of its hold, until it has heard that our sessions are quiet.
    hold: Option<u64>,
}

/// The program that this one takes over from, or has.
pub(super) struct Predecessor {
    link: OwnedFd,
    /// Files of sockets that are not wanted any more.
    unwanted: Vec<PathBuf>,
    /// Cancel requests that it sees to.
    cancels: Vec<Ticket>,
    /// The last of our holds that nothing in its sessions keeps from going on.
    quiet: u64,
}

impl Predecessor {
    pub(super) fn new(inheritance: Inheritance) -> Predecessor {
        let path = |listener: Inherited| match listener.kind {
            ListenerKind::Unix(path) => Some(path),
            ListenerKind::Tcp(_) => None,
        };
        let unwanted = inheritance.listeners.into_iter().filter_map(path).collect();
        Predecessor { link: inheritance.link, unwanted, cancels: Vec::new(), quiet: 0 }
    }
}

impl Supervisor {
    /// USR2: starts the program that shall take over.
    pub(super) fn upgrade(&mut self) {
        if self.stopping.is_some() {
            return crate::say!(Warning, "no upgrade: the program is stopping");
        }
        if self.successor.is_some() || self.service != Service::Held {
            return crate::say!(Warning, "no upgrade: another one is under way");
        }
        if self.failover.manager.is_busy() {
            return crate::say!(Warning, "no upgrade: a failover or failback is under way");
        }
        if self.segment.pause().is_some() {
            return crate::say!(Warning, "no upgrade: the program is paused");
        }
        let path = self.launch.program.path.display().to_string();
        match self.start_successor() {
            Ok(successor) => {
                crate::say!(Log, "upgrade: started {} with pid: {}", path, successor.pid);
                self.successor = Some(successor);
            }
            Err(error) => crate::say!(Warning, "upgrade: could not start {}: {}", path, error),
        }
    }

    fn start_successor(&self) -> io::Result<Successor> {
        let (link, theirs) = seqpacket_pair()?;
        let keep: Vec<BorrowedFd<'_>> = std::iter::once(theirs.as_fd())
            .chain(self.listeners.iter().map(|listener| listener.fd.as_fd()))
            .collect();
        let numbers: Vec<String> = keep.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let mut environment = vec![(VARIABLE, numbers.join(",").into())];
        environment.extend(self.launch.notifier.variables());
        let pid = takeover::spawn(takeover::Successor {
            program: &self.launch.program.path,
            name: &self.launch.program.name,
            arguments: self.launch.arguments(),
            environment,
            keep,
            output: self.collector.as_ref().map(|collector| collector.stderr()),
        })?;
        let due = Some(Instant::now() + PATIENCE);
        Ok(Successor { pid, link, due, cancels: Vec::new(), last: 0, hold: None })
    }

    /// Whether this child that has ended was the program that should have taken over.
    pub(super) fn successor_ended(&mut self, pid: ProcessId, ending: Ending) -> bool {
        let is_it = self.successor.as_ref().is_some_and(|successor| successor.pid == pid);
        if is_it {
            self.hear_successor();
            if self.successor.take().is_some_and(|successor| successor.due.is_some()) {
                crate::say!(Warning, "upgrade: the new program has ended ({ending:?}); the old one goes on");
            }
        }
        is_it
    }

    /// The links, to be waited for.
    pub(super) fn links(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let successor = self.successor.as_ref().map(|successor| successor.link.as_fd());
        successor.into_iter().chain(self.predecessor.as_ref().map(|predecessor| predecessor.link.as_fd()))
    }

    /// When a new program that is not ready is given up.
    pub(super) fn successor_due(&self) -> Option<Instant> {
        self.successor.as_ref().and_then(|successor| successor.due)
    }

    /// Hears what the others say. Never waits.
    pub(super) fn tend_links(&mut self) {
        self.hear_successor();
        self.hear_predecessor();
        if self.successor_due().is_some_and(|due| due <= Instant::now()) {
            crate::say!(Warning, "upgrade: the new program is not ready after {} s", PATIENCE.as_secs());
            self.drop_successor();
        }
    }

    /// The program that should have taken over is not wanted any more.
    pub(super) fn drop_successor(&mut self) {
        if let Some(successor) = self.successor.take_if(|successor| successor.due.is_some()) {
            // Gone already is as good.
            let _ = process::send_signal(successor.pid, Number::SIGKILL);
        }
    }

    fn hear_successor(&mut self) {
        while let Some(successor) = &self.successor {
            match receive::<Word>(&successor.link) {
                Received::Message(Word::Ready) => self.hand_over(),
                Received::Message(Word::Cancel { pid, key, ticket }) => self.cancel_for(pid, key, ticket),
                Received::Message(Word::Stop(mode)) => self.stop(mode, exit::OK),
                Received::Message(Word::Nodes(told, hold)) => self.follow_successor(told, hold),
                Received::Message(_) => {}
                Received::Nothing => return,
                // One that is not ready is our child, and reaped.
                Received::Closed if successor.due.is_some() => return,
                Received::Closed => self.successor = None,
            }
        }
    }

    /// The new program serves clients: it is the service from now on.
    fn hand_over(&mut self) {
        let Some(successor) = self.successor.as_mut().filter(|successor| successor.due.is_some()) else {
            return;
        };
        successor.due = None;
        let pid = successor.pid;
        self.service = Service::Passed;
        crate::say!(Log, "upgrade: process {pid} has taken over; the sessions of this one finish");
        self.tell_manager(|notifier| notifier.succeeded_by(pid));
        self.hand_over_nodes();
        self.stop(StopMode::Smart, exit::OK);
        // Two programs must not take the same name from each other at the broker.
        self.tree.signal(Number::SIGTERM, |role| role.process == "mqtt");
    }

    /// A cancel request that came to the new program: the session may be here, or still further back.
    fn cancel_for(&mut self, pid: i32, key: Vec<u8>, ticket: Ticket) {
        let Some(successor) = &mut self.successor else { return };
        successor.last += 1;
        let ours = Ticket { worker: ELSEWHERE, number: successor.last };
        successor.cancels.push((ours.number, ticket));
        match self.segment.find_cancel(pid, &key) {
            Some((worker, _)) => {
                if self.pass_on(worker, Order::Cancel { pid, key, ticket: ours }) != Answer::Done {
                    self.cancelled(ours);
                }
            }
            None => self.cancel_further_back(pid, key, ours),
        }
    }

    /// A cancel request for a session that no worker of this program has.
    pub(super) fn cancel_further_back(&mut self, pid: i32, key: Vec<u8>, ticket: Ticket) {
        match &mut self.predecessor {
            Some(predecessor) => {
                if say(&predecessor.link, &Word::Cancel { pid, key, ticket }).is_ok() {
                    return predecessor.cancels.push(ticket);
                }
            }
            None => crate::say!(Log, "invalid cancel key: pid:{} keylen:{}", pid, key.len()),
        }
        self.cancelled(ticket);
    }

    /// A cancel request is done: whoever brought it may know.
    pub(super) fn cancelled(&mut self, ticket: Ticket) -> Answer {
        if ticket.worker != ELSEWHERE {
            return self.pass_on(ticket.worker, Order::Cancelled(ticket));
        }
        let Some(successor) = &mut self.successor else { return Answer::Done };
        if let Some(at) = successor.cancels.iter().position(|(number, _)| *number == ticket.number) {
            let (_, theirs) = successor.cancels.swap_remove(at);
            if let Err(error) = say(&successor.link, &Word::Cancelled(theirs)) {
                crate::say!(Warning, "upgrade: the new program does not hear of a cancel request: {error}");
            }
        }
        Answer::Done
    }

    /// A client may wait at the sockets that this program has left to another. False: it has not.
    pub(super) fn look_elsewhere(&self) -> bool {
        let Some(successor) = self.successor.as_ref().filter(|successor| successor.due.is_none()) else {
            return false;
        };
        say(&successor.link, &Word::LookForClients).is_ok()
    }

    fn hear_predecessor(&mut self) {
        while let Some(predecessor) = &mut self.predecessor {
            match receive::<Word>(&predecessor.link) {
                Received::Message(Word::Cancelled(ticket)) => {
                    predecessor.cancels.retain(|waiting| *waiting != ticket);
                    self.cancelled(ticket);
                }
                Received::Message(Word::LookForClients) => {
                    self.find_place(0);
                }
                Received::Message(Word::Quiet(number)) => predecessor.quiet = number,
                Received::Message(Word::Nodes(told, _)) => self.inherit_nodes(told),
                Received::Message(Word::NodeFailed { node, reason, cause, by }) => {
                    self.ask_manager(Request::Failed { node, reason, cause }, by);
                }
                Received::Message(_) => {}
                Received::Nothing => return,
                Received::Closed => {
                    let waiting = std::mem::take(&mut predecessor.cancels);
                    self.predecessor = None;
                    waiting.into_iter().for_each(|ticket| drop(self.cancelled(ticket)));
                    if self.service == Service::Held {
                        crate::say!(Log, "upgrade: the old program has ended");
                    }
                }
            }
        }
    }

    /// This program serves clients: if it takes over from another, that one hears so.
    ///
    /// # Errors
    /// The pid file cannot be written. The other one goes on then.
    pub(super) fn take_over(&mut self) -> io::Result<()> {
        if self.service == Service::Held {
            return Ok(());
        }
        self.pid_file.write(process::own_id())?;
        self.service = Service::Held;
        // One that died meanwhile has nothing to hand over.
        let Some(predecessor) = &mut self.predecessor else { return Ok(()) };
        for path in predecessor.unwanted.drain(..) {
            // Gone already is as good.
            let _ = std::fs::remove_file(path);
        }
        let _ = say(&predecessor.link, &Word::Ready);
        Ok(())
    }

    /// The service is to stop: also the part of it that finishes old sessions.
    pub(super) fn stop_predecessor(&self, mode: StopMode) {
        if let Some(predecessor) = self.predecessor.as_ref().filter(|_| self.service != Service::Awaited) {
            // Gone already is as good.
            let _ = say(&predecessor.link, &Word::Stop(mode));
        }
    }
}
