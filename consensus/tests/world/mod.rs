//! A world of engines for tests: virtual time, a network with delay and loss from a seed, disks that survive crashes.
//! What must hold in every one of them, it asserts by itself (`invariants.rs`).
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod chain;
mod invariants;
mod network;
mod replica;

use std::collections::{BTreeMap, BTreeSet};

use quorate_consensus::committed_headers;
use quorate_consensus::{Engine, Event, Passed, Start};
use quorate_types::{
    BatchId, Block, BlockId, Claim, Evidence, Finality, Header, Height, Roots, Round, SafetyRecord,
    Verified,
};

use chain::{Chain, MS, index, now};
use invariants::Invariants;
use network::Packet;

/// What a validator has made durable.
#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) record: Option<SafetyRecord>,
    pub(crate) blocks: BTreeMap<BlockId, Block>,
    pub(crate) ledger: Vec<Block>,
    pub(crate) committed: Vec<Header>,
    pub(crate) finality: Finality,
    pub(crate) finalities: BTreeMap<Height, Finality>,
    pub(crate) roots: Vec<Roots>,
    pub(crate) nonempty: Height,
}

pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) up: bool,
    /// Increased by a crash: what was under way to this node is lost.
    pub(crate) life: u64,
    pub(crate) disk: Disk,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) diverged: Vec<Height>,
    pub(crate) passed: Vec<Passed>,
    pub(crate) twins: Vec<Round>,
    pub(crate) refused: Vec<quorate_types::Reject>,
    /// Commit times by height.
    pub(crate) commits: Vec<u64>,
    /// Executes wrongly from here on.
    pub(crate) corrupt: bool,
    pool: BTreeSet<BatchId>,
    ordered: BTreeSet<BatchId>,
    work: bool,
}

pub(crate) struct World {
    pub(crate) chain: Chain,
    pub(crate) nodes: Vec<Node>,
    pub(crate) time: u64,
    queue: BTreeMap<(u64, u64), (usize, u64, Packet)>,
    sequence: u64,
    random: u64,
    /// One-way delay: at least, and random on top, nanoseconds.
    pub(crate) delay: (u64, u64),
    /// Messages lost, in a thousand.
    pub(crate) loss: u64,
    /// Links that are cut.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Nodes that never get answers to `CheckPayload`.
    pub(crate) starved: BTreeSet<usize>,
    /// Sends another block to every other validator than to the rest, whenever it leads.
    pub(crate) equivocator: Option<usize>,
    pub(crate) invariants: Invariants,
    /// Whether validators start behind the fence, as they do in production.
    pub(crate) fenced: bool,
    /// Those that start behind the strict one.
    pub(crate) forgetful: BTreeSet<usize>,
    /// Proposals made, by round.
    pub(crate) proposals: BTreeMap<Round, Vec<Verified<quorate_types::Proposal>>>,
}

impl World {
    pub(crate) fn new(n: usize, seed: u64) -> World {
        World::of(Chain::new(n), seed)
    }

    pub(crate) fn of(chain: Chain, seed: u64) -> World {
        let mut world = World {
            nodes: Vec::new(),
            time: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            random: seed,
            delay: (MS, 0),
            loss: 0,
            cut: BTreeSet::new(),
            starved: BTreeSet::new(),
            equivocator: None,
            invariants: Invariants::default(),
            fenced: true,
            forgetful: BTreeSet::new(),
            proposals: BTreeMap::new(),
            chain,
        };
        let mut started = Vec::new();
        for i in 0..world.chain.keys.len() {
            let mut boot = world.chain.boot(Some(index(i)));
            boot.start = world.start(i);
            let disk = Disk {
                record: None,
                blocks: BTreeMap::new(),
                ledger: Vec::new(),
                committed: boot.committed.clone(),
                finality: boot.finality.clone(),
                finalities: BTreeMap::new(),
                roots: vec![world.chain.genesis.claim.roots],
                nonempty: Height(0),
            };
            let (engine, effects) = Engine::new(boot, now(0));
            world.nodes.push(Node {
                engine,
                up: true,
                life: 0,
                disk,
                evidence: Vec::new(),
                diverged: Vec::new(),
                passed: Vec::new(),
                twins: Vec::new(),
                refused: Vec::new(),
                commits: Vec::new(),
                corrupt: false,
                pool: BTreeSet::new(),
                ordered: BTreeSet::new(),
                work: false,
            });
            started.push(effects);
        }
        for (i, effects) in started.into_iter().enumerate() {
            world.apply(i, effects);
        }
        world
    }

    fn start(&self, i: usize) -> Start {
        let nonce = self.time + 1;
        match self.forgetful.contains(&i) {
            true => Start::Forgetful {
                nonce,
                ceiling: None,
            },
            false if self.fenced => Start::Fenced { nonce },
            false => Start::Open,
        }
    }

    /// Starts again from what it had when the copy was made.
    pub(crate) fn restore(&mut self, i: usize, copy: Disk) {
        self.crash(i);
        self.nodes[i].disk = copy;
        self.restart(i);
    }

    pub(crate) fn n(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn crash(&mut self, i: usize) {
        self.nodes[i].up = false;
        self.nodes[i].life += 1;
    }

    /// Starts again from the disk; everybody connects again.
    pub(crate) fn restart(&mut self, i: usize) {
        let mut boot = self.chain.boot(Some(index(i)));
        boot.start = self.start(i);
        let disk = &self.nodes[i].disk;
        let keep = committed_headers(&self.chain.validators);
        boot.record.clone_from(&disk.record);
        boot.committed = disk.committed[disk.committed.len().saturating_sub(keep)..].to_vec();
        boot.finality = disk.finality.clone();
        boot.blocks = disk.blocks.values().cloned().collect();
        boot.executed = (0..).map(Height).zip(disk.roots.iter().copied()).collect();
        boot.executed_nonempty = disk.nonempty;
        let (engine, effects) = Engine::new(boot, now(self.time));
        let node = &mut self.nodes[i];
        node.engine = engine;
        node.up = true;
        node.life += 1;
        node.work = false;
        self.apply(i, effects);
        for j in (0..self.n()).filter(|j| *j != i) {
            if self.nodes[j].up {
                self.give(i, Event::Connected(index(j)));
                self.give(j, Event::Connected(index(i)));
            }
        }
        self.update_work(i);
    }

    pub(crate) fn reconnect_all(&mut self) {
        for i in 0..self.n() {
            for j in (0..self.n()).filter(|j| *j != i) {
                self.give(i, Event::Connected(index(j)));
            }
        }
    }

    pub(crate) fn heights(&self) -> Vec<u64> {
        self.nodes
            .iter()
            .map(|node| node.engine.status().committed.0)
            .collect()
    }

    pub(crate) fn is_final(&self, batch: BatchId) -> bool {
        self.nodes
            .iter()
            .filter(|node| node.up)
            .all(|node| node.disk.ledger.iter().any(|b| b.batches.contains(&batch)))
    }

    pub(crate) fn max_round(&self) -> u64 {
        let rounds = self.nodes.iter().map(|n| n.engine.status().round.number);
        rounds.max().unwrap()
    }

    pub(crate) fn claim(&self, i: usize) -> Claim {
        self.nodes[i].disk.committed.last().unwrap().claim
    }
}
