//! Proofs, checked against the genesis alone (F1–F3): no server is trusted.

use quorate_execution::genesis_validators;
use quorate_execution::kv::{LeafRecord, state_key};
use quorate_execution::proof::{ClientProof, Facts, ProofError, ReceiptFacts};
use quorate_types::{Genesis, Height, Reject, TransactionId};

use crate::client::Client;
use crate::error::ClientError;

/// What a key is proved to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedKey {
    /// The record; `None`: there is no such key.
    pub record: Option<LeafRecord>,
    /// At this height.
    pub height: Height,
}

/// Verifies any proof against a checked genesis.
///
/// # Errors
/// [`ClientError::Proof`].
pub fn verify(genesis: &Genesis, proof: &[u8]) -> Result<Facts, ClientError> {
    let refused = |why: String| ClientError::Proof(why);
    let (_, validators) =
        genesis_validators(genesis).map_err(|error| refused(error.to_string()))?;
    let proof = ClientProof::decode(proof).map_err(|error| refused(error.to_string()))?;
    proof.verify(&validators).map_err(|error| {
        refused(match error {
            // A proof names no chain: signatures by others than this genesis' validators are all there is to see.
            ProofError::Certificate(
                Reject::BadSignature | Reject::UnknownSigner | Reject::NoQuorum,
            ) => {
                let chain = genesis.chain_id();
                format!(
                    "it is not signed by a quorum of the validators of chain {chain}: it is another chain's, or was changed"
                )
            }
            error => error.to_string(),
        })
    })
}

/// Asks a validator for a key of the key-value machine with a proof, and verifies it. Returns the canonical proof too.
///
/// # Errors
/// [`ClientError::Proof`] if it does not verify, or proves something else.
pub async fn prove_key(
    client: &Client,
    genesis: &Genesis,
    key: &[u8],
) -> Result<(Vec<u8>, ProvedKey), ClientError> {
    let reply = client.key(key, true).await?;
    let proof = reply.proof.ok_or_else(|| missing("the proof"))?.0;
    let Facts::Key(facts) = verify(genesis, &proof)? else {
        return Err(missing("a proof of a key"));
    };
    if facts.key != state_key(key) {
        return Err(ClientError::Proof(String::from("it is about another key")));
    }
    let record = facts
        .record
        .map(|record| LeafRecord::decode(&record))
        .transpose()?;
    let height = facts.height;
    Ok((proof, ProvedKey { record, height }))
}

/// Asks a validator for the proof of a transaction's receipt, and verifies it. Returns the canonical proof too.
///
/// # Errors
/// [`ClientError::Proof`] if it does not verify, or proves something else.
pub async fn prove_receipt(
    client: &Client,
    genesis: &Genesis,
    id: TransactionId,
) -> Result<(Vec<u8>, ReceiptFacts), ClientError> {
    let submission = client.transaction(id, true).await?;
    let proof = submission
        .reply
        .proof
        .ok_or_else(|| missing("the proof"))?
        .0;
    let facts = receipt_facts(genesis, id, &proof)?;
    Ok((proof, facts))
}

/// What a proof shows of a transaction's receipt.
///
/// # Errors
/// [`ClientError::Proof`] if it does not verify, or proves something else.
pub fn receipt_facts(
    genesis: &Genesis,
    id: TransactionId,
    proof: &[u8],
) -> Result<ReceiptFacts, ClientError> {
    let Facts::Receipt(facts) = verify(genesis, proof)? else {
        return Err(missing("a proof of a receipt"));
    };
    if facts.receipt.transaction != id {
        return Err(ClientError::Proof(String::from(
            "it is about another transaction",
        )));
    }
    Ok(facts)
}

fn missing(what: &str) -> ClientError {
    ClientError::Proof(format!("the answer lacks {what}"))
}
