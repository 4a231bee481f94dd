//! The span of a client's request.

use quorate_client::Wait;
use quorate_types::TransactionId;

use super::{Part, Span};
use crate::backend::{Progress, SubmitError};
use crate::validator::clock::wall;

/// What a client's request came to. One that is given up, by a client that goes or by the time that it may take, leaves no
/// span. `begun` is nanoseconds since 1970.
#[must_use]
pub fn submitted(
    transaction: TransactionId,
    wait: Wait,
    begun: u64,
    result: &Result<Progress, SubmitError>,
) -> Span {
    let place = match result {
        Ok(Progress::Committed { height, index, .. }) => Some((*height, *index)),
        Ok(Progress::Executed(receipt)) => Some((receipt.height, receipt.index)),
        Ok(Progress::Accepted(_)) | Err(_) => None,
    };
    let mut attributes = vec![("quorate.wait", wait.as_str().to_owned())];
    if let Some((height, index)) = place {
        attributes.push(("quorate.height", height.to_string()));
        attributes.push(("quorate.index", index.to_string()));
    }
    Span {
        transaction,
        part: Part::Submit,
        below: None,
        start: begun,
        end: wall().0.max(begun),
        attributes,
        events: Vec::new(),
        error: result.as_ref().err().map(|error| format!("{error:?}")),
    }
}
