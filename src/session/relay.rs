//! Takes a backend's answers back to the client: ranges of what arrived, cut only where a message is ours.
//!
//! Most messages are recognised by their type and length alone. Understood are those that end a query,
//! report an error or a parameter, begin a COPY, or answer something that we sent ourselves.
#![forbid(unsafe_code)]

use super::{Ctx, Session};
use crate::config::LogBackendMessages;
use crate::error::NodeId;
use crate::pool::{Expect, LastWords, Purpose};
use crate::wire::backend;
use crate::wire::frame::Header;
use crate::wire::frontend;

/// What becomes of a frame.
pub(super) enum Verdict {
    Forward,
    Drop,
    /// A query of ours failed with this text: the node is of no use to the session.
    Leave(String),
}

impl Session {
    /// One message; `whole` unless it is passed on as it comes. The only caller has it for each message of a result, and
    /// a verdict that goes over memory costs as much as all the rest.
    #[inline(always)]
    pub(super) fn frame(
        &mut self,
        ctx: &mut Ctx<'_>,
        node: NodeId,
        slot: u32,
        header: Header,
        whole: Option<&[u8]>,
    ) -> Verdict {
        let log_messages = ctx.shared.config.log_backend_messages;
        if log_messages != LogBackendMessages::None {
            self.note_backend_message(log_messages, node, header.kind);
        }
        let Some(owner) = ctx.pool.get(slot) else { return Verdict::Drop };
        let body = whole.and_then(|frame| frame.get(5..)).unwrap_or_default();
        // What stands before a query of ours and is ours too belongs to it.
        let ours = |e: &&Expect| {
            use Expect::{Close, Parse, Prepare};
            matches!(e, Parse { quiet: true, .. } | Close { quiet: true, .. } | Prepare { .. })
        };
        let quiet = match owner.expects.iter().find(|e| !ours(e)) {
            Some(Expect::Quiet(purpose)) => Some(*purpose),
            _ => None,
        };
        match header.kind {
            b'Z' => return self.on_ready(ctx, node, slot, body),
            b'E' => return self.on_error(ctx, node, slot, body, quiet),
            b'1' => {
                owner.forget_copy_ends();
                if let Some(Expect::Parse { quiet: true, .. }) = owner.expects.front() {
                    owner.expects.pop_front();
                    return Verdict::Drop;
                }
                if let Some(Expect::Parse { .. }) = owner.expects.front() {
                    owner.expects.pop_front();
                }
            }
            b'3' => {
                owner.forget_copy_ends();
                if let Some(Expect::Close { .. }) = owner.expects.front()
                    && let Some(Expect::Close { statement, quiet }) = owner.expects.pop_front()
                {
                    if quiet {
                        return Verdict::Drop;
                    }
                    if let Some((name, id)) = statement {
                        self.closed(ctx, node, &name, id);
                    }
                }
            }
            b'2' if matches!(owner.expects.front(), Some(Expect::Prepare { .. })) => return Verdict::Drop,
            b'C' if matches!(owner.expects.front(), Some(Expect::Prepare { .. })) => {
                owner.expects.pop_front();
                return Verdict::Drop;
            }
            b'S' => return self.on_parameter(ctx, node, body, quiet.is_some()),
            b'A' => return Verdict::Forward,
            b'N' if quiet.is_none() => {
                let (pid, simple) = (owner.pid, matches!(owner.expects.front(), Some(Expect::Query)));
                let fields = backend::error(body).unwrap_or_default();
                // So a server goes that is shut down at once; in a statement, the statement may have said it.
                let is_goodbye = owner.expects.is_empty() && matches!(fields.code, b"57P01" | b"57P02");
                if is_goodbye {
                    owner.last_words = Some(LastWords::from(&fields));
                }
                self.log_error(node, pid, &fields, simple);
                if is_goodbye {
                    self.doomed = Some(node);
                    return Verdict::Drop;
                }
            }
            b'C' if quiet.is_none() => {
                self.done += 1;
                self.execute_ended(ctx);
                let tag = backend::command_tag(body);
                match tag {
                    Ok(b"COMMIT") => self.ends.push_back(true),
                    Ok(b"ROLLBACK") => self.ends.push_back(false),
                    _ => {}
                }
                // PREPARE TRANSACTION commits nothing; what will, can be anything.
                self.publish(ctx, self.transaction.is_none() || tag == Ok(b"COMMIT"));
            }
            b'I' | b's' if quiet.is_none() => {
                self.done += 1;
                self.execute_ended(ctx);
            }
            b'D' if quiet == Some(Purpose::LookUp) => {
                let row = backend::data_row(body).unwrap_or_default();
                owner.answer = row.first().copied().flatten().map(<[u8]>::to_vec);
            }
            b'G' if quiet.is_none() => self.begin_copy_in(ctx, node, slot),
            _ => {}
        }
        if quiet.is_none() && self.in_flight == 0 && self.batch == Some(node) {
            self.batch_count.note_answer(header.kind);
        }
        if quiet.is_some() || self.again.note_answer(header.kind) { Verdict::Drop } else { Verdict::Forward }
    }

    /// The server ignores a Sync while it copies in: those sent ahead are not answered, up to where the client
    /// has sent the end of its data ahead too.
    fn begin_copy_in(&mut self, ctx: &mut Ctx<'_>, node: NodeId, slot: u32) {
        let Some(backend) = ctx.pool.get(slot) else { return };
        if matches!(backend.expects.front(), Some(Expect::Query)) {
            match backend.expects.get(1) == Some(&Expect::CopyEnd) {
                true => drop(backend.expects.remove(1)),
                false => self.copy_in = Some(node),
            }
            return;
        }
        while let Some(Expect::Sync { quiet: false }) = backend.expects.front() {
            self.again.confuse();
            backend.expects.pop_front();
            self.in_flight = self.in_flight.saturating_sub(1);
            self.flight = self.flight.saturating_sub(1);
            self.batch = Some(node);
        }
        match backend.expects.front() {
            Some(Expect::CopyEnd) => drop(backend.expects.pop_front()),
            Some(Expect::Sync { .. }) => {
                // Our Sync, because a message waits that has no place in a COPY: as in the server that ends it.
                let mut out = Vec::new();
                frontend::put_copy_fail(&mut out, "unexpected message type during COPY from stdin");
                frontend::put_sync(&mut out);
                ctx.wire.send(backend.conn, &out);
            }
            _ => self.copy_in = Some(node),
        }
        self.stalled = true;
    }

    fn on_ready(&mut self, ctx: &mut Ctx<'_>, node: NodeId, slot: u32, body: &[u8]) -> Verdict {
        let Some(owner) = ctx.pool.get(slot) else { return Verdict::Drop };
        let status = backend::ready(body).unwrap_or(owner.tx);
        owner.tx = status;
        let mut ended = None;
        let mut skipped = Vec::new();
        while let Some(expect) = owner.expects.pop_front() {
            if expect.ends_with_ready() {
                ended = Some(expect);
                break;
            }
            skipped.push(expect);
        }
        self.undo(Some(owner), skipped);
        owner.forget_copy_ends();
        match ended {
            Some(Expect::Quiet(purpose)) => self.quiet_done(ctx, node, slot, purpose),
            Some(Expect::Sync { quiet: true }) => {
                self.batch_ended(ctx, node, status);
                Verdict::Drop
            }
            None => Verdict::Drop,
            Some(_) if self.serve_again(ctx, node, status) => Verdict::Drop,
            Some(_) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                if self.copy_in == Some(node) {
                    self.copy_in = None;
                }
                self.again.note_end();
                self.settle(ctx, node, status);
                self.show_status(ctx);
                Verdict::Forward
            }
        }
    }

    fn on_error(
        &mut self,
        ctx: &mut Ctx<'_>,
        node: NodeId,
        slot: u32,
        body: &[u8],
        quiet: Option<Purpose>,
    ) -> Verdict {
        let fields = backend::error(body).unwrap_or_default();
        self.count_error(ctx, node, &fields);
        let Some(owner) = ctx.pool.get(slot) else { return Verdict::Drop };
        if quiet.is_some() {
            owner.quiet_error = Some(fields.to_string());
            return Verdict::Drop;
        }
        let (pid, simple) = (owner.pid, matches!(owner.expects.front(), Some(Expect::Query)));
        let will_be_run_again = self.is_refused(ctx, node, &fields, body);
        if !will_be_run_again {
            self.log_error(node, pid, &fields, simple);
        }
        let Some(owner) = ctx.pool.get(slot) else { return Verdict::Drop };
        if fields.is_fatal() {
            // The connection ends now; what the client hears is said when it has.
            owner.last_words = Some(LastWords::from(&fields));
            self.doomed = Some(node);
            return Verdict::Drop;
        }
        // What was sent behind the error and before the Sync is not done.
        let mut skipped = Vec::new();
        while let Some(expect) = owner.expects.pop_front_if(|expect| !expect.ends_with_ready()) {
            skipped.push(expect);
        }
        self.undo(Some(owner), skipped);
        self.errored = true;
        if self.copy_in == Some(node) {
            self.copy_in = None;
        }
        if will_be_run_again {
            return Verdict::Drop;
        }
        self.count_failed(node, fields.code);
        self.execute_ended(ctx);
        self.again.note_given();
        Verdict::Forward
    }

    /// The client hears of the primary's parameters, and of what a standby says differently but for what
    /// makes it a standby.
    fn on_parameter(&mut self, ctx: &Ctx<'_>, node: NodeId, body: &[u8], quiet: bool) -> Verdict {
        let Ok((name, value)) = backend::parameter_status(body) else { return Verdict::Drop };
        let known = self.parameters.iter_mut().find(|(known, _)| known == name);
        let is_lead = ctx.shared.view.primary.is_none_or(|primary| primary == node);
        let roles: [&[u8]; 2] = [b"in_hot_standby", b"default_transaction_read_only"];
        if quiet || (!is_lead && roles.contains(&name)) {
            return Verdict::Drop;
        }
        match known {
            Some((_, old)) if old == value => Verdict::Drop,
            Some((_, old)) => {
                value.clone_into(old);
                Verdict::Forward
            }
            None => {
                self.parameters.push((name.to_vec(), value.to_vec()));
                Verdict::Forward
            }
        }
    }

    /// A query of ours has ended.
    fn quiet_done(&mut self, ctx: &mut Ctx<'_>, node: NodeId, slot: u32, purpose: Purpose) -> Verdict {
        let Some(owner) = ctx.pool.get(slot) else { return Verdict::Drop };
        let error = owner.quiet_error.take();
        self.stalled = true;
        match purpose {
            Purpose::LookUp => {
                let answer = owner.answer.take();
                self.on_answer(ctx, answer, error);
            }
            Purpose::Settings | Purpose::Transaction => {
                if let Some(error) = error {
                    return Verdict::Leave(error);
                }
            }
            Purpose::Prepare => {
                let id = self.preparing.take();
                if let Some(error) = error {
                    self.cannot_prepare = id.map(|id| (id, node));
                    crate::say!(
                        Debug1,
                        "backend {} cannot prepare a statement of the session: {}",
                        node,
                        error
                    );
                }
            }
            Purpose::Reset => {}
        }
        Verdict::Drop
    }
}
