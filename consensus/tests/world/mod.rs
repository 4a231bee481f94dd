//! A world of engines for tests: virtual time, a network with delay and loss from a seed, disks that survive crashes.
//! It checks the invariants by itself, independently of the engine: I1, I4, I5, and P1–P3 at every signature.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_consensus::committed_headers;
use quorate_consensus::{Authorised, Boot, Effect, Engine, Event, Passed, Start, Target};
use quorate_crypto::{Digest, Domain, SecretKey, hash};
use quorate_types::message::VerifiedMessage;
use quorate_types::vote::Signable;
use quorate_types::{
    BatchId, Block, BlockId, BlockTime, ChainId, Claim, Epoch, Evidence, Finality, Header, Height,
    Instant, Message, Now, Parameters, Roots, Round, SafetyRecord, ValidatorIndex, Validators,
    Verified,
};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// The wall clock at monotonic time 0.
pub(crate) const WALL: u64 = 1_700_000_000 * SECOND;

pub(crate) fn round(number: u64) -> Round {
    Round::new(Epoch(0), number)
}

pub(crate) fn index(i: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(i).unwrap())
}

pub(crate) fn digest(seed: &[u8]) -> Digest {
    hash(Domain::Receipt, &[seed])
}

pub(crate) fn batch(i: u8) -> BatchId {
    BatchId(digest(&[i]))
}

/// Keys, set and genesis of a chain.
pub(crate) struct Chain {
    pub(crate) keys: Vec<SecretKey>,
    pub(crate) validators: Arc<Validators>,
    pub(crate) genesis: Header,
    pub(crate) parameters: Parameters,
}

impl Chain {
    pub(crate) fn new(n: usize) -> Chain {
        let chain = ChainId(digest(b"chain"));
        let keys: Vec<SecretKey> = (0..n)
            .map(|i| SecretKey::from_seed(&[u8::try_from(i + 1).unwrap(); 32]))
            .collect();
        let public = keys.iter().map(SecretKey::public).collect();
        let roots = Roots {
            state: digest(b"state 0"),
            receipts: digest(b"receipts 0"),
        };
        let genesis = Header::genesis(chain, BlockTime(WALL - SECOND), roots);
        let anchor = (genesis.id(), Height(0));
        let validators = Validators::new(chain, Epoch(0), public, anchor).unwrap();
        Chain {
            keys,
            validators: Arc::new(validators),
            genesis,
            parameters: Parameters::default(),
        }
    }

    pub(crate) fn id(&self) -> ChainId {
        self.validators.chain()
    }

    pub(crate) fn boot(&self, me: Option<ValidatorIndex>) -> Boot {
        Boot {
            validators: Arc::clone(&self.validators),
            me,
            parameters: self.parameters.clone(),
            record: None,
            start: Start::Open,
            committed: vec![self.genesis.clone()],
            finality: Finality::clone(&Verified::<Finality>::anchor(&self.validators)),
            blocks: Vec::new(),
            executed: vec![(Height(0), self.genesis.claim.roots)],
            executed_nonempty: Height(0),
        }
    }
}

/// What executing a block on top of `before` leads to.
pub(crate) fn execute(before: Roots, block: &Block) -> Roots {
    let mut state = before.state;
    for batch in &block.batches {
        state = digest(&[&state.as_bytes()[..], &batch.as_bytes()[..]].concat());
    }
    Roots {
        state,
        receipts: digest(&block.header.height.0.to_le_bytes()),
    }
}

pub(crate) fn now(monotonic: u64) -> Now {
    Now {
        monotonic: Instant(monotonic),
        wall: BlockTime(WALL + monotonic),
    }
}

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

#[derive(Clone)]
enum Packet {
    Event(Event),
    Message(usize, Message),
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
    /// Everything final, by height.
    pub(crate) ledger: BTreeMap<Height, BlockId>,
    /// What was signed: (validator, kind, round) to block.
    signed: BTreeMap<(usize, u8, Round), BlockId>,
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
            ledger: BTreeMap::new(),
            signed: BTreeMap::new(),
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

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below.max(1)
    }

    fn push(&mut self, at: u64, to: usize, packet: Packet) {
        self.sequence += 1;
        let life = self.nodes[to].life;
        self.queue.insert((at, self.sequence), (to, life, packet));
    }

    /// An event that reaches the node at once.
    pub(crate) fn give(&mut self, to: usize, event: Event) {
        self.push(self.time, to, Packet::Event(event));
    }

    fn transmit(&mut self, from: usize, to: usize, packet: Packet) {
        let lost = self.draw(1000) < self.loss;
        if lost || self.cut.contains(&(from, to)) {
            return;
        }
        let at = self.time + self.delay.0 + self.draw(self.delay.1 + 1);
        self.push(at, to, packet);
    }

    /// An event that everybody gets: the author at once, the others over the network.
    fn broadcast(&mut self, from: usize, event: Event) {
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

    pub(crate) fn step(&mut self, i: usize, event: Event) {
        let effects = self.nodes[i].engine.step(now(self.time), event);
        self.apply(i, effects);
        self.update_work(i);
    }

    /// One turn of the replica: first the disk, then the rest.
    fn apply(&mut self, i: usize, effects: Vec<Effect>) {
        let saves = effects.iter().filter(|e| matches!(e, Effect::Save(_)));
        assert!(saves.count() <= 1, "one Save a step");
        for effect in &effects {
            match effect {
                Effect::Save(record) => self.nodes[i].disk.record = Some(record.clone()),
                Effect::Store(block) => {
                    let node = &mut self.nodes[i];
                    node.ordered.extend(&block.batches);
                    node.disk.blocks.insert(block.id(), block.clone());
                }
                _ => {}
            }
        }
        for effect in effects {
            self.act(i, effect);
        }
    }

    fn act(&mut self, i: usize, effect: Effect) {
        match effect {
            Effect::Save(_) | Effect::Store(_) => {}
            Effect::Sign(authorised) => self.sign(i, authorised),
            Effect::Send { to, message } => match to {
                Target::All => {
                    for to in (0..self.n()).filter(|to| *to != i) {
                        self.transmit(i, to, Packet::Message(i, Message::clone(&message)));
                    }
                }
                Target::One(to) => self.transmit(i, to.as_usize(), Packet::Message(i, *message)),
            },
            Effect::CheckPayload(block) => {
                if !self.starved.contains(&i) {
                    self.give(i, Event::PayloadReady(block.id()));
                }
            }
            Effect::Propose(request) => {
                let exclude: BTreeSet<BatchId> = request.exclude.into_iter().collect();
                let mut batches: Vec<BatchId> =
                    self.nodes[i].pool.difference(&exclude).copied().collect();
                let most = usize::try_from(self.chain.parameters.max_block_batches).unwrap();
                batches.truncate(if request.must_be_empty { 0 } else { most });
                self.step(
                    i,
                    Event::Payload {
                        round: request.round,
                        batches,
                        inline: Vec::new(),
                    },
                );
            }
            Effect::Fetch { block, from } => self.fetch(i, block, from.iter().collect()),
            Effect::Behind { height, .. } => self.synchronise(i, height),
            Effect::Commit { blocks, finality } => {
                self.commit(i, blocks, Finality::clone(&finality))
            }
            Effect::Evidence(evidence) => {
                self.nodes[i].evidence.push(Evidence::clone(&evidence));
            }
            Effect::Diverged { height, .. } => self.nodes[i].diverged.push(height),
            Effect::Passed(passed) => self.nodes[i].passed.push(passed),
            Effect::Twin { round } => self.nodes[i].twins.push(round),
            Effect::Refused { reject, .. } => self.nodes[i].refused.push(reject),
        }
    }

    fn sign(&mut self, i: usize, authorised: Authorised) {
        let key = &self.chain.keys[i];
        let id = self.chain.id();
        let record = self.nodes[i]
            .disk
            .record
            .clone()
            .expect("P1–P3: a record is durable");
        let stored = &self.nodes[i].disk.blocks;
        let (kind, round, block, event) = match authorised {
            Authorised::Proposal(proposal) => {
                let mut twin = proposal.peek().clone();
                let signed = proposal.sign(id, key);
                if self.equivocator == Some(i) {
                    twin.block.header.time = twin.block.header.time.plus_nanos(1);
                    let twin = Event::Proposal(Box::new(twin.sign(id, key)));
                    let signed = Event::Proposal(Box::new(signed));
                    self.give(i, signed.clone());
                    for to in (0..self.n()).filter(|to| *to != i) {
                        let (first, second) = match to % 2 {
                            0 => (signed.clone(), twin.clone()),
                            _ => (twin.clone(), signed.clone()),
                        };
                        self.transmit(i, to, Packet::Event(first));
                        if to < 2 {
                            self.transmit(i, to, Packet::Event(second));
                        }
                    }
                    return;
                }
                let round = signed.block.header.round;
                assert_eq!(record.round, round, "P2");
                self.proposals
                    .entry(round)
                    .or_default()
                    .push(signed.clone());
                (
                    0,
                    round,
                    signed.block.id(),
                    Event::Proposal(Box::new(signed)),
                )
            }
            Authorised::Vote(vote) => {
                let signed = vote.sign(id, key);
                assert_eq!(record.round, signed.round, "P1: the record");
                assert!(stored.contains_key(&signed.block), "P1: the block");
                (1, signed.round, signed.block, Event::Vote(signed))
            }
            Authorised::CommitVote(vote) => {
                let signed = vote.sign(id, key);
                assert!(record.high_qc.round >= signed.round, "P2, C1");
                assert!(record.highest_timeout < signed.round, "C2");
                (2, signed.round, signed.block, Event::CommitVote(signed))
            }
            Authorised::Timeout(timeout) => {
                let signed = timeout.sign(id, key);
                assert_eq!(record.highest_timeout, signed.round, "P3");
                let event = Event::Timeout(Box::new(signed));
                return self.broadcast(i, event);
            }
        };
        let before = self.signed.insert((i, kind, round), block);
        assert!(
            before.is_none_or(|before| before == block),
            "I1: {i} {kind} {round}"
        );
        self.broadcast(i, event);
    }

    fn commit(&mut self, i: usize, blocks: Vec<Block>, finality: Finality) {
        let time = self.time;
        for block in blocks {
            let (height, id) = (block.header.height, block.id());
            let agreed = *self.ledger.entry(height).or_insert(id);
            assert_eq!(agreed, id, "I5 at {height}");
            let node = &mut self.nodes[i];
            let tip = node.disk.committed.last().unwrap();
            assert_eq!(
                (tip.height.next(), tip.id()),
                (height, block.header.parent),
                "I4"
            );
            node.disk.committed.push(block.header.clone());
            node.disk.ledger.push(block.clone());
            node.disk.blocks.remove(&id);
            node.commits.push(time);
            for batch in &block.batches {
                node.pool.remove(batch);
            }
            let mut roots = execute(*node.disk.roots.last().unwrap(), &block);
            if node.corrupt {
                roots.state = digest(b"corrupt");
            }
            node.disk.roots.push(roots);
            let empty = block.header.is_empty();
            if !empty {
                node.disk.nonempty = height;
            }
            self.give(
                i,
                Event::Executed {
                    height,
                    roots,
                    empty,
                },
            );
        }
        let node = &mut self.nodes[i];
        node.disk
            .finalities
            .insert(finality.cc.height, finality.clone());
        node.disk.finality = finality;
    }

    /// The first other node that has the block sends it with its ancestors.
    fn fetch(&mut self, i: usize, block: BlockId, from: Vec<ValidatorIndex>) {
        let holder = from.iter().map(|v| v.as_usize()).find(|&other| {
            other != i
                && self.nodes[other].up
                && !self.cut.contains(&(other, i))
                && self.block(other, block).is_some()
        });
        let Some(holder) = holder else { return };
        let above = self.nodes[i].engine.status().committed;
        let mut blocks = Vec::new();
        let mut next = block;
        while let Some(block) = self.block(holder, next).filter(|b| b.header.height > above) {
            next = block.header.parent;
            blocks.push(block);
        }
        let at = self.time + 2 * self.delay.0;
        self.push(at, i, Packet::Event(Event::Blocks(blocks)));
    }

    fn block(&self, i: usize, id: BlockId) -> Option<Block> {
        let disk = &self.nodes[i].disk;
        let committed = disk.ledger.iter().rev().find(|block| block.id() == id);
        disk.blocks.get(&id).or(committed).cloned()
    }

    /// Copies the ledger of the node that is furthest.
    fn synchronise(&mut self, i: usize, _height: Height) {
        let best = (0..self.n())
            .max_by_key(|j| self.nodes[*j].disk.ledger.len())
            .unwrap();
        let finality = self.nodes[best].disk.finality.clone();
        let have = self.nodes[i].disk.ledger.len();
        let missing: Vec<Block> = self.nodes[best].disk.ledger[have..].to_vec();
        self.commit(i, missing, finality.clone());
        let keep = committed_headers(&self.chain.validators);
        let committed = &self.nodes[i].disk.committed;
        let headers = committed[committed.len().saturating_sub(keep)..].to_vec();
        let finality = quorate_types::Unverified::new(finality)
            .verify(&self.chain.validators)
            .unwrap();
        self.give(
            i,
            Event::Synced {
                headers,
                finality: Box::new(finality),
            },
        );
    }

    /// A transaction reaches every mempool.
    pub(crate) fn submit(&mut self, batch: BatchId) {
        for i in 0..self.n() {
            self.nodes[i].pool.insert(batch);
            self.update_work(i);
        }
    }

    fn update_work(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        // What was ordered by a block that did not make it is work again.
        let live: BTreeSet<BatchId> = node
            .disk
            .blocks
            .values()
            .flat_map(|b| b.batches.clone())
            .collect();
        node.ordered.retain(|batch| live.contains(batch));
        let work = node.pool.difference(&node.ordered).next().is_some();
        if work != node.work {
            node.work = work;
            self.give(i, Event::Work(work));
        }
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
