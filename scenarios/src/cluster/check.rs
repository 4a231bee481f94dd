//! What validators agree on, and what they take of their machine.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Cluster, quorate, run};
use crate::wait::eventually;

impl Cluster {
    /// Waits until all running validators have executed the same height with the same roots; returns height and roots.
    ///
    /// # Panics
    /// If they do not within `within`.
    pub fn agree(&self, within: Duration) -> (u64, Value) {
        let running: Vec<_> = (0..self.size()).filter(|&i| self.runs(i)).collect();
        eventually(within, "equal heights and roots everywhere", || {
            let states = running.iter().map(|&i| self.status(i));
            let mut states = states.map(|s| (s["executed"].as_u64(), s["roots"].clone()));
            let (height, roots) = states.next()?;
            let equal = states.all(|other| other == (height, roots.clone()));
            (equal && !roots.is_null()).then(|| Some((height?, roots)))?
        })
    }

    /// `log verify` of every home whose validator does not run.
    ///
    /// # Panics
    /// If a log does not verify.
    pub fn verify_logs(&self) {
        for i in (0..self.size()).filter(|&i| !self.runs(i)) {
            let home = self.nodes[i].home.display().to_string();
            let run = quorate(&["log", "verify", "--home", &home]);
            run.expect(0, &format!("the log of validator {i} verifies"));
        }
    }

    /// Processor time that a validator has used.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn cpu(&self, i: usize) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid(i))).expect("it runs");
        // Behind the name in brackets, which may hold blanks: user and system time, in hundredths of a second.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| -> u64 { fields[at].parse().expect("a number") };
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// Bytes of memory that a validator had at most at a time, since its start.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn peak_memory(&self, i: usize) -> u64 {
        run::peak_memory(self.pid(i)).expect("it runs")
    }

    /// Bytes that a validator's home takes on the disk.
    #[must_use]
    pub fn disk(&self, i: usize) -> u64 {
        allocated(&self.nodes[i].home)
    }
}

fn allocated(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(directory) else {
        return 0; // A compaction removed it meanwhile.
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => allocated(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}
