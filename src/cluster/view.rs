//! The cluster as one session sees it at one instant: plain data, copied out of shared memory.
//!
//! Routing decides over this and never touches the segment, so a decision can be replayed anywhere.
#![forbid(unsafe_code)]

use crate::config::Config;
use crate::error::NodeId;
use crate::shm::{Hold, NodeStatus, Segment};

/// How often a view that changes meanwhile is taken again; the next turn sees what changes then.
const LOOKS: usize = 8;

/// All configured nodes, the unusable ones too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterView {
    /// In order of their numbers.
    pub nodes: Vec<NodeView>,
    /// The primary, if one is known.
    pub primary: Option<NodeId>,
    /// The usable node of the lowest number.
    pub main: Option<NodeId>,
    /// What sessions hold back.
    pub hold: Hold,
    /// Operators hold all new transactions back.
    pub paused: bool,
}

impl ClusterView {
    /// The state of the nodes as routing sees it: of one moment, since half a failover would send a write astray.
    pub fn of(segment: &Segment, config: &Config) -> ClusterView {
        let mut generation = segment.generation();
        let mut view = ClusterView::look(segment, config);
        for _ in 0..LOOKS {
            let now = segment.generation();
            if now == generation {
                break;
            }
            (generation, view) = (now, ClusterView::look(segment, config));
        }
        view
    }

    fn look(segment: &Segment, config: &Config) -> ClusterView {
        let primary = segment.primary();
        let nodes: Vec<NodeView> = config
            .backends()
            .into_iter()
            .map(|backend| {
                let row = segment.node(backend.id);
                NodeView {
                    id: backend.id,
                    // What a second primary has need not be what the primary has.
                    usable: matches!(row.status, NodeStatus::Waiting | NodeStatus::Up) && !row.probe.astray,
                    orderly: row.orderly,
                    weight: segment.weight(backend.id).unwrap_or(backend.weight),
                    is_primary: primary == Some(backend.id),
                    lag_bytes: row.probe.lag_bytes,
                    lag_micros: row.probe.lag_micros,
                }
            })
            .collect();
        let usable = |id: &NodeId| nodes.iter().any(|node| node.id == *id && node.usable);
        let main = nodes.iter().find(|node| node.usable).map(|node| node.id);
        let (hold, paused) = (segment.hold().0, segment.pause().is_some());
        ClusterView { primary: primary.filter(usable), main, nodes, hold, paused }
    }

    /// The node of that number.
    pub fn node(&self, id: NodeId) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Where writes go: the primary, or the main node where there is none; nowhere while the next one is looked for.
    pub fn writer(&self) -> Option<NodeId> {
        self.primary.or(self.main.filter(|_| self.hold != Hold::Writes))
    }

    /// Whether sessions may use the node.
    pub fn is_usable(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| node.usable)
    }
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    /// Its number.
    pub id: NodeId,
    /// Sessions may use it.
    pub usable: bool,
    /// Where they may not: an operator wants so, and it is well.
    pub orderly: bool,
    /// Its share of the reads, on any scale; 0: none.
    pub weight: f64,
    /// It takes the writes.
    pub is_primary: bool,
    /// Bytes of WAL that it has not replayed; None: not known.
    pub lag_bytes: Option<u64>,
    /// Age of what it replayed last; None: not known.
    pub lag_micros: Option<u64>,
}
