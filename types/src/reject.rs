//! Why something from outside was refused.

/// A refusal for ever: what was sent can never become acceptable. (What may become acceptable later is kept or fetched,
/// and is no `Reject`.) The sender is counted; nothing else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// The version field names a format that this release does not speak.
    #[error("unknown format version")]
    WrongVersion,
    /// The chain id is another chain's.
    #[error("signed for another chain")]
    WrongChain,
    /// The epoch is not the one that is verified against.
    #[error("of another epoch")]
    WrongEpoch,
    /// A field contradicts another or is out of its range.
    #[error("malformed")]
    Malformed,
    /// Above a size that the chain's parameters allow.
    #[error("larger than the chain's parameters allow")]
    TooLarge,
    /// A signature does not verify.
    #[error("a signature does not verify")]
    BadSignature,
    /// The signer is not in the validator set.
    #[error("the signer is not a validator of the epoch")]
    UnknownSigner,
    /// Not exactly a quorum of distinct signers, or signatures that do not match the bitmap.
    #[error("the certificate has no quorum of distinct signers")]
    NoQuorum,
    /// A timeout certificate whose QC is not of exactly the highest round its signers reported.
    #[error("the certificate's QC is not the highest that its signers reported")]
    WrongHighQc,
    /// The attached certificate is not the one the header names.
    #[error("the attached certificate is not the one named")]
    CertificateMismatch,
    /// The proposer is not the leader of the round for the attached evidence (V1).
    #[error("the proposer is not the leader of the round")]
    WrongLeader,
    /// The block's time breaks V1.
    #[error("the block's time is not after its parent's")]
    WrongTime,
    /// The block extends the wrong parent or skips rounds without evidence (V2).
    #[error("the block breaks the extension rule")]
    UnsafeExtension,
    /// The payload is invalid by what the leader signed (V4, V6).
    #[error("the payload is invalid")]
    BadPayload,
    /// The execution claim contradicts the branch or this replica's own state (V5).
    #[error("the execution claim is wrong")]
    WrongClaim,
    /// For a round that is over or too far ahead to keep.
    #[error("outside the rounds that are kept")]
    OutOfWindow,
    /// A second, different message where one is allowed.
    #[error("a second message where one is allowed")]
    Duplicate,
}
