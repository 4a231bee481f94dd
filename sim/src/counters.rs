//! What happened, and how often: the proof that the rare paths were walked.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $text:literal,)*) => {
        /// Counts of one world, or of many added up.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
            /// What adversaries did that nobody honest does.
            pub acts: BTreeMap<String, u64>,
        }

        impl AddAssign<&Counters> for Counters {
            fn add_assign(&mut self, other: &Counters) {
                $(self.$name += other.$name;)*
                for (what, times) in &other.acts {
                    *self.acts.entry(what.clone()).or_default() += times;
                }
            }
        }

        impl fmt::Display for Counters {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:>12}  {}", self.$name, $text)?;)*
                for (what, times) in &self.acts {
                    writeln!(f, "{times:>12}  lies: {what}")?;
                }
                Ok(())
            }
        }
    };
}

counters! {
    /// Messages delivered, synced writes, and timers that did something.
    events: "events",
    /// Events of worlds that were run a second time.
    again: "events of worlds run again to compare",
    /// Everything that the world did, alarms set in vain included.
    steps: "steps of the world",
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
    /// Messages that had to wait for a link.
    clogged: "messages held up by a clogged link",
    /// Disks that became slow.
    slow_disks: "slow disks",
    /// Entries that could not be read any more.
    rots: "rotten entries",
    /// Validators that refused to go on with a rotten disk.
    refusals: "replicas that refused a rotten disk",
    /// Rotten entries that a peer asked for, and did not get.
    unserved: "rotten entries not served",
    /// Rotten entries fetched from a peer and written anew.
    mended: "rotten entries mended",
    /// Times a liar forgot what it had signed.
    wipes: "disks wiped",
    /// Times a liar got an old disk back.
    backups: "old disks put back",
    /// Reports of evidence at correct replicas.
    evidence: "evidence reported",
    /// Transactions signed by clients.
    submitted: "transactions signed",
    /// Submissions of transactions that had been submitted before.
    retries: "submissions repeated",
    /// Transactions answered with a receipt.
    acknowledged: "transactions acknowledged",
    /// Values of keys that replicas proved.
    proved: "keys proved to clients",
    /// Submissions that a replica did not admit.
    turned_away: "submissions turned away",
    /// Transactions ordered again, and not executed.
    duplicates: "duplicates not executed",
    /// Starts with a round in the record that may not be signed again (P4).
    burnt: "restarts with a burnt round",
    /// Fences passed by validators that started (P5).
    fences: "fences passed",
    /// Times a correct validator got an old disk back.
    restored: "correct validators put back to an old disk",
    /// Times a correct validator lost its disk for good.
    forgotten: "correct validators with a new disk",
    /// Strict fences passed by those.
    strict: "strict fences passed",
    /// Checkpoints that clients made.
    checkpoints: "checkpoints made",
    /// Checkpoints that they ended.
    released: "checkpoints released",
    /// Reverts that had an answer.
    reverts: "reverts",
    /// Keys that these changed.
    reverted: "keys taken back",
    /// Operations on checkpoints that could not be.
    unplaced: "operations on checkpoints refused",
    /// Histories of single keys for which an order was found without the ledger.
    histories: "histories of keys found linearizable without the ledger",
    /// Those for which the search gave up.
    open_histories: "histories of keys too entangled to tell",
    /// Times a world's whole state was compared with an earlier one.
    looks: "looks for a repeated state",
    /// Virtual time.
    virtual_millis: "virtual milliseconds",
}
