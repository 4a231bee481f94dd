//! A fixed part of a core for each process, as if it had a small machine of its own: a cgroup, which takes root.
//!
//! Validators that share two cores take from each other what they need, so that one that catches up slows the others by
//! the machine and not by what it asks of them. With a part of its own each, only the latter is left.

use std::fs;
use std::path::{Path, PathBuf};

/// In slices so short that nobody waits for a timer of the protocol's.
const PERIOD_US: u64 = 10_000;
/// Where the kernel takes groups: in the second version, if that is what there is, or in the first.
const SECOND: &str = "/sys/fs/cgroup";
const FIRST: &str = "/sys/fs/cgroup/cpu";

/// A group of processes; gone when dropped, if its processes are.
#[derive(Debug)]
pub struct Share(PathBuf);

impl Share {
    /// A group of that name, which has so many hundredths of a core.
    ///
    /// # Panics
    /// If the kernel makes none: not root, or no CPU controller.
    #[must_use]
    pub fn new(name: &str, percent: u64) -> Share {
        let quota = PERIOD_US * percent / 100;
        let second = Path::new(SECOND).join("cgroup.controllers").exists();
        let root = Path::new(if second { SECOND } else { FIRST });
        let share = Share(root.join(name));
        let made = fs::create_dir(&share.0);
        made.unwrap_or_else(|error| panic!("no cgroup {} (as root?): {error}", share.0.display()));
        if second {
            write(&root.join("cgroup.subtree_control"), "+cpu");
            share.set("cpu.max", &format!("{quota} {PERIOD_US}"));
        } else {
            share.set("cpu.cfs_period_us", &PERIOD_US.to_string());
            share.set("cpu.cfs_quota_us", &quota.to_string());
        }
        share
    }

    /// Takes a process in, with all its threads.
    pub fn take(&self, pid: u32) {
        self.set("cgroup.procs", &pid.to_string());
    }

    fn set(&self, name: &str, value: &str) {
        write(&self.0.join(name), value);
    }
}

fn write(path: &Path, value: &str) {
    let written = fs::write(path, value);
    written.unwrap_or_else(|error| panic!("{value} to {}: {error}", path.display()));
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
