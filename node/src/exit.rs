//! How a command ends: the exit statuses that scripts rely on, and the failures that lead to them.

use std::fmt;

use quorate_client::{ClientError, ErrorKind};

/// Exit status of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// Done.
    Done = 0,
    /// Failed for a reason of no other class.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Configuration or genesis is invalid.
    Config = 3,
    /// Nobody answered in time, or what was refused may be executed yet.
    Unavailable = 4,
    /// The request was refused for good.
    Rejected = 5,
    /// A proof, a hash or a signature does not verify.
    Verification = 6,
    /// Going on could break a promise made before.
    Safety = 7,
    /// Stored data is damaged.
    Damaged = 8,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> std::process::ExitCode {
        // The discriminants are the statuses.
        std::process::ExitCode::from(status.code())
    }
}

impl ExitStatus {
    /// All of them, by number.
    pub const ALL: [ExitStatus; 9] = [
        ExitStatus::Done,
        ExitStatus::Failed,
        ExitStatus::Usage,
        ExitStatus::Config,
        ExitStatus::Unavailable,
        ExitStatus::Rejected,
        ExitStatus::Verification,
        ExitStatus::Safety,
        ExitStatus::Damaged,
    ];

    /// What it means, and whether the same command may be tried again.
    #[must_use]
    pub const fn meaning(self) -> (&'static str, &'static str) {
        match self {
            ExitStatus::Done => ("done", ""),
            ExitStatus::Failed => (
                "failed: a taken port, a full disk, an IO error, or `doctor` found a problem",
                "after the cause is gone",
            ),
            ExitStatus::Usage => ("the command line is wrong", "no: correct it"),
            ExitStatus::Config => (
                "configuration, profile, keys or genesis are invalid",
                "no: correct them",
            ),
            ExitStatus::Unavailable => (
                "nobody answered in time, or what stands in the way of a write passes",
                "yes; the outcome of a write may be open, and `quorate tx wait ID` tells it",
            ),
            ExitStatus::Rejected => ("the validators refused it for good", "no"),
            ExitStatus::Verification => (
                "a proof, hash or signature does not verify",
                "no: somebody changed it, or it is of another chain",
            ),
            ExitStatus::Safety => (
                "refused for safety: going on could break a promise made before",
                "no: [what to do](../OPERATIONS.md#when-a-start-is-refused)",
            ),
            ExitStatus::Damaged => (
                "stored data is damaged",
                "no: delete nothing; [what to do](../OPERATIONS.md#when-a-start-is-refused)",
            ),
        }
    }

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            ExitStatus::Done => 0,
            ExitStatus::Failed => 1,
            ExitStatus::Usage => 2,
            ExitStatus::Config => 3,
            ExitStatus::Unavailable => 4,
            ExitStatus::Rejected => 5,
            ExitStatus::Verification => 6,
            ExitStatus::Safety => 7,
            ExitStatus::Damaged => 8,
        }
    }
}

/// Why a command failed: a status for scripts, a sentence and possibly a way out for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For scripts.
    pub status: ExitStatus,
    /// What went wrong, beginning in lower case, without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(status: ExitStatus, message: impl fmt::Display) -> Failure {
        Failure {
            status,
            message: message.to_string(),
            hint: None,
        }
    }

    /// Status 1.
    pub fn failed(message: impl fmt::Display) -> Failure {
        Failure::new(ExitStatus::Failed, message)
    }

    /// Status 2.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(ExitStatus::Usage, message)
    }

    /// Status 3.
    pub fn config(message: impl fmt::Display) -> Failure {
        Failure::new(ExitStatus::Config, message)
    }

    /// Status 6.
    pub fn verification(message: impl fmt::Display) -> Failure {
        Failure::new(ExitStatus::Verification, message)
    }

    /// Status 8.
    pub fn damaged(message: impl fmt::Display) -> Failure {
        Failure::new(ExitStatus::Damaged, message)
    }

    /// Adds a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Failure {
        self.hint = Some(hint.to_string());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let status = match error.kind() {
            ErrorKind::Unavailable => ExitStatus::Unavailable,
            ErrorKind::Rejected => ExitStatus::Rejected,
            ErrorKind::Verification => ExitStatus::Verification,
            ErrorKind::Failed => ExitStatus::Failed,
        };
        let failure = Failure::new(status, &error);
        match error {
            ClientError::TimedOut {
                pending: Some(id), ..
            } => failure.hint(format!("quorate tx wait {id} tells its outcome")),
            ClientError::Rejected { id, rejection } if !rejection.is_final() => failure.hint(format!(
                "another transaction for the same could be executed beside it before its valid_until \
                 is past: quorate tx wait {id} tells its outcome"
            )),
            ClientError::Unreachable { .. } => {
                failure.hint("check that the validators run and that the profile names them")
            }
            _ => failure,
        }
    }
}
