//! Who may: by where the client is, which name of this host it asked for, and the token that it shows.
//!
//! Without tokens (`rest_api_jwt_enabled = off`) everybody who reaches the port may look, and who is on this host may
//! change things. A browser on this host is no proof that its user wants that: so the name that it asked for must be one of
//! ours (a foreign one may have been made to point here), and the page that asks must be from here.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::head::Head;
use super::refusal::Refusal;
use super::table::Need;
use crate::auth::token::{Role, Tokens};

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// At the Unix socket, whose permissions let it in.
    Unix,
    /// At this address.
    Ip(IpAddr),
}

impl Peer {
    /// On this host.
    pub fn is_local(self) -> bool {
        match self {
            Peer::Unix => true,
            Peer::Ip(ip) => ip.to_canonical().is_loopback(),
        }
    }
}

/// What the configuration says of it.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// A token is needed for everything but what is open.
    pub asks_for_tokens: bool,
    /// Names of this host.
    pub hosts: Vec<String>,
}

/// Who a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name that it has logged in with; empty where nobody was asked.
    pub user: String,
    /// What it may do.
    pub role: Role,
}

impl Policy {
    /// Whether the request is made to this host, and from a page of this host if from any.
    ///
    /// # Errors
    /// It is not.
    pub fn check_host(&self, head: &Head<'_>, peer: Peer) -> Result<(), Refusal> {
        // What reaches the Unix socket was not made by a page.
        if peer != Peer::Unix {
            match head.host {
                Some(host) if self.is_ours(host) => {}
                Some(host) => {
                    let text = format!(
                        "\"{}\" is not a name of this server: use localhost or an address, or add the name to \
                         rest_api_allowed_hosts",
                        shortened(host)
                    );
                    return Err(Refusal::new(403, text));
                }
                None if head.is_old => {}
                None => return Err(Refusal::unreadable("there is no Host header")),
            }
        }
        if let Some(origin) = head.origin.filter(|origin| !self.is_own_page(origin, head.host)) {
            let text = format!("pages of \"{}\" may not use this server", shortened(origin));
            return Err(Refusal::new(403, text));
        }
        match head.fetch_site {
            Some("cross-site" | "same-site") => Err(Refusal::new(403, "other pages may not use this server")),
            _ => Ok(()),
        }
    }

    fn is_own_page(&self, origin: &str, host: Option<&str>) -> bool {
        let scheme = ["http://", "https://"].into_iter().find_map(|scheme| origin.strip_prefix(scheme));
        scheme.is_some_and(|of| host.is_some_and(|host| of.eq_ignore_ascii_case(host)) && self.is_ours(of))
    }

    /// Whether a host, with or without a port, is this one.
    fn is_ours(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        let is_it = |own: &String| own.eq_ignore_ascii_case(name);
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(is_it)
    }

    /// Who the client is, if it may do that.
    ///
    /// # Errors
    /// It may not: 401 if a token would help, 403 if not.
    pub fn admit(
        &self,
        need: Need,
        head: &Head<'_>,
        peer: Peer,
        tokens: &Tokens,
        now: u64,
    ) -> Result<Identity, Refusal> {
        let shown = head.authorization.map(|text| identify(text, tokens, now)).transpose()?;
        let known = shown.is_some();
        let identity = match shown {
            Some(identity) => identity,
            None if self.asks_for_tokens && need != Need::Nothing => {
                return Err(unauthorized("Valid JWT token required. Get token from POST /api/v1/auth/login"));
            }
            None => {
                let role =
                    if peer.is_local() && !self.asks_for_tokens { Role::Operator } else { Role::Viewer };
                Identity { user: String::new(), role }
            }
        };
        let allowed = match need {
            Need::Nothing | Need::Viewer => return Ok(identity),
            Need::Operator => identity.role == Role::Operator,
        };
        if !allowed && (known || self.asks_for_tokens) {
            return Err(Refusal::new(403, "this needs the role operator, the token has the role viewer"));
        }
        // Without tokens a place on this host is what makes an operator, whatever is shown besides.
        if !allowed || (!self.asks_for_tokens && !peer.is_local()) {
            let text = "changes are taken from this host only (loopback or the Unix socket); for others set \
                        rest_api_jwt_enabled = on";
            return Err(Refusal::new(403, text));
        }
        Ok(identity)
    }
}

fn identify(authorization: &str, tokens: &Tokens, now: u64) -> Result<Identity, Refusal> {
    let (scheme, token) = authorization.split_once(' ').unwrap_or((authorization, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unauthorized("Authorization must be: Bearer <token>"));
    }
    match tokens.check(token.trim(), now) {
        Ok(claims) => Ok(Identity { user: claims.sub, role: claims.role }),
        Err(error) => {
            Err(unauthorized(&format!("the token is not taken: {error}; POST /api/v1/auth/login gives one")))
        }
    }
}

fn unauthorized(text: &str) -> Refusal {
    Refusal::new(401, text)
}

/// The host of `host`, `host:port` or `[address]:port`.
fn without_port(host: &str) -> Option<&str> {
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_end = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return (is_end && address.contains(':')).then_some(address);
    }
    match host.split_once(':') {
        Some((name, port)) => is_port(port).then_some(name),
        None => Some(host),
    }
}

fn shortened(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::token::Claims;

    const NOW: u64 = 1_800_000_000;
    const LOOPBACK: Peer = Peer::Ip(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn remote() -> Peer {
        Peer::Ip("192.0.2.7".parse().unwrap())
    }

    #[test]
    fn loopback_in_all_its_forms_is_local() {
        for (ip, local) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("::", false),
            ("::ffff:10.0.0.1", false),
        ] {
            assert_eq!(Peer::Ip(ip.parse().unwrap()).is_local(), local, "{ip}");
        }
    }

    #[test]
    fn only_names_of_ours_and_pages_of_ours() {
        let policy = Policy { asks_for_tokens: false, hosts: vec!["db.example".to_owned()] };
        let check = |host: Option<&str>, origin: Option<&str>| {
            let head = Head { host, origin, ..Head::default() };
            policy.check_host(&head, LOOPBACK).map_err(|refusal| refusal.status)
        };
        for (host, expected) in [
            ("localhost", Ok(())),
            ("LOCALHOST:8080", Ok(())),
            ("127.0.0.1:8080", Ok(())),
            ("[::1]:8080", Ok(())),
            ("[::1]", Ok(())),
            ("192.0.2.1", Ok(())),
            ("db.example:80", Ok(())),
            ("evil.example", Err(403)),
            ("localhost.evil.example", Err(403)),
            ("127.0.0.1.evil.example", Err(403)),
            ("localhost:80:80", Err(403)),
            ("localhost:x", Err(403)),
            ("[localhost]", Err(403)),
            ("", Err(403)),
        ] {
            assert_eq!(check(Some(host), None), expected, "{host}");
        }
        assert_eq!(check(None, None), Err(400));
        let old = Head { is_old: true, ..Head::default() };
        assert!(policy.check_host(&old, LOOPBACK).is_ok());
        for (origin, expected) in [
            ("http://localhost:8080", Ok(())),
            ("https://LOCALHOST:8080", Ok(())),
            ("http://localhost:9090", Err(403)),
            ("http://evil.example", Err(403)),
            ("null", Err(403)),
            ("", Err(403)),
        ] {
            assert_eq!(check(Some("localhost:8080"), Some(origin)), expected, "{origin}");
        }
        assert_eq!(check(Some("evil.example"), Some("http://evil.example")), Err(403));
        let cross = Head { host: Some("localhost"), fetch_site: Some("cross-site"), ..Head::default() };
        assert_eq!(policy.check_host(&cross, LOOPBACK).unwrap_err().status, 403);
        let unix = Head { host: Some("anything"), ..Head::default() };
        assert!(policy.check_host(&unix, Peer::Unix).is_ok());
    }

    #[test]
    fn who_may_what() {
        use Need::{Nothing, Operator as Change, Viewer as Look};
        let tokens = Tokens::new(b"secret");
        let token = |role, exp| {
            let claims = Claims { sub: "ann".to_owned(), role, iat: NOW, exp };
            Some(format!("Bearer {}", tokens.issue(&claims).unwrap()))
        };
        let (viewer, operator) = (token(Role::Viewer, NOW + 9), token(Role::Operator, NOW + 9));
        let (old, basic) = (token(Role::Operator, NOW), Some("Basic YTpi".to_owned()));
        for (on, need, peer, shown, expected) in [
            (false, Look, remote(), &None, Ok("")),
            (false, Change, remote(), &None, Err(403)),
            (false, Change, LOOPBACK, &None, Ok("")),
            (false, Change, Peer::Unix, &None, Ok("")),
            (false, Change, remote(), &operator, Err(403)),
            (false, Change, LOOPBACK, &viewer, Err(403)),
            (false, Change, LOOPBACK, &operator, Ok("ann")),
            (false, Look, LOOPBACK, &old, Err(401)),
            (false, Nothing, LOOPBACK, &old, Err(401)),
            (false, Look, LOOPBACK, &basic, Err(401)),
            (true, Look, LOOPBACK, &None, Err(401)),
            (true, Change, Peer::Unix, &None, Err(401)),
            (true, Nothing, remote(), &None, Ok("")),
            (true, Look, remote(), &viewer, Ok("ann")),
            (true, Change, remote(), &viewer, Err(403)),
            (true, Change, remote(), &operator, Ok("ann")),
            (true, Change, remote(), &old, Err(401)),
        ] {
            let policy = Policy { asks_for_tokens: on, hosts: Vec::new() };
            let head = Head { authorization: shown.as_deref(), ..Head::default() };
            let found = policy.admit(need, &head, peer, &tokens, NOW);
            let found =
                found.as_ref().map(|identity| identity.user.as_str()).map_err(|refusal| refusal.status);
            assert_eq!(found, expected, "{on} {need:?} {peer:?} {shown:?}");
        }
    }
}
