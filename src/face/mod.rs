//! What the admin core looks like outside.
#![forbid(unsafe_code)]

pub mod mqtt;
pub mod pcp;
pub mod rest;
pub mod sql;
