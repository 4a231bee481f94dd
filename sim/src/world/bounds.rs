//! How much a replica may hold (I9), and bounds so small that a world of a few seconds reaches them.

use quorate_mempool::Limits;

use super::World;
use crate::check::Violation;

/// The root, and the blocks above it that ARCHITECTURE.md allows a tree to hold.
const MOST_BLOCKS: usize = 1 + 1_024;
/// One turn in so many is looked at.
const LOOK: u64 = 8;

/// Bounds that are reached.
pub(super) fn tight() -> Limits {
    const KIB: usize = 1 << 10;
    Limits {
        max_pending_bytes: 128 * KIB,
        max_pending_transactions: 24,
        max_in_flight_bytes: 96 * KIB,
        max_origin_bytes: 160 * KIB,
        max_origin_batches: 48,
        batch_target_bytes: 16 * KIB,
        max_block_bytes: 128 * KIB,
        max_remembered: 64,
        ..Limits::default()
    }
}

impl World {
    /// I9, in bytes and items, at one replica.
    pub(super) fn within_bounds(&mut self, node: usize) -> Result<(), Violation> {
        let Some(replica) = &self.nodes[node].replica else {
            return Ok(());
        };
        if !self.counters.turns.is_multiple_of(LOOK) {
            return Ok(());
        }
        let (status, limits) = (replica.status(), &self.setup.limits);
        let (own, others) = (limits.max_in_flight_bytes, self.plan.n - 1);
        let held = limits.max_origin_bytes * others + limits.max_wanted_bytes;
        let pool = limits.max_pending_bytes + own + held;
        // What is put back at a start; a transaction is larger than a hundred bytes.
        let put_back = own / 100;
        over("bytes in the pool", status.pool_bytes, pool)?;
        let waiting = limits.max_pending_transactions.max(put_back);
        over("transactions pending", status.queued, waiting)?;
        over("blocks above the root", status.consensus.tree, MOST_BLOCKS)
    }
}

fn over(what: &'static str, held: usize, most: usize) -> Result<(), Violation> {
    match held > most {
        true => Err(Violation::OverBound(what, held)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn a_pool_over_its_bounds_is_seen() {
        let mut plan = Plan::draw(3);
        (plan.tight, plan.byzantine) = (false, Vec::new());
        let mut world = World::new(plan, false).unwrap();
        let held = |world: &World| {
            let replica = world.nodes[0].replica.as_ref();
            replica.is_some_and(|replica| replica.status().pool_bytes > 0)
        };
        while !held(&world) {
            world.step().unwrap();
        }
        world.counters.turns = LOOK;
        assert!(world.within_bounds(0).is_ok());
        // The bounds that ARCHITECTURE.md names.
        assert!(over("blocks above the root", 1_025, MOST_BLOCKS).is_ok());
        assert!(over("blocks above the root", 1_026, MOST_BLOCKS).is_err());
        let limits = &mut world.setup.limits;
        (limits.max_pending_bytes, limits.max_in_flight_bytes) = (0, 0);
        (limits.max_origin_bytes, limits.max_wanted_bytes) = (0, 0);
        let seen = world.within_bounds(0);
        assert!(matches!(
            seen,
            Err(Violation::OverBound("bytes in the pool", _))
        ));
    }
}
