//! The network: delay, loss and cut links, and the order in which everything happens.

use quorate_consensus::Event;
use quorate_types::Message;
use quorate_types::message::VerifiedMessage;

use super::World;
use super::chain::index;

#[derive(Clone)]
pub(super) enum Packet {
    Event(Event),
    Message(usize, Message),
}

impl World {
    fn draw(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below.max(1)
    }

    pub(super) fn push(&mut self, at: u64, to: usize, packet: Packet) {
        self.sequence += 1;
        let life = self.nodes[to].life;
        self.queue.insert((at, self.sequence), (to, life, packet));
    }

    /// An event that reaches the node at once.
    pub(crate) fn give(&mut self, to: usize, event: Event) {
        self.push(self.time, to, Packet::Event(event));
    }

    pub(super) fn transmit(&mut self, from: usize, to: usize, packet: Packet) {
        let lost = self.draw(1000) < self.loss;
        if lost || self.cut.contains(&(from, to)) {
            return;
        }
        let at = self.time + self.delay.0 + self.draw(self.delay.1 + 1);
        self.push(at, to, packet);
    }

    /// An event that everybody gets: the author at once, the others over the network.
    pub(super) fn broadcast(&mut self, from: usize, event: Event) {
        self.give(from, event.clone());
        for to in (0..self.n()).filter(|to| *to != from) {
            self.transmit(from, to, Packet::Event(event.clone()));
        }
    }

    /// Runs until nothing happens before `until`.
    pub(crate) fn run(&mut self, until: u64) {
        loop {
            let timer = self
                .nodes
                .iter()
                .enumerate()
                .filter(|(_, node)| node.up)
                .filter_map(|(i, node)| Some((node.engine.deadline()?.0, i)))
                .min();
            let packet = self.queue.keys().next().copied();
            let timer_first = match (timer, packet) {
                (Some((at, _)), Some((due, _))) => at < due,
                (timer, _) => timer.is_some(),
            };
            let at = if timer_first {
                timer.unwrap().0
            } else {
                packet.map_or(u64::MAX, |p| p.0)
            };
            if at > until {
                self.time = until;
                return;
            }
            self.time = self.time.max(at);
            if timer_first {
                self.step(timer.unwrap().1, Event::Deadline);
            } else {
                let (to, life, packet) = self.queue.remove(&packet.unwrap()).unwrap();
                if self.nodes[to].up && self.nodes[to].life == life {
                    self.deliver(to, packet);
                }
            }
        }
    }

    pub(crate) fn run_for(&mut self, duration: u64) {
        self.run(self.time + duration);
    }

    fn deliver(&mut self, to: usize, packet: Packet) {
        let event = match packet {
            Packet::Event(event) => event,
            Packet::Message(from, message) => {
                let verified = message
                    .verify(&self.chain.validators, &self.chain.parameters)
                    .expect("correct validators send valid messages");
                match verified {
                    VerifiedMessage::Proposal(m, _) => Event::Proposal(m),
                    VerifiedMessage::Vote(m) => Event::Vote(m),
                    VerifiedMessage::CommitVote(m) => Event::CommitVote(m),
                    VerifiedMessage::Timeout(m) => Event::Timeout(m),
                    VerifiedMessage::Qc(m) => Event::Qc(m),
                    VerifiedMessage::Tc(m) => Event::Tc(m),
                    VerifiedMessage::Finality(m) => Event::Finality(m),
                    VerifiedMessage::FenceRequest(m) => Event::FenceRequest {
                        from: index(from),
                        nonce: m.nonce,
                    },
                    VerifiedMessage::FenceReply(reply) => Event::FenceReply {
                        from: index(from),
                        reply,
                    },
                    other => panic!("an engine sent {other:?}"),
                }
            }
        };
        self.step(to, event);
    }
}
