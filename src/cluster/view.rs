//! The cluster as one session sees it at one instant: plain data, copied out of shared memory.
//!
//! Routing decides over this and never touches the segment, so a decision can be replayed anywhere.
#![forbid(unsafe_code)]

use crate::error::NodeId;

/// All configured nodes, the unusable ones too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterView {
    /// In order of their numbers.
    pub nodes: Vec<NodeView>,
    /// The primary, if one is known.
    pub primary: Option<NodeId>,
    /// The usable node of the lowest number.
    pub main: Option<NodeId>,
}

impl ClusterView {
    /// The node of that number.
    pub fn node(&self, id: NodeId) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Where writes go: the primary, or the main node while no primary is known.
    pub fn writer(&self) -> Option<NodeId> {
        self.primary.or(self.main)
    }
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    /// Its number.
    pub id: NodeId,
    /// Sessions may use it.
    pub usable: bool,
    /// Its share of the reads, on any scale; 0: none.
    pub weight: f64,
    /// It takes the writes.
    pub is_primary: bool,
    /// Bytes of WAL that it has not replayed; None: not known.
    pub lag_bytes: Option<u64>,
    /// Age of what it replayed last; None: not known.
    pub lag_micros: Option<u64>,
}
