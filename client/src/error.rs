//! What can go wrong for a client, grouped by what the caller does next.

use quorate_types::codec::DecodeError;
use quorate_types::{Rejection, TransactionId};

/// What to do about an error; the command line's exit statuses follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again later: nobody answered in time. The outcome may be unknown. (Exit status 4.)
    Unavailable,
    /// It was refused, and will be again. (5)
    Rejected,
    /// An answer or a proof is not what it claims to be. (6)
    Verification,
    /// The caller's own mistake. (1)
    Failed,
}

/// Why an operation of the client did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No endpoint answered; the last one's trouble.
    #[error("no validator answered: {last}")]
    Unreachable {
        /// What the last endpoint said or did.
        last: String,
    },
    /// The time ran out. With an id: the transaction may still be executed until its `valid_until`.
    #[error(
        "timed out{}{}",
        .pending.map(|id| format!("; the outcome of transaction {id} is not known yet")).unwrap_or_default(),
        .last.as_ref().map(|last| format!("; the last answer was: {last}")).unwrap_or_default()
    )]
    TimedOut {
        /// The transaction whose outcome is unknown.
        pending: Option<TransactionId>,
        /// What the last endpoint said or did, if any was asked.
        last: Option<String>,
    },
    /// A validator refused the request for good.
    #[error("{detail} ({code})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The stable code of the problem document.
        code: String,
        /// For people.
        detail: String,
    },
    /// It was ordered, and rejected by the state machine.
    #[error("transaction {id} was rejected: {rejection}")]
    Rejected {
        /// Which.
        id: TransactionId,
        /// Why.
        rejection: Rejection,
    },
    /// The answer is not what the protocol allows.
    #[error("{endpoint} sent an answer that makes no sense: {what}")]
    BadAnswer {
        /// Who.
        endpoint: String,
        /// What is wrong with it.
        what: String,
    },
    /// The validator serves another chain.
    #[error("{endpoint} serves chain {found}, the profile names {expected}")]
    WrongChain {
        /// Who.
        endpoint: String,
        /// As it says.
        found: String,
        /// As the profile says.
        expected: String,
    },
    /// A proof that does not verify.
    #[error("the proof does not verify: {0}")]
    Proof(String),
    /// Bytes that are no canonical encoding.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An endpoint that is no URL.
    #[error("{0:?} is no endpoint; expected http://host:port")]
    Endpoint(String),
}

impl ClientError {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            ClientError::Unreachable { .. } | ClientError::TimedOut { .. } => {
                ErrorKind::Unavailable
            }
            ClientError::Refused {
                status: 429 | 500..,
                ..
            } => ErrorKind::Unavailable,
            ClientError::Refused { .. } | ClientError::Rejected { .. } => ErrorKind::Rejected,
            ClientError::BadAnswer { .. }
            | ClientError::WrongChain { .. }
            | ClientError::Proof(_) => ErrorKind::Verification,
            ClientError::Decode(_) | ClientError::Endpoint(_) => ErrorKind::Failed,
        }
    }
}
