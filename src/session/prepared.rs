//! Prepared statements: the session has them by name, a node gets one when it is first used there.
//!
//! Parse and PREPARE share their names, as in the server. What the session gives up is closed on the other nodes
//! when they are used next.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::{Ctx, Effect, Prepared, Session, Source};
use crate::error::NodeId;
use crate::pool::{Backend, Expect, Purpose};
use crate::sql::{Facts, Kind};
use crate::wire::frontend;

/// Name of the statement and the portal that run a PREPARE of the session on one more node.
const OURS: &[u8] = b"pgbalancer_prepare";

impl Session {
    /// Prepares a statement of the session on a node that does not have it, within a batch.
    pub(super) fn ensure_prepared(
        &mut self,
        ctx: &mut Ctx<'_>,
        node: NodeId,
        name: &[u8],
        prepared: &Prepared,
    ) {
        let Some(backend) = self.backend(ctx, node) else { return };
        if backend.statements.get(name) == Some(&prepared.id) {
            return;
        }
        let mut out = Vec::new();
        put_prepare(backend, name, prepared, &mut out);
        let conn = backend.conn;
        ctx.wire.send(conn, &out);
    }

    /// We prepare it there in a batch before this one, which may have failed by then.
    pub(super) fn may_be_skipped(&self, ctx: &mut Ctx<'_>, node: NodeId, name: &[u8]) -> bool {
        let ours = |expect: &Expect| match expect {
            Expect::Parse { name: of, quiet: true, .. } | Expect::Prepare { name: of, .. } => **of == *name,
            _ => false,
        };
        self.in_flight > 0 && self.backend(ctx, node).is_some_and(|backend| backend.expects.iter().any(ours))
    }

    /// PREPARE and EXECUTE name statements that the node may lack. True: it gets one now, look again later.
    pub(super) fn prepare_there(&mut self, ctx: &mut Ctx<'_>, node: NodeId, facts: &Facts) -> bool {
        if self.failed_on().is_some() {
            return false;
        }
        for statement in &facts.statements {
            let Some(name) = statement.prepared_name() else { continue };
            let Some(prepared) = self.statements.get(name.as_bytes()).cloned() else { continue };
            if self.may_be_skipped(ctx, node, name.as_bytes()) {
                return true;
            }
            let Some(backend) = self.backend(ctx, node) else { continue };
            if self.cannot_prepare == Some((prepared.id, node)) {
                // It was tried: the node says what it thinks of that.
                continue;
            }
            if backend.statements.get(name.as_bytes()) == Some(&prepared.id)
                || matches!(prepared.source, Source::Only(_))
            {
                continue;
            }
            if self.batch == Some(node) {
                self.ensure_prepared(ctx, node, name.as_bytes(), &prepared);
                continue;
            }
            if let Some(batch) = self.batch {
                self.end_batch(ctx, batch);
                return true;
            }
            if self.in_flight > 0 {
                return true;
            }
            let mut out = Vec::new();
            put_prepare(backend, name.as_bytes(), &prepared, &mut out);
            self.preparing = Some(prepared.id);
            frontend::put_sync(&mut out);
            backend.expects.push_back(Expect::Quiet(Purpose::Prepare));
            let conn = backend.conn;
            ctx.wire.send(conn, &out);
            return true;
        }
        false
    }

    /// PREPARE, DEALLOCATE or DISCARD ALL has succeeded on `node`.
    pub(super) fn note_prepared(&mut self, ctx: &mut Ctx<'_>, node: NodeId, kind: &Kind, effect: &Effect) {
        match kind {
            Kind::Prepare { name, inner } => {
                let id = self.next_statement;
                self.next_statement += 1;
                let alone = effect.facts.statements.len() == 1;
                let source = if alone { Source::Sql } else { Source::Only(node) };
                // Who executes it does what stands inside, and prepares nothing.
                let facts = Facts::new(effect.facts.parse, vec![(**inner).clone()]);
                let (facts, text) = (Rc::new(facts), Rc::clone(&effect.text));
                self.statements.insert(
                    name.as_bytes(),
                    Rc::new(Prepared { id, name: name.as_bytes().into(), facts, text, source }),
                );
                if let Some(backend) = self.backend(ctx, node) {
                    backend.statements.insert(name.as_bytes(), id);
                }
            }
            Kind::Deallocate(Some(name)) => self.forget_statement(ctx, node, name.as_bytes()),
            Kind::Deallocate(None) | Kind::DiscardAll => {
                // The unnamed statement is none of those that SQL knows.
                for name in self.statements.names().map(<[u8]>::to_vec).collect::<Vec<_>>() {
                    self.forget_statement(ctx, node, &name);
                }
            }
            _ => {}
        }
    }

    /// The session no longer has the statement, and `node` does not either.
    pub(super) fn forget_statement(&mut self, ctx: &mut Ctx<'_>, node: NodeId, name: &[u8]) {
        if let Some(backend) = self.backend(ctx, node) {
            backend.statements.remove(name);
        }
        if self.statements.remove(name).is_some() {
            self.outdate(ctx, name);
        }
    }

    /// The client's Close was answered.
    pub(super) fn closed(&mut self, ctx: &mut Ctx<'_>, node: NodeId, name: &[u8], id: u64) {
        self.closing.retain(|closing| closing.id != id);
        for link in self.links.iter().filter(|link| link.node != node) {
            let Some(backend) = ctx.pool.get(link.backend) else { continue };
            if backend.statements.get(name) == Some(&id) {
                backend.statements.remove(name);
                backend.stale.push(name.into());
            }
        }
    }

    /// Nodes that still have it must close it.
    pub(super) fn outdate(&self, ctx: &mut Ctx<'_>, name: &[u8]) {
        for link in &self.links {
            let Some(backend) = ctx.pool.get(link.backend) else { continue };
            if backend.statements.remove(name).is_some() {
                backend.stale.push(name.into());
            }
        }
    }

    /// The server skipped what these were to be the answers to: back to what the names stood for before.
    /// `backend`: the connection, unless it is gone.
    pub(super) fn undo(
        &mut self,
        mut backend: Option<&mut Backend>,
        skipped: impl IntoIterator<Item = Expect, IntoIter: DoubleEndedIterator>,
    ) {
        for expect in skipped.into_iter().rev() {
            match expect {
                Expect::Parse { name, id, quiet } => {
                    if let Some(backend) = backend.as_deref_mut() {
                        backend.forget_statement(&name, id);
                    }
                    if !quiet && self.statements.get(&name).is_some_and(|prepared| prepared.id == id) {
                        self.statements.remove(&name);
                    }
                }
                Expect::Prepare { name, id } => {
                    if let Some(backend) = backend.as_deref_mut() {
                        backend.forget_statement(&name, id);
                    }
                }
                Expect::Close { statement: Some((name, id)), quiet } => {
                    // It may have it or not: it is closed before it is prepared there again.
                    if let Some(backend) = backend.as_deref_mut() {
                        backend.stale.push(name.clone());
                    }
                    if !quiet && let Some(at) = self.closing.iter().position(|closing| closing.id == id) {
                        self.statements.insert(&name, self.closing.swap_remove(at));
                    }
                }
                _ => {}
            }
        }
    }

    /// A node that has the statement.
    pub(super) fn holder(&self, ctx: &Ctx<'_>, name: &[u8]) -> Option<NodeId> {
        let has = |slot| ctx.pool.peek(slot).is_some_and(|b: &Backend| b.statements.contains(name));
        self.links.iter().find(|link| has(link.backend)).map(|link| link.node)
    }
}

/// Closes what the session has given up.
pub(super) fn put_closes(backend: &mut Backend, out: &mut Vec<u8>) {
    for name in std::mem::take(&mut backend.stale) {
        if !backend.statements.contains(&name) {
            frontend::put_close(out, b'S', &name);
            backend.expects.push_back(Expect::Close { statement: Some((name, 0)), quiet: true });
        }
    }
}

/// Closes an older statement of that name.
pub(super) fn put_close(backend: &mut Backend, name: &[u8], out: &mut Vec<u8>) {
    let stale = backend.stale.iter().position(|stale| **stale == *name);
    if let Some(at) = stale {
        backend.stale.swap_remove(at);
    }
    let has = backend.statements.remove(name).is_some();
    if !name.is_empty() && (has || stale.is_some()) {
        frontend::put_close(out, b'S', name);
        backend.expects.push_back(Expect::Close { statement: Some((name.into(), 0)), quiet: true });
    }
}

/// Repeats the Parse message or the PREPARE. It may stand among the messages of a batch.
fn put_prepare(backend: &mut Backend, name: &[u8], prepared: &Prepared, out: &mut Vec<u8>) {
    let id = prepared.id;
    match &prepared.source {
        Source::Message(parse) => {
            put_close(backend, name, out);
            out.extend_from_slice(parse);
            backend.expects.push_back(Expect::Parse { name: name.into(), id, quiet: true });
        }
        Source::Sql => {
            put_close(backend, name, out);
            frontend::put_parse(out, OURS, &prepared.text, &[]);
            frontend::put_bind(out, OURS, OURS);
            frontend::put_execute(out, OURS);
            frontend::put_close(out, b'P', OURS);
            frontend::put_close(out, b'S', OURS);
            backend.expects.push_back(Expect::Parse { name: OURS.into(), id, quiet: true });
            backend.expects.push_back(Expect::Prepare { name: name.into(), id });
            backend.expects.push_back(Expect::Close { statement: None, quiet: true });
            backend.expects.push_back(Expect::Close { statement: None, quiet: true });
        }
        Source::Only(_) => return,
    }
    backend.statements.insert(name, id);
}
