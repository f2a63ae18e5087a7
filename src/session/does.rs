//! What statements do, as far as their texts tell: whether they may be run again, and what may have become of them.
#![forbid(unsafe_code)]

use crate::sql::{Facts, Kind, ParseOutcome, Statement};

/// What the statements of a unit do, as far as their texts tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Does {
    /// Nothing is executed.
    #[default]
    Nothing,
    /// They read, or set what is set again on every server.
    Reads,
    /// They may write.
    Writes,
    /// They end a transaction, and nothing of what they write outlives it.
    RollsBack,
    /// They may commit what was written.
    Commits,
}

impl Does {
    pub(super) fn of(facts: &Facts) -> Does {
        match facts.parse {
            ParseOutcome::Empty => Does::Reads,
            ParseOutcome::Ok => {
                facts.statements.iter().map(Self::of_statement).fold(Does::Nothing, Does::and_then)
            }
            _ => Does::Commits,
        }
    }

    /// What is written behind the end of a transaction is committed by itself.
    pub(super) fn and_then(self, next: Does) -> Does {
        match (self, next) {
            (Does::RollsBack, Does::Writes) => Does::Commits,
            _ => self.max(next),
        }
    }

    fn of_statement(statement: &Statement) -> Does {
        match &statement.kind {
            Kind::Commit { .. } | Kind::PrepareTransaction => Does::Commits,
            Kind::Rollback { .. } => Does::RollsBack,
            Kind::Begin(_) | Kind::Reset { .. } | Kind::ResetAll | Kind::Set { local: false, .. } => Does::Reads,
            Kind::Select | Kind::Show(_) | Kind::Execute(_) | Kind::CopyTo { to_client: true }
                // What is done to server processes or locks, or set, is done to those of that server.
                if !statement.modifies
                    && !statement.row_locks
                    && statement.signals.is_none()
                    && statement.advisory == Default::default()
                    && statement.set_config.is_empty() =>
            {
                Does::Reads
            }
            _ => Does::Writes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::facts;

    #[test]
    fn what_a_text_may_do_is_judged_with_caution() {
        for (text, does) in [
            ("", Does::Reads),
            ("SELECT f(1) FROM t", Does::Reads),
            ("SELECT 1; SHOW all", Does::Reads),
            ("BEGIN; SELECT 1", Does::Reads),
            ("SET a.x = 1", Does::Reads),
            ("COPY t TO STDOUT", Does::Reads),
            ("SET LOCAL a.x = 1", Does::Writes),
            ("SELECT pg_terminate_backend(7)", Does::Writes),
            ("SELECT pg_advisory_lock(7)", Does::Writes),
            ("SELECT set_config('a.x', '1', false)", Does::Writes),
            ("SELECT n FROM t FOR UPDATE", Does::Writes),
            ("SELECT 1 INTO t", Does::Writes),
            ("WITH w AS (DELETE FROM t RETURNING n) SELECT n FROM w", Does::Writes),
            ("SELECT 1; INSERT INTO t VALUES (1)", Does::Writes),
            ("LISTEN x", Does::Writes),
            ("INSERT INTO t VALUES (1); COMMIT", Does::Commits),
            ("PREPARE TRANSACTION 'x'", Does::Commits),
            ("INSERT INTO t VALUES (1); ROLLBACK", Does::RollsBack),
            ("ROLLBACK; SELECT 1", Does::RollsBack),
            ("ROLLBACK; INSERT INTO t VALUES (1)", Does::Commits),
            ("not SQL at all", Does::Commits),
        ] {
            assert_eq!(Does::of(&facts(text)), does, "{text}");
        }
    }
}
