//! What a client may ask: a letter and a short body.
#![forbid(unsafe_code)]

use super::refusal::Refusal;
use crate::admin::StopMode;

/// A request that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `M`: a salt to log in with.
    Salt,
    /// `R`: who it is, and what it makes of the password and the salt.
    Login { user: Vec<u8>, said: Vec<u8> },
    /// `A`: change a parameter of this connection.
    SetParameter { name: String, value: String },
    /// `B`: all parameters.
    PoolStatus,
    /// `C`.
    Attach { node: i64 },
    /// `D`, gracefully `d`.
    Detach { node: i64, gracefully: bool },
    /// `F`: end online recovery. Nothing ever comes of it, not even an answer.
    StopRecovery,
    /// `G`.
    InvalidateCache,
    /// `H`: what the health check of a node has counted.
    HealthStats { node: i64 },
    /// `I`: about a node, or all.
    NodeInfo { node: Option<i64> },
    /// `J`, gracefully `j`.
    Promote { node: i64, switchover: bool, gracefully: bool },
    /// `L`.
    NodeCount,
    /// `N`: the processes that serve clients.
    ProcessCount,
    /// `O`: online recovery.
    Recover { node: i64 },
    /// `P`: the connections of a process, or of all.
    ProcessInfo { pid: Option<i64> },
    /// `T`, of all members of the watchdog `t`.
    Stop { mode: StopMode },
    /// `V`.
    RotateLog,
    /// `W`: about a member of the watchdog, or all.
    WatchdogInfo,
    /// `Z`.
    Reload,
    /// `X`: goodbye.
    Disconnect,
}

impl Request {
    /// Reads a packet.
    ///
    /// # Errors
    /// What is said to the client in pgpool-II's words.
    pub(super) fn parse(kind: u8, body: &[u8]) -> Result<Request, Refusal> {
        let node = || number(body).ok_or_else(|| Refusal::not_a_number("node ID", body));
        Ok(match kind {
            b'M' => Request::Salt,
            b'R' => login(body)?,
            b'A' => set_parameter(body)?,
            b'B' => Request::PoolStatus,
            b'C' => Request::Attach { node: node()? },
            b'D' | b'd' => Request::Detach { node: node()?, gracefully: kind == b'd' },
            b'F' => Request::StopRecovery,
            b'G' => Request::InvalidateCache,
            b'H' => Request::HealthStats { node: node()? },
            b'I' => Request::NodeInfo { node: Some(node()?).filter(|node| *node != -1) },
            b'J' | b'j' => promote(body, kind == b'j')?,
            b'L' => Request::NodeCount,
            b'N' => Request::ProcessCount,
            b'O' => Request::Recover { node: node()? },
            b'P' => {
                let pid = number(body).ok_or_else(|| Refusal::not_a_number("process ID", body))?;
                Request::ProcessInfo { pid: Some(pid).filter(|pid| *pid != 0) }
            }
            b'T' | b't' => stop(body)?,
            // What follows is the scope, which makes no difference without a watchdog.
            b'V' => Request::RotateLog,
            b'W' => Request::WatchdogInfo,
            b'Z' => Request::Reload,
            b'X' => Request::Disconnect,
            _ => {
                let detail = format!("unknown PCP packet type \"{}\"", char::from(kind).escape_default());
                return Err(Refusal::fatal("PCP processing request", detail));
            }
        })
    }
}

/// The first string of a body, and what follows. The last one may lack its NUL.
fn string(body: &[u8]) -> (&[u8], &[u8]) {
    match body.iter().position(|byte| *byte == 0) {
        Some(end) => {
            let (text, rest) = body.split_at(end);
            (text, rest.get(1..).unwrap_or_default())
        }
        None => (body, &[]),
    }
}

fn number(body: &[u8]) -> Option<i64> {
    std::str::from_utf8(string(body).0).ok()?.parse().ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn login(body: &[u8]) -> Result<Request, Refusal> {
    let (user, rest) = string(body);
    if user.is_empty() || rest.is_empty() {
        return Err(Refusal::fatal(
            "failed to authenticate PCP user",
            "error while reading authentication packet",
        ));
    }
    Ok(Request::Login { user: user.to_vec(), said: string(rest).0.to_vec() })
}

fn set_parameter(body: &[u8]) -> Result<Request, Refusal> {
    let (name, rest) = string(body);
    if name.is_empty() || rest.is_empty() {
        let message = "set configuration parameter failed";
        return Err(Refusal::error(message, "invalid pcp packet received from client"));
    }
    Ok(Request::SetParameter { name: text(name), value: text(string(rest).0) })
}

/// `"ID "`, NUL, and `n` or `s`; before version 4.3 the number alone.
fn promote(body: &[u8], gracefully: bool) -> Result<Request, Refusal> {
    let (id, rest) = string(body);
    let node =
        number(id.strip_suffix(b" ").unwrap_or(id)).ok_or_else(|| Refusal::not_a_number("node ID", id))?;
    Ok(Request::Promote { node, switchover: rest.first() == Some(&b's'), gracefully })
}

fn stop(body: &[u8]) -> Result<Request, Refusal> {
    let mode = body.first().map(|byte| char::from(*byte));
    let known = mode.and_then(|letter| StopMode::parse(letter.encode_utf8(&mut [0; 4])));
    known.map(|mode| Request::Stop { mode }).ok_or_else(|| {
        let letter = mode.map(|letter| letter.escape_default().to_string()).unwrap_or_default();
        let detail = format!("invalid shutdown mode \"{letter}\"");
        Refusal::error("PCP: error while processing shutdown request", detail)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_of_all_clients_are_understood() {
        let detach = |gracefully| Request::Detach { node: 1, gracefully };
        let promote = |switchover, gracefully| Request::Promote { node: 1, switchover, gracefully };
        for (kind, body, expected) in [
            (b'M', &b""[..], Request::Salt),
            (b'R', b"ann\0abc\0", Request::Login { user: b"ann".to_vec(), said: b"abc".to_vec() }),
            (
                b'A',
                b"client_min_messages\0debug1\0",
                Request::SetParameter { name: "client_min_messages".into(), value: "debug1".into() },
            ),
            (b'B', b"", Request::PoolStatus),
            (b'C', b"1\0", Request::Attach { node: 1 }),
            (b'C', b"1", Request::Attach { node: 1 }),
            (b'C', b"-7\0", Request::Attach { node: -7 }),
            (b'D', b"1\0", detach(false)),
            (b'd', b"1\0", detach(true)),
            (b'F', b"", Request::StopRecovery),
            (b'G', b"", Request::InvalidateCache),
            (b'H', b"0\0", Request::HealthStats { node: 0 }),
            (b'I', b"3\0", Request::NodeInfo { node: Some(3) }),
            (b'I', b"-1\0", Request::NodeInfo { node: None }),
            (b'J', b"1 \0n", promote(false, false)),
            (b'J', b"1 \0s", promote(true, false)),
            (b'j', b"1 \0s", promote(true, true)),
            (b'J', b"1\0", promote(false, false)),
            (b'L', b"", Request::NodeCount),
            (b'N', b"", Request::ProcessCount),
            (b'O', b"2\0", Request::Recover { node: 2 }),
            (b'P', b"0\0", Request::ProcessInfo { pid: None }),
            (b'P', b"77\0", Request::ProcessInfo { pid: Some(77) }),
            (b'T', b"s", Request::Stop { mode: StopMode::Smart }),
            (b't', b"f", Request::Stop { mode: StopMode::Fast }),
            (b'T', b"i", Request::Stop { mode: StopMode::Immediate }),
            (b'V', b"l", Request::RotateLog),
            (b'W', b"-1\0", Request::WatchdogInfo),
            (b'Z', b"c", Request::Reload),
            (b'X', b"", Request::Disconnect),
        ] {
            assert_eq!(Request::parse(kind, body).as_ref(), Ok(&expected), "{kind} {body:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_in_pgpool_s_words() {
        for (kind, body, text) in [
            (b'q', &b""[..], "FATAL: PCP processing request (unknown PCP packet type \"q\")"),
            (b'\n', b"", "FATAL: PCP processing request (unknown PCP packet type \"\\n\")"),
            (
                b'R',
                b"ann",
                "FATAL: failed to authenticate PCP user (error while reading authentication packet)",
            ),
            (
                b'R',
                b"\0\0",
                "FATAL: failed to authenticate PCP user (error while reading authentication packet)",
            ),
            (
                b'A',
                b"x",
                "ERROR: set configuration parameter failed (invalid pcp packet received from client)",
            ),
            (b'T', b"x", "ERROR: PCP: error while processing shutdown request (invalid shutdown mode \"x\")"),
            (b't', b"", "ERROR: PCP: error while processing shutdown request (invalid shutdown mode \"\")"),
            (b'C', b"", "ERROR: invalid PCP request (\"\" is not a node ID)"),
            (b'I', b"one\0", "ERROR: invalid PCP request (\"one\" is not a node ID)"),
            (b'J', b" \0s", "ERROR: invalid PCP request (\" \" is not a node ID)"),
            (b'P', b"1x\0", "ERROR: invalid PCP request (\"1x\" is not a process ID)"),
        ] {
            assert_eq!(Request::parse(kind, body).unwrap_err().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(kind: u8, body in proptest::collection::vec(any::<u8>(), 0..256)) {
            // A refusal repeats what was sent, and no more than fits in a packet.
            if let Err(refusal) = Request::parse(kind, &body) {
                prop_assert!(refusal.to_string().len() < 2048);
            }
        }

        #[test]
        fn numbers_come_through(node in -1000_i64..1000) {
            let body = format!("{node}\0");
            prop_assert_eq!(Request::parse(b'C', body.as_bytes()), Ok(Request::Attach { node }));
        }
    }
}
