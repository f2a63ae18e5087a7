//! Heads that cannot be read are refused by hyper itself, before anybody here is asked, and without a word. Here such an
//! answer gets the body that all refusals have.
#![forbid(unsafe_code)]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{LONGEST_HEAD, MOST_FIELDS};
use super::reply;
use crate::face::rest::Refusal;

/// What hyper's own answers have and ours have not: ours name the type of their body.
const NO_BODY: &str = "content-length: 0\r\n";

/// A socket on which no refusal is without words.
pub(super) struct Wordless<S> {
    socket: S,
    /// What is written in place of hyper's answer, and how much of it is.
    instead: Option<(Vec<u8>, usize)>,
}

impl<S> Wordless<S> {
    pub(super) fn new(socket: S) -> Wordless<S> {
        Wordless { socket, instead: None }
    }
}

/// The answer with a body, if these bytes are one of hyper's refusals.
fn worded(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let status: u16 = text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let head = text.strip_suffix("\r\n").filter(|head| head.ends_with("\r\n"))?;
    if !(400..500).contains(&status) || head.contains("\r\n\r\n") || !head.contains(NO_BODY) {
        return None;
    }
    let message = match status {
        431 => format!("the head is longer than {LONGEST_HEAD} bytes, or has more than {MOST_FIELDS} fields"),
        414 => "the path is too long".to_owned(),
        _ => "this is no request of HTTP/1.1".to_owned(),
    };
    let body = reply::refusal_body(&Refusal::new(status, message));
    let fields: String =
        reply::fields(reply::JSON, "no-store").map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let length = format!("content-length: {}\r\n", body.len());
    let head = head.replacen(NO_BODY, &format!("{fields}{length}"), 1);
    Some([head.as_bytes(), b"\r\n", &body].concat())
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wordless<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Wordless { socket, instead } = self.get_mut();
        if instead.is_none() {
            *instead = worded(bytes).map(|text| (text, 0));
        }
        let Some((text, wrote)) = instead else { return Pin::new(socket).poll_write(cx, bytes) };
        while let Some(rest) = text.get(*wrote..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => *wrote += more,
            }
        }
        *instead = None;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wordless<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const BARE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\
                        date: Sat, 28 Nov 2026 02:02:25 GMT\r\n\r\n";

    #[test]
    fn only_a_refusal_without_a_body_gets_one() {
        let text = String::from_utf8(worded(BARE.as_bytes()).unwrap()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"),
            "{head}"
        );
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert!(head.contains("content-type: application/json\r\n") && head.contains("\r\ndate: "), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["status"], &body["error"]), (&431.into(), &"Head too large".into()));
        for other in [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 4",
            "x",
            "",
        ] {
            assert_eq!(worded(other.as_bytes()), None, "{other}");
        }
        assert_eq!(worded(&[0xff; 9]), None);
    }

    #[test]
    fn a_socket_that_takes_little_at_a_time_gets_the_whole() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(7);
            let mut socket = Wordless::new(ours);
            let write = async {
                socket.write_all(BARE.as_bytes()).await.unwrap();
                socket.write_all(b"more").await.unwrap();
                drop(socket);
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(write, theirs.read_to_end(&mut got));
            read.unwrap();
            assert_eq!(got, [&worded(BARE.as_bytes()).unwrap()[..], b"more"].concat());
        });
    }
}
