//! From the first packet to the first ReadyForQuery.
//!
//! With pool_hba.conf the client proves itself first. Without it the backend's own method decides, as in
//! pgpool-II: a backend is asked (or a pooled connection remembers) and the client must pass the same.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::reach::Reach;
use super::{Ctx, Errand, Session, Stage, Step};
use crate::auth::client_leg::{AuthMethod, ClientLeg, Outcome};
use crate::auth::hba;
use crate::error::NodeId;
use crate::pool::{Failure, Key};
use crate::shm::SessionStatus;
use crate::sys::random;
use crate::wire::backend::{self, TxStatus};
use crate::wire::frame::{self, Header};
use crate::wire::startup::{self, First, Startup};

/// Newest minor version of protocol 3 that is served.
const NEWEST_MINOR: u32 = 2;

/// Longest message that proves something.
const MAX_PROOF: usize = 64 * 1024;

impl Session {
    pub(super) fn first_packet(&mut self, ctx: &mut Ctx<'_>, rest: &[u8]) -> Step {
        let length = match frame::startup_length(rest) {
            Ok(Some(length)) => length,
            Ok(None) => return Step::More,
            Err(e) => {
                self.fatal(ctx, "08P01", &e.to_string());
                return Step::More;
            }
        };
        let Some(packet) = rest.get(..length) else { return Step::More };
        match startup::parse(packet) {
            Ok(First::Ssl | First::GssEnc) => ctx.wire.send(self.client, b"N"),
            Ok(First::Cancel { pid, key }) => {
                if ctx.shared.config.log_client_messages {
                    super::messages::note_cancel(pid);
                }
                self.stage = Stage::Cancelling;
                ctx.shared.errands.push(Errand::Cancel { client: self.slot, pid, key });
            }
            Ok(First::Startup(startup)) => self.begin_session(ctx, startup),
            Err(e) => {
                let code = e.sqlstate();
                self.fatal(ctx, code, &e.to_string());
            }
        }
        Step::Done(length)
    }

    fn begin_session(&mut self, ctx: &mut Ctx<'_>, startup: Startup) {
        if self.is_too_many {
            crate::say!(Error, "Sorry, too many clients already");
            self.fatal(ctx, "53300", "Sorry, too many clients already");
            return;
        }
        if startup.replication {
            self.fatal(ctx, "0A000", "replication connections through pgbalancer are not supported");
            return;
        }
        if startup.minor() > NEWEST_MINOR || !startup.unknown_protocol_options.is_empty() {
            let unknown: Vec<&str> = startup.unknown_protocol_options.iter().map(String::as_str).collect();
            let mut out = Vec::new();
            backend::put_negotiate(&mut out, startup.minor().min(NEWEST_MINOR), &unknown);
            ctx.wire.send(self.client, &out);
        }
        let mut options: Vec<(String, String)> = startup
            .options
            .iter()
            .filter(|(name, _)| name != "application_name" && name != "replication")
            .cloned()
            .collect();
        options.sort();
        self.key = Rc::new(Key { user: startup.user.clone(), database: startup.database.clone(), options });
        self.startup = Some(Box::new(startup));
        self.introduce(ctx);
        self.set_status(ctx, SessionStatus::Connecting);
        match self.method_by_rules(ctx) {
            Some(Ok(method)) => self.demand_proof(ctx, method),
            Some(Err(text)) => self.turn_away(ctx, &text),
            None => {
                self.stage = Stage::Waiting { proven: false };
                self.need_backend(ctx);
            }
        }
    }

    /// What pool_hba.conf asks of this client; `None` where it is not used.
    fn method_by_rules(&self, ctx: &Ctx<'_>) -> Option<Result<AuthMethod, String>> {
        let rules = ctx.shared.hba.as_ref()?;
        let peer = self.peer.ip().map_or(hba::Peer::Local, hba::Peer::Ip);
        Some(match rules.check(&peer, false, &self.key.user, &self.key.database) {
            Some(rule) => Ok(match rule.method {
                hba::Method::Trust => AuthMethod::Trust,
                hba::Method::Reject => return Some(Err(self.refusal("pool_hba.conf rejects connection"))),
                hba::Method::Md5 => AuthMethod::Md5,
                hba::Method::ScramSha256 => AuthMethod::Scram,
            }),
            None => Err(self.refusal("no pool_hba.conf entry")),
        })
    }

    fn refusal(&self, what: &str) -> String {
        let (host, key) = (self.peer.host(), &self.key);
        format!("{what} for host \"{host}\", user \"{}\", database \"{}\", SSL off", key.user, key.database)
    }

    fn demand_proof(&mut self, ctx: &mut Ctx<'_>, method: AuthMethod) {
        let passwords = Rc::clone(&ctx.shared.passwords);
        let secret = passwords.get(&self.key.user);
        let mut out = Vec::new();
        let (leg, outcome) = ClientLeg::start(method, &self.key.user, secret, &mut random::fill, &mut out);
        ctx.wire.send(self.client, &out);
        self.stage = Stage::Proving { leg: Box::new(leg) };
        self.proof_outcome(ctx, outcome);
    }

    pub(super) fn password_message(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        if header.kind != b'p' || header.length > MAX_PROOF {
            let text = format!("expected password response, got message type {}", header.kind);
            self.fatal(ctx, "08P01", &text);
            return Step::More;
        }
        let Some(body) = rest.get(5..header.length) else { return Step::More };
        let Stage::Proving { leg } = &mut self.stage else { return Step::More };
        let mut out = Vec::new();
        let outcome = leg.on_password_message(body, &mut out);
        ctx.wire.send(self.client, &out);
        self.proof_outcome(ctx, outcome);
        Step::Done(header.length)
    }

    fn proof_outcome(&mut self, ctx: &mut Ctx<'_>, outcome: Outcome) {
        match outcome {
            Outcome::More => {}
            Outcome::Accepted => {
                self.stage = Stage::Waiting { proven: true };
                self.need_backend(ctx);
            }
            Outcome::Rejected { log } => self.reject(ctx, &log),
        }
    }

    /// The client did not prove itself; why stands in the log only.
    fn reject(&mut self, ctx: &mut Ctx<'_>, why: &str) {
        let text = format!("password authentication failed for user \"{}\"", self.key.user);
        crate::log::Line::new(crate::log::Level::Log, &text).detail(why).emit();
        self.fatal(ctx, "28P01", &text);
    }

    /// pool_hba.conf has no place for this client.
    fn turn_away(&mut self, ctx: &mut Ctx<'_>, why: &str) {
        let hint = "see pgpool log for details";
        self.fatal_with(ctx, "28000", "client authentication failed", Some(why), Some(hint));
    }

    /// The session's parameters come from a backend: the primary's, or another's when that is away.
    pub(super) fn need_backend(&mut self, ctx: &mut Ctx<'_>) {
        loop {
            let view = &ctx.shared.view;
            let usable = |node: &NodeId| {
                !self.avoid.contains(node) && view.nodes.iter().any(|n| n.id == *node && n.usable)
            };
            let mut wanted = view.primary.into_iter().chain(view.main).chain(view.nodes.iter().map(|n| n.id));
            let Some(node) = wanted.find(usable) else {
                self.fatal_with(
                    ctx,
                    "57P03",
                    "all backend nodes are down, pgpool requires at least one valid node",
                    None,
                    Some("repair the backend nodes and restart pgpool"),
                );
                return;
            };
            match self.reach(ctx, node) {
                Reach::Ready(slot) => return self.on_first_backend(ctx, slot),
                Reach::Wait => {
                    // A lent connection may still have to hear of the application's name.
                    if let Some(link) = self.links.iter().find(|link| link.node == node && !link.opening) {
                        let slot = link.backend;
                        self.on_first_backend(ctx, slot);
                    }
                    return;
                }
                Reach::Failed => self.avoid.push(node),
            }
        }
    }

    /// A backend is there: let the client in, or ask of it what the backend asked of us.
    pub(super) fn on_first_backend(&mut self, ctx: &mut Ctx<'_>, slot: u32) {
        let Stage::Waiting { proven } = self.stage else { return };
        let Some(backend) = ctx.pool.get(slot) else { return };
        let asked = backend.asked;
        if proven {
            return self.welcome(ctx, slot);
        }
        self.demand_proof(ctx, AuthMethod::from(asked));
    }

    pub(super) fn on_first_backend_failed(&mut self, ctx: &mut Ctx<'_>, node: NodeId, failure: &Failure) {
        if let Some(answer) = &failure.answer {
            // As a direct connection would: the server's own words.
            let answer = answer.clone();
            self.last_word(ctx, &answer);
        } else if failure.unreachable {
            self.avoid.push(node);
            self.need_backend(ctx);
        } else {
            let text = format!("failed to authenticate with backend {node}");
            self.fatal_with(ctx, "28000", &text, Some(&failure.text), None);
        }
    }

    /// Parameters, key, ReadyForQuery.
    fn welcome(&mut self, ctx: &mut Ctx<'_>, slot: u32) {
        let minor = self.startup.as_ref().map_or(0, |startup| startup.minor());
        let Some(backend) = ctx.pool.get(slot) else { return };
        self.parameters.clone_from(&backend.parameters);
        if let Some(name) = self.application_name().map(|name| name.as_bytes().to_vec())
            && let Some((_, value)) =
                self.parameters.iter_mut().find(|(known, _)| known == b"application_name")
        {
            *value = name;
        }
        let mut key = vec![0; if minor >= 2 { 32 } else { 4 }];
        random::fill(&mut key);
        self.cancel = (backend.pid, key);
        let mut out = Vec::new();
        for (name, value) in &self.parameters {
            backend::put_parameter_status(&mut out, name, value);
        }
        backend::put_key_data(&mut out, self.cancel.0, &self.cancel.1);
        backend::put_ready(&mut out, TxStatus::Idle);
        ctx.wire.send(self.client, &out);
        self.stage = Stage::Active;
        self.deadline = None;
        // Nodes that failed while we came in may be back by the time they are needed.
        self.avoid.clear();
        self.prefer(&ctx.shared.routes);
        self.balance = self.draw_node(ctx.shared);
        self.write_row(ctx);
        self.show_status(ctx);
        self.pump(ctx);
    }
}
