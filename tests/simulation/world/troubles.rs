//! What goes wrong, and how it ends.

use pgbalancer::cluster::failover::{Reply, Request};
use pgbalancer::error::NodeId;

use super::super::event::Event;
use super::super::network::{End, Peer};
use super::super::postgres::Lies;
use super::super::scenario::{Fault, Trouble, Wish};
use super::super::schedule::SECOND;
use super::super::worker::Worker;
use super::World;

impl World {
    pub(super) fn trouble(&mut self, fault: usize) {
        let Fault { trouble, lasts, .. } = self.scenario.faults[fault];
        if self.is_calm() {
            return;
        }
        self.trace.note(self.now(), || format!("trouble {fault}: {trouble:?}"));
        self.losses.push(self.now());
        if self.clients.iter().any(|client| client.waits_since.is_some()) {
            self.saw(trouble.name());
        }
        self.network.schedule.after(lasts, Event::Heal(fault));
        match trouble {
            Trouble::Kill(node) => {
                self.cluster.nodes[node].crash();
                self.end_connections(node, "connection reset by peer");
                self.leave(node);
            }
            Trouble::Stop(node) => {
                self.stop(node);
                self.leave(node);
            }
            Trouble::Stall(node) => {
                self.cluster.nodes[node].is_stalled = true;
                self.leave(node);
            }
            Trouble::Silence(node) => {
                self.cluster.nodes[node].is_silent = true;
                for connection in self.network.of_node(node) {
                    self.network.set_silent(connection, true);
                }
                self.leave(node);
            }
            Trouble::HalfOpen(node) => {
                for connection in self.network.of_node(node) {
                    self.network.set_silent(connection, true);
                }
            }
            Trouble::Reset(node) => {
                for connection in self.network.of_node(node) {
                    self.network.reset(connection, "connection reset by peer");
                }
            }
            Trouble::Lie(node, lies) => {
                if self.cluster.nodes[node].storage.is_standby {
                    self.cluster.nodes[node].storage.lies = lies;
                }
            }
            Trouble::Vanish(client) => {
                if let Some(connection) = self.clients[client].connection {
                    let verdict = self.clients[client].vanish(&mut self.ledger);
                    self.judge(client, verdict);
                    self.network.close(connection, End::Peer, "the client is gone");
                    self.network.schedule.after(lasts, Event::Client(client));
                }
            }
            Trouble::SlowClient(client) => {
                if let Some(connection) = self.clients[client].connection {
                    self.network.set_silent(connection, true);
                }
            }
            Trouble::KillWorker(worker) => self.kill_worker(worker),
            Trouble::Operator(wish) => {
                let reply = self.ask(match wish {
                    Wish::Detach { node, gracefully } => Request::Detach { node, gracefully },
                    Wish::Promote { node, gracefully } => {
                        Request::Promote { node, switchover: false, gracefully }
                    }
                    Wish::Switchover { node, gracefully } => {
                        Request::Promote { node, switchover: true, gracefully }
                    }
                });
                self.trace.note(self.network.schedule.now, || format!("the operator hears {reply:?}"));
                // Who asks for a promotion without a script sees to it himself.
                if let (Wish::Promote { node, .. }, Reply::Done) = (wish, reply) {
                    self.switch_over(Some(node));
                }
            }
            Trouble::Elsewhere => self.switch_over(None),
        }
    }

    /// Somebody stops the primary in order and has another node take its place, which has got everything.
    fn switch_over(&mut self, preferred: Option<NodeId>) {
        let leader = self.cluster.leader;
        if !self.cluster.nodes[leader].is_well() {
            return;
        }
        let Some(next) = self.cluster.candidate(preferred) else { return };
        if preferred.is_some_and(|preferred| preferred != next) || !self.cluster.catch_up(next) {
            return;
        }
        self.stop(leader);
        self.promote(next);
        let delay = self.dice.between(SECOND / 10, 3 * SECOND);
        self.network.schedule.after(delay, Event::Restart(leader));
    }

    /// kill -9 of a worker: its sockets close, and another process with the same number begins.
    fn kill_worker(&mut self, worker: usize) {
        if worker >= self.workers.len() {
            return;
        }
        for connection in 0..self.network.connections.len() {
            if self.network.connections[connection].worker != worker || !self.network.is_open(connection) {
                continue;
            }
            self.network.close(connection, End::Worker, "the worker is gone");
            if let Peer::Client(client) = self.network.connections[connection].peer
                && self.clients[client].connection == Some(connection)
            {
                self.clients[client].expect_end();
            }
        }
        self.segment.clear_worker(worker);
        let (seed, room, now) = (self.dice.next(), self.scenario.clients * 2, self.instant());
        self.workers[worker] = Worker::new(worker, seed, &self.config, self.segment, room, now);
    }

    /// A server is stopped in order.
    pub(in crate::simulation) fn stop(&mut self, node: NodeId) {
        self.losses.push(self.now());
        for (connection, process) in &mut self.cluster.nodes[node].processes {
            process.terminate("57P01", "terminating connection due to administrator command");
            self.network.send(*connection, End::Worker, &std::mem::take(&mut process.sent));
        }
        self.cluster.nodes[node].crash();
        for connection in self.network.of_node(node) {
            self.network.close(connection, End::Peer, "the server closed the connection");
        }
    }

    /// A server is started again.
    pub(super) fn restart(&mut self, node: NodeId) {
        self.cluster.nodes[node].is_up = true;
        let delay = self.dice.between(0, 5 * SECOND);
        self.network.schedule.after(delay, Event::Rejoin(node));
    }

    /// The leader notices after a while that a standby is away.
    pub(super) fn leave(&mut self, node: NodeId) {
        let delay = self.dice.between(SECOND / 2, 4 * SECOND);
        self.network.schedule.after(delay, Event::GiveUp(node));
    }

    pub(super) fn heal(&mut self, fault: usize) {
        let trouble = self.scenario.faults[fault].trouble;
        self.trace.note(self.now(), || format!("trouble {fault} ends"));
        self.losses.push(self.now());
        let nodes = &mut self.cluster.nodes;
        match trouble {
            Trouble::Kill(node) | Trouble::Stop(node) => nodes[node].is_up = true,
            Trouble::Stall(node) => {
                nodes[node].is_stalled = false;
                self.wake(node);
            }
            Trouble::HalfOpen(node) => {
                for connection in self.network.of_node(node) {
                    self.network.break_silence(connection);
                }
            }
            Trouble::Silence(node) => {
                nodes[node].is_silent = false;
                for connection in self.network.of_node(node) {
                    self.network.set_silent(connection, false);
                }
            }
            Trouble::Lie(node, _) => nodes[node].storage.lies = Lies::default(),
            Trouble::SlowClient(client) => {
                for connection in 0..self.network.connections.len() {
                    if self.network.connections[connection].peer == Peer::Client(client) {
                        self.network.set_silent(connection, false);
                    }
                }
            }
            Trouble::Operator(Wish::Detach { node, .. }) if self.belongs(node) => {
                self.ask(Request::Attach { node });
            }
            Trouble::Reset(_) | Trouble::Vanish(_) | Trouble::KillWorker(_) => {}
            Trouble::Operator(_) | Trouble::Elsewhere => {}
        }
        if let Trouble::Kill(node) | Trouble::Stop(node) | Trouble::Stall(node) | Trouble::Silence(node) =
            trouble
        {
            let delay = self.dice.between(0, 5 * SECOND);
            self.network.schedule.after(delay, Event::Rejoin(node));
            self.plan_stream(node);
            for standby in self.cluster.behind(node) {
                self.plan_stream(standby);
            }
        }
    }
}
