//! Validators that join by snapshot, and a past that goes.

use std::fs;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Options, START, quorate};
use crate::faults::random_moment;
use crate::load::{Load, Writer, check_all_there};
use crate::wait::eventually;

/// A snapshot at every hundredth height, and as few blocks as may be kept.
fn frugal() -> Options {
    let settings = [
        ("QUORATE_SNAPSHOTS__INTERVAL_BLOCKS", "100"),
        ("QUORATE_STORAGE__KEEP_BLOCKS", "1"),
    ];
    let environment = settings.map(|(name, value)| (name.into(), value.into()));
    Options {
        environment: environment.to_vec(),
        ..Options::default()
    }
}

/// An empty home joins a chain whose first blocks nobody has any more, killed again and again on the way.
pub fn snapshot_join(kills: usize) -> Vec<String> {
    let mut cluster = Cluster::new(frugal());
    (0..3).for_each(|i| cluster.start(i));
    (0..3).for_each(|i| cluster.wait_ready(i, START));
    let writers = (1..9).map(|i| Writer::new(&cluster, i)).collect();
    let load = Load::start("join", writers);
    eventually(Duration::from_secs(300), "blocks that nobody keeps", || {
        let first = (0..3).map(|i| cluster.metric(i, "quorate_storage_first_height"));
        first.into_iter().all(|h| h > Some(1.0)).then_some(())
    });
    let head = cluster.height(0);
    cluster.start(3);
    for _ in 0..kills {
        std::thread::sleep(random_moment() / 4);
        cluster.kill(3);
        cluster.start(3);
    }
    let from = Instant::now();
    cluster.wait_ready(3, Duration::from_secs(60));
    let took = from.elapsed();
    let (_, keys) = load.stop();
    let (height, _) = cluster.agree(START);
    let log = cluster.log(3);
    assert!(
        log.contains("snapshot installed"),
        "it came by blocks:\n{log}"
    );
    check_all_there(&cluster, &keys);
    // Duplicates are told apart by what the snapshot brought.
    cluster.put("join", "after");
    vec![
        format!(
            "killed {kills} times on the way, ready {took:.1?} after the last start, {head} blocks behind at first"
        ),
        format!("{} acknowledged keys there at height {height}", keys.len()),
    ]
}

/// Constant load over the same keys: the disk that a home takes stops growing.
pub fn truncation_flat(minutes: usize) -> Vec<String> {
    let mut cluster = Cluster::started(frugal());
    let mut writers: Vec<Writer> = (1..9).map(|i| Writer::new(&cluster, i)).collect();
    let mut sizes = Vec::new();
    let mut heights = Vec::new();
    for minute in 0..=2 * minutes {
        // The same keys in every half minute.
        let load = Load::start("flat", writers);
        std::thread::sleep(Duration::from_secs(30));
        (writers, _) = load.stop();
        let disk = (0..4).map(|i| cluster.disk(i)).max().unwrap_or(0);
        sizes.push(disk);
        heights.push(cluster.height(0));
        println!(
            "half minute {minute}: height {}, {disk} B",
            cluster.height(0)
        );
    }
    cluster.agree(START);
    let middle = sizes.len() / 2;
    let (early, late) = (sizes[..=middle].iter().max(), sizes[middle..].iter().max());
    let (early, late) = (early.copied().unwrap_or(0), late.copied().unwrap_or(0));
    assert!(
        late <= early + early / 4,
        "the disk goes on growing: {sizes:?} bytes at heights {heights:?}"
    );
    let first = cluster.metric(0, "quorate_storage_first_height");
    cluster.kill(0);
    vec![format!(
        "bytes {sizes:?} at heights {heights:?}, first kept {first:?}"
    )]
}

/// Snapshots made by hand of a running and of a stopped validator; damaged ones are refused; one is restored.
pub fn snapshot_files(rounds: usize) -> Vec<String> {
    let mut cluster = Cluster::new(Options::default());
    (0..3).for_each(|i| cluster.start(i));
    (0..3).for_each(|i| cluster.wait_ready(i, START));
    let genesis = cluster.home(0).join("genesis.json").display().to_string();
    let homes: Vec<String> = (0..4)
        .map(|i| cluster.home(i).display().to_string())
        .collect();
    let mut findings = Vec::new();
    for round in 0..rounds {
        for put in 0..20 {
            cluster.put(&format!("files/{round}/{put}"), &"x".repeat(500));
        }
        let made = quorate(&[
            "snapshot", "create", "--output", "json", "--home", &homes[0],
        ]);
        let made = made.expect(0, "a running validator makes a snapshot");
        let path = made.json()["path"].as_str().expect("a path").to_owned();
        let verify = || quorate(&["snapshot", "verify", "--genesis", &genesis, &path]);
        let verified = verify().expect(0, "a good snapshot verifies");
        findings.push(verified.stdout.trim().to_owned());
        for name in ["manifest", "chunk-00000"] {
            let file = format!("{path}/{name}");
            let good = fs::read(&file).expect("a file");
            for place in [0, good.len() / 3, good.len() - 1] {
                let mut bad = good.clone();
                bad[place] ^= 4;
                fs::write(&file, &bad).expect("written");
                verify().expect(6, "a flipped byte is noticed");
            }
            fs::write(&file, &good[..good.len() - 5]).expect("written");
            verify().expect(6, "a cut file is noticed");
            fs::write(&file, &good).expect("written");
        }
    }
    // An empty home takes the newest over, and goes on from there with the others.
    let list = quorate(&["snapshot", "list", "--output", "json", "--home", &homes[0]]);
    let list = list.expect(0, "a list").json();
    let newest = list
        .as_array()
        .and_then(|rows| rows.last())
        .expect("a snapshot");
    let path = newest["path"].as_str().expect("a path");
    // So does one with a database that an interrupted restore left: it holds no memory of what was signed, either.
    cluster.start(3);
    let begun = cluster.home(3).join("data/CURRENT");
    eventually(START, "a database", || begun.exists().then_some(()));
    cluster.kill(3);
    quorate(&["snapshot", "restore", "--home", &homes[3], path]).expect(0, "restored");
    let mark = cluster.home(3).join("safety/forgetful");
    assert!(mark.exists(), "it starts behind the strict fence");
    quorate(&["snapshot", "restore", "--home", &homes[3], path]).expect(1, "it is there already");
    cluster.start(3);
    cluster.wait_ready(3, START);
    cluster.put("files", "after");
    let (height, _) = cluster.agree(START);
    findings.push(format!(
        "restored at {}, agreed at {height}",
        newest["height"]
    ));
    // A stopped one makes one, too, once its newest state is claimed: which the running one waits for.
    quorate(&["snapshot", "create", "--home", &homes[1]]).expect(0, "of another");
    assert!(cluster.stop(1).success());
    quorate(&["snapshot", "create", "--home", &homes[1]]).expect(0, "of a stopped validator");
    // What its ledger leads to is what it has, from the genesis as from a snapshot; and what the others have.
    let replayed = quorate(&["replay", "--home", &homes[1]]).expect(0, "every root as stored");
    findings.push(replayed.stdout.trim().to_owned());
    quorate(&["replay", "--home", &homes[1], "--from", path]).expect(0, "from a snapshot");
    // A killed one's state lies behind its ledger on disk: it is brought to the end first.
    cluster.kill(2);
    quorate(&["diff-state", &homes[1], &homes[2]]).expect(0, "two validators are equal");
    // The home still has the tree of the snapshot's height, and that is the one which is compared.
    let same = quorate(&["diff-state", "--output", "json", &homes[1], path]);
    let same = same.expect(0, "the same state at the same height").json();
    assert_eq!(same["a"]["compared"], same["b"]["height"], "{same}");
    findings
}
