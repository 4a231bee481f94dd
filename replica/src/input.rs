//! What a replica is told.

use quorate_types::message::VerifiedMessage;
use quorate_types::{HashedTransaction, ValidatorIndex, Verified};

/// Names somebody who waits for an answer; chosen by the driver, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the submitter of a transaction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// That it is queued here: no promise.
    Admitted,
    /// That it is final and executed; the receipt is the answer.
    Executed,
}

/// Something that happened outside.
#[derive(Debug)]
pub enum Input {
    /// A peer's message, verified.
    Message {
        /// Whose connection it came over; not always who signed it.
        from: ValidatorIndex,
        /// The message.
        message: VerifiedMessage,
    },
    /// What this validator itself signed in the turn before: it counts only now that it is durable.
    Own(OwnMessage),
    /// A client's transaction, verified.
    Submit {
        /// Who waits.
        ticket: Ticket,
        /// The transaction.
        transaction: Box<Verified<HashedTransaction>>,
        /// For what.
        wait: Wait,
    },
    /// Asks for a key's value with a proof against a claimed state.
    Prove {
        /// Who waits.
        ticket: Ticket,
        /// The whole key, its namespace included.
        key: Vec<u8>,
    },
    /// A connection to the peer was made: it may have missed anything.
    Connected(ValidatorIndex),
    /// The connection to the peer was lost.
    Disconnected(ValidatorIndex),
}

/// A message that only [`crate::Released::sign`] makes.
#[derive(Debug)]
pub struct OwnMessage(pub(crate) VerifiedMessage);
