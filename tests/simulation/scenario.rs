//! What a run is made of, drawn from its seed: the cluster, the configuration, the clients, and what goes wrong when.

use pgbalancer::error::NodeId;

use super::dice::Dice;
use super::ledger::MustSee;
use super::network::FIRST_PORT;
use super::postgres::Lies;
use super::schedule::{MILLISECOND, Micros, SECOND};

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// kill -9 of all processes of a node.
    Kill(NodeId),
    /// The server is stopped in order (57P01 to all).
    Stop(NodeId),
    /// SIGSTOP.
    Stall(NodeId),
    /// The node is cut off from everybody.
    Silence(NodeId),
    /// The connections to a node fall silent for good: somebody between has forgotten them.
    HalfOpen(NodeId),
    /// The connections to a node are reset, the node is well.
    Reset(NodeId),
    /// A standby says what is not so.
    Lie(NodeId, Lies),
    /// A client goes without a word.
    Vanish(usize),
    /// A client stops reading for a while.
    SlowClient(usize),
    /// A worker process is killed; another takes its place.
    KillWorker(usize),
    /// An operator asks for something.
    Operator(Wish),
    /// Somebody else switches over to another primary, in order.
    Elsewhere,
}

impl Trouble {
    /// What is seen of it in the midst of work.
    pub(super) fn name(self) -> &'static str {
        match self {
            Trouble::Kill(_) => "a server is killed",
            Trouble::Stop(_) => "a server is stopped",
            Trouble::Stall(_) => "a server hangs",
            Trouble::Silence(_) => "a server is cut off",
            Trouble::HalfOpen(_) => "connections are half open",
            Trouble::Reset(_) => "connections are reset",
            Trouble::Lie(..) => "a standby lies",
            Trouble::Vanish(_) => "a client vanishes",
            Trouble::SlowClient(_) => "a client is slow",
            Trouble::KillWorker(_) => "a worker is killed",
            Trouble::Operator(_) => "an operator asks for something",
            Trouble::Elsewhere => "somebody else switches over",
        }
    }
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Detach {
        node: NodeId,
        gracefully: bool,
    },
    Promote {
        node: NodeId,
        gracefully: bool,
    },
    /// A promotion that `failover_command` carries out.
    Switchover {
        node: NodeId,
        gracefully: bool,
    },
}

/// When it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    At(Micros),
    /// In the middle of this delivery of bytes.
    Delivery(u64),
}

/// A trouble with its moment, and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) trouble: Trouble,
    pub(super) moment: Moment,
    pub(super) lasts: Micros,
}

/// A run.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) nodes: usize,
    pub(super) workers: usize,
    pub(super) clients: usize,
    /// Most statements of a client, before the end.
    pub(super) steps: u64,
    /// Pause between two steps of a client, at most.
    pub(super) pause: Micros,
    /// Commits wait for the standbys.
    pub(super) is_synchronous: bool,
    pub(super) configuration: String,
    pub(super) faults: Vec<Fault>,
    pub(super) latency: Micros,
    pub(super) cuts: u64,
    /// Usual delay of replication.
    pub(super) replication: Micros,
    /// Until when things go wrong.
    pub(super) calm_at: Micros,
    /// Nothing goes wrong but what an operator plans, and scripts do what they are for.
    pub(super) is_planned: bool,
    /// What a read must find that was acknowledged before.
    pub(super) must_see: MustSee,
}

/// Seconds that a statement waits for a primary.
pub(super) const WAIT_TIMEOUT: u64 = 10;

impl Scenario {
    pub(super) fn draw(dice: &mut Dice) -> Scenario {
        let nodes = *dice.pick(&[2, 2, 3, 3, 3]) as usize;
        let clients = dice.between(2, 6) as usize;
        let steps = dice.between(6, 24);
        let (faults, is_planned) = match dice.below(20) {
            // Without any, nothing at all may fail.
            0 => (0, false),
            1 | 2 => (1, true),
            3..=9 => (1, false),
            10..=15 => (2, false),
            _ => (dice.between(3, 5), false),
        };
        let draw = |dice: &mut Dice| match is_planned {
            true => planned(dice, nodes),
            false => fault(dice, nodes, clients),
        };
        let faults: Vec<Fault> = (0..faults).map(|_| draw(dice)).collect();
        let is_synchronous = dice.chance(80);
        let lies = faults.iter().any(|fault| matches!(fault.trouble, Trouble::Lie(..)));
        let (must_see, freshness) =
            *dice.pick(&[(MustSee::Nothing, "off"), (MustSee::Own, "session"), (MustSee::All, "global")]);
        Scenario {
            // What is lost with a primary that had no synchronous standby is not seen either.
            must_see: if is_synchronous && !lies { must_see } else { MustSee::Nothing },
            nodes,
            workers: dice.between(1, 2) as usize,
            clients,
            steps,
            pause: *dice.pick(&[2 * MILLISECOND, 100 * MILLISECOND, SECOND]),
            is_synchronous,
            configuration: configuration(dice, nodes, freshness),
            faults,
            latency: *dice.pick(&[100, 300, 2000, 20_000]),
            cuts: *dice.pick(&[0, 20, 60]),
            replication: *dice.pick(&[200, 5 * MILLISECOND, 100 * MILLISECOND]),
            calm_at: 40 * SECOND,
            is_planned,
        }
    }
}

impl Scenario {
    /// Whether what an operator wants waits for all transactions.
    pub(super) fn is_graceful(&self) -> bool {
        let is = |fault: &Fault| {
            matches!(fault.trouble, Trouble::Operator(Wish::Switchover { gracefully: true, .. }))
        };
        self.faults.iter().all(is)
    }

    /// Whether a standby may refuse reads as if they were writes.
    pub(super) fn refuses_reads(&self) -> bool {
        let refuses = |fault: &Fault| matches!(fault.trouble, Trouble::Lie(_, lies) if lies.refuses_reads);
        self.faults.iter().any(refuses)
    }
}

fn fault(dice: &mut Dice, nodes: usize, clients: usize) -> Fault {
    let node = dice.below(nodes as u64) as usize;
    let client = dice.below(clients as u64) as usize;
    let trouble = match dice.below(24) {
        20 => Trouble::KillWorker(client % 2),
        21 | 22 => Trouble::Operator(wish(dice, nodes)),
        23 => Trouble::Elsewhere,
        0..=6 => Trouble::Kill(node),
        7..=8 => Trouble::Stop(node),
        9..=10 => Trouble::Stall(node),
        11..=12 => Trouble::Silence(node),
        13 => Trouble::HalfOpen(node),
        14..=15 => Trouble::Reset(node),
        16..=17 => {
            let which = dice.below(3);
            let lies = Lies { is_primary: which == 0, is_ahead: which == 1, refuses_reads: which == 2 };
            Trouble::Lie(node, lies)
        }
        18 => Trouble::Vanish(client),
        _ => Trouble::SlowClient(client),
    };
    let moment = match dice.chance(60) {
        true => Moment::Delivery(dice.between(1, 900)),
        false => Moment::At(dice.between(0, 20 * SECOND)),
    };
    let lasts = match dice.below(4) {
        0 => dice.between(MILLISECOND, 500 * MILLISECOND),
        1 => dice.between(SECOND, 3 * SECOND),
        _ => dice.between(3 * SECOND, 15 * SECOND),
    };
    Fault { trouble, moment, lasts }
}

/// A switchover while nothing is wrong.
fn planned(dice: &mut Dice, nodes: usize) -> Fault {
    let (node, gracefully) = (dice.between(1, nodes as u64 - 1) as usize, dice.chance(50));
    let trouble = Trouble::Operator(Wish::Switchover { node, gracefully });
    Fault { trouble, moment: Moment::At(dice.between(0, 10 * SECOND)), lasts: SECOND }
}

fn wish(dice: &mut Dice, nodes: usize) -> Wish {
    let (node, gracefully) = (dice.below(nodes as u64) as usize, dice.chance(50));
    match dice.below(4) {
        0 | 1 => Wish::Detach { node, gracefully },
        2 => Wish::Promote { node, gracefully },
        _ => Wish::Switchover { node, gracefully },
    }
}

fn configuration(dice: &mut Dice, nodes: usize, freshness: &str) -> String {
    let mut text = String::new();
    let mut say = |line: String| text.push_str(&(line + "\n"));
    for node in 0..nodes {
        say(format!("backend_hostname{node} = '127.0.0.1'"));
        say(format!("backend_port{node} = {}", usize::from(FIRST_PORT) + node));
        say(format!("backend_weight{node} = {}", dice.pick(&[0, 1, 1, 3])));
        say(format!("backend_application_name{node} = 'node{node}'"));
    }
    say(format!("connect_timeout = {}", dice.pick(&[2000, 3000, 10_000])));
    say(format!("failover_wait_timeout = {WAIT_TIMEOUT}"));
    say(format!("statement_level_load_balance = {}", dice.pick(&["on", "off"])));
    say(format!("read_after_write = {freshness}"));
    let on_write = ["transaction", "trans_transaction", "off", "always"];
    say("failover_command = 'failover %d %m %P'".to_owned());
    if dice.chance(40) {
        say("follow_primary_command = 'follow %d %m %P'".to_owned());
    }
    say(format!("failover_on_backend_error = {}", dice.pick(&["on", "on", "on", "off"])));
    say(format!("failover_on_backend_shutdown = {}", dice.pick(&["on", "off"])));
    say(format!("search_primary_node_timeout = {}", dice.pick(&[3, 20, 300])));
    say(format!("auto_failback = {}", dice.pick(&["on", "off"])));
    say("auto_failback_interval = 2".to_owned());
    say(format!("sr_check_period = {}", dice.pick(&[1, 5, 10])));
    say(format!("detach_false_primary = {}", dice.pick(&["on", "off"])));
    // Without it nobody notices a node that hangs.
    say(format!("health_check_period = {}", dice.pick(&[1, 5])));
    say(format!("health_check_timeout = {}", dice.pick(&[2, 5])));
    say(format!("health_check_max_retries = {}", dice.pick(&[0, 1, 3])));
    say("health_check_retry_delay = 1".to_owned());
    say(format!("disable_load_balance_on_write = '{}'", dice.pick(&on_write)));
    text
}
