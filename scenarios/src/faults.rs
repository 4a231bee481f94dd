//! Scenarios in which processes die: kill -9 of one, of the leader, of too many, of all; and orderly restarts.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, START};
use crate::load::{Load, Writer, check_all_there};
use crate::wait::{Times, eventually};

/// How long commits may rest after a kill. Half of them are far below; a scenario at full length checks the 99th
/// percentile against [`RESUMED`].
const BROKEN: Duration = Duration::from_secs(5);
/// The promise for the 99th percentile.
const RESUMED: Duration = Duration::from_secs(1);
/// How long after a kill the slowest put is looked for: the dead validator's turns as leader lie in it.
const WINDOW: Duration = Duration::from_secs(1);

/// Different each time. Real processes cannot be replayed, so it needs no seed.
pub(crate) fn random_bits() -> u64 {
    RandomState::new().hash_one(Instant::now())
}

/// A time between 200 ms and 2 s.
pub(crate) fn random_moment() -> Duration {
    Duration::from_millis(200 + random_bits() % 1_800)
}

/// Kills the leader again and again while a client writes through the others, and measures the longest that any put
/// took in the second after each kill.
pub fn leader_killed(kills: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    let mut writer = Writer::new(&cluster, 1);
    let mut times = Times::default();
    let mut puts = 0usize;
    for kill in 0..kills {
        let name = format!("leader-killed/{kill}");
        assert!(writer.put(&name, b"before", Instant::now() + BROKEN));
        let leader = cluster.metric(0, "quorate_consensus_leader");
        let mut leaders = 0..cluster.size();
        let leader = leaders
            .find(|&i| leader == u32::try_from(i).ok().map(f64::from))
            .or_else(|| cluster.leader())
            .expect("some validator leads");
        let others = (0..cluster.size()).filter(|&i| i != leader);
        writer.only(others.map(|i| cluster.api(i)).collect());
        cluster.kill(leader);
        let killed = Instant::now();
        let mut slowest = Duration::ZERO;
        while killed.elapsed() < WINDOW {
            let from = Instant::now();
            let done = writer.put(&format!("{name}/{puts}"), b"after", from + BROKEN);
            assert!(done, "kill {kill}: no commit within {BROKEN:?}");
            slowest = slowest.max(from.elapsed());
            puts += 1;
        }
        times.add(slowest);
        cluster.start(leader);
        cluster.wait_ready(leader, START);
    }
    if kills >= 50 {
        let p99 = times.quantile(99);
        assert!(p99 < RESUMED, "commits resume, but the p99 is {p99:?}");
    }
    cluster.agree(START);
    vec![format!("slowest put after each kill, {times}; {puts} puts")]
}

/// Two of four killed: no quorum, and everybody is told so; then they return.
pub fn two_killed(rounds: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    let mut times = Times::default();
    for round in 0..rounds {
        let dead = [round % 4, (round + 1) % 4];
        let alive = [(round + 2) % 4, (round + 3) % 4];
        cluster.put("two-killed", "before");
        for i in alive {
            let what = "the survivors have executed it";
            eventually(START, what, || {
                (local_get(&cluster, i)? == "before").then_some(())
            });
        }
        dead.iter().for_each(|&i| cluster.kill(i));
        let run = cluster.cli(&[
            "--timeout",
            "3",
            "kv",
            "put",
            "two-killed",
            "without a quorum",
        ]);
        run.expect(4, "a put without a quorum is unavailable");
        for i in alive {
            assert_eq!(
                local_get(&cluster, i).as_deref(),
                Some("before"),
                "a local get needs no quorum"
            );
            let status = |path| cluster.ask_admin(i, path).map(|answer| answer.status);
            assert_eq!(status("/livez"), Some(200), "the loops turn");
            let what = "readyz tells that there is no quorum";
            eventually(START, what, || {
                (status("/readyz") == Some(503)).then_some(())
            });
        }
        let from = Instant::now();
        dead.iter().for_each(|&i| cluster.start(i));
        cluster.wait_all_ready(START);
        cluster.put("two-killed", "after");
        times.add(from.elapsed());
        assert_eq!(cluster.get("two-killed"), "after");
    }
    cluster.agree(START);
    vec![format!("from their start to a put, {times}")]
}

fn local_get(cluster: &Cluster, i: usize) -> Option<String> {
    let run = cluster.cli_at(i, &["kv", "get", "two-killed", "--consistency", "local"]);
    (run.status == Some(0)).then(|| run.stdout.trim_end().to_owned())
}

/// All killed, and only a quorum started.
pub fn three_started(rounds: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    let mut times = Times::default();
    for round in 0..rounds {
        cluster.put("three-started", &format!("before {round}"));
        cluster.kill_all();
        let from = Instant::now();
        (0..4)
            .filter(|i| *i != round % 4)
            .for_each(|i| cluster.start(i));
        let deadline = from + Duration::from_secs(5);
        eventually(Duration::from_secs(5), "a put within 5 s", || {
            let run = cluster.cli(&["--timeout", "5", "kv", "put", "three-started", "after"]);
            (run.status == Some(0) && Instant::now() < deadline).then_some(())
        });
        times.add(from.elapsed());
        cluster.start_all();
        cluster.wait_all_ready(START);
    }
    cluster.agree(START);
    vec![format!("from the start to a put, {times}")]
}

/// All killed at a random instant, under load.
pub fn all_killed(kills: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    let mut writers: Vec<_> = (1..9).map(|i| Writer::new(&cluster, i)).collect();
    let mut keys = Vec::new();
    let mut ready = Times::default();
    for kill in 0..kills {
        let load = Load::start(&format!("all-killed/{kill}"), writers);
        std::thread::sleep(random_moment());
        cluster.kill_all();
        let (back, acknowledged) = load.stop();
        writers = back;
        keys.extend(acknowledged);
        let from = Instant::now();
        cluster.start_all();
        cluster.wait_all_ready(START);
        cluster.put("all-killed", "after");
        ready.add(from.elapsed());
        cluster.agree(START);
        check_all_there(&cluster, &keys);
    }
    let (height, _) = cluster.agree(START);
    cluster.kill_all();
    cluster.verify_logs();
    vec![
        format!("{} acknowledged keys there, height {height}", keys.len()),
        format!("from the start to a put, {ready}"),
    ]
}

/// Every validator stopped and started in turn, under load.
pub fn rolling_restart(rounds: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    let writers = (1..5).map(|i| Writer::new(&cluster, i)).collect();
    let load = Load::start("rolling", writers);
    let mut times = Times::default();
    for i in (0..rounds).flat_map(|_| 0..4) {
        let from = Instant::now();
        let status = cluster.stop(i);
        times.add(from.elapsed());
        assert!(status.success(), "validator {i} ended with {status}");
        cluster.start(i);
        cluster.wait_ready(i, START);
    }
    let (_, keys) = load.stop();
    cluster.agree(START);
    check_all_there(&cluster, &keys);
    vec![
        format!("{} acknowledged keys there", keys.len()),
        format!("from SIGTERM to the end, {times}"),
    ]
}
