//! Debian's init script and unit of pgpool-II, with nothing but the program's path changed, run ours; and our own do.

use std::path::Path;
use std::process::Command;

use crate::harness::balancer::{Conf, Program};
use crate::harness::{ports, process, shared, tools};

const SCRIPT: &str = "/etc/init.d/pgpool2";
const UNIT: &str = "/lib/systemd/system/pgpool2.service";
const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compat/init");

/// What all tests begin with: the places that the scripts and the units name belong to the test alone, in a mount
/// namespace of its own, and nothing that was started outlives it. `until_true` gives up after ten seconds.
const SCENE: &str = r#"
set -eu
CONF=/etc/pgpool2/pgpool.conf
PID_FILE=/var/run/postgresql/pgpool.pid
mount -t tmpfs none /etc/pgpool2
cp "$DIR/pgpool.conf" "$CONF"
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
not() { if "$@"; then return 1; fi; }
gone() { ! kill -0 "$1" 2>/dev/null; }
pid() { tr -d '\0' <"$PID_FILE"; }
trap 'kill -9 $(pid) 2>/dev/null || true' EXIT
# In place of logger(1), which script and unit hand the program's output: keeps it, with the options it was given.
chmod 755 "$DIR/logger"
mount --bind "$DIR/logger" /usr/bin/logger
# A line of the unit, with the places of the test: that of the program, and that of our configuration.
value() { sed -n "s#^$1=##p" "$unit" | sed "s#/usr/sbin/pg[a-z]*#$DIR/pgpool#; s#/etc/pgbalancer/pgbalancer.conf#$CONF#"; }
change() { echo "client_idle_limit = $1" >>"$CONF"; }
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
        .set("pcp_port", &ports::free().to_string())
        .set("pcp_socket_dir", "'/var/run/postgresql'")
        .set("work_dir", "'/var/run/postgresql'");
    process::write(&dir.path().join("pgpool.conf"), conf.text());
    let logger = format!("#!/bin/sh\nexec >>{}/log\necho \"options: $*\"\nexec cat\n", dir.path().display());
    process::write(&dir.path().join("logger"), logger);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &format!("{SCENE}{script}")]);
    command.env("DIR", dir.path()).env("PORT", port.to_string()).env("PSQL", tools::pg_bin().join("psql"));
    command.env("SCRIPT", SCRIPT).env("UNIT", UNIT).env("OWN", OWN);
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
not init status
init start
until_true ask "SELECT 1"
init status
change 77
init reload
until_true shows client_idle_limit 77s
old=$(pid)
init restart
until_true gone "$old"
until_true ask "SELECT 1"
[ "$(pid)" != "$old" ]
init try-restart
init force-reload
until_true ask "SELECT 1"
# The script's own switch, and where its pipe ends.
not grep -q DEBUG "$DIR/log"
echo PGPOOL_LOG_DEBUG=yes >"$DIR/default"
mount --bind "$DIR/default" /etc/default/pgpool2
init restart
until_true ask "SELECT 1"
until_true grep -q DEBUG "$DIR/log"
grep -q "^options: -t pgpool -p local0.info" "$DIR/log"
grep -q "pgpool-II successfully started" "$DIR/log"
old=$(pid)
init stop
until_true gone "$old"
not init status
init try-restart
[ ! -e "$PID_FILE" ]
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
unit="$UNIT"
user=$(value User)
setpriv --reuid "$user" --regid "$user" --init-groups $(value ExecStart) </dev/null >"$DIR/log" 2>&1 &
MAINPID=$!
until_true ask "SELECT 1"
change 77
eval "$(value ExecReload)"
until_true shows client_idle_limit 77s
kill -"$(value KillSignal | sed s/SIG//)" "$MAINPID"
wait "$MAINPID"
grep -q "system is shutdown" "$DIR/log"
echo the end
"#,
    );
}

#[test]
fn our_init_script_starts_reloads_upgrades_and_stops() {
    if !can_run(SCRIPT) {
        return;
    }
    run_in_scene(
        r#"
sed "s#^DAEMON=.*#DAEMON=$DIR/pgpool#; s#^CONFIG=.*#CONFIG=$CONF#; s#^PIDFILE=.*#PIDFILE=$PID_FILE#" \
    "$OWN/pgbalancer.init" >"$DIR/script"
init() { sh "$DIR/script" "$1"; }
ends_with() { code=0; init "$1" || code=$?; [ $code = "$2" ]; }
ends_with status 3
ends_with reload 7
ends_with upgrade 7
ends_with try-restart 0
ends_with bogus 2
ends_with stop 0
init start
until_true ask "SELECT 1"
init status
init start
change 77
init reload
until_true shows client_idle_limit 77s
old=$(pid)
init upgrade
until_true gone "$old"
[ "$(pid)" != "$old" ]
ask "SELECT 1"
old=$(pid)
init restart
[ "$(pid)" != "$old" ]
until_true ask "SELECT 1"
grep -q "^options: -t pgbalancer -p local0.info" "$DIR/log"
until_true grep -q "upgrade: process .* has taken over" "$DIR/log"
old=$(pid)
init stop
gone "$old"
ends_with status 3
[ ! -e "$PID_FILE" ]
change wrong
ends_with start 6
echo the end
"#,
    );
}

#[test]
fn our_unit_is_one_and_starts_reloads_upgrades_and_stops() {
    if !can_run(SCRIPT) {
        return;
    }
    // As systemd would: it waits for READY=1, and follows MAINPID.
    run_in_scene(
        r#"
unit="$OWN/pgbalancer.service"
[ "$(value Type)" = notify ]
python3 - "$DIR/notify" "$DIR/heard" <<'END' &
import os, socket, sys
heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
heard.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
with open(sys.argv[2], "w", buffering=1) as file:
    while True:
        file.write(heard.recv(4096).decode() + "\n")
END
listener=$!
trap 'kill $listener; kill -9 $(pid) 2>/dev/null || true' EXIT
until_true test -S "$DIR/notify"
heard() { [ "$(grep -c "^$1" "$DIR/heard")" = "$2" ]; }
NOTIFY_SOCKET="$DIR/notify" setpriv --reuid "$(value User)" --regid "$(value User)" --init-groups \
    $(value ExecStart) </dev/null >"$DIR/log" 2>&1 &
MAINPID=$!
until_true heard READY=1 1
ask "SELECT 1"
change 77
eval "$(value ExecReload)"
until_true heard RELOADING=1 1
until_true shows client_idle_limit 77s
kill -USR2 "$MAINPID"
until_true heard MAINPID= 1
wait "$MAINPID"
MAINPID=$(sed -n 's/^MAINPID=//p' "$DIR/heard")
[ "$MAINPID" = "$(pid)" ]
ask "SELECT 1"
kill -"$(value KillSignal | sed s/SIG//)" "$MAINPID"
until_true heard STOPPING=1 1
until_true gone "$MAINPID"
[ ! -e "$PID_FILE" ]
echo the end
"#,
    );
}
