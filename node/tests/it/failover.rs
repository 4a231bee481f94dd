//! The client against several validators, some of which are gone, full, silent, or liars.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ClientError, ErrorKind, Profile, Wait};
use quorate_node::backend::SubmitError;
use quorate_types::{Blob, ChainId, Outcome, Rejection};
use tokio::net::TcpListener;

use crate::mock::{Mock, Script, chain, key, serve, transaction};

fn client(addresses: &[SocketAddr], timeout: Duration) -> Client {
    client_of(addresses, timeout, chain())
}

fn client_of(addresses: &[SocketAddr], timeout: Duration, chain: ChainId) -> Client {
    let profile = Profile {
        endpoints: addresses.iter().map(|a| format!("http://{a}")).collect(),
        chain,
        genesis: None,
        keys: None,
    };
    Client::new(profile, timeout).expect("valid endpoints")
}

/// A port that refuses connections.
async fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound")
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(700);

#[tokio::test]
async fn a_closed_port_and_a_full_queue_are_passed_over_with_the_same_bytes() {
    let full = Arc::new(Mock::default());
    full.set(Script::Refuse(SubmitError::Full {
        retry_after_seconds: 1,
    }));
    let good = Arc::new(Mock::default());
    let addresses = [
        closed().await,
        serve(Arc::clone(&full)).await,
        serve(Arc::clone(&good)).await,
    ];
    let client = client(&addresses, LONG);
    let submission = client
        .submit(&transaction(1), Wait::Executed)
        .await
        .expect("the third");
    assert_eq!(submission.endpoint, format!("http://{}", addresses[2]));
    let first = full.seen.lock().expect("unpoisoned").clone();
    assert_eq!(first, *good.seen.lock().expect("unpoisoned"));
}

#[tokio::test]
async fn a_transaction_that_a_silent_validator_took_executes_once() {
    let silent = Arc::new(Mock::default());
    silent.set(Script::Hang);
    let good = Arc::new(Mock::default());
    let addresses = [
        serve(Arc::clone(&silent)).await,
        serve(Arc::clone(&good)).await,
    ];
    let client = client(&addresses, LONG);
    let (receipt, _) = client
        .execute(&key(), vec![Blob(vec![1])])
        .await
        .expect("the second");
    assert!(matches!(receipt.outcome, Outcome::Executed { .. }));
    let first = silent.seen.lock().expect("unpoisoned").clone();
    assert_eq!(
        first,
        *good.seen.lock().expect("unpoisoned"),
        "the same signed bytes"
    );
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_an_open_outcome_names_its_transaction() {
    let nobody = client(&[closed().await, closed().await], SHORT);
    let error = nobody
        .submit(&transaction(1), Wait::Executed)
        .await
        .expect_err("nobody");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    let silent = Arc::new(Mock::default());
    silent.set(Script::Hang);
    let client = client(&[serve(silent).await], SHORT);
    let error = client
        .submit(&transaction(1), Wait::Executed)
        .await
        .expect_err("silence");
    let ClientError::TimedOut { pending } = error else {
        panic!("{error}")
    };
    assert_eq!(pending, Some(transaction(1).id()));
}

/// After a validator may have taken the transaction, another's refusal says nothing about its outcome.
#[tokio::test]
async fn a_refusal_after_an_open_attempt_is_no_outcome() {
    let silent = Arc::new(Mock::default());
    silent.set(Script::Hang);
    let refusing = Arc::new(Mock::default());
    refusing.set(Script::Refuse(SubmitError::TooLate));
    let client = client(&[serve(silent).await, serve(refusing).await], LONG);
    let error = client
        .submit(&transaction(1), Wait::Executed)
        .await
        .expect_err("open");
    assert!(
        matches!(error, ClientError::TimedOut { pending: Some(_) }),
        "{error}"
    );
}

#[tokio::test]
async fn a_used_number_is_replaced_and_another_rejection_is_not() {
    let mock = Arc::new(Mock::default());
    mock.set(Script::Reject(Rejection::SequenceReused, 2));
    *mock.next_sequence.lock().expect("unpoisoned") = 40;
    let address = serve(Arc::clone(&mock)).await;
    let client = client(&[address], LONG);
    client
        .execute(&key(), vec![Blob(vec![1])])
        .await
        .expect("the third number is free");
    let seen = mock.seen.lock().expect("unpoisoned").clone();
    let numbers: Vec<u64> = seen.iter().map(|t| t.body.sequence).collect();
    assert_eq!(numbers.len(), 3);
    assert!(numbers[0] == 40 && numbers.is_sorted() && numbers[1] != numbers[2]);

    mock.set(Script::Reject(Rejection::Forbidden, 1));
    let error = client
        .execute(&key(), vec![Blob(vec![1])])
        .await
        .expect_err("forbidden");
    assert!(matches!(
        error,
        ClientError::Rejected {
            rejection: Rejection::Forbidden,
            ..
        }
    ));
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(
        mock.seen.lock().expect("unpoisoned").len(),
        4,
        "not signed again"
    );
}

#[tokio::test]
async fn another_chain_is_not_believed() {
    let address = serve(Arc::new(Mock::default())).await;
    let client = client_of(&[address], LONG, ChainId::default());
    let error = client.status().await.expect_err("another chain");
    assert!(matches!(error, ClientError::WrongChain { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Verification);
}
