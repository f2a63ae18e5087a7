//! Addresses to host names (`log_hostname`) without ever blocking the loop: each look-up runs in a thread of its own,
//! and an answer is kept for a while. Whoever connects decides what is looked up, so all of it is bounded.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::Waker;
use crate::sys::names::host_name;

/// How long a name is used before it is looked up again.
const KEEP: Duration = Duration::from_secs(60);

/// Most look-ups at once; who comes meanwhile is known by the address.
const MOST_AT_ONCE: usize = 16;

/// Most names kept.
const MOST_KEPT: usize = 4096;

/// What is known of an address now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// Its name, or the address in text.
    Known(String),
    /// Being looked up: the waker rings when the answer is here.
    Wait,
}

/// The names of the hosts that clients come from.
pub struct Names {
    waker: Waker,
    look_up: fn(IpAddr) -> Option<String>,
    sender: Sender<(IpAddr, Option<String>)>,
    receiver: Receiver<(IpAddr, Option<String>)>,
    asked: HashSet<IpAddr>,
    known: HashMap<IpAddr, (Instant, String)>,
}

impl Names {
    /// Rings `waker` for every answer.
    pub fn new(waker: Waker) -> Names {
        Names::with(waker, host_name)
    }

    fn with(waker: Waker, look_up: fn(IpAddr) -> Option<String>) -> Names {
        let (sender, receiver) = channel();
        Names { waker, look_up, sender, receiver, asked: HashSet::new(), known: HashMap::new() }
    }

    /// The name of this address.
    pub fn name(&mut self, ip: IpAddr, now: Instant) -> Named {
        if let Some((at, name)) = self.known.get(&ip)
            && now.saturating_duration_since(*at) < KEEP
        {
            return Named::Known(name.clone());
        }
        if self.asked.contains(&ip) || self.asked.len() < MOST_AT_ONCE && self.ask(ip) {
            return Named::Wait;
        }
        Named::Known(ip.to_string())
    }

    /// The names that have come in; called when the waker rang.
    pub fn collect(&mut self, now: Instant) -> Vec<(IpAddr, String)> {
        let mut found = Vec::new();
        while let Ok((ip, name)) = self.receiver.try_recv() {
            self.asked.remove(&ip);
            let name = name.unwrap_or_else(|| ip.to_string());
            if self.known.len() >= MOST_KEPT {
                self.known.clear();
            }
            self.known.insert(ip, (now, name.clone()));
            found.push((ip, name));
        }
        found
    }

    fn ask(&mut self, ip: IpAddr) -> bool {
        let look_up = self.look_up;
        let started = self.waker.after("names", 256 * 1024, &self.sender, move || (ip, look_up(ip)));
        started.is_ok() && self.asked.insert(ip)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    static DAM: Mutex<()> = Mutex::new(());

    fn slow(ip: IpAddr) -> Option<String> {
        drop(DAM.lock());
        ip.is_ipv4().then(|| format!("host-of-{ip}"))
    }

    #[test]
    fn a_silent_name_server_holds_nobody_up() {
        let mut names = Names::with(Waker::new().unwrap(), slow);
        let now = Instant::now();
        let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
        let held = DAM.lock().unwrap();
        for n in 0..u8::try_from(MOST_AT_ONCE).unwrap() {
            assert_eq!((names.name(ip(n), now), names.name(ip(n), now)), (Named::Wait, Named::Wait));
        }
        assert_eq!(names.name(ip(99), now), Named::Known("10.0.0.99".into()), "no more threads than that");
        assert_eq!(names.collect(now), []);
        drop(held);
        let mut found = Vec::new();
        while found.len() < MOST_AT_ONCE {
            assert!(now.elapsed() < Duration::from_secs(10));
            found.extend(names.collect(now));
            std::thread::yield_now();
        }
        assert_eq!(names.name(ip(3), now), Named::Known("host-of-10.0.0.3".into()));
        assert_eq!(names.name(ip(3), now + KEEP), Named::Wait, "after a while it may be another");
    }

    #[test]
    fn one_without_a_name_is_known_by_its_address() {
        let mut names = Names::with(Waker::new().unwrap(), slow);
        let (ip, now) = ("::7".parse().unwrap(), Instant::now());
        assert_eq!(names.name(ip, now), Named::Wait);
        while names.collect(now).is_empty() {
            assert!(now.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
        assert_eq!(names.name(ip, now), Named::Known("::7".into()));
    }
}
