//! The PCP port: what tools do is seen on the cluster, and hostile or clumsy clients hold nobody up.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::balancer::{Conf, Program};
use crate::harness::pcp::{self, PASSWORD, Raw, USER, bare_tool, tool, tool_command};
use crate::harness::tools::run;
use crate::harness::{Balancer, Client, Cluster, process, shared, wait};

fn start(change: impl FnOnce(Conf) -> Conf) -> Balancer {
    let conf = Conf::of(shared()).set("pcp_node_info_format", "4.3").weights([0, 1, 0]);
    let balancer = Balancer::start_with(change(conf), &[pcp::CONF]);
    balancer.wait_roles();
    balancer
}

fn pcp_process(balancer: &Balancer) -> i32 {
    balancer.child_titled("PCP: wait for connection request").expect("the PCP process")
}

#[test]
fn a_detached_node_gets_no_reads_until_it_is_attached() {
    let balancer = start(|conf| conf);
    assert_eq!(balancer.reader(), 1);
    let done = |tool: &str| format!("{tool} -- Command Successful\n");
    assert_eq!(tool(&balancer, "pcp_detach_node 1").succeeded().out, done("pcp_detach_node"));
    wait::until_equal("3".to_owned(), || pcp::node(&balancer, 1)[2].clone());
    assert_ne!(balancer.reader(), 1);
    assert_eq!(tool(&balancer, "pcp_attach_node 1").succeeded().out, done("pcp_attach_node"));
    wait::until_equal(1, || balancer.reader());
    for line in [
        &format!("PCP user \"{USER}\" from 127.0.0.1(") as &str,
        "): detach node 1: done",
        "): attach node 1: done",
    ] {
        assert!(balancer.log_contains(line), "{line}");
    }
}

#[test]
fn a_reload_reads_the_configuration_and_pcp_conf() {
    let mut balancer = start(|conf| conf);
    balancer.rewrite(|conf| conf.set("client_idle_limit", "77"));
    tool(&balancer, "pcp_reload_config").succeeded();
    let shown = || Client::connect(&balancer.door("postgres")).ask("PGPOOL SHOW client_idle_limit");
    wait::until_equal("77s".to_owned(), shown);
    // A change of pcp.conf counts from the next login on, without a reload; what is wrong with it is said.
    let digits = "5ebe2294ecd0e0f08eab7690d2a6ee69";
    process::write(&balancer.dir.path().join("pcp.conf"), format!("ann:{digits}\nbob:plain\n"));
    assert!(!tool(&balancer, "pcp_node_count").ok);
    let ann = run(&mut bare_tool(&balancer, "pcp_node_count -w -U ann", "localhost:*:ann:secret"));
    assert_eq!(ann.succeeded().out, "3\n");
    balancer.wait_log("pcp.conf:2: password is not an MD5 of 32 digits, as pg_md5 prints it, ignored");
}

#[test]
fn a_log_file_is_rotated_where_there_is_one() {
    let balancer = start(|conf| conf);
    let mut raw = Raw::log_in(balancer.pcp_port());
    raw.send('V', b"l");
    assert_eq!(raw.refused(), ["ERROR", "PCP: log rotation failed", "logging_collector is not enabled"]);
    raw.send('G', b"");
    assert_eq!(raw.refused()[1], "PCP: invalidating query cache failed");
    raw.is_served();

    let logs = process::server_dir("logs");
    let directory = format!("'{}'", logs.path().display());
    let conf = Conf::of(shared())
        .set("logging_collector", "on")
        .set("log_directory", &directory)
        .set("log_filename", "'%s.log'");
    let mut silent = Balancer::prepared_only(Program::under_test(), conf);
    process::write(&silent.dir.path().join(pcp::CONF.0), pcp::CONF.1);
    silent.start_prepared();
    wait::until_true("the PCP port", || TcpStream::connect(("127.0.0.1", silent.pcp_port())).is_ok());
    let files = || std::fs::read_dir(logs.path()).unwrap().count();
    let mut raw = Raw::log_in(silent.pcp_port());
    // The names count seconds.
    wait::until_true("another log file", || {
        raw.send('V', b"l");
        assert_eq!(raw.receive(), Some(('v', b"CommandComplete\0".to_vec())));
        files() > 1
    });
}

#[test]
fn all_ways_to_stop() {
    for (line, waits) in [
        ("pcp_stop_pgpool", true),
        ("pcp_stop_pgpool -m smart -s l", true),
        ("pcp_stop_pgpool -m fast -s c", false),
        ("pcp_stop_pgpool -a --mode=immediate --scope=local", false),
    ] {
        let mut balancer = start(|conf| conf);
        let mut client = Client::connect(&balancer.door("postgres"));
        assert_eq!(client.ask("SELECT 1"), "1");
        let ran = tool(&balancer, line).succeeded();
        assert_eq!(ran.out, "pcp_stop_pgpool -- Command Successful\n", "{line}");
        if waits {
            assert_eq!(client.ask("SELECT 2"), "2", "{line}: it waits for its clients");
            assert!(TcpStream::connect(("127.0.0.1", balancer.pcp_port())).is_err(), "{line}");
            client.terminate();
        }
        assert!(balancer.exit().success(), "{line}");
    }
}

#[test]
fn wrong_users_and_passwords_are_refused_alike_and_named_in_the_log() {
    let balancer = start(|conf| conf);
    for (user, password) in [(USER, "wrong"), ("nobody", PASSWORD), (USER, ""), ("a\nb", "x")] {
        let mut raw = Raw::open(balancer.pcp_port());
        raw.authenticate(user, password);
        let name = user.replace('\n', "\\n");
        let text = format!("authentication failed for user \"{name}\"");
        assert_eq!(raw.refused(), ["FATAL", &text, "username and/or password does not match"]);
        raw.is_closed();
        balancer.wait_log(&format!("FATAL:  {text}\n"));
    }
    balancer.wait_log("CONTEXT:  PCP connection from 127.0.0.1(");
    let missing = run(&mut bare_tool(&balancer, &format!("pcp_node_count -w -U {USER}"), "else:*:x:y"));
    assert!(!missing.ok && missing.err.contains("authentication failed"), "{}", missing.err);
}

#[test]
fn the_socket_file_has_its_mode_and_lets_tools_in() {
    let balancer = start(|conf| conf.set("pcp_listen_addresses", "''").set("pcp_socket_permissions", "0700"));
    let dir = balancer.dir.path().display().to_string();
    let file = balancer.dir.path().join(format!(".s.PGSQL.{}", balancer.pcp_port()));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(tool(&balancer, &format!("pcp_node_count -h {dir}")).succeeded().out, "3\n");
    assert!(TcpStream::connect(("127.0.0.1", balancer.pcp_port())).is_err());
    drop(balancer);
    assert!(!file.exists());
}

#[test]
fn connections_are_logged_where_that_is_wanted() {
    let balancer = start(|conf| conf.set("log_pcp_processes", "on"));
    tool(&balancer, "pcp_node_count").succeeded();
    balancer.wait_log("PCP connection from 127.0.0.1(");
    balancer.wait_log(") begins\n");
    balancer.wait_log(") ends: goodbye\n");
    drop(balancer);
    let mut balancer = start(|conf| conf);
    tool(&balancer, "pcp_node_count").succeeded();
    // What its last connection had to say is in the log then.
    balancer.stop();
    assert!(!balancer.log_contains("PCP connection from"));
}

#[test]
fn the_pcp_process_is_replaced_when_it_dies_and_sessions_do_not_notice() {
    let balancer = start(|conf| conf);
    let mut client = Client::connect(&balancer.door("postgres"));
    assert_eq!(client.ask("SELECT 1"), "1");
    let old = pcp_process(&balancer);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(old), Signal::SIGKILL).unwrap();
    balancer.wait_log(&format!("PCP process with pid: {old} exits with status 9 by signal 9"));
    assert_eq!(tool(&balancer, "pcp_node_count").succeeded().out, "3\n");
    assert_ne!(pcp_process(&balancer), old);
    assert_eq!(client.ask("SELECT 2"), "2");
}

#[test]
fn many_tools_at_once_are_served() {
    let balancer = start(|conf| conf);
    let started: Vec<_> = (0..50)
        .map(|number| {
            let line =
                ["pcp_node_info -a", "pcp_proc_info -a", "pcp_pool_status", "pcp_proc_count"][number % 4];
            let mut command = tool_command(&balancer, line);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in started {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty());
    }
}

#[test]
fn requests_follow_each_other_on_one_connection_in_any_pieces() {
    let balancer = start(|conf| conf);
    let mut raw = Raw::log_in(balancer.pcp_port());
    let many: Vec<u8> = (0..500).flat_map(|_| pcp::packet('L', b"")).collect();
    for piece in many.chunks(7) {
        raw.write(piece);
    }
    for _ in 0..500 {
        assert_eq!(raw.receive(), Some(('l', b"CommandComplete\x003\0".to_vec())));
    }
    // An error that is not fatal leaves the connection as it is; what follows a command waits for its end.
    raw.write(&[pcp::packet('I', b"7\0"), pcp::packet('D', b"1\0"), pcp::packet('D', b"1\0")].concat());
    assert_eq!(raw.refused(), ["ERROR", "informing node info failed", "invalid node ID : 7"]);
    assert_eq!(raw.receive(), Some(('d', b"CommandComplete\0".to_vec())));
    assert!(raw.refused()[1].contains("node id : 1 status: [3] is not valid for failover"));
    raw.is_served();
    raw.send('X', b"");
    raw.is_closed();
}

#[test]
fn packets_that_are_none_are_refused_and_everybody_else_is_served() {
    let balancer = start(|conf| conf);
    let mut good = Raw::log_in(balancer.pcp_port());
    let length = |word: u32| [b"I".as_slice(), &word.to_be_bytes()].concat();
    for (bytes, message, detail) in [
        (length(260), "invalid PCP packet", "incorrect packet length (260)"),
        (length(0x7fff_ffff), "invalid PCP packet", "incorrect packet length (2147483647)"),
        (length(0xffff_fffb), "invalid PCP packet", "incorrect packet length (-5)"),
        (length(0), "invalid PCP packet", "incorrect packet length (0)"),
        (length(3), "invalid PCP packet", "incorrect packet length (3)"),
        (pcp::packet('q', b""), "PCP processing request", "unknown PCP packet type \"q\""),
        (pcp::packet('I', &[b'1'; 300]), "invalid PCP packet", "incorrect packet length (304)"),
    ] {
        let mut raw = Raw::log_in(balancer.pcp_port());
        raw.write(&bytes);
        assert_eq!(raw.refused(), ["FATAL", message, detail]);
        raw.is_closed();
    }
    // Strangers: a request without a login, a password without a salt, another protocol, noise.
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    for bytes in [pcp::packet('L', b""), pcp::packet('R', b"a\0b\0"), http, vec![0; 4096], vec![0xff; 70_000]]
    {
        let mut raw = Raw::open(balancer.pcp_port());
        let _ = raw.stream.write_all(&bytes);
        let _ = raw.stream.shutdown(std::net::Shutdown::Write);
        let first = raw.receive().map(|(kind, _)| kind);
        assert!(matches!(first, None | Some('E')), "{first:?}");
        raw.is_closed();
    }
    good.is_served();
    assert_eq!(tool(&balancer, "pcp_node_count").succeeded().out, "3\n");
}

#[test]
fn who_does_not_log_in_or_ends_no_request_is_sent_away() {
    let balancer = start(|conf| conf.set("authentication_timeout", "2"));
    let late =
        ["FATAL", "PCP connection closed", "client did not log in in time, or left a request half sent"];
    let begin = Instant::now();
    let mut idle = Raw::log_in(balancer.pcp_port());
    let (mut silent, mut slow, mut half) =
        (Raw::open(balancer.pcp_port()), Raw::open(balancer.pcp_port()), Raw::log_in(balancer.pcp_port()));
    half.write(b"L\0\0");
    // A byte now and then does not help, nor does asking for one salt after the other.
    let mut bytes = pcp::packet('M', b"").repeat(400).into_iter();
    slow.stream.set_nonblocking(true).unwrap();
    wait::until_true("the slow one to be sent away", || {
        let sent = bytes.next().is_some_and(|byte| slow.stream.write_all(&[byte]).is_ok());
        let mut answer = [0; 512];
        let answered = slow.stream.read(&mut answer).unwrap_or(0);
        !sent || answer[..answered].windows(5).any(|word| word == b"FATAL")
    });
    assert!(bytes.len() > 0, "it would have come to its end");
    assert_eq!(silent.refused(), late);
    assert_eq!(half.refused(), late);
    let passed = begin.elapsed();
    assert!(passed >= Duration::from_secs(2) && passed < Duration::from_secs(15), "{passed:?}");
    silent.is_closed();
    half.is_closed();
    // One who has logged in and wants nothing may stay.
    idle.is_served();
}

#[test]
fn silent_connections_by_the_hundred_keep_nobody_out_and_sql_goes_on() {
    let balancer = start(|conf| conf);
    let mut client = Client::connect(&balancer.door("postgres"));
    let mut kept = Raw::log_in(balancer.pcp_port());
    let before = process::memory_kib(pcp_process(&balancer));
    let mut silent: Vec<Raw> = Vec::new();
    for number in 0..2000 {
        silent.push(Raw::open(balancer.pcp_port()));
        if number % 500 == 499 {
            assert_eq!(tool(&balancer, "pcp_node_count").succeeded().out, "3\n", "after {number}");
            assert_eq!(client.ask("SELECT 1"), "1");
        }
    }
    kept.is_served();
    // The first had to leave, and hear why; the process does not grow with their number.
    assert_eq!(silent[0].refused()[2], "there are too many PCP connections");
    balancer.wait_log("PCP connections were closed: there are more than 256 at once");
    let open = std::fs::read_dir(format!("/proc/{}/fd", pcp_process(&balancer))).unwrap().count();
    assert!(open < 300, "{open} descriptors");
    let grown = process::memory_kib(pcp_process(&balancer)).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
}

#[test]
fn who_reads_no_answers_is_not_heard_and_costs_little_memory() {
    let balancer = start(|conf| conf);
    let mut raw = Raw::log_in(balancer.pcp_port());
    raw.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let before = process::memory_kib(pcp_process(&balancer));
    // Some 25 KB of answer for five bytes of request, until nothing is taken any more.
    let asked: Vec<u8> = (0..200).flat_map(|_| pcp::packet('B', b"")).collect();
    let mut bytes = 0;
    while raw.stream.write_all(&asked).is_ok() {
        bytes += asked.len();
        assert!(bytes < 64 << 20, "requests are taken for ever");
    }
    let grown = process::memory_kib(pcp_process(&balancer)).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    assert_eq!(tool(&balancer, "pcp_node_count").succeeded().out, "3\n");
    Client::connect(&balancer.door("postgres")).terminate();
}

#[test]
fn a_supervisor_that_is_held_up_holds_only_commands_up() {
    let balancer = start(|conf| conf);
    let mut waiting = Raw::log_in(balancer.pcp_port());
    process::stop(balancer.pid());
    waiting.send('Z', b"l");
    assert_eq!(tool(&balancer, "pcp_node_count").succeeded().out, "3\n");
    process::go_on(balancer.pid());
    assert_eq!(waiting.receive(), Some(('z', b"CommandComplete\0".to_vec())));
    waiting.is_served();
}

/// Two nodes of a cluster, for recovery and promotion.
fn two_nodes(cluster: &Cluster) -> Conf {
    let conf = Conf::of_nodes(&cluster.nodes.iter().take(2).collect::<Vec<_>>())
        .set("pcp_node_info_format", "4.3")
        .set("backend_weight0", "0")
        .set("recovery_user", "'postgres'")
        .set("recovery_1st_stage_command", "'recovery_1st_stage'");
    cluster.nodes.iter().take(2).fold(conf, |conf, node| {
        conf.set(&format!("backend_data_directory{}", node.id), &format!("'{}'", node.data().display()))
    })
}

fn running(balancer: &Balancer, line: &str) -> Child {
    tool_command(balancer, line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn recovery_keeps_only_its_own_client_waiting() {
    let cluster = Cluster::private();
    cluster.prepare_recovery();
    let (node, primary) = (&cluster.nodes[1], cluster.primary().data());
    std::fs::rename(primary.join("recovery_1st_stage"), primary.join("the_rest")).unwrap();
    let waits = "#!/bin/sh\ntouch begun\nwhile [ ! -e go ]; do sleep 0.1; done\nexec ./the_rest \"$@\"\n";
    cluster.primary().script("recovery_1st_stage", waits);
    let balancer = Balancer::start_with(two_nodes(&cluster), &[pcp::CONF]);
    tool(&balancer, "pcp_detach_node 1").succeeded();
    wait::until_equal("3".to_owned(), || pcp::node(&balancer, 1)[2].clone());
    node.kill();
    std::fs::remove_dir_all(node.data()).unwrap();

    let recovery = running(&balancer, "pcp_recovery_node 1");
    wait::until_true("the script to run", || primary.join("begun").exists());
    assert_eq!(tool(&balancer, "pcp_node_count").succeeded().out, "2\n");
    let second = tool(&balancer, "pcp_recovery_node 1");
    assert_eq!(second.err, "FATAL:  pgpool-II is already processing another recovery request.\n\n");
    Client::connect(&balancer.door("postgres")).terminate();
    process::write(&primary.join("go"), "");
    let output = recovery.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "pcp_recovery_node -- Command Successful\n");

    let port = node.port.to_string();
    wait::until_equal(port, || Client::connect(&balancer.door("postgres")).ask("SELECT inet_server_port()"));
    for line in ["): recover node 1: done", "): recover node 1: refused: another node is being recovered"] {
        assert!(balancer.log_contains(line), "{line}");
    }
}

#[test]
fn recovery_goes_on_when_its_client_has_gone_and_says_why_it_failed() {
    let cluster = Cluster::private();
    cluster.prepare_recovery();
    let primary = cluster.primary().data();
    let fails = "#!/bin/sh\ntouch begun\nwhile [ ! -e go ]; do sleep 0.1; done\nexit 1\n";
    cluster.primary().script("recovery_1st_stage", fails);
    let balancer = Balancer::start_with(two_nodes(&cluster), &[pcp::CONF]);
    tool(&balancer, "pcp_detach_node 1").succeeded();
    wait::until_equal("3".to_owned(), || pcp::node(&balancer, 1)[2].clone());
    cluster.nodes[1].stop();
    let mut recovery = running(&balancer, "pcp_recovery_node 1");
    wait::until_true("the script to run", || primary.join("begun").exists());
    // The tool is timeout's child.
    process::children(recovery.id() as i32).into_iter().for_each(|pid| {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    });
    recovery.wait().unwrap();
    process::write(&primary.join("go"), "");
    balancer.wait_log(
        "): recover node 1: refused: executing recovery, execution of command failed at \"1st stage\"",
    );
    // The next one is told itself.
    let failed = tool(&balancer, "pcp_recovery_node 1");
    assert!(
        failed.err.starts_with("ERROR:  executing recovery, execution of command failed"),
        "{}",
        failed.err
    );
    assert_eq!(pcp::node(&balancer, 1)[2], "3");
}

#[test]
fn a_switchover_makes_another_node_the_primary() {
    let cluster = Cluster::private();
    let pg_ctl = cluster.nodes[0].bin.join("pg_ctl");
    // The new primary's data directory.
    let text = format!("#!/bin/sh\nexec {} -D \"$1\" -w promote\n", pg_ctl.display());
    let (_dir, script) = process::script("failover.sh", text);
    let command = format!("'{} %R'", script.display());
    let balancer = Balancer::start_with(two_nodes(&cluster).set("failover_command", &command), &[pcp::CONF]);
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("CREATE TABLE t (n int)").succeeded();
    tool(&balancer, "pcp_promote_node --switchover 1").succeeded();
    // The session goes on, and writes to the new primary.
    wait::until_equal(cluster.nodes[1].port.to_string(), || {
        client.query("INSERT INTO t VALUES (1)").succeeded();
        client.ask("SELECT inet_server_port() FROM t FOR UPDATE LIMIT 1")
    });
    wait::until_equal(vec!["3".to_owned(), "standby".to_owned()], || {
        let node = pcp::node(&balancer, 0);
        vec![node[2].clone(), node[6].clone()]
    });
    assert_eq!(pcp::node(&balancer, 1)[6], "primary");
    assert_eq!(cluster.on_node(1, "postgres", "SELECT pg_is_in_recovery()"), "f");
    assert!(balancer.log_contains("): promote node 1 with switchover: done"));
}
