//! The nodes while two programs have sessions: one of them decides, and both do the same.
#![forbid(unsafe_code)]

use super::{Service, Word, say};
use crate::cluster::failover::{Input, Request, Told};
use crate::shm::Hold;
use crate::supervisor::request::Answer;
use crate::supervisor::run::Supervisor;
use crate::sys::process::ProcessId;

impl Supervisor {
    /// The other one decides about the nodes from now on, beginning with what is known here.
    pub(super) fn hand_over_nodes(&mut self) {
        let told = self.failover.manager.told();
        self.manage(Input::Retire);
        if let Some(successor) = &self.successor {
            // One that is gone is noticed by its link.
            let _ = say(&successor.link, &Word::Nodes(told, 0));
        }
    }

    /// What the program before this one knows of the nodes; from here on it does what is decided here.
    pub(super) fn inherit_nodes(&mut self, told: Told) {
        self.manage(Input::Told(told));
        self.write_status_file();
        self.tell_predecessor();
    }

    /// What the program after this one has decided.
    pub(super) fn follow_successor(&mut self, told: Told, hold: u64) {
        if let Some(successor) = &mut self.successor {
            successor.hold = (told.hold == Hold::Transactions).then_some(hold);
        }
        self.manage(Input::Told(told));
    }

    /// The program before this one hears how it stands with the nodes.
    pub(in crate::supervisor) fn tell_predecessor(&self) {
        if let Some(predecessor) = self.predecessor.as_ref().filter(|_| self.service != Service::Awaited) {
            let (told, (_, hold)) = (self.failover.manager.told(), self.segment.hold());
            // One that is gone is noticed by its link; one that does not read is about to be.
            let _ = say(&predecessor.link, &Word::Nodes(told, hold));
        }
    }

    /// Whether no session of the program before this one keeps a hold from going on.
    pub(in crate::supervisor) fn predecessor_is_quiet(&self, number: u64) -> bool {
        self.predecessor.as_ref().is_none_or(|predecessor| predecessor.quiet >= number)
    }

    /// No session of this program keeps the other one's hold from going on.
    pub(in crate::supervisor) fn tell_successor_of_quiet(&mut self) {
        let Some(successor) = &mut self.successor else { return };
        if let Some(number) = successor.hold
            && say(&successor.link, &Word::Quiet(number)).is_ok()
        {
            successor.hold = None;
        }
    }

    /// A node failed a session of this program, and the other one decides.
    pub(in crate::supervisor) fn pass_to_successor(&self, request: Request, by: ProcessId) -> Answer {
        let Request::Failed { node, reason, cause } = request else {
            return Answer::Refused("the program that has taken over decides".to_owned());
        };
        let Some(successor) = &self.successor else {
            return Answer::Refused("the program that has taken over is gone".to_owned());
        };
        match say(&successor.link, &Word::NodeFailed { node, reason, cause, by }) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Refused(error.to_string()),
        }
    }
}
