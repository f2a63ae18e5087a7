//! A client of the PCP port: what it waits for, and how long it may.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::admin::Actor;
use crate::face::pcp::Conversation;
use crate::net::{ConnId, Peer};

/// How long a client may read nothing of an answer that waits for it.
const SLOWEST_READER: Duration = Duration::from_secs(60);

/// One connection.
pub(super) struct Client {
    pub(super) conn: ConnId,
    pub(super) talk: Conversation,
    /// A command of its is under way; it is not heard meanwhile.
    pub(super) is_busy: bool,
    peer: Peer,
    /// When it came.
    since: Instant,
    /// When the request that is not whole yet began.
    begun: Option<Instant>,
    /// When it was done with something last.
    heard: Instant,
    /// How many bytes wait for it, and since when no fewer.
    stalled: Option<(usize, Instant)>,
}

impl Client {
    pub(super) fn new(conn: ConnId, peer: Peer, now: Instant) -> Client {
        Client {
            conn,
            talk: Conversation::default(),
            is_busy: false,
            peer,
            since: now,
            begun: None,
            heard: now,
            stalled: None,
        }
    }

    /// Where it comes from, for the log.
    pub(super) fn from(&self) -> String {
        match self.peer {
            Peer::Local => self.peer.host(),
            Peer::Ip(_) => format!("{}({})", self.peer.host(), self.peer.port()),
        }
    }

    pub(super) fn actor(&self) -> Actor {
        let user = self.talk.user().unwrap_or_default().to_owned();
        Actor { face: "PCP", user, from: self.from() }
    }

    /// All that has come was looked at.
    pub(super) fn waits(&mut self, now: Instant) {
        self.heard = now;
        self.begun = match self.talk.is_within_request() {
            true => self.begun.or(Some(now)),
            false => None,
        };
    }

    /// Whether it took too long to log in, or to finish a request; `limit` is for either.
    pub(super) fn is_late(&self, now: Instant, limit: Option<Duration>) -> bool {
        let from = match self.talk.user() {
            None => Some(self.since),
            Some(_) => self.begun,
        };
        from.zip(limit).is_some_and(|(from, limit)| now.saturating_duration_since(from) >= limit)
    }

    /// Whether it has long read nothing of the bytes that wait for it.
    pub(super) fn is_stalled(&mut self, queued: usize, now: Instant) -> bool {
        self.stalled = match self.stalled {
            _ if queued == 0 => None,
            Some((before, since)) if queued >= before => Some((queued, since)),
            _ => Some((queued, now)),
        };
        self.stalled.is_some_and(|(_, since)| now.saturating_duration_since(since) >= SLOWEST_READER)
    }
}

/// Who has to leave when there is no room: the one who has not logged in for the longest time, so that silent ones
/// keep nobody out for long; or else who has been idle for the longest.
pub(super) fn least_missed<'a>(clients: impl Iterator<Item = (u32, &'a Client)>) -> Option<u32> {
    let idle = clients.filter(|(_, client)| !client.is_busy);
    let rank = |client: &Client| match client.talk.user() {
        None => (false, client.since),
        Some(_) => (true, client.heard),
    };
    idle.min_by_key(|(_, client)| rank(client)).map(|(slot, _)| slot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::pcp_conf::{self, PcpConf};
    use crate::face::pcp::Next;

    const LIMIT: Duration = Duration::from_secs(60);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn stranger(now: Instant) -> Client {
        Client::new(ConnId::NONE, Peer::Local, now)
    }

    fn log_in(client: &mut Client) {
        let users = PcpConf::parse(b"ann:5ebe2294ecd0e0f08eab7690d2a6ee69", "").0;
        let said = format!("ann\0{}\0", *pcp_conf::answer(b"ann", b"secret", *b"salt"));
        client.talk.push(b"M\0\0\0\x04R\0\0\0\x29");
        client.talk.push(said.as_bytes());
        for _ in 0..2 {
            assert!(matches!(client.talk.next(&users, || *b"salt"), Next::Say(_)));
        }
        assert_eq!(client.actor().to_string(), "PCP user \"ann\" from [local]");
    }

    fn known(now: Instant) -> Client {
        let mut client = stranger(now);
        log_in(&mut client);
        client.waits(now);
        client
    }

    #[test]
    fn logging_in_has_a_limit_that_bytes_do_not_move() {
        let start = Instant::now();
        let mut client = stranger(start);
        client.talk.push(b"M");
        client.waits(after(start, 59));
        assert!(!client.is_late(after(start, 59), Some(LIMIT)));
        assert!(client.is_late(after(start, 60), Some(LIMIT)));
        assert!(!client.is_late(after(start, 6000), None));
    }

    #[test]
    fn a_request_has_a_limit_and_silence_between_requests_has_none() {
        let start = Instant::now();
        let mut client = known(start);
        assert!(!client.is_late(after(start, 6000), Some(LIMIT)));
        for second in [100, 120, 140] {
            client.talk.push(b"L");
            client.waits(after(start, second));
        }
        assert!(!client.is_late(after(start, 159), Some(LIMIT)));
        assert!(client.is_late(after(start, 160), Some(LIMIT)), "counted from its first byte");
    }

    #[test]
    fn a_reader_is_slow_when_nothing_is_read_for_long() {
        let start = Instant::now();
        let mut client = stranger(start);
        for (second, queued, stalled) in [
            (0, 0, false),
            (50, 100, false),
            (100, 90, false),
            (159, 90, false),
            (160, 95, true),
            (161, 0, false),
        ] {
            assert_eq!(client.is_stalled(queued, after(start, second)), stalled, "{second}");
        }
    }

    #[test]
    fn strangers_leave_before_idle_users_and_nobody_whose_command_is_under_way() {
        let start = Instant::now();
        let leaves = |clients: &[&Client]| least_missed((0..).zip(clients.iter().copied()));
        let (old, new) = (stranger(start), stranger(after(start, 5)));
        let (mut ann, bob) = (known(start), known(after(start, 3)));
        assert_eq!(leaves(&[&new, &ann, &old, &bob]), Some(2));
        assert_eq!(leaves(&[&bob, &ann]), Some(1));
        ann.waits(after(start, 9));
        assert_eq!(leaves(&[&bob, &ann]), Some(0));
        ann.is_busy = true;
        assert_eq!(leaves(&[&ann]), None);
    }
}
