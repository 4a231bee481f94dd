//! What happened, and how often: the proof that the rare paths were walked.

use std::fmt;
use std::ops::AddAssign;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $text:literal,)*) => {
        /// Counts of one world, or of many added up.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        impl AddAssign<&Counters> for Counters {
            fn add_assign(&mut self, other: &Counters) { $(self.$name += other.$name;)* }
        }

        impl fmt::Display for Counters {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:>12}  {}", self.$name, $text)?;)*
                Ok(())
            }
        }
    };
}

counters! {
    /// Deliveries, finished turns, faults, and what clients did.
    events: "events",
    /// Turns of replicas.
    turns: "turns",
    /// Messages that arrived.
    delivered: "messages delivered",
    /// Messages lost on the way.
    lost: "messages lost",
    /// Messages that arrived twice.
    duplicated: "messages duplicated",
    /// Old messages that came again.
    replayed: "old messages replayed",
    /// Messages with a flipped bit.
    corrupted: "messages corrupted",
    /// Messages that did not decode or verify.
    refused: "messages refused unverified",
    /// Connections lost.
    disconnects: "connections lost",
    /// Links cut.
    partitions: "partitions",
    /// Heights of the final chain.
    blocks: "blocks final",
    /// Commits, at every correct replica.
    commits: "commits",
    /// Those that came by a stretch of a peer's ledger.
    synced: "commits by ledger sync",
    /// Rounds given up.
    timeouts: "timeouts",
    /// Blocks whose header shows a failed round.
    view_changes: "blocks after a view change",
    /// Requests for blocks.
    block_fetches: "block requests",
    /// Requests for batches.
    batch_fetches: "batch requests",
    /// Requests for stretches.
    ledger_fetches: "ledger requests",
    /// Replicas that lost power.
    crashes: "crashes",
    /// Writes that a crash undid.
    undone: "unsynced writes undone",
    /// Replicas that started again.
    restarts: "restarts",
    /// Writes that failed.
    disk_faults: "disk faults",
    /// Replicas that stood still.
    pauses: "pauses",
    /// Wall clocks that jumped.
    clock_jumps: "clock jumps",
    /// Proposals doubled by the adversary.
    equivocations: "equivocations",
    /// Votes and commit votes doubled by the adversary.
    double_votes: "double votes",
    /// Times the adversary forgot what it had signed.
    amnesias: "amnesias",
    /// Reports of evidence at correct replicas.
    evidence: "evidence reported",
    /// Transactions signed by clients.
    submitted: "transactions signed",
    /// Submissions of transactions that had been submitted before.
    retries: "submissions repeated",
    /// Transactions answered with a receipt.
    acknowledged: "transactions acknowledged",
    /// Transactions ordered again, and not executed.
    duplicates: "duplicates not executed",
    /// Virtual time.
    virtual_millis: "virtual milliseconds",
}
