//! The rule table as a test: text × session × configuration → target and reason.
//!
//! A row reads `target | reason`; the target is `P` primary, `B` balance node, `E` everywhere, `X` where it was
//! prepared. A letter after it says that the statement counts as a write for the memory of the session: `s` without any
//! change of data, `w` of the tables that it names, `W` of any. `after 5`: the node must have that commit.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::adaptive::Relationships;
use super::config::CheckTemp;
use super::*;
use crate::sql::facts;

fn choose(
    cluster: &ClusterView,
    config: &RouteConfig,
    preference: Option<Preference>,
    random: f64,
) -> Option<NodeId> {
    choose_balance_node(cluster, config, preference, random, &mut |random, may| {
        draw_by_weight(cluster, random, may)
    })
}

/// A catalog that goes by how a name begins; what begins with `ask` is not known yet.
struct TestCatalog;

impl Catalog for TestCatalog {
    fn function(&self, function: &Name) -> Option<Volatility> {
        let begins = |words: &[&str]| words.iter().any(|begin| function.name.starts_with(begin));
        if begins(&["ask"]) {
            None
        } else if begins(&["vol"]) {
            Some(Volatility::Volatile)
        } else if begins(&["nextval", "setval", "random"]) {
            Some(Volatility::Builtin)
        } else if begins(&["reads"]) {
            Some(Volatility::Reads)
        } else {
            Some(Volatility::Harmless)
        }
    }

    fn relation(&self, relation: &Name) -> Option<Relation> {
        let name = &*relation.name;
        let view = match name {
            "view_plain" => "SELECT f(x) FROM t;",
            "view_vol" => "SELECT vol() FROM t;",
            "view_random" => "SELECT random();",
            "view_unl" => "SELECT * FROM t, s.unlogged;",
            "view_catalog" => "SELECT * FROM pg_class;",
            "view_temp" => "SELECT * FROM temp;",
            "view_lock" => "SELECT * FROM t FOR SHARE;",
            "view_view" => "SELECT * FROM view_plain, view_unl;",
            "view_self" => "SELECT * FROM view_self;",
            "view_ask" => "SELECT ask() FROM ask_t;",
            "view_broken" => "SELECT FROM FROM;",
            _ => "",
        };
        let views = (!view.is_empty()).then(|| Rc::new(facts(view)));
        let is = |begin| name.starts_with(begin);
        let catalog = is("pg_") && relation.schema.is_none();
        (!is("ask")).then(|| Relation {
            unlogged: is("unl"),
            catalog,
            sequence: is("seq"),
            spreads: is("wide"),
            views,
        })
    }
}

/// Tables beginning with `late` were written lately, by commit 5 of 9.
struct TestWrites {
    all: bool,
}

impl Writes for TestWrites {
    fn lately(&self, table: Option<&Name>) -> bool {
        table.map_or(self.all, |table| table.name.starts_with("late"))
    }

    fn last_commit(&self, table: &Name) -> u64 {
        if table.name.starts_with("late") { 5 } else { 1 }
    }

    fn newest_commit(&self) -> u64 {
        9
    }
}

fn node(id: NodeId, weight: f64) -> NodeView {
    NodeView {
        id,
        usable: true,
        orderly: false,
        weight,
        is_primary: id == 0,
        lag_bytes: Some(0),
        lag_micros: Some(0),
    }
}

fn cluster() -> ClusterView {
    ClusterView {
        nodes: vec![node(0, 1.0), node(1, 1.0), node(2, 2.0)],
        primary: Some(0),
        main: Some(0),
        ..ClusterView::default()
    }
}

fn idle<'a>() -> SessionView<'a> {
    SessionView {
        balance_node: Some(1),
        writes: &TestWrites { all: false },
        node_of_process: &|pid| (pid == 7).then_some(2),
        has_temp: &|name| Some(*name.name == *"temp"),
        ..SessionView::idle()
    }
}

fn in_tx<'a>() -> SessionView<'a> {
    SessionView { in_transaction: true, ..idle() }
}

fn wrote<'a>() -> SessionView<'a> {
    SessionView { tx_wrote: Write::Known, trans_wrote: true, ever_wrote: true, ..in_tx() }
}

fn show(decision: Decision) -> String {
    let route = match decision {
        Decision::Go(route) => route,
        Decision::Ask(questions) => {
            let ask = |question: &Question| match question {
                Question::Function(name) => format!("function {name}"),
                Question::Relation(name) => format!("relation {name}"),
                question => format!("{question:?}").to_lowercase(),
            };
            return format!("ask {}", questions.iter().map(ask).collect::<Vec<_>>().join(", "));
        }
    };
    let target = match route.target {
        Target::Primary => "P".to_owned(),
        Target::Balance => "B".to_owned(),
        Target::Everywhere => "E".to_owned(),
        Target::Prepared(name) => format!("X {name}"),
        Target::Node(node) => format!("N{node}"),
    };
    let reason = route.reason.to_string();
    assert!(!reason.is_empty(), "{:?} has no text", route.reason);
    let write = match route.write {
        Write::No => "",
        Write::State => " s",
        Write::Known => " w",
        Write::Opaque => " W",
    };
    let after = if route.after > 0 { format!(" after {}", route.after) } else { String::new() };
    format!("{target}{write}{after} | {reason}")
}

fn route_in(text: &str, session: &SessionView<'_>, cluster: &ClusterView, config: &RouteConfig) -> String {
    show(decide(&facts(text), text.as_bytes(), session, cluster, config, &TestCatalog))
}

/// Checks every row and shows all that differ at once.
fn check(session: &SessionView<'_>, config: &RouteConfig, rows: &[(&str, &str)]) {
    let wrong: Vec<_> = rows
        .iter()
        .map(|(text, expected)| (text, route_in(text, session, &cluster(), config), expected))
        .filter(|(_, got, expected)| got != *expected)
        .map(|(text, got, expected)| format!("{text}\n     got {got}\n  wanted {expected}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn with(change: impl FnOnce(&mut RouteConfig)) -> RouteConfig {
    let mut config = RouteConfig::default();
    change(&mut config);
    config
}

fn patterns(items: &[&str]) -> PatternList {
    PatternList::new(items).unwrap()
}

const READ: &str = "B | read";
const LETTER: &str = "P w | does not begin like a read (allow_sql_comments is off)";
const MODIFIES: &str = "P w | changes data inside a query";
const LOCKS: &str = "P w | locks rows";
const CONTROL: &str = "E | transaction control";
const STATE: &str = "E s | changes the state of the session";
const REFUSED: &str = "P s | a standby refuses this setting";
const DDL: &str = "P w | DDL runs on the primary";
/// It is there for EXPLAIN, CREATE TABLE AS and functions; where it is executed, it is prepared then.
const PREPARE: &str = "P s | PREPARE runs on the primary";
const DDL_OF_ANY: &str = "P W | DDL runs on the primary";
const SEVERAL: &str = "P | several statements in one query";
const SEVERAL_W: &str = "P w | several statements in one query";

#[test]
fn reads_outside_a_transaction() {
    check(
        &idle(),
        &RouteConfig::default(),
        &[
            ("SELECT 1", READ),
            ("select 1", READ),
            ("  \n\tSELECT 1", READ),
            ("SELECT 1;", READ),
            ("(SELECT 1)", READ),
            ("TABLE t", READ),
            ("WITH c AS (SELECT 1) SELECT * FROM c", READ),
            ("SELECT * FROM t JOIN s.u USING (x) WHERE f(x) > 1", READ),
            ("SELECT 1 UNION SELECT 2 FROM t", READ),
            ("SELECT now(), count(*) FROM t", READ),
            ("SELECT 'x'::regclass", READ),
            ("SELECT 1 /* a comment inside */", READ),
            ("SELECT 1 -- behind", READ),
            ("SELECT * FROM t WHERE x = $1", READ),
            ("COPY t TO STDOUT", READ),
            ("COPY (SELECT f(x) FROM t) TO STDOUT", READ),
            ("SHOW work_mem", READ),
            ("SHOW ALL", READ),
            ("PREPARE p AS SELECT 1", PREPARE),
            ("  PREPARE p AS SELECT * FROM t", PREPARE),
            // The text test of allow_sql_comments = off; as in pgpool-II.
            ("/*NO LOAD BALANCE*/ SELECT 1", LETTER),
            ("/* any comment */ SELECT 1", LETTER),
            ("-- any comment\nSELECT 1", LETTER),
            ("/*NO LOAD BALANCE*/ COPY t TO STDOUT", LETTER),
            ("/*NO LOAD BALANCE*/ PREPARE p AS SELECT 1", PREPARE),
            ("/*x*/ SHOW work_mem", LETTER),
            ("VALUES (1)", READ),
            ("/*x*/ VALUES (1)", LETTER),
            // Locks and writes inside queries.
            ("SELECT * FROM t FOR UPDATE", LOCKS),
            ("SELECT * FROM t FOR NO KEY UPDATE", LOCKS),
            ("SELECT * FROM t FOR SHARE", LOCKS),
            ("SELECT * FROM t FOR KEY SHARE SKIP LOCKED", LOCKS),
            ("SELECT * FROM (SELECT * FROM t FOR UPDATE) x", LOCKS),
            ("WITH c AS (SELECT * FROM t FOR SHARE) SELECT * FROM c", LOCKS),
            ("PREPARE p AS SELECT * FROM t FOR UPDATE", PREPARE),
            ("SELECT * INTO n FROM t", MODIFIES),
            ("SELECT * INTO TEMP n FROM t", MODIFIES),
            ("WITH c AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM c", MODIFIES),
            ("WITH c AS (UPDATE t SET x = 1 RETURNING *) SELECT * FROM c", MODIFIES),
            ("WITH c AS (DELETE FROM t RETURNING *) TABLE c", MODIFIES),
            ("COPY (DELETE FROM t RETURNING *) TO STDOUT", MODIFIES),
            // Nothing at all.
            ("", "B | empty query"),
            (";", "B | empty query"),
            ("/* x */", "B | empty query"),
        ],
    );
}

#[test]
fn relations_that_only_the_primary_has_or_knows() {
    check(
        &idle(),
        &RouteConfig::default(),
        &[
            ("SELECT * FROM pg_class", "P | reads system catalog pg_class"),
            ("SELECT * FROM pg_catalog.pg_class", "P | reads system catalog pg_catalog.pg_class"),
            ("SELECT * FROM t, pg_stat_activity", "P | reads system catalog pg_stat_activity"),
            ("SELECT (SELECT relname FROM pg_class LIMIT 1)", "P | reads system catalog pg_class"),
            ("COPY pg_class TO STDOUT", "P | reads system catalog pg_class"),
            ("COPY (SELECT * FROM pg_class) TO STDOUT", "P | reads system catalog pg_class"),
            ("TABLE pg_settings", "P | reads system catalog pg_settings"),
            ("PREPARE p AS TABLE pg_class", PREPARE),
            ("SELECT * FROM s.pg_class", READ),
            ("SELECT * FROM pgbench_accounts", READ),
            ("WITH pg_class AS (SELECT 1) SELECT * FROM pg_class", READ),
            ("SELECT * FROM information_schema.tables", "P | reads system catalog information_schema.tables"),
            ("SELECT pg_relation_size('t')", READ),
            ("SELECT * FROM temp", "P | reads temporary table temp"),
            ("SELECT * FROM t WHERE x IN (TABLE temp)", "P | reads temporary table temp"),
            ("COPY temp TO STDOUT", "P | reads temporary table temp"),
            ("SELECT * FROM pg_temp.other", "P | reads temporary table pg_temp.other"),
            ("SELECT * FROM pg_temp_3.other", "P | reads temporary table pg_temp_3.other"),
            ("WITH temp AS (SELECT 1) SELECT * FROM temp", READ),
            ("SELECT * FROM unlogged", "P | reads unlogged table unlogged"),
            // A standby knows a value that may be 32 ahead.
            ("SELECT last_value FROM seq", "P | reads sequence seq"),
            ("SELECT * FROM t, s.unlogged", "P | reads unlogged table s.unlogged"),
            ("COPY unlogged TO STDOUT", "P | reads unlogged table unlogged"),
            ("SELECT * FROM pg_class, temp, unlogged", "P | reads system catalog pg_class"),
            ("SELECT * FROM unlogged, temp", "P | reads unlogged table unlogged"),
        ],
    );
    check(
        &idle(),
        &with(|c| (c.check_temp, c.check_unlogged) = (CheckTemp::None, false)),
        &[
            ("SELECT * FROM temp", READ),
            ("SELECT * FROM unlogged", READ),
            // It may be a view.
            ("SELECT * FROM ask", "ask relation ask"),
            ("SELECT * FROM pg_temp.x", "P | reads temporary table pg_temp.x"),
        ],
    );
}

#[test]
fn views_are_seen_through() {
    let row = |view: &str, expected: &str| (format!("SELECT * FROM {view}"), expected.to_owned());
    let rows = [
        row("view_plain", READ),
        row("view_self", READ),
        row("view_vol", "P W | view view_vol: function vol is volatile"),
        row("view_random", "P w | view view_random: function random is volatile"),
        row("view_unl", "P | view view_unl: reads unlogged table s.unlogged"),
        row("view_catalog", "P | view view_catalog: reads system catalog pg_class"),
        row("view_temp", "P | view view_temp: reads temporary table temp"),
        row("view_lock", "P | view view_lock: locks rows"),
        row("view_view", "P | view view_unl: reads unlogged table s.unlogged"),
        row("view_broken", "P | view view_broken: not understood, so treated as a write"),
        row("view_ask", "ask relation ask_t, function ask"),
        row("view_vol, view_unl", "P W | view view_unl: reads unlogged table s.unlogged"),
        (
            "COPY view_unl TO STDOUT".to_owned(),
            "P | view view_unl: reads unlogged table s.unlogged".to_owned(),
        ),
        (
            "COPY (TABLE view_vol) TO STDOUT".to_owned(),
            "P W | view view_vol: function vol is volatile".to_owned(),
        ),
    ];
    let rows: Vec<(&str, &str)> =
        rows.iter().map(|(text, expected)| (text.as_str(), expected.as_str())).collect();
    check(&idle(), &RouteConfig::default(), &rows);
    check(
        &idle(),
        &with(|c| c.check_unlogged = false),
        &[("TABLE view_unl", READ), ("TABLE unlogged", READ), ("TABLE view_vol", rows[2].1)],
    );
}

#[test]
fn temporary_tables_that_nobody_has_seen_created() {
    let unsure = || SessionView { has_temp: &|name| (*name.name == *"temp").then_some(true), ..idle() };
    check(
        &unsure(),
        &RouteConfig::default(),
        &[
            ("TABLE temp", "P | reads temporary table temp"),
            ("TABLE t", "ask temporary"),
            ("SELECT ask() FROM ask_t", "ask temporary, relation ask_t, function ask"),
            ("SELECT 1", READ),
            ("TABLE pg_class", "P | reads system catalog pg_class"),
            ("TABLE pg_temp.x", "P | reads temporary table pg_temp.x"),
        ],
    );
    check(&unsure(), &with(|c| c.check_temp = CheckTemp::Trace), &[("TABLE t", READ)]);
    check(&unsure(), &with(|c| c.check_temp = CheckTemp::None), &[("TABLE t", READ), ("TABLE temp", READ)]);
}

#[test]
fn functions_by_volatility() {
    check(
        &idle(),
        &RouteConfig::default(),
        &[
            ("SELECT nextval('s')", "P w | function nextval is volatile"),
            ("SELECT NEXTVAL('s')", "P w | function nextval is volatile"),
            ("SELECT pg_catalog.nextval('s')", "P w | function pg_catalog.nextval is volatile"),
            ("SELECT s.vol(1)", "P W | function s.vol is volatile"),
            ("SELECT * FROM vol(1)", "P W | function vol is volatile"),
            ("SELECT * FROM t WHERE x = (SELECT vol())", "P W | function vol is volatile"),
            ("SELECT f(g(vol()))", "P W | function vol is volatile"),
            ("SELECT 1 FROM t ORDER BY random()", "P w | function random is volatile"),
            ("SELECT 1 LIMIT vol()", "P W | function vol is volatile"),
            ("WITH c AS (SELECT vol()) SELECT * FROM c", "P W | function vol is volatile"),
            ("PREPARE p AS SELECT vol()", PREPARE),
            // pgpool-II does not look at functions here.
            ("COPY (SELECT vol()) TO STDOUT", "P W | function vol is volatile"),
            // Not volatile, and still refused by a standby (pgpool-II balances them).
            ("SELECT txid_current()", "P w | function txid_current fails on a standby"),
            ("SELECT pg_current_xact_id()", "P w | function pg_current_xact_id fails on a standby"),
            ("SELECT pg_catalog.txid_current()", "P w | function pg_catalog.txid_current fails on a standby"),
            ("SELECT pg_walfile_name('0/0')", "P w | function pg_walfile_name fails on a standby"),
            ("SELECT my.txid_current()", READ),
            ("SELECT txid_current_if_assigned()", READ),
            ("SELECT lower('A'), now(), current_timestamp", READ),
            ("SELECT * FROM temp WHERE vol()", "P W | reads temporary table temp"),
            ("SELECT vol() FROM pg_class", "P W | reads system catalog pg_class"),
        ],
    );
}

#[test]
fn functions_that_tell_of_their_node_are_asked_on_the_primary() {
    let of = |name: &str| format!("P | function {name} tells of the node that it runs on");
    check(
        &idle(),
        &RouteConfig::default(),
        &[
            ("SELECT pg_my_temp_schema()", &of("pg_my_temp_schema")),
            ("SELECT * FROM pg_catalog.pg_listening_channels()", &of("pg_catalog.pg_listening_channels")),
            ("SELECT pg_stat_get_live_tuples(1)", &of("pg_stat_get_live_tuples")),
            ("SELECT my.pg_my_temp_schema()", READ),
        ],
    );
}

#[test]
fn what_mentions_a_temporary_table_goes_where_that_is() {
    let mentions = SessionView { mentions_temp: &|text| Some(text.ends_with(b"'temp'::regclass")), ..idle() };
    let reason = "P | mentions a temporary table or type of the session";
    let config = RouteConfig::default();
    check(&mentions, &config, &[("SELECT 'temp'::regclass", reason), ("SELECT 'other'::regclass", READ)]);
    let has = || SessionView { has_any_temp: true, ..idle() };
    let may = "P | function reads may read the session's temporary tables";
    check(&has(), &config, &[("SELECT reads()", may), ("SELECT lower('A')", READ), ("TABLE t", READ)]);
    let unsure = SessionView { mentions_temp: &|_| None, ..idle() };
    check(&unsure, &config, &[("SELECT 1", "ask temporary")]);
    check(&unsure, &with(|c| c.check_temp = CheckTemp::Trace), &[("SELECT 1", READ)]);
}

#[test]
fn a_signal_goes_to_the_node_of_its_process() {
    let there = "N2 | process 7 runs on that node";
    let rows = [
        ("SELECT pg_terminate_backend(7)", there),
        ("SELECT pg_catalog.pg_cancel_backend(7)", there),
        ("SELECT pg_terminate_backend(7, 1000)", there),
        // Not known, not a constant, somebody else's function.
        ("SELECT pg_terminate_backend(8)", READ),
        ("SELECT pg_terminate_backend(pid) FROM t", READ),
        ("SELECT my.pg_terminate_backend(7)", READ),
    ];
    check(&idle(), &RouteConfig::default(), &rows);
}

#[test]
fn functions_by_list() {
    check(
        &idle(),
        &with(|c| c.functions.write = patterns(&["nextval", "put_.*", "s\\.only"])),
        &[
            ("SELECT nextval('s')", "P W | function nextval is in write_function_list"),
            ("SELECT pg_catalog.nextval('s')", "P W | function pg_catalog.nextval is in write_function_list"),
            ("SELECT \"PUT_IT\"()", "P W | function PUT_IT is in write_function_list"),
            ("SELECT input_it()", READ),
            ("SELECT s.only()", "P W | function s.only is in write_function_list"),
            ("SELECT only_()", READ),
            ("SELECT r.only()", READ),
            ("SELECT vol()", READ),
            ("SELECT ask()", READ),
            ("SELECT txid_current()", "P w | function txid_current fails on a standby"),
        ],
    );
    check(
        &idle(),
        &with(|c| {
            c.functions.read_only = patterns(&["get_.*", "count", "vol"]);
            c.functions.write = patterns(&["get_and_set"]);
        }),
        &[
            ("SELECT get_it()", READ),
            ("SELECT count(*) FROM t", READ),
            ("SELECT vol()", READ),
            ("SELECT get_and_set()", READ),
            ("SELECT now()", "P W | function now is not in read_only_function_list"),
            ("SELECT get_it(), ask()", "P W | function ask is not in read_only_function_list"),
            ("SELECT 1", READ),
        ],
    );
}

#[test]
fn what_only_the_catalog_knows_is_asked_all_at_once() {
    let rows = [
        ("SELECT ask()", "ask function ask"),
        ("SELECT s.ask(), ask2(ask())", "ask function s.ask, function ask2, function ask"),
        ("SELECT * FROM ask_t", "ask relation ask_t"),
        ("SELECT ask() FROM ask_t, t, s.ask_u", "ask relation ask_t, relation s.ask_u, function ask"),
        ("COPY (SELECT ask()) TO STDOUT", "ask function ask"),
        ("COPY ask_t TO STDOUT", "ask relation ask_t"),
        ("PREPARE p AS SELECT ask()", PREPARE),
        ("SELECT * FROM information_schema.ask", "P | reads system catalog information_schema.ask"),
        // What is decided already needs no answer.
        ("SELECT * FROM ask_t, temp", "P | reads temporary table temp"),
        ("SELECT * FROM ask_t, unlogged", "P | reads unlogged table unlogged"),
        ("SELECT ask(), vol()", "P W | function vol is volatile"),
        ("SELECT vol() FROM ask_t", "P W | function vol is volatile"),
        ("SELECT ask() FOR UPDATE", "P W | locks rows"),
        ("/*x*/ SELECT ask()", "P W | does not begin like a read (allow_sql_comments is off)"),
        ("INSERT INTO ask_t VALUES (ask())", "P w | INSERT runs on the primary"),
        // The target is clear, but not whether the reads that follow see a write.
        ("SELECT ask() FROM temp", "ask function ask"),
    ];
    check(&idle(), &RouteConfig::default(), &rows);
    check(&in_tx(), &RouteConfig::default(), &rows);
    check(
        &idle(),
        &with(|c| c.on_write = OnWrite::Off),
        &[("SELECT ask() FROM temp", "P W | reads temporary table temp")],
    );
    check(
        &wrote(),
        &RouteConfig::default(),
        &[("SELECT ask() FROM ask_t", "P W | the transaction has written")],
    );
    check(
        &idle(),
        &with(|c| c.load_balance = false),
        &[("SELECT ask() FROM ask_t", "P | load_balance_mode is off")],
    );
}

#[test]
fn what_the_primary_alone_can_do() {
    let rows = [
        ("INSERT INTO t VALUES (1)", "P w | INSERT runs on the primary"),
        ("WITH c AS (SELECT 1) INSERT INTO t TABLE c", "P w | INSERT runs on the primary"),
        ("UPDATE t SET x = 1", "P w | UPDATE runs on the primary"),
        ("DELETE FROM t", "P w | DELETE runs on the primary"),
        ("MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", "P w | MERGE runs on the primary"),
        ("TRUNCATE t", "P w | TRUNCATE runs on the primary"),
        ("COPY t FROM STDIN", "P w | COPY FROM runs on the primary"),
        ("COPY t TO '/tmp/x'", "P w | COPY to a file runs on the primary"),
        ("COPY (SELECT 1) TO PROGRAM 'x'", "P w | COPY to a file runs on the primary"),
        ("PREPARE p AS INSERT INTO t VALUES (1)", PREPARE),
        ("PREPARE TRANSACTION 'x'", "P s | PREPARE TRANSACTION runs on the primary"),
        ("COMMIT PREPARED 'x'", "P W | COMMIT PREPARED runs on the primary"),
        ("ROLLBACK PREPARED 'x'", "P s | ROLLBACK PREPARED runs on the primary"),
        ("SET CONSTRAINTS ALL DEFERRED", "P s | SET CONSTRAINTS runs on the primary"),
        ("EXPLAIN SELECT 1", "P s | EXPLAIN runs on the primary"),
        ("EXPLAIN ANALYZE SELECT 1", "P s | EXPLAIN runs on the primary"),
        ("EXPLAIN ANALYZE UPDATE t SET x = 1", "P w | EXPLAIN runs on the primary"),
        ("DECLARE c CURSOR FOR SELECT 1", "P s | DECLARE runs on the primary"),
        ("FETCH 1 FROM c", "P w | FETCH runs on the primary"),
        ("MOVE 1 FROM c", "P w | FETCH runs on the primary"),
        ("CLOSE c", "P s | CLOSE runs on the primary"),
        ("LISTEN x", "P s | LISTEN runs on the primary"),
        ("UNLISTEN x", "P s | UNLISTEN runs on the primary"),
        ("NOTIFY x", "P s | NOTIFY runs on the primary"),
        ("LOCK t", "P s | LOCK runs on the primary"),
        ("LOCK t IN ROW EXCLUSIVE MODE", "P s | LOCK runs on the primary"),
        ("LOCK t IN SHARE MODE", "P s | LOCK runs on the primary"),
        ("CALL p()", "P W | CALL runs on the primary"),
        ("DO 'x'", "P W | DO runs on the primary"),
        ("VACUUM", "P s | VACUUM runs on the primary"),
        ("ANALYZE t", "P s | VACUUM runs on the primary"),
        ("CHECKPOINT", "P s | CHECKPOINT runs on the primary"),
        ("LOAD 'x'", "P W | this command runs on the primary"),
        ("CREATE TABLE t (x int)", DDL),
        ("CREATE TABLE t AS SELECT 1", DDL),
        ("CREATE TEMP TABLE t (x int)", DDL),
        ("DROP TABLE t", DDL),
        ("CREATE VIEW v AS SELECT 1", DDL),
        ("GRANT SELECT ON t TO u", DDL_OF_ANY),
        ("CREATE DATABASE d", DDL_OF_ANY),
    ];
    check(&idle(), &RouteConfig::default(), &rows);
    check(&in_tx(), &RouteConfig::default(), &rows);
    check(&wrote(), &with(|c| c.load_balance = false), &rows);
}

#[test]
fn what_every_node_of_the_session_must_see() {
    let rows = [
        ("BEGIN", CONTROL),
        ("START TRANSACTION", CONTROL),
        ("BEGIN READ WRITE", CONTROL),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", CONTROL),
        ("/* x */ BEGIN", CONTROL),
        ("COMMIT", CONTROL),
        ("END", CONTROL),
        ("ROLLBACK", CONTROL),
        ("ABORT", CONTROL),
        ("COMMIT AND CHAIN", CONTROL),
        ("ROLLBACK TO s", CONTROL),
        // Counted as writes by pgpool-II.
        ("SAVEPOINT s", "E s | transaction control"),
        ("RELEASE s", "E s | transaction control"),
        ("SET work_mem = '1MB'", STATE),
        ("SET LOCAL work_mem = '1MB'", STATE),
        ("SET search_path TO x", STATE),
        ("SET ROLE r", STATE),
        ("SET SESSION AUTHORIZATION r", STATE),
        ("SET TIME ZONE 'UTC'", STATE),
        ("SET work_mem TO DEFAULT", STATE),
        ("RESET work_mem", STATE),
        ("RESET ALL", STATE),
        ("DISCARD ALL", STATE),
        ("DISCARD TEMP", STATE),
        ("DEALLOCATE ALL", STATE),
        ("SET TRANSACTION READ ONLY", "E | changes the state of the session"),
        ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", STATE),
        (
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            "E | changes the state of the session",
        ),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "E | changes the state of the session"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED", STATE),
        ("SET transaction_read_only = on", STATE),
        ("SET default_transaction_isolation = 'read committed'", STATE),
        // A standby would refuse these.
        ("SET transaction_read_only = off", REFUSED),
        ("SET transaction_read_only TO false", REFUSED),
        ("SET transaction_read_only = 0", REFUSED),
        ("SET TRANSACTION READ WRITE", REFUSED),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", REFUSED),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY", "P | a standby refuses this setting"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", REFUSED),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", REFUSED),
        ("SET transaction_isolation = 'SERIALIZABLE'", REFUSED),
        ("SET default_transaction_isolation TO serializable", REFUSED),
        ("SET TRANSACTION SNAPSHOT '00000003-1'", REFUSED),
        ("LOCK t IN ACCESS SHARE MODE", "E s | lock that a standby accepts"),
        ("LOCK t IN ROW SHARE MODE", "E s | lock that a standby accepts"),
        ("EXECUTE p", "X p | where it was prepared"),
        ("EXECUTE \"P\" (1, 'x')", "X P | where it was prepared"),
        ("DEALLOCATE p", "X p | where it was prepared"),
    ];
    check(&idle(), &RouteConfig::default(), &rows);
    check(&in_tx(), &RouteConfig::default(), &rows);
    check(&wrote(), &RouteConfig::default(), &rows);
}

#[test]
fn several_statements_and_what_is_not_understood() {
    check(
        &idle(),
        &RouteConfig::default(),
        &[
            ("SELECT 1; SELECT 2", SEVERAL),
            ("SELECT 1;;", READ),
            ("BEGIN; SELECT 1", SEVERAL),
            ("BEGIN; COMMIT", SEVERAL),
            ("BEGIN; INSERT INTO t VALUES (1)", SEVERAL_W),
            ("SELECT 1; SELECT vol()", "P W | several statements in one query"),
            ("SELECT 1; SELECT ask()", "P W | several statements in one query"),
            ("SELECT 1; SELECT 1 FOR UPDATE", SEVERAL_W),
            ("SELECT 1; PREPARE p AS DELETE FROM t", "P s | several statements in one query"),
            ("SET x.y = 1; SELECT 1", "P s | several statements in one query"),
            ("SELEC 1", "P W | not understood, so treated as a write"),
            ("SELECT 1 FROM", "P W | not understood, so treated as a write"),
            ("PGPOOL SHOW x", "P W | not understood, so treated as a write"),
        ],
    );
    let deep = format!("SELECT {}", vec!["1"; 50_000].join("+"));
    let long = format!("SELECT '{}'", "x".repeat(crate::sql::MAX_TEXT));
    check(
        &idle(),
        &RouteConfig::default(),
        &[
            (&deep, "P W | nested too deep, so treated as a write"),
            (&long, "P W | too long to parse, so treated as a write"),
        ],
    );
    let text = b"SELECT '\xe9'";
    let facts = crate::sql::Cache::new(1).get(text);
    let decision = decide(&facts, text, &idle(), &cluster(), &RouteConfig::default(), &TestCatalog);
    assert_eq!(show(decision), "P W | not UTF-8, so treated as a write");
}

#[test]
fn reads_inside_a_transaction() {
    let config = RouteConfig::default();
    let read =
        [("SELECT 1", READ), ("SHOW work_mem", READ), ("COPY t TO STDOUT", READ), ("", "B | empty query")];
    check(&in_tx(), &config, &read);
    check(
        &in_tx(),
        &config,
        &[
            ("SELECT vol()", "P W | function vol is volatile"),
            ("TABLE temp", "P | reads temporary table temp"),
        ],
    );
    let after_write = [
        ("SELECT 1", "P | the transaction has written"),
        ("SHOW work_mem", "P | the transaction has written"),
        ("COPY t TO STDOUT", "P | the transaction has written"),
        ("PREPARE p AS SELECT 1", PREPARE),
        ("SELECT vol()", "P W | the transaction has written"),
        ("SELECT * FROM pg_class", "P | the transaction has written"),
        ("SELECT 1 FOR UPDATE", LOCKS),
        ("", "B | empty query"),
    ];
    check(&wrote(), &config, &after_write);
    check(
        &SessionView { serializable: true, ..in_tx() },
        &config,
        &[
            ("SELECT 1", "P | the transaction is serializable"),
            ("SELECT vol()", "P W | the transaction is serializable"),
            ("COMMIT", CONTROL),
        ],
    );
    // With default_transaction_isolation.
    let serializable = SessionView { serializable: true, ..idle() };
    check(&serializable, &config, &[("SELECT 1", "P | the transaction is serializable"), ("BEGIN", CONTROL)]);
    check(
        &SessionView { tx_failed: true, ..in_tx() },
        &config,
        &[("SELECT 1", "P | the transaction has failed"), ("ROLLBACK", CONTROL), ("ROLLBACK TO s", CONTROL)],
    );
    // Begun inside a string of several statements: pgpool-II sends these reads to the standby, outside the
    // transaction that they belong to.
    check(
        &SessionView { tx_primary_only: true, ..in_tx() },
        &config,
        &[
            ("SELECT 1", "P | the transaction is open on the primary only"),
            ("SELECT vol()", "P W | the transaction is open on the primary only"),
            ("", "P | the transaction is open on the primary only"),
            ("COMMIT", "P | the transaction is open on the primary only"),
            ("ROLLBACK", "P | the transaction is open on the primary only"),
            ("SAVEPOINT s", "P s | the transaction is open on the primary only"),
            ("SET x.y = 1", "P s | the transaction is open on the primary only"),
            ("INSERT INTO t VALUES (1)", "P w | INSERT runs on the primary"),
        ],
    );
}

#[test]
fn the_memory_of_writes_by_disable_load_balance_on_write() {
    let on = |on_write| with(|c| c.on_write = on_write);
    let earlier = || SessionView { trans_wrote: true, ever_wrote: true, ..in_tx() };
    let autocommit = || SessionView { ever_wrote: true, ..idle() };
    let tx = "P | the transaction has written";
    let trans = "P | an earlier transaction of the session has written";
    let always = "P | the session has written";
    let table = [
        // on_write, after a write in this transaction, in a later transaction, outside one after a write
        (OnWrite::Off, READ, READ, READ),
        (OnWrite::Transaction, tx, READ, READ),
        (OnWrite::TransTransaction, tx, trans, READ),
        (OnWrite::Always, always, always, always),
        // With no table remembered.
        (OnWrite::DmlAdaptive, READ, READ, READ),
        (OnWrite::DmlAdaptiveGlobal, READ, READ, READ),
    ];
    for (on_write, now, later, outside) in table {
        check(&wrote(), &on(on_write), &[("SELECT 1", now)]);
        check(&earlier(), &on(on_write), &[("SELECT 1", later)]);
        check(&autocommit(), &on(on_write), &[("SELECT 1", outside)]);
        check(&SessionView { trans_wrote: true, ..autocommit() }, &on(on_write), &[("SELECT 1", outside)]);
        check(&in_tx(), &on(on_write), &[("SELECT 1", READ)]);
        check(&idle(), &on(on_write), &[("SELECT 1", READ)]);
    }
}

#[test]
fn dml_adaptive_keeps_the_reads_of_written_tables() {
    let written = [Name::new(None, "one"), Name::new(Some("s"), "two")];
    let session = || SessionView { written: &written, ..wrote() };
    let config = || with(|c| c.on_write = OnWrite::DmlAdaptive);
    check(
        &session(),
        &config(),
        &[
            ("SELECT * FROM t", READ),
            ("SELECT * FROM one", "P | the transaction has written table one"),
            ("SELECT * FROM t, x.one", "P | the transaction has written table x.one"),
            ("SELECT * FROM two", "P | the transaction has written table two"),
            ("SELECT * FROM x.two", READ),
            ("WITH one AS (SELECT 1) TABLE one", READ),
            ("SELECT (SELECT max(x) FROM one)", "P | the transaction has written table one"),
            ("COPY one TO STDOUT", "P | the transaction has written table one"),
            ("INSERT INTO t VALUES (f())", "P w | INSERT runs on the primary"),
            ("INSERT INTO t VALUES (vol())", "P W | INSERT runs on the primary"),
            ("INSERT INTO t VALUES (nextval('s'))", "P w | INSERT runs on the primary"),
            // What it writes besides must be known for the reads that follow.
            ("INSERT INTO t VALUES (ask())", "ask function ask"),
            // A trigger, a cascade, a partition.
            ("INSERT INTO wide VALUES (1)", "P W | INSERT runs on the primary"),
            ("TRUNCATE t, wide", "P W | TRUNCATE runs on the primary"),
            ("UPDATE ask_t SET x = ask()", "ask function ask, relation ask_t"),
            ("WITH c AS (DELETE FROM wide RETURNING *) TABLE c", "P W | changes data inside a query"),
            ("WITH c AS (DELETE FROM t RETURNING *) TABLE c", "P w | changes data inside a query"),
            ("DO 'x'", "P W | DO runs on the primary"),
            ("SAVEPOINT a", "E s | transaction control"),
        ],
    );
    let opaque = || SessionView { tx_wrote: Write::Opaque, ..session() };
    check(&opaque(), &config(), &[("SELECT * FROM t", "P | the transaction has written")]);
    check(&SessionView { written: &written, ..idle() }, &config(), &[("SELECT * FROM one", READ)]);
    let relationships =
        Relationships::new(&crate::config::relationships("vol_known():one,wide_known:two").unwrap());
    let known = with(|c| (c.on_write, c.relationships) = (OnWrite::DmlAdaptive, relationships));
    check(
        &in_tx(),
        &known,
        &[
            ("SELECT vol_known()", "P w | function vol_known is volatile"),
            ("SELECT vol_known(), vol()", "P W | function vol_known is volatile"),
            ("INSERT INTO wide_known VALUES (1)", "P w | INSERT runs on the primary"),
            ("UPDATE t SET x = vol_known()", "P w | UPDATE runs on the primary"),
        ],
    );
}

#[test]
fn dml_adaptive_global_keeps_the_reads_of_what_anybody_has_written_lately() {
    let config = with(|c| c.on_write = OnWrite::DmlAdaptiveGlobal);
    for session in [idle(), in_tx()] {
        check(
            &session,
            &config,
            &[
                ("TABLE t", READ),
                ("TABLE late", "P | table late was written a short while ago"),
                (
                    "SELECT * FROM t WHERE x IN (TABLE s.late)",
                    "P | table s.late was written a short while ago",
                ),
                ("SELECT 1", READ),
            ],
        );
    }
    let all = SessionView { writes: &TestWrites { all: true }, ..idle() };
    let lately = "P | some tables were written a short while ago, or all of this has just begun";
    check(&all, &config, &[("TABLE t", lately), ("SELECT 1", lately)]);
    check(&all, &RouteConfig::default(), &[("TABLE late", READ)]);
}

#[test]
fn a_read_says_which_commits_it_must_see() {
    let config = with(|c| c.read_after_write = ReadAfterWrite::Global);
    check(
        &idle(),
        &config,
        &[
            ("SELECT 1", READ),
            ("SELECT lower('A')", READ),
            ("TABLE t", "B after 1 | read"),
            ("SELECT * FROM t, late", "B after 5 | read"),
            // A function of the user's may read any table.
            ("SELECT reads()", "B after 9 | read"),
            ("TABLE view_plain", "B after 1 | read"),
        ],
    );
    check(&idle(), &RouteConfig::default(), &[("TABLE late", READ), ("SELECT reads()", READ)]);
    // What a listed function reads nobody knows, nor what a view does that is not looked into.
    let any = "B after 9 | read";
    let functions = |lists: FunctionLists| RouteConfig { functions: lists, ..config.clone() };
    let get = || patterns(&["get_.*"]);
    let read_only = functions(FunctionLists { read_only: get(), ..FunctionLists::default() });
    check(&idle(), &read_only, &[("SELECT get_it()", any), ("TABLE t", "B after 1 | read")]);
    let write = functions(FunctionLists { write: get(), ..FunctionLists::default() });
    check(&idle(), &write, &[("SELECT other()", any), ("TABLE t", "B after 1 | read")]);
    check(
        &idle(),
        &RouteConfig { quirks: true, ..config.clone() },
        &[("TABLE view_plain", any), ("COPY (TABLE t) TO STDOUT", any)],
    );
}

#[test]
fn parameters_about_the_text() {
    check(
        &idle(),
        &with(|c| c.allow_sql_comments = true),
        &[
            ("/*NO LOAD BALANCE*/ SELECT 1", READ),
            ("-- x\nSELECT 1", READ),
            ("VALUES (1)", READ),
            ("/* x */ SELECT vol()", "P W | function vol is volatile"),
            ("/* x */ INSERT INTO t VALUES (1)", "P w | INSERT runs on the primary"),
        ],
    );
    check(
        &idle(),
        &with(|c| c.ignore_leading_white_space = false),
        &[("SELECT 1", READ), (" SELECT 1", LETTER), ("\nSELECT 1", LETTER)],
    );
    let matched = "P | matches primary_routing_query_pattern_list";
    check(
        &idle(),
        &with(|c| c.primary_routing = patterns(&[".*orders.*", "SELECT 1"])),
        &[
            ("SELECT * FROM orders", matched),
            ("SELECT *\nFROM ORDERS", matched),
            ("select 1", matched),
            ("SELECT 10", READ),
            ("COPY orders TO STDOUT", matched),
            ("SELECT vol() FROM orders", "P W | matches primary_routing_query_pattern_list"),
            ("SELECT * FROM temp, orders", "P | reads temporary table temp"),
            ("BEGIN /* orders */", CONTROL),
        ],
    );
}

#[test]
fn modes_that_do_not_balance() {
    let off = "P | load_balance_mode is off";
    check(
        &idle(),
        &with(|c| c.load_balance = false),
        &[
            ("SELECT 1", off),
            ("SELECT vol()", off),
            ("SHOW work_mem", off),
            ("COPY t TO STDOUT", off),
            ("", off),
            ("BEGIN", off),
            ("COMMIT", off),
            ("SET x.y = 1", "P s | load_balance_mode is off"),
            ("DISCARD ALL", "P s | load_balance_mode is off"),
            ("LOCK t IN ACCESS SHARE MODE", "P s | load_balance_mode is off"),
            ("EXECUTE p", "X p | where it was prepared"),
            ("INSERT INTO t VALUES (1)", "P w | INSERT runs on the primary"),
        ],
    );
    for (mode, reason) in [
        (Mode::Raw, "P W | raw mode uses the main node only"),
        (Mode::NativeReplication, "P W | replication modes use the main node only"),
        (Mode::SnapshotIsolation, "P W | replication modes use the main node only"),
    ] {
        check(
            &idle(),
            &with(|c| c.mode = mode),
            &[
                ("SELECT 1", reason),
                ("INSERT INTO t VALUES (1)", reason),
                ("BEGIN", reason),
                ("", reason),
                ("x", reason),
            ],
        );
    }
    for mode in [Mode::LogicalReplication, Mode::Slony] {
        check(
            &idle(),
            &with(|c| c.mode = mode),
            &[("SELECT 1", READ), ("BEGIN", CONTROL), ("SELECT vol()", "P W | function vol is volatile")],
        );
    }
}

#[test]
fn a_primary_that_is_alone_serves_without_questions() {
    let mut alone = cluster();
    alone.nodes[1].usable = false;
    alone.nodes[2].usable = false;
    let config = RouteConfig::default();
    let route = |text: &str, cluster: &ClusterView| route_in(text, &idle(), cluster, &config);
    assert_eq!(route("SELECT 1", &alone), "P | no other node is usable");
    assert_eq!(route("SELECT ask() FROM ask_t", &alone), "P W | no other node is usable");
    alone.nodes[0].usable = false;
    alone.nodes[1].usable = true;
    assert_eq!(route("SELECT 1", &alone), READ, "the primary is away, a standby still reads");
    alone.primary = None;
    assert_eq!(route("SELECT 1", &alone), READ);
}

#[test]
fn counters_by_class() {
    for (text, class) in [
        ("SELECT 1", CounterClass::Select),
        ("VALUES (1)", CounterClass::Select),
        ("INSERT INTO t VALUES (1)", CounterClass::Insert),
        ("UPDATE t SET x = 1", CounterClass::Update),
        ("DELETE FROM t", CounterClass::Delete),
        ("CREATE TABLE t (x int)", CounterClass::Ddl),
        ("TRUNCATE t", CounterClass::Ddl),
        ("BEGIN", CounterClass::Other),
        ("SET x.y = 1", CounterClass::Other),
        ("COPY t TO STDOUT", CounterClass::Other),
    ] {
        assert_eq!(statement_class(facts(text).single().unwrap()), class, "{text}");
    }
}

mod nodes {
    use super::*;
    use crate::config::RedirectTo;

    #[test]
    fn drawn_in_proportion_to_weight() {
        let config = RouteConfig::default();
        let draw = |cluster: &ClusterView, random| choose(cluster, &config, None, random);
        // Weights 1, 1, 2.
        for (random, node) in
            [(0.0, 0), (0.24, 0), (0.25, 1), (0.49, 1), (0.5, 2), (0.99, 2), (1.0, 2), (7.0, 2)]
        {
            assert_eq!(draw(&cluster(), random), Some(node), "{random}");
        }
        let mut view = cluster();
        view.nodes[0].weight = 0.0;
        assert_eq!(draw(&view, 0.0), Some(1), "weight 0 never serves reads");
        view.nodes[1].usable = false;
        assert_eq!(draw(&view, 0.0), Some(2));
        view.nodes[2].weight = 0.0;
        assert_eq!(draw(&view, 0.5), Some(0), "without any weight the main node serves");
        view.main = None;
        assert_eq!(draw(&view, 0.5), None);
        assert_eq!(draw(&ClusterView::default(), 0.5), None);
        let total = 100_000;
        let hits = (0..total).filter(|n| draw(&cluster(), *n as f64 / total as f64) == Some(2)).count();
        assert_eq!(hits, total / 2);
    }

    fn preferred(cluster: &ClusterView, to: RedirectTo, weight: f64, random: f64) -> Option<NodeId> {
        choose(cluster, &RouteConfig::default(), Some(Preference { to, weight }), random)
    }

    #[test]
    fn a_preference_has_its_share_of_the_draws() {
        use RedirectTo::{Node, Primary, Standby};
        let view = cluster();
        let total = 10_000;
        let shares = |to, weight| {
            let drawn = (0..total).filter_map(|n| preferred(&view, to, weight, n as f64 / total as f64));
            let mut counts = [0; 3];
            drawn.for_each(|node| counts[node] += 1);
            counts.map(|count| (count * 100 + total / 2) / total)
        };
        // Weights 1, 1, 2.
        assert_eq!(shares(Node(1), 1.0), [0, 100, 0]);
        assert_eq!(shares(Node(1), 0.4), [20, 40, 40]);
        assert_eq!(shares(Node(1), 0.0), [33, 0, 67]);
        assert_eq!(shares(Primary, 1.0), [100, 0, 0]);
        assert_eq!(shares(Primary, 0.7), [70, 10, 20]);
        assert_eq!(shares(Standby, 1.0), [0, 33, 67]);
        assert_eq!(shares(Standby, 0.4), [60, 13, 27]);
        assert_eq!(shares(Node(7), 1.0), [25, 25, 50], "there is no such node");
        assert_eq!(preferred(&view, Node(1), 1.0, 1.0), Some(1));
    }

    #[test]
    fn a_preferred_node_that_is_not_usable_is_no_preference() {
        use RedirectTo::{Node, Primary, Standby};
        let mut view = cluster();
        view.nodes[1].usable = false;
        assert_eq!(preferred(&view, Node(1), 1.0, 0.0), Some(0));
        view.nodes[2].usable = false;
        assert_eq!(preferred(&view, Standby, 1.0, 0.0), Some(0));
        assert_eq!(preferred(&view, Node(0), 0.0, 0.5), Some(0), "there is no other");
        (view.nodes[0].usable, view.nodes[2].usable) = (false, true);
        assert_eq!(preferred(&view, Primary, 1.0, 0.0), Some(2));
        assert_eq!(preferred(&view, Standby, 0.0, 0.0), Some(2));
    }

    #[test]
    fn the_application_comes_before_the_database_and_that_before_the_user() {
        let text = "app_name_redirect_preference_list = 'psql:0'\ndatabase_redirect_preference_list = 'd.*:1,db:0'\n\
                    user_redirect_preference_list = 'ann:2(0.5)'";
        let missing = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let loaded = crate::config::parse_text(text, std::path::Path::new("x"), &missing).unwrap();
        let config = RouteConfig::from(&loaded.config);
        let found = |user, database, application| {
            preference(&config, user, database, application).map(|found| (found.to, found.weight))
        };
        assert_eq!(found("ann", "db", "psql"), Some((RedirectTo::Node(0), 1.0)));
        assert_eq!(found("ann", "DB", "other"), Some((RedirectTo::Node(1), 1.0)), "the first that matches");
        assert_eq!(found("ann", "other", ""), Some((RedirectTo::Node(2), 0.5)));
        assert_eq!(found("bob", "other", "psqlx"), None);
    }

    #[test]
    fn not_drawn_where_nothing_is_balanced() {
        let mut view = cluster();
        view.primary = Some(1);
        let off = with(|c| c.load_balance = false);
        assert_eq!(choose(&view, &off, None, 0.99), Some(1));
        view.primary = None;
        assert_eq!(choose(&view, &off, None, 0.99), Some(0));
        assert_eq!(choose(&view, &with(|c| c.mode = Mode::Raw), None, 0.99), Some(0));
    }

    /// Thresholds in bytes and microseconds, lags of nodes 1 and 2, prefer_lower_delay_standby → node, reason.
    #[test]
    fn delay_decides_over_the_session_s_node() {
        let low = Some(10);
        let high = Some(1000);
        let within = "the session's node for reads";
        let over = "replication delay of node 1 is over the threshold";
        let unknown = "replication delay of node 1 is not known";
        let lower = "node 1 is behind, a standby with lower delay serves";
        let table = [
            ((0, 0), (high, high), (low, low), false, 1, within),
            ((0, 0), (None, None), (low, low), true, 1, within),
            ((100, 0), (low, high), (low, low), false, 1, within),
            ((100, 0), (Some(100), None), (low, low), false, 1, within),
            ((100, 0), (Some(101), low), (low, low), false, 0, over),
            ((100, 0), (None, low), (low, low), false, 0, unknown),
            ((0, 100), (high, low), (low, low), false, 1, within),
            ((0, 100), (low, high), (low, low), false, 0, over),
            ((0, 100), (low, None), (low, low), false, 0, unknown),
            ((100, 100), (low, low), (low, low), false, 1, within),
            ((100, 100), (low, high), (low, low), false, 0, over),
            ((100, 100), (high, None), (low, low), false, 0, over),
            ((100, 100), (low, None), (low, low), false, 0, unknown),
            ((100, 0), (high, high), (low, high), true, 2, lower),
            ((100, 0), (None, None), (low, None), true, 2, lower),
            ((100, 0), (high, high), (high, low), true, 0, over),
            ((100, 0), (high, high), (None, low), true, 0, over),
            ((0, 100), (low, high), (high, low), true, 2, lower),
        ];
        for (thresholds, one, two, prefer, expected, reason) in table {
            let config = with(|c| {
                (c.delay_threshold, c.delay_threshold_micros) = thresholds;
                c.prefer_lower_delay_standby = prefer;
            });
            let mut view = cluster();
            (view.nodes[1].lag_bytes, view.nodes[1].lag_micros) = one;
            (view.nodes[2].lag_bytes, view.nodes[2].lag_micros) = two;
            let (node, why) = node_for_read(&view, &config, 1);
            assert_eq!(
                (node, why.to_string().as_str()),
                (expected, reason),
                "{thresholds:?} {one:?} {two:?}"
            );
            // The primary is never behind itself.
            assert_eq!(node_for_read(&view, &config, 0), (0, Reason::BalanceNode));
            let logical = RouteConfig { mode: Mode::LogicalReplication, ..config };
            assert_eq!(node_for_read(&view, &logical, 1), (1, Reason::BalanceNode));
        }
    }

    #[test]
    fn the_least_behind_of_those_that_may_serve() {
        let config = with(|c| (c.delay_threshold, c.prefer_lower_delay_standby) = (100, true));
        let mut view = cluster();
        view.nodes.push(node(3, 1.0));
        view.nodes.push(node(4, 1.0));
        for (id, lag) in [(1, 1000), (2, 50), (3, 20), (4, 30)] {
            view.nodes[id].lag_bytes = Some(lag);
        }
        let chosen = |view: &ClusterView| node_for_read(view, &config, 1).0;
        assert_eq!(chosen(&view), 3);
        view.nodes[3].weight = 0.0;
        assert_eq!(chosen(&view), 4);
        view.nodes[4].usable = false;
        assert_eq!(chosen(&view), 2);
        view.nodes[2].lag_bytes = None;
        assert_eq!(chosen(&view), 0);
    }

    #[test]
    fn a_node_that_is_gone_is_replaced_by_the_primary_or_main_node() {
        let config = RouteConfig::default();
        let mut view = cluster();
        view.nodes[1].usable = false;
        assert_eq!(node_for_read(&view, &config, 1), (0, Reason::NodeUnusable(1)));
        assert_eq!(node_for_read(&view, &config, 9), (0, Reason::NodeUnusable(9)));
        (view.primary, view.main) = (None, Some(2));
        assert_eq!(node_for_read(&view, &config, 1), (2, Reason::NodeUnusable(1)));
        view.main = None;
        assert_eq!(node_for_read(&view, &config, 1), (1, Reason::NodeUnusable(1)));
        assert_eq!(node_for_read(&cluster(), &with(|c| c.mode = Mode::Raw), 2), (0, Reason::RawMode));
    }
}
