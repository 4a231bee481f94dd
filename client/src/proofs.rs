//! Proofs, checked against the genesis alone (F1–F3): no server is trusted.

use quorate_execution::genesis_validators;
use quorate_execution::kv::{LeafRecord, state_key};
use quorate_execution::proof::{ClientProof, Facts, ProofError, ReceiptFacts};
use quorate_types::{Genesis, Height, Reject, TransactionId};

use crate::api::{KeyReply, SubmitReply};
use crate::client::{Client, about, bad, parse, percent};
use crate::error::ClientError;
use crate::failover::Purpose;
use crate::http::Call;

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

/// Asks for a key of the key-value machine with a proof, one validator after another until a proof verifies: a state that
/// nobody can prove yet is proved soon. Returns the canonical proof too.
///
/// # Errors
/// [`ClientError::Proof`] if none verifies, or they prove something else; [`ClientError::TimedOut`] if there is none in time.
pub async fn prove_key(
    client: &Client,
    genesis: &Genesis,
    key: &[u8],
) -> Result<(Vec<u8>, ProvedKey), ClientError> {
    let call = Call::get(format!("/v1/kv/{}?proof=true", percent(key)));
    let read = |answer: &_, endpoint: &str| {
        let reply: KeyReply = parse(answer, endpoint)?;
        if reply.key.0 != key {
            return Err(bad(endpoint, "it answers another question"));
        }
        let proof = reply.proof.ok_or_else(|| missing("the proof"))?.0;
        let proved = proved_key(genesis, key, &proof)?;
        Ok((proof, proved))
    };
    let deadline = client.deadline();
    let wanted = client.attempt(&call, deadline, Purpose::Wanted, read);
    Ok(wanted.await?.0)
}

fn proved_key(genesis: &Genesis, key: &[u8], proof: &[u8]) -> Result<ProvedKey, ClientError> {
    let Facts::Key(facts) = verify(genesis, proof)? else {
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
    Ok(ProvedKey { record, height })
}

/// Asks for the proof of a transaction's receipt, one validator after another until a proof verifies: what was executed
/// just now is proved soon. Returns the canonical proof too.
///
/// # Errors
/// [`ClientError::Proof`] if none verifies, or they prove something else; [`ClientError::TimedOut`] if there is none in time.
pub async fn prove_receipt(
    client: &Client,
    genesis: &Genesis,
    id: TransactionId,
) -> Result<(Vec<u8>, ReceiptFacts), ClientError> {
    let call = Call::get(format!("/v1/transactions/{id}?proof=true"));
    let read = |answer: &_, endpoint: &str| {
        let reply: SubmitReply = parse(answer, endpoint)?;
        let submission = about(id, reply, endpoint)?;
        let proof = submission.reply.proof;
        let proof = proof.ok_or_else(|| missing("the proof"))?.0;
        let facts = receipt_facts(genesis, id, &proof)?;
        Ok((proof, facts))
    };
    let deadline = client.deadline();
    let wanted = client.attempt(&call, deadline, Purpose::Wanted, read);
    Ok(wanted.await?.0)
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
