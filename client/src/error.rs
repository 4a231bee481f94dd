//! What can go wrong for a client, grouped by what the caller does next.

use quorate_types::codec::DecodeError;
use quorate_types::{Rejection, TransactionId};

/// What to do about an error; the command line's exit statuses follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again later: nobody answered in time, or what stands in its way passes. The outcome may be unknown, and is
    /// until `valid_until`: sign no other transaction for the same. (Exit status 4.)
    Unavailable,
    /// It was refused for good: it has had no effect, and never has one. (5)
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
    /// There is no answer that is one, or none in time. With an id: the transaction may have been executed, or may be until
    /// its `valid_until`. With nothing: the time was over before anything was sent.
    #[error("{}", timed_out(.pending.as_ref(), .last.as_deref()))]
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
    /// Nobody to talk to.
    #[error("the profile names no endpoint")]
    NoEndpoints,
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
            ClientError::Rejected { rejection, .. } if !rejection.is_final() => {
                ErrorKind::Unavailable
            }
            ClientError::Refused { .. } | ClientError::Rejected { .. } => ErrorKind::Rejected,
            ClientError::BadAnswer { .. }
            | ClientError::WrongChain { .. }
            | ClientError::Proof(_) => ErrorKind::Verification,
            ClientError::Decode(_) | ClientError::NoEndpoints | ClientError::Endpoint(_) => {
                ErrorKind::Failed
            }
        }
    }
}

fn timed_out(pending: Option<&TransactionId>, last: Option<&str>) -> String {
    let pending = pending.map(|id| format!("; the outcome of transaction {id} is not known yet"));
    let last = match (&pending, last) {
        (None, None) => Some(String::from(" before anything was sent")),
        (_, last) => last.map(|last| format!("; the last answer was: {last}")),
    };
    let (pending, last) = (pending.unwrap_or_default(), last.unwrap_or_default());
    format!("timed out{pending}{last}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::REJECTIONS;

    #[test]
    fn only_what_never_executes_is_refused_for_good() {
        for rejection in REJECTIONS {
            let id = TransactionId::default();
            let kind = ClientError::Rejected { id, rejection }.kind();
            let passes = matches!(
                rejection,
                Rejection::TooFarAhead
                    | Rejection::BlockFull
                    | Rejection::TooOld
                    | Rejection::SequenceReused
            );
            assert_eq!(kind == ErrorKind::Unavailable, passes, "{rejection}");
        }
    }

    #[test]
    fn a_timeout_says_whether_anything_was_sent() {
        let nothing = ClientError::TimedOut {
            pending: None,
            last: None,
        };
        assert_eq!(nothing.to_string(), "timed out before anything was sent");
        let open = ClientError::TimedOut {
            pending: Some(TransactionId::default()),
            last: None,
        };
        assert!(!open.to_string().contains("before"), "{open}");
    }
}
