//! State by snapshot instead of by blocks: for a replica whose peers no longer keep the blocks that it misses, or that is so
//! far behind that executing them all takes longer.
//!
//! ```text
//! Idle ──compacted, or a gap──► Asking ──offers──► Fetching ──all chunks──► Ready ──► install.rs, at the next open
//!   ▲                             │ none             │ nobody has it any more, or blocks were faster
//!   └─────────────────────────────┴──────────────────┘    (blocks are asked for meanwhile)
//! ```
//!
//! That blocks are gone is believed of more peers than may be faulty, or of all that are there. A snapshot that no more than
//! may be faulty have offered could be handed out a chunk now and then for days: blocks are asked for beside it.
//!
//! Chunks come from all peers at once, a few under way from each. Each is verified against the certified root before it is
//! kept; a peer whose chunk fails is not asked again while this process lives, and one that has not got a chunk or does not
//! answer rests for a while. Nothing that a peer says is believed but certificates and proofs: which snapshot is chosen
//! decides how long it takes, never what the state is. What is kept survives a restart.

use std::collections::{BTreeMap, BTreeSet};

use quorate_storage::Table;
use quorate_storage::ledger;
use quorate_types::message::{ChunkRequest, ChunkResponse, SnapshotRequest};
use quorate_types::{Digest, Height, Instant, Manifest, Message, Reject, Signers};
use quorate_types::{ValidatorIndex, Verified};

use crate::Target;
use crate::output::Notice;
use crate::replica::{Replica, ReplicaError};
use crate::snapshot::check_chunk;
use crate::turn::Turn;

/// Peers have this long to offer their snapshots.
const OFFER_NANOS: u64 = 1_500_000_000;
/// After an attempt that led to nothing, blocks are asked for at least this long.
const PAUSE_NANOS: u64 = 5_000_000_000;
/// A chunk that has not come after this long is asked of another.
const CHUNK_NANOS: u64 = 5_000_000_000;
/// A peer that has not got a chunk, or did not answer, is left alone for this long.
const REST_NANOS: u64 = 10_000_000_000;
/// A snapshot of which no chunk has come for this long is given up.
const PATIENCE_NANOS: u64 = 30_000_000_000;
/// So is one that none of those who are there has any more, for this long: another may just be starting.
const GONE_NANOS: u64 = 5_000_000_000;
/// Chunks under way from one peer, and from all: they bound the memory that answers take.
const FROM_ONE: usize = 4;
const FROM_ALL: usize = 16;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Transfer {
    phase: Phase,
    /// Who sent a chunk or a manifest that is no good.
    liars: Signers,
    /// Who offered a snapshot that came to nothing: those of others are taken first.
    failed: Signers,
    /// Who says that the next block is gone, since one came last.
    compacted: Signers,
    /// No attempt before.
    paused: Instant,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Asking(Asking),
    Fetching(Box<Fetching>),
    Ready,
}

#[derive(Debug)]
struct Asking {
    until: Instant,
    waiting: Signers,
    /// At most one a peer.
    offers: BTreeMap<Digest, (Signers, Box<Manifest>)>,
    /// What is not above is of no use.
    above: Height,
}

#[derive(Debug)]
struct Fetching {
    manifest: Box<Manifest>,
    content: Digest,
    /// Who offered it, as far as that is known after a start.
    from: Signers,
    /// Neither here nor under way.
    missing: BTreeSet<u32>,
    asked: BTreeMap<u32, (ValidatorIndex, Instant)>,
    /// Until when a peer is not asked.
    resting: BTreeMap<ValidatorIndex, Instant>,
    /// Who said that a chunk is not there.
    without: Signers,
    /// Since when that is all of them.
    deserted: Option<Instant>,
    /// When a chunk came last.
    moved: Instant,
    /// Bytes of the chunks that are here.
    bytes: u64,
}

/// How far a transfer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The snapshot's height.
    pub height: Height,
    /// Chunks that are here.
    pub chunks: u32,
    /// Chunks in all.
    pub chunks_total: u32,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}

impl Transfer {
    /// Goes on with what is staged.
    pub(crate) fn resume(
        turn: &mut Turn<'_>,
        tip: Height,
        check: impl Fn(&Manifest) -> bool,
    ) -> Result<Transfer, ReplicaError> {
        let mut transfer = Transfer::default();
        let Some(manifest) = ledger::staged_manifest(turn.view())? else {
            return Ok(transfer);
        };
        if manifest.height > tip && check(&manifest) {
            let held = ledger::held_chunks(turn.view())?;
            let fetching =
                Fetching::new(Box::new(manifest), Signers::NONE, &held, turn.now.monotonic);
            transfer.phase = Phase::Fetching(Box::new(fetching));
        } else {
            drop_staged(turn)?;
        }
        Ok(transfer)
    }

    /// Whether blocks need not be asked for now. `faulty` is how many peers may be.
    pub(crate) fn suffices(&self, faulty: usize) -> bool {
        match &self.phase {
            Phase::Idle => false,
            Phase::Asking(_) | Phase::Ready => true,
            Phase::Fetching(fetching) => fetching.from.count() > faulty,
        }
    }

    /// Blocks came: not all of them are gone.
    pub(crate) fn blocks_came(&mut self) {
        self.compacted = Signers::NONE;
    }

    /// A peer says that the next block is gone. Whether that is to be believed, of those who are connected.
    fn is_compacted(&mut self, peer: ValidatorIndex, connected: Signers, faulty: usize) -> bool {
        self.compacted.insert(peer);
        let all = connected.iter().all(|peer| self.compacted.contains(peer));
        all || self.compacted.count() > faulty
    }

    /// Whether all is here.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        let Phase::Fetching(fetching) = &self.phase else {
            return None;
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let total = fetching.manifest.pieces.len();
        let open = fetching.missing.len() + fetching.asked.len();
        Some(Progress {
            height: fetching.manifest.height,
            chunks: count(total.saturating_sub(open)),
            chunks_total: count(total),
            bytes: fetching.bytes,
            bytes_total: fetching.manifest.bytes(),
        })
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Idle | Phase::Ready => None,
            Phase::Asking(asking) => Some(asking.until),
            Phase::Fetching(fetching) => {
                let late = fetching.asked.values();
                let late = late.map(|(_, since)| since.plus_nanos(CHUNK_NANOS));
                let rested = fetching.resting.values().copied();
                let given_up = fetching.moved.plus_nanos(PATIENCE_NANOS);
                let gone = fetching.deserted.map(|since| since.plus_nanos(GONE_NANOS));
                late.chain(rested).chain(gone).chain([given_up]).min()
            }
        }
    }

    fn give_up(&mut self, now: Instant) {
        self.phase = Phase::Idle;
        self.paused = now.plus_nanos(PAUSE_NANOS);
    }
}

impl Fetching {
    fn new(manifest: Box<Manifest>, from: Signers, held: &[u32], now: Instant) -> Fetching {
        let count = u32::try_from(manifest.pieces.len()).expect("bounded by the check");
        let mut missing: BTreeSet<u32> = (0..count).collect();
        let mut bytes = 0;
        for index in held {
            if missing.remove(index) {
                bytes += piece_bytes(&manifest, *index);
            }
        }
        Fetching {
            content: manifest.content(),
            manifest,
            from,
            missing,
            asked: BTreeMap::new(),
            resting: BTreeMap::new(),
            without: Signers::NONE,
            deserted: None,
            moved: now,
            bytes,
        }
    }

    /// Takes back what was asked of peers that are late or gone.
    fn take_back(&mut self, now: Instant, connected: Signers) {
        self.resting.retain(|_, until| *until > now);
        let late: Vec<(u32, ValidatorIndex)> = self
            .asked
            .iter()
            .filter(|(_, (peer, since))| {
                now.since(*since) >= CHUNK_NANOS || !connected.contains(*peer)
            })
            .map(|(index, (peer, _))| (*index, *peer))
            .collect();
        for (index, peer) in late {
            self.asked.remove(&index);
            self.missing.insert(index);
            self.resting.insert(peer, now.plus_nanos(REST_NANOS));
        }
    }

    /// Whether all chunks are here.
    fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.asked.is_empty()
    }

    /// Whether it is to be given up.
    fn comes_to_nothing(&mut self, now: Instant, peers: Signers) -> bool {
        if peers == Signers::NONE {
            self.moved = now;
        }
        let deserted =
            peers != Signers::NONE && peers.iter().all(|peer| self.without.contains(peer));
        self.deserted = deserted.then(|| self.deserted.unwrap_or(now));
        let gone = self
            .deserted
            .is_some_and(|since| now.since(since) >= GONE_NANOS);
        gone || now.since(self.moved) >= PATIENCE_NANOS
    }

    /// What to ask of whom now: the least busy first.
    fn next(&mut self, now: Instant, peers: Signers) -> Option<(ValidatorIndex, u32)> {
        if self.asked.len() >= FROM_ALL {
            return None;
        }
        let busy = |peer: ValidatorIndex| self.asked.values().filter(|a| a.0 == peer).count();
        let free = peers
            .iter()
            .filter(|peer| !self.resting.contains_key(peer))
            .map(|peer| (busy(peer), peer))
            .filter(|(count, _)| *count < FROM_ONE);
        let (_, peer) = free.min()?;
        let index = self.missing.pop_first()?;
        self.asked.insert(index, (peer, now));
        Some((peer, index))
    }
}

fn piece_bytes(manifest: &Manifest, index: u32) -> u64 {
    let place = usize::try_from(index).unwrap_or(usize::MAX);
    let piece = manifest.pieces.get(place);
    piece.map_or(0, |piece| u64::from(piece.bytes))
}

/// Removes what is staged, key by key.
fn drop_staged(turn: &mut Turn<'_>) -> Result<(), ReplicaError> {
    let held = ledger::held_chunks(turn.view())?;
    turn.write(|writes| {
        writes.delete(Table::Staging, ledger::keys::MANIFEST);
        for index in held {
            writes.delete(Table::Staging, ledger::keys::chunk(index));
            writes.delete(Table::Staging, ledger::keys::held(index));
        }
    });
    Ok(())
}

impl Replica {
    /// A peer says what it has: its first height, and perhaps a snapshot, whose certificates were verified.
    pub(crate) fn on_snapshot(
        &mut self,
        turn: &mut Turn<'_>,
        from: ValidatorIndex,
        first: Height,
        manifest: Option<Box<Verified<Manifest>>>,
    ) {
        let now = turn.now.monotonic;
        if self.ledger_sync.expects(from) && manifest.is_none() {
            self.ledger_sync.failed(from, now);
            let faulty = self.setup.validators.max_faulty();
            let compacted = first > self.tip.height.next()
                && self.transfer.is_compacted(from, self.connected, faulty);
            let idle = matches!(self.transfer.phase, Phase::Idle);
            if compacted && idle && now >= self.transfer.paused {
                self.ask_for_snapshots(turn, self.tip.height);
            }
            // It answered the question for blocks. What it offers, it has yet to say.
            return;
        }
        if let Phase::Asking(asking) = &mut self.transfer.phase
            && asking.waiting.contains(from)
        {
            asking.waiting = asking.waiting.iter().filter(|peer| *peer != from).collect();
            if let Some(manifest) = manifest.filter(|m| m.height > asking.above) {
                let manifest = Box::new(manifest.into_inner());
                let (supporters, _) = asking
                    .offers
                    .entry(manifest.content())
                    .or_insert((Signers::NONE, manifest));
                supporters.insert(from);
            }
        }
    }

    /// A chunk, or the answer that it is not there.
    pub(crate) fn on_chunk(
        &mut self,
        turn: &mut Turn<'_>,
        from: ValidatorIndex,
        response: ChunkResponse,
    ) {
        let now = turn.now.monotonic;
        let Phase::Fetching(fetching) = &mut self.transfer.phase else {
            return;
        };
        let (content, index) = (response.content, response.index);
        let asked = fetching.asked.get(&index).is_some_and(|(p, _)| *p == from);
        if content != fetching.content || !asked {
            return;
        }
        fetching.asked.remove(&index);
        let Some(chunk) = response.chunk else {
            fetching.missing.insert(index);
            let until = now.plus_nanos(REST_NANOS);
            fetching.resting.insert(from, until);
            fetching.without.insert(from);
            return;
        };
        if !check_chunk(&fetching.manifest, index, &chunk.0) {
            fetching.missing.insert(index);
            self.transfer.liars.insert(from);
            let reject = Reject::BadPayload;
            let from = Some(from);
            turn.notice(Notice::Refused { from, reject });
            return;
        }
        fetching.moved = now;
        fetching.without = fetching
            .without
            .iter()
            .filter(|peer| *peer != from)
            .collect();
        fetching.bytes += piece_bytes(&fetching.manifest, index);
        turn.write(|writes| ledger::put_chunk(writes, index, chunk.0));
    }

    /// What a turn does about the transfer, after all inputs.
    pub(crate) fn transfer(&mut self, turn: &mut Turn<'_>) -> Result<(), ReplicaError> {
        let now = turn.now.monotonic;
        let transfer = &mut self.transfer;
        let peers: Signers = self
            .connected
            .iter()
            .filter(|peer| !transfer.liars.contains(*peer))
            .collect();
        match &mut transfer.phase {
            Phase::Ready => {}
            Phase::Idle => {
                let gap = self.setup.transfer_gap;
                let behind = self
                    .ledger_sync
                    .target()
                    .0
                    .saturating_sub(self.tip.height.0);
                if behind > gap && now >= transfer.paused {
                    let worth = self.tip.height.0.saturating_add(gap / 2);
                    self.ask_for_snapshots(turn, Height(worth));
                }
            }
            Phase::Asking(asking) => {
                if asking.waiting.iter().next().is_none() || now >= asking.until {
                    let offers = std::mem::take(&mut asking.offers);
                    self.choose(turn, offers.into_values().collect())?;
                }
            }
            Phase::Fetching(fetching) if fetching.manifest.height <= self.tip.height => {
                transfer.give_up(now);
                return drop_staged(turn);
            }
            Phase::Fetching(fetching) if fetching.is_whole() => {
                turn.write(|writes| {
                    // The state goes from here on, and with it what would work out again what is deferred.
                    writes.settle();
                    ledger::put_install_mark(writes, 0);
                });
                transfer.phase = Phase::Ready;
            }
            Phase::Fetching(fetching) => {
                fetching.take_back(now, peers);
                if fetching.comes_to_nothing(now, peers) {
                    transfer.failed = transfer.failed.union(fetching.from);
                    transfer.give_up(now);
                    return drop_staged(turn);
                }
                while let Some((peer, index)) = fetching.next(now, peers) {
                    let request = ChunkRequest {
                        height: fetching.manifest.height,
                        content: fetching.content,
                        index,
                    };
                    turn.send(Target::One(peer), Message::ChunkRequest(request));
                }
            }
        }
        Ok(())
    }

    fn ask_for_snapshots(&mut self, turn: &mut Turn<'_>, above: Height) {
        let now = turn.now.monotonic;
        let waiting: Signers = self
            .connected
            .iter()
            .filter(|peer| !self.transfer.liars.contains(*peer))
            .collect();
        for peer in waiting.iter() {
            let request = SnapshotRequest { above };
            turn.send(Target::One(peer), Message::SnapshotRequest(request));
        }
        self.transfer.phase = Phase::Asking(Asking {
            until: now.plus_nanos(OFFER_NANOS),
            waiting,
            offers: BTreeMap::new(),
            above,
        });
    }

    /// Takes the snapshot that most have, the newest of those: f peers that lie do not outvote the others. Where nobody
    /// agrees with anybody, one that offers what it never hands out is chosen once, and not again before the others.
    fn choose(
        &mut self,
        turn: &mut Turn<'_>,
        offers: Vec<(Signers, Box<Manifest>)>,
    ) -> Result<(), ReplicaError> {
        let now = turn.now.monotonic;
        let best = offers
            .into_iter()
            .filter(|(_, manifest)| manifest.height > self.tip.height)
            .max_by_key(|(from, manifest)| {
                let failed = from
                    .iter()
                    .filter(|peer| self.transfer.failed.contains(*peer));
                let fresh = from.count() - failed.count();
                (fresh, from.count(), manifest.height)
            });
        let Some((from, manifest)) = best else {
            self.transfer.give_up(now);
            return Ok(());
        };
        drop_staged(turn)?;
        turn.write(|writes| ledger::put_manifest(writes, &manifest));
        let fetching = Fetching::new(manifest, from, &[], now);
        self.transfer.phase = Phase::Fetching(Box::new(fetching));
        self.transfer(turn)
    }
}
