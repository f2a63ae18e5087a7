//! The OpenAPI document, made of the table.
#![forbid(unsafe_code)]

use serde_json::{Map, Value, json};

use super::head::Method;
use super::refusal::{ErrorBody, TITLES};
use super::schema::Schema;
use super::table::{Act, Content, ENDPOINTS, Endpoint, Need};
use crate::identity;

/// Refusals that every request may get.
const ALWAYS: &[u16] = &[400, 401, 403];

/// The document.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in ENDPOINTS {
        let item = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        item[endpoint.method.name()] = operation(endpoint);
        if endpoint.method == Method::Get {
            let mut head = operation(endpoint);
            head["operationId"] = json!(format!("head_{}", name(endpoint)));
            head["responses"].as_object_mut().into_iter().flatten().for_each(|(_, answer)| {
                answer.as_object_mut().map(|answer| answer.remove("content"));
            });
            item["head"] = head;
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "pgbalancer",
            "version": identity::VERSION,
            "description": "State and control of pgbalancer, a load balancer and connection pooler for PostgreSQL.",
            "license": {"name": "PostgreSQL", "identifier": "PostgreSQL"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Error": ErrorBody::schema()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    })
}

/// The path in letters.
fn name(endpoint: &Endpoint) -> String {
    let path = endpoint.path.strip_prefix("/api/v1").unwrap_or(endpoint.path);
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(endpoint.method.name()).chain(words).collect::<Vec<_>>().join("_")
}

fn operation(endpoint: &Endpoint) -> Value {
    let mut operation = json!({
        "operationId": name(endpoint),
        "summary": endpoint.about,
        "responses": responses(endpoint),
    });
    let parameters = parameters(endpoint);
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(body) = endpoint.body {
        let schema = body();
        // A login without a body may be good: see there.
        let required = schema["required"].is_array() && !matches!(endpoint.act, Act::Login);
        operation["requestBody"] =
            json!({"required": required, "content": {"application/json": {"schema": schema}}});
    }
    // A token is asked for if rest_api_jwt_enabled is on.
    if endpoint.need != Need::Nothing {
        operation["security"] = json!([{}, {"token": []}]);
    }
    operation
}

fn parameters(endpoint: &Endpoint) -> Vec<Value> {
    let place = endpoint
        .place
        .map(|(name, schema)| json!({"name": name, "in": "path", "required": true, "schema": schema()}));
    let query = endpoint.query.iter().map(|parameter| {
        json!({
            "name": parameter.name,
            "in": "query",
            "required": false,
            "description": parameter.about,
            "schema": (parameter.schema)(),
        })
    });
    place.into_iter().chain(query).collect()
}

fn responses(endpoint: &Endpoint) -> Value {
    let content = match endpoint.content {
        Content::Json(schema) => json!({"application/json": {"schema": schema()}}),
        Content::Text(kind) => {
            let kind = kind.split(';').next().unwrap_or(kind);
            json!({kind: {"schema": {"type": "string"}}})
        }
        Content::Events => json!({
            "text/event-stream": {"schema": {"type": "string"}},
            "application/json": {"schema": endpoint.content.schema()},
        }),
    };
    let mut responses = Map::new();
    responses.insert(endpoint.status.to_string(), json!({"description": endpoint.about, "content": content}));
    let error = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
    for status in refusals(endpoint) {
        let title = TITLES.iter().find(|(known, _)| *known == status).map_or("", |(_, title)| *title);
        responses.insert(status.to_string(), json!({"description": title, "content": error}));
    }
    Value::Object(responses)
}

/// The statuses that an endpoint may refuse with.
pub(super) fn refusals(endpoint: &Endpoint) -> Vec<u16> {
    let body: &[u16] = if endpoint.method == Method::Post { &[408, 413] } else { &[] };
    let mut all: Vec<u16> = [ALWAYS, endpoint.refusals, body].concat();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_in_the_document_and_has_a_name_of_its_own() {
        let document = document();
        let mut names = Vec::new();
        for endpoint in ENDPOINTS {
            let operation = &document["paths"][endpoint.path][endpoint.method.name()];
            let name = operation["operationId"].as_str().unwrap().to_owned();
            assert!(!names.contains(&name), "{name}");
            names.push(name);
            assert!(operation["responses"][endpoint.status.to_string()].is_object(), "{}", endpoint.path);
        }
        assert!(names.contains(&"post_nodes_id_attach".to_owned()), "{names:?}");
        let head = &document["paths"]["/api/v1/status"]["head"]["responses"]["200"];
        assert!(head["description"].is_string() && head["content"].is_null());
    }
}
