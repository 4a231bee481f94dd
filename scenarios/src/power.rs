//! Scenarios about durability: a disk that is slow to answer, and power that goes. See [`crate::shim`].
//!
//! A killed process leaves the page cache behind, so a validator that never syncs survives every kill -9. These two
//! tell it from one that does.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Options, START};
use crate::faults::random_moment;
use crate::load::{Load, Writer, check_all_there};
use crate::wait::Times;

/// Delays every sync by 200 ms. Two are on the way of a put, one behind the other: a quorum's votes and its commit votes are
/// synced before they leave. One that comes back earlier was acknowledged before it was durable.
pub fn slow_disk(puts: usize) -> Vec<String> {
    let delay = Duration::from_millis(200);
    let cluster = Cluster::started(Options {
        sync_delay: Some(delay),
        ..Options::default()
    });
    let mut writer = Writer::new(&cluster, 1);
    let mut times = Times::default();
    for put in 0..puts {
        let from = Instant::now();
        let done = writer.put(&format!("slow/{put}"), b"x", from + START);
        assert!(done, "a put succeeds on a slow disk");
        let took = from.elapsed();
        assert!(
            took >= 2 * delay,
            "acknowledged after {took:?}, before two syncs could end"
        );
        times.add(took);
    }
    vec![format!("puts, {times}")]
}

/// All lose power at a random instant, under load. Everything that was not synced is gone, names included.
pub fn power_cut(cuts: usize) -> Vec<String> {
    let mut cluster = Cluster::started(Options {
        power: true,
        ..Options::default()
    });
    let mut writers: Vec<_> = (1..9).map(|i| Writer::new(&cluster, i)).collect();
    let mut keys = Vec::new();
    let mut lost = 0;
    for cut in 0..cuts {
        let load = Load::start(&format!("power-cut/{cut}"), writers);
        std::thread::sleep(random_moment());
        let losses = cluster.cut_power();
        lost += losses.iter().map(|lost| lost.bytes).sum::<u64>();
        let (back, acknowledged) = load.stop();
        writers = back;
        keys.extend(acknowledged);
        cluster.start_all();
        cluster.wait_all_ready(START);
        cluster.put("power-cut", "after");
        cluster.agree(START);
        check_all_there(&cluster, &keys);
    }
    let (height, _) = cluster.agree(START);
    cluster.kill_all();
    cluster.verify_logs();
    // Else the shim did not act, and nothing was tried.
    assert!(lost > 0, "the cuts took something");
    vec![
        format!("{} acknowledged keys there, height {height}", keys.len()),
        format!("{lost} unsynced bytes were lost on the way"),
    ]
}
