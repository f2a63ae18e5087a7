//! From the first packet to the first ReadyForQuery.
//!
//! With pool_hba.conf the client proves itself first. Without it the backend's own method decides, as in
//! pgpool-II: a backend is asked (or a pooled connection remembers) and the client must pass the same.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::reach::Reach;
use super::{Ctx, Errand, Session, Stage, Step};
use crate::error::NodeId;
use crate::net::Owner;
use crate::pool::{Failure, Key, Trouble};
use crate::route::learn::Class;
use crate::shm::{Hold, SessionStatus};
use crate::sys::random;
use crate::tls::{self, Acceptor, Secured};
use crate::wire::backend::{self, TxStatus};
use crate::wire::frame;
use crate::wire::startup::{self, First, Startup};

/// Newest minor version of protocol 3 that is served.
const NEWEST_MINOR: u32 = 2;

/// First byte of a TLS handshake (RFC 8446, 5.1): a client that begins with it has asked for nothing before.
const TLS_HANDSHAKE: u8 = 0x16;

/// How far a client's connection is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tls {
    Untried,
    /// It was asked for, and we have none.
    None,
    /// The handshake is under way.
    Asked,
    /// So it is, and the client began with it.
    Direct,
    On(Box<Secured>),
}

impl Tls {
    pub(super) fn is_on(&self) -> bool {
        matches!(self, Tls::On(_))
    }

    /// What SCRAM can be bound to.
    pub(super) fn end_point(&self) -> Option<Vec<u8>> {
        match self {
            Tls::On(secured) => secured.end_point.clone(),
            _ => None,
        }
    }

    /// The common name of the client's certificate, which was checked.
    pub(super) fn peer_name(&self) -> Option<&String> {
        match self {
            Tls::On(secured) => secured.peer_name.as_ref(),
            _ => None,
        }
    }
}

impl Session {
    pub(super) fn first_packet(&mut self, ctx: &mut Ctx<'_>, rest: &[u8]) -> Step {
        if rest.first() == Some(&TLS_HANDSHAKE)
            && self.tls == Tls::Untried
            && let Some(acceptor) = self.acceptor(ctx)
        {
            self.tls = Tls::Direct;
            self.secure(ctx, &acceptor, rest);
            return Step::Done(rest.len());
        }
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
            Ok(First::Ssl) => self.asked_for_tls(ctx, rest.len() > length),
            Ok(First::GssEnc) => ctx.wire.send(self.client, b"N"),
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

    /// TLS is for connections over the network, as in PostgreSQL.
    fn acceptor(&self, ctx: &Ctx<'_>) -> Option<Rc<Acceptor>> {
        ctx.shared.tls.clone().filter(|_| self.peer.ip().is_some())
    }

    /// An SSLRequest; `more` stands behind it.
    fn asked_for_tls(&mut self, ctx: &mut Ctx<'_>, more: bool) {
        match (self.tls.clone(), self.acceptor(ctx)) {
            // Whoever sits between us could have put it there, to be taken for the client's own (CVE-2021-23214).
            (Tls::Untried, Some(_)) if more => {
                self.fatal(ctx, "08P01", "received unencrypted data after SSL request");
            }
            (Tls::Untried, Some(acceptor)) => {
                ctx.wire.send(self.client, b"S");
                self.tls = Tls::Asked;
                self.secure(ctx, &acceptor, &[]);
            }
            (Tls::Untried | Tls::None, _) => {
                self.tls = Tls::None;
                ctx.wire.send(self.client, b"N");
            }
            (Tls::Asked | Tls::Direct | Tls::On(_), _) => {
                self.fatal(ctx, "0A000", "unsupported frontend protocol 1234.5679");
            }
        }
    }

    fn secure(&mut self, ctx: &mut Ctx<'_>, acceptor: &Acceptor, already: &[u8]) {
        match acceptor.start() {
            Ok(ssl) => ctx.wire.secure(self.client, Owner::Client(self.slot), ssl, already),
            Err(e) => self.fatal(ctx, "53200", &format!("could not begin TLS: {}", tls::reasons(&e))),
        }
    }

    /// The handshake is done.
    pub fn on_secured(&mut self, ctx: &mut Ctx<'_>, secured: Secured) {
        let is_direct = self.tls == Tls::Direct;
        if is_direct && !secured.is_postgresql {
            let text = "received direct SSL connection request without ALPN protocol negotiation extension";
            self.fatal(ctx, "08P01", text);
            return;
        }
        self.tls = Tls::On(Box::new(secured));
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
        self.write_row(ctx, SessionStatus::Connecting);
        self.set_status(ctx, SessionStatus::Connecting);
        self.ask_rules(ctx);
    }

    /// The session's parameters come from a backend: the primary's, or another's when that is away.
    pub(super) fn need_backend(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(waiting) = &mut self.waiting {
            waiting.on = false;
        }
        loop {
            let view = &ctx.shared.view;
            let usable = |node: &NodeId| self.may_use(ctx.shared, *node);
            let mut wanted = view.primary.into_iter().chain(view.main).chain(view.nodes.iter().map(|n| n.id));
            let Some(node) = wanted.find(usable) else { return self.wait_for_first(ctx) };
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
                Reach::Failed => self.avoid(ctx, node),
            }
        }
    }

    /// No node takes the session now: it waits for one, if one may come.
    fn wait_for_first(&mut self, ctx: &mut Ctx<'_>) {
        let view = &ctx.shared.view;
        let may_come = view.hold == Hold::Writes || view.nodes.iter().any(|node| node.usable);
        if may_come && self.has_time(ctx) {
            self.avoid.clear();
            return;
        }
        let text = "all backend nodes are down, pgpool requires at least one valid node";
        let hint = "repair the backend nodes and restart pgpool";
        self.fatal_with(ctx, "57P03", text, None, Some(hint));
    }

    /// A backend is there: let the client in, or ask of it what the backend asked of us.
    pub(super) fn on_first_backend(&mut self, ctx: &mut Ctx<'_>, slot: u32) {
        let Stage::Waiting { proven } = self.stage else { return };
        let Some(backend) = ctx.pool.get(slot) else { return };
        let asked = backend.asked;
        if proven {
            return self.welcome(ctx, slot);
        }
        self.on_backend_asked(ctx, slot, asked);
    }

    pub(super) fn on_first_backend_failed(&mut self, ctx: &mut Ctx<'_>, node: NodeId, failure: &Failure) {
        if failure.is_passing() {
            self.avoid(ctx, node);
            self.need_backend(ctx);
        } else if failure.trouble == Trouble::NoPassword && self.may_ask_for_password(ctx) {
            self.demand_password(ctx);
        } else if self.is_denied_by_backend(failure) {
            self.reject(ctx, &failure.text);
        } else if let Some(answer) = &failure.answer {
            // As a direct connection would: the server's own words.
            let answer = answer.clone();
            self.last_word(ctx, &answer);
        } else {
            let text = format!("failed to authenticate with backend {node}");
            self.fatal_with(ctx, "28000", &text, Some(&failure.text), None);
        }
    }

    /// Parameters, key, ReadyForQuery.
    fn welcome(&mut self, ctx: &mut Ctx<'_>, slot: u32) {
        if let Err(text) = self.admit(ctx) {
            return self.fatal(ctx, "53300", &text);
        }
        let minor = self.startup.as_ref().map_or(0, |startup| startup.minor());
        let Some(backend) = ctx.pool.get(slot) else { return };
        self.parameters.clone_from(&backend.parameters);
        if let Some(name) = self.application_name().map(|name| name.as_bytes().to_vec())
            && let Some((_, value)) =
                self.parameters.iter_mut().find(|(known, _)| known == b"application_name")
        {
            *value = name;
        }
        let (view, node) = (&ctx.shared.view, backend.node);
        if view.primary != Some(node) && (view.primary.is_some() || view.hold == Hold::Writes) {
            // Drivers that look for a primary have found one: what needs it will have it.
            let told = self.parameters.iter_mut().find(|(known, _)| known == b"in_hot_standby");
            told.into_iter().for_each(|(_, value)| *value = b"off".to_vec());
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
        self.begin_timing(ctx);
        self.deadline = None;
        self.waiting = None;
        // Nodes that failed while we came in may be back by the time they are needed.
        self.avoid.clear();
        self.prefer(&ctx.shared.routes);
        self.balance = self.draw_node(ctx.shared, Class::UNKNOWN);
        self.write_row(ctx, SessionStatus::Idle);
        self.show_status(ctx);
        self.pump(ctx);
    }
}
