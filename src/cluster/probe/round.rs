//! A round of the replication check that waits for replies: whose, and for how long.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Reply;
use crate::config::Backend;
use crate::error::NodeId;

/// A round is over this long after it began, with whatever is there.
const GRACE: Duration = Duration::from_secs(1);
/// Nodes that hang or failed last get only this long.
const SHORT: Duration = Duration::from_millis(100);
/// While nobody knows a primary and one has been found, the others have this long to say that they are one, too.
const HURRY: Duration = Duration::from_millis(300);

/// A round that has begun.
pub struct Round {
    /// The nodes that it is about.
    pub backends: Vec<Backend>,
    begun: Instant,
    closes: Instant,
    /// Nodes that were asked and are worth waiting for.
    awaited: Vec<NodeId>,
    replies: BTreeMap<NodeId, Reply>,
}

impl Round {
    pub fn new(backends: Vec<Backend>, now: Instant) -> Round {
        Round { backends, begun: now, closes: now + GRACE, awaited: Vec::new(), replies: BTreeMap::new() }
    }

    /// A node was asked.
    pub fn asked(&mut self, id: NodeId, is_awaited: bool) {
        self.awaited.extend(is_awaited.then_some(id));
    }

    /// A node has replied.
    pub fn replied(&mut self, id: NodeId, reply: Reply) {
        self.replies.insert(id, reply);
    }

    /// What a node has replied.
    pub fn reply(&self, id: NodeId) -> Option<Reply> {
        self.replies.get(&id).cloned()
    }

    /// Clients wait for a primary: when one has been found, slower nodes get less time.
    pub fn hurry(&mut self, now: Instant) {
        let is_primary = |reply: &Reply| matches!(reply, Reply::Answered(answer) if !answer.in_recovery);
        if self.replies.values().any(is_primary) {
            self.closes = self.closes.min(now + HURRY);
        }
    }

    /// When it is over, whoever replies until then.
    pub fn closes(&self) -> Instant {
        match self.awaited.iter().all(|id| self.replies.contains_key(id)) {
            true => self.closes.min(self.begun + SHORT),
            false => self.closes,
        }
    }

    /// Nobody is waited for any more.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.closes() || self.backends.iter().all(|backend| self.replies.contains_key(&backend.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::probe::Answer;

    fn primary() -> Reply {
        Reply::Answered(Answer::default())
    }

    fn standby() -> Reply {
        Reply::Answered(Answer { in_recovery: true, ..Answer::default() })
    }

    /// Nodes 0, 1, 2; the last one hangs since an earlier round.
    fn round(now: Instant) -> Round {
        let backend = |id| Backend {
            id,
            hostname: String::new(),
            port: 1,
            weight: 1.0,
            data_directory: String::new(),
            application_name: String::new(),
            allow_to_failover: true,
            always_primary: false,
            tls: None,
        };
        let mut round = Round::new((0..3).map(backend).collect(), now);
        (0..3).for_each(|id| round.asked(id, id < 2));
        round
    }

    #[test]
    fn nodes_are_waited_for_as_long_as_they_are_worth_it() {
        let now = Instant::now();
        let after = |limit: Duration| now + limit;
        let mut round = round(now);
        assert_eq!(round.closes(), after(GRACE));
        round.replied(0, standby());
        assert_eq!(round.closes(), after(GRACE));
        round.replied(1, standby());
        assert_eq!(round.closes(), after(SHORT));
        assert!(!round.is_over(now) && round.is_over(after(SHORT)));
        round.replied(2, Reply::Failed(String::new()));
        assert!(round.is_over(now));
    }

    #[test]
    fn who_waits_for_a_primary_does_not_wait_for_slow_nodes() {
        let now = Instant::now();
        let later = now + Duration::from_millis(10);
        let mut round = round(now);
        round.replied(0, standby());
        round.hurry(later);
        assert_eq!(round.closes(), now + GRACE);
        round.replied(0, primary());
        round.hurry(later);
        assert_eq!(round.closes(), later + HURRY);
        round.hurry(now + GRACE);
        assert_eq!(round.closes(), later + HURRY);
    }
}
