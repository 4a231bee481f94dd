//! One request, one validator after another, until one has answered it.
//!
//! Some validators are gone, full, silent, behind, or liars. Owns what may be concluded from their answers: an answer that
//! makes no sense is none, and after a submission that anybody may have taken no refusal says that it has no effect.

use std::collections::BTreeSet;
use std::time::Instant;

use hyper::StatusCode;
use quorate_types::TransactionId;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::ClientError;
use crate::http::{Answer, Call, NoAnswer};

impl Client {
    /// Sends a request until a validator answers it with what `read` accepts, or refuses it. Also returns who answered.
    /// `id` is the transaction that it submits, if it does.
    pub(crate) async fn attempt<T>(
        &self,
        call: &Call,
        deadline: Instant,
        id: Option<TransactionId>,
        read: impl Fn(&Answer, &str) -> Result<T, ClientError>,
    ) -> Result<(T, String), ClientError> {
        let endpoints = &self.profile().endpoints;
        let mut backoff = Backoff::default();
        let mut tally = Tally::new(endpoints.len(), id);
        loop {
            let start = self.preferred();
            for step in 0..endpoints.len() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(tally.give_up());
                }
                let index = start.wrapping_add(step) % endpoints.len();
                let endpoint = &endpoints[index];
                let within = left.min(backoff.patience());
                match self.http().call(endpoint, call, within).await {
                    Err(error) => tally.silent(&error),
                    Ok(answer) if goes_elsewhere(answer.status) => {
                        backoff.asked(answer.retry_after);
                        tally.busy(endpoint, &answer);
                    }
                    Ok(answer) if answer.status.is_success() => match read(&answer, endpoint) {
                        Ok(value) => {
                            self.prefer(index);
                            return Ok((value, endpoint.clone()));
                        }
                        Err(error) => tally.senseless(error),
                    },
                    Ok(answer) => {
                        if let Some(error) = tally.refused(index, &answer) {
                            self.prefer(index);
                            return Err(error);
                        }
                    }
                }
            }
            if let Some(error) = tally.end_of_pass() {
                return Err(error);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::time::sleep(backoff.next().min(left)).await;
        }
    }
}

/// Whether another validator may do better: full, not ready, or no outcome yet.
pub(crate) fn goes_elsewhere(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// What the validators have said to a request so far.
#[derive(Debug)]
struct Tally {
    validators: usize,
    /// The transaction that the request submits.
    id: Option<TransactionId>,
    /// Somebody may have taken it.
    open: bool,
    /// Who refused it by its own clock.
    too_late: BTreeSet<usize>,
    /// Answers of this pass that make no sense.
    senseless: usize,
    /// The last of them.
    wrong: Option<ClientError>,
    /// Validators that took no connection in this pass.
    absent: usize,
    /// The last trouble of any other kind.
    last: Option<String>,
}

impl Tally {
    fn new(validators: usize, id: Option<TransactionId>) -> Tally {
        Tally {
            validators,
            id,
            open: false,
            too_late: BTreeSet::new(),
            senseless: 0,
            wrong: None,
            absent: 0,
            last: None,
        }
    }

    fn silent(&mut self, error: &NoAnswer) {
        let absent = matches!(error, NoAnswer::Connect(..));
        self.absent += usize::from(absent);
        self.open |= !absent;
        self.last = Some(error.to_string());
    }

    /// 429 and 503 do not say whether it was taken before: a validator that has no room for the receipt, or closes to
    /// install a snapshot, answers so for what it has passed on already.
    fn busy(&mut self, endpoint: &str, answer: &Answer) {
        self.open = true;
        self.last = Some(format!("{endpoint}: {}", answer.refusal()));
    }

    fn senseless(&mut self, error: ClientError) {
        self.open = true;
        self.senseless += 1;
        self.wrong = Some(error);
    }

    /// A refusal: the error, if it is final.
    ///
    /// Whether a transaction is too late, or too early, each validator says by its own clock, and one that is cut off says
    /// it of what the others have executed. A quorum of refusals has a validator in it that would know.
    fn refused(&mut self, index: usize, answer: &Answer) -> Option<ClientError> {
        let refusal = answer.refusal();
        if answer.problem().is_none() {
            self.senseless += 1;
            self.wrong = Some(refusal);
            return None;
        }
        if self.id.is_some() && answer.status == StatusCode::UNPROCESSABLE_ENTITY {
            self.too_late.insert(index);
            if self.too_late.len() < self.quorum() {
                self.last = Some(refusal.to_string());
                return None;
            }
        }
        // One of the earlier attempts may have executed it: a refusal of the repeat says nothing about that.
        Some(self.pending().unwrap_or(refusal))
    }

    /// What a pass ends with if the answer of every validator that is there made no sense: another would bring nothing else.
    fn end_of_pass(&mut self) -> Option<ClientError> {
        let all = self.senseless > 0 && self.senseless + self.absent >= self.validators;
        (self.senseless, self.absent) = (0, 0);
        all.then(|| self.give_up())
    }

    /// The error of a request that nobody has answered.
    fn give_up(&mut self) -> ClientError {
        self.open |= !self.too_late.is_empty();
        if let Some(pending) = self.pending() {
            return pending;
        }
        match (self.wrong.take(), self.last.take()) {
            (Some(wrong), _) => wrong,
            (None, Some(last)) => ClientError::Unreachable { last },
            (None, None) => ClientError::TimedOut {
                pending: self.id,
                last: None,
            },
        }
    }

    /// The error of a submission that somebody may have taken.
    fn pending(&self) -> Option<ClientError> {
        let pending = self.id.filter(|_| self.open)?;
        let wrong = self.wrong.as_ref().map(ToString::to_string);
        Some(ClientError::TimedOut {
            pending: Some(pending),
            last: self.last.clone().or(wrong),
        })
    }

    /// n − f, if the profile names all validators.
    fn quorum(&self) -> usize {
        self.validators - self.validators.saturating_sub(1) / 3
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::api::Problem;
    use crate::error::ErrorKind;

    fn answer(status: u16, code: &str) -> Answer {
        let problem = Problem {
            kind: String::new(),
            title: String::new(),
            status,
            code: String::from(code),
            detail: String::new(),
            transaction: None,
        };
        Answer {
            status: StatusCode::from_u16(status).expect("valid"),
            retry_after: None,
            content_type: String::new(),
            body: Bytes::from(serde_json::to_vec(&problem).expect("JSON")),
        }
    }

    fn submission(validators: usize) -> Tally {
        Tally::new(validators, Some(TransactionId::default()))
    }

    fn is_open(error: Option<ClientError>) -> bool {
        matches!(
            error,
            Some(ClientError::TimedOut {
                pending: Some(_),
                ..
            })
        )
    }

    #[test]
    fn after_anything_but_a_refused_connection_a_refusal_is_no_outcome() {
        let invalid = answer(400, "malformed");
        let mut tally = submission(4);
        tally.silent(&NoAnswer::Connect(String::new(), String::new()));
        let refusal = tally.refused(1, &invalid).expect("final");
        assert_eq!(refusal.kind(), ErrorKind::Rejected);
        for (status, code) in [(429, "full"), (503, "not_serving"), (504, "timed_out")] {
            let mut tally = submission(4);
            tally.busy("", &answer(status, code));
            assert!(is_open(tally.refused(1, &invalid)), "{code}");
        }
        let mut tally = submission(4);
        tally.silent(&NoAnswer::Timeout(String::new(), Duration::ZERO));
        assert!(is_open(tally.refused(1, &invalid)));
        // What is only asked cannot be open.
        let mut tally = Tally::new(4, None);
        tally.busy("", &answer(503, "not_serving"));
        let refusal = tally.refused(1, &answer(404, "not_found")).expect("final");
        assert!(matches!(refusal, ClientError::Refused { status: 404, .. }));
    }

    #[test]
    fn a_clock_refuses_with_a_quorum_of_others_or_not_at_all() {
        let expired = answer(422, "expired");
        let mut tally = submission(4);
        // The same one twice is one.
        for index in [0, 0, 1] {
            assert!(tally.refused(index, &expired).is_none());
        }
        let refusal = tally.refused(3, &expired).expect("three of four");
        assert!(matches!(refusal, ClientError::Refused { status: 422, .. }));
        let mut tally = submission(4);
        assert!(tally.refused(0, &expired).is_none());
        assert!(is_open(Some(tally.give_up())));
        assert!(submission(1).refused(0, &expired).is_some());
    }

    #[test]
    fn nonsense_ends_a_request_when_it_is_all_there_is() {
        let nonsense = || ClientError::Proof(String::new());
        let mut tally = Tally::new(2, None);
        let absent = NoAnswer::Connect(String::new(), String::new());
        tally.senseless(nonsense());
        tally.silent(&NoAnswer::Timeout(String::new(), Duration::ZERO));
        assert!(tally.end_of_pass().is_none());
        (0..2).for_each(|_| tally.silent(&absent));
        assert!(tally.end_of_pass().is_none(), "nobody said anything");
        tally.senseless(nonsense());
        tally.silent(&absent);
        assert!(tally.end_of_pass().is_some());
        tally.senseless(nonsense());
        // A page of something else that listens there.
        let mut page = answer(404, "");
        page.body = Bytes::from_static(b"<html>");
        assert!(tally.refused(1, &page).is_none());
        assert!(tally.end_of_pass().is_some());
        let mut tally = submission(1);
        tally.senseless(nonsense());
        assert!(is_open(tally.end_of_pass()));
    }
}
