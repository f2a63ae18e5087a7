//! What becomes of the nodes when one fails, comes back, or is to change its role.
//!
//! [`Manager`] decides, and does nothing itself: requests and the time go in ([`Input`]), what is to be done comes out
//! ([`Action`]). It has no clock, no socket and no randomness, so the same inputs give the same actions everywhere.
//! Whoever drives it (the supervisor, a test, a simulator) carries the actions out in their order, tells it of the end
//! of each script, and gives it [`Input::Time`] when [`Manager::due`] has come. In its words:
//!
//! * A node goes out of use the moment that somebody may say so; only scripts wait for scripts. `failover_command` and
//!   `failback_command` run one after the other, `follow_primary_command` beside them.
//! * While the primary is gone and another is looked for, sessions hold back what needs it ([`Hold::Writes`]). The search
//!   begins at once: a node that is seen to be the primary is taken, whether the script has ended or not.
//! * Nothing waits for ever: a search has a limit, a script that hangs is left alone, a planned change gives up.
//!
//! [`Hold::Writes`]: crate::shm::Hold::Writes
#![forbid(unsafe_code)]

mod catch_up;
mod command;
mod failback;
mod follow;
mod manager;
mod node;
mod planned;
mod request;
mod scripts;
mod search;
mod take_out;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::shm::FailoverReason;

pub use catch_up::CatchUp;
pub use manager::Manager;
pub use node::{Node, Rules};
pub use request::{Action, Command, Input, Reply, Request, Script, ScriptEnd, ScriptId, Ticket, Told};

/// How a node failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A session could not connect, or its connection broke.
    Session,
    /// The server told a session that it shuts down (57P01, 57P02).
    Shutdown,
    /// The health check gave it up.
    HealthCheck,
    /// It is a second primary, and `detach_false_primary` is on.
    FalsePrimary,
}

impl From<Cause> for FailoverReason {
    fn from(cause: Cause) -> FailoverReason {
        match cause {
            Cause::Session => FailoverReason::Session,
            Cause::Shutdown => FailoverReason::Shutdown,
            Cause::HealthCheck => FailoverReason::HealthCheck,
            Cause::FalsePrimary => FailoverReason::FalsePrimary,
        }
    }
}
