//! Connections come and go as sessions ask for them, over sockets that only remember.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;
use crate::net::{Address, ConnId, Owner, Waker};
use crate::tls;
use crate::wire::backend::{self, Notice, TxStatus};

#[derive(Default)]
struct FakeWire {
    sent: HashMap<ConnId, Vec<u8>>,
    closed: Vec<ConnId>,
    connected_to: Vec<Address>,
    /// Attempts that fail at once.
    refused: usize,
    last: u32,
}

impl Wire for FakeWire {
    fn send(&mut self, id: ConnId, bytes: &[u8]) {
        self.sent.entry(id).or_default().extend_from_slice(bytes);
    }
    fn queued(&self, _: ConnId) -> usize {
        0
    }
    fn pause(&mut self, _: ConnId) {}
    fn resume(&mut self, _: ConnId) {}
    fn close(&mut self, id: ConnId) {
        self.closed.push(id);
    }
    fn close_when_sent(&mut self, id: ConnId) {
        self.closed.push(id);
    }
    fn secure(&mut self, _id: ConnId, _owner: Owner, _ssl: openssl::ssl::Ssl, _already: &[u8]) {}

    fn connect(&mut self, address: &Address, _: Owner) -> std::io::Result<ConnId> {
        self.connected_to.push(address.clone());
        if self.refused > 0 {
            self.refused -= 1;
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        self.last += 1;
        Ok(ConnId::new(self.last, 0))
    }
}

struct Rig {
    wire: FakeWire,
    pool: Pool,
    key: Rc<Key>,
    /// What the sessions have proved.
    secret: Option<Rc<Secret>>,
    now: Instant,
    waker: Waker,
}

fn key(user: &str) -> Rc<Key> {
    Rc::new(Key { user: user.into(), database: "d".into(), options: Vec::new() })
}

impl Rig {
    fn new(host: &str) -> Rig {
        let waker = Waker::new().unwrap();
        let connect_timeout = Duration::from_secs(5);
        let settings = Settings {
            sites: vec![Site { node: 0, host: host.into(), port: 5001, connect_timeout }],
            connection_cache: true,
            limit: 2,
            reset_queries: vec!["ABORT".into(), "DISCARD ALL".into()],
            log_per_node_statement: false,
        };
        let resolver = Resolver::new(waker.clone());
        let pool = Pool::new(settings, Rc::default(), resolver, Box::new(|| "nonce".into()));
        Rig { wire: FakeWire::default(), pool, key: key("u"), secret: None, now: Instant::now(), waker }
    }

    fn lease(&mut self, session: u32) -> Lease {
        let key = Rc::clone(&self.key);
        let borrower = Borrower { session, application_name: None, sent: None, proved: self.secret.as_ref() };
        self.pool.lease(&mut self.wire, &key, 0, borrower, self.now)
    }

    /// A connection that is being opened.
    fn opening(&mut self, session: u32) -> u32 {
        match self.lease(session) {
            Lease::Opening(slot) => slot,
            other => panic!("{other:?}"),
        }
    }

    fn log_in(&mut self, slot: u32) {
        self.pool.on_connected(&mut self.wire, slot);
        let mut answer = Vec::new();
        backend::put_auth_ok(&mut answer);
        backend::put_key_data(&mut answer, 7, b"key!");
        backend::put_ready(&mut answer, TxStatus::Idle);
        self.says(slot, &answer);
    }

    fn open(&mut self, session: u32) -> u32 {
        let slot = self.opening(session);
        self.log_in(slot);
        assert!(matches!(self.pool.outcomes().as_slice(), [Outcome::Ready { .. }]));
        slot
    }

    fn says(&mut self, slot: u32, bytes: &[u8]) {
        self.pool.on_received(&mut self.wire, slot, bytes);
    }

    fn give_back(&mut self, slot: u32, polite: bool) {
        self.now += Duration::from_millis(1);
        self.pool.give_back(&mut self.wire, slot, polite, self.now);
    }

    /// Opened, used, reset: idle.
    fn idle(&mut self, session: u32) -> u32 {
        let slot = self.open(session);
        self.make_idle(slot);
        slot
    }

    fn make_idle(&mut self, slot: u32) {
        self.give_back(slot, true);
        let mut answer = Vec::new();
        backend::put_command_complete(&mut answer, "DISCARD ALL");
        backend::put_ready(&mut answer, TxStatus::Idle);
        self.says(slot, &answer);
        assert!(matches!(self.pool.peek(slot).unwrap().phase, Phase::Idle));
    }

    fn failure(&mut self) -> Failure {
        match self.pool.outcomes().pop() {
            Some(Outcome::Failed { failure, .. }) => failure,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_connection_is_lent_again_to_the_same_user_only() {
    let mut rig = Rig::new("127.0.0.1");
    let slot = rig.idle(0);
    rig.key = key("somebody else");
    rig.opening(1);
    rig.key = key("u");
    assert!(matches!(rig.lease(2), Lease::Ready(lent) if lent == slot));
}

#[test]
fn the_connection_idle_for_longest_gives_way() {
    let mut rig = Rig::new("127.0.0.1");
    let (first, second) = (rig.open(0), rig.open(1));
    let old = rig.pool.peek(second).unwrap().conn;
    let ok = [b"Z\0\0\0\x05I".as_slice()].concat();
    for slot in [second, first] {
        rig.give_back(slot, true);
        rig.says(slot, &ok);
    }
    rig.key = key("v");
    rig.opening(2);
    assert_eq!(rig.wire.closed, [old]);
    assert_eq!(rig.pool.slots().count(), 2);
}

#[test]
fn what_a_vanished_client_has_begun_to_open_gives_way_too() {
    let mut rig = Rig::new("127.0.0.1");
    for session in 0..20 {
        let slot = rig.opening(session);
        rig.give_back(slot, false);
    }
    assert_eq!(rig.pool.slots().count(), 2);
}

#[test]
fn a_vanished_client_s_connection_is_idle_when_it_stands() {
    let mut rig = Rig::new("127.0.0.1");
    let slot = rig.opening(0);
    rig.give_back(slot, false);
    rig.log_in(slot);
    assert!(rig.pool.outcomes().is_empty());
    assert!(matches!(rig.lease(1), Lease::Ready(lent) if lent == slot));
}

#[test]
fn a_failed_reset_closes() {
    let mut rig = Rig::new("127.0.0.1");
    let slot = rig.open(0);
    let conn = rig.pool.peek(slot).unwrap().conn;
    rig.give_back(slot, true);
    let mut answer = Vec::new();
    let notice = Notice { severity: "ERROR", code: "57014", message: "canceled", detail: None, hint: None };
    backend::put_error(&mut answer, &notice);
    backend::put_ready(&mut answer, TxStatus::Idle);
    rig.says(slot, &answer);
    assert_eq!(rig.wire.closed, [conn]);
    rig.opening(1);
}

#[test]
fn a_reset_that_takes_too_long_closes() {
    let mut rig = Rig::new("127.0.0.1");
    let slot = rig.open(0);
    rig.give_back(slot, true);
    rig.pool.tick(&mut rig.wire, rig.now + Duration::from_secs(31));
    assert!(rig.pool.peek(slot).is_none());
}

#[test]
fn abort_is_sent_only_where_a_transaction_is_open() {
    let mut rig = Rig::new("127.0.0.1");
    for (status, wanted) in [(TxStatus::Idle, b"DISCARD".as_slice()), (TxStatus::Failed, b"ABORT")] {
        let slot = rig.open(0);
        let conn = rig.pool.peek(slot).unwrap().conn;
        rig.wire.sent.clear();
        rig.pool.get(slot).unwrap().tx = status;
        rig.give_back(slot, true);
        assert!(rig.wire.sent[&conn][5..].starts_with(wanted));
        rig.pool.drop_backend(&mut rig.wire, slot);
    }
}

#[test]
fn a_connection_that_owes_something_is_closed() {
    let mut rig = Rig::new("127.0.0.1");
    for untidy in [
        |b: &mut Backend| b.expects.push_back(Expect::Query),
        |b: &mut Backend| b.held.push(b'D'),
        |b: &mut Backend| b.passing = 1,
    ] {
        let slot = rig.open(0);
        untidy(rig.pool.get(slot).unwrap());
        rig.give_back(slot, true);
        assert!(rig.pool.peek(slot).is_none());
    }
}

#[test]
fn half_a_message_is_not_left_for_the_next_client() {
    let mut rig = Rig::new("127.0.0.1");
    let slot = rig.idle(0);
    rig.says(slot, b"S\0\0\0\x08a\0b\0");
    assert!(rig.pool.peek(slot).is_some());
    rig.says(slot, b"N\0\0\0\x08a");
    assert!(rig.pool.peek(slot).is_none());
}

#[test]
fn the_next_address_is_tried() {
    let mut rig = Rig::new("127.0.0.1");
    let slot = rig.opening(0);
    let other = Address::Tcp("127.0.0.2:5001".parse().unwrap());
    rig.pool.get(slot).unwrap().phase = Phase::Connecting(vec![other.clone()]);
    rig.pool.on_closed(&mut rig.wire, slot, "refused", rig.now);
    assert!(rig.pool.outcomes().is_empty());
    assert_eq!(rig.wire.connected_to.last(), Some(&other));
    rig.pool.on_closed(&mut rig.wire, slot, "refused", rig.now);
    let failure = rig.failure();
    assert!(failure.trouble == Trouble::Unreachable && failure.text == "refused");
}

#[test]
fn an_address_that_fails_at_once_is_told_at_once() {
    let mut rig = Rig::new("127.0.0.1");
    rig.wire.refused = 1;
    assert!(matches!(rig.lease(0), Lease::Failed(failure) if failure.trouble == Trouble::Unreachable));
    assert_eq!(rig.pool.slots().count(), 0);
}

#[test]
fn connecting_and_logging_in_have_one_deadline() {
    let mut rig = Rig::new("127.0.0.1");
    let slot = rig.opening(0);
    rig.pool.on_connected(&mut rig.wire, slot);
    rig.pool.tick(&mut rig.wire, rig.now + Duration::from_secs(4));
    assert!(rig.pool.outcomes().is_empty());
    rig.pool.tick(&mut rig.wire, rig.now + Duration::from_secs(5));
    assert_eq!(rig.failure().trouble, Trouble::Unreachable);
}

#[test]
fn the_server_s_own_refusal_is_kept_for_the_client() {
    let mut rig = Rig::new("127.0.0.1");
    let slot = rig.opening(0);
    rig.pool.on_connected(&mut rig.wire, slot);
    let mut answer = Vec::new();
    let notice = Notice { severity: "FATAL", code: "53300", message: "too many", detail: None, hint: None };
    backend::put_error(&mut answer, &notice);
    // In two pieces.
    rig.says(slot, &answer[..9]);
    rig.says(slot, &answer[9..]);
    assert_eq!(rig.failure().answer, Some(answer));
}

/// Nobody but the server knows whether such a password is right.
#[test]
fn what_a_password_has_opened_is_lent_to_who_has_sent_the_same() {
    let mut rig = Rig::new("127.0.0.1");
    let lease = |rig: &mut Rig, session, password: &str| {
        let secret = Secret::parse(password).unwrap();
        let sent = Sent { secret, comes_first: true, is_unproven: true };
        let borrower = Borrower { session, application_name: None, sent: Some(&sent), proved: None };
        let key = Rc::clone(&rig.key);
        rig.pool.lease(&mut rig.wire, &key, 0, borrower, rig.now)
    };
    let Lease::Opening(slot) = lease(&mut rig, 0, "pw") else { panic!() };
    rig.log_in(slot);
    rig.pool.outcomes();
    rig.make_idle(slot);
    assert!(matches!(lease(&mut rig, 1, "wrong"), Lease::Opening(other) if other != slot));
    assert!(matches!(lease(&mut rig, 2, "pw"), Lease::Ready(lent) if lent == slot));
}

/// The server wants TLS after all: the second try has all that the first one had.
#[test]
fn what_a_session_has_proved_serves_a_second_try_too() {
    let mut rig = Rig::new("127.0.0.1");
    let settings = tls::Settings {
        min_version: "TLSv1.2".into(),
        max_version: "newest".into(),
        ..tls::Settings::default()
    };
    let connector = tls::Connector::new(&tls::Wanted { mode: tls::SslMode::Allow, settings }).unwrap();
    rig.pool.connectors.insert(0, Rc::new(connector));
    rig.secret = Secret::parse("pw").map(Rc::new);
    let slot = rig.opening(1);
    let asks = b"R\0\0\0\x08\0\0\0\x03";
    let answers = |rig: &mut Rig| {
        rig.says(slot, asks);
        let conn = rig.pool.get(slot).unwrap().conn;
        rig.wire.sent[&conn].ends_with(b"p\0\0\0\x07pw\0")
    };
    rig.pool.on_connected(&mut rig.wire, slot);
    assert!(answers(&mut rig));
    let mut refusal = Vec::new();
    let text = "no pg_hba.conf entry";
    let notice = Notice { severity: "FATAL", code: "28000", message: text, detail: None, hint: None };
    backend::put_error(&mut refusal, &notice);
    rig.says(slot, &refusal);
    rig.pool.on_connected(&mut rig.wire, slot);
    rig.says(slot, b"N");
    assert!(answers(&mut rig));
}

#[test]
fn a_name_is_waited_for() {
    let mut rig = Rig::new("localhost");
    let slot = rig.opening(0);
    assert!(matches!(rig.pool.peek(slot).unwrap().phase, Phase::Resolving));
    let mut bell = [PollFd::new(rig.waker.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut bell, PollTimeout::from(20_000u16)).unwrap(), 1);
    rig.pool.on_resolved(&mut rig.wire, rig.now);
    assert!(matches!(rig.pool.peek(slot).unwrap().phase, Phase::Connecting(_)));
    assert!(!rig.wire.connected_to.is_empty());
}

#[test]
fn a_name_that_is_not_answered_in_time_is_given_up() {
    let mut rig = Rig::new("localhost");
    rig.opening(0);
    rig.pool.tick(&mut rig.wire, rig.now + Duration::from_secs(5));
    assert_eq!(rig.failure().trouble, Trouble::Unreachable);
    // The answer comes for nobody.
    rig.pool.on_resolved(&mut rig.wire, rig.now);
    assert!(rig.wire.connected_to.is_empty());
}
