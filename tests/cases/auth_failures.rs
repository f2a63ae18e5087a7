//! What a client is told that does not prove who it is, and when: nothing tells those who exist from those who do not.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::balancer::Conf;
use crate::harness::message::Body;
use crate::harness::tools::{self, Ran};
use crate::harness::{Balancer, Client, Door, shared};

fn start(conf: Conf, pool_hba: &str, pool_passwd: &str) -> Balancer {
    let conf = conf.set("enable_pool_hba", "on").set("pool_passwd", "'pool_passwd'");
    Balancer::start_with(conf, &[("pool_hba.conf", pool_hba), ("pool_passwd", pool_passwd)])
}

fn delayed(delay: &str, places: &str) -> Balancer {
    let conf = Conf::of(shared()).set("num_init_children", "1").set("sessions_per_child", places);
    let rules =
        "host all postgres all trust\nhost all scram_user all scram-sha-256\nhost all all all password\n";
    start(conf.set("auth_failure_delay", delay), rules, "scram_user:TEXTscram_user_secret\n")
}

fn log_in(door: &Door, password: &str) -> Ran {
    tools::run(tools::psql(door).args(["-c", "SELECT current_user"]).env("PGPASSWORD", password))
}

/// Begins to log in, for as long as it takes.
fn begin(door: &Door, password: &str) -> Child {
    let mut psql = tools::psql(door);
    psql.args(["-c", "SELECT 1"]).env("PGPASSWORD", password).env("PGCONNECT_TIMEOUT", "0");
    psql.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// One process that has a place for one client.
#[test]
fn who_has_guessed_wrong_waits_and_others_come_in_meanwhile() {
    let mut balancer = delayed("1min", "1");
    let known = balancer.door("postgres").as_user("scram_user");
    // We judge the first, the server the second.
    let waiting = ["scram_user", "md5_user"].map(|user| {
        let waiting = begin(&balancer.door("postgres").as_user(user), "wrong");
        let told = format!("will be told: FATAL: password authentication failed for user \"{user}\" (28P01)");
        balancer.wait_log(&told);
        waiting
    });
    for _ in 0..3 {
        log_in(&known, "scram_user_secret").succeeded();
    }
    // The end of the program is told to all that wait for something, so this is no matter of time.
    let waiting = waiting.map(|mut waiting| {
        assert!(waiting.try_wait().unwrap().is_none(), "it was told before its time");
        waiting
    });
    balancer.stop();
    for waiting in waiting {
        let ran = Ran::from(waiting.wait_with_output().unwrap());
        assert!(!ran.ok && ran.err.contains("password authentication failed for user"), "{}", ran.err);
    }
}

#[test]
fn guesses_from_one_address_are_answered_one_after_another() {
    let balancer = delayed("200", "4");
    let begun = Instant::now();
    let door = balancer.door("postgres").as_user("scram_user");
    let waiting = [(); 3].map(|()| begin(&door, "wrong"));
    for waiting in waiting {
        let ran = Ran::from(waiting.wait_with_output().unwrap());
        assert!(!ran.ok && ran.err.contains("password authentication failed for user"), "{}", ran.err);
    }
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(600), "{taken:?}");
    // Who has the password does not wait for anybody's delay, but nobody can time that; it comes in.
    log_in(&door, "scram_user_secret").succeeded();
}

const CLIENT_FIRST: &[u8] = b"n,,n=,r=nonce";

/// A message: its kind, and its bytes but for the names and what is drawn anew each time.
type Said = (char, String);

/// Answers what is asked as one who does not know the password; what was said until the end.
fn guess(door: &Door) -> Vec<Said> {
    let mut client = Client::open(door);
    let packet =
        Body::default().int32(0x3_0000).text("user").text(&door.user).text("database").text("postgres");
    client.send_packet(&packet.bytes(&[0]).0);
    let mut said = Vec::new();
    while let Ok(message) = client.read() {
        let (kind, body) = (message.kind, message.body);
        let asked = (kind == 'R').then(|| i32::from_be_bytes(body[..4].try_into().unwrap()));
        let text = String::from_utf8_lossy(body.get(4..).unwrap_or_default()).into_owned();
        let answer = match asked {
            Some(3) => Some(Body::default().text("wrong")),
            Some(5) => Some(Body::default().text(&format!("md5{}", "0".repeat(32)))),
            Some(10) => {
                let body = Body::default().text("SCRAM-SHA-256").int32(CLIENT_FIRST.len() as i32);
                Some(body.bytes(CLIENT_FIRST))
            }
            Some(11) => {
                let nonce = text.strip_prefix("r=").and_then(|rest| rest.split(',').next()).unwrap();
                Some(Body::default().bytes(format!("c=biws,r={nonce},p={}=", "A".repeat(43)).as_bytes()))
            }
            _ => None,
        };
        if let Some(answer) = answer {
            client.message('p', answer).send();
        }
        said.push(match asked {
            // The salt of MD5 is drawn for each; of SCRAM the nonce is, and the salt is the user's own.
            Some(method @ (5 | 11)) => (kind, format!("{method}, {} bytes", body.len())),
            _ => (kind, String::from_utf8_lossy(&body).replace(&door.user, "USER")),
        });
    }
    said
}

#[test]
fn whom_nobody_knows_is_asked_and_told_what_one_with_a_wrong_password_is() {
    let verifier =
        shared().on_primary("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'scram_user'");
    let md5 = format!("md5{}", "a".repeat(32));
    let passwd = format!("one_text:TEXTsecret\none_form:{verifier}\none_hash:{md5}\n");
    for (method, steps, known) in [
        ("scram-sha-256", "RRE", &["one_text", "one_form", "one_hash"][..]),
        ("md5", "RE", &["one_text", "one_hash"]),
        ("password", "RE", &["one_text", "one_form", "one_hash"]),
    ] {
        let rules = format!("host all postgres all trust\nhost all all all {method}\n");
        let balancer = start(Conf::of(shared()).set("num_init_children", "2"), &rules, &passwd);
        let unknown = guess(&balancer.door("postgres").as_user("nobody_x"));
        assert_eq!(unknown.iter().map(|(kind, _)| kind).collect::<String>(), steps);
        let last = unknown.last().unwrap();
        assert!(
            last.0 == 'E' && last.1.contains("password authentication failed for user \"USER\""),
            "{last:?}"
        );
        for user in known {
            assert_eq!(guess(&balancer.door("postgres").as_user(user)), unknown, "{user}, {method}");
        }
    }
}

/// The salt that is shown of a user: of one who exists it is always the same.
fn salt(door: &Door) -> String {
    let mut client = Client::open(door);
    let packet =
        Body::default().int32(0x3_0000).text("user").text(&door.user).text("database").text("postgres");
    client.send_packet(&packet.bytes(&[0]).0);
    client.until('R');
    let body = Body::default().text("SCRAM-SHA-256").int32(CLIENT_FIRST.len() as i32).bytes(CLIENT_FIRST);
    client.message('p', body).send();
    let text = client.until('R').messages.pop().unwrap().text();
    text.split(',').find_map(|part| part.strip_prefix("s=").map(str::to_owned)).expect("a salt")
}

#[test]
fn each_name_has_one_salt_in_all_processes() {
    let conf = Conf::of(shared()).set("num_init_children", "4");
    let balancer =
        start(conf, "host all postgres all trust\nhost all all all scram-sha-256\n", "ann:TEXTsecret\n");
    let mut salts = Vec::new();
    for user in ["ann", "nobody", "nobody_else"] {
        let door = balancer.door("postgres").as_user(user);
        // All at once, so that each process has one.
        let clients: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| salt(&door))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(clients.iter().all(|salt| *salt == clients[0]), "{user}: {clients:?}");
        salts.push(clients[0].clone());
    }
    salts.dedup();
    assert_eq!(salts.len(), 3, "another one for each name: {salts:?}");
    // After a reload, too.
    balancer.reload();
    assert_eq!(salt(&balancer.door("postgres").as_user("nobody")), salts[1]);
}
