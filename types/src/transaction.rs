//! What a client signs.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use quorate_crypto::{Domain, PublicKey, SecretKey, Signature};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::codec;
use crate::{BlockTime, ChainId, FORMAT_VERSION, Parameters, Reject, TransactionId};
use crate::{Unverified, Verified};

/// Bytes, encoded as one run behind an 8-byte length; base64-free and cheap in every format.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob(pub Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        Blob(bytes)
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }
        // Asking for borrowed bytes lets bincode check the length against the input before anything is allocated.
        deserializer.deserialize_bytes(Visitor)
    }
}

/// The signed part of a [`Transaction`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionBody {
    /// [`FORMAT_VERSION`].
    pub version: u16,
    /// The chain it is meant for; on any other it is invalid.
    pub chain: ChainId,
    /// Who signs. Whether this key is a registered client is decided at execution.
    pub client: PublicKey,
    /// The client's own number for it, each used once (X1).
    pub sequence: u64,
    /// It executes only in blocks whose time is at most this, and at least this minus `max_validity` (X1).
    pub valid_until: BlockTime,
    /// 1 to `max_commands` commands for the state machine, executed in order.
    pub commands: Vec<Blob>,
}

impl TransactionBody {
    /// The identity: the hash of the canonical body. The signature is no part of it.
    #[must_use]
    pub fn id(&self) -> TransactionId {
        TransactionId(codec::digest(Domain::Transaction, self))
    }

    /// Signs the body, by its identity: Ed25519 hashes what is signed with SHA-512, which costs several times SHA-256 where
    /// processors have instructions for the latter, and every validator needs the identity anyway.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> Transaction {
        let signature = key.sign(Domain::ClientTransaction, self.id().as_bytes());
        Transaction {
            body: self,
            signature,
        }
    }
}

/// Commands under a client's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// What was signed.
    pub body: TransactionBody,
    /// By `body.client`, over the identity of the body in domain [`Domain::ClientTransaction`].
    pub signature: Signature,
}

impl Transaction {
    /// See [`TransactionBody::id`].
    #[must_use]
    pub fn id(&self) -> TransactionId {
        self.body.id()
    }

    /// Bytes of the canonical encoding.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let commands: usize = self.body.commands.iter().map(|c| 8 + c.0.len()).sum();
        2 + 32 + 32 + 8 + 8 + 8 + commands + 64
    }

    /// The part of stateless validity (V4) that needs no signature check: version, chain, number of commands, size.
    /// The same for every replica at every time: neither state nor the clock has a say.
    ///
    /// # Errors
    /// [`Reject::WrongVersion`], [`Reject::WrongChain`], [`Reject::Malformed`], [`Reject::TooLarge`].
    pub fn check_form(&self, chain: ChainId, parameters: &Parameters) -> Result<(), Reject> {
        if self.body.version != FORMAT_VERSION {
            return Err(Reject::WrongVersion);
        }
        if self.body.chain != chain {
            return Err(Reject::WrongChain);
        }
        let commands = u64::try_from(self.body.commands.len()).map_err(|_| Reject::TooLarge)?;
        if commands == 0 {
            return Err(Reject::Malformed);
        }
        let bytes = u64::try_from(self.encoded_len()).map_err(|_| Reject::TooLarge)?;
        if commands > parameters.max_commands || bytes > parameters.max_transaction_bytes {
            return Err(Reject::TooLarge);
        }
        Ok(())
    }
}

/// A transaction with its identity, which is asked for at every stage from the door to the batch, and is calculated once,
/// here, from the content: nobody's claim of it is ever taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedTransaction {
    transaction: Transaction,
    id: TransactionId,
}

impl HashedTransaction {
    /// Hashes the transaction.
    #[must_use]
    pub fn new(transaction: Transaction) -> HashedTransaction {
        let id = transaction.id();
        HashedTransaction { transaction, id }
    }

    /// Of a batch that has hashed it.
    pub(crate) const fn known(transaction: Transaction, id: TransactionId) -> HashedTransaction {
        HashedTransaction { transaction, id }
    }

    /// [`Transaction::id`].
    #[must_use]
    pub const fn id(&self) -> TransactionId {
        self.id
    }

    /// The transaction alone.
    #[must_use]
    pub fn into_transaction(self) -> Transaction {
        self.transaction
    }
}

impl Deref for HashedTransaction {
    type Target = Transaction;

    fn deref(&self) -> &Transaction {
        &self.transaction
    }
}

impl Unverified<HashedTransaction> {
    /// Stateless validity, whole (V4): form and signature.
    ///
    /// # Errors
    /// Those of [`Transaction::check_form`], and [`Reject::BadSignature`].
    pub fn verify(
        self,
        chain: ChainId,
        parameters: &Parameters,
    ) -> Result<Verified<HashedTransaction>, Reject> {
        self.peek().check_form(chain, parameters)?;
        let transaction = self.into_checked();
        quorate_crypto::verify(
            &transaction.body.client,
            Domain::ClientTransaction,
            transaction.id().as_bytes(),
            &transaction.signature,
        )
        .map_err(|_| Reject::BadSignature)?;
        Ok(Verified::trust(transaction))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use quorate_crypto::{Digest, hash};

    use super::*;

    /// Of one field and of its bytes: whatever is changed, the client has not signed it.
    #[test]
    fn the_signature_covers_every_field() {
        let key = SecretKey::from_seed(&[1; 32]);
        let chain = ChainId(hash(Domain::Genesis, &[b"here"]));
        let body = TransactionBody {
            version: FORMAT_VERSION,
            chain,
            client: key.public(),
            sequence: 7,
            valid_until: BlockTime(9),
            commands: vec![Blob(vec![1, 2]), Blob(vec![3])],
        };
        let signed = body.sign(&key);
        let verdict = |body: TransactionBody, chain| {
            let signature = signed.signature;
            let transaction = HashedTransaction::new(Transaction { body, signature });
            Unverified::new(transaction)
                .verify(chain, &Parameters::default())
                .map(|_| ())
        };
        assert_eq!(verdict(signed.body.clone(), chain), Ok(()));
        let elsewhere = ChainId(Digest::ZERO);
        let other = SecretKey::from_seed(&[2; 32]).public();
        let changes: [&dyn Fn(&mut TransactionBody); 6] = [
            &|body| body.client = other,
            &|body| body.sequence += 1,
            &|body| body.valid_until = BlockTime(10),
            &|body| body.commands[1] = Blob(vec![4]),
            // The same bytes, divided otherwise.
            &|body| body.commands = vec![Blob(vec![1]), Blob(vec![2, 3])],
            &|body| body.chain = elsewhere,
        ];
        for change in changes {
            let mut body = signed.body.clone();
            change(&mut body);
            let at = body.chain;
            assert_eq!(verdict(body, at), Err(Reject::BadSignature));
        }
        // What is signed is the identity in its domain, and neither the body nor the identity in another.
        let id = signed.id();
        let signs = |domain, message: &[u8]| {
            let by = &signed.body.client;
            quorate_crypto::verify(by, domain, message, &signed.signature).is_ok()
        };
        assert!(signs(Domain::ClientTransaction, id.as_bytes()));
        assert!(!signs(Domain::Transaction, id.as_bytes()));
        assert!(!signs(
            Domain::ClientTransaction,
            &codec::encode(&signed.body)
        ));
    }
}
