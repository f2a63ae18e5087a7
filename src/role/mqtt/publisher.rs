//! From the rings to the broker: reads events, keeps what waits, connects again and again.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use paho_mqtt::DeliveryToken;

use super::link::{Fate, Link, Wanted};
use super::wake::{self, Sleeper, Waker};
use crate::admin::Context;
use crate::config::Config;
use crate::face::mqtt::{
    Backoff, Entry, Message, Outage, Queue, Scene, goodbye, greetings, last_will, messages, missed,
};
use crate::say;
use crate::shm::{MqttRow, Ring, Segment};
use crate::sys::clock;

/// How often the rings are looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// Messages on their way at the same time. Brokers take 20 or more.
const FLIGHT: usize = 16;

/// How long a connection that is not wanted any more may take to end.
const FAREWELL: Duration = Duration::from_millis(500);

/// How far the connection is.
enum State {
    /// Nobody is asked before this.
    Waits(Instant),
    /// An attempt is under way.
    Connects,
    /// It is there, since then.
    Connected(Instant),
}

/// A message on its way.
struct Flying {
    entry: Entry,
    token: DeliveryToken,
}

/// All of it. `turn` does what is due and never waits.
pub struct Publisher {
    segment: Segment,
    config: Config,
    sleeper: Sleeper,
    waker: Arc<Waker>,
    /// Up to here the rings were read.
    read: [u64; 2],
    queue: Queue,
    flight: VecDeque<Flying>,
    link: Option<Link>,
    state: State,
    backoff: Backoff,
    outage: Outage,
    /// What stands in the segment.
    row: MqttRow,
    /// What processes before this one have dropped.
    dropped_before: u64,
    /// The reason of the last refusal.
    refusal: String,
}

impl Publisher {
    /// Goes on where the process before this one was.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn new(segment: Segment, config: Config) -> io::Result<Publisher> {
        let (sleeper, waker) = wake::pair()?;
        let row = segment.mqtt();
        Ok(Publisher {
            queue: Queue::new(usize::try_from(config.mqtt_queue_size).unwrap_or(usize::MAX)),
            read: row.seen,
            dropped_before: row.dropped,
            row: MqttRow { is_connected: false, connected_at: 0, queued: 0, ..row },
            segment,
            config,
            sleeper,
            waker,
            flight: VecDeque::new(),
            link: None,
            state: State::Waits(Instant::now()),
            backoff: Backoff::default(),
            outage: Outage::default(),
            refusal: String::new(),
        })
    }

    /// Does what is due; returns how long nothing more will be, if nothing wakes it before.
    pub fn turn(&mut self, now: Instant) -> Duration {
        self.sleeper.rest();
        let lost = self.lost();
        self.read_events();
        self.connect(now);
        self.land();
        self.send(now);
        self.tell_losses(lost);
        self.write_row();
        match self.state {
            State::Waits(until) => until.saturating_duration_since(now).min(GLANCE),
            _ => GLANCE,
        }
    }

    /// The configuration has changed.
    pub fn reload(&mut self, config: Config) {
        let is_new = self.link.as_ref().is_some_and(|link| *link.wanted() != Wanted::configured(&config))
            || config.mqtt_topic_prefix != self.config.mqtt_topic_prefix;
        self.queue.resize(usize::try_from(config.mqtt_queue_size).unwrap_or(usize::MAX));
        if is_new {
            self.leave(Instant::now() + FAREWELL, false);
            (self.backoff, self.outage) = (Backoff::default(), Outage::default());
            self.state = State::Waits(Instant::now());
        }
        self.config = config;
    }

    /// Publishes what there is to be published until then, and that we go.
    pub fn end(&mut self, until: Instant) {
        loop {
            let now = Instant::now();
            self.turn(now);
            let is_done = self.queue.is_empty() && self.flight.is_empty();
            if is_done || now >= until || !matches!(self.state, State::Connected(_)) {
                break;
            }
            self.sleep(until);
        }
        self.leave(until.max(Instant::now() + FAREWELL), true);
        self.write_row();
    }

    fn sleep(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now()).min(GLANCE);
        // Without a look at the descriptor the loop would only turn more often.
        let _ = crate::sys::poll::readable([self.sleeper.as_fd()], Some(left));
    }

    /// Says goodbye and ends the connection, if there is one. What was on its way waits again.
    fn leave(&mut self, until: Instant, exits: bool) {
        let Some(link) = self.link.take() else { return };
        if matches!(self.state, State::Connected(_)) && !link.is_lost() {
            let mut token = link.publish(&goodbye(&Scene::wanted(&self.config)));
            while let Some(waiting) = token.as_mut().filter(|_| Instant::now() < until && !link.is_lost()) {
                if link.fate(waiting).is_some() {
                    break;
                }
                self.sleep(until);
                self.sleeper.rest();
            }
        }
        self.land_by(&link);
        link.end(FAREWELL, exits);
        self.take_back();
        self.state = State::Waits(Instant::now());
        self.row = MqttRow { is_connected: false, connected_at: 0, ..self.row };
    }

    /// What was on its way waits again, before all else.
    fn take_back(&mut self) {
        self.queue.put_back(self.flight.drain(..).map(|flying| flying.entry));
    }

    fn scene(&self) -> Scene {
        let now = clock::unix_seconds();
        Scene::of(&Context { segment: &self.segment, config: &self.config, session: None, now })
    }

    fn read_events(&mut self) {
        let mut scene = None;
        for ring in Ring::ALL {
            let Some(read) = self.read.get_mut(ring as usize) else { continue };
            let happened = self.segment.events_since(ring, *read);
            *read = happened.last;
            if happened.rows.is_empty() && happened.missed == 0 {
                continue;
            }
            let scene = scene.get_or_insert_with(|| self.scene());
            if happened.missed > 0 {
                self.row.missed += happened.missed;
                let message = missed(scene, ring, happened.missed, now_millis());
                self.queue.push(Entry { message, event: None, is_last: false });
            }
            for row in &happened.rows {
                let mut all = messages(row, scene).into_iter().peekable();
                while let Some(message) = all.next() {
                    let is_last = all.peek().is_none();
                    self.queue.push(Entry { message, event: Some((ring, row.number)), is_last });
                }
            }
        }
    }

    fn connect(&mut self, now: Instant) {
        match self.state {
            State::Waits(until) if until <= now => {
                if let Err(reason) = self.try_connect() {
                    self.failed(now, Duration::ZERO, &reason);
                }
            }
            State::Waits(_) => {}
            State::Connects => match self.link.as_mut().and_then(Link::connected) {
                None => {}
                Some(Ok(goes_on)) => self.is_connected(now, goes_on),
                Some(Err(reason)) => self.failed(now, Duration::ZERO, &reason),
            },
            State::Connected(since) if self.link.as_ref().is_none_or(Link::is_lost) => {
                self.land();
                if !self.goes_on() {
                    self.take_back();
                }
                self.failed(now, now.saturating_duration_since(since), "the connection is broken");
            }
            State::Connected(_) => {}
        }
    }

    fn goes_on(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.wanted().goes_on())
    }

    fn try_connect(&mut self) -> Result<(), String> {
        let link = match &mut self.link {
            Some(link) => link,
            none => none.insert(Link::new(Wanted::configured(&self.config), &self.waker)?),
        };
        link.connect(&last_will(&Scene::wanted(&self.config)))?;
        self.state = State::Connects;
        Ok(())
    }

    fn is_connected(&mut self, now: Instant, goes_on: bool) {
        if !goes_on {
            // The broker knows nothing of it.
            self.take_back();
        }
        self.state = State::Connected(now);
        self.row = MqttRow {
            is_connected: true,
            connected_at: clock::unix_seconds(),
            connections: self.row.connections + 1,
            error: "".into(),
            ..self.row
        };
        if self.outage.ends() {
            say!(Log, "connected to MQTT broker {}", self.config.broker().address());
        }
        let (first, others) = greetings(&self.scene(), now_millis());
        let entry = |message: Message| Entry { message, event: None, is_last: false };
        self.queue.push_first(entry(first));
        others.into_iter().for_each(|message| self.queue.push(entry(message)));
    }

    fn failed(&mut self, now: Instant, lasted: Duration, reason: &str) {
        let most = u64::try_from(self.config.mqtt_reconnect_delay_max).unwrap_or(1);
        self.state = State::Waits(now + self.backoff.wait(lasted, Duration::from_secs(most)));
        self.row = MqttRow { is_connected: false, connected_at: 0, error: reason.into(), ..self.row };
        if self.outage.begins(reason, lasted) {
            say!(Warning, "no connection to MQTT broker {}: {reason}", self.config.broker().address());
        }
    }

    /// Hands over as many messages as may be on their way.
    fn send(&mut self, now: Instant) {
        while matches!(self.state, State::Connected(_)) && self.flight.len() < FLIGHT {
            let (Some(link), Some(entry)) = (&self.link, self.queue.pop()) else { return };
            match link.publish(&entry.message) {
                Some(token) => self.flight.push_back(Flying { entry, token }),
                None => {
                    self.queue.push_first(entry);
                    return self.connect(now);
                }
            }
        }
    }

    /// Takes what has become of messages, in their order.
    fn land(&mut self) {
        if let Some(link) = self.link.take() {
            self.land_by(&link);
            self.link = Some(link);
        }
    }

    fn land_by(&mut self, link: &Link) {
        while let Some(flying) = self.flight.front_mut() {
            match link.fate(&mut flying.token) {
                None => return,
                Some(Fate::Taken) => self.row.published += 1,
                Some(Fate::Refused(reason)) => {
                    self.row.refused += 1;
                    self.refusal = reason;
                }
                // The connection is about to be lost, and all of these are sent again.
                Some(Fate::Unknown) => return self.take_back(),
            }
            let Some(Flying { entry, .. }) = self.flight.pop_front() else { return };
            if let (Some((ring, number)), true) = (entry.event, entry.is_last)
                && let Some(seen) = self.row.seen.get_mut(ring as usize)
            {
                *seen = number;
            }
        }
    }

    /// What is lost, since the start: dropped, missed, refused.
    fn lost(&self) -> [u64; 3] {
        [self.dropped_before + self.queue.dropped(), self.row.missed, self.row.refused]
    }

    fn tell_losses(&mut self, before: [u64; 3]) {
        let now = self.lost();
        if self.outage.loses(before, now) {
            match now[2] > before[2] {
                true => say!(Warning, "the MQTT broker refuses messages: {}", self.refusal),
                false => say!(
                    Warning,
                    "MQTT messages are lost: they come faster than the broker takes them, or it is not there, and \
                     mqtt_queue_size is {}",
                    self.config.mqtt_queue_size
                ),
            }
        }
        let is_over = self.queue.is_empty() && self.flight.is_empty();
        if let Some([dropped, missed, refused]) = self.outage.recovers(is_over, now) {
            say!(
                Log,
                "all that waited is with the MQTT broker again; meanwhile {dropped} messages were dropped, {missed} events \
                 missed and {refused} messages refused"
            );
        }
    }

    fn write_row(&mut self) {
        self.row.dropped = self.dropped_before + self.queue.dropped();
        self.row.queued = (self.queue.len() + self.flight.len()) as u64;
        if self.segment.mqtt() != self.row {
            self.segment.set_mqtt(&self.row);
        }
    }
}

impl AsFd for Publisher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sleeper.as_fd()
    }
}

fn now_millis() -> u64 {
    u64::try_from(clock::since_epoch().as_millis()).unwrap_or(u64::MAX)
}
