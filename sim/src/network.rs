//! Who hears whom, and when: connections, cuts, delay, loss, reordering, duplication, and old messages again.
//!
//! It decides the fate of each message and keeps what may come again; it does not deliver. A connection is known at both
//! ends; each end notices its loss by itself, as with a real one.

use std::cell::OnceCell;
use std::rc::Rc;

use quorate_types::message::VerifiedMessage;
use quorate_types::{Message, Parameters, Validators, codec};

use crate::counters::Counters;
use crate::faults::Link;
use crate::plan::NetworkPlan;
use crate::rng::Rng;

/// Old messages kept to come again.
const OLD: usize = 64;

/// A message as it travels. A clone is the same message: what is found out about it holds for all.
#[derive(Clone, Debug)]
pub(crate) struct Packet(Rc<Sent>);

#[derive(Debug)]
struct Sent {
    bytes: Vec<u8>,
    kind: &'static str,
    mark: u64,
    /// Whether it verifies does not depend on who asks, so it is found out once.
    verdict: OnceCell<Option<VerifiedMessage>>,
}

impl Packet {
    pub(crate) fn new(message: &Message) -> Packet {
        Packet::of(codec::encode(message), kind(message))
    }

    pub(crate) fn of(bytes: Vec<u8>, kind: &'static str) -> Packet {
        Packet(Rc::new(Sent {
            mark: mark(&bytes),
            bytes,
            kind,
            verdict: OnceCell::new(),
        }))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.0.kind
    }

    /// A number for the trace that another content does not have, by all likelihood.
    pub(crate) fn mark(&self) -> u64 {
        self.0.mark
    }

    /// The message, if it decodes and verifies.
    pub(crate) fn verified(
        &self,
        validators: &Validators,
        parameters: &Parameters,
    ) -> Option<VerifiedMessage> {
        let verdict = self.0.verdict.get_or_init(|| {
            let message = self.decode()?;
            message.verify(validators, parameters).ok()
        });
        verdict.clone()
    }

    /// The message, if it decodes.
    pub(crate) fn decode(&self) -> Option<Message> {
        codec::decode(&self.0.bytes, codec::MAX_ENCODED_BYTES).ok()
    }
}

/// FNV-1a over words, for equality only.
fn mark(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut mix = |word: u64| {
        hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        mix(u64::from_le_bytes(*word));
    }
    for byte in rest {
        mix(u64::from(*byte));
    }
    hash
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
    /// By sender, then receiver: how many cuts keep messages from passing.
    cut: Vec<Vec<u32>>,
    /// By sender, then receiver: until when messages wait.
    clogged: Vec<Vec<u64>>,
    /// By sender, then receiver: further delay, and chance of loss.
    far: Vec<Vec<u64>>,
    lossy: Vec<Vec<u64>>,
    /// By end, then peer: the connection that this end has.
    seen: Vec<Vec<Option<Connection>>>,
    last: Connection,
    old: Vec<(usize, usize, Packet)>,
    calm: bool,
}

impl Network {
    pub(crate) fn new(n: usize, plan: NetworkPlan, rng: Rng) -> Network {
        Network {
            cut: vec![vec![0; n]; n],
            clogged: vec![vec![0; n]; n],
            far: table(n, &plan.far),
            lossy: table(n, &plan.lossy),
            n,
            plan,
            rng,
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
        self.cut = vec![vec![0; self.n]; self.n];
        self.clogged = vec![vec![0; self.n]; self.n];
    }

    /// Cuts these links; each cut is healed by itself.
    pub(crate) fn cut(&mut self, links: &[Link]) {
        for (from, to) in links {
            self.cut[*from][*to] += 1;
        }
    }

    /// Ends a cut of these links.
    pub(crate) fn heal(&mut self, links: &[Link]) {
        for (from, to) in links {
            self.cut[*from][*to] -= 1;
        }
    }

    /// Until `end`, messages on these links wait.
    pub(crate) fn clog(&mut self, links: &[Link], end: u64) {
        for (from, to) in links {
            self.clogged[*from][*to] = self.clogged[*from][*to].max(end);
        }
    }

    /// Whether a connection between two that are up would live: QUIC needs both directions.
    pub(crate) fn passes(&self, a: usize, b: usize) -> bool {
        self.cut[a][b] == 0 && self.cut[b][a] == 0
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
        self.cut[from][to] == 0 && self.seen[to][from] == Some(over)
    }

    /// What becomes of a message: after which time what arrives, from whom and over which connection.
    pub(crate) fn send(
        &mut self,
        now: u64,
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
            fates.push((self.delay(from, to), from, over, packet.clone()));
            return fates;
        }
        let waits = self.clogged[from][to].saturating_sub(now);
        counters.clogged += u64::from(waits > 0);
        if self.rng.chance(self.plan.loss) || self.rng.chance(self.lossy[from][to]) {
            counters.lost += 1;
        } else {
            let arriving = self.corrupt(packet, counters);
            fates.push((waits + self.delay(from, to), from, over, arriving));
        }
        if self.rng.chance(self.plan.duplicate) {
            counters.duplicated += 1;
            fates.push((waits + self.delay(from, to), from, over, packet.clone()));
        }
        self.keep(from, to, packet);
        if self.rng.chance(self.plan.replay) {
            let (from, _, packet) = self.old[self.rng.index(self.old.len())].clone();
            if let Some(over) = self.seen[from][to] {
                counters.replayed += 1;
                fates.push((self.delay(from, to), from, over, packet));
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
        if !self.rng.chance(self.plan.corrupt) || packet.bytes().is_empty() {
            return packet.clone();
        }
        counters.corrupted += 1;
        let mut bytes = packet.bytes().to_vec();
        let place = self.rng.index(bytes.len());
        bytes[place] ^= 1 << self.rng.below(8);
        Packet::of(bytes, packet.kind())
    }

    fn delay(&mut self, from: usize, to: usize) -> u64 {
        let delay = self.plan.delay + self.far[from][to] + self.rng.below(self.plan.jitter);
        match !self.calm && self.rng.chance(self.plan.straggle) {
            true => delay * self.rng.between(2, 50),
            false => delay,
        }
    }
}

/// By sender, then receiver.
fn table(n: usize, links: &[(usize, usize, u64)]) -> Vec<Vec<u64>> {
    let mut table = vec![vec![0; n]; n];
    for (from, to, number) in links {
        table[*from][*to] = *number;
    }
    table
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
        Message::SnapshotRequest(_) => "snapshot request",
        Message::SnapshotResponse(_) => "snapshot response",
        Message::ChunkRequest(_) => "chunk request",
        Message::ChunkResponse(_) => "chunk response",
        Message::FenceRequest(_) => "fence request",
        Message::FenceReply(_) => "fence reply",
    }
}
