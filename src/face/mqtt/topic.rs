//! Which topics there are. Behind `mqtt_topic_prefix`; a place in braces stands for a number or a name.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::payload::{
    Connections, Failover, FailoverEvent, Happening, HealthCheck, Missed, NodeEvent, NodeHealth, NodeRole,
    NodeState, NodeStatusChange, Queries,
};
use crate::face::rest::schema::Schema;
use crate::shm::EventKind;

/// A topic.
pub struct Topic {
    /// Behind the prefix.
    pub address: &'static str,
    /// What is published there.
    pub about: &'static str,
    /// Whether the broker keeps the last message for those who come later.
    pub retained: bool,
    /// What a payload looks like: JSON, except for `status`, which is a word.
    pub schema: fn() -> Value,
}

/// Whether the program is there: online, or offline. The last will of the connection, too.
pub const STATUS: Topic = Topic {
    address: "status",
    about: "Whether the program is connected: the word online, or offline, which is its last will.",
    retained: true,
    schema: || json!({"type": "string", "enum": ["online", "offline"]}),
};
/// Changes of the status of any node.
pub const NODES_STATUS: Topic = Topic {
    address: "nodes/status",
    about: "The status of a node has changed; with all nodes as they are.",
    retained: true,
    schema: NodeStatusChange::schema,
};
/// The status of one node.
pub const NODE_STATUS: Topic = Topic {
    address: "nodes/{id}/status",
    about: "The status of the node.",
    retained: true,
    schema: NodeState::schema,
};
/// The role of one node.
pub const NODE_ROLE: Topic = Topic {
    address: "nodes/{id}/role",
    about: "The role of the node.",
    retained: true,
    schema: NodeRole::schema,
};
/// What is done with a node.
pub const NODE_EVENTS: Topic = Topic {
    address: "nodes/{id}/events",
    about: "What was done with the node.",
    retained: false,
    schema: NodeEvent::schema,
};
/// Health checks of one node.
pub const NODE_HEALTH: Topic = Topic {
    address: "nodes/{id}/health",
    about: "The result of each health check of the node.",
    retained: false,
    schema: NodeHealth::schema,
};
/// Health checks of all nodes.
pub const HEALTH: Topic = Topic {
    address: "health",
    about: "The result of each health check.",
    retained: false,
    schema: HealthCheck::schema,
};
/// Failovers.
pub const CLUSTER_FAILOVER: Topic = Topic {
    address: "cluster/failover",
    about: "A primary was replaced.",
    retained: false,
    schema: Failover::schema,
};
/// The same in the form of before.
pub const EVENTS_FAILOVER: Topic = Topic {
    address: "events/failover",
    about: "A primary was replaced.",
    retained: false,
    schema: FailoverEvent::schema,
};
/// Everything else that happens.
pub const EVENTS: Topic = Topic {
    address: "events/{event}",
    about: "Something has happened: see the names that the place may have.",
    retained: false,
    schema: Happening::schema,
};
/// Events that nobody will hear of.
pub const MISSED: Topic = Topic {
    address: "events/missed",
    about: "Events came faster than they could be published, and so many are lost.",
    retained: false,
    schema: Missed::schema,
};
/// Numbers of the clients.
pub const CONNECTIONS: Topic = Topic {
    address: "stats/connections",
    about: "The number of clients, every mqtt_publish_interval.",
    retained: false,
    schema: Connections::schema,
};
/// Numbers of the statements.
pub const QUERIES: Topic = Topic {
    address: "stats/queries",
    about: "The number of statements, every mqtt_publish_interval.",
    retained: false,
    schema: Queries::schema,
};
/// What balancing learns.
pub const AI: Topic = Topic {
    address: "ai/decisions",
    about: "What adaptive balancing has learnt has changed.",
    retained: false,
    schema: Happening::schema,
};

/// All of them; a topic with a place comes behind those that it would fit, too.
pub static TOPICS: &[Topic] = &[
    STATUS,
    NODES_STATUS,
    NODE_STATUS,
    NODE_ROLE,
    NODE_EVENTS,
    NODE_HEALTH,
    HEALTH,
    CLUSTER_FAILOVER,
    EVENTS_FAILOVER,
    MISSED,
    EVENTS,
    CONNECTIONS,
    QUERIES,
    AI,
];

/// The row that a topic (behind the prefix) belongs to.
pub fn find(topic: &str) -> Option<&'static Topic> {
    let fits = |address: &str| {
        let (mut names, mut words) = (address.split('/'), topic.split('/'));
        loop {
            match (names.next(), words.next()) {
                (None, None) => return true,
                (Some(name), Some(word)) if name == word || name.starts_with('{') => {}
                _ => return false,
            }
        }
    };
    TOPICS.iter().find(|row| fits(row.address))
}

/// What stands for `{event}`.
pub fn event_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Reload => "config_reload",
        kind => kind.name(),
    }
}

/// The events of the topic `events/{event}`.
pub fn event_names() -> impl Iterator<Item = &'static str> {
    let elsewhere = [EventKind::Failover, EventKind::HealthCheck, EventKind::Statistics, EventKind::Ai];
    EventKind::ALL.into_iter().filter(move |kind| !elsewhere.contains(kind)).map(event_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_found() {
        for (topic, address) in [
            ("nodes/status", Some("nodes/status")),
            ("nodes/12/status", Some("nodes/{id}/status")),
            ("events/missed", Some("events/missed")),
            ("events/failover", Some("events/failover")),
            ("events/pause", Some("events/{event}")),
            ("events", None),
            ("events/pause/x", None),
        ] {
            assert_eq!(find(topic).map(|row| row.address), address, "{topic}");
        }
        assert!(TOPICS.iter().all(|row| find(row.address).is_some_and(|found| found.address == row.address)));
    }
}
