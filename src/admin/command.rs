//! What an operator may have done: the commands, whether they make sense now, and the line of the log that keeps them.
//!
//! Nothing is done here: the supervisor does it, and says how it went.
#![forbid(unsafe_code)]

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AdminError, Context, SessionId, find_session};
use crate::config::{Backend, ClusteringMode};
use crate::error::NodeId;
use crate::recovery::{self, Seen};
use crate::shm::NodeStatus;
use crate::sys::signals::Signal;

/// What can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Put a node (back) in use.
    Attach { node: NodeId },
    /// Take a node out of use; gracefully: sessions end what they do there first.
    Detach { node: NodeId, gracefully: bool },
    /// Make a node the primary; with a switchover the present one becomes a standby.
    Promote { node: NodeId, switchover: bool, gracefully: bool },
    /// Make a node that is down anew from the primary, and put it in use.
    Recover { node: NodeId },
    /// Read the configuration again.
    Reload,
    /// Begin a new log file.
    RotateLog,
    /// Forget all query results that are kept.
    InvalidateCache,
    /// Stop the whole program.
    Stop(StopMode),
    /// Cancel what a session does now.
    CancelSession { session: SessionId },
    /// End a session.
    TerminateSession { session: SessionId },
    /// Have all new transactions wait; done when those under way have ended.
    Pause,
    /// Let them go on.
    Resume,
    /// Give a node another share of the reads, until the next start or a reload that changes it.
    SetWeight { node: NodeId, weight: Weight },
    /// Forget what routing has learnt.
    ForgetLearned,
}

/// The most that `backend_weight` may be.
pub const MAX_WEIGHT: f64 = 100_000_000.0;

/// Share of the reads among those of the other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weight(f64);

impl Eq for Weight {}

impl Weight {
    /// A weight in the range of `backend_weight`.
    ///
    /// # Errors
    /// It is out of that range, or no number.
    pub fn new(value: f64) -> Result<Weight, AdminError> {
        match (0.0..=MAX_WEIGHT).contains(&value) {
            true => Ok(Weight(value.abs())),
            false => Err(AdminError::NotAWeight(value.to_string())),
        }
    }

    /// As `backend_weight` has it.
    pub fn value(self) -> f64 {
        self.0.clamp(0.0, MAX_WEIGHT).abs()
    }
}

impl Command {
    /// The tag of its answer in SQL.
    pub fn tag(&self) -> &'static str {
        match self {
            Command::Attach { .. } => "ATTACH",
            Command::Detach { .. } => "DETACH",
            Command::Promote { .. } => "PROMOTE",
            Command::Recover { .. } => "RECOVER",
            Command::Reload => "RELOAD",
            Command::RotateLog => "LOGROTATE",
            Command::InvalidateCache => "INVALIDATE",
            Command::Stop(_) => "STOP",
            Command::CancelSession { .. } => "CANCEL",
            Command::TerminateSession { .. } => "TERMINATE",
            Command::Pause => "PAUSE",
            Command::Resume => "RESUME",
            Command::SetWeight { .. } => "WEIGHT",
            Command::ForgetLearned => "AI",
        }
    }
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

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            StopMode::Smart => "smart",
            StopMode::Fast => "fast",
            StopMode::Immediate => "immediate",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |on: bool, text: &'static str| if on { text } else { "" };
        match self {
            Command::Attach { node } => write!(f, "attach node {node}"),
            Command::Detach { node, gracefully } => {
                write!(f, "detach node {node}{}", with(*gracefully, " gracefully"))
            }
            Command::Promote { node, switchover, gracefully } => {
                let how = [with(*switchover, " with switchover"), with(*gracefully, " gracefully")];
                write!(f, "promote node {node}{}", how.concat())
            }
            Command::Recover { node } => write!(f, "recover node {node}"),
            Command::Reload => f.write_str("reload the configuration"),
            Command::RotateLog => f.write_str("rotate the log"),
            Command::InvalidateCache => f.write_str("invalidate the query cache"),
            Command::Stop(mode) => write!(f, "stop ({})", mode.name()),
            Command::CancelSession { session } => write!(f, "cancel session {session}"),
            Command::TerminateSession { session } => write!(f, "terminate session {session}"),
            Command::Pause => f.write_str("pause"),
            Command::Resume => f.write_str("resume"),
            Command::SetWeight { node, weight } => write!(f, "weight of node {node} {}", weight.value()),
            Command::ForgetLearned => f.write_str("forget what routing has learnt"),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// By which way, as the log has it: `PCP`.
    pub face: &'static str,
    /// As whom it has logged in.
    pub user: String,
    /// From where: an address, or `[local]`.
    pub from: String,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name from outside must not write lines of its own.
        write!(f, "{} user \"{}\" from {}", self.face, self.user.escape_debug(), self.from)
    }
}

/// Keeps in the log who had what done, and what came of it.
pub fn audit(actor: &Actor, command: &Command, result: &Result<(), AdminError>) {
    match result {
        Ok(()) => crate::say!(Log, "{}: {}: done", actor, command),
        Err(error) => crate::say!(Log, "{}: {}: refused: {}", actor, command, error),
    }
}

/// A number from outside, as that of a configured backend.
///
/// # Errors
/// There is none with this number.
pub fn find_node(context: &Context<'_>, number: i64) -> Result<Backend, AdminError> {
    let backends = context.config.backends();
    let end = backends.iter().map(|backend| backend.id + 1).max().unwrap_or(0);
    let is_it = |backend: &Backend| i64::try_from(backend.id) == Ok(number);
    backends.into_iter().find(is_it).ok_or(AdminError::UnknownNode { number, end })
}

/// Whether the command makes sense as things stand. The supervisor, who does it, may still see it otherwise.
///
/// # Errors
/// Why not.
pub fn check(command: &Command, context: &Context<'_>) -> Result<(), AdminError> {
    match *command {
        Command::Attach { node } => find(context, node).map(drop),
        Command::Detach { node, .. } => {
            let backend = find(context, node)?;
            in_use(context, node)?;
            match backend.allow_to_failover {
                true => Ok(()),
                false => Err(AdminError::FailoverForbidden { node }),
            }
        }
        Command::Promote { node, .. } => {
            find(context, node)?;
            if context.config.backend_clustering_mode != ClusteringMode::StreamingReplication {
                return Err(AdminError::NotStreaming { node });
            }
            if context.segment.primary() == Some(node) {
                return Err(AdminError::AlreadyPrimary { node });
            }
            in_use(context, node)
        }
        Command::Recover { node } => {
            find(context, node)?;
            let seen = Seen::of(context.segment);
            recovery::plan(context.config, &seen, node).map(drop).map_err(AdminError::Recovery)
        }
        Command::RotateLog if !context.config.logging_collector => Err(AdminError::NoCollector),
        Command::InvalidateCache => Err(AdminError::NoCache),
        Command::CancelSession { session } | Command::TerminateSession { session } => {
            find_session(context.segment, session).map(drop).ok_or(AdminError::UnknownSession(session))
        }
        Command::Resume if context.segment.pause().is_none() => Err(AdminError::NotPaused),
        Command::SetWeight { node, .. } => find(context, node).map(drop),
        Command::Reload
        | Command::RotateLog
        | Command::Stop(_)
        | Command::Pause
        | Command::Resume
        | Command::ForgetLearned => Ok(()),
    }
}

fn find(context: &Context<'_>, node: NodeId) -> Result<Backend, AdminError> {
    find_node(context, i64::try_from(node).unwrap_or(i64::MAX))
}

fn in_use(context: &Context<'_>, node: NodeId) -> Result<(), AdminError> {
    match context.segment.node(node).status {
        NodeStatus::Up | NodeStatus::Waiting => Ok(()),
        status => Err(AdminError::NotInUse { node, status }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, context, segment};
    use super::*;
    use crate::recovery::RecoveryError;

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

    #[test]
    fn commands_and_actors_read_well() {
        let actor = Actor { face: "PCP", user: "a\nb".to_owned(), from: "[local]".to_owned() };
        assert_eq!(actor.to_string(), "PCP user \"a\\nb\" from [local]");
        for (command, text) in [
            (Command::Detach { node: 1, gracefully: true }, "detach node 1 gracefully"),
            (Command::Promote { node: 1, switchover: false, gracefully: false }, "promote node 1"),
            (
                Command::Promote { node: 1, switchover: true, gracefully: true },
                "promote node 1 with switchover gracefully",
            ),
            (Command::Stop(StopMode::Fast), "stop (fast)"),
        ] {
            assert_eq!(command.to_string(), text);
        }
    }

    const PROMOTE_0: Command = Command::Promote { node: 0, switchover: true, gracefully: false };
    const PROMOTE_1: Command = Command::Promote { node: 1, switchover: false, gracefully: false };
    const DETACH_1: Command = Command::Detach { node: 1, gracefully: false };
    const RECOVER_1: Command = Command::Recover { node: 1 };

    /// Node 0 is the primary and up, node 1 a standby of that status.
    fn checked(command: &Command, conf: &str, status: NodeStatus) -> Result<(), AdminError> {
        let (config, segment) = (config(conf), segment(1));
        segment.set_status(1, status, "", 1);
        check(command, &context(&segment, &config))
    }

    #[test]
    fn commands_that_make_no_sense_are_refused() {
        use NodeStatus::{Down, Up};
        let raw = "backend_clustering_mode = raw";
        let down = AdminError::NotInUse { node: 1, status: Down };
        for (command, conf, status, expected) in [
            (Command::Attach { node: 1 }, "", Up, Ok(())),
            (Command::Attach { node: 2 }, "", Up, Err(AdminError::UnknownNode { number: 2, end: 2 })),
            (DETACH_1, "", Up, Ok(())),
            (DETACH_1, "", Down, Err(down.clone())),
            (
                DETACH_1,
                "backend_flag1 = DISALLOW_TO_FAILOVER",
                Up,
                Err(AdminError::FailoverForbidden { node: 1 }),
            ),
            (PROMOTE_1, "", Up, Ok(())),
            (PROMOTE_1, "", Down, Err(down)),
            (PROMOTE_1, raw, Up, Err(AdminError::NotStreaming { node: 1 })),
            (PROMOTE_0, "", Up, Err(AdminError::AlreadyPrimary { node: 0 })),
            (RECOVER_1, "recovery_user = 'a'\nbackend_data_directory1 = '/d'", Down, Ok(())),
            (RECOVER_1, "", Down, Err(AdminError::Recovery(RecoveryError::NoUser))),
            (RECOVER_1, "", Up, Err(AdminError::Recovery(RecoveryError::Alive(1)))),
            (RECOVER_1, raw, Down, Err(AdminError::Recovery(RecoveryError::Mode))),
            (Command::Recover { node: 0 }, "", Down, Err(AdminError::Recovery(RecoveryError::Primary))),
            (Command::RotateLog, "", Up, Err(AdminError::NoCollector)),
            (Command::RotateLog, "logging_collector = on", Up, Ok(())),
            (Command::InvalidateCache, "", Up, Err(AdminError::NoCache)),
            (Command::Stop(StopMode::Smart), "", Up, Ok(())),
        ] {
            assert_eq!(checked(&command, conf, status), expected, "{command}, {conf}, {status:?}");
        }
    }

    #[test]
    fn a_weight_is_a_number_that_the_configuration_takes() {
        assert_eq!(Weight::new(-0.0).unwrap().value().to_bits(), 0);
        assert_eq!(Weight::new(2.5).unwrap().value(), 2.5);
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 2.0 * MAX_WEIGHT] {
            assert!(matches!(Weight::new(wrong), Err(AdminError::NotAWeight(_))), "{wrong}");
        }
    }

    #[test]
    fn numbers_from_outside_are_nodes_or_not() {
        let (config, segment) = (config(""), segment(1));
        let context = context(&segment, &config);
        assert_eq!(find_node(&context, 1).unwrap().id, 1);
        for number in [-1, 2, i64::MAX, i64::MIN] {
            assert_eq!(find_node(&context, number).unwrap_err(), AdminError::UnknownNode { number, end: 2 });
        }
    }
}
