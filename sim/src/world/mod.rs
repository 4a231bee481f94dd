//! The world: a queue of events in virtual time, and what each does.
//!
//! ```text
//!   wake ─► Replica::turn ─► (time passes) ─► persist ─► sign ─► network ─► arrive ─► verify ─► inbox ─► wake
//! ```
//!
//! Everything follows from the plan. It never reads a clock and knows nothing of the replica but its inputs and outputs.
//!
//! | file | what happens there |
//! |---|---|
//! | `turns` | a replica takes a turn, writes, releases |
//! | `links` | messages and connections |
//! | `lies` | Byzantine nodes act |
//! | `faults` | what breaks, and the end of all faults |
//! | `clients` | who asks what of whom |
//! | `bounds` | how much a pool may hold |
//! | `judging` | what the judges are shown |

mod bounds;
mod clients;
mod faults;
mod judging;
mod lies;
mod links;
mod turns;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use quorate_replica::Setup;
use quorate_storage::{MemStore, ledger};

use self::faults::Over;
use crate::adversary::{self, Adversary};
use crate::check::once::Terms;
use crate::check::pace::Pace;
use crate::check::{Checker, Violation};
use crate::counters::Counters;
use crate::genesis::{CLIENT, CONSENSUS, genesis, key};
use crate::keys::{Notary, Pen};
use crate::network::{Connection, Network, Packet};
use crate::node::Node;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::trace::Trace;
use crate::workload::Workload;

/// Steps of a world, at most: fifty times what a usual one has.
const MOST_STEPS: u64 = 1_000_000;

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
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
    /// A Byzantine node may act by itself.
    Tick(usize),
    /// The fault of this number in the plan.
    Fault(usize),
    /// What broke is whole again.
    Over(Over),
    /// A backup of a disk is taken.
    Backup(usize),
    Load,
    /// A client that was turned away asks the same replica again.
    Insist {
        node: usize,
        number: usize,
    },
    /// A client that got no answer asks another.
    Ask(usize),
}

/// An event in its place: what is due first is the greatest, and of two at one time the one that was planned first.
#[derive(Debug)]
struct Due {
    time: u64,
    tie: u64,
    event: Event,
}

impl Due {
    fn order(&self) -> (u64, u64) {
        (self.time, self.tie)
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> Ordering {
        other.order().cmp(&self.order())
    }
}

/// Validators, network, clients, and judges.
#[derive(Debug)]
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) now: u64,
    tie: u64,
    queue: BinaryHeap<Due>,
    rng: Rng,
    setup: Setup,
    pub(crate) nodes: Vec<Node>,
    network: Network,
    /// Of each Byzantine node; `None` while it acts, and for correct nodes.
    adversaries: Vec<Option<Box<dyn Adversary>>>,
    /// The nodes that lie, ascending.
    byzantine: Vec<usize>,
    /// Which validator each node is.
    identities: Vec<usize>,
    /// The key of each node.
    pens: Vec<Pen>,
    pub(crate) workload: Workload,
    pub(crate) checker: Checker,
    pace: Pace,
    pub(crate) counters: Counters,
    pub(crate) trace: Trace,
    /// Backups of disks, by the fault that puts them back.
    backups: BTreeMap<usize, MemStore>,
    /// Correct validators that were put back to an old disk: what they held then may be gone.
    restored: BTreeSet<usize>,
    /// Those of them on a new disk that have not passed the strict fence yet.
    forgotten: BTreeSet<usize>,
    /// Faults and load are over.
    calm: bool,
}

impl World {
    /// All validators start, on empty disks.
    ///
    /// # Errors
    /// [`Violation`] if one cannot.
    pub fn new(plan: Plan, trace: bool) -> Result<World, Violation> {
        let mut rng = Rng::new(!plan.seed);
        let mut genesis = genesis("sim", plan.n, plan.load.clients);
        if let Some(hard) = &plan.load.sessions {
            genesis.parameters.session_window = hard.window;
        }
        let mut setup =
            Setup::new(&genesis, None).map_err(|e| Violation::Stopped(e.to_string()))?;
        if plan.tight {
            setup.limits = bounds::tight();
        }
        setup.lag.blocks = plan.lag;
        let notary = plan.stand_ins.then(|| Arc::new(Notary::default()));
        // As in a node, what verified once is not verified again, real or not.
        let memory = notary.clone().unwrap_or_default();
        let validators = setup.validators.as_ref().clone();
        setup.validators = Arc::new(validators.with_memory(memory));
        let pen = |i| Pen::new(key(CLIENT, i), notary.clone());
        let pens = (0..plan.load.clients).map(pen).collect();
        let (validators, parameters) = (Arc::clone(&setup.validators), setup.parameters.clone());
        let load = plan.load.clone();
        let workload = Workload::new(load, pens, validators, parameters, rng.fork());
        let identities = plan.identities();
        let network = Network::new(identities.len(), plan.network.clone(), rng.fork());
        let clocks = |i: usize| plan.clocks.get(i).copied().unwrap_or_default();
        let mut world = World {
            adversaries: adversaries(&plan, &mut rng),
            byzantine: plan.liars(),
            pens: identities
                .iter()
                .map(|identity| Pen::new(key(CONSENSUS, *identity), notary.clone()))
                .collect(),
            nodes: (0..identities.len())
                .map(|i| Node::new(clocks(i), plan.age()))
                .collect(),
            identities,
            pace: Pace::default(),
            checker: Checker::new(Arc::clone(&setup.validators), Terms::of(&genesis))
                .with_notary(notary.clone()),
            now: 0,
            tie: 0,
            queue: BinaryHeap::new(),
            rng,
            setup,
            network,
            workload,
            counters: Counters::default(),
            trace: Trace::new(trace),
            backups: BTreeMap::new(),
            restored: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            calm: false,
            plan,
        };
        world.schedule_faults();
        world.at(world.plan.load.interval, Event::Load);
        for node in 0..world.nodes.len() {
            world.start(node)?;
        }
        for node in world.byzantine.clone() {
            world.at(adversary::TICK, Event::Tick(node));
        }
        Ok(world)
    }

    fn at(&mut self, time: u64, event: Event) {
        self.tie += 1;
        let (time, tie) = (time.max(self.now), self.tie);
        self.queue.push(Due { time, tie, event });
    }

    /// Whether it lies by plan, so that it owes nothing.
    pub(crate) fn lies(&self, node: usize) -> bool {
        self.byzantine.contains(&node)
    }

    /// The validators that follow the protocol, on disks that can be read.
    pub(crate) fn correct(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|node| !self.lies(*node) && !self.nodes[*node].rotten)
            .collect()
    }

    /// Lets the next event happen.
    ///
    /// # Errors
    /// [`Violation`].
    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        let Some(Due { time, event, .. }) = self.queue.pop() else {
            return Err(Violation::NoProgress("events", self.plan.n));
        };
        self.now = time;
        self.counters.steps += 1;
        if self.counters.steps > MOST_STEPS {
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
            Event::Tick(node) => {
                self.tick(node);
                Ok(())
            }
            Event::Fault(number) => self.fault(number),
            Event::Over(over) => self.over(over),
            Event::Backup(number) => {
                self.backup(number);
                Ok(())
            }
            Event::Load => {
                self.load();
                Ok(())
            }
            Event::Insist { node, number } => {
                if self.workload.request(number).receipt.is_none() {
                    self.submit(number, node);
                }
                Ok(())
            }
            Event::Ask(number) => {
                self.ask(number);
                Ok(())
            }
        }
    }

    /// The highest round of a correct replica, and where every one stands, in numbers that a loop repeats: heights, and
    /// rounds against the highest.
    pub(crate) fn stance(&self) -> (u64, Vec<(u64, u64, u64)>) {
        let up = self.correct().into_iter();
        let status = |node: usize| Some(self.nodes[node].replica.as_ref()?.status());
        let all: Vec<_> = up.filter_map(status).collect();
        let round = |status: &quorate_replica::Status| status.consensus.round.number;
        let highest = all.iter().map(round).max().unwrap_or_default();
        let stance = |status: &quorate_replica::Status| {
            let target = status.target.0.max(status.height.0) - status.height.0;
            (status.height.0, highest - round(status), target)
        };
        (highest, all.iter().map(stance).collect())
    }

    /// When the next event happens.
    pub(crate) fn next_time(&self) -> Option<u64> {
        self.queue.peek().map(|due| due.time)
    }

    /// The height up to which a replica's disk holds the ledger. What it only decided does not count.
    pub(crate) fn height(&self, node: usize) -> u64 {
        ledger::tip(&self.nodes[node].store).map_or(0, |tip| tip.height.0)
    }
}

/// One adversary for each node that lies, with a stream of chance of its own.
fn adversaries(plan: &Plan, rng: &mut Rng) -> Vec<Option<Box<dyn Adversary>>> {
    let nodes = plan.identities().len();
    let mut all: Vec<Option<Box<dyn Adversary>>> = (0..nodes).map(|_| None).collect();
    for liar in &plan.byzantine {
        let kind = adversary::kind(&liar.kind).expect("a plan names kinds that exist");
        all[liar.node] = Some((kind.make)(rng.fork()));
    }
    all
}
