//! Executes the transactions of one block on an [`Overlay`]: the checks of X1, the client's role, the commands, the
//! receipt. Nothing it does outlives it unless the executor takes over what it changed.
//!
//! | a transaction that is | uses its number up |
//! |---|---|
//! | executed | yes |
//! | `BadCommand`, `Forbidden`, `CostExceeded`, `ResultTooLarge`, those about checkpoints | yes: a resubmission gets the same receipt for good |
//! | `Duplicate` | it was used by the first |
//! | `UnknownClient`, `Expired`, `TooFarAhead`, `TooOld`, `SequenceReused`, `BlockFull` | no: no session is touched |

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use quorate_mutants::{Mutant, mutant};
use quorate_types::{Blob, Outcome, Parameters, PublicKey, Receipt, Rejection, Role};
use quorate_types::{Transaction, TransactionId, codec};

use crate::executor::{ExecuteError, OrderedBlock};
use crate::machine::{CommandError, Context, StateMachine, StateView};
use crate::meter::{self, Meter};
use crate::outlines::Outlines;
use crate::overlay::{Changed, Overlay};
use crate::persist;
use crate::places::{self, Places};
use crate::recent::Recent;
use crate::session::{self, Session, Standing};
use crate::space::{Reader, Space};
use crate::tree::Tree;

/// What does not change during a block.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) parameters: &'a Parameters,
    pub(crate) clients: &'a BTreeMap<PublicKey, Role>,
    pub(crate) machine: &'a dyn StateMachine,
}

pub(crate) struct BlockRun<'a, R: Reader> {
    rules: Rules<'a>,
    block: &'a OrderedBlock<'a>,
    state: Overlay<'a, R>,
    recent: &'a mut Recent,
    revision: u64,
    cost: u64,
    receipts: Vec<Receipt>,
    places: Places,
}

/// Whether a transaction may run.
enum Admission {
    /// With its client's role; its number is fresh.
    Run(Role, Session),
    /// This is its outcome.
    Refused(Outcome),
}

/// What a block changes.
pub(crate) struct BlockEffects {
    pub(crate) changed: Changed,
    pub(crate) revision: u64,
    pub(crate) receipts: Vec<Receipt>,
    /// Where receipts of transactions are found that were not heard of before.
    pub(crate) places: Places,
}

impl<'a, R: Reader> BlockRun<'a, R> {
    pub(crate) fn new(
        rules: Rules<'a>,
        reader: &'a R,
        (recent, outlines, tree): (&'a mut Recent, &'a Outlines, &'a mut Tree),
        block: &'a OrderedBlock<'a>,
        revision: u64,
    ) -> Self {
        BlockRun {
            rules,
            block,
            state: Overlay::new(reader, outlines, tree),
            recent,
            revision,
            cost: 0,
            receipts: Vec::new(),
            places: Places::default(),
        }
    }

    /// What was executed so far.
    pub(crate) fn finish(self) -> BlockEffects {
        BlockEffects {
            changed: self.state.into_changed(),
            revision: self.revision,
            receipts: self.receipts,
            places: self.places,
        }
    }

    /// Executes all transactions. The sweep comes first: whether a session is over depends on nothing in the block.
    pub(crate) fn run(mut self) -> Result<BlockEffects, ExecuteError<R::Error>> {
        session::sweep(&mut self.state, self.recent, self.block.time)?;
        for batch in self.block.batches {
            let ids = batch.transaction_ids().iter();
            for (transaction, id) in batch.transactions.iter().zip(ids) {
                self.transaction(transaction, *id)?;
            }
        }
        Ok(self.finish())
    }

    fn transaction(
        &mut self,
        transaction: &Transaction,
        id: TransactionId,
    ) -> Result<(), ExecuteError<R::Error>> {
        let index = u32::try_from(self.receipts.len()).expect("blocks are bounded");
        let (height, body) = (self.block.height, &transaction.body);
        let (outcome, session) = match self.admit(transaction, id)? {
            Admission::Refused(refused) => (refused, None),
            Admission::Run(role, session) => match self.commands(transaction, role)? {
                Ok(results) => {
                    let revision = self.revision;
                    (Outcome::Executed { revision, results }, Some(session))
                }
                Err(full @ Rejection::BlockFull) => (Outcome::Rejected(full), None),
                Err(rejection) => (Outcome::Rejected(rejection), Some(session)),
            },
        };
        if let Some(session) = session {
            let window = self.rules.parameters.session_window;
            let used = (id, height, index);
            session.consume(&mut self.state, self.recent, used, body.valid_until, window)?;
            self.places.put(id, (height, index));
        } else if matches!(outcome, Outcome::Rejected(_)) && !self.is_answered(id)? {
            // Wherever it is mentioned first, unless it is known as a duplicate.
            self.places.put(id, (height, index));
        }
        self.receipts.push(Receipt {
            transaction: id,
            client: body.client,
            sequence: body.sequence,
            height,
            index,
            time: self.block.time,
            outcome,
        });
        Ok(())
    }

    /// X1: whether the transaction may run, and what stands in its way. It is asked first whether it ran before, so that
    /// a resubmission finds the first receipt however late it comes.
    fn admit(
        &mut self,
        transaction: &Transaction,
        id: TransactionId,
    ) -> Result<Admission, ExecuteError<R::Error>> {
        let (body, time) = (&transaction.body, self.block.time);
        let Some(role) = self.rules.clients.get(&body.client) else {
            return Ok(Admission::Refused(Outcome::Rejected(
                Rejection::UnknownClient,
            )));
        };
        let session = Session::load(&self.state, self.recent, body.client, body.sequence)?;
        let standing = session.standing(id);
        if let Standing::Known { height, index } = standing {
            return Ok(Admission::Refused(Outcome::Duplicate { height, index }));
        }
        let furthest = time.plus_nanos(self.rules.parameters.max_validity_ns);
        let rejection = match standing {
            _ if time > body.valid_until && !mutant(Mutant::ExpiryNotChecked) => Rejection::Expired,
            _ if body.valid_until > furthest => Rejection::TooFarAhead,
            Standing::TooOld => Rejection::TooOld,
            Standing::Reused => Rejection::SequenceReused,
            Standing::Fresh | Standing::Known { .. } => {
                return Ok(Admission::Run(*role, session));
            }
        };
        Ok(Admission::Refused(Outcome::Rejected(rejection)))
    }

    /// Runs the commands, all or none.
    fn commands(
        &mut self,
        transaction: &Transaction,
        role: Role,
    ) -> Result<Result<Vec<Blob>, Rejection>, ExecuteError<R::Error>> {
        let parameters = self.rules.parameters;
        let rest = parameters.max_block_cost.saturating_sub(self.cost);
        let limit = parameters.max_transaction_cost.min(rest);
        let mut meter = Meter::new(limit);
        let context = Context {
            time: self.block.time,
            height: self.block.height,
            client: transaction.body.client,
            role,
            revision: self.revision.checked_add(1).expect("2^64 changes"),
            max_result_bytes: usize::try_from(parameters.max_result_bytes).unwrap_or(usize::MAX),
        };
        self.state.begin();
        let done = self.attempt(transaction, &context, &mut meter);
        // What others have used up, or made dearer by what they deleted, is no fault of this one's.
        let others = limit < parameters.max_transaction_cost
            || (self.cost > 0 && meter.has_passed_deleted());
        self.cost = self.cost.saturating_add(meter.used());
        match done {
            Ok(results) => {
                if self.state.keep() {
                    self.revision = context.revision;
                }
                Ok(Ok(results))
            }
            Err((_, CommandError::Storage(_))) => {
                let failure = self.state.take_failure();
                Err(failure.map_or(ExecuteError::Damaged, ExecuteError::Source))
            }
            Err((_, CommandError::Cost(_))) if others => {
                // It is as if it had not been ordered.
                self.state.take_back();
                Ok(Err(Rejection::BlockFull))
            }
            Err((index, error)) => {
                self.state.take_back();
                Ok(Err(rejection(index, error)))
            }
        }
    }

    /// Runs the commands; an error comes with the index of its command.
    fn attempt(
        &mut self,
        transaction: &Transaction,
        context: &Context,
        meter: &mut Meter,
    ) -> Result<Vec<Blob>, (u32, CommandError)> {
        let machine = self.rules.machine;
        meter
            .charge(meter::TRANSACTION)
            .map_err(|e| (0, e.into()))?;
        let mut results = Vec::with_capacity(transaction.body.commands.len());
        for (index, Blob(command)) in (0..).zip(&transaction.body.commands) {
            let mut run = || {
                meter.charge(meter::COMMAND)?;
                meter.charge_bytes(command.len(), meter::COMMAND_BYTES_PER_UNIT)?;
                let mut view = StateView::new(&mut self.state, meter, machine);
                let result = machine.execute(context, &mut view, command)?;
                if result.len() > context.max_result_bytes {
                    return Err(CommandError::ResultTooLarge);
                }
                meter.charge_bytes(result.len(), meter::RESULT_BYTES_PER_UNIT)?;
                Ok(Blob(result))
            };
            results.push(run().map_err(|error| (index, error))?);
        }
        Ok(results)
    }

    /// Whether the transaction has a place whose receipt is an answer. One that told it to come again is none, and what
    /// comes of that takes its place.
    fn is_answered(&mut self, id: TransactionId) -> Result<bool, ExecuteError<R::Error>> {
        if let Some((_, index)) = self.places.get(&id) {
            let index = usize::try_from(index).expect("blocks are bounded");
            return Ok(!self.receipts[index].outcome.passes());
        }
        let reader = self.state.reader();
        let stored = reader.get(Space::Places, id.as_bytes());
        let Some(place) = stored.map_err(ExecuteError::Source)? else {
            return Ok(false);
        };
        let (height, index) = places::decode(&place).map_err(|_| ExecuteError::Damaged)?;
        let key = persist::receipt_key(height, index);
        let receipt = reader.get(Space::Receipts, &key);
        let Some(receipt) = receipt.map_err(ExecuteError::Source)? else {
            return Ok(false); // it goes with what is truncated
        };
        let receipt: Receipt =
            codec::decode(&receipt, codec::MAX_ENCODED_BYTES).map_err(|_| ExecuteError::Damaged)?;
        Ok(!receipt.outcome.passes())
    }
}

fn rejection(command: u32, error: CommandError) -> Rejection {
    match error {
        CommandError::Bad => Rejection::BadCommand(command),
        CommandError::Forbidden => Rejection::Forbidden,
        CommandError::Cost(_) => Rejection::CostExceeded,
        CommandError::ResultTooLarge => Rejection::ResultTooLarge,
        CommandError::UnknownCheckpoint => Rejection::UnknownCheckpoint(command),
        CommandError::CheckpointExists => Rejection::CheckpointExists(command),
        CommandError::TooManyCheckpoints => Rejection::TooManyCheckpoints(command),
        CommandError::Storage(_) => unreachable!("handled by the caller"),
    }
}
