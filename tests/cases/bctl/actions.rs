//! What is done, asked before, and refused.

use super::*;

/// Every action: its request, its line.
#[test]
fn actions_are_asked_for_and_told() {
    let scene = Scene::new(usual);
    for (line, asked, body, said) in [
        ("reload", "POST /control/reload", "", "Configuration reloaded\n"),
        ("logrotate", "POST /control/logrotate", "", "Logs rotated\n"),
        ("pause", "POST /control/pause", "", "Paused: new transactions wait\n"),
        ("resume", "POST /control/resume", "", "Resumed\n"),
        ("stop", "POST /control/stop", r#"{"mode":"smart"}"#, "Server stop initiated (smart)\n"),
        ("stop -m fast", "POST /control/stop", r#"{"mode":"fast"}"#, "Server stop initiated (fast)\n"),
        (
            "--yes stop --mode immediate",
            "POST /control/stop",
            r#"{"mode":"immediate"}"#,
            "Server stop initiated (immediate)\n",
        ),
        ("nodes attach 1", "POST /nodes/1/attach", "", "Node 1 attached\n"),
        ("nodes-attach 1", "POST /nodes/1/attach", "", "Node 1 attached\n"),
        ("-v nodes-attach 1", "POST /nodes/1/attach", "", "Node 1 attached\n"),
        ("nodes-detach 0", "POST /nodes/0/detach", "", "Node 0 detached\n"),
        (
            "nodes-detach 1 --gracefully",
            "POST /nodes/1/detach",
            r#"{"gracefully":true}"#,
            "Node 1 detached\n",
        ),
        ("nodes-promote 1", "POST /nodes/1/promote", "", "Node 1 promoted\n"),
        ("nodes promote 1 --yes", "POST /nodes/1/promote", "", "Node 1 promoted\n"),
        (
            "nodes promote -s -g 1 --yes",
            "POST /nodes/1/promote",
            r#"{"gracefully":true,"switchover":true}"#,
            "Node 1 promoted\n",
        ),
        ("nodes weight 1 2.5", "POST /nodes/1/weight", r#"{"weight":2.5}"#, "Node 1 has the weight 2.5\n"),
        ("nodes-weight 1 3", "POST /nodes/1/weight", r#"{"weight":3}"#, "Node 1 has the weight 3\n"),
        (
            "sessions cancel 11-0-7",
            "POST /sessions/11-0-7/cancel",
            "",
            "Statement of session 11-0-7 cancelled\n",
        ),
        ("sessions terminate a/b --yes", "POST /sessions/a%2Fb/terminate", "", "Session a/b terminated\n"),
    ] {
        let ran = scene.run(line);
        assert_eq!((ran.code, ran.out.as_str()), (0, said), "{line}: {}", ran.err);
        let requests = scene.fake.asked();
        assert_eq!(requests.len(), 1, "{line}: {requests:?}");
        assert_eq!(requests[0].line.replace("/api/v1", ""), asked, "{line}");
        assert_eq!(requests[0].body, body, "{line}");
        let expected: Value = serde_json::from_str(&usual(&requests[0]).1).unwrap();
        assert_eq!(scene.run(&format!("{line} -t")).out, said, "{line}");
        let shown = scene.run(&format!("{line} --json")).out;
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), expected, "{line}");
        let quiet = scene.run(&format!("{line} -q"));
        assert_eq!((quiet.code, quiet.out.as_str()), (0, ""), "{line}");
        scene.fake.asked();
    }
}

#[test]
fn what_cannot_be_undone_is_refused_where_nobody_can_be_asked() {
    let scene = Scene::new(usual);
    for line in ["nodes promote 1", "sessions terminate 11-0-7", "sessions-terminate 11-0-7"] {
        let ran = scene.run(line);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{line}");
        assert!(ran.err.contains("--yes"), "{line}: {}", ran.err);
        assert!(scene.asked().is_empty(), "{line}");
    }
    // Of nodes only the primary.
    let ran = scene.run("nodes detach 0");
    assert!(ran.code == 1 && ran.err.contains("the primary") && ran.err.contains("--yes"), "{}", ran.err);
    assert_eq!(scene.asked(), ["GET /nodes/0"]);
    assert_eq!(scene.run("nodes detach 1").out, "Node 1 detached\n");
    assert_eq!(scene.asked(), ["GET /nodes/1", "POST /nodes/1/detach"]);
    assert_eq!(scene.run("nodes detach 0 --yes").code, 0);
    assert_eq!(scene.asked(), ["POST /nodes/0/detach"]);
    let ran = scene.run("-j nodes promote 1");
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(ran.code == 1 && said["message"].as_str().unwrap().contains("--yes"), "{}", ran.out);
}

#[test]
fn refusals_have_the_words_of_the_server_and_their_exit_codes() {
    let scene = Scene::new(|asked| match asked.line.as_str() {
        "GET /api/v1/status" => {
            (401, json!({ "error": "Unauthorized", "message": "no token", "status": 401 }).to_string())
        }
        "GET /api/v1/nodes" => {
            (403, json!({ "error": "Forbidden", "message": "not from there", "status": 403 }).to_string())
        }
        "GET /api/v1/pools" => {
            (503, json!({ "error": "Busy", "message": "later", "status": 503 }).to_string())
        }
        "GET /api/v1/traffic" => (200, "<html>".to_owned()),
        "GET /api/v1/sessions" => (302, String::new()),
        _ => usual(asked),
    });
    for (line, code, says) in [
        ("status", 3, "Unauthorized: no token"),
        ("nodes", 3, "Forbidden: not from there"),
        ("pools", 1, "Busy: later"),
        ("nodes-attach 9", 1, "Not found: there is no node 9"),
        ("watchdog-start", 1, "Conflict: there is none"),
        ("watchdog stop", 1, "Conflict: there is none"),
        ("cache invalidate", 1, "Conflict: there is none"),
        ("traffic", 1, "is not JSON"),
        ("sessions", 1, "is not JSON"),
    ] {
        let ran = scene.run(line);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{line}");
        assert!(ran.err.starts_with("bctl: ") && ran.err.contains(says), "{line}: {}", ran.err);
        let ran = scene.run(&format!("{line} -j"));
        assert_eq!((ran.code, ran.err.as_str()), (code, ""), "{line}");
        let said: Value = serde_json::from_str(&ran.out).unwrap();
        assert!(said["error"].is_string(), "{line}: {said}");
        let ran = scene.run(&format!("{line} --quiet"));
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (code, "", ""), "{line}");
    }
}

/// It is asked for once, and looked at until it is over, whatever it comes to.
#[test]
fn a_recovery_is_waited_for() {
    for (end, code, said) in [
        (json!({ "state": "done" }), 0, "Node 1 recovered\n"),
        (json!({ "state": "failed", "reason": "no\u{1b} room" }), 1, "node 1 could not be recovered: no"),
        (json!({ "state": "none" }), 1, "how the recovery of node 1 went is not known any more"),
    ] {
        let looks = std::sync::atomic::AtomicUsize::new(0);
        let last = end.clone();
        let scene = Scene::new(move |asked| match asked.line.as_str() {
            "GET /api/v1/nodes/1/recovery" => {
                match looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                    0 | 1 => (200, json!({ "state": "running", "step": "a step" }).to_string()),
                    _ => (200, last.to_string()),
                }
            }
            _ => usual(asked),
        });
        let ran = scene.run(if code == 0 { "nodes-recovery 1" } else { "nodes recovery 1" });
        assert_eq!(ran.code, code, "{} {}", ran.out, ran.err);
        assert!(format!("{}{}", ran.out, ran.err).contains(said), "{} {}", ran.out, ran.err);
        assert!(!ran.err.contains('\u{1b}'), "{}", ran.err);
        let lines: Vec<String> = scene.fake.asked().into_iter().map(|asked| asked.line).collect();
        let path = "/api/v1/nodes/1/recovery";
        let look = format!("GET {path}");
        assert_eq!(lines, [format!("POST {path}"), look.clone(), look.clone(), look]);
        if code == 0 {
            let shown = scene.run("--json nodes recovery 1").out;
            assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), end);
        }
    }
}
