//! Debian's init script and unit of pgpool-II, with nothing but the program's path changed, run ours.

use std::path::Path;
use std::process::Command;

use crate::harness::balancer::{Conf, Program};
use crate::harness::{ports, process, shared, tools};

const SCRIPT: &str = "/etc/init.d/pgpool2";
const UNIT: &str = "/lib/systemd/system/pgpool2.service";

/// What both tests begin with: the places that the script and the unit name belong to the test alone, in a mount
/// namespace of its own. `until_true` gives up after ten seconds.
const SCENE: &str = r#"
set -eu
mount -t tmpfs none /etc/pgpool2
cp "$DIR/pgpool.conf" /etc/pgpool2/
mkdir -p /var/run/postgresql
mount -t tmpfs none /var/run/postgresql
chown postgres /var/run/postgresql
until_true() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { echo "in vain: $*"; exit 1; }
        sleep 0.1
    done
}
ask() { "$PSQL" -X -A -t -h 127.0.0.1 -p "$PORT" -U postgres -d postgres -c "$1"; }
shows() { [ "$(ask "PGPOOL SHOW $1")" = "$2" ]; }
gone() { ! kill -0 "$1" 2>/dev/null; }
change() { echo "client_idle_limit = 77" >>/etc/pgpool2/pgpool.conf; }
"#;

/// Runs a shell script in the scene and wants it to come to its end.
fn run_in_scene(script: &str) {
    let Program::Ours(program) = Program::under_test() else { panic!("this is about our program") };
    let dir = process::server_dir("init");
    // Under the name that makes it answer as pgpool-II: scripts look for the configuration in its place.
    let copy = dir.path().join("pgpool");
    std::fs::copy(program, &copy).unwrap();
    let port = ports::free();
    let conf = Conf::of(shared())
        .set("port", &port.to_string())
        .set("pid_file_name", "'/var/run/postgresql/pgpool.pid'")
        .set("unix_socket_directories", "'/var/run/postgresql'")
        .set("work_dir", "'/var/run/postgresql'");
    process::write(&dir.path().join("pgpool.conf"), conf.text());
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &format!("{SCENE}{script}")]);
    command.env("DIR", dir.path()).env("PORT", port.to_string()).env("PSQL", tools::pg_bin().join("psql"));
    command.env("SCRIPT", SCRIPT).env("UNIT", UNIT);
    let ran = tools::run(&mut command);
    assert!(ran.ok && ran.out.trim_end().ends_with("the end"), "{}\n{}", ran.out, ran.err);
}

/// Whether this machine lets us; says why not.
fn can_run(file: &str) -> bool {
    let missing = [file, "/lib/lsb/init-functions"].into_iter().find(|path| !Path::new(path).exists());
    if let Some(path) = missing {
        eprintln!("skipped: there is no {path}");
    } else if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: init scripts are run by root");
    }
    missing.is_none() && nix::unistd::geteuid().is_root()
}

#[test]
fn debians_init_script_starts_reloads_restarts_and_stops_ours() {
    if !can_run(SCRIPT) {
        return;
    }
    run_in_scene(
        r#"
sed "s#/usr/sbin/pgpool#$DIR/pgpool#" "$SCRIPT" >"$DIR/script"
init() { sh "$DIR/script" "$1"; }
pid() { tr -d '\0' </var/run/postgresql/pgpool.pid; }
! init status
init start
until_true ask "SELECT 1"
init status
change
init reload
until_true shows client_idle_limit 77s
old=$(pid)
init restart
until_true gone "$old"
until_true ask "SELECT 1"
[ "$(pid)" != "$old" ]
old=$(pid)
init stop
until_true gone "$old"
! init status
[ ! -e /var/run/postgresql/pgpool.pid ]
[ ! -e "/var/run/postgresql/.s.PGSQL.$PORT" ]
echo the end
"#,
    );
}

#[test]
fn debians_unit_starts_reloads_and_stops_ours() {
    if !can_run(UNIT) {
        return;
    }
    // As systemd would: ExecStart as User, ExecReload as root with MAINPID, KillSignal to stop.
    run_in_scene(
        r#"
value() { sed -n "s#^$1=##p" "$UNIT" | sed "s#/usr/sbin/pgpool#$DIR/pgpool#"; }
user=$(value User)
setpriv --reuid "$user" --regid "$user" --init-groups $(value ExecStart) </dev/null >"$DIR/log" 2>&1 &
MAINPID=$!
until_true ask "SELECT 1"
change
eval "$(value ExecReload)"
until_true shows client_idle_limit 77s
kill -"$(value KillSignal | sed s/SIG//)" "$MAINPID"
wait "$MAINPID"
grep -q "system is shutdown" "$DIR/log"
echo the end
"#,
    );
}
