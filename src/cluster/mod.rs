//! Nodes, roles, lag, the relation cache.
#![forbid(unsafe_code)]

pub mod ask;
pub mod client;
pub mod probe;
pub mod relcache;
pub mod view;
