//! The rules of routing as `doc/ref/routing.md` states them: each row holds in the library, on real servers through the
//! program, and where Debian's pgpool-II does otherwise, it says so and why.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::LazyLock;

use pgbalancer::cluster::view::{ClusterView, NodeView};
use pgbalancer::route::{
    Catalog, Explanation, Relation, RouteConfig, SessionView, Target, Volatility, Write, explain,
};
use pgbalancer::sql::{Name, facts};

use super::{PGPOOL, node_and_statement};
use crate::harness::balancer::{Conf, Program};
use crate::harness::client::Client;
use crate::harness::{Balancer, Door, shared};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ref/routing.md");

/// What the rows name. `n` is a column of all tables.
const SCHEMA: &str = "
    CREATE TABLE t (n int); INSERT INTO t VALUES (0); CREATE TABLE u (n int); CREATE SCHEMA other;
    CREATE TABLE other.t (n int); CREATE UNLOGGED TABLE unlogged (n int); CREATE TABLE pg_mine (n int);
    CREATE SEQUENCE s; CREATE MATERIALIZED VIEW mv AS SELECT n FROM t;
    CREATE TABLE parts (n int) PARTITION BY LIST (n); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
    CREATE TABLE mixed (n int) PARTITION BY LIST (n);
    CREATE UNLOGGED TABLE mixed_1 PARTITION OF mixed FOR VALUES IN (1);
    CREATE FUNCTION reader() RETURNS int STABLE LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION imm() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION writer() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (3) RETURNING n';
    CREATE FUNCTION other.reader() RETURNS int STABLE LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION other.writer() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (3) RETURNING n';
    CREATE FUNCTION put_it() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION input_it() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION get_it() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE PROCEDURE proc() LANGUAGE sql AS 'INSERT INTO t VALUES (4)';
    CREATE VIEW v AS SELECT n FROM t; CREATE VIEW v_unlogged AS SELECT n FROM unlogged;
    CREATE VIEW v_view AS SELECT v.n FROM v, v_unlogged; CREATE VIEW v_writer AS SELECT writer() AS n;
    CREATE VIEW v_random AS SELECT random() AS n; CREATE VIEW v_catalog AS SELECT count(*) AS n FROM pg_class;
    CREATE EXTENSION postgres_fdw; CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (port '1');
    CREATE USER MAPPING FOR PUBLIC SERVER nowhere; CREATE FOREIGN TABLE far (n int) SERVER nowhere";

/// The schema as the pure rules see it.
struct Described;

impl Catalog for Described {
    fn function(&self, function: &Name) -> Option<Volatility> {
        Some(match (function.schema.as_deref(), &*function.name) {
            (None | Some("other"), "writer")
            | (None, "put_it" | "input_it" | "get_it" | "no_such_function")
            | (Some("nosuch"), _) => Volatility::Volatile,
            (None | Some("other"), "reader") => Volatility::Reads,
            (
                None | Some("pg_catalog"),
                "nextval"
                | "currval"
                | "setval"
                | "lastval"
                | "random"
                | "clock_timestamp"
                | "timeofday"
                | "gen_random_uuid"
                | "pg_advisory_lock"
                | "pg_advisory_xact_lock"
                | "pg_try_advisory_lock"
                | "pg_notify"
                | "set_config"
                | "pg_sleep"
                | "pg_is_in_recovery"
                | "pg_last_wal_replay_lsn"
                | "pg_current_wal_lsn"
                | "lo_create"
                | "pg_relation_size",
            ) => Volatility::Builtin,
            _ => Volatility::Harmless,
        })
    }

    fn relation(&self, relation: &Name) -> Option<Relation> {
        let name = &*relation.name;
        let view = match name {
            "v" => " SELECT t.n FROM t;",
            "v_unlogged" => " SELECT unlogged.n FROM unlogged;",
            "v_view" => " SELECT v.n FROM v, v_unlogged;",
            "v_writer" => " SELECT writer() AS n;",
            "v_random" => " SELECT random() AS n;",
            "v_catalog" => " SELECT count(*) AS n FROM pg_class;",
            _ => "",
        };
        Some(Relation {
            unlogged: matches!(name, "unlogged" | "mixed"),
            catalog: name.starts_with("pg_") && name != "pg_mine",
            sequence: name == "s",
            spreads: false,
            views: (!view.is_empty()).then(|| Rc::new(facts(view))),
        })
    }
}

/// What a session has done before the statement of a row, in SQL and as the rules see it.
struct State {
    name: &'static str,
    before: &'static [&'static str],
    view: SessionView<'static>,
}

static WRITTEN: LazyLock<Vec<Name>> = LazyLock::new(|| vec![Name::new(None, "t")]);

fn idle() -> SessionView<'static> {
    SessionView { balance_node: Some(1), ..SessionView::idle() }
}

fn states() -> Vec<State> {
    let open = || SessionView { in_transaction: true, ..idle() };
    let state = |name, before, view| State { name, before, view };
    let wrote = || SessionView { tx_wrote: Write::Known, written: &WRITTEN, ever_wrote: true, ..open() };
    vec![
        state("idle", &[], idle()),
        state(
            "temporary table",
            &["CREATE TEMP TABLE temp (n int)"],
            SessionView {
                ever_wrote: true,
                mentions_temp: &|text| Some(text.windows(4).any(|part| part == b"temp")),
                has_temp: &|name| Some(&*name.name == "temp"),
                ..idle()
            },
        ),
        state("transaction", &["BEGIN"], open()),
        state("transaction that wrote", &["BEGIN", "INSERT INTO t VALUES (1)"], wrote()),
        state(
            "rolled back to a savepoint",
            &[
                "BEGIN",
                "INSERT INTO t VALUES (1)",
                "SAVEPOINT a",
                "INSERT INTO t VALUES (2)",
                "ROLLBACK TO a",
            ],
            wrote(),
        ),
        state(
            "later transaction",
            &["BEGIN", "INSERT INTO t VALUES (1)", "COMMIT", "BEGIN"],
            SessionView { trans_wrote: true, ever_wrote: true, ..open() },
        ),
        state("after a write", &["INSERT INTO t VALUES (1)"], SessionView { ever_wrote: true, ..idle() }),
        state("read-only transaction", &["BEGIN READ ONLY"], open()),
        state("repeatable read transaction", &["BEGIN ISOLATION LEVEL REPEATABLE READ"], open()),
        state(
            "serializable transaction",
            &["BEGIN ISOLATION LEVEL SERIALIZABLE"],
            SessionView { serializable: true, ..open() },
        ),
        state(
            "failed transaction",
            &["BEGIN", "INSERT INTO no_such_table VALUES (1)"],
            SessionView { tx_failed: true, ..wrote() },
        ),
        state(
            "transaction begun among several statements",
            &["BEGIN; SELECT 1"],
            SessionView { tx_primary_only: true, ..open() },
        ),
        state(
            "prepared statements",
            &["PREPARE r AS SELECT n FROM t", "PREPARE w AS INSERT INTO t VALUES (2)"],
            SessionView { ever_wrote: true, ..idle() },
        ),
        state(
            "cursor",
            &["BEGIN", "DECLARE c CURSOR FOR SELECT n FROM t"],
            SessionView { tx_wrote: Write::State, ever_wrote: true, ..open() },
        ),
    ]
}

/// A row of the document.
struct Row {
    line: usize,
    state: String,
    /// A line of configuration.
    conf: String,
    statement: String,
    node: String,
    reason: String,
    /// Where pgpool-II sends it, and why we do otherwise.
    otherwise: String,
}

fn rows(document: &str) -> Vec<Row> {
    let (mut state, mut conf) = (String::new(), String::new());
    let mut rows = Vec::new();
    for (line, text) in document.lines().enumerate() {
        if let Some(session) = text.strip_prefix("Session: ") {
            let (name, with) = session
                .trim_end_matches('.')
                .split_once(" · ")
                .unwrap_or((session.trim_end_matches('.'), ""));
            state = name.to_owned();
            conf = with.trim_start_matches("Configuration: ").trim_matches('`').to_owned();
        }
        let Some(cells) = text.strip_prefix("| `") else { continue };
        let (statement, rest) =
            cells.split_once("` |").unwrap_or_else(|| panic!("line {}: {text}", line + 1));
        let cells: Vec<&str> = rest.split('|').map(str::trim).collect();
        let [node, reason, otherwise, _] = cells.as_slice() else { panic!("line {}: {text}", line + 1) };
        rows.push(Row {
            line,
            state: state.clone(),
            conf: conf.clone(),
            statement: statement.replace("\\|", "|").replace("\\n", "\n"),
            node: (*node).to_owned(),
            reason: (*reason).to_owned(),
            otherwise: (*otherwise).to_owned(),
        });
    }
    rows
}

fn state<'a>(states: &'a [State], row: &Row) -> &'a State {
    let found = states.iter().find(|state| state.name == row.state);
    found.unwrap_or_else(|| panic!("line {}: no state {:?}", row.line + 1, row.state))
}

fn explained(row: &Row, states: &[State]) -> Explanation {
    let missing = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    let conf = format!("load_balance_mode = on\n{}", row.conf);
    let loaded = pgbalancer::config::parse_text(&conf, Path::new("routing.md"), &missing).unwrap();
    let node = |id, weight| NodeView {
        id,
        usable: true,
        orderly: false,
        weight,
        is_primary: id == 0,
        lag_bytes: Some(0),
        lag_micros: Some(0),
    };
    let cluster = ClusterView {
        nodes: vec![node(0, 0.0), node(1, 1.0), node(2, 0.0)],
        primary: Some(0),
        main: Some(0),
        ..ClusterView::default()
    };
    let view = &state(states, row).view;
    let config = RouteConfig::from(&loaded.config);
    explain(&facts(&row.statement), row.statement.as_bytes(), view, &cluster, &config, &Described).unwrap()
}

fn place(target: &Target) -> &'static str {
    match target {
        Target::Primary => "primary",
        Target::Balance => "balance",
        Target::Everywhere => "both",
        Target::Prepared(_) => "where prepared",
        Target::Node(_) => "that node",
    }
}

/// With UPDATE_ROUTES=1 the document is written anew from what the rules say, and from what pgpool-II does.
fn updates() -> bool {
    std::env::var_os("UPDATE_ROUTES").is_some()
}

fn update(change: impl Fn(&Row) -> Option<[String; 3]>) {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let mut lines: Vec<String> = document.lines().map(str::to_owned).collect();
    for row in rows(&document) {
        if let Some([node, reason, otherwise]) = change(&row) {
            let statement = row.statement.replace('|', "\\|").replace('\n', "\\n");
            lines[row.line] = format!("| `{statement}` | {node} | {reason} | {otherwise} |");
        }
    }
    fs::write(DOCUMENT, lines.join("\n") + "\n").unwrap();
}

#[test]
fn the_rules_of_the_document_are_those_of_the_library() {
    let states = states();
    if updates() {
        return update(|row| {
            let found = explained(row, &states);
            Some([
                place(&found.route.target).to_owned(),
                found.route.reason.to_string(),
                row.otherwise.clone(),
            ])
        });
    }
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let rows = rows(&document);
    assert!(rows.len() >= 400, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let found = explained(row, &states);
        let (node, reason) = (place(&found.route.target), found.route.reason.to_string());
        if (node, reason.as_str()) != (&row.node, &row.reason) {
            wrong.push(format!("line {}: {}: {node}, {reason}", row.line + 1, row.statement));
        }
        assert_eq!(
            row.otherwise.is_empty(),
            !row.otherwise.contains(": "),
            "line {}: no reason",
            row.line + 1
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Reasons of rows that `pgpool_quirks` does not bring back (compat/quirks.md), or that a state before brings back.
const NOT_BROUGHT_BACK: &[&str] = &[
    "the comment means the same before every read",
    "a transaction begun among several statements is on the primary alone",
    "PostgreSQL says that the transaction has failed, and we relay it",
    "a function that no catalog knows may be created the next moment, and write",
    "the name is that of a CTE, not of the table",
    "a list names a function in every schema",
    "a partition is unlogged, and cannot be read on a standby",
    "temporary tables are on the primary",
    "a name that nobody knows is told by one node",
    "it goes where its statement may go",
    "the other node joins with a BEGIN that it can take",
    "no other node has a transaction to end",
    "what was written before the savepoint is only on the primary",
];

#[test]
fn with_pgpool_quirks_the_rules_are_those_of_pgpool() {
    let states = states();
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let mut brought_back = BTreeSet::new();
    for row in rows(&document) {
        let Some((their, why)) = row.otherwise.split_once(": ") else { continue };
        let (their, why) = (their.to_owned(), why.to_owned());
        let quirky = Row { conf: format!("{}\npgpool_quirks = on", row.conf), ..row };
        let node = place(&explained(&quirky, &states).route.target);
        assert_eq!(
            node == their,
            !NOT_BROUGHT_BACK.contains(&why.as_str()),
            "line {}: {}: {node}",
            quirky.line + 1,
            quirky.statement
        );
        if node == their {
            brought_back.insert(why);
        }
    }
    assert!(brought_back.len() > 5, "{brought_back:?}");
}

/// A program before the cluster, with one configuration.
struct Side {
    balancer: Balancer,
    door: Door,
    control: Client,
    read_up_to: usize,
    marks: usize,
}

impl Side {
    fn start(program: Program, database: &str, conf: &str) -> Side {
        let mut settings =
            Conf::of(shared()).weights([0, 1, 0]).set("num_init_children", "4").set("sr_check_period", "1");
        if let Some((name, value)) = conf.split_once(" = ") {
            settings = settings.set(name, value);
        }
        let balancer = Balancer::start_program(program, settings, &[]);
        balancer.wait_roles();
        let door = balancer.door(database);
        let control = Client::connect(&balancer.door("postgres"));
        Side { balancer, door, control, read_up_to: 0, marks: 0 }
    }

    /// What was logged since the last mark. It comes from another session, so that one that was closed does not matter.
    fn mark(&mut self) -> String {
        self.marks += 1;
        let mark = format!("SELECT 'mark {}'", self.marks);
        self.control.query(&mark);
        self.balancer.wait_log_after(&mut self.read_up_to, &mark)
    }

    /// The nodes that the statement of a row goes to.
    fn nodes(&mut self, row: &Row, before: &[&str]) -> BTreeSet<usize> {
        let mut client = Client::connect(&self.door);
        // Both nodes are in use: when a connection opens is not what is compared.
        client.query("SELECT 'both in use'");
        for statement in before {
            client.query(statement);
        }
        self.mark();
        client.simple(&row.statement).send();
        while client.read().is_ok_and(|message| message.kind != 'Z') {}
        let log = self.mark();
        let got = log.lines().filter_map(node_and_statement);
        // A text of several lines is a line of the log and others.
        let first = row.statement.lines().find(|line| !line.is_empty()).unwrap_or_default();
        let begins = if row.statement.starts_with('\n') { "" } else { first };
        got.filter(|(_, of)| of.trim_end() == begins.trim_end()).map(|(node, _)| node).collect()
    }
}

fn word(nodes: &BTreeSet<usize>) -> &'static str {
    match nodes.iter().collect::<Vec<_>>().as_slice() {
        [] => "nowhere",
        [0] => "primary",
        [1] => "balance",
        [0, 1] => "both",
        _ => "elsewhere",
    }
}

#[test]
fn the_rules_of_the_document_hold_on_servers_and_pgpool_does_what_it_says() {
    let states = states();
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let rows = rows(&document);
    let mut confs: Vec<&str> = rows.iter().map(|row| row.conf.as_str()).collect();
    confs.dedup();
    confs.sort_unstable();
    confs.dedup();
    let mut theirs = std::collections::BTreeMap::new();
    let mut wrong = Vec::new();
    for conf in confs {
        let of_conf = || rows.iter().filter(|row| row.conf == conf);
        for (program, is_ours) in
            [(Program::Pgpool(PathBuf::from(PGPOOL)), false), (Program::under_test(), true)]
        {
            let cluster = shared();
            let database = cluster.database("routes");
            cluster.prepare(&database, SCHEMA);
            cluster.catch_up();
            let mut side = Side::start(program, &database, conf);
            for row in of_conf() {
                let nodes = side.nodes(row, state(&states, row).before);
                if !is_ours {
                    let is_primary = conf.contains("redirect") && nodes == BTreeSet::from([0]);
                    theirs.insert(row.line, if is_primary { "balance or primary" } else { word(&nodes) });
                    continue;
                }
                let holds = match row.node.as_str() {
                    "primary" => nodes == BTreeSet::from([0]),
                    "balance" if conf.contains("redirect") => nodes == BTreeSet::from([0]),
                    // One that the rules cannot see through is refused there, and run again.
                    "balance" => nodes.contains(&1),
                    // The others get it before their next statement.
                    "both" => nodes.contains(&0),
                    _ => nodes.len() == 1,
                };
                if !holds && !updates() {
                    wrong.push(format!("line {}: {}: ours to {nodes:?}", row.line + 1, row.statement));
                }
            }
        }
    }
    if updates() {
        return update(|row| {
            let their = theirs.get(&row.line)?;
            let why = row.otherwise.split_once(": ").map_or("", |(_, why)| why);
            let differs = !their.contains(row.node.as_str());
            let otherwise = if differs { format!("{their}: {why}") } else { String::new() };
            Some([row.node.clone(), row.reason.clone(), otherwise])
        });
    }
    for row in &rows {
        let expected = row.otherwise.split_once(": ").map_or(row.node.as_str(), |(node, _)| node);
        let their = theirs.get(&row.line).copied().unwrap_or_default();
        if !their.contains(expected) {
            wrong.push(format!("line {}: {}: pgpool-II to {their}", row.line + 1, row.statement));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}
