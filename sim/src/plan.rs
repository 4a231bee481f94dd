//! What a seed stands for: the size of the cluster, its network, disks, clocks, adversary, load and faults.
//!
//! Each feature is first drawn to be there at all, so that seeds differ in kind and not only in detail ("Swarm Testing",
//! Groce et al., 2012).

use crate::faults::{self, Fault};
use crate::rng::{CERTAIN, Rng};

/// Nanoseconds in a microsecond.
pub const MICROSECOND: u64 = 1_000;
/// Nanoseconds in a millisecond.
pub const MILLISECOND: u64 = 1_000_000;
/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000 * MILLISECOND;

/// Everything that is decided before the world begins. Times in nanoseconds, chances in [`CERTAIN`].
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// Validators.
    pub n: usize,
    /// The one that lies, if any.
    pub byzantine: Option<usize>,
    /// Of messages.
    pub network: NetworkPlan,
    /// Of turns and disks.
    pub work: WorkPlan,
    /// Each validator's wall clock against true time, within what honest clocks may differ.
    pub clocks: Vec<i64>,
    /// Of clients.
    pub load: LoadPlan,
    /// When what breaks.
    pub faults: Vec<(u64, Fault)>,
    /// When faults end, and the load with them.
    pub chaos: u64,
}

/// How messages fare until faults end. Afterwards they only take their time.
#[derive(Clone, Debug)]
pub struct NetworkPlan {
    /// Of every message, at least.
    pub delay: u64,
    /// On top, at most: what comes later may so arrive earlier.
    pub jitter: u64,
    /// Chance of a message that takes up to fifty times as long.
    pub straggle: u64,
    /// Chance of loss.
    pub loss: u64,
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
#[derive(Clone, Debug)]
pub struct WorkPlan {
    /// For a turn, at most.
    pub turn: u64,
    /// For a synced write, at most.
    pub sync: u64,
    /// Whose disk is slower, and by how much.
    pub slow: Option<(usize, u64)>,
}

/// What clients do.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// Clients, each with its own key.
    pub clients: usize,
    /// Mean time between transactions.
    pub interval: u64,
    /// Chance of a burst instead of one transaction.
    pub burst: u64,
    /// Longest value, in bytes.
    pub value: u64,
    /// Chance of submitting the same transaction to a second replica at once.
    pub twice: u64,
    /// How long a client waits before it asks another replica.
    pub patience: u64,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Plan {
        let mut rng = Rng::new(seed);
        let n = rng.pick(&[4, 4, 4, 4, 4, 5, 6, 7]);
        let byzantine = rng.chance(450).then(|| rng.index(n));
        let chaos = rng.between(3, 9) * SECOND;
        let work = WorkPlan {
            turn: rng.between(20, 500) * MICROSECOND,
            sync: rng.pick(&[100 * MICROSECOND, MILLISECOND, 8 * MILLISECOND]),
            slow: rng
                .chance(150)
                .then(|| (rng.index(n), rng.between(20, 300) * MILLISECOND)),
        };
        let clocks = (0..n).map(|_| drift(&mut rng)).collect();
        Plan {
            seed,
            n,
            byzantine,
            network: network(&mut rng),
            work,
            clocks,
            load: load(&mut rng),
            faults: faults::draw(&mut rng, n, byzantine, chaos),
            chaos,
        }
    }
}

/// Up to 100 ms to either side, half of the drift that the default parameters allow between two.
fn drift(rng: &mut Rng) -> i64 {
    let span = i64::try_from(100 * MILLISECOND).expect("small");
    let drawn = i64::try_from(rng.below(200 * MILLISECOND)).expect("small");
    drawn - span
}

fn network(rng: &mut Rng) -> NetworkPlan {
    let delay = rng.pick(&[
        200 * MICROSECOND,
        MILLISECOND,
        5 * MILLISECOND,
        40 * MILLISECOND,
    ]);
    NetworkPlan {
        delay,
        jitter: delay * rng.pick(&[0, 1, 1, 5]) + 10 * MICROSECOND,
        straggle: sometimes(rng, 300, 30),
        loss: sometimes(rng, 500, 120),
        duplicate: sometimes(rng, 400, 100),
        replay: sometimes(rng, 300, 30),
        corrupt: sometimes(rng, 200, 20),
        notice: rng.pick(&[20 * MILLISECOND, 500 * MILLISECOND, 3 * SECOND]),
    }
}

fn load(rng: &mut Rng) -> LoadPlan {
    LoadPlan {
        clients: rng.index(3) + 1,
        interval: rng.pick(&[30 * MILLISECOND, 100 * MILLISECOND, 400 * MILLISECOND]),
        burst: sometimes(rng, 300, 100),
        value: rng.pick(&[16, 500, 500, 20_000]),
        twice: sometimes(rng, 400, 500),
        patience: rng.between(300, 2_500) * MILLISECOND,
    }
}

/// Zero, or with a chance of `present` a number up to `most`.
fn sometimes(rng: &mut Rng, present: u64, most: u64) -> u64 {
    debug_assert!(present <= CERTAIN);
    match rng.chance(present) {
        true => rng.between(1, most),
        false => 0,
    }
}
