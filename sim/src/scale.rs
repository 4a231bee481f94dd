//! How far it goes with many validators: whole replicas on machines whose time, network and disks cost what was measured.
//!
//! Worlds ask whether it is right; this asks what it would do with 64 or 100 machines that nobody here has. Everything
//! is the product but what takes time: a thread of the core, one of connections, verifiers, a disk that syncs, a link
//! with a bandwidth. Each counts how long it was busy, so that a run tells what it was that there was not enough of.
//!
//! ```text
//!   client ─► io ─► verifiers ─► inbox ─► core: turn, sync, sign ─► io ─► uplink ─(latency)─► io ─► verifiers ─► …
//! ```
//!
//! It is deterministic, and its figures are no better than its [`Costs`].

mod costs;
mod machine;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_execution::kv::Command;
use quorate_replica::{Input, Notice, Output, Replica, Reply, Setup, Signed, Target, Ticket, Wait};
use quorate_storage::MemStore;
use quorate_types::Verified;
use quorate_types::message::VerifiedMessage;
use quorate_types::{Blob, BlockTime, FORMAT_VERSION, Instant, Message, Now};
use quorate_types::{HashedTransaction, TransactionBody};

pub use self::costs::Costs;
use self::machine::Machine;
pub use self::report::Report;
use crate::genesis::{CLIENT, CONSENSUS, genesis, index, key};
use crate::keys::{Notary, Pen};
use crate::network::Packet;
use crate::node::START;

const SECOND: u64 = 1_000_000_000;
/// How long a transaction may be ordered.
const VALIDITY: u64 = 600 * SECOND;
/// Clients at each validator, and keys that each writes to.
const CLIENTS: usize = 16;
const KEYS: u64 = 1_000;

/// What is tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Validators.
    pub validators: usize,
    /// Transactions a second, over all validators.
    pub rate: u64,
    /// Bytes of each value.
    pub value: usize,
    /// Time of the load that counts; as much comes before it.
    pub seconds: u64,
    /// Between any two, one way.
    pub latency_ns: u64,
    /// What a machine sends, in bits a second.
    pub bits_per_second: u64,
    /// Verifiers of a machine.
    pub verifiers: usize,
    /// What everything takes.
    pub costs: Costs,
}

enum Event {
    /// A replica may take a turn.
    Wake(usize),
    /// Its turn is decided and written.
    Done(usize),
    /// What it executed is executed: what it signed leaves.
    Release(usize, Box<Signed>),
    /// A message is at a machine.
    Arrive(usize, usize, Packet),
    /// Input is ready for the core.
    Ready(usize, Box<Input>),
    /// Clients of a validator send.
    Submit(usize),
}

struct Validator {
    replica: Replica,
    store: MemStore,
    machine: Machine,
    inbox: Vec<Input>,
    pending: Option<Output>,
    /// Until when the core is busy with what it decided.
    busy: bool,
    pen: Pen,
    clients: Vec<Pen>,
    sent: u64,
}

/// Validators, their machines, and their clients.
pub struct Scale {
    trial: Trial,
    setup: Setup,
    now: u64,
    tie: u64,
    queue: BTreeMap<(u64, u64), Event>,
    validators: Vec<Validator>,
    asked: BTreeMap<Ticket, u64>,
    next_ticket: u64,
    report: Report,
}

impl Scale {
    /// All start on empty disks, connected to each other.
    ///
    /// # Errors
    /// What the product says of such a chain.
    pub fn new(trial: Trial) -> Result<Scale, String> {
        let genesis = genesis("scale", trial.validators, trial.validators * CLIENTS);
        let mut setup = Setup::new(&genesis, None).map_err(|error| error.to_string())?;
        let notary = Arc::new(Notary::default());
        let validators = setup.validators.as_ref().clone();
        setup.validators = Arc::new(validators.with_memory(notary.clone()));
        let mut scale = Scale {
            setup,
            now: 0,
            tie: 0,
            queue: BTreeMap::new(),
            validators: Vec::new(),
            asked: BTreeMap::new(),
            next_ticket: 0,
            report: Report::new(&trial),
            trial,
        };
        for i in 0..scale.trial.validators {
            scale.start(i, &notary)?;
        }
        let every = scale.interval();
        for i in 0..scale.trial.validators {
            let offset = every * to_u64(i) / to_u64(scale.trial.validators);
            scale.at(SECOND / 10 + offset, Event::Submit(i));
        }
        Ok(scale)
    }

    fn start(&mut self, i: usize, notary: &Arc<Notary>) -> Result<(), String> {
        let pen = |secret| Pen::new(secret, Some(Arc::clone(notary)));
        let mut setup = self.setup.clone();
        setup.me = Some(index(i));
        let mut store = MemStore::new();
        let (replica, output) =
            Replica::open(setup, &mut store, self.clocks()).map_err(|error| error.to_string())?;
        let peers = (0..self.trial.validators).filter(|peer| *peer != i);
        self.validators.push(Validator {
            replica,
            store,
            machine: Machine::new(self.trial.verifiers),
            inbox: peers.map(|peer| Input::Connected(index(peer))).collect(),
            pending: Some(output),
            busy: true,
            pen: pen(key(CONSENSUS, i)),
            clients: (0..CLIENTS)
                .map(|c| pen(key(CLIENT, i * CLIENTS + c)))
                .collect(),
            sent: 0,
        });
        self.at(0, Event::Done(i));
        Ok(())
    }

    /// Nanoseconds between two transactions of one validator's clients.
    fn interval(&self) -> u64 {
        SECOND * to_u64(self.trial.validators) / self.trial.rate.max(1)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// What a replica cannot go on with.
    pub fn run(mut self) -> Result<Report, String> {
        let (begin, end) = (self.trial.seconds * SECOND, 2 * self.trial.seconds * SECOND);
        let mut counting = false;
        while let Some(((time, _), event)) = self.queue.pop_first() {
            if time >= begin && !counting {
                counting = true;
                self.report.begin();
                self.validators.iter_mut().for_each(|v| v.machine.forget());
            }
            if time >= end {
                break;
            }
            self.now = time;
            self.step(event)?;
        }
        let machines = self.validators.iter().map(|v| v.machine.busy());
        self.report.end(end - begin, machines);
        Ok(self.report)
    }

    fn step(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Wake(i) => self.turn(i),
            Event::Done(i) => self.done(i),
            Event::Release(i, signed) => {
                self.release(i, *signed);
                Ok(())
            }
            Event::Arrive(from, to, packet) => {
                self.arrive(from, to, &packet);
                Ok(())
            }
            Event::Ready(i, input) => {
                self.validators[i].inbox.push(*input);
                self.wake(i);
                Ok(())
            }
            Event::Submit(i) => {
                self.submit(i);
                Ok(())
            }
        }
    }

    fn at(&mut self, time: u64, event: Event) {
        self.tie += 1;
        self.queue.insert((time.max(self.now), self.tie), event);
    }

    fn clocks(&self) -> Now {
        Now {
            monotonic: Instant(self.now),
            wall: BlockTime(START + self.now),
        }
    }

    /// Has the core look for work, now or when its replica has something to do by itself.
    fn wake(&mut self, i: usize) {
        let validator = &self.validators[i];
        if validator.busy {
            return;
        }
        match validator.inbox.is_empty() {
            false => self.at(self.now, Event::Wake(i)),
            true => {
                if let Some(Instant(due)) = validator.replica.deadline() {
                    self.at(due, Event::Wake(i));
                }
            }
        }
    }

    fn turn(&mut self, i: usize) -> Result<(), String> {
        let clocks = self.clocks();
        let validator = &mut self.validators[i];
        let due = validator
            .replica
            .deadline()
            .is_some_and(|due| due.0 <= self.now);
        if validator.busy || (validator.inbox.is_empty() && !due) {
            return Ok(());
        }
        let inputs = std::mem::take(&mut validator.inbox);
        let costs = &self.trial.costs;
        let mut cost = costs.turn_ns + inputs.iter().map(|input| costs.input(input)).sum::<u64>();
        let output = validator.replica.turn(&validator.store, clocks, inputs);
        let output = output.map_err(|error| error.to_string())?;
        cost += u64::from(output.must_sync()) * costs.sync_ns;
        validator.pending = Some(output);
        validator.busy = true;
        validator.machine.core(cost);
        self.at(self.now + cost, Event::Done(i));
        Ok(())
    }

    fn done(&mut self, i: usize) -> Result<(), String> {
        let validator = &mut self.validators[i];
        let output = validator.pending.take().expect("a turn was taken");
        let released = output.persist(&mut validator.store);
        let mut signed = released
            .map_err(|error| error.to_string())?
            .sign(&validator.pen);
        let own = std::mem::take(&mut signed.own);
        let costs = &self.trial.costs;
        let mut cost = to_u64(own.len()) * costs.sign_ns;
        validator.inbox.splice(0..0, own);
        for notice in &signed.notices {
            if let Notice::Committed { executed, .. } = notice {
                cost += costs.block_ns + executed * costs.execute_ns;
                self.report.block(i, *executed);
            }
        }
        validator.machine.core(cost);
        self.at(self.now + cost, Event::Release(i, Box::new(signed)));
        Ok(())
    }

    fn release(&mut self, i: usize, signed: Signed) {
        for (ticket, reply) in signed.replies {
            if let (Reply::Executed(_), Some(asked)) = (&reply, self.asked.remove(&ticket)) {
                self.report.answered(self.now - asked);
            }
        }
        for (to, message) in signed.sends {
            self.send(i, to, &message);
        }
        self.validators[i].busy = false;
        self.wake(i);
    }

    fn send(&mut self, from: usize, to: Target, message: &Message) {
        let packet = Packet::new(message);
        let size = packet.bytes().len();
        let costs = &self.trial.costs;
        let (handling, wire) = (
            costs.message(size),
            to_u64(size + costs.overhead_bytes) * 8 * SECOND / self.trial.bits_per_second,
        );
        for peer in 0..self.trial.validators {
            let meant = match to {
                Target::One(one) => one == index(peer),
                Target::All => true,
            };
            if !meant || peer == from {
                continue;
            }
            let machine = &mut self.validators[from].machine;
            let handled = machine.io(self.now, handling);
            let gone = machine.uplink(handled, wire);
            let arrives = gone + self.trial.latency_ns;
            self.at(arrives, Event::Arrive(from, peer, packet.clone()));
        }
    }

    fn arrive(&mut self, from: usize, to: usize, packet: &Packet) {
        let Some(message) = packet.verified(&self.setup.validators, &self.setup.parameters) else {
            return;
        };
        let costs = &self.trial.costs;
        let machine = &mut self.validators[to].machine;
        let handled = machine.io(self.now, costs.message(packet.bytes().len()));
        let ready = match &message {
            // Where they arrive: not worth another thread's waking.
            VerifiedMessage::Vote(_) | VerifiedMessage::CommitVote(_) => {
                machine.io(handled, costs.verify_ns)
            }
            other => machine.verify(handled, costs.verification(other)),
        };
        let from = index(from);
        let input = Box::new(Input::Message { from, message });
        self.at(ready, Event::Ready(to, input));
    }

    fn submit(&mut self, i: usize) {
        let next = self.now + self.interval();
        self.at(next, Event::Submit(i));
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.asked.insert(ticket, self.now);
        self.report.asked();
        let transaction = Box::new(self.sign(i));
        let costs = &self.trial.costs;
        let machine = &mut self.validators[i].machine;
        let taken = machine.io(self.now, costs.request_ns);
        let ready = machine.verify(taken, costs.verify_transaction_ns);
        let input = Input::Submit {
            ticket,
            transaction,
            wait: Wait::Executed,
        };
        self.at(ready, Event::Ready(i, Box::new(input)));
    }

    /// The next transaction of a validator's clients, in turn.
    fn sign(&mut self, i: usize) -> Verified<HashedTransaction> {
        let validator = &mut self.validators[i];
        let clients = to_u64(CLIENTS);
        let (client, sequence) = (validator.sent % clients, validator.sent / clients);
        validator.sent += 1;
        let pen = &validator.clients[usize::try_from(client).expect("small")];
        let key = format!("scale/{i:03}/{client:02}/{:04}", sequence % KEYS);
        let command = Command::Put {
            key: Blob(key.into_bytes()),
            value: Blob(vec![sequence.to_le_bytes()[0]; self.trial.value]),
            lease: None,
        };
        let body = TransactionBody {
            version: FORMAT_VERSION,
            chain: self.setup.validators.chain(),
            client: pen.public(),
            sequence: sequence + 1,
            valid_until: BlockTime(START + self.now + VALIDITY),
            commands: vec![command.encode()],
        };
        pen.transaction(body, &self.setup.validators, &self.setup.parameters)
    }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).expect("fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(validators: usize, rate: u64) -> Trial {
        Trial {
            validators,
            rate,
            value: 64,
            seconds: 1,
            latency_ns: 1_000_000,
            bits_per_second: SECOND,
            verifiers: 2,
            costs: Costs::default(),
        }
    }

    #[test]
    fn what_is_offered_is_committed_where_there_is_room() {
        let run = || Scale::new(trial(4, 500)).unwrap().run().unwrap();
        let report = run();
        assert!(report.committed.abs_diff(500) < 20, "{report:?}");
        assert!(report.p50_ns() < 50_000_000, "{report:?}");
        assert!(report.busiest().1 < 0.5, "{report:?}");
        // The same once more, to the nanosecond.
        assert_eq!(format!("{report:?}"), format!("{:?}", run()));
    }

    #[test]
    fn what_there_is_not_enough_of_is_named() {
        let slow_verifiers = Costs {
            verify_transaction_ns: 2_000_000,
            ..Costs::default()
        };
        let costs = slow_verifiers;
        let report = Scale::new(Trial {
            costs,
            ..trial(4, 2_000)
        })
        .unwrap()
        .run()
        .unwrap();
        assert_eq!(report.busiest().0, "verifiers");
        assert!(report.busiest().1 > 0.9, "{report:?}");
        assert!(report.committed < 1_500, "{report:?}");
        let bits_per_second = 2_000_000;
        let report = Scale::new(Trial {
            bits_per_second,
            ..trial(4, 2_000)
        });
        assert_eq!(report.unwrap().run().unwrap().busiest().0, "uplink");
    }
}
