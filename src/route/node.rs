//! Which node serves reads: drawn by weight, then checked against replication delay.
//!
//! The random number is an argument, so the same draw can be made again.
#![forbid(unsafe_code)]

use super::learn::Candidate;
use super::{Mode, Preference, Reason, RouteConfig};
use crate::cluster::view::{ClusterView, NodeView};
use crate::config::RedirectTo;
use crate::error::NodeId;

/// How one of the nodes is drawn that the function admits: by a number in 0..1. None: it admits none that may be drawn.
pub type Draw<'a> = &'a mut dyn FnMut(f64, &dyn Fn(&NodeView) -> bool) -> Option<NodeId>;

/// Draws a node for reads; `random` is in 0..1.
///
/// A preference of the session's comes first, for its share of the draws: the rest goes to the other nodes, and all of
/// it while the preferred node is not usable. Without any weight the main node serves. None: no node is usable.
pub fn choose_balance_node(
    cluster: &ClusterView,
    config: &RouteConfig,
    preference: Option<Preference>,
    random: f64,
    draw: Draw<'_>,
) -> Option<NodeId> {
    if config.mode == Mode::Raw {
        return cluster.main;
    }
    if !config.load_balance {
        return cluster.writer();
    }
    let random = random.clamp(0.0, 1.0);
    let preferred = preference.and_then(|preference| prefer(cluster, preference, random, draw));
    preferred.or_else(|| draw(random, &|_| true)).or(cluster.main)
}

/// The node that a preference gives, if one can serve it.
fn prefer(
    cluster: &ClusterView,
    Preference { to, weight }: Preference,
    random: f64,
    draw: Draw<'_>,
) -> Option<NodeId> {
    // The part of the random number behind the decision is one again.
    let (is_for_it, rest) = if random < weight || weight >= 1.0 {
        (true, random / weight)
    } else {
        (false, (random - weight) / (1.0 - weight))
    };
    let usable = |id: NodeId| cluster.node(id).is_some_and(|node| node.usable);
    let writer = cluster.writer().filter(|id| usable(*id));
    let node = match to {
        RedirectTo::Node(id) => Some(id).filter(|id| usable(*id))?,
        RedirectTo::Primary => writer?,
        RedirectTo::Standby => {
            let standby = draw(rest, &|node| Some(node.id) != writer);
            return if is_for_it { standby } else { writer.or(standby) };
        }
    };
    if is_for_it { Some(node) } else { draw(rest, &|other| other.id != node).or(Some(node)) }
}

/// Draws among the usable nodes that `may` serve, by weight. None: none of them has one.
pub fn draw_by_weight(cluster: &ClusterView, random: f64, may: &dyn Fn(&NodeView) -> bool) -> Option<NodeId> {
    let candidates = || cluster.nodes.iter().filter(|node| node.usable && node.weight > 0.0 && may(node));
    let total: f64 = candidates().map(|node| node.weight).sum();
    let mut left = random * total;
    for node in candidates() {
        if left < node.weight {
            return Some(node.id);
        }
        left -= node.weight;
    }
    // Rounding can leave a crumb behind the last candidate.
    candidates().next_back().map(|node| node.id)
}

/// Those of the usable nodes that `may` serve which have a weight and are not too far behind.
pub fn candidates<'a>(
    cluster: &'a ClusterView,
    config: &'a RouteConfig,
    may: &'a dyn Fn(&NodeView) -> bool,
) -> impl Iterator<Item = Candidate> + 'a {
    let able = cluster.nodes.iter().filter(|node| node.usable && node.weight > 0.0);
    let able = able.filter(move |node| matches!(lag(node, config), Lag::Within) && may(node));
    able.map(|node| Candidate { node: node.id, weight: node.weight })
}

/// The node for a read of a session whose node for reads is `balance_node`: that one, unless it is gone or
/// too far behind.
pub fn node_for_read(cluster: &ClusterView, config: &RouteConfig, balance_node: NodeId) -> (NodeId, Reason) {
    let fallback = cluster.writer().unwrap_or(balance_node);
    if config.mode == Mode::Raw {
        return (cluster.main.unwrap_or(balance_node), Reason::RawMode);
    }
    let Some(node) = cluster.node(balance_node).filter(|node| node.usable) else {
        return (fallback, Reason::NodeUnusable(balance_node));
    };
    let why = match lag(node, config) {
        Lag::Within => return (balance_node, Reason::BalanceNode),
        Lag::Over => Reason::DelayOver(balance_node),
        Lag::Unknown => Reason::DelayUnknown(balance_node),
    };
    if config.prefer_lower_delay_standby
        && let Some(better) = least_behind(cluster, config)
    {
        return (better, Reason::LowerDelay(balance_node));
    }
    (fallback, why)
}

enum Lag {
    Within,
    Over,
    Unknown,
}

/// Each threshold that is set must be kept; a delay that nobody knows keeps none.
fn lag(node: &NodeView, config: &RouteConfig) -> Lag {
    if node.is_primary || config.mode != Mode::StreamingReplication {
        return Lag::Within;
    }
    let limits = [(config.delay_threshold, node.lag_bytes), (config.delay_threshold_micros, node.lag_micros)];
    let mut unknown = false;
    for (limit, lag) in limits {
        match lag {
            _ if limit == 0 => {}
            Some(lag) if lag > limit => return Lag::Over,
            Some(_) => {}
            None => unknown = true,
        }
    }
    if unknown && !config.quirks { Lag::Unknown } else { Lag::Within }
}

/// The standby that is the least behind, among those that may serve reads now.
fn least_behind(cluster: &ClusterView, config: &RouteConfig) -> Option<NodeId> {
    cluster
        .nodes
        .iter()
        .filter(|node| node.usable && node.weight > 0.0 && !node.is_primary)
        .filter(|node| matches!(lag(node, config), Lag::Within))
        .min_by_key(|node| {
            if config.delay_threshold_micros > 0 {
                (node.lag_micros, node.lag_bytes)
            } else {
                (node.lag_bytes, None)
            }
        })
        .map(|node| node.id)
}
