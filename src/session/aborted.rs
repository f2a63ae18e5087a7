//! A transaction whose server is gone: it is failed until its end, and there is nobody but us to say so.
//!
//! The client hears what a server would say in a failed transaction: 25P02 to all but COMMIT and ROLLBACK, and ROLLBACK
//! to both. Who has not heard yet that the server is gone hears that first, also at COMMIT: nobody shall take ROLLBACK
//! for success.
#![forbid(unsafe_code)]

use super::client::MAX_TEXT;
use super::finish::Refusal;
use super::{Ctx, Session, Source, Step};
use crate::face;
use crate::pool::{Names, Purpose};
use crate::sql::{Facts, Kind, ParseOutcome};
use crate::wire::backend::{self, TxStatus};
use crate::wire::frame::Header;
use crate::wire::frontend;

/// What is left of such a transaction.
pub(super) struct Aborted {
    /// Why.
    message: String,
    /// The client knows.
    told: bool,
    /// The other nodes of the transaction have been told to roll it back.
    rolled_back: bool,
    portals: Names<Portal>,
}

/// What a statement does that a failed transaction takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Portal {
    Empty,
    Commit,
    Rollback,
}

impl Aborted {
    pub(super) fn new(message: String, told: bool) -> Aborted {
        Aborted { message, told, rolled_back: false, portals: Names::default() }
    }

    pub(super) fn is_rolled_back(&self) -> bool {
        self.rolled_back
    }

    /// The error for what is not done.
    fn refuse(&mut self) -> Refusal {
        if std::mem::replace(&mut self.told, true) {
            let text = "current transaction is aborted, commands ignored until end of transaction block";
            Refusal::Own("25P02", text.to_owned())
        } else {
            Refusal::Own("08006", self.message.clone())
        }
    }
}

impl Portal {
    fn of(facts: &Facts) -> Option<Portal> {
        if facts.parse == ParseOutcome::Empty {
            return Some(Portal::Empty);
        }
        match facts.single()?.kind {
            Kind::Commit { chain: false } | Kind::PrepareTransaction => Some(Portal::Commit),
            Kind::Rollback { chain: false } => Some(Portal::Rollback),
            _ => None,
        }
    }
}

impl Session {
    /// Whether the client is in such a transaction.
    #[inline]
    pub(super) fn is_aborted(&self) -> bool {
        self.transaction.as_ref().is_some_and(|tx| tx.aborted.is_some())
    }

    fn aborted(&mut self) -> Option<&mut Aborted> {
        self.transaction.as_mut()?.aborted.as_deref_mut()
    }

    /// A message of the client while its transaction has no server.
    pub(super) fn aborted_message(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        if self.must_wait(ctx, None) {
            return Step::Stall;
        }
        self.roll_back_aborted(ctx);
        match header.kind {
            b'Q' => self.aborted_query(ctx, header, rest),
            b'F' => {
                let refusal = self.refuse_in_aborted();
                self.refuse_query(ctx, refusal);
                self.pass(header, rest, None)
            }
            b'B' => self.aborted_bind(ctx, header, rest),
            _ => self.aborted_short(ctx, header, rest),
        }
    }

    fn refuse_in_aborted(&mut self) -> Refusal {
        self.aborted().map_or_else(Refusal::nowhere, Aborted::refuse)
    }

    fn aborted_query(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        if header.length > MAX_TEXT {
            let refusal = self.refuse_in_aborted();
            self.refuse_query(ctx, refusal);
            return self.pass(header, rest, None);
        }
        let Some(whole) = rest.get(..header.length) else { return Step::More };
        let text = match frontend::query(whole.get(5..).unwrap_or_default()) {
            Ok(text) if face::sql::recognise(text).is_none() => text,
            // It needs no server.
            _ => return self.simple_query(ctx, header, rest),
        };
        self.log_statement(ctx, text);
        let facts = ctx.shared.facts.get(text);
        let mut out = Vec::new();
        match Portal::of(&facts) {
            Some(portal) => {
                if let Err(refusal) = self.run_in_aborted(ctx, portal, &mut out) {
                    self.refuse_query(ctx, refusal);
                    return Step::Done(header.length);
                }
                backend::put_ready(&mut out, self.status());
                ctx.wire.send(self.client, &out);
            }
            None => {
                let refusal = self.refuse_in_aborted();
                if begins_with_the_end(&facts) {
                    // What stands behind it in the string falls with it.
                    self.end_aborted(ctx);
                }
                self.refuse_query(ctx, refusal);
            }
        }
        Step::Done(header.length)
    }

    /// Does what a failed transaction takes.
    fn run_in_aborted(
        &mut self,
        ctx: &mut Ctx<'_>,
        portal: Portal,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if portal == Portal::Empty {
            backend::put_empty_query(out);
            return Ok(());
        }
        let unheard = self.aborted().filter(|aborted| !aborted.told && portal == Portal::Commit);
        let refusal = unheard.map(Aborted::refuse);
        self.end_aborted(ctx);
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        backend::put_command_complete(out, "ROLLBACK");
        Ok(())
    }

    fn aborted_bind(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        let body = rest.get(5..header.length.min(rest.len())).unwrap_or_default();
        let head = match frontend::bind_head(body) {
            Ok(Some(head)) => head,
            Ok(None) if rest.len() < header.length => return Step::More,
            _ => {
                self.fatal(ctx, "08P01", "Bind message ends within its names");
                return Step::More;
            }
        };
        let known = self.statements.get(head.statement).and_then(|prepared| Portal::of(&prepared.facts));
        match known {
            Some(portal) => {
                self.portals.remove(head.portal);
                if let Some(aborted) = self.aborted() {
                    aborted.portals.insert(head.portal, portal);
                }
                self.answer(ctx, backend::put_bind_complete);
            }
            None => {
                let refusal = self.refuse_in_aborted();
                self.error_to_sync(ctx, refusal);
            }
        }
        self.pass(header, rest, None)
    }

    /// Parse, Describe, Execute, Close and Flush.
    fn aborted_short(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        if header.length > MAX_TEXT {
            let refusal = self.refuse_in_aborted();
            self.error_to_sync(ctx, refusal);
            return self.pass(header, rest, None);
        }
        let Some(whole) = rest.get(..header.length) else { return Step::More };
        let body = whole.get(5..).unwrap_or_default();
        let done = match header.kind {
            b'P' => frontend::parse(body).map(|parse| self.aborted_parse(ctx, &parse, whole)),
            b'D' => frontend::describe(body).map(|target| self.aborted_describe(ctx, target)),
            b'E' => frontend::execute(body).map(|execute| self.aborted_execute(ctx, execute.portal)),
            b'C' => frontend::close(body).map(|target| self.aborted_close(ctx, target)),
            _ => Ok(Ok(())),
        };
        match done {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => self.error_to_sync(ctx, refusal),
            Err(e) => {
                self.fatal(ctx, "08P01", &e.to_string());
                return Step::More;
            }
        }
        Step::Done(header.length)
    }

    fn aborted_parse(
        &mut self,
        ctx: &mut Ctx<'_>,
        parse: &frontend::Parse<'_>,
        whole: &[u8],
    ) -> Result<(), Refusal> {
        let facts = ctx.shared.facts.get(parse.text);
        if Portal::of(&facts).is_none() {
            return Err(self.refuse_in_aborted());
        }
        if !parse.name.is_empty() && self.statements.contains(parse.name) {
            let name = String::from_utf8_lossy(parse.name);
            return Err(Refusal::Own("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        self.add_statement(parse.name, &facts, parse.text.into(), Source::Message(whole.into()));
        self.answer(ctx, backend::put_parse_complete);
        Ok(())
    }

    fn aborted_describe(&mut self, ctx: &mut Ctx<'_>, target: frontend::Target<'_>) -> Result<(), Refusal> {
        let is_statement = target.kind == b'S';
        let known = match is_statement {
            true => self.statements.get(target.name).and_then(|known| Portal::of(&known.facts)).is_some(),
            false => self.aborted().is_some_and(|aborted| aborted.portals.contains(target.name)),
        };
        if !known {
            return Err(self.refuse_in_aborted());
        }
        self.answer(ctx, |out| {
            if is_statement {
                backend::put_parameter_description(out);
            }
            backend::put_no_data(out);
        });
        Ok(())
    }

    fn aborted_execute(&mut self, ctx: &mut Ctx<'_>, portal: &[u8]) -> Result<(), Refusal> {
        let Some(portal) = self.aborted().and_then(|aborted| aborted.portals.get(portal).copied()) else {
            return Err(self.refuse_in_aborted());
        };
        let mut out = Vec::new();
        self.run_in_aborted(ctx, portal, &mut out)?;
        ctx.wire.send(self.client, &out);
        Ok(())
    }

    fn aborted_close(&mut self, ctx: &mut Ctx<'_>, target: frontend::Target<'_>) -> Result<(), Refusal> {
        if target.kind == b'S' {
            if self.statements.remove(target.name).is_some() {
                self.outdate(ctx, target.name);
            }
        } else {
            self.portals.remove(target.name);
            if let Some(aborted) = self.aborted() {
                aborted.portals.remove(target.name);
            }
        }
        self.answer(ctx, backend::put_close_complete);
        Ok(())
    }

    /// The other nodes of the transaction shall not keep its locks until the client has ended it.
    pub(super) fn roll_back_aborted(&mut self, ctx: &mut Ctx<'_>) {
        let Some(lead) = self.transaction.as_ref().map(|tx| tx.lead) else { return };
        if self.aborted().is_none_or(|aborted| std::mem::replace(&mut aborted.rolled_back, true)) {
            return;
        }
        for link in self.links.iter_mut().filter(|link| link.in_transaction || link.node == lead) {
            link.in_transaction = false;
            link.applied = link.applied_at_begin;
            let Some(backend) = ctx.pool.get(link.backend) else { continue };
            super::report::log_internal(&ctx.shared.config, link.node, backend.pid, "ROLLBACK");
            let mut out = Vec::new();
            backend.put_query(&mut out, b"ROLLBACK", Purpose::Transaction);
            let conn = backend.conn;
            ctx.wire.send(conn, &out);
        }
    }

    /// The client has ended it.
    pub(super) fn end_aborted(&mut self, ctx: &mut Ctx<'_>) {
        self.roll_back_aborted(ctx);
        let Some(lead) = self.transaction.as_ref().map(|tx| tx.lead) else { return };
        self.end(ctx, lead, false, false);
        self.settings.end(false);
        self.all_published();
        self.portals.clear();
        self.end_own_portals();
        self.show_status(ctx);
        debug_assert!(self.status() == TxStatus::Idle);
    }
}

/// A string whose first statement ends the transaction, or ends it and begins another.
fn begins_with_the_end(facts: &Facts) -> bool {
    let first = facts.statements.first().map(|statement| &statement.kind);
    facts.statements.len() > 1 && matches!(first, Some(Kind::Commit { .. } | Kind::Rollback { .. }))
}
