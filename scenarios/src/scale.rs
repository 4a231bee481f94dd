//! Scenarios about sizes and times: clusters of other sizes, long absence, long idleness, another clock.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Options, START};
use crate::load::{Load, Writer, check_all_there};
use crate::wait::{Times, eventually};

/// Clusters of 1, 4, 7 and 10.
pub fn sizes(puts: usize) -> Vec<String> {
    let mut findings = Vec::new();
    for validators in [1, 4, 7, 10] {
        let cluster = Cluster::started(Options {
            validators,
            ..Options::default()
        });
        let mut writer = Writer::new(&cluster, 1);
        let mut times = Times::default();
        for put in 0..puts {
            let from = Instant::now();
            assert!(writer.put(&format!("sizes/{put}"), b"x", from + START));
            times.add(from.elapsed());
        }
        cluster.put("sizes", "by the command line");
        assert_eq!(cluster.get("sizes"), "by the command line");
        cluster.agree(START);
        findings.push(format!("{validators} validators: puts, {times}"));
    }
    findings
}

/// One validator stopped while hundreds of non-empty blocks go by; then it returns, under load.
pub fn catch_up(hundreds: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    let wanted = 100 * u64::try_from(hundreds).expect("a small number");
    cluster.put("catch-up", "before");
    assert!(cluster.stop(3).success());
    let first = cluster.height(0);
    // One client that waits for each receipt: every put has a block of its own.
    let mut writer = Writer::new(&cluster, 1);
    writer.only((0..3).map(|i| cluster.api(i)).collect());
    let from = Instant::now();
    for put in 0..wanted {
        let deadline = Instant::now() + START;
        assert!(writer.put(&format!("catch-up/{put}"), b"x", deadline));
    }
    let behind = cluster.height(0) - first;
    let made = from.elapsed();
    let others = (2..4).map(|i| {
        let mut writer = Writer::new(&cluster, i);
        writer.only((0..3).map(|i| cluster.api(i)).collect());
        writer
    });
    let load = Load::start("catch-up-load", others.collect());
    let from = Instant::now();
    cluster.start(3);
    let limit = START + Duration::from_millis(10 * wanted);
    eventually(limit, "the validator has caught up", || {
        (cluster.height(3) + 8 >= cluster.height(0)).then_some(())
    });
    let took = from.elapsed();
    cluster.wait_ready(3, START);
    let (_, keys) = load.stop();
    cluster.agree(START);
    check_all_there(&cluster, &keys);
    vec![format!(
        "{behind} blocks behind (made in {made:.0?}) were caught up in {took:.1?}, while {} puts went on",
        keys.len()
    )]
}

/// Minutes without work; then the leader dies, and a put must be served at once.
pub fn idle(minutes: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    cluster.put("idle", "before");
    let time = Duration::from_secs(60 * u64::try_from(minutes).expect("a small number"));
    // What the start writes (a log of RocksDB's, the first memtable) is not what idling costs.
    cluster.agree(START);
    std::thread::sleep(Duration::from_secs(5));
    let before: Vec<_> = (0..4).map(|i| (cluster.cpu(i), cluster.disk(i))).collect();
    let first = cluster.height(0);
    std::thread::sleep(time);
    let mut findings = vec![format!("{} blocks in {time:?}", cluster.height(0) - first)];
    for (i, (cpu, disk)) in before.into_iter().enumerate() {
        let percent = 100.0 * (cluster.cpu(i) - cpu).as_secs_f64() / time.as_secs_f64();
        let grown = cluster.disk(i).saturating_sub(disk);
        findings.push(format!(
            "validator {i}: {percent:.2} % of a core, {grown} B of disk"
        ));
        assert!(
            percent < 1.0,
            "validator {i} idles at {percent:.2} % of a core"
        );
        assert!(
            grown < 5_000_000,
            "validator {i} wrote {grown} B while idle"
        );
    }
    let leader = cluster.leader().expect("some validator led");
    let mut writer = Writer::new(&cluster, 1);
    let others = (0..4).filter(|&i| i != leader).map(|i| cluster.api(i));
    writer.only(others.collect());
    cluster.kill(leader);
    let from = Instant::now();
    assert!(writer.put("idle", b"after", from + START));
    let took = from.elapsed();
    findings.push(format!("a put after the leader's death took {took:.0?}"));
    assert!(took < Duration::from_secs(1), "the put took {took:?}");
    findings
}

/// All restarted with the wall clock an hour back. Needs libfaketime (`scripts/setup.sh scenarios`).
pub fn clock_back(rounds: usize) -> Vec<String> {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    assert!(
        std::path::Path::new(library).exists(),
        "libfaketime is missing: scripts/setup.sh scenarios installs it"
    );
    let mut cluster = Cluster::four();
    let mut times = Times::default();
    for round in 1..=rounds {
        cluster.put("clock", "before");
        (0..4).for_each(|i| assert!(cluster.stop(i).success()));
        cluster.set_environment(vec![
            ("LD_PRELOAD".into(), library.into()),
            ("FAKETIME".into(), format!("-{round}h")),
            // Timers run on monotonic time, which no adjustment of the clock moves.
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
        ]);
        cluster.start_all();
        cluster.wait_all_ready(START);
        let now = cluster.status(0)["now"].as_u64().unwrap_or(0);
        let real = crate::load::in_seconds(0).0;
        assert!(now + 3_500_000_000_000 < real, "the clock was turned back");
        for put in 0..10 {
            times.add(cluster.put(&format!("clock/{put}"), "after"));
        }
        assert_eq!(cluster.get("clock/9"), "after");
    }
    cluster.agree(START);
    vec![format!("puts, process start included, {times}")]
}
