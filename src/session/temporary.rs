//! The temporary relations of a session, as far as it has said what it creates.
//!
//! What creates one unseen (a function, DO, CALL) leaves the list in doubt; with `check_temp_table = catalog` the
//! session then asks before its next read.
#![forbid(unsafe_code)]

use crate::sql::{Kind, Name, Statement};

/// Names of temporary relations.
#[derive(Debug, Default)]
pub(super) struct Temporary {
    names: Vec<Name>,
    /// There may be others.
    in_doubt: bool,
    /// What there was before the transaction changed it.
    before: Option<(Vec<Name>, bool)>,
    /// Those of the transaction that end with it.
    until_commit: Vec<Name>,
}

impl Temporary {
    /// Whether one has that name; `None`: nobody knows.
    pub(super) fn has(&self, name: &Name) -> Option<bool> {
        let is_one = self.is_one(name);
        if is_one || !self.in_doubt { Some(is_one) } else { None }
    }

    fn is_one(&self, name: &Name) -> bool {
        self.names.iter().any(|temp| temp.name == name.name)
    }

    /// Whether a text mentions one, perhaps in a literal or as a type; `None`: nobody knows.
    pub(super) fn is_mentioned(&self, text: &[u8]) -> Option<bool> {
        let mentioned = || {
            let text = text.to_ascii_lowercase();
            let within = |name: &Name| {
                memchr::memmem::find(&text, name.name.to_ascii_lowercase().as_bytes()).is_some()
            };
            self.names.iter().any(within)
        };
        if self.is_any() && mentioned() {
            Some(true)
        } else if self.in_doubt {
            None
        } else {
            Some(false)
        }
    }

    /// Whether there is one for certain.
    pub(super) fn is_any(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether there is one for certain that outlives the transaction, or was there before it.
    pub(super) fn is_any_lasting(&self) -> bool {
        self.before.as_ref().map_or(self.is_any(), |(names, _)| !names.is_empty())
    }

    /// A statement has succeeded; `undoable`: a rollback may still take it back.
    pub(super) fn note(&mut self, statement: &Statement, undoable: bool) {
        if undoable && !(statement.creates_temp.is_empty() && statement.drops.is_empty()) {
            self.before.get_or_insert_with(|| (self.names.clone(), self.in_doubt));
        }
        if statement.drops_at_commit {
            if !undoable {
                return;
            }
            self.until_commit.extend(statement.creates_temp.iter().cloned());
        }
        for name in &statement.creates_temp {
            // One that is made again and again is remembered once.
            if !self.names.contains(name) {
                self.names.push(name.clone());
            }
        }
        // An index on one is one, under a name that the statement may not tell.
        let makes_another = statement.creates_temp.is_empty() && statement.drops.is_empty();
        self.in_doubt |= makes_another
            && statement.kind == Kind::Ddl
            && statement.written.iter().any(|name| self.is_one(name));
        if undoable {
            self.in_doubt |= !statement.drops.is_empty() && self.is_any();
        } else {
            self.names.retain(|temp| !statement.drops.iter().any(|drop| drop.name == temp.name));
        }
    }

    /// A statement may have created or dropped some.
    pub(super) fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// A rollback to a savepoint may have taken some away, or brought them back.
    pub(super) fn roll_back_to(&mut self) {
        self.in_doubt |= self.is_any();
    }

    /// The transaction has ended.
    pub(super) fn end(&mut self, committed: bool) {
        let gone = std::mem::take(&mut self.until_commit);
        match self.before.take() {
            Some(before) if !committed => (self.names, self.in_doubt) = before,
            _ => self.names.retain(|name| !gone.contains(name)),
        }
    }

    /// This is what there is.
    pub(super) fn set(&mut self, names: Vec<Name>) {
        (self.names, self.in_doubt) = (names, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::facts;

    fn note(temporary: &mut Temporary, text: &str, undoable: bool) {
        temporary.note(facts(text).single().unwrap(), undoable);
    }

    fn has(temporary: &Temporary, name: &str) -> Option<bool> {
        temporary.has(&Name::new(None, name))
    }

    #[test]
    fn what_is_created_and_dropped_is_known() {
        let mut temporary = Temporary::default();
        note(&mut temporary, "CREATE TEMP TABLE a (x int)", true);
        note(&mut temporary, "CREATE TEMP TABLE a (x int)", false);
        note(&mut temporary, "SELECT 1 INTO TEMP b", false);
        assert_eq!((has(&temporary, "a"), has(&temporary, "c")), (Some(true), Some(false)));
        let mentioned = |text: &str| temporary.is_mentioned(text.as_bytes());
        assert_eq!((mentioned("SELECT 'B'::regclass"), mentioned("SELECT x")), (Some(true), Some(false)));
        note(&mut temporary, "CREATE INDEX ON a (x)", false);
        assert_eq!(has(&temporary, "c"), None, "the index has a name that nobody knows");
        temporary.set(vec![Name::new(None, "a"), Name::new(None, "b")]);
        note(&mut temporary, "DROP TABLE a, c", false);
        assert_eq!((has(&temporary, "a"), has(&temporary, "b")), (Some(false), Some(true)));
        assert!(temporary.is_any());
    }

    #[test]
    fn what_may_be_taken_back_is_in_doubt() {
        let mut temporary = Temporary::default();
        note(&mut temporary, "DROP TABLE a", true);
        temporary.roll_back_to();
        assert_eq!(has(&temporary, "a"), Some(false), "there was none");
        note(&mut temporary, "CREATE TEMP TABLE a (x int)", true);
        temporary.roll_back_to();
        assert_eq!((has(&temporary, "a"), has(&temporary, "c")), (Some(true), None));
        temporary.set(Vec::new());
        assert_eq!(has(&temporary, "a"), Some(false));
        temporary.doubt();
        assert_eq!(has(&temporary, "a"), None);
    }

    #[test]
    fn a_rollback_brings_back_what_there_was() {
        let mut temporary = Temporary::default();
        note(&mut temporary, "CREATE TEMP TABLE a (x int)", true);
        assert!(temporary.is_any() && !temporary.is_any_lasting());
        temporary.end(false);
        assert_eq!(has(&temporary, "a"), Some(false));
        note(&mut temporary, "CREATE TEMP TABLE a (x int)", true);
        temporary.end(true);
        note(&mut temporary, "DROP TABLE a", true);
        assert!(temporary.is_any_lasting());
        temporary.end(false);
        assert_eq!(has(&temporary, "a"), Some(true));
    }

    #[test]
    fn what_is_dropped_at_commit_does_not_outlive_it() {
        let mut temporary = Temporary::default();
        note(&mut temporary, "CREATE TEMP TABLE a (x int) ON COMMIT DROP", true);
        assert_eq!(has(&temporary, "a"), Some(true));
        temporary.end(true);
        assert_eq!(has(&temporary, "a"), Some(false));
        note(&mut temporary, "CREATE TEMP TABLE a (x int) ON COMMIT DROP", false);
        assert!(!temporary.is_any(), "outside a transaction it is gone at once");
    }
}
