//! The clients go on, and hear what the program says.

use pgbalancer::net::Owner;

use super::super::client::{Asked, Stage};
use super::super::event::Event;
use super::super::network::{Arrival, End, Peer};
use super::super::schedule::{MILLISECOND, SECOND};
use super::super::statement::Statement;
use super::World;

impl World {
    pub(super) fn go_on(&mut self, client: usize) {
        let now = self.now();
        if self.clients[client].stage == Stage::Away {
            return self.enter(client);
        }
        if !self.clients[client].is_free() {
            return;
        }
        let bytes = if self.now() >= self.end_of_recovery() {
            match self.passed[client] {
                0 if !self.clients[client].is_at_rest() => {
                    self.clients[client].say(Statement::Rollback, now, &mut self.ledger)
                }
                0 => {
                    self.passed[client] = 1;
                    self.clients[client].write(now, &mut self.ledger)
                }
                _ => {
                    self.passed[client] = 2;
                    return;
                }
            }
        } else if self.clients[client].steps == 0 {
            let left = self.end_of_recovery() - now;
            self.network.schedule.after(left, Event::Client(client));
            return;
        } else {
            self.clients[client].next(now, &mut self.ledger)
        };
        let Some(connection) = self.clients[client].connection else { return };
        self.trace.note(now, || format!("client {client} asks: {}", self.clients[client].owed()));
        self.network.send(connection, End::Worker, &bytes);
        if self.clients[client].is_leaving {
            self.network.close(connection, End::Peer, "the client said goodbye");
            let verdict = self.clients[client].vanish(&mut self.ledger);
            self.judge(client, verdict);
            self.network.schedule.after(MILLISECOND, Event::Client(client));
        }
    }

    pub(super) fn enter(&mut self, client: usize) {
        let worker = self.dice.below(self.workers.len() as u64) as usize;
        let Some(slot) = self.workers[worker].take_place() else {
            return self.network.schedule.after(SECOND, Event::Client(client));
        };
        let (connection, id) = self.network.open(worker, Owner::Client(slot), Peer::Client(client));
        let now = self.instant();
        self.workers[worker].welcome(slot, id, now);
        let packet = self.clients[client].enter(connection, self.network.schedule.now);
        self.network.send(connection, End::Worker, &packet);
    }

    pub(super) fn client_gets(&mut self, client: usize, connection: usize, arrival: Arrival) {
        if self.clients[client].connection != Some(connection) {
            return;
        }
        let now = self.now();
        match arrival {
            Arrival::Bytes(bytes) => match self.clients[client].take(&bytes, now, &mut self.ledger) {
                Ok(effects) => {
                    for line in effects.trace {
                        self.trace.note(now, || format!("client {client} hears: {line}"));
                    }
                    for complaint in effects.complaints {
                        self.complaint(client, &complaint);
                    }
                    self.network.send(connection, End::Worker, &effects.send);
                    if effects.is_free {
                        self.note_answered(client);
                        let pause = self.dice.below(self.scenario.pause + 1);
                        self.network.schedule.after(pause, Event::Client(client));
                    }
                }
                Err(text) => self.fail(format!("client {client}: {text}")),
            },
            Arrival::Closed(_) => {
                if self.clients[client].is_mid_message() {
                    self.saw("a message is cut");
                }
                self.network.close(connection, End::Peer, "closed");
                let verdict = self.clients[client].closed(&mut self.ledger);
                self.judge(client, verdict);
                let pause = self.dice.between(MILLISECOND, SECOND);
                self.network.schedule.after(pause, Event::Client(client));
            }
            Arrival::Connected | Arrival::Drained => {}
        }
    }

    /// All that a client asked for is answered.
    fn note_answered(&mut self, client: usize) {
        let Asked { at, reads, writes, complained } = self.clients[client].asked;
        if complained {
            return;
        }
        if reads && self.losses.iter().any(|loss| *loss > at) {
            self.saw("a read is answered in spite of a loss");
        }
        if writes && self.segment.primary().is_some() && self.supervisor.primary_since > at {
            self.saw("a write is answered by the next primary");
        }
    }
}
