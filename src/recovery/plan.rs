//! What has to be done to recover a node, and whether it may be: from the configuration and the state of the nodes, purely.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::error::RecoveryError;
use crate::config::{Backend, ClusteringMode, Config};
use crate::error::NodeId;
use crate::shm::{NodeStatus, Segment};

/// What pgpool-II before 4.7 always used; a site that comes from there has the functions in it.
const OLD_DATABASE: &str = "template1";

/// The state of the nodes when somebody asks for a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// By number.
    pub statuses: Vec<NodeStatus>,
    /// Where writes go.
    pub primary: Option<NodeId>,
}

impl Seen {
    /// As it is now.
    pub fn of(segment: &Segment) -> Seen {
        let statuses = (0..segment.sizes().nodes).map(|id| segment.node(id).status).collect();
        Seen { statuses, primary: segment.primary() }
    }

    fn status(&self, id: NodeId) -> NodeStatus {
        self.statuses.get(id).copied().unwrap_or(NodeStatus::Unused)
    }

    fn is_usable(&self, id: NodeId) -> bool {
        matches!(self.status(id), NodeStatus::Up | NodeStatus::Waiting)
    }
}

/// The stages of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// While clients work.
    First,
    /// While clients wait, so that the copy becomes the same.
    Second,
}

impl Stage {
    /// As messages have it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::First => "1st stage",
            Stage::Second => "2nd stage",
        }
    }
}

/// What is done, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// CHECKPOINT, before the script of this stage.
    Checkpoint(Stage),
    /// The script of this stage.
    Script(Stage),
    /// New clients wait, and those that are there have to go.
    ClientsLeave,
    /// The script pgpool_remote_start.
    RemoteStart,
    /// The node has to answer.
    Answer,
    /// The supervisor takes it into use.
    Attach,
}

impl Step {
    /// For people.
    pub fn text(self) -> String {
        match self {
            Step::Checkpoint(stage) => format!("checkpoint before the {}", stage.name()),
            Step::Script(stage) => format!("command of the {}", stage.name()),
            Step::ClientsLeave => "clients have to leave".to_owned(),
            Step::RemoteStart => "start of the server".to_owned(),
            Step::Answer => "until the server answers".to_owned(),
            Step::Attach => "taking the node into use".to_owned(),
        }
    }
}

/// A recovery that may begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The node that is made anew.
    pub target: Backend,
    /// The node that it is made from.
    pub source: Backend,
    /// What is done.
    pub steps: Vec<Step>,
    /// It has to come up as a standby.
    pub standby: bool,
    /// Who asks the servers.
    pub user: String,
    /// Where the functions may be, and where it is tried whether the node answers.
    pub databases: Vec<String>,
    /// The scripts of the stages.
    pub commands: [String; 2],
    /// The longest that any step may take but the first stage.
    pub timeout: Duration,
    /// The longest that a connection may take.
    pub connect: Duration,
}

impl Plan {
    /// The script of a stage.
    pub fn command(&self, stage: Stage) -> &str {
        match stage {
            Stage::First => &self.commands[0],
            Stage::Second => &self.commands[1],
        }
    }
}

/// How to recover this node, or why it may not be.
pub fn plan(config: &Config, seen: &Seen, node: NodeId) -> Result<Plan, RecoveryError> {
    let backends = config.backends();
    let find = |id: NodeId| backends.iter().find(|backend| backend.id == id);
    if node >= seen.statuses.len() {
        return Err(RecoveryError::NotValid(node));
    }
    let target = find(node).ok_or(RecoveryError::NotValid(node))?;
    let (steps, standby) = match config.backend_clustering_mode {
        ClusteringMode::StreamingReplication => (streaming(config), true),
        ClusteringMode::NativeReplication | ClusteringMode::SnapshotIsolation => (replication(config), false),
        _ => return Err(RecoveryError::Mode),
    };
    if standby && seen.primary == Some(node) {
        return Err(RecoveryError::Primary);
    }
    match seen.status(node) {
        NodeStatus::Unused => return Err(RecoveryError::Unused(node)),
        NodeStatus::Up | NodeStatus::Waiting => return Err(RecoveryError::Alive(node)),
        NodeStatus::Down | NodeStatus::Quarantine => {}
    }
    if config.recovery_user.is_empty() {
        return Err(RecoveryError::NoUser);
    }
    if target.data_directory.is_empty() {
        return Err(RecoveryError::NoDataDirectory(node));
    }
    let main = if standby { seen.primary } else { (0..seen.statuses.len()).find(|id| seen.is_usable(*id)) };
    let source = main.and_then(find).ok_or(RecoveryError::NoSource)?;
    let timeout = Duration::from_secs(u64::try_from(config.recovery_timeout).unwrap_or(0).max(1));
    let mut databases = vec![config.recovery_database.clone(), OLD_DATABASE.to_owned()];
    databases.dedup();
    Ok(Plan {
        target: target.clone(),
        source: source.clone(),
        steps,
        standby,
        user: config.recovery_user.clone(),
        databases,
        commands: [config.recovery_1st_stage_command.clone(), config.recovery_2nd_stage_command.clone()],
        timeout,
        connect: connect_limit(config, source.id).min(timeout),
    })
}

/// A standby catches up by itself, so clients go on all the time.
fn streaming(config: &Config) -> Vec<Step> {
    let mut steps = script(&config.recovery_1st_stage_command, Stage::First);
    steps.extend([Step::RemoteStart, Step::Answer, Step::Attach]);
    steps
}

/// The copy is only the same if nothing is written between its last look and its start.
fn replication(config: &Config) -> Vec<Step> {
    let mut steps = vec![Step::Checkpoint(Stage::First)];
    steps.extend(script(&config.recovery_1st_stage_command, Stage::First));
    steps.extend([Step::ClientsLeave, Step::Checkpoint(Stage::Second)]);
    steps.extend(script(&config.recovery_2nd_stage_command, Stage::Second));
    steps.extend([Step::RemoteStart, Step::Answer, Step::Attach]);
    steps
}

/// As in pgpool-II, a stage without a command is left out.
fn script(command: &str, stage: Stage) -> Vec<Step> {
    if command.is_empty() { Vec::new() } else { vec![Step::Script(stage)] }
}

fn connect_limit(config: &Config, node: NodeId) -> Duration {
    match u64::try_from(*config.connect_timeout.get(node)) {
        Ok(millis @ 1..) => Duration::from_millis(millis),
        _ => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "recovery_user = 'u'
        backend_hostname0 = 'a'\nbackend_port0 = 5432\nbackend_data_directory0 = '/a'
        backend_hostname1 = 'b'\nbackend_port1 = 5433\nbackend_data_directory1 = '/b'
        backend_hostname3 = 'd'\nbackend_port3 = 5435\nbackend_data_directory3 = '/d'\n";

    fn config(text: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgbalancer.conf");
        std::fs::write(&path, format!("{NODES}{text}")).unwrap();
        crate::config::load(&path).ok().unwrap().config
    }

    /// One letter a node: Up, Waiting, Down, Quarantine, unused (-).
    fn seen(statuses: &str, primary: Option<NodeId>) -> Seen {
        let status = |letter: char| match letter {
            'U' => NodeStatus::Up,
            'W' => NodeStatus::Waiting,
            'D' => NodeStatus::Down,
            'Q' => NodeStatus::Quarantine,
            _ => NodeStatus::Unused,
        };
        Seen { statuses: statuses.chars().map(status).collect(), primary }
    }

    #[test]
    fn who_may_be_recovered() {
        use RecoveryError::*;
        let native = "backend_clustering_mode = native_replication";
        let cases = [
            ("", "UD-U", Some(0), 1, Ok(0)),
            ("", "UQ-U", Some(3), 1, Ok(3)),
            ("", "DU-U", Some(1), 0, Ok(1)),
            ("", "UD-U", Some(0), 0, Err(Primary)),
            ("", "UU-U", Some(0), 1, Err(Alive(1))),
            ("", "UW-U", Some(0), 1, Err(Alive(1))),
            ("", "U--U", Some(0), 1, Err(Unused(1))),
            ("", "UD-U", Some(0), 2, Err(NotValid(2))),
            ("", "UD-U", Some(0), 9, Err(NotValid(9))),
            ("", "UD-U", None, 1, Err(NoSource)),
            ("recovery_user = ''", "UD-U", Some(0), 1, Err(NoUser)),
            ("backend_data_directory1 = ''", "UD-U", Some(0), 1, Err(NoDataDirectory(1))),
            ("backend_clustering_mode = raw", "UD-U", None, 1, Err(Mode)),
            ("backend_clustering_mode = logical_replication", "UD-U", None, 1, Err(Mode)),
            ("backend_clustering_mode = slony", "UD-U", None, 1, Err(Mode)),
            (native, "DD-U", None, 1, Ok(3)),
            (native, "DD-D", None, 1, Err(NoSource)),
            ("backend_clustering_mode = snapshot_isolation", "WD-U", None, 1, Ok(0)),
        ];
        for (text, statuses, primary, node, expected) in cases {
            let found = plan(&config(text), &seen(statuses, primary), node);
            assert_eq!(found.map(|plan| plan.source.id), expected, "{text} {statuses} {primary:?} {node}");
        }
    }

    #[test]
    fn which_steps_in_which_mode() {
        use Stage::*;
        use Step::*;
        let both = "recovery_1st_stage_command = 'one'\nrecovery_2nd_stage_command = 'two'";
        let end = [RemoteStart, Answer, Attach];
        let replication = [
            Checkpoint(First),
            Script(First),
            ClientsLeave,
            Checkpoint(Second),
            Script(Second),
            RemoteStart,
            Answer,
            Attach,
        ];
        let cases: [(&str, &str, Vec<Step>, bool); 5] = [
            ("streaming_replication", both, [vec![Script(First)], end.to_vec()].concat(), true),
            ("streaming_replication", "", end.to_vec(), true),
            ("native_replication", both, replication.to_vec(), false),
            ("snapshot_isolation", both, replication.to_vec(), false),
            (
                "native_replication",
                "",
                [vec![Checkpoint(First), ClientsLeave, Checkpoint(Second)], end.to_vec()].concat(),
                false,
            ),
        ];
        for (mode, commands, steps, standby) in cases {
            let config = config(&format!("backend_clustering_mode = {mode}\n{commands}"));
            let plan = plan(&config, &seen("UD-U", Some(0)), 1).unwrap();
            assert_eq!((plan.steps, plan.standby), (steps, standby), "{mode} {commands}");
        }
    }

    #[test]
    fn what_the_configuration_says() {
        let text = "recovery_1st_stage_command = 'one'\nrecovery_timeout = 7\nconnect_timeout = 500ms";
        let found = plan(&config(text), &seen("UD-U", Some(0)), 1).unwrap();
        assert_eq!((found.command(Stage::First), found.command(Stage::Second)), ("one", ""));
        assert_eq!(found.databases, ["postgres", "template1"]);
        assert_eq!((found.timeout, found.connect), (Duration::from_secs(7), Duration::from_millis(500)));

        let text = "recovery_database = 'template1'\nrecovery_timeout = 0\nconnect_timeout = 0";
        let found = plan(&config(text), &seen("UD-U", Some(0)), 1).unwrap();
        assert_eq!(found.databases, ["template1"]);
        assert_eq!((found.timeout, found.connect), (Duration::from_secs(1), Duration::from_secs(1)));
    }
}
