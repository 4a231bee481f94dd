//! Proofs, asked of several validators, some of which lie or are not as far yet.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_client::api::{Base64, KeyReply};
use quorate_client::{ClientError, ErrorKind, Wait, proofs};
use quorate_types::Height;

use crate::failover::{LONG, SHORT, babbler, client};
use crate::mock::{Mock, serve, transaction};
use crate::proved::{GENESIS, prove, prove_absent};

fn prover() -> Arc<Mock> {
    let mock = Mock::default();
    mock.proves.store(true, Ordering::SeqCst);
    Arc::new(mock)
}

/// The liar's answer was one, and it was asked first from then on.
#[tokio::test]
async fn a_proof_that_does_not_verify_is_passed_over() {
    let mut bad = prove_absent(b"absent", Height(7));
    *bad.last_mut().expect("bytes") ^= 1;
    let other = prove_absent(b"other", Height(7));
    for lie in [bad, other] {
        let reply = KeyReply {
            key: Base64(b"absent".to_vec()),
            value: None,
            create_revision: None,
            modify_revision: None,
            version: None,
            height: Height(7),
            proof: Some(Base64(lie)),
        };
        let liar = babbler(&serde_json::to_string(&reply).expect("JSON")).await;
        let both = client(&[liar, serve(prover()).await], LONG);
        let (_, proved) = proofs::prove_key(&both, &GENESIS, b"absent")
            .await
            .expect("the second's");
        assert_eq!((proved.record, proved.height), (None, Height(7)));
        let alone = client(&[liar], SHORT);
        let error = proofs::prove_key(&alone, &GENESIS, b"absent").await;
        let error = error.expect_err("no other");
        assert_eq!(error.kind(), ErrorKind::Verification);
    }
}

#[tokio::test]
async fn a_receipt_is_proved_by_who_can() {
    let (liar, honest) = (Arc::new(Mock::default()), prover());
    let honest = serve(honest).await;
    let sent = client(&[honest], LONG)
        .submit(&transaction(1), Wait::Executed)
        .await
        .expect("executed");
    let mut lie = sent.reply.clone();
    let another = transaction(2);
    let done = crate::mock::receipt(&another, crate::mock::executed());
    lie.proof = Some(Base64(prove(&done)));
    let babbler = babbler(&serde_json::to_string(&lie).expect("JSON")).await;
    // One lies, one has never heard of it.
    let all = client(&[babbler, serve(liar).await, honest], LONG);
    let (_, facts) = proofs::prove_receipt(&all, &GENESIS, sent.id)
        .await
        .expect("the third's");
    assert_eq!(facts.receipt.transaction, sent.id);
}

/// What was executed just now is claimed a few message delays later.
#[tokio::test]
async fn what_is_not_provable_yet_is_waited_for() {
    let mock = prover();
    let client_of = client(&[serve(Arc::clone(&mock)).await], LONG);
    let sent = client_of.submit(&transaction(1), Wait::Executed).await;
    let id = sent.expect("executed").id;
    mock.not_provable.store(2, Ordering::SeqCst);
    proofs::prove_receipt(&client_of, &GENESIS, id)
        .await
        .expect("the third time");
    mock.not_provable.store(2, Ordering::SeqCst);
    proofs::prove_key(&client_of, &GENESIS, b"absent")
        .await
        .expect("the third time");
    mock.not_provable.store(usize::MAX, Ordering::SeqCst);
    let hasty = client(&[serve(Arc::clone(&mock)).await], SHORT);
    let error = proofs::prove_receipt(&hasty, &GENESIS, id).await;
    let error = error.expect_err("never provable");
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // A validator that is behind does not know it yet.
    let unknown = proofs::prove_receipt(&hasty, &GENESIS, transaction(9).id()).await;
    let error = unknown.expect_err("never sent");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
