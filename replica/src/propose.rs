//! What a leader puts into its block (B2).

use quorate_consensus::{Event, ProposeRequest};

use crate::replica::{Replica, ReplicaError};
use crate::turn::Turn;

impl Replica {
    /// The payload for a proposal: what waits is packed first, so that an idle chain orders a transaction at once.
    pub(crate) fn payload(
        &mut self,
        turn: &mut Turn<'_>,
        request: &ProposeRequest,
    ) -> Result<Event, ReplicaError> {
        let mut payload = quorate_mempool::Payload::default();
        if !request.must_be_empty {
            self.seal(turn)?;
            payload = self
                .pool
                .candidates(turn.now.monotonic, request.time, &request.exclude);
            // The engine takes an empty payload for the end of the work, and is to be told when there is some again.
            self.work &= !payload.batches.is_empty();
        }
        Ok(Event::Payload {
            round: request.round,
            batches: payload.batches,
            inline: payload.inline,
        })
    }
}
