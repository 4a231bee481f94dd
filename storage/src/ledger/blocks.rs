//! Blocks: stored when they are voted for, linked by height when they are committed. I4, P1.

use quorate_types::{Block, BlockId, Digest, Finality, Header, Height, Round, codec};

use super::{LedgerError, Tip, damaged, decode, fixed, keys, read, tip};
use crate::store::Entry;
use crate::{Order, Table, View, WriteBatch};

/// Adds a block that is not committed. It stays until its round lies below the committed one's (P1).
pub fn put_block(write: &mut WriteBatch, block: &Block) {
    let id = block.id();
    write.put(Table::Blocks, *id.as_bytes(), codec::encode(block));
    write.put(
        Table::Ledger,
        keys::uncommitted(block.header.round, id),
        Vec::new(),
    );
}

/// Adds a block in place of a damaged one, and nothing else: where it stands in the ledger is known already.
pub fn rewrite_block(write: &mut WriteBatch, block: &Block) {
    let id = block.id();
    write.put(Table::Blocks, *id.as_bytes(), codec::encode(block));
}

/// Adds a committed block on top of `tip`, with the proof of its own finality if it has one. Returns the new tip, for the
/// next append to the same or a later write.
///
/// # Panics
/// If the block is not the next height, does not name the tip as its parent, has no later round, or if the proof is of
/// another block (I4).
#[must_use]
pub fn append(
    write: &mut WriteBatch,
    tip: &Tip,
    block: &Block,
    finality: Option<&Finality>,
) -> Tip {
    let new = Tip::of(block);
    assert_eq!(new.height, tip.height.next(), "I4: no gap");
    assert_eq!(
        block.header.parent, tip.block,
        "I4: each parent hash matches"
    );
    assert!(new.round > tip.round, "I4: rounds rise along the chain");
    write.put(Table::Blocks, *new.block.as_bytes(), codec::encode(block));
    write.put(
        Table::Ledger,
        keys::height(new.height),
        *new.block.as_bytes(),
    );
    write.delete(Table::Ledger, keys::uncommitted(new.round, new.block));
    for batch in &block.batches {
        write.put(
            Table::Ledger,
            keys::ordered(*batch),
            new.height.0.to_be_bytes(),
        );
    }
    if let Some(finality) = finality {
        assert_eq!(
            (finality.cc.height, finality.cc.block, finality.qc.block),
            (new.height, new.block, new.block),
            "I4: finality of this block"
        );
        write.put(
            Table::Certificates,
            keys::certificate(new.height),
            codec::encode(finality),
        );
    }
    write.put(Table::Meta, keys::TIP, codec::encode(&new));
    new
}

/// A block, committed or not; its hash and its list are checked.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn block_by_id<V: View + ?Sized>(view: &V, id: BlockId) -> Result<Option<Block>, LedgerError> {
    let Some(block) = read::<Block, V>(view, Table::Blocks, id.as_bytes())? else {
        return Ok(None);
    };
    if block.id() != id || block.check_payload().is_err() {
        return Err(damaged(Table::Blocks, id.as_bytes()));
    }
    Ok(Some(block))
}

/// The committed block at a height; `None` above the tip.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn block_by_height<V: View + ?Sized>(
    view: &V,
    height: Height,
) -> Result<Option<Block>, LedgerError> {
    let key = keys::height(height);
    let Some(id) = view.get(Table::Ledger, &key)? else {
        return Ok(None);
    };
    let id = BlockId(Digest::from_bytes(fixed(Table::Ledger, &key, &id)?));
    match block_by_id(view, id)? {
        Some(block) if block.header.height == height => Ok(Some(block)),
        Some(_) => Err(damaged(Table::Ledger, &key)),
        None => Err(damaged(Table::Blocks, id.as_bytes())),
    }
}

/// The committed headers of heights `from..=to`, oldest first, each the parent of the next; fewer where the ledger ends.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn headers<V: View + ?Sized>(
    view: &V,
    from: Height,
    to: Height,
) -> Result<Vec<Header>, LedgerError> {
    let mut headers: Vec<Header> = Vec::new();
    let mut parent: Option<BlockId> = None;
    for height in from.0..=to.0 {
        let Some(block) = block_by_height(view, Height(height))? else {
            break;
        };
        if parent.is_some_and(|id| id != block.header.parent) {
            return Err(damaged(Table::Ledger, &keys::height(Height(height))));
        }
        parent = Some(block.id());
        headers.push(block.header);
    }
    Ok(headers)
}

/// The blocks stored above the committed one, by round.
///
/// # Errors
/// [`LedgerError::Damaged`], also if one that is listed is missing: a vote may stand on it (P1).
pub fn uncommitted_blocks<V: View + ?Sized>(view: &V) -> Result<Vec<Block>, LedgerError> {
    let from = keys::uncommitted_round(tip(view)?.round.next());
    let end = [keys::UNCOMMITTED + 1];
    let listed = view.scan(
        Table::Ledger,
        &from,
        Some(&end),
        usize::MAX,
        Order::Ascending,
    )?;
    listed
        .iter()
        .map(|(key, _)| {
            let id = listed_block(key)?;
            let block = block_by_id(view, id)?;
            block.ok_or_else(|| damaged(Table::Blocks, id.as_bytes()))
        })
        .collect()
}

/// Adds the removal of stored blocks that can never be committed any more: those of rounds from `from` up to that of `tip`,
/// which the view shows. At most `limit`. Returns which they are, and where the next call goes on.
///
/// Call it on the persisted view: a committed block leaves the list with the write that commits it, so whatever is still
/// on it there, at or below the tip's round, is stale. A caller that begins each call where the last one ended is spared
/// the marks that the database keeps of what was deleted.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn remove_stale_blocks<V: View + ?Sized>(
    view: &V,
    write: &mut WriteBatch,
    tip: &Tip,
    from: Round,
    limit: usize,
) -> Result<(Vec<BlockId>, Round), LedgerError> {
    let end = tip.round.next();
    let range = (keys::uncommitted_round(from), keys::uncommitted_round(end));
    let listed = view.scan(
        Table::Ledger,
        &range.0,
        Some(&range.1),
        limit,
        Order::Ascending,
    )?;
    let mut stale = Vec::new();
    for (key, _) in &listed {
        let id = listed_block(key)?;
        write.delete(Table::Blocks, *id.as_bytes());
        write.delete(Table::Ledger, key.as_slice());
        stale.push(id);
    }
    // The list may go on at the limit, within the round of the last one.
    let next = if listed.len() < limit { end } else { from };
    Ok((stale, next))
}

/// The finality proof of exactly the block at a height; most have one, the others are final by a descendant's.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn finality<V: View + ?Sized>(
    view: &V,
    height: Height,
) -> Result<Option<Finality>, LedgerError> {
    let key = keys::certificate(height);
    let Some(bytes) = view.get(Table::Certificates, &key)? else {
        return Ok(None);
    };
    certificate((key, bytes)).map(Some)
}

/// The lowest finality proof of a height or above: that which makes the block at `height` final.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn finality_at_or_above<V: View + ?Sized>(
    view: &V,
    height: Height,
) -> Result<Option<Finality>, LedgerError> {
    let from = keys::certificate(height);
    let found = view.scan(Table::Certificates, &from, None, 1, Order::Ascending)?;
    found.into_iter().next().map(certificate).transpose()
}

/// The highest finality proof of a height or below; `None` if only the genesis is final there.
///
/// # Errors
/// [`LedgerError::Damaged`].
pub fn finality_at_or_below<V: View + ?Sized>(
    view: &V,
    height: Height,
) -> Result<Option<Finality>, LedgerError> {
    // The shortest key above that of the height.
    let mut end = keys::certificate(height);
    end.push(0);
    let found = view.scan(Table::Certificates, b"", Some(&end), 1, Order::Descending)?;
    found.into_iter().next().map(certificate).transpose()
}

fn certificate((key, bytes): Entry) -> Result<Finality, LedgerError> {
    let finality: Finality = decode(Table::Certificates, &key, &bytes)?;
    let of_height = keys::certificate(finality.cc.height) == key;
    if !of_height || finality.cc.block != finality.qc.block {
        return Err(damaged(Table::Certificates, &key));
    }
    Ok(finality)
}

/// The block that an entry of the list of uncommitted ones names.
fn listed_block(key: &[u8]) -> Result<BlockId, LedgerError> {
    let id = key.get(17..).unwrap_or_default();
    Ok(BlockId(Digest::from_bytes(
        id.try_into().map_err(|_| damaged(Table::Ledger, key))?,
    )))
}
