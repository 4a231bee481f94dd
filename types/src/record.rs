//! What a validator must never forget.

use serde::{Deserialize, Serialize};

use crate::{Entry, Qc, Round};

/// The safety record: always written whole, in the synced batch of whatever it protects (P1–P4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SafetyRecord {
    /// The round entered: nothing was voted or proposed above it.
    pub round: Round,
    /// What entered it. Without it, after a restart of all, nobody could build a valid Timeout.
    pub entry: Entry,
    /// The highest QC, with its signatures.
    pub high_qc: Qc,
    /// The highest round that a Timeout was signed for; the anchor's round if none.
    pub highest_timeout: Round,
}
