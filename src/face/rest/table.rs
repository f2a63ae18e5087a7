//! What there is: one row an endpoint. Routing, the OpenAPI document and the reference page come from these rows.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::action::{
    self, ActionDone, DetachBody, LoginBody, LoginDone, PromoteBody, RouteBody, StopBody, WeightBody,
};
use super::body;
use super::event::EventList;
use super::head::{Found, Method};
use super::refusal::Refusal;
use super::schema::Schema;
use super::{View, metrics, report};
use crate::admin::{Command, RouteReport, TrafficReport};

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Everybody.
    Nothing,
    /// Whoever may look.
    Viewer,
    /// Whoever may change something.
    Operator,
}

/// What an answer holds.
#[derive(Clone, Copy)]
pub enum Content {
    /// JSON with this schema.
    Json(fn() -> Value),
    /// Text of this type.
    Text(&'static str),
    /// A stream of events, or a list of them.
    Events,
}

type Bytes = Result<Vec<u8>, Refusal>;

/// What is to be done.
#[derive(Clone, Copy)]
pub enum Act {
    /// Answer with this.
    Report(fn(&View<'_>, &Found) -> Bytes),
    /// Answer with what never changes while the program runs.
    Document,
    /// Have it done; the body of the request says how.
    Command(fn(&View<'_>, &Found, &[u8]) -> Result<Command, Refusal>),
    /// Answer with this, which depends on the body, and on chance: a number in 0..1.
    Ask(fn(&View<'_>, &[u8], f64) -> Bytes),
    /// Give out a token.
    Login,
    /// Tell what happens.
    Events,
}

/// A parameter of a query.
pub struct QueryParameter {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What it may be.
    pub schema: fn() -> Value,
}

/// The name of a place in a path, and what may stand there.
pub type Place = (&'static str, fn() -> Value);

/// A row.
pub struct Endpoint {
    /// Look or do.
    pub method: Method,
    /// Its path; a place in braces stands for any text.
    pub path: &'static str,
    /// Other paths of the same.
    pub aliases: &'static [&'static str],
    /// What it does.
    pub about: &'static str,
    /// What the place in its path stands for.
    pub place: Option<Place>,
    /// The parameters of its query.
    pub query: &'static [QueryParameter],
    /// What its request may hold.
    pub body: Option<fn() -> Value>,
    /// What its answer holds.
    pub content: Content,
    /// The status of a good answer.
    pub status: u16,
    /// Statuses that it refuses with, besides those that every request may get.
    pub refusals: &'static [u16],
    /// Who may.
    pub need: Need,
    /// What is done.
    pub act: Act,
}

impl Endpoint {
    const fn get(path: &'static str, about: &'static str, content: Content, act: Act) -> Endpoint {
        Endpoint {
            method: Method::Get,
            path,
            aliases: &[],
            about,
            place: None,
            query: &[],
            body: None,
            content,
            status: 200,
            refusals: &[],
            need: Need::Viewer,
            act,
        }
    }

    const fn post(
        path: &'static str,
        about: &'static str,
        act: fn(&View<'_>, &Found, &[u8]) -> Result<Command, Refusal>,
    ) -> Endpoint {
        Endpoint {
            method: Method::Post,
            need: Need::Operator,
            refusals: &[409, 503],
            ..Endpoint::get(path, about, Content::Json(ActionDone::schema), Act::Command(act))
        }
    }

    const fn also(self, aliases: &'static [&'static str]) -> Endpoint {
        Endpoint { aliases, ..self }
    }

    /// For one thing of many, which may not exist.
    const fn of(self, name: &'static str, schema: fn() -> Value, refusals: &'static [u16]) -> Endpoint {
        Endpoint { place: Some((name, schema)), refusals, ..self }
    }

    const fn with(self, body: fn() -> Value) -> Endpoint {
        Endpoint { body: Some(body), ..self }
    }

    const fn open(self) -> Endpoint {
        Endpoint { need: Need::Nothing, ..self }
    }
}

/// A report as JSON.
macro_rules! report {
    ($path:literal, $about:literal, $make:path, $body:path) => {
        Endpoint::get(
            $path,
            $about,
            Content::Json(<$body>::schema),
            Act::Report(|view, found| Ok(serde_json::to_vec(&$make(view, found)?).unwrap_or_default())),
        )
    };
}

/// A report as text.
macro_rules! text {
    ($path:literal, $about:literal, $make:path, $kind:expr) => {
        Endpoint::get(
            $path,
            $about,
            Content::Text($kind),
            Act::Report(|view, found| Ok($make(view, found)?.into_bytes())),
        )
    };
}

/// Type of the text that Prometheus reads.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// A number below ten digits.
fn a_number() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": 999_999_999})
}

fn a_name() -> Value {
    json!({"type": "string", "minLength": 1})
}

fn an_event_number() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn a_switch() -> Value {
    json!({"type": "integer", "enum": [0, 1]})
}

const ABSENT: &[u16] = &[404];
const CHANGE: &[u16] = &[404, 409, 503];

/// All endpoints.
pub static ENDPOINTS: &[Endpoint] = &[
    report!("/api/v1/status", "The whole at a glance.", report::status, body::Status).also(&["/api/status"]),
    report!("/api/v1/nodes", "All nodes.", report::nodes, body::Nodes).also(&["/api/nodes"]),
    report!("/api/v1/nodes/{id}", "One node.", report::node, body::Node).of("id", a_number, ABSENT),
    report!("/api/v1/nodes/{id}/recovery", "How its recovery goes, or went.", report::recovery, body::Recovery)
        .of("id", a_number, ABSENT),
    report!(
        "/api/v1/health/stats",
        "How things stand, and what the health checks have counted.",
        report::health,
        body::Health
    )
    .also(&["/api/health", "/api/v1/health"]),
    report!("/api/v1/processes", "All worker processes.", report::processes, body::Processes)
        .also(&["/api/processes"]),
    report!(
        "/api/v1/processes/{pid}",
        "One worker process, with the places for its connections to nodes.",
        report::process,
        body::ProcessWithPools
    )
    .of("pid", a_number, ABSENT),
    report!(
        "/api/v1/pools",
        "All places for connections to nodes; with many sessions a worker only those in use.",
        report::pools,
        body::Pools
    ),
    report!("/api/v1/pools/stats", "How full the pools are.", report::pool_stats, body::PoolStats)
        .also(&["/api/pool-stats", "/api/v1/pool-stats"]),
    report!("/api/v1/sessions", "All sessions of clients.", report::sessions, body::Sessions),
    report!(
        "/api/v1/traffic",
        "Statements by node, user and database, and how long they took.",
        report::traffic,
        TrafficReport
    ),
    report!("/api/v1/config", "All parameters.", report::parameters, body::Parameters),
    report!("/api/v1/config/{name}", "One parameter.", report::parameter, body::Parameter)
        .of("name", a_name, ABSENT),
    report!("/api/v1/version", "Versions.", report::version, body::Versions),
    report!("/api/v1/ai-stats", "What adaptive balancing has learnt.", report::adaptive, body::Adaptive)
        .also(&["/api/ai-stats", "/api/v1/ai/stats"]),
    report!("/api/v1/watchdog/info", "The watchdog and its members.", report::watchdog_info, body::WatchdogInfo),
    report!("/api/v1/watchdog/status", "The watchdog.", report::watchdog_status, body::WatchdogStatus),
    report!("/api/v1/mqtt", "How the MQTT process does, and what it publishes.", report::mqtt, body::Mqtt)
        .also(&["/api/mqtt"]),
    report!("/api/v1/cache/stats", "The query cache.", report::cache, body::CacheStats),
    Endpoint {
        query: &[
            QueryParameter {
                name: "since",
                about: "Begin behind the event of this number; without it the stream begins with what comes.",
                schema: an_event_number,
            },
            QueryParameter {
                name: "follow",
                about: "0: answer at once with a list in JSON.",
                schema: a_switch,
            },
            QueryParameter {
                name: "readings",
                about: "1: instead of what changes something, what comes all the time: results of health checks, statistics, \
                        processes that start. These have numbers of their own.",
                schema: a_switch,
            },
        ],
        refusals: &[503],
        ..Endpoint::get(
            "/api/v1/events",
            "What happens, as server-sent events; `Last-Event-ID` goes on where a stream was cut.",
            Content::Events,
            Act::Events,
        )
    },
    Endpoint::get(
        "/api/v1/openapi.json",
        "This document.",
        Content::Json(|| json!({"type": "object"})),
        Act::Document,
    ),
    text!("/metrics", "Metrics for Prometheus.", metrics::metrics, EXPOSITION).also(&["/api/v1/metrics"]),
    text!("/healthz", "The process lives.", report::alive, PLAIN).also(&["/api/v1/healthz"]).open(),
    Endpoint {
        refusals: &[503],
        ..text!("/readyz", "A client would be served now.", report::ready, PLAIN)
    }
    .also(&["/api/v1/readyz"])
    .open(),
    Endpoint {
        method: Method::Post,
        refusals: &[429, 503],
        ..Endpoint::get(
            "/api/v1/auth/login",
            "A token for a user and its password. Where neither tokens nor users are configured, a request from this \
             host without a body gets one, too.",
            Content::Json(LoginDone::schema),
            Act::Login,
        )
    }
    .also(&["/api/login"])
    .with(LoginBody::schema)
    .open(),
    Endpoint {
        method: Method::Post,
        ..Endpoint::get(
            "/api/v1/route",
            "Where a statement of a new session would go, and why, as far as that can be told without the catalog.",
            Content::Json(RouteReport::schema),
            Act::Ask(|view, body, draw| {
                Ok(serde_json::to_vec(&action::route(view, body, draw)?).unwrap_or_default())
            }),
        )
    }
    .with(RouteBody::schema),
    Endpoint::post("/api/v1/nodes/{id}/attach", "Puts a node in use.", action::attach)
        .of("id", a_number, CHANGE),
    Endpoint::post("/api/v1/nodes/{id}/detach", "Takes a node out of use.", action::detach)
        .of("id", a_number, CHANGE)
        .with(DetachBody::schema),
    Endpoint::post("/api/v1/nodes/{id}/promote", "Makes a node the primary.", action::promote)
        .of("id", a_number, CHANGE)
        .with(PromoteBody::schema),
    Endpoint {
        status: 202,
        ..Endpoint::post(
            "/api/v1/nodes/{id}/recovery",
            "Begins to make a node that is down anew from the primary, and puts it in use.",
            action::recover,
        )
    }
    .of("id", a_number, CHANGE),
    Endpoint::post(
        "/api/v1/nodes/{id}/weight",
        "Gives a node a share of the reads, until the next start or a reload that changes it.",
        action::weight,
    )
    .of("id", a_number, CHANGE)
    .with(WeightBody::schema),
    Endpoint::post("/api/v1/sessions/{id}/cancel", "Cancels the statement that a session runs.", action::cancel)
        .of("id", a_name, CHANGE),
    Endpoint::post("/api/v1/sessions/{id}/terminate", "Ends a session.", action::terminate)
        .of("id", a_name, CHANGE),
    Endpoint::post(
        "/api/v1/control/pause",
        "Has new transactions wait; answers when those under way have ended, or after 10 s (accepted).",
        action::pause,
    ),
    Endpoint::post("/api/v1/control/resume", "Lets transactions begin again.", action::resume),
    Endpoint::post("/api/v1/control/reload", "Has the configuration read again.", action::reload),
    Endpoint::post("/api/v1/control/logrotate", "Begins a new log file.", action::rotate_log),
    Endpoint::post("/api/v1/control/stop", "Stops the whole program.", action::stop).with(StopBody::schema),
    Endpoint::post("/api/v1/cache/invalidate", "Forgets all query results.", action::invalidate_cache),
    Endpoint::post("/api/v1/ai-stats/reset", "Has routing forget what it has learnt.", action::forget_learned)
        .also(&["/api/ai-stats/reset"]),
    Endpoint::post("/api/v1/watchdog/start", "Starts the watchdog.", action::watchdog),
    Endpoint::post("/api/v1/watchdog/stop", "Stops the watchdog.", action::watchdog),
];

impl Content {
    /// The schema of the answer where it is JSON.
    pub fn schema(&self) -> Option<Value> {
        match self {
            Content::Json(schema) => Some(schema()),
            Content::Events => Some(EventList::schema()),
            Content::Text(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_have_one_path_and_places_are_named() {
        let mut seen = Vec::new();
        for endpoint in ENDPOINTS {
            for path in std::iter::once(&endpoint.path).chain(endpoint.aliases) {
                assert!(path.starts_with('/') && !path.ends_with('/'), "{path}");
                assert!(!seen.contains(&(endpoint.method.name(), *path)), "{path}");
                seen.push((endpoint.method.name(), path));
            }
            let name = endpoint.path.split_once('{').and_then(|(_, rest)| Some(rest.split_once('}')?.0));
            assert_eq!(endpoint.place.map(|(name, _)| name), name, "{}", endpoint.path);
            let changes = matches!(endpoint.act, Act::Command(_));
            assert_eq!(changes, endpoint.need == Need::Operator, "{}", endpoint.path);
            assert!(!changes || endpoint.method == Method::Post, "{}", endpoint.path);
        }
    }
}
