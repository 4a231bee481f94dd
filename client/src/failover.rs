//! One request, one validator after another, until one has answered it.
//!
//! Some validators are gone, full, silent, behind, or liars. Owns what may be concluded from their answers: an answer that
//! makes no sense is none; what one refuses is not refused until as many say so that an honest one is among them; and after
//! a submission that anybody may have taken no refusal says that it has no effect.

use std::collections::BTreeMap;
use std::time::Instant;

use hyper::StatusCode;
use quorate_types::TransactionId;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::ClientError;
use crate::http::{Answer, Call, NoAnswer};

/// What a request is for, which decides what a refusal of it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An answer as the first validator has it: what it refuses is refused.
    Read,
    /// What there is, or will be soon: who does not have it is passed over, and asked again.
    Wanted,
    /// To have this transaction executed.
    Submit {
        /// Which.
        id: TransactionId,
        /// It may have been taken before: nothing that is refused now says that it has no effect.
        open: bool,
    },
}

impl Client {
    /// Sends a request until a validator answers it with what `read` accepts, or refuses it. Also returns who answered.
    pub(crate) async fn attempt<T>(
        &self,
        call: &Call,
        deadline: Instant,
        purpose: Purpose,
        read: impl Fn(&Answer, &str) -> Result<T, ClientError>,
    ) -> Result<(T, String), ClientError> {
        let endpoints = &self.profile().endpoints;
        let mut backoff = Backoff::default();
        let mut tally = Tally::new(endpoints.len(), purpose);
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

/// Why a validator does not take a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It is not one that may be executed, ever: every honest validator says the same.
    Bad,
    /// Its time is over, by the validator's clock.
    Late,
    /// Its time lies too far ahead, which passes.
    Early,
}

/// What the validators have said to a request so far.
#[derive(Debug)]
struct Tally {
    validators: usize,
    purpose: Purpose,
    /// Somebody may have taken it.
    open: bool,
    /// Who refused the submission, and what each said last.
    refused: BTreeMap<usize, Refusal>,
    /// Somebody says that there may be an answer soon.
    not_yet: bool,
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
    fn new(validators: usize, purpose: Purpose) -> Tally {
        Tally {
            validators,
            purpose,
            open: matches!(purpose, Purpose::Submit { open: true, .. }),
            refused: BTreeMap::new(),
            not_yet: false,
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
    fn refused(&mut self, index: usize, answer: &Answer) -> Option<ClientError> {
        let refusal = answer.refusal();
        let Some(problem) = answer.problem() else {
            self.senseless(refusal);
            return None;
        };
        match self.purpose {
            Purpose::Read => Some(refusal),
            Purpose::Wanted if matches!(answer.status.as_u16(), 404 | 409) => {
                self.not_yet = true;
                self.last = Some(refusal.to_string());
                None
            }
            Purpose::Wanted => {
                self.senseless(refusal);
                None
            }
            Purpose::Submit { .. } => {
                let why = match (answer.status, problem.code.as_str()) {
                    (StatusCode::UNPROCESSABLE_ENTITY, "expired") => Refusal::Late,
                    (StatusCode::UNPROCESSABLE_ENTITY, _) => Refusal::Early,
                    _ => Refusal::Bad,
                };
                self.last = Some(refusal.to_string());
                self.refused.insert(index, why);
                // Whoever has the bytes can have them ordered when their time has come.
                self.open |= why == Refusal::Early;
                // One of the earlier attempts may have executed it: a refusal of the repeat says nothing about that, and
                // one that was not asked yet may know.
                (!self.open && self.is_refused()).then_some(refusal)
            }
        }
    }

    /// Whether enough validators have refused the submission for another pass to bring nothing else.
    ///
    /// Whether a transaction can be executed at all, one honest validator knows, and is among f + 1. Whether it is too
    /// late, or too early, each says by its own clock, and one that is cut off says it of what the others have executed: a
    /// quorum of refusals has a validator in it that would know.
    fn is_refused(&self) -> bool {
        let bad = self.refused.values().filter(|why| **why == Refusal::Bad);
        bad.count() > self.faulty() || self.refused.len() >= self.validators - self.faulty()
    }

    /// What a pass ends with if another would bring nothing else: the answer of every validator that is there made no
    /// sense, or enough of them have refused.
    fn end_of_pass(&mut self) -> Option<ClientError> {
        let nonsense = self.senseless > 0 && self.senseless + self.absent >= self.validators;
        (self.senseless, self.absent) = (0, 0);
        (nonsense || self.is_refused()).then(|| self.give_up())
    }

    /// The error of a request that nobody has answered.
    fn give_up(&mut self) -> ClientError {
        self.open |= !self.refused.is_empty();
        if let Some(pending) = self.pending() {
            return pending;
        }
        match (self.wrong.take(), self.last.take()) {
            (Some(wrong), _) => wrong,
            (None, Some(last)) if !self.not_yet => ClientError::Unreachable { last },
            (None, last) => ClientError::TimedOut {
                pending: None,
                last,
            },
        }
    }

    /// The error of a submission that somebody may have taken.
    fn pending(&self) -> Option<ClientError> {
        let Purpose::Submit { id, .. } = self.purpose else {
            return None;
        };
        let wrong = self.wrong.as_ref().map(ToString::to_string);
        self.open.then(|| ClientError::TimedOut {
            pending: Some(id),
            last: self.last.clone().or(wrong),
        })
    }

    /// f, if the profile names all validators.
    fn faulty(&self) -> usize {
        self.validators.saturating_sub(1) / 3
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
        let id = TransactionId::default();
        Tally::new(validators, Purpose::Submit { id, open: false })
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
        assert!(tally.refused(1, &invalid).is_none(), "one may lie");
        let refusal = tally.refused(2, &invalid).expect("final");
        assert_eq!(refusal.kind(), ErrorKind::Rejected);
        let open = |mut tally: Tally| {
            // The last of them may have its receipt.
            for index in 1..=3 {
                assert!(tally.refused(index, &invalid).is_none());
            }
            is_open(tally.end_of_pass())
        };
        for (status, code) in [(429, "full"), (503, "not_serving"), (504, "timed_out")] {
            let mut tally = submission(4);
            tally.busy("", &answer(status, code));
            assert!(open(tally), "{code}");
        }
        let mut tally = submission(4);
        tally.silent(&NoAnswer::Timeout(String::new(), Duration::ZERO));
        assert!(open(tally));
        let id = TransactionId::default();
        let again = Tally::new(4, Purpose::Submit { id, open: true });
        assert!(open(again), "sent by an earlier process");
        // What is only asked cannot be open.
        let mut tally = Tally::new(4, Purpose::Read);
        tally.busy("", &answer(503, "not_serving"));
        let refusal = tally.refused(1, &answer(404, "not_found")).expect("final");
        assert!(matches!(refusal, ClientError::Refused { status: 404, .. }));
    }

    /// A liar said so, and had it ordered after the client had signed another one.
    #[test]
    fn one_refusal_of_four_is_no_outcome() {
        for (status, code) in [(400, "malformed"), (403, "unknown_client")] {
            let mut tally = submission(4);
            assert!(tally.refused(0, &answer(status, code)).is_none());
            assert!(is_open(Some(tally.give_up())), "{code}");
        }
        assert!(
            submission(1)
                .refused(0, &answer(400, "malformed"))
                .is_some()
        );
    }

    #[test]
    fn what_is_too_early_is_open_whoever_says_so() {
        let early = answer(422, "too_far_ahead");
        let mut tally = submission(4);
        for index in 0..2 {
            assert!(tally.refused(index, &early).is_none());
        }
        assert!(tally.end_of_pass().is_none(), "two may take it yet");
        assert!(tally.refused(2, &early).is_none());
        assert!(is_open(tally.end_of_pass()));
    }

    #[test]
    fn what_was_not_sent_is_not_open() {
        assert!(!is_open(Some(submission(4).give_up())));
    }

    #[test]
    fn what_is_wanted_is_waited_for() {
        let (early, strange) = (answer(409, "not_provable"), answer(400, "malformed"));
        let mut tally = Tally::new(2, Purpose::Wanted);
        assert!(tally.refused(0, &early).is_none());
        assert!(tally.refused(1, &strange).is_none());
        assert!(tally.end_of_pass().is_none());
        let mut tally = Tally::new(2, Purpose::Wanted);
        assert!(tally.refused(0, &early).is_none());
        assert_eq!(tally.give_up().kind(), ErrorKind::Unavailable);
        let mut tally = Tally::new(2, Purpose::Wanted);
        (0..2).for_each(|index| assert!(tally.refused(index, &strange).is_none()));
        let error = tally.end_of_pass().expect("nobody has it");
        assert_eq!(error.kind(), ErrorKind::Rejected);
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
        let mut tally = Tally::new(2, Purpose::Read);
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
