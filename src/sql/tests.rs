//! What the facts of a text must be: tables of cases, and texts that must never do harm.
#![forbid(unsafe_code)]

use super::*;
use proptest::prelude::*;

fn one(text: &str) -> Statement {
    let found = facts(text);
    found.single().unwrap_or_else(|| panic!("{text}: {found:?}")).clone()
}

fn names(list: &[Name]) -> String {
    list.iter().map(Name::to_string).collect::<Vec<_>>().join(" ")
}

/// Relations, what is written, functions, then flags: L row locks, M modifies, T=temporary relations.
fn summary(statement: &Statement) -> String {
    let mut out = format!(
        "{} / {} / {}",
        names(&statement.relations),
        names(&statement.written),
        names(&statement.functions)
    );
    if statement.row_locks {
        out.push_str(" L");
    }
    if statement.modifies {
        out.push_str(" M");
    }
    if !statement.creates_temp.is_empty() {
        out.push_str(&format!(" T={}", names(&statement.creates_temp)));
    }
    out
}

#[test]
fn relations_functions_locks_and_writes_are_found_anywhere() {
    let table = [
        ("SELECT 1", " /  / "),
        ("SELECT * FROM t", "t /  / "),
        ("SELECT * FROM s.t, T, \"T\"", "s.t t T /  / "),
        ("SELECT * FROM a JOIN b USING (x) LEFT JOIN c ON f(a.x)", "a b c /  / f"),
        ("SELECT f(g(1)), pg_catalog.now()", " /  / f g pg_catalog.now"),
        ("SELECT f(1), f(2), F(3)", " /  / f"),
        (
            "SELECT count(*) FILTER (WHERE f(x)) OVER (PARTITION BY g(x) ORDER BY h(x)) FROM t",
            "t /  / count f g h",
        ),
        ("SELECT * FROM f(1) AS x, LATERAL (SELECT g(2)) y", " /  / f g"),
        (
            "SELECT * FROM t WHERE x IN (SELECT y FROM u WHERE f(y)) GROUP BY g(1) HAVING h(1) ORDER BY i(1) LIMIT j(1) OFFSET k(1)",
            "t u /  / f g h i k j",
        ),
        (
            "SELECT ARRAY[f(1)], ROW(g(1)), CASE WHEN h(1) THEN i(1) ELSE j(1) END, COALESCE(k(1)), l(1)::int, (m(1)).x, (n(1))[o(1)]",
            " /  / f g h i j k l m n o",
        ),
        (
            "SELECT extract(year FROM f()), substring('a' FROM 1), current_date",
            " /  / pg_catalog.extract f pg_catalog.substring",
        ),
        (
            "SELECT json_object('a': f()), xmlelement(name x, g()), x IS JSON, json_arrayagg(h())",
            " /  / f g h",
        ),
        ("SELECT 1 UNION SELECT f() FROM t EXCEPT SELECT 2 FROM u", "t u /  / f"),
        ("VALUES (1, f()), (2, (SELECT x FROM t))", "t /  / f"),
        ("TABLE t", "t /  / "),
        ("SELECT * FROM t TABLESAMPLE system (f())", "t /  / f"),
        ("SELECT * FROM xmltable('/a' PASSING f() COLUMNS x int DEFAULT g())", " /  / f g"),
        ("SELECT * FROM ROWS FROM (f(1), g(2))", " /  / f g"),
        ("SELECT DISTINCT ON (f(x)) x FROM t WINDOW w AS (ORDER BY g(x))", "t /  / f g"),
        // CTEs: a name hides the relation where it is visible, and only there.
        ("WITH c AS (SELECT * FROM t) SELECT * FROM c", "t /  / "),
        ("WITH t AS (SELECT * FROM t) SELECT * FROM t", "t /  / "),
        ("WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT x FROM t) SELECT * FROM t", " /  / "),
        ("WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b", " /  / "),
        ("WITH b AS (SELECT * FROM a), a AS (SELECT 1) SELECT * FROM b", "a /  / "),
        ("WITH RECURSIVE b AS (SELECT * FROM a), a AS (SELECT 1) SELECT * FROM b", " /  / "),
        ("WITH c AS (SELECT 1) SELECT * FROM s.c", "s.c /  / "),
        ("SELECT * FROM (WITH c AS (SELECT 1) SELECT * FROM c) x, c", "c /  / "),
        ("WITH c AS (SELECT 1) SELECT (SELECT x FROM c WHERE EXISTS (SELECT 1 FROM c, t))", "t /  / "),
        ("WITH c AS (WITH d AS (SELECT 1) SELECT * FROM d) SELECT * FROM c, d", "d /  / "),
        ("WITH c AS (SELECT f()) SELECT g() FROM c", " /  / g f"),
        ("WITH c AS (SELECT 1) INSERT INTO c SELECT * FROM c", "c / c /  M"),
        ("WITH c AS (SELECT 1) SELECT 1 UNION (SELECT 2 FROM c)", " /  / "),
        // Locks.
        ("SELECT * FROM t FOR UPDATE", "t /  /  L"),
        ("SELECT * FROM t AS x, u FOR SHARE OF x NOWAIT", "t u /  /  L"),
        ("SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED", "t /  /  L"),
        ("SELECT * FROM (SELECT * FROM t FOR KEY SHARE) x", "t /  /  L"),
        ("WITH c AS (SELECT * FROM t FOR UPDATE) SELECT * FROM c", "t /  /  L"),
        // Writes inside queries.
        ("WITH c AS (DELETE FROM t RETURNING *) SELECT * FROM c", "t / t /  M"),
        ("WITH c AS (INSERT INTO t VALUES (f()) RETURNING *) SELECT * FROM c, u", "u t / t / f M"),
        ("SELECT * INTO n FROM t", "t / n /  M"),
        ("SELECT * INTO TEMP n FROM t", "t / n /  M T=n"),
        ("SELECT * INTO pg_temp.n FROM t", "t / pg_temp.n /  M T=pg_temp.n"),
        // Statements that write.
        ("INSERT INTO t SELECT f(x) FROM u", "t u / t / f M"),
        ("INSERT INTO t VALUES (1) ON CONFLICT (x) DO UPDATE SET y = f(1) RETURNING g(1)", "t / t / f g M"),
        ("UPDATE t SET x = f(1) FROM u WHERE t.a = u.a", "t u / t / f M"),
        ("DELETE FROM t USING u WHERE f(t.x)", "t u / t / f M"),
        (
            "MERGE INTO t USING u ON t.x = u.x WHEN MATCHED THEN UPDATE SET y = f(1) WHEN NOT MATCHED THEN INSERT VALUES (1)",
            "t u / t / f M",
        ),
        ("UPDATE t SET x = 1 WHERE CURRENT OF c", "t / t /  M"),
        ("TRUNCATE t, s.u", "t s.u / t s.u / "),
        ("COPY t FROM STDIN", "t / t / "),
        ("COPY t FROM STDIN WHERE f(x)", "t / t / f"),
        ("COPY t TO STDOUT", "t /  / "),
        ("COPY (SELECT f(x) FROM t) TO STDOUT", "t /  / f"),
        ("COPY (DELETE FROM t RETURNING f(x)) TO STDOUT", "t / t / f M"),
        ("LOCK t, u", "t u /  / "),
        ("CALL p(f(1))", " /  / p f"),
        ("CREATE TABLE t (x int)", " / t / "),
        ("CREATE TEMP TABLE t (x int)", " / t /  T=t"),
        ("CREATE LOCAL TEMPORARY TABLE IF NOT EXISTS t (x int)", " / t /  T=t"),
        ("CREATE TABLE pg_temp.t (x int)", " / pg_temp.t /  T=pg_temp.t"),
        ("CREATE UNLOGGED TABLE t (x int)", " / t / "),
        ("CREATE TEMP TABLE t AS SELECT f(x) FROM u", "u / t / f T=t"),
        ("CREATE TABLE t AS EXECUTE p(1)", " / t / "),
        ("CREATE TEMP VIEW v AS SELECT 1", " / v /  T=v"),
        ("CREATE TEMP SEQUENCE s", " / s /  T=s"),
        ("CREATE INDEX i ON t (x)", " / t / "),
        ("ALTER TABLE t ADD y int", " / t / "),
        ("REFRESH MATERIALIZED VIEW m", " / m / "),
    ];
    let wrong: Vec<_> =
        table.iter().map(|(text, e)| (text, summary(&one(text)), e)).filter(|(_, s, e)| s != *e).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn kinds_are_told_apart() {
    let b = |text: &str| -> Box<str> { text.into() };
    let set = |name: &str, local, value: Option<&str>| Kind::Set {
        name: name.into(),
        local,
        value: value.map(Box::from),
    };
    let begin = |read_only, isolation, deferrable| BeginOptions { read_only, isolation, deferrable };
    let plain = BeginOptions::default();
    let table = [
        ("SELECT 1", Kind::Select),
        ("(SELECT 1)", Kind::Select),
        ("VALUES (1)", Kind::Select),
        ("TABLE t", Kind::Select),
        ("WITH c AS (DELETE FROM t RETURNING 1) SELECT * FROM c", Kind::Select),
        ("INSERT INTO t DEFAULT VALUES", Kind::Insert),
        ("UPDATE t SET x = 1", Kind::Update),
        ("DELETE FROM t", Kind::Delete),
        ("MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", Kind::Merge),
        ("TRUNCATE t", Kind::Truncate),
        ("COPY t FROM STDIN", Kind::CopyFrom),
        ("COPY t FROM PROGRAM 'x'", Kind::CopyFrom),
        ("COPY t TO STDOUT", Kind::CopyTo { to_client: true }),
        ("COPY t TO '/tmp/x'", Kind::CopyTo { to_client: false }),
        ("COPY (SELECT 1) TO PROGRAM 'x'", Kind::CopyTo { to_client: false }),
        ("BEGIN", Kind::Begin(plain)),
        ("BEGIN WORK", Kind::Begin(plain)),
        ("START TRANSACTION READ ONLY", Kind::Begin(begin(Some(true), None, None))),
        ("BEGIN READ WRITE", Kind::Begin(begin(Some(false), None, None))),
        (
            "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
            Kind::Begin(begin(Some(true), Some(Isolation::Serializable), Some(true))),
        ),
        (
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ NOT DEFERRABLE",
            Kind::Begin(begin(None, Some(Isolation::RepeatableRead), Some(false))),
        ),
        ("COMMIT", Kind::Commit { chain: false }),
        ("END AND CHAIN", Kind::Commit { chain: true }),
        ("ROLLBACK", Kind::Rollback { chain: false }),
        ("ABORT AND NO CHAIN", Kind::Rollback { chain: false }),
        ("ROLLBACK AND CHAIN", Kind::Rollback { chain: true }),
        ("SAVEPOINT \"S\"", Kind::Savepoint(b("S"))),
        ("RELEASE s", Kind::Release(b("s"))),
        ("ROLLBACK TO SAVEPOINT s", Kind::RollbackTo(b("s"))),
        ("PREPARE TRANSACTION 'x'", Kind::PrepareTransaction),
        ("COMMIT PREPARED 'x'", Kind::CommitPrepared),
        ("ROLLBACK PREPARED 'x'", Kind::RollbackPrepared),
        ("SET Work_Mem = '1MB'", set("work_mem", false, Some("1MB"))),
        ("SET work_mem TO 100", set("work_mem", false, Some("100"))),
        ("SET x.y = 1.5", set("x.y", false, Some("1.5"))),
        ("SET search_path TO a, \"B\"", set("search_path", false, Some("a, B"))),
        ("SET LOCAL enable_seqscan = off", set("enable_seqscan", true, Some("off"))),
        ("SET enable_seqscan = false", set("enable_seqscan", false, Some("false"))),
        ("SET work_mem TO DEFAULT", set("work_mem", false, None)),
        ("SET ROLE r", set("role", false, Some("r"))),
        ("SET SESSION AUTHORIZATION r", set("session_authorization", false, Some("r"))),
        ("SET TIME ZONE 'UTC'", set("timezone", false, Some("UTC"))),
        ("SET TIME ZONE LOCAL", set("timezone", false, None)),
        ("SET NAMES 'UTF8'", set("client_encoding", false, Some("UTF8"))),
        (
            "SET transaction_isolation = 'serializable'",
            set("transaction_isolation", false, Some("serializable")),
        ),
        ("SET TRANSACTION SNAPSHOT '0-1'", set("transaction_snapshot", true, None)),
        ("RESET work_mem", Kind::Reset { name: b("work_mem") }),
        ("RESET ROLE", Kind::Reset { name: b("role") }),
        ("RESET SESSION AUTHORIZATION", Kind::Reset { name: b("session_authorization") }),
        ("RESET ALL", Kind::ResetAll),
        (
            "SET TRANSACTION READ ONLY",
            Kind::SetTransaction { session: false, options: begin(Some(true), None, None) },
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
            Kind::SetTransaction {
                session: true,
                options: begin(Some(false), Some(Isolation::ReadCommitted), None),
            },
        ),
        ("SET CONSTRAINTS ALL DEFERRED", Kind::SetConstraints),
        ("SHOW Work_Mem", Kind::Show(b("work_mem"))),
        ("SHOW ALL", Kind::Show(b("all"))),
        ("SHOW TRANSACTION ISOLATION LEVEL", Kind::Show(b("transaction_isolation"))),
        ("DISCARD ALL", Kind::DiscardAll),
        ("DISCARD TEMP", Kind::Discard),
        ("EXECUTE \"P\" (1)", Kind::Execute(b("P"))),
        ("DEALLOCATE PREPARE p", Kind::Deallocate(Some(b("p")))),
        ("DEALLOCATE ALL", Kind::Deallocate(None)),
        ("FETCH 10 FROM c", Kind::Fetch(b("c"))),
        ("MOVE NEXT IN c", Kind::Fetch(b("c"))),
        ("CLOSE c", Kind::CloseCursor(Some(b("c")))),
        ("CLOSE ALL", Kind::CloseCursor(None)),
        ("LISTEN \"X\"", Kind::Listen(b("X"))),
        ("UNLISTEN x", Kind::Unlisten(Some(b("x")))),
        ("UNLISTEN *", Kind::Unlisten(None)),
        ("NOTIFY x, 'y'", Kind::Notify),
        ("LOCK t IN ACCESS SHARE MODE", Kind::Lock { mode_conflicts_with_writes: false }),
        ("LOCK t IN ROW SHARE MODE", Kind::Lock { mode_conflicts_with_writes: false }),
        ("LOCK t IN ROW EXCLUSIVE MODE", Kind::Lock { mode_conflicts_with_writes: true }),
        ("LOCK t", Kind::Lock { mode_conflicts_with_writes: true }),
        ("CALL p()", Kind::Call),
        ("DO 'x'", Kind::Do),
        ("VACUUM t", Kind::Vacuum),
        ("ANALYZE", Kind::Vacuum),
        ("CHECKPOINT", Kind::Checkpoint),
        ("LOAD 'x'", Kind::Other),
        ("CREATE TABLE t (x int)", Kind::Ddl),
        ("CREATE TABLE t AS SELECT 1", Kind::Ddl),
        ("DROP TABLE t", Kind::Ddl),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", Kind::Ddl),
        ("GRANT SELECT ON t TO u", Kind::Ddl),
        ("COMMENT ON TABLE t IS 'x'", Kind::Ddl),
        ("ALTER SYSTEM SET x = 1", Kind::Ddl),
        ("REINDEX TABLE t", Kind::Ddl),
        ("CREATE DATABASE d", Kind::Ddl),
    ];
    for (text, expected) in table {
        assert_eq!(one(text).kind, expected, "{text}");
    }
}

#[test]
fn statements_inside_statements_have_their_own_facts() {
    let inner = |text: &str| match one(text).kind {
        Kind::Prepare { inner, .. } | Kind::Declare { inner, .. } | Kind::Explain { inner, .. } => *inner,
        kind => panic!("{text}: {kind:?}"),
    };
    let table = [
        ("PREPARE p AS SELECT f(x) FROM t", Kind::Select, "t /  / f"),
        ("PREPARE p (int) AS INSERT INTO t VALUES ($1)", Kind::Insert, "t / t /  M"),
        ("DECLARE c CURSOR FOR SELECT f(x) FROM t FOR UPDATE", Kind::Select, "t /  / f L"),
        ("EXPLAIN SELECT f(x) FROM t", Kind::Select, "t /  / f"),
        ("EXPLAIN ANALYZE DELETE FROM t", Kind::Delete, "t / t /  M"),
        ("EXPLAIN EXECUTE p", Kind::Execute("p".into()), " /  / "),
        ("EXPLAIN CREATE TEMP TABLE n AS SELECT f()", Kind::Ddl, " / n / f T=n"),
    ];
    for (text, kind, expected) in table {
        let found = inner(text);
        assert_eq!((&found.kind, summary(&found).as_str()), (&kind, expected), "{text}");
        assert_eq!(summary(&one(text)), " /  / ", "{text}");
    }
    for (text, expected) in [
        ("EXPLAIN SELECT 1", false),
        ("EXPLAIN ANALYZE SELECT 1", true),
        ("EXPLAIN (ANALYZE) SELECT 1", true),
        ("EXPLAIN (ANALYZE true, VERBOSE) SELECT 1", true),
        ("EXPLAIN (ANALYZE 1) SELECT 1", true),
        ("EXPLAIN (ANALYZE off) SELECT 1", false),
        ("EXPLAIN (ANALYZE 0) SELECT 1", false),
        ("EXPLAIN (COSTS) SELECT 1", false),
    ] {
        assert!(matches!(one(text).kind, Kind::Explain { analyze, .. } if analyze == expected), "{text}");
    }
    for (text, expected) in
        [("DECLARE c CURSOR FOR SELECT 1", false), ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", true)]
    {
        assert!(matches!(one(text).kind, Kind::Declare { hold, .. } if hold == expected), "{text}");
    }
}

#[test]
fn calls_that_take_and_give_back_advisory_locks_are_counted_where_they_can_be() {
    let of = |takes, gives, gives_all, uncounted| Advisory { takes, gives, gives_all, uncounted };
    for (text, expected) in [
        ("SELECT pg_advisory_lock(1)", of(1, 0, false, false)),
        ("SELECT pg_advisory_lock(1), pg_catalog.pg_try_advisory_lock_shared(2, 3)", of(2, 0, false, false)),
        ("SELECT pg_try_advisory_lock(hashtext('a'))", of(1, 0, false, false)),
        ("SELECT pg_advisory_unlock($1)", of(0, 1, false, false)),
        ("SELECT pg_advisory_unlock_all()", of(0, 0, true, false)),
        ("SELECT pg_advisory_lock(n) FROM t", of(1, 0, false, true)),
        ("SELECT pg_advisory_lock(1) WHERE false", of(1, 0, false, true)),
        ("SELECT pg_advisory_lock(column1) FROM (VALUES (1), (2)) v", of(1, 0, false, true)),
        ("SELECT pg_advisory_lock(1) UNION ALL SELECT pg_advisory_lock(2)", of(2, 0, false, true)),
        ("SELECT pg_advisory_lock(generate_series(1, 3))", of(1, 0, false, true)),
        ("INSERT INTO t VALUES (pg_advisory_unlock(1))", of(0, 1, false, true)),
        ("SELECT pg_advisory_xact_lock(1)", Advisory::default()),
        ("SELECT mine.pg_advisory_lock(1)", Advisory::default()),
    ] {
        assert_eq!(one(text).advisory, expected, "{text}");
    }
}

#[test]
fn it_is_known_which_temporary_tables_end_with_their_transaction() {
    for (text, expected) in [
        ("CREATE TEMP TABLE t (n int) ON COMMIT DROP", true),
        ("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1", true),
        ("CREATE TEMP TABLE t (n int) ON COMMIT DELETE ROWS", false),
        ("CREATE TEMP TABLE t AS SELECT 1", false),
        ("SELECT 1 INTO TEMP t", false),
    ] {
        assert_eq!(one(text).drops_at_commit, expected, "{text}");
    }
}

#[test]
fn outcomes_other_than_one_statement() {
    for text in ["", " ", ";", " ; ;; ", "-- x", "/* x */", "/* x */ ;"] {
        assert_eq!(facts(text).parse, ParseOutcome::Empty, "{text:?}");
    }
    for text in ["SELEC 1", "SELECT 1 SELECT 2", "PGPOOL SHOW x", "'", "/*", "SELECT '\0'", "\0", "SELECT $$"]
    {
        assert_eq!(facts(text).parse, ParseOutcome::Failed, "{text:?}");
        assert!(facts(text).statements.is_empty());
    }
    assert_eq!(facts("SELECT 1;; SELECT 2; -- end").statements.len(), 2);
    assert_eq!(facts("SELECT 1;").statements.len(), 1);
    assert_eq!(facts(&format!("SELECT '{}'", "x".repeat(MAX_TEXT))).parse, ParseOutcome::TooLong);
}

#[test]
fn false_is_what_postgresql_takes_for_false() {
    for text in ["off", "OF", "false", "f", "no", "N", "0"] {
        assert!(is_false(text), "{text}");
    }
    for text in ["on", "o", "true", "1", "", "00", "offf", "x"] {
        assert!(!is_false(text), "{text}");
    }
}

#[test]
fn texts_that_are_deep_or_wide_are_refused_not_followed() {
    let sum = |terms: usize| format!("SELECT {}", vec!["1"; terms].join("+"));
    assert_eq!(facts(&sum(500)).parse, ParseOutcome::Ok);
    for terms in [2_000, 10_000, 50_000, 400_000] {
        assert_eq!(facts(&sum(terms)).parse, ParseOutcome::TooDeep, "{terms} terms");
    }
    // Lists are flat however long they are.
    for joint in [" AND ", ", ", " OR "] {
        assert_eq!(facts(&format!("SELECT {}", vec!["x"; 50_000].join(joint))).parse, ParseOutcome::Ok);
    }
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("NOT ", "true", ""),
        ("- ", "1", ""),
        ("f(", "1", ")"),
        ("ARRAY[", "1", "]"),
        ("(SELECT ", "1", ")"),
        ("CASE WHEN true THEN ", "1", " END"),
        ("COALESCE(", "1", ")"),
        ("EXISTS(SELECT ", "1", ")"),
    ] {
        for depth in [100, 5_000, 50_000] {
            let text = format!("SELECT {}{middle}{}", open.repeat(depth), close.repeat(depth));
            let found = facts(&text).parse;
            assert!(found == ParseOutcome::Ok || depth > 100, "{open} × {depth}: {found:?}");
        }
    }
    for (unit, count) in
        [(" UNION SELECT 1", 50_000), (" UNION (SELECT 1", 5_000), (" JOIN t ON true", 20_000)]
    {
        facts(&format!("SELECT 1 FROM t{}", unit.repeat(count)));
    }
    let nested_with =
        (0..2_000).fold("SELECT 1".to_owned(), |inner, n| format!("WITH c{n} AS ({inner}) SELECT 1"));
    facts(&nested_with);
    let many = |n: usize, item: fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(", ");
    assert_eq!(facts(&format!("SELECT {}", many(900, |n| format!("f{n}()")))).parse, ParseOutcome::Ok);
    assert_eq!(
        facts(&format!("SELECT {}", many(40_000, |n| format!("f{n}()")))).parse,
        ParseOutcome::TooDeep
    );
    assert_eq!(
        facts(&format!("WITH {} SELECT 1", many(20_000, |n| format!("c{n} AS (SELECT 1)")))).parse,
        ParseOutcome::TooDeep
    );
}

#[test]
fn names_are_cut_between_characters() {
    // PostgreSQL cuts names at 63 bytes, which here is in the middle of a character.
    for letter in ["é", "語", "😀"] {
        for shift in 0..4 {
            let name = "x".repeat(shift) + &letter.repeat(40);
            let found = facts(&format!("SELECT {name}(1) FROM {name}, \"{name}\""));
            assert_eq!(found.parse, ParseOutcome::Ok, "{name}");
        }
    }
    for text in [r"SELECT E'\xff'", r"SELECT E'\xc3'", r#"SELECT U&"\00e9"()"#, r"SELECT E'\u00e9'"] {
        harmless(text);
    }
}

/// Pieces from which texts are made that come far into the grammar.
const PIECES: [&str; 60] = [
    "SELECT",
    "FROM",
    "t",
    "WHERE",
    "(",
    ")",
    ",",
    "1",
    "'x'",
    "f(",
    "WITH",
    "c",
    "AS",
    "INSERT INTO",
    "VALUES",
    "UPDATE",
    "SET",
    "=",
    "DELETE",
    "RETURNING",
    "*",
    "JOIN",
    "ON",
    "true",
    "FOR UPDATE",
    "UNION",
    "ALL",
    ";",
    "BEGIN",
    "COMMIT",
    "COPY",
    "TO STDOUT",
    "FROM STDIN",
    "EXPLAIN",
    "PREPARE",
    "EXECUTE",
    "DECLARE",
    "CURSOR FOR",
    "CREATE",
    "TABLE",
    "TEMP",
    "VIEW",
    "INDEX",
    "int",
    "DEFAULT",
    "NULL",
    "ORDER BY",
    "GROUP BY",
    "OVER",
    "CASE WHEN",
    "THEN",
    "END",
    "::",
    "[",
    "]",
    "$1",
    "LOCK",
    "MERGE INTO",
    "json_table(",
    "xmltable(",
];

/// The library must not fail on what its grammar accepts; `facts` would hide that.
fn harmless(text: &str) {
    let read = |nodes: &[crate::ffi::pg_parse::Node<'_>]| {
        for node in nodes {
            let _ = classify::statement(*node);
        }
    };
    assert_ne!(with_statements(text, read), Err(Refusal::Broken), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_does_harm(text in any::<String>()) {
        harmless(&text);
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        Cache::new(1).get(&bytes);
    }

    #[test]
    fn no_words_do_harm(words in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..25)) {
        harmless(&words.join(" "));
    }

    #[test]
    fn no_damage_to_a_good_text_does_harm(cut in 0usize..400, insert in "[ -~é]{0,3}") {
        let good = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 10), \
                    d AS (INSERT INTO s.t SELECT * FROM c ON CONFLICT DO NOTHING RETURNING f(x)) \
                    SELECT DISTINCT ON (x) CASE WHEN x > 1 THEN g(x) END, count(*) OVER w, ARRAY[1, 2][1] \
                    FROM c JOIN LATERAL h(c.x) AS j(y int) ON true TABLESAMPLE system (1) WHERE EXISTS (SELECT 1) \
                    WINDOW w AS (PARTITION BY x) ORDER BY 1 LIMIT 10 FOR UPDATE OF c";
        let at = good.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(good.len());
        harmless(&format!("{}{insert}{}", &good[..at], &good[at..]));
        harmless(&good[..at]);
    }
}
