//! The row of a node in the segment: what it is, how far it is behind, and why we think so.
#![forbid(unsafe_code)]

use super::primary::{Choice, root};
use super::{Asked, Reply, Rules, delay};
use crate::error::NodeId;
use crate::shm::{PgRole, PgStatus, Probe, Text};

pub(super) fn probe(node: &Asked, asked: &[Asked], choice: &Choice, rules: &Rules, now: u64) -> Probe {
    let pg_status = match node.reply {
        Reply::NotAsked | Reply::Late => PgStatus::Unknown,
        Reply::Failed(_) => PgStatus::Down,
        Reply::Answered(_) => PgStatus::Up,
    };
    let astray = choice.is_astray(node, asked);
    let delay = delay::of(node, asked, choice.primary.filter(|_| !astray), rules);
    let lsn = node.answer().and_then(|answer| answer.lsn);
    Probe {
        pg_status,
        pg_role: role(node),
        lag_bytes: delay.bytes,
        lag_micros: delay.micros,
        state: Text::from(delay.state),
        sync_state: Text::from(delay.sync_state),
        // A position on another branch of history says nothing about what the node has.
        replay_lsn: lsn.filter(|_| !astray).unwrap_or(0),
        at: now,
        asked_at: node.answer().map_or(0, |answer| answer.asked_at),
        astray,
        root: root(node, asked).map(|root| root as u64),
        why: Text::from(why(node, asked, choice).as_str()),
    }
}

pub(super) fn role(node: &Asked) -> PgRole {
    match node.answer() {
        None => PgRole::Unknown,
        // Such a node may be a writer that its service runs in recovery (Aurora).
        Some(_) if node.backend.always_primary => PgRole::Primary,
        Some(answer) if answer.in_recovery => PgRole::Standby,
        Some(_) => PgRole::Primary,
    }
}

/// Why the node has its role, to stand behind its number.
pub(super) fn why(node: &Asked, asked: &[Asked], choice: &Choice) -> String {
    let is_primary = choice.primary == Some(node.id());
    let rival_of = |id: NodeId| format!("is not in recovery, and neither is node {id}, which is the primary");
    match &node.reply {
        _ if node.backend.always_primary => "has ALWAYS_PRIMARY in its backend_flag".to_owned(),
        Reply::NotAsked if is_primary => "is the first that is in use; roles are not asked for".to_owned(),
        Reply::NotAsked => "is not asked for its role".to_owned(),
        Reply::Late => "has not answered in time".to_owned(),
        Reply::Failed(reason) => format!("does not answer: {reason}"),
        Reply::Answered(answer) if answer.in_recovery => match &answer.upstream {
            _ if choice.is_astray(node, asked) => "is in recovery and does not follow the primary".to_owned(),
            Some(from) => format!("is in recovery and receives from {}:{}", from.host, from.port),
            None => "is in recovery".to_owned(),
        },
        Reply::Answered(answer) => match (choice.primary, answer.timeline) {
            (Some(primary), _) if !is_primary => rival_of(primary),
            (_, Some(timeline)) => format!("is not in recovery, timeline {timeline}"),
            (_, None) => "is not in recovery".to_owned(),
        },
    }
}
