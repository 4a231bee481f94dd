//! Outcomes that are open: no liar's clock and no single refusal ends one, and a kept transaction is settled as it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::routing::get;
use quorate_client::validity::{DEFAULT_VALIDITY, wall_clock};
use quorate_client::{Client, ClientError, ErrorKind, Profile, Wait};
use quorate_node::backend::SubmitError;
use quorate_node::keys;
use quorate_types::{Blob, BlockTime, Outcome, Rejection, codec};

use crate::cli::{quorate, status, stderr, text};
use crate::failover::{LONG, SHORT, client};
use crate::mock::{Mock, Script, chain, executed, key, receipt, serve, transaction};

const HOUR: u64 = 3_600_000_000_000;

async fn four() -> ([Arc<Mock>; 4], Vec<SocketAddr>) {
    let mocks: [Arc<Mock>; 4] = Default::default();
    let mut addresses = Vec::new();
    for mock in &mocks {
        addresses.push(serve(Arc::clone(mock)).await);
    }
    (mocks, addresses)
}

fn is_open(error: &ClientError, client: &Mock) -> bool {
    let id = client.seen.lock().expect("unpoisoned")[0].id();
    matches!(error, ClientError::TimedOut { pending, .. } if *pending == Some(id))
}

/// What was signed by its clock the others refused, the client signed another, and the liar had the first one ordered an
/// hour later.
#[tokio::test]
async fn one_liar_does_not_choose_the_deadline_that_is_signed() {
    let (mocks, addresses) = four().await;
    let now = wall_clock();
    for mock in &mocks {
        *mock.clocks.lock().expect("unpoisoned") = (now, now);
    }
    let ahead = BlockTime(now.0 + HOUR);
    *mocks[0].clocks.lock().expect("unpoisoned") = (ahead, ahead);
    let client = client(&addresses, LONG);
    let signed = client.sign(&key(), vec![Blob(vec![1])]).await;
    let validity = u64::try_from(DEFAULT_VALIDITY.as_nanos()).expect("minutes");
    let until = signed.expect("a majority").body.valid_until.0;
    assert!((now.0 + validity..now.0 + validity + HOUR / 2).contains(&until));
}

#[tokio::test]
async fn what_all_find_too_far_ahead_may_be_executed_yet() {
    let (mocks, addresses) = four().await;
    for mock in &mocks {
        mock.set(Script::Refuse(SubmitError::TooFarAhead));
    }
    let client = client(&addresses, LONG);
    let ended = client.execute(&key(), vec![Blob(vec![1])]).await;
    let error = ended.expect_err("nobody takes it");
    assert!(is_open(&error, &mocks[0]), "{error}");
    assert!(error.to_string().contains("too_far_ahead"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    // So is what was ordered too early.
    let mock = Arc::new(Mock::default());
    mock.set(Script::Reject(Rejection::TooFarAhead, u32::MAX));
    let client = crate::failover::client(&[serve(Arc::clone(&mock)).await], SHORT);
    let ended = client.execute(&key(), vec![Blob(vec![1])]).await;
    let error = ended.expect_err("too early");
    assert!(is_open(&error, &mock), "{error}");
}

/// The liar had it ordered when the client had signed another one.
#[tokio::test]
async fn what_one_of_four_refuses_is_not_refused() {
    for lie in [SubmitError::UnknownClient, SubmitError::TooFarAhead] {
        let (mocks, addresses) = four().await;
        mocks[0].set(Script::Refuse(lie));
        let client = client(&addresses, LONG);
        let ended = client.execute(&key(), vec![Blob(vec![1])]).await;
        ended.expect("the second takes it");
    }
    let (mocks, addresses) = four().await;
    for mock in &mocks[..2] {
        mock.set(Script::Refuse(SubmitError::UnknownClient));
    }
    let client = client(&addresses, LONG);
    let refused = client.submit(&transaction(1), Wait::Executed).await;
    let error = refused.expect_err("one of two is honest");
    assert_eq!(error.kind(), ErrorKind::Rejected);
}

async fn kept(client: &Client) -> Result<Outcome, ClientError> {
    let settled = client.settle(&transaction(1)).await;
    settled.map(|(receipt, _)| receipt.outcome)
}

#[tokio::test]
async fn a_kept_transaction_has_the_receipt_that_anybody_knows() {
    let (mocks, addresses) = four().await;
    for mock in &mocks[..3] {
        mock.set(Script::Refuse(SubmitError::TooLate));
    }
    let done = receipt(&transaction(1), executed());
    let log = &mocks[3].executed;
    log.lock()
        .expect("unpoisoned")
        .insert(done.transaction, done.clone());
    let client = client(&addresses, LONG);
    let outcome = kept(&client).await.expect("it was executed");
    assert_eq!(outcome, done.outcome);
    for mock in &mocks {
        let seen = mock.seen.lock().expect("unpoisoned").clone();
        assert_eq!(seen, [transaction(1)], "the same bytes");
    }
}

/// A fresh one that a quorum refuses was never taken. One that was kept may have been.
#[tokio::test]
async fn no_refusal_ends_what_may_have_been_sent_before() {
    for refusal in [SubmitError::TooLate, SubmitError::UnknownClient] {
        let (mocks, addresses) = four().await;
        for mock in &mocks {
            mock.set(Script::Refuse(refusal));
        }
        let client = client(&addresses, LONG);
        let error = kept(&client).await.expect_err("nobody knows");
        assert!(is_open(&error, &mocks[0]), "{error}");
        let again = client.submit_again(&transaction(1), Wait::Executed).await;
        let error = again.expect_err("nobody knows");
        assert!(is_open(&error, &mocks[0]), "{error}");
        let fresh = client.submit(&transaction(1), Wait::Executed).await;
        let error = fresh.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Rejected);
    }
}

#[tokio::test]
async fn a_kept_transaction_is_followed_as_a_new_one_is() {
    let mock = Arc::new(Mock::default());
    let patient = client(&[serve(Arc::clone(&mock)).await], LONG);
    mock.set(Script::Reject(Rejection::BlockFull, 2));
    let outcome = kept(&patient).await.expect("the third block has room");
    assert!(matches!(outcome, Outcome::Executed { .. }));
    let seen = mock.seen.lock().expect("unpoisoned").clone();
    assert_eq!(seen, vec![transaction(1); 3]);

    // That another one has its number takes a proof.
    let mock = Arc::new(Mock::default());
    mock.set(Script::Reject(Rejection::SequenceReused, 1));
    let address = serve(Arc::clone(&mock)).await;
    let error = kept(&client(&[address], SHORT)).await;
    let error = error.expect_err("not proved");
    assert!(is_open(&error, &mock), "{error}");
    mock.proves.store(true, Ordering::SeqCst);
    let error = kept(&client(&[address], LONG)).await;
    let error = error.expect_err("another has the number");
    let reused = Rejection::SequenceReused;
    assert!(
        matches!(error, ClientError::Rejected { rejection, .. } if rejection == reused),
        "{error}"
    );
    assert_eq!(mock.seen.lock().expect("unpoisoned").len(), 2);
}

/// Each of the questions before it is signed had a deadline of its own, and what was never sent was said to be open.
#[tokio::test]
async fn an_operation_has_one_deadline_and_what_was_not_sent_is_not_open() {
    let prompt = client(&[serve(Arc::new(Mock::default())).await], LONG);
    let status = prompt.status().await.expect("a status");
    let number = prompt.client_info(&key().public()).await.expect("a number");
    let slow = |body: String| {
        get(move || async move {
            tokio::time::sleep(SHORT * 2 / 3).await;
            body
        })
    };
    let router = Router::new()
        .route(
            "/v1/status",
            slow(serde_json::to_string(&status).expect("JSON")),
        )
        .route(
            "/v1/clients/{key}",
            slow(serde_json::to_string(&number).expect("JSON")),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async { axum::serve(listener, router).await.expect("for ever") });
    let client = client(&[address], SHORT);
    let error = client.execute(&key(), vec![Blob(vec![1])]).await;
    let error = error.expect_err("too slow");
    let pending = matches!(
        error,
        ClientError::TimedOut {
            pending: Some(_),
            ..
        }
    );
    assert!(!pending, "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

/// What a file holds may be open, and was overwritten by the next one; a crash could leave half of it.
#[test]
fn what_is_saved_is_kept() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let mock = Arc::new(Mock::default());
    let address = runtime.block_on(serve(Arc::clone(&mock)));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    let profile = Profile {
        endpoints: vec![format!("http://{address}")],
        chain: chain(),
        genesis: None,
        keys: None,
    };
    std::fs::write(path("client.toml"), profile.to_toml()).expect("writable");
    keys::write(&path("key.pem"), &key()).expect("writable");
    let (profile, pem, kept) = (path("client.toml"), path("key.pem"), path("t.tx"));
    let globals = ["--profile", text(&profile), "--key", text(&pem)];
    let run = |rest: &[&str]| quorate(&[&globals, rest].concat());
    let sign = ["tx", "submit", "--command", "00", "--save", text(&kept)];
    let first = run(&sign);
    assert_eq!(status(&first), 0, "{}", stderr(&first));
    let refused = run(&sign);
    assert_eq!(status(&refused), 1);
    assert!(
        stderr(&refused).contains("may be open"),
        "{}",
        stderr(&refused)
    );
    let seen = mock.seen.lock().expect("unpoisoned").clone();
    let bytes = std::fs::read(&kept).expect("kept");
    assert_eq!(bytes, codec::encode(&seen[0]));
    assert_eq!(seen.len(), 1, "nothing is sent that is not kept");

    // What is submitted from a file may have been before.
    mock.set(Script::Refuse(SubmitError::TooLate));
    let open = run(&["--timeout", "5", "tx", "submit", text(&kept)]);
    assert_eq!(status(&open), 4, "{}", stderr(&open));
    // A receipt that is not for good is no refusal.
    for (rejection, expected) in [(Rejection::TooOld, 4), (Rejection::Forbidden, 5)] {
        mock.executed.lock().expect("unpoisoned").clear();
        mock.set(Script::Reject(rejection, 1));
        let shown = run(&["tx", "submit", text(&kept)]);
        assert_eq!(status(&shown), expected, "{}", stderr(&shown));
    }
}
