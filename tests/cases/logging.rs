//! Log lines that scripts and people look for.

use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, ports, shared, wait};

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[test]
fn log_per_node_statement_names_node_and_backend() {
    let cluster = shared();
    let database = cluster.database("perlog");
    cluster.prepare(&database, "CREATE TABLE t (n int)");
    let balancer = Balancer::start(Conf::of(cluster).weights([0, 1, 0]));
    let mut client = Client::connect(&balancer.door(&database));
    client.query("SELECT n FROM t").succeeded();
    client.query("INSERT INTO t VALUES (1)").succeeded();
    let primary = client.ask("SELECT pg_backend_pid() FROM t FOR UPDATE");
    balancer.wait_log(&format!(
        "LOG:  DB node id: 0 backend pid: {primary} statement: INSERT INTO t VALUES (1)\n"
    ));
    balancer.wait_log("statement: SELECT n FROM t\n");
    let log = balancer.log();
    let line = log.lines().find(|line| line.ends_with("statement: SELECT n FROM t")).unwrap();
    let pid = line.split("DB node id: 1 backend pid: ").nth(1).and_then(|rest| rest.split(' ').next());
    assert!(pid.is_some_and(is_number), "{line}");

    client.extended("SELECT n + $1 FROM t", &["1"]).succeeded();
    for step in ["Parse", "Bind", "Execute"] {
        balancer.wait_log(&format!(" statement: {step}: SELECT n + $1 FROM t\n"));
    }
}

#[test]
fn notice_per_node_statement_tells_the_client() {
    let balancer =
        Balancer::start(Conf::of(shared()).weights([1, 0, 0]).set("notice_per_node_statement", "on"));
    let mut client = Client::connect(&balancer.door("postgres"));
    let notices = client.query("SELECT 1").succeeded().notices();
    let wanted = "DB node id: 0 statement: SELECT 1";
    assert!(
        notices.iter().any(|notice| notice.message == wanted && notice.severity == "NOTICE"),
        "{notices:?}"
    );
}

#[test]
fn connections_and_disconnections_are_logged_on_request() {
    let conf = Conf::of(shared()).set("log_connections", "on").set("log_disconnections", "on");
    let balancer = Balancer::start(conf.set("log_hostname", "off"));
    let client = Client::connect(&balancer.door("postgres").as_user("alice"));
    let port = client.local_port();
    client.terminate();
    balancer.wait_log("new connection received");
    balancer.wait_log(&format!("DETAIL:  connecting host=127.0.0.1 port={port}"));
    balancer.wait_log("frontend disconnection: session time: 0:00:0");
    balancer.wait_log(&format!("user=alice database=postgres host=127.0.0.1 port={port}"));
}

#[test]
fn log_statement_writes_what_the_client_asked() {
    let balancer =
        Balancer::start(Conf::of(shared()).set("log_statement", "on").set("log_per_node_statement", "off"));
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("SELECT 'asked'").succeeded();
    balancer.wait_log("LOG:  statement: SELECT 'asked'\n");
    assert!(!balancer.log_contains("DB node id:"));
}

#[test]
fn the_prefix_says_who_and_where() {
    let database = shared().database("prefix");
    let conf = Conf::of(shared()).set("log_line_prefix", "'<%p|%a|%u|%d|%l|%%> '").set("log_statement", "on");
    let balancer = Balancer::start(conf);
    let mut client =
        Client::try_connect(&balancer.door(&database).as_user("alice"), &[("application_name", "teller")])
            .unwrap();
    let worker = balancer.worker_of(&client);
    client.query("SELECT 'here'").succeeded();
    let wanted = format!("<{worker}|teller|alice|{database}|");
    wait::until_true("the prefix of the session", || {
        let log = balancer.log();
        let line = log.lines().find(|line| line.ends_with("|%> LOG:  statement: SELECT 'here'"));
        line.is_some_and(|line| line.starts_with(&wanted))
    });
    assert!(balancer.log_contains("|main|"), "the supervisor has a name too");
}

#[test]
fn the_json_log_holds_an_object_a_line() {
    let conf = Conf::of(shared()).set("log_format", "json").set("log_connections", "on");
    let balancer = Balancer::start(conf);
    let mut client = Client::connect(&balancer.door("postgres"));
    assert_eq!(client.query("SELECT 'no' FROM nowhere").error_code(), "42P01");
    balancer.wait_log("nowhere");
    let log = balancer.log();
    // The first lines come before the configuration is read; the last may be half written.
    let records: Vec<serde_json::Value> = log
        .split_inclusive('\n')
        .filter(|line| line.starts_with('{') && line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text = |record: &serde_json::Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let connected =
        records.iter().find(|record| text(record, "message") == "new connection received").unwrap();
    assert!(text(connected, "detail").starts_with("connecting host="), "{connected}");
    assert_eq!(connected["severity"], "LOG");
    let error = records.iter().find(|record| record.to_string().contains("nowhere")).unwrap();
    assert_eq!(error["database"], "postgres", "{error}");
    assert!(error["pid"].is_number() && error["epoch_ms"].is_number(), "{error}");
}

#[test]
fn log_min_messages_decides_what_is_worth_a_line() {
    let loud = Balancer::start(Conf::of(shared()).set("log_min_messages", "'debug5'"));
    assert!(loud.log_contains("DEBUG"));
    let conf = Conf::of(shared()).set("log_min_messages", "'fatal'").set("log_statement", "on");
    // It cannot say that it has started, so only a client finds out.
    let quiet = Balancer::start_silent(conf);
    let mut client = Client::connect(&quiet.door("postgres"));
    client.query("SELECT 'unheard'").succeeded();
    // As in PostgreSQL, LOG ranks between ERROR and FATAL.
    assert!(!quiet.log_contains("unheard"));
}

#[test]
fn an_error_of_a_backend_is_logged_with_its_statement() {
    let balancer = Balancer::start(Conf::of(shared()).weights([1, 0, 0]));
    let mut client = Client::connect(&balancer.door("postgres"));
    assert_eq!(client.query("SELECT * FROM nowhere_at_all").error_code(), "42P01");
    balancer.wait_log("message: \"relation \"nowhere_at_all\" does not exist\"");
}

#[test]
fn log_hostname_names_the_host_everywhere() {
    let conf = Conf::of(shared())
        .set("log_hostname", "on")
        .set("log_connections", "on")
        .set("log_disconnections", "on")
        .set("log_statement", "on")
        .set("log_line_prefix", "'<%h> '");
    let balancer = Balancer::start(conf);
    let mut client = Client::connect(&balancer.door("postgres"));
    let port = client.local_port();
    balancer.wait_log(&format!("DETAIL:  connecting host=localhost port={port}\n"));
    client.query("SELECT 'named'").succeeded();
    balancer.wait_log("<localhost> LOG:  statement: SELECT 'named'\n");
    let title = std::fs::read(format!("/proc/{}/cmdline", balancer.worker_of(&client))).unwrap();
    let title = String::from_utf8_lossy(&title).into_owned();
    assert!(title.contains(&format!("postgres postgres localhost({port}) idle")), "{title}");
    client.terminate();
    balancer.wait_log(&format!("database=postgres host=localhost port={port}\n"));
}

#[test]
fn log_error_verbosity_decides_how_much_of_a_record_is_written() {
    for (verbosity, detail, location) in
        [("terse", false, false), ("default", true, false), ("verbose", true, true)]
    {
        let conf = Conf::of(shared()).set("log_connections", "on").set("log_error_verbosity", verbosity);
        let balancer = Balancer::start(conf.set("log_line_prefix", "'<%p> '"));
        let mut client = Client::connect(&balancer.door("postgres"));
        client.query("SELECT 1").succeeded();
        let connecting = format!("connecting host=127.0.0.1 port={}", client.local_port());
        balancer.wait_log("LOG:  new connection received\n");
        client.terminate();
        balancer.wait_log("statement: SELECT 1\n");
        let log = balancer.log();
        assert_eq!(log.contains(&format!("> DETAIL:  {connecting}\n")), detail, "{verbosity}:\n{log}");
        let places: Vec<&str> =
            log.lines().filter_map(|line| line.split_once("> LOCATION:  ")).map(|(_, at)| at).collect();
        assert_eq!(!places.is_empty(), location, "{verbosity}:\n{log}");
        // The place of the record, not of the log's own code.
        let is_place =
            |at: &&str| at.starts_with("src/") && !at.starts_with("src/log/") && at.contains(".rs:");
        assert!(places.iter().all(is_place), "{places:?}");
        assert!(!location || places.iter().any(|at| at.starts_with("src/session/report.rs:")), "{places:?}");
    }
}

#[test]
fn client_min_messages_lets_the_client_hear_what_is_logged_on_its_behalf() {
    let conf = Conf::of(shared()).weights([1, 0, 0]).set("log_statement", "on");
    let heard = |level: &str| {
        let balancer = Balancer::start(conf.clone().set("client_min_messages", level));
        let mut client = Client::connect(&balancer.door("postgres"));
        let reply = client.query("SELECT 'mine'").succeeded();
        assert_eq!(reply.value().as_deref(), Some("mine"));
        assert!(reply.kinds().ends_with("TDCZ"), "before the answer: {}", reply.kinds());
        let notices = reply.notices().into_iter().map(|notice| (notice.severity, notice.message));
        notices.collect::<Vec<_>>()
    };
    assert_eq!(heard("notice"), []);
    let loud = heard("log");
    assert_eq!(loud[0], ("LOG".to_owned(), "statement: SELECT 'mine'".to_owned()), "{loud:?}");
    assert!(loud[1].1.starts_with("DB node id: 0 backend pid: "), "{loud:?}");
    assert_eq!(loud.len(), 2, "{loud:?}");
    let all = heard("debug1");
    assert!(
        all.iter().any(|(severity, text)| severity == "DEBUG1" && text.starts_with("route: ")),
        "{all:?}"
    );
}

#[test]
fn log_backend_messages_names_what_the_servers_send() {
    let lines = |mode: &str| {
        let conf = Conf::of(shared()).weights([1, 0, 0]).set("log_backend_messages", mode);
        let balancer =
            Balancer::start(conf.set("log_per_node_statement", "off").set("log_disconnections", "on"));
        let mut client = Client::connect(&balancer.door("postgres"));
        client.query("VALUES (1), (2), (3), (4)").succeeded();
        client.query("SELECT nothing").error().unwrap();
        let port = client.local_port();
        client.terminate();
        balancer.wait_log(&format!("port={port}\n"));
        let log = balancer.log();
        let lines = log.lines().filter_map(|line| line.split_once("LOG:  ")).map(|(_, text)| text.to_owned());
        // The session that waits for the roles has only ParameterStatus; ours begins with its rows.
        let lines = lines.filter(|text| text.contains(" message from backend 0"));
        lines.skip_while(|text| !text.starts_with("RowDescription")).collect::<Vec<_>>()
    };
    let row = "DataRow message from backend 0";
    let rest = ["CommandComplete", "ReadyForQuery", "ErrorResponse", "ReadyForQuery"]
        .map(|name| format!("{name} message from backend 0"));
    let first = "RowDescription message from backend 0".to_owned();
    let verbose: Vec<String> =
        [first.clone()].into_iter().chain([row; 4].map(str::to_owned)).chain(rest.clone()).collect();
    assert_eq!(lines("verbose"), verbose);
    let repeated = format!("last {row} repeated 3 times");
    let terse: Vec<String> = [first, row.to_owned(), repeated].into_iter().chain(rest).collect();
    assert_eq!(lines("terse"), terse);
    assert_eq!(lines("none"), [""; 0]);
}

#[test]
fn log_client_messages_writes_each_message_once_however_long_it_waits() {
    let conf = Conf::of(shared()).weights([0, 1, 0]).set("log_client_messages", "on");
    let balancer = Balancer::start(conf.set("log_per_node_statement", "off").set("log_disconnections", "on"));
    let mut client = Client::connect(&balancer.door("postgres"));
    // Sent ahead, so that each waits for the one before; the last two come in pieces.
    client
        .simple("SELECT pg_sleep(0.1)")
        .simple("CREATE TEMP TABLE waits (n int)")
        .simple("SELECT n FROM waits");
    client.parse("s", "SELECT 1").sync().send();
    for _ in 0..4 {
        client.until_ready().succeeded();
    }
    client.send_raw(b"Q\0\0\0\x0dSEL");
    client.send_raw(b"ECT 2\0");
    client.until_ready().succeeded();
    client.query(&format!("SELECT 3 /*{}*/", "x".repeat(1 << 20))).succeeded();
    let port = client.local_port();
    client.terminate();
    balancer.wait_log(&format!("port={port}\n"));
    let log = balancer.log();
    for text in [
        "query: \"SELECT pg_sleep(0.1)\"",
        "query: \"CREATE TEMP TABLE waits (n int)\"",
        "query: \"SELECT n FROM waits\"",
        "statement: \"s\", query: \"SELECT 1\"",
        "query: \"SELECT 2\"",
        "query: \"(a text of over 1 MiB)\"",
    ] {
        assert_eq!(log.matches(&format!("DETAIL:  {text}\n")).count(), 1, "{text}\n{log}");
    }
}

#[test]
fn a_node_that_does_not_answer_is_named_with_its_place() {
    let port = ports::free();
    let conf = Conf::of(shared()).weights([0, 1, 0]).set("backend_port1", &port.to_string());
    let balancer = Balancer::start_unready(conf.set("log_min_messages", "debug1"));
    let mut client = Client::connect(&balancer.door("postgres"));
    assert_eq!(client.query("SELECT 1").succeeded().notices().len(), 0, "the client need not hear of it");
    balancer.wait_log(&format!(
        "LOG:  failed to connect to PostgreSQL server on \"127.0.0.1:{port}\", getsockopt() failed\n"
    ));
    balancer.wait_log("DETAIL:  Connection refused");
    balancer.wait_log("DEBUG1:  selecting load balance node\n");
    balancer.wait_log("DETAIL:  selected backend id is 1\n");
}

#[test]
fn everybody_says_that_the_configuration_is_read_again() {
    let balancer =
        Balancer::start(Conf::of(shared()).set("num_init_children", "2").set("log_line_prefix", "'%p|'"));
    balancer.reload();
    balancer.wait_log("LOG:  reload config files.\n");
    for pid in balancer.children() {
        balancer.wait_log(&format!("{pid}|LOG:  reloading config file\n"));
    }
}

#[test]
fn option_d_lets_debug_lines_into_the_log() {
    let quiet = Balancer::start_silent(Conf::of(shared()));
    Client::connect(&quiet.door("postgres")).query("SELECT 1").succeeded();
    assert!(!quiet.log_contains("DEBUG"));
    let loud = Balancer::start_with_options(Conf::of(shared()), &["-d"]);
    Client::connect(&loud.door("postgres")).query("SELECT 1").succeeded();
    loud.wait_log("DEBUG1:  route: ");
}
