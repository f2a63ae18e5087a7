//! How a session ends, and what a client is told when something cannot be done.
#![forbid(unsafe_code)]

use super::place::NOWHERE;
use super::{Ctx, Errand, Session, Stage};
use crate::shm::SessionStatus;
use crate::wire::backend::{self, Notice, TxStatus};

/// What a client is told whose statement is not served.
pub(super) enum Refusal {
    /// SQLSTATE and text.
    Own(&'static str, String),
    /// An ErrorResponse of a server.
    Frame(Vec<u8>),
}

impl Refusal {
    /// No node can serve it.
    pub(super) fn nowhere() -> Refusal {
        Refusal::Own("57P03", NOWHERE.to_owned())
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Refusal::Own(code, message) => {
                let notice = Notice { severity: "ERROR", code, message, detail: None, hint: None };
                backend::put_error(out, &notice);
            }
            Refusal::Frame(frame) => out.extend_from_slice(frame),
        }
    }
}

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

    /// As `fatal`, but its worker tells the client when `auth_failure_delay` is over; nothing else of the session stays.
    pub(super) fn fatal_later(&mut self, ctx: &mut Ctx<'_>, code: &str, message: &str) {
        if ctx.shared.config.auth_failure_delay == 0 {
            return self.fatal(ctx, code, message);
        }
        let mut bytes = Vec::new();
        let notice = Notice { severity: "FATAL", code, message, detail: None, hint: None };
        backend::put_error(&mut bytes, &notice);
        crate::say!(Log, "client of slot {} will be told: FATAL: {} ({})", self.slot, message, code);
        self.finish(ctx, false);
        let errand = Errand::RefuseLater { client: self.client, from: self.peer.ip(), bytes };
        ctx.shared.errands.push(errand);
    }

    /// Sends these bytes, if they would be understood, and ends the session.
    pub(super) fn last_word(&mut self, ctx: &mut Ctx<'_>, bytes: &[u8]) {
        if !self.is_mid_message(ctx) {
            ctx.wire.send(self.client, bytes);
        }
        self.finish(ctx, false);
        ctx.wire.close_when_sent(self.client);
    }

    /// Gives everything back.
    pub(super) fn finish(&mut self, ctx: &mut Ctx<'_>, polite: bool) {
        if matches!(self.stage, Stage::Closed) {
            return;
        }
        self.end_repetition();
        if self.waits_for_name.is_some() {
            self.came_from(&ctx.shared.config, None);
        }
        self.stage = Stage::Closed;
        if let Some(lead) = self.transaction.as_ref().map(|tx| tx.lead) {
            self.count_transaction(ctx, lead, false);
        }
        for link in std::mem::take(&mut self.links) {
            // A batch without its Sync still has answers to come.
            let clean = polite && !link.opening && self.batch != Some(link.node);
            ctx.pool.give_back(ctx.wire, link.backend, clean, ctx.shared.now);
        }
        if ctx.shared.config.log_disconnections && self.startup.is_some() {
            self.log_disconnection(ctx);
        }
        self.input = Vec::new();
        (self.proved, self.found) = (None, None);
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

    /// Why the statement that was looked at last is not served.
    pub(super) fn why_not(&mut self) -> Refusal {
        self.refusal.take().unwrap_or_else(Refusal::nowhere)
    }

    /// ERROR for a simple query, and ReadyForQuery.
    pub(super) fn refuse_query(&mut self, ctx: &mut Ctx<'_>, refusal: Refusal) {
        self.again.note_end();
        let status = self.status();
        self.answer(ctx, |out| {
            refusal.put(out);
            backend::put_ready(out, status);
        });
    }

    /// An error of ours in the extended protocol: nothing more is done until the client's Sync.
    pub(super) fn error_to_sync(&mut self, ctx: &mut Ctx<'_>, refusal: Refusal) {
        self.again.note_end();
        self.answer(ctx, |out| refusal.put(out));
        self.skip_to_sync = true;
    }

    /// The frame that waits at the head of the input cannot be served.
    pub(super) fn refuse(&mut self, ctx: &mut Ctx<'_>, refusal: Refusal) {
        if !self.stalled || self.input.is_empty() {
            return;
        }
        self.commanded = None;
        let simple = matches!(self.input.first(), Some(b'Q' | b'F'));
        if let Ok(Some(header)) = crate::wire::frame::header(&self.input) {
            let here = header.length.min(self.input.len());
            self.input.drain(..here);
            self.client_message_served();
            self.used(here);
            self.streaming = super::Streaming { left: header.length - here, to: None };
        }
        if simple {
            self.refuse_query(ctx, refusal);
        } else {
            self.error_to_sync(ctx, refusal);
        }
        self.pump(ctx);
    }

    /// Messages of ours to the client.
    pub(super) fn answer(&self, ctx: &mut Ctx<'_>, put: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        put(&mut out);
        ctx.wire.send(self.client, &out);
    }

    pub(super) fn ready(&mut self, ctx: &mut Ctx<'_>, status: TxStatus) {
        self.answer(ctx, |out| backend::put_ready(out, status));
    }
}
