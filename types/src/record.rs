//! What a validator must never forget.

use serde::{Deserialize, Serialize};

use crate::{Entry, Qc, Reject, Round, Validators};

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

impl SafetyRecord {
    /// Whether this is a record that a validator of the set can have written: its certificates verify, and its rounds
    /// agree with them. What a start reads back from its own disk is checked like a peer's word: a disk may lie, too.
    ///
    /// # Errors
    /// [`Reject::WrongEpoch`], [`Reject::CertificateMismatch`] if the entry certificate does not enter the round,
    /// [`Reject::WrongHighQc`] if a higher certificate is held than the highest, [`Reject::Malformed`] for rounds that
    /// contradict each other; for the certificates as for [`Qc`] and [`crate::Tc`].
    pub fn check(&self, validators: &Validators) -> Result<(), Reject> {
        let epoch = validators.epoch();
        if [self.round.epoch, self.highest_timeout.epoch] != [epoch; 2] {
            return Err(Reject::WrongEpoch);
        }
        let entered_with = match &self.entry {
            Entry::Qc(qc) => qc,
            Entry::Tc(tc) => &tc.high_qc,
        };
        // I2: a Timeout is signed for the current round or an earlier one, and the round is above every certificate.
        if self.highest_timeout > self.round || self.high_qc.round >= self.round {
            return Err(Reject::Malformed);
        }
        if entered_with.round > self.high_qc.round {
            return Err(Reject::WrongHighQc);
        }
        if self.entry.enters() != self.round {
            return Err(Reject::CertificateMismatch);
        }
        validators.check_qc(&self.high_qc)?;
        match &self.entry {
            Entry::Qc(qc) => validators.check_qc(qc),
            Entry::Tc(tc) => validators.check_tc(tc),
        }
    }
}
