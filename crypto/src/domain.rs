//! The domain tags: what a hash or a signature is *for*.
//!
//! Owns the one list of everything that Quorate hashes or signs. A tag must never be reused or
//! changed: a digest or a signature made in one domain must mean nothing in any other, so that, for
//! example, a vote can never be replayed as a commit vote.

/// Size of a domain tag, in bytes.
pub const TAG_BYTES: usize = 16;

/// What a digest or a signature is for.
///
/// Each domain has a tag of [`TAG_BYTES`] bytes that precedes the message. All tags have the same
/// width, so no tag is a prefix of another and (tag ‖ message) has one reading. They begin with
/// `quorate/`, which keeps them apart from what TLS 1.3 signs with the same key (64 spaces first).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// Hash: the genesis, whose digest is the chain id.
    Genesis,
    /// Hash: a block header, whose digest is the block id.
    Header,
    /// Hash: a transaction without its signature, whose digest is the transaction id.
    Transaction,
    /// Hash: a transaction with its signature, a leaf of a batch.
    TransactionLeaf,
    /// Hash: a batch.
    Batch,
    /// Hash: the list of batches that a block carries.
    BatchList,
    /// Hash: an inner node of a Merkle tree.
    MerkleNode,
    /// Hash: a leaf of a Merkle tree.
    MerkleLeaf,
    /// Hash: the receipt of a transaction.
    Receipt,
    /// Hash: an inner node of the tree of a block's receipts.
    ReceiptsNode,
    /// Hash: a leaf of the authenticated state tree.
    TreeLeaf,
    /// Hash: an inner node of the authenticated state tree.
    TreeNode,
    /// Hash: an empty part of the authenticated state tree.
    TreeEmpty,
    /// Hash: a validator set.
    ValidatorSet,
    /// Hash: the identity of a timeout certificate.
    TcDigest,
    /// Hash: the choice of a round's leader.
    Leader,
    /// Hash: the id of a client session.
    Session,
    /// Hash: the evidence against a validator.
    Evidence,
    /// Hash: the coefficients of a batch verification; used inside this crate only.
    BatchCoefficients,
    /// What a signature that was verified is remembered by. Never leaves the process.
    VerifiedSignature,
    /// Hash: a snapshot of the state and its chunks.
    Snapshot,
    /// Signature: a leader's proposal.
    Proposal,
    /// Signature: a vote for a block.
    Vote,
    /// Signature: a commit vote for a certified block.
    CommitVote,
    /// Signature: a timeout of a round.
    Timeout,
    /// Signature: a client's transaction, by its id.
    ClientTransaction,
    /// Signature: a validator's proof that it holds the key it registers.
    ProofOfPossession,
    /// Signature: what a validator tells the others of itself before there is a genesis.
    Descriptor,
    /// Signature: a validator's consent to a genesis.
    GenesisConsent,
    /// Signature: the first message of a connection.
    Hello,
    /// Signature: an answer to a request for missing data.
    SyncReply,
}

impl Domain {
    /// Every domain, in the order of declaration.
    pub const ALL: [Self; 31] = [
        Self::Genesis,
        Self::Header,
        Self::Transaction,
        Self::TransactionLeaf,
        Self::Batch,
        Self::BatchList,
        Self::MerkleNode,
        Self::MerkleLeaf,
        Self::Receipt,
        Self::ReceiptsNode,
        Self::TreeLeaf,
        Self::TreeNode,
        Self::TreeEmpty,
        Self::ValidatorSet,
        Self::TcDigest,
        Self::Leader,
        Self::Session,
        Self::Evidence,
        Self::BatchCoefficients,
        Self::VerifiedSignature,
        Self::Snapshot,
        Self::Proposal,
        Self::Vote,
        Self::CommitVote,
        Self::Timeout,
        Self::ClientTransaction,
        Self::ProofOfPossession,
        Self::Descriptor,
        Self::GenesisConsent,
        Self::Hello,
        Self::SyncReply,
    ];

    /// The tag: ASCII, `quorate/` and a name, padded with zeros to [`TAG_BYTES`].
    #[must_use]
    pub const fn tag(self) -> &'static [u8; TAG_BYTES] {
        match self {
            Self::Genesis => b"quorate/genesis\0",
            Self::Header => b"quorate/header\0\0",
            Self::Transaction => b"quorate/tx\0\0\0\0\0\0",
            Self::TransactionLeaf => b"quorate/txleaf\0\0",
            Self::Batch => b"quorate/batch\0\0\0",
            Self::BatchList => b"quorate/batches\0",
            Self::MerkleNode => b"quorate/mknode\0\0",
            Self::MerkleLeaf => b"quorate/mkleaf\0\0",
            Self::Receipt => b"quorate/receipt\0",
            Self::ReceiptsNode => b"quorate/rcnode\0\0",
            Self::TreeLeaf => b"quorate/stleaf\0\0",
            Self::TreeNode => b"quorate/stnode\0\0",
            Self::TreeEmpty => b"quorate/stempty\0",
            Self::ValidatorSet => b"quorate/valset\0\0",
            Self::TcDigest => b"quorate/tc\0\0\0\0\0\0",
            Self::Leader => b"quorate/leader\0\0",
            Self::Session => b"quorate/session\0",
            Self::Evidence => b"quorate/evidence",
            Self::BatchCoefficients => b"quorate/coeffs\0\0",
            Self::VerifiedSignature => b"quorate/verified",
            Self::Snapshot => b"quorate/snapshot",
            Self::Proposal => b"quorate/proposal",
            Self::Vote => b"quorate/vote\0\0\0\0",
            Self::CommitVote => b"quorate/commit\0\0",
            Self::Timeout => b"quorate/timeout\0",
            Self::ClientTransaction => b"quorate/clienttx",
            Self::ProofOfPossession => b"quorate/posses\0\0",
            Self::Descriptor => b"quorate/descr\0\0\0",
            Self::GenesisConsent => b"quorate/consent\0",
            Self::Hello => b"quorate/hello\0\0\0",
            Self::SyncReply => b"quorate/syncrep\0",
        }
    }
}
