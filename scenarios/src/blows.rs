//! Kills and lost power while a validator makes snapshots, lets the past go, fetches a snapshot or starts from one.
//!
//! What happens when is drawn from a seed. What a blow met is read from what it left, so that the report shows that the
//! work was hit and not only the time between.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::chaos::draw::Draw;
use crate::cluster::{Cluster, Options, START};
use crate::load::{Load, Writer, check_all_there};
use crate::recovery::nobody_signed_twice;

/// Blows between two looks at everything that was acknowledged.
const LOOK: usize = 25;
/// A snapshot is fetched by whoever is further behind.
const GAP: u64 = 60;
/// How long the work that a blow is meant for may take to begin; else the blow falls on what there is.
const BEGINS: Duration = Duration::from_secs(10);
/// Bytes of a value that makes the state large, and how many there are.
const VALUE: usize = 50_000;
const VALUES: usize = 160;

/// What a blow falls on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// A snapshot is being written.
    Snapshot,
    /// The first height that is kept has just moved.
    Truncation,
    /// Chunks of a snapshot are being fetched.
    Transfer,
    /// The state is being replaced by what was fetched.
    Install,
    /// Up to the fence.
    Start,
    /// Anything else: blocks.
    Other,
}

const AIMS: [Phase; 5] = [
    Phase::Snapshot,
    Phase::Truncation,
    Phase::Transfer,
    Phase::Install,
    Phase::Start,
];

/// Blows on one of four after the other, under load.
pub fn blows(count: usize) -> Vec<String> {
    let settings = [
        ("QUORATE_SNAPSHOTS__INTERVAL_BLOCKS", "50"),
        ("QUORATE_SNAPSHOTS__FETCH_GAP_BLOCKS", "60"),
        ("QUORATE_STORAGE__KEEP_BLOCKS", "1"),
    ];
    let environment = settings.map(|(name, value)| (name.into(), value.into()));
    let mut cluster = Cluster::started(Options {
        power: true,
        environment: environment.to_vec(),
        ..Options::default()
    });
    let mut writers: Vec<_> = (1..4).map(|i| Writer::new(&cluster, i)).collect();
    for value in 0..VALUES {
        let bytes = vec![u8::try_from(value % 251).expect("below 251"); VALUE];
        let done = writers[0].put(&format!("bulk/{value}"), &bytes, Instant::now() + START);
        assert!(done, "a put succeeds");
    }
    let mut draw = Draw::new(u64::try_from(count).expect("few"));
    let mut met: BTreeMap<(Phase, &str), usize> = BTreeMap::new();
    let (mut keys, mut lost) = (Vec::new(), 0);
    for from in (0..count).step_by(LOOK) {
        let load = Load::start(&format!("blows/{from}"), writers);
        for _ in from..count.min(from + LOOK) {
            let (phase, power) = blow(&mut cluster, &mut draw);
            lost += power.unwrap_or(0);
            let kind = if power.is_some() { "power" } else { "kill" };
            *met.entry((phase, kind)).or_default() += 1;
        }
        cluster.start_all();
        cluster.wait_all_ready(2 * START);
        let (back, acknowledged) = load.stop();
        writers = back;
        keys.extend(acknowledged);
        cluster.agree(2 * START);
        check_all_there(&cluster, &keys);
        nobody_signed_twice(&cluster);
    }
    // Whoever sent what was not durable would be shown a signature that its record does not know.
    for i in 0..cluster.size() {
        let outdated = cluster.log(i).matches("\"home_outdated\"").count();
        assert_eq!(outdated, 0, "validator {i} forgot what it signed");
    }
    let (height, _) = cluster.agree(START);
    let mut findings = vec![
        format!("{} acknowledged keys there, height {height}", keys.len()),
        format!("{lost} unsynced bytes were lost on the way"),
    ];
    let said =
        |((phase, kind), times): (&(Phase, &str), &usize)| format!("{phase:?} {kind} {times}");
    findings.extend(met.iter().map(said));
    findings
}

/// One blow; what it met, and the bytes that were lost if it was the power. The validator is started again, and may be
/// hit again before it is ready.
fn blow(cluster: &mut Cluster, draw: &mut Draw) -> (Phase, Option<u64>) {
    let (drawn, aim) = (draw.index(4), AIMS[draw.index(AIMS.len())]);
    let again = draw.below(3) == 0;
    let down = (0..4).find(|&i| again && !is_ready(cluster, i));
    if down.is_none() {
        // No more than one at a time is down: the others are a quorum.
        cluster.wait_all_ready(2 * START);
    }
    let victim = down.unwrap_or(drawn);
    if matches!(aim, Phase::Transfer | Phase::Install | Phase::Start) {
        cluster.kill(victim);
        let other = (victim + 1) % 4;
        let head = cluster.height(other);
        let gap = if aim == Phase::Start { 1 } else { 2 * GAP };
        wait_for(|| cluster.height(other) >= head + gap);
        cluster.start(victim);
    }
    let first = first_kept(cluster, victim);
    let moved = |now: Option<f64>| first.zip(now).is_some_and(|(first, now)| now > first);
    let mut truncated = false;
    wait_for(|| match aim {
        Phase::Truncation => {
            truncated = moved(first_kept(cluster, victim));
            truncated
        }
        aim => aim == Phase::Start || phase(cluster, victim) == aim,
    });
    let longest = if aim == Phase::Start { 600 } else { 60 };
    sleep(Duration::from_millis(draw.below(longest)));
    cluster.kill(victim);
    let met = match phase(cluster, victim) {
        Phase::Other if truncated => Phase::Truncation,
        met => met,
    };
    let lost = (draw.below(4) == 0).then(|| cluster.cut_power_of(victim).bytes);
    cluster.start(victim);
    (met, lost)
}

/// What a validator is at, by what it leaves on the disk and has logged since its start.
fn phase(cluster: &Cluster, i: usize) -> Phase {
    let log = cluster.log_of_start(i);
    let last = |event: &str| log.rfind(&format!("\"event\":\"{event}\""));
    let [progress, complete, installed] = [
        "snapshot_progress",
        "snapshot_complete",
        "snapshot_installed",
    ]
    .map(last);
    let snapshots = fs::read_dir(cluster.home(i).join("snapshots"));
    let mut entries = snapshots.into_iter().flatten().flatten();
    let unfinished = |path: PathBuf| path.extension().is_some_and(|end| end == "new");
    if last("started").is_none() {
        Phase::Start
    } else if complete > installed {
        Phase::Install
    } else if progress > complete {
        Phase::Transfer
    } else if entries.any(|entry| unfinished(entry.path())) {
        Phase::Snapshot
    } else if last("fence_passed").is_none() {
        Phase::Start
    } else {
        Phase::Other
    }
}

fn is_ready(cluster: &Cluster, i: usize) -> bool {
    let answer = cluster.ask_admin(i, "/readyz");
    answer.is_some_and(|answer| answer.status == 200)
}

fn first_kept(cluster: &Cluster, i: usize) -> Option<f64> {
    cluster.metric(i, "quorate_storage_first_height")
}

/// Waits, but not for ever: what does not begin is not hit, and the report says so.
fn wait_for(mut begun: impl FnMut() -> bool) {
    let from = Instant::now();
    while from.elapsed() < BEGINS && !begun() {
        sleep(Duration::from_millis(5));
    }
}
