//! Fences around C libraries.

pub mod pg_parse;
