//! Online recovery runs in a thread of its own: it may take minutes, and only who asked for it waits.
//!
//! Shared by the processes that take commands. `T` is who asked, as the process knows it.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{self, Sender};

use super::account;
use super::helpers::{Helpers, Voice};
use crate::admin::{self, Actor, AdminError, Command};
use crate::error::NodeId;
use crate::recovery::{self, RealServers, RecoveryError, Seen};
use crate::shm::{EventKind, Note, RecoveryBy, RecoveryRow, Segment};
use crate::supervisor::ChildContext;
use crate::supervisor::request::{Request, ToSupervisor};
use crate::sys::clock;

/// The recovery of a process; there is one at a time, in all processes together.
pub(super) struct Recovering<T> {
    by: RecoveryBy,
    helpers: Helpers<News>,
    under_way: Option<UnderWay<T>>,
}

struct UnderWay<T> {
    actor: Actor,
    command: Command,
    asker: T,
}

/// What the thread has to say.
enum News {
    /// The node is ready to be used; how that went is to be told.
    Attach(NodeId, Sender<Result<(), String>>),
    /// It is over.
    Over(Result<(), RecoveryError>),
}

/// What there is to be done for it.
pub(super) enum Heard<T> {
    /// Attach a node on behalf of this one, and say how that went.
    Attach(Actor, Command, Sender<Result<(), String>>),
    /// Tell who asked how it went.
    Over(T, Result<(), AdminError>),
}

impl<T> Recovering<T> {
    pub(super) fn new(by: RecoveryBy) -> io::Result<Recovering<T>> {
        Ok(Recovering { by, helpers: Helpers::new()?, under_way: None })
    }

    /// Whether one is under way here.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins a recovery. If it cannot, `asker` is told right here.
    pub(super) fn begin(
        &mut self,
        context: &ChildContext,
        node: NodeId,
        actor: Actor,
        asker: T,
    ) -> Option<(T, AdminError)> {
        let command = Command::Recover { node };
        match self.start(context, node) {
            Ok(()) => {
                self.under_way = Some(UnderWay { actor, command, asker });
                None
            }
            Err(error) => {
                admin::audit(&actor, &command, &Err(error.clone()));
                Some((asker, error))
            }
        }
    }

    fn start(&self, context: &ChildContext, node: NodeId) -> Result<(), AdminError> {
        let (segment, config) = (context.segment, &context.config);
        let plan = recovery::plan(config, &Seen::of(&segment), node).map_err(AdminError::Recovery)?;
        if !segment.begin_recovery(self.by) {
            return Err(AdminError::RecoveryUnderWay);
        }
        let passwords = account::passwords(context);
        let secret = account::secret(&passwords, &config.recovery_user, &config.recovery_password);
        let row = RecoveryRow {
            node_plus_1: u32::try_from(node + 1).unwrap_or(0),
            begun_at: clock::unix_seconds(),
            ..RecoveryRow::default()
        };
        segment.set_recovery(&row);
        tell(&context.supervisor, &row, "started", "an operator wants it so");
        let mut office = Office { segment, voice: self.helpers.voice() };
        let work = move || News::Over(recovery::run(&plan, &mut RealServers::new(secret), &mut office));
        self.helpers.start(format!("recover {node}"), work).map_err(|error| {
            segment.end_recovery(self.by);
            AdminError::Refused(format!("could not start a thread: {error}"))
        })
    }

    /// Takes the wake-ups off the descriptor; what the thread said is to be heard then.
    pub(super) fn rest(&mut self) {
        self.helpers.rest();
    }

    /// The next thing that the thread has said.
    pub(super) fn hear(&mut self, context: &ChildContext) -> Option<Heard<T>> {
        let (segment, supervisor) = (&context.segment, &context.supervisor);
        match self.helpers.finished()? {
            News::Attach(node, answer) => {
                let actor = self.under_way.as_ref()?.actor.clone();
                Some(Heard::Attach(actor, Command::Attach { node }, answer))
            }
            News::Over(result) => {
                let failure = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
                let (row, _) = segment.recovery();
                let ended_at = clock::unix_seconds();
                segment.set_recovery(&RecoveryRow { ended_at, failure: failure.as_str().into(), ..row });
                segment.end_recovery(self.by);
                tell(supervisor, &row, if failure.is_empty() { "done" } else { "failed" }, &failure);
                let UnderWay { actor, command, asker } = self.under_way.take()?;
                let result = result.map_err(AdminError::Recovery);
                admin::audit(&actor, &command, &result);
                Some(Heard::Over(asker, result))
            }
        }
    }
}

/// A recovery begins or ends, which is an event.
fn tell(supervisor: &ToSupervisor, row: &RecoveryRow, new: &str, reason: &str) {
    let note = Note {
        kind: EventKind::Recovery,
        node: (row.node_plus_1 as usize).checked_sub(1),
        new: new.to_owned(),
        reason: reason.to_owned(),
        ..Note::default()
    };
    if let Err(error) = supervisor.send(&Request::Note(note)) {
        crate::say!(Debug1, "recovery: could not tell the supervisor of it: {error}");
    }
}

impl<T> AsFd for Recovering<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.helpers.as_fd()
    }
}

/// The supervisor, as the thread sees it.
struct Office {
    segment: Segment,
    voice: Voice<News>,
}

impl recovery::Supervisor for Office {
    /// Only for the modes in which we replicate ourselves.
    fn hold_clients(&mut self, _hold: bool) -> Result<(), String> {
        Err("clients cannot be held back for a second stage yet".to_owned())
    }

    fn clients(&mut self) -> usize {
        let workers = 0..self.segment.sizes().workers;
        let sessions: u64 = workers.map(|worker| self.segment.worker(worker).sessions).sum();
        usize::try_from(sessions).unwrap_or(usize::MAX)
    }

    fn attach(&mut self, node: NodeId) -> Result<(), String> {
        let (sender, receiver) = mpsc::channel();
        self.voice.say(News::Attach(node, sender));
        // The loop always tells, at the latest when the supervisor has taken too long.
        receiver.recv().unwrap_or_else(|_| Err("the process ends".to_owned()))
    }

    fn goes_on(&mut self, what: &str) {
        let (row, _) = self.segment.recovery();
        self.segment.set_recovery(&RecoveryRow { step: what.into(), ..row });
    }

    fn is_attached(&mut self, node: NodeId) -> bool {
        self.segment.node(node).status.is_used()
    }
}
