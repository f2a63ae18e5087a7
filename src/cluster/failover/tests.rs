//! The manager, input by input. A step's actions are written as short lines, log lines as they stand in the log.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::error::NodeId;
use crate::log::Level;
use crate::shm::{Hold, NodeStatus};

const BY: i32 = 7;

/// Every value, in pgpool-II's letters.
const ALL: &str = "%d %h %p %D %m %H %M %P %r %R %N %S";

fn rules() -> Rules {
    Rules {
        streaming: true,
        failover_on_backend_error: true,
        failover_on_backend_shutdown: false,
        failover_command: "fo %d m=%m M=%M P=%P".to_owned(),
        failback_command: String::new(),
        follow_primary_command: String::new(),
        search_primary_node_timeout: Some(Duration::from_secs(300)),
        auto_failback: false,
        auto_failback_interval: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(15),
    }
}

struct Rig {
    manager: Manager,
    now: Duration,
    /// Scripts that were started and have not ended.
    running: Vec<ScriptId>,
    replies: Vec<Reply>,
    /// Who waits for an answer.
    waiting: BTreeSet<Ticket>,
}

impl Rig {
    /// Three nodes; the first is the primary.
    fn new(rules: Rules) -> Rig {
        let node = |id: NodeId| Node {
            data_directory: format!("/data/{id}"),
            status: NodeStatus::Up,
            ..Node::named(id, &format!("host{id}"), 5432)
        };
        let mut rig = Rig::of(rules, (0..3).map(node).collect());
        rig.ask(Request::Primary { node: Some(0) });
        rig
    }

    fn of(rules: Rules, nodes: Vec<Node>) -> Rig {
        let manager = Manager::new(rules, nodes);
        Rig {
            manager,
            now: Duration::from_secs(1000),
            running: Vec::new(),
            replies: Vec::new(),
            waiting: BTreeSet::new(),
        }
    }

    fn step(&mut self, input: Input) -> Vec<String> {
        let actions = self.manager.step(self.now, input);
        actions.into_iter().filter_map(|action| self.text(action)).collect()
    }

    fn text(&mut self, action: Action) -> Option<String> {
        let text = match action {
            Action::Log { level: Level::Log, text, .. } => text,
            Action::Log { level, text, .. } => format!("{}: {text}", level.name()),
            Action::SetStatus { node, status, .. } => format!("> node {node} {status:?}"),
            Action::SetPrimary(primary) => format!("> primary {primary:?}"),
            Action::SetHold(hold) => format!("> hold {hold:?}"),
            Action::WriteStatusFile => "> file".to_owned(),
            Action::Run(script) => {
                self.running.push(script.id);
                format!("> run {}", script.line)
            }
            Action::End(script) => format!("> end {script}"),
            Action::Look => "> look".to_owned(),
            Action::Answer(reply) => {
                self.replies.push(reply);
                return None;
            }
            Action::AnswerComes(ticket) => {
                assert!(self.waiting.insert(ticket));
                return None;
            }
            Action::AnswerTo(ticket, reply) => {
                assert!(self.waiting.remove(&ticket));
                self.replies.push(reply);
                return None;
            }
        };
        Some(text)
    }

    fn ask(&mut self, request: Request) -> Vec<String> {
        self.step(Input::Asked { request, by: BY })
    }

    fn ask_all(&mut self, requests: impl IntoIterator<Item = Request>) -> Vec<String> {
        requests.into_iter().flat_map(|request| self.ask(request)).collect()
    }

    fn fail(&mut self, node: NodeId) -> Vec<String> {
        self.ask(failed(node, Cause::HealthCheck))
    }

    /// The oldest script ends.
    fn end_script(&mut self, status: i32) -> Vec<String> {
        let script = self.running.remove(0);
        self.step(Input::ScriptEnded { script, end: ScriptEnd::Exited(status) })
    }

    /// Time passes, in steps of what is due.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut lines = Vec::new();
        while let Some(due) = self.manager.due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            lines.extend(self.step(Input::Time));
            assert!(self.manager.due().is_none_or(|next| next > self.now), "time that is due is not heeded");
        }
        self.now = end;
        lines.retain(|line| line != "> look");
        lines
    }

    fn statuses(&self) -> Vec<NodeStatus> {
        self.manager.nodes().iter().map(|node| node.status).collect()
    }

    fn reply(&self) -> &Reply {
        self.replies.last().unwrap()
    }

    fn refusal(&self) -> &str {
        match self.reply() {
            Reply::Refused(why) => why,
            Reply::Done => "",
        }
    }
}

fn failed(node: NodeId, cause: Cause) -> Request {
    Request::Failed { node, reason: "gone".to_owned(), cause }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

use NodeStatus::{Down, Quarantine, Up, Waiting};

#[test]
fn the_first_primary_is_taken_without_a_word() {
    let mut rig = Rig::of(rules(), vec![Node::named(0, "a", 1), Node::named(1, "b", 2)]);
    assert_eq!(rig.ask(Request::Primary { node: Some(1) }), ["> primary Some(1)"]);
    assert!(rig.ask(Request::Primary { node: Some(1) }).is_empty());
    assert_eq!(rig.manager.due(), None);
    assert!(!rig.manager.is_busy());
}

#[test]
fn a_failed_primary_is_replaced_by_the_one_that_the_script_promotes() {
    let mut rig = Rig::new(rules());
    let begun = [
        "received degenerate backend request for node_id: 0 from pid [7]",
        "Pgpool-II parent process has received failover request",
        "=== Starting degeneration. shutdown host host0(5432) ===",
        "> hold Writes",
        "> node 0 Down",
        "> primary None",
        "> file",
        "execute command: fo 0 m=1 M=0 P=0",
        "> run fo 0 m=1 M=0 P=0",
    ];
    assert_eq!(rig.fail(0), begun);
    assert_eq!(rig.reply(), &Reply::Done);
    rig.now += Duration::from_millis(1300);
    let searching = [
        "failover_command for node 0 has ended well after 1.3 s",
        "> look",
        "find_primary_node_repeatedly: waiting for finding a primary node",
        "> look",
    ];
    assert_eq!(rig.end_script(0), searching);
    let found = [
        "> primary Some(1)",
        "failover: set new primary node: 1",
        "failover: set new main node: 1",
        "=== Failover done. shutdown host host0(5432) ===",
        "> hold Nothing",
    ];
    assert_eq!(rig.ask(Request::Primary { node: Some(1) }), found);
    assert!(!rig.manager.is_busy());
    assert_eq!(rig.statuses(), [Down, Up, Up]);
}

#[test]
fn a_failed_standby_changes_no_role_and_holds_nobody_up() {
    let mut rig = Rig::new(rules());
    let lines = rig.fail(1);
    assert!(!lines.iter().any(|line| line.contains("primary ") || line.contains("hold")), "{lines:?}");
    assert!(lines.contains(&"> run fo 1 m=0 M=0 P=0".to_owned()), "{lines:?}");
    let done = [
        "failover_command for node 1 has ended well after 0.0 s",
        "failover: set new primary node: 0",
        "failover: set new main node: 0",
        "=== Failover done. shutdown host host1(5432) ===",
    ];
    assert_eq!(rig.end_script(0), done);
}

#[test]
fn without_a_script_the_search_begins_at_once() {
    let mut rig = Rig::new(Rules { failover_command: String::new(), ..rules() });
    let lines = rig.fail(0);
    let end = [
        "> hold Writes",
        "> node 0 Down",
        "> primary None",
        "> file",
        "find_primary_node_repeatedly: waiting for finding a primary node",
        "> look",
    ];
    assert_eq!(lines[lines.len() - 6..], end);
}

#[test]
fn who_may_take_a_node_out() {
    let on = |rules: Rules| Rules { failover_on_backend_shutdown: true, ..rules };
    let off = |rules: Rules| Rules { failover_on_backend_error: false, ..rules };
    type Change = fn(Rules) -> Rules;
    let cases: [(Cause, Change, bool, &str); 8] = [
        (Cause::Session, |rules| rules, true, ""),
        (Cause::Session, off, true, "failover_on_backend_error is off"),
        (Cause::Shutdown, |rules| rules, true, "failover_on_backend_shutdown is off"),
        (Cause::Shutdown, on, true, ""),
        (Cause::HealthCheck, off, true, ""),
        (Cause::FalsePrimary, off, true, ""),
        (Cause::HealthCheck, |rules| rules, false, "failover is disallowed on the node"),
        (Cause::Session, |rules| rules, false, "failover is disallowed on the node"),
    ];
    for (cause, change, allowed, refusal) in cases {
        let mut rig = Rig::new(change(rules()));
        rig.manager.nodes[1].allow_to_failover = allowed;
        rig.ask(failed(1, cause));
        assert!(rig.refusal().ends_with(refusal), "{cause:?} {:?}", rig.reply());
        assert_eq!(rig.refusal().is_empty(), refusal.is_empty(), "{cause:?}");
        assert_eq!(rig.statuses()[1], if refusal.is_empty() { Down } else { Up }, "{cause:?}");
    }
}

#[test]
fn that_a_node_must_stay_is_said_once_a_second() {
    let mut rig = Rig::new(rules());
    rig.manager.nodes[1].allow_to_failover = false;
    let text = "degenerate backend request for node_id: 1 from pid [7] is canceled because failover is \
                disallowed on the node";
    assert_eq!(rig.fail(1), [text]);
    assert!(rig.fail(1).is_empty());
    assert_eq!(rig.refusal(), text);
    rig.now += seconds(1);
    assert_eq!(rig.ask(Request::Detach { node: 1, gracefully: false }), [text]);
    assert_eq!(rig.refusal(), text);
}

#[test]
fn a_request_for_a_node_that_is_down_is_answered_and_dropped() {
    let mut rig = Rig::new(rules());
    rig.fail(1);
    for cause in [Cause::Session, Cause::HealthCheck] {
        assert!(rig.ask(failed(1, cause)).is_empty());
        assert_eq!(rig.reply(), &Reply::Done);
    }
    rig.ask(Request::Detach { node: 1, gracefully: false });
    assert_eq!(
        rig.refusal(),
        "invalid degenerate backend request, node id : 1 status: [3] is not valid for failover"
    );
}

#[test]
fn nodes_that_do_not_exist_are_refused() {
    let mut rig = Rig::new(rules());
    let requests = [
        failed(9, Cause::Session),
        Request::Answers { node: 9, streams: true },
        Request::Primary { node: Some(9) },
        Request::Detach { node: 9, gracefully: true },
        Request::Attach { node: 9 },
        Request::Promote { node: 9, switchover: true, gracefully: true },
        Request::Quarantine { node: 9, reason: String::new() },
    ];
    for request in requests {
        assert!(rig.ask(request).is_empty());
        assert_eq!(rig.refusal(), "there is no node 9");
    }
}

/// pgpool-II would look for a primary for `search_primary_node_timeout` before it heeds the second.
#[test]
fn a_standby_that_fails_while_a_primary_is_looked_for_has_its_script_at_once() {
    let mut rig = Rig::new(rules());
    rig.fail(0);
    rig.end_script(1);
    let lines = rig.fail(1);
    let expected = [
        "received degenerate backend request for node_id: 1 from pid [7]",
        "Pgpool-II parent process has received failover request",
        "=== Starting degeneration. shutdown host host1(5432) ===",
        "> node 1 Down",
        "> file",
        "execute command: fo 1 m=2 M=1 P=-1",
        "> run fo 1 m=2 M=1 P=-1",
    ];
    assert_eq!(lines, expected);
    rig.end_script(0);
    let found = rig.ask(Request::Primary { node: Some(2) });
    let end = [
        "> primary Some(2)",
        "failover: set new primary node: 2",
        "failover: set new main node: 2",
        "=== Failover done. shutdown host host0(5432) ===",
        "=== Failover done. shutdown host host1(5432) ===",
        "> hold Nothing",
    ];
    assert_eq!(found, end);
}

#[test]
fn scripts_of_nodes_that_fail_together_run_one_after_the_other() {
    let mut rig = Rig::new(rules());
    rig.fail(1);
    let lines = rig.fail(2);
    assert!(!lines.iter().any(|line| line.starts_with("> run")), "{lines:?}");
    assert_eq!(rig.statuses(), [Up, Down, Down]);
    let lines = rig.end_script(0);
    assert_eq!(lines[1..], ["execute command: fo 2 m=0 M=0 P=0", "> run fo 2 m=0 M=0 P=0"]);
    assert_eq!(rig.end_script(0).len(), 5);
}

#[test]
fn a_node_is_the_primary_as_soon_as_it_is_seen_although_the_script_hangs() {
    let mut rig = Rig::new(Rules { follow_primary_command: "fp %d".to_owned(), ..rules() });
    rig.fail(0);
    assert_eq!(rig.ask(Request::Primary { node: Some(1) }), ["> primary Some(1)", "> hold Nothing"]);
    // What follows waits for the script, but not for ever.
    let lines = rig.pass(seconds(299));
    assert_eq!(lines.len(), 29);
    assert_eq!(lines[0], "failover_command for node 0 still runs after 10 s");
    let lines = rig.pass(seconds(1));
    assert_eq!(
        lines[1],
        "WARNING: failover_command for node 0 has not ended after 300 s: nobody waits for it"
    );
    assert!(lines.contains(&"failover: set new primary node: 1".to_owned()), "{lines:?}");
    assert!(lines.contains(&"> run fp 0".to_owned()), "{lines:?}");
    let lines = rig.end_script(0);
    assert_eq!(lines, ["failover_command for node 0 has ended well after 300.0 s"]);
}

#[test]
fn a_search_ends_when_its_time_is_up() {
    let mut rig = Rig::new(Rules { search_primary_node_timeout: Some(seconds(3)), ..rules() });
    rig.fail(0);
    let failed = rig.end_script(7);
    assert_eq!(failed[0], "WARNING: failover_command for node 0 failed: exit status 7 after 0.0 s");
    assert!(rig.pass(Duration::from_millis(2999)).is_empty());
    let lines = rig.pass(Duration::from_millis(1));
    let expected = [
        "WARNING: no primary node was found within search_primary_node_timeout (3 s): what needs one waits no longer",
        "failover: set new primary node: -1",
        "failover: set new main node: 1",
        "=== Failover done. shutdown host host0(5432) ===",
        "> hold Nothing",
    ];
    assert_eq!(lines, expected);
    // One that is promoted later is taken all the same.
    let late = rig.ask(Request::Primary { node: Some(2) });
    let taken = ["> primary Some(2)", "failover: set new primary node: 2", "failover: set new main node: 1"];
    assert_eq!(late, taken);
    // Another failure is another reason to look: the script may promote one.
    let mut rig = Rig::new(Rules { search_primary_node_timeout: Some(seconds(3)), ..rules() });
    rig.fail(0);
    rig.end_script(7);
    rig.pass(seconds(3));
    rig.fail(1);
    assert_eq!(rig.manager.hold(), Hold::Writes);
}

#[test]
fn without_a_limit_the_search_goes_on() {
    let mut rig = Rig::new(Rules { search_primary_node_timeout: None, ..rules() });
    rig.fail(0);
    rig.end_script(0);
    assert!(rig.pass(seconds(1000)).is_empty());
    assert_eq!(rig.manager.hold(), Hold::Writes);
}

#[test]
fn during_a_search_the_nodes_are_looked_at_all_the_time() {
    let mut rig = Rig::new(rules());
    rig.fail(0);
    let looks = |rig: &mut Rig| {
        let due = rig.manager.due().unwrap();
        rig.now = rig.now.max(due);
        rig.step(Input::Time)
    };
    for _ in 0..5 {
        assert_eq!(looks(&mut rig), ["> look"]);
    }
    assert!(rig.now - seconds(1000) <= seconds(1));
}

#[test]
fn all_nodes_go_down_and_the_first_that_is_attached_works_again() {
    let mut rig = Rig::new(Rules { failback_command: ALL.to_owned(), ..rules() });
    rig.fail(1);
    rig.end_script(0);
    rig.fail(0);
    let last = rig.fail(2);
    let expected = [
        "=== Starting degeneration. shutdown host host2(5432) ===",
        "> node 2 Down",
        "WARNING: All the DB nodes are in down status and skip writing status file.",
        "failover: no valid backend node found",
        "> hold Nothing",
    ];
    assert_eq!(last[2..], expected);
    let lines = rig.end_script(0);
    assert_eq!(lines[lines.len() - 1], "> run fo 2 m=-1 M=2 P=-1");
    let lines = rig.end_script(0);
    let expected = [
        "find_primary_node_repeatedly: all of the backends are down. Giving up finding primary node",
        "failover: set new primary node: -1",
        "=== Failover done. shutdown host host0(5432) ===",
        "=== Failover done. shutdown host host2(5432) ===",
    ];
    assert_eq!(lines[2..], expected);
    assert!(!rig.manager.is_busy());
    // That they answer is not enough, as in pgpool-II.
    assert!(rig.ask_all((0..3).map(|node| Request::Answers { node, streams: false })).is_empty());
    let lines = rig.ask(Request::Attach { node: 0 });
    let expected = [
        "received failback request for node_id: 0 from pid [7]",
        "Pgpool-II parent process has received failover request",
        "=== Starting fail back. reconnect host host0(5432) ===",
        "> hold Writes",
        "> node 0 Waiting",
        "> file",
        "> look",
        "execute command: 0 host0 5432 /data/0 0 host0 2 2 5432 /data/0 host2 5432",
        "> run 0 host0 5432 /data/0 0 host0 2 2 5432 /data/0 host2 5432",
    ];
    assert_eq!(lines, expected);
    rig.end_script(0);
    let lines =
        rig.ask_all([Request::Answers { node: 0, streams: false }, Request::Primary { node: Some(0) }]);
    let expected = [
        "> node 0 Up",
        "> primary Some(0)",
        "failover: set new primary node: 0",
        "failover: set new main node: 0",
        "=== Failback done. reconnect host host0(5432) ===",
        "> hold Nothing",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_node_is_attached_beside_a_living_primary() {
    let mut rig = Rig::new(rules());
    rig.fail(2);
    // A script is at work: it is waited for.
    let lines = rig.ask(Request::Attach { node: 2 });
    assert_eq!(lines.len(), 2, "{lines:?}");
    let lines = rig.end_script(0);
    let expected = [
        "=== Starting fail back. reconnect host host2(5432) ===",
        "Node 0 is not down (status: 2)",
        "> node 2 Waiting",
        "> file",
        "> look",
        "failover: set new primary node: 0",
        "failover: set new main node: 0",
        "=== Failover done. shutdown host host2(5432) ===",
        "=== Failback done. reconnect host host2(5432) ===",
    ];
    assert_eq!(lines[1..], expected);
    let lines = rig.ask(Request::Attach { node: 1 });
    assert_eq!(lines[2], "invalid failback request, status: [2] of node id : 1 is invalid for failback");
}

#[test]
fn standbys_that_stream_come_back_by_themselves_only_if_wanted() {
    let streams = |node| Request::Answers { node, streams: true };
    let mut rig = Rig::new(rules());
    rig.fail(1);
    rig.end_script(0);
    assert!(rig.ask(streams(1)).is_empty());
    let mut rig = Rig::new(Rules { auto_failback: true, ..rules() });
    rig.fail(1);
    assert!(rig.ask(streams(1)).is_empty(), "not while a failover is under way");
    rig.end_script(0);
    assert!(rig.ask(Request::Answers { node: 1, streams: false }).is_empty(), "it must stream");
    let lines = rig.ask(streams(1));
    assert_eq!(lines[0], "request auto failback, node id:1");
    assert_eq!(rig.statuses()[1], Waiting);
    assert_eq!(rig.ask(streams(1)), ["> node 1 Up"]);
    // Not again within the interval; another node has one of its own.
    rig.fail(1);
    rig.end_script(0);
    rig.fail(2);
    rig.end_script(0);
    rig.now += seconds(59);
    assert!(rig.ask(streams(1)).is_empty());
    assert_eq!(rig.ask(streams(2))[0], "request auto failback, node id:2");
    rig.now += seconds(1);
    assert_eq!(rig.ask(streams(1))[0], "request auto failback, node id:1");
}

fn following() -> Rig {
    let command = "fp %d m=%m M=%M P=%P %H".to_owned();
    Rig::new(Rules { follow_primary_command: command, auto_failback: true, ..rules() })
}

#[test]
fn the_others_follow_the_new_primary_one_after_the_other() {
    let mut rig = following();
    rig.fail(0);
    rig.end_script(0);
    let lines = rig.ask(Request::Primary { node: Some(1) });
    let expected = [
        "> primary Some(1)",
        "starting follow degeneration. shutdown host host0(5432)",
        "starting follow degeneration. shutdown host host2(5432)",
        "> node 2 Down",
        "> file",
        "failover: 2 follow backends have been degenerated",
        "failover: set new primary node: 1",
        "failover: set new main node: 1",
        "=== Failover done. shutdown host host0(5432) ===",
        "start triggering follow command.",
        "execute command: fp 0 m=1 M=0 P=0 host1",
        "> run fp 0 m=1 M=0 P=0 host1",
        "> hold Nothing",
    ];
    assert_eq!(lines, expected);
    // Neither of these while the scripts are at work.
    assert!(rig.ask(Request::Answers { node: 2, streams: true }).is_empty());
    rig.ask(failed(1, Cause::FalsePrimary));
    assert_eq!(rig.refusal(), "follow_primary_command is at work");
    let lines = rig.end_script(0);
    assert_eq!(lines[1..], ["execute command: fp 2 m=1 M=0 P=0 host1", "> run fp 2 m=1 M=0 P=0 host1"]);
    // The script attaches its node, which does not wait for the script.
    let lines = rig.ask(Request::Attach { node: 2 });
    assert!(lines.contains(&"=== Failback done. reconnect host host2(5432) ===".to_owned()), "{lines:?}");
    rig.end_script(0);
    assert!(!rig.manager.is_busy());
    assert_eq!(rig.statuses(), [Down, Up, Waiting]);
}

#[test]
fn one_that_was_attached_meanwhile_needs_no_script() {
    let mut rig = following();
    rig.fail(0);
    rig.end_script(0);
    rig.ask(Request::Primary { node: Some(1) });
    rig.ask(Request::Attach { node: 2 });
    assert_eq!(rig.end_script(0), ["follow_primary_command for node 0 has ended well after 0.0 s"]);
}

#[test]
fn nobody_follows_where_nobody_was_found() {
    let mut rig = following();
    rig.manager.rules.search_primary_node_timeout = Some(seconds(1));
    rig.fail(0);
    rig.end_script(0);
    let lines = rig.pass(seconds(1));
    assert_eq!(lines[1], "failover: no follow backends are degenerated");
    assert_eq!(rig.statuses(), [Down, Up, Up]);
}

#[test]
fn when_the_new_primary_fails_the_others_stop_following_it() {
    let mut rig = following();
    rig.fail(0);
    rig.end_script(0);
    rig.ask(Request::Primary { node: Some(1) });
    rig.ask(Request::Attach { node: 2 });
    let follow = rig.running[0];
    rig.fail(1);
    rig.step(Input::ScriptEnded { script: rig.running[1], end: ScriptEnd::Exited(0) });
    let lines = rig.ask(Request::Primary { node: Some(2) });
    assert!(lines.contains(&format!("> end {follow}")), "{lines:?}");
    assert!(lines.contains(&"> run fp 0 m=2 M=1 P=1 host2".to_owned()), "{lines:?}");
    let ended = rig.step(Input::ScriptEnded { script: follow, end: ScriptEnd::Killed(15) });
    assert_eq!(ended, ["WARNING: follow_primary_command for node 0 was ended by signal 15 after 0.0 s"]);
}

#[test]
fn a_switchover_waits_for_transactions_and_for_the_standby() {
    let mut rig = following();
    let lines = rig.ask(Request::Promote { node: 2, switchover: true, gracefully: false });
    let expected = [
        "received degenerate backend request for node_id: 2 from pid [7]",
        "Pgpool-II parent process has received failover request",
        "switchover to node 2: new transactions wait until those under way have ended, at most 15 s",
        "> hold Transactions",
    ];
    assert_eq!(lines, expected);
    assert_eq!((rig.manager.watched(), rig.waiting.len()), (None, 1));
    assert!(rig.step(Input::Behind(Some(0))).is_empty(), "what was so before does not count");
    assert_eq!(rig.step(Input::Quiet), ["> look"]);
    assert_eq!(rig.manager.watched(), Some(2));
    assert!(rig.step(Input::Behind(Some(100))).is_empty());
    let lines = rig.step(Input::Behind(Some(0)));
    let expected = [
        "=== Starting degeneration. shutdown host host0(5432) ===",
        "> hold Writes",
        "> node 0 Down",
        "> primary None",
        "> file",
        "execute command: fo 0 m=2 M=0 P=0",
        "> run fo 0 m=2 M=0 P=0",
    ];
    assert_eq!(lines, expected);
    assert_eq!((rig.reply(), rig.waiting.len()), (&Reply::Done, 0));
    rig.end_script(0);
    let lines = rig.ask(Request::Primary { node: Some(2) });
    assert!(lines.contains(&"> run fp 0 m=2 M=0 P=0 host2".to_owned()), "{lines:?}");
    assert_eq!(rig.statuses(), [Down, Down, Up]);
}

#[test]
fn a_planned_change_that_takes_too_long_gives_up_rather_than_lose_something() {
    let switchover = |gracefully| Request::Promote { node: 1, switchover: true, gracefully };
    let name = "WARNING: switchover to node 1:";
    let given_up = "given up after 15 s, since";
    type Before = fn(&mut Rig);
    let nothing: Before = |_| {};
    let quiet: Before = |rig| drop(rig.step(Input::Quiet));
    let behind: Before = |rig| {
        rig.step(Input::Quiet);
        rig.step(Input::Behind(Some(5)));
    };
    let cases = [
        (true, nothing, format!("{name} {given_up} transactions are still under way"), false),
        (
            false,
            nothing,
            format!("{name} goes on after 15 s, although transactions are still under way"),
            true,
        ),
        (true, quiet, format!("{name} {given_up} nobody knows how far the standby is behind"), false),
        (
            false,
            quiet,
            format!("{name} goes on after 15 s, although nobody knows how far the standby is behind"),
            true,
        ),
        (
            false,
            behind,
            format!("{name} {given_up} the standby has not replayed 5 bytes of what the primary wrote"),
            false,
        ),
    ];
    for (gracefully, before, text, goes_on) in cases {
        let mut rig = Rig::new(rules());
        rig.ask(switchover(gracefully));
        before(&mut rig);
        assert!(rig.pass(Duration::from_millis(14_999)).is_empty());
        let lines = rig.pass(Duration::from_millis(1));
        assert_eq!(lines[0], text);
        assert_eq!(rig.manager.primary(), if goes_on { None } else { Some(0) }, "{text}");
        assert_eq!(rig.refusal().is_empty(), goes_on, "{text}");
        assert!(goes_on || text.ends_with(rig.refusal()), "{text}");
        assert_eq!(rig.manager.hold(), if goes_on { Hold::Writes } else { Hold::Nothing }, "{text}");
    }
}

#[test]
fn what_is_planned_waits_for_scripts_before_it_holds_sessions_up() {
    let mut rig = Rig::new(rules());
    rig.fail(1);
    let lines = rig.ask(Request::Detach { node: 2, gracefully: true });
    assert!(!lines.iter().any(|line| line.contains("hold") || line.contains("wait")), "{lines:?}");
    rig.now += seconds(10);
    let lines = rig.end_script(0);
    let text =
        "graceful detach of node 2: new transactions wait until those under way have ended, at most 15 s";
    assert!(
        lines.contains(&text.to_owned()) && lines.contains(&"> hold Transactions".to_owned()),
        "{lines:?}"
    );
    assert!(rig.pass(seconds(14)).is_empty());
    rig.step(Input::Quiet);
    assert_eq!((rig.statuses()[2], rig.reply()), (Down, &Reply::Done));
    // One that hangs ends it.
    rig.ask(Request::Detach { node: 0, gracefully: true });
    assert_eq!(
        rig.pass(seconds(15))[1],
        "WARNING: graceful detach of node 0: given up after 15 s, since a script of an earlier change still runs"
    );
}

#[test]
fn a_graceful_detach_waits_for_transactions() {
    let mut rig = Rig::new(rules());
    let lines = rig.ask(Request::Detach { node: 1, gracefully: true });
    assert_eq!(lines[lines.len() - 1], "> hold Transactions");
    assert_eq!(rig.statuses(), [Up, Up, Up]);
    let lines = rig.step(Input::Quiet);
    assert_eq!(lines[lines.len() - 1], "> hold Nothing");
    assert_eq!((rig.statuses(), rig.reply()), (vec![Up, Down, Up], &Reply::Done));
}

#[test]
fn failures_overtake_what_is_planned() {
    let switchover = Request::Promote { node: 2, switchover: true, gracefully: true };
    let planned = |node| {
        let mut rig = Rig::new(rules());
        rig.ask(switchover.clone());
        let lines = rig.fail(node);
        (rig.manager.hold(), lines, rig.refusal().to_owned(), rig.waiting.len())
    };
    let (hold, lines, refusal, waiting) = planned(0);
    assert_eq!((hold, refusal.as_str(), waiting), (Hold::Writes, "", 0));
    assert!(lines.contains(&"> run fo 0 m=2 M=0 P=0".to_owned()), "the wish counts: {lines:?}");
    let (hold, lines, ..) = planned(2);
    assert_eq!(hold, Hold::Nothing);
    let text = "switchover to node 2: no longer planned, since that node goes out of use";
    assert!(lines.contains(&text.to_owned()), "{lines:?}");
    let (hold, .., waiting) = planned(1);
    assert_eq!((hold, waiting), (Hold::Transactions, 1), "it is none of its nodes");
    // Somebody else is quicker.
    let mut rig = Rig::new(rules());
    rig.ask(switchover);
    let lines = rig.ask(Request::Primary { node: Some(1) });
    assert_eq!(lines[0], "switchover to node 2: no longer planned, since node 1 is the primary");
    assert_eq!(rig.manager.hold(), Hold::Nothing);
    assert_eq!(rig.replies[1], Reply::Refused("no longer planned, since node 1 is the primary".to_owned()));
}

#[test]
fn a_promotion_without_switchover_only_changes_roles() {
    let mut rig = following();
    let lines = rig.ask(Request::Promote { node: 2, switchover: false, gracefully: false });
    let expected = [
        "received promote backend request for node_id: 2 from pid [7]",
        "Pgpool-II parent process has received failover request",
        "starting promotion. promote host host2(5432)",
        "> primary Some(2)",
        "starting follow degeneration. shutdown host host0(5432)",
        "> node 0 Down",
        "> file",
        "starting follow degeneration. shutdown host host1(5432)",
        "> node 1 Down",
        "> file",
        "failover: 2 follow backends have been degenerated",
        "failover: set new primary node: 2",
        "failover: set new main node: 2",
        "=== Promotion done. promoted host host2(5432) ===",
        "start triggering follow command.",
        "execute command: fp 0 m=2 M=0 P=0 host2",
        "> run fp 0 m=2 M=0 P=0 host2",
    ];
    assert_eq!(lines, expected);
    // The operator promotes it after that: until then it says something else.
    assert!(rig.ask(Request::Primary { node: None }).is_empty());
    rig.now += seconds(300);
    let lines = rig.ask(Request::Primary { node: None });
    assert_eq!(lines[0], "WARNING: node 2 is no primary any more: looking for the one that is");
    assert_eq!(rig.manager.hold(), Hold::Writes);
}

#[test]
fn promotions_that_make_no_sense_are_refused() {
    let promote = |node, switchover| Request::Promote { node, switchover, gracefully: false };
    let mut rig = Rig::new(rules());
    rig.ask(promote(0, true));
    assert_eq!(rig.refusal(), "specified node is already primary node, can't promote node id 0");
    rig.ask(Request::Detach { node: 1, gracefully: true });
    rig.ask(promote(2, true));
    assert_eq!(rig.refusal(), "another change is planned already, or a primary is being looked for");
    rig.step(Input::Quiet);
    rig.end_script(0);
    rig.ask(promote(1, false));
    assert_eq!(rig.refusal(), "invalid promote backend request, node id : 1 status: [3] not valid");
    rig.ask(promote(1, true));
    assert_eq!(
        rig.refusal(),
        "invalid degenerate backend request, node id : 1 status: [3] is not valid for failover"
    );
    rig.manager.nodes[0].allow_to_failover = false;
    rig.ask(promote(2, true));
    assert!(rig.refusal().ends_with("failover is disallowed on the node"));
    rig.manager.nodes[0].allow_to_failover = true;
    rig.fail(0);
    rig.end_script(0);
    rig.ask(promote(2, true));
    assert_eq!(rig.refusal(), "there is no primary node to switch over from");
    // That is what the search waits for.
    rig.ask(promote(2, false));
    assert_eq!((rig.refusal(), rig.manager.primary()), ("", Some(2)));
    rig.manager.rules.streaming = false;
    rig.ask(promote(0, false));
    assert_eq!(rig.refusal(), "not in streaming replication mode");
}

#[test]
fn what_others_do_to_the_roles_counts_at_once() {
    let mut rig = Rig::new(rules());
    let lines = rig.ask(Request::Primary { node: Some(1) });
    let expected =
        ["> primary Some(1)", "failover: set new primary node: 1", "failover: set new main node: 0"];
    assert_eq!(lines, expected);
    let lines = rig.ask(Request::Primary { node: None });
    let expected = [
        "WARNING: node 1 is no primary any more: looking for the one that is",
        "> hold Writes",
        "> primary None",
        "find_primary_node_repeatedly: waiting for finding a primary node",
        "> look",
    ];
    assert_eq!(lines, expected);
    rig.fail(2);
    rig.ask(Request::Primary { node: Some(2) });
    assert_eq!(rig.refusal(), "node 2 is out of use", "what was seen before it failed");
}

#[test]
fn without_roles_the_next_node_takes_over_at_once() {
    let mut rig = Rig::new(Rules { streaming: false, follow_primary_command: "fp".to_owned(), ..rules() });
    let lines = rig.fail(0);
    assert!(lines.contains(&"> primary Some(1)".to_owned()), "{lines:?}");
    let lines = rig.end_script(0);
    let done = [
        "failover: set new primary node: 1",
        "failover: set new main node: 1",
        "=== Failover done. shutdown host host0(5432) ===",
    ];
    assert_eq!(lines[1..], done);
    assert_eq!(rig.manager.hold(), Hold::Nothing);
}

#[test]
fn quarantine_is_local_and_ends_when_the_node_answers() {
    let mut rig = Rig::new(Rules { failback_command: "fb".to_owned(), ..rules() });
    let lines = rig.ask(Request::Quarantine { node: 1, reason: "no majority".to_owned() });
    let expected = [
        "=== Starting quarantine. shutdown host host1(5432) ===",
        "> node 1 Quarantine",
        "> file",
        "failover: set new primary node: 0",
        "failover: set new main node: 0",
        "=== Failover done. shutdown host host1(5432) ===",
    ];
    assert_eq!(lines, expected);
    let lines = rig.ask(Request::Answers { node: 1, streams: false });
    assert!(lines.contains(&"> node 1 Waiting".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("> run")), "{lines:?}");
    // With a majority it is a failover.
    rig.ask(Request::Quarantine { node: 1, reason: String::new() });
    assert!(rig.fail(1).contains(&"> run fo 1 m=0 M=0 P=0".to_owned()));
    assert_eq!(rig.statuses(), [Up, Down, Up]);
    assert_ne!(rig.statuses()[1], Quarantine);
}

#[test]
fn a_reload_changes_the_rules_and_adds_nodes_that_wait_to_be_attached() {
    let mut rig = Rig::new(rules());
    rig.fail(1);
    rig.end_script(0);
    let mut nodes: Vec<Node> = rig.manager.nodes().to_vec();
    nodes[1].status = Up;
    nodes[2].allow_to_failover = false;
    nodes.push(Node::named(3, "host3", 5432));
    let lines = rig.step(Input::Reload(rules(), nodes));
    assert_eq!(lines, ["> node 3 Down", "> file"]);
    assert_eq!(rig.statuses(), [Up, Down, Up, Down]);
    rig.fail(2);
    assert!(rig.refusal().ends_with("disallowed on the node"));
}

#[test]
fn another_program_takes_over() {
    let mut rig = Rig::new(rules());
    rig.fail(1);
    let told = rig.manager.told();
    rig.step(Input::Retire);
    rig.fail(2);
    assert_eq!(rig.refusal(), "this program decides nothing any more");
    assert!(!rig.manager.is_busy() || !rig.running.is_empty());
    let mut other = Rig::of(rules(), (0..3).map(|id| Node::named(id, "h", 1)).collect());
    let lines = other.step(Input::Told(told));
    assert_eq!(lines, ["> node 0 Up", "> node 1 Down", "> node 2 Up", "> primary Some(0)"]);
    other.fail(0);
    let lines = rig.step(Input::Told(other.manager.told()));
    assert_eq!(lines, ["> hold Writes", "> node 0 Down", "> primary None"]);
    assert_eq!(rig.end_script(0), ["failover_command for node 1 has ended well after 0.0 s"]);
    // One that takes over in the midst of it goes on looking.
    let mut third = Rig::new(rules());
    third.step(Input::Told(other.manager.told()));
    assert_eq!(third.manager.hold(), Hold::Writes);
}

#[test]
fn a_script_that_cannot_be_started_holds_nothing_up() {
    let mut rig = Rig::new(rules());
    rig.fail(1);
    let script = rig.running[0];
    let end = ScriptEnd::NotStarted("no memory".to_owned());
    let lines = rig.step(Input::ScriptEnded { script, end });
    assert_eq!(lines[0], "WARNING: failover_command for node 1 could not be started: no memory");
    assert!(!rig.manager.is_busy());
}

#[test]
fn of_many_scripts_that_hang_the_oldest_are_ended() {
    let mut rig = Rig::new(Rules { search_primary_node_timeout: Some(seconds(1)), ..rules() });
    for round in 0..9 {
        rig.fail(1);
        let lines = rig.pass(seconds(1));
        let ends = lines.iter().any(|line| line == "> end 1");
        assert_eq!(ends, round == 8, "{round} {lines:?}");
        rig.ask(Request::Attach { node: 1 });
        assert_eq!(rig.statuses()[1], Waiting);
    }
}

#[test]
fn why_a_primary_was_replaced_is_known() {
    use crate::shm::FailoverReason;
    let lost = |request: Request, why: FailoverReason| {
        let mut rig = Rig::new(Rules { failover_on_backend_shutdown: true, ..rules() });
        // That another node fails says nothing of the primary.
        rig.ask(failed(2, Cause::HealthCheck));
        rig.end_script(0);
        rig.ask(request);
        rig.ask(Request::Primary { node: Some(1) });
        assert_eq!((rig.manager.primary(), rig.manager.why()), (Some(1), why));
    };
    for (cause, why) in [
        (Cause::Session, FailoverReason::Session),
        (Cause::Shutdown, FailoverReason::Shutdown),
        (Cause::HealthCheck, FailoverReason::HealthCheck),
        (Cause::FalsePrimary, FailoverReason::FalsePrimary),
    ] {
        lost(failed(0, cause), why);
    }
    lost(Request::Detach { node: 0, gracefully: false }, FailoverReason::Operator);
    // Roles that change by themselves, after an operator has changed them.
    for requests in [
        vec![Request::Primary { node: Some(2) }],
        vec![Request::Primary { node: None }, Request::Primary { node: Some(2) }],
    ] {
        let mut rig = Rig::new(rules());
        rig.ask(Request::Detach { node: 0, gracefully: false });
        rig.end_script(0);
        rig.ask(Request::Primary { node: Some(1) });
        assert_eq!(rig.manager.why(), FailoverReason::Operator);
        rig.ask_all(requests);
        assert_eq!((rig.manager.primary(), rig.manager.why()), (Some(2), FailoverReason::Roles));
    }
}
