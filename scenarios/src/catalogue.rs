//! Every scenario by name.

use crate::{
    apart, blows, clients, copies, faults, joins, power, recovery, rot, scale, snapshots, space,
};

/// A promise, and how it is tried.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What `quorate-scenarios run` is given.
    pub name: &'static str,
    /// What must hold.
    pub promise: &'static str,
    /// What is counted by the number that the scenario is given.
    pub unit: &'static str,
    /// The number at full length.
    pub full: usize,
    /// Tries it; returns what was measured. A broken promise is a panic.
    pub run: fn(usize) -> Vec<String>,
}

/// All scenarios, the quick ones first.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "same-transaction",
        promise: "one signed transaction sent again and again to all validators at once is executed once, with equal receipts",
        unit: "copies",
        full: 100,
        run: clients::same_transaction,
    },
    Scenario {
        name: "bad-transactions",
        promise: "each kind of bad transaction has its own error; nothing is lost and nothing crashes",
        unit: "rounds",
        full: 3,
        run: clients::bad_transactions,
    },
    Scenario {
        name: "bad-homes",
        promise: "each kind of bad home or machine stops a start with its own error and status",
        unit: "rounds",
        full: 1,
        run: clients::bad_homes,
    },
    Scenario {
        name: "full-queue",
        promise: "a full queue answers 429 with Retry-After, and everything accepted is executed",
        unit: "rounds",
        full: 3,
        run: clients::full_queue,
    },
    Scenario {
        name: "slow-disk",
        promise: "with every sync 200 ms slower, a put takes at least twice that long",
        unit: "puts",
        full: 20,
        run: power::slow_disk,
    },
    Scenario {
        name: "two-killed",
        promise: "two of four killed: a put exits 4, a local get works, livez 200, readyz 503; all is well when they return",
        unit: "rounds",
        full: 5,
        run: faults::two_killed,
    },
    Scenario {
        name: "three-started",
        promise: "all four killed and three started: a put succeeds within 5 s",
        unit: "rounds",
        full: 5,
        run: faults::three_started,
    },
    Scenario {
        name: "rolling-restart",
        promise: "validators restarted one after the other under load: each exits 0 in time, nothing acknowledged is lost",
        unit: "rounds",
        full: 3,
        run: faults::rolling_restart,
    },
    Scenario {
        name: "leader-killed",
        promise: "the leader killed: commits resume, p99 below a second",
        unit: "kills",
        full: 50,
        run: faults::leader_killed,
    },
    Scenario {
        name: "all-killed",
        promise: "all killed at a random instant under load: nothing acknowledged is lost, equal roots, logs verify",
        unit: "kills",
        full: 10,
        run: faults::all_killed,
    },
    Scenario {
        name: "power-cut",
        promise: "all lose power at once under load: nothing acknowledged is lost, equal roots, logs verify",
        unit: "cuts",
        full: 20,
        run: power::power_cut,
    },
    Scenario {
        name: "clock-back",
        promise: "all restarted with the wall clock an hour back: puts go on",
        unit: "rounds",
        full: 1,
        run: scale::clock_back,
    },
    Scenario {
        name: "sizes",
        promise: "1, 4, 7 and 10 validators serve on one machine",
        unit: "puts at each size",
        full: 50,
        run: scale::sizes,
    },
    Scenario {
        name: "catch-up",
        promise: "a validator stopped for ten thousand non-empty blocks catches up under load",
        unit: "hundreds of blocks",
        full: 100,
        run: scale::catch_up,
    },
    Scenario {
        name: "snapshot-files",
        promise: "snapshots are made by hand, verified offline and restored; a flipped byte or a cut file is refused",
        unit: "snapshots",
        full: 3,
        run: snapshots::snapshot_files,
    },
    Scenario {
        name: "snapshot-join",
        promise: "an empty home joins by snapshot a chain whose first blocks nobody keeps, killed on the way",
        unit: "kills",
        full: 50,
        run: snapshots::snapshot_join,
    },
    Scenario {
        name: "large-join",
        promise: "a validator without anything joins a chain with a large state, by blocks and faster by snapshot, within 1 GB of memory",
        unit: "megabytes",
        full: 1_000,
        run: joins::large_join,
    },
    Scenario {
        name: "behind",
        promise: "a validator that missed many transactions catches up under full load, within 1 GB of memory, while four fifths of the load go on (as root)",
        unit: "thousands of transactions",
        full: 100,
        run: joins::behind,
    },
    Scenario {
        name: "truncation-flat",
        promise: "under constant load the disk that a home takes stops growing",
        unit: "minutes",
        full: 5,
        run: snapshots::truncation_flat,
    },
    Scenario {
        name: "low-disk",
        promise: "a validator whose disk fills up refuses writes, then halts, before it is full, and goes on by itself once there is room (as root)",
        unit: "rounds",
        full: 3,
        run: space::low_disk,
    },
    Scenario {
        name: "blows",
        promise: "validators killed and without power while they make, fetch and start from snapshots and remove the past: each comes back by itself, nothing is lost, nobody signs twice",
        unit: "blows",
        full: 600,
        run: blows::blows,
    },
    Scenario {
        name: "copies",
        promise: "backup, restore, fork and snapshot restore killed, without power or interrupted: what has its name is whole, the next attempt succeeds, and who was restored votes, and signs nothing twice",
        unit: "blows",
        full: 200,
        run: copies::copies,
    },
    Scenario {
        name: "rotten-disk",
        promise: "a byte flipped in the files of one of four: its start refuses them with a status that says so, or it serves nothing of it",
        unit: "flips",
        full: 60,
        run: rot::rotten_disk,
    },
    Scenario {
        name: "restored-home",
        promise: "a voter's home put back to an older copy under load: it says so, signs nothing twice, and votes again",
        unit: "restores",
        full: 10,
        run: recovery::restored_home,
    },
    Scenario {
        name: "restored-apart",
        promise: "a voter's home put back to an older copy during a partition: it signs nothing before it has asked enough others, nothing twice, and votes again",
        unit: "restores",
        full: 9,
        run: apart::restored_apart,
    },
    Scenario {
        name: "all-restored",
        promise: "all put back to copies of different moments: one after the other nothing is lost and nothing forks; at once they say that their homes are old",
        unit: "rounds",
        full: 5,
        run: recovery::all_restored,
    },
    Scenario {
        name: "lost-disk",
        promise: "a validator without its disk is refused, recovered with one command, and votes again",
        unit: "losses",
        full: 6,
        run: recovery::lost_disk,
    },
    Scenario {
        name: "twin-key",
        promise: "one validator's keys in two processes: both say so, and nothing forks",
        unit: "rounds",
        full: 3,
        run: recovery::twin_key,
    },
    Scenario {
        name: "restart-gap",
        promise: "a validator that was away for ten thousand blocks votes within 5 s of its start",
        unit: "hundreds of blocks",
        full: 100,
        run: recovery::restart_gap,
    },
    Scenario {
        name: "idle",
        promise: "idle, a validator takes less than 1 % of a core and 5 MB of disk; then the leader dies and a put succeeds within a second",
        unit: "minutes",
        full: 10,
        run: scale::idle,
    },
];

/// The scenario of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_found() {
        for scenario in ALL {
            let found = find(scenario.name).expect("by its own name");
            assert_eq!(found.promise, scenario.promise);
        }
    }
}
