//! What a leader may order now (B2, B4), and whether there is anything to order at all (L3).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use quorate_types::{Batch, BatchId, BlockTime, Instant, ValidatorIndex};

use crate::pool::{Payload, Pool};
use crate::shelf::Held;

impl Pool {
    /// The payload of a block of time `time`: batches held here that a quorum reports to hold too, or small ones that
    /// travel inside the proposal (B2); oldest first, one an origin in turn, so that no origin crowds out the others.
    /// Leaves out `exclude` (what uncommitted ancestors order), what expires soon, and origins that come late (B4).
    #[must_use]
    pub fn candidates(&mut self, now: Instant, time: BlockTime, exclude: &[BatchId]) -> Payload {
        let draft = self.draft(now, time, exclude);
        if draft.inline_bytes > draft.inline.at_once {
            self.inlined_late = Some(now);
        }
        draft.payload
    }

    fn draft(&self, now: Instant, time: BlockTime, exclude: &[BatchId]) -> Draft {
        let exclude: BTreeSet<BatchId> = exclude.iter().copied().collect();
        let inline = self.inline(now);
        let mut lines: Vec<_> = self
            .indices()
            .filter(|origin| !self.is_left_out(*origin, now))
            .map(|origin| {
                let below = self.held_below(origin);
                self.waiting(origin, time)
                    .filter(|(id, _)| !exclude.contains(id))
                    .filter(move |(_, held)| inline.is_orderable(held, below))
                    .map(move |(id, held)| (id, held, held.batch.sequence < below))
                    .peekable()
            })
            .collect();
        lines.sort_by_key(|line| line.clone().peek().map(|(_, held, _)| held.arrival));
        let mut draft = Draft::new(self, inline);
        loop {
            let mut any = false;
            for line in &mut lines {
                let Some((id, held, known)) = line.next() else {
                    continue;
                };
                any = true;
                if !draft.add(id, held, known) {
                    return draft;
                }
            }
            if !any {
                return draft;
            }
        }
    }

    /// What may travel inside a proposal now.
    fn inline(&self, now: Instant) -> Inline {
        let limits = &self.limits;
        let spread = limits.inline_spread_bytes / self.seat.n.saturating_sub(1).max(1);
        let paused = self
            .inlined_late
            .is_some_and(|last| now.since(last) < limits.late_inline_pause_ns);
        let at_once = limits.inline_bytes.min(spread);
        Inline {
            now,
            unreported_ns: limits.unreported_ns,
            at_once,
            late: match paused {
                true => at_once,
                false => limits.late_inline_bytes.min(spread).max(at_once),
            },
        }
    }

    /// Whether there is work for a leader: something queued, or a batch held that is neither in `ordered` (the batches
    /// of uncommitted blocks on the branch), nor committed, nor about to expire. A batch of another origin that no
    /// quorum reports and that is too large to travel inside a proposal counts only while it is new.
    #[must_use]
    pub fn has_work(&self, now: Instant, time: BlockTime, ordered: &BTreeSet<BatchId>) -> bool {
        if !self.queue.is_empty() {
            return true;
        }
        self.indices()
            .filter(|origin| !self.is_left_out(*origin, now))
            .any(|origin| {
                let mut below = None;
                let inline = self.inline(now);
                self.waiting(origin, time)
                    .filter(|(id, _)| !ordered.contains(id))
                    .any(|(_, held)| {
                        self.seat.me == Some(origin)
                            || now.since(held.since) < self.limits.unheld_work_ns
                            || inline.is_orderable(
                                held,
                                *below.get_or_insert_with(|| self.held_below(origin)),
                            )
                    })
            })
    }

    fn indices(&self) -> impl Iterator<Item = ValidatorIndex> + use<> {
        let n = u16::try_from(self.seat.n).unwrap_or(u16::MAX);
        (0..n).map(ValidatorIndex)
    }

    fn is_left_out(&self, origin: ValidatorIndex, now: Instant) -> bool {
        let origin = self.shelf.origins.get(origin.as_usize());
        origin.is_some_and(|origin| origin.left_out(now))
    }

    /// The origin's batches that a block of this time may order, oldest first.
    fn waiting(
        &self,
        origin: ValidatorIndex,
        time: BlockTime,
    ) -> impl Iterator<Item = (BatchId, &Held)> + Clone {
        let latest = time.plus_nanos(self.limits.expiry_margin_ns);
        self.shelf
            .origins
            .get(origin.as_usize())
            .into_iter()
            .flat_map(|origin| &origin.waiting)
            .filter_map(|(_, id)| Some((*id, self.shelf.get(id)?)))
            .filter(move |(_, held)| held.batch.expiry >= latest)
    }

    /// The origin's batches with a number below this are held by a quorum, this replica included.
    fn held_below(&self, origin: ValidatorIndex) -> u64 {
        let me = self.seat.me;
        let others = self.seat.quorum - usize::from(me.is_some());
        self.shelf.held_below(origin, me, others)
    }
}

/// How much may travel inside a proposal: of batches that came a moment ago, and of those that have waited for reports.
#[derive(Clone, Copy)]
struct Inline {
    now: Instant,
    unreported_ns: u64,
    at_once: usize,
    late: usize,
}

impl Inline {
    fn is_new(&self, held: &Held) -> bool {
        self.now.since(held.since) < self.unreported_ns
    }

    fn is_orderable(&self, held: &Held, below: u64) -> bool {
        let most = match self.is_new(held) {
            true => self.at_once,
            false => self.late,
        };
        held.batch.sequence < below || held.bytes <= most
    }
}

/// A payload in the making, within the bounds of a block.
struct Draft {
    payload: Payload,
    bytes: usize,
    inline_bytes: usize,
    /// Of those, what has not waited for reports.
    new_bytes: usize,
    inline: Inline,
    max_bytes: usize,
    max_batches: usize,
}

impl Draft {
    fn new(pool: &Pool, inline: Inline) -> Draft {
        let most = pool.parameters.max_block_batches;
        Draft {
            payload: Payload::default(),
            bytes: 0,
            inline_bytes: 0,
            new_bytes: 0,
            inline,
            max_bytes: pool.limits.max_block_bytes,
            max_batches: usize::try_from(most).unwrap_or(usize::MAX),
        }
    }

    /// False once the block is full. A batch that would have to be inlined and does not fit is passed over.
    fn add(&mut self, id: BatchId, held: &Held, known: bool) -> bool {
        let full = self.payload.batches.len() >= self.max_batches
            || self.bytes + held.bytes > self.max_bytes;
        if full && !self.payload.batches.is_empty() {
            return false;
        }
        if !known {
            let new = match self.inline.is_new(held) {
                true => held.bytes,
                false => 0,
            };
            if self.inline_bytes + held.bytes > self.inline.late
                || self.new_bytes + new > self.inline.at_once
            {
                return true;
            }
            self.new_bytes += new;
            self.inline_bytes += held.bytes;
            self.payload.inline.push(Batch::clone(&held.batch));
        }
        self.bytes += held.bytes;
        self.payload.batches.push(id);
        true
    }
}
