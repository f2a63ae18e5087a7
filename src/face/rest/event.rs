//! Events: as a list, and as a stream of server-sent events.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::head::{Found, Head, number};
use super::refusal::Refusal;
use super::schema::answer;
use crate::shm::EventRow;

answer! {
    /// Something that has happened.
    pub struct Event {
        /// Counts from 1 at the start of the program.
        pub id: u64,
        /// When (unix seconds with three decimals).
        pub at: f64,
        /// node_status, primary, failover, reload, start or stop.
        pub kind: &'static str,
        /// The node that it is about.
        pub node: Option<usize>,
        /// How it was before.
        pub old: String,
        /// How it is now.
        pub new: String,
        /// Why.
        pub reason: String,
    }

    /// The events that are kept.
    pub struct EventList {
        /// Oldest first.
        pub events: Vec<Event>,
    }
}

impl From<&EventRow> for Event {
    fn from(row: &EventRow) -> Event {
        Event {
            id: row.number,
            at: row.at_millis as f64 / 1000.0,
            kind: row.kind.name(),
            node: row.node(),
            old: row.old.to_string(),
            new: row.new.to_string(),
            reason: row.reason.to_string(),
        }
    }
}

/// What a client wants of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Those behind this number; `None`: those to come.
    pub since: Option<u64>,
    /// Also those to come.
    pub follows: bool,
}

impl Feed {
    /// What a request wants.
    ///
    /// # Errors
    /// A parameter cannot be read.
    pub fn of(found: &Found, head: &Head<'_>) -> Result<Feed, Refusal> {
        let follows = match found.query_number("follow")? {
            None | Some(1) => true,
            Some(0) => false,
            Some(_) => return Err(Refusal::unreadable("follow is 0 or 1")),
        };
        // A client that comes back says what it has seen, which is newer than its address.
        let last = head.last_event.map(|text| number("Last-Event-ID", text.trim())).transpose()?;
        Ok(Feed { since: last.or(found.query_number("since")?), follows })
    }
}

/// Events as text of the stream.
pub fn stream_text(rows: &[EventRow]) -> String {
    let mut text = String::new();
    for row in rows {
        // The JSON has no line breaks of its own.
        let data = serde_json::to_string(&Event::from(row)).unwrap_or_default();
        let _ = writeln!(text, "event: {}\nid: {}\ndata: {data}\n", row.kind.name(), row.number);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::EventKind;

    #[test]
    fn an_event_of_the_stream() {
        let row = EventRow {
            number: 7,
            at_millis: 1_800_000_000_250,
            kind: EventKind::NodeStatus,
            node_plus_1: 2,
            old: "up".into(),
            new: "down".into(),
            reason: "a\nb".into(),
        };
        assert_eq!(
            stream_text(&[row]),
            "event: node_status\nid: 7\ndata: {\"id\":7,\"at\":1800000000.25,\"kind\":\"node_status\",\"node\":1,\
             \"old\":\"up\",\"new\":\"down\",\"reason\":\"a\\nb\"}\n\n"
        );
    }

    #[test]
    fn what_a_client_wants() {
        for (target, last_event, expected) in [
            ("/api/v1/events", None, Ok((None, true))),
            ("/api/v1/events?since=3&follow=0", None, Ok((Some(3), false))),
            ("/api/v1/events?since=3", Some("9"), Ok((Some(9), true))),
            ("/api/v1/events?follow=2", None, Err(400)),
            ("/api/v1/events", Some("x"), Err(400)),
        ] {
            let head = Head { method: "GET", target, last_event, ..Head::default() };
            let feed = Feed::of(&Found::of(&head).ok().unwrap(), &head);
            let feed = feed.map(|feed| (feed.since, feed.follows)).map_err(|refusal| refusal.status);
            assert_eq!(feed, expected, "{target}");
        }
    }
}
