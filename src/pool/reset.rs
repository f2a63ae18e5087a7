//! Taking a connection back: only one that is at rest is reset and kept, every other is closed.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::{Expect, Failure, Outcome, Phase, Pool, Purpose};
use crate::net::Wire;
use crate::wire::backend::TxStatus;
use crate::wire::{backend, frame, frontend};

/// A connection whose reset takes longer is closed.
const RESET_TIME: Duration = Duration::from_secs(30);

impl Pool {
    /// The session is done with it. `polite`: the client said goodbye, and what it left behind may be reset.
    pub fn give_back(&mut self, wire: &mut dyn Wire, slot: u32, polite: bool, now: Instant) {
        let keep = self.settings.connection_cache;
        let unix_now = self.unix_now;
        let Some(backend) = self.get(slot) else { return };
        backend.session = None;
        backend.left_at = unix_now;
        backend.idle_since = now;
        match backend.phase {
            // It will be idle when it stands: the next client of this user has it at once.
            Phase::Resolving | Phase::Connecting(_) | Phase::Login(_) if keep && backend.key.is_kept() => {}
            Phase::Leased if keep && polite && backend.is_quiet() && backend.key.is_kept() => {
                backend.deadline = Some(now + RESET_TIME);
                backend.phase = Phase::Resetting(0);
                wire.resume(backend.conn);
                self.next_reset(wire, slot);
            }
            // Its next session is gone before it had it.
            Phase::Resetting(_) => {}
            _ => self.drop_backend(wire, slot),
        }
        self.touch(slot);
    }

    /// Sends the next reset query, or makes the connection idle after the last.
    fn next_reset(&mut self, wire: &mut dyn Wire, slot: u32) {
        let Some(backend) = self.backends.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let Phase::Resetting(done) = &mut backend.phase else { return };
        while let Some(query) = self.settings.reset_queries.get(*done) {
            *done += 1;
            // As pgpool-II: ABORT only where there is something to abort.
            if query.eq_ignore_ascii_case("abort") && backend.tx == TxStatus::Idle {
                continue;
            }
            if self.settings.log_per_node_statement {
                let (node, pid) = (backend.node, backend.pid);
                crate::say!(Log, "DB node id: {} backend pid: {} statement: {}", node, pid, query);
            }
            let mut out = Vec::new();
            frontend::put_query(&mut out, query.as_bytes());
            backend.expects.push_back(Expect::Quiet(Purpose::Reset));
            wire.send(backend.conn, &out);
            return;
        }
        if backend.tx != TxStatus::Idle {
            return self.fail(
                wire,
                slot,
                Failure::stale("still in a transaction after its reset".to_string()),
            );
        }
        backend.deadline = None;
        backend.statements.clear();
        backend.stale.clear();
        backend.phase = match backend.session {
            Some(session) => {
                self.outcomes.push(Outcome::Ready { session, backend: slot });
                Phase::Leased
            }
            None => Phase::Idle,
        };
        self.touch(slot);
    }

    pub(super) fn reset_bytes(&mut self, wire: &mut dyn Wire, slot: u32, bytes: &[u8]) {
        match self.read_reset(slot, bytes) {
            Ok(false) => {}
            Ok(true) => self.next_reset(wire, slot),
            Err(text) => {
                crate::say!(Warning, "reset of a connection to a backend failed, it is closed: {}", text);
                self.fail(wire, slot, Failure::stale(text));
            }
        }
    }

    /// Whether ReadyForQuery has come.
    fn read_reset(&mut self, slot: u32, bytes: &[u8]) -> Result<bool, String> {
        let Some(backend) = self.get(slot) else { return Ok(false) };
        backend.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut backend.held);
        let mut at = 0;
        let mut ready = false;
        while let Some(header) =
            frame::header(held.get(at..).unwrap_or_default()).map_err(|e| e.to_string())?
        {
            let Some(frame) = held.get(at..at + header.length) else { break };
            let body = frame.get(5..).unwrap_or_default();
            at += header.length;
            match header.kind {
                b'Z' => {
                    backend.tx = backend::ready(body).map_err(|e| e.to_string())?;
                    backend.expects.clear();
                    ready = true;
                }
                b'E' => return Err(backend::error(body).map_err(|e| e.to_string())?.to_string()),
                _ => {}
            }
        }
        backend.held.extend_from_slice(held.get(at..).unwrap_or_default());
        Ok(ready)
    }

    /// An idle server only speaks to say that it goes away, or that a parameter changed.
    pub(super) fn idle_bytes(&mut self, wire: &mut dyn Wire, slot: u32, bytes: &[u8]) {
        let mut rest = bytes;
        while let Ok(Some(header)) = frame::header(rest)
            && matches!(header.kind, b'S' | b'N')
            && let Some(next) = rest.get(header.length..)
        {
            rest = next;
        }
        // The rest of a message would be taken for the answer to the next client.
        if !rest.is_empty() {
            self.drop_backend(wire, slot);
        }
    }
}
