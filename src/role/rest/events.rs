//! Streams of events: each goes as fast as its client reads, from the ring in shared memory.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Bytes;
use tokio::sync::mpsc::{self, Sender};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::Server;
use super::reply::{self, JSON, Reply};
use crate::face::rest::{EventList, Feed, Refusal, stream_text};
use crate::shm::Ring;
use crate::sys::clock;

/// Streams at the same time.
const MOST_STREAMS: usize = 64;

/// How often the ring is looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// How long a stream says nothing at most, so that both ends know that the other one is there.
const SILENCE: Duration = Duration::from_secs(15);

/// After how many milliseconds a client that was cut off shall come again.
const WELCOME: &str = "retry: 1000\n\n";

impl Server {
    pub(super) fn events(self: &Rc<Self>, feed: Feed, is_head: bool) -> Result<Response<Reply>, Refusal> {
        let segment = self.context.borrow().segment;
        if !feed.follows {
            let list = EventList::from(&segment.events_since(feed.ring, feed.since.unwrap_or(0)));
            return Ok(reply::live(200, JSON, serde_json::to_vec(&list).unwrap_or_default()));
        }
        if is_head {
            return Ok(reply::live(200, "text/event-stream", Bytes::new()));
        }
        if self.streams.get() >= MOST_STREAMS {
            let text = format!("there are {MOST_STREAMS} streams of events already; follow=0 gives a list");
            return Err(Refusal { retry_after: Some(10), ..Refusal::new(503, text) });
        }
        self.streams.set(self.streams.get() + 1);
        let since = feed.since.unwrap_or_else(|| segment.last_event(feed.ring));
        // One piece on its way: the next one is made when the client has taken it.
        let (sender, receiver) = mpsc::channel(1);
        let server = Rc::clone(self);
        spawn_local(async move {
            server.feed(&sender, feed.ring, since).await;
            server.streams.set(server.streams.get() - 1);
        });
        Ok(reply::events(receiver))
    }

    /// Sends what happens until the client has gone or the process ends.
    async fn feed(&self, client: &Sender<Bytes>, ring: Ring, since: u64) {
        let segment = self.context.borrow().segment;
        let stopping = self.stopping.subscribe();
        let (mut seen, mut said) = (since, Instant::now());
        let mut text = WELCOME.to_owned();
        loop {
            let happened = segment.events_since(ring, seen);
            seen = happened.last;
            if happened.missed > 0 || !happened.rows.is_empty() {
                text.push_str(&stream_text(&happened, clock::since_epoch().as_secs_f64()));
            } else if text.is_empty() && said.elapsed() >= SILENCE {
                text.push_str(": nothing new\n\n");
            }
            if !text.is_empty() {
                said = Instant::now();
                if client.send(std::mem::take(&mut text).into()).await.is_err() {
                    return;
                }
            }
            // What stopped the program was told.
            if *stopping.borrow() {
                return;
            }
            tokio::select! {
                () = client.closed() => return,
                () = sleep(GLANCE) => {}
            }
        }
    }
}
