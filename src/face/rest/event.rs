//! Events: as a list, and as a stream of server-sent events.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::head::{Found, Head, number};
use super::refusal::Refusal;
use super::schema::answer;
use crate::shm::{EventRow, Happened, Ring};

answer! {
    /// Something that has happened.
    pub struct Event {
        /// Counts from 1 at the start of the program; readings have numbers of their own.
        pub id: u64,
        /// When (unix seconds with three decimals).
        pub at: f64,
        /// What: node_status, primary, role, failover_start, failover, failover_end, failback, promotion, recovery, reload, pause,
        /// resume, process_crash, start, stop; of the readings health_check, statistics, process_start, ai; in a stream also
        /// missed, which is no event.
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
        /// Events behind the number asked for that are not kept any more.
        pub missed: u64,
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
    /// Which.
    pub ring: Ring,
}

impl From<&Happened> for EventList {
    fn from(happened: &Happened) -> EventList {
        EventList { events: happened.rows.iter().map(Into::into).collect(), missed: happened.missed }
    }
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
        let ring = match found.query_number("readings")? {
            None | Some(0) => Ring::Events,
            Some(1) => Ring::Readings,
            Some(_) => return Err(Refusal::unreadable("readings is 0 or 1")),
        };
        // A client that comes back says what it has seen, which is newer than its address.
        let last = head.last_event.map(|text| number("Last-Event-ID", text.trim())).transpose()?;
        Ok(Feed { since: last.or(found.query_number("since")?), follows, ring })
    }
}

/// Events as text of the stream, and before them how many the client has missed, if any. `at`: unix seconds.
pub fn stream_text(happened: &Happened, at: f64) -> String {
    let missed = happened.missed;
    let first = happened.rows.first().map_or(happened.last + 1, |row| row.number);
    let missed = (missed > 0).then(|| Event {
        id: first.saturating_sub(1),
        at,
        kind: "missed",
        node: None,
        old: String::new(),
        new: missed.to_string(),
        reason: "so many events were gone before they could be sent".to_owned(),
    });
    let mut text = String::new();
    for event in missed.into_iter().chain(happened.rows.iter().map(Event::from)) {
        // The JSON has no line breaks of its own.
        let data = serde_json::to_string(&event).unwrap_or_default();
        let _ = writeln!(text, "event: {}\nid: {}\ndata: {data}\n", event.kind, event.id);
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
            ..EventRow::default()
        };
        let happened = Happened { rows: vec![row], missed: 0, last: 7 };
        assert_eq!(
            stream_text(&happened, 0.0),
            "event: node_status\nid: 7\ndata: {\"id\":7,\"at\":1800000000.25,\"kind\":\"node_status\",\"node\":1,\
             \"old\":\"up\",\"new\":\"down\",\"reason\":\"a\\nb\"}\n\n"
        );
    }

    #[test]
    fn a_client_that_is_too_slow_hears_how_many_it_has_missed() {
        let row = EventRow { number: 7, kind: EventKind::Reload, ..EventRow::default() };
        let text = stream_text(&Happened { rows: vec![row], missed: 4, last: 7 }, 5.5);
        let expected = "event: missed\nid: 6\ndata: {\"id\":6,\"at\":5.5,\"kind\":\"missed\",\"node\":null,\"old\":\"\",\
                        \"new\":\"4\",";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("\n\nevent: reload\nid: 7\n"), "{text}");
        let text = stream_text(&Happened { rows: Vec::new(), missed: 4, last: 7 }, 5.5);
        assert!(text.starts_with("event: missed\nid: 7\n"), "{text}");
    }

    #[test]
    fn what_a_client_wants() {
        for (target, last_event, expected) in [
            ("/api/v1/events", None, Ok((None, true, Ring::Events))),
            ("/api/v1/events?since=3&follow=0", None, Ok((Some(3), false, Ring::Events))),
            ("/api/v1/events?since=3", Some("9"), Ok((Some(9), true, Ring::Events))),
            ("/api/v1/events?readings=1&follow=0", None, Ok((None, false, Ring::Readings))),
            ("/api/v1/events?readings=0", None, Ok((None, true, Ring::Events))),
            ("/api/v1/events?readings=x", None, Err(400)),
            ("/api/v1/events?readings=2", None, Err(400)),
            ("/api/v1/events?follow=2", None, Err(400)),
            ("/api/v1/events", Some("x"), Err(400)),
        ] {
            let head = Head { method: "GET", target, last_event, ..Head::default() };
            let feed = Feed::of(&Found::of(&head).ok().unwrap(), &head);
            let feed =
                feed.map(|feed| (feed.since, feed.follows, feed.ring)).map_err(|refusal| refusal.status);
            assert_eq!(feed, expected, "{target}");
        }
    }
}
