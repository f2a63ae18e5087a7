//! Any order of messages, cut anywhere, answered in any rhythm: what a client gets through a session is what
//! it gets from a server.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;

use super::bind_portal;
use super::rig::{PRIMARY, Rig, STANDBY, words};
use super::server::{COPY, Server};
use crate::wire::frontend;

const TEXTS: [&str; 21] = [
    "SELECT 1",
    "SELECT 1",
    "SELECT 1/0",
    "INSERT INTO t VALUES (1)",
    "BEGIN",
    "BEGIN READ ONLY",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "SET search_path TO a",
    "SET LOCAL a.x TO 1",
    "",
    "PREPARE a AS SELECT 1",
    "EXECUTE a",
    "DEALLOCATE a",
    "DEALLOCATE ALL",
    "SELECT f(1)",
    "BAD",
    COPY,
    "EXECUTE b",
];

const STRINGS: [&str; 5] = [
    "BEGIN; SELECT 1",
    "SELECT 1; SELECT 2",
    "SELECT 1; SELECT 1/0",
    "SELECT 1; INSERT INTO t VALUES (1)",
    ";",
];

const NAMES: [&str; 3] = ["", "a", "b"];

/// One step of a client: which, with which name, with which text.
pub(super) type Step = (u8, u8, u8);

pub(super) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0u8..32, 0u8..3, 0u8..TEXTS.len() as u8), 1..most)
}

fn text(step: Step) -> &'static str {
    TEXTS[step.2 as usize % TEXTS.len()]
}

fn name(step: Step) -> &'static str {
    NAMES[step.1 as usize % NAMES.len()]
}

fn parse(out: &mut Vec<u8>, step: Step) {
    frontend::put_parse(out, name(step).as_bytes(), text(step).as_bytes(), &[]);
}

fn execute(out: &mut Vec<u8>, portal: &str) {
    out.push(b'E');
    out.extend_from_slice(&(portal.len() as u32 + 9).to_be_bytes());
    out.extend_from_slice(portal.as_bytes());
    out.extend_from_slice(&[0; 5]);
}

fn simple(out: &mut Vec<u8>, step: Step) {
    let sql = if step.0.is_multiple_of(4) { STRINGS[step.2 as usize % STRINGS.len()] } else { text(step) };
    frontend::put_query(out, sql.as_bytes());
}

/// Any message.
pub(super) fn message(out: &mut Vec<u8>, step: Step) {
    let name = name(step);
    match step.0 {
        0..=4 => simple(out, step),
        // COPY in the extended protocol has rules that a client must keep: see `orderly`.
        5..=9 if text(step) == COPY => frontend::put_flush(out),
        5..=9 => parse(out, step),
        10..=13 => bind_portal(out, name, NAMES[step.2 as usize % 3]),
        14..=17 => execute(out, name),
        18 => frontend::put_describe(out, b'S', name.as_bytes()),
        19 => frontend::put_describe(out, b'P', name.as_bytes()),
        20 => frontend::put_close(out, b'S', name.as_bytes()),
        21 => frontend::put_close(out, b'P', name.as_bytes()),
        22 => frontend::put_flush(out),
        23 => out.extend_from_slice(b"F\0\0\0\x0e\0\0\0\x01\0\0\0\0\0\0"),
        24 => out.extend_from_slice(b"d\0\0\0\x05x"),
        25 => out.extend_from_slice(b"c\0\0\0\x04"),
        26 => frontend::put_copy_fail(out, "no"),
        _ => frontend::put_sync(out),
    }
}

/// What drivers send: whole statements, and a Sync now and then.
fn orderly(out: &mut Vec<u8>, step: Step) {
    match step.0 {
        0..=6 => {
            // Within a batch or behind it.
            if step.0 > 2 {
                frontend::put_sync(out);
            }
            simple(out, step);
            if !step.0.is_multiple_of(4) && text(step) == COPY {
                out.extend_from_slice(b"d\0\0\0\x05xc\0\0\0\x04");
            }
        }
        7..=9 => {
            // Behind an error of the same batch a server would keep what we have let go of.
            frontend::put_sync(out);
            frontend::put_close(out, b'S', name(step).as_bytes());
        }
        // The unnamed statement is parsed before each use: a simple query ends it on its own node only.
        10..=12 => frontend::put_describe(out, b'S', NAMES[1 + step.1 as usize % 2].as_bytes()),
        13..=16 => {
            bind_portal(out, "", NAMES[1 + step.1 as usize % 2]);
            execute(out, "");
        }
        17..=24 => {
            // The data comes with the COPY, so it is not run a second time under a name. The end of a failed
            // transaction under a name that is taken is not refused where the name cannot be prepared any more.
            let unnamed = matches!(text(step), COPY | "COMMIT" | "ROLLBACK" | "ROLLBACK TO s");
            let step = if unnamed { (step.0, 0, step.2) } else { step };
            parse(out, step);
            bind_portal(out, "", name(step));
            if step.0 % 2 == 0 {
                frontend::put_describe(out, b'P', b"");
            }
            execute(out, "");
            if text(step).starts_with("DEALLOCATE") || text(step).starts_with("PREPARE") {
                // What it has done is known at the end of the batch.
                frontend::put_sync(out);
            }
            if text(step) == COPY {
                out.extend_from_slice(b"d\0\0\0\x05xc\0\0\0\x04");
                frontend::put_sync(out);
            }
        }
        _ => frontend::put_sync(out),
    }
}

/// Numbers that go round.
struct Cuts(Vec<u16>, usize);

impl Cuts {
    fn next(&mut self, below: usize) -> usize {
        self.1 += 1;
        self.0[self.1 % self.0.len()] as usize % below.max(1)
    }
}

/// A session between a client and two servers, everything in pieces.
pub(super) struct World {
    pub(super) rig: Rig,
    pub(super) servers: [Server; 2],
    /// Bytes on their way to each server, and how much of its output has been delivered.
    wires: [Vec<u8>; 2],
    cuts: Cuts,
    pub(super) got: Vec<u8>,
    /// How often a server may still die.
    pub(super) deaths: usize,
    /// What the servers have committed.
    pub(super) committed: Rc<RefCell<Vec<String>>>,
}

impl World {
    pub(super) fn new(cuts: Vec<u16>) -> World {
        World {
            rig: Rig::new(""),
            servers: [Server::new(false), Server::new(true)],
            wires: [Vec::new(), Vec::new()],
            cuts: Cuts(cuts, 0),
            got: Vec::new(),
            deaths: 0,
            committed: Rc::default(),
        }
    }

    /// A server dies, what was on its way is lost, and it is there again at once, with nothing but what it had committed.
    fn die(&mut self, node: usize) {
        self.deaths -= 1;
        self.wires[node].clear();
        self.servers[node] = Server::with_ledger(node == STANDBY, &self.committed);
        if self.rig.has(node) {
            self.rig.lose(node);
        }
    }

    /// Lets something happen; false when nothing is on its way any more.
    fn turn(&mut self) -> bool {
        let mut moved = false;
        if self.deaths > 0 && self.cuts.next(8) == 0 {
            let node = self.cuts.next(2);
            self.die(node);
        }
        for node in [PRIMARY, STANDBY] {
            let conn = self.rig.conn(node);
            self.wires[node].extend(self.rig.wire.sent.remove(&conn).unwrap_or_default());
            if self.wires[node].is_empty() && self.servers[node].output.is_empty() {
                continue;
            }
            moved = true;
            let take = (self.cuts.next(60) + 1).min(self.wires[node].len());
            let bytes: Vec<u8> = self.wires[node].drain(..take).collect();
            self.servers[node].feed(&bytes);
            let give = (self.cuts.next(40) + 1).min(self.servers[node].output.len());
            let bytes: Vec<u8> = self.servers[node].output.drain(..give).collect();
            if !bytes.is_empty() {
                self.rig.node(node, &bytes);
            }
        }
        self.got.extend(self.rig.client_bytes());
        moved
    }

    pub(super) fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at((self.cuts.next(100) + 1).min(bytes.len()));
            self.rig.client(now);
            bytes = later;
            for _ in 0..self.cuts.next(4) {
                self.turn();
            }
        }
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.turn() {
                return;
            }
        }
        panic!("it goes on for ever");
    }
}

pub(super) fn stream(steps: &[Step], put: impl Fn(&mut Vec<u8>, Step)) -> Vec<u8> {
    let mut out = Vec::new();
    for step in steps {
        put(&mut out, *step);
    }
    frontend::put_sync(&mut out);
    out
}

pub(super) fn show(bytes: &[u8]) -> String {
    words(bytes, true).join(" ")
}

impl World {
    /// Whether all that was sent has its answer, and one more question gets one more.
    pub(super) fn is_answered(&mut self, bytes: &[u8]) -> Result<(), TestCaseError> {
        if self.servers.iter().any(Server::copies) {
            self.send(b"c\0\0\0\x04S\0\0\0\x04");
            self.settle();
        }
        let got = || String::from_utf8_lossy(&self.got);
        prop_assert!(!self.rig.session.is_closed(), "closed: {} {:?}", show(bytes), got());
        let asked = words(bytes, true).iter().filter(|w| w.starts_with(['Q', 'F', 'S'])).count() + 1;
        let ready = words(&self.got, false).iter().filter(|w| w.starts_with('Z')).count();
        prop_assert!(ready <= asked, "{ready} ReadyForQuery for {asked}: {}", show(bytes));
        prop_assert!(self.rig.session.is_waiting_for_nothing(), "hangs: {}", show(bytes));
        self.got.clear();
        self.send(b"S\0\0\0\x04");
        self.settle();
        let last = words(&self.got, false);
        prop_assert_eq!(last.len(), 1, "{:?} after {}", last, show(bytes));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// Whatever a client sends: no panic, no ReadyForQuery too many, and nothing waits when nothing can come.
    #[test]
    fn any_messages_are_answered_and_the_session_never_hangs(
        steps in steps(24),
        cuts in prop::collection::vec(any::<u16>(), 1..40),
    ) {
        let bytes = stream(&steps, message);
        let mut world = World::new(cuts);
        world.send(&bytes);
        world.settle();
        world.is_answered(&bytes)?;
    }

    /// What drivers send is answered message by message as one server would.
    #[test]
    fn drivers_get_what_a_server_would_say(
        steps in steps(16),
        cuts in prop::collection::vec(any::<u16>(), 1..40),
    ) {
        let bytes = stream(&steps, orderly);
        let mut direct = Server::new(false);
        direct.feed(&bytes);
        prop_assume!(!direct.copies());
        let mut world = World::new(cuts);
        world.send(&bytes);
        world.settle();
        // Not the codes of errors: in a failed transaction a statement cannot be prepared on one more node.
        let kind = |word: String| if word.starts_with('E') { "E".to_string() } else { word };
        let kinds = |bytes: &[u8]| words(bytes, false).into_iter().map(kind).collect::<Vec<_>>().join(" ");
        prop_assert_eq!(kinds(&world.got), kinds(&direct.output), "{}", show(&bytes));
        prop_assert!(world.rig.session.is_waiting_for_nothing());
    }
}
