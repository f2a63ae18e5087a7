//! What `top` shows, as text. Knows no terminal.
#![forbid(unsafe_code)]

use serde_json::Value;

use super::super::columns;
use super::super::report::objects;
use super::super::table;
use super::super::text::{Field, plain};
use super::Shot;

/// States of sessions, the busiest first.
const BUSY: [&str; 4] = ["active", "idle in transaction", "authentication", "idle"];

/// The whole of it: a line about the server, the nodes, the sessions.
pub(super) fn text(server: &str, shot: &Shot) -> String {
    let (status, health) = (&shot.status.1, &shot.health.1);
    let mut out = format!("pgbalancer {} at {server}", told(status, "version"));
    for (title, value) in [
        ("up", format!("{} s", told(status, "uptime"))),
        ("clients", format!("{} of {}", told(status, "connections"), told(status, "max_connections"))),
        ("processes", told(status, "processes")),
        ("nodes", format!("{} of {} healthy", told(status, "healthy_nodes"), told(status, "nodes"))),
        ("queries/s", told(health, "stats.queries_per_second")),
    ] {
        out += &format!(", {title} {value}");
    }
    if status.get("paused") == Some(&Value::Bool(true)) {
        out += ", PAUSED";
    }
    out.push('\n');
    let nodes = objects(&shot.nodes.1, columns::NODES.key);
    out += &table::of_objects(&nodes, columns::NODES.columns, columns::NODES.widths);
    let mut sessions = objects(&shot.sessions.1, columns::SESSIONS.key);
    // Of those that do the same, who is there longest.
    sessions.sort_by_key(|session| (rank(session), session.get("connected_at").and_then(Value::as_u64)));
    // The process stands in the id as well.
    let fields: Vec<Field> =
        columns::SESSIONS.columns.iter().filter(|field| field.key != "pid").copied().collect();
    out + &table::of_objects(&sessions, &fields, &[])
}

fn told(object: &Value, key: &'static str) -> String {
    plain("", key).of(object).unwrap_or_else(|| "-".to_owned())
}

fn rank(session: &Value) -> usize {
    let state = session.get("state").and_then(Value::as_str).unwrap_or_default();
    BUSY.iter().position(|busy| *busy == state).unwrap_or(BUSY.len())
}

/// The lines that a screen of this size can show, as far as it can.
pub(super) fn cut(text: &str, rows: usize, columns: usize) -> String {
    // A line in the last row would move the screen up.
    let lines = text.lines().take(rows.saturating_sub(1));
    lines.map(|line| line.chars().take(columns).collect::<String>() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_busiest_sessions_come_first() {
        let session =
            |id: &str, state: &str, at: u64| json!({ "id": id, "state": state, "connected_at": at });
        let sessions = [
            session("a", "idle", 1),
            session("b", "active", 9),
            session("c", "idle in transaction", 5),
            session("d", "active", 7),
            session("e", "something", 0),
        ];
        let part = |value: Value| (value.to_string(), value);
        let shot = Shot {
            status: part(json!({ "version": "1", "connections": 5, "paused": true })),
            health: part(json!({ "stats": { "queries_per_second": 12.5 } })),
            nodes: part(json!({ "nodes": [{ "id": 0, "host": "h", "status": "up" }] })),
            sessions: part(json!({ "sessions": sessions })),
        };
        let text = text("h:1", &shot);
        assert!(text.starts_with("pgbalancer 1 at h:1, up - s, clients 5 of -"), "{text}");
        assert!(text.contains("queries/s 12.5, PAUSED\n"), "{text}");
        let at = |id: &str| text.find(&format!("│ {id}  │")).unwrap_or_else(|| panic!("{id} in {text}"));
        let order = ["d", "b", "c", "a", "e"].map(at);
        assert!(order.is_sorted(), "{text}");
    }

    #[test]
    fn no_more_than_the_screen_holds() {
        assert_eq!(cut("│abc│\nd\ne\nf\n", 3, 3), "│ab\nd\n");
        assert_eq!(cut("a\n", 0, 0), "");
    }
}
