//! The world: a queue of events in virtual time, and what each does.
//!
//! ```text
//!   wake ─► Replica::turn ─► (time passes) ─► persist ─► sign ─► network ─► arrive ─► verify ─► inbox ─► wake
//! ```
//!
//! Everything follows from the plan. It never reads a clock and knows nothing of the replica but its inputs and outputs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use quorate_consensus::Target;
use quorate_crypto::{Digest, SecretKey};
use quorate_replica::{Input, Notice, Replica, Reply, Setup, Wait};
use quorate_storage::{MemStore, ledger};
use quorate_types::message::VerifiedMessage;
use quorate_types::{BlockTime, Client, FORMAT_VERSION, Genesis, Message, Parameters, Role};
use quorate_types::{ValidatorIndex, ValidatorInfo, codec};

use crate::adversary::{Adversary, short};
use crate::check::{Checker, Violation};
use crate::counters::Counters;
use crate::faults::Fault;
use crate::network::{Connection, Network, Packet};
use crate::node::{Node, START};
use crate::plan::{MILLISECOND, Plan};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::workload::Workload;

/// Events in a world, at most: fifty times what a usual one has.
const MOST_EVENTS: u64 = 1_000_000;
/// Verdicts remembered about messages.
const VERDICTS: usize = 4_096;

/// Something that happens at a time.
#[derive(Debug)]
enum Event {
    /// A replica's alarm rings.
    Wake {
        node: usize,
        alarm: u32,
    },
    /// A turn is done thinking, and its write is done.
    Done {
        node: usize,
        life: u32,
    },
    Arrive {
        from: usize,
        to: usize,
        over: Connection,
        packet: Packet,
    },
    /// An end notices that its connection is gone.
    Lost {
        node: usize,
        peer: usize,
        over: Connection,
    },
    Dial {
        a: usize,
        b: usize,
    },
    Fault(Fault),
    Load,
    /// A client that got no answer asks another.
    Ask(usize),
}

/// Validators, network, clients, and judges.
#[derive(Debug)]
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) now: u64,
    tie: u64,
    queue: BTreeMap<(u64, u64), Event>,
    rng: Rng,
    genesis: Genesis,
    setup: Setup,
    pub(crate) nodes: Vec<Node>,
    network: Network,
    adversary: Option<Adversary>,
    pub(crate) workload: Workload,
    pub(crate) checker: Checker,
    pub(crate) counters: Counters,
    pub(crate) trace: Trace,
    /// Whether a message is good does not depend on who asks: it is verified once. Only looked up, never walked.
    verdicts: HashMap<Digest, Option<VerifiedMessage>>,
    /// Faults and load are over.
    calm: bool,
}

fn key(kind: u8, number: usize) -> SecretKey {
    let number = u8::try_from(number).expect("a small world");
    let mut seed = [kind; 32];
    seed[0] = number;
    SecretKey::from_seed(&seed)
}

fn index(node: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(node).expect("a small world"))
}

fn genesis(plan: &Plan) -> Genesis {
    let validators = (0..plan.n).map(|i| {
        let (consensus, network) = (key(1, i), key(2, i));
        ValidatorInfo {
            name: format!("v{i}"),
            consensus_key: consensus.public(),
            network_key: network.public(),
            address: format!("v{i}.invalid:7650"),
            proof: ValidatorInfo::prove(&consensus, consensus.public(), network.public()),
        }
    });
    let clients = (0..plan.load.clients).map(|i| Client {
        name: format!("c{i}"),
        key: key(3, i).public(),
        role: Role::Writer,
    });
    Genesis {
        version: FORMAT_VERSION,
        name: "sim".into(),
        time: BlockTime(START),
        parameters: Parameters::default(),
        validators: validators.collect(),
        clients: clients.collect(),
        machine: "kv".into(),
    }
}

impl World {
    /// All validators start, on empty disks.
    ///
    /// # Errors
    /// [`Violation`] if one cannot.
    pub fn new(plan: Plan, trace: bool) -> Result<World, Violation> {
        let mut rng = Rng::new(!plan.seed);
        let genesis = genesis(&plan);
        let setup = Setup::new(&genesis, None).map_err(|e| Violation::Stopped(e.to_string()))?;
        let keys = (0..plan.load.clients).map(|i| key(3, i)).collect();
        let (chain, parameters) = (setup.validators.chain(), setup.parameters.clone());
        let workload = Workload::new(plan.load.clone(), keys, chain, parameters, rng.fork());
        let network = Network::new(plan.n, plan.network.clone(), rng.fork());
        let adversary = plan
            .byzantine
            .map(|liar| Adversary::new(plan.n, liar, key(1, liar), chain, rng.fork()));
        let nodes = (0..plan.n).map(|i| Node::new(key(1, i), plan.clocks[i]));
        let mut world = World {
            nodes: nodes.collect(),
            checker: Checker::new(Arc::clone(&setup.validators)),
            now: 0,
            tie: 0,
            queue: BTreeMap::new(),
            rng,
            genesis,
            setup,
            network,
            adversary,
            workload,
            counters: Counters::default(),
            trace: Trace::new(trace),
            verdicts: HashMap::new(),
            calm: false,
            plan,
        };
        for (at, fault) in world.plan.faults.clone() {
            world.at(at, Event::Fault(fault));
        }
        world.at(world.plan.load.interval, Event::Load);
        for node in 0..world.plan.n {
            world.start(node)?;
        }
        Ok(world)
    }

    fn at(&mut self, time: u64, event: Event) {
        self.tie += 1;
        self.queue.insert((time.max(self.now), self.tie), event);
    }

    /// Whether it lies by plan, so that it owes nothing.
    pub(crate) fn lies(&self, node: usize) -> bool {
        self.plan.byzantine == Some(node)
    }

    /// The validators that follow the protocol.
    pub(crate) fn correct(&self) -> Vec<usize> {
        (0..self.plan.n).filter(|node| !self.lies(*node)).collect()
    }

    /// Lets the next event happen.
    ///
    /// # Errors
    /// [`Violation`].
    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        let Some(((time, _), event)) = self.queue.pop_first() else {
            return Err(Violation::NoProgress("events", self.plan.n));
        };
        self.now = time;
        self.counters.events += 1;
        if self.counters.events > MOST_EVENTS {
            return Err(Violation::Storm);
        }
        match event {
            Event::Wake { node, alarm } => self.wake(node, alarm),
            Event::Done { node, life } => self.done(node, life),
            Event::Arrive {
                from,
                to,
                over,
                packet,
            } => {
                self.arrive(from, to, over, &packet);
                Ok(())
            }
            Event::Lost { node, peer, over } => {
                self.lost(node, peer, over);
                Ok(())
            }
            Event::Dial { a, b } => {
                self.dial(a, b);
                Ok(())
            }
            Event::Fault(fault) => self.fault(fault),
            Event::Load => {
                self.load();
                Ok(())
            }
            Event::Ask(number) => {
                self.ask(number);
                Ok(())
            }
        }
    }

    /// When the next event happens.
    pub(crate) fn next_time(&self) -> Option<u64> {
        self.queue.first_key_value().map(|((time, _), _)| *time)
    }

    /// The height up to which a replica's disk holds the ledger. What it only decided does not count.
    pub(crate) fn height(&self, node: usize) -> u64 {
        ledger::tip(&self.nodes[node].store).map_or(0, |tip| tip.height.0)
    }

    // Turns.

    fn start(&mut self, node: usize) -> Result<(), Violation> {
        let key = self.nodes[node].key.public();
        let setup = Setup::new(&self.genesis, Some(&key)).expect("checked when the world began");
        let at = &mut self.nodes[node];
        at.stop();
        at.born = self.now;
        let clocks = at.clocks(self.now);
        let (replica, output) = Replica::open(setup, &mut at.store, clocks)
            .map_err(|error| Violation::Stopped(error.to_string()))?;
        at.replica = Some(replica);
        at.pending = Some(output);
        let life = at.life;
        let until = self.now + self.rng.between(1, 20) * MILLISECOND;
        self.at(until, Event::Done { node, life });
        for peer in (0..self.plan.n).filter(|peer| *peer != node) {
            let until = self.now + self.network.dial();
            self.at(until, Event::Dial { a: node, b: peer });
        }
        Ok(())
    }

    fn rearm(&mut self, node: usize) {
        let at = &mut self.nodes[node];
        if let Some(due) = at.due(self.now)
            && let Some(alarm) = at.set_alarm(due)
        {
            self.at(due, Event::Wake { node, alarm });
        }
    }

    fn wake(&mut self, node: usize, alarm: u32) -> Result<(), Violation> {
        let now = self.now;
        let at = &mut self.nodes[node];
        if at.alarm.is_none_or(|(_, number)| number != alarm) {
            return Ok(());
        }
        at.alarm = None;
        // The alarm may be older than what it was set for.
        if at.due(now).is_none_or(|due| due > now) {
            self.rearm(node);
            return Ok(());
        }
        let inputs = std::mem::take(&mut at.inbox);
        if !at.note_turn(inputs.len()) {
            return Err(Violation::Spins);
        }
        let clocks = at.clocks(now);
        let replica = at.replica.as_mut().expect("due");
        self.counters.turns += 1;
        let count = u64::try_from(inputs.len()).expect("small");
        let output = replica
            .turn(&at.store, clocks, inputs)
            .map_err(|error| Violation::Stopped(error.to_string()))?;
        let mut cost = self.rng.between(10_000, self.plan.work.turn.max(10_001));
        if output.must_sync() {
            cost += self.rng.between(1, self.plan.work.sync);
            let slow = self
                .plan
                .work
                .slow
                .filter(|(slow, _)| *slow == node && !self.calm);
            cost += slow.map_or(0, |(_, extra)| extra);
        }
        at.pending = Some(output);
        let life = at.life;
        self.trace.note(now, &[1, u64::from(life), count], || {
            format!("v{node} turn with {count} inputs")
        });
        self.at(now + cost, Event::Done { node, life });
        Ok(())
    }

    fn done(&mut self, node: usize, life: u32) -> Result<(), Violation> {
        let at = &mut self.nodes[node];
        if at.life != life {
            return Ok(());
        }
        let Some(output) = at.pending.take() else {
            return Ok(());
        };
        // A failed write aborts the process.
        let Ok(released) = output.persist(&mut at.store) else {
            self.counters.disk_faults += 1;
            return self.crash(node);
        };
        let signed = released.sign(&at.key);
        at.inbox.splice(0..0, signed.own);
        self.judge(node, &signed.sends)?;
        for notice in signed.notices {
            self.notice(node, notice)?;
        }
        for (ticket, reply) in signed.replies {
            if let Reply::Executed(receipt) = reply
                && !self.lies(node)
            {
                let first = self.workload.answered(ticket, &receipt);
                let first = first.map_err(|_| Violation::BadAnswer)?;
                self.counters.acknowledged += u64::from(first);
            }
        }
        for (to, message) in signed.sends {
            self.send(node, to, message);
        }
        self.rearm(node);
        Ok(())
    }

    fn judge(&mut self, node: usize, sends: &[(Target, Message)]) -> Result<(), Violation> {
        if self.lies(node) {
            return Ok(());
        }
        let sends: Vec<&Message> = sends.iter().map(|(_, message)| message).collect();
        let workload = &self.workload;
        let by_client = |id: &_| workload.signed(id);
        let store = &self.nodes[node].store;
        let found = self.checker.after_turn(node, store, &sends, by_client)?;
        self.counters.blocks += found.blocks;
        self.counters.view_changes += found.view_changes;
        self.counters.duplicates += found.duplicates;
        Ok(())
    }

    fn notice(&mut self, node: usize, notice: Notice) -> Result<(), Violation> {
        if self.lies(node) {
            return Ok(());
        }
        let now = self.now;
        match notice {
            Notice::Committed {
                height,
                round,
                synced,
                ..
            } => {
                self.counters.commits += 1;
                self.counters.synced += u64::from(synced);
                self.trace.note(now, &[2, height.0, round.number], || {
                    format!("v{node} commits height {height} of round {}", round.number)
                });
            }
            Notice::TimedOut(round) => {
                self.counters.timeouts += 1;
                self.trace.note(now, &[3, round.number], || {
                    format!("v{node} gives up round {}", round.number)
                });
            }
            Notice::Evidence { signer, .. } => {
                self.counters.evidence += 1;
                if !self.lies(signer.as_usize()) {
                    return Err(Violation::FalseEvidence(signer));
                }
            }
            Notice::Diverged { height, .. } => return Err(Violation::Diverged(height)),
            Notice::Refused { .. } | Notice::VotesMissing(_) | Notice::Expired(_) => {}
        }
        Ok(())
    }

    // Messages.

    fn send(&mut self, from: usize, to: Target, message: Message) {
        match message {
            Message::BlockRequest(_) => self.counters.block_fetches += 1,
            Message::BatchRequest(_) => self.counters.batch_fetches += 1,
            Message::LedgerRequest(_) => self.counters.ledger_fetches += 1,
            _ => {}
        }
        if self.lies(from)
            && let Some(adversary) = &mut self.adversary
        {
            for (to, message) in adversary.twist(to, message, &mut self.counters) {
                self.post(from, to, &Packet::new(&message));
            }
            return;
        }
        let packet = Packet::new(&message);
        match to {
            Target::One(to) => self.post(from, to.as_usize(), &packet),
            Target::All => (0..self.plan.n).for_each(|to| self.post(from, to, &packet)),
        }
    }

    fn post(&mut self, from: usize, to: usize, packet: &Packet) {
        if from == to {
            return;
        }
        let fates = self.network.send(from, to, packet, &mut self.counters);
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

    fn arrive(&mut self, from: usize, to: usize, over: Connection, packet: &Packet) {
        if self.nodes[to].replica.is_none() || !self.network.arrives(from, to, over) {
            return;
        }
        self.counters.delivered += 1;
        let parties = [
            u64::try_from(from).unwrap_or(0),
            u64::try_from(to).unwrap_or(0),
        ];
        let numbers = [4, parties[0], parties[1], short(&packet.digest)];
        self.trace.note(self.now, &numbers, || {
            format!("v{from} → v{to}  {} {}", packet.kind, packet.digest)
        });
        match self.verdict(packet) {
            Some(message) => {
                let from = index(from);
                self.nodes[to].inbox.push(Input::Message { from, message });
                self.rearm(to);
            }
            None => self.counters.refused += 1,
        }
    }

    fn verdict(&mut self, packet: &Packet) -> Option<VerifiedMessage> {
        if let Some(verdict) = self.verdicts.get(&packet.digest) {
            return verdict.clone();
        }
        let (validators, parameters) = (&self.setup.validators, &self.setup.parameters);
        let verdict = codec::decode::<Message>(&packet.bytes, codec::MAX_ENCODED_BYTES)
            .ok()
            .and_then(|message| message.verify(validators, parameters).ok());
        if self.verdicts.len() >= VERDICTS {
            self.verdicts.clear();
        }
        self.verdicts.insert(packet.digest, verdict.clone());
        verdict
    }

    // Connections.

    fn lost(&mut self, node: usize, peer: usize, over: Connection) {
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
                .push(Input::Disconnected(index(peer)));
            self.rearm(node);
        }
    }

    fn dial(&mut self, a: usize, b: usize) {
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
            self.nodes[node].inbox.push(Input::Connected(index(peer)));
            self.rearm(node);
        }
    }

    /// What is broken will be noticed, what is whole again will be dialed.
    fn refresh(&mut self) {
        for a in 0..self.plan.n {
            for b in (0..self.plan.n).filter(|b| *b != a) {
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

    // Faults.

    fn fault(&mut self, fault: Fault) -> Result<(), Violation> {
        if self.calm {
            return Ok(());
        }
        self.trace.note(self.now, &[6], || format!("{fault:?}"));
        match fault {
            Fault::Crash(node) => self.crash(node)?,
            Fault::Restart(node) => self.restart(node)?,
            Fault::Cut(pairs) => {
                self.counters.partitions += u64::from(!pairs.is_empty());
                self.network.cut(&pairs);
                self.refresh();
            }
            Fault::Clock(node, offset) => {
                self.counters.clock_jumps += u64::from(offset != 0);
                self.nodes[node].offset = offset;
            }
            Fault::Disk(node, fault) => {
                if self.nodes[node].replica.is_some() {
                    self.nodes[node].store.fail_next(fault);
                    self.nodes[node].armed = true;
                }
            }
            Fault::Pause(node, nanos) => {
                self.counters.pauses += 1;
                self.nodes[node].paused = self.now + nanos;
            }
            Fault::Amnesia(liar) => {
                self.counters.amnesias += 1;
                self.crash(liar)?;
                self.nodes[liar].store = MemStore::new();
                self.restart(liar)?;
            }
        }
        Ok(())
    }

    pub(crate) fn crash(&mut self, node: usize) -> Result<(), Violation> {
        let at = &mut self.nodes[node];
        if at.replica.is_none() {
            return Ok(());
        }
        self.counters.crashes += 1;
        // The power may go after the write and before the first message.
        if let Some(output) = at.pending.take()
            && self.rng.chance(500)
        {
            // Whatever became of it, nothing of it leaves.
            let _ = output.persist(&mut at.store);
        }
        let unsynced = at.store.unsynced();
        let keep = self.rng.index(unsynced + 1);
        self.counters.undone += u64::try_from(unsynced - keep).expect("small");
        at.store.crash(keep);
        at.armed = false;
        at.stop();
        for peer in 0..self.plan.n {
            self.network.forget(node, peer);
            if let Some(over) = self.network.seen(peer, node) {
                let (node, peer) = (peer, node);
                let until = self.now + self.network.notice();
                self.at(until, Event::Lost { node, peer, over });
            }
        }
        if !self.lies(node) {
            self.checker.after_crash(node, &self.nodes[node].store)?;
        }
        Ok(())
    }

    pub(crate) fn restart(&mut self, node: usize) -> Result<(), Violation> {
        if self.nodes[node].replica.is_some() {
            return Ok(());
        }
        self.counters.restarts += 1;
        self.trace
            .note(self.now, &[7], || format!("v{node} starts"));
        self.start(node)
    }

    /// Nothing breaks any more, everything broken is mended, and nobody adds load.
    pub(crate) fn mend(&mut self) -> Result<(), Violation> {
        self.trace
            .note(self.now, &[8], || "all is well again".into());
        self.calm = true;
        self.network.calm();
        for node in 0..self.plan.n {
            let at = &mut self.nodes[node];
            at.offset = 0;
            at.paused = 0;
            if std::mem::take(&mut at.armed) {
                // Disarms it: a power cut that loses nothing, and that nobody notices.
                at.store.crash(at.store.unsynced());
            }
            self.restart(node)?;
            self.rearm(node);
        }
        self.refresh();
        Ok(())
    }

    // Clients.

    fn load(&mut self) {
        if self.calm {
            return;
        }
        for _ in 0..self.workload.due() {
            self.request();
        }
        let interval = self.plan.load.interval;
        let next = self.now + self.workload.rng.between(interval / 2, interval * 3 / 2);
        self.at(next, Event::Load);
    }

    /// A client signs a transaction and submits it to whoever is up, until there is an answer.
    fn request(&mut self) {
        let number = self.sign();
        self.ask(number);
    }

    /// A client signs a transaction and submits it to this replica and no other. Returns its number.
    pub(crate) fn request_at(&mut self, node: usize) -> usize {
        let number = self.sign();
        self.submit(number, node);
        number
    }

    fn sign(&mut self) -> usize {
        self.counters.submitted += 1;
        // Block time may be ahead of true time after clocks jumped; a client reads it from any answer.
        let ahead = self.nodes.iter().filter_map(|node| node.replica.as_ref());
        let time = ahead.map(|replica| replica.status().time).max();
        let time = time.unwrap_or_default().max(BlockTime(START + self.now));
        self.workload.sign(time)
    }

    fn ask(&mut self, number: usize) {
        if self.workload.request(number).receipt.is_some() {
            return;
        }
        let up: Vec<usize> = (0..self.plan.n)
            .filter(|node| self.nodes[*node].replica.is_some())
            .collect();
        if !up.is_empty() {
            let node = self.workload.rng.pick(&up);
            self.submit(number, node);
            let twice = self.plan.load.twice;
            if self.workload.rng.chance(twice) {
                let node = self.workload.rng.pick(&up);
                self.submit(number, node);
            }
        }
        let until = self.now + self.plan.load.patience;
        self.at(until, Event::Ask(number));
    }

    fn submit(&mut self, number: usize, node: usize) {
        let again = self.workload.request(number).attempts > 0;
        self.counters.retries += u64::from(again);
        let (ticket, transaction) = self.workload.submit(number);
        if self.nodes[node].replica.is_some() {
            self.nodes[node].inbox.push(Input::Submit {
                ticket,
                transaction: Box::new(transaction),
                wait: Wait::Executed,
            });
            self.rearm(node);
        }
    }
}
