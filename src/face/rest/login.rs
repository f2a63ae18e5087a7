//! How often a password may be tried, by address. Pure: the time is an argument.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::access::Peer;

/// Failures that an address may have in a while; one who comes in has none.
const MOST: u32 = 10;

/// The while.
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses that are remembered; whoever has more of them gets the place of the oldest.
const REMEMBERED: usize = 4096;

/// Who has tried.
#[derive(Default)]
pub struct Attempts {
    by_address: HashMap<Option<IpAddr>, (u32, Instant)>,
}

impl Attempts {
    /// Takes note of an attempt, which fails until [`Attempts::succeeded`] says otherwise.
    ///
    /// # Errors
    /// After how many seconds the next one may be made.
    pub fn attempt(&mut self, peer: Peer, now: Instant) -> Result<(), u64> {
        let address = address(peer);
        if !self.by_address.contains_key(&address) && self.by_address.len() >= REMEMBERED {
            self.make_room(now);
        }
        let (count, since) = self.by_address.entry(address).or_insert((0, now));
        if now.saturating_duration_since(*since) >= WINDOW {
            (*count, *since) = (0, now);
        }
        if *count >= MOST {
            let rest = WINDOW.saturating_sub(now.saturating_duration_since(*since));
            return Err(rest.as_secs() + 1);
        }
        *count += 1;
        Ok(())
    }

    /// The last attempt of this one was right.
    pub fn succeeded(&mut self, peer: Peer) {
        self.by_address.remove(&address(peer));
    }

    fn make_room(&mut self, now: Instant) {
        self.by_address.retain(|_, (_, since)| now.saturating_duration_since(*since) < WINDOW);
        if self.by_address.len() >= REMEMBERED {
            let oldest =
                self.by_address.iter().min_by_key(|(_, (_, since))| *since).map(|(address, _)| *address);
            oldest.map(|address| self.by_address.remove(&address));
        }
    }
}

/// What counts as one: of IPv6 the network, since a host has as many addresses as it likes.
fn address(peer: Peer) -> Option<IpAddr> {
    match peer {
        Peer::Unix => None,
        Peer::Ip(ip) => Some(match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
            ip => ip,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::Ip(text.parse().unwrap())
    }

    #[test]
    fn an_address_has_so_many_attempts_in_a_while() {
        let (start, mut attempts) = (Instant::now(), Attempts::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..MOST {
            assert_eq!(attempts.attempt(peer("192.0.2.1"), start), Ok(()));
        }
        assert_eq!(attempts.attempt(peer("192.0.2.1"), after(20)), Err(41));
        assert_eq!(attempts.attempt(peer("192.0.2.2"), after(20)), Ok(()));
        assert_eq!(attempts.attempt(Peer::Unix, after(20)), Ok(()));
        assert_eq!(attempts.attempt(peer("192.0.2.1"), after(60)), Ok(()));
    }

    #[test]
    fn who_comes_in_begins_anew() {
        let (now, mut attempts) = (Instant::now(), Attempts::default());
        for _ in 0..3 * MOST {
            assert_eq!(attempts.attempt(Peer::Unix, now), Ok(()));
            attempts.succeeded(Peer::Unix);
        }
    }

    #[test]
    fn a_network_is_one_address_and_the_memory_is_bounded() {
        let (now, mut attempts) = (Instant::now(), Attempts::default());
        for host in 0..MOST {
            assert_eq!(attempts.attempt(peer(&format!("2001:db8::{host:x}")), now), Ok(()));
        }
        assert!(attempts.attempt(peer("2001:db8::ffff"), now).is_err());
        for host in 0..2 * REMEMBERED as u32 {
            let _ = attempts.attempt(Peer::Ip(IpAddr::V4(host.into())), now);
        }
        assert!(attempts.by_address.len() <= REMEMBERED);
    }
}
