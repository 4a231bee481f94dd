//! Turns committed blocks into state, receipts and roots. The same blocks lead to the same roots on every replica (I6),
//! however they are cut into calls, writes and restarts.
//!
//! [`Executor`] holds what can be derived from storage: parameters, clients, the tree's pages, the edge of the receipts
//! accumulator. It changes nothing in storage; it hands out [`Change`]s, to be written with the block in one atomic
//! batch. A block without transactions changes the receipts root (a leaf a height) and never the state root.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use quorate_crypto::Digest;
use quorate_mutants::{Mutant, mutant};
use quorate_types::accumulator::Accumulator;
use quorate_types::validators::ValidatorsError;
use quorate_types::{
    BlockTime, Epoch, Genesis, HashedBatch, Header, Height, Parameters, PublicKey,
};
use quorate_types::{Receipt, Role, Roots, Validators, codec, receipt};

use crate::block::{BlockEffects, BlockRun, Rules};
use crate::flush::{FlushPolicy, Flusher};
use crate::keys::{self, Chain, ClientRecord};
use crate::kv::KvMachine;
use crate::machine::StateMachine;
use crate::outlines::{Known, Outlines};
use crate::overlay::Changed;
use crate::persist::{self, Pages, Tip};
use crate::places::{self, Places};
use crate::recent::Recent;
use crate::record;
use crate::space::{Change, Reader, Space};
use crate::tree::{self, NoPages, Proof, Tree, TreeError, TreeLimits};

/// A committed block with its batches, each verified.
#[derive(Clone, Copy, Debug)]
pub struct OrderedBlock<'a> {
    /// Its height.
    pub height: Height,
    /// Its agreed time.
    pub time: BlockTime,
    /// In the order of the block.
    pub batches: &'a [HashedBatch],
}

/// What a block led to.
#[derive(Clone, Debug)]
#[must_use]
pub struct Executed {
    /// The block's height.
    pub height: Height,
    /// The roots after it.
    pub roots: Roots,
    /// To be written in one atomic batch, after those of the blocks before. No key occurs twice.
    pub changes: Vec<Change>,
    /// One a transaction, in order.
    pub receipts: Vec<Receipt>,
}

/// Why the executor cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError<E> {
    /// Storage failed.
    #[error("storage could not be read")]
    Source(E),
    /// Nothing was ever executed: start from the genesis.
    #[error("there is no executed state")]
    Missing,
    /// A record is missing or malformed.
    #[error("a stored record is missing or damaged")]
    Damaged,
    /// What is stored has not the roots that were stored with it.
    #[error("the state at height {height} has other roots than those stored")]
    RootMismatch {
        /// At which height.
        height: Height,
    },
}

/// Why a block was not executed, or a key not proved. The executor is to be dropped: storage failed or is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError<E> {
    /// Storage failed.
    #[error("storage could not be read")]
    Source(E),
    /// A record or page is missing or malformed.
    #[error("a stored record is missing or damaged")]
    Damaged,
}

/// The record of a key, `None` if there is no such key, and the proof of that.
pub type Proved = (Option<Vec<u8>>, Proof);

const NO_PROOF: Proof = Proof {
    steps: Vec::new(),
    witness: None,
};

/// See the [module](self).
#[derive(Debug)]
pub struct Executor {
    parameters: Parameters,
    clients: BTreeMap<PublicKey, Role>,
    machine: Box<dyn StateMachine>,
    tip: Tip,
    roots: Roots,
    revision: u64,
    recent: Recent,
    outlines: Outlines,
    tree: Tree,
    flusher: Flusher,
}

impl Executor {
    /// The state of height 0, and the changes that store it. The genesis must be a checked one ([`Genesis::check`]), of a
    /// chain that starts empty; of others see [`fork`](crate::fork).
    ///
    /// # Panics
    /// If the genesis names a state machine that a check refuses, or an origin.
    #[must_use]
    pub fn genesis(genesis: &Genesis) -> (Executor, Vec<Change>, Roots) {
        assert_eq!(genesis.origin, None, "its state is not in the genesis");
        let machine = machine(&genesis.machine).expect("a checked genesis");
        let records = genesis_records(genesis);
        let mut tree = Tree::new(TreeLimits::default());
        let (mut changes, edits) = split(records);
        let Ok(state) = tree.apply(&NoPages, &edits) else {
            unreachable!("a new tree has no pages to read")
        };
        let tip = Tip {
            height: Height(0),
            accumulator: Accumulator::default(),
        };
        let roots = Roots {
            state,
            receipts: tip.accumulator.root(),
        };
        persist::put_block(&mut changes, &tip, &roots, Vec::new());
        Flusher::put_first(&mut changes, tip.height, &mut tree);
        let executor = Executor {
            parameters: genesis.parameters.clone(),
            clients: genesis.clients.iter().map(|c| (c.key, c.role)).collect(),
            machine,
            tip,
            roots,
            revision: 0,
            recent: Recent::default(),
            outlines: Outlines::default(),
            tree,
            flusher: Flusher::default(),
        };
        (executor, changes, roots)
    }

    /// The executor at the height that was stored last.
    ///
    /// # Errors
    /// [`OpenError`]; nothing of it goes away by trying again.
    pub fn open<R: Reader>(reader: &R) -> Result<Executor, OpenError<R::Error>> {
        let restored = persist::restore(reader)?;
        Ok(Executor {
            machine: machine(&restored.chain.machine).ok_or(OpenError::Damaged)?,
            parameters: restored.parameters,
            clients: restored.clients,
            tip: restored.tip,
            roots: restored.roots,
            revision: restored.revision * u64::from(!mutant(Mutant::StateDependsOnStart)),
            recent: Recent::default(),
            outlines: Outlines::default(),
            tree: restored.tree,
            flusher: restored.flusher,
        })
    }

    /// Changes when the tree's pages are written.
    pub fn set_flush_policy(&mut self, policy: FlushPolicy) {
        self.flusher.set_policy(policy);
    }

    /// Changes how much memory the tree's pages take, in bytes; 128 MiB at first. Those that changed, and those
    /// that a flush has not taken yet, stay even if they are more. Affects no root.
    pub fn set_tree_cache(&mut self, bytes: usize) {
        self.tree.set_cache_bytes(bytes);
    }

    /// Replaces the state machine by another one, before the first block. For tests of machines: the genesis still
    /// names `kv`, and a start would bring it back.
    #[must_use]
    pub fn with_machine(mut self, machine: Box<dyn StateMachine>) -> Executor {
        self.machine = machine;
        self
    }

    /// Height of the last executed block.
    #[must_use]
    pub fn height(&self) -> Height {
        self.tip.height
    }

    /// Roots after it.
    #[must_use]
    pub fn roots(&self) -> Roots {
        self.roots
    }

    /// How many transactions have changed the state.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The chain's parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What a client may do; `None` if it is not registered.
    #[must_use]
    pub fn role(&self, client: &PublicKey) -> Option<Role> {
        self.clients.get(client).copied()
    }

    /// Executes the next block. The reader must show everything that was executed before, whether it is durable or not.
    ///
    /// # Errors
    /// [`ExecuteError`]: nothing was executed.
    ///
    /// # Panics
    /// If the height is not the next one (I4).
    pub fn execute<R: Reader>(
        &mut self,
        reader: &R,
        block: &OrderedBlock<'_>,
    ) -> Result<Executed, ExecuteError<R::Error>> {
        assert_eq!(block.height, self.tip.height.next(), "I4: no gap");
        let effects = self.run(reader, block)?;
        self.remember(&effects.changed);
        let (mut changes, edits) = split(effects.changed);
        let state = self.tree.apply(&Pages(reader), &edits)?;
        let leaves = put_receipts(&mut changes, &effects.receipts);
        put_places(&mut changes, effects.places);
        let leaf = receipt::block_leaf(block.height, &leaves);
        let nodes = self.tip.accumulator.append(leaf);
        self.tip.height = block.height;
        self.revision = effects.revision;
        self.roots = Roots {
            state,
            receipts: self.tip.accumulator.root(),
        };
        persist::put_block(&mut changes, &self.tip, &self.roots, nodes);
        self.flusher
            .put_block(&mut changes, self.tip.height, &mut self.tree, edits);
        Ok(Executed {
            height: self.tip.height,
            roots: self.roots,
            changes,
            receipts: effects.receipts,
        })
    }

    /// The record of a key of the state (see [`keys`] and [`crate::kv::state_key`]), and the proof of it or of its
    /// absence, under the current state root. Anyone may ask for any key: for one too long to exist the proof is empty,
    /// and no verifier accepts it.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub fn prove_key<R: Reader>(
        &mut self,
        reader: &R,
        key: &[u8],
    ) -> Result<Proved, ExecuteError<R::Error>> {
        if key.len() > tree::MAX_KEY_BYTES {
            return Ok((None, NO_PROOF));
        }
        let proof = self.tree.prove(&Pages(reader), key)?;
        let stored = reader.get(Space::State, key);
        let record = stored.map_err(ExecuteError::Source)?;
        // What is stored beside the tree is held against it here, before a client does.
        let digest = record.as_deref().map(record::digest);
        proof
            .verify(&self.roots.state, key, digest.as_ref())
            .map_err(|_| ExecuteError::Damaged)?;
        Ok((record, proof))
    }

    fn run<R: Reader>(
        &mut self,
        reader: &R,
        block: &OrderedBlock<'_>,
    ) -> Result<BlockEffects, ExecuteError<R::Error>> {
        let rules = Rules {
            parameters: &self.parameters,
            clients: &self.clients,
            machine: &*self.machine,
        };
        let known = (&mut self.recent, &self.outlines, &mut self.tree);
        let run = BlockRun::new(rules, reader, known, block, self.revision);
        if block.batches.iter().all(|b| b.transactions.is_empty()) {
            return Ok(run.finish());
        }
        let mut effects = run.run()?;
        if effects.revision != self.revision {
            let head = Some(record::seal(&effects.revision));
            effects.changed.insert(keys::HEAD.to_vec(), head);
        }
        Ok(effects)
    }

    /// Remembers the outlines of the machine's records that a block has changed.
    fn remember(&mut self, changed: &Changed) {
        for namespace in self.machine.namespaces() {
            let (from, to) = (namespace.prefix(), namespace.end());
            let range = (Bound::Included(from), Bound::Excluded(to));
            for (key, record) in changed.range::<[u8], _>(range) {
                let known = record.as_deref().and_then(|record| {
                    let outline = self.machine.outline(*namespace, record)?;
                    let bytes = u32::try_from(record.len()).ok()?;
                    Some(Known { bytes, outline })
                });
                match known {
                    Some(known) => self.outlines.put(key, known),
                    None if mutant(Mutant::OutlineOfNothing) => {}
                    None => self.outlines.forget(key),
                }
            }
        }
    }
}

impl<E> From<TreeError<E>> for ExecuteError<E> {
    fn from(error: TreeError<E>) -> ExecuteError<E> {
        match error {
            TreeError::Source(error) => ExecuteError::Source(error),
            TreeError::Damaged | TreeError::Unusable => ExecuteError::Damaged,
            TreeError::Unordered(_) | TreeError::KeyTooLong(_) | TreeError::EmptyRange => {
                unreachable!("changes are sorted and their keys bounded")
            }
        }
    }
}

/// The genesis block's header, and the validator set of the first epoch: what every proof is checked against (F3). The
/// genesis must be a checked one.
///
/// # Errors
/// [`ValidatorsError`], which a checked genesis does not lead to.
pub fn genesis_validators(genesis: &Genesis) -> Result<(Header, Validators), ValidatorsError> {
    let roots = genesis_roots(genesis);
    let chain = genesis.chain_id();
    let header = Header::genesis(chain, genesis.time, roots);
    let anchor = (header.id(), header.height);
    let validators = Validators::new(chain, Epoch(0), genesis.consensus_keys(), anchor)?;
    Ok((header, validators))
}

/// Roots of height 0 of a checked genesis.
#[must_use]
pub fn genesis_roots(genesis: &Genesis) -> Roots {
    match &genesis.origin {
        None => Executor::genesis(genesis).2,
        Some(origin) => Roots {
            state: origin.root,
            receipts: Accumulator::default().root(),
        },
    }
}

fn machine(name: &str) -> Option<Box<dyn StateMachine>> {
    match name {
        "kv" => Some(Box::new(KvMachine)),
        _ => None,
    }
}

/// The records that a chain starts with.
pub(crate) fn genesis_records(genesis: &Genesis) -> Changed {
    let chain = Chain {
        id: genesis.state_id(),
        name: genesis.name.clone(),
        machine: genesis.machine.clone(),
    };
    let mut records = Changed::new();
    records.insert(keys::CHAIN.to_vec(), Some(record::seal(&chain)));
    let parameters = record::seal(&genesis.parameters);
    records.insert(keys::PARAMETERS.to_vec(), Some(parameters));
    let validators = record::seal(&genesis.validators);
    records.insert(keys::validators(Epoch(0)), Some(validators));
    for client in &genesis.clients {
        let record = ClientRecord {
            name: client.name.clone(),
            role: client.role,
        };
        records.insert(keys::client(&client.key), Some(record::seal(&record)));
    }
    records
}

/// Changed records as changes of storage and of the tree.
fn split(changed: Changed) -> (Vec<Change>, Vec<tree::Change>) {
    let mut changes = Vec::with_capacity(changed.len());
    let mut edits = Vec::with_capacity(changed.len());
    for (key, value) in changed {
        edits.push((key.clone(), value.as_deref().map(record::digest)));
        let space = Space::State;
        changes.push(Change { space, key, value });
    }
    (changes, edits)
}

/// Appends a block's receipts. Returns their leaves, for which each would be encoded again.
fn put_receipts(changes: &mut Vec<Change>, receipts: &[Receipt]) -> Vec<Digest> {
    let put = |receipt: &Receipt| {
        let key = persist::receipt_key(receipt.height, receipt.index);
        let bytes = codec::encode(receipt);
        let leaf = Receipt::leaf_of(&bytes);
        changes.push(Change::put(Space::Receipts, key, bytes));
        leaf
    };
    receipts.iter().map(put).collect()
}

fn put_places(changes: &mut Vec<Change>, places: Places) {
    for (id, place) in places.into_list() {
        let key = id.as_bytes().to_vec();
        changes.push(Change::put(Space::Places, key, places::encode(place)));
    }
}
