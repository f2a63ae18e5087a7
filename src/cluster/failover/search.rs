//! The primary is gone, and the next one is looked for; and what is said when a change is done.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::manager::{Kind, Manager, unknown};
use super::request::{Action, Reply};
use crate::error::NodeId;
use crate::log::Level;
use crate::shm::FailoverReason;

/// How often the nodes are looked at meanwhile; clients wait for the result.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A search under way.
#[derive(Debug)]
pub(super) struct Search {
    /// The clock of `search_primary_node_timeout` runs, which it does when no script does.
    begun: bool,
    /// When it is given up.
    until: Option<Duration>,
    next_look: Duration,
}

impl Search {
    fn new(now: Duration) -> Search {
        Search { begun: false, until: None, next_look: now + LOOK_EVERY }
    }

    pub(super) fn due(&self) -> Duration {
        self.until.map_or(self.next_look, |until| until.min(self.next_look))
    }
}

impl Manager {
    /// What the replication check sees.
    pub(super) fn sees_primary(&mut self, found: Option<NodeId>) -> Reply {
        match found {
            Some(id) if self.node(id).is_none() => return unknown(id),
            Some(id) if self.node(id).is_some_and(|node| !node.is_usable()) => {
                return Reply::Refused(format!("node {id} is out of use"));
            }
            Some(id) => self.has_primary(id),
            None => self.sees_no_primary(),
        }
        Reply::Done
    }

    fn has_primary(&mut self, id: NodeId) {
        if self.primary == Some(id) {
            return;
        }
        // At the start there is nothing that it takes the place of.
        if self.had_primary {
            self.change();
        }
        self.search = None;
        if self.primary.is_some() {
            self.why = FailoverReason::Roles;
        }
        self.drop_promotion(&format!("node {id} is the primary"));
        self.set_primary(Some(id));
    }

    fn sees_no_primary(&mut self) {
        let Some(before) = self.primary else { return };
        if self.trusted_until.is_some_and(|until| self.now < until) {
            return;
        }
        let text = format!("node {before} is no primary any more: looking for the one that is");
        self.log(Level::Warning, text);
        self.drop_promotion("the primary is gone");
        self.change();
        self.why = FailoverReason::Roles;
        self.lose_primary();
    }

    /// Who takes its place?
    pub(super) fn lose_primary(&mut self) {
        if self.rules.streaming {
            self.set_primary(None);
            self.search = Some(Search::new(self.now));
        } else {
            // Nodes have no roles: the next one takes the part.
            self.set_primary(self.main());
        }
    }

    /// No script runs: the search has its limit from now on.
    pub(super) fn begin_searching(&mut self) {
        let alone = self.main().is_none();
        let Some(search) = self.search.as_mut().filter(|search| !search.begun) else { return };
        if alone {
            self.search = None;
            let text =
                "find_primary_node_repeatedly: all of the backends are down. Giving up finding primary node";
            return self.log(Level::Log, text);
        }
        search.begun = true;
        search.until = self.rules.search_primary_node_timeout.map(|limit| self.now + limit);
        search.next_look = self.now + LOOK_EVERY;
        self.log(Level::Log, "find_primary_node_repeatedly: waiting for finding a primary node");
        self.act(Action::Look);
    }

    pub(super) fn go_on_searching(&mut self) {
        let Some(search) = &mut self.search else { return };
        if search.until.is_some_and(|until| until <= self.now) {
            self.search = None;
            let limit = self.rules.search_primary_node_timeout.unwrap_or_default().as_secs();
            let text = format!(
                "no primary node was found within search_primary_node_timeout ({limit} s): what needs one waits no longer"
            );
            return self.log(Level::Warning, text);
        }
        if search.next_look <= self.now {
            search.next_look = self.now + LOOK_EVERY;
            self.act(Action::Look);
        }
    }

    /// Nothing is left to do: the others follow the new primary, and the log says how it stands.
    pub(super) fn finish(&mut self) {
        let Some(change) = self.change.take() else { return };
        if let Some(before) = change.before {
            self.begin_following(before, change.is_promotion);
        }
        let number = self.primary.map_or("-1".to_owned(), |id| id.to_string());
        self.log(Level::Log, format!("failover: set new primary node: {number}"));
        if let Some(main) = self.main() {
            self.log(Level::Log, format!("failover: set new main node: {main}"));
        }
        for part in change.parts {
            let place = self.place(part.node);
            let text = match part.kind {
                Kind::Failover => format!("=== Failover done. shutdown {place} ==="),
                Kind::Failback => format!("=== Failback done. reconnect {place} ==="),
                Kind::Promotion => format!("=== Promotion done. promoted {place} ==="),
            };
            self.log(Level::Log, text);
        }
    }
}
