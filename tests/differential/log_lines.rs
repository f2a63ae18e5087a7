//! The same client traffic through both programs: the lines that each logs about it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use regex::Regex;

use super::PGPOOL;
use crate::harness::balancer::{Conf, Program};
use crate::harness::client::Client;
use crate::harness::message::Body;
use crate::harness::{Balancer, Door, shared};

/// A piece of traffic, on a connection of its own.
struct Scene {
    name: &'static str,
    play: fn(&mut Client),
}

const SCENES: &[Scene] = &[
    Scene {
        name: "simple",
        play: |client| {
            client.query("SELECT n FROM t").succeeded();
            client.query("INSERT INTO t VALUES (1)").succeeded();
            client.query("").succeeded();
        },
    },
    Scene {
        name: "simple errors",
        play: |client| {
            client.query("SELECT n FROM nowhere");
            client.query("SELEC 1");
            client.query("DO $$ BEGIN RAISE NOTICE 'hear'; END $$").succeeded();
        },
    },
    Scene {
        name: "extended",
        play: |client| {
            client.parse("", "SELECT n + 1 FROM t").bind("", "", &[]).describe('P', "").execute("", 0);
            client.sync().send().until_ready().succeeded();
            client.parse("s", "SELECT n + $1 FROM t").describe('S', "s").flush().send();
            client.bind("p", "s", &["1"]).execute("p", 1).execute("p", 0).close('P', "p").close('S', "s");
            client.sync().send().until_ready().succeeded();
        },
    },
    Scene {
        name: "extended errors",
        play: |client| {
            client.parse("", "SELECT n FROM nowhere").bind("", "", &[]).execute("", 0);
            client.sync().send().until_ready();
        },
    },
    Scene {
        name: "extended syntax error",
        play: |client| {
            client.extended("SELEC 1", &[]);
            client.parse("", "SELEC 2").sync().send().until_ready();
        },
    },
    Scene {
        name: "answered by the program",
        play: |client| {
            client.query("SHOW POOL_VERSION").succeeded();
            client.query("PGPOOL SHOW log_statement").succeeded();
        },
    },
    Scene {
        name: "copy",
        play: |client| {
            client.simple("COPY t FROM STDIN").send().until('G');
            client
                .message('d', Body::default().bytes(b"7\n"))
                .message('d', Body::default().bytes(b"8\n"))
                .message('c', Body::default())
                .send();
            client.until_ready().succeeded();
            client.simple("COPY t FROM STDIN").send().until('G');
            client.message('f', Body::default().text("no more")).send().until_ready();
            client.query("COPY (SELECT 1) TO STDOUT").succeeded();
        },
    },
    Scene {
        name: "function call",
        play: |client| {
            // abs(integer) of -5, as text.
            let body = Body::default().int32(1397).int16(1).int16(0).int16(1).int32(2).bytes(b"-5").int16(0);
            client.message('F', body).send().until_ready().succeeded();
        },
    },
    Scene {
        name: "transaction",
        play: |client| {
            client.query("BEGIN").succeeded();
            client.query("SELECT n FROM t").succeeded();
            client.query("INSERT INTO t VALUES (2)").succeeded();
            client.query("COMMIT").succeeded();
            client.query("SET work_mem = '5MB'").succeeded();
        },
    },
    Scene {
        name: "cancel",
        play: |client| {
            // It says when it runs.
            client.simple("DO $$ BEGIN RAISE NOTICE 'runs'; PERFORM pg_sleep(60); END $$").send().until('N');
            client.cancel();
            client.until_ready();
        },
    },
];

const RESET: &str = "a reset is no statement of the client; it is logged for each node that gets it";
const OLD_FORM: &str = "newer versions say it in our words";
const ONCE: &str = "it is in the line before, with the statement";
const COPIED: &str = "an error of a COPY or of a cancelled statement is one, too";
const CALL: &str = "a function call is a statement, too";
const LAZY: &str = "a node that the session does not need is not asked";
const JOINS: &str = "a node joins a transaction when a statement goes there, and ends it behind the primary";
const SECRET: &str = "the key is a secret";
const NOBODY: &str = "a cancel request is nobody's session, and goes to where the statement runs";

/// Any scene.
const ANY: &str = "*";

/// Scene, line (`<` theirs, `>` ours), and why it stands on one side only.
const KNOWN: &[(&str, &str, &str)] = &[
    (ANY, "< LOG:  statement: DISCARD ALL", RESET),
    (ANY, "< LOG:  DB node id: 1 backend pid: P statement: DISCARD ALL", LAZY),
    ("simple errors", "< LOG:  backend [0]: NOTICE: hear", ONCE),
    ("extended", "< LOG:  DB node id: 0 backend pid: P statement: C message", LAZY),
    (
        "extended errors",
        "< LOG:  Error message from backend: DB node id: 1 message: \"relation \"nowhere\" does not exist\"",
        OLD_FORM,
    ),
    (
        "extended errors",
        "> LOG:  Parse: Error or notice message from backend: DB node id: 1 backend pid: P \
         statement: \"SELECT n FROM nowhere\" message: \"relation \"nowhere\" does not exist\"",
        OLD_FORM,
    ),
    (
        "extended syntax error",
        "< LOG:  Error message from backend: DB node id: 0 message: \"syntax error at or near \"SELEC\"\"",
        OLD_FORM,
    ),
    (
        "extended syntax error",
        "> LOG:  Parse: Error or notice message from backend: DB node id: 0 backend pid: P \
         statement: \"SELEC 1\" message: \"syntax error at or near \"SELEC\"\"",
        OLD_FORM,
    ),
    (
        "extended syntax error",
        "> LOG:  Parse: Error or notice message from backend: DB node id: 0 backend pid: P \
         statement: \"SELEC 2\" message: \"syntax error at or near \"SELEC\"\"",
        OLD_FORM,
    ),
    (
        "copy",
        "> LOG:  pool_send_and_wait: Error or notice message from backend: DB node id: 0 backend pid: P \
         statement: \"COPY t FROM STDIN\" message: \"COPY from stdin failed: no more\"",
        COPIED,
    ),
    ("function call", "> LOG:  statement: (function call)", CALL),
    ("function call", "> LOG:  DB node id: 0 backend pid: P statement: (function call)", CALL),
    ("transaction", "< LOG:  DB node id: 1 backend pid: P statement: BEGIN", JOINS),
    ("transaction", "> LOG:  DB node id: 1 backend pid: P statement: BEGIN", JOINS),
    ("transaction", "< LOG:  DB node id: 1 backend pid: P statement: COMMIT", JOINS),
    ("transaction", "> LOG:  DB node id: 1 backend pid: P statement: COMMIT", JOINS),
    ("transaction", "< LOG:  DB node id: 1 backend pid: P statement: SET work_mem = '5MB'", LAZY),
    ("cancel", "< LOG:  backend [0]: NOTICE: runs", ONCE),
    ("cancel", "< LOG:  forwarding cancel request to backend", NOBODY),
    ("cancel", "< DETAIL:  canceling backend pid: P key: K", SECRET),
    ("cancel", "> DETAIL:  canceling backend pid: P", SECRET),
    (
        "cancel",
        "< LOG:  frontend disconnection: session time: T user=(null) database=(null) host=127.0.0.1 port=N",
        NOBODY,
    ),
    (
        "cancel",
        "> LOG:  pool_send_and_wait: Error or notice message from backend: DB node id: 0 backend pid: P statement: \
         \"DO $$ BEGIN RAISE NOTICE 'runs'; PERFORM pg_sleep(60); END $$\" message: \
         \"canceling statement due to user request\"",
        COPIED,
    ),
];

struct Side {
    balancer: Balancer,
    door: Door,
    read_up_to: usize,
}

impl Side {
    fn start(program: Program) -> Side {
        let cluster = shared();
        let database = cluster.database("loglines");
        cluster.prepare(&database, "CREATE TABLE t (n int)");
        let conf = Conf::of(cluster)
            .weights([0, 1, 0])
            .set("num_init_children", "2")
            .set("log_line_prefix", "'%P|'")
            .set("log_statement", "on")
            .set("log_per_node_statement", "on")
            .set("log_client_messages", "on")
            .set("log_connections", "on")
            .set("log_disconnections", "on");
        let balancer = Balancer::start_program(program, conf, &[]);
        balancer.wait_roles();
        let door = balancer.door(&database);
        let mut side = Side { balancer, door, read_up_to: 0 };
        // The catalog is asked once, whatever the scene that needs it first.
        side.lines(&Scene { name: "", play: |client| drop(client.query("SELECT n FROM t")) });
        side
    }

    fn lines(&mut self, scene: &Scene) -> Vec<String> {
        let mut client = Client::connect(&self.door);
        let port = client.local_port();
        (scene.play)(&mut client);
        client.terminate();
        let log = self.balancer.wait_log_after(&mut self.read_up_to, &format!(" port={port}"));
        let log = log + &self.balancer.wait_log_after(&mut self.read_up_to, &format!(" port={port}"));
        normalised(&log)
    }
}

/// Without what two runs never have in common, and without the look-ups in the catalog, which each makes in its own way.
fn normalised(log: &str) -> Vec<String> {
    let rules: Vec<(Regex, &str)> = [
        (r"pid: ?\d+", "pid: P"),
        (r"process id: -?\d+", "process id: P"),
        (r"port=\d+", "port=N"),
        (r"127\.0\.0\.1\(\d+\)", "127.0.0.1(N)"),
        (r"session time: [0-9:.]+", "session time: T"),
        (r"database=loglines_\w+", "database=D"),
        (r"key: -?\d+", "key: K"),
        // The older version writes one colon too many here.
        (r"from backend: : ", "from backend: "),
    ]
    .map(|(pattern, by)| (Regex::new(pattern).unwrap(), by))
    .into();
    let is_own = |line: &str| {
        line.contains("statement: SELECT version()")
            || line.contains("DB node id:") && line.contains("pg_catalog.")
            || line.contains("pool_reuse_block")
            || line.contains("CONTEXT:  while searching system catalog")
    };
    let lines = log.lines().filter_map(|line| line.strip_prefix("child|").or(line.strip_prefix("CHILD|")));
    lines
        .filter(|line| !is_own(line))
        .map(|line| {
            rules.iter().fold(line.to_owned(), |line, (rule, by)| rule.replace_all(&line, *by).into_owned())
        })
        .collect()
}

/// The lines that stand on one side only (`<` theirs, `>` ours), by the longest common sequence.
pub(super) fn differences(theirs: &[String], ours: &[String]) -> Vec<String> {
    let mut common = vec![vec![0; ours.len() + 1]; theirs.len() + 1];
    for (i, their) in theirs.iter().enumerate().rev() {
        for (k, our) in ours.iter().enumerate().rev() {
            common[i][k] = match their == our {
                true => common[i + 1][k + 1] + 1,
                false => common[i + 1][k].max(common[i][k + 1]),
            };
        }
    }
    let (mut i, mut k, mut found) = (0, 0, Vec::new());
    while i < theirs.len() || k < ours.len() {
        if i < theirs.len() && k < ours.len() && theirs[i] == ours[k] {
            (i, k) = (i + 1, k + 1);
        } else if k == ours.len() || i < theirs.len() && common[i + 1][k] >= common[i][k + 1] {
            found.push(format!("< {}", theirs[i]));
            i += 1;
        } else {
            found.push(format!("> {}", ours[k]));
            k += 1;
        }
    }
    found
}

#[test]
fn the_same_traffic_gives_the_same_lines() {
    let program = Program::under_test();
    let same_program = matches!(program, Program::Pgpool(_));
    let mut theirs = Side::start(Program::Pgpool(PathBuf::from(PGPOOL)));
    let mut ours = Side::start(program);
    let mut unexplained = Vec::new();
    let mut unused: BTreeSet<(&str, &str)> = KNOWN.iter().map(|(scene, line, _)| (*scene, *line)).collect();
    for scene in SCENES {
        let (their, our) = (theirs.lines(scene), ours.lines(scene));
        assert!(their.len() > 4, "{}: {their:?}", scene.name);
        for line in differences(&their, &our) {
            let is_about = |name: &str| name == ANY || name == scene.name;
            let known = KNOWN.iter().find(|(name, text, _)| is_about(name) && *text == line);
            match known.filter(|_| !same_program) {
                Some((name, text, _)) => drop(unused.remove(&(*name, *text))),
                None => unexplained.push(format!("(\"{}\", {line:?}, )", scene.name)),
            }
        }
    }
    assert!(unexplained.is_empty(), "{} differences:\n{}", unexplained.len(), unexplained.join("\n"));
    assert!(same_program || unused.is_empty(), "no difference any more: {unused:#?}");
}
