//! How far standbys are behind: from the answers of a round, or from what a command tells.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::{Asked, Replica, Rules};
use crate::config::LogStandbyDelay;
use crate::error::NodeId;
use crate::log::{Level, Line};
use crate::shm::Probe;

/// What `replication_delay_source_cmd` told: microseconds of each node; `None`: it is down.
pub type Delays = BTreeMap<NodeId, Option<u64>>;

#[derive(Default)]
pub(super) struct Delay<'a> {
    pub(super) bytes: Option<u64>,
    pub(super) micros: Option<u64>,
    pub(super) state: &'a str,
    pub(super) sync_state: &'a str,
}

/// How far a node is behind the primary, if one is known.
pub(super) fn of<'a>(node: &Asked, asked: &'a [Asked], primary: Option<NodeId>, rules: &Rules) -> Delay<'a> {
    let Some(primary) = asked.iter().find(|other| Some(other.id()) == primary) else {
        return Delay::default();
    };
    if primary.id() == node.id() {
        return Delay { bytes: Some(0), micros: Some(0), ..Delay::default() };
    }
    let seen = behind(node, primary);
    match &rules.given {
        Some(given) => Delay { micros: given.get(&node.id()).copied().flatten(), ..seen },
        None => seen,
    }
}

fn behind<'a>(node: &Asked, primary: &'a Asked) -> Delay<'a> {
    let (Some(answer), Some(primary)) = (node.answer(), primary.answer()) else { return Delay::default() };
    // The two were asked at the same time, not at one instant: a standby may seem to be ahead.
    let bytes = primary.lsn.zip(answer.lsn).map(|(written, replayed)| written.saturating_sub(replayed));
    let name = &node.backend.application_name;
    let named = |replica: &&Replica| !name.is_empty() && replica.application_name == *name;
    let Some(replica) = primary.replicas.iter().find(named) else {
        return Delay { bytes, ..Delay::default() };
    };
    // PostgreSQL goes on showing the last delay for a while after the standby has caught up, then null.
    let micros = if bytes == Some(0) { Some(0) } else { replica.lag_micros };
    Delay { bytes, micros, state: &replica.state, sync_state: &replica.sync_state }
}

/// Lines about the delays of a round; those that a command tells are logged when it does.
pub(super) fn note_asked(
    probes: &[(NodeId, Probe)],
    primary: Option<NodeId>,
    rules: &Rules,
    lines: &mut Vec<Line>,
) {
    let Some(primary) = primary.filter(|_| rules.given.is_none()) else { return };
    for (id, probe) in probes.iter().filter(|(id, _)| *id != primary) {
        let by_time = rules.delay_threshold_micros > 0;
        let delay = if by_time { probe.lag_micros } else { probe.lag_bytes };
        lines.extend(delay.and_then(|delay| line(*id, delay, by_time, primary, rules)));
    }
}

/// Lines about the delays that a command has told.
pub fn note_given(given: &Delays, primary: Option<NodeId>, rules: &Rules) -> Vec<Line> {
    let Some(primary) = primary else { return Vec::new() };
    let others = given.iter().filter(|(id, _)| **id != primary);
    others.filter_map(|(id, delay)| line(*id, (*delay)?, true, primary, rules)).collect()
}

/// How far behind, in words, if it is to be logged. Without a threshold nothing is over it.
fn line(id: NodeId, delay: u64, by_time: bool, primary: NodeId, rules: &Rules) -> Option<Line> {
    let threshold = if by_time { rules.delay_threshold_micros } else { rules.delay_threshold };
    let wanted = match rules.log_standby_delay {
        LogStandbyDelay::Always => delay > 0,
        LogStandbyDelay::IfOverThreshold => threshold > 0 && delay > threshold,
        LogStandbyDelay::None => false,
    };
    let behind = match by_time {
        true => format!("{} second(s)", seconds_text(delay)),
        false => format!("{delay} bytes"),
    };
    let source = if rules.given.is_some() { " (external command)" } else { "" };
    let text = format!(
        "Replication of node: {id} is behind {behind} from the primary server (node: {primary}){source}"
    );
    wanted.then(|| Line::new(Level::Log, text))
}

/// Microseconds as seconds with six decimals.
pub fn seconds_text(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// What the command printed: milliseconds, a number for each node in order, or for each but the primary; a negative one
/// means that the node is down.
///
/// # Errors
/// What is wrong with it.
pub fn parse_delays(text: &str, nodes: &[NodeId], primary: Option<NodeId>) -> Result<Delays, String> {
    let words: Vec<&str> = text.split(|letter: char| letter.is_whitespace() || letter == ',').collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let replicas = || nodes.iter().copied().filter(|id| Some(*id) != primary);
    let ids: Vec<NodeId> = match words.len() {
        all if all == nodes.len() => nodes.to_vec(),
        few if few == replicas().count() => replicas().collect(),
        other => {
            let wanted = replicas().count();
            return Err(format!("{other} numbers for {} nodes (or {wanted} standbys)", nodes.len()));
        }
    };
    ids.into_iter().zip(words).map(|(id, word)| Ok((id, micros(word)?))).collect()
}

fn micros(word: &str) -> Result<Option<u64>, String> {
    match word.parse::<f64>() {
        // As large as it may be: a cast saturates.
        Ok(millis) if millis >= 0.0 => Ok(Some((millis * 1000.0) as u64)),
        Ok(millis) if millis < 0.0 => Ok(None),
        _ => Err(format!("\"{}\" is no number of milliseconds", word.chars().take(40).collect::<String>())),
    }
}
