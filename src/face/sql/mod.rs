//! The management core over SQL: recognises `SHOW pool_…` and `PGPOOL …`, encodes what it answers.
//!
//! Anything else that begins so (`SHOW pool_foo`, `SHOW pool_nodes x`) is left to PostgreSQL, which
//! answers with its own error. Called by the session for every simple query, so the way out is short.
#![forbid(unsafe_code)]

mod answer;
mod ask;
mod words;

pub use answer::{Answer, encode, explain_columns, put_columns, put_row};
pub use ask::{Asked, help, help_columns, recognise};
