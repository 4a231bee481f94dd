//! What the executor keeps in storage for itself, and how it starts again from that.
//!
//! The tree's pages are written now and then, in pieces, and then an anchor ([`flush`](crate::flush)). Each block leaves
//! a journal of the tree's changes; a start opens the tree at the anchor, applies the journals behind it in order, and
//! holds the root against the one stored with the last block. The batch with the anchor deletes the journals that it
//! replaces.
//!
//! [`Space::Roots`] holds `roots/` height (8, big-endian) for every height.
//!
//! | key in [`Space::Meta`] | value, canonical |
//! |---|---|
//! | `execution/tip` | [`Tip`] |
//! | `execution/anchor` | [`AnchorRecord`] |
//! | `execution/journal/` height (8, big-endian) | `Vec<(Blob, Option<Digest>)>`: keys with digests of their records; as long as the block made it |

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use quorate_crypto::Digest;
use quorate_types::accumulator::{Accumulator, NodeId};
use quorate_types::codec::{self, MAX_ENCODED_BYTES};
use quorate_types::{Blob, Height, Parameters, PublicKey, Role, Roots};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::executor::OpenError;
use crate::flush::Flusher;
use crate::keys::{self, Chain, ClientRecord};
use crate::record;
use crate::space::{Change, Entry, Reader, Space};
use crate::tree::{self, Anchor, PageSource, Tree, TreeError, TreeLimits};

const TIP: &[u8] = b"execution/tip";
const ANCHOR: &[u8] = b"execution/anchor";
const JOURNAL: &[u8] = b"execution/journal/";
const ROOTS: &[u8] = b"roots/";

/// Records that a start reads at a time.
const SCAN_PAGE: usize = 64;
/// Journals that it does. One may take tens of megabytes: a block that releases a checkpoint deletes many long keys.
const JOURNAL_PAGE: usize = 1;

/// Where execution stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// Height of the last executed block.
    pub height: Height,
    /// One leaf a height.
    pub accumulator: Accumulator,
}

/// The last flush of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorRecord {
    /// The height whose tree was flushed.
    pub height: Height,
    /// Where the tree begins.
    pub anchor: Anchor,
}

/// Key of the roots of a height in [`Space::Roots`].
#[must_use]
pub fn roots_key(height: Height) -> Vec<u8> {
    at_height(ROOTS, height)
}

/// Key of a receipt in [`Space::Receipts`].
#[must_use]
pub fn receipt_key(height: Height, index: u32) -> Vec<u8> {
    [height.0.to_be_bytes().as_slice(), &index.to_be_bytes()].concat()
}

/// Key of a subtree's root in [`Space::Accumulator`].
#[must_use]
pub fn node_key(id: NodeId) -> Vec<u8> {
    [[id.level].as_slice(), &id.index.to_be_bytes()].concat()
}

fn at_height(prefix: &[u8], height: Height) -> Vec<u8> {
    [prefix, &height.0.to_be_bytes()].concat()
}

/// Everything that has to go before another state takes the place of this one: all that a start reads.
pub(crate) fn ranges() -> Vec<(Space, Vec<u8>, Vec<u8>)> {
    let single = |key: &[u8]| (Space::Meta, key.to_vec(), crate::overlay::successor(key));
    // No key of the state begins with it, and page ids are far from using it up.
    let all = |space| (space, Vec::new(), alloc::vec![u8::MAX]);
    alloc::vec![
        all(Space::State),
        all(Space::Tree),
        single(TIP),
        single(ANCHOR),
        (Space::Meta, JOURNAL.to_vec(), keys::behind(JOURNAL)),
    ]
}

/// Where the stored state ends.
///
/// # Errors
/// [`OpenError`].
pub fn height<R: Reader>(reader: &R) -> Result<Height, OpenError<R::Error>> {
    let tip: Tip = meta(reader, TIP)?.ok_or(OpenError::Missing)?;
    Ok(tip.height)
}

/// The last flush, if there is any.
pub(crate) fn anchor<R: Reader>(reader: &R) -> Result<Option<AnchorRecord>, OpenError<R::Error>> {
    meta(reader, ANCHOR)
}

/// Appends what a block changes besides state, receipts and places.
pub(crate) fn put_block(
    changes: &mut Vec<Change>,
    tip: &Tip,
    roots: &Roots,
    nodes: Vec<(NodeId, Digest)>,
) {
    let nodes = nodes.into_iter().map(|(id, digest)| {
        Change::put(Space::Accumulator, node_key(id), digest.as_bytes().to_vec())
    });
    changes.extend(nodes);
    let key = roots_key(tip.height);
    changes.push(Change::put(Space::Roots, key, codec::encode(roots)));
    changes.push(Change::put(Space::Meta, TIP.to_vec(), codec::encode(tip)));
}

/// Appends the journal of a block.
pub(crate) fn put_journal(changes: &mut Vec<Change>, height: Height, edits: Vec<tree::Change>) {
    let edits: Vec<(Blob, Option<Digest>)> = edits
        .into_iter()
        .map(|(key, digest)| (Blob(key), digest))
        .collect();
    let key = at_height(JOURNAL, height);
    changes.push(Change::put(Space::Meta, key, codec::encode(&edits)));
}

/// Appends the deletion of journals.
pub(crate) fn delete_journals(
    changes: &mut Vec<Change>,
    heights: impl IntoIterator<Item = Height>,
) {
    let keys = heights.into_iter().map(|height| at_height(JOURNAL, height));
    changes.extend(keys.map(|key| Change::delete(Space::Meta, key)));
}

/// Appends the anchor of a flush that is stored to its end with it.
pub(crate) fn put_anchor(changes: &mut Vec<Change>, record: &AnchorRecord) {
    let record = codec::encode(record);
    changes.push(Change::put(Space::Meta, ANCHOR.to_vec(), record));
}

/// The tree's pages in [`Space::Tree`].
#[derive(Debug)]
pub(crate) struct Pages<'a, R>(pub(crate) &'a R);

impl<R: Reader> PageSource for Pages<'_, R> {
    type Error = R::Error;

    fn page(&self, id: &[u8]) -> Result<Option<Vec<u8>>, R::Error> {
        self.0.get(Space::Tree, id)
    }
}

/// What a start finds.
pub(crate) struct Restored {
    pub(crate) tip: Tip,
    pub(crate) roots: Roots,
    pub(crate) tree: Tree,
    pub(crate) flusher: Flusher,
    pub(crate) chain: Chain,
    pub(crate) parameters: Parameters,
    pub(crate) clients: BTreeMap<PublicKey, Role>,
    pub(crate) revision: u64,
}

/// Reads everything, and checks both roots.
pub(crate) fn restore<R: Reader>(reader: &R) -> Result<Restored, OpenError<R::Error>> {
    let tip: Tip = meta(reader, TIP)?.ok_or(OpenError::Missing)?;
    let roots: Roots = roots(reader, tip.height)?.ok_or(OpenError::Damaged)?;
    let anchor: AnchorRecord = meta(reader, ANCHOR)?.ok_or(OpenError::Damaged)?;
    let mut tree = Tree::open(TreeLimits::default(), &anchor.anchor);
    let flusher = replay(reader, &mut tree, anchor.height, tip.height)?;
    let counted = tip.accumulator.count() == tip.height.0;
    if !counted || tree.root() != roots.state || tip.accumulator.root() != roots.receipts {
        return Err(OpenError::RootMismatch { height: tip.height });
    }
    Ok(Restored {
        chain: state(reader, &mut tree, keys::CHAIN)?.ok_or(OpenError::Damaged)?,
        parameters: state(reader, &mut tree, keys::PARAMETERS)?.ok_or(OpenError::Damaged)?,
        clients: clients(reader, &mut tree)?,
        revision: state(reader, &mut tree, keys::HEAD)?.unwrap_or_default(),
        tip,
        roots,
        tree,
        flusher,
    })
}

/// The tree of the state at a height, to be walked through ([`tree::Diff`]).
#[derive(Debug)]
pub struct StateTree<'r, R> {
    pages: Pages<'r, R>,
    tree: Tree,
}

impl<'r, R: Reader> StateTree<'r, R> {
    /// Opens it and checks its root; `None` if the height lies before the last flush, behind which trees are gone, or
    /// after the last executed block.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        reader: &'r R,
        height: Height,
    ) -> Result<Option<StateTree<'r, R>>, OpenError<R::Error>> {
        let tip: Tip = meta(reader, TIP)?.ok_or(OpenError::Missing)?;
        let anchor: AnchorRecord = meta(reader, ANCHOR)?.ok_or(OpenError::Damaged)?;
        if height < anchor.height || height > tip.height {
            return Ok(None);
        }
        let roots: Roots = roots(reader, height)?.ok_or(OpenError::Damaged)?;
        let mut tree = Tree::open(TreeLimits::default(), &anchor.anchor);
        let _flusher = replay(reader, &mut tree, anchor.height, height)?;
        let pages = Pages(reader);
        match tree.root() == roots.state {
            true => Ok(Some(StateTree { pages, tree })),
            false => Err(OpenError::RootMismatch { height }),
        }
    }

    /// Changes how much memory its pages take, in bytes.
    pub fn set_cache_bytes(&mut self, bytes: usize) {
        self.tree.set_cache_bytes(bytes);
    }

    /// Where another state's differs.
    #[must_use]
    pub fn diff<'a, Q: Reader<Error = R::Error>>(
        &'a mut self,
        other: &'a mut StateTree<'_, Q>,
    ) -> tree::Diff<'a, impl PageSource<Error = R::Error>, impl PageSource<Error = R::Error>> {
        tree::Diff::new(
            (&mut self.tree, &self.pages),
            (&mut other.tree, &other.pages),
        )
    }
}

/// Applies the journals above the anchor.
fn replay<R: Reader>(
    reader: &R,
    tree: &mut Tree,
    anchor: Height,
    tip: Height,
) -> Result<Flusher, OpenError<R::Error>> {
    let from = at_height(JOURNAL, anchor.next());
    let to = at_height(JOURNAL, tip.next());
    let (mut journals, mut journalled) = (Vec::new(), 0);
    let page = (Space::Meta, JOURNAL_PAGE);
    for_each(reader, page, from, &to, |(key, value)| {
        let height = key.last_chunk().ok_or(OpenError::Damaged)?;
        let edits = codec::decode_list::<(Blob, Option<Digest>)>(&value);
        let edits = edits.map_err(|_| OpenError::Damaged)?.into_iter();
        let edits: Vec<tree::Change> = edits.map(|(key, d)| (key.0, d)).collect();
        journals.push(Height(u64::from_be_bytes(*height)));
        journalled += edits.len();
        match tree.apply(&Pages(reader), &edits) {
            Ok(_) => Ok(()),
            Err(TreeError::Source(error)) => Err(OpenError::Source(error)),
            Err(_) => Err(OpenError::Damaged),
        }
    })?;
    Ok(Flusher::restored(journals, journalled))
}

fn clients<R: Reader>(
    reader: &R,
    tree: &mut Tree,
) -> Result<BTreeMap<PublicKey, Role>, OpenError<R::Error>> {
    let mut clients = BTreeMap::new();
    let (from, to) = (keys::CLIENTS.to_vec(), keys::behind(keys::CLIENTS));
    let page = (Space::State, SCAN_PAGE);
    for_each(reader, page, from, &to, |(key, value)| {
        check(reader, tree, &key, Some(&value))?;
        let key = key.last_chunk().ok_or(OpenError::Damaged)?;
        let client: ClientRecord = record::unseal(&value).map_err(|_| OpenError::Damaged)?;
        clients.insert(PublicKey::from_bytes_unchecked(*key), client.role);
        Ok(())
    })?;
    Ok(clients)
}

/// Visits all entries of a space with `from` ≤ key < `to`, and reads so many at a time.
fn for_each<R: Reader>(
    reader: &R,
    (space, page): (Space, usize),
    mut from: Vec<u8>,
    to: &[u8],
    mut visit: impl FnMut(Entry) -> Result<(), OpenError<R::Error>>,
) -> Result<(), OpenError<R::Error>> {
    loop {
        let entries = reader.scan(space, &from, Some(to), page);
        let entries = entries.map_err(OpenError::Source)?;
        let Some((last, _)) = entries.last() else {
            return Ok(());
        };
        from = crate::overlay::successor(last);
        entries.into_iter().try_for_each(&mut visit)?;
    }
}

fn roots<R: Reader>(reader: &R, height: Height) -> Result<Option<Roots>, OpenError<R::Error>> {
    let bytes = reader.get(Space::Roots, &roots_key(height));
    let bytes = bytes.map_err(OpenError::Source)?;
    bytes.map(|bytes| decode(&bytes)).transpose()
}

fn meta<R: Reader, T: DeserializeOwned>(
    reader: &R,
    key: &[u8],
) -> Result<Option<T>, OpenError<R::Error>> {
    let bytes = reader.get(Space::Meta, key).map_err(OpenError::Source)?;
    bytes.map(|bytes| decode(&bytes)).transpose()
}

/// A record, held against the tree: what the executor decides by must be what was certified.
fn state<R: Reader, T: DeserializeOwned>(
    reader: &R,
    tree: &mut Tree,
    key: &[u8],
) -> Result<Option<T>, OpenError<R::Error>> {
    let bytes = reader.get(Space::State, key).map_err(OpenError::Source)?;
    check(reader, tree, key, bytes.as_deref())?;
    let open = |bytes: Vec<u8>| record::unseal(&bytes).map_err(|_| OpenError::Damaged);
    bytes.map(open).transpose()
}

fn check<R: Reader>(
    reader: &R,
    tree: &mut Tree,
    key: &[u8],
    record: Option<&[u8]>,
) -> Result<(), OpenError<R::Error>> {
    let proof = tree
        .prove(&Pages(reader), key)
        .map_err(|error| match error {
            TreeError::Source(error) => OpenError::Source(error),
            _ => OpenError::Damaged,
        })?;
    let digest = record.map(record::digest);
    proof
        .verify(&tree.root(), key, digest.as_ref())
        .map_err(|_| OpenError::Damaged)
}

fn decode<T: DeserializeOwned, E>(bytes: &[u8]) -> Result<T, OpenError<E>> {
    codec::decode(bytes, MAX_ENCODED_BYTES).map_err(|_| OpenError::Damaged)
}
