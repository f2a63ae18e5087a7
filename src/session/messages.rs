//! The protocol in the log: messages of the client (`log_client_messages`) and of the nodes (`log_backend_messages`).
//! Called only where the parameter is on. Names and forms are pgpool-II's.
#![forbid(unsafe_code)]

use super::Session;
use super::client::{MAX_TEXT, TOO_LONG};
use crate::config::LogBackendMessages;
use crate::error::NodeId;
use crate::log::{Level, Line};
use crate::wire::frame::Header;
use crate::wire::frontend::{self, Target};

/// What the session remembers so that it logs each message once.
#[derive(Default)]
pub(super) struct Noted {
    /// The frame at the head of the input was logged; it is looked at again when it has to wait.
    client: bool,
    /// CopyData messages since the COPY began: logged as a number at its end.
    copied: u64,
    /// With `terse`: the last message of a node, and how often it has come again.
    last: Option<(NodeId, u8)>,
    repeated: u64,
}

impl Session {
    /// The frame at the head of the input, as soon as what is logged of it is there.
    pub(super) fn note_client_message(&mut self, header: Header, rest: &[u8]) {
        if self.noted.client {
            return;
        }
        let here = rest.get(..header.length.min(rest.len())).unwrap_or_default();
        let body = here.get(5..).unwrap_or_default();
        let is_whole = here.len() == header.length;
        let found = match header.kind {
            // It is passed on as it comes and never here whole.
            b'Q' if header.length > MAX_TEXT => Some(("Query", Some(format!("query: \"{TOO_LONG}\"")))),
            b'P' if header.length > MAX_TEXT => Some(("Parse", Some(format!("query: \"{TOO_LONG}\"")))),
            kind => describe(kind, body, is_whole),
        };
        let Some((name, detail)) = found else {
            // More must come, or it is no message that the protocol knows.
            self.noted.client = is_whole;
            return;
        };
        self.noted.client = true;
        match header.kind {
            b'd' => {
                self.noted.copied += 1;
                return;
            }
            b'c' | b'f' if self.noted.copied > 0 => {
                let count = std::mem::take(&mut self.noted.copied);
                say("CopyData", Some(format!("count: {count}")));
            }
            _ => {}
        }
        say(name, detail);
    }

    /// The frame was served: the next one is new.
    pub(super) fn client_message_served(&mut self) {
        self.noted.client = false;
    }

    /// A message of a node.
    pub(super) fn note_backend_message(&mut self, mode: LogBackendMessages, node: NodeId, kind: u8) {
        if mode == LogBackendMessages::Verbose {
            return crate::say!(Log, "{} message from backend {}", backend_name(kind), node);
        }
        if self.noted.last == Some((node, kind)) {
            self.noted.repeated += 1;
            return;
        }
        self.end_repetition();
        self.noted.last = Some((node, kind));
        crate::say!(Log, "{} message from backend {}", backend_name(kind), node);
    }

    /// Says how often the last message of a node has come again.
    pub(super) fn end_repetition(&mut self) {
        let repeated = std::mem::take(&mut self.noted.repeated);
        if let Some((node, kind)) = self.noted.last.take().filter(|_| repeated > 0) {
            let name = backend_name(kind);
            crate::say!(Log, "last {} message from backend {} repeated {} times", name, node, repeated);
        }
    }
}

/// A client asks to cancel, on a connection that is no session.
pub(super) fn note_cancel(pid: i32) {
    say("Cancel", Some(format!("process id: {pid}")));
}

fn say(name: &str, detail: Option<String>) {
    let line = Line::new(Level::Log, format!("{name} message from frontend."));
    match detail {
        Some(detail) => line.detail(detail).emit(),
        None => line.emit(),
    }
}

/// Name and DETAIL of a message, once enough of it is there.
fn describe(kind: u8, body: &[u8], is_whole: bool) -> Option<(&'static str, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let target = |target: Target<'_>| {
        let what = if target.kind == b'S' { "statement" } else { "portal" };
        format!("{what}: \"{}\"", text(target.name))
    };
    Some(match kind {
        b'Q' if is_whole => ("Query", Some(format!("query: \"{}\"", text(frontend::query(body).ok()?)))),
        b'P' if is_whole => {
            let parse = frontend::parse(body).ok()?;
            let (name, query) = (text(parse.name), text(parse.text));
            ("Parse", Some(format!("statement: \"{name}\", query: \"{query}\"")))
        }
        b'B' => {
            let head = frontend::bind_head(body).ok()??;
            let (portal, statement) = (text(head.portal), text(head.statement));
            ("Bind", Some(format!("portal: \"{portal}\", statement: \"{statement}\"")))
        }
        b'D' if is_whole => ("Describe", Some(target(frontend::describe(body).ok()?))),
        b'C' if is_whole => ("Close", Some(target(frontend::close(body).ok()?))),
        b'E' if is_whole => {
            let execute = frontend::execute(body).ok()?;
            ("Execute", Some(format!("portal: \"{}\"", text(execute.portal))))
        }
        b'F' => {
            let oid = u32::from_be_bytes(*body.first_chunk()?);
            ("FunctionCall", Some(format!("oid: \"{oid}\"")))
        }
        b'S' => ("Sync", None),
        b'H' => ("Flush", None),
        b'X' => ("Terminate", None),
        b'd' => ("CopyData", None),
        b'c' => ("CopyDone", None),
        b'f' => ("CopyFail", None),
        _ => return None,
    })
}

fn backend_name(kind: u8) -> &'static str {
    match kind {
        b'1' => "ParseComplete",
        b'2' => "BindComplete",
        b'3' => "CloseComplete",
        b'A' => "NotificationResponse",
        b'C' => "CommandComplete",
        b'D' => "DataRow",
        b'E' => "ErrorResponse",
        b'G' => "CopyInResponse",
        b'H' => "CopyOutResponse",
        b'I' => "EmptyQueryResponse",
        b'K' => "BackendKeyData",
        b'N' => "NoticeResponse",
        b'R' => "AuthenticationRequest",
        b'S' => "ParameterStatus",
        b'T' => "RowDescription",
        b'V' => "FunctionCallResponse",
        b'W' => "CopyBothResponse",
        b'Z' => "ReadyForQuery",
        b'n' => "NoData",
        b's' => "PortalSuspended",
        b't' => "ParameterDescription",
        b'v' => "NegotiateProtocolVersion",
        b'c' => "CopyDone",
        b'd' => "CopyData",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_its_name_and_what_it_names() {
        let cases: [(u8, &[u8], &str, Option<&str>); 12] = [
            (b'Q', b"SELECT 1\0", "Query", Some("query: \"SELECT 1\"")),
            (b'P', b"s\0SELECT 1\0\0\0", "Parse", Some("statement: \"s\", query: \"SELECT 1\"")),
            (b'B', b"p\0s\0\0\0\0\0\0\0", "Bind", Some("portal: \"p\", statement: \"s\"")),
            (b'D', b"Ss\0", "Describe", Some("statement: \"s\"")),
            (b'C', b"Pp\0", "Close", Some("portal: \"p\"")),
            (b'E', b"p\0\0\0\0\0", "Execute", Some("portal: \"p\"")),
            (b'F', &[0, 0, 5, 117, 9], "FunctionCall", Some("oid: \"1397\"")),
            (b'S', b"", "Sync", None),
            (b'H', b"", "Flush", None),
            (b'X', b"", "Terminate", None),
            (b'c', b"", "CopyDone", None),
            (b'f', b"no\0", "CopyFail", None),
        ];
        for (kind, body, name, detail) in cases {
            assert_eq!(describe(kind, body, true), Some((name, detail.map(str::to_owned))), "{name}");
        }
        for (kind, body) in
            [(b'Q', &b"SEL"[..]), (b'P', b"s\0SE"), (b'B', b"p\0s"), (b'F', b"\0"), (b'?', b"")]
        {
            assert_eq!(describe(kind, body, false), None, "{}", kind as char);
        }
    }
}
