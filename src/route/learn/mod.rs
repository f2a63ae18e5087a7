//! Routing that learns: which of the nodes that may serve a statement will answer it soonest.
//!
//! A [`Model`] lies in words that all workers share without locks; whoever finishes a statement feeds it, whoever
//! chooses a node reads it. Time and chance are arguments, so the simulation in `tests/simulation/balancer` runs the
//! same code. It must not know hard limits (state, weight 0, delay, redirect lists, reads that must see a write): the
//! caller has taken those nodes out. The method and its sources: doc/adaptive.md.
#![forbid(unsafe_code)]

mod choose;
mod classes;
mod estimate;
mod mean;
mod outcome;
mod report;
mod run;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod words;

pub use choose::{Candidate, Choice};
pub use outcome::Outcome;
pub use report::{NodeReport, Report, Score};
pub use run::{Ticket, Why};
pub use settings::{Algorithm, Settings};
pub use state::{MAX_STATE, StateError};
pub use words::Model;

use crate::sql::Fingerprint;

/// Which statements count as being alike: those whose texts differ only in literals, comments and white space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// The hash of the normalised text; 0: nothing is known of it, as when a session is given its node.
    pub key: u64,
    /// The group that speaks for it as long as it is rare; below [`Class::SIZES`].
    pub size: u8,
}

impl Class {
    /// Number of groups of rare classes.
    pub const SIZES: u8 = 4;
    /// A statement of which nothing is known yet.
    pub const UNKNOWN: Class = Class { key: 0, size: 0 };
}

impl From<Fingerprint> for Class {
    fn from(text: Fingerprint) -> Class {
        let size = match text.length {
            0..64 => 0,
            64..256 => 1,
            256..1024 => 2,
            _ => 3,
        };
        Class { key: text.key, size }
    }
}
