//! The story of one connection: log in, then one request after another.
#![forbid(unsafe_code)]

use super::packet::{self, Cut};
use super::refusal::Refusal;
use super::request::Request;
use crate::auth::pcp_conf::PcpConf;
use crate::wire::write;

/// Values of the one parameter that a client may set. No message below an error is ever sent here, so that is all.
const LEVELS: [&str; 11] = [
    "debug5",
    "debug4",
    "debug3",
    "debug2",
    "debug1",
    "log",
    "commerror",
    "info",
    "notice",
    "warning",
    "error",
];

/// A client from its first byte on.
#[derive(Default)]
pub struct Conversation {
    /// Bytes that came; those up to here are done with.
    input: Vec<u8>,
    done: usize,
    /// Good for one try.
    salt: Option<[u8; 4]>,
    /// Who it is, once it has proved that.
    user: Option<String>,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until more bytes come.
    Wait,
    /// Send these.
    Say(Vec<u8>),
    /// Do this for a user who is known, and send what comes of it.
    Do(Request),
    /// Say no, and close if that is fatal.
    Refuse(Refusal),
    /// Close.
    Bye,
}

impl Conversation {
    /// Takes bytes that have come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.drain(..self.done);
        self.done = 0;
        self.input.extend_from_slice(bytes);
    }

    /// The user, if one has logged in.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Whether a request has begun and not ended.
    pub fn is_within_request(&self) -> bool {
        self.done < self.input.len()
    }

    /// The next step; call it again until it waits, after `Do` when that is done. `salt`: bytes that nobody can guess.
    pub fn next(&mut self, users: &PcpConf, salt: impl FnOnce() -> [u8; 4]) -> Next {
        let request = loop {
            match self.take() {
                None => return Next::Wait,
                Some(Err(refusal)) => return Next::Refuse(refusal),
                // Nothing is ever said to it.
                Some(Ok(Request::StopRecovery)) => {}
                Some(Ok(request)) => break request,
            }
        };
        match request {
            Request::Salt => {
                let mut out = Vec::new();
                let salt = *self.salt.insert(salt());
                write::frame(&mut out, b'm', |out| out.extend_from_slice(&salt));
                Next::Say(out)
            }
            Request::Login { user, said } => self.log_in(users, &user, &said),
            Request::SetParameter { name, value } => set_parameter(&name, &value),
            Request::Disconnect => Next::Bye,
            request => Next::Do(request),
        }
    }

    /// The next request, if all of it is there.
    fn take(&mut self) -> Option<Result<Request, Refusal>> {
        let (parsed, is_login, length) = match packet::cut(self.input.get(self.done..).unwrap_or_default()) {
            Cut::Part => return None,
            Cut::Length(length) => {
                self.forget();
                let detail = format!("incorrect packet length ({length})");
                return Some(Err(Refusal::fatal("invalid PCP packet", detail)));
            }
            Cut::Packet { kind, body, length } => {
                (Request::parse(kind, body), matches!(kind, b'M' | b'R'), length)
            }
        };
        self.done += length;
        if self.done >= self.input.len() {
            // One that waits keeps no memory.
            self.forget();
        }
        if self.user.is_none() && !is_login {
            let message = "authentication failed for new PCP connection";
            return Some(Err(Refusal::fatal(message, "connection not authorized")));
        }
        Some(parsed)
    }

    fn forget(&mut self) {
        (self.input, self.done) = (Vec::new(), 0);
    }

    fn log_in(&mut self, users: &PcpConf, user: &[u8], said: &[u8]) -> Next {
        let Some(salt) = self.salt.take() else {
            let detail = "username and/or password does not match";
            return Next::Refuse(Refusal::fatal("authentication failed", detail));
        };
        if !users.admits(user, salt, said) {
            return Next::Refuse(Refusal::not_known(user));
        }
        self.user = Some(String::from_utf8_lossy(user).into_owned());
        let mut out = Vec::new();
        packet::put(&mut out, b'r', &["AuthenticationOK"]);
        Next::Say(out)
    }
}

fn set_parameter(name: &str, value: &str) -> Next {
    const FAILED: &str = "PCP: set configuration parameter failed";
    let known = |known: &str, given: &str| known.eq_ignore_ascii_case(given);
    if !known("client_min_messages", name) {
        let detail = format!("invalid parameter \"{}\"", name.escape_debug());
        return Next::Refuse(Refusal::error(FAILED, detail));
    }
    if !LEVELS.iter().any(|level| known(level, value)) {
        let value = value.escape_debug();
        let detail = format!("invalid value \"{value}\" for parameter \"client_min_messages\"");
        return Next::Refuse(Refusal::error(FAILED, detail));
    }
    let mut out = Vec::new();
    packet::put_complete(&mut out, b'a');
    Next::Say(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::pcp_conf;

    const SALT: [u8; 4] = *b"salt";

    fn users() -> PcpConf {
        // md5 of "secret".
        PcpConf::parse(b"ann:5ebe2294ecd0e0f08eab7690d2a6ee69\n", "pcp.conf").0
    }

    fn sent(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write::frame(&mut out, kind, |out| out.extend_from_slice(body));
        out
    }

    fn login(user: &str, password: &str, salt: [u8; 4]) -> Vec<u8> {
        let said = pcp_conf::answer(user.as_bytes(), password.as_bytes(), salt);
        sent(b'R', format!("{user}\0{}\0", *said).as_bytes())
    }

    fn step(talk: &mut Conversation, bytes: &[u8]) -> Next {
        talk.push(bytes);
        talk.next(&users(), || SALT)
    }

    fn known() -> Conversation {
        let mut talk = Conversation::default();
        assert_eq!(step(&mut talk, &sent(b'M', b"")), Next::Say(b"m\0\0\0\x08salt".to_vec()));
        let welcome = b"r\0\0\0\x15AuthenticationOK\0".to_vec();
        assert_eq!(step(&mut talk, &login("ann", "secret", SALT)), Next::Say(welcome));
        assert_eq!(talk.user(), Some("ann"));
        talk
    }

    /// What is said to one who is refused; the connection ends with it or not.
    fn refused(next: Next) -> (bool, String) {
        match next {
            Next::Refuse(refusal) => (refusal.is_fatal, refusal.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_who_has_logged_in_is_served() {
        let mut talk = known();
        assert_eq!(step(&mut talk, b"L\0\0\0"), Next::Wait);
        assert!(talk.is_within_request());
        // The end of one, a second, and a third that is not whole.
        assert_eq!(step(&mut talk, b"\x04N\0\0\0\x04X\0\0"), Next::Do(Request::NodeCount));
        assert_eq!(step(&mut talk, b""), Next::Do(Request::ProcessCount));
        assert_eq!(step(&mut talk, b""), Next::Wait);
        assert_eq!(step(&mut talk, b"\0\x04"), Next::Bye);
        assert!(!talk.is_within_request());
    }

    #[test]
    fn nobody_is_served_without() {
        for kind in (0..=u8::MAX).filter(|kind| !b"MR".contains(kind)) {
            let refused = refused(step(&mut Conversation::default(), &sent(kind, b"1\0")));
            assert_eq!(refused, (true, "authentication failed for new PCP connection".to_owned()));
        }
    }

    #[test]
    fn wrong_users_and_wrong_passwords_are_told_alike() {
        for (user, password) in [("ann", "wrong"), ("bob", "secret"), ("bob", ""), ("ann", "")] {
            let mut talk = Conversation::default();
            step(&mut talk, &sent(b'M', b""));
            let Next::Refuse(refusal) = step(&mut talk, &login(user, password, SALT)) else { panic!() };
            assert_eq!(
                refusal.to_string(),
                format!(
                    "FATAL: authentication failed for user \"{user}\" (username and/or password does not match)"
                )
            );
            assert_eq!(talk.user(), None);
        }
    }

    #[test]
    fn a_salt_is_good_for_one_try() {
        let mut talk = Conversation::default();
        let first = refused(step(&mut talk, &login("ann", "secret", SALT)));
        assert_eq!(first, (true, "authentication failed".to_owned()), "without a salt");
        step(&mut talk, &sent(b'M', b""));
        assert!(refused(step(&mut talk, &login("ann", "wrong", SALT))).0);
        assert_eq!(refused(step(&mut talk, &login("ann", "secret", SALT))).1, "authentication failed");
    }

    #[test]
    fn a_parameter_can_be_set() {
        let mut talk = known();
        let set = |talk: &mut Conversation, body: &[u8]| step(talk, &sent(b'A', body));
        let done = Next::Say(b"a\0\0\0\x14CommandComplete\0".to_vec());
        assert_eq!(set(&mut talk, b"client_min_messages\0debug1\0"), done);
        let failed = (false, "PCP: set configuration parameter failed".to_owned());
        assert_eq!(refused(set(&mut talk, b"client_min_messages\0loud\0")), failed);
        assert_eq!(refused(set(&mut talk, b"port\x001\0")), failed);
        assert_eq!(step(&mut talk, &sent(b'L', b"")), Next::Do(Request::NodeCount), "it goes on");
    }

    #[test]
    fn the_end_of_recovery_is_passed_over_without_a_word() {
        let mut talk = known();
        assert_eq!(
            step(&mut talk, &[sent(b'F', b""), sent(b'L', b"")].concat()),
            Next::Do(Request::NodeCount)
        );
        assert_eq!(step(&mut talk, &sent(b'F', b"")), Next::Wait);
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_has_come() {
        let mut talk = known();
        assert_eq!(refused(step(&mut talk, b"I\0\x10\0\0")), (true, "invalid PCP packet".to_owned()));
        assert!(!talk.is_within_request());
    }

    proptest! {
        /// Whatever comes, in whatever pieces: no panic, no user, and never more kept than one packet may have.
        #[test]
        fn any_bytes_are_bounded(pieces in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..400), 0..8,
        )) {
            let mut talk = Conversation::default();
            for piece in pieces {
                talk.push(&piece);
                loop {
                    match talk.next(&users(), || SALT) {
                        Next::Wait => break,
                        Next::Refuse(refusal) if refusal.is_fatal => return Ok(()),
                        Next::Bye | Next::Do(_) => prop_assert!(false, "a stranger is served"),
                        Next::Refuse(_) | Next::Say(_) => {}
                    }
                }
                prop_assert!(talk.input.len() - talk.done < packet::TOO_LONG);
                prop_assert!(talk.user().is_none());
            }
        }

        /// Requests in any pieces are the same requests.
        #[test]
        fn pieces_make_no_difference(ids in proptest::collection::vec(-200_i64..200, 1..6), cuts: Vec<u8>) {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| sent(b'C', format!("{id}\0").as_bytes())).collect();
            let mut talk = known();
            let mut found = Vec::new();
            let mut rest = bytes.as_slice();
            let mut cuts = cuts.into_iter();
            while !rest.is_empty() {
                let length = cuts.next().map_or(rest.len(), |cut| usize::from(cut % 7) + 1).min(rest.len());
                let (piece, after) = rest.split_at(length);
                rest = after;
                talk.push(piece);
                while let Next::Do(Request::Attach { node }) = talk.next(&users(), || SALT) {
                    found.push(node);
                }
            }
            prop_assert_eq!(found, ids);
        }
    }
}
