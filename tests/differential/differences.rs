//! Where we do something else than pgpool-II 4.3.5, and why. A row that no longer differs fails the test.

use std::fmt;

pub(super) struct Difference {
    sequence: &'static str,
    statement: &'static str,
    why: &'static str,
}

impl Difference {
    pub(super) fn is_about(&self, sequence: &str, statement: &str) -> bool {
        self.sequence == sequence && self.statement == statement
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.sequence, self.statement, self.why)
    }
}

const LATER: &str = "a setting runs on one node; the other gets it right before its next statement";
const JOINS: &str = "a node joins a transaction when a statement goes there, not at BEGIN";
const OWN_END: &str = "a node that only read is ended by a COMMIT or ROLLBACK of ours, in those words";
const NOTHING_THERE: &str = "the other node has nothing that it could be about";
const UNKNOWN: &str = "a function that the catalog does not know may write";
const STILL_WRITTEN: &str = "what was written before the savepoint is only on the primary";
const SERVER_ANSWERS: &str = "PostgreSQL says that the transaction has failed, and we relay it";
const ONE_NODE: &str = "a transaction begun among several statements stays on the primary";
const READ: &str = "VALUES is a read";
const PREPARED_READ: &str = "EXECUTE of a read goes where the read may go";

const OF_CATALOGS: &str = "its views read system catalogs, which are read on the primary";
const VIEW: &str = "what a view reads and calls counts as if it stood in the statement";

const fn row(sequence: &'static str, statement: &'static str, why: &'static str) -> Difference {
    Difference { sequence, statement, why }
}

pub(super) const DIFFERENCES: &[Difference] = &[
    row("forms of reading", "VALUES (1), (2)", READ),
    row("functions", "SELECT no_such_function()", UNKNOWN),
    row("special relations", "SELECT count(*) > 0 FROM information_schema.tables", OF_CATALOGS),
    row("views", "SELECT n FROM v_unlogged", VIEW),
    row("views", "SELECT n FROM v_writer", VIEW),
    row("views", "SELECT n > 0 FROM v_catalog", VIEW),
    row("settings", "RESET search_path", LATER),
    row("settings", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", LATER),
    row("settings", "SET TIME ZONE 'UTC'", LATER),
    row("settings", "SET ROLE alice", LATER),
    row("settings", "RESET ROLE", LATER),
    row("settings", "SET SESSION AUTHORIZATION DEFAULT", LATER),
    row("settings", "RESET ALL", LATER),
    row("settings", "DISCARD PLANS", NOTHING_THERE),
    row("transaction that writes", "SAVEPOINT a", NOTHING_THERE),
    row("transaction that writes", "ROLLBACK TO SAVEPOINT a", NOTHING_THERE),
    row("transaction that writes", "RELEASE SAVEPOINT a", NOTHING_THERE),
    row("transaction that writes", "SELECT n + 3 FROM t", STILL_WRITTEN),
    row("transaction that writes", "COMMIT", OWN_END),
    row("transaction modes", "END", OWN_END),
    row("failed transaction", "SELECT n FROM t", SERVER_ANSWERS),
    row("failed transaction", "INSERT INTO t VALUES (40)", SERVER_ANSWERS),
    row("set local", "BEGIN", JOINS),
    row("set local", "COMMIT", JOINS),
    row("set local", "SET LOCAL work_mem = '3MB'", LATER),
    row("two phases", "BEGIN", JOINS),
    row("several statements at once", "SELECT n FROM t", ONE_NODE),
    row("prepared by name", "EXECUTE r", PREPARED_READ),
    row("prepared by name", "DEALLOCATE ALL", NOTHING_THERE),
    row("cursors", "BEGIN", JOINS),
    row("cursors", "COMMIT", JOINS),
];
