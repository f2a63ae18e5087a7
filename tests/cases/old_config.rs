//! Files of older versions of pgpool-II: each is accepted, each old name takes effect and is told, and
//! `--migrate` writes the same configuration in today's names.

use std::path::{Path, PathBuf};
use std::process::Output;

use pgbalancer::config::{self, ClusteringMode, Config, parse_text};

use crate::harness::balancer::Program;
use crate::harness::process;

/// Files with the parameters of these versions, and Debian's where it is installed.
fn files() -> Vec<PathBuf> {
    let own = ["3.0", "3.4", "3.7", "4.0", "4.2", "4.7"].map(own_file);
    let debian = ["/usr/share/doc/pgpool2/examples/pgpool.conf.sample", "/etc/pgpool2/pgpool.conf"];
    own.into_iter().chain(debian.map(PathBuf::from).into_iter().filter(|path| path.is_file())).collect()
}

fn own_file(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/old/{version}.conf"))
}

/// Runs the program with these options and a file of this text.
fn run(text: &[u8], options: &[&str]) -> (Output, PathBuf) {
    let Program::Ours(program) = Program::under_test() else { panic!("only ours does this") };
    let dir = process::server_dir("config");
    let path = dir.path().join("pgpool.conf");
    process::write(&path, text);
    let program = process::reachable(&program, dir.path());
    let output = process::as_server_user(&program).args(options).arg(&path).output().unwrap();
    (output, path)
}

fn parse(text: &str) -> config::Loaded {
    let nothing = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    parse_text(text, Path::new("/etc/pool/pgpool.conf"), &nothing).unwrap()
}

fn loaded(version: &str) -> (Config, String) {
    let loaded = parse(&std::fs::read_to_string(own_file(version)).unwrap());
    let notes: Vec<String> = loaded.notes.iter().map(ToString::to_string).collect();
    (loaded.config, notes.join("\n"))
}

#[test]
fn a_file_of_every_version_is_accepted_and_every_name_in_it_is_known() {
    for file in files() {
        let (output, _) = run(&std::fs::read(&file).unwrap(), &["-t", "-f"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", file.display());
        assert!(!said.contains("unknown parameter"), "{}: {said}", file.display());
    }
}

#[test]
fn every_old_name_takes_effect_and_says_what_it_became() {
    for version in ["3.0", "3.4", "3.7", "4.0", "4.2", "4.7"] {
        let (config, _) = loaded(version);
        assert_eq!(config.unix_socket_directories, ["/run/pool"], "{version}");
        assert_eq!(config.work_dir, "/var/log/pool", "{version}");
        assert!(!config.failover_on_backend_error, "{version}");
        assert_eq!(config.read_only_function_list, ["get_.*"], "{version}");
        assert_eq!(config.write_function_list, ["nextval", "setval"], "{version}");
        let slony = version == "3.0";
        let mode = if slony { ClusteringMode::Slony } else { ClusteringMode::StreamingReplication };
        assert_eq!(config.backend_clustering_mode, mode, "{version}");
        if slony {
            continue;
        }
        assert_eq!(config.follow_primary_command, "/bin/follow %d", "{version}");
        assert_eq!(config.delegate_ip, "10.0.0.9", "{version}");
        assert_eq!(config.cache_safe_memqcache_table_list, ["seen"], "{version}");
        assert_eq!(config.cache_unsafe_memqcache_table_list, ["secret"], "{version}");
        let members = [("me", 9000, 9999, 9694, ""), ("other", 9001, 9998, 9695, "eth0")];
        for (id, (host, wd_port, port, heartbeat, device)) in members.into_iter().enumerate() {
            assert_eq!(config.hostname.get(id), host, "{version}");
            assert_eq!(*config.wd_port.get(id), wd_port, "{version}");
            assert_eq!(*config.heartbeat_port.get(id), heartbeat, "{version}");
            assert_eq!(config.heartbeat_device.get(id), device, "{version}");
            if id == 1 {
                assert_eq!(config.heartbeat_hostname.get(id), host, "{version}");
                assert_eq!(*config.pgpool_port.get(id), port, "{version}");
            }
        }
    }
    let (config, notes) = loaded("4.0");
    assert_eq!(config.primary_routing_query_pattern_list, ["SELECT now.*"]);
    for (old, new) in [
        ("socket_dir", "unix_socket_directories"),
        ("black_query_pattern_list", "primary_routing_query_pattern_list"),
        ("wd_hostname", "hostname0"),
        ("heartbeat_device0", "heartbeat_device1"),
        ("other_wd_port0", "wd_port1"),
    ] {
        let told = format!(": {old} is an old name: taken as {new}");
        assert_eq!(notes.lines().filter(|line| line.ends_with(&told)).count(), 1, "{told} in {notes}");
    }
    assert_eq!(notes.matches("backend_clustering_mode = 'streaming_replication'").count(), 1, "{notes}");
    assert_eq!(loaded("4.7").1, "");
}

#[test]
fn what_has_no_effect_any_more_is_said_once_with_the_reason() {
    let (_, notes) = loaded("3.0");
    for name in ["print_timestamp", "parallel_mode", "enable_query_cache", "system_db_port", "debug_level"] {
        assert_eq!(
            notes.matches(&format!(": {name} has no effect any more: ")).count(),
            1,
            "{name} in {notes}"
        );
    }
}

#[test]
fn old_and_unknown_names_are_told_together_with_a_mistake() {
    let (output, path) = run(
        b"socket_dir = '/x'\nnum_init_childern = 4\nssl = perhaps\nmaster_slave_sub_mode = stream\n",
        &["-t", "-f"],
    );
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    for (line, text) in [(1, "unix_socket_directories"), (2, "num_init_children"), (3, "ssl"), (4, "'raw'")] {
        let place = format!("{}:{line}: ", path.display());
        assert!(
            said.lines().any(|line| line.starts_with(&place) && line.contains(text)),
            "{place}{text}: {said}"
        );
    }
}

#[test]
fn a_migrated_file_means_the_same_in_the_names_of_today() {
    for file in files() {
        let old = std::fs::read(&file).unwrap();
        let (output, _) = run(&old, &["--migrate"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (before, after) = (String::from_utf8_lossy(&old), String::from_utf8(output.stdout).unwrap());
        let migrated = parse(&after);
        assert!(parse(&before).config == migrated.config, "{}", file.display());
        assert_eq!(migrated.notes, vec![], "{}", file.display());
        let comments = |text: &str| text.lines().filter(|line| line.starts_with("# ")).count();
        assert_eq!(comments(&before), comments(&after), "{}", file.display());
        let (again, _) = run(after.as_bytes(), &["--migrate"]);
        assert_eq!(String::from_utf8(again.stdout).unwrap(), after, "{}", file.display());
        assert!(again.stderr.is_empty(), "{}", String::from_utf8_lossy(&again.stderr));
    }
}

#[test]
fn migrate_prints_nothing_of_a_file_that_is_wrong_or_not_there() {
    let (output, path) = run(b"socket_dir = 'x\n", &["--migrate"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b""[..]));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("{}:1: ", path.display())));
    let (output, _) = run(b"", &["-f", "/nowhere", "--migrate=/nowhere/pgpool.conf", "-a"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/pgpool.conf"));
}
