//! The configuration as an operator meets it: what is accepted, and how a mistake reads.

use std::path::PathBuf;
use std::process::Output;

use crate::harness::balancer::{Conf, Program};
use crate::harness::{Balancer, Client, process, shared};

/// `pgbalancer -f FILE -t` on this text.
fn check(text: &str) -> (Output, PathBuf) {
    let Program::Ours(program) = Program::under_test() else { panic!("-t is ours alone") };
    let dir = process::server_dir("config");
    let path = dir.path().join("pgbalancer.conf");
    process::write(&path, text);
    let program = process::reachable(&program, dir.path());
    let output = process::as_server_user(&program).arg("-f").arg(&path).arg("-t").output().unwrap();
    (output, path)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The file that the project's description shows, letter by letter.
#[test]
fn the_sample_of_the_description_is_accepted_verbatim() {
    let (output, _) = check(include_str!("../data/seed.conf"));
    assert!(output.status.success(), "{}", said(&output));
}

/// The same with what another program on this machine may hold, or what this cluster has elsewhere, set behind it.
#[test]
fn the_sample_of_the_description_starts() {
    let cluster = shared();
    let database = cluster.database("sample");
    // It makes the places that we then move the sample to.
    let mut elsewhere = Balancer::start_unready(Conf::of(cluster).set("sr_check_period", "0"));
    let places = std::fs::read_to_string(elsewhere.conf_path()).unwrap();
    elsewhere.stop();

    let sample = include_str!("../data/seed.conf");
    let moved = ["port", "pcp_", "pid_", "unix_", "wd_", "work_", "backend_port0", "backend_port1"];
    let kept = |line: &&str| moved.iter().any(|name| line.starts_with(name));
    let places: Vec<&str> = places.lines().filter(kept).collect();
    let text = format!("{sample}\n{}\nuse_watchdog = off\nrest_api_enabled = off\n", places.join("\n"));
    let balancer = Balancer::start_text(&text);
    assert_eq!(Client::connect(&balancer.door(&database)).ask("SELECT 1"), "1");
}

#[test]
fn all_mistakes_are_told_at_once_with_file_and_line() {
    let text = "port = 5432\nnum_init_children = 'many'\n\nmax_pool = -1\nload_balance_mode = perhaps\n\
        disable_load_balance_on_write = 'never'\nchild_life_time = 5parsec\n";
    let (output, path) = check(text);
    assert_eq!(output.status.code(), Some(3));
    let said = said(&output);
    let mistakes = [
        (2, "num_init_children"),
        (4, "max_pool"),
        (5, "load_balance_mode"),
        (6, "disable_load_balance_on_write"),
        (7, "child_life_time"),
    ];
    for (line, name) in mistakes {
        let place = format!("{}:{line}:", path.display());
        let told = said.lines().any(|text| text.contains(&place) && text.contains(name));
        assert!(told, "no line with {place} and {name} in\n{said}");
    }
}

#[test]
fn an_unknown_name_is_a_warning_that_names_its_neighbour() {
    let (output, path) = check("port = 5432\nnum_init_childern = 4\n");
    assert!(output.status.success());
    let said = said(&output);
    let place = format!("{}:2:", path.display());
    assert!(
        said.contains(&place) && said.contains("num_init_childern") && said.contains("num_init_children"),
        "{said}"
    );
}

#[test]
fn units_quotes_includes_and_duplicates_are_read_as_pgpool_reads_them() {
    let balancer = Balancer::start_with(
        Conf::of(shared())
            .set("child_life_time", "5min")
            .set("authentication_timeout", "'90s'")
            .set("include", "'more.conf'"),
        &[(
            "more.conf",
            "MAX_POOL 9   # no sign of equality, another case\nlog_statement = 'yes'\nlog_statement = oN\n",
        )],
    );
    let mut client = Client::connect(&balancer.door("postgres"));
    let cases = [
        ("child_life_time", "5min"),
        ("authentication_timeout", "90s"),
        ("max_pool", "9"),
        ("log_statement", "on"),
    ];
    for (name, shown) in cases {
        assert_eq!(client.ask(&format!("PGPOOL SHOW {name}")), shown, "{name}");
    }
}

#[test]
fn a_missing_file_is_said_plainly() {
    let Program::Ours(program) = Program::under_test() else { panic!("-t is ours alone") };
    let dir = process::server_dir("config");
    let program = process::reachable(&program, dir.path());
    let path = dir.path().join("nowhere.conf");
    let output = process::as_server_user(&program).arg("-f").arg(&path).arg("-t").output().unwrap();
    assert!(said(&output).contains(path.to_str().unwrap()), "{}", said(&output));
}

/// Our sample file, with the places of this test, serves clients over workers of many sessions.
#[test]
fn our_sample_file_starts() {
    let sample = include_str!("../../conf-samples/pgbalancer.conf.sample");
    let cluster = shared();
    let database = cluster.database("our_sample");
    let conf = Conf::of(cluster).set("include", "'sample.conf'");
    let balancer = Balancer::start_with(conf, &[("sample.conf", sample)]);
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(&balancer.door(&database))).collect();
    assert!(clients.iter_mut().all(|client| client.ask("SELECT 1") == "1"));
    assert_eq!(clients[0].ask("PGPOOL SHOW sessions_per_child"), "2500");
}

/// `check_temp_table` was a boolean before pgpool-II 4.1.
#[test]
fn the_words_of_a_boolean_stand_for_what_replaced_it() {
    for word in ["on", "true", "yes", "1", "off", "false", "no", "0", "catalog"] {
        let (output, _) = check(&format!("check_temp_table = {word}\n"));
        assert!(output.status.success(), "{}", said(&output));
    }
    assert!(!check("check_temp_table = perhaps\n").0.status.success());
}
