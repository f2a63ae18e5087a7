//! What happens at a moment of virtual time.

use pgbalancer::cluster::failover::ScriptId;
use pgbalancer::error::NodeId;

use super::network::End;
use super::schedule::Micros;

/// A connection, by its number.
type Connection = usize;

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A node is asked for a connection; the worker hears that it stands.
    Connect(Connection),
    Connected(Connection),
    /// Something reaches an end.
    Deliver(Connection, End),
    /// The server process of a connection goes on.
    Work(Connection),
    /// A standby gets what its upstream has, and makes so much of its log visible.
    Stream(NodeId),
    Replay(NodeId, usize),
    /// The leader gives up a standby.
    GiveUp(NodeId),
    /// A node follows the leader again.
    Rejoin(NodeId),
    Restart(NodeId),
    /// Second of a worker.
    Tick(usize),
    /// A client goes on.
    Client(usize),
    /// Something goes wrong, and ends.
    Trouble(usize),
    Heal(usize),
    /// The supervisor looks at what it waits for; the manager has asked for the time.
    Supervise,
    Due,
    /// It looks whether sessions are quiet.
    Glance,
    /// A worker tells the supervisor of a node, perhaps that it said to shut down.
    Failed(NodeId, bool),
    /// Workers are told that something has changed.
    Told,
    /// A script does what it does, and ends: perhaps it is killed.
    ScriptActs(ScriptId),
    ScriptEnds(ScriptId, bool),
    /// Somebody sees whether there is a primary.
    ByHand,
    /// A turn of the replication check; a node answers it.
    Check(u64),
    Answers(NodeId),
    /// A turn of a node's health check; the end of a login that began then.
    Health(NodeId),
    HealthAnswers(NodeId, Micros),
    /// Time to look whether somebody waits for too long.
    Watch,
}
