//! The way to the server: addresses, logins, settings, limits.

use std::io::Write;

use super::reports::{NODE_BLOCKS, NODE_TABLE};
use super::*;
use crate::harness::wait;

#[test]
fn no_connection_and_wrong_usage_have_codes_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let free = crate::harness::ports::free().to_string();
    for host in ["127.0.0.1", "::1", "unix:/nowhere/socket"] {
        let ran = run(command(home.path()).args(["-H", host, "-p", &free, "status"]));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{host}");
        assert!(ran.err.contains("cannot connect to"), "{host}: {}", ran.err);
        let ran = run(command(home.path()).args(["-H", host, "-p", &free, "-j", "stop"]));
        assert!(ran.code == 2 && serde_json::from_str::<Value>(&ran.out).is_ok(), "{host}: {}", ran.out);
    }
    for line in [
        "",
        "fly",
        "nodes fly",
        "nodes attach",
        "nodes-attach x",
        "nodes weight 1 -1",
        "nodes 1 attach 2",
        "-p 0 status",
        "-p 70000 status",
        "status --nonsense",
        "-H a/b status",
        "-t -j status",
        "stop -m never",
        "completion tcsh",
        "password",
        "route",
    ] {
        let ran = run(command(home.path()).args(line.split_whitespace()));
        assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{line}");
        assert!(!ran.err.is_empty(), "{line}");
    }
}

#[test]
fn a_unix_socket_serves_as_well() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("rest");
    let fake = Fake::start_unix(&path, usual);
    let host = format!("unix:{}", path.display());
    let ran = run(command(home.path()).args(["-H", &host, "-t", "nodes"]));
    assert_eq!((ran.code, ran.out.as_str()), (0, NODE_TABLE), "{}", ran.err);
    let ran = run(command(home.path()).args(["-H", &host, "nodes-attach", "1"]));
    assert_eq!(ran.out, "Node 1 attached\n", "{}", ran.err);
    let asked = fake.asked();
    assert_eq!(asked[1].line, "POST /api/v1/nodes/1/attach");
    assert_eq!(asked[1].headers["host"], "localhost");
}

#[test]
fn verbose_is_for_standard_error_and_hides_secrets() {
    let scene = Scene::new(|asked| match asked.line.as_str() {
        "POST /api/v1/auth/login" => (
            200,
            json!({ "token": "the-token", "expires_in": 3600, "token_type": "Bearer", "role": "operator" })
                .to_string(),
        ),
        _ => usual(asked),
    });
    let password = scene.file("password", "the-password\n", 0o600);
    let ran = scene.run(&format!("-v -j -U ann --password-file {password} login"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["token"], "the-token");
    let ran_again = scene.run("-v -j status");
    assert!(serde_json::from_str::<Value>(&ran_again.out).is_ok());
    let err = ran.err + &ran_again.err;
    for shown in
        ["Request:\nPOST http://127.0.0.1:", "HTTP 200", "Authorization: Bearer *****", "\"uptime\": 100"]
    {
        assert!(err.contains(shown), "{shown} in {err}");
    }
    assert!(!err.contains("the-token") && !err.contains("the-password"), "{err}");
}

/// A server that wants a token.
fn guarded(asked: &Asked) -> Reply {
    let refused = |message: &str| {
        (401, json!({ "error": "Unauthorized", "message": message, "status": 401 }).to_string())
    };
    let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
    let bearer = asked.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
    match (asked.line.as_str(), bearer) {
        ("POST /api/v1/auth/login", _) if body["password"] == "secret" => {
            let token = format!("token-of-{}", body["username"].as_str().unwrap());
            (
                200,
                json!({ "token": token, "expires_in": 3600, "token_type": "Bearer", "role": "operator" })
                    .to_string(),
            )
        }
        ("POST /api/v1/auth/login", _) => refused("wrong password"),
        (_, Some("token-of-ann" | "token-of-bob")) => usual(asked),
        (_, Some(_)) => refused("this token is not valid any longer"),
        (_, None) => refused("no token"),
    }
}

#[test]
fn a_login_is_kept_until_the_logout() {
    let scene = Scene::new(guarded);
    let ran = scene.run("status");
    assert!(ran.code == 3 && ran.err.ends_with("\nbctl: bctl -U NAME login gets a token\n"), "{}", ran.err);
    let password = scene.file("password", "secret\nnot this\n", 0o600);
    let ran = scene.run(&format!("login -U ann --password-file {password}"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.starts_with(&format!("Logged in to 127.0.0.1:{} as operator, until ", scene.fake.port)),
        "{}",
        ran.out
    );
    scene.fake.asked();
    for line in ["status", "status -U ann"] {
        assert_eq!(scene.run(line).code, 0, "{line}");
        assert_eq!(scene.fake.asked()[0].headers["authorization"], "Bearer token-of-ann");
    }
    assert_eq!(scene.run("status -U bob").code, 3, "a token is for its user");
    let cache = scene.home.path().join(".cache/bctl/tokens.json");
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(cache.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = scene.run("status");
    assert!(ran.code == 1 && ran.err.contains("chmod 600"), "{}", ran.err);
    assert_eq!(
        run(scene.command(&["status"]).env("BCTL_TOKEN", "token-of-bob")).code,
        0,
        "nothing is read from it"
    );
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(scene.run("logout").out.starts_with("Logged out of "));
    assert!(scene.run("logout").out.starts_with("No token of "));
    assert_eq!(scene.run("status").code, 3);
    let out = scene.run("-j logout").out;
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["status"], "success");
}

#[test]
fn a_token_that_is_not_taken_any_longer_is_asked_for_anew_where_there_is_a_password_file() {
    let scene = Scene::new(guarded);
    let password = scene.file("password", "secret", 0o600);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let server = format!("127.0.0.1:{}", scene.fake.port);
    for (expires_at, sent) in [(now + 1000, Some("Bearer stale")), (now - 1, None)] {
        let kept = json!({ "tokens": [{ "server": server, "user": "ann", "token": "stale", "expires_at": expires_at }] });
        scene.file(".cache/bctl/tokens.json", &kept.to_string(), 0o600);
        assert_eq!(scene.run("-U ann nodes-attach 1").code, 3, "without a password there is no way in");
        scene.fake.asked();
        let ran = scene.run(&format!("-U ann --password-file {password} nodes-attach 1"));
        assert_eq!((ran.code, ran.out.as_str()), (0, "Node 1 attached\n"), "{}", ran.err);
        let asked = scene.fake.asked();
        let lines: Vec<_> = asked.iter().map(|asked| asked.line.as_str()).collect();
        assert_eq!(
            lines,
            ["POST /api/v1/nodes/1/attach", "POST /api/v1/auth/login", "POST /api/v1/nodes/1/attach"]
        );
        assert_eq!(asked[0].headers.get("authorization").map(String::as_str), sent);
        assert_eq!(asked[2].headers["authorization"], "Bearer token-of-ann");
        assert_eq!(scene.run("-U ann status").code, 0, "it was kept");
    }
}

#[test]
fn a_password_is_asked_for() {
    let scene = Scene::new(guarded);
    let typed = |words: &[&str], text: &str| {
        // Without a terminal, which would be asked else.
        let inner = scene.command(words);
        let mut command = Command::new("setsid");
        command.arg("-w").arg(inner.get_program()).args(inner.get_args()).env("HOME", scene.home.path());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(typed(&["-U", "ann", "login"], "guess\n").0, 3);
    assert_eq!(typed(&["-U", "ann", "nodes-count", "-W"], "secret\n"), (0, "2\n".to_owned()));
    assert_eq!(scene.run("-U ann status").code, 0, "the token was kept");
    assert!(typed(&["-U", "bob", "login"], "secret\n").1.starts_with("Logged in to "));
    assert_eq!(
        typed(&["password", "hash", "ann"], "secret\n"),
        (0, "MD5 Hash: md59d792a3a8853c2411afb9163d088c036\n".to_owned())
    );
}

#[test]
fn wrong_logins_say_what_is_wrong() {
    let scene = Scene::new(guarded);
    let wrong = scene.file("wrong", "guess\n", 0o600);
    let open = scene.file("open", "secret\n", 0o644);
    for (line, code, says) in [
        (format!("login -U ann --password-file {wrong}"), 3, "Unauthorized: wrong password"),
        (format!("login -U ann --password-file {open}"), 1, "chmod 600"),
        (format!("login --password-file {wrong}"), 4, "-U"),
        ("login -U ann --password-file /nowhere/file".to_owned(), 1, "/nowhere/file"),
        ("login".to_owned(), 3, "wrong password"),
    ] {
        let ran = scene.run(&line);
        assert!(ran.code == code && ran.err.contains(says), "{line}: {} {}", ran.code, ran.err);
    }
    let asked = scene.fake.asked();
    let last = asked.last().unwrap();
    assert_eq!((last.line.as_str(), last.body.as_str()), ("POST /api/v1/auth/login", ""), "nobody was named");
}

#[test]
fn the_environment_and_the_file_say_what_options_do_not() {
    let scene = Scene::new(usual);
    let port = scene.fake.port.to_string();
    let bare = |env: &[(&str, &str)], words: &[&str]| {
        run(command(scene.home.path()).envs(env.iter().copied()).args(words))
    };
    let env = [("BCTL_HOST", "127.0.0.1"), ("BCTL_PORT", port.as_str()), ("BCTL_FORMAT", "table")];
    assert_eq!(bare(&env, &["nodes"]).out, NODE_TABLE);
    let config = format!("host = '127.0.0.1'\nport = {port}\nformat = 'table'\n");
    scene.file(".config/bctl/config.toml", &config, 0o644);
    assert_eq!(bare(&[], &["nodes"]).out, NODE_TABLE);
    assert_eq!(bare(&[("BCTL_FORMAT", "default")], &["nodes"]).out, NODE_BLOCKS);
    assert!(bare(&[("BCTL_FORMAT", "default")], &["-j", "nodes"]).out.starts_with('{'));
    assert_eq!(bare(&[("BCTL_PORT", "1")], &["nodes"]).code, 2);
    scene.file(".config/bctl/config.toml", &format!("{config}token = 'x'\n"), 0o644);
    let ran = bare(&[], &["nodes"]);
    assert!(ran.code == 1 && ran.err.contains("chmod 600"), "{}", ran.err);
    scene.file(".config/bctl/config.toml", "hots = 'x'\n", 0o644);
    let ran = bare(&[], &["nodes"]);
    assert!(ran.code == 4 && ran.err.contains("hots") && ran.err.contains("config.toml"), "{}", ran.err);
}

#[test]
fn answers_are_bounded_in_size() {
    let scene = Scene::new(|_| (200, format!("{{\"nodes\":[], \"filler\": \"{}\"}}", "x".repeat(64 << 20))));
    let ran = scene.run("nodes");
    assert!(ran.code == 1 && ran.err.contains("larger than 64 MiB"), "{}", ran.err);
}

#[test]
fn answers_are_waited_for_thirty_seconds_and_those_of_a_recovery_longer() {
    let (release, released) = std::sync::mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let scene = Scene::new(move |asked| {
        match asked.line.as_str() {
            "POST /api/v1/nodes/1/recovery" => released.lock().unwrap().recv().unwrap(),
            "GET /api/v1/nodes/1/recovery" => {}
            _ => loop {
                std::thread::park();
            },
        }
        usual(asked)
    });
    let mut slow = scene.command(&["nodes-recovery", "1"]);
    let mut slow = slow.stdout(Stdio::piped()).spawn().unwrap();
    wait::until_true("the recovery to be asked for", || !scene.fake.asked().is_empty());
    // It began before, so it has waited longer when this one gives up.
    let ran = scene.run("reload");
    assert!(ran.code == 2 && ran.err.contains("did not answer within 30 seconds"), "{}", ran.err);
    assert_eq!(slow.try_wait().unwrap(), None);
    release.send(()).unwrap();
    let output = slow.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "Node 1 recovered\n");
}
