//! How a session ends, and what a client is told when something cannot be done.
#![forbid(unsafe_code)]

use super::{Ctx, Session, Source, Stage};
use crate::error::NodeId;
use crate::pool::Backend;
use crate::shm::SessionStatus;
use crate::wire::backend::{self, Notice, TxStatus};

impl Session {
    /// The client said goodbye.
    pub(super) fn goodbye(&mut self, ctx: &mut Ctx<'_>) {
        self.finish(ctx, true);
        ctx.wire.close(self.client);
    }

    /// The cancel request that this client brought is done; it waits for us to close.
    pub fn cancel_is_done(&mut self, ctx: &mut Ctx<'_>) {
        if matches!(self.stage, Stage::Cancelling) {
            self.goodbye(ctx);
        }
    }

    /// The client's socket closed.
    pub fn on_client_closed(&mut self, ctx: &mut Ctx<'_>) {
        // As pgpool-II: what a client leaves without a goodbye is not kept.
        self.finish(ctx, false);
    }

    /// Ends the session for a shutdown or a lost backend.
    pub fn shut(&mut self, ctx: &mut Ctx<'_>, code: &str, message: &str) {
        self.fatal(ctx, code, message);
    }

    /// Tells the client and ends the session.
    pub(super) fn fatal(&mut self, ctx: &mut Ctx<'_>, code: &str, message: &str) {
        self.fatal_with(ctx, code, message, None, None);
    }

    pub(super) fn fatal_with(
        &mut self,
        ctx: &mut Ctx<'_>,
        code: &str,
        message: &str,
        detail: Option<&str>,
        hint: Option<&str>,
    ) {
        let mut out = Vec::new();
        backend::put_error(&mut out, &Notice { severity: "FATAL", code, message, detail, hint });
        crate::say!(Log, "client of slot {} is told: FATAL: {} ({})", self.slot, message, code);
        self.last_word(ctx, &out);
    }

    /// Sends these bytes and ends the session.
    pub(super) fn last_word(&mut self, ctx: &mut Ctx<'_>, bytes: &[u8]) {
        ctx.wire.send(self.client, bytes);
        self.finish(ctx, false);
        ctx.wire.close_when_sent(self.client);
    }

    /// Gives everything back.
    fn finish(&mut self, ctx: &mut Ctx<'_>, polite: bool) {
        if matches!(self.stage, Stage::Closed) {
            return;
        }
        self.end_repetition();
        if self.waits_for_name.is_some() {
            self.came_from(&ctx.shared.config, None);
        }
        self.stage = Stage::Closed;
        for link in std::mem::take(&mut self.links) {
            // A batch without its Sync still has answers to come.
            let clean = polite && !link.opening && self.batch != Some(link.node);
            ctx.pool.give_back(ctx.wire, link.backend, clean, ctx.shared.now);
        }
        if ctx.shared.config.log_disconnections && self.startup.is_some() {
            self.log_disconnection(ctx);
        }
        self.input = Vec::new();
        self.cancel.1.clear();
        self.set_status(ctx, SessionStatus::WaitForConnection);
        self.clear_row(ctx);
    }

    fn log_disconnection(&self, ctx: &Ctx<'_>) {
        let time = ctx.shared.now.duration_since(self.started);
        let seconds = time.as_secs();
        crate::say!(
            Log,
            "frontend disconnection: session time: {}:{:02}:{:02}.{:03} user={} database={} host={} port={}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            time.subsec_millis(),
            self.key.user,
            self.key.database,
            self.host,
            self.peer.port()
        );
    }

    fn clear_row(&self, ctx: &mut Ctx<'_>) {
        let empty = crate::shm::SessionRow::default();
        ctx.shared.segment.set_session(ctx.shared.worker, self.slot as usize, &empty);
    }

    /// ERROR for a simple query, and ReadyForQuery.
    pub(super) fn refuse_query(&mut self, ctx: &mut Ctx<'_>, code: &str, message: &str) {
        let mut out = Vec::new();
        let notice = Notice { severity: "ERROR", code, message, detail: None, hint: None };
        backend::put_error(&mut out, &notice);
        backend::put_ready(&mut out, self.status());
        ctx.wire.send(self.client, &out);
    }

    /// The frame that waits at the head of the input cannot be served.
    pub(super) fn refuse(&mut self, ctx: &mut Ctx<'_>, code: &str, message: &str) {
        if !self.stalled || self.input.is_empty() {
            return;
        }
        let simple = matches!(self.input.first(), Some(b'Q' | b'F'));
        if let Ok(Some(header)) = crate::wire::frame::header(&self.input) {
            let here = header.length.min(self.input.len());
            self.input.drain(..here);
            self.client_message_served();
            self.streaming = super::Streaming { left: header.length - here, to: None };
        }
        if simple {
            self.refuse_query(ctx, code, message);
        } else {
            self.error_to_sync(ctx, code, message);
        }
        self.pump(ctx);
    }

    pub(super) fn ready(&mut self, ctx: &mut Ctx<'_>, status: TxStatus) {
        let mut out = Vec::new();
        backend::put_ready(&mut out, status);
        ctx.wire.send(self.client, &out);
    }

    /// Gives up the connection to a node that did not follow; the session goes on without it.
    pub(super) fn leave(&mut self, ctx: &mut Ctx<'_>, node: NodeId, reason: String) {
        let Some(link) = self.links.iter().find(|link| link.node == node) else { return };
        let queries = ctx.pool.peek(link.backend).map_or(0, Backend::owed);
        ctx.pool.drop_backend(ctx.wire, link.backend);
        self.avoid.push(node);
        self.drawn = None;
        let lost = Lost { reason, queries, ..Lost::default() };
        if !self.lose(ctx, node, &lost) {
            return;
        }
        if queries == 0 && Some(node) == ctx.shared.view.writer() {
            // What waits has nowhere else to go, and would fail the same way for ever.
            self.refuse(ctx, "08006", &format!("backend {node} did not follow the session: {}", lost.reason));
        } else {
            self.pump(ctx);
        }
    }

    /// The connection to a node closed.
    pub fn on_backend_closed(&mut self, ctx: &mut Ctx<'_>, node: NodeId, lost: &Lost) {
        if self.lose(ctx, node, lost) {
            self.pump(ctx);
        }
    }

    /// What was not under way there goes on; a statement that was is answered with an error; a transaction
    /// whose lead is gone ends the session, since whether it was committed cannot be known. Whether the
    /// session lives.
    fn lose(&mut self, ctx: &mut Ctx<'_>, node: NodeId, lost: &Lost) -> bool {
        let Some(at) = self.links.iter().position(|link| link.node == node) else { return false };
        self.links.remove(at);
        let text = lost.last_words.as_deref().unwrap_or(&lost.reason);
        let message = format!("connection to backend {node} was lost: {text}");
        crate::say!(Log, "{}", message);
        if lost.mid_message {
            // The client is in the middle of a message that will never end.
            self.finish(ctx, false);
            ctx.wire.close(self.client);
            return false;
        }
        let tx_is_there =
            self.transaction.as_ref().is_some_and(|tx| tx.lead == node || tx.failed_on == Some(node));
        let had = self.temporary.is_any() && ctx.shared.view.primary.is_none_or(|primary| primary == node);
        if !matches!(self.stage, Stage::Active) || tx_is_there || had || self.copy_in == Some(node) {
            self.fatal(ctx, if had { "57P01" } else { "08006" }, &message);
            return false;
        }
        self.forget(node);
        if lost.queries > 0 {
            self.in_flight = self.in_flight.saturating_sub(lost.queries);
            self.effects.clear();
            self.errored = false;
            self.done = 0;
            self.ends.clear();
            for _ in 0..lost.queries {
                self.refuse_query(ctx, "08006", &message);
            }
        }
        if self.batch == Some(node) {
            self.batch = None;
            self.in_flight -= u32::from(std::mem::take(&mut self.ending));
            self.error_to_sync(ctx, "08006", &message);
        }
        self.asking = None;
        true
    }

    /// What only a lost connection had is gone: the server says so to whoever asks for it.
    fn forget(&mut self, node: NodeId) {
        self.portals.retain(|portal| portal.node != node);
        self.statements.retain(|prepared| !matches!(prepared.source, Source::Only(only) if only == node));
        if self.streaming.to == Some(node) {
            self.streaming.to = None;
        }
    }
}

/// What a lost connection leaves behind.
#[derive(Debug, Default)]
pub struct Lost {
    /// What the socket said.
    pub reason: String,
    /// The server's FATAL error before it closed.
    pub last_words: Option<String>,
    /// ReadyForQuery that the client still waits for from it.
    pub queries: u32,
    /// A message was being passed on and is cut off.
    pub mid_message: bool,
}
