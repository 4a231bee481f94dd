//! What ends a start or a validator, told to its operator: the exit status that INTERFACES gives it, and what to do.

use quorate_execution::{ExecuteError, OpenError};
use quorate_replica::{BootError, ReplicaError};
use quorate_storage::ledger::LedgerError;
use quorate_storage::{HomeError, StoreError};

use crate::exit::{ExitStatus, Failure};
use crate::validator::core::CoreError;

pub(crate) fn home_failure(error: &HomeError) -> Failure {
    match error {
        HomeError::Store(error) => store_failure(error),
        error if error.is_unsafe() => Failure::new(ExitStatus::Safety, error),
        error => Failure::failed(error),
    }
}

pub(crate) fn store_failure(error: &StoreError) -> Failure {
    match error {
        StoreError::LostWrites { .. } => Failure::new(ExitStatus::Safety, error).hint(format!(
            "put the newest data back; if it is lost, {TAKE_PART}"
        )),
        error if error.is_damage() => damaged_data(error),
        error if error.is_disk_full() => {
            Failure::failed(error).hint("make room on the disk, and start again: nothing is lost")
        }
        error => Failure::failed(error),
    }
}

pub(super) fn boot_failure(error: BootError) -> Failure {
    match &error {
        BootError::Store(store) => store_failure(store),
        BootError::Ledger(LedgerError::OtherChain { .. }) => {
            Failure::config(&error).hint("data/ and genesis.json of a home must be of one chain")
        }
        BootError::Ledger(LedgerError::OtherSchema { .. }) => Failure::config(&error)
            .hint("start it with the release that wrote it; nothing was changed"),
        BootError::Ledger(LedgerError::Store(store))
        | BootError::State(OpenError::Source(store))
        | BootError::Replica(
            ReplicaError::Store(store)
            | ReplicaError::Ledger(LedgerError::Store(store))
            | ReplicaError::Execute(ExecuteError::Source(store)),
        ) => store_failure(store),
        BootError::State(OpenError::RootMismatch { .. }) => Failure::damaged(&error).hint(
            format!(
                "keep this home: `quorate replay --home` and `quorate diff-state` with another validator's tell what differs; to take part again, {TAKE_PART}"
            ),
        ),
        _ => damaged_data(&error),
    }
}

/// The way out that is always left, in the order in which it works: `recover` refuses a home that has lost nothing.
const TAKE_PART: &str = "move data/ away (mv data data.damaged), then `quorate recover --home HOME --yes`, and start it: it \
     asks the others what it may have signed";

/// Status 8. Nothing here repairs a home on its own: what was signed must not be forgotten with what is damaged.
fn damaged_data(error: impl std::fmt::Display) -> Failure {
    Failure::damaged(error).hint(
        format!(
            "delete nothing: check the disk, and put back the newest copy of data/ that this home itself wrote (an older one is refused); \
             if there is none, {TAKE_PART}. The others go on meanwhile"
        ),
    )
}

impl From<BootError> for Failure {
    fn from(error: BootError) -> Failure {
        boot_failure(error)
    }
}

/// The same causes have the same status as at a start: a disk that was full is no damage.
pub(super) fn core_failure(error: CoreError) -> Failure {
    match error {
        CoreError::Store(store) => store_failure(&store),
        CoreError::Replica(error) => boot_failure(BootError::Replica(error)),
        CoreError::Boot(error) => boot_failure(error),
    }
}

#[cfg(test)]
mod tests {
    use quorate_storage::{Fault, Table};

    use super::*;

    fn store(fault: Fault) -> StoreError {
        StoreError::Database {
            operation: "write",
            fault,
            message: String::from("said so"),
        }
    }

    /// Each way in which a store's error reaches the end of the core.
    fn ends(fault: Fault) -> [CoreError; 8] {
        let replica = |error| CoreError::Boot(BootError::Replica(error));
        [
            CoreError::Store(store(fault)),
            CoreError::Replica(ReplicaError::Store(store(fault))),
            CoreError::Replica(ReplicaError::Ledger(store(fault).into())),
            CoreError::Replica(ReplicaError::Execute(ExecuteError::Source(store(fault)))),
            CoreError::Boot(BootError::Store(store(fault))),
            CoreError::Boot(BootError::Ledger(store(fault).into())),
            CoreError::Boot(BootError::State(OpenError::Source(store(fault)))),
            replica(ReplicaError::Store(store(fault))),
        ]
    }

    /// `recover` refuses a home that has lost nothing, so whoever was told of it first stood before a closed door.
    fn in_order(failure: &Failure, first: &str) {
        let hint = failure.hint.clone().unwrap_or_default();
        let steps = [
            first,
            "mv data data.damaged",
            "quorate recover --home HOME --yes",
        ];
        let places = steps.map(|step| hint.find(step));
        assert!(
            places.iter().all(Option::is_some) && places.is_sorted(),
            "{hint}"
        );
    }

    #[test]
    fn the_way_out_begins_with_what_recover_asks_for() {
        let lost = StoreError::LostWrites {
            found: 1,
            promised: 2,
        };
        in_order(&store_failure(&lost), "put the newest data back");
        let other = OpenError::RootMismatch {
            height: quorate_types::Height(7),
        };
        in_order(&boot_failure(BootError::State(other)), "keep this home");
    }

    /// A disk that filled up while a fetched snapshot was installed ended the process with status 8: systemd never started
    /// it again, and its operator was told to look for damage.
    #[test]
    fn a_disk_that_fills_up_while_it_runs_is_no_damage_and_rot_is() {
        for error in ends(Fault::Full) {
            let failure = core_failure(error);
            assert_eq!(failure.status, ExitStatus::Failed, "{failure}");
            let hint = failure.hint.unwrap_or_default();
            assert!(hint.contains("make room on the disk"), "{hint}");
        }
        for error in ends(Fault::Corruption) {
            let failure = core_failure(error);
            assert_eq!(failure.status, ExitStatus::Damaged, "{failure}");
            in_order(&failure, "delete nothing");
        }
        let entry = || LedgerError::Damaged {
            table: Table::Blocks,
            key: vec![1],
        };
        for error in [
            CoreError::Replica(ReplicaError::Ledger(entry())),
            CoreError::Replica(ReplicaError::Execute(ExecuteError::Damaged)),
            CoreError::Boot(BootError::Ledger(entry())),
            CoreError::Boot(BootError::State(OpenError::Damaged)),
        ] {
            let failure = core_failure(error);
            assert_eq!(failure.status, ExitStatus::Damaged, "{failure}");
        }
    }
}
