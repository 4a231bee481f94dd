//! Batches held, by digest and by origin, within each origin's bound (I9); and what others are known to hold (B2).
//!
//! Watermarks: a batch stream is ordered, so one number an origin tells what a replica was sent: one more than the
//! highest sequence number that came from the origin itself. A lost connection, a restart or a full shelf may leave
//! gaps below it. They are allowed: origins send what is in flight again to who reconnects, and a hint that was wrong
//! costs a voter one fetch. A mark that waited for gaps to close would wait for ever for what expired.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use quorate_types::{BatchId, BlockTime, HashedBatch, Instant, Signers, ValidatorIndex};

use crate::{Limits, Refusal};

/// A batch that is held.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) batch: HashedBatch,
    pub(crate) bytes: usize,
    /// When it came.
    pub(crate) since: Instant,
    /// Counts what came: smaller is older.
    pub(crate) arrival: u64,
    /// On whose account.
    pub(crate) account: Account,
}

/// Which bound a held batch counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// Packed here: `max_in_flight_bytes`, looked at before sealing.
    Own,
    /// Streamed by its origin: `max_origin_bytes`, `max_origin_batches`.
    Origin,
    /// Asked for, since a block needs it: `max_wanted_bytes`.
    Wanted,
}

/// What is known of one origin.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// Batches of this epoch that may be ordered, oldest first.
    pub(crate) waiting: BTreeSet<(u64, BatchId)>,
    bytes: usize,
    batches: usize,
    watermark: u64,
    late: u32,
    late_since: Instant,
    /// Whose blocks needed the late ones.
    late_for: Signers,
    left_out_until: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Shelf {
    held: BTreeMap<BatchId, Held>,
    by_expiry: BTreeSet<(BlockTime, BatchId)>,
    pub(crate) origins: Vec<Origin>,
    /// hints[voter][origin], as the voter reported last.
    hints: Vec<Vec<u64>>,
    arrivals: u64,
    bytes: usize,
    own_bytes: usize,
    wanted_bytes: usize,
    /// Those on that account.
    wanted: BTreeSet<BatchId>,
}

impl Shelf {
    pub(crate) fn new(n: usize) -> Shelf {
        Shelf {
            held: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            origins: (0..n).map(|_| Origin::default()).collect(),
            hints: vec![vec![0; n]; n],
            arrivals: 0,
            bytes: 0,
            own_bytes: 0,
            wanted_bytes: 0,
            wanted: BTreeSet::new(),
        }
    }

    pub(crate) fn get(&self, id: &BatchId) -> Option<&Held> {
        self.held.get(id)
    }

    pub(crate) fn contains(&self, id: &BatchId) -> bool {
        self.held.contains_key(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// Whether the account has room for a batch of this many bytes.
    pub(crate) fn check_room(
        &self,
        account: Account,
        origin: ValidatorIndex,
        bytes: usize,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        match account {
            Account::Own => Ok(()),
            Account::Wanted if self.wanted_bytes + bytes > limits.max_wanted_bytes => {
                Err(Refusal::WantedFull)
            }
            Account::Wanted => Ok(()),
            Account::Origin => {
                let origin = self
                    .origins
                    .get(origin.as_usize())
                    .ok_or(Refusal::Unasked)?;
                let full = origin.bytes + bytes > limits.max_origin_bytes
                    || origin.batches >= limits.max_origin_batches;
                if full {
                    return Err(Refusal::OriginFull);
                }
                Ok(())
            }
        }
    }

    /// Puts a batch on the shelf that is not there. `orderable` batches are of this epoch.
    pub(crate) fn put(
        &mut self,
        now: Instant,
        batch: HashedBatch,
        account: Account,
        orderable: bool,
    ) {
        let id = batch.id();
        let bytes = batch.encoded_len();
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.bytes += bytes;
        match account {
            Account::Own => self.own_bytes += bytes,
            Account::Wanted => {
                self.wanted_bytes += bytes;
                self.wanted.insert(id);
            }
            Account::Origin => {}
        }
        if let Some(origin) = self.origins.get_mut(batch.origin.as_usize()) {
            if orderable {
                origin.waiting.insert((arrival, id));
            }
            if account == Account::Origin {
                origin.bytes += bytes;
                origin.batches += 1;
            }
        }
        self.by_expiry.insert((batch.expiry, id));
        let held = Held {
            batch,
            bytes,
            since: now,
            arrival,
            account,
        };
        assert!(self.held.insert(id, held).is_none(), "a batch is held once");
    }

    pub(crate) fn remove(&mut self, id: &BatchId) -> Option<Held> {
        let held = self.held.remove(id)?;
        self.by_expiry.remove(&(held.batch.expiry, *id));
        self.bytes -= held.bytes;
        match held.account {
            Account::Own => self.own_bytes -= held.bytes,
            Account::Wanted => {
                self.wanted_bytes -= held.bytes;
                self.wanted.remove(id);
            }
            Account::Origin => {}
        }
        if let Some(origin) = self.origins.get_mut(held.batch.origin.as_usize()) {
            origin.waiting.remove(&(held.arrival, *id));
            if held.account == Account::Origin {
                origin.bytes -= held.bytes;
                origin.batches -= 1;
            }
        }
        Some(held)
    }

    /// I9 for the accounts that peers fill.
    pub(crate) fn assert_bounds(&self, origin: ValidatorIndex, limits: &Limits) {
        assert!(
            self.wanted_bytes <= limits.max_wanted_bytes,
            "I9: wanted bytes"
        );
        if let Some(origin) = self.origins.get(origin.as_usize()) {
            assert!(
                origin.bytes <= limits.max_origin_bytes,
                "I9: origin's bytes"
            );
            assert!(
                origin.batches <= limits.max_origin_batches,
                "I9: origin's batches"
            );
        }
    }

    /// Lets the batches of each origin wait in the order of its numbers, whatever order they came in.
    pub(crate) fn line_up(&mut self) {
        for origin in &mut self.origins {
            let (arrivals, mut ids): (Vec<u64>, Vec<BatchId>) =
                origin.waiting.iter().copied().unzip();
            ids.sort_by_key(|id| self.held.get(id).map(|held| held.batch.sequence));
            for (arrival, id) in arrivals.iter().zip(&ids) {
                if let Some(held) = self.held.get_mut(id) {
                    held.arrival = *arrival;
                }
            }
            origin.waiting = arrivals.into_iter().zip(ids).collect();
        }
    }

    /// Batches that are held only because a block needs them, or did.
    pub(crate) fn wanted(&self) -> Vec<BatchId> {
        self.wanted.iter().copied().collect()
    }

    /// Whether nothing is held only for a block, and nothing expires before `time`.
    pub(crate) fn is_settled(&self, time: BlockTime) -> bool {
        let first = self.by_expiry.first();
        self.wanted.is_empty() && first.is_none_or(|(expiry, _)| *expiry >= time)
    }

    /// Batches whose expiry lies before `time`.
    pub(crate) fn expired(&self, time: BlockTime) -> Vec<BatchId> {
        self.by_expiry
            .iter()
            .take_while(|(expiry, _)| *expiry < time)
            .map(|(_, id)| *id)
            .collect()
    }

    /// The origin streamed this sequence number.
    pub(crate) fn advance(&mut self, origin: ValidatorIndex, sequence: u64) {
        if let Some(origin) = self.origins.get_mut(origin.as_usize()) {
            origin.watermark = origin.watermark.max(sequence.saturating_add(1));
        }
    }

    pub(crate) fn watermarks(&self) -> Vec<u64> {
        self.origins.iter().map(|origin| origin.watermark).collect()
    }

    /// Replaces what a voter is known to hold. The latest counts, not the highest: a replica may lose what it held.
    pub(crate) fn on_held(&mut self, voter: ValidatorIndex, held: &[u64]) {
        let n = self.origins.len();
        if let Some(known) = self.hints.get_mut(voter.as_usize())
            && held.len() == n
        {
            known.copy_from_slice(held);
        }
    }

    /// Batches of the origin with a sequence number below this are reported held by `others` replicas besides `me`.
    pub(crate) fn held_below(
        &self,
        origin: ValidatorIndex,
        me: Option<ValidatorIndex>,
        others: usize,
    ) -> u64 {
        if others == 0 {
            return u64::MAX;
        }
        let mut marks: Vec<u64> = self
            .hints
            .iter()
            .enumerate()
            .filter(|(voter, _)| me.is_none_or(|me| me.as_usize() != *voter))
            .filter_map(|(_, held)| held.get(origin.as_usize()).copied())
            .collect();
        if others > marks.len() {
            return 0;
        }
        let (_, mark, _) = marks.select_nth_unstable_by(others - 1, |a, b| b.cmp(a));
        *mark
    }

    /// A batch of the origin had to be fetched for a block of `proposer` (B4). Nobody signs a batch: a faulty proposer
    /// can order some that the origin never made, so it takes blocks of more than `max_faulty` proposers to blame it.
    pub(crate) fn on_late(
        &mut self,
        origin: ValidatorIndex,
        proposer: ValidatorIndex,
        max_faulty: usize,
        now: Instant,
        limits: &Limits,
    ) {
        let known = proposer.as_usize() < self.origins.len();
        let Some(origin) = self.origins.get_mut(origin.as_usize()).filter(|_| known) else {
            return;
        };
        if origin.late == 0 || now.since(origin.late_since) > limits.late_window_ns {
            origin.late = 0;
            origin.late_since = now;
            origin.late_for = Signers::NONE;
        }
        origin.late = origin.late.saturating_add(1);
        origin.late_for.insert(proposer);
        if origin.late >= limits.late_threshold && origin.late_for.count() > max_faulty {
            origin.late = 0;
            origin.left_out_until = Some(now.plus_nanos(limits.late_window_ns));
        }
    }
}

impl Origin {
    /// Whether its batches are not ordered for now (B4).
    pub(crate) fn left_out(&self, now: Instant) -> bool {
        self.left_out_until.is_some_and(|until| now < until)
    }
}
