//! The messages of an event.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::payload::{
    Connections, Failover, FailoverEvent, Happening, HealthCheck, Missed, NodeEvent, NodeHealth, NodeRole,
    NodeState, NodeStatusChange, Queries,
};
use super::scene::{NodeFacts, Scene};
use super::time::iso;
use super::topic::{self, Topic};
use crate::admin::status_text;
use crate::shm::{EventKind, EventRow, Ring};

/// What is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it.
    pub retained: bool,
}

/// The messages of an event, as far as they are wanted.
pub fn messages(row: &EventRow, scene: &Scene) -> Vec<Message> {
    let happening = || Happening {
        event: topic::event_name(row.kind),
        id: row.number,
        node_id: row.node(),
        old: row.old.to_string(),
        new: row.new.to_string(),
        reason: row.reason.to_string(),
        pid: figure(row, "pid"),
        timestamp: row.at_millis / 1000,
    };
    match row.kind {
        EventKind::HealthCheck if scene.health_check => health_check(row, scene),
        EventKind::Statistics if scene.statistics => statistics(row, scene),
        EventKind::HealthCheck | EventKind::Statistics => Vec::new(),
        EventKind::Failover if scene.failover => failover(row, scene),
        EventKind::Failover => Vec::new(),
        EventKind::FailoverStart | EventKind::FailoverEnd if !scene.failover => Vec::new(),
        EventKind::Ai => vec![message(scene, &topic::AI, "", &happening())],
        kind => {
            let mut all = of_node(row, scene);
            all.push(message(scene, &topic::EVENTS, topic::event_name(kind), &happening()));
            all
        }
    }
}

/// What goes to the topics of a node.
fn of_node(row: &EventRow, scene: &Scene) -> Vec<Message> {
    let Some(node) = row.node() else { return Vec::new() };
    let timestamp = row.at_millis / 1000;
    let event = |event, reason: &str| {
        let reason = reason.to_owned();
        message(
            scene,
            &topic::NODE_EVENTS,
            &node.to_string(),
            &NodeEvent { node_id: node, event, reason, timestamp },
        )
    };
    let reason = row.reason.as_str();
    match row.kind {
        EventKind::NodeStatus if scene.node_status => {
            let mut all = status_change(row, node, scene);
            all.push(event(what_was_done(row), reason));
            all
        }
        EventKind::NodeStatus => vec![event(what_was_done(row), reason)],
        EventKind::Role if scene.node_status => {
            let role = NodeRole {
                node_id: node,
                role: row.new.to_string(),
                old_role: row.old.to_string(),
                reason: reason.to_owned(),
                timestamp,
            };
            vec![message(scene, &topic::NODE_ROLE, &node.to_string(), &role)]
        }
        EventKind::Promotion => vec![event("promote", reason)],
        EventKind::Failback => vec![event("failback", reason)],
        EventKind::Recovery if reason.is_empty() => vec![event("recovery", row.new.as_str())],
        EventKind::Recovery => vec![event("recovery", &format!("{}: {reason}", row.new))],
        _ => Vec::new(),
    }
}

fn what_was_done(row: &EventRow) -> &'static str {
    match (is_used(row.new.as_str()), figure(row, "orderly")) {
        (true, _) => "attach",
        (false, Some(1)) => "detach",
        (false, _) => "down",
    }
}

fn is_used(status: &str) -> bool {
    matches!(status, "up" | "waiting")
}

fn status_change(row: &EventRow, node: usize, scene: &Scene) -> Vec<Message> {
    let change = NodeStatusChange {
        event: "node_status_change",
        id: row.number,
        timestamp: iso(row.at_millis),
        node_id: Some(node),
        old_status: row.old.to_string(),
        new_status: row.new.to_string(),
        reason: row.reason.to_string(),
        health_score: facts(scene, node).and_then(|facts| facts.health_score),
        nodes: states(scene, row.at_millis),
    };
    let mut all = vec![message(scene, &topic::NODES_STATUS, "", &change)];
    // What it was then: it may have changed again.
    if let Some(facts) = facts(scene, node) {
        let now = NodeState { reason: row.reason.to_string(), ..state(facts, row.at_millis) };
        let status = if is_used(row.new.as_str()) { "up" } else { "down" };
        let known = ["waiting", "up", "down", "quarantine", "unused"];
        let state = known.into_iter().find(|known| *known == row.new.as_str()).unwrap_or(now.state);
        let then = NodeState { status, state, ..now };
        all.push(message(scene, &topic::NODE_STATUS, &node.to_string(), &then));
    }
    all
}

fn facts(scene: &Scene, node: usize) -> Option<&NodeFacts> {
    scene.nodes.iter().find(|facts| facts.id == node)
}

fn states(scene: &Scene, at_millis: u64) -> Vec<NodeState> {
    scene.nodes.iter().map(|facts| state(facts, at_millis)).collect()
}

fn state(facts: &NodeFacts, at_millis: u64) -> NodeState {
    NodeState {
        node_id: facts.id,
        status: if facts.status.is_used() { "up" } else { "down" },
        timestamp: at_millis / 1000,
        state: status_text(facts.status),
        role: facts.role,
        host: facts.host.clone(),
        port: facts.port,
        reason: facts.reason.clone(),
    }
}

fn health_check(row: &EventRow, scene: &Scene) -> Vec<Message> {
    let Some(node) = row.node() else { return Vec::new() };
    let response_time_ms = figure(row, "micros").unwrap_or(0) as f64 / 1000.0;
    let of_node = NodeHealth {
        node_id: node,
        healthy: row.new.as_str() == "healthy",
        timestamp: row.at_millis / 1000,
        response_time_ms,
        reason: row.reason.to_string(),
    };
    let (success, fail) = (figure(row, "success").unwrap_or(0), figure(row, "fail").unwrap_or(0));
    let checks = success.saturating_add(fail);
    let of_all = HealthCheck {
        event: "health_check",
        id: row.number,
        timestamp: iso(row.at_millis),
        node_id: node,
        status: row.new.to_string(),
        response_time_ms,
        health_score: (checks > 0).then(|| success as f64 / checks as f64),
        connections: facts(scene, node).map_or(0, |facts| facts.connections),
        load: facts(scene, node).map_or(0.0, |facts| facts.load),
        retries: figure(row, "retries").unwrap_or(0),
        reason: row.reason.to_string(),
    };
    vec![
        message(scene, &topic::HEALTH, "", &of_all),
        message(scene, &topic::NODE_HEALTH, &node.to_string(), &of_node),
    ]
}

fn statistics(row: &EventRow, scene: &Scene) -> Vec<Message> {
    let of = |name| figure(row, name).unwrap_or(0);
    let timestamp = row.at_millis / 1000;
    let (statements, seconds) = (of("statements"), of("millis") as f64 / 1000.0);
    let average = if statements > 0 { of("micros") as f64 / 1000.0 / statements as f64 } else { 0.0 };
    let connections = Connections { total: of("total"), active: of("active"), idle: of("idle"), timestamp };
    let queries = Queries {
        // A float in an integer's range; one beyond it stays at the end of the range.
        qps: if seconds > 0.0 { (statements as f64 / seconds).round() as u64 } else { 0 },
        avg_response_time_ms: (average * 100.0).round() / 100.0,
        statements,
        timestamp,
    };
    vec![message(scene, &topic::CONNECTIONS, "", &connections), message(scene, &topic::QUERIES, "", &queries)]
}

fn failover(row: &EventRow, scene: &Scene) -> Vec<Message> {
    let (old_primary, new_primary) = (row.old.as_str().parse().ok(), row.new.as_str().parse().ok());
    let reason = row.reason.to_string();
    let whole = Failover {
        event: "failover",
        id: row.number,
        timestamp: iso(row.at_millis),
        old_primary,
        new_primary,
        reason: reason.clone(),
        failed_node_id: old_primary,
        new_primary_id: new_primary,
        promotion_reason: reason.clone(),
        cluster_status: scene.cluster_status(new_primary),
    };
    let timestamp = row.at_millis / 1000;
    let short =
        FailoverEvent { event: "failover", id: row.number, old_primary, new_primary, reason, timestamp };
    vec![
        message(scene, &topic::CLUSTER_FAILOVER, "", &whole),
        message(scene, &topic::EVENTS_FAILOVER, "", &short),
    ]
}

/// So many events of a ring were gone before they were read.
pub fn missed(scene: &Scene, ring: Ring, missed: u64, at_millis: u64) -> Message {
    let of = match ring {
        Ring::Events => "events",
        Ring::Readings => "readings",
    };
    let missed = Missed { event: "missed", missed, of, timestamp: at_millis / 1000 };
    message(scene, &topic::MISSED, "", &missed)
}

/// What is published when a connection to the broker has begun: that we are there, and all that is retained, since it may
/// have changed meanwhile. The first one goes before all that waits, the others behind it.
pub fn greetings(scene: &Scene, at_millis: u64) -> (Message, Vec<Message>) {
    let mut all = Vec::new();
    if scene.node_status {
        let snapshot = NodeStatusChange {
            event: "snapshot",
            id: 0,
            timestamp: iso(at_millis),
            node_id: None,
            old_status: String::new(),
            new_status: String::new(),
            reason: "a connection to the broker has begun".to_owned(),
            health_score: None,
            nodes: states(scene, at_millis),
        };
        all.push(message(scene, &topic::NODES_STATUS, "", &snapshot));
        for facts in &scene.nodes {
            let id = facts.id.to_string();
            all.push(message(scene, &topic::NODE_STATUS, &id, &state(facts, at_millis)));
            let role = NodeRole {
                node_id: facts.id,
                role: facts.role.to_owned(),
                old_role: String::new(),
                reason: "a connection to the broker has begun".to_owned(),
                timestamp: at_millis / 1000,
            };
            all.push(message(scene, &topic::NODE_ROLE, &id, &role));
        }
    }
    (status(scene, "online"), all)
}

/// What the broker publishes for us when the connection breaks.
pub fn last_will(scene: &Scene) -> Message {
    status(scene, "offline")
}

/// The last message of an orderly end.
pub fn goodbye(scene: &Scene) -> Message {
    status(scene, "offline")
}

fn status(scene: &Scene, word: &str) -> Message {
    Message {
        topic: format!("{}/{}", scene.prefix, topic::STATUS.address),
        payload: word.as_bytes().to_vec(),
        retained: true,
    }
}

/// `place`: what stands for the place in the topic's address.
fn message(scene: &Scene, topic: &Topic, place: &str, payload: &impl Serialize) -> Message {
    let words = topic.address.split('/').map(|word| if word.starts_with('{') { place } else { word });
    Message {
        topic: std::iter::once(scene.prefix.as_str()).chain(words).collect::<Vec<_>>().join("/"),
        // Payloads are structs of numbers and texts, which always can be written.
        payload: serde_json::to_vec(payload).unwrap_or_default(),
        retained: topic.retained,
    }
}

fn figure(row: &EventRow, name: &str) -> Option<u64> {
    let at = EventRow::figures(row.kind).iter().position(|known| *known == name)?;
    row.values.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::shm::NodeStatus;
    use serde_json::Value;

    fn scene() -> Scene {
        let node = NodeFacts {
            id: 1,
            host: "b".to_owned(),
            port: 5432,
            status: NodeStatus::Up,
            role: "standby",
            reason: String::new(),
            health_score: Some(0.5),
            connections: 2,
            load: 0.25,
        };
        Scene { nodes: vec![node], ..Scene::wanted(&Config::default()) }
    }

    fn row(kind: EventKind, old: &str, new: &str, values: [u64; 6]) -> EventRow {
        let at_millis = 1_800_000_000_250;
        let reason = "why".into();
        EventRow {
            number: 7,
            at_millis,
            kind,
            node_plus_1: 2,
            old: old.into(),
            new: new.into(),
            reason,
            values,
        }
    }

    fn topics(messages: &[Message]) -> Vec<&str> {
        messages.iter().map(|message| message.topic.strip_prefix("pgbalancer/").unwrap()).collect()
    }

    fn json(message: &Message) -> Value {
        serde_json::from_slice(&message.payload).unwrap()
    }

    #[test]
    fn a_node_that_goes_out_of_use() {
        for (orderly, event) in [(1, "detach"), (0, "down")] {
            let row = row(EventKind::NodeStatus, "up", "down", [orderly, 0, 0, 0, 0, 0]);
            let all = messages(&row, &scene());
            assert_eq!(
                topics(&all),
                ["nodes/status", "nodes/1/status", "nodes/1/events", "events/node_status"]
            );
            assert_eq!(
                all.iter().map(|message| message.retained).collect::<Vec<_>>(),
                [true, true, false, false]
            );
            // It is up again by now, which the next message tells.
            let state = json(&all[1]);
            assert_eq!((&state["status"], &state["state"]), (&"down".into(), &"down".into()), "{state}");
            assert_eq!(json(&all[2])["event"], event);
            assert_eq!(json(&all[0])["timestamp"], "2027-01-15T08:00:00.250Z");
        }
        let back = messages(&row(EventKind::NodeStatus, "down", "waiting", [0; 6]), &scene());
        assert_eq!(
            (json(&back[1])["status"].clone(), json(&back[2])["event"].clone()),
            ("up".into(), "attach".into())
        );
    }

    #[test]
    fn numbers_of_health_checks_and_statistics() {
        let all = messages(&row(EventKind::HealthCheck, "", "healthy", [1500, 1, 3, 1, 0, 0]), &scene());
        assert_eq!(topics(&all), ["health", "nodes/1/health"]);
        let health = json(&all[0]);
        assert_eq!(
            (health["response_time_ms"].as_f64(), health["health_score"].as_f64()),
            (Some(1.5), Some(0.75))
        );
        assert_eq!((health["retries"].as_u64(), health["connections"].as_u64()), (Some(1), Some(2)));
        let all = messages(&row(EventKind::Statistics, "", "", [5, 2, 3, 40, 100_000, 10_000]), &scene());
        let (clients, statements) = (json(&all[0]), json(&all[1]));
        assert_eq!((clients["total"].as_u64(), clients["idle"].as_u64()), (Some(5), Some(3)));
        assert_eq!(
            (statements["qps"].as_u64(), statements["avg_response_time_ms"].as_f64()),
            (Some(4), Some(2.5))
        );
        let none = messages(&row(EventKind::Statistics, "", "", [0; 6]), &scene());
        assert_eq!(json(&none[1])["avg_response_time_ms"], 0.0, "nothing is divided by nothing");
    }

    #[test]
    fn what_is_not_wanted_makes_no_message() {
        let quiet =
            Scene { node_status: false, failover: false, health_check: false, statistics: false, ..scene() };
        for (kind, left) in [
            (EventKind::NodeStatus, ["nodes/1/events", "events/node_status"].as_slice()),
            (EventKind::Role, &["events/role"]),
            (EventKind::Failover, &[]),
            (EventKind::FailoverStart, &[]),
            (EventKind::HealthCheck, &[]),
            (EventKind::Statistics, &[]),
        ] {
            assert_eq!(topics(&messages(&row(kind, "", "", [0; 6]), &quiet)), left);
        }
        assert!(greetings(&quiet, 0).1.is_empty());
    }

    #[test]
    fn every_topic_is_in_the_table() {
        for kind in EventKind::ALL {
            for message in messages(&row(kind, "0", "1", [0; 6]), &scene()) {
                let topic = message.topic.strip_prefix("pgbalancer/").unwrap();
                assert!(topic::find(topic).is_some_and(|row| row.retained == message.retained), "{topic}");
            }
        }
    }
}
