//! The temporary relations of a session, as far as it has said what it creates.
//!
//! What creates one unseen (a function, DO, CALL) leaves the list in doubt; with `check_temp_table = catalog` the
//! session then asks before its next read.
#![forbid(unsafe_code)]

use crate::sql::{Name, Statement};

/// Names of temporary relations.
#[derive(Debug, Default)]
pub(super) struct Temporary {
    names: Vec<Name>,
    /// There may be others.
    in_doubt: bool,
}

impl Temporary {
    /// Whether one has that name; `None`: nobody knows.
    pub(super) fn has(&self, name: &Name) -> Option<bool> {
        let is_one = self.names.iter().any(|temp| temp.name == name.name);
        if is_one || !self.in_doubt { Some(is_one) } else { None }
    }

    /// Whether there is one for certain.
    pub(super) fn is_any(&self) -> bool {
        !self.names.is_empty()
    }

    /// A statement has succeeded; `undoable`: a rollback may still take it back.
    pub(super) fn note(&mut self, statement: &Statement, undoable: bool) {
        for name in &statement.creates_temp {
            // One that is made again and again is remembered once.
            if !self.names.contains(name) {
                self.names.push(name.clone());
            }
        }
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

    /// A rollback may have taken some away, or brought them back.
    pub(super) fn roll_back(&mut self) {
        self.in_doubt |= self.is_any();
    }

    /// This is what there is.
    pub(super) fn set(&mut self, names: Vec<Name>) {
        *self = Temporary { names, in_doubt: false };
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
        note(&mut temporary, "DROP TABLE a, c", false);
        assert_eq!((has(&temporary, "a"), has(&temporary, "b")), (Some(false), Some(true)));
        assert!(temporary.is_any());
    }

    #[test]
    fn what_may_be_taken_back_is_in_doubt() {
        let mut temporary = Temporary::default();
        note(&mut temporary, "DROP TABLE a", true);
        temporary.roll_back();
        assert_eq!(has(&temporary, "a"), Some(false), "there was none");
        note(&mut temporary, "CREATE TEMP TABLE a (x int)", true);
        temporary.roll_back();
        assert_eq!((has(&temporary, "a"), has(&temporary, "c")), (Some(true), None));
        temporary.set(Vec::new());
        assert_eq!(has(&temporary, "a"), Some(false));
        temporary.doubt();
        assert_eq!(has(&temporary, "a"), None);
    }
}
