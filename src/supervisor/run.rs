//! The supervisor at work: one loop over its signals and the children's sockets; nothing in it waits elsewhere.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::child::{ChildContext, Files, Gate, Listener, TokenSeed};
use super::collector::Collector;
use super::failover::Failover;
use super::learned::Keeper;
use super::listen;
use super::nodes::Nodes;
use super::owed::{Outcome, Owed};
use super::pause::Pauses;
use super::pidfile::PidFile;
use super::request::{Answer, Incoming, Order, Received, Request, StopMode, ToSupervisor, receive, tell};
use super::script::Scripts;
use super::spare::Spare;
use super::start::Launch;
use super::stop::Stopping;
use super::tree::{Child, Slot, State, Tree, log_ending};
use super::upgrade::{Predecessor, Service, Successor};
use crate::cluster::failover::Ticket;
use crate::config::Config;
use crate::error::{NodeId, exit};
use crate::shm::{EventKind, Segment};
use crate::sys::notify::Notifier;
use crate::sys::process::{self, Ending, Reaped};
use crate::sys::signals::{Signal, Signals};
use crate::sys::{random, signals, socket, title};
use crate::tls::TicketKeys;

/// A child's requests served before the others get their turn.
const REQUESTS_A_TURN: usize = 32;

/// How long a child that has no room for its answers is left alone.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// How long the start waits to know the nodes before it says that it is done.
const KNOW_NODES: Duration = Duration::from_secs(3);

pub(super) struct Supervisor {
    pub(super) config: Config,
    pub(super) launch: Launch,
    pub(super) files: Files,
    pub(super) segment: Segment,
    pub(super) listeners: Vec<Listener>,
    pub(super) pid_file: PidFile,
    pub(super) tree: Tree,
    pub(super) stopping: Option<Stopping>,
    /// With `logging_collector = on`.
    pub(super) collector: Option<Collector>,
    pub(super) service: Service,
    pub(super) predecessor: Option<Predecessor>,
    pub(super) successor: Option<Successor>,
    /// Made by `run`; a child drops its copy.
    pub(super) signals: Option<Signals>,
    /// The number of idle workers, in dynamic mode.
    pub(super) spare: Spare,
    /// What becomes of the nodes.
    pub(super) failover: Failover,
    /// When the service manager hears the next sign of life.
    sign_of_life: Option<Instant>,
    /// Who waits for a pause to be quiet.
    pub(super) pauses: Pauses,
    /// Keeps what routing learns.
    pub(super) learned: Keeper,
    /// The primary that was known last.
    pub(super) last_primary: Option<NodeId>,
    /// A primary is lost, and the next one is not known yet.
    pub(super) is_failing_over: bool,
    /// What tokens are signed with where the configuration has no secret: the same in all children, and in those that
    /// replace them.
    pub(super) token_seed: TokenSeed,
    pub(super) ticket_keys: TicketKeys,
    pub(super) gate: Gate,
    /// Until when the start message may wait; `None` once it is out.
    starting: Option<Instant>,
}

impl Supervisor {
    pub(super) fn new(
        config: Config,
        launch: &Launch,
        files: Files,
        segment: Segment,
        listeners: Vec<Listener>,
        pid_file: PidFile,
        tree: Tree,
    ) -> Supervisor {
        Supervisor {
            failover: Failover::new(&config, launch, &segment),
            learned: Keeper::new(&config),
            config,
            launch: launch.clone(),
            files,
            segment,
            listeners,
            pid_file,
            tree,
            stopping: None,
            collector: None,
            service: Service::Held,
            predecessor: None,
            successor: None,
            signals: None,
            spare: Spare::new(Instant::now()),
            sign_of_life: launch.notifier.sign_of_life_every().map(|_| Instant::now()),
            pauses: Pauses::default(),
            last_primary: None,
            is_failing_over: false,
            token_seed: TokenSeed::random(),
            ticket_keys: TicketKeys::new(&mut random::fill),
            gate: Gate::default(),
            starting: Some(Instant::now() + KNOW_NODES),
        }
    }

    /// Runs until everything has stopped; returns the exit code.
    pub(super) fn run(mut self) -> u8 {
        self.read_learned();
        match Signals::new() {
            Ok(signals) => self.signals = Some(signals),
            Err(error) => {
                crate::say!(Fatal, "could not make a signal descriptor: {error}");
                self.clean_up();
                return exit::FATAL;
            }
        }
        loop {
            self.tend_spare(Instant::now());
            self.fork_due();
            self.announce();
            if let Some(code) = self.stopped() {
                self.save_learned();
                self.clean_up();
                let product = if crate::identity::is_pool() { "Pgpool-II" } else { "pgbalancer" };
                crate::say!(Log, "{product} system is shutdown");
                self.end_logger();
                return code;
            }
            self.give_sign_of_life();
            self.keep_learned();
            let places = self.wait();
            // First: a node that fails when the program is told to stop is no reason to begin a failover.
            while let Some(signal) = self.signals.as_ref().and_then(Signals::read) {
                self.on_signal(signal);
            }
            for place in places {
                self.serve(place);
            }
            self.tend_links();
            self.tend_failover();
            self.tend_pauses();
            self.answer_again();
        }
    }

    fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Child => self.reap(),
            Signal::Hangup => self.reload(),
            Signal::Terminate | Signal::Interrupt | Signal::Quit => self.stop_by(signal),
            // pgpool-II's children send it for what ours have a socket.
            Signal::User1 => {}
            Signal::User2 => self.upgrade(),
        }
    }

    /// Waits for signals and requests; returns the places whose child has written.
    fn wait(&self) -> Vec<usize> {
        let Some(signals) = &self.signals else { return Vec::new() };
        let sockets = self.tree.slots.iter().enumerate().filter_map(|(place, slot)| match &slot.state {
            State::Running(Child { socket: Some(socket), .. }) => Some((place, socket)),
            _ => None,
        });
        let mut places = Vec::new();
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let others = self.links().chain(self.failover.scripts.pipes());
        fds.extend(others.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let others = fds.len();
        for (place, socket) in sockets {
            places.push(place);
            fds.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        }
        if poll(&mut fds, self.timeout()).is_err() {
            return Vec::new();
        }
        let ready = fds.iter().skip(others).map(|fd| fd.any().unwrap_or(false));
        places.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(place, _)| place).collect()
    }

    fn timeout(&self) -> PollTimeout {
        let start = self.starting.map(|_| Instant::now() + Duration::from_millis(50));
        let stop = self.stopping.as_ref().and_then(Stopping::kill_at);
        let times = [
            self.tree.next_due(),
            start,
            stop,
            self.spare_due(),
            self.successor_due(),
            self.failover.due(),
            self.pauses.due(),
            self.learned.due(),
            self.sign_of_life,
            self.stuck().next().map(|_| Instant::now() + TRY_AGAIN),
        ];
        let Some(next) = times.into_iter().flatten().min() else { return PollTimeout::NONE };
        // One more, so that the time has come when poll returns.
        let wait = next.saturating_duration_since(Instant::now()).saturating_add(Duration::from_millis(1));
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
    }

    /// Says that the start is done once the nodes are known: who waits for that line expects to be served.
    fn announce(&mut self) {
        let Some(until) = self.starting else { return };
        if self.stopping.is_none() && Instant::now() < until && !self.nodes().are_known() {
            return;
        }
        self.starting = None;
        if self.stopping.is_some() {
            return;
        }
        if let Err(error) = self.take_over() {
            crate::say!(Fatal, "could not write {}: {error}", self.pid_file.path().display());
            return self.stop(StopMode::Fast, exit::FATAL);
        }
        let (product, version) = (crate::identity::product(), crate::identity::version());
        crate::say!(Log, "{product} successfully started. version {version}");
        self.note(EventKind::Start, &version, "");
        self.nodes().log_roles();
        self.write_status_file();
        // The program that this one has taken over from tells the manager that.
        if self.predecessor.is_none() {
            self.tell_manager(Notifier::ready);
        }
    }

    pub(super) fn tell_manager(&self, tell: impl FnOnce(&Notifier) -> io::Result<()>) {
        if let Err(error) = tell(&self.launch.notifier) {
            crate::say!(Warning, "could not tell the service manager: {error}");
        }
    }

    /// Tells the service manager that this loop turns and workers are there. One that hears nothing starts us anew.
    fn give_sign_of_life(&mut self) {
        let now = Instant::now();
        if self.sign_of_life.is_none_or(|due| due > now) {
            return;
        }
        self.sign_of_life = self.launch.notifier.sign_of_life_every().map(|every| now + every);
        let lives = self.stopping.is_some() || self.tree.servers().next().is_some();
        if lives && self.service == Service::Held {
            self.tell_manager(Notifier::lives);
        }
    }

    pub(super) fn nodes(&self) -> Nodes<'_> {
        Nodes { segment: &self.segment, config: &self.config }
    }

    pub(super) fn fork_due(&mut self) {
        for place in self.tree.due(Instant::now()) {
            if let Err(error) = self.fork(place) {
                crate::say!(Warning, "could not fork: {error}");
                if let Some(slot) = self.tree.slots.get_mut(place) {
                    slot.state = State::Due(Instant::now() + Duration::from_secs(1));
                }
            }
        }
    }

    fn fork(&mut self, place: usize) -> io::Result<()> {
        let mut ends = Some(socket::seqpacket_pair()?);
        let parent = process::own_id();
        let pid = process::fork(|| match ends.take() {
            Some((_ours, theirs)) => self.be_child(place, theirs, parent),
            None => 0,
        })?;
        let (Some((ours, _theirs)), Some(slot)) = (ends, self.tree.slots.get_mut(place)) else {
            return Ok(());
        };
        let is_new = slot.born(Child::new(pid, Some(ours), Instant::now())) > 1;
        if is_new {
            crate::say!(Log, "fork a new {} process with pid: {pid}", slot.role.label);
        }
        // There may be thousands of workers: the first ones are a part of the program's own start.
        if is_new || !slot.role.serves_clients() {
            self.note_start(place, pid);
        }
        Ok(())
    }

    /// In the child, on its copy of the supervisor: closes what is not its own and lives the role.
    fn be_child(&mut self, place: usize, theirs: OwnedFd, parent: process::ProcessId) -> i32 {
        let Some((role, index)) = self.tree.slots.get(place).map(|slot| (slot.role, slot.index)) else {
            return 0;
        };
        // Siblings' sockets left open here would hide the supervisor's death from them.
        self.tree.forget();
        self.signals = None;
        self.predecessor = None;
        self.successor = None;
        self.failover.scripts = Scripts::default();
        self.listeners.retain(|listener| Some(listener.door) == role.door);
        crate::log::set_process(role.process);
        title::set(role.title);
        let log_source = self.log_source(role);
        // The collector writes what is in the pipe when the supervisor is dead, and ends then.
        let bound = if role.is_logger { Ok(true) } else { process::die_with(parent) };
        match bound.and_then(|alive| signals::die_of_faults().map(|()| alive)) {
            Ok(true) => {}
            Ok(false) => return 0,
            Err(error) => crate::say!(Warning, "could not set up the process: {error}"),
        }
        (role.run)(ChildContext {
            index,
            config: self.config.clone(),
            config_path: self.launch.config_path.clone(),
            segment: self.segment,
            listeners: std::mem::take(&mut self.listeners),
            supervisor: ToSupervisor::new(theirs),
            files: self.files.clone(),
            log_source,
            token_seed: self.token_seed.clone(),
            ticket_keys: self.ticket_keys.clone(),
            gate: self.gate.clone(),
            debug: self.launch.debug,
        })
    }

    pub(super) fn reap(&mut self) {
        while let Some(Reaped { pid, ending }) = process::reap() {
            if self.successor_ended(pid, ending) || self.script_reaped(pid, ending) {
                continue;
            }
            let Some(place) = self.tree.find(pid) else { continue };
            // What it asked for before it died still counts.
            self.serve(place);
            let Some(slot) = self.tree.slots.get_mut(place) else { continue };
            if self.stopping.is_none() || ending != Ending::Exited(0) {
                log_ending(slot.role.label, pid, ending);
            }
            let served = slot.role.serves_clients();
            (slot.role.clear)(&self.segment, slot.index);
            slot.died(Instant::now(), ending, self.stopping.is_none() || slot.role.is_logger);
            self.note_crash(place, pid, ending);
            if ending == Ending::Exited(i32::from(exit::FATAL)) {
                // As in pgpool-II: a child's FATAL means that none of its kind can live.
                self.stop(StopMode::Fast, exit::FATAL);
            }
            if served {
                // The kernel may have told it, and no other, of a client.
                self.find_place(pid);
            }
        }
    }

    fn serve(&mut self, place: usize) {
        for _ in 0..REQUESTS_A_TURN {
            let Some(slot) = self.tree.slots.get_mut(place) else { return };
            let State::Running(child) = &mut slot.state else { return };
            let Some(socket) = &child.socket else { return };
            match receive::<Request>(socket) {
                Received::Message(Request::Note(note)) => self.segment.note(&note),
                Received::Message(request) => {
                    let pid = child.pid;
                    let outcome = self.handle(request, pid);
                    self.answer(place, |owed| owed.add(outcome));
                }
                Received::Nothing => return,
                // It is about to be reaped.
                Received::Closed => child.socket = None,
            }
        }
    }

    fn handle(&mut self, request: Request, pid: process::ProcessId) -> Outcome {
        let answer = match request {
            Request::Nodes(request) => return self.ask_manager(request, pid),
            Request::Cancel { worker: Some(worker), pid, key, ticket } => {
                self.pass_on(worker, Order::Cancel { pid, key, ticket })
            }
            Request::Cancel { worker: None, pid, key, ticket } => {
                self.cancel_further_back(pid, key, ticket);
                Answer::Done
            }
            Request::Cancelled(ticket) => self.cancelled(ticket),
            Request::Full => {
                self.worker_is_full(Instant::now());
                Answer::Done
            }
            Request::ClientWaits if self.look_elsewhere() => Answer::Done,
            Request::ClientWaits => self.find_place(pid),
            Request::RolesDoubted => {
                self.order_replication_check();
                Answer::Done
            }
            Request::Reload => {
                self.reload();
                Answer::Done
            }
            Request::RotateLog => self.rotate_log(),
            Request::CancelSession(id) => {
                self.order_session(id, |place, number| Order::CancelSession { place, number })
            }
            Request::TerminateSession(id) => {
                self.order_session(id, |place, number| Order::TerminateSession { place, number })
            }
            Request::Pause => return self.pause(),
            Request::Resume => self.resume(),
            Request::SetWeight { node, weight } => self.set_weight(node, weight),
            Request::ForgetLearned => self.forget_learned(),
            Request::Stop(mode) => {
                self.stop(mode, exit::OK);
                Answer::Done
            }
            // `serve` has noted it.
            Request::Note(_) => Answer::Done,
        };
        Outcome::Answered(answer)
    }

    /// Sends the worker with the fewest clients to the listening sockets. Where none has room, the first that has
    /// looks by itself.
    pub(super) fn find_place(&self, asker: process::ProcessId) -> Answer {
        let workers = (0..self.segment.sizes().workers).map(|worker| (worker, self.segment.worker(worker)));
        let able = workers
            .filter(|(worker, row)| row.listens && row.pid != asker && self.tree.server(*worker).is_some());
        match able.min_by_key(|(_, row)| row.sessions) {
            Some((worker, _)) => self.pass_on(worker, Order::LookForClients),
            None => Answer::Done,
        }
    }

    pub(super) fn order_replication_check(&self) {
        let sockets = self.tree.slots.iter().filter(|slot| slot.role.process == "sr_check_worker");
        for slot in sockets {
            if let State::Running(Child { socket: Some(socket), .. }) = &slot.state {
                // One that does not take it looks by itself soon.
                let _ = tell(socket, &Incoming::Order(Order::LookAtNodes));
            }
        }
    }

    pub(super) fn pass_on(&self, worker: usize, order: Order) -> Answer {
        let socket = self.tree.server(worker).and_then(|child| child.socket.as_ref());
        let Some(socket) = socket else { return Answer::Refused(format!("there is no worker {worker}")) };
        match tell(socket, &Incoming::Order(order)) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Refused(error.to_string()),
        }
    }

    /// Sends a child what it is owed and may have now.
    fn answer(&mut self, place: usize, due: impl FnOnce(&mut Owed) -> Vec<Answer>) {
        let Some(State::Running(child)) = self.tree.slots.get_mut(place).map(|slot| &mut slot.state) else {
            return;
        };
        let (answers, pid) = (due(&mut child.owed), child.pid);
        let Some(socket) = &child.socket else { return };
        let mut answers = answers.into_iter();
        while let Some(answer) = answers.next() {
            let Err(error) = tell(socket, &Incoming::Answer(answer.clone())) else { continue };
            crate::say!(Debug1, "process {pid} does not take its answer: {error}");
            if error.kind() == io::ErrorKind::WouldBlock {
                // It must not hold the others up; and it knows its answers by their order, so none may be missing.
                child.owed.put_back(std::iter::once(answer).chain(answers).collect());
                return;
            }
        }
    }

    /// Once a turn: tries again what a child had no room for.
    fn answer_again(&mut self) {
        let stuck: Vec<usize> = self.stuck().collect();
        stuck.into_iter().for_each(|place| self.answer(place, Owed::ready));
    }

    /// The places of children that have no room for their answers.
    fn stuck(&self) -> impl Iterator<Item = usize> + '_ {
        let is_stuck = |slot: &Slot| matches!(&slot.state, State::Running(child) if child.owed.is_stuck());
        self.tree.slots.iter().enumerate().filter(move |(_, slot)| is_stuck(slot)).map(|(place, _)| place)
    }

    /// An answer has come that somebody waits for.
    pub(super) fn answer_comes(&mut self, ticket: Ticket, answer: &Answer) {
        for place in 0..self.tree.slots.len() {
            self.answer(place, |owed| owed.comes(ticket, answer));
        }
    }

    /// Nothing stays behind but the log.
    fn clean_up(&mut self) {
        self.stop_listening();
        if self.service == Service::Held {
            self.pid_file.remove();
        }
    }

    pub(super) fn stop_listening(&mut self) {
        if self.service == Service::Held {
            listen::remove_files(&self.listeners);
        }
        self.listeners.clear();
    }
}
