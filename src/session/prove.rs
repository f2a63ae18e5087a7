//! Whether a client is who it says: what pool_hba.conf or a backend asks of it, and what comes of its answers.
//!
//! A password in clear is checked by `pool_passwd`, PAM or LDAP; where none of them knows the user, the first backend
//! does, which must then have asked for one. What only others know is an errand of the worker's: the session waits.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Ctx, Errand, Session, Stage, Step};
use crate::auth::backend_leg::AsKind;
use crate::auth::client_leg::{AuthMethod, ClientLeg, Outcome, check_password};
use crate::auth::hba::{self, Host, Interface, Map, Method, Verdict};
use crate::auth::outside::{Answer, Question};
use crate::auth::password::Password;
use crate::auth::pool_passwd::Secret;
use crate::cluster::users::Known;
use crate::pool::{Failure, Sent, Trouble};
use crate::sys::random;
use crate::wire::backend;
use crate::wire::frame::Header;

/// Longest message that proves something.
const MAX_PROOF: usize = 64 * 1024;

const TOO_MANY: &str = "too many clients wait to be let in, try again later";

/// Who says whether an answer is right.
#[derive(Debug, Clone)]
pub(super) enum Judge {
    /// We, by `pool_passwd`; of a password in clear that stands not there, the backend.
    Own,
    Pam(Arc<hba::Pam>),
    Ldap(Arc<hba::Ldap>),
}

/// What somebody else is asked.
pub(super) enum About {
    /// The name of the client's host.
    Host,
    /// Its password, which `kept` has for the backends if the answer is yes.
    Password { method: &'static str, kept: Option<Sent> },
}

impl Session {
    /// Does with the client what pool_hba.conf says; where that is not used the backend's own method decides.
    pub(super) fn ask_rules(&mut self, ctx: &mut Ctx<'_>) {
        let Some(rules) = &ctx.shared.hba else {
            self.stage = Stage::Waiting { proven: false };
            return self.need_backend(ctx);
        };
        let client = hba::Client {
            peer: self.peer.ip().map_or(hba::Peer::Local, hba::Peer::Ip),
            tls: self.tls.is_on(),
            user: &self.key.user,
            database: &self.key.database,
            host: match &self.verified_host {
                None => Host::Unasked,
                Some(None) => Host::Nameless,
                Some(Some(name)) => Host::Named(name),
            },
            interfaces: &interfaces,
        };
        let method = match rules.check(&client) {
            Verdict::Rule(rule) => rule.method.clone(),
            Verdict::Nobody => return self.turn_away(ctx, "no pool_hba.conf entry"),
            Verdict::HostWanted => return self.ask_for_host(ctx),
        };
        match method {
            Method::Trust => self.demand_proof(ctx, AuthMethod::Trust, Judge::Own),
            Method::Reject => self.turn_away(ctx, "pool_hba.conf rejects connection"),
            Method::Md5 => self.find_user(ctx, AuthMethod::Md5),
            Method::ScramSha256 => self.find_user(ctx, AuthMethod::Scram),
            Method::Password => self.find_user(ctx, AuthMethod::Clear),
            Method::Cert(map) => self.check_certificate(ctx, map.as_deref()),
            Method::Pam(options) => self.demand_proof(ctx, AuthMethod::Clear, Judge::Pam(options)),
            Method::Ldap(options) => self.demand_proof(ctx, AuthMethod::Clear, Judge::Ldap(options)),
        }
    }

    fn ask_for_host(&mut self, ctx: &mut Ctx<'_>) {
        match self.peer.ip() {
            Some(ip) => self.ask_outside(ctx, About::Host, Question::Host(ip)),
            None => self.turn_away(ctx, "no pool_hba.conf entry"),
        }
    }

    fn ask_outside(&mut self, ctx: &mut Ctx<'_>, about: About, question: Question) {
        self.stage = Stage::Asking { about };
        ctx.shared.errands.push(Errand::Ask { client: self.slot, session: self.number, question });
    }

    /// Who was asked has answered.
    pub fn on_outside_answer(&mut self, ctx: &mut Ctx<'_>, answer: Answer) {
        if !matches!(self.stage, Stage::Asking { .. }) {
            return;
        }
        let Stage::Asking { about } = std::mem::replace(&mut self.stage, Stage::First) else { return };
        match (about, answer) {
            (About::Host, Answer::Host(name)) => {
                self.verified_host = Some(name);
                self.ask_rules(ctx);
            }
            (About::Password { kept, .. }, Answer::Checked(Ok(()))) => {
                self.sent_password = kept;
                self.accept(ctx);
            }
            (About::Password { method, .. }, Answer::Checked(Err(why))) => {
                let text = format!("{method} authentication failed for user \"{}\"", self.key.user);
                self.refuse_proof(ctx, "28000", &text, &why);
            }
            (_, Answer::Failed(why)) => {
                crate::log::Line::new(crate::log::Level::Log, TOO_MANY).detail(&why).emit();
                self.fatal(ctx, "53300", TOO_MANY);
            }
            (_, Answer::Host(_) | Answer::Checked(_)) => {
                self.refuse_proof(
                    ctx,
                    "XX000",
                    "client authentication failed",
                    "an answer to another question",
                );
            }
        }
    }

    fn check_certificate(&mut self, ctx: &mut Ctx<'_>, map: Option<&Map>) {
        let (peer_name, user) = (self.tls.peer_name(), &*self.key.user);
        let is_allowed = |name: &str| map.map_or(name == user, |map| map.allows(name, user));
        if peer_name.is_some_and(|name| is_allowed(name)) {
            return self.demand_proof(ctx, AuthMethod::Trust, Judge::Own);
        }
        let why = match (peer_name, map) {
            (Some(name), None) => format!("the certificate is for \"{name}\""),
            (Some(name), Some(map)) => {
                format!("the certificate is for \"{name}\", who is not that user by map \"{}\"", map.name)
            }
            (None, _) => "connection has no verified client certificate with a common name".to_owned(),
        };
        let text = format!("certificate authentication failed for user \"{}\"", self.key.user);
        self.refuse_proof(ctx, "28000", &text, &why);
    }

    /// Who is not in pool_passwd may be known to the servers (`auth_query`).
    fn find_user(&mut self, ctx: &mut Ctx<'_>, method: AuthMethod) {
        let (config, user) = (&ctx.shared.config, &self.key.user);
        if config.auth_query.is_empty() || ctx.shared.passwords.get(user).is_some() {
            return self.demand_proof(ctx, method, Judge::Own);
        }
        let expiry = Duration::from_secs(config.auth_query_cache_expiry.unsigned_abs());
        self.stage = Stage::UserWanted { method };
        match ctx.shared.users.find(user, expiry, ctx.shared.now) {
            Known::Answer(secret) => self.user_found(ctx, secret),
            Known::Wait => {}
            Known::Ask => {
                ctx.shared.users.asks(user);
                ctx.shared.errands.push(Errand::User(user.clone()));
            }
            Known::Full => {
                crate::say!(Warning, "auth_query for user \"{user}\": too many users are being asked for");
                self.user_found(ctx, None);
            }
        }
    }

    /// Whether it waits for what the servers know of this user.
    pub fn waits_for_user(&self, user: &str) -> bool {
        matches!(self.stage, Stage::UserWanted { .. }) && self.key.user == user
    }

    /// What the servers know of the user has come.
    pub fn user_is_known(&mut self, ctx: &mut Ctx<'_>, secret: Option<Rc<Secret>>) {
        self.user_found(ctx, secret);
        // It may have sent something meanwhile.
        self.pump(ctx);
    }

    fn user_found(&mut self, ctx: &mut Ctx<'_>, secret: Option<Rc<Secret>>) {
        let Stage::UserWanted { method } = self.stage else { return };
        // Those whom the servers know have verifiers, mostly: who is unknown is asked as they are.
        let as_usual = secret.is_some() || method == AuthMethod::Clear;
        let method = if as_usual { method } else { AuthMethod::Scram };
        self.found = secret;
        self.demand_proof(ctx, method, Judge::Own);
    }

    fn demand_proof(&mut self, ctx: &mut Ctx<'_>, method: AuthMethod, judge: Judge) {
        let (passwords, found) = (Rc::clone(&ctx.shared.passwords), self.found.clone());
        let secret = passwords.get(&self.key.user).or(found.as_deref());
        let mut out = Vec::new();
        let end_point = self.tls.end_point();
        let (leg, outcome) =
            ClientLeg::start(method, &self.key.user, secret, end_point, &mut random::fill, &mut out);
        ctx.wire.send(self.client, &out);
        self.stage = Stage::Proving { leg: Box::new(leg), judge };
        self.proof_outcome(ctx, outcome);
    }

    pub(super) fn password_message(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        if header.kind != b'p' || header.length > MAX_PROOF {
            let text = format!("expected password response, got message type {}", header.kind);
            self.fatal(ctx, "08P01", &text);
            return Step::More;
        }
        let Some(body) = rest.get(5..header.length) else { return Step::More };
        let Stage::Proving { leg, .. } = &mut self.stage else { return Step::More };
        let mut out = Vec::new();
        let outcome = leg.on_password_message(body, &mut out);
        let keys = leg.take_keys().map(|keys| Rc::new(Secret::Proved(keys)));
        if outcome == Outcome::Accepted {
            self.proved = keys.or(self.found.take());
        }
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
            Outcome::Sent(password) => self.judge(ctx, password),
            Outcome::Rejected { log } => self.reject(ctx, &log),
        }
    }

    /// A password has come in clear.
    fn judge(&mut self, ctx: &mut Ctx<'_>, password: Password) {
        let Stage::Proving { judge, .. } = &self.stage else { return };
        let sent = |comes_first, is_unproven| {
            let secret = Secret::Plain((*password).to_owned().into());
            Sent { secret, comes_first, is_unproven }
        };
        let user = self.key.user.clone();
        match judge.clone() {
            Judge::Own => match ctx.shared.passwords.get(&user).or(self.found.as_deref()) {
                Some(secret) => match check_password(&user, secret, &password) {
                    Ok(()) => {
                        self.sent_password = Some(sent(true, false));
                        self.accept(ctx);
                    }
                    Err(why) => self.reject(ctx, &why),
                },
                None => {
                    self.sent_password = Some(sent(true, true));
                    self.stage = Stage::Waiting { proven: false };
                    self.need_backend(ctx);
                }
            },
            Judge::Pam(options) => {
                let about = About::Password { method: "PAM", kept: Some(sent(false, false)) };
                let from = self.peer.ip();
                self.ask_outside(ctx, about, Question::Pam { options, user, password, from });
            }
            Judge::Ldap(options) => {
                let kept = options.backend_use_password.then(|| sent(true, false));
                let about = About::Password { method: "LDAP", kept };
                self.ask_outside(ctx, about, Question::Ldap { options, user, password });
            }
        }
    }

    /// The client is who it says, and hears so.
    fn accept(&mut self, ctx: &mut Ctx<'_>) {
        let mut out = Vec::new();
        backend::put_auth_ok(&mut out);
        ctx.wire.send(self.client, &out);
        self.stage = Stage::Waiting { proven: true };
        self.need_backend(ctx);
    }

    /// The first backend is there, on the connection in this slot, and its method decides about the client.
    pub(super) fn on_backend_asked(&mut self, ctx: &mut Ctx<'_>, slot: u32, asked: AsKind) {
        if self.sent_password.is_none() {
            return match asked != AsKind::Trust && self.may_ask_for_password(ctx) {
                true => self.demand_password(ctx),
                false => self.demand_proof(ctx, AuthMethod::from(asked), Judge::Own),
            };
        }
        if asked == AsKind::Trust {
            // Nobody has looked at the password.
            return self
                .reject(ctx, "pool_passwd does not have the user, and the backend asks for no password");
        }
        let mut out = Vec::new();
        backend::put_auth_ok(&mut out);
        ctx.wire.send(self.client, &out);
        self.stage = Stage::Waiting { proven: true };
        self.on_first_backend(ctx, slot);
    }

    /// Whether a client of whom we know no password may be asked for it in clear (`allow_clear_text_frontend_auth`).
    pub(super) fn may_ask_for_password(&self, ctx: &Ctx<'_>) -> bool {
        let shared = &ctx.shared;
        let is_unknown = shared.passwords.get(&self.key.user).is_none();
        let waits = matches!(self.stage, Stage::Waiting { proven: false }) && self.sent_password.is_none();
        waits && is_unknown && shared.hba.is_none() && shared.config.allow_clear_text_frontend_auth
    }

    pub(super) fn demand_password(&mut self, ctx: &mut Ctx<'_>) {
        // What is there may have been opened with another password.
        for link in std::mem::take(&mut self.links) {
            ctx.pool.give_back(ctx.wire, link.backend, !link.opening, ctx.shared.now);
        }
        self.demand_proof(ctx, AuthMethod::Clear, Judge::Own);
    }

    pub(super) fn reject(&mut self, ctx: &mut Ctx<'_>, why: &str) {
        ctx.shared.users.doubt(&self.key.user, ctx.shared.now);
        let text = format!("password authentication failed for user \"{}\"", self.key.user);
        self.refuse_proof(ctx, "28P01", &text, why);
    }

    /// The server does not open for this password, which nobody else could check. What it says of the user is not for
    /// one who has proved nothing.
    pub(super) fn is_denied_by_backend(&self, failure: &Failure) -> bool {
        let is_unproven = self.sent_password.as_ref().is_some_and(|sent| sent.is_unproven);
        is_unproven
            && matches!(self.stage, Stage::Waiting { proven: false })
            && failure.trouble == Trouble::Denied
    }

    /// The client did not prove itself; why stands in the log only.
    fn refuse_proof(&mut self, ctx: &mut Ctx<'_>, code: &str, text: &str, why: &str) {
        crate::log::Line::new(crate::log::Level::Log, text).detail(why).emit();
        self.fatal_later(ctx, code, text);
    }

    /// pool_hba.conf has no place for this client.
    fn turn_away(&mut self, ctx: &mut Ctx<'_>, what: &str) {
        let (host, key) = (self.peer.host(), &self.key);
        let tls = if self.tls.is_on() { "on" } else { "off" };
        let (user, database) = (&key.user, &key.database);
        let why = format!("{what} for host \"{host}\", user \"{user}\", database \"{database}\", SSL {tls}");
        let hint = "see pgpool log for details";
        self.fatal_with(ctx, "28000", "client authentication failed", Some(&why), Some(hint));
    }
}

/// Without them no rule with `samehost` or `samenet` fits.
fn interfaces() -> Vec<Interface> {
    let found = crate::sys::interfaces::all().unwrap_or_else(|e| {
        crate::say!(Warning, "the addresses of this host are not known: {}", e);
        Vec::new()
    });
    found.into_iter().map(|(address, mask)| Interface { address, mask }).collect()
}
