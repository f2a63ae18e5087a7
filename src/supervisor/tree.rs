//! The children: who should run, who does, and when a dead one is replaced.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::child::{ChildContext, Door};
use super::owed::Owed;
use super::spare::workers_at_start;
use crate::config::Config;
use crate::shm::Segment;
use crate::sys::process::{Ending, ProcessId, send_signal};
use crate::sys::signals::Number;

/// A kind of child process.
pub struct Role {
    /// Its name in log prefixes (`%a`).
    pub process: &'static str,
    /// Its name in the texts about its life and death: `LABEL process with pid: …`.
    pub label: &'static str,
    /// Its title in ps until it sets another.
    pub title: &'static str,
    /// One for each of these numbers: of a worker its row in the segment, of a health check its node. A reload may add
    /// some.
    pub places: fn(&Config) -> Vec<usize>,
    /// Whose listening sockets it gets; no stop leaves them open.
    pub door: Option<Door>,
    /// Whether it writes the log: it ends after all others, and not by a signal.
    pub is_logger: bool,
    /// Clears what a dead one (by its index) left in the segment.
    pub clear: fn(&Segment, usize),
    /// Its life, after the fork.
    pub run: fn(ChildContext) -> !,
}

impl Role {
    /// Whether it serves clients of PostgreSQL: a smart stop waits for these to end.
    pub fn serves_clients(&self) -> bool {
        self.door == Some(Door::Clients)
    }
}

/// Exit code of a child that has served its time: another takes its place at once.
pub const RENEW: i32 = 1;

/// Exit code of a child that must not be replaced.
pub const NO_RESTART: i32 = 2;

/// A place for a child.
pub(super) struct Slot {
    pub(super) role: &'static Role,
    pub(super) index: usize,
    pub(super) state: State,
    /// Children it has had.
    births: u64,
    /// Deaths in a row soon after the start.
    quick_deaths: u32,
}

/// Who is in the place.
pub(super) enum State {
    /// Nobody; fork at this time.
    Due(Instant),
    /// A living child.
    Running(Child),
    /// Nobody, and it stays so.
    Empty,
}

/// A living child.
pub(super) struct Child {
    pub(super) pid: ProcessId,
    /// Our end of its request socket; `None` after it closed its own.
    pub(super) socket: Option<OwnedFd>,
    pub(super) since: Instant,
    pub(super) owed: Owed,
}

impl Child {
    pub(super) fn new(pid: ProcessId, socket: Option<OwnedFd>, since: Instant) -> Child {
        Child { pid, socket, since, owed: Owed::default() }
    }
}

/// All places.
pub(super) struct Tree {
    roles: &'static [Role],
    pub(super) slots: Vec<Slot>,
}

impl Tree {
    pub(super) fn new(roles: &'static [Role], config: &Config, now: Instant) -> Tree {
        let mut tree = Tree { roles, slots: Vec::new() };
        tree.grow(config, now);
        let at_start = workers_at_start(config);
        // In dynamic mode the others come when they are needed.
        for slot in tree.slots.iter_mut().filter(|slot| slot.role.serves_clients() && slot.index >= at_start)
        {
            slot.state = State::Empty;
        }
        tree
    }

    /// Makes the places that a configuration asks for and that are not there yet; their children are due.
    pub(super) fn grow(&mut self, config: &Config, now: Instant) {
        let wanted = self
            .roles
            .iter()
            .flat_map(|role| (role.places)(config).into_iter().map(move |index| (role, index)));
        for (role, index) in wanted {
            let exists = |slot: &Slot| slot.role.process == role.process && slot.index == index;
            if !self.slots.iter().any(exists) {
                self.slots.push(Slot { role, index, state: State::Due(now), births: 0, quick_deaths: 0 });
            }
        }
    }

    /// Places whose child should be forked now.
    pub(super) fn due(&self, now: Instant) -> Vec<usize> {
        let is_due = |slot: &Slot| matches!(slot.state, State::Due(at) if at <= now);
        self.slots.iter().enumerate().filter(|(_, slot)| is_due(slot)).map(|(place, _)| place).collect()
    }

    /// When the next child should be forked.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let times = self.slots.iter().filter_map(|slot| match slot.state {
            State::Due(at) => Some(at),
            _ => None,
        });
        times.min()
    }

    /// Place of the child with this id.
    pub(super) fn find(&self, pid: ProcessId) -> Option<usize> {
        self.slots.iter().position(|slot| matches!(&slot.state, State::Running(child) if child.pid == pid))
    }

    /// Place of a role's child by its index.
    pub(super) fn server(&self, index: usize) -> Option<&Child> {
        self.servers().find(|(of, _)| *of == index).map(|(_, child)| child)
    }

    /// The living workers, by their index.
    pub(super) fn servers(&self) -> impl Iterator<Item = (usize, &Child)> {
        self.slots.iter().filter_map(|slot| match &slot.state {
            State::Running(child) if slot.role.serves_clients() => Some((slot.index, child)),
            _ => None,
        })
    }

    /// Whether children run that `wanted` picks.
    pub(super) fn any_running(&self, wanted: impl Fn(&Role) -> bool) -> bool {
        self.slots.iter().any(|slot| matches!(slot.state, State::Running(_)) && wanted(slot.role))
    }

    /// Sends a signal to the children that `wanted` picks.
    pub(super) fn signal(&self, signal: Number, wanted: impl Fn(&Role) -> bool) {
        for slot in self.slots.iter().filter(|slot| wanted(slot.role)) {
            if let State::Running(child) = &slot.state {
                // One that is gone already is reaped next.
                let _ = send_signal(child.pid, signal);
            }
        }
    }

    /// No child is forked any more; `but_logger`: except the one that writes the log.
    pub(super) fn stop_forking(&mut self, but_logger: bool) {
        for slot in &mut self.slots {
            if matches!(slot.state, State::Due(_)) && !(but_logger && slot.role.is_logger) {
                slot.state = State::Empty;
            }
        }
    }

    /// Who is due some time is due now.
    pub(super) fn hurry(&mut self) {
        let now = Instant::now();
        for slot in &mut self.slots {
            if matches!(slot.state, State::Due(_)) {
                slot.state = State::Due(now);
            }
        }
    }

    /// All places are empty: for a child, which must not keep its siblings' sockets.
    pub(super) fn forget(&mut self) {
        self.slots.clear();
    }
}

impl Slot {
    /// A child is born; returns how many the place has had with it.
    pub(super) fn born(&mut self, child: Child) -> u64 {
        self.births += 1;
        self.state = State::Running(child);
        self.births
    }

    /// The child has died: when shall the next one start?
    pub(super) fn died(&mut self, now: Instant, ending: Ending, restart: bool) {
        let State::Running(child) = &self.state else { return };
        let was_quick = now.saturating_duration_since(child.since) < QUICK && ending != Ending::Exited(RENEW);
        self.quick_deaths = if was_quick { self.quick_deaths.saturating_add(1) } else { 0 };
        self.state = if restart && ending != Ending::Exited(NO_RESTART) {
            State::Due(now + pause(self.quick_deaths))
        } else {
            State::Empty
        };
    }
}

/// A child that lives shorter than this died at once.
const QUICK: Duration = Duration::from_secs(1);

/// The first replacement comes at once; one that keeps dying must not keep the machine busy forking.
fn pause(quick_deaths: u32) -> Duration {
    match quick_deaths {
        0 | 1 => Duration::ZERO,
        many => Duration::from_millis(100 << (many - 2).min(5)).min(Duration::from_secs(3)),
    }
}

/// Logs the end of a child, in pgpool-II's words.
pub(super) fn log_ending(label: &str, pid: ProcessId, ending: Ending) {
    const SEGMENTATION_FAULT: i32 = Number::SIGSEGV as i32;
    match ending {
        Ending::Killed(SEGMENTATION_FAULT) => {
            crate::say!(Warning, "{label} process with pid: {pid} was terminated by segmentation fault");
        }
        Ending::Killed(signal) => {
            crate::say!(Log, "{label} process with pid: {pid} exits with status {signal} by signal {signal}");
        }
        // The status as wait(2) gives it: the exit code stands in the second byte.
        Ending::Exited(code) => {
            crate::say!(Log, "{label} process with pid: {pid} exits with status {}", code << 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: Role = Role {
        process: "child",
        label: "child",
        title: "",
        places: |config| (0..config.backends().len()).collect(),
        door: Some(Door::Clients),
        is_logger: false,
        clear: |_, _| {},
        run: |_| crate::sys::process::exit_now(0),
    };

    static ROLES: [Role; 1] = [ROLE];

    fn slot(now: Instant) -> Slot {
        let child = Child::new(1, None, now);
        Slot { role: &ROLES[0], index: 0, state: State::Running(child), births: 1, quick_deaths: 0 }
    }

    /// With one node more than before there is one place more, and the others keep their children.
    #[test]
    fn a_reload_adds_the_places_that_are_missing() {
        let config = |nodes: usize| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("pgbalancer.conf");
            let lines = (0..nodes).map(|id| format!("backend_hostname{id} = 'a'\nbackend_port{id} = 5432\n"));
            std::fs::write(&path, lines.collect::<String>()).unwrap();
            crate::config::load(&path).ok().unwrap().config
        };
        let now = Instant::now();
        let mut tree = Tree::new(&ROLES, &config(2), now);
        tree.slots[0].born(Child::new(7, None, now));
        for (nodes, places, due) in [(2, 2, 1), (3, 3, 2), (1, 3, 2)] {
            tree.grow(&config(nodes), now);
            assert_eq!((tree.slots.len(), tree.due(now).len(), tree.find(7)), (places, due, Some(0)));
        }
    }

    #[test]
    fn a_child_that_keeps_dying_is_replaced_ever_later() {
        let start = Instant::now();
        let mut slot = slot(start);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            slot.died(start, Ending::Killed(9), true);
            let State::Due(at) = slot.state else { panic!("not due") };
            pauses.push((at - start).as_millis());
            slot.state = State::Running(Child::new(1, None, start));
        }
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3000, 3000, 3000]);
        slot.died(start + QUICK, Ending::Killed(9), true);
        assert!(matches!(slot.state, State::Due(at) if at == start + QUICK));
    }

    #[test]
    fn one_that_must_not_come_back_leaves_the_place_empty() {
        let now = Instant::now();
        for (ending, restart) in [(Ending::Exited(NO_RESTART), true), (Ending::Exited(0), false)] {
            let mut slot = slot(now);
            slot.died(now, ending, restart);
            assert!(matches!(slot.state, State::Empty));
        }
    }

    #[test]
    fn one_that_has_served_its_time_is_replaced_at_once_however_often() {
        let now = Instant::now();
        let mut slot = slot(now);
        for _ in 0..9 {
            slot.died(now, Ending::Exited(RENEW), true);
            assert!(matches!(slot.state, State::Due(at) if at == now));
            slot.state = State::Running(Child::new(1, None, now));
        }
    }
}
