//! The nodes together: who streams from whom, which standbys a commit waits for, promotion and rejoining.
//!
//! What is true of the cluster stands here; what the program thinks of it stands in the segment.

use std::collections::{BTreeMap, BTreeSet};

use pgbalancer::error::NodeId;

use super::dice::Dice;
use super::postgres::{Node, Surroundings};
use super::statement::Id;

/// All nodes.
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    /// The node whose log is the truth: the one that was promoted last.
    pub(super) leader: NodeId,
    /// Standbys that have all that was ever acknowledged: commits wait for each of them.
    pub(super) attached: BTreeSet<NodeId>,
    pub(super) is_synchronous: bool,
    pub(super) executed: BTreeMap<Id, u32>,
    /// Writes since somebody looked last.
    pub(super) writes: u64,
    last_number: u64,
    dice: Dice,
}

impl Cluster {
    /// Node 0 is the primary, the others follow it.
    pub(super) fn new(nodes: usize, is_synchronous: bool, dice: Dice) -> Cluster {
        let upstream = |node: NodeId| (node > 0).then_some(0);
        Cluster {
            nodes: (0..nodes).map(|node| Node::new(node, upstream(node), is_synchronous)).collect(),
            leader: 0,
            attached: (1..nodes).collect(),
            is_synchronous,
            executed: BTreeMap::new(),
            writes: 0,
            last_number: 0,
            dice,
        }
    }

    /// A server process goes on. How long until it may again, and how much the node has committed since.
    pub(super) fn work(&mut self, node: NodeId, connection: usize) -> Option<u64> {
        let Cluster { nodes, executed, writes, last_number, dice, .. } = self;
        let Node { storage, processes, .. } = &mut nodes[node];
        let process = processes.get_mut(&connection)?;
        let found = process.work(storage, &mut Surroundings { dice, last_number, executed, writes });
        self.confirm();
        found
    }

    /// Standbys that follow a node and could get more of its log.
    pub(super) fn behind(&self, node: NodeId) -> Vec<NodeId> {
        let log = self.nodes[node].storage.log.len();
        let behind = |other: &&Node| other.upstream == Some(node) && other.storage.log.len() < log;
        self.nodes.iter().filter(behind).map(|other| other.id).collect()
    }

    /// A standby gets what its upstream has. Whether it has got anything.
    pub(super) fn stream(&mut self, node: NodeId) -> bool {
        let Some(upstream) = self.nodes[node].upstream else { return false };
        let (from, to) = (&self.nodes[upstream], &self.nodes[node]);
        let flows = from.is_well() && to.is_well() && to.storage.is_continued_by(&from.storage);
        if !flows {
            return false;
        }
        let more = from.storage.log[to.storage.log.len()..].to_vec();
        let moved = !more.is_empty();
        self.nodes[node].storage.log.extend(more);
        if upstream == self.leader {
            self.attached.insert(node);
        }
        self.confirm();
        moved
    }

    /// A standby makes what it has got visible.
    pub(super) fn replay(&mut self, node: NodeId, up_to: usize) {
        let storage = &mut self.nodes[node].storage;
        storage.replayed = storage.replayed.max(up_to.min(storage.log.len()));
    }

    /// What the leader may tell its clients. One that is no longer the leader gets no confirmation any more.
    fn confirm(&mut self) {
        let have = self.attached.iter().map(|node| self.nodes[*node].storage.log.len());
        let storage = &self.nodes[self.leader].storage;
        let confirmed = have.min().unwrap_or(storage.log.len()).min(storage.log.len());
        let storage = &mut self.nodes[self.leader].storage;
        storage.confirmed = storage.confirmed.max(confirmed);
    }

    /// The leader gives up a standby that has been away for long: its commits go on without it.
    pub(super) fn give_up(&mut self, node: NodeId) {
        if self.nodes[self.leader].is_well() && !self.nodes[node].is_well() {
            self.attached.remove(&node);
            self.confirm();
        }
    }

    /// Whether no acknowledged commit is lost if this node becomes the primary.
    pub(super) fn is_safe(&self, node: NodeId) -> bool {
        !self.is_synchronous || self.attached.contains(&node)
    }

    /// A standby that could be promoted now: the preferred one, or the one that has most.
    pub(super) fn candidate(&self, preferred: Option<NodeId>) -> Option<NodeId> {
        let may = |node: &&Node| node.is_well() && node.storage.is_standby && self.is_safe(node.id);
        let all: Vec<&Node> = self.nodes.iter().filter(may).collect();
        let wanted = all.iter().find(|node| Some(node.id) == preferred);
        wanted.or(all.iter().max_by_key(|node| node.storage.log.len())).map(|node| node.id)
    }

    /// A primary that stops in order first sends a standby all that it has. Whether that is so.
    pub(super) fn catch_up(&mut self, node: NodeId) -> bool {
        self.stream(node);
        self.nodes[node].storage.log.len() == self.nodes[self.leader].storage.log.len()
    }

    /// From now on commits are told before the standbys have them.
    pub(super) fn commit_early(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.storage.is_synchronous = false);
    }

    /// A standby becomes the primary.
    pub(super) fn promote(&mut self, node: NodeId) {
        let timeline = self.nodes.iter().map(|node| node.storage.timeline).max().unwrap_or_default() + 1;
        let promoted = &mut self.nodes[node];
        promoted.storage.timeline = timeline;
        promoted.storage.is_standby = false;
        promoted.storage.replayed = promoted.storage.log.len();
        promoted.storage.lies = super::postgres::Lies::default();
        promoted.upstream = None;
        self.leader = node;
        self.attached.clear();
        self.confirm();
    }

    /// A standby follows the leader from now on. One that has what the leader lacks loses it, and its processes.
    /// Returns the connections of those.
    pub(super) fn follow(&mut self, node: NodeId) -> Vec<usize> {
        let leader = self.leader;
        let common = {
            let (ours, theirs) = (&self.nodes[node].storage.log, &self.nodes[leader].storage.log);
            ours.iter().zip(theirs).take_while(|(one, other)| one == other).count()
        };
        let node = &mut self.nodes[node];
        let rewinds = common < node.storage.log.len() || !node.storage.is_standby;
        node.upstream = Some(leader);
        node.storage.is_standby = true;
        node.storage.log.truncate(common);
        node.storage.replayed = node.storage.replayed.min(common);
        node.storage.confirmed = node.storage.confirmed.min(common);
        match rewinds {
            true => std::mem::take(&mut node.processes).into_keys().collect(),
            false => Vec::new(),
        }
    }

    /// How often each row stands on a node.
    pub(super) fn rows(&self, node: NodeId) -> BTreeMap<Id, u32> {
        let mut rows = BTreeMap::new();
        for id in self.nodes[node].storage.log.iter().flat_map(|record| &record.ids) {
            *rows.entry(*id).or_default() += 1;
        }
        rows
    }
}
