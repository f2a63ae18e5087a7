//! Checks of a node that exists in tables only.
#![forbid(unsafe_code)]

use super::*;
use crate::auth::backend_leg::LoginError;
use crate::cluster::client::ClientError;

const PERIOD: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_secs(2);

fn rules(max_retries: u64) -> Rules {
    Rules { period: Some(PERIOD), max_retries, retry_delay: DELAY, allow_to_failover: true }
}

/// The check of node 1 and a clock that a test moves.
struct Scene {
    checker: Checker,
    start: Instant,
    millis: u64,
    status: NodeStatus,
    rules: Rules,
}

impl Scene {
    fn new(max_retries: u64) -> Scene {
        let checker = Checker::new(1, HealthRow::default());
        Scene { checker, start: Instant::now(), millis: 0, status: NodeStatus::Up, rules: rules(max_retries) }
    }

    fn now(&self) -> Moment {
        Moment { at: self.start + Duration::from_millis(self.millis), unix: 1000 + self.millis / 1000 }
    }

    fn step(&mut self) -> Step {
        self.checker.step(self.now(), self.status, &self.rules)
    }

    /// Waits for an attempt to be due, which then takes 5 ms and ends so.
    fn attempt(&mut self, outcome: Outcome) -> Vec<String> {
        for _ in 0..1000 {
            match self.step() {
                Step::Wait(limit) => self.millis += limit.expect("something is due").as_millis() as u64,
                Step::EndRequest => {}
                Step::Probe => {
                    self.millis += 5;
                    return told(self.checker.outcome(outcome, self.now(), self.status, &self.rules));
                }
            }
        }
        panic!("no attempt is due");
    }

    /// The counts that are not times: total, success, fail, skip, retry, most retries.
    fn counts(&self) -> [u64; 6] {
        let counts = self.checker.counts();
        [counts.total, counts.success, counts.fail, counts.skip, counts.retry, counts.max_retry]
    }
}

fn told(reports: Vec<Report>) -> Vec<String> {
    let text = |report| match report {
        Report::Line(line) => line.to_string(),
        Report::Failed(reason) => format!("failed: {reason}"),
        Report::Answers => "answers".to_owned(),
    };
    reports.into_iter().map(text).collect()
}

fn failed(timed_out: bool) -> Outcome {
    Outcome::Failed { reason: "no server".to_owned(), timed_out }
}

fn refused(text: &str) -> Outcome {
    Outcome::Refused(text.to_owned())
}

#[test]
fn a_check_is_made_at_once_and_then_a_period_after_the_last_one_ended() {
    let mut scene = Scene::new(0);
    assert_eq!(scene.step(), Step::Probe);
    assert_eq!(scene.step(), Step::Wait(None), "one at a time");
    scene.millis = 300;
    let told = scene.checker.outcome(Outcome::Well, scene.now(), scene.status, &scene.rules);
    assert!(told.is_empty());
    assert_eq!(scene.step(), Step::Wait(Some(PERIOD)));
    scene.millis = 300 + 9_999;
    assert_eq!(scene.step(), Step::Wait(Some(Duration::from_millis(1))));
    scene.millis += 1;
    assert_eq!(scene.step(), Step::Probe);
}

#[test]
fn a_reload_changes_the_pace_at_once() {
    let mut scene = Scene::new(1);
    scene.rules.period = None;
    assert_eq!(scene.step(), Step::Wait(None));
    scene.rules.period = Some(PERIOD);
    assert!(scene.attempt(Outcome::Well).is_empty());
    scene.millis += 3_000;
    assert_eq!(scene.step(), Step::Wait(Some(Duration::from_secs(7))));
    scene.rules.period = Some(Duration::from_secs(3));
    assert_eq!(scene.step(), Step::Probe);
    scene.checker.outcome(failed(false), scene.now(), scene.status, &scene.rules);
    scene.rules.retry_delay = Duration::ZERO;
    assert_eq!(scene.step(), Step::Probe);
    // Off while an attempt is under way: nothing may come of that one.
    scene.rules.period = None;
    assert!(scene.checker.outcome(failed(false), scene.now(), scene.status, &scene.rules).is_empty());
    assert_eq!(scene.step(), Step::Wait(None));
}

#[test]
fn a_node_is_given_up_after_its_retries() {
    let mut scene = Scene::new(2);
    let retrying = |round| {
        [format!("LOG:  health check retrying on DB node: 1 (round:{round})\nDETAIL:  no server")].to_vec()
    };
    assert_eq!(scene.attempt(failed(false)), retrying(1));
    assert_eq!(scene.attempt(failed(false)), retrying(2));
    assert_eq!(
        scene.attempt(failed(true)),
        [
            "LOG:  health check failed on node 1 (timeout:1)\nDETAIL:  no server",
            "failed: health check: no server"
        ]
    );
    let took = 3 * 5 + 2 * DELAY.as_millis() as u64;
    assert_eq!(scene.millis, took);
    assert_eq!(scene.counts(), [1, 0, 1, 0, 2, 2]);
    let counts = scene.checker.counts();
    assert_eq!([counts.duration, counts.max_duration, counts.min_duration], [took; 3]);
    assert_eq!((counts.last, counts.last_fail, counts.last_success), (1004, 1004, 0));
    // Nobody has taken it out: it is checked and given up again.
    for _ in 0..2 {
        scene.attempt(failed(false));
    }
    assert!(scene.attempt(failed(false)).contains(&"failed: health check: no server".to_owned()));
}

#[test]
fn a_retry_that_succeeds_saves_the_node() {
    let mut scene = Scene::new(3);
    scene.attempt(failed(false));
    scene.attempt(failed(true));
    assert_eq!(scene.attempt(Outcome::Well), ["LOG:  health check retrying on DB node: 1 succeeded"]);
    assert_eq!(scene.counts(), [1, 1, 0, 0, 2, 2]);
    assert!(scene.attempt(Outcome::Well).is_empty());
    let counts = scene.checker.counts();
    assert_eq!((counts.min_duration, counts.max_duration, counts.duration), (5, 4015, 4020));
    assert_eq!(scene.counts(), [2, 2, 0, 0, 2, 2]);
    // The next failure has all its retries.
    assert!(scene.attempt(failed(false))[0].contains("(round:1)"));
}

#[test]
fn a_refused_login_is_warned_of_once_and_takes_no_node_out() {
    let mut scene = Scene::new(1);
    let warning = scene.attempt(refused("FATAL: wrong password (28P01)"));
    assert_eq!(warning.len(), 1);
    assert!(
        warning[0].starts_with(
            "WARNING:  health check of node 1: the login was refused: FATAL: wrong password (28P01)\nDETAIL:  "
        ),
        "{warning:?}"
    );
    assert!(warning[0].contains("\nHINT:  Check health_check_user, health_check_password"), "{warning:?}");
    for _ in 0..3 {
        assert!(scene.attempt(refused("FATAL: wrong password (28P01)")).is_empty());
    }
    assert_eq!(scene.counts(), [4, 0, 4, 0, 0, 0], "no retries: the server has answered");
    assert_eq!(scene.attempt(refused("FATAL: another (28000)")).len(), 1);
    assert!(scene.attempt(Outcome::Well).is_empty());
    assert_eq!(scene.attempt(refused("FATAL: another (28000)")).len(), 1, "it had been well");
    scene.checker.forget_refusal();
    assert_eq!(scene.attempt(refused("FATAL: another (28000)")).len(), 1, "after a reload");
    // In a retry, it shows that the server is back.
    scene.attempt(failed(false));
    let told = scene.attempt(refused("FATAL: another (28000)"));
    assert_eq!(told, ["LOG:  health check retrying on DB node: 1 succeeded"]);
}

#[test]
fn a_node_that_is_out_is_not_checked() {
    for status in [NodeStatus::Down, NodeStatus::Unused] {
        let mut scene = Scene { status, ..Scene::new(0) };
        assert_eq!(scene.step(), Step::Wait(Some(PERIOD)));
        scene.millis = 10_000;
        assert_eq!(scene.step(), Step::Wait(Some(PERIOD)));
        assert_eq!(scene.counts(), [2, 0, 0, 2, 0, 0]);
        let counts = scene.checker.counts();
        assert_eq!((counts.last, counts.last_skip, counts.last_fail), (1010, 1010, 0));
    }
    for status in [NodeStatus::Waiting, NodeStatus::Up, NodeStatus::Quarantine] {
        let mut scene = Scene { status, ..Scene::new(0) };
        assert_eq!(scene.step(), Step::Probe, "{status:?}");
    }
}

#[test]
fn one_in_quarantine_is_told_of_when_it_is_well_and_not_given_up() {
    let mut scene = Scene { status: NodeStatus::Quarantine, ..Scene::new(0) };
    assert_eq!(
        scene.attempt(failed(false)),
        [
            "LOG:  health check failed on node 1 (timeout:0)\nDETAIL:  no server",
            "LOG:  health check failed on quarantine node 1 (timeout:0)\nDETAIL:  ignoring.."
        ]
    );
    assert_eq!(scene.attempt(Outcome::Well), ["answers"]);
}

#[test]
fn a_node_that_may_not_be_taken_out_is_only_logged() {
    let mut scene = Scene::new(0);
    scene.rules.allow_to_failover = false;
    let expected =
        "LOG:  health check failed on node 1 but failover is disallowed for the node\nDETAIL:  no server";
    assert_eq!(scene.attempt(failed(false)), [expected]);
}

/// A session, or an operator, was quicker.
#[test]
fn one_that_was_taken_out_during_the_check_is_not_given_up_again() {
    let mut scene = Scene::new(1);
    scene.attempt(failed(false));
    assert!(matches!(scene.step(), Step::Wait(Some(limit)) if limit < DELAY), "looks while it waits");
    scene.status = NodeStatus::Down;
    assert_eq!(scene.step(), Step::Wait(Some(PERIOD)));
    assert_eq!(scene.counts(), [1, 0, 1, 0, 1, 1]);
    scene.status = NodeStatus::Up;
    scene.attempt(failed(false));
    assert_eq!(scene.attempt_while_down(), Vec::<String>::new());
}

impl Scene {
    /// The last attempt of a check, during which the node is taken out.
    fn attempt_while_down(&mut self) -> Vec<String> {
        self.millis += DELAY.as_millis() as u64;
        assert_eq!(self.step(), Step::Probe);
        told(self.checker.outcome(failed(false), self.now(), NodeStatus::Down, &self.rules))
    }
}

#[test]
fn a_test_declares_a_node_dead_once() {
    let mut scene = Scene::new(1);
    let reason = "backend_down_request declares it down";
    assert_eq!(scene.attempt(Outcome::Declared).len(), 1);
    assert_eq!(
        scene.attempt(Outcome::Declared),
        [
            format!("LOG:  health check failed on node 1 (timeout:0)\nDETAIL:  {reason}"),
            format!("failed: health check: {reason}")
        ]
    );
    assert!(matches!(scene.step(), Step::Wait(Some(limit)) if limit < PERIOD), "looks while it waits");
    scene.status = NodeStatus::Down;
    assert_eq!(scene.step(), Step::EndRequest);
    assert_eq!(scene.step(), Step::Wait(Some(PERIOD)));
    // A node that failed by itself ends no request.
    let mut scene = Scene::new(0);
    scene.attempt(failed(false));
    scene.status = NodeStatus::Down;
    assert_eq!(scene.step(), Step::Wait(Some(PERIOD)));
}

#[test]
fn the_next_process_goes_on_counting_and_an_attempt_that_was_none_does_not_count() {
    let mut scene = Scene::new(0);
    scene.attempt(Outcome::Well);
    scene.checker = Checker::new(1, *scene.checker.counts());
    assert_eq!(scene.step(), Step::Probe);
    assert_eq!(scene.counts(), [2, 1, 0, 0, 0, 0]);
    scene.checker.abandon(scene.now());
    assert_eq!(scene.counts(), [1, 1, 0, 0, 0, 0]);
    assert_eq!(scene.step(), Step::Wait(Some(PERIOD)));
}

#[test]
fn what_an_error_says_of_the_server() {
    let server = |code: &str| ClientError::Server { code: code.to_owned(), text: "FATAL: x".to_owned() };
    let refusals = ["28P01", "28000", "3D000", "53300", "42501", "55000", "57P04", "42704"];
    let failures =
        ["57P03", "57P01", "57P02", "57014", "53100", "53200", "58P01", "XX000", "08P01", "", "é9"];
    for code in refusals {
        assert_eq!(Outcome::from(server(code)), refused("FATAL: x"), "{code}");
    }
    let failed = |error: ClientError| match error.into() {
        Outcome::Failed { timed_out, .. } => Some(timed_out),
        _ => None,
    };
    for code in failures {
        assert_eq!(failed(server(code)), Some(false), "{code}");
    }
    let io = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let host = || "h".to_owned();
    let login = |error: LoginError| ClientError::Login(error);
    let cases = [
        (ClientError::TimedOut, Some(true)),
        (ClientError::ResolveTimedOut { host: host() }, Some(true)),
        (ClientError::Resolve { host: host(), reason: String::new() }, Some(false)),
        (ClientError::Connect { host: host(), port: 1, source: io() }, Some(false)),
        (ClientError::Io(io()), Some(false)),
        (ClientError::Closed, Some(false)),
        (ClientError::Unexpected(b'H'), Some(false)),
        (login(LoginError::OutOfOrder), Some(false)),
        (login(LoginError::NoSecret { user: "u".to_owned() }), None),
        (login(LoginError::Unsupported(7)), None),
    ];
    for (error, expected) in cases {
        let text = error.to_string();
        assert_eq!(failed(error), expected, "{text}");
    }
}

#[test]
fn how_long_checks_take_is_counted_by_class() {
    let mut scene = Scene::new(1);
    scene.attempt(Outcome::Well);
    // With the pause before the retry.
    scene.attempt(failed(false));
    scene.attempt(failed(false));
    let counts = scene.checker.counts();
    let found: Vec<usize> = (0..counts.classes.len()).filter(|class| counts.classes[*class] > 0).collect();
    assert_eq!(found, [5_000, 2_010_000].map(latency_class));
    assert_eq!((counts.classes.iter().sum::<u64>(), counts.micros), (2, 2_015_000));
}
