//! Connections: taken in, bounded in time and size, and sent away.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;

use super::Server;
use super::patient::Patient;
use super::reply;
use super::seats::{Busy, Seat};
use super::wordless::Wordless;
use crate::face::rest::Peer;
use crate::supervisor::{Listener, ListenerKind};
use crate::sys::socket::set_nodelay;
use crate::tls::Acceptor;

/// How long the head of a request may take, counted from the end of the one before: also how long a connection may be
/// idle.
const HEAD_LIMIT: Duration = Duration::from_secs(15);

/// Longest head of a request, and most of its fields.
pub(super) const LONGEST_HEAD: usize = 32 * 1024;
pub(super) const MOST_FIELDS: usize = 100;

/// How long no client is taken after descriptors or memory have run out.
const BREATH: Duration = Duration::from_secs(1);

/// Where a client comes from.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) peer: Peer,
    /// For the log.
    pub(super) text: String,
}

/// Takes in clients at these sockets; each has a task of its own.
pub(super) fn open(server: &Rc<Server>, listeners: Vec<Listener>) -> io::Result<Vec<JoinHandle<()>>> {
    let mut doors = Vec::new();
    for listener in listeners {
        let server = Rc::clone(server);
        doors.push(match listener.kind {
            ListenerKind::Tcp(_) => {
                let socket = TcpListener::from_std(std::net::TcpListener::from(listener.fd))?;
                spawn_local(async move { take_tcp(&server, &socket).await })
            }
            ListenerKind::Unix(_) => {
                let socket = UnixListener::from_std(std::os::unix::net::UnixListener::from(listener.fd))?;
                spawn_local(async move { take_unix(&server, &socket).await })
            }
        });
    }
    Ok(doors)
}

async fn take_tcp(server: &Rc<Server>, listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((socket, address)) => {
                // A socket that cannot be told is only slower.
                let _ = set_nodelay(&socket);
                let ip = address.ip().to_canonical();
                let text = format!("{ip}({})", address.port());
                let acceptor = server.acceptor.borrow().clone();
                welcome(server, socket, acceptor, Origin { peer: Peer::Ip(ip), text });
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn take_unix(server: &Rc<Server>, listener: &UnixListener) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                welcome(server, socket, None, Origin { peer: Peer::Unix, text: "[local]".to_owned() })
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn pause(error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        crate::say!(Warning, "cannot take a client of the REST API: {error}");
        sleep(BREATH).await;
    }
}

fn welcome<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    server: &Rc<Server>,
    socket: S,
    acceptor: Option<Rc<Acceptor>>,
    origin: Origin,
) {
    // Where everybody is busy the newcomer is the one to go.
    let Some(seat) = server.seats.take(&server.displaced) else { return };
    let server = Rc::clone(server);
    spawn_local(async move {
        match acceptor {
            None => serve(&server, &seat, socket, origin).await,
            Some(acceptor) => {
                if let Some(socket) = secured(&acceptor, &seat, socket).await {
                    serve(&server, &seat, socket, origin).await;
                }
            }
        }
        server.seats.leave(&seat);
    });
}

/// The same connection through TLS. A client that does not get that far is nobody's business.
async fn secured<S: AsyncRead + AsyncWrite + Unpin>(
    acceptor: &Acceptor,
    seat: &Seat,
    socket: S,
) -> Option<SslStream<S>> {
    let mut stream = SslStream::new(acceptor.start().ok()?, socket).ok()?;
    tokio::select! {
        done = timeout(HEAD_LIMIT, Pin::new(&mut stream).accept()) => done.ok()?.ok()?,
        () = seat.leave.notified() => return None,
    }
    Some(stream)
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    server: &Rc<Server>,
    seat: &Rc<Seat>,
    socket: S,
    origin: Origin,
) {
    let service = service_fn(|request| {
        let (server, origin, busy) = (Rc::clone(server), origin.clone(), Busy::new(seat));
        async move {
            let answer = server.answer(request, &origin).await;
            let mut response = answer.unwrap_or_else(|refusal| reply::refused(&refusal));
            response.body_mut().keep(busy);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(LONGEST_HEAD)
        .max_headers(MOST_FIELDS)
        .serve_connection(TokioIo::new(Wordless::new(Patient::new(socket))), service);
    let mut connection = pin!(connection);
    let mut stopping = server.stopping.subscribe();
    let mut ends = false;
    loop {
        tokio::select! {
            // What goes wrong here is the client's doing, and nobody else's business.
            _ = connection.as_mut() => return,
            () = seat.leave.notified() => return,
            _ = stopping.wait_for(|stopping| *stopping), if !ends => {
                ends = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
