//! Entries of this disk that cannot be read, met while a peer was to be answered: they are not served, and blocks and
//! batches are fetched again from the others.
//!
//! A disk that cannot give back what this validator itself needs ends the process ([`crate::ReplicaError`]): it must not
//! vote on a guess. What a peer asks for is another matter. The peer has others to ask, and whoever could end a process by
//! asking for an old block that rotted there could end one process after the other.
//!
//! A block or batch is named by its hash, so what peers send for it is right whoever sent it, and is put in the old one's
//! place. Other entries are told of and left: nothing outside of this disk names their content.

use std::collections::BTreeMap;

use quorate_storage::Table;
use quorate_storage::ledger::{self, LedgerError};
use quorate_types::message::{BatchRequest, BlockRequest};
use quorate_types::{
    Batch, BatchId, Block, BlockId, Digest, Height, Instant, Message, ValidatorIndex,
};

use crate::Target;
use crate::fetch::Wanted;
use crate::output::Notice;
use crate::replica::{Replica, ReplicaError};
use crate::turn::Turn;

/// Damaged entries kept in mind at once; beyond it they are refused all the same, and mended when they are met again.
const MAX_ENTRIES: usize = 64;
/// So long others are asked for an entry, and the same one is not told of again.
const PATIENCE_NANOS: u64 = 10_000_000_000;

/// What can be fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lost {
    Block(BlockId),
    Batch(BatchId),
}

impl Lost {
    fn of(table: Table, key: &[u8]) -> Option<Lost> {
        let id = Digest::from_bytes(key.try_into().ok()?);
        match table {
            Table::Blocks => Some(Lost::Block(BlockId(id))),
            Table::Batches => Some(Lost::Batch(BatchId(id))),
            _ => None,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Repairs {
    /// Until when each entry that was met is kept in mind.
    met: BTreeMap<(Table, Vec<u8>), Instant>,
    wanted: Wanted<Lost>,
}

impl Repairs {
    pub(crate) fn new() -> Repairs {
        Repairs {
            met: BTreeMap::new(),
            wanted: Wanted::new(0),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.wanted.deadline()
    }

    /// Forgets what nobody could mend in time.
    fn expire(&mut self, now: Instant) {
        let before = self.met.len();
        self.met.retain(|_, until| *until > now);
        if self.met.len() < before {
            let kept: Vec<Lost> = self
                .met
                .keys()
                .filter_map(|(t, k)| Lost::of(*t, k))
                .collect();
            self.wanted.retain(|lost| kept.contains(lost));
        }
    }

    fn mended(&mut self, table: Table, key: &[u8], lost: Lost) -> bool {
        self.met.remove(&(table, key.to_vec()));
        self.wanted.done(&lost)
    }
}

impl Replica {
    /// An entry that a peer's question needs cannot be read. Says so, and begins to mend it.
    ///
    /// # Errors
    /// Whatever is not damage of what is stored.
    pub(crate) fn met_damage(
        &mut self,
        turn: &mut Turn<'_>,
        error: LedgerError,
    ) -> Result<(), ReplicaError> {
        let (table, key) = match error {
            LedgerError::Damaged { table, key } => (table, key),
            other => return Err(other.into()),
        };
        let now = turn.now.monotonic;
        self.repairs.expire(now);
        let entry = (table, key);
        if self.repairs.met.contains_key(&entry) || self.repairs.met.len() >= MAX_ENTRIES {
            return Ok(());
        }
        if let Some(lost) = Lost::of(table, &entry.1) {
            let all = self.setup.validators.indices().collect();
            let wanted = &mut self.repairs.wanted;
            wanted.want(lost, all, ValidatorIndex::default(), now);
        }
        let until = now.plus_nanos(PATIENCE_NANOS);
        self.repairs.met.insert(entry, until);
        turn.notice(Notice::Damaged(table));
        Ok(())
    }

    /// Asks for what is to be mended.
    pub(crate) fn request_repairs(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.monotonic;
        self.repairs.expire(now);
        for (peer, lost) in self.repairs.wanted.due(now, self.connected) {
            for lost in lost {
                let request = match lost {
                    Lost::Block(block) => Message::BlockRequest(BlockRequest {
                        block,
                        count: 1,
                        above: Height(0),
                    }),
                    Lost::Batch(batch) => Message::BatchRequest(BatchRequest {
                        batches: vec![batch],
                    }),
                };
                turn.send(Target::One(peer), request);
            }
        }
    }

    /// Puts a batch that was asked for here in place of the damaged one. `id` is its digest. Whether it did.
    pub(crate) fn mend_batch(&mut self, turn: &mut Turn<'_>, id: BatchId, batch: &Batch) -> bool {
        let mended = self
            .repairs
            .mended(Table::Batches, id.as_bytes(), Lost::Batch(id));
        if mended {
            turn.write(|writes| ledger::rewrite_batch(writes, id, batch));
            turn.notice(Notice::Mended(Table::Batches));
        }
        mended
    }

    /// Puts those of the blocks that were asked for here in place of the damaged ones.
    pub(crate) fn mend_blocks(&mut self, turn: &mut Turn<'_>, blocks: &[Block]) {
        if self.repairs.met.is_empty() {
            return;
        }
        for block in blocks {
            let id = block.id();
            // The list of batches is covered by the header, but nobody has compared them yet.
            if block.check_payload().is_ok()
                && self
                    .repairs
                    .mended(Table::Blocks, id.as_bytes(), Lost::Block(id))
            {
                turn.write(|writes| ledger::rewrite_block(writes, block));
                turn.notice(Notice::Mended(Table::Blocks));
            }
        }
    }

    /// A peer that has not got what was asked for.
    pub(crate) fn cannot_mend(&mut self, id: &BatchId, now: Instant) {
        self.repairs.wanted.not_there(&Lost::Batch(*id), now);
    }
}
