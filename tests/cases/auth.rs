//! Who may log in: clients by pool_hba.conf and pool_passwd, and the program at its backends.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::harness::balancer::Conf;
use crate::harness::tools::{self, Ran};
use crate::harness::{Balancer, Cluster, Door, shared};

/// The nodes want a password from `md5_user`, `scram_user` and `password_user`, and none from others.
const POOL_HBA: &str = "
# TYPE  DATABASE  USER           ADDRESS       METHOD
local   all       all                          trust
host    all       md5_user       127.0.0.1/32  md5
host    all       scram_user     127.0.0.1/32  scram-sha-256
host    all       password_user  127.0.0.1/32  scram-sha-256
host    all       alice          127.0.0.1/32  md5
host    all       bob            127.0.0.1/32  reject
host    postgres  postgres       127.0.0.1/32  trust
";

fn md5_of(user: &str) -> String {
    shared().on_primary("postgres", &format!("SELECT 'md5' || md5('{user}_secret' || '{user}')"))
}

fn pool_passwd() -> String {
    let plain = ["scram_user", "password_user"].map(|user| format!("{user}:TEXT{user}_secret\n"));
    let md5 = ["md5_user", "alice"].map(|user| format!("{user}:{}\n", md5_of(user)));
    [plain.concat(), md5.concat()].concat()
}

fn start() -> Balancer {
    let conf = Conf::of(shared()).set("enable_pool_hba", "on").set("pool_passwd", "'pool_passwd'");
    Balancer::start_with(conf, &[("pool_hba.conf", POOL_HBA), ("pool_passwd", &pool_passwd())])
}

fn log_in(door: &Door, password: &str) -> Ran {
    tools::run(
        tools::psql(door).args(["-c", "SELECT current_user, session_user"]).env("PGPASSWORD", password),
    )
}

#[test]
fn clients_with_the_right_password_get_in() {
    let balancer = start();
    for user in ["md5_user", "scram_user", "password_user", "alice"] {
        let ran = log_in(&balancer.door("postgres").as_user(user), &format!("{user}_secret"));
        assert!(ran.ok, "{user}: {}", ran.err);
        assert_eq!(ran.out, format!("{user}|{user}\n"));
    }
}

#[test]
fn the_right_password_opens_again_over_a_pooled_connection_and_a_wrong_one_does_not() {
    let conf = Conf::of(shared()).set("enable_pool_hba", "on").set("pool_passwd", "'pool_passwd'");
    let conf = conf.set("num_init_children", "1");
    let files = [("pool_hba.conf", POOL_HBA), ("pool_passwd", &pool_passwd())];
    let balancer = Balancer::start_with(conf, &files);
    for user in ["md5_user", "scram_user"] {
        let door = balancer.door("postgres").as_user(user);
        let secret = format!("{user}_secret");
        for (password, ok) in [(secret.as_str(), true), (&secret, true), ("wrong", false), (&secret, true)] {
            assert_eq!(log_in(&door, password).ok, ok, "{user} with {password}");
        }
    }
}

#[test]
fn clients_without_the_right_password_do_not_get_in() {
    let balancer = start();
    let cases = [
        ("md5_user", "wrong", "authentication failed"),
        ("scram_user", "wrong", "authentication failed"),
        ("scram_user", "", "password"),
        ("alice", "scram_user_secret", "authentication failed"),
        ("bob", "bob_secret", "pool_hba.conf"),
        ("nobody_we_know", "secret", "pool_hba.conf"),
    ];
    for (user, password, says) in cases {
        let ran = log_in(&balancer.door("postgres").as_user(user), password);
        assert!(!ran.ok, "{user} got in with {password}");
        assert!(ran.err.contains(says), "{user}: {}", ran.err);
    }
}

#[test]
fn pool_hba_rules_are_taken_by_database_and_address() {
    let database = shared().database("hba");
    let balancer = start();
    let refused = log_in(&balancer.door(&database), "");
    assert!(!refused.ok, "postgres may only go to the database postgres");
    let local = log_in(&balancer.local_door(&database), "").succeeded();
    assert_eq!(local.out, "postgres|postgres\n");
}

#[test]
fn a_changed_pool_passwd_counts_after_a_reload() {
    let balancer = start();
    let door = balancer.door("postgres").as_user("alice");
    assert!(log_in(&door, "alice_secret").ok);
    let changed = pool_passwd().replace(&format!("alice:{}", md5_of("alice")), "alice:TEXTnew_secret");
    crate::harness::process::write(&balancer.dir.path().join("pool_passwd"), changed);
    balancer.reload();
    crate::harness::wait::until_true("the new password to count", || log_in(&door, "new_secret").ok);
    assert!(!log_in(&door, "alice_secret").ok);
}

/// Without enable_pool_hba the backends decide, and trust is handed through.
#[test]
fn without_pool_hba_a_trusted_user_needs_no_password() {
    let balancer = Balancer::start(Conf::of(shared()));
    for user in ["alice", "bob", "postgres"] {
        let ran = log_in(&balancer.door("postgres").as_user(user), "").succeeded();
        assert_eq!(ran.out, format!("{user}|{user}\n"));
    }
}

#[test]
fn without_pool_hba_backends_that_want_a_password_get_it_from_pool_passwd() {
    let conf = Conf::of(shared()).set("pool_passwd", "'pool_passwd'");
    let balancer = Balancer::start_with(conf, &[("pool_passwd", &pool_passwd())]);
    for user in ["md5_user", "scram_user", "password_user"] {
        let door = balancer.door("postgres").as_user(user);
        let ran = log_in(&door, &format!("{user}_secret"));
        assert!(ran.ok, "{user}: {}", ran.err);
        assert!(!log_in(&door, "wrong").ok, "{user} got in with a wrong password");
    }
}

#[test]
fn a_password_that_cannot_serve_the_backend_is_an_error_and_the_worker_lives() {
    let conf = Conf::of(shared()).set("pool_passwd", "'pool_passwd'").set("num_init_children", "1");
    let passwd = format!("scram_user:{}\n", md5_of("scram_user"));
    let balancer = Balancer::start_with(conf, &[("pool_passwd", &passwd)]);
    assert!(!log_in(&balancer.door("postgres").as_user("scram_user"), "scram_user_secret").ok);
    assert!(log_in(&balancer.door("postgres").as_user("alice"), "").ok);
}

#[test]
fn no_password_stands_in_the_log() {
    let balancer = start();
    log_in(&balancer.door("postgres").as_user("scram_user"), "scram_user_secret").succeeded();
    log_in(&balancer.door("postgres").as_user("md5_user"), "wrong_but_private");
    for secret in ["scram_user_secret", "wrong_but_private", &md5_of("md5_user")] {
        assert!(!balancer.log_contains(secret), "{secret}");
    }
}

/// `pgpoolkey`, and what `pg_enc -K pgpoolkey` makes of `scram_user_secret`.
const KEY: &str = "pgpoolkey\n";
fn encrypted(password: &str) -> String {
    let key = pgbalancer::auth::pool_key::PoolKey::new(KEY.trim().as_bytes()).unwrap();
    format!("AES{}", key.encrypt(password.as_bytes()).unwrap())
}

#[test]
fn encrypted_passwords_serve_clients_and_backends() {
    let conf = Conf::of(shared()).set("enable_pool_hba", "on").set("pool_passwd", "'pool_passwd'");
    let passwd: String = ["scram_user", "password_user", "md5_user"]
        .map(|user| format!("{user}:{}\n", encrypted(&format!("{user}_secret"))))
        .concat();
    let files = [("pool_hba.conf", POOL_HBA), ("pool_passwd", &passwd), (".pgpoolkey", KEY)];
    let balancer = Balancer::start_with(conf, &files);
    for user in ["scram_user", "password_user", "md5_user"] {
        let door = balancer.door("postgres").as_user(user);
        log_in(&door, &format!("{user}_secret")).succeeded();
        assert!(!log_in(&door, "wrong").ok);
    }
    assert!(balancer.log_contains("has group or world access; permissions should be u=rw (0600) or less"));
}

#[test]
fn a_password_that_cannot_be_decrypted_is_told_with_its_line_and_lets_nobody_in() {
    let conf = Conf::of(shared()).set("enable_pool_hba", "on").set("pool_passwd", "'pool_passwd'");
    let passwd = format!("alice:TEXTx\nscram_user:{}\n", encrypted("scram_user_secret"));
    let files = [("pool_hba.conf", POOL_HBA), ("pool_passwd", &passwd), (".pgpoolkey", "another key\n")];
    let balancer = Balancer::start_with(conf, &files);
    assert!(balancer.log_contains("pool_passwd:2: unable to decrypt password of user \"scram_user\""));
    let door = balancer.door("postgres").as_user("scram_user");
    for password in ["scram_user_secret", &encrypted("scram_user_secret")] {
        let ran = log_in(&door, password);
        assert!(!ran.ok && ran.err.contains("password authentication failed"), "{}", ran.err);
    }
    assert!(balancer.log_contains("unable to decrypt password from pool_passwd"));
    assert!(balancer.log_contains("verify the valid pool_key exists"));
}

#[test]
fn parameters_may_hold_encrypted_passwords() {
    let conf = Conf::of(shared())
        .set("sr_check_user", "'scram_user'")
        .set("sr_check_password", &format!("'{}'", encrypted("scram_user_secret")));
    // It knows who is the primary only if it can log in.
    let balancer = Balancer::start_with(conf, &[(".pgpoolkey", KEY)]);
    assert!(!balancer.log_contains("unable to decrypt"));
}

/// What the servers have of the user, as pool_passwd takes it.
fn verifier(user: &str) -> String {
    shared().on_primary("postgres", &format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'"))
}

const SCRAM_HBA: &str = "local all all trust\nhost all postgres all trust\n\
                         host all scram_user all scram-sha-256\nhost all all all md5\n";

fn with_verifiers(conf: Conf, passwd: &str) -> Balancer {
    let conf = conf.set("enable_pool_hba", "on").set("pool_passwd", "'pool_passwd'");
    Balancer::start_with(conf, &[("pool_hba.conf", SCRAM_HBA), ("pool_passwd", passwd)])
}

#[test]
fn a_verifier_is_enough_where_the_client_proves_itself() {
    // Clean text of no user lies here: what logs in to the nodes is what the client has proved.
    let conf = Conf::of(shared()).set("num_init_children", "1").weights([0, 1, 0]);
    let balancer = with_verifiers(conf, &format!("scram_user:{}\n", verifier("scram_user")));
    let door = balancer.door("postgres").as_user("scram_user");
    for (password, ok) in [("wrong", false), ("scram_user_secret", true), ("wrong", false)] {
        assert_eq!(log_in(&door, password).ok, ok, "{password}: {}", balancer.log());
    }
    // On the primary and on a standby, over connections of its own and over pooled ones.
    for _ in 0..2 {
        let ports = [0, 1].map(|id: usize| format!("{}\n", shared().nodes[id].port));
        let written = format!("CREATE TABLE\n{}", ports[0]);
        for (sql, want) in
            [("CREATE TEMP TABLE t (n int)", written.as_str()), ("SELECT 1", ports[1].as_str())]
        {
            let mut client = tools::psql(&door);
            client.args(["-c", sql, "-c", "SELECT inet_server_port()"]);
            let ran = tools::run(client.env("PGPASSWORD", "scram_user_secret")).succeeded();
            assert!(ran.out.ends_with(want), "{sql}: {}", ran.out);
        }
    }
}

/// The session lives, and opens a connection to the new primary with what its client proved when it came.
#[test]
fn a_proof_opens_the_new_primary_after_a_failover() {
    let cluster = Cluster::private();
    let verifier =
        cluster.on_primary("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'scram_user'");
    let (_scripts, script) = super::survive::promoting(&cluster, "exec PG_CTL -D \"$1\" -w promote");
    let conf = Conf::of(&cluster).with_places(&cluster).weights([1, 0, 0]);
    let conf = conf.set("failover_command", &format!("'{} %R'", script.display()));
    let balancer = with_verifiers(conf, &format!("scram_user:{verifier}\n"));
    balancer.wait_roles();
    let door = balancer.door("postgres").as_user("scram_user");
    let mut client = tools::python(&door, "stays.py");
    client.env("PGPASSWORD", "scram_user_secret").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let (mut input, output) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let mut answers = BufReader::new(output).lines();
    let mut ask = |sql: &str| {
        writeln!(input, "{sql}").unwrap();
        answers.next().expect("an answer").unwrap()
    };
    let port = |node: usize| format!("scram_user {}", cluster.nodes[node].port);
    let who = "/*NO LOAD BALANCE*/ SELECT concat_ws(' ', session_user, inet_server_port())";
    assert_eq!(ask(who), port(0));
    cluster.nodes[0].kill();
    assert_eq!(ask(who), port(1));
    drop(input);
    assert!(client.wait().unwrap().success());
}

#[test]
fn a_verifier_is_of_no_use_without_pool_hba_and_the_error_says_so() {
    let conf = Conf::of(shared()).set("pool_passwd", "'pool_passwd'").set("num_init_children", "1");
    let passwd = format!("scram_user:{}\n", verifier("scram_user"));
    let balancer = Balancer::start_with(conf, &[("pool_passwd", &passwd)]);
    let ran = log_in(&balancer.door("postgres").as_user("scram_user"), "scram_user_secret");
    assert!(!ran.ok && ran.err.contains("prove themselves by it (enable_pool_hba = on"), "{}", ran.err);
    log_in(&balancer.door("postgres").as_user("alice"), "").succeeded();
}

#[test]
fn a_connection_opened_by_a_proof_is_not_lent_to_one_who_has_proved_nothing() {
    let database = shared().database("open");
    let conf = Conf::of(shared()).set("num_init_children", "1");
    let conf = conf.set("enable_pool_hba", "on").set("pool_passwd", "'pool_passwd'");
    let passwd = format!("scram_user:{}\n", verifier("scram_user"));
    let balancer = Balancer::start_with(conf, &[("pool_hba.conf", SCRAM_HBA), ("pool_passwd", &passwd)]);
    let proved = balancer.door(&database).as_user("scram_user");
    log_in(&proved, "scram_user_secret").succeeded();
    // The socket is trusted; the nodes are not asked to.
    let ran = log_in(&balancer.local_door(&database).as_user("scram_user"), "");
    assert!(!ran.ok, "let in over the connection of another: {}", ran.out);
    log_in(&proved, "scram_user_secret").succeeded();
}

#[test]
fn another_verifier_than_the_servers_is_told_with_what_to_do() {
    // The right password, salted otherwise.
    let other = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                 WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let balancer = with_verifiers(Conf::of(shared()), &format!("scram_user:{other}\n"));
    let ran = log_in(&balancer.door("postgres").as_user("scram_user"), "pencil");
    assert!(!ran.ok && ran.err.contains("has another salt or iteration count"), "{}", ran.err);
    assert!(balancer.log_contains("give pool_passwd the rolpassword of pg_authid"));
}
