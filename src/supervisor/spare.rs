//! How many workers there are in dynamic mode: enough idle ones for the next clients, not many more.
//!
//! `Spare` decides by numbers alone, in pgpool-II's rhythm; the supervisor counts, forks and sends away.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::request::Order;
use super::run::Supervisor;
use super::tree::State;
use crate::config::{Config, ProcessManagementMode, ProcessManagementStrategy};

/// How often the idle workers are counted.
const CYCLE: Duration = Duration::from_secs(2);

/// What the configuration says.
#[derive(Clone, Copy, Debug)]
struct Limits {
    least: usize,
    most: usize,
    strategy: ProcessManagementStrategy,
}

/// What is to be done about the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    Start(usize),
    /// Of the idle ones.
    SendAway(usize),
}

/// The memory of the decision.
#[derive(Debug)]
pub(super) struct Spare {
    next: Instant,
    /// Cycles in a row with more idle workers than are wanted.
    many_for: u32,
}

impl Spare {
    pub(super) fn new(now: Instant) -> Spare {
        Spare { next: now + CYCLE, many_for: 0 }
    }

    /// Once a cycle.
    fn cycle(&mut self, idle: usize, limits: Limits) -> Change {
        self.many_for = if idle > limits.most { self.many_for.saturating_add(1) } else { 0 };
        let (patience, every, at_once) = match limits.strategy {
            ProcessManagementStrategy::Aggressive => (25, 2, 8),
            ProcessManagementStrategy::Gentle => (60, 5, 3),
            ProcessManagementStrategy::Lazy => (150, 10, 3),
        };
        if idle < limits.least {
            Change::Start(limits.least - idle + limits.most / 4)
        } else if self.many_for >= patience && (self.many_for - patience).is_multiple_of(every) {
            Change::SendAway((idle - limits.most).min(at_once))
        } else {
            Change::Nothing
        }
    }
}

/// Workers at the start: in dynamic mode as many as may be idle.
pub(super) fn workers_at_start(config: &Config) -> usize {
    let count = |number: i64| usize::try_from(number).unwrap_or(1);
    let all = count(config.num_init_children);
    match config.process_management_mode {
        ProcessManagementMode::Static => all,
        ProcessManagementMode::Dynamic => count(config.max_spare_children).min(all),
    }
}

impl Supervisor {
    fn is_dynamic(&self) -> bool {
        self.config.process_management_mode == ProcessManagementMode::Dynamic && self.stopping.is_none()
    }

    /// When idle workers are counted next.
    pub(super) fn spare_due(&self) -> Option<Instant> {
        self.is_dynamic().then_some(self.spare.next)
    }

    /// Counts the idle workers, if it is time, and sees to their number.
    pub(super) fn tend_spare(&mut self, now: Instant) {
        if !self.is_dynamic() || now < self.spare.next {
            return;
        }
        self.spare.next = now + CYCLE;
        let idle = self.idle_workers();
        let change = self.spare.cycle(idle.len(), self.limits());
        match change {
            Change::Nothing => {}
            Change::Start(count) => self.start_workers(count, now),
            Change::SendAway(count) => self.send_away(idle, count),
        }
    }

    /// A worker has no place left: if it was the last with one, others are started at once, not with the next cycle.
    pub(super) fn worker_is_full(&mut self, now: Instant) {
        if self.is_dynamic() && self.idle_workers().is_empty() {
            let limits = self.limits();
            self.start_workers(limits.least + limits.most / 4, now);
        }
    }

    fn limits(&self) -> Limits {
        let count = |number: i64| usize::try_from(number).unwrap_or(1);
        Limits {
            least: count(self.config.min_spare_children),
            most: count(self.config.max_spare_children),
            strategy: self.config.process_management_strategy,
        }
    }

    /// Workers without a client, those included that are just being forked.
    fn idle_workers(&self) -> Vec<usize> {
        let workers = self.tree.slots.iter().filter(|slot| slot.role.serves_clients());
        let there = workers.filter(|slot| !matches!(slot.state, State::Empty));
        there.map(|slot| slot.index).filter(|worker| self.segment.worker(*worker).sessions == 0).collect()
    }

    fn start_workers(&mut self, count: usize, now: Instant) {
        let empty =
            |slot: &&mut super::tree::Slot| slot.role.serves_clients() && matches!(slot.state, State::Empty);
        for slot in self.tree.slots.iter_mut().filter(empty).take(count) {
            slot.state = State::Due(now);
        }
    }

    /// Asks idle workers to end, those with the fewest kept connections first. One that has a client by then stays.
    fn send_away(&self, mut idle: Vec<usize>, count: usize) {
        idle.sort_by_key(|worker| self.kept_connections(*worker));
        for worker in idle.into_iter().take(count) {
            self.pass_on(worker, Order::Leave);
        }
    }

    fn kept_connections(&self, worker: usize) -> usize {
        let sizes = self.segment.sizes();
        let places =
            (0..sizes.pools_per_worker).flat_map(|pool| (0..sizes.nodes).map(move |node| (pool, node)));
        places.filter(|(pool, node)| self.segment.pool(worker, *pool, *node).backend_pid != 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(strategy: ProcessManagementStrategy) -> Limits {
        Limits { least: 5, most: 10, strategy }
    }

    #[test]
    fn too_few_idle_ones_get_company() {
        let mut spare = Spare::new(Instant::now());
        for (idle, change) in
            [(0, Change::Start(7)), (4, Change::Start(3)), (5, Change::Nothing), (10, Change::Nothing)]
        {
            assert_eq!(spare.cycle(idle, limits(ProcessManagementStrategy::Gentle)), change, "{idle}");
        }
    }

    #[test]
    fn too_many_are_sent_away_after_a_while_and_not_all_at_once() {
        for (strategy, patience, every, at_once) in [
            (ProcessManagementStrategy::Aggressive, 25, 2, 8),
            (ProcessManagementStrategy::Gentle, 60, 5, 3),
            (ProcessManagementStrategy::Lazy, 150, 10, 3),
        ] {
            let mut spare = Spare::new(Instant::now());
            let mut cycle = || spare.cycle(30, limits(strategy));
            assert!((1..patience).all(|_| cycle() == Change::Nothing), "{strategy:?}");
            assert_eq!(cycle(), Change::SendAway(at_once), "{strategy:?}");
            assert!((1..every).all(|_| cycle() == Change::Nothing), "{strategy:?}");
            assert_eq!(cycle(), Change::SendAway(at_once), "{strategy:?}");
            // One cycle with enough to do, and the patience begins anew.
            assert_eq!(spare.cycle(9, limits(strategy)), Change::Nothing);
            assert!((1..patience).all(|_| spare.cycle(12, limits(strategy)) == Change::Nothing));
            assert_eq!(spare.cycle(12, limits(strategy)), Change::SendAway(2));
        }
    }
}
