//! Who may log in where pool_hba.conf leaves it to others: LDAP, PAM, a backend, the name of the host.

use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::harness::balancer::{Conf, Program};
use crate::harness::pam::Service;
use crate::harness::slapd::Slapd;
use crate::harness::tools::{self, Ran};
use crate::harness::{Balancer, Door, process, shared, wait};

fn conf() -> Conf {
    let conf = Conf::of(shared()).set("enable_pool_hba", "on").set("pool_passwd", "'pool_passwd'");
    conf.set("num_init_children", "1").set("sessions_per_child", "20")
}

fn start(pool_hba: &str, pool_passwd: &str) -> Balancer {
    Balancer::start_with(conf(), &[("pool_hba.conf", pool_hba), ("pool_passwd", pool_passwd)])
}

fn log_in(door: &Door, password: &str) -> Ran {
    tools::run(tools::psql(door).args(["-c", "SELECT current_user"]).env("PGPASSWORD", password))
}

#[track_caller]
fn comes_in(balancer: &Balancer, user: &str, password: &str) {
    let ran = log_in(&balancer.door("postgres").as_user(user), password);
    assert!(ran.ok, "{user}: {}\n{}", ran.err, balancer.log());
    assert_eq!(ran.out, format!("{user}\n"));
}

#[track_caller]
fn is_refused(balancer: &Balancer, user: &str, password: &str, says: &str) {
    let ran = log_in(&balancer.door("postgres").as_user(user), password);
    assert!(!ran.ok, "{user} got in with \"{password}\"");
    assert!(ran.err.contains(says), "{user} with \"{password}\": {}", ran.err);
}

#[test]
fn a_clear_password_is_checked_by_pool_passwd_or_else_by_the_backend() {
    let md5 = shared().on_primary("postgres", "SELECT 'md5' || md5('alice_secretalice')");
    let verifier =
        shared().on_primary("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'scram_user'");
    let passwd = format!("alice:{md5}\nscram_user:{verifier}\nbob:TEXTbob_secret\n");
    let balancer = start("host all all 127.0.0.1/32 password\n", &passwd);
    let refused = "password authentication failed for user";
    for user in ["alice", "scram_user", "bob", "md5_user", "password_user"] {
        let secret = format!("{user}_secret");
        for _ in 0..2 {
            comes_in(&balancer, user, &secret);
            is_refused(&balancer, user, "wrong", refused);
        }
        is_refused(&balancer, user, "", "password");
    }
    // The backends trust postgres, so nobody would have looked at the password.
    is_refused(&balancer, "postgres", "anything", refused);
    assert!(!balancer.log_contains("_secret"));
}

#[test]
fn without_pool_hba_an_unknown_user_may_be_asked_for_the_password_in_clear() {
    let start = |allowed: &str| {
        let conf = Conf::of(shared()).set("pool_passwd", "'pool_passwd'").set("num_init_children", "1");
        let conf = conf.set("allow_clear_text_frontend_auth", allowed);
        Balancer::start_with(conf, &[("pool_passwd", "")])
    };
    let balancer = start("on");
    for user in ["scram_user", "md5_user", "password_user"] {
        for _ in 0..2 {
            comes_in(&balancer, user, &format!("{user}_secret"));
            is_refused(&balancer, user, "wrong", "password authentication failed");
        }
    }
    comes_in(&balancer, "alice", "");
    is_refused(&start("off"), "scram_user", "scram_user_secret", "failed to authenticate with backend");
}

#[test]
fn rules_go_by_the_name_of_the_host_and_by_its_own_addresses() {
    let balancer = start("host all alice localhost trust\n", "");
    comes_in(&balancer, "alice", "");
    let balancer = start("host all alice .nowhere.example trust\nhost all bob samehost trust\n", "");
    is_refused(&balancer, "alice", "", "no pool_hba.conf entry");
    comes_in(&balancer, "bob", "");
}

#[test]
fn a_wrong_line_keeps_it_from_starting() {
    let mut balancer =
        Balancer::prepared_only(Program::under_test(), Conf::of(shared()).set("enable_pool_hba", "on"));
    process::write(
        &balancer.dir.path().join("pool_hba.conf"),
        "local all all trust\nhost all all all peer\n",
    );
    let ran = tools::run(&mut balancer.command(&["-n"]));
    assert!(!ran.ok && ran.err.contains("pool_hba.conf:2: "), "{}", ran.err);
    assert!(!balancer.is_running());
}

#[test]
fn a_wrong_line_leaves_the_old_rules_in_force() {
    let balancer = start("host all alice all trust\nhost all bob all reject\n", "");
    let path = balancer.dir.path().join("pool_hba.conf");
    process::write(&path, "host all all all trust\n\nhost all all all ldap ldapserver=h\n");
    balancer.reload();
    balancer.wait_log("the old rules of pool_hba.conf stay in force");
    balancer.wait_log("pool_hba.conf:3: authentication method \"ldap\" requires argument \"ldapbasedn\"");
    comes_in(&balancer, "alice", "");
    is_refused(&balancer, "bob", "", "pool_hba.conf rejects connection");
    process::write(&path, "host all all all trust\n");
    balancer.reload();
    wait::until_true("the new rules to count", || log_in(&balancer.door("postgres").as_user("bob"), "").ok);
}

#[test]
fn a_certificate_is_asked_for_only_over_tls() {
    let balancer = start("hostssl all all all cert\nhost all bob all trust\n", "");
    is_refused(&balancer, "alice", "", "no pool_hba.conf entry");
    comes_in(&balancer, "bob", "");
}

#[test]
fn ldap_by_the_name_of_the_entry() {
    let slapd = Slapd::start();
    let port = slapd.port;
    // The first server is away.
    let balancer = start(
        &format!(
            "host all all all ldap ldapserver=\"127.0.0.2 127.0.0.1\" ldapport={port} ldapprefix=uid= \
             ldapsuffix=\",ou=people,dc=test\"\n"
        ),
        "scram_user:TEXTscram_user_secret\n",
    );
    let refused = "LDAP authentication failed for user";
    comes_in(&balancer, "alice", "alice_secret");
    comes_in(&balancer, "scram_user", "scram_user_secret");
    is_refused(&balancer, "alice", "wrong", refused);
    is_refused(&balancer, "bob", "bob_secret", refused);
    is_refused(&balancer, "alice", "", "password");
    assert!(balancer.log_contains("LDAP login failed for user \"uid=alice,ou=people,dc=test\""));
    assert!(!balancer.log_contains("alice_secret"));
}

#[test]
fn ldap_by_a_search() {
    let slapd = Slapd::start();
    let hba = format!(
        "host all all all ldap ldapurl=\"ldap://127.0.0.1:{}/dc=test?uid?sub\" backend_use_passwd=1\n",
        slapd.port
    );
    shared().on_primary("postgres", "DROP ROLE IF EXISTS \"star*user\"");
    // The cluster may be one that has served this test before.
    shared().on_primary("postgres", "DROP ROLE IF EXISTS \"star*user\"");
    shared().on_primary("postgres", "CREATE ROLE \"star*user\" LOGIN");
    let balancer = start(&hba, "");
    comes_in(&balancer, "alice", "alice_secret");
    // The password of LDAP is the one for the backends, too.
    comes_in(&balancer, "scram_user", "scram_user_secret");
    // A star in a name is no wildcard.
    comes_in(&balancer, "star*user", "star*user_secret");
    is_refused(&balancer, "alic*", "alice_secret", "LDAP authentication failed");
    is_refused(&balancer, "alice", "wrong", "LDAP authentication failed");
    is_refused(&balancer, "twin", "twin_secret", "LDAP authentication failed");
    for text in ["LDAP user \"twin\" is not unique", "LDAP user \"alic*\" does not exist"] {
        balancer.wait_log(text);
    }
    // Without the option there is no password for the backends.
    let balancer = start(&hba.replace(" backend_use_passwd=1", ""), "");
    is_refused(&balancer, "scram_user", "scram_user_secret", "failed to authenticate with backend");
}

#[test]
fn ldap_over_tls_wants_a_certificate_that_is_trusted() {
    let slapd = Slapd::start();
    let hba = format!(
        "host all alice all ldap ldapserver=127.0.0.1 ldapport={} ldaptls=1 ldapbasedn=dc=test\n\
         host all scram_user all ldap ldapurl=\"ldaps://127.0.0.1:{}/dc=test??sub\" backend_use_passwd=1\n",
        slapd.port, slapd.tls_port
    );
    let trusted = slapd.dir.path().join("cert.pem");
    let balancer = Balancer::start_by(conf(), |dir| {
        process::write(&dir.join("pool_hba.conf"), &hba);
        vec!["env".to_owned(), format!("SSL_CERT_FILE={}", trusted.display())]
    });
    for user in ["alice", "scram_user"] {
        comes_in(&balancer, user, &format!("{user}_secret"));
        is_refused(&balancer, user, "wrong", "LDAP authentication failed");
    }
    let balancer = start(&hba, "");
    for user in ["alice", "scram_user"] {
        is_refused(&balancer, user, &format!("{user}_secret"), "LDAP authentication failed");
    }
    balancer.wait_log("look at its certificate");
}

/// One worker has them all.
#[test]
fn an_ldap_server_that_hangs_holds_no_other_client_up() {
    let slapd = Slapd::start();
    let balancer = start(
        &format!(
            "host all alice all ldap ldapserver=127.0.0.1 ldapport={} ldapbasedn=dc=test\n\
             host all bob all trust\n",
            slapd.port
        ),
        "",
    );
    slapd.signal(Signal::SIGSTOP);
    let door = balancer.door("postgres").as_user("alice");
    let mut waiting = tools::psql(&door)
        .args(["-c", "SELECT 1"])
        .env("PGPASSWORD", "alice_secret")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut leaving =
        tools::psql(&door).args(["-c", "SELECT 1"]).env("PGPASSWORD", "alice_secret").spawn().unwrap();
    let threads = || {
        let tasks = |pid: &i32| std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        balancer.children().iter().map(tasks).max()
    };
    wait::until_true("both to ask", || threads() >= Some(3));
    leaving.kill().unwrap();
    leaving.wait().unwrap();
    for _ in 0..3 {
        comes_in(&balancer, "bob", "");
    }
    assert!(waiting.try_wait().unwrap().is_none());
    slapd.signal(Signal::SIGCONT);
    assert!(waiting.wait().unwrap().success());
    comes_in(&balancer, "alice", "alice_secret");
}

#[test]
fn who_waits_too_long_for_an_ldap_server_is_told_so() {
    let slapd = Slapd::start();
    let hba = format!(
        "host all alice all ldap ldapserver=127.0.0.1 ldapport={} ldapbasedn=dc=test\nhost all all all trust\n",
        slapd.port
    );
    let conf = conf().set("authentication_timeout", "2");
    let balancer = Balancer::start_with(conf, &[("pool_hba.conf", &*hba), ("pool_passwd", "")]);
    slapd.signal(Signal::SIGSTOP);
    is_refused(&balancer, "alice", "alice_secret", "canceling authentication due to timeout");
    // What the server says in the end is for nobody any more.
    slapd.signal(Signal::SIGCONT);
    comes_in(&balancer, "bob", "");
    comes_in(&balancer, "alice", "alice_secret");
}

#[test]
fn pam_checks_password_and_account() {
    let Some(service) = Service::new() else { return };
    let hba = format!(
        "host all alice all pam pamservice={0} pam_use_hostname=1\nhost all all all pam pamservice={0}\n",
        service.name
    );
    let balancer = start(&hba, "");
    let refused = "PAM authentication failed for user";
    comes_in(&balancer, "bob", "bob_secret");
    comes_in(&balancer, "alice", "alice_secret");
    // The password serves for the backends, too, since pool_passwd has none.
    comes_in(&balancer, "scram_user", "scram_user_secret");
    is_refused(&balancer, "bob", "wrong", refused);
    is_refused(&balancer, "locked", "locked_secret", refused);
    is_refused(&balancer, "bob", "", "password");
    let seen = std::fs::read_to_string(service.dir.path().join("seen")).unwrap();
    assert!(seen.contains("bob from 127.0.0.1\n") && seen.contains("alice from localhost"), "{seen}");
    balancer.wait_log("pam_acct_mgmt failed");
    assert!(!balancer.log_contains("bob_secret"));
}

#[test]
fn a_service_of_pam_that_nobody_has_made_lets_nobody_in() {
    let balancer = start("host all all all pam pamservice=pgbalancer_no_such_service\n", "");
    is_refused(&balancer, "bob", "bob_secret", "PAM authentication failed for user");
}
