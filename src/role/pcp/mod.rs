//! The PCP process: one event loop for all clients of the PCP port, where pgpool-II has a process for each.
//!
//! A thin shell: what clients say is understood in `face::pcp`, what they want is reported or judged by `admin` and
//! done by the supervisor. Nothing in it waits: who is slow, silent or waits for a command holds nobody up.
#![forbid(unsafe_code)]

mod client;
mod serve;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use super::FAILED;
use super::commands::Commands;
use super::recovering::Recovering;
use super::users_file::UsersFile;
use crate::auth::pcp_conf::{self, PcpConf};
use crate::face::pcp::Refusal;
use crate::net::{ConnId, Event, Method, Net, Owner, Peer, Socket, Wire};
use crate::shm::RecoveryBy;
use crate::supervisor::{ChildContext, Incoming};
use crate::sys::process;
use crate::sys::signals::{Signal, Signals};
use client::{Client, least_missed};
use serve::Asker;

/// Numbers of the descriptors that are watched besides sockets.
const SIGNALS: usize = 0;
const SUPERVISOR: usize = 1;
const HELPERS: usize = 2;

/// Connections at the same time. Real tools stay for milliseconds.
const MOST_CLIENTS: usize = 256;

/// How often time limits are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How long no client is taken after descriptors or memory have run out.
const BREATH: Duration = Duration::from_secs(1);

/// How long answers that are under way keep the process from ending, when it has to end at once.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves PCP clients until it is told to end or the supervisor is gone.
pub fn run(context: ChildContext) -> ! {
    let code = match Server::new(context).and_then(|mut server| server.run()) {
        Ok(()) => 0,
        Err(error) => {
            crate::say!(Error, "PCP process: {error}");
            FAILED
        }
    };
    process::exit_now(code)
}

struct Server {
    net: Net,
    signals: Signals,
    context: ChildContext,
    users: UsersFile<PcpConf>,
    clients: Vec<Option<Client>>,
    commands: Commands<Asker>,
    recovering: Recovering<Asker>,
    last_tick: Instant,
    /// No clients are taken until then.
    full_until: Option<Instant>,
    /// Connections that had to leave for others since the log was told.
    displaced: u64,
    /// The end: at the latest at this moment, if one is set.
    stopping: Option<Option<Instant>>,
}

impl Server {
    fn new(mut context: ChildContext) -> io::Result<Server> {
        let signals = Signals::new()?;
        let listeners = std::mem::take(&mut context.listeners).into_iter().map(Into::into).collect();
        let mut net = Net::new(Method::Epoll, 0, listeners, |_| ())?;
        net.watch(signals.as_raw_fd(), SIGNALS)?;
        net.watch(context.supervisor.as_raw_fd(), SUPERVISOR)?;
        let recovering = Recovering::new(RecoveryBy::Pcp)?;
        net.watch(recovering.as_fd().as_raw_fd(), HELPERS)?;
        let mut users = UsersFile::new(context.files.pcp.clone(), pcp_conf::load);
        users.reload();
        let commands = Commands::new(&context.config);
        crate::say!(Log, "PCP process: {} started", process::own_id());
        Ok(Server {
            net,
            signals,
            context,
            users,
            clients: Vec::new(),
            commands,
            recovering,
            last_tick: Instant::now(),
            full_until: None,
            displaced: 0,
            stopping: None,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        while !self.has_ended(Instant::now()) {
            let takes = self.full_until.is_none() && self.stopping.is_none();
            self.net.listen(takes)?;
            self.net.wait(self.timeout())?;
            let now = Instant::now();
            if now.saturating_duration_since(self.last_tick) >= TICK {
                self.last_tick = now;
                self.tick(now);
                self.net.flush();
            }
            while let Some(event) = self.net.next_event() {
                if !self.handle(event, now) {
                    return Ok(());
                }
                self.net.flush();
            }
        }
        self.net.finish();
        Ok(())
    }

    /// Nothing is looked at while nobody is there.
    fn timeout(&self) -> Option<Duration> {
        let quiet = self.clients.iter().all(Option::is_none)
            && !self.net.is_closing()
            && !self.commands.any_waits()
            && self.full_until.is_none()
            && self.stopping.is_none()
            && self.displaced == 0;
        let wait = if self.stopping.is_some() { LAST_WORDS / 20 } else { TICK };
        (!quiet).then_some(wait)
    }

    /// False: the supervisor is gone.
    fn handle(&mut self, event: Event, now: Instant) -> bool {
        match event {
            Event::Incoming(listener) => self.incoming(listener, now),
            Event::Watched(SIGNALS) => {
                while let Some(signal) = self.signals.read() {
                    self.on_signal(signal, now);
                }
            }
            Event::Watched(SUPERVISOR) => {
                while let Some(incoming) = self.context.supervisor.recv() {
                    match incoming {
                        Incoming::Answer(answer) => self.answered(answer, now),
                        Incoming::Order(_) => {}
                        Incoming::Gone => return false,
                    }
                }
            }
            Event::Watched(HELPERS) => self.hear_recovery(now),
            Event::Received(id, Owner::Client(slot), chunk) => {
                if let Some(client) = self.client(slot, id) {
                    client.talk.push(chunk.bytes());
                    self.serve(slot, id, now);
                }
                self.net.give_back(chunk);
            }
            Event::Received(_, _, chunk) => self.net.give_back(chunk),
            Event::Drained(id, Owner::Client(slot)) => {
                self.net.resume(id);
                self.serve(slot, id, now);
            }
            Event::Closed(id, Owner::Client(slot), reason) => {
                if self.client(slot, id).is_some() {
                    self.ends(slot, &reason);
                }
            }
            Event::Watched(_)
            | Event::Secured(..)
            | Event::Drained(..)
            | Event::Closed(..)
            | Event::Connected(..) => {}
        }
        true
    }

    fn incoming(&mut self, listener: usize, now: Instant) {
        loop {
            match self.net.accept(listener) {
                Ok(Some((socket, peer))) => self.welcome(socket, peer, now),
                Ok(None) => return,
                Err(error) => {
                    crate::say!(Warning, "cannot take a PCP client: {}", error);
                    self.full_until = Some(now + BREATH);
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, socket: Socket, peer: Peer, now: Instant) {
        let Some(slot) = self.room() else { return };
        match self.net.add(socket, Owner::Client(slot)) {
            Ok(conn) => {
                let client = Client::new(conn, peer, now);
                if self.context.config.log_pcp_processes {
                    crate::say!(Log, "PCP connection from {} begins", client.from());
                }
                if let Some(place) = self.clients.get_mut(slot as usize) {
                    *place = Some(client);
                }
            }
            Err(error) => crate::say!(Warning, "cannot watch a PCP client's socket: {}", error),
        }
    }

    /// A free place. `None`: everybody who is there has a command under way.
    fn room(&mut self) -> Option<u32> {
        if let Some(free) = self.clients.iter().position(Option::is_none) {
            return u32::try_from(free).ok();
        }
        if self.clients.len() < MOST_CLIENTS {
            self.clients.push(None);
            return u32::try_from(self.clients.len() - 1).ok();
        }
        self.displaced += 1;
        let there = (0_u32..).zip(&self.clients).filter_map(|(slot, client)| Some((slot, client.as_ref()?)));
        let slot = least_missed(there)?;
        self.dismiss(slot, &Refusal::crowded());
        Some(slot)
    }

    fn on_signal(&mut self, signal: Signal, now: Instant) {
        match signal {
            Signal::Terminate => self.stop(None),
            Signal::Interrupt | Signal::Quit => self.stop(Some(now + LAST_WORDS)),
            Signal::Hangup => {
                self.context.reload();
                self.commands.reload(&self.context.config);
                self.users.reload();
            }
            Signal::User1 | Signal::User2 | Signal::Child => {}
        }
    }

    /// Takes nobody any more; who waits for a command still hears of it.
    fn stop(&mut self, by: Option<Instant>) {
        self.net.stop_listening();
        self.stopping = Some(by.or(self.stopping.flatten()));
        for slot in 0..self.clients.len() {
            let idle = self.clients.get_mut(slot).and_then(|place| place.take_if(|client| !client.is_busy));
            if let Some(client) = idle {
                self.net.close_when_sent(client.conn);
            }
        }
    }

    fn has_ended(&self, now: Instant) -> bool {
        let Some(by) = self.stopping else { return false };
        // A recovery whose client has gone goes on as well.
        let last_words = self.clients.iter().any(Option::is_some)
            || self.net.is_closing()
            || self.recovering.is_under_way();
        !last_words || by.is_some_and(|by| by <= now)
    }

    fn tick(&mut self, now: Instant) {
        self.net.tick(now);
        self.full_until = self.full_until.filter(|until| *until > now);
        for (asker, error) in self.commands.given_up(now) {
            self.finished(asker, Err(error), now);
        }
        if std::mem::take(&mut self.displaced) > 0 {
            crate::say!(Warning, "PCP connections were closed: there are more than {} at once", MOST_CLIENTS);
        }
        let limit = u64::try_from(self.context.config.authentication_timeout).ok().filter(|limit| *limit > 0);
        let limit = limit.map(Duration::from_secs);
        for slot in 0..self.clients.len() {
            let Some(Some(client)) = self.clients.get_mut(slot) else { continue };
            let stalled = client.is_stalled(self.net.queued(client.conn), now);
            let (late, conn) = (client.is_late(now, limit), client.conn);
            let slot = slot as u32;
            if stalled {
                self.net.close(conn);
                self.ends(slot, "the client reads nothing");
            } else if late {
                self.dismiss(slot, &Refusal::late());
            }
        }
    }

    /// The client in a place, if it is still the one with this connection.
    fn client(&mut self, slot: u32, id: ConnId) -> Option<&mut Client> {
        self.clients.get_mut(slot as usize)?.as_mut().filter(|client| client.conn == id)
    }

    /// Sends a client away.
    fn dismiss(&mut self, slot: u32, refusal: &Refusal) {
        let Some(Some(client)) = self.clients.get(slot as usize) else { return };
        let conn = client.conn;
        let mut out = Vec::new();
        refusal.put(&mut out);
        self.net.send(conn, &out);
        self.net.close_when_sent(conn);
        self.ends(slot, refusal.detail.as_deref().unwrap_or(&refusal.message));
    }

    /// The place is free; the connection is closed, or about to be.
    fn ends(&mut self, slot: u32, why: &str) {
        let Some(client) = self.clients.get_mut(slot as usize).and_then(Option::take) else { return };
        if self.context.config.log_pcp_processes {
            crate::say!(Log, "PCP connection from {} ends: {}", client.from(), why);
        }
    }
}
