//! Events as messages of MQTT.
//!
//! Pure: rows of the rings and what is known of the nodes come in, topics and payloads go out; the queue, the waits between
//! attempts and what is logged of an outage are here, too. No socket, no clock. One table ([`topic::TOPICS`]) says which
//! topics there are; the AsyncAPI document is made of it.
#![forbid(unsafe_code)]

mod asyncapi;
mod backoff;
mod message;
mod outage;
mod payload;
mod queue;
mod scene;
mod time;
pub mod topic;

pub use asyncapi::document;
pub use backoff::Backoff;
pub use message::{Message, goodbye, greetings, last_will, messages, missed};
pub use outage::Outage;
pub use queue::{Entry, Queue};
pub use scene::{NodeFacts, Scene};
