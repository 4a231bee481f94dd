//! What everything takes, as it was measured.

use quorate_replica::Input;
use quorate_types::message::VerifiedMessage;

/// Nanoseconds of one thread, unless said otherwise. The defaults were measured (docs/PERFORMANCE.md): signatures by
/// `cargo run --release -p quorate-crypto --example throughput`, transactions by `make profile`, a disk by `make bench`,
/// and the rest by `make scale`: what a block costs more with each validator more is two votes verified, and four messages.
#[derive(Clone, Debug)]
pub struct Costs {
    /// A signature alone, such as a vote's.
    pub verify_ns: u64,
    /// A client's transaction among many, decoding and digest included.
    pub verify_transaction_ns: u64,
    /// A signature inside a certificate that was verified before: finding that out.
    pub remembered_ns: u64,
    /// Signing.
    pub sign_ns: u64,
    /// Sending or receiving a message, however short: QUIC, TLS, the kernel.
    pub message_ns: u64,
    /// The same for each thousand bytes.
    pub kilobyte_ns: u64,
    /// Bytes on the wire besides a message's own.
    pub overhead_bytes: usize,
    /// A client's request and its answer.
    pub request_ns: u64,
    /// A turn of the core, whatever it is about: waking up, the store's write.
    pub turn_ns: u64,
    /// Taking a message into the protocol: tallies, safety rules.
    pub step_ns: u64,
    /// A block's own share of a commit.
    pub block_ns: u64,
    /// A transaction: executed, committed to, written.
    pub execute_ns: u64,
    /// Making a write durable.
    pub sync_ns: u64,
}

impl Costs {
    /// What a core does with an input, besides the turn.
    pub(super) fn input(&self, input: &Input) -> u64 {
        match input {
            Input::Message { .. } | Input::Own(_) => self.step_ns,
            // Charged when the transaction is executed.
            Input::Submit { .. } => 0,
            Input::Prove { .. } | Input::Connected(_) | Input::Disconnected(_) => self.step_ns,
        }
    }

    /// What a connection's thread does for a message of so many bytes.
    pub(super) fn message(&self, bytes: usize) -> u64 {
        let bytes = u64::try_from(bytes).expect("messages have bounds");
        self.message_ns + self.kilobyte_ns * bytes / 1_000
    }

    /// What a verifier does. Votes were heard before their certificates come.
    pub(super) fn verification(&self, message: &VerifiedMessage) -> u64 {
        match message {
            VerifiedMessage::Batch(batch) => {
                let transactions = u64::try_from(batch.transactions.len()).expect("fits");
                transactions * self.verify_transaction_ns
            }
            VerifiedMessage::Proposal(proposal, _) => {
                let signers = proposal.qc.signatures.len();
                // The parent's QC, and the newest CC with its QC.
                let heard = 3 * u64::try_from(signers).expect("fits");
                let inline = proposal.inline.iter().map(|batch| batch.transactions.len());
                let inline = u64::try_from(inline.sum::<usize>()).expect("fits");
                self.verify_ns + heard * self.remembered_ns + inline * self.verify_transaction_ns
            }
            _ => self.verify_ns,
        }
    }
}

impl Default for Costs {
    fn default() -> Costs {
        Costs {
            verify_ns: 16_800,
            verify_transaction_ns: 18_800,
            remembered_ns: 500,
            sign_ns: 9_000,
            message_ns: 18_000,
            kilobyte_ns: 1_000,
            overhead_bytes: 80,
            request_ns: 40_000,
            turn_ns: 30_000,
            step_ns: 5_000,
            block_ns: 150_000,
            execute_ns: 26_000,
            sync_ns: 145_000,
        }
    }
}
