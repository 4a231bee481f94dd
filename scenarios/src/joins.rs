//! Validators that come to a large chain or come back to a busy one, each within 1 GB of memory of its own.

use std::fs;
use std::time::{Duration, Instant};

use quorate_types::codec;

use crate::chaos::draw::Draw;
use crate::cluster::{Cluster, Options, START, quorate, quorate_within};
use crate::load::{Load, Writer, check_all_there, is_executed, put_command};
use crate::recovery::VICTIM;
use crate::wait::eventually;

/// What each validator may have: no more can be allocated.
const MEMORY: u64 = 1 << 30;
/// How long joining may take.
const JOINS: Duration = Duration::from_secs(1_800);
/// Bytes of a value of the large state, and how many of them go into a transaction.
const VALUE: usize = 62_000;
const VALUES: usize = 4;
/// Megabytes from which a snapshot must be faster: asking for it takes a second or two.
const LARGE: usize = 500;
/// How often each value of the large state is written. A chain's history is more than its state; if it were no more, its
/// blocks would be as good as a snapshot: both are mostly the same bytes, written twice.
const WRITTEN: usize = 2;
/// Writers of the large state, and of the full load.
const FILLERS: usize = 4;
const WRITERS: u16 = 64;
/// Hundredths of a core of each validator under the full load.
const CORES: u64 = 40;
/// Hundredths of the throughput that stay while one catches up.
const STAYS: u64 = 80;

/// Settings under which a snapshot is made at every so many blocks and fetched by who is further behind than others.
fn settings(interval: u64, gap: u64) -> Vec<(String, String)> {
    let settings = [
        ("QUORATE_SNAPSHOTS__INTERVAL_BLOCKS", interval),
        ("QUORATE_SNAPSHOTS__FETCH_GAP_BLOCKS", gap),
    ];
    settings
        .map(|(name, value)| (name.into(), value.to_string()))
        .to_vec()
}

/// A validator without anything joins a chain with a large state: by all its blocks, and by a snapshot.
pub fn large_join(megabytes: usize) -> Vec<String> {
    let never = 1_000_000_000;
    let mut cluster = Cluster::new(Options {
        memory: Some(MEMORY),
        environment: settings(never, never),
        ..Options::default()
    });
    (0..3).for_each(|i| cluster.start(i));
    (0..3).for_each(|i| cluster.wait_ready(i, START));
    let from = Instant::now();
    fill(&cluster, megabytes * 1_000_000 / (VALUES * VALUE));
    let mut findings = vec![format!("filled in {:.0?}", from.elapsed())];
    // All make their snapshot at one height, a little above the state.
    let height = cluster.height(0) + 100;
    (0..3).for_each(|i| assert!(cluster.stop(i).success()));
    cluster.set_environment(settings(height, never));
    (0..3).for_each(|i| cluster.start(i));
    (0..3).for_each(|i| cluster.wait_ready(i, START));
    let mut writer = Writer::new(&cluster, 1);
    writer.only((0..3).map(|i| cluster.api(i)).collect());
    let mut puts = 0;
    let mut put = || {
        let deadline = Instant::now() + START;
        assert!(writer.put(&format!("small/{puts}"), b"x", deadline));
        puts += 1;
    };
    eventually(JOINS, "three snapshots", || {
        put();
        let made = (0..3).all(|i| cluster.log_of_start(i).contains("\"snapshot_made\""));
        made.then_some(())
    });
    findings.push(format!("snapshot: {}", made(&cluster)));
    let mut shown = None;
    let mut join = |cluster: &mut Cluster, how: &str| {
        let behind = cluster.height(0);
        let from = Instant::now();
        cluster.start(VICTIM);
        eventually(JOINS, "it has caught up", || {
            put();
            if cluster.status(VICTIM)["transfer"].is_object() && shown.is_none() {
                shown = progress(cluster);
            }
            (cluster.height(VICTIM) + 8 >= cluster.height(0)).then_some(())
        });
        let took = from.elapsed();
        let peak = cluster.peak_memory(VICTIM) >> 20;
        findings.push(format!(
            "{behind} blocks, {how}: {took:.1?}, peak memory {peak} MiB"
        ));
        took
    };
    let by_blocks = join(&mut cluster, "by blocks");
    cluster.kill(VICTIM);
    for part in ["data", "safety", "snapshots"] {
        let _ = fs::remove_dir_all(cluster.home(VICTIM).join(part));
    }
    let home = cluster.home(VICTIM).display().to_string();
    quorate(&["recover", "--home", &home, "--yes"]).expect(0, "marked");
    cluster.set_environment(settings(height, 100));
    let by_snapshot = join(&mut cluster, "by snapshot");
    let log = cluster.log_of_start(VICTIM);
    assert!(log.contains("snapshot_installed"), "it came by blocks");
    if megabytes >= LARGE {
        assert!(by_snapshot < by_blocks, "a snapshot is faster");
        assert!(log.contains("snapshot_progress"), "the log tells how far");
        findings.push(shown.expect("status and metrics tell how far, and how long"));
    }
    let peaks = (0..3).map(|i| cluster.peak_memory(i) >> 20);
    let peaks: Vec<_> = peaks.collect();
    findings.push(format!("peak memory of the others {peaks:?} MiB"));
    cluster.agree(START);
    assert!(cluster.stop(0).success());
    findings.extend(tools(&cluster));
    findings
}

/// What an operator is told of a transfer: a line of `quorate status`, once it and the metrics know how long it will take.
fn progress(cluster: &Cluster) -> Option<String> {
    let left = cluster.metric(VICTIM, "quorate_transfer_remaining_seconds")?;
    let status = cluster.cli(&["status"]).stdout;
    let mut lines = status.lines();
    let line = lines.find(|line| line.contains("fetches the snapshot"))?;
    (left >= 0.0 && !line.contains("? s left")).then(|| line.trim().to_owned())
}

/// The state worked out again, and a chain that starts from it, within the same memory.
fn tools(cluster: &Cluster) -> [String; 2] {
    let home = cluster.home(0).display().to_string();
    let fork = cluster.path().join("fork").display().to_string();
    let lines: [&[&str]; 2] = [
        &["replay", "--home", &home],
        &["fork", "--home", &home, "--output", &fork],
    ];
    lines.map(|line| {
        let run = quorate_within(MEMORY, line).expect(0, line[0]);
        let peak = run.peak >> 20;
        format!("{}: {:.1?}, peak memory {peak} MiB", line[0], run.took)
    })
}

/// Large values, several in each transaction, by some writers at once, and all of them [`WRITTEN`] times.
fn fill(cluster: &Cluster, transactions: usize) {
    std::thread::scope(|scope| {
        for filler in 0..FILLERS {
            let mut writer = Writer::new(cluster, 2 + filler);
            writer.only((0..3).map(|i| cluster.api(i)).collect());
            scope.spawn(move || {
                for turn in (filler..WRITTEN * transactions).step_by(FILLERS) {
                    let transaction = turn % transactions;
                    let value = |place| {
                        // No two are alike, and they do not compress.
                        let mut draw = Draw::new((turn * VALUES + place) as u64);
                        let bytes: Vec<u8> = (0..VALUE / 8)
                            .flat_map(|_| draw.bits().to_le_bytes())
                            .collect();
                        put_command(&format!("large/{transaction}/{place}"), &bytes)
                    };
                    let body = writer.body((0..VALUES).map(value).collect());
                    let bytes = codec::encode(&writer.sign(body));
                    eventually(START, "large values are taken", || {
                        let answer = writer.send_once(&bytes, "executed")?;
                        is_executed(&answer).then_some(())
                    });
                }
            });
        }
    });
}

/// What the first validator logged of its snapshot.
fn made(cluster: &Cluster) -> String {
    let log = cluster.log_of_start(0);
    let line = log.lines().find(|line| line.contains("\"snapshot_made\""));
    let line: serde_json::Value =
        serde_json::from_str(line.unwrap_or_default()).unwrap_or_default();
    let part = |name: &str| line[name].to_string();
    format!(
        "height {}, {} records, {} B in {} chunks, made in {} s",
        part("height"),
        part("records"),
        part("bytes"),
        part("chunks"),
        part("seconds")
    )
}

/// A validator that missed many transactions of a full load catches up while the load goes on. Each has `CORES` for
/// itself, as on a machine of its own: what the load loses is what the others do for the one that catches up.
pub fn behind(thousands: usize) -> Vec<String> {
    let mut cluster = Cluster::started(Options {
        clients: WRITERS + 1,
        memory: Some(MEMORY),
        cores: Some(CORES),
        ..Options::default()
    });
    assert!(cluster.stop(VICTIM).success());
    let writers = (1..=usize::from(WRITERS)).map(|i| {
        let mut writer = Writer::new(&cluster, i);
        writer.only((0..3).map(|i| cluster.api(i)).collect());
        writer
    });
    let load = Load::start("behind", writers.collect());
    let (head, from) = (cluster.height(0), Instant::now());
    let wanted = 1_000 * u64::try_from(thousands).expect("few");
    eventually(JOINS, "enough was missed", || {
        (load.served() >= wanted).then_some(())
    });
    // The load alone, for as long as it takes to be sure of its rate.
    let alone = rate(&load, Duration::from_secs(10));
    let (missed, blocks) = (load.served(), cluster.height(0) - head);
    let made = from.elapsed();
    let (from, before) = (Instant::now(), load.served());
    cluster.start(VICTIM);
    eventually(JOINS, "it has caught up", || {
        (cluster.height(VICTIM) + 8 >= cluster.height(0)).then_some(())
    });
    let took = from.elapsed();
    let during = per_second(load.served() - before, took);
    cluster.wait_ready(VICTIM, START);
    let peak = cluster.peak_memory(VICTIM) >> 20;
    let after = rate(&load, Duration::from_secs(10));
    assert!(
        100 * during >= STAYS * alone,
        "{during} transactions a second while it caught up, {alone} without it"
    );
    let (_, keys) = load.stop();
    let sample: Vec<String> = keys.into_iter().step_by(97).collect();
    check_all_there(&cluster, &sample);
    vec![
        format!("{missed} transactions in {blocks} blocks missed in {made:.0?}"),
        format!("caught up in {took:.1?}, peak memory {peak} MiB"),
        format!("transactions a second: {alone} before, {during} meanwhile, {after} with all four"),
    ]
}

fn rate(load: &Load, time: Duration) -> u64 {
    let (from, before) = (Instant::now(), load.served());
    std::thread::sleep(time);
    per_second(load.served() - before, from.elapsed())
}

fn per_second(count: u64, time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).expect("minutes");
    1_000 * count / millis.max(1)
}
