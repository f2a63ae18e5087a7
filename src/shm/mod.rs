//! The one shared-memory segment: nodes, workers, sessions, pooled connections, counters.
//!
//! Mapped before the first fork, so every process sees it at one address. It is a row of 64-bit atomic
//! words: whatever another process writes, or half writes before it dies, is at worst a wrong number.
//! Each row has one writer (named beside it in `layout`); the supervisor clears what a dead one left.

mod catalog;
mod counters;
mod events;
mod hold;
mod layout;
mod rows;
mod seqlock;
mod table;
mod text;
mod traffic;
mod words;
mod writes;

pub use catalog::CatalogKey;
pub use counters::{NodeCounters, Totals};
pub use events::{Happened, RecoveryBy};
pub use layout::Sizes;
pub use rows::{
    Admission, CancelKey, EVENT_VALUES, EventKind, EventRow, FailoverReason, HealthRow, Hold, MqttRow,
    NodeRow, NodeStatus, Note, PgRole, PgStatus, PoolRow, Probe, RecoveryRow, Ring, SessionRow,
    SessionStatus, WorkerRow,
};
pub use table::Segment;
pub use text::Text;
pub use traffic::{LATENCY_BOUNDS, LATENCY_CLASSES, OTHERS, Traffic, TrafficCounts, latency_class};
pub use writes::Written;
