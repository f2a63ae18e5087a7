//! Rounds of made-up answers.
#![forbid(unsafe_code)]

use super::*;
use crate::shm::PgStatus;

const RULES: Rules = Rules {
    log_standby_delay: LogStandbyDelay::Always,
    delay_threshold: 0,
    delay_threshold_micros: 0,
    detach_false_primary: false,
    given: None,
};

fn node(id: NodeId, reply: Reply) -> Asked {
    let backend = Backend {
        id,
        hostname: format!("host{id}"),
        port: 5432,
        weight: 1.0,
        data_directory: String::new(),
        application_name: format!("server{id}"),
        allow_to_failover: true,
        always_primary: false,
        tls: None,
    };
    Asked { backend, status: NodeStatus::Up, reply }
}

fn with_status(status: NodeStatus, id: NodeId, reply: Reply) -> Asked {
    Asked { status, ..node(id, reply) }
}

fn always(id: NodeId, reply: Reply) -> Asked {
    let mut node = node(id, reply);
    node.backend.always_primary = true;
    node
}

fn primary(lsn: Lsn) -> Reply {
    Reply::Answered(Answer { in_recovery: false, lsn: Some(lsn), ..Answer::default() })
}

fn on_timeline(timeline: u32) -> Reply {
    Reply::Answered(Answer { timeline: Some(timeline), ..Answer::default() })
}

fn standby(lsn: Lsn) -> Reply {
    Reply::Answered(Answer { in_recovery: true, lsn: Some(lsn), ..Answer::default() })
}

/// A standby that receives from this node.
fn standby_of(id: NodeId) -> Reply {
    let upstream = Some(Upstream { host: format!("host{id}"), port: 5432 });
    Reply::Answered(Answer { in_recovery: true, upstream, ..Answer::default() })
}

fn failed() -> Reply {
    Reply::Failed("connection refused".to_owned())
}

fn texts(findings: &Findings) -> Vec<&str> {
    findings.lines.iter().map(|line| line.first().1).collect()
}

#[test]
fn who_is_the_primary() {
    use NodeStatus::{Down, Quarantine, Up, Waiting};
    type Case = (&'static str, Vec<Asked>, Option<NodeId>, Option<NodeId>);
    let cases: Vec<Case> = vec![
        ("the one not in recovery", vec![node(0, standby(1)), node(1, primary(1))], None, Some(1)),
        ("a promoted one", vec![node(0, failed()), node(1, primary(1))], Some(0), Some(1)),
        ("a promoted one, the old hangs", vec![node(0, Reply::Late), node(1, primary(1))], Some(0), Some(1)),
        ("roles changed", vec![node(0, standby(1)), node(1, primary(1))], Some(0), Some(1)),
        ("demoted and nobody else", vec![node(0, standby(1)), node(1, standby(1))], Some(0), None),
        ("silent keeps its role", vec![node(0, failed()), node(1, standby(1))], Some(0), Some(0)),
        ("late keeps its role", vec![node(0, Reply::Late), node(1, standby(1))], Some(0), Some(0)),
        ("down loses its role", vec![with_status(Down, 0, failed()), node(1, standby(1))], Some(0), None),
        ("down is never chosen", vec![with_status(Down, 0, primary(1)), node(1, standby(1))], None, None),
        ("nor quarantine", vec![with_status(Quarantine, 0, primary(1)), node(1, standby(1))], None, None),
        ("two: the present one stays", vec![node(0, primary(9)), node(1, primary(1))], Some(1), Some(1)),
        (
            "two: the present one stays, whoever is followed and promoted later",
            vec![node(0, on_timeline(9)), node(1, on_timeline(1)), node(2, standby_of(0))],
            Some(1),
            Some(1),
        ),
        ("two, none known: the first", vec![node(0, primary(1)), node(1, primary(1))], None, Some(0)),
        (
            "two, none known: the one promoted last",
            vec![node(0, on_timeline(1)), node(1, on_timeline(2)), node(2, on_timeline(2))],
            None,
            Some(1),
        ),
        (
            "two, none known: the one that is followed",
            vec![node(0, on_timeline(2)), node(1, on_timeline(1)), node(2, standby_of(1))],
            None,
            Some(1),
        ),
        ("ALWAYS_PRIMARY in recovery", vec![node(0, primary(1)), always(1, standby(1))], Some(0), Some(1)),
        (
            "ALWAYS_PRIMARY but down",
            vec![node(0, primary(1)), Asked { status: Down, ..always(1, failed()) }],
            None,
            Some(0),
        ),
        (
            "nobody asked: first usable",
            vec![with_status(Down, 0, Reply::NotAsked), node(1, Reply::NotAsked)],
            None,
            Some(1),
        ),
        ("no nodes", vec![], None, None),
    ];
    for (name, asked, current, expected) in cases {
        assert_eq!(choose(&asked, current).primary, expected, "{name}");
    }
    for status in [Up, Waiting] {
        assert_eq!(choose(&[with_status(status, 0, primary(1))], None).primary, Some(0));
    }
}

#[test]
fn who_is_followed_by_all_standbys() {
    let fed = |name: &str, state: &str| {
        let replica =
            Replica { application_name: name.to_owned(), state: state.to_owned(), ..Replica::default() };
        Reply::Answered(Answer { replicas: vec![replica], ..Answer::default() })
    };
    let local = |host: &str| {
        let upstream = Some(Upstream { host: host.to_owned(), port: 5432 });
        Reply::Answered(Answer { in_recovery: true, upstream, ..Answer::default() })
    };
    let at = |host: &str, id, reply| {
        let mut node = node(id, reply);
        node.backend.hostname = host.to_owned();
        node
    };
    let two = || [node(0, primary(1)), node(1, primary(1))];
    let with = |more: Vec<Asked>| two().into_iter().chain(more).collect::<Vec<Asked>>();
    let cases = [
        ("no standbys", with(vec![]), None),
        ("one follows", with(vec![node(2, standby_of(1))]), Some(1)),
        ("both follow", with(vec![node(2, standby_of(1)), node(3, standby_of(1))]), Some(1)),
        ("over another", with(vec![node(2, standby_of(1)), node(3, standby_of(2))]), Some(1)),
        ("one each", with(vec![node(2, standby_of(1)), node(3, standby_of(0))]), None),
        ("one does not say", with(vec![node(2, standby_of(1)), node(3, standby(1))]), None),
        ("in a ring", with(vec![node(2, standby_of(3)), node(3, standby_of(2))]), None),
        (
            "one that is down does not count",
            with(vec![node(2, standby_of(1)), with_status(NodeStatus::Down, 3, standby_of(0))]),
            Some(1),
        ),
        (
            "by its name at the primary",
            vec![node(0, primary(1)), node(1, fed("server2", "streaming")), node(2, standby(1))],
            Some(1),
        ),
        (
            "which is catching up",
            vec![node(0, primary(1)), node(1, fed("server2", "catchup")), node(2, standby(1))],
            None,
        ),
        (
            "whom it has left",
            vec![node(0, fed("server2", "streaming")), node(1, primary(1)), node(2, standby_of(1))],
            Some(1),
        ),
        (
            "on this host",
            vec![at("/run", 0, primary(1)), at("x", 1, primary(1)), node(2, local("127.0.0.1"))],
            Some(0),
        ),
        (
            "on another host",
            vec![at("/run", 0, primary(1)), at("x", 1, primary(1)), node(2, local("10.0.0.1"))],
            None,
        ),
    ];
    for (name, asked, expected) in cases {
        assert_eq!(choose(&asked, Some(0)).owner, expected, "{name}");
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
    let third = tracker.round(&[node(0, failed()), node(1, on_timeline(2))], Some(0), &RULES, 3);
    assert_eq!(third.new_primary, Some(Some(1)));
    let lines: Vec<String> = third.lines.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "LOG:  replication check of node 0: connection refused",
            "LOG:  find_primary_node: primary node is 1\n\
             DETAIL:  node 0 does not answer: connection refused; node 1 is not in recovery, timeline 2"
        ]
    );
    let fourth = tracker.round(&[node(0, failed()), node(1, on_timeline(2))], Some(1), &RULES, 4);
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
fn every_node_says_why_it_is_what_it_is() {
    let split = [
        node(0, on_timeline(1)),
        node(1, on_timeline(2)),
        node(2, standby_of(1)),
        node(3, standby_of(0)),
        node(4, Reply::Late),
        node(5, failed()),
    ];
    let found = Tracker::default().round(&split, Some(0), &RULES, 1);
    let why: Vec<(bool, &str)> =
        found.probes.iter().map(|(_, probe)| (probe.astray, probe.why.as_str())).collect();
    assert_eq!(
        why,
        [
            (false, "is not in recovery, timeline 1"),
            (true, "is not in recovery, and neither is node 0, which is the primary"),
            (true, "is in recovery and does not follow the primary"),
            (false, "is in recovery and receives from host0:5432"),
            (false, "has not answered in time"),
            (false, "does not answer: connection refused"),
        ]
    );
    let modes = [node(0, Reply::NotAsked), node(1, Reply::NotAsked), always(2, failed())];
    let found = Tracker::default().round(&modes[..2], None, &RULES, 1);
    let why = |found: &Findings| -> Vec<String> {
        found.probes.iter().map(|(_, probe)| probe.why.to_string()).collect()
    };
    assert_eq!(
        why(&found),
        ["is the first that is in use; roles are not asked for", "is not asked for its role"]
    );
    let found = Tracker::default().round(&modes[2..], None, &RULES, 1);
    assert_eq!(why(&found), ["has ALWAYS_PRIMARY in its backend_flag"]);
}

/// What a second primary or one that follows it has replayed says nothing about what it has of ours.
#[test]
fn positions_of_another_branch_do_not_count() {
    let at = |lsn, upstream: Option<NodeId>| {
        let upstream = upstream.map(|id| Upstream { host: format!("host{id}"), port: 5432 });
        let in_recovery = upstream.is_some();
        Reply::Answered(Answer { in_recovery, lsn: Some(lsn), upstream, ..Answer::default() })
    };
    let asked =
        [node(0, at(100, None)), node(1, at(900, None)), node(2, at(800, Some(1))), node(3, at(90, Some(0)))];
    let found = Tracker::default().round(&asked, Some(0), &RULES, 1);
    let seen: Vec<_> = found.probes.iter().map(|(_, probe)| (probe.replay_lsn, probe.lag_bytes)).collect();
    assert_eq!(seen, [(100, Some(0)), (0, None), (0, None), (90, Some(10))]);
}

#[test]
fn a_second_primary_is_warned_of_once() {
    let mut tracker = Tracker::default();
    let asked = [node(0, primary(5)), node(1, primary(5))];
    let warnings = |found: &Findings| {
        found.lines.iter().filter(|line| line.first().0 == Level::Warning).map(ToString::to_string).collect()
    };
    let first: Vec<String> = warnings(&tracker.round(&asked, Some(1), &RULES, 1));
    assert_eq!(
        first,
        ["WARNING:  node 0 says it is a primary, and so does node 1: keeping node 1\n\
          DETAIL:  It is not seen that all standbys follow one of them. Nothing is read from node 0 or from who \
          follows it.\n\
          HINT:  Stop the wrong one, or set detach_false_primary."]
    );
    let second: Vec<String> = warnings(&tracker.round(&asked, Some(1), &RULES, 2));
    assert!(second.is_empty());
}

#[test]
fn false_primaries_are_detached_when_two_rounds_agree() {
    let rules = Rules { detach_false_primary: true, ..RULES };
    let not_allowed = |id, reply| {
        let mut node = node(id, reply);
        node.backend.allow_to_failover = false;
        node
    };
    let two = |more: Vec<Asked>| {
        let first = [node(0, on_timeline(1)), node(1, on_timeline(2))];
        first.into_iter().chain(more).collect::<Vec<Asked>>()
    };
    type Case = (&'static str, Vec<Asked>, Option<NodeId>, Option<NodeId>, Vec<NodeId>);
    let cases: Vec<Case> = vec![
        ("no standbys: the present one stays", two(vec![]), Some(0), None, vec![1]),
        ("none known: the one promoted last", two(vec![]), None, Some(1), vec![0]),
        ("the present one is followed", two(vec![node(2, standby_of(0))]), Some(0), None, vec![1]),
        ("the other one is followed", two(vec![node(2, standby_of(1))]), Some(0), Some(1), vec![0]),
        ("nobody can tell", two(vec![node(2, standby(1))]), Some(0), None, vec![]),
        ("three", two(vec![node(2, on_timeline(1)), node(3, standby_of(1))]), Some(0), Some(1), vec![0, 2]),
        (
            "one that may not be detached",
            vec![node(0, on_timeline(1)), not_allowed(1, on_timeline(2)), node(2, standby_of(0))],
            Some(0),
            None,
            vec![],
        ),
        ("only one", vec![node(0, primary(1)), node(1, standby_of(0))], Some(0), None, vec![]),
    ];
    for (name, asked, current, truth, expected) in cases {
        let ids = |found: &Findings| found.false_primaries.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let mut tracker = Tracker::default();
        let first = tracker.round(&asked, current, &rules, 1);
        assert!(ids(&first).is_empty(), "{name}");
        assert_eq!(first.unsettled, !expected.is_empty(), "{name}");
        let current = first.new_primary.unwrap_or(current);
        let second = tracker.round(&asked, current, &rules, 2);
        assert_eq!(ids(&second), expected, "{name}");
        let now = second.new_primary.unwrap_or(current);
        assert_eq!(now, truth.or(current), "{name}");
        let standbys = asked.iter().filter(|node| node.answer().is_some() && !node.claims()).count();
        for id in &expected {
            let line = match standbys {
                0 => format!("verify_backend_node_status: node {id} is a false primary"),
                all => format!("verify_backend_node_status: primary {id} owns only 0 standbys out of {all}"),
            };
            assert!(texts(&second).contains(&line.as_str()), "{name}: {:?}", texts(&second));
        }
        assert!(ids(&tracker.round(&asked, now, &rules, 3)).is_empty(), "{name}: asked for again at once");
        let mut off = Tracker::default();
        assert!((1..4).all(|round| ids(&off.round(&asked, now, &RULES, round)).is_empty()), "{name}");
    }
}

/// A split that is over before the second round was none.
#[test]
fn one_round_is_not_enough_to_detach() {
    let rules = Rules { detach_false_primary: true, ..RULES };
    let mut tracker = Tracker::default();
    let split = [node(0, primary(1)), node(1, primary(1)), node(2, standby_of(1))];
    let over = [node(0, standby_of(1)), node(1, primary(1)), node(2, standby_of(1))];
    for asked in [&split, &over, &split] {
        assert!(tracker.round(asked, Some(0), &rules, 1).false_primaries.is_empty());
    }
}

#[test]
fn the_next_look_comes_soon_while_there_is_no_primary_that_says_so() {
    let cases = [
        (vec![node(0, primary(1)), node(1, standby(1))], Some(0), false),
        (vec![node(0, failed()), node(1, standby(1))], Some(0), true),
        (vec![node(0, Reply::Late), node(1, standby(1))], Some(0), true),
        (vec![node(0, standby(1)), node(1, standby(1))], Some(0), true),
        (vec![node(0, primary(1)), node(1, failed())], Some(0), false),
        (vec![node(0, failed()), node(1, primary(1))], Some(0), false),
        (vec![always(0, failed())], Some(0), false),
        (vec![node(0, Reply::NotAsked)], None, false),
        (vec![], None, false),
    ];
    for (asked, current, expected) in cases {
        let found = Tracker::default().round(&asked, current, &RULES, 1);
        assert_eq!(found.unsettled, expected, "{asked:?}");
    }
}

#[test]
fn nodes_that_are_out_and_answer_are_told_each_round() {
    let mut tracker = Tracker::default();
    let feed = Replica {
        application_name: "server1".to_owned(),
        state: "streaming".to_owned(),
        ..Replica::default()
    };
    let feeder = Reply::Answered(Answer { replicas: vec![feed], ..Answer::default() });
    let cases = [
        (NodeStatus::Down, failed(), vec![]),
        (NodeStatus::Down, Reply::Late, vec![]),
        (NodeStatus::Down, standby(1), vec![(1, true)]),
        (NodeStatus::Down, standby(1), vec![(1, true)]),
        (NodeStatus::Down, primary(1), vec![(1, false)]),
        (NodeStatus::Waiting, standby(1), vec![(1, true)]),
        (NodeStatus::Up, standby(1), vec![]),
        (NodeStatus::Quarantine, standby(1), vec![]),
    ];
    for (status, reply, expected) in cases {
        let asked = [node(0, feeder.clone()), with_status(status, 1, reply)];
        assert_eq!(tracker.round(&asked, Some(0), &RULES, 1).answers, expected, "{asked:?}");
    }
    let down = |reply| with_status(NodeStatus::Down, 1, reply);
    let told = |asked: &[Asked]| Tracker::default().round(asked, Some(0), &RULES, 1).answers;
    assert_eq!(told(&[node(0, primary(1)), down(standby(1))]), [(1, false)]);
    assert_eq!(told(&[node(0, primary(1)), down(standby_of(0))]), [(1, true)]);
    assert_eq!(told(&[node(0, failed()), down(standby(1))]), [(1, false)]);
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
        let feed = Answer { lsn: Some(written), replicas: vec![replica(lag)], ..Answer::default() };
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
    let feed =
        Replica { application_name: "server1".to_owned(), lag_micros: Some(1_500_000), ..Replica::default() };
    let feeder = Answer { lsn: Some(1000), replicas: vec![feed], ..Answer::default() };
    let asked = [node(0, Reply::Answered(feeder)), node(1, standby(0))];
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
        let rules = Rules { log_standby_delay, delay_threshold, delay_threshold_micros, ..RULES };
        let found = Tracker::default().round(&asked, Some(0), &rules, 1);
        let line = texts(&found).into_iter().find(|text| text.starts_with("Replication of"));
        let text = |behind: &str| {
            format!("Replication of node: 1 is behind {behind} from the primary server (node: 0)")
        };
        assert_eq!(line.map(str::to_owned), expected.map(text), "{rules:?}");
    }
}

#[test]
fn delays_that_a_command_tells_take_the_place_of_those_of_the_primary() {
    let asked = [node(0, primary(1000)), node(1, standby(0)), node(2, standby(0))];
    let given = Delays::from([(1, Some(2_500_000)), (2, None)]);
    let rules = Rules { delay_threshold: 1, given: Some(given.clone()), ..RULES };
    let found = Tracker::default().round(&asked, Some(0), &rules, 1);
    let seen: Vec<_> = found.probes.iter().map(|(_, probe)| (probe.lag_micros, probe.lag_bytes)).collect();
    assert_eq!(seen, [(Some(0), Some(0)), (Some(2_500_000), Some(1000)), (None, Some(1000))]);
    assert!(!texts(&found).iter().any(|text| text.starts_with("Replication of")), "logged when it is told");
    let lines: Vec<String> =
        note_given(&given, Some(0), &rules).iter().map(|line| line.first().1.to_owned()).collect();
    assert_eq!(
        lines,
        [
            "Replication of node: 1 is behind 2.500000 second(s) from the primary server (node: 0) (external command)"
        ]
    );
    assert!(note_given(&given, None, &rules).is_empty());
}

#[test]
fn what_a_delay_command_prints() {
    let nodes = [0, 1, 3];
    let cases = [
        ("0 25 1500.5\n", Some(0), Ok(vec![(0, Some(0)), (1, Some(25_000)), (3, Some(1_500_500))])),
        ("25\n-1\n", Some(0), Ok(vec![(1, Some(25_000)), (3, None)])),
        ("25,1", Some(1), Ok(vec![(0, Some(25_000)), (3, Some(1000))])),
        ("25 1", None, Err("2 numbers for 3 nodes (or 3 standbys)")),
        ("", Some(0), Err("0 numbers for 3 nodes (or 2 standbys)")),
        ("1 2 3 4", Some(0), Err("4 numbers for 3 nodes (or 2 standbys)")),
        ("1 x 3", Some(0), Err("\"x\" is no number of milliseconds")),
        ("1 NaN 3", Some(0), Err("\"NaN\" is no number of milliseconds")),
        ("inf 2 3", Some(0), Ok(vec![(0, Some(u64::MAX)), (1, Some(2000)), (3, Some(3000))])),
    ];
    for (text, primary, expected) in cases {
        let found = parse_delays(text, &nodes, primary).map(Vec::from_iter);
        assert_eq!(found, expected.map_err(str::to_owned), "{text:?}");
    }
}
