//! Plays a schedule: whole replicas, each on its own disk, in virtual time. A message belongs to a round, and reaches whom
//! the round's scene lets it reach; what is lost is lost. When the script is over or gets nowhere, everybody hears
//! everybody, and a fresh transaction must become final.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_consensus::Target;
use quorate_execution::kv::Command;
use quorate_replica::{Input, Notice, Past, Replica, Reply, Setup, Ticket, Wait};
use quorate_storage::{MemStore, ledger};
use quorate_types::TransactionId;
use quorate_types::message::VerifiedMessage;
use quorate_types::{Blob, BlockId, BlockTime, FORMAT_VERSION, Instant};
use quorate_types::{HashedTransaction, Message, Now, Round, Transaction, TransactionBody};
use quorate_types::{Unverified, Verified, codec};

use crate::check::once::Terms;
use crate::check::{Checker, Violation};
use crate::genesis::{CLIENT, CONSENSUS, genesis, index, key};
use crate::keys::{Notary, Pen};
use crate::node::START;
use crate::plan::{MILLISECOND, SECOND};
use crate::rng::Rng;
use crate::twins::Tally;
use crate::twins::schedule::Schedule;

/// When nobody has entered a round for so long, in virtual time, the script is stuck: more than the longest timer.
const PATIENCE: u64 = 6 * SECOND;
/// Within this time afterwards, everybody has to have got on.
const PROGRESS: u64 = 30 * SECOND;
/// How long nothing is asked for at the end, and how many blocks that may bring.
const REST: u64 = 3 * SECOND;
const IDLE_BLOCKS: u64 = 16;
/// Transactions signed for each cast; a schedule submits one a round.
const TRANSACTIONS: u64 = 40;
/// Turns that a schedule takes, at most: fifty times what a usual one does. More is a storm.
const MOST_TURNS: u64 = 50_000;

/// What all schedules of a thread share: chains that have just begun, and signed transactions.
#[derive(Debug)]
pub struct Cast {
    troupes: BTreeMap<usize, Troupe>,
}

#[derive(Debug)]
struct Troupe {
    setup: Setup,
    /// A disk on which a chain has just begun.
    disk: MemStore,
    terms: Terms,
    transactions: Vec<Verified<HashedTransaction>>,
    /// Their names; and they themselves, as notaries know them: each was verified here.
    ids: BTreeSet<TransactionId>,
    attested: Vec<Arc<Transaction>>,
}

impl Cast {
    /// Signs what schedules need.
    #[must_use]
    pub fn new() -> Cast {
        let troupes = [4, 7].map(|n| (n, Troupe::new(n)));
        Cast {
            troupes: troupes.into_iter().collect(),
        }
    }
}

impl Default for Cast {
    fn default() -> Cast {
        Cast::new()
    }
}

impl Troupe {
    fn new(n: usize) -> Troupe {
        let genesis = genesis("twins", n, 1);
        let client = key(CLIENT, 0);
        let mut setup = Setup::new(&genesis, None).expect("distinct keys");
        // Nobody starts twice, and the schedule decides who hears whom from the first message on.
        setup.past = Past::Believed;
        let mut disk = MemStore::new();
        let now = Now {
            monotonic: Instant(0),
            wall: BlockTime(START),
        };
        // Opening it writes the genesis; the replica itself, an observer, is not used.
        let _ = Replica::open(setup.clone(), &mut disk, now).expect("an empty disk");
        let transactions = (1..=TRANSACTIONS).map(|sequence| {
            let command = Command::Put {
                key: Blob(format!("k{}", sequence % 5).into_bytes()),
                value: Blob(sequence.to_le_bytes().to_vec()),
                lease: None,
            };
            let body = TransactionBody {
                version: FORMAT_VERSION,
                chain: setup.validators.chain(),
                client: client.public(),
                // Two share a number: the one that comes second must not be executed.
                sequence: if sequence == 4 { 3 } else { sequence },
                valid_until: BlockTime(START + 600 * SECOND),
                commands: vec![Blob(codec::encode(&command))],
            };
            Unverified::new(HashedTransaction::new(body.sign(&client)))
                .verify(setup.validators.chain(), &setup.parameters)
                .expect("signed here")
        });
        let transactions: Vec<Verified<HashedTransaction>> = transactions.collect();
        let attested = transactions
            .iter()
            .map(|t| Arc::new(t.clone().into_inner().into_transaction()));
        Troupe {
            ids: transactions.iter().map(|t| t.id()).collect(),
            attested: attested.collect(),
            transactions,
            disk,
            terms: Terms::of(&genesis),
            setup,
        }
    }
}

/// A replica on the stage.
#[derive(Debug)]
struct Actor {
    validator: usize,
    twinned: bool,
    replica: Replica,
    disk: MemStore,
    inbox: Vec<Input>,
}

/// A schedule that is being played.
#[derive(Debug)]
pub struct Stage<'a> {
    script: &'a Schedule,
    troupe: &'a Troupe,
    setup: Setup,
    actors: Vec<Actor>,
    /// The key of each validator: stand-ins, which cost next to nothing.
    pens: Vec<Pen>,
    now: u64,
    tie: u64,
    /// By time, then order: for whom, from whom, what.
    queue: BTreeMap<(u64, u64), (usize, usize, VerifiedMessage)>,
    rng: Option<Rng>,
    healed: bool,
    submitted: u64,
    /// The highest round of each that was seen, and when one last rose.
    rounds: Vec<u64>,
    moved: u64,
    turns: u64,
    answered: BTreeSet<Ticket>,
    checker: Checker,
    /// What twins signed, by validator, kind and round.
    signed: BTreeMap<(usize, &'static str, Round), BTreeSet<BlockId>>,
    proposed: BTreeSet<BlockId>,
    tally: Tally,
}

impl<'a> Stage<'a> {
    /// Everybody starts, connected to everybody.
    ///
    /// # Errors
    /// [`Violation`] if somebody cannot.
    pub fn new(cast: &'a Cast, script: &'a Schedule) -> Result<Stage<'a>, Violation> {
        let troupe = &cast.troupes[&script.n];
        let mut setup = troupe.setup.clone();
        let validators = (*setup.validators).clone();
        let notary = Arc::new(Notary::default());
        let attested = troupe.attested.iter().cloned();
        attested.for_each(|transaction| notary.attest(transaction));
        setup.validators = Arc::new(validators.with_memory(Arc::<Notary>::clone(&notary)));
        let pen = |i| Pen::new(key(CONSENSUS, i), Some(Arc::clone(&notary)));
        let mut stage = Stage {
            pens: (0..script.n).map(pen).collect(),
            checker: Checker::new(Arc::clone(&setup.validators), troupe.terms.clone())
                .with_notary(Some(notary)),
            script,
            troupe,
            actors: Vec::new(),
            now: 0,
            tie: 0,
            queue: BTreeMap::new(),
            rng: script.seed.map(Rng::new),
            healed: false,
            submitted: 0,
            rounds: vec![0; script.places()],
            moved: 0,
            turns: 0,
            answered: BTreeSet::new(),
            signed: BTreeMap::new(),
            proposed: BTreeSet::new(),
            tally: Tally::default(),
            setup,
        };
        for place in 0..script.places() {
            stage.enter(place)?;
        }
        Ok(stage)
    }

    fn enter(&mut self, place: usize) -> Result<(), Violation> {
        let validator = self.script.plays(place);
        let mut setup = self.setup.clone();
        setup.me = Some(index(validator));
        let mut disk = self.troupe.disk.clone();
        let opened = Replica::open(setup, &mut disk, self.clocks());
        let (replica, output) = opened.map_err(|error| Violation::Stopped(error.to_string()))?;
        let _ = output.persist(&mut disk);
        let mut actor = Actor {
            validator,
            twinned: self.script.twinned.contains(&validator),
            replica,
            disk,
            inbox: Vec::new(),
        };
        actor.meet(self.script.n);
        self.actors.push(actor);
        Ok(())
    }

    fn clocks(&self) -> Now {
        Now {
            monotonic: Instant(self.now),
            wall: BlockTime(START + self.now),
        }
    }

    /// Plays it to the end.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn play(&mut self) -> Result<Tally, Violation> {
        let last = u64::try_from(self.script.scenes.len()).unwrap_or(0) * self.script.length;
        while self.highest() <= last && self.now < self.moved + PATIENCE {
            self.step()?;
        }
        self.heal();
        let (early, fresh) = (self.checker.height(), self.submit());
        let limit = self.now + PROGRESS;
        let settled = |stage: &Stage<'_>| {
            stage.answered.contains(&fresh) && stage.lowest() >= stage.checker.height()
        };
        while !settled(self) {
            if self.now > limit {
                return Err(Violation::NoProgress("execute a fresh transaction", 1));
            }
            self.step()?;
        }
        for actor in self.actors.iter().filter(|actor| !actor.twinned) {
            self.checker.audit(&actor.disk)?;
        }
        let tally = self.summary(early);
        self.rest()?;
        Ok(tally)
    }

    /// L3: with nothing to do, leaders wait, longer and longer.
    fn rest(&mut self) -> Result<(), Violation> {
        let (height, until) = (self.checker.height(), self.now + REST);
        while self.now < until {
            self.step()?;
        }
        match self.checker.height() - height <= IDLE_BLOCKS {
            true => Ok(()),
            false => Err(Violation::Restless(self.checker.height() - height)),
        }
    }

    fn summary(&self, early: u64) -> Tally {
        let contradictions = self.signed.values().filter(|blocks| blocks.len() > 1);
        let contradictions = u64::try_from(contradictions.count()).unwrap_or(0);
        let proposed = u64::try_from(self.proposed.len()).unwrap_or(0);
        Tally {
            schedules: 1,
            blocks: self.checker.height(),
            early,
            contradictions,
            two_faced: u64::from(contradictions > 0),
            abandoned: proposed.saturating_sub(self.checker.height()),
            ..self.tally.clone()
        }
    }

    fn highest(&self) -> u64 {
        self.rounds.iter().copied().max().unwrap_or(0)
    }

    /// The height that every correct validator has.
    fn lowest(&self) -> u64 {
        let correct = self.actors.iter().filter(|actor| !actor.twinned);
        let heights = correct.map(|a| ledger::tip(&a.disk).map_or(0, |tip| tip.height.0));
        heights.min().unwrap_or(0)
    }

    fn heal(&mut self) {
        self.healed = true;
        for actor in &mut self.actors {
            actor.meet(self.script.n);
        }
    }

    /// A client asks a correct validator, in turn; the ticket.
    fn submit(&mut self) -> Ticket {
        let ticket = Ticket(self.submitted);
        let correct: Vec<usize> = (0..self.actors.len())
            .filter(|place| !self.actors[*place].twinned)
            .collect();
        let turn = usize::try_from(self.submitted).unwrap_or(0);
        if let Some(transaction) = self.troupe.transactions.get(turn) {
            let actor = &mut self.actors[correct[turn % correct.len()]];
            actor.inbox.push(Input::Submit {
                ticket,
                transaction: Box::new(transaction.clone()),
                wait: Wait::Executed,
            });
            self.submitted += 1;
        }
        ticket
    }

    /// Everything that happens at the next time that something happens.
    fn step(&mut self) -> Result<(), Violation> {
        let waiting = self.actors.iter().any(|actor| !actor.inbox.is_empty());
        let alarms = self.actors.iter().filter_map(|a| a.replica.deadline());
        let next = alarms
            .map(|at| at.0)
            .chain(self.queue.keys().map(|(at, _)| *at).take(1));
        match next.min() {
            _ if waiting => {}
            Some(next) => self.now = self.now.max(next),
            None => return Err(Violation::NoProgress("anything", self.actors.len())),
        }
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, from, message) = entry.remove();
            let from = index(self.actors[from].validator);
            self.actors[to].inbox.push(Input::Message { from, message });
            self.tally.delivered += 1;
        }
        for place in 0..self.actors.len() {
            let actor = &self.actors[place];
            let due = actor.replica.deadline().is_some_and(|at| at.0 <= self.now);
            if due || !actor.inbox.is_empty() {
                self.turn(place)?;
            }
        }
        // One transaction a round, so that there is something to order.
        let (before, rounds) = (
            self.highest(),
            self.actors.iter().map(Actor::round).collect(),
        );
        if rounds != self.rounds {
            self.rounds = rounds;
            self.moved = self.now;
        }
        if self.highest() > before && !self.healed {
            self.submit();
        }
        Ok(())
    }

    fn turn(&mut self, place: usize) -> Result<(), Violation> {
        self.turns += 1;
        if self.turns > MOST_TURNS {
            return Err(Violation::Storm);
        }
        let clocks = self.clocks();
        let actor = &mut self.actors[place];
        let inputs = std::mem::take(&mut actor.inbox);
        let output = actor.replica.turn(&actor.disk, clocks, inputs);
        let output = output.map_err(|error| Violation::Stopped(error.to_string()))?;
        let released = output.persist(&mut actor.disk);
        let released = released.map_err(|error| Violation::Stopped(error.to_string()))?;
        let signed = released.sign(&self.pens[actor.validator]);
        actor.inbox.extend(signed.own);
        self.checker
            .shows(self.actors[place].validator, clocks.wall);
        self.watch(place, &signed.sends)?;
        if !self.actors[place].twinned {
            for notice in signed.notices {
                self.notice(notice)?;
            }
            for (ticket, reply) in signed.replies {
                if matches!(reply, Reply::Executed(_)) {
                    self.answered.insert(ticket);
                }
            }
        }
        for (to, message) in signed.sends {
            self.send(place, to, message);
        }
        Ok(())
    }

    /// Judges a correct validator; notes what a twin signed.
    fn watch(&mut self, place: usize, sends: &[(Target, Message)]) -> Result<(), Violation> {
        let actor = &self.actors[place];
        for (_, message) in sends {
            if let Message::Proposal(proposal) = message {
                self.proposed.insert(proposal.block.id());
            }
        }
        if actor.twinned {
            for (_, message) in sends {
                let (kind, signer, round, block) = match message {
                    Message::Proposal(p) => {
                        let header = &p.block.header;
                        ("proposal", header.proposer, header.round, p.block.id())
                    }
                    Message::Vote(v) => ("vote", v.voter, v.round, v.block),
                    Message::CommitVote(v) => ("commit vote", v.voter, v.round, v.block),
                    _ => continue,
                };
                if signer.as_usize() == actor.validator {
                    let signed = self.signed.entry((actor.validator, kind, round));
                    signed.or_default().insert(block);
                }
            }
            return Ok(());
        }
        let sends: Vec<&Message> = sends.iter().map(|(_, message)| message).collect();
        let by_client = |id: &_| self.troupe.ids.contains(id);
        self.checker
            .after_turn(actor.validator, &actor.disk, &sends, by_client)
            .map(|_| ())
    }

    fn notice(&mut self, notice: Notice) -> Result<(), Violation> {
        match notice {
            Notice::TimedOut(_) => self.tally.timeouts += 1,
            Notice::Evidence { signer, .. } => {
                self.tally.evidence += 1;
                if !self.script.twinned.contains(&signer.as_usize()) {
                    return Err(Violation::FalseEvidence(signer));
                }
            }
            Notice::Diverged { height, .. } => return Err(Violation::Diverged(height)),
            _ => {}
        }
        Ok(())
    }

    fn send(&mut self, from: usize, to: Target, message: Message) {
        let round = round(&message).unwrap_or_else(|| self.actors[from].round());
        let (validators, parameters) = (&self.setup.validators, &self.setup.parameters);
        let message = message.verify(validators, parameters);
        let message = message.expect("what a replica sends is well formed and signed");
        if let VerifiedMessage::Proposal(proposal, _) = &message {
            self.checker.overhear(proposal);
        }
        let sender = self.actors[from].validator;
        for place in 0..self.actors.len() {
            let receiver = self.actors[place].validator;
            let meant = match to {
                Target::All => receiver != sender,
                Target::One(one) => receiver != sender && one == index(receiver),
            };
            if !meant {
                continue;
            }
            let scene = self.script.scene(round).filter(|_| !self.healed);
            if scene.is_some_and(|scene| !scene.joins(from, place)) {
                self.tally.withheld += 1;
                continue;
            }
            let uneven = self
                .rng
                .as_mut()
                .map_or(0, |rng| rng.below(4 * MILLISECOND));
            self.tie += 1;
            let at = self.now + MILLISECOND + uneven;
            self.queue
                .insert((at, self.tie), (place, from, message.clone()));
        }
    }

    /// One line about each.
    #[must_use]
    pub fn describe(&self) -> String {
        let lines = self.actors.iter().map(|actor| {
            let status = actor.replica.status();
            let twin = if actor.twinned { " (twin)" } else { "" };
            format!("  v{}{twin} {:?}\n", actor.validator, status.consensus)
        });
        lines.collect()
    }
}

impl Actor {
    fn round(&self) -> u64 {
        self.replica.status().consensus.round.number
    }

    /// Connections to all other validators are made anew.
    fn meet(&mut self, n: usize) {
        let peers = (0..n).filter(|peer| *peer != self.validator);
        self.inbox
            .extend(peers.map(|peer| Input::Connected(index(peer))));
    }
}

/// The round that a message is of; `None` for those of no round.
fn round(message: &Message) -> Option<u64> {
    let round = match message {
        Message::Proposal(p) => p.block.header.round,
        Message::Vote(v) => v.round,
        Message::CommitVote(v) => v.round,
        Message::Timeout(t) => t.round,
        Message::Qc(qc) => qc.round.next(),
        Message::Tc(tc) => tc.round.next(),
        Message::Finality(f) => f.cc.round.next(),
        _ => return None,
    };
    Some(round.number)
}
