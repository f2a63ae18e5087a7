//! The AsyncAPI document, made of the table of topics.
#![forbid(unsafe_code)]

use serde_json::{Map, Value, json};

use super::topic::{TOPICS, Topic, event_names};
use crate::identity;

/// The document, of version 3.0 of AsyncAPI.
pub fn document() -> Value {
    let (mut channels, mut operations) = (Map::new(), Map::new());
    for topic in TOPICS {
        let name = name(topic);
        operations.insert(
            format!("publish_{name}"),
            json!({"action": "send", "channel": {"$ref": format!("#/channels/{name}")}, "summary": topic.about}),
        );
        channels.insert(name, channel(topic));
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "pgbalancer",
            "version": identity::VERSION,
            "description": "What pgbalancer, a load balancer and connection pooler for PostgreSQL, publishes over MQTT.",
            "license": {"name": "PostgreSQL"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
    })
}

fn name(topic: &Topic) -> String {
    topic.address.replace(['{', '}'], "").replace('/', "_")
}

fn channel(topic: &Topic) -> Value {
    let mut parameters = Map::new();
    let prefix = json!({"description": "mqtt_topic_prefix", "default": "pgbalancer"});
    parameters.insert("prefix".to_owned(), prefix);
    if topic.address.contains("{id}") {
        parameters.insert("id".to_owned(), json!({"description": "Number of a node."}));
    }
    if topic.address.contains("{event}") {
        let names: Vec<&str> = event_names().collect();
        parameters.insert("event".to_owned(), json!({"description": "What has happened.", "enum": names}));
    }
    let schema = (topic.schema)();
    let is_text = schema["type"] == "string";
    json!({
        "address": format!("{{prefix}}/{}", topic.address),
        "description": topic.about,
        "parameters": parameters,
        "messages": {
            "message": {
                "contentType": if is_text { "text/plain" } else { "application/json" },
                "payload": schema,
                "bindings": {"mqtt": {"bindingVersion": "0.2.0"}},
            },
        },
        "bindings": {"mqtt": {"bindingVersion": "0.2.0"}},
        "x-retained": topic.retained,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_ASYNCAPI=1 cargo test --lib asyncapi` writes it anew.
    #[test]
    fn the_file_is_the_document() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ref/asyncapi.json");
        let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("UPDATE_ASYNCAPI").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == text,
            "UPDATE_ASYNCAPI=1 writes it anew"
        );
    }
}
