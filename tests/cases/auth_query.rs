//! Users whom pool_passwd does not know, looked up on the primary (`auth_query`).

use crate::harness::balancer::Conf;
use crate::harness::tools::{self, Ran};
use crate::harness::{Balancer, Door, shared, wait};

const QUERY: &str = "'SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1;'";

const HBA: &str = "local all all trust\nhost all postgres all trust\nhost all md5_user all md5\n\
                   host all all all scram-sha-256\n";

fn start(change: impl FnOnce(Conf) -> Conf) -> Balancer {
    let conf = Conf::of(shared()).set("enable_pool_hba", "on").set("auth_query", QUERY);
    let conf = conf.set("auth_user", "'postgres'").set("num_init_children", "2");
    Balancer::start_with(change(conf), &[("pool_hba.conf", HBA)])
}

fn log_in(door: &Door, password: &str) -> Ran {
    tools::run(tools::psql(door).args(["-c", "SELECT session_user"]).env("PGPASSWORD", password))
}

#[test]
fn whom_the_primary_knows_gets_in_with_the_password_that_it_knows() {
    let balancer = start(|conf| conf);
    for user in ["scram_user", "md5_user"] {
        let door = balancer.door("postgres").as_user(user);
        for _ in 0..3 {
            assert_eq!(log_in(&door, &format!("{user}_secret")).succeeded().out, format!("{user}\n"));
            assert!(!log_in(&door, "wrong").ok);
        }
    }
}

#[test]
fn whom_nobody_knows_is_told_what_one_with_a_wrong_password_is_told() {
    let balancer = start(|conf| conf);
    let told = |user: &str| {
        let err = log_in(&balancer.door("postgres").as_user(user), "wrong").err;
        assert!(err.contains("password authentication failed"), "{err}");
        err.replace(user, "USER")
    };
    let wrong = told("scram_user");
    // One without a password, one who is none, and one whose name would be SQL.
    for user in ["alice", "nobody_here", "x' OR rolname = 'scram_user", "\\' OR true --"] {
        assert_eq!(told(user), wrong);
    }
    // What the query gives for another one does not count.
    let all = "'SELECT rolname, rolpassword FROM pg_authid WHERE $1::text <> rolname AND rolname = $q$scram_user$q$'";
    let balancer = start(|conf| conf.set("auth_query", all));
    assert!(!log_in(&balancer.door("postgres").as_user("bob"), "scram_user_secret").ok);
    assert!(balancer.log_contains("auth_query has given another user"));
}

#[test]
fn a_query_that_fails_lets_nobody_in_and_the_log_says_why() {
    let balancer = start(|conf| conf.set("auth_query", "'SELECT * FROM nosuch WHERE name = $1'"));
    let door = balancer.door("postgres").as_user("scram_user");
    let ran = log_in(&door, "scram_user_secret");
    assert!(!ran.ok && ran.err.contains("password authentication failed"), "{}", ran.err);
    assert!(
        balancer
            .log_contains("auth_query for user \"scram_user\": ERROR: relation \"nosuch\" does not exist")
    );
    assert!(log_in(&balancer.door("postgres"), "").ok, "the worker serves others");
}

#[test]
fn answers_are_kept_and_a_new_password_counts_when_they_expire() {
    // The cluster may be one that has served this test before.
    shared().on_primary("postgres", "DROP ROLE IF EXISTS asked_for");
    shared().on_primary("postgres", "CREATE ROLE asked_for LOGIN PASSWORD 'old'");
    let balancer = start(|conf| conf.set("auth_query_cache_expiry", "1").set("num_init_children", "1"));
    let door = balancer.door("postgres").as_user("asked_for");
    log_in(&door, "old").succeeded();
    shared().on_primary("postgres", "ALTER ROLE asked_for PASSWORD 'new'");
    wait::until_true("the new password to count", || log_in(&door, "new").ok);
    assert!(!log_in(&door, "old").ok);
    let balancer = start(|conf| conf.set("auth_query_cache_expiry", "1h").set("num_init_children", "1"));
    let door = balancer.door("postgres").as_user("asked_for");
    log_in(&door, "new").succeeded();
    shared().on_primary("postgres", "ALTER ROLE asked_for PASSWORD 'third'");
    log_in(&door, "new").succeeded();
}

/// The server wants a password of `auth_user`, which may ask only by a function.
#[test]
fn the_user_that_asks_may_need_a_password_of_its_own() {
    let database = shared().database("lookup");
    shared().prepare(
        &database,
        "CREATE FUNCTION known(text) RETURNS TABLE (name text, secret text) LANGUAGE sql SECURITY DEFINER
         AS 'SELECT rolname::text, rolpassword::text FROM pg_authid WHERE rolname = $1'",
    );
    let start = |passwords: &str| {
        let conf = Conf::of(shared()).set("enable_pool_hba", "on").set("pool_passwd", "'pool_passwd'");
        let conf = conf.set("auth_query", "'SELECT * FROM known($1)'").set("auth_user", "'scram_user'");
        let conf = conf.set("auth_dbname", &format!("'{database}'")).set("num_init_children", "1");
        Balancer::start_with(conf, &[("pool_hba.conf", HBA), ("pool_passwd", passwords)])
    };
    let balancer = start("scram_user:TEXTscram_user_secret\n");
    let door = balancer.door("postgres").as_user("md5_user");
    assert_eq!(log_in(&door, "md5_user_secret").succeeded().out, "md5_user\n");
    assert!(!log_in(&door, "wrong").ok);
    for (passwords, says) in [
        ("scram_user:TEXTwrong\n", "password authentication failed for user \"scram_user\""),
        ("", "pool_passwd file does not contain an entry for \"scram_user\""),
    ] {
        let balancer = start(passwords);
        let ran = log_in(&balancer.door("postgres").as_user("md5_user"), "md5_user_secret");
        assert!(
            !ran.ok && ran.err.contains("password authentication failed for user \"md5_user\""),
            "{}",
            ran.err
        );
        let log = balancer.log();
        assert!(
            log.lines().any(|line| line.contains("auth_query for user \"md5_user\"") && line.contains(says)),
            "{log}"
        );
    }
}

#[test]
fn the_parameters_must_fit_each_other() {
    for (name, value, says) in
        [("auth_user", "''", "needs auth_user"), ("auth_query", "'SELECT 1'", "needs $1")]
    {
        let conf =
            Conf::of(shared()).set("auth_query", QUERY).set("auth_user", "'postgres'").set(name, value);
        let balancer = Balancer::prepared_only(crate::harness::balancer::Program::under_test(), conf);
        let ran: Ran = balancer.command(&["-t"]).output().unwrap().into();
        assert!(!ran.ok && ran.err.contains(says), "{}", ran.err);
    }
}
