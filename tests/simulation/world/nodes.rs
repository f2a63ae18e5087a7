//! Connections to the nodes, what their processes do, and how they follow each other.

use pgbalancer::error::NodeId;

use super::super::event::Event;
use super::super::network::{Arrival, End, Peer};
use super::super::sabotage::Sabotage;
use super::super::scenario::Moment;
use super::super::schedule::SECOND;
use super::World;

impl World {
    pub(super) fn connect(&mut self, connection: usize) {
        let Peer::Node(node) = self.network.connections[connection].peer else { return };
        if !self.network.is_open(connection) || self.cluster.nodes[node].is_silent {
            return;
        }
        self.network.stand(connection);
        if self.cluster.nodes[node].is_up {
            self.cluster.nodes[node].accept(connection);
            self.network.schedule.after(self.scenario.latency, Event::Connected(connection));
        } else {
            self.network.close(connection, End::Peer, "connection refused");
        }
    }

    pub(super) fn deliver(&mut self, connection: usize, to: End) {
        self.deliveries += 1;
        for fault in 0..self.scenario.faults.len() {
            if self.scenario.faults[fault].moment == Moment::Delivery(self.deliveries) {
                self.trouble(fault);
            }
        }
        for arrival in self.network.deliver(connection, to) {
            self.arrive(connection, to, arrival);
        }
        if to == End::Peer && self.network.has_drained(connection) {
            self.arrive(connection, End::Worker, Arrival::Drained);
        }
    }

    pub(super) fn arrive(&mut self, connection: usize, to: End, mut arrival: Arrival) {
        let (id, owner, worker, peer) = {
            let it = &self.network.connections[connection];
            (it.id, it.owner, it.worker, it.peer)
        };
        self.spoil(peer, to, &mut arrival);
        self.trace.arrival(self.network.schedule.now, connection, peer, to, &arrival);
        match (to, peer) {
            (End::Worker, _) => {
                let now = self.instant();
                let errands = self.workers[worker].on_arrival(&mut self.network, now, (id, owner), arrival);
                self.errands(errands);
            }
            (End::Peer, Peer::Client(client)) => self.client_gets(client, connection, arrival),
            (End::Peer, Peer::Node(node)) => self.node_gets(node, connection, arrival),
        }
    }

    pub(super) fn node_gets(&mut self, node: NodeId, connection: usize, arrival: Arrival) {
        let Some(process) = self.cluster.nodes[node].processes.get_mut(&connection) else {
            if matches!(arrival, Arrival::Bytes(_)) {
                self.network.close(connection, End::Peer, "connection reset by peer");
            }
            return;
        };
        match arrival {
            Arrival::Bytes(bytes) => process.take(&bytes),
            _ => {
                self.cluster.nodes[node].processes.remove(&connection);
                return;
            }
        }
        self.plan_work(node, connection);
    }

    pub(super) fn plan_work(&mut self, node: NodeId, connection: usize) {
        let Some(process) = self.cluster.nodes[node].processes.get_mut(&connection) else { return };
        if !process.is_planned {
            process.is_planned = true;
            let delay = self.dice.between(5, 200);
            self.network.schedule.after(delay, Event::Work(connection));
        }
    }

    pub(super) fn work(&mut self, connection: usize) {
        let Peer::Node(node) = self.network.connections[connection].peer else { return };
        let is_stalled = self.cluster.nodes[node].is_stalled;
        let Some(process) = self.cluster.nodes[node].processes.get_mut(&connection) else { return };
        process.is_planned = false;
        if is_stalled {
            return;
        }
        let sent = std::mem::take(&mut process.sent);
        let has_ended = process.has_ended;
        self.network.send(connection, End::Worker, &sent);
        if has_ended {
            self.cluster.nodes[node].processes.remove(&connection);
            self.network.close(connection, End::Peer, "the server closed the connection");
            return;
        }
        let confirmed = self.cluster.nodes[node].storage.confirmed;
        let went = self.cluster.work(node, connection);
        if std::mem::take(&mut self.cluster.writes) > 0 {
            self.judge_write(node, connection);
        }
        if let Some(process) = self.cluster.nodes[node].processes.get_mut(&connection)
            && (went.is_some() || process.has_ended || !process.sent.is_empty())
        {
            process.is_planned = true;
            self.network.schedule.after(went.unwrap_or(1), Event::Work(connection));
        }
        for standby in self.cluster.behind(node) {
            self.plan_stream(standby);
        }
        if self.cluster.nodes[node].storage.confirmed != confirmed {
            self.wake(node);
        }
    }

    pub(super) fn plan_stream(&mut self, node: NodeId) {
        if !std::mem::replace(&mut self.streams[node], true) {
            let usual = self.scenario.replication;
            let delay = self.dice.between(usual / 2, usual * 2);
            self.network.schedule.after(delay, Event::Stream(node));
        }
    }

    pub(super) fn stream(&mut self, node: NodeId) {
        self.streams[node] = false;
        if self.cluster.stream(node) {
            let up_to = self.cluster.nodes[node].storage.log.len();
            let delay = self.dice.between(0, self.scenario.replication * 3);
            self.network.schedule.after(delay, Event::Replay(node, up_to));
            self.wake(self.cluster.leader);
            for standby in self.cluster.behind(node) {
                self.plan_stream(standby);
            }
        }
    }

    /// Processes that wait for standbys may go on.
    pub(super) fn wake(&mut self, node: NodeId) {
        let all: Vec<usize> = self.cluster.nodes[node].processes.keys().copied().collect();
        for connection in all {
            self.plan_work(node, connection);
        }
    }

    /// The end of a node's processes, with what was on its way.
    pub(super) fn end_connections(&mut self, node: NodeId, reason: &str) {
        for connection in self.network.of_node(node) {
            self.network.kill_peer(connection, reason);
        }
    }

    pub(in crate::simulation) fn rejoin(&mut self, node: NodeId) {
        let leader = self.cluster.leader;
        if node == leader || self.cluster.nodes[node].upstream == Some(leader) {
            self.plan_stream(node);
            return;
        }
        if !self.cluster.nodes[node].is_well() || !self.cluster.nodes[leader].is_well() {
            self.network.schedule.after(SECOND, Event::Rejoin(node));
            return;
        }
        self.trace.note(self.now(), || format!("node {node} follows node {leader}"));
        self.losses.push(self.now());
        for connection in self.cluster.follow(node) {
            self.network.kill_peer(connection, "the server was restarted");
        }
        self.plan_stream(node);
    }

    /// A node has become the primary: the others follow it after a while.
    pub(in crate::simulation) fn promote(&mut self, node: NodeId) {
        self.trace.note(self.network.schedule.now, || format!("node {node} is promoted"));
        if self.sabotage == Some(Sabotage::LostCommit) {
            self.cluster.nodes[node].storage.log.pop();
        }
        self.cluster.promote(node);
        self.saw("a promotion");
        for other in (0..self.cluster.nodes.len()).filter(|other| *other != node) {
            let delay = self.dice.between(SECOND / 10, 5 * SECOND);
            self.network.schedule.after(delay, Event::Rejoin(other));
        }
    }
}
