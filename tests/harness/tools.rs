//! Real clients: psql, pgbench, psycopg and node-postgres, pointed at a door.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::cluster::Door;

/// Standard output, standard error and whether it went well, of a program that ran to its end.
pub(crate) struct Ran {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Ran {
        assert!(self.ok, "failed\n--- output\n{}\n--- errors\n{}", self.out, self.err);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub(crate) fn run(command: &mut Command) -> Ran {
    let name = command.get_program().to_owned();
    command.output().unwrap_or_else(|error| panic!("{name:?}: {error}; run scripts/need server test")).into()
}

/// psql without start-up file; what it prints is unaligned rows.
pub(crate) fn psql(door: &Door) -> Command {
    let mut command = client("psql", door);
    command.args(["-X", "-A", "-t", "-w"]);
    command
}

/// pgbench; initialise its tables with `Cluster::prepare` or `-i`.
pub(crate) fn pgbench(door: &Door) -> Command {
    client("pgbench", door)
}

/// A script of tests/clients, run by the Python that has psycopg.
pub(crate) fn python(door: &Door, script: &str) -> Command {
    let mut command = Command::new(target().join("venv/bin/python"));
    command.arg(script_path(script));
    with_environment(command, door)
}

/// A program at a terminal, where `typed` is typed when it asks for a password.
pub(crate) fn at_terminal(typed: &str, program: &Command) -> Command {
    let mut command = Command::new(target().join("venv/bin/python"));
    command.arg(script_path("typed.py")).arg(typed).arg(program.get_program()).args(program.get_args());
    let set = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.envs(set).stdin(Stdio::null());
    command
}

/// A script of tests/clients, run by Node.js with node-postgres.
pub(crate) fn node(door: &Door, script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(script_path(script)).env("NODE_PATH", target().join("node/node_modules"));
    with_environment(command, door)
}

fn client(program: &str, door: &Door) -> Command {
    with_environment(Command::new(pg_bin().join(program)), door)
}

/// Every client here takes its door from libpq's environment variables.
fn with_environment(mut command: Command, door: &Door) -> Command {
    command.env("PGHOST", &door.host).env("PGPORT", door.port.to_string());
    command.env("PGUSER", &door.user).env("PGDATABASE", &door.database);
    command.env("PGCONNECT_TIMEOUT", "30").env_remove("PGPASSWORD").stdin(Stdio::null());
    command
}

/// Where PostgreSQL's client programs are: Debian keeps all versions side by side, outside PATH.
pub(crate) fn pg_bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.retain(|bin| bin.join("pgbench").exists());
    found.sort();
    found.pop().unwrap_or_default()
}

fn script_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// `scripts/need` puts the clients' libraries beside what cargo builds.
pub(crate) fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}
