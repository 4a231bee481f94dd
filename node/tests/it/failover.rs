//! The client against several validators, some of which are gone, full, silent, or liars.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_client::{Client, ClientError, ErrorKind, Profile, Wait};
use quorate_crypto::SecretKey;
use quorate_execution::kv::{Command, Keys};
use quorate_node::backend::SubmitError;
use quorate_types::{Blob, ChainId, Outcome, Rejection};
use tokio::net::TcpListener;

use crate::mock::{Mock, Script, chain, executed, key, receipt, serve, transaction};

pub(crate) fn client(addresses: &[SocketAddr], timeout: Duration) -> Client {
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

pub(crate) const LONG: Duration = Duration::from_secs(20);
pub(crate) const SHORT: Duration = Duration::from_millis(700);

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
    let ClientError::TimedOut { pending, .. } = error else {
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
    let client = client(&[serve(silent).await, serve(refusing).await], SHORT);
    let error = client
        .submit(&transaction(1), Wait::Executed)
        .await
        .expect_err("open");
    assert!(
        matches!(
            error,
            ClientError::TimedOut {
                pending: Some(_),
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_used_number_is_replaced_and_another_rejection_is_not() {
    let mock = Arc::new(Mock::default());
    mock.set(Script::Reject(Rejection::SequenceReused, 2));
    mock.proves.store(true, Ordering::SeqCst);
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

/// A transaction that found its block full has used no number, and may be executed yet: another one with a new number
/// could execute beside it.
#[tokio::test]
async fn what_found_its_block_full_is_sent_again_as_it_is() {
    let mock = Arc::new(Mock::default());
    mock.set(Script::Reject(Rejection::BlockFull, 2));
    let address = serve(Arc::clone(&mock)).await;
    let execute = async |patience, command| {
        let client = client(&[address], patience);
        client.execute(&key(), vec![Blob(vec![command])]).await
    };
    let executed = execute(LONG, 1).await;
    let (receipt, _) = executed.expect("the third block has room");
    assert!(matches!(receipt.outcome, Outcome::Executed { .. }));
    let seen = mock.seen.lock().expect("unpoisoned").clone();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|transaction| *transaction == seen[0]));
    mock.set(Script::Reject(Rejection::BlockFull, u32::MAX));
    let open = execute(Duration::from_secs(1), 2).await;
    let error = open.expect_err("no block has room");
    let ClientError::TimedOut { pending, .. } = error else {
        panic!("{error}");
    };
    assert!(pending.is_some());
}

/// One liar had an operation executed seventeen times: it said each time that the number was used, and was believed.
#[tokio::test]
async fn who_cannot_prove_that_a_number_was_used_does_not_get_another_signature() {
    let liar = Arc::new(Mock::default());
    liar.set(Script::Reject(Rejection::SequenceReused, u32::MAX));
    let alone = client(&[serve(Arc::clone(&liar)).await], SHORT);
    let error = alone
        .execute(&key(), vec![Blob(vec![1])])
        .await
        .expect_err("no proof");
    let seen = liar.seen.lock().expect("unpoisoned").clone();
    let ClientError::TimedOut { pending, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(pending, Some(seen[0].id()));
    assert_eq!(seen.len(), 1, "signed once");
}

#[tokio::test]
async fn a_proof_of_another_outcome_is_believed_instead_of_a_liar() {
    let (liar, honest) = (Arc::new(Mock::default()), Arc::new(Mock::default()));
    liar.set(Script::Reject(Rejection::SequenceReused, u32::MAX));
    honest.proves.store(true, Ordering::SeqCst);
    let addresses = [
        serve(Arc::clone(&liar)).await,
        serve(Arc::clone(&honest)).await,
    ];
    let client = client(&addresses, LONG);
    // What the liar took, the set has executed.
    let took = async {
        loop {
            if let Some(taken) = liar.seen.lock().expect("unpoisoned").first() {
                break taken.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let executed = async {
        let taken = took.await;
        let mut log = honest.executed.lock().expect("unpoisoned");
        log.insert(taken.id(), receipt(&taken, executed()));
    };
    let key = key();
    let (result, ()) = tokio::join!(client.execute(&key, vec![Blob(vec![1])]), executed);
    let (found, submission) = result.expect("the proved receipt");
    assert!(matches!(found.outcome, Outcome::Executed { .. }));
    let reply = submission.reply.receipt.expect("a receipt");
    assert_eq!(reply.decode().expect("canonical"), found);
    assert_eq!(liar.seen.lock().expect("unpoisoned").len(), 1);
    assert_eq!(honest.seen.lock().expect("unpoisoned").len(), 0);
}

/// 429 and 503 can come behind the acceptance: a refusal that follows says nothing of the outcome.
#[tokio::test]
async fn a_refusal_after_a_full_or_closing_validator_is_no_outcome() {
    let full = SubmitError::Full {
        retry_after_seconds: 1,
    };
    for busy in [full, SubmitError::NotServing] {
        let (first, second) = (Arc::new(Mock::default()), Arc::new(Mock::default()));
        first.set(Script::Refuse(busy));
        second.set(Script::Refuse(SubmitError::UnknownClient));
        let client = client(&[serve(first).await, serve(second).await], LONG);
        let error = client
            .submit(&transaction(1), Wait::Executed)
            .await
            .expect_err("open");
        let open = matches!(
            error,
            ClientError::TimedOut {
                pending: Some(_),
                ..
            }
        );
        assert!(open, "{busy:?}: {error}");
        // The cause is named all the same.
        assert!(error.to_string().contains("the last answer"), "{error}");
    }
}

/// A validator that is cut off says by its own clock that a transaction is over which the others have executed.
#[tokio::test]
async fn one_clock_does_not_refuse_what_others_execute_and_all_of_them_do() {
    let late = Arc::new(Mock::default());
    late.set(Script::Refuse(SubmitError::Expired(transaction(1).id())));
    let good = Arc::new(Mock::default());
    let addresses = [
        serve(Arc::clone(&late)).await,
        serve(Arc::clone(&good)).await,
    ];
    let client = client(&addresses, LONG);
    let submission = client.submit(&transaction(1), Wait::Executed).await;
    let submission = submission.expect("the second");
    assert_eq!(submission.endpoint, format!("http://{}", addresses[1]));
    good.set(Script::Refuse(SubmitError::TooLate));
    let error = client
        .submit(&transaction(2), Wait::Executed)
        .await
        .expect_err("both say so");
    assert!(
        matches!(error, ClientError::Refused { status: 422, .. }),
        "{error}"
    );
}

/// Something that answers every request with the same bytes.
pub(crate) async fn babbler(body: &str) -> SocketAddr {
    let body = Arc::<str>::from(body);
    let router = axum::Router::new().fallback(move || {
        let body = body.to_string();
        async move { body }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async { axum::serve(listener, router).await.expect("for ever") });
    address
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_passed_over_and_not_preferred() {
    let good = Arc::new(Mock::default());
    let address = serve(Arc::clone(&good)).await;
    let other = client(&[address], LONG)
        .submit(&transaction(9), Wait::Executed)
        .await
        .expect("executed");
    let other = serde_json::to_string(&other.reply).expect("JSON");
    for nonsense in ["<html>", "{}", other.as_str()] {
        let addresses = [babbler(nonsense).await, address];
        let client = client(&addresses, LONG);
        for sequence in 1..=2 {
            let submission = client.submit(&transaction(sequence), Wait::Executed).await;
            let endpoint = submission.expect("the second").endpoint;
            assert_eq!(endpoint, format!("http://{address}"), "{nonsense}");
            let id = transaction(sequence).id();
            let found = client.transaction(id, false).await.expect("the second");
            assert_eq!(found.reply.id, id);
            client.wait(id).await.expect("the second");
        }
        client.status().await.expect("the second");
    }
    // When there is nobody else, it is said.
    let client = client(&[babbler(&other).await], LONG);
    let id = transaction(1).id();
    let error = client.transaction(id, false).await.expect_err("another's");
    assert!(matches!(error, ClientError::BadAnswer { .. }), "{error}");
    let error = client
        .submit(&transaction(1), Wait::Executed)
        .await
        .expect_err("another's");
    let open = matches!(error, ClientError::TimedOut { pending, .. } if pending == Some(id));
    assert!(open, "{error}");
}

/// The window of a key that another process moved on: the next operation asks where it is.
#[tokio::test]
async fn a_number_that_is_too_old_is_asked_for_again() {
    let mock = Arc::new(Mock::default());
    let client = client(&[serve(Arc::clone(&mock)).await], LONG);
    let key = key();
    let execute = || client.execute(&key, vec![Blob(vec![1])]);
    *mock.next_sequence.lock().expect("unpoisoned") = 5;
    execute().await.expect("number 5");
    *mock.next_sequence.lock().expect("unpoisoned") = 9_000;
    mock.set(Script::Reject(Rejection::TooOld, 1));
    let error = execute().await.expect_err("too old");
    let too_old = Rejection::TooOld;
    assert!(
        matches!(error, ClientError::Rejected { rejection, .. } if rejection == too_old),
        "{error}"
    );
    execute().await.expect("a number of the window");
    let numbers = |mock: &Mock| -> Vec<u64> {
        let seen = mock.seen.lock().expect("unpoisoned");
        seen.iter().map(|t| t.body.sequence).collect()
    };
    assert_eq!(numbers(&mock), [5, 6, 9_000]);
    // Each key has numbers of its own.
    let other = SecretKey::from_seed(&[4; 32]);
    *mock.next_sequence.lock().expect("unpoisoned") = 3;
    let commands = vec![Blob(vec![1])];
    client.execute(&other, commands).await.expect("number 3");
    execute().await.expect("the next");
    assert_eq!(numbers(&mock), [5, 6, 9_000, 3, 9_001]);
}

#[tokio::test]
async fn one_liar_does_not_choose_the_number_that_is_signed() {
    let mocks: [Arc<Mock>; 3] = Default::default();
    let mut addresses = Vec::new();
    for (mock, next) in mocks.iter().zip([u64::MAX, 7, 7]) {
        *mock.next_sequence.lock().expect("unpoisoned") = next;
        addresses.push(serve(Arc::clone(mock)).await);
    }
    let client = client(&addresses, LONG);
    let signed = client.sign(&key(), vec![Blob(vec![1])]).await;
    assert_eq!(signed.expect("a majority").body.sequence, 7);
}

#[tokio::test]
async fn another_chain_is_not_believed() {
    let address = serve(Arc::new(Mock::default())).await;
    let client = client_of(&[address], LONG, ChainId::default());
    let error = client.status().await.expect_err("another chain");
    assert!(matches!(error, ClientError::WrongChain { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Verification);
}

/// It asked nobody, without a pause and without an end.
#[test]
fn a_client_has_an_endpoint() {
    let profile = Profile {
        endpoints: Vec::new(),
        chain: chain(),
        genesis: None,
        keys: None,
    };
    let error = Client::new(profile, LONG).expect_err("nobody to talk to");
    assert!(matches!(error, ClientError::NoEndpoints), "{error}");
}

/// A revert that was told to begin in front of its prefix reverted what is there.
#[tokio::test]
async fn a_revert_stays_within_its_prefix() {
    let mock = Arc::new(Mock::default());
    let client = client(&[serve(Arc::clone(&mock)).await], LONG);
    let key = key();
    for (from, expected) in [(&b"a"[..], &b"p/"[..]), (b"p/x", b"p/x")] {
        let kv = client.kv(&key);
        let answer = kv.revert_prefix(b"c", b"p/", Some(from), 1).await;
        answer.expect_err("the mock's results are of another command");
        let seen = mock.seen.lock().expect("unpoisoned").clone();
        let sent = seen.last().expect("sent");
        let command = Command::decode(&sent.body.commands[0].0).expect("a command");
        let Command::Revert {
            keys: Keys::Range { start, .. },
            ..
        } = command
        else {
            panic!("{command:?}");
        };
        assert_eq!(start.0, expected);
    }
}
