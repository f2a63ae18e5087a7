//! What a statement is: its kind, the relations and functions it names, what it does to a session.
//!
//! [`facts`] is a pure function of the text, by PostgreSQL's own grammar; it knows nothing of catalogs,
//! sessions or nodes. [`Cache`] keeps the answer for texts seen before. Called by `route` and `session`.
#![forbid(unsafe_code)]

mod cache;
mod classify;
mod collect;
mod fingerprint;
mod fold;
mod quote;
mod statement;
#[cfg(test)]
mod tests;

pub use cache::Cache;
pub use fingerprint::{Fingerprint, fingerprint};
pub use quote::literal;
pub use statement::{
    Advisory, BeginOptions, Facts, Isolation, Kind, Name, ParseOutcome, SetConfig, Statement, is_false,
};

use crate::ffi::pg_parse::{Refusal, with_statements};

/// Longest text that is parsed; a longer one counts as a write of unknown kind.
pub const MAX_TEXT: usize = 1 << 20;

/// What PostgreSQL's grammar says about `text`, which may hold several statements.
pub fn facts(text: &str) -> Facts {
    if text.len() > MAX_TEXT {
        return Facts::unknown(ParseOutcome::TooLong);
    }
    let parsed = with_statements(text, |nodes| {
        nodes.iter().map(|node| classify::statement(*node)).collect::<Result<Vec<_>, _>>()
    });
    match parsed {
        Ok(Ok(statements)) if statements.is_empty() => Facts::new(ParseOutcome::Empty, statements),
        Ok(Ok(statements)) => Facts::new(ParseOutcome::Ok, statements),
        Ok(Err(collect::TooDeep)) => Facts::unknown(ParseOutcome::TooDeep),
        Err(Refusal::Syntax | Refusal::Broken) => Facts::unknown(ParseOutcome::Failed),
    }
}
