//! What the admin core looks like outside.
#![forbid(unsafe_code)]

pub mod sql;
