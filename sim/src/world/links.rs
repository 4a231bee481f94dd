//! Messages and connections between validators.

use quorate_consensus::Target;
use quorate_replica::Input;
use quorate_types::Message;
use quorate_types::message::VerifiedMessage;

use super::{Event, World};
use crate::genesis::index;
use crate::network::{Connection, Packet};

impl World {
    pub(super) fn send(&mut self, from: usize, to: Target, message: Message) {
        match message {
            Message::BlockRequest(_) => self.counters.block_fetches += 1,
            Message::BatchRequest(_) => self.counters.batch_fetches += 1,
            Message::LedgerRequest(_) => self.counters.ledger_fetches += 1,
            _ => {}
        }
        if self.adversaries[from].is_some() {
            self.twist(from, to, message);
            return;
        }
        let packet = Packet::new(&message);
        for node in 0..self.nodes.len() {
            let meant = match to {
                Target::One(one) => self.identities[node] == one.as_usize(),
                Target::All => true,
            };
            if meant {
                self.post(from, node, &packet);
            }
        }
    }

    pub(super) fn post(&mut self, from: usize, to: usize, packet: &Packet) {
        if from == to {
            return;
        }
        let fates = self
            .network
            .send(self.now, from, to, packet, &mut self.counters);
        for (delay, from, over, packet) in fates {
            let event = Event::Arrive {
                from,
                to,
                over,
                packet,
            };
            self.at(self.now + delay, event);
        }
    }

    pub(super) fn arrive(&mut self, from: usize, to: usize, over: Connection, packet: &Packet) {
        if self.nodes[to].replica.is_none() || !self.network.arrives(from, to, over) {
            return;
        }
        self.counters.delivered += 1;
        self.counters.events += 1;
        let parties = [
            u64::try_from(from).unwrap_or(0),
            u64::try_from(to).unwrap_or(0),
        ];
        let numbers = [4, parties[0], parties[1], packet.mark()];
        self.trace.note(self.now, &numbers, || {
            format!("v{from} → v{to}  {} {:016x}", packet.kind(), packet.mark())
        });
        match packet.verified(&self.setup.validators, &self.setup.parameters) {
            Some(message) => {
                if let VerifiedMessage::Proposal(proposal, _) = &message {
                    self.checker.overhear(proposal);
                }
                if self.adversaries[to].is_some() && !self.hears(to, from, packet) {
                    return;
                }
                let from = index(self.identities[from]);
                self.nodes[to].inbox.push(Input::Message { from, message });
                self.rearm(to);
            }
            None => self.counters.refused += 1,
        }
    }

    /// Whether the replica of a Byzantine node gets this.
    fn hears(&mut self, to: usize, from: usize, packet: &Packet) -> bool {
        let message = packet.decode();
        message.is_some_and(|message| self.overhear(to, from, &message))
    }

    pub(super) fn lost(&mut self, node: usize, peer: usize, over: Connection) {
        if self.network.seen(node, peer) != Some(over) {
            return;
        }
        let alive = self.nodes[peer].replica.is_some() && self.network.joined(node, peer);
        if alive && self.network.passes(node, peer) {
            return;
        }
        self.disconnect(node, peer);
        if self.network.passes(node, peer) {
            let until = self.now + self.network.dial();
            self.at(until, Event::Dial { a: node, b: peer });
        }
    }

    fn disconnect(&mut self, node: usize, peer: usize) {
        self.network.forget(node, peer);
        if self.nodes[node].replica.is_some() {
            self.counters.disconnects += 1;
            self.nodes[node]
                .inbox
                .push(Input::Disconnected(index(self.identities[peer])));
            self.rearm(node);
        }
    }

    pub(super) fn dial(&mut self, a: usize, b: usize) {
        let up = [a, b].iter().all(|end| self.nodes[*end].replica.is_some());
        if !up || !self.network.passes(a, b) || self.network.joined(a, b) {
            return;
        }
        for (node, peer) in [(a, b), (b, a)] {
            if self.network.seen(node, peer).is_some() {
                self.disconnect(node, peer);
            }
        }
        self.network.join(a, b);
        self.trace
            .note(self.now, &[5], || format!("v{a} and v{b} are connected"));
        for (node, peer) in [(a, b), (b, a)] {
            let peer = index(self.identities[peer]);
            self.nodes[node].inbox.push(Input::Connected(peer));
            self.rearm(node);
        }
    }

    /// What is broken will be noticed, what is whole again will be dialed.
    pub(super) fn refresh(&mut self) {
        for a in 0..self.nodes.len() {
            for b in (0..self.nodes.len()).filter(|b| *b != a) {
                if let Some(over) = self.network.seen(a, b) {
                    let until = self.now + self.network.notice();
                    self.at(
                        until,
                        Event::Lost {
                            node: a,
                            peer: b,
                            over,
                        },
                    );
                }
                if a < b {
                    let until = self.now + self.network.dial();
                    self.at(until, Event::Dial { a, b });
                }
            }
        }
    }
}
