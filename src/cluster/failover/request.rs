//! What goes into the manager and what comes out of it.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::Cause;
use super::node::{Node, Rules};
use crate::error::NodeId;
use crate::log::Level;
use crate::shm::{Hold, NodeStatus};
use crate::sys::process::ProcessId;

/// What the manager is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A node failed.
    Failed {
        /// Which one.
        node: NodeId,
        /// In words, for the log and the node's row.
        reason: String,
        /// Who noticed, and how.
        cause: Cause,
    },
    /// A node that is down, waiting or in quarantine answers. Asked again and again as long as that is so.
    Answers {
        /// Which one.
        node: NodeId,
        /// It is a standby that the primary feeds now (`pg_stat_replication.state = streaming`): `auto_failback` may
        /// attach it.
        streams: bool,
    },
    /// The replication check sees this primary, or none.
    Primary {
        /// Which one.
        node: Option<NodeId>,
    },
    /// An operator wants a node out of use.
    Detach {
        /// Which one.
        node: NodeId,
        /// What is under way there shall end first.
        gracefully: bool,
    },
    /// A node shall be used (again).
    Attach {
        /// Which one.
        node: NodeId,
    },
    /// An operator wants a node to be the primary.
    Promote {
        /// Which one.
        node: NodeId,
        /// The present primary is taken out and `failover_command` promotes the node; else it is one already, or soon.
        switchover: bool,
        /// What is under way shall end first; what does not end in time stops the promotion.
        gracefully: bool,
    },
    /// Without a majority of pgbalancers that say so, a node is out of use for this one only.
    Quarantine {
        /// Which one.
        node: NodeId,
        /// In words.
        reason: String,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done, under way, or needless.
    Done,
    /// It is not, for this reason.
    Refused(String),
}

/// Names a question whose answer comes later.
pub type Ticket = u64;

/// Names a run of a script.
pub type ScriptId = u64;

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptEnd {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It did not even start.
    NotStarted(String),
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody asks for something. The actions contain exactly one [`Action::Answer`] or [`Action::AnswerComes`].
    Asked {
        /// What for.
        request: Request,
        /// Process that asks, for the log.
        by: ProcessId,
    },
    /// Nothing is under way in any session that began before the present [`Hold::Transactions`]. Said once or more.
    Quiet,
    /// While [`Manager::watched`](super::Manager::watched) names a node: how many bytes of the primary's log that node
    /// had not replayed at some moment after `Quiet`; `None`: nobody can say.
    Behind(Option<u64>),
    /// A script has ended.
    ScriptEnded {
        /// Which run.
        script: ScriptId,
        /// How.
        end: ScriptEnd,
    },
    /// Time has passed: give it when [`Manager::due`](super::Manager::due) has come, or more often.
    Time,
    /// The configuration was read again: the rules, and all nodes; the status counts for those that are new.
    Reload(Rules, Vec<Node>),
    /// Another program decides for the time being, and this is what it has decided.
    Told(Told),
    /// Another program decides from now on, or none does: what is not begun is dropped.
    Retire,
}

/// The state of the nodes, from one program to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The nodes that both know.
    pub nodes: Vec<(NodeId, NodeStatus, String)>,
    /// The primary.
    pub primary: Option<NodeId>,
    /// What sessions hold back.
    pub hold: Hold,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write a line.
    Log {
        /// Severity.
        level: Level,
        /// Text.
        text: String,
        /// DETAIL, if not empty.
        detail: String,
    },
    /// Change a node's status.
    SetStatus {
        /// Whose.
        node: NodeId,
        /// To this.
        status: NodeStatus,
        /// For the node's row.
        reason: String,
        /// It goes out of use because an operator wants so: what sessions read there may end there.
        orderly: bool,
    },
    /// Change the primary.
    SetPrimary(Option<NodeId>),
    /// Change what sessions hold back.
    SetHold(Hold),
    /// Write the status file.
    WriteStatusFile,
    /// Run a script; [`Input::ScriptEnded`] must follow.
    Run(Script),
    /// End a script that nobody waits for any more.
    End(ScriptId),
    /// Have the replication check look at the nodes now.
    Look,
    /// Answer who has just asked.
    Answer(Reply),
    /// Who has just asked gets the answer with this ticket: what was asked for waits for sessions.
    AnswerComes(Ticket),
    /// Answer who has this ticket.
    AnswerTo(Ticket, Reply),
}

/// A script to be run by `/bin/sh -c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// This run.
    pub id: ScriptId,
    /// Which parameter.
    pub command: Command,
    /// The node that it is about.
    pub node: NodeId,
    /// The line, with all values in their places.
    pub line: String,
}

/// The parameters that hold scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `failover_command`
    Failover,
    /// `failback_command`
    Failback,
    /// `follow_primary_command`
    FollowPrimary,
}

impl Command {
    /// The parameter's name.
    pub fn name(self) -> &'static str {
        match self {
            Command::Failover => "failover_command",
            Command::Failback => "failback_command",
            Command::FollowPrimary => "follow_primary_command",
        }
    }
}
