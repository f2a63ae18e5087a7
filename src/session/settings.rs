//! What SET left behind in the session, so that every node it uses later is brought to the same state.
//!
//! A setting runs on one node; the others get it before their next statement. Transactions and savepoints
//! undo it here as they do in the server.
#![forbid(unsafe_code)]

use std::rc::Rc;

use crate::sql::{BeginOptions, Isolation, Kind, Statement};

/// One thing to repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Goes up with every statement, so that a node knows what it has.
    number: u64,
    name: Rc<str>,
    sql: Rc<str>,
    /// SET LOCAL: gone at the end of the transaction.
    local: bool,
    /// A standby cannot take it, so the primary alone has it: each that the session has, one after the other.
    lead_only: bool,
}

/// Up to which number a node has the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// Those that every node gets.
    pub(super) all: u64,
    /// Those that only the primary gets.
    pub(super) lead: u64,
}

impl Applied {
    /// Both up to there, at least.
    fn at_least(self, number: u64) -> Applied {
        Applied { all: self.all.max(number), lead: self.lead.max(number) }
    }
}

/// The settings of a session, oldest first.
#[derive(Debug, Default)]
pub(super) struct Settings {
    entries: Vec<Entry>,
    last: u64,
    /// State at BEGIN, and at each savepoint.
    marks: Vec<(Rc<str>, Vec<Entry>)>,
    /// `last` at BEGIN: later entries belong inside the transaction.
    begin: u64,
}

impl Settings {
    /// Takes note of a statement that has succeeded. `sql` is its text, if it stood alone.
    pub(super) fn note(&mut self, statement: &Statement, sql: Option<&str>) {
        let sql = sql.map_or_else(|| rebuild(&statement.kind), str::to_string);
        let (name, local) = match &statement.kind {
            Kind::Set { name, local, value } => {
                return self.add_value(name, value.as_deref(), *local, &sql);
            }
            Kind::SetTransaction { session: true, options } => return self.add_defaults(*options),
            Kind::Reset { name } => (&**name, false),
            Kind::ResetAll => {
                self.entries.retain(|entry| matches!(&*entry.name, "role" | "session_authorization"));
                ("reset all", false)
            }
            Kind::DiscardAll => {
                self.entries.clear();
                ("discard all", false)
            }
            _ => return,
        };
        self.add(name, local, false, &sql);
    }

    /// Takes note of a `set_config` that has succeeded.
    pub(super) fn note_config(&mut self, name: &str, value: &str, local: bool) {
        self.add_value(name, Some(value), local, &set_config(name, value, local));
    }

    fn add_value(&mut self, name: &str, value: Option<&str>, local: bool, sql: &str) {
        // Those of the transaction end with it, and stay where they were given.
        if matches!(name, "transaction_read_only" | "transaction_isolation") {
            return;
        }
        let serializable = || value.and_then(Isolation::parse) == Some(Isolation::Serializable);
        let lead_only = name == "default_transaction_read_only"
            || (name == "default_transaction_isolation" && serializable());
        self.add(name, local, lead_only, sql);
    }

    /// SET SESSION CHARACTERISTICS.
    fn add_defaults(&mut self, options: BeginOptions) {
        let switch = |on: bool| if on { "on" } else { "off" };
        let values = [
            ("default_transaction_isolation", options.isolation.map(Isolation::name)),
            ("default_transaction_read_only", options.read_only.map(switch)),
            ("default_transaction_deferrable", options.deferrable.map(switch)),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                self.add_value(name, Some(value), false, &format!("SET {name} TO '{value}'"));
            }
        }
    }

    fn add(&mut self, name: &str, local: bool, lead_only: bool, sql: &str) {
        // A local setting hides the one from before and does not end it.
        self.entries.retain(|entry| &*entry.name != name || (local && !entry.local));
        self.last += 1;
        self.entries.push(Entry { number: self.last, name: name.into(), sql: sql.into(), local, lead_only });
    }

    /// Number of the newest setting: what a node has that has them all.
    pub(super) fn newest(&self) -> u64 {
        self.last
    }

    /// Number of the newest setting when the transaction began.
    pub(super) fn at_begin(&self) -> u64 {
        self.begin
    }

    /// Whether a node that has all up to `applied` may lack something; `is_lead`: it is the primary.
    pub(super) fn lacks(&self, applied: Applied, is_lead: bool) -> bool {
        let newest = self.entries.last().map_or(0, |entry| entry.number);
        newest > applied.all || (is_lead && newest > applied.lead)
    }

    /// What to run on a node that has all up to `applied`: before its BEGIN, and inside the transaction.
    /// One query each, since DISCARD ALL refuses to stand among others.
    pub(super) fn missing(
        &self,
        applied: Applied,
        is_lead: bool,
        in_transaction: bool,
    ) -> (Vec<Rc<str>>, Vec<Rc<str>>) {
        let texts = |entries: &[Entry], above: Applied| {
            let lacking = entries.iter().filter(|entry| match entry.lead_only {
                true => is_lead && entry.number > above.lead,
                false => entry.number > above.all,
            });
            lacking.map(|entry| Rc::clone(&entry.sql)).collect()
        };
        match self.marks.first().filter(|_| in_transaction) {
            // What the transaction has overwritten counts as well: ROLLBACK brings it back.
            Some((_, at_begin)) => {
                (texts(at_begin, applied), texts(&self.entries, applied.at_least(self.begin)))
            }
            None => (texts(&self.entries, applied), Vec::new()),
        }
    }

    /// The transaction begins.
    pub(super) fn begin(&mut self) {
        self.marks = vec![("".into(), self.entries.clone())];
        self.begin = self.last;
    }

    /// Whether `begin` was called and `end` was not.
    pub(super) fn is_in_transaction(&self) -> bool {
        !self.marks.is_empty()
    }

    /// A savepoint is set.
    pub(super) fn savepoint(&mut self, name: &str) {
        self.marks.push((name.into(), self.entries.clone()));
    }

    /// A savepoint and those after it are given up; what was set since stays.
    pub(super) fn release(&mut self, name: &str) {
        if let Some(at) = self.find(name) {
            self.marks.truncate(at);
        }
    }

    /// Back to a savepoint, which stays.
    pub(super) fn rollback_to(&mut self, name: &str) {
        if let Some(at) = self.find(name) {
            self.marks.truncate(at + 1);
            if let Some((_, entries)) = self.marks.last() {
                self.entries.clone_from(entries);
            }
        }
    }

    /// The transaction ends.
    pub(super) fn end(&mut self, committed: bool) {
        if !committed && let Some((_, entries)) = self.marks.drain(..).next() {
            self.entries = entries;
        }
        self.marks.clear();
        self.entries.retain(|entry| !entry.local);
    }

    fn find(&self, name: &str) -> Option<usize> {
        // Number 0 is BEGIN.
        (1..self.marks.len()).rev().find(|at| self.marks.get(*at).is_some_and(|(mark, _)| **mark == *name))
    }
}

/// A statement that does what one of several in a string did.
fn rebuild(kind: &Kind) -> String {
    match kind {
        Kind::Set { name, local, value: Some(value) } => set_config(name, value, *local),
        Kind::Set { name, value: None, .. } | Kind::Reset { name } => {
            format!("RESET \"{}\"", name.replace('"', "\"\""))
        }
        Kind::ResetAll => "RESET ALL".to_string(),
        _ => "DISCARD ALL".to_string(),
    }
}

fn set_config(name: &str, value: &str, local: bool) -> String {
    let quoted = |text: &str| format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    format!("SELECT pg_catalog.set_config({}, {}, {local})", quoted(name), quoted(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(settings: &mut Settings, sql: &str) {
        let facts = crate::sql::facts(sql);
        settings.note(&facts.statements[0], Some(sql));
    }

    fn up_to(number: u64) -> Applied {
        Applied::default().at_least(number)
    }

    fn all(settings: &Settings) -> String {
        let (before, inside) = settings.missing(up_to(0), false, true);
        before.join(";") + "|" + &inside.join(";")
    }

    fn outside(settings: &Settings, have: u64, is_lead: bool) -> String {
        settings.missing(up_to(have), is_lead, false).0.join(";")
    }

    #[test]
    fn the_last_value_of_a_name_is_kept() {
        let mut s = Settings::default();
        run(&mut s, "SET a.x = 1");
        run(&mut s, "SET a.y = 1");
        run(&mut s, "SET a.x = 2");
        s.begin();
        assert_eq!(all(&s), "SET a.y = 1;SET a.x = 2|");
        assert!(s.lacks(up_to(2), false) && !s.lacks(up_to(3), false));
    }

    #[test]
    fn rollback_takes_settings_back() {
        let mut s = Settings::default();
        run(&mut s, "SET a.x = 1");
        s.begin();
        run(&mut s, "SET a.x = 2");
        s.savepoint("p");
        run(&mut s, "SET a.x = 3");
        s.rollback_to("p");
        assert_eq!(all(&s), "SET a.x = 1|SET a.x = 2");
        s.end(false);
        assert_eq!(all(&s), "SET a.x = 1|");
    }

    #[test]
    fn release_keeps_what_was_set_since_the_savepoint() {
        let mut s = Settings::default();
        s.begin();
        s.savepoint("p");
        run(&mut s, "SET a.x = 3");
        s.release("p");
        s.end(true);
        assert_eq!(outside(&s, 0, false), "SET a.x = 3");
    }

    #[test]
    fn local_settings_end_with_the_transaction() {
        let mut s = Settings::default();
        s.begin();
        run(&mut s, "SET LOCAL a.x = 3");
        assert_eq!(all(&s), "|SET LOCAL a.x = 3");
        s.end(true);
        assert!(!s.lacks(up_to(0), true));
    }

    #[test]
    fn what_a_standby_cannot_take_is_for_the_primary_alone() {
        let mut s = Settings::default();
        run(&mut s, "SET default_transaction_read_only = off");
        run(&mut s, "SET default_transaction_isolation = 'serializable'");
        run(&mut s, "SET transaction_isolation = 'serializable'");
        run(&mut s, "SET a.x = 1");
        assert_eq!(outside(&s, 0, false), "SET a.x = 1");
        let all = "SET default_transaction_read_only = off;\
                   SET default_transaction_isolation = 'serializable';SET a.x = 1";
        assert_eq!(outside(&s, 0, true), all);
        // A standby that becomes the primary gets what it could not take before.
        let was_standby = Applied { all: 3, lead: 0 };
        assert!(s.lacks(was_standby, true) && !s.lacks(was_standby, false));
        assert_eq!(s.missing(was_standby, true, false).0.len(), 2);
    }

    #[test]
    fn set_session_characteristics_are_settings() {
        let mut s = Settings::default();
        run(&mut s, "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
        run(&mut s, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE");
        assert_eq!(outside(&s, 0, false), "SET default_transaction_isolation TO 'repeatable read'");
        run(&mut s, "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE");
        let all =
            "SET default_transaction_read_only TO 'on';SET default_transaction_isolation TO 'serializable'";
        assert_eq!((outside(&s, 0, true).as_str(), outside(&s, 0, false)), (all, String::new()));
    }

    #[test]
    fn set_config_is_a_setting_like_any_other() {
        let mut s = Settings::default();
        run(&mut s, "SET a.x = 1");
        s.note_config("a.x", "it's", false);
        s.note_config("transaction_read_only", "off", false);
        assert_eq!(outside(&s, 0, false), "SELECT pg_catalog.set_config(E'a.x', E'it\\'s', false)");
        s.begin();
        s.note_config("a.x", "2", true);
        s.end(true);
        assert_eq!(s.missing(up_to(1), false, false).0.len(), 1);
    }

    #[test]
    fn discard_all_forgets_the_rest() {
        let mut s = Settings::default();
        run(&mut s, "SET a.x = 3");
        run(&mut s, "DISCARD ALL");
        assert_eq!(outside(&s, 0, false), "DISCARD ALL");
    }
}
