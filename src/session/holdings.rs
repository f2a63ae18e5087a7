//! What a session has on one server that cannot be made again on another, besides its temporary tables: channels that
//! it listens to, cursors WITH HOLD, advisory locks.
//!
//! Known from the texts of statements that have succeeded; what functions do within is not seen. In doubt it is there:
//! to end a session is safer than to let it believe in a lock that it has no more.
#![forbid(unsafe_code)]

use crate::sql::{Advisory, Kind, Statement};

#[derive(Debug, Default)]
pub(super) struct Holdings {
    lasting: Lasting,
    /// What there was before the transaction changed it.
    before: Option<Lasting>,
    /// Advisory locks outlive a rollback. How many were taken and not given back, as far as that can be counted.
    locks: u64,
    /// And there may be more.
    uncounted: bool,
}

/// What a rollback undoes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Lasting {
    channels: Vec<Box<str>>,
    cursors: Vec<Box<str>>,
}

impl Holdings {
    /// Whether the success of a statement may change anything here.
    pub(super) fn are_changed_by(statement: &Statement) -> bool {
        statement.advisory != Advisory::default()
            || matches!(
                statement.kind,
                Kind::Listen(_)
                    | Kind::Unlisten(_)
                    | Kind::Declare { hold: true, .. }
                    | Kind::CloseCursor(_)
                    | Kind::DiscardAll
            )
    }

    /// A statement has succeeded; `undoable`: a rollback may still take it back.
    pub(super) fn note(&mut self, statement: &Statement, undoable: bool) {
        if !Self::are_changed_by(statement) {
            return;
        }
        self.note_locks(&statement.advisory);
        let mut now = self.lasting.clone();
        match &statement.kind {
            Kind::Listen(channel) => add(&mut now.channels, channel),
            Kind::Declare { name, .. } => add(&mut now.cursors, name),
            Kind::Unlisten(Some(channel)) => now.channels.retain(|known| known != channel),
            Kind::CloseCursor(Some(name)) => now.cursors.retain(|known| known != name),
            Kind::Unlisten(None) => now.channels.clear(),
            Kind::CloseCursor(None) => now.cursors.clear(),
            Kind::DiscardAll => {
                now = Lasting::default();
                (self.locks, self.uncounted) = (0, false);
            }
            _ => {}
        }
        let before = std::mem::replace(&mut self.lasting, now);
        if undoable && before != self.lasting {
            self.before.get_or_insert(before);
        }
    }

    fn note_locks(&mut self, advisory: &Advisory) {
        if advisory.gives_all {
            (self.locks, self.uncounted) = (0, false);
        }
        self.locks += u64::from(advisory.takes);
        if advisory.uncounted {
            self.uncounted |= advisory.takes > 0;
        } else {
            self.locks = self.locks.saturating_sub(u64::from(advisory.gives));
        }
    }

    /// The transaction has ended.
    pub(super) fn end(&mut self, committed: bool) {
        if let Some(before) = self.before.take()
            && !committed
        {
            self.lasting = before;
        }
    }

    /// What is lost for ever with the connection to the primary; what an open transaction has made is not counted.
    pub(super) fn any(&self) -> Option<&'static str> {
        let lasting = self.before.as_ref().unwrap_or(&self.lasting);
        if !lasting.channels.is_empty() {
            Some("the channels that it listened to")
        } else if !lasting.cursors.is_empty() {
            Some("its cursors WITH HOLD")
        } else if self.locks > 0 || self.uncounted {
            Some("its advisory locks")
        } else {
            None
        }
    }
}

fn add(names: &mut Vec<Box<str>>, name: &str) {
    if !names.iter().any(|known| **known == *name) {
        names.push(name.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::facts;

    fn note(holdings: &mut Holdings, text: &str, undoable: bool) {
        holdings.note(facts(text).single().unwrap(), undoable);
    }

    fn after(texts: &[&str]) -> Option<&'static str> {
        let mut holdings = Holdings::default();
        texts.iter().for_each(|text| note(&mut holdings, text, false));
        holdings.any()
    }

    #[test]
    fn what_is_taken_is_held_until_it_is_given_up() {
        let (channels, cursors, locks) = (
            Some("the channels that it listened to"),
            Some("its cursors WITH HOLD"),
            Some("its advisory locks"),
        );
        let lock = "SELECT pg_advisory_lock(1)";
        let cursor = "DECLARE c CURSOR WITH HOLD FOR SELECT 1";
        for (texts, held) in [
            (&["SELECT 1"][..], None),
            (&["LISTEN a"], channels),
            (&["LISTEN a", "UNLISTEN b"], channels),
            (&["LISTEN a", "LISTEN a", "UNLISTEN a"], None),
            (&["LISTEN a", "LISTEN b", "UNLISTEN *"], None),
            (&["LISTEN a", "DISCARD ALL"], None),
            (&["DECLARE c CURSOR FOR SELECT 1"], None),
            (&[cursor], cursors),
            (&[cursor, "CLOSE d"], cursors),
            (&[cursor, "CLOSE c"], None),
            (&[cursor, "CLOSE ALL"], None),
            (&[cursor, "DISCARD ALL"], None),
            (&[lock], locks),
            (&[lock, lock, "SELECT pg_advisory_unlock(1)"], locks),
            (&[lock, "SELECT pg_advisory_unlock(1)"], None),
            (&[lock, lock, "SELECT pg_advisory_unlock_all()"], None),
            (&[lock, "DISCARD ALL"], None),
            (&[lock, "SELECT pg_advisory_unlock(n) FROM t"], locks),
            (&["SELECT pg_advisory_lock(n) FROM t", "SELECT pg_advisory_unlock(1)"], locks),
            (&["SELECT pg_advisory_lock(n) FROM t", "SELECT pg_advisory_unlock_all()"], None),
        ] {
            assert_eq!(after(texts), held, "{texts:?}");
        }
    }

    #[test]
    fn a_transaction_gives_and_takes_when_it_is_committed() {
        let mut holdings = Holdings::default();
        note(&mut holdings, "LISTEN a", true);
        assert_eq!(holdings.any(), None, "not yet");
        holdings.end(false);
        assert_eq!(holdings.any(), None);
        note(&mut holdings, "LISTEN a", true);
        holdings.end(true);
        assert!(holdings.any().is_some());
        note(&mut holdings, "UNLISTEN a", true);
        assert!(holdings.any().is_some(), "still");
        holdings.end(true);
        assert_eq!(holdings.any(), None);
        note(&mut holdings, "SELECT pg_advisory_lock(1)", true);
        holdings.end(false);
        assert!(holdings.any().is_some(), "locks of the session outlive a rollback");
    }
}
