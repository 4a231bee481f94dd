//! What judges read again and again: blocks, tips and records, each decoded and hashed once for as long as the bytes are
//! the same. Every reading compares all bytes with those of the first, so that a disk that differs in a bit is noticed.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_storage::ledger::{self, LedgerError};
use quorate_storage::{MemStore, Table};
use quorate_types::{Block, BlockId, Digest, Height};

/// Blocks as they were read first.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    blocks: BTreeMap<BlockId, (Vec<u8>, Arc<Block>)>,
}

impl Shelf {
    /// As [`ledger::block_by_id`].
    pub(super) fn block(
        &mut self,
        store: &MemStore,
        id: BlockId,
    ) -> Result<Option<Arc<Block>>, LedgerError> {
        let Some(raw) = store.peek(Table::Blocks, id.as_bytes())? else {
            return Ok(None);
        };
        if let Some((known, block)) = self.blocks.get(&id)
            && known == raw
        {
            return Ok(Some(Arc::clone(block)));
        }
        let raw = raw.to_vec();
        let block = ledger::block_by_id(store, id)?.map(Arc::new);
        if let Some(block) = &block {
            self.blocks.insert(id, (raw, Arc::clone(block)));
        }
        Ok(block)
    }

    /// As [`ledger::block_by_height`], with the block's identity.
    pub(super) fn at_height(
        &mut self,
        store: &MemStore,
        height: Height,
    ) -> Result<Option<(BlockId, Arc<Block>)>, LedgerError> {
        let key = ledger::keys::height(height);
        let Some(id) = store.peek(Table::Ledger, &key)? else {
            return Ok(None);
        };
        let damaged = |table, key: &[u8]| LedgerError::Damaged {
            table,
            key: key.to_vec(),
        };
        let id = id.try_into().map_err(|_| damaged(Table::Ledger, &key))?;
        let id = BlockId(Digest::from_bytes(id));
        match self.block(store, id)? {
            Some(block) if block.header.height == height => Ok(Some((id, block))),
            Some(_) => Err(damaged(Table::Ledger, &key)),
            None => Err(damaged(Table::Blocks, id.as_bytes())),
        }
    }
}
