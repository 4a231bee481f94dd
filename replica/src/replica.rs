//! Dispatch: one handler an input, one an effect of the engine.
//!
//! Nothing is decided here that the protocol decides: the engine does. This file routes, keeps the books about what is
//! stored and what is missing, and never touches a message that is not released.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_consensus::{Effect, Engine, Event, Status as EngineStatus};
use quorate_execution::{ExecuteError, Executor};
use quorate_mempool::Pool;
use quorate_mutants::{Mutant, mutant};
use quorate_storage::ledger::{self, LedgerError, Spared, Tip};
use quorate_storage::{StoreError, View, WriteBatch};
use quorate_types::message::VerifiedMessage;
use quorate_types::{Batch, BatchId, Block, BlockId, BlockTime, Height, Instant, Message, Now};
use quorate_types::{Roots, Signers, TransactionId, ValidatorIndex};

use crate::boot::Setup;
use crate::commit::Pruned;
use crate::desk::ProofDesk;
use crate::fetch::{LedgerSync, Wanted};
use crate::input::OwnMessage;
use crate::lag::Lag;
use crate::output::{Notice, Output, Reply, SubmitRefusal};
use crate::repair::Repairs;
use crate::serve::Allowance;
use crate::transfer::{Progress, Transfer};
use crate::turn::Turn;
use crate::{Input, Target, Ticket};

/// Why a replica has to stop. Its disk or an invariant of its own is at fault, never a peer or a client.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was read from it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Execution could not read its state.
    #[error("execution: {0}")]
    Execute(#[from] ExecuteError<StoreError>),
    /// A batch of a committed block is gone.
    #[error("batch {0} of a committed block is not in the store")]
    BatchMissing(BatchId),
}

/// A validator without its IO.
#[derive(Debug)]
pub struct Replica {
    pub(crate) setup: Setup,
    pub(crate) engine: Engine,
    pub(crate) pool: Pool,
    pub(crate) executor: Executor,
    pub(crate) lag: Lag,
    /// The newest committed block.
    pub(crate) tip: Tip,
    /// Its time.
    pub(crate) time: BlockTime,
    pub(crate) pruned: Pruned,
    /// Stored, above the tip, on any branch.
    pub(crate) blocks: BTreeMap<BlockId, Block>,
    /// Of blocks whose payload was asked for: the batches that are not here.
    pub(crate) missing: BTreeMap<BlockId, BTreeSet<BatchId>>,
    pub(crate) wanted_batches: Wanted<BatchId>,
    pub(crate) wanted_blocks: Wanted<BlockId>,
    pub(crate) ledger_sync: LedgerSync,
    pub(crate) transfer: Transfer,
    pub(crate) connected: Signers,
    pub(crate) allowance: Allowance,
    pub(crate) repairs: Repairs,
    pub(crate) waiters: BTreeMap<TransactionId, Vec<Ticket>>,
    pub(crate) waiting: usize,
    pub(crate) proofs: ProofDesk,
    /// What the engine was told last about work.
    pub(crate) work: bool,
}

/// Where a replica stands, for metrics, probes and people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The engine's part.
    pub consensus: EngineStatus,
    /// Height of the newest committed and executed block.
    pub height: Height,
    /// Its time.
    pub time: BlockTime,
    /// State after it.
    pub roots: Roots,
    /// Highest height that a peer proved to be final.
    pub target: Height,
    /// How far the transfer of a snapshot has come, if one is under way.
    pub transfer: Option<Progress>,
    /// Transactions admitted here and not committed.
    pub queued: usize,
    /// Their bytes, and those of the batches held.
    pub pool_bytes: usize,
    /// Whether something waits to be ordered.
    pub work: bool,
    /// Who is connected.
    pub connected: Signers,
}

impl Replica {
    /// Takes everything that has arrived, and decides. Nothing has happened until the output is persisted; a replica
    /// whose output was not persisted must not be used again.
    ///
    /// # Errors
    /// [`ReplicaError`], fatal: nothing of the turn may be used.
    pub fn turn(
        &mut self,
        store: &dyn View,
        now: Now,
        inputs: Vec<Input>,
    ) -> Result<Output, ReplicaError> {
        let mut turn = Turn::new(store, now);
        for input in inputs {
            self.on_input(&mut turn, input)?;
        }
        self.finish(&mut turn)?;
        Ok(turn.finish(self.setup.validators.chain(), self.pool.held()))
    }

    /// Whether a snapshot is here whole: the replica is to be closed, and opened again on it.
    #[must_use]
    pub fn is_ready_to_install(&self) -> bool {
        self.transfer.is_ready()
    }

    /// Ends this replica, everything of which is on disk: what to answer those who wait.
    #[must_use]
    pub fn close(self) -> Vec<(Ticket, Reply)> {
        let tickets = self.waiters.into_values().flatten();
        tickets
            .chain(self.proofs.tickets())
            .map(|ticket| (ticket, Reply::Refused(SubmitRefusal::NotServing)))
            .collect()
    }

    /// What may go of what a [truncation](ledger::truncate) removes, which was prepared without knowing what has happened
    /// since, and knows nothing of blocks that are not committed. `view` is the store that it is written to, at once.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn may_go<V: View + ?Sized>(
        &self,
        view: &V,
        removals: WriteBatch,
    ) -> Result<WriteBatch, LedgerError> {
        let bound = ledger::bound(&removals);
        let spared = |id| match ledger::ordered_at(view, id) {
            Ok(Some(height)) if height >= bound => Spared::AndPlace,
            // What cannot be read is not removed.
            Err(_) => Spared::AndPlace,
            Ok(_) if self.needs_batch(id) => Spared::Batch,
            Ok(_) => Spared::Nothing,
        };
        let mut writes = ledger::except(view, removals, spared);
        ledger::raise_first(view, &mut writes)?;
        Ok(writes)
    }

    /// Whether a batch has to be on this disk although no block that is committed needs it (P1). One that is held is: a vote
    /// for a block that orders it writes it no second time.
    pub(crate) fn needs_batch(&self, id: BatchId) -> bool {
        let mut blocks = self.blocks.values();
        self.pool.holds(&id) || blocks.any(|block| block.batches.contains(&id))
    }

    /// When to take a turn at the latest, though nothing arrives.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        [
            self.engine.deadline(),
            self.pool.deadline(),
            self.wanted_batches.deadline(),
            self.wanted_blocks.deadline(),
            self.repairs.deadline(),
            self.transfer.deadline(),
            self.proofs.deadline(),
            self.asks_for_blocks()
                .then(|| self.ledger_sync.deadline(self.tip.height))
                .flatten(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            consensus: self.engine.status(),
            height: self.tip.height,
            time: self.time,
            roots: self.executor.roots(),
            target: self.ledger_sync.target().max(self.tip.height),
            transfer: self.transfer.progress(),
            queued: self.pool.pending(),
            pool_bytes: self
                .pool
                .queued_bytes()
                .saturating_add(self.pool.held_bytes()),
            work: self.work,
            connected: self.connected,
        }
    }

    fn on_input(&mut self, turn: &mut Turn<'_>, input: Input) -> Result<(), ReplicaError> {
        match input {
            Input::Message { from, message } => self.on_message(turn, from, message),
            Input::Own(OwnMessage(message)) => self.on_own(turn, message),
            Input::Submit {
                ticket,
                transaction,
                wait,
            } => self.on_submit(turn, ticket, *transaction, wait),
            Input::Prove { ticket, key } => {
                self.on_prove(turn, ticket, key);
                Ok(())
            }
            Input::Connected(peer) => {
                self.connected.insert(peer);
                // The connection that was lost may have swallowed anything (T2).
                for batch in self.pool.resend() {
                    turn.send(
                        Target::One(peer),
                        Message::Batch(Box::new(Batch::clone(&batch))),
                    );
                }
                self.wanted_batches.retry_now(turn.now.monotonic);
                self.wanted_blocks.retry_now(turn.now.monotonic);
                self.ledger_sync.retry_now(turn.now.monotonic);
                self.drive(turn, Event::Connected(peer))
            }
            Input::Disconnected(peer) => {
                self.connected = self.connected.iter().filter(|p| *p != peer).collect();
                self.ledger_sync.failed(peer, turn.now.monotonic);
                Ok(())
            }
        }
    }

    fn on_own(
        &mut self,
        turn: &mut Turn<'_>,
        message: VerifiedMessage,
    ) -> Result<(), ReplicaError> {
        match message {
            VerifiedMessage::Proposal(proposal, _) => self.drive(turn, Event::Proposal(proposal)),
            VerifiedMessage::Vote(vote) => {
                turn.notice(Notice::Voted(vote.round));
                self.drive(turn, Event::Vote(vote))
            }
            VerifiedMessage::CommitVote(vote) => self.drive(turn, Event::CommitVote(vote)),
            VerifiedMessage::Timeout(timeout) => {
                turn.notice(Notice::TimedOut(timeout.round));
                self.drive(turn, Event::Timeout(timeout))
            }
            other => unreachable!("a validator signs nothing like {other:?}"),
        }
    }

    fn on_message(
        &mut self,
        turn: &mut Turn<'_>,
        from: ValidatorIndex,
        message: VerifiedMessage,
    ) -> Result<(), ReplicaError> {
        match message {
            VerifiedMessage::Proposal(proposal, inline) => {
                // The block first: what it needs is taken from anybody, and its leader need not be the batch's origin.
                self.drive(turn, Event::Proposal(proposal))?;
                for batch in inline {
                    self.take_batch(turn, from, batch)?;
                }
                Ok(())
            }
            VerifiedMessage::Vote(vote) => {
                self.note_held(from, vote.voter, &vote.held);
                self.drive(turn, Event::Vote(vote))
            }
            VerifiedMessage::CommitVote(vote) => {
                self.note_held(from, vote.voter, &vote.held);
                self.drive(turn, Event::CommitVote(vote))
            }
            VerifiedMessage::Timeout(timeout) => self.drive(turn, Event::Timeout(timeout)),
            VerifiedMessage::Qc(qc) => self.drive(turn, Event::Qc(qc)),
            VerifiedMessage::Tc(tc) => self.drive(turn, Event::Tc(tc)),
            VerifiedMessage::Finality(finality) => self.drive(turn, Event::Finality(finality)),
            VerifiedMessage::Evidence(evidence) => {
                turn.notice(Notice::evidence(&evidence));
                Ok(())
            }
            VerifiedMessage::Batch(batch) => self.on_batch(turn, from, batch),
            VerifiedMessage::BlockRequest(request) => self.serve_blocks(turn, from, &request),
            VerifiedMessage::BlockResponse(response) => self.on_blocks(turn, response.blocks),
            VerifiedMessage::BatchRequest(request) => self.serve_batches(turn, from, &request),
            VerifiedMessage::BatchResponse(batches, missing) => {
                for id in &missing {
                    self.wanted_batches.not_there(id, turn.now.monotonic);
                    self.cannot_mend(id, turn.now.monotonic);
                }
                for batch in batches {
                    self.on_batch(turn, from, batch)?;
                }
                Ok(())
            }
            VerifiedMessage::LedgerRequest(request) => self.serve_ledger(turn, from, &request),
            VerifiedMessage::LedgerResponse(response) => self.on_ledger(turn, from, *response),
            VerifiedMessage::SnapshotResponse(first, manifest) => {
                self.on_snapshot(turn, from, first, manifest);
                Ok(())
            }
            VerifiedMessage::ChunkResponse(response) => {
                self.on_chunk(turn, from, *response);
                Ok(())
            }
            VerifiedMessage::FenceRequest(request) => {
                let nonce = request.nonce;
                self.drive(turn, Event::FenceRequest { from, nonce })
            }
            VerifiedMessage::FenceReply(reply) => {
                self.drive(turn, Event::FenceReply { from, reply })
            }
            // Answered outside of the turn (`snapshot::answer`): reading files is not the core's work.
            VerifiedMessage::SnapshotRequest(_) | VerifiedMessage::ChunkRequest(_) => Ok(()),
        }
    }

    /// Hints count from the voter itself alone: no signature covers them (B2).
    fn note_held(&mut self, from: ValidatorIndex, voter: ValidatorIndex, held: &[u64]) {
        if voter == from {
            self.pool.on_held(from, held);
        }
    }

    /// Gives the engine an event, and handles what follows until nothing does.
    pub(crate) fn drive(&mut self, turn: &mut Turn<'_>, event: Event) -> Result<(), ReplicaError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let effects = self.engine.step(turn.now, event);
            self.handle(turn, effects, &mut events)?;
        }
        Ok(())
    }

    pub(crate) fn handle(
        &mut self,
        turn: &mut Turn<'_>,
        effects: Vec<Effect>,
        events: &mut VecDeque<Event>,
    ) -> Result<(), ReplicaError> {
        for effect in effects {
            match effect {
                Effect::Save(record) => turn.write(|batch| ledger::put_record(batch, &record)),
                // What is committed is stored already; stored again it would count as uncommitted.
                Effect::Store(block) if block.header.height <= self.tip.height => {}
                Effect::Store(block) => {
                    if !mutant(Mutant::VotedBlockNotStored) {
                        turn.write(|batch| ledger::put_block(batch, &block));
                    }
                    let id = block.id();
                    self.wanted_blocks.done(&id);
                    self.blocks.insert(id, block);
                }
                Effect::Sign(authorised) => turn.authorise(authorised),
                Effect::Send { to, message } => turn.send(to, *message),
                Effect::CheckPayload(block) => self.check_payload(turn, &block, events)?,
                Effect::Propose(request) => events.push_back(self.payload(turn, &request)?),
                Effect::Fetch { block, from } => self.find_block(turn, block, from, events),
                Effect::Behind { height, .. } => self.ledger_sync.aim(height),
                Effect::Commit { blocks, finality } => {
                    self.commit(turn, &blocks, &finality, events)?;
                }
                Effect::Evidence(evidence) => {
                    turn.notice(Notice::evidence(&evidence));
                    let evidence = evidence.into_inner();
                    turn.send(Target::All, Message::Evidence(Box::new(evidence)));
                }
                Effect::Diverged {
                    height,
                    ours,
                    certified,
                } => turn.notice(Notice::Diverged {
                    height,
                    ours,
                    certified,
                }),
                Effect::Passed(passed) => turn.notice(Notice::Passed(passed)),
                Effect::Twin { round } => turn.notice(Notice::Twin(round)),
                Effect::Refused { from, reject } => turn.notice(Notice::Refused { from, reject }),
            }
        }
        Ok(())
    }

    /// What happens once a turn, after all inputs: time passes, batches are sealed, requests go out.
    pub(crate) fn finish(&mut self, turn: &mut Turn<'_>) -> Result<(), ReplicaError> {
        self.expire(turn);
        self.seal(turn)?;
        self.report_work(turn)?;
        let due = self.engine.deadline();
        if due.is_some_and(|deadline| deadline <= turn.now.monotonic) {
            self.drive(turn, Event::Deadline)?;
        }
        if turn.votes() {
            self.pool.hasten();
            self.seal(turn)?;
        }
        self.transfer(turn)?;
        self.take_paths(turn)?;
        self.request(turn);
        Ok(())
    }

    /// Tells the engine when work appears or is gone (L3).
    fn report_work(&mut self, turn: &mut Turn<'_>) -> Result<(), ReplicaError> {
        let ordered = match self.pool.batches() {
            0 => BTreeSet::new(),
            _ => self.ordered(),
        };
        let time = self.pool_time(turn.now);
        let work = self.pool.has_work(turn.now.monotonic, time, &ordered);
        if work != self.work {
            self.work = work;
            self.drive(turn, Event::Work(work))?;
        }
        Ok(())
    }

    /// Batches that uncommitted blocks on the branch of the highest certificate order.
    fn ordered(&self) -> BTreeSet<BatchId> {
        let mut ordered = BTreeSet::new();
        let mut next = self.engine.high_qc_block();
        while let Some(block) = self.blocks.get(&next) {
            ordered.extend(block.batches.iter().copied());
            next = block.header.parent;
        }
        ordered
    }

    /// The time that transactions and batches are judged by: block time may run ahead of a wall clock that was set
    /// back, and the wall clock ahead of an idle chain.
    pub(crate) fn pool_time(&self, now: Now) -> BlockTime {
        now.wall.max(self.time)
    }
}
