//! What a seed stands for: the size of the cluster, its network, disks, clocks, adversary, load and faults.
//!
//! Each feature is first drawn to be there at all, so that seeds differ in kind and not only in detail ("Swarm Testing",
//! Groce et al., 2012).

use quorate_types::BlockTime;
use serde::{Deserialize, Serialize};

use crate::adversary::{FIRST_KINDS, KINDS};
use crate::faults::{self, Fault};
use crate::node::START;
use crate::rng::{CERTAIN, Rng};

/// Nanoseconds in a microsecond.
pub const MICROSECOND: u64 = 1_000;
/// Nanoseconds in a millisecond.
pub const MILLISECOND: u64 = 1_000_000;
/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000 * MILLISECOND;

/// Everything that is decided before the world begins. Times in nanoseconds, chances in [`CERTAIN`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// Validators.
    pub n: usize,
    /// Those that lie, and how; at most f, all below `n`.
    pub byzantine: Vec<Liar>,
    /// Validators that run twice with one key: each adds a node, and both of its nodes count as faulty.
    pub twins: Vec<usize>,
    /// Whether signatures of validators and clients are stand-ins ([`crate::keys`]).
    pub stand_ins: bool,
    /// Of messages.
    pub network: NetworkPlan,
    /// Of turns and disks.
    pub work: WorkPlan,
    /// Each validator's clocks against true time, within what honest clocks may differ.
    pub clocks: Vec<ClockPlan>,
    /// Of clients.
    pub load: LoadPlan,
    /// Whether the bounds of the pools are so small that they are reached.
    pub tight: bool,
    /// How many blocks the state on disk lies behind the ledger at most.
    pub lag: usize,
    /// When what breaks.
    pub faults: Vec<(u64, Fault)>,
    /// When faults end, and the load with them.
    pub chaos: u64,
}

/// A validator that lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Liar {
    /// Which.
    pub node: usize,
    /// How: the name of a [`crate::adversary::Kind`].
    pub kind: String,
}

/// A validator's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockPlan {
    /// How far the wall clock is off, in nanoseconds.
    pub offset: i64,
    /// How much too fast both clocks run, in parts per million.
    pub drift: i64,
}

/// How messages fare until faults end. Afterwards they only take their time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// Of every message, at least.
    pub delay: u64,
    /// Further delay of single links.
    pub far: Vec<(usize, usize, u64)>,
    /// On top, at most: what comes later may so arrive earlier.
    pub jitter: u64,
    /// Chance of a message that takes up to fifty times as long.
    pub straggle: u64,
    /// Chance of loss.
    pub loss: u64,
    /// Chance of loss on single links.
    pub lossy: Vec<(usize, usize, u64)>,
    /// Chance of arriving twice.
    pub duplicate: u64,
    /// Chance that an old message comes again with a new one.
    pub replay: u64,
    /// Chance of a flipped bit.
    pub corrupt: u64,
    /// How long until an end notices that a connection is gone, at most.
    pub notice: u64,
}

/// How long replicas take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkPlan {
    /// For a turn, at most.
    pub turn: u64,
    /// For a synced write, at most.
    pub sync: u64,
}

/// What clients do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadPlan {
    /// Clients, each with its own key.
    pub clients: usize,
    /// Mean time between transactions.
    pub interval: u64,
    /// Chance of a burst instead of one transaction.
    pub burst: u64,
    /// Longest value, in bytes.
    pub value: u64,
    /// Keys that clients write and read.
    pub keys: u64,
    /// Chance that an operation reads, swaps or deletes instead of setting a key.
    pub mixed: u64,
    /// Chance of a checkpoint, a revert or a release instead.
    #[serde(default)]
    pub checkpoints: u64,
    /// Chance that a client also asks a replica for a proved value.
    pub reads: u64,
    /// Chance of submitting the same transaction to a second replica at once.
    pub twice: u64,
    /// How long a client waits before it asks another replica.
    pub patience: u64,
    /// The hard half of X1, if these clients are to go there.
    #[serde(default)]
    pub sessions: Option<SessionPlan>,
}

/// Clients whose sessions are over within the world, all at one moment, and who choose their numbers badly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPlan {
    /// Numbers that the chain remembers.
    pub window: u64,
    /// How long a transaction may be ordered.
    pub validity: u64,
    /// Chunks of numbers that a client uses before its session is over.
    pub chunks: usize,
    /// Chance of a number that was used, lies below the window, or takes it far ahead.
    pub wild: u64,
    /// When the sessions are over.
    pub ends: u64,
}

impl SessionPlan {
    /// The end of a session is kept in steps of so many nanoseconds, as the protocol has it.
    const STEP: u64 = 64 * SECOND;
    /// Rest before the end: what is signed meanwhile would keep a session.
    const REST: u64 = 200 * MILLISECOND;

    /// How long the chain is old when the world begins, so that a step ends where it is to end.
    #[must_use]
    pub fn begins(&self) -> u64 {
        SessionPlan::STEP - START % SessionPlan::STEP - self.ends
    }

    fn end(&self) -> BlockTime {
        BlockTime(START + self.begins() + self.ends)
    }

    pub(crate) fn is_over(&self, time: BlockTime) -> bool {
        time >= self.end()
    }

    pub(crate) fn rests(&self, time: BlockTime) -> bool {
        !self.is_over(time) && time.plus_nanos(SessionPlan::REST) >= self.end()
    }

    /// The end of what is signed at this time: never beyond that of the session.
    pub(crate) fn until(&self, time: BlockTime) -> BlockTime {
        let until = time.plus_nanos(self.validity);
        match self.is_over(time) {
            true => until,
            false => until.min(BlockTime(self.end().0 - 1)),
        }
    }
}

/// Chance that a seed has clients with hard sessions.
const HARD: u64 = 80;
/// Chance that a seed has real signatures.
const REAL: u64 = 60;
/// Tell the streams that features are drawn from which there were not from the beginning: what a seed stood for before, it
/// stands for still, as long as it does not draw one of them.
const RESTORES: u64 = 0x7265_7374_6f72_6564;
const LOSSES: u64 = 0x6c6f_7374_6469_736b;
const CHECKPOINTS: u64 = 0x706c_6163_6573_2e2e;
const LAGS: u64 = 0x6c61_6773_2e2e_2e2e;
const LATER: u64 = 0x6c61_7465_7220_6b69;
const BESIDE: u64 = 0x6265_7369_6465_2e2e;
const SESSIONS: u64 = 0x7365_7373_696f_6e73;

impl Plan {
    /// Which validator each node is: first all validators, then the twins.
    #[must_use]
    pub fn identities(&self) -> Vec<usize> {
        (0..self.n).chain(self.twins.iter().copied()).collect()
    }

    /// How old the chain is when the world begins.
    pub(crate) fn age(&self) -> u64 {
        self.load.sessions.as_ref().map_or(0, SessionPlan::begins)
    }

    /// Validators that count as faulty, twins included.
    #[must_use]
    pub fn faulty(&self) -> usize {
        self.liars()
            .into_iter()
            .filter(|node| *node < self.n)
            .count()
    }

    /// The nodes that owe nothing: liars, and both nodes of each twin.
    #[must_use]
    pub fn liars(&self) -> Vec<usize> {
        let identities = self.identities();
        let lies = |node: &usize| {
            let twin = self.twins.contains(&identities[*node]);
            twin || self.byzantine.iter().any(|liar| liar.node == *node)
        };
        (0..identities.len()).filter(lies).collect()
    }

    /// The same world with these liars instead of its own, at nodes that its seed decides.
    #[must_use]
    pub fn with_liars(mut self, kinds: &[&str]) -> Plan {
        let mut order: Vec<usize> = (0..self.n).collect();
        Rng::new(self.seed).shuffle(&mut order);
        let liar = |(node, kind): (usize, &&str)| Liar {
            node,
            kind: (*kind).into(),
        };
        self.byzantine = order.into_iter().zip(kinds).map(liar).collect();
        // Only liars may forget, and at most f may be broken for good.
        let gone = |fault: &Fault| {
            matches!(
                fault,
                Fault::Wipe { .. }
                    | Fault::Backup { .. }
                    | Fault::Restore { .. }
                    | Fault::Forget { .. }
                    | Fault::Rot { .. }
            )
        };
        self.faults.retain(|(_, fault)| !gone(fault));
        self
    }

    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Plan {
        let mut rng = Rng::new(seed);
        let n = rng.pick(&[4, 4, 4, 4, 4, 5, 6, 7]);
        let byzantine = liars(&mut rng, n);
        let chaos = rng.between(3, 9) * SECOND;
        let work = WorkPlan {
            turn: rng.between(20, 500) * MICROSECOND,
            sync: rng.pick(&[100 * MICROSECOND, MILLISECOND, 8 * MILLISECOND]),
        };
        let clocks = (0..n).map(|_| clock(&mut rng)).collect();
        let mut plan = Plan {
            seed,
            n,
            twins: Vec::new(),
            stand_ins: !rng.chance(REAL),
            network: network(&mut rng, n),
            work,
            clocks,
            load: load(&mut rng),
            tight: rng.chance(250),
            lag: Rng::new(seed.rotate_left(32) ^ LAGS).pick(&[1, 4, 32, 256]),
            faults: faults::draw(&mut rng, n, &byzantine, chaos),
            byzantine,
            chaos,
        };
        let mut rng = Rng::new(seed.rotate_left(32) ^ LATER);
        if let Some(liar) = plan.byzantine.first_mut()
            && rng.chance(120)
        {
            let later = &KINDS[FIRST_KINDS..];
            liar.kind = later[rng.index(later.len())].name.into();
        }
        if plan.byzantine.is_empty() {
            let mut rng = Rng::new(seed.rotate_left(32) ^ RESTORES);
            let all: Vec<usize> = (0..n).collect();
            faults::restores(&mut rng, &all, chaos, &mut plan.faults);
        }
        if plan.byzantine.len() < (n - 1) / 3 {
            let mut rng = Rng::new(seed.rotate_left(32) ^ LOSSES);
            let correct = (0..n).filter(|node| plan.byzantine.iter().all(|l| l.node != *node));
            let correct: Vec<usize> = correct.collect();
            faults::losses(&mut rng, &correct, chaos, &mut plan.faults);
        }
        // Beside a liar or another whose disk is gone, if all together are at most f.
        let gone = faults::gone(&plan.faults);
        let broken = plan.byzantine.len() + gone.len();
        if broken > 0 && broken < (n - 1) / 3 {
            let mut rng = Rng::new(seed.rotate_left(32) ^ BESIDE);
            let lies = |node: &usize| plan.byzantine.iter().any(|liar| liar.node == *node);
            let sound = (0..n).filter(|node| !lies(node) && !gone.contains(node));
            let sound: Vec<usize> = sound.collect();
            faults::restores(&mut rng, &sound, chaos, &mut plan.faults);
        }
        let mut rng = Rng::new(seed.rotate_left(32) ^ CHECKPOINTS);
        plan.load.checkpoints = sometimes(&mut rng, 250, 150);
        let mut rng = Rng::new(seed.rotate_left(32) ^ SESSIONS);
        if rng.chance(HARD) {
            sessions(&mut rng, chaos, &mut plan.load);
        }
        plan
    }
}

/// Nobody, or up to f.
fn liars(rng: &mut Rng, n: usize) -> Vec<Liar> {
    if !rng.chance(450) {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..n).collect();
    rng.shuffle(&mut order);
    let count = rng.index((n - 1) / 3) + 1;
    order.truncate(count);
    let liar = |node| Liar {
        node,
        kind: KINDS[rng.index(FIRST_KINDS)].name.into(),
    };
    order.into_iter().map(liar).collect()
}

/// Up to 100 ms to either side, half of the difference that the default parameters allow between two; and, now and
/// then, up to a thousandth too fast or too slow: twenty times what bad quartz does.
fn clock(rng: &mut Rng) -> ClockPlan {
    let span = i64::try_from(100 * MILLISECOND).expect("small");
    let drawn = i64::try_from(rng.below(200 * MILLISECOND)).expect("small");
    let drift = i64::try_from(rng.below(2_000)).expect("small") - 1_000;
    ClockPlan {
        offset: drawn - span,
        drift: if rng.chance(300) { drift } else { 0 },
    }
}

fn network(rng: &mut Rng, n: usize) -> NetworkPlan {
    let delay = rng.pick(&[
        200 * MICROSECOND,
        MILLISECOND,
        5 * MILLISECOND,
        40 * MILLISECOND,
    ]);
    NetworkPlan {
        delay,
        jitter: delay * rng.pick(&[0, 1, 1, 5]) + 10 * MICROSECOND,
        far: some_links(rng, n, 250, 60 * MILLISECOND),
        lossy: some_links(rng, n, 150, 700),
        straggle: sometimes(rng, 300, 30),
        loss: sometimes(rng, 500, 120),
        duplicate: sometimes(rng, 400, 100),
        replay: sometimes(rng, 300, 30),
        corrupt: sometimes(rng, 200, 20),
        notice: rng.pick(&[20 * MILLISECOND, 500 * MILLISECOND, 3 * SECOND]),
    }
}

/// Nothing, or with a chance of `present` a number up to `most` for some links.
fn some_links(rng: &mut Rng, n: usize, present: u64, most: u64) -> Vec<(usize, usize, u64)> {
    if !rng.chance(present) {
        return Vec::new();
    }
    let links = (0..n).flat_map(|from| (0..n).map(move |to| (from, to)));
    let mut some = Vec::new();
    for (from, to) in links.filter(|(from, to)| from != to) {
        if rng.chance(300) {
            some.push((from, to, rng.between(1, most)));
        }
    }
    some
}

fn load(rng: &mut Rng) -> LoadPlan {
    LoadPlan {
        clients: rng.index(3) + 1,
        interval: rng.pick(&[30 * MILLISECOND, 100 * MILLISECOND, 400 * MILLISECOND]),
        burst: sometimes(rng, 300, 100),
        value: rng.pick(&[16, 500, 500, 20_000]),
        keys: rng.pick(&[2, 10, 50]),
        mixed: sometimes(rng, 600, 700),
        checkpoints: 0,
        reads: sometimes(rng, 500, 300),
        twice: sometimes(rng, 400, 500),
        patience: rng.between(300, 2_500) * MILLISECOND,
        sessions: None,
    }
}

/// Few clients with many transactions, in as many chunks as a sweep drops, or one more or less, and each often at two
/// replicas at once.
fn sessions(rng: &mut Rng, chaos: u64, load: &mut LoadPlan) {
    load.clients = rng.index(2) + 1;
    load.interval = 30 * MILLISECOND;
    load.burst = load.burst.max(50);
    load.twice = rng.between(300, 700);
    load.sessions = Some(SessionPlan {
        window: rng.pick(&[64, 4_096, 4_096]),
        validity: rng.between(1, 3) * SECOND,
        chunks: rng.pick(&[3, 31, 62, 63, 63, 64]),
        wild: rng.pick(&[0, 0, 300]),
        ends: rng.between(chaos / 2, chaos - SECOND / 2),
    });
}

/// Zero, or with a chance of `present` a number up to `most`.
fn sometimes(rng: &mut Rng, present: u64, most: u64) -> u64 {
    debug_assert!(present <= CERTAIN);
    match rng.chance(present) {
        true => rng.between(1, most),
        false => 0,
    }
}
