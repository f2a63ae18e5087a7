//! Who may use the REST API.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::rest::start;
use crate::harness::balancer::{Conf, Program};
use crate::harness::rest::{Answer, ask, get, over_unix, post};
use crate::harness::{Balancer, pcp, shared, wait};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Of the password `pencil`.
const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                     WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

pub(super) fn with_tokens(conf: Conf) -> Conf {
    conf.set("rest_api_jwt_enabled", "on").set("rest_api_jwt_secret", &format!("'{SECRET}'"))
}

pub(super) fn login(balancer: &Balancer, user: &str, password: &str) -> Answer {
    post(balancer, "/api/v1/auth/login", &json!({"username": user, "password": password}).to_string())
}

pub(super) fn token(answer: Answer) -> String {
    answer.good()["token"].as_str().expect("a token").to_owned()
}

fn shown(balancer: &Balancer, method: &str, path: &str, token: &str) -> Answer {
    ask(balancer, method, path, &format!("Authorization: Bearer {token}\r\n"), "")
}

#[test]
pub(super) fn with_tokens_nothing_is_open_but_login_and_health() {
    let balancer = start(with_tokens);
    for (method, path) in [
        ("GET", "/api/v1/status"),
        ("GET", "/metrics"),
        ("GET", "/nowhere"),
        ("POST", "/api/v1/nodes/1/detach"),
        ("GET", "/api/v1/events"),
        ("GET", "/api/v1/openapi.json"),
    ] {
        let answer = ask(&balancer, method, path, "", "");
        assert!(answer.field("www-authenticate").is_some(), "{answer:?}");
        assert!(answer.refused(401).contains("POST /api/v1/auth/login"), "{path}");
    }
    over_unix(&balancer, "POST", "/api/v1/control/reload").refused(401);
    assert_eq!((get(&balancer, "/healthz").status, get(&balancer, "/readyz").status), (200, 200));
    assert_eq!(post(&balancer, "/api/v1/auth/login", "").refused(401), "a user and a password are needed");
    let given = login(&balancer, pcp::USER, pcp::PASSWORD).good();
    assert_eq!((&given["role"], &given["expires_in"]), (&json!("operator"), &json!(3600)));
    let token = given["token"].as_str().unwrap();
    assert_eq!(shown(&balancer, "GET", "/api/v1/status", token).good()["nodes"], 3);
    shown(&balancer, "POST", "/api/v1/control/reload", token).good();
    balancer.wait_log(&format!("REST user \"{}\" from 127.0.0.1(", pcp::USER));
    balancer.wait_log("): reload the configuration: done");
    let secret = |text: &str| !balancer.log_contains(text);
    assert!(secret(token) && secret(pcp::PASSWORD) && secret(SECRET));
}

#[test]
fn tokens_that_are_not_ours_are_refused() {
    // Checked wherever it is shown, also where none is needed.
    for change in [with_tokens, |conf: Conf| conf.set("rest_api_jwt_secret", &format!("'{SECRET}'"))] {
        let mut balancer = start(|conf| change(conf).set("rest_api_jwt_expiry", "3600"));
        let good = token(login(&balancer, pcp::USER, pcp::PASSWORD));
        let parts: Vec<&str> = good.split('.').collect();
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let mut head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
        claims["exp"] = json!(9_999_999_999_u64);
        head["alg"] = json!("none");
        for forged in [
            format!("{}.{}.{}", parts[0], encoded(&claims), parts[2]),
            format!("{}.{}.", encoded(&head), encoded(&claims)),
            format!("{}.{}.{}", encoded(&head), parts[1], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            "aaaaaaaa.b.c".to_owned(),
            String::new(),
        ] {
            shown(&balancer, "GET", "/api/v1/status", &forged).refused(401);
            shown(&balancer, "POST", "/api/v1/nodes/1/detach", &forged).refused(401);
        }
        ask(&balancer, "GET", "/api/v1/status", "Authorization: Basic YTpi\r\n", "").refused(401);
        assert_eq!(shown(&balancer, "GET", "/api/v1/status", &good).status, 200);
        // Another secret makes all tokens void.
        balancer.rewrite(|conf| conf.set("rest_api_jwt_secret", &format!("'{SECRET}x'")));
        balancer.reload();
        wait::until_equal(401, || shown(&balancer, "GET", "/api/v1/status", &good).status);
        let refused = shown(&balancer, "GET", "/api/v1/status", &good).refused(401);
        assert!(refused.contains("signed with another secret"), "{refused}");
        // One of a second is void after it.
        balancer.rewrite(|conf| conf.set("rest_api_jwt_expiry", "1"));
        balancer.reload();
        wait::until_equal(json!(1), || {
            login(&balancer, pcp::USER, pcp::PASSWORD).good()["expires_in"].clone()
        });
        let short = token(login(&balancer, pcp::USER, pcp::PASSWORD));
        wait::until_equal(401, || shown(&balancer, "GET", "/api/v1/status", &short).status);
        assert!(shown(&balancer, "GET", "/api/v1/status", &short).refused(401).contains("expired"));
    }
}

#[test]
fn users_of_a_file_have_roles() {
    let users = format!("# users\nann:viewer:{SCRAM}\nbob:operator:{SCRAM}\n");
    let conf =
        with_tokens(Conf::of(shared()).set("rest_api_enabled", "on")).set("rest_api_auth_file", "'users'");
    let balancer = Balancer::start_with(conf, &[pcp::CONF, ("users", &users)]);
    balancer.wait_roles();
    let (ann, bob) = (token(login(&balancer, "ann", "pencil")), token(login(&balancer, "bob", "pencil")));
    for (user, password) in [("ann", "Pencil"), ("cy", "pencil"), (pcp::USER, pcp::PASSWORD), ("", "")] {
        let refused = login(&balancer, user, password).refused(401);
        assert_eq!(refused, "username and/or password does not match", "{user}");
    }
    assert_eq!(shown(&balancer, "GET", "/api/v1/nodes", &ann).status, 200);
    let refused = shown(&balancer, "POST", "/api/v1/nodes/1/detach", &ann).refused(403);
    assert!(refused.contains("role operator"), "{refused}");
    shown(&balancer, "POST", "/api/v1/nodes/1/detach", &bob).good();
    balancer.wait_log("REST user \"cy\" from 127.0.0.1(");
}

#[test]
fn an_address_has_so_many_failures() {
    let balancer = start(|conf| conf);
    login(&balancer, pcp::USER, pcp::PASSWORD).good();
    for _ in 0..10 {
        login(&balancer, pcp::USER, "wrong").refused(401);
    }
    let late = login(&balancer, pcp::USER, pcp::PASSWORD);
    assert!(late.field("retry-after").and_then(|seconds| seconds.parse::<u64>().ok()) >= Some(1), "{late:?}");
    assert!(late.refused(429).contains("too many logins"));
    assert_eq!(over_unix(&balancer, "GET", "/api/v1/status").status, 200);
    for body in ["", "{}", "[]", "{\"username\":\"a\"}", "\u{0}"] {
        let answer = post(&balancer, "/api/v1/auth/login", body);
        assert!([200, 400].contains(&answer.status), "{body}: {answer:?}");
    }
}

#[test]
fn foreign_names_and_pages_are_refused() {
    let balancer = start(|conf| conf.set("rest_api_allowed_hosts", "'pool.example, other.example'"));
    let port = balancer.rest_port();
    for (lines, status) in [
        (format!("Host: localhost:{port}\r\n"), 200),
        (format!("Host: [::1]:{port}\r\n"), 200),
        ("Host: POOL.example\r\n".to_owned(), 200),
        ("Host: evil.example\r\n".to_owned(), 403),
        ("Host: localhost.evil.example\r\n".to_owned(), 403),
        ("Host: localhost\r\nHost: localhost\r\n".to_owned(), 400),
        ("Host: localhost\r\nOrigin: http://localhost\r\n".to_owned(), 200),
        ("Host: localhost\r\nOrigin: http://evil.example\r\n".to_owned(), 403),
        ("Host: localhost\r\nOrigin: null\r\n".to_owned(), 403),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n".to_owned(), 403),
    ] {
        assert_eq!(ask(&balancer, "GET", "/api/v1/status", &lines, "").status, status, "{lines}");
        let done = ask(&balancer, "POST", "/api/v1/control/reload", &lines, "");
        assert_eq!(done.status, status, "{lines}");
    }
    // The host of an absolute target counts before the header.
    ask(&balancer, "GET", "http://evil.example/api/v1/status", "", "").refused(403);
    assert_eq!(ask(&balancer, "GET", "http://localhost/api/v1/status", "", "").status, 200);
}

#[test]
fn a_short_secret_keeps_the_program_from_starting() {
    let conf = Conf::of(shared())
        .set("rest_api_enabled", "on")
        .set("rest_api_jwt_enabled", "on")
        .set("rest_api_jwt_secret", "'short'");
    let balancer = Balancer::prepared_only(Program::under_test(), conf);
    let ran = balancer.command(&["-n"]).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stderr);
    let wanted = "rest_api_jwt_enabled = on needs a rest_api_jwt_secret of at least 32 bytes, it has 5";
    assert!(!ran.status.success() && text.contains(wanted), "{text}");
}
