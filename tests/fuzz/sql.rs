//! SQL out of bytes: each byte chooses how a statement goes on, so that a fuzzer which changes bytes changes statements.

/// Makes a text of one statement or several.
pub(crate) fn make(bytes: &[u8]) -> String {
    let mut maker = Maker { bytes, text: String::new() };
    maker.statement(0);
    while maker.choose(8) == 7 {
        maker.say(";");
        maker.statement(0);
    }
    maker.text
}

struct Maker<'a> {
    bytes: &'a [u8],
    text: String,
}

const NAMES: &[&str] = &[
    "t",
    "u",
    "s.t",
    "\"T\"",
    "\"a b\"",
    "pg_class",
    "pg_catalog.pg_type",
    "pg_temp.x",
    "\"ü\"",
    "temp",
    "x1",
    "\"\"\"\"",
    "information_schema.tables",
    "\"pg_class\"",
    "select_",
    "_",
];
const FUNCTIONS: &[&str] = &[
    "f",
    "now",
    "nextval",
    "pg_catalog.random",
    "s.f",
    "count",
    "set_config",
    "txid_current",
    "\"F\"",
    "coalesce",
    "greatest",
];
const CONSTANTS: &[&str] = &[
    "1",
    "-2.5e10",
    "'a'",
    "''",
    "'it''s'",
    "E'\\\\n'",
    "$$x$$",
    "$a$ $$ $a$",
    "NULL",
    "true",
    "B'101'",
    "X'ff'",
    "U&'\\0041'",
    "9999999999999999999999",
    "$1",
    "$2::int",
    "DATE '2000-01-01'",
    "INTERVAL '1 day'",
    "ARRAY[1, 2]",
    "ROW(1, 'a')",
];
const OPERATORS: &[&str] = &[
    "+",
    "-",
    "*",
    "/",
    "=",
    "<>",
    "<",
    "||",
    "->>",
    "@>",
    "AND",
    "OR",
    "LIKE",
    "IS DISTINCT FROM",
    "OPERATOR(pg_catalog.=)",
];
/// Nested deeper than anybody writes.
const DEEPEST: usize = 40;

impl Maker<'_> {
    fn choose(&mut self, count: usize) -> usize {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        usize::from(*first) % count
    }

    fn say(&mut self, words: &str) {
        self.text.push_str(words);
        self.text.push(' ');
    }

    fn one_of(&mut self, words: &[&str]) {
        let word = words[self.choose(words.len())];
        self.say(word);
    }

    fn maybe(&mut self, make: impl FnOnce(&mut Self)) {
        if self.choose(3) == 2 {
            make(self);
        }
    }

    fn list(&mut self, mut make: impl FnMut(&mut Self)) {
        make(self);
        while self.choose(4) == 3 {
            self.say(",");
            make(self);
        }
    }

    fn comment(&mut self) {
        self.maybe(|made| made.one_of(&["/* c */", "-- c\n", "/* /* nested */ */", "/*NO LOAD BALANCE*/"]));
    }

    fn statement(&mut self, depth: usize) {
        self.comment();
        match self.choose(24) {
            0..=6 => self.query(depth),
            7 => {
                self.say("INSERT INTO");
                self.one_of(NAMES);
                match self.choose(3) {
                    0 => self.say("DEFAULT VALUES"),
                    _ => self.query(depth),
                }
                self.maybe(|made| made.say("ON CONFLICT DO NOTHING"));
                self.returning(depth);
            }
            8 => {
                self.say("UPDATE");
                self.one_of(NAMES);
                self.say("SET n =");
                self.expression(depth + 1);
                self.condition(depth);
                self.returning(depth);
            }
            9 => {
                self.say("DELETE FROM");
                self.one_of(NAMES);
                self.condition(depth);
                self.returning(depth);
            }
            10 => {
                self.say("MERGE INTO t USING");
                self.source(depth);
                self.say("AS y ON");
                self.expression(depth + 1);
                self.say("WHEN MATCHED THEN");
                self.one_of(&["DELETE", "DO NOTHING", "UPDATE SET n = 1"]);
            }
            11 => {
                self.say("COPY");
                match self.choose(2) {
                    0 => self.one_of(NAMES),
                    _ => self.parenthesised(|made| made.query(depth)),
                }
                self.one_of(&[
                    "TO STDOUT",
                    "FROM STDIN",
                    "TO '/x'",
                    "TO PROGRAM 'x'",
                    "TO STDOUT WITH (FORMAT csv)",
                ]);
            }
            12 if depth < 3 => {
                self.one_of(&[
                    "EXPLAIN",
                    "EXPLAIN ANALYZE",
                    "EXPLAIN (ANALYZE off, COSTS)",
                    "PREPARE p AS",
                    "PREPARE p (int) AS",
                ]);
                self.statement(depth + 1);
            }
            13 => {
                self.one_of(&[
                    "DECLARE c CURSOR FOR",
                    "DECLARE c CURSOR WITH HOLD FOR",
                    "CREATE TABLE m AS",
                    "CREATE TEMP TABLE m AS",
                    "CREATE VIEW m AS",
                ]);
                self.query(depth);
            }
            14 => self.one_of(&[
                "BEGIN",
                "START TRANSACTION READ ONLY",
                "COMMIT AND CHAIN",
                "ROLLBACK TO a",
                "SAVEPOINT a",
                "RELEASE a",
                "PREPARE TRANSACTION 'x'",
                "COMMIT PREPARED 'x'",
            ]),
            15 => {
                self.one_of(&["SET", "SET LOCAL", "SET SESSION"]);
                self.one_of(&["a.b", "search_path", "TIME ZONE", "transaction_read_only", "ROLE"]);
                self.one_of(&["TO", "=", ""]);
                self.list(|made| made.one_of(CONSTANTS));
            }
            16 => self.one_of(&[
                "SHOW ALL",
                "SHOW x",
                "RESET ALL",
                "DISCARD ALL",
                "DEALLOCATE ALL",
                "EXECUTE p",
                "EXECUTE p (1)",
                "CLOSE ALL",
                "FETCH ALL FROM c",
            ]),
            17 => self.one_of(&[
                "LISTEN a",
                "NOTIFY a, 'b'",
                "DO $$ BEGIN END $$",
                "VACUUM",
                "CHECKPOINT",
                "LOCK TABLE t, u IN SHARE MODE",
                "TRUNCATE t, s.u CASCADE",
            ]),
            18 => {
                self.say("CALL");
                self.call(depth);
            }
            19 => {
                self.one_of(&[
                    "DROP TABLE",
                    "DROP VIEW IF EXISTS",
                    "DROP SEQUENCE",
                    "DROP FUNCTION",
                    "ALTER TABLE",
                ]);
                self.list(|made| made.one_of(NAMES));
            }
            20 => {
                self.say("CREATE TABLE");
                self.one_of(NAMES);
                self.say("(n int DEFAULT");
                self.expression(depth + 1);
                self.say(")");
            }
            21 => {
                // What is deep or wide without being understood.
                let count = self.choose(256) * 16;
                let word = ["(", "SELECT ", "1+", "NOT ", "a.", "- "][self.choose(6)];
                self.say("SELECT");
                self.text.push_str(&word.repeat(count));
                self.say("1");
            }
            _ => {
                let length = self.choose(32).min(self.bytes.len());
                let (raw, rest) = self.bytes.split_at(length);
                self.bytes = rest;
                self.say(&String::from_utf8_lossy(raw));
            }
        }
        self.comment();
    }

    fn parenthesised(&mut self, make: impl FnOnce(&mut Self)) {
        self.say("(");
        make(self);
        self.say(")");
    }

    fn query(&mut self, depth: usize) {
        if depth < DEEPEST && self.choose(5) == 4 {
            self.one_of(&["WITH", "WITH RECURSIVE"]);
            self.list(|made| {
                made.one_of(&["t", "c", "\"T\"", "pg_class"]);
                made.say("AS");
                made.parenthesised(|made| made.statement(depth + 1));
            });
        }
        match self.choose(8) {
            0 => {
                self.say("VALUES");
                self.list(|made| made.parenthesised(|made| made.expression(depth + 1)));
            }
            1 => {
                self.say("TABLE");
                self.one_of(NAMES);
            }
            2 if depth < DEEPEST => self.parenthesised(|made| made.query(depth + 1)),
            _ => self.select(depth),
        }
        if depth < DEEPEST && self.choose(6) == 5 {
            self.one_of(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT"]);
            self.query(depth + 1);
        }
        self.maybe(|made| {
            made.say("ORDER BY");
            made.expression(depth + 1);
        });
        self.maybe(|made| {
            made.say("LIMIT");
            made.expression(depth + 1);
        });
        self.maybe(|made| made.one_of(&["FOR UPDATE", "FOR SHARE OF t", "FOR KEY SHARE SKIP LOCKED"]));
    }

    fn select(&mut self, depth: usize) {
        self.one_of(&["SELECT", "SELECT DISTINCT", "SELECT ALL"]);
        self.list(|made| made.expression(depth + 1));
        self.maybe(|made| made.one_of(&["INTO x", "INTO TEMP x", "AS y"]));
        self.maybe(|made| {
            made.say("FROM");
            made.list(|made| made.source(depth + 1));
        });
        self.condition(depth);
        self.maybe(|made| {
            made.say("GROUP BY");
            made.expression(depth + 1);
        });
        self.maybe(|made| {
            made.say("HAVING");
            made.expression(depth + 1);
        });
    }

    fn source(&mut self, depth: usize) {
        match self.choose(8) {
            0 if depth < DEEPEST => {
                self.one_of(&["", "LATERAL"]);
                self.parenthesised(|made| made.query(depth + 1));
                self.say("AS q");
            }
            1 => self.call(depth + 1),
            2 if depth < DEEPEST => {
                self.source(depth + 1);
                self.one_of(&["JOIN", "LEFT JOIN", "FULL JOIN"]);
                self.source(depth + 1);
                self.say("ON");
                self.expression(depth + 1);
            }
            3 => {
                self.say("ROWS FROM (");
                self.list(|made| made.call(depth + 1));
                self.say(")");
            }
            4 => {
                self.one_of(NAMES);
                self.say("TABLESAMPLE system (1)");
            }
            _ => self.one_of(NAMES),
        }
    }

    fn condition(&mut self, depth: usize) {
        self.maybe(|made| {
            made.say("WHERE");
            made.expression(depth + 1);
        });
    }

    fn returning(&mut self, depth: usize) {
        self.maybe(|made| {
            made.say("RETURNING");
            made.expression(depth + 1);
        });
    }

    fn call(&mut self, depth: usize) {
        self.one_of(FUNCTIONS);
        self.say("(");
        if depth < DEEPEST && self.choose(3) > 0 {
            self.list(|made| made.expression(depth + 1));
        }
        self.say(")");
        self.maybe(|made| made.one_of(&["OVER ()", "FILTER (WHERE f())", "OVER (PARTITION BY g(1))"]));
    }

    fn expression(&mut self, depth: usize) {
        if depth >= DEEPEST {
            return self.one_of(CONSTANTS);
        }
        match self.choose(12) {
            0..=2 => self.one_of(CONSTANTS),
            3 => self.one_of(&["n", "t.n", "t.*", "*", "\"N\"", "current_user", "current_timestamp"]),
            4 | 5 => self.call(depth + 1),
            6 => {
                self.expression(depth + 1);
                self.one_of(OPERATORS);
                self.expression(depth + 1);
            }
            7 => self.parenthesised(|made| made.query(depth + 1)),
            8 => {
                self.one_of(&["EXISTS", "NOT EXISTS", "ARRAY", "n IN", "n = ANY"]);
                self.parenthesised(|made| made.query(depth + 1));
            }
            9 => {
                self.say("CASE WHEN");
                self.expression(depth + 1);
                self.say("THEN");
                self.expression(depth + 1);
                self.say("END");
            }
            10 => {
                self.say("CAST (");
                self.expression(depth + 1);
                self.one_of(&["AS int)", "AS text)", "AS regclass)", "AS s.ty[])"]);
            }
            _ => self.one_of(&[
                "extract(year FROM now())",
                "xmlelement(name x, f())",
                "json_object('a': g())",
                "(ROW(1)).f1",
                "n[1:2]",
                "x IS JSON",
                "grouping(n)",
            ]),
        }
    }
}
