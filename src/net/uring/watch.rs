//! Descriptors that are waited for besides connections: listening sockets, signals, the supervisor.
//!
//! A wait for readiness is one shot and made again before the next wait of the loop. Of the processes that wait on a
//! listening socket the kernel wakes one, and that one takes the client itself: no client is taken before there is room.
#![forbid(unsafe_code)]

use super::*;

/// Numbers of readiness that are no connections.
const DOORS: u32 = 1 << 30;
const WATCHED: u32 = 1 << 31;

pub(super) struct Door {
    listener: Listener,
    waiting: bool,
}

impl Door {
    pub(super) fn new(listener: Listener) -> Door {
        Door { listener, waiting: false }
    }
}

pub(super) struct Watch {
    fd: RawFd,
    number: usize,
    waker: Option<Waker>,
    waiting: bool,
}

impl Uring {
    pub(in crate::net) fn watch(&mut self, fd: RawFd, number: usize) {
        self.watched.push(Watch { fd, number, waker: None, waiting: false });
    }

    pub(in crate::net) fn watch_waker(&mut self, waker: Waker, number: usize) {
        let fd = waker.as_fd().as_raw_fd();
        self.watched.push(Watch { fd, number, waker: Some(waker), waiting: false });
    }

    pub(in crate::net) fn listen(&mut self, on: bool) -> io::Result<()> {
        if on != self.listening {
            self.listening = on;
            let waiting = |number: &usize| self.doors.get(*number).is_some_and(|door| door.waiting);
            for number in (0..self.doors.len()).filter(waiting).filter(|_| !on) {
                self.ring.cancel(Kind::Ready, DOORS + number as u32)?;
            }
        }
        Ok(())
    }

    /// A request that stands keeps a socket open: the kernel is told to end it first.
    pub(in crate::net) fn stop_listening(&mut self) {
        if let Err(e) = self.listen(false).and_then(|()| self.ring.enter(Some(Duration::ZERO))) {
            crate::say!(Warning, "could not stop to wait for clients: {}", e);
        }
        self.doors.clear();
    }

    pub(in crate::net) fn accept(&mut self, listener: usize) -> io::Result<Option<(Socket, Peer)>> {
        let Some(door) = self.doors.get(listener) else { return Ok(None) };
        door.listener.accept()
    }

    /// Asks again for all that has been told.
    pub(super) fn watch_again(&mut self) -> io::Result<()> {
        if self.listening {
            for (number, door) in self.doors.iter_mut().enumerate().filter(|(_, door)| !door.waiting) {
                self.ring.ready(door.listener.as_fd().as_raw_fd(), DOORS + number as u32, false, true)?;
                door.waiting = true;
            }
        }
        for (at, watch) in self.watched.iter_mut().enumerate().filter(|(_, watch)| !watch.waiting) {
            self.ring.ready(watch.fd, WATCHED + at as u32, false, false)?;
            watch.waiting = true;
        }
        Ok(())
    }

    pub(in crate::net) fn look_at_listeners(&mut self) {
        self.pending.extend((0..self.doors.len()).map(Event::Incoming));
    }

    pub(super) fn is_ready(&mut self, number: u32, result: io::Result<()>) -> Option<Event> {
        if let Some(watch) = number.checked_sub(WATCHED).and_then(|at| self.watched.get_mut(at as usize)) {
            watch.waiting = false;
            if let Some(waker) = &watch.waker {
                waker.rest();
            }
            return result.is_ok().then_some(Event::Watched(watch.number));
        }
        if (DOORS..WATCHED).contains(&number) {
            let at = (number - DOORS) as usize;
            let door = self.doors.get_mut(at)?;
            door.waiting = false;
            // Also when no client is to be taken any more: the kernel has told no other process of this one. A wait
            // that was cancelled may have swallowed that news.
            let tells = result.is_ok() || !self.listening && door.listener.has_client();
            return tells.then_some(Event::Incoming(at));
        }
        self.connected(number)
    }
}
