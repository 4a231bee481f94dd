//! From disk in any state: an empty store gets the genesis; any other is read back, checked, and gone on with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use quorate_consensus::{Boot, Engine, Start, committed_headers};
use quorate_execution::{Executor, OpenError, genesis_roots};
use quorate_mempool::{Limits, Pool, Seat};
use quorate_storage::ledger::{self, LedgerError, Tip};
use quorate_storage::{Store, StoreError, Sync, Table, View, WriteBatch};
use quorate_types::validators::ValidatorsError;
use quorate_types::{Batch, Block, BlockTime, Epoch, Finality, Genesis, Header};
use quorate_types::{Height, Manifest, Now, Parameters, PublicKey, Reject, Roots, SafetyRecord};
use quorate_types::{Signers, Unverified, ValidatorIndex, Validators, Verified};

use crate::Output;
use crate::commit::Pruned;
use crate::desk::ProofDesk;
use crate::fetch::{LedgerSync, Wanted};
use crate::install::install;
use crate::lag::{self, Lag, LagLimits};
use crate::repair::Repairs;
use crate::replica::{Replica, ReplicaError};
use crate::serve::Allowance;
use crate::transfer::Transfer;
use crate::turn::Turn;
use crate::unordered::Unordered;
use crate::view::table;

/// A batch that a proposal names is on its way from its origin: it is asked for after this long.
const BATCH_PATIENCE_NANOS: u64 = 10_000_000;
/// Heights whose roots the engine is told at start, beyond what claims may lag behind.
const ROOTS_MARGIN: u64 = 64;
/// Heights behind at which a snapshot is fetched, unless the node says otherwise.
const TRANSFER_GAP: u64 = 10_000;
/// How far the numbers of own batches, which start at the wall clock, may have run ahead of it.
const NUMBERS_AHEAD: u64 = 1 << 32;

/// How far what the store says of this validator's own past is to be believed (P5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Past {
    /// It may be an older copy, and there is no telling: every start is one behind the restart fence.
    #[default]
    Doubted,
    /// What was signed is forgotten: the strict fence.
    Forgotten,
    /// Nobody is asked. For whoever owes nothing.
    Believed,
}

/// Everything about a chain and a validator's place in it that follows from the genesis.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The first epoch's set.
    pub validators: Arc<Validators>,
    /// This validator's place; `None` only observes.
    pub me: Option<ValidatorIndex>,
    /// Of the chain.
    pub parameters: Parameters,
    /// Who may submit.
    pub clients: BTreeSet<PublicKey>,
    /// Bounds of the pool.
    pub limits: Limits,
    /// Behind by more heights than this, a snapshot is fetched instead of blocks, if a peer has one.
    pub transfer_gap: u64,
    /// Bytes of blocks and batches that one message carries at most.
    pub answer_bytes: u64,
    /// How far the state on disk may lie behind the ledger.
    pub lag: LagLimits,
    /// Whether the store tells all that was signed.
    pub past: Past,
    genesis: Arc<Genesis>,
    header: Header,
}

impl Setup {
    /// What follows from a checked genesis, for the holder of a consensus key.
    ///
    /// # Errors
    /// [`ValidatorsError`] for a set that cannot be; [`Genesis::check`] finds more.
    pub fn new(genesis: &Genesis, key: Option<&PublicKey>) -> Result<Setup, ValidatorsError> {
        let chain = genesis.chain_id();
        let header = Header::genesis(chain, genesis.time, genesis_roots(genesis));
        let anchor = (header.id(), header.height);
        let validators = Validators::new(chain, Epoch(0), genesis.consensus_keys(), anchor)?;
        Ok(Setup {
            me: key.and_then(|key| validators.index_of(key)),
            validators: Arc::new(validators),
            parameters: genesis.parameters.clone(),
            clients: genesis.clients.iter().map(|client| client.key).collect(),
            limits: Limits::default(),
            transfer_gap: TRANSFER_GAP,
            answer_bytes: ledger::MOST_STRETCH_BYTES,
            lag: LagLimits::default(),
            past: Past::default(),
            genesis: Arc::new(genesis.clone()),
            header,
        })
    }

    /// The genesis.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The block at height 0.
    #[must_use]
    pub fn genesis_block(&self) -> Block {
        Block {
            header: self.header.clone(),
            batches: Vec::new(),
        }
    }
}

/// Why a replica cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds another chain, another schema, or something damaged.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The state cannot be read back, or has another root than the ledger says.
    #[error("state: {0}")]
    State(#[from] OpenError<StoreError>),
    /// The chain starts from another chain's state, and the store is empty: see [`crate::found`].
    #[error("this chain starts from another chain's state, which is not here")]
    NoOrigin,
    /// The state is ahead of the ledger.
    #[error("the state is at height {state}, the ledger at {ledger}")]
    Heights {
        /// Of the state.
        state: Height,
        /// Of the ledger.
        ledger: Height,
    },
    /// The newest committed block has no finality proof.
    #[error("the block at height {0} has no finality proof")]
    NoFinality(Height),
    /// It has one that decodes, and that does not verify or is of another block.
    #[error("the finality proof of the block at height {height} is damaged: {reject}")]
    BadFinality {
        /// Of the newest committed block.
        height: Height,
        /// What is wrong with it.
        reject: Reject,
    },
    /// The safety record decodes, and a certificate in it does not verify, or its parts contradict each other.
    #[error("the safety record is damaged: {0}")]
    BadRecord(Reject),
    /// What the first effects needed could not be read.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
}

impl Replica {
    /// Starts from a store. The output is persisted and released like that of any turn.
    ///
    /// # Errors
    /// [`BootError`].
    pub fn open(
        setup: Setup,
        store: &mut dyn Store,
        now: Now,
    ) -> Result<(Replica, Output), BootError> {
        let chain = setup.validators.chain();
        let tip = match ledger::open(&*store, chain)? {
            Some(tip) => tip,
            None => create(&setup, store)?,
        };
        let tip = match install(&setup.validators, store)? {
            true => ledger::tip(&*store)?,
            false => tip,
        };
        let executor = lag::catch_up(store, setup.lag)?;
        let start = start(setup.past, &*store, now);
        let mut turn = Turn::new(&*store, now);
        let (boot, time) = boot(&setup, start, turn.view(), &tip)?;
        let blocks: BTreeMap<_, _> = boot
            .blocks
            .iter()
            .map(|block| (block.id(), block.clone()))
            .collect();
        let check = |manifest: &Manifest| manifest.check(&setup.validators).is_ok();
        let transfer = Transfer::resume(&mut turn, tip.height, check)?;
        let pool = restore_pool(&setup, turn.view(), now, time, &boot.committed)?;
        let (engine, effects) = Engine::new(boot, now);
        let seat = setup.me.map_or(0, ValidatorIndex::as_usize);
        let mut replica = Replica {
            engine,
            pool,
            executor,
            lag: Lag::new(setup.lag).staggered(seat, setup.validators.count()),
            tip,
            pruned: Pruned::default(),
            time,
            blocks,
            missing: BTreeMap::new(),
            wanted_batches: Wanted::new(BATCH_PATIENCE_NANOS),
            wanted_blocks: Wanted::new(0),
            ledger_sync: LedgerSync::default(),
            transfer,
            connected: Signers::NONE,
            allowance: Allowance::default(),
            repairs: Repairs::new(),
            waiters: BTreeMap::new(),
            waiting: 0,
            proofs: ProofDesk::default(),
            work: false,
            setup,
        };
        let mut events = VecDeque::new();
        replica.handle(&mut turn, effects, &mut events)?;
        for event in events {
            replica.drive(&mut turn, event)?;
        }
        replica.finish(&mut turn)?;
        let output = turn.finish(chain, replica.pool.held());
        Ok((replica, output))
    }
}

/// The wall clock tells this start from every other: it need not be right, only not the same to the nanosecond.
fn start(past: Past, store: &dyn Store, now: Now) -> Start {
    let nonce = now.wall.0;
    match past {
        Past::Believed => Start::Open,
        Past::Doubted => Start::Fenced { nonce },
        Past::Forgotten => Start::Forgetful {
            nonce,
            ceiling: store.ceiling(),
        },
    }
}

/// Writes the genesis block and state.
fn create(setup: &Setup, store: &mut dyn Store) -> Result<Tip, BootError> {
    if setup.genesis.origin.is_some() {
        return Err(BootError::NoOrigin);
    }
    let (_, changes, _) = Executor::genesis(&setup.genesis);
    let mut writes = WriteBatch::new();
    for change in changes {
        if let Some(value) = change.value {
            writes.put(table(change.space), change.key, value);
        }
    }
    let tip = ledger::create(
        &mut writes,
        setup.validators.chain(),
        &setup.genesis_block(),
    );
    store.write(writes, Sync::Yes)?;
    Ok(tip)
}

/// What the engine starts from, and the time of the newest committed block.
fn boot(
    setup: &Setup,
    start: Start,
    view: &dyn View,
    tip: &Tip,
) -> Result<(Boot, BlockTime), BootError> {
    let span = u64::try_from(committed_headers(&setup.validators) - 1).expect("a few hundred");
    let from = Height(tip.height.0.saturating_sub(span));
    let committed = ledger::headers(view, from, tip.height)?;
    let newest = committed.last().filter(|newest| tip.is_of(newest));
    let newest = newest.ok_or_else(damaged_tip)?;
    let time = newest.time;
    let finality = finality(setup, view, tip)?;
    let executed_nonempty = committed
        .iter()
        .rev()
        .find(|header| !header.is_empty())
        .map_or(newest.claim.height, |header| header.height);
    Ok((
        Boot {
            validators: Arc::clone(&setup.validators),
            me: setup.me,
            parameters: setup.parameters.clone(),
            record: record(setup, view)?,
            start,
            finality,
            blocks: complete_blocks(view)?,
            executed: executed(setup, view, tip.height, newest.claim.height)?,
            executed_nonempty,
            committed,
        },
        time,
    ))
}

fn damaged_tip() -> BootError {
    BootError::Ledger(LedgerError::Damaged {
        table: Table::Meta,
        key: ledger::keys::TIP.to_vec(),
    })
}

/// The finality proof of the tip. The store's checksums say that it is what was written there; only its signatures say
/// that it is a proof.
fn finality(setup: &Setup, view: &dyn View, tip: &Tip) -> Result<Finality, BootError> {
    let height = tip.height;
    if height == Height(0) {
        return Ok(Finality::clone(&Verified::<Finality>::anchor(
            &setup.validators,
        )));
    }
    let finality = ledger::finality(view, height)?.ok_or(BootError::NoFinality(height))?;
    let verified = Unverified::new(finality).verify(&setup.validators);
    let verified = verified.map_err(|reject| BootError::BadFinality { height, reject })?;
    match verified.cc.block == tip.block {
        true => Ok(verified.into_inner()),
        false => Err(BootError::BadFinality {
            height,
            reject: Reject::CertificateMismatch,
        }),
    }
}

/// The safety record, if this validator ever signed.
fn record(setup: &Setup, view: &dyn View) -> Result<Option<SafetyRecord>, BootError> {
    let record = ledger::record(view)?;
    if let Some(record) = &record {
        let checked = record.check(&setup.validators);
        checked.map_err(BootError::BadRecord)?;
    }
    Ok(record)
}

/// The stored blocks whose batches are stored, too: all that were voted for (P1). A block is stored when it is first seen,
/// so that the batches of others may have been on their way still.
fn complete_blocks(view: &dyn View) -> Result<Vec<Block>, BootError> {
    let mut blocks = Vec::new();
    for block in ledger::uncommitted_blocks(view)? {
        let mut complete = true;
        for batch in &block.batches {
            complete &= ledger::has_batch(view, *batch)?;
        }
        if complete {
            blocks.push(block);
        }
    }
    Ok(blocks)
}

/// Roots of recent heights, ascending.
fn executed(
    setup: &Setup,
    view: &dyn View,
    tip: Height,
    claimed: Height,
) -> Result<Vec<(Height, Roots)>, BootError> {
    let span = setup
        .parameters
        .max_execution_lag
        .saturating_add(ROOTS_MARGIN);
    let from = tip.0.saturating_sub(span).min(claimed.0);
    let mut executed = Vec::new();
    for height in from..=tip.0 {
        if let Some(roots) = ledger::roots(view, Height(height))? {
            executed.push((Height(height), roots));
        }
    }
    Ok(executed)
}

/// Puts batches that are stored and not ordered back into the pool.
fn restore_pool(
    setup: &Setup,
    view: &dyn View,
    now: Now,
    time: BlockTime,
    committed: &[Header],
) -> Result<Pool, BootError> {
    let seat = Seat {
        epoch: setup.validators.epoch(),
        me: setup.me,
        n: setup.validators.count(),
        quorum: setup.validators.quorum(),
    };
    // Batches are numbered from the wall clock, so that a start that finds none of its own does not reuse numbers that
    // peers have seen. A clock that was set back costs nothing but hints.
    let first = now.wall.0.max(time.0);
    let mut pool = Pool::new(seat, setup.parameters.clone(), setup.limits.clone(), first);
    // Peers may send again what they do not know to be committed.
    for header in committed {
        if let Some(block) = ledger::block_by_id(view, header.id())? {
            pool.committed(&block.batches);
        }
    }
    // What lives longer than any correct origin says was only ever wanted for somebody's block: it is left to the store.
    let lifetime = setup.parameters.batch_lifetime_ns.saturating_mul(2);
    let end = BlockTime(first).plus_nanos(lifetime);
    // Nobody signs a batch: one in our name with a number that we have not come to is not ours, and would end the
    // numbering.
    let latest = first.saturating_add(NUMBERS_AHEAD);
    let forged = |batch: &Batch| seat.me == Some(batch.origin) && batch.sequence > latest;
    let batches = Unordered::new(view, time, end);
    let batches = batches.filter(|batch| !batch.as_ref().is_ok_and(|batch| forged(batch)));
    pool.restore(now.monotonic, batches)?;
    Ok(pool)
}
