//! Recoveries without servers: what is asked of whom in which order, and what every failure leads to.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::*;
use crate::cluster::client::{ClientError, Row, Target};
use crate::config::Backend;
use crate::error::NodeId;

/// What happens here, and what has happened.
#[derive(Default)]
struct World {
    happened: Vec<String>,
    passed: Duration,
    /// Queries that contain this are refused with it.
    refused: Option<&'static str>,
    /// Queries that contain this are not answered in time.
    silent: Option<&'static str>,
    /// Databases of the source that have no functions.
    without_functions: Vec<&'static str>,
    /// The source takes no connection.
    no_source: bool,
    /// The node comes up after so long.
    up_after: Duration,
    /// It comes up as a primary.
    no_standby: bool,
    /// So many looks find a client.
    clients: usize,
    /// The supervisor says no.
    no_attach: bool,
    /// The node is in use after so long.
    attached_after: Duration,
    asked_to_attach: Option<Duration>,
}

type Shared = Rc<RefCell<World>>;

struct Hosts(Shared, Instant);

struct Host {
    world: Shared,
    name: String,
    database: String,
}

struct Boss(Shared);

fn refusal(text: &str) -> ClientError {
    ClientError::Server { code: "XX000".to_owned(), text: format!("ERROR: {text} (XX000)") }
}

fn value(text: &str) -> Vec<Row> {
    vec![vec![Some(text.to_owned())]]
}

impl Servers for Hosts {
    type Server = Host;

    fn connect(&mut self, target: &Target, limit: Duration) -> Result<Host, ClientError> {
        assert!(limit <= Duration::from_secs(10), "{limit:?}");
        let mut world = self.0.borrow_mut();
        let refused = match target.host.as_str() {
            "source" => world.no_source,
            _ => world.passed < world.up_after,
        };
        if refused {
            return Err(refusal("nobody there"));
        }
        world.happened.push(format!("connect {}/{}", target.host, target.database));
        let (name, database) = (target.host.clone(), target.database.clone());
        Ok(Host { world: Rc::clone(&self.0), name, database })
    }

    fn now(&self) -> Instant {
        self.1 + self.0.borrow().passed
    }

    fn pause(&mut self, time: Duration) {
        assert!(!time.is_zero());
        self.0.borrow_mut().passed += time;
    }
}

impl Server for Host {
    fn rows(&mut self, query: &str, limit: Duration) -> Result<Vec<Row>, ClientError> {
        let mut world = self.world.borrow_mut();
        if query == call::FUNCTIONS {
            let missing = world.without_functions.contains(&self.database.as_str());
            let function = |name: &str, count: &str| {
                [name, "public", count].iter().map(|text| Some((*text).to_owned())).collect()
            };
            let all = vec![function("pgpool_recovery", "7"), function("pgpool_remote_start", "2")];
            return Ok(if missing { Vec::new() } else { all });
        }
        world.happened.push(format!("{}: {query}", self.name));
        if world.refused.is_some_and(|refused| query.contains(refused)) {
            return Err(refusal("no"));
        }
        if world.silent.is_some_and(|silent| query.contains(silent)) {
            world.passed += limit;
            return Err(ClientError::TimedOut);
        }
        Ok(value(if query == call::IS_STANDBY && world.no_standby { "f" } else { "t" }))
    }

    fn rows_at_last(
        &mut self,
        query: &str,
        beat: Duration,
        still_waiting: &mut dyn FnMut(),
    ) -> Result<Vec<Row>, ClientError> {
        let answer = self.rows(query, beat);
        match answer {
            Err(ClientError::TimedOut) => still_waiting(),
            other => return other,
        }
        self.world.borrow_mut().happened.push("at last".to_owned());
        Ok(value("t"))
    }
}

impl Supervisor for Boss {
    fn hold_clients(&mut self, hold: bool) -> Result<(), String> {
        self.0.borrow_mut().happened.push(format!("hold {hold}"));
        Ok(())
    }

    fn clients(&mut self) -> usize {
        let mut world = self.0.borrow_mut();
        world.clients = world.clients.saturating_sub(1);
        world.clients
    }

    fn attach(&mut self, node: NodeId) -> Result<(), String> {
        let mut world = self.0.borrow_mut();
        world.happened.push(format!("attach {node}"));
        world.asked_to_attach = Some(world.passed);
        if world.no_attach { Err("it stops".to_owned()) } else { Ok(()) }
    }

    fn goes_on(&mut self, what: &str) {
        self.0.borrow_mut().happened.push(format!("-- {what}"));
    }

    fn is_attached(&mut self, _: NodeId) -> bool {
        let world = self.0.borrow();
        world.asked_to_attach.is_some_and(|at| world.passed >= at + world.attached_after)
    }
}

fn backend(id: NodeId, hostname: &str, port: u16) -> Backend {
    Backend {
        id,
        hostname: hostname.to_owned(),
        port,
        weight: 1.0,
        data_directory: format!("/{hostname}"),
        application_name: String::new(),
        allow_to_failover: true,
        always_primary: false,
        tls: None,
    }
}

fn streaming() -> Plan {
    Plan {
        target: backend(2, "target", 5434),
        source: backend(0, "source", 5432),
        steps: vec![Step::Script(Stage::First), Step::RemoteStart, Step::Answer, Step::Attach],
        standby: true,
        user: "u".to_owned(),
        databases: vec!["postgres".to_owned(), "template1".to_owned()],
        commands: ["one".to_owned(), "two".to_owned()],
        timeout: Duration::from_secs(30),
        connect: Duration::from_secs(10),
    }
}

fn native() -> Plan {
    let steps = vec![
        Step::Checkpoint(Stage::First),
        Step::Script(Stage::First),
        Step::ClientsLeave,
        Step::Checkpoint(Stage::Second),
        Step::Script(Stage::Second),
        Step::RemoteStart,
        Step::Answer,
        Step::Attach,
    ];
    Plan { steps, standby: false, ..streaming() }
}

/// The result, what has happened, and how long it took.
fn recover(plan: &Plan, world: World) -> (Result<(), RecoveryError>, Vec<String>, Duration) {
    let world = Rc::new(RefCell::new(world));
    let result = run(plan, &mut Hosts(Rc::clone(&world), Instant::now()), &mut Boss(Rc::clone(&world)));
    let world = world.take();
    (result, world.happened, world.passed)
}

const FIRST: &str =
    "source: SELECT public.pgpool_recovery('one', 'target', '/target', '5432', 2, '5434', 'source')";
const SECOND: &str =
    "source: SELECT public.pgpool_recovery('two', 'target', '/target', '5432', 2, '5434', 'source')";
const START: &str = "source: SELECT public.pgpool_remote_start('target', '/target')";
const TIMEOUT_OFF: &str = "source: SET statement_timeout To 0";
const ROLE: &str = "target: SELECT pg_catalog.pg_is_in_recovery()";

#[test]
fn streaming_replication_step_by_step() {
    let world = World { up_after: Duration::from_secs(4), ..World::default() };
    let (result, happened, _) = recover(&streaming(), world);
    assert_eq!(result, Ok(()));
    let expected = [
        "connect source/postgres",
        "-- command of the 1st stage",
        TIMEOUT_OFF,
        FIRST,
        "-- start of the server",
        START,
        "-- until the server answers",
        "connect target/template1",
        ROLE,
        "-- taking the node into use",
        "attach 2",
    ];
    // Which database was asked when it came up is a matter of the pauses.
    let any_database = |text: &String| text.replace("target/postgres", "target/template1");
    assert_eq!(happened.iter().map(any_database).collect::<Vec<_>>(), expected);
}

#[test]
fn replication_modes_step_by_step() {
    let (result, happened, _) = recover(&native(), World { clients: 5, ..World::default() });
    assert_eq!(result, Ok(()));
    let checkpoint = "source: CHECKPOINT";
    let expected = [
        "connect source/postgres",
        "-- checkpoint before the 1st stage",
        checkpoint,
        "-- command of the 1st stage",
        TIMEOUT_OFF,
        FIRST,
        "-- clients have to leave",
        "hold true",
        "-- checkpoint before the 2nd stage",
        checkpoint,
        "-- command of the 2nd stage",
        TIMEOUT_OFF,
        SECOND,
        "-- start of the server",
        START,
        "-- until the server answers",
        "connect target/postgres",
        "-- taking the node into use",
        "attach 2",
        "hold false",
    ];
    assert_eq!(happened, expected);
}

#[test]
fn functions_of_an_older_site_are_in_template1() {
    let world = World { without_functions: vec!["postgres"], ..World::default() };
    let (result, happened, _) = recover(&streaming(), world);
    assert_eq!(result, Ok(()));
    assert_eq!(happened[..2], ["connect source/postgres", "connect source/template1"]);
}

#[test]
fn the_first_stage_takes_as_long_as_it_takes_and_no_other_step_does() {
    let slow = |what| World { silent: Some(what), ..World::default() };
    let (result, happened, _) = recover(&streaming(), slow("'one'"));
    assert_eq!(result, Ok(()));
    assert!(happened.contains(&"at last".to_owned()), "{happened:?}");
    for (plan, what) in [(native(), "'two'"), (native(), "remote_start"), (streaming(), "remote_start")] {
        let (result, _, passed) = recover(&plan, slow(what));
        let error = result.unwrap_err();
        let text = format!("{error} {}", error.detail());
        assert!(text.contains("no answer within 30 s; the script may still run"), "{text}");
        assert!(passed < Duration::from_secs(40), "{passed:?}");
    }
}

#[test]
fn every_failure_says_what_where_and_what_to_do_and_lets_clients_in_again() {
    let world = World::default;
    let refused = |what| World { refused: Some(what), ..world() };
    let never = Duration::from_secs(10_000);
    let cases = [
        (
            streaming(),
            World { no_source: true, ..world() },
            "unable to connect to main node: 0",
            "nobody there",
        ),
        (
            streaming(),
            World { without_functions: vec!["postgres", "template1"], ..world() },
            "function pgpool_recovery is not installed on node 0",
            "\"postgres\" and \"template1\"",
        ),
        (streaming(), refused("timeout"), "SET STATEMENT_TIMEOUT failed at \"1st stage\"", "ERROR: no"),
        (
            streaming(),
            refused("'one'"),
            "execution of command failed at \"1st stage\"",
            "command:\"one\", ERROR: no",
        ),
        (native(), refused("CHECKPOINT"), "execute CHECKPOINT failed", "ERROR: no"),
        (
            native(),
            refused("'two'"),
            "execution of command failed at \"2nd stage\"",
            "command:\"two\", ERROR: no",
        ),
        (
            native(),
            World { clients: usize::MAX, ..world() },
            "waiting connection closed in the other pgpools timeout",
            "clients are connected after 30 seconds",
        ),
        (
            streaming(),
            refused("remote_start"),
            "executing remote start failed with error: \"ERROR: no (XX000)\"",
            "",
        ),
        (
            streaming(),
            World { up_after: never, ..world() },
            "recovery is checking if postmaster is started",
            "user:\"u\" failed to start in 30 second, ERROR: nobody there",
        ),
        (streaming(), World { no_standby: true, ..world() }, "node 2 is no standby", "second primary"),
        (streaming(), World { no_attach: true, ..world() }, "node 2 is not attached", "it stops"),
        (
            streaming(),
            World { attached_after: never, ..world() },
            "node 2 is not attached",
            "not in use after 30 seconds",
        ),
    ];
    for (plan, world, message, detail) in cases {
        let (result, happened, passed) = recover(&plan, world);
        let error = result.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.detail().contains(detail), "{error}: {}", error.detail());
        assert!(passed < Duration::from_secs(40), "{error}: {passed:?}");
        let holds = happened.iter().filter(|text| *text == "hold true").count();
        let releases = happened.iter().filter(|text| *text == "hold false").count();
        assert_eq!(holds, releases, "{error}: {happened:?}");
        let attached = happened.iter().any(|text| text.starts_with("attach"));
        assert_eq!(attached, matches!(error, RecoveryError::Attach { .. }), "{error}");
    }
}

#[test]
fn hints_for_what_an_operator_can_mend() {
    let with_hint = [
        RecoveryError::NoUser,
        RecoveryError::Alive(1),
        RecoveryError::NoStandby(1),
        RecoveryError::RemoteStart(String::new()),
    ];
    assert!(with_hint.iter().all(|error| !error.hint().is_empty()));
    assert_eq!(RecoveryError::Mode.hint(), "");
}
