//! Host names to addresses without ever blocking the loop: each lookup runs in a thread of its own, and an
//! answer is kept for a while. One lookup a name at a time, so a name server that is silent costs one thread.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::{Address, Waker};

/// How long an address is used before the name is looked up again. The name service's own time to live is not
/// visible through getaddrinfo.
const KEEP: Duration = Duration::from_secs(30);

/// What is known of a name now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// These addresses, in the order to try them.
    Known(Vec<Address>),
    /// Being looked up: the waker rings when the answer is here.
    Wait,
    /// The look-up failed; the text says why.
    Failed(String),
}

type Answer = (String, Result<Vec<IpAddr>, String>);

/// The names this process has asked for.
pub struct Resolver {
    waker: Waker,
    sender: Sender<Answer>,
    receiver: Receiver<Answer>,
    known: HashMap<String, State>,
}

enum State {
    Asked,
    Answered(Instant, Result<Vec<IpAddr>, String>),
}

impl Resolver {
    /// Makes a resolver that rings `waker` for every answer.
    pub fn new(waker: Waker) -> Self {
        let (sender, receiver) = channel();
        Resolver { waker, sender, receiver, known: HashMap::new() }
    }

    /// Addresses of `host`: a name, an IP address, or a directory that holds a Unix socket.
    pub fn resolve(&mut self, host: &str, port: u16, now: Instant) -> Resolved {
        if host.starts_with('/') {
            return Resolved::Known(vec![Address::Unix(format!("{host}/.s.PGSQL.{port}").into())]);
        }
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Resolved::Known(vec![Address::Tcp(SocketAddr::new(ip, port))]);
        }
        match self.known.get(host) {
            Some(State::Asked) => Resolved::Wait,
            Some(State::Answered(at, answer)) if now.duration_since(*at) < KEEP => match answer {
                Ok(ips) => {
                    Resolved::Known(ips.iter().map(|ip| Address::Tcp(SocketAddr::new(*ip, port))).collect())
                }
                Err(text) => Resolved::Failed(text.clone()),
            },
            _ => self.ask(host),
        }
    }

    /// Takes the answers that have come in; called when the waker rang.
    pub fn collect(&mut self, now: Instant) {
        while let Ok((host, answer)) = self.receiver.try_recv() {
            self.known.insert(host, State::Answered(now, answer));
        }
    }

    fn ask(&mut self, host: &str) -> Resolved {
        let name = host.to_string();
        let look_up = move || {
            let answer = (name.as_str(), 0u16)
                .to_socket_addrs()
                .map(|found| found.map(|address| address.ip()).collect())
                .map_err(|e| e.to_string());
            (name, answer)
        };
        match self.waker.after("resolver", 256 * 1024, &self.sender, look_up) {
            Ok(()) => {
                self.known.insert(host.to_string(), State::Asked);
                Resolved::Wait
            }
            Err(e) => Resolved::Failed(format!("cannot start a thread for the look-up: {e}")),
        }
    }
}
