//! What the operator's scripts do, when they do it: well or badly, soon or late, or never.

use std::collections::BTreeMap;

use pgbalancer::cluster::failover::{Command, Input, Request, Script, ScriptEnd, ScriptId};
use pgbalancer::error::NodeId;

use super::super::dice::Dice;
use super::super::event::Event;
use super::super::schedule::{MILLISECOND, SECOND};
use super::super::world::World;

/// How a script behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Does what it is for.
    Well,
    /// And ends the old primary first.
    Fences,
    /// Does it, and says that it failed.
    Complains,
    /// Does nothing, and says so.
    Fails,
    /// Does nothing, and says that all is well.
    Lies,
    /// Does nothing for ever.
    Hangs,
}

/// A script that runs.
#[derive(Clone, Debug)]
struct Run {
    script: Script,
    manner: Manner,
}

/// All scripts that run.
pub(super) struct Scripts {
    running: BTreeMap<ScriptId, Run>,
    dice: Dice,
}

impl Scripts {
    pub(super) fn new(dice: Dice) -> Scripts {
        Scripts { running: BTreeMap::new(), dice }
    }
}

/// What the line of a script says: the node that it is about, the new main node, and the old primary.
fn told(line: &str) -> (Option<NodeId>, Option<NodeId>, Option<NodeId>) {
    let mut words = line.split_whitespace().skip(1).map(|word| word.parse().ok());
    (words.next().flatten(), words.next().flatten(), words.next().flatten())
}

impl World {
    pub(super) fn run_script(&mut self, script: Script) {
        let dice = &mut self.supervisor.scripts.dice;
        let manner = match dice.below(20) {
            _ if self.scenario.is_planned => Manner::Fences,
            0 | 1 => Manner::Fails,
            2 => Manner::Lies,
            3 => Manner::Hangs,
            4 => Manner::Complains,
            5..=9 => Manner::Fences,
            _ => Manner::Well,
        };
        let takes = match dice.below(6) {
            0 if self.scenario.is_planned => 200 * MILLISECOND,
            0 => dice.between(SECOND, 8 * SECOND),
            1 => dice.between(MILLISECOND, 5 * MILLISECOND),
            _ => dice.between(5 * MILLISECOND, 500 * MILLISECOND),
        };
        self.trace
            .note(self.network.schedule.now, || format!("script {manner:?}, {takes} us: {}", script.line));
        match manner {
            Manner::Fails | Manner::Lies => self.saw("a script fails"),
            Manner::Hangs => self.saw("a script hangs"),
            _ => {}
        }
        let id = script.id;
        self.supervisor.scripts.running.insert(id, Run { script, manner });
        self.network.schedule.after(takes, Event::ScriptActs(id));
        if matches!(manner, Manner::Fails | Manner::Lies | Manner::Hangs) {
            // Somebody sees to it by hand.
            let delay = self.supervisor.dice.between(SECOND, 10 * SECOND);
            self.network.schedule.after(delay, Event::ByHand);
        }
    }

    /// A script is ended from outside.
    pub(super) fn end_script(&mut self, id: ScriptId) {
        if self.supervisor.scripts.running.contains_key(&id) {
            self.network.schedule.after(MILLISECOND, Event::ScriptEnds(id, true));
        }
    }

    /// An operator ends the scripts that hang.
    pub(super) fn end_hanging(&mut self) {
        let hangs = |(id, run): (&ScriptId, &Run)| (run.manner == Manner::Hangs).then_some(*id);
        let hanging: Vec<ScriptId> = self.supervisor.scripts.running.iter().filter_map(hangs).collect();
        for id in hanging {
            self.script_ends(id, true);
        }
    }

    pub(in super::super) fn script_acts(&mut self, id: ScriptId) {
        let Some(Run { script, manner }) = self.supervisor.scripts.running.get(&id).cloned() else { return };
        let (node, main, old_primary) = told(&script.line);
        if manner == Manner::Hangs {
            return;
        }
        if matches!(manner, Manner::Well | Manner::Fences | Manner::Complains) {
            match script.command {
                Command::Failover if node.is_some() && node == old_primary => {
                    self.promote_other(main, manner == Manner::Fences);
                }
                Command::FollowPrimary => {
                    if let Some(node) = node {
                        self.rejoin(node);
                        if self.cluster.nodes[node].upstream == Some(self.cluster.leader) {
                            self.ask(Request::Attach { node });
                        }
                    }
                }
                Command::Failover | Command::Failback => {}
            }
        }
        let delay = self.supervisor.scripts.dice.between(0, 300 * MILLISECOND);
        self.network.schedule.after(delay, Event::ScriptEnds(id, false));
    }

    /// A standby takes the place of the leader, which may still run: the preferred one if it has all, or another.
    fn promote_other(&mut self, preferred: Option<NodeId>, fences: bool) {
        let leader = self.cluster.leader;
        if Some(leader) == preferred {
            return;
        }
        let Some(next) = self.cluster.candidate(preferred) else { return };
        if fences && self.cluster.nodes[leader].is_up {
            self.trace.note(self.now(), || format!("node {leader} is fenced"));
            self.stop(leader);
            // It comes back as a standby, by and by.
            self.network.schedule.after(2 * SECOND, Event::Restart(leader));
        }
        self.promote(next);
    }

    pub(in super::super) fn script_ends(&mut self, id: ScriptId, killed: bool) {
        let Some(run) = self.supervisor.scripts.running.remove(&id) else { return };
        let end = match (killed, run.manner) {
            (true, _) => ScriptEnd::Killed(15),
            (false, Manner::Fails | Manner::Complains) => ScriptEnd::Exited(1),
            (false, _) => ScriptEnd::Exited(0),
        };
        self.trace.note(self.network.schedule.now, || format!("script ends, {end:?}: {}", run.script.line));
        self.manage(Input::ScriptEnded { script: id, end });
    }

    /// Somebody promotes a standby when no primary works and no script has seen to it.
    pub(in super::super) fn by_hand(&mut self) {
        if !self.cluster.nodes[self.cluster.leader].is_well() {
            self.promote_other(None, false);
        }
    }
}
