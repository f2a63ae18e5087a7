//! The management core over HTTP and JSON.
//!
//! Pure: the head and the body of a request come in, an answer or a wish goes out; no socket, no clock. One table
//! ([`table::ENDPOINTS`]) says what there is: it routes, and the OpenAPI document and the reference page are made of it.
//! Only encodes: what is reported and what may be done is the matter of `admin`.
#![forbid(unsafe_code)]

pub mod access;
mod action;
mod body;
mod event;
mod exporter;
mod exposition;
mod head;
mod login;
mod metrics;
mod openapi;
mod page;
mod refusal;
mod report;
pub(in crate::face) mod schema;
pub mod table;

pub use access::{Identity, Peer, Policy};
pub use action::{LoginBody, LoginDone, accepted, done, read};
pub use event::{EventList, Feed, stream_text};
pub use head::{Found, Head, Method, Wrong};
pub use login::Attempts;
pub use openapi::document;
pub use page::page;
pub use refusal::Refusal;
pub use table::{Act, Content, Endpoint, Need};

use crate::admin::Context;

/// What an answer may be made of.
pub struct View<'a> {
    /// The core.
    pub admin: Context<'a>,
    /// Statements a second, of late.
    pub queries_per_second: f64,
    /// What the host has to say of itself.
    pub host: Host,
}

/// How busy the host is, and what the process that answers uses of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Host {
    /// Processes that run or wait for the disk, a processor; of the last minute.
    pub load: f64,
    /// Memory that is available, of 1.
    pub available_memory: f64,
    /// Processor time of the process, in seconds.
    pub own_cpu_seconds: f64,
    /// Memory of the process, in bytes.
    pub own_memory: u64,
}
