//! What the answers of one round of the replication check mean: roles, delays, who is the primary.
//!
//! Pure: no socket, no clock, no shared memory. `role::replication` asks the nodes, hands their
//! answers to [`Tracker::round`] and does what comes back: probes to write, a primary to ask for, lines to log.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use crate::config::LogStandbyDelay;
use crate::error::NodeId;
use crate::log::Level;
use crate::shm::{NodeStatus, PgRole, PgStatus, Probe, Text};

/// A position in the write-ahead log, as a count of bytes.
pub type Lsn = u64;

/// What one node answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// `pg_is_in_recovery()`: the node is a standby.
    pub in_recovery: bool,
    /// How far a primary has written or a standby replayed; `None` if it could not tell.
    pub lsn: Option<Lsn>,
    /// The standbys a primary feeds.
    pub replicas: Vec<Replica>,
}

/// A row of pg_stat_replication.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replica {
    pub application_name: String,
    pub state: String,
    pub sync_state: String,
    /// Null in PostgreSQL when the standby has caught up and nothing is being written.
    pub lag_micros: Option<u64>,
}

/// How asking one node ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Not asked: nothing to log in with, or a clustering mode without roles.
    NotAsked,
    /// Still at it when the round closed.
    Late,
    /// No connection, no login, or no answer; the text says which.
    Failed(String),
    Answered(Answer),
}

/// A configured node, and what it replied.
#[derive(Debug, Clone)]
pub struct Asked {
    pub id: NodeId,
    /// What it calls itself in pg_stat_replication of the primary (`backend_application_nameN`); may be empty.
    pub application_name: String,
    /// ALWAYS_PRIMARY stands in its `backend_flagN`.
    pub always_primary: bool,
    pub status: NodeStatus,
    pub reply: Reply,
}

impl Asked {
    fn usable(&self) -> bool {
        matches!(self.status, NodeStatus::Waiting | NodeStatus::Up)
    }

    fn answer(&self) -> Option<&Answer> {
        match &self.reply {
            Reply::Answered(answer) => Some(answer),
            _ => None,
        }
    }
}

/// The parameters that count here.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub log_standby_delay: LogStandbyDelay,
    /// `delay_threshold`, bytes; 0 is no threshold.
    pub delay_threshold: u64,
    /// `delay_threshold_by_time`, microseconds; other than 0 it takes the place of `delay_threshold`.
    pub delay_threshold_micros: u64,
}

/// What is to be done after a round.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    pub probes: Vec<(NodeId, Probe)>,
    /// The primary, where it is another than the one everybody knows.
    pub new_primary: Option<Option<NodeId>>,
    /// Nodes that are down and have answered for the second round running.
    pub answers_again: Vec<NodeId>,
    pub lines: Vec<(Level, String)>,
}

/// What must be remembered from round to round, so that a fact is logged when it changes and not every time.
#[derive(Debug, Default)]
pub struct Tracker {
    primary: Option<NodeId>,
    roles: BTreeMap<NodeId, PgRole>,
    failures: BTreeMap<NodeId, String>,
    rivals: Vec<NodeId>,
    answers_while_down: BTreeMap<NodeId, u32>,
}

impl Tracker {
    /// Reads a round. `current` is the primary that all processes know now.
    pub fn round(&mut self, asked: &[Asked], current: Option<NodeId>, rules: &Rules, now: u64) -> Findings {
        let mut findings = Findings::default();
        let choice = choose_primary(asked, current);
        self.note_failures(asked, &mut findings.lines);
        self.note_roles(asked, choice.primary, &mut findings.lines);
        self.note_rivals(&choice, &mut findings.lines);
        findings.probes =
            asked.iter().map(|node| (node.id, probe(node, asked, choice.primary, now))).collect();
        note_delays(&findings.probes, choice.primary, rules, &mut findings.lines);
        findings.answers_again = self.answers_again(asked);
        if choice.primary != current {
            findings.new_primary = Some(choice.primary);
        }
        findings
    }

    /// A node that stops answering is said once, and again only with another reason.
    fn note_failures(&mut self, asked: &[Asked], lines: &mut Vec<(Level, String)>) {
        for node in asked {
            match &node.reply {
                Reply::Failed(reason) if self.failures.get(&node.id) != Some(reason) => {
                    lines.push((Level::Log, format!("replication check of node {}: {reason}", node.id)));
                    self.failures.insert(node.id, reason.clone());
                }
                Reply::Answered(_) => drop(self.failures.remove(&node.id)),
                _ => (),
            }
        }
    }

    fn note_roles(&mut self, asked: &[Asked], primary: Option<NodeId>, lines: &mut Vec<(Level, String)>) {
        let silent =
            |node: &Asked| matches!(node.reply, Reply::Late | Reply::Failed(_)) && !node.always_primary;
        // One that is kept although it does not answer was not found.
        let found = |id| !asked.iter().any(|node| node.id == id && silent(node));
        match primary {
            Some(id) if primary != self.primary && found(id) => {
                lines.push((Level::Log, format!("find_primary_node: primary node is {id}")));
                self.primary = primary;
            }
            None if self.primary.is_some() => {
                lines.push((Level::Log, "find_primary_node: no primary node found".to_owned()));
                self.primary = None;
            }
            _ => (),
        }
        for node in asked.iter().filter(|node| node.answer().is_some()) {
            let role = role_of(node);
            let known = self.roles.insert(node.id, role);
            if role == PgRole::Standby && known != Some(role) {
                lines.push((Level::Log, format!("find_primary_node: standby node is {}", node.id)));
            }
        }
    }

    fn note_rivals(&mut self, choice: &Choice, lines: &mut Vec<(Level, String)>) {
        if let Some(primary) = choice.primary
            && self.rivals != choice.rivals
        {
            for rival in &choice.rivals {
                let text = format!(
                    "node {rival} says it is a primary, and so does node {primary}: keeping node {primary}"
                );
                lines.push((Level::Warning, text));
            }
        }
        self.rivals.clone_from(&choice.rivals);
    }

    fn answers_again(&mut self, asked: &[Asked]) -> Vec<NodeId> {
        let mut found = Vec::new();
        for node in asked {
            if node.status != NodeStatus::Down || node.answer().is_none() {
                self.answers_while_down.remove(&node.id);
                continue;
            }
            let rounds = self.answers_while_down.entry(node.id).or_default();
            *rounds = rounds.saturating_add(1);
            if *rounds == 2 {
                found.push(node.id);
            }
        }
        found
    }
}

/// Whether the answer of this node alone settles who is the primary: then nobody need wait for slower nodes.
pub fn settles_primary(node: &Asked, others: &[Asked]) -> bool {
    node.usable()
        && node.answer().is_some_and(|answer| !answer.in_recovery)
        && (node.always_primary || !others.iter().any(|other| other.always_primary))
}

struct Choice {
    primary: Option<NodeId>,
    /// Other nodes that are no standbys either.
    rivals: Vec<NodeId>,
}

/// ALWAYS_PRIMARY wins, then the present primary while it is one, then the first node that is not in recovery.
/// A primary that merely does not answer stays what it is: its status is not decided here.
fn choose_primary(asked: &[Asked], current: Option<NodeId>) -> Choice {
    let usable = || asked.iter().filter(|node| node.usable());
    if let Some(node) = usable().find(|node| node.always_primary) {
        return Choice { primary: Some(node.id), rivals: Vec::new() };
    }
    if asked.iter().all(|node| node.reply == Reply::NotAsked) {
        return Choice { primary: usable().map(|node| node.id).min(), rivals: Vec::new() };
    }
    let is_primary = |node: &&Asked| node.answer().is_some_and(|answer| !answer.in_recovery);
    let candidates: Vec<NodeId> = usable().filter(is_primary).map(|node| node.id).collect();
    let unanswered = |id: &NodeId| usable().any(|node| node.id == *id && node.answer().is_none());
    let primary = current
        .filter(|id| candidates.contains(id))
        .or_else(|| candidates.iter().copied().min())
        .or_else(|| current.filter(unanswered));
    let rivals = candidates.into_iter().filter(|id| Some(*id) != primary).collect();
    Choice { primary, rivals }
}

fn role_of(node: &Asked) -> PgRole {
    match node.answer() {
        None => PgRole::Unknown,
        // Such a node may be a writer that its service runs in recovery (Aurora).
        Some(_) if node.always_primary => PgRole::Primary,
        Some(answer) if answer.in_recovery => PgRole::Standby,
        Some(_) => PgRole::Primary,
    }
}

fn probe(node: &Asked, asked: &[Asked], primary: Option<NodeId>, now: u64) -> Probe {
    let pg_status = match node.reply {
        Reply::NotAsked | Reply::Late => PgStatus::Unknown,
        Reply::Failed(_) => PgStatus::Down,
        Reply::Answered(_) => PgStatus::Up,
    };
    let primary = asked.iter().find(|other| Some(other.id) == primary);
    let delay = match primary {
        Some(primary) if primary.id == node.id => {
            Delay { bytes: Some(0), micros: Some(0), ..Delay::default() }
        }
        Some(primary) => delay(node, primary.answer()),
        None => Delay::default(),
    };
    Probe {
        pg_status,
        pg_role: role_of(node),
        lag_bytes: delay.bytes,
        lag_micros: delay.micros,
        state: Text::from(delay.state),
        sync_state: Text::from(delay.sync_state),
        replay_lsn: node.answer().and_then(|answer| answer.lsn).unwrap_or(0),
        at: now,
    }
}

#[derive(Default)]
struct Delay<'a> {
    bytes: Option<u64>,
    micros: Option<u64>,
    state: &'a str,
    sync_state: &'a str,
}

fn delay<'a>(node: &Asked, primary: Option<&'a Answer>) -> Delay<'a> {
    let (Some(answer), Some(primary)) = (node.answer(), primary) else { return Delay::default() };
    // The two were asked at the same time, not at one instant: a standby may seem to be ahead.
    let bytes = primary.lsn.zip(answer.lsn).map(|(written, replayed)| written.saturating_sub(replayed));
    let named = |replica: &&Replica| {
        !node.application_name.is_empty() && replica.application_name == node.application_name
    };
    let Some(replica) = primary.replicas.iter().find(named) else {
        return Delay { bytes, ..Delay::default() };
    };
    // PostgreSQL goes on showing the last delay for a while after the standby has caught up, then null.
    let micros = if bytes == Some(0) { Some(0) } else { replica.lag_micros };
    Delay { bytes, micros, state: &replica.state, sync_state: &replica.sync_state }
}

fn note_delays(
    probes: &[(NodeId, Probe)],
    primary: Option<NodeId>,
    rules: &Rules,
    lines: &mut Vec<(Level, String)>,
) {
    let Some(primary) = primary else { return };
    for (id, probe) in probes.iter().filter(|(id, _)| *id != primary) {
        if let Some(behind) = behind(probe, rules) {
            let text = format!(
                "Replication of node: {id} is behind {behind} from the primary server (node: {primary})"
            );
            lines.push((Level::Log, text));
        }
    }
}

/// How far behind, in words, if it is to be logged. Without a threshold nothing is over it.
fn behind(probe: &Probe, rules: &Rules) -> Option<String> {
    let by_time = rules.delay_threshold_micros > 0;
    let (delay, threshold) = match by_time {
        true => (probe.lag_micros?, rules.delay_threshold_micros),
        false => (probe.lag_bytes?, rules.delay_threshold),
    };
    let wanted = match rules.log_standby_delay {
        LogStandbyDelay::Always => delay > 0,
        LogStandbyDelay::IfOverThreshold => threshold > 0 && delay > threshold,
        LogStandbyDelay::None => false,
    };
    wanted.then(|| match by_time {
        true => format!("{} second(s)", seconds_text(delay)),
        false => format!("{delay} bytes"),
    })
}

/// Microseconds as seconds with six decimals.
pub fn seconds_text(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// A position as PostgreSQL writes it: two hexadecimal halves, `16/B374D848`.
pub fn parse_lsn(text: &str) -> Option<Lsn> {
    let (high, low) = text.split_once('/')?;
    let half = |part: &str| u32::from_str_radix(part, 16).ok().filter(|_| part.len() <= 8);
    Some(u64::from(half(high)?) << 32 | u64::from(half(low)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules =
        Rules { log_standby_delay: LogStandbyDelay::Always, delay_threshold: 0, delay_threshold_micros: 0 };

    fn node(id: NodeId, reply: Reply) -> Asked {
        let application_name = format!("server{id}");
        Asked { id, application_name, always_primary: false, status: NodeStatus::Up, reply }
    }

    fn primary(lsn: Lsn) -> Reply {
        Reply::Answered(Answer { in_recovery: false, lsn: Some(lsn), replicas: Vec::new() })
    }

    fn standby(lsn: Lsn) -> Reply {
        Reply::Answered(Answer { in_recovery: true, lsn: Some(lsn), replicas: Vec::new() })
    }

    fn failed() -> Reply {
        Reply::Failed("connection refused".to_owned())
    }

    fn texts(findings: &Findings) -> Vec<&str> {
        findings.lines.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn who_is_the_primary() {
        use NodeStatus::{Down, Up, Waiting};
        let down = |id, reply| Asked { status: Down, ..node(id, reply) };
        let always = |id, reply| Asked { always_primary: true, ..node(id, reply) };
        type Case = (&'static str, Vec<Asked>, Option<NodeId>, Option<NodeId>);
        let cases: Vec<Case> = vec![
            ("the one not in recovery", vec![node(0, standby(1)), node(1, primary(1))], None, Some(1)),
            ("a promoted one", vec![node(0, failed()), node(1, primary(1))], Some(0), Some(1)),
            ("demoted and nobody else", vec![node(0, standby(1)), node(1, standby(1))], Some(0), None),
            ("silent keeps its role", vec![node(0, failed()), node(1, standby(1))], Some(0), Some(0)),
            ("late keeps its role", vec![node(0, Reply::Late), node(1, standby(1))], Some(0), Some(0)),
            ("down loses its role", vec![down(0, failed()), node(1, standby(1))], Some(0), None),
            ("down is never chosen", vec![down(0, primary(1)), node(1, standby(1))], None, None),
            ("two: the present one stays", vec![node(0, primary(9)), node(1, primary(1))], Some(1), Some(1)),
            ("two, none known: the first", vec![node(0, primary(1)), node(1, primary(1))], None, Some(0)),
            (
                "ALWAYS_PRIMARY in recovery",
                vec![node(0, primary(1)), always(1, standby(1))],
                Some(0),
                Some(1),
            ),
            (
                "ALWAYS_PRIMARY but down",
                vec![node(0, primary(1)), Asked { status: Down, ..always(1, failed()) }],
                None,
                Some(0),
            ),
            (
                "nobody asked: first usable",
                vec![down(0, Reply::NotAsked), node(1, Reply::NotAsked)],
                None,
                Some(1),
            ),
            ("no nodes", vec![], None, None),
        ];
        for (name, asked, current, expected) in cases {
            assert_eq!(choose_primary(&asked, current).primary, expected, "{name}");
        }
        for status in [Up, Waiting] {
            let asked = [Asked { status, ..node(0, primary(1)) }];
            assert_eq!(choose_primary(&asked, None).primary, Some(0));
        }
    }

    #[test]
    fn roles_are_logged_when_they_change() {
        let mut tracker = Tracker::default();
        let asked = [node(0, primary(5)), node(1, standby(5))];
        let first = tracker.round(&asked, None, &RULES, 1);
        assert_eq!(
            texts(&first),
            ["find_primary_node: primary node is 0", "find_primary_node: standby node is 1"]
        );
        assert_eq!(first.new_primary, Some(Some(0)));
        let second = tracker.round(&asked, Some(0), &RULES, 2);
        assert!(second.lines.is_empty() && second.new_primary.is_none());
        let third = tracker.round(&[node(0, failed()), node(1, primary(6))], Some(0), &RULES, 3);
        assert_eq!(third.new_primary, Some(Some(1)));
        assert_eq!(
            texts(&third),
            ["replication check of node 0: connection refused", "find_primary_node: primary node is 1"]
        );
        let fourth = tracker.round(&[node(0, failed()), node(1, primary(6))], Some(1), &RULES, 4);
        assert!(fourth.lines.is_empty());
    }

    #[test]
    fn a_primary_that_does_not_answer_is_not_announced() {
        let mut tracker = Tracker::default();
        let silent = tracker.round(&[node(0, failed()), node(1, standby(5))], Some(0), &RULES, 1);
        assert!(!texts(&silent).contains(&"find_primary_node: primary node is 0"));
        let back = tracker.round(&[node(0, primary(5)), node(1, standby(5))], Some(0), &RULES, 2);
        assert_eq!(texts(&back), ["find_primary_node: primary node is 0"]);
        let gone = tracker.round(&[node(0, standby(5)), node(1, standby(5))], Some(0), &RULES, 3);
        assert_eq!(gone.new_primary, Some(None));
        assert!(texts(&gone).contains(&"find_primary_node: no primary node found"));
    }

    #[test]
    fn a_second_primary_is_warned_of_once() {
        let mut tracker = Tracker::default();
        let asked = [node(0, primary(5)), node(1, primary(5))];
        let warnings =
            |found: &Findings| found.lines.iter().filter(|(level, _)| *level == Level::Warning).count();
        assert_eq!(warnings(&tracker.round(&asked, Some(1), &RULES, 1)), 1);
        assert_eq!(warnings(&tracker.round(&asked, Some(1), &RULES, 2)), 0);
    }

    #[test]
    fn a_dead_node_that_answers_twice_is_reported_once() {
        let mut tracker = Tracker::default();
        let down = |reply| [node(0, primary(5)), Asked { status: NodeStatus::Down, ..node(1, reply) }];
        let mut again = |reply| tracker.round(&down(reply), Some(0), &RULES, 1).answers_again;
        assert!(again(standby(1)).is_empty());
        assert!(again(failed()).is_empty());
        assert!(again(standby(1)).is_empty());
        assert_eq!(again(standby(1)), [1]);
        assert!(again(standby(1)).is_empty());
    }

    #[test]
    fn delay_in_bytes_and_time() {
        let replica = |lag_micros| Replica {
            application_name: "server1".to_owned(),
            state: "streaming".to_owned(),
            sync_state: "async".to_owned(),
            lag_micros,
        };
        let cases = [
            (100, 40, Some(7), Some(60), Some(7)),
            (100, 100, None, Some(0), Some(0)),
            (100, 40, None, Some(60), None),
            (100, 101, Some(3), Some(0), Some(0)),
        ];
        for (written, replayed, lag, bytes, micros) in cases {
            let feed = Answer { in_recovery: false, lsn: Some(written), replicas: vec![replica(lag)] };
            let asked = [node(0, Reply::Answered(feed)), node(1, standby(replayed)), node(2, failed())];
            let found = Tracker::default().round(&asked, Some(0), &RULES, 77);
            let probes: Vec<&Probe> = found.probes.iter().map(|(_, probe)| probe).collect();
            assert_eq!((probes[0].lag_bytes, probes[0].pg_role), (Some(0), PgRole::Primary));
            assert_eq!((probes[1].lag_bytes, probes[1].lag_micros), (bytes, micros));
            assert_eq!((probes[1].state.as_str(), probes[1].sync_state.as_str()), ("streaming", "async"));
            assert_eq!((probes[1].replay_lsn, probes[1].at), (replayed, 77));
            assert_eq!((probes[2].pg_status, probes[2].lag_bytes), (PgStatus::Down, None));
        }
    }

    #[test]
    fn what_is_logged_of_a_delay() {
        use LogStandbyDelay::{Always, IfOverThreshold, None as Never};
        let (lag_bytes, lag_micros) = (Some(1000), Some(1_500_000));
        let probe = Probe { lag_bytes, lag_micros, ..probe(&node(1, standby(1)), &[], None, 0) };
        let cases = [
            (Always, 0, 0, Some("1000 bytes")),
            (Always, 5000, 0, Some("1000 bytes")),
            (IfOverThreshold, 0, 0, None),
            (IfOverThreshold, 1000, 0, None),
            (IfOverThreshold, 999, 0, Some("1000 bytes")),
            (IfOverThreshold, 999, 2_000_000, None),
            (IfOverThreshold, 0, 1_000_000, Some("1.500000 second(s)")),
            (Never, 1, 1, None),
        ];
        for (log_standby_delay, delay_threshold, delay_threshold_micros, expected) in cases {
            let rules = Rules { log_standby_delay, delay_threshold, delay_threshold_micros };
            assert_eq!(behind(&probe, &rules).as_deref(), expected, "{rules:?}");
        }
    }

    #[test]
    fn an_early_answer_settles_the_primary() {
        let always = Asked { always_primary: true, ..node(1, Reply::Late) };
        assert!(settles_primary(&node(0, primary(1)), &[node(1, Reply::Late)]));
        assert!(!settles_primary(&node(0, primary(1)), &[always]));
        assert!(!settles_primary(&node(0, standby(1)), &[]));
    }

    #[test]
    fn log_positions() {
        let cases = [
            ("0/0", Some(0)),
            ("16/B374D848", Some(0x16_B374_D848)),
            ("FFFFFFFF/FFFFFFFF", Some(u64::MAX)),
            ("", None),
            ("1", None),
            ("1/", None),
            ("123456789/0", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_lsn(text), expected, "{text}");
        }
    }
}
