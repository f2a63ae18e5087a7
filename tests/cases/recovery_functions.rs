//! compat/sql: the functions of pgpool_recovery without C.

use std::path::Path;

use crate::harness::cluster::other_versions;
use crate::harness::recovery::{install_functions, source};
use crate::harness::{Client, Cluster, process, shared, tools, wait};

/// Leaves its arguments in the first free one of ARGS, ARGS.1 …: each with a line of its own behind it.
fn noting(file: &Path) -> String {
    format!("#!/bin/bash\nprintf '%s\\n=\\n' \"$@\" >'{}'\n", file.display())
}

fn noted(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::remove_file(file).unwrap();
    text.split_terminator("\n=\n").map(str::to_owned).collect()
}

/// What a shell would do something with.
const HOSTILE: [&str; 6] = [
    "a b; touch /tmp/injected; $(touch /tmp/injected) `touch /tmp/injected`",
    "'; touch /tmp/injected; '",
    "\"; touch /tmp/injected; \" \\",
    "*\n? ~ $HOME && || | & < > # ! %s %L {a,b}",
    "",
    "-rf \\' \u{e9}\t$$",
];

/// Calls every form with such arguments, and looks at what the script got.
fn arguments_arrive(cluster: &Cluster, client: &mut Client, dir: &Path) {
    let data = cluster.primary().data().to_str().unwrap().to_owned();
    let file = dir.join("arguments");
    cluster.primary().script("note it's", &noting(&file));
    cluster.primary().script("pgpool_remote_start", &noting(&file));
    for shift in 0..HOSTILE.len() {
        let text = |at: usize| HOSTILE[(shift + at) % HOSTILE.len()];
        let all = ["note it's", text(0), text(1), text(2), "7", text(3), text(4)];
        let types = ["text", "text", "text", "text", "integer", "text", "text"];
        for count in 3..=7 {
            let places: Vec<String> = (0..count).map(|at| format!("${}::{}", at + 1, types[at])).collect();
            let sql = format!("SELECT pgpool_recovery({})", places.join(", "));
            assert_eq!(client.extended(&sql, &all[..count]).succeeded().value().as_deref(), Some("t"));
            let expected: Vec<&str> =
                std::iter::once(data.as_str()).chain(all[1..count].iter().copied()).collect();
            assert_eq!(noted(&file), expected, "{count}");
        }
        let sql = "SELECT pgpool_remote_start($1::text, $2::text)";
        assert_eq!(client.extended(sql, &[text(0), text(1)]).succeeded().value().as_deref(), Some("t"));
        assert_eq!(noted(&file), [text(0), text(1)]);
    }
    assert!(!Path::new("/tmp/injected").exists());
}

#[test]
fn every_form_hands_its_arguments_to_the_script_as_they_are() {
    let cluster = shared();
    let database = cluster.database("recovery");
    install_functions(&cluster.door(0, &database));
    let dir = process::server_dir("arguments");
    for conforming in ["on", "off"] {
        let mut client = Client::connect(&cluster.door(0, &database));
        client.query(&format!("SET standard_conforming_strings = {conforming}")).succeeded();
        arguments_arrive(cluster, &mut client, dir.path());
    }
}

#[test]
fn a_script_that_fails_is_an_error_that_says_how() {
    let cluster = shared();
    let database = cluster.database("recovery");
    install_functions(&cluster.door(0, &database));
    let data = cluster.primary().data().to_str().unwrap().to_owned();
    cluster.primary().script("fails", "#!/bin/sh\nexit 3\n");
    process::write(&cluster.primary().data().join("no_program"), "");
    let mut client = Client::connect(&cluster.door(0, &database));
    for (script, reason) in [
        ("fails", "child process exited with exit code 3"),
        ("no_program", "command not executable"),
        ("missing", "command not found"),
    ] {
        let error = client.query(&format!("SELECT pgpool_recovery('{script}', 'a', 'b')")).error().unwrap();
        assert_eq!(error.message, format!("pgpool_recovery failed: {data}/{script}: {reason}"));
    }
    // As the C functions: nothing is run.
    assert_eq!(client.query("SELECT pgpool_recovery('fails', NULL, 'b')").succeeded().value(), None);
    let error = client.query("SELECT pgpool_switch_xlog('/no/such/place')").error().unwrap();
    assert_eq!(error.code, "58P01");
    let error = client.query("SELECT pgpool_switch_xlog('/tmp')").error().unwrap();
    assert!(error.message.contains("archive_mode is off"), "{}", error.message);
}

#[test]
fn nobody_else_may_call_them() {
    let cluster = shared();
    let database = cluster.database("recovery");
    install_functions(&cluster.door(0, &database));
    let mut client = Client::connect(&cluster.door(0, &database).as_user("alice"));
    for call in [
        "pgpool_recovery('s', 'h', 'd')",
        "pgpool_recovery('s', 'h', 'd', 'p')",
        "pgpool_recovery('s', 'h', 'd', 'p', 1)",
        "pgpool_recovery('s', 'h', 'd', 'p', 1, 'r')",
        "pgpool_recovery('s', 'h', 'd', 'p', 1, 'r', 'm')",
        "pgpool_remote_start('h', 'd')",
        "pgpool_pgctl('reload', '')",
        "pgpool_switch_xlog('/tmp')",
    ] {
        assert_eq!(client.query(&format!("SELECT {call}")).error_code(), "42501", "{call}");
    }
}

/// The same names, parameters and results as those of Debian's package, if it is here.
#[test]
fn the_signatures_are_those_of_the_c_functions() {
    let cluster = shared();
    let (ours, theirs) = (cluster.database("recovery"), cluster.database("recovery"));
    if cluster.on_primary(&theirs, "SELECT 1 FROM pg_available_extensions WHERE name = 'pgpool_recovery'")
        != "1"
    {
        eprintln!("skipped: there is no package with the C functions here (scripts/need test)");
        return;
    }
    install_functions(&cluster.door(0, &ours));
    cluster.on_primary(&theirs, "CREATE EXTENSION pgpool_recovery");
    let signatures = |database: &str| {
        let sql = "SELECT string_agg(format('%s %s(%s) %s %s %s', pg_get_function_result(oid), proname, \
            pg_get_function_identity_arguments(oid), proisstrict, provolatile, pronamespace::regnamespace), '; ' \
            ORDER BY proname, pronargs) FROM pg_proc WHERE proname LIKE 'pgpool%'";
        cluster.on_primary(database, sql)
    };
    assert_eq!(signatures(&ours), signatures(&theirs));

    // What theirs does with an argument that a shell understands is why ours quotes otherwise.
    let dir = process::server_dir("arguments");
    let file = dir.path().join("arguments");
    cluster.primary().script("both", &noting(&file));
    for (database, arrives) in [(&ours, "$(printf injected)"), (&theirs, "injected")] {
        cluster.on_primary(database, "SELECT pgpool_recovery('both', '$(printf injected)', 'd')");
        assert_eq!(noted(&file)[1], arrives);
    }
}

#[test]
fn the_functions_work_with_the_oldest_and_the_newest_server() {
    for version in other_versions() {
        let cluster = Cluster::private_of(Some(version));
        let door = cluster.door(0, "postgres");
        install_functions(&door);
        let dir = process::server_dir("archive");
        let mut client = Client::connect(&door);
        arguments_arrive(&cluster, &mut client, dir.path());

        let archive = format!("ALTER SYSTEM SET archive_command = 'cp %p {}/%f'", dir.path().display());
        client.query("ALTER SYSTEM SET archive_mode = on").succeeded();
        client.query(&archive).succeeded();
        drop(client);
        cluster.primary().stop();
        cluster.primary().start();
        let mut client = Client::connect(&door);
        let switch = format!("SELECT pgpool_switch_xlog('{}')", dir.path().display());
        let place = client.ask(&switch);
        let file = client.ask(&format!("SELECT pg_walfile_name('{place}')"));
        let size = std::fs::metadata(dir.path().join(&file)).unwrap().len();
        assert_eq!(size % (1 << 20), 0, "{file}");

        let before = client.ask("SELECT pg_conf_load_time()");
        assert_eq!(client.ask("SELECT pgpool_pgctl('reload', '')"), "t");
        wait::until_true("the server to reload", || client.ask("SELECT pg_conf_load_time()") != before);
        // The session that asks is ended with the server; pg_ctl must not be.
        let postmaster = cluster.primary().postmaster();
        // Whether it still gets an answer is a matter of chance.
        client.simple("SELECT pgpool_pgctl('restart', 'fast')").send();
        wait::until_true("the server to be another one", || {
            let now = cluster.primary().postmaster();
            now.is_some() && now != postmaster
        });
        wait::until_true("it to take clients", || {
            let listens = std::net::TcpStream::connect((door.host.as_str(), door.port)).is_ok();
            listens && Client::try_connect(&door, &[]).is_ok()
        });
    }
}

/// `CREATE EXTENSION` finds what compat/sql/install has put there.
#[test]
fn the_extension_is_installed_by_its_script() {
    let dir = process::server_dir("extension");
    let install = || tools::run(std::process::Command::new(source("compat/sql/install")).arg(dir.path()));
    install().succeeded();
    // Again is as good as once; what another package put there stays.
    install().succeeded();
    let control = dir.path().join("pgpool_recovery.control");
    assert!(dir.path().join("pgpool_recovery--1.4.sql").exists());
    process::write(&control, "default_version = '9'");
    assert!(!install().ok);
    assert_eq!(std::fs::read_to_string(&control).unwrap(), "default_version = '9'");
}
