//! What operators have done: sessions that are shown, cancelled and ended, other shares of the reads.

use crate::harness::balancer::Conf;
use crate::harness::message::Reply;
use crate::harness::{Balancer, Client, Door, shared, wait};

pub(super) fn start(change: impl FnOnce(Conf) -> Conf) -> Balancer {
    Balancer::start(change(Conf::of(shared()).weights([1, 0, 0])))
}

/// The only session of this application: the wanted column of its row.
fn shown(asker: &mut Client, application: &str, column: &str) -> String {
    let sessions = asker.query("SHOW POOL_SESSIONS").succeeded();
    let applications = sessions.column("application_name");
    let mut of = applications.iter().zip(sessions.column(column)).filter(|(name, _)| *name == application);
    of.next().map(|(_, value)| value).unwrap_or_default()
}

fn named(door: &Door, application: &str) -> Client {
    Client::try_connect(door, &[("application_name", application)]).unwrap()
}

pub(super) fn error(reply: &Reply) -> String {
    reply.error().map(|report| report.message).unwrap_or_default()
}

/// Waits until the statement of that client runs.
fn wait_state(asker: &mut Client, application: &str, state: &str) {
    wait::until_equal(state.to_owned(), || shown(asker, application, "status"));
}

#[test]
fn sessions_of_all_workers_are_shown_with_what_they_do() {
    let balancer = start(|conf| conf.set("num_init_children", "3").set("sessions_per_child", "5"));
    let door = balancer.door("postgres");
    let mut asker = named(&door, "asker");
    let mut clients: Vec<Client> =
        (0..6).map(|at| named(&door.as_user("alice"), &format!("app{at}"))).collect();
    let all = asker.query("SHOW POOL_SESSIONS").succeeded();
    let ids = all.column("session_id");
    assert!(ids.len() >= 7 && all.column("username").iter().filter(|user| *user == "alice").count() == 6);
    let mut unique = ids.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    let address = format!("127.0.0.1:{}", clients[0].local_port());
    assert_eq!(shown(&mut asker, "app0", "client"), address);
    assert_eq!(shown(&mut asker, "app0", "pool_pid"), balancer.worker_of(&clients[0]).to_string());
    assert_eq!(
        (shown(&mut asker, "app0", "status"), shown(&mut asker, "asker", "status")),
        ("idle".into(), "idle".into())
    );
    clients[0].query("BEGIN").succeeded();
    wait_state(&mut asker, "app0", "idle in transaction");
    clients[0].simple("SELECT pg_sleep(60)").send();
    wait_state(&mut asker, "app0", "active");
    let extended = asker.extended("SHOW POOL_SESSIONS", &[]);
    assert_eq!(extended.columns(), all.columns());
}

#[test]
fn a_session_s_statement_is_cancelled_by_its_id_and_the_session_lives() {
    let balancer = start(|conf| conf.set("num_init_children", "3"));
    let door = balancer.door("postgres");
    let mut asker = Client::connect(&door);
    let mut sleeper = named(&door, "sleeper");
    for in_extended in [false, true] {
        // It says when it runs: a cancel request that comes before that is for nothing, as with any server.
        sleeper.simple("DO $$ BEGIN RAISE NOTICE 'runs'; PERFORM pg_sleep(60); END $$").send().until('N');
        wait_state(&mut asker, "sleeper", "active");
        let command = format!("PGPOOL CANCEL '{}'", shown(&mut asker, "sleeper", "session_id"));
        let tags = match in_extended {
            true => asker.extended(&command, &[]).succeeded().tags(),
            false => asker.query(&command).succeeded().tags(),
        };
        assert_eq!(tags, ["CANCEL"]);
        assert_eq!(sleeper.until_ready().error_code(), "57014");
        assert_eq!(sleeper.ask("SELECT 1"), "1");
    }
    // Nothing runs: nothing is cancelled.
    let id = shown(&mut asker, "sleeper", "session_id");
    asker.query(&format!("PGPOOL CANCEL '{id}'")).succeeded();
    assert_eq!(sleeper.ask("SELECT 2"), "2");
    balancer.wait_log(&format!(
        "SQL user \"postgres\" from 127.0.0.1({}): cancel session {id}: done",
        asker.local_port()
    ));
}

#[test]
fn a_session_is_ended_by_its_id_with_what_it_runs_and_the_id_is_never_another_one_s() {
    let cluster = shared();
    let database = cluster.database("terminate");
    let balancer = start(|conf| conf.set("num_init_children", "3"));
    let door = balancer.door(&database);
    let mut asker = Client::connect(&balancer.door("postgres"));
    let mut sleeper = named(&door, "sleeper");
    sleeper.simple("SELECT pg_sleep(60)").send();
    wait_state(&mut asker, "sleeper", "active");
    let id = shown(&mut asker, "sleeper", "session_id");
    let asleep =
        format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND state = 'active'");
    wait::until_equal("1".to_owned(), || cluster.on_node(0, "postgres", &asleep));
    assert_eq!(asker.query(&format!("PGPOOL TERMINATE '{id}'")).succeeded().tags(), ["TERMINATE"]);
    let last = sleeper.until('E').error().unwrap();
    assert_eq!((last.severity.as_str(), last.code.as_str()), ("FATAL", "57P01"));
    assert_eq!(last.message, "terminating connection due to administrator command");
    assert!(sleeper.is_closed_within(wait::LIMIT));
    wait::until_equal("0".to_owned(), || cluster.on_node(0, "postgres", &asleep));
    // In its place come others, and the old id is nobody's.
    for _ in 0..5 {
        let mut other = named(&door, "other");
        let refused = asker.query(&format!("PGPOOL TERMINATE '{id}'"));
        let text =
            format!("there is no session {id} (any more); SHOW POOL_SESSIONS shows those that are there");
        assert_eq!(error(&refused), text);
        assert_eq!(other.ask("SELECT 1"), "1");
        other.terminate();
    }
    let nonsense = asker.query("PGPOOL CANCEL '12'");
    assert!(error(&nonsense).starts_with("\"12\" is no session: "), "{}", error(&nonsense));
    assert_eq!(asker.ask("SELECT 1"), "1");
}

#[test]
fn one_may_end_sessions_of_one_s_own_user_and_superusers_may_all() {
    let balancer = start(|conf| conf.set("num_init_children", "5"));
    let door = balancer.door("postgres");
    let mut alice = named(&door.as_user("alice"), "alice");
    let mut bob = named(&door.as_user("bob"), "bob");
    let mut other_alice = named(&door.as_user("alice"), "alice2");
    let id_of_bob = shown(&mut alice, "bob", "session_id");
    let refused = alice.query(&format!("PGPOOL TERMINATE '{id_of_bob}'"));
    assert_eq!(error(&refused), "permission denied: superusers only, but for sessions of one's own user");
    for command in ["PGPOOL PAUSE", "PGPOOL WEIGHT 1 5"] {
        assert!(error(&alice.query(command)).starts_with("permission denied"), "{command}");
    }
    assert_eq!(bob.ask("SELECT 1"), "1");
    let own = shown(&mut alice, "alice2", "session_id");
    alice.query(&format!("PGPOOL TERMINATE '{own}'")).succeeded();
    assert!(other_alice.is_closed_within(wait::LIMIT));
    // A superuser that has taken another role has the rights of that.
    let mut root = Client::connect(&door);
    root.query("SET ROLE alice").succeeded();
    assert!(error(&root.query(&format!("PGPOOL TERMINATE '{id_of_bob}'"))).starts_with("permission denied"));
    root.query("RESET ROLE").succeeded();
    root.query(&format!("PGPOOL TERMINATE '{id_of_bob}'")).succeeded();
    assert!(bob.is_closed_within(wait::LIMIT));
    balancer.wait_log(&format!("terminate session {id_of_bob}: refused: permission denied"));
}

#[test]
fn a_weight_counts_until_a_reload_changes_it() {
    let mut balancer = start(|conf| conf);
    let mut operator = Client::connect(&balancer.door("postgres"));
    assert_eq!(balancer.reader(), 0);
    assert_eq!(operator.query("PGPOOL WEIGHT 0 0").succeeded().tags(), ["WEIGHT"]);
    operator.query("PGPOOL WEIGHT 2 0.5;").succeeded();
    wait::until_equal(2, || balancer.reader());
    let shares = |operator: &mut Client| operator.query("SHOW POOL_NODES").succeeded().column("lb_weight");
    assert_eq!(shares(&mut operator), ["0.000000", "0.000000", "1.000000"]);
    let status = operator.query("SHOW POOL_STATUS").succeeded();
    let of = status.column("item").into_iter().zip(status.column("value"));
    let weights: Vec<_> = of.filter(|(item, _)| item.starts_with("backend_weight")).map(|(_, v)| v).collect();
    assert_eq!(weights, ["0.000000", "0.000000", "1.000000"]);
    // A reload that leaves it as it was leaves ours, too.
    balancer.rewrite(|conf| conf.set("backend_weight1", "3"));
    balancer.reload();
    let expected = ["0.000000", "0.857143", "0.142857"].map(str::to_owned).to_vec();
    wait::until_equal(expected, || shares(&mut operator));
    balancer.rewrite(|conf| conf.set("backend_weight2", "1"));
    balancer.reload();
    let expected = ["0.000000", "0.750000", "0.250000"].map(str::to_owned).to_vec();
    wait::until_equal(expected, || shares(&mut operator));
    assert_eq!(error(&operator.query("PGPOOL WEIGHT 7 1")), "there is no node 7");
    assert_eq!(
        error(&operator.query("PGPOOL WEIGHT 1 -1")),
        "a weight is a number from 0 to 100000000, not -1"
    );
}

#[test]
fn the_help_lists_what_is_answered() {
    let balancer = start(|conf| conf);
    let mut client = Client::connect(&balancer.door("postgres"));
    let help = client.query("SHOW POOL_HELP").succeeded();
    assert_eq!(help.columns(), ["command", "description"]);
    assert_eq!(client.extended("SHOW POOL_HELP", &[]).rows(), help.rows());
    let commands = help.column("command");
    for command in commands.iter().filter(|command| command.starts_with("SHOW ")) {
        client.query(command).succeeded();
    }
    assert!(commands.iter().any(|command| command == "PGPOOL PAUSE"), "{commands:?}");
}
