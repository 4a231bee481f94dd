//! Who hears whom, and when: connections, cuts, delay, loss, reordering, duplication, and old messages again.
//!
//! It decides the fate of each message and keeps what may come again; it does not deliver. A connection is known at both
//! ends; each end notices its loss by itself, as with a real one.

use std::rc::Rc;

use quorate_crypto::{Digest, Domain, hash};
use quorate_types::{Message, codec};

use crate::counters::Counters;
use crate::plan::NetworkPlan;
use crate::rng::Rng;

/// Old messages kept to come again.
const OLD: usize = 64;

/// A message as it travels.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) bytes: Rc<Vec<u8>>,
    pub(crate) digest: Digest,
    pub(crate) kind: &'static str,
}

impl Packet {
    pub(crate) fn new(message: &Message) -> Packet {
        Packet::of(codec::encode(message), kind(message))
    }

    fn of(bytes: Vec<u8>, kind: &'static str) -> Packet {
        Packet {
            digest: hash(Domain::Batch, &[&bytes]),
            bytes: Rc::new(bytes),
            kind,
        }
    }
}

/// Numbers the connections ever made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection(u64);

/// The state of all links.
#[derive(Debug)]
pub(crate) struct Network {
    n: usize,
    plan: NetworkPlan,
    rng: Rng,
    /// By sender, then receiver: no message passes.
    cut: Vec<Vec<bool>>,
    /// By end, then peer: the connection that this end has.
    seen: Vec<Vec<Option<Connection>>>,
    last: Connection,
    old: Vec<(usize, usize, Packet)>,
    calm: bool,
}

impl Network {
    pub(crate) fn new(n: usize, plan: NetworkPlan, rng: Rng) -> Network {
        Network {
            n,
            plan,
            rng,
            cut: vec![vec![false; n]; n],
            seen: vec![vec![None; n]; n],
            last: Connection(0),
            old: Vec::new(),
            calm: false,
        }
    }

    /// From now on messages only take their time.
    pub(crate) fn calm(&mut self) {
        self.calm = true;
        self.old.clear();
        self.cut(&[]);
    }

    /// Cuts these directions, and no others.
    pub(crate) fn cut(&mut self, pairs: &[(usize, usize)]) {
        self.cut = vec![vec![false; self.n]; self.n];
        for (from, to) in pairs {
            self.cut[*from][*to] = true;
        }
    }

    /// Whether a connection between two that are up would live: QUIC needs both directions.
    pub(crate) fn passes(&self, a: usize, b: usize) -> bool {
        !self.cut[a][b] && !self.cut[b][a]
    }

    /// The connection that `node` believes to have to `peer`.
    pub(crate) fn seen(&self, node: usize, peer: usize) -> Option<Connection> {
        self.seen[node][peer]
    }

    /// `node` gives up its connection.
    pub(crate) fn forget(&mut self, node: usize, peer: usize) {
        self.seen[node][peer] = None;
    }

    /// Whether both ends have the same connection.
    pub(crate) fn joined(&self, a: usize, b: usize) -> bool {
        self.seen[a][b].is_some() && self.seen[a][b] == self.seen[b][a]
    }

    /// Connects two.
    pub(crate) fn join(&mut self, a: usize, b: usize) {
        self.last = Connection(self.last.0 + 1);
        self.seen[a][b] = Some(self.last);
        self.seen[b][a] = Some(self.last);
    }

    /// Until an end notices that its connection is gone.
    pub(crate) fn notice(&mut self) -> u64 {
        self.rng.between(1, self.plan.notice)
    }

    /// Until a lost connection is made again.
    pub(crate) fn dial(&mut self) -> u64 {
        self.plan.delay + self.rng.below(200 * crate::plan::MILLISECOND)
    }

    /// Whether a message on its way arrives.
    pub(crate) fn arrives(&self, from: usize, to: usize, over: Connection) -> bool {
        !self.cut[from][to] && self.seen[to][from] == Some(over)
    }

    /// What becomes of a message: after which time what arrives, from whom and over which connection.
    pub(crate) fn send(
        &mut self,
        from: usize,
        to: usize,
        packet: &Packet,
        counters: &mut Counters,
    ) -> Vec<(u64, usize, Connection, Packet)> {
        let Some(over) = self.seen[from][to] else {
            return Vec::new();
        };
        let mut fates = Vec::new();
        if self.calm {
            fates.push((self.delay(), from, over, packet.clone()));
            return fates;
        }
        if self.rng.chance(self.plan.loss) {
            counters.lost += 1;
        } else {
            let arriving = self.corrupt(packet, counters);
            fates.push((self.delay(), from, over, arriving));
        }
        if self.rng.chance(self.plan.duplicate) {
            counters.duplicated += 1;
            fates.push((self.delay(), from, over, packet.clone()));
        }
        self.keep(from, to, packet);
        if self.rng.chance(self.plan.replay) {
            let (from, _, packet) = self.old[self.rng.index(self.old.len())].clone();
            if let Some(over) = self.seen[from][to] {
                counters.replayed += 1;
                fates.push((self.delay(), from, over, packet));
            }
        }
        fates
    }

    fn keep(&mut self, from: usize, to: usize, packet: &Packet) {
        if self.plan.replay == 0 {
            return;
        }
        let entry = (from, to, packet.clone());
        if self.old.len() < OLD {
            self.old.push(entry);
        } else if self.rng.chance(100) {
            let place = self.rng.index(OLD);
            self.old[place] = entry;
        }
    }

    fn corrupt(&mut self, packet: &Packet, counters: &mut Counters) -> Packet {
        if !self.rng.chance(self.plan.corrupt) {
            return packet.clone();
        }
        counters.corrupted += 1;
        let mut bytes = packet.bytes.as_ref().clone();
        let place = self.rng.index(bytes.len());
        bytes[place] ^= 1 << self.rng.below(8);
        Packet::of(bytes, packet.kind)
    }

    fn delay(&mut self) -> u64 {
        let delay = self.plan.delay + self.rng.below(self.plan.jitter);
        match !self.calm && self.rng.chance(self.plan.straggle) {
            true => delay * self.rng.between(2, 50),
            false => delay,
        }
    }
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Proposal(_) => "proposal",
        Message::Vote(_) => "vote",
        Message::CommitVote(_) => "commit vote",
        Message::Timeout(_) => "timeout",
        Message::Qc(_) => "qc",
        Message::Tc(_) => "tc",
        Message::Finality(_) => "finality",
        Message::Evidence(_) => "evidence",
        Message::Batch(_) => "batch",
        Message::BlockRequest(_) => "block request",
        Message::BlockResponse(_) => "block response",
        Message::BatchRequest(_) => "batch request",
        Message::BatchResponse(_) => "batch response",
        Message::LedgerRequest(_) => "ledger request",
        Message::LedgerResponse(_) => "ledger response",
    }
}
