//! The reference page (`doc/ref/rest.md`), made of the table.
#![forbid(unsafe_code)]

use std::fmt::Write;

use serde_json::Value;

use super::head::Method;
use super::openapi::refusals;
use super::table::{Content, ENDPOINTS, Endpoint, Need};

const HEAD: &str = "\
# REST API

Offered with `rest_api_enabled = on`, at `rest_api_listen_addresses`, port `rest_api_port`, and at the Unix socket
`.s.PGREST.<port>` in the first `pcp_socket_dir`. This page is made of the table in `src/face/rest/table.rs`
(`UPDATE_REST_PAGE=1 cargo test --lib rest`), as is the OpenAPI document at `/api/v1/openapi.json`.

    curl http://localhost:8080/api/v1/status
    curl -X POST http://localhost:8080/api/v1/nodes/1/detach
    curl --unix-socket /tmp/.s.PGREST.8080 http://localhost/api/v1/nodes

Who may:

* `rest_api_jwt_enabled = off` (default): everybody who reaches the port may look; changes are taken from this host only
  (loopback or the Unix socket).
* `rest_api_jwt_enabled = on`: a token is needed (`Authorization: Bearer …`), with the role viewer to look and operator to
  change. `POST /api/v1/auth/login` gives one to the users of pcp.conf, who are operators, or to those of
  `rest_api_auth_file` (`name:role:verifier`; a verifier is that of a SCRAM-SHA-256 password as PostgreSQL keeps it, or a
  PHC text of argon2). An address has ten failures a minute. `rest_api_jwt_secret` has at least 32 bytes; another one
  makes all tokens void.
* A token that is shown is always checked. `Host` must be localhost, an address, or a name of `rest_api_listen_addresses` or
  `rest_api_allowed_hosts`; pages of other origins are refused.

Errors are `{\"error\": \"<title>\", \"message\": \"<what is wrong and what to do>\", \"status\": <status>}`. Times are unix
seconds. A slash at the end of a path does not count; HEAD is GET without the body; a POST needs no body. Each
action is kept in the log with user and address. Requests are bounded: heads to 32 KiB and 100 fields, bodies to 1 MiB,
connections to 512 (then those that have long been idle leave), streams of events to 64.
";

/// The page.
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    for (title, method) in [("Reports", Method::Get), ("Actions", Method::Post)] {
        let _ = write!(text, "\n## {title}\n");
        for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.method == method) {
            describe(&mut text, endpoint);
        }
    }
    text
}

fn describe(text: &mut String, endpoint: &Endpoint) {
    let method = endpoint.method.name().to_ascii_uppercase();
    let _ = write!(text, "\n### {method} {}\n\n{}\n", endpoint.path, endpoint.about);
    let who = match endpoint.need {
        Need::Nothing => "For everybody, also without a token. ",
        Need::Viewer => "",
        Need::Operator => "Role operator. ",
    };
    let also = endpoint.aliases.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
    let also = if also.is_empty() { String::new() } else { format!("Also {also}. ") };
    let statuses = refusals(endpoint).iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let _ = write!(text, "{who}{also}Status {}; refusals {statuses}.\n\n", endpoint.status);
    for parameter in endpoint.query {
        let _ = writeln!(text, "* query `{}`: {}", parameter.name, parameter.about);
    }
    if let Some(body) = endpoint.body {
        let _ = writeln!(text, "* body:");
        fields(text, &body(), 1);
    }
    match endpoint.content {
        Content::Text(kind) => {
            let _ = writeln!(text, "* answer: `{kind}`");
        }
        Content::Json(_) | Content::Events => {
            let schema = endpoint.content.schema().unwrap_or_default();
            if schema["properties"].is_object() {
                let _ = writeln!(text, "* answer:");
                fields(text, &schema, 1);
            }
        }
    }
}

fn fields(text: &mut String, schema: &Value, depth: usize) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let kind = match &field["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
            kind => kind.as_str().unwrap_or("").to_owned(),
        };
        let must = if required.contains(&name.as_str()) { "" } else { ", may be left out" };
        let about = field["description"].as_str().unwrap_or("");
        let _ = writeln!(text, "{}* `{name}` ({kind}{must}): {about}", "  ".repeat(depth));
        let inner = if field["items"].is_object() { &field["items"] } else { field };
        fields(text, inner, depth + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_documents_is_this_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/ref/rest.md");
        if std::env::var_os("UPDATE_REST_PAGE").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == page(), "UPDATE_REST_PAGE=1 cargo test --lib rest writes it anew");
    }
}
