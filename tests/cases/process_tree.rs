//! The supervisor and its children: signals, replacement, pid file, commands.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::balancer::{Conf, Program};
use crate::harness::client::PROTOCOL_3_0;
use crate::harness::cluster::Door;
use crate::harness::process::{self, is_alive, title};
use crate::harness::tools::{self, Ran};
use crate::harness::{Balancer, Client, ports, shared, wait};

fn start() -> Balancer {
    Balancer::start(Conf::of(shared()).set("num_init_children", "3"))
}

fn run(balancer: &Balancer, arguments: &[&str]) -> Ran {
    tools::run(&mut balancer.command(arguments))
}

/// Both outputs: pgpool-II writes even its version to standard error.
fn said(ran: &Ran) -> String {
    format!("{}{}", ran.out, ran.err)
}

fn workers(balancer: &Balancer) -> Vec<i32> {
    let idle =
        |pid: &i32| title(*pid).ends_with(": wait for connection request") && !title(*pid).contains("PCP");
    balancer.children().into_iter().filter(idle).collect()
}

#[test]
fn children_say_in_their_titles_what_they_do() {
    let database = shared().database("titles");
    let balancer = start();
    wait::until_true("three idle workers", || workers(&balancer).len() == 3);
    wait::until_true("the replication check", || {
        balancer.children().into_iter().any(|pid| title(pid).contains("worker process"))
    });
    let mut client = Client::connect(&balancer.door(&database));
    client.query("BEGIN").succeeded();
    let worker = balancer.worker_of(&client);
    let title = || title(worker).split_once(": ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    let who = format!("postgres {database} 127.0.0.1({})", client.local_port());
    wait::until_equal(format!("{who} idle in transaction"), title);
    client.query("COMMIT").succeeded();
    wait::until_equal(format!("{who} idle"), title);
}

#[test]
fn term_lets_sessions_finish_and_takes_no_new_ones() {
    let mut balancer = start();
    let door = balancer.door("postgres");
    let mut client = Client::connect(&door);
    client.query("BEGIN").succeeded();
    let children = balancer.children();
    balancer.signal(Signal::SIGTERM);
    // Refused, not left waiting in the queue of a socket that nobody will read again.
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], door.port));
    let try_new = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let refused = Err(std::io::ErrorKind::ConnectionRefused);
    wait::until_equal(refused, || try_new().map(drop).map_err(|error| error.kind()));
    assert_eq!(client.ask("SELECT 'still here'"), "still here");
    assert_eq!(client.query("COMMIT").tags(), ["COMMIT"]);
    assert!(balancer.is_running());
    client.terminate();
    assert!(balancer.exit().success());
    wait::until_true("every child to be gone", || !children.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn int_and_quit_end_at_once() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let mut balancer = start();
        let mut client = Client::connect(&balancer.door("postgres"));
        client.query("BEGIN").succeeded();
        let children = balancer.children();
        balancer.signal(signal);
        assert!(client.is_closed_within(Duration::from_secs(10)), "{signal}");
        assert!(balancer.exit().success(), "{signal}");
        wait::until_true("every child to be gone", || !children.iter().any(|pid| is_alive(*pid)));
        assert!(!balancer.dir.path().join("pgbalancer.pid").exists(), "{signal}");
        let socket = balancer.dir.path().join(format!(".s.PGSQL.{}", balancer.port));
        assert!(!socket.exists(), "{signal}");
    }
}

#[test]
fn a_child_that_dies_is_replaced_and_nobody_else_notices() {
    let balancer = start();
    let door = balancer.door("postgres");
    let mut bystander = Client::connect(&door);
    bystander.query("BEGIN").succeeded();
    let mut victim = Client::connect(&door);
    let worker = balancer.worker_of(&victim);
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    assert!(victim.is_closed_within(Duration::from_secs(5)));
    wait::until_true("two idle workers again", || workers(&balancer).len() == 2);
    assert!(balancer.log_contains(&worker.to_string()), "the log names the child that died");
    assert_eq!(bystander.query("SELECT 1").succeeded().status(), 'T');
    assert_eq!(Client::connect(&door).ask("SELECT 1"), "1");
}

#[test]
fn every_kind_of_child_is_replaced() {
    let conf = Conf::of(shared()).set("num_init_children", "3").set("rest_api_enabled", "on");
    let balancer =
        Balancer::start(conf.set("mqtt_enabled", "on").set("mqtt_port", &ports::free().to_string()));
    wait::until_true("the MQTT process", || balancer.child_titled(": MQTT").is_some());
    let before = balancer.children();
    for pid in &before {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
    wait::until_true("as many children as before, all new", || {
        let now = balancer.children();
        now.len() == before.len() && !now.iter().any(|pid| before.contains(pid))
    });
    assert_eq!(Client::connect(&balancer.door("postgres")).ask("SELECT 1"), "1");
}

#[test]
fn a_supervisor_killed_with_nine_takes_its_children_with_it() {
    let mut balancer = start();
    let mut client = Client::connect(&balancer.door("postgres"));
    let children = balancer.children();
    balancer.signal(Signal::SIGKILL);
    assert_eq!(balancer.exit().signal(), Some(9));
    wait::until_true("every child to be gone", || !children.iter().any(|pid| is_alive(*pid)));
    assert!(client.is_closed_within(Duration::from_secs(5)));
}

#[test]
fn hup_applies_what_may_change_and_names_what_needs_a_restart() {
    let mut balancer = start();
    let mut client = Client::connect(&balancer.door("postgres"));
    balancer.rewrite(|conf| conf.set("log_statement", "on").set("num_init_children", "7"));
    balancer.reload();
    wait::until_true("the parameter that needs a restart in the log", || {
        balancer.log().lines().any(|line| line.contains("num_init_children") && line.contains("restart"))
    });
    let mut show = |name: &str| client.ask(&format!("PGPOOL SHOW {name}"));
    wait::until_true("the new value", || show("log_statement") == "on");
    assert_eq!(show("num_init_children"), "3");
}

#[test]
fn hup_with_a_wrong_file_changes_nothing() {
    let mut balancer = start();
    balancer.rewrite(|conf| conf.set("log_statement", "on").set("max_pool", "'many'"));
    balancer.reload();
    wait::until_true("the wrong value in the log", || balancer.log_contains("max_pool"));
    let mut client = Client::connect(&balancer.door("postgres"));
    assert_eq!(client.ask("PGPOOL SHOW log_statement"), "off");
}

#[test]
fn the_pid_file_names_the_supervisor_and_keeps_a_second_one_out() {
    let mut balancer = start();
    let path = balancer.dir.path().join("pgbalancer.pid");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.trim_end_matches('\0'), balancer.pid().to_string());
    let second = balancer.command(&["-n"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains(&balancer.pid().to_string()));
    assert!(balancer.is_running());
    balancer.stop();
    assert!(!path.exists());
}

#[test]
fn a_pid_file_left_by_a_dead_one_is_no_obstacle() {
    let balancer = Balancer::start_with(Conf::of(shared()), &[("pgbalancer.pid", "999999999\0")]);
    let text = std::fs::read_to_string(balancer.dir.path().join("pgbalancer.pid")).unwrap();
    assert_eq!(text.trim_end_matches('\0'), balancer.pid().to_string());
}

#[test]
fn stop_and_reload_reach_the_running_one() {
    let mut balancer = start();
    balancer.rewrite(|conf| conf.set("log_statement", "on"));
    assert!(run(&balancer, &["reload"]).ok);
    let mut client = Client::connect(&balancer.door("postgres"));
    wait::until_true("the new value", || client.ask("PGPOOL SHOW log_statement") == "on");
    let (stop, status) = balancer.stop_by_command("fast");
    assert!(stop.status.success() && status.success(), "{stop:?}");
    assert!(client.is_closed_within(Duration::from_secs(5)));
}

#[test]
fn stop_and_reload_say_so_when_nothing_runs() {
    let mut balancer = start();
    balancer.stop();
    for (verb, code) in [("stop", 3), ("reload", 1)] {
        let output = balancer.command(&[verb]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{verb}");
        assert!(!output.stderr.is_empty(), "{verb}");
    }
}

#[test]
fn it_becomes_a_daemon_and_stops() {
    let database = shared().database("daemon");
    let mut balancer = start();
    balancer.stop();
    let started = run(&balancer, &[]);
    assert!(started.ok, "{}", started.err);
    let door = balancer.door(&database);
    let pid_file = balancer.dir.path().join("pgbalancer.pid");
    wait::until_true("the daemon to listen", || {
        pid_file.exists() && std::net::TcpStream::connect(("127.0.0.1", door.port)).is_ok()
    });
    assert_eq!(Client::connect(&door).ask("SELECT 1"), "1");
    let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().trim_end_matches('\0').parse().unwrap();
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert_eq!(cwd, Path::new("/"));
    let stop = run(&balancer, &["-m", "fast", "stop"]);
    assert!(stop.ok, "{}", stop.err);
    wait::until_true("the daemon to be gone", || !is_alive(pid));
}

#[test]
fn version_help_and_wrong_usage() {
    let mut balancer = start();
    balancer.stop();
    let version = run(&balancer, &["-v"]);
    assert!(version.ok && said(&version).starts_with("pgbalancer"), "{}", said(&version));
    let help = run(&balancer, &["--help"]);
    assert!(help.ok);
    for option in
        ["--hba-file", "--config-file", "--pcp-file", "--key-file", "--dont-detach", "--discard-status"]
    {
        assert!(said(&help).contains(option), "{option}");
    }
    for wrong in [&["--no-such-option"][..], &["no_such_verb"], &["-m", "later", "stop"]] {
        let output = balancer.command(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{wrong:?}");
    }
}

#[test]
fn started_under_the_name_pgpool_it_answers_as_pgpool_would() {
    let mut balancer = start();
    balancer.stop();
    let link = balancer.dir.path().join("pgpool");
    std::os::unix::fs::symlink(balancer.program_path(), &link).unwrap();
    let ran = tools::run(Command::new(&link).arg("--version"));
    assert!(said(&ran).starts_with("pgpool-II version 4.7"), "{}", said(&ran));
}

#[test]
fn a_port_in_use_is_a_clear_fatal_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut balancer = start();
    balancer.stop();
    let text = std::fs::read_to_string(balancer.conf_path()).unwrap();
    process::write(&balancer.conf_path(), text + &format!("port = {port}\nlisten_addresses = '127.0.0.1'\n"));
    let output = balancer.command(&["-n"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("FATAL") && error.contains(&port.to_string()), "{error}");
}

/// The kernel wakes one worker a client. One that is told of two, and has room for one, must tell another.
#[test]
fn a_client_that_a_full_worker_was_told_of_is_taken_by_another() {
    let conf =
        Conf::of(shared()).set("num_init_children", "2").set("listen_addresses", "'127.0.0.1,127.0.0.2'");
    let balancer = Balancer::start(conf);
    let doors =
        ["127.0.0.1", "127.0.0.2"].map(|host| Door { host: host.to_owned(), ..balancer.door("postgres") });
    for first in [0, 1] {
        wait::until_true("two idle workers", || workers(&balancer).len() == 2);
        let pids = workers(&balancer);
        pids.iter().for_each(|pid| process::stop(*pid));
        let mut clients = doors.each_ref().map(Client::open);
        for pid in [pids[first], pids[1 - first]] {
            process::go_on(pid);
            wait::until_true("the worker to have done what it can", || process::is_at_rest(pid));
        }
        for (client, door) in clients.iter_mut().zip(&doors) {
            client.introduce(door, PROTOCOL_3_0, &[]).expect("a worker that takes the client");
        }
        clients.into_iter().for_each(Client::terminate);
    }
}

/// Several addresses and directories, and files with the group and the permissions that the configuration names.
#[test]
fn a_dead_socket_file_is_replaced_and_a_live_one_is_not() {
    let balancer = Balancer::prepared_only(Program::under_test(), Conf::of(shared()));
    let path = balancer.dir.path().join(format!(".s.PGSQL.{}", balancer.port));
    let live = std::os::unix::net::UnixListener::bind(&path).unwrap();
    process::give_to_server_user(&path);
    let refused = balancer.command(&["-n"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("{}: address in use", path.display())), "{said}");
    std::os::unix::net::UnixStream::connect(&path).expect("the live one, untouched");
    drop(live);
    assert!(path.exists());
    let mut balancer = balancer;
    balancer.start_prepared();
    let ran = tools::run(tools::psql(&balancer.local_door("postgres")).args(["-A", "-t", "-c", "SELECT 7"]));
    assert_eq!(ran.succeeded().out.trim(), "7");
    balancer.stop();
    // A file of another kind is somebody's.
    process::write(&path, "mine");
    let refused = balancer.command(&["-n"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn it_listens_wherever_it_is_told_to() {
    let dirs = [process::server_dir("sockets"), process::server_dir("sockets")];
    let paths = dirs.each_ref().map(|dir| dir.path().to_str().unwrap().to_owned());
    // A group that both root and an ordinary user may give a file to: their own.
    let group = nix::unistd::Group::from_gid(std::fs::metadata(dirs[0].path()).unwrap().gid().into())
        .unwrap()
        .unwrap();
    let conf = Conf::of(shared())
        .set("listen_addresses", "'127.0.0.1, 127.0.0.2'")
        .set("unix_socket_directories", &format!("'{}, {}'", paths[0], paths[1]))
        .set("unix_socket_group", &format!("'{}'", group.name))
        .set("unix_socket_permissions", "0640");
    let mut balancer = Balancer::start(conf);
    for host in ["127.0.0.1", "127.0.0.2", &paths[0], &paths[1]] {
        let door = Door { host: host.to_owned(), ..balancer.door("postgres") };
        assert_eq!(
            tools::run(tools::psql(&door).args(["-A", "-t", "-c", "SELECT 1"])).succeeded().out,
            "1\n"
        );
    }
    let files = paths.each_ref().map(|path| Path::new(path).join(format!(".s.PGSQL.{}", balancer.port)));
    for file in &files {
        let meta = std::fs::metadata(file).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.gid()), (0o640, group.gid.as_raw()));
    }
    balancer.stop();
    assert!(!files.iter().any(|file| file.exists()));
}

#[test]
fn a_group_that_nobody_knows_is_an_error_that_names_it() {
    let balancer = Balancer::prepared_only(
        Program::under_test(),
        Conf::of(shared()).set("unix_socket_group", "'no_such_group'"),
    );
    let ran = run(&balancer, &["-n"]);
    assert!(!ran.ok && said(&ran).contains("unix_socket_group = 'no_such_group'"), "{}", said(&ran));
}

/// The memory of rings is limited a user, and that of a process that was killed comes back late.
#[test]
fn a_worker_that_gets_no_ring_serves_without() {
    let auto = Conf::of(shared()).set("num_init_children", "1").set("sessions_per_child", "2");
    let balancer = Balancer::start(auto.clone().set("io_method", "auto"));
    if !balancer.log_contains("io_method: io_uring") {
        eprintln!("skipped, the kernel does not allow io_uring");
        return;
    }
    drop(balancer);
    let balancer = Balancer::start(auto.set("io_method", "io_uring"));
    let pid = balancer.pid().to_string();
    tools::run(process::as_server_user(Path::new("prlimit")).args(["--pid", &pid, "--memlock=0"]))
        .succeeded();
    let worker = wait::until("a worker", wait::LIMIT, || workers(&balancer).first().copied());
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    assert_eq!(Client::connect(&balancer.door("postgres")).ask("SELECT 1"), "1");
    assert!(balancer.log_contains("this process waits with epoll"));
}
