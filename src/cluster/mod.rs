//! Nodes, roles, lag, failover, the status file, the relation cache.
#![forbid(unsafe_code)]

pub mod ask;
pub mod client;
pub mod down_request;
pub mod failover;
pub mod health;
pub mod probe;
pub mod relcache;
pub mod status_file;
mod stream;
pub mod users;
pub mod view;
