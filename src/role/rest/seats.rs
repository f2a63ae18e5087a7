//! The connections that are there: how many, what they do, and who leaves when there is no room.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;

/// Connections at the same time.
pub(super) const MOST: usize = 512;

/// One connection.
pub(super) struct Seat {
    /// Requests that are not answered to their end.
    requests: Cell<usize>,
    /// It has asked for something that was answered.
    has_asked: Cell<bool>,
    /// Since when it asks for nothing.
    idle_since: Cell<Instant>,
    /// It has to go.
    pub(super) leave: Notify,
}

/// A request is being answered as long as this lives.
pub(super) struct Busy(Rc<Seat>);

impl Busy {
    pub(super) fn new(seat: &Rc<Seat>) -> Busy {
        seat.requests.set(seat.requests.get() + 1);
        Busy(Rc::clone(seat))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get().saturating_sub(1));
        self.0.has_asked.set(true);
        self.0.idle_since.set(Instant::now());
    }
}

impl Seat {
    fn is_busy(&self) -> bool {
        self.requests.get() > 0
    }

    /// Who is missed least comes first: who has asked for nothing yet, so that silent ones keep nobody out for long; or
    /// else who has been idle for the longest.
    fn rank(&self) -> (bool, Instant) {
        (self.has_asked.get(), self.idle_since.get())
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Seats {
    taken: RefCell<Vec<Rc<Seat>>>,
}

impl Seats {
    /// A place for a new connection; one that is idle leaves for it. `None`: everybody is busy.
    pub(super) fn take(&self, displaced: &Cell<u64>) -> Option<Rc<Seat>> {
        let mut taken = self.taken.borrow_mut();
        if taken.len() >= MOST {
            displaced.set(displaced.get() + 1);
            let idle = taken.iter().enumerate().filter(|(_, seat)| !seat.is_busy());
            let (place, _) = idle.min_by_key(|(_, seat)| seat.rank())?;
            taken.swap_remove(place).leave.notify_one();
        }
        let seat = Rc::new(Seat {
            requests: Cell::new(0),
            has_asked: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            leave: Notify::new(),
        });
        taken.push(Rc::clone(&seat));
        Some(seat)
    }

    /// The connection has ended.
    pub(super) fn leave(&self, seat: &Rc<Seat>) {
        self.taken.borrow_mut().retain(|there| !Rc::ptr_eq(there, seat));
    }

    /// Sends away who is idle.
    pub(super) fn send_idle_away(&self) {
        self.taken.borrow().iter().filter(|seat| !seat.is_busy()).for_each(|seat| seat.leave.notify_one());
    }

    pub(super) fn are_empty(&self) -> bool {
        self.taken.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_ones_leave_first_then_the_oldest_idle_and_nobody_who_is_busy() {
        let (seats, displaced) = (Seats::default(), Cell::new(0));
        let all: Vec<Rc<Seat>> = (0..MOST).map(|_| seats.take(&displaced).unwrap()).collect();
        let busy: Vec<Busy> = all.iter().skip(3).map(Busy::new).collect();
        drop(Busy::new(&all[1]));
        drop(Busy::new(&all[0]));
        let is_there = |seat: &Rc<Seat>| seats.taken.borrow().iter().any(|there| Rc::ptr_eq(there, seat));
        let mut newcomers = Vec::new();
        for leaves in [2, 1, 0] {
            let newcomer = seats.take(&displaced).unwrap();
            newcomers.push(Busy::new(&newcomer));
            assert!(!is_there(&all[leaves]), "{leaves}");
        }
        assert!(seats.take(&displaced).is_none());
        assert_eq!((displaced.get(), seats.taken.borrow().len()), (4, MOST));
        drop(busy);
        assert!(seats.take(&displaced).is_some());
        seats.leave(&all[7]);
        assert!(!is_there(&all[7]) && !seats.are_empty());
    }
}
