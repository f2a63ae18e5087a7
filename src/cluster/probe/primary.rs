//! Who is the primary, where several say so or nobody does.
#![forbid(unsafe_code)]

use super::{Answer, Asked, Replica, Reply, Upstream};
use crate::config::Backend;
use crate::error::NodeId;

/// What a round says about the primary.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) primary: Option<NodeId>,
    /// Other nodes that are no standbys either.
    pub(super) rivals: Vec<NodeId>,
    /// Where several say that they are primaries: the one that all standbys follow.
    pub(super) owner: Option<NodeId>,
}

/// ALWAYS_PRIMARY wins, then the present primary while it is one: a node that comes back as a primary takes over
/// nothing. Where none is known, the one that all standbys follow counts, then the one that was promoted last, then the
/// first. A primary that merely does not answer stays what it is: its status is not decided here.
pub(super) fn choose(asked: &[Asked], current: Option<NodeId>) -> Choice {
    let usable = || asked.iter().filter(|node| node.usable());
    let alone = |primary| Choice { primary, rivals: Vec::new(), owner: None };
    if let Some(node) = usable().find(|node| node.backend.always_primary) {
        return alone(Some(node.id()));
    }
    if asked.iter().all(|node| node.reply == Reply::NotAsked) {
        return alone(usable().map(Asked::id).min());
    }
    let candidates: Vec<&Asked> = usable().filter(|node| node.claims()).collect();
    let owner = if candidates.len() > 1 { owner(asked) } else { None };
    let newest = || {
        let timeline = |node: &Asked| node.answer().and_then(|answer| answer.timeline);
        candidates.iter().max_by_key(|node| (timeline(node), std::cmp::Reverse(node.id())))
    };
    let silent = |id: &NodeId| usable().any(|node| node.id() == *id && node.answer().is_none());
    let primary = current
        .filter(|id| candidates.iter().any(|node| node.id() == *id))
        .or(owner)
        .or_else(|| newest().map(|node| node.id()))
        .or_else(|| current.filter(silent));
    let rivals = candidates.iter().map(|node| node.id()).filter(|id| Some(*id) != primary).collect();
    Choice { primary, rivals, owner }
}

impl Choice {
    /// The true primary, where that can be told, and the others, as far as they may be taken out.
    pub(super) fn verdict(&self, asked: &[Asked]) -> Option<(NodeId, Vec<NodeId>)> {
        let primary = self.primary.filter(|_| !self.rivals.is_empty())?;
        let truth = match standbys(asked).next() {
            Some(_) => self.owner?,
            None => primary,
        };
        let may_go = |id: &NodeId| asked.iter().any(|of| of.id() == *id && of.backend.allow_to_failover);
        let mut false_ones = self.rivals.clone();
        false_ones.push(primary);
        false_ones.retain(|id| *id != truth && may_go(id));
        false_ones.sort_unstable();
        (!false_ones.is_empty()).then_some((truth, false_ones))
    }

    /// There is no primary, or the one that there was has not said that it still is.
    pub(super) fn is_unsettled(&self, asked: &[Asked]) -> bool {
        match self.primary.and_then(|id| asked.iter().find(|node| node.id() == id)) {
            Some(node) => self.is_kept_unseen(node),
            None => !asked.is_empty(),
        }
    }

    /// It is the primary though it does not answer.
    pub(super) fn is_kept_unseen(&self, node: &Asked) -> bool {
        self.primary == Some(node.id()) && node.is_silent() && !node.backend.always_primary
    }

    /// It is a second primary or follows one, so its data are not those of the primary.
    pub(super) fn is_astray(&self, node: &Asked, asked: &[Asked]) -> bool {
        let is_rival = |id: NodeId| self.rivals.contains(&id);
        !self.rivals.is_empty() && (is_rival(node.id()) || root(node, asked).is_some_and(is_rival))
    }

    /// In words, for the log.
    pub(super) fn who_is_followed(&self) -> String {
        match self.owner {
            Some(owner) => format!("All standbys follow node {owner}."),
            None => "It is not seen that all standbys follow one of them.".to_owned(),
        }
    }
}

/// Whether a standby streams from this node: one of the two says so.
pub(super) fn streams_from(standby: &Asked, feeder: &Asked) -> bool {
    receives_from(standby, feeder) || is_fed_by(standby, feeder)
}

fn receives_from(standby: &Asked, feeder: &Asked) -> bool {
    let upstream = standby.answer().and_then(|answer| answer.upstream.as_ref());
    standby.id() != feeder.id() && upstream.is_some_and(|upstream| leads_to(upstream, &feeder.backend))
}

fn is_fed_by(standby: &Asked, feeder: &Asked) -> bool {
    let name = &standby.backend.application_name;
    let is_it = |replica: &Replica| replica.application_name == *name && replica.state == "streaming";
    let listed = |feed: &Answer| !name.is_empty() && feed.replicas.iter().any(is_it);
    standby.id() != feeder.id()
        && standby.answer().is_some_and(|answer| answer.in_recovery)
        && feeder.answer().is_some_and(listed)
}

/// The node that all standbys follow, directly or over others.
fn owner(asked: &[Asked]) -> Option<NodeId> {
    let mut roots = standbys(asked).map(|node| root(node, asked));
    let first = roots.next()??;
    roots.all(|root| root == Some(first)).then_some(first)
}

/// How many standbys follow this node, and how many there are.
pub(super) fn standbys_of(id: NodeId, asked: &[Asked]) -> (usize, usize) {
    (standbys(asked).filter(|node| root(node, asked) == Some(id)).count(), standbys(asked).count())
}

fn standbys(asked: &[Asked]) -> impl Iterator<Item = &Asked> {
    asked.iter().filter(|node| node.usable() && node.answer().is_some() && !node.claims())
}

/// The primary at the end of the way up from a standby.
pub(super) fn root(node: &Asked, asked: &[Asked]) -> Option<NodeId> {
    let mut at = node;
    for _ in asked {
        if at.claims() {
            return Some(at.id());
        }
        // What the standby says is newer than what a server knows that may have lost it.
        let receives = asked.iter().find(|other| receives_from(at, other));
        at = receives.or_else(|| asked.iter().find(|other| is_fed_by(at, other)))?;
    }
    None
}

/// Whether a standby that receives from there receives from this node. Two names of one host are not known to be one,
/// except for this host: that only means that less can be told.
fn leads_to(upstream: &Upstream, backend: &Backend) -> bool {
    let same_host =
        || upstream.host == backend.hostname || is_local(&upstream.host) && is_local(&backend.hostname);
    upstream.port == backend.port && same_host()
}

fn is_local(host: &str) -> bool {
    host.starts_with('/') || host.starts_with("127.") || ["localhost", "::1"].contains(&host)
}
