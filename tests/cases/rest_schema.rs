//! schemathesis reads the OpenAPI document and asks all that it allows and much that it does not: every answer must be
//! one that the document has.

use std::process::Command;

use super::rest_access::{login, token, with_tokens};
use crate::harness::balancer::Conf;
use crate::harness::rest::{ask, get};
use crate::harness::tools::{run, target};
use crate::harness::{Balancer, Client, Cluster, pcp, wait};

/// Requests for each operation, and the seed that makes them the same in every run.
const REQUESTS: &str = "40";
const SEED: &str = "1";

/// `/readyz` is there to say 503; and what stops the program, or never ends, has cases of its own.
const CONF: &str = "
[[operations]]
include-path-regex = \"readyz$\"
checks.not_a_server_error.expected-statuses = [\"2xx\", \"4xx\", 503]
";

#[test]
fn answers_to_made_up_requests_are_as_the_document_says() {
    // Its own: among what is asked for is that another node be the primary.
    let cluster = Cluster::private();
    let conf = with_tokens(Conf::of(&cluster)).set("rest_api_enabled", "on");
    let balancer = Balancer::start_with(conf, &[pcp::CONF]);
    balancer.wait_roles();
    let bearer = token(login(&balancer, pcp::USER, pcp::PASSWORD));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("schemathesis.toml"), CONF).unwrap();
    let mut command = Command::new(target().join("venv/bin/schemathesis"));
    command
        .current_dir(&dir)
        .arg("run")
        .arg(format!("http://localhost:{}/api/v1/openapi.json", balancer.rest_port()))
        .args(["--seed", SEED, "--max-examples", REQUESTS, "--phases", "examples,coverage,fuzzing"])
        .args(["--workers", "1", "--no-color", "--request-timeout", "15"])
        .args(["--generation-database", "none", "--continue-on-failure", "--warnings", "off"])
        .args(["--exclude-path", "/api/v1/control/stop", "--exclude-path", "/api/v1/events"])
        .arg("-H")
        .arg(format!("Authorization: Bearer {bearer}"));
    let ran = run(&mut command);
    assert!(ran.ok, "{}\n{}", ran.out, ran.err);
    // Whatever was done to the nodes and the sessions can be undone; what was not done is a conflict.
    let head = format!("Authorization: Bearer {bearer}\r\n");
    let attach = |id| format!("/api/v1/nodes/{id}/attach");
    let undo = (0..cluster.nodes.len()).map(attach).chain(["/api/v1/control/resume".to_owned()]);
    for path in undo {
        let status = ask(&balancer, "POST", &path, &head, "").status;
        assert!([200, 409].contains(&status), "{path}: {status}");
    }
    wait::until_equal(200, || get(&balancer, "/readyz").status);
    assert_eq!(Client::connect(&balancer.door("postgres")).ask("SELECT 1"), "1");
}
