//! A primary and two streaming standbys, shared by all tests of a run; each test has a database of its own.
//! A test that stops or slows a node starts a cluster for itself.
//!
//! `scripts/cluster` makes it. Every test process holds a shared lock on a file while it lives; a guard process takes
//! the servers down when nobody holds it any more, so a panic, a kill -9 or a runner that starts a process per
//! test leaves nothing behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::client::Client;
use super::node_log::NodeLog;
use super::{ports, tools, wait};

const STANDBYS: usize = 2;

/// Passwords are equal to the user's name with `_secret` behind it; see `HBA` for how each must log in.
const ROLES: &str = "
    CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN;
    SET password_encryption = 'md5'; CREATE ROLE md5_user LOGIN PASSWORD 'md5_user_secret';
    SET password_encryption = 'scram-sha-256'; CREATE ROLE scram_user LOGIN PASSWORD 'scram_user_secret';
    CREATE ROLE password_user LOGIN PASSWORD 'password_user_secret';";

const HBA: &str = "local all all trust
host replication all all trust
host all md5_user all md5
host all scram_user all scram-sha-256
host all password_user all password
host all all all trust
";

/// Those besides Debian's with which whole clusters are lost and recovered: the oldest and the newest that we serve, or
/// those that PGBALANCER_SERVERS names ("14 16").
pub(crate) fn other_versions() -> Vec<u32> {
    let named = std::env::var("PGBALANCER_SERVERS").unwrap_or("13 18".to_owned());
    named.split_whitespace().map(|version| version.parse().expect("a major version")).collect()
}

pub(crate) struct Node {
    pub(crate) id: usize,
    pub(crate) port: u16,
    pub(crate) log: NodeLog,
    pub(super) dir: PathBuf,
    /// Where the server's programs are.
    pub(crate) bin: PathBuf,
}

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    _user: File,
    _private: Option<tempfile::TempDir>,
}

/// Where a client connects: the same test can knock at PostgreSQL's own door and at ours.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: String,
}

impl Door {
    pub(crate) fn as_user(&self, user: &str) -> Door {
        Door { user: user.to_owned(), ..self.clone() }
    }

    pub(crate) fn to(&self, database: &str) -> Door {
        Door { database: database.to_owned(), ..self.clone() }
    }
}

/// The cluster of this run, started by whoever needs it first.
pub(crate) fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| join(Path::new(env!("CARGO_TARGET_TMPDIR")), None, None, STANDBYS))
}

impl Cluster {
    /// One for this test alone.
    pub(crate) fn private() -> Cluster {
        Cluster::private_of(None)
    }

    /// The same of another major version of PostgreSQL, which scripts/need has fetched.
    pub(crate) fn private_of(version: Option<u32>) -> Cluster {
        Cluster::small(version, STANDBYS)
    }

    /// A primary without standbys, for this test alone.
    pub(crate) fn alone() -> Cluster {
        Cluster::small(None, 0)
    }

    /// A primary with so many standbys, for this test alone.
    pub(crate) fn small(version: Option<u32>, standbys: usize) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        join(&path, Some(dir), version, standbys)
    }

    pub(crate) fn primary(&self) -> &Node {
        &self.nodes[0]
    }

    pub(crate) fn standbys(&self) -> &[Node] {
        &self.nodes[1..]
    }

    /// The way to PostgreSQL itself.
    pub(crate) fn door(&self, node: usize, database: &str) -> Door {
        Door {
            host: "127.0.0.1".to_owned(),
            port: self.nodes[node].port,
            user: "postgres".to_owned(),
            database: database.to_owned(),
        }
    }

    /// A new database, present on every node.
    pub(crate) fn database(&self, topic: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{topic}_{}_{number}", std::process::id());
        self.on_primary("postgres", &format!("CREATE DATABASE {name}"));
        self.catch_up();
        name
    }

    /// Runs statements on the primary, past the program under test, and waits until the standbys have them.
    pub(crate) fn prepare(&self, database: &str, sql: &str) {
        self.on_primary(database, sql);
        self.catch_up();
    }

    pub(crate) fn on_primary(&self, database: &str, sql: &str) -> String {
        self.on_node(0, database, sql)
    }

    /// The first value of the first row, or nothing.
    pub(crate) fn on_node(&self, node: usize, database: &str, sql: &str) -> String {
        let mut client = Client::connect(&self.door(node, database));
        client.query(sql).succeeded().value().unwrap_or_default()
    }

    /// Waits until every standby has replayed what the primary has written by now.
    pub(crate) fn catch_up(&self) {
        let written = self.on_primary("postgres", "SELECT pg_current_wal_insert_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        for node in self.standbys() {
            let mut client = Client::connect(&self.door(node.id, "postgres"));
            wait::until_true("a standby to catch up", || {
                client.query(&replayed).value().as_deref() == Some("t")
            });
        }
    }

    /// The node whose server has this backend process.
    pub(crate) fn node_of_port(&self, port: &str) -> usize {
        self.nodes.iter().find(|node| node.port.to_string() == port).expect("a port of the cluster").id
    }
}

/// The cluster that the lock file in `dir` is about.
fn join(dir: &Path, private: Option<tempfile::TempDir>, version: Option<u32>, standbys: usize) -> Cluster {
    std::fs::create_dir_all(dir).unwrap();
    let lock_path = dir.join("cluster.lock");
    let ready_path = dir.join("cluster.lock.ready");

    // One starts, the others wait for it here.
    let starting = File::create(dir.join("cluster.starting")).unwrap();
    starting.lock().unwrap();
    let user = File::options().create(true).append(true).open(&lock_path).unwrap();
    user.lock_shared().unwrap();

    if let Some(nodes) =
        std::fs::read_to_string(&ready_path).ok().and_then(|at| running(Path::new(at.trim())))
    {
        return Cluster { nodes, _user: user, _private: private };
    }
    let servers = start(dir, version, standbys);
    start_guard(&servers, &lock_path);
    let nodes = running(&servers).expect("the servers that were just started");
    let cluster = Cluster { nodes, _user: user, _private: private };
    cluster.prepare("postgres", ROLES);
    std::fs::write(&ready_path, servers.to_str().unwrap()).unwrap();
    cluster
}

fn start(dir: &Path, version: Option<u32>, standbys: usize) -> PathBuf {
    let servers = tempfile::Builder::new().prefix("pgbalancer-test.").tempdir().unwrap().keep();
    let hba = dir.join("cluster.hba");
    std::fs::write(&hba, HBA).unwrap();
    let mut script = script();
    if let Some(version) = version {
        script.env("PGBIN", tools::target().join(format!("postgres/{version}/native/bin")));
    }
    // No other test of this process gets one of these.
    let nodes: Vec<String> = (0..=standbys).map(|_| ports::free().to_string()).collect();
    let output = script
        .env("PORTS", nodes.join(" "))
        .arg("up")
        .arg(&servers)
        .arg(standbys.to_string())
        .arg(&hba)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "scripts/cluster up: {}", String::from_utf8_lossy(&output.stderr));
    servers
}

/// It outlives this process by seconds, and must not keep a pipe open that somebody reads to its end.
#[expect(clippy::zombie_processes, reason = "it waits for us, not we for it")]
fn start_guard(servers: &Path, lock: &Path) {
    let mut guard = script();
    guard.arg("guard").arg(servers).arg(lock);
    guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    guard.spawn().expect("the guard of the cluster");
}

/// The script in a session of its own, so that Ctrl-C on the test run does not reach it before its work is done.
fn script() -> Command {
    let mut command = Command::new("setsid");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/cluster"));
    command
}

/// The nodes of the cluster in `dir`, if it is up: a machine that went down leaves the file that names it behind.
fn running(dir: &Path) -> Option<Vec<Node>> {
    let text = std::fs::read_to_string(dir.join("nodes")).ok()?;
    let bin = PathBuf::from(std::fs::read_to_string(dir.join("bin")).ok()?.trim_end());
    let node = |line: &str| {
        let (id, port) = line.split_once(' ')?;
        let (id, port): (usize, u16) = (id.parse().ok()?, port.parse().ok()?);
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        Some(Node {
            id,
            port,
            log: NodeLog::new(dir.join(format!("node{id}.log"))),
            dir: dir.to_owned(),
            bin: bin.clone(),
        })
    };
    text.lines().map(node).collect()
}
