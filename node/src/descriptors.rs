//! Open files: as many as the system lets this process have, and what of them is left for clients.
//!
//! Each connection of a client is one. A shell's usual limit is far below what the settings promise, and a process that has
//! none left can neither accept nor write its database.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that a validator may need besides the connections of its clients: the database's, peers', probes'.
pub const OTHERS: u64 = 1_024;

/// Raises the soft limit to the hard one, as any process may. Returns what holds now; none is no limit.
#[must_use]
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    }
}

/// Connections of clients that there are files for, of as many as are wanted: what the others leave, and a quarter at
/// least.
#[must_use]
pub fn connections(wanted: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else {
        return wanted;
    };
    let room = limit.saturating_sub(OTHERS).max(limit / 4).max(1);
    usize::try_from(room).map_or(wanted, |room| room.min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_others_leave_and_a_quarter_at_least() {
        for (wanted, limit, connections) in [
            (4_096, None, 4_096),
            (4_096, Some(65_536), 4_096),
            (4_096, Some(OTHERS + 4_096), 4_096),
            (4_096, Some(OTHERS + 4_095), 4_095),
            (4_096, Some(1_024), 256),
            (100, Some(1_024), 100),
            (4_096, Some(0), 1),
        ] {
            let found = super::connections(wanted, limit);
            assert_eq!(found, connections, "{wanted} of {limit:?}");
        }
    }

    #[test]
    fn a_process_gets_its_hard_limit() {
        assert_eq!(raise(), getrlimit(Resource::Nofile).maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, raise());
    }
}
