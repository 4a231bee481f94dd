//! One validator executes to another state than the others: a record rotted on its disk in a way that no checksum shows.

use std::path::Path;
use std::time::Duration;

use quorate_execution::kv::state_key;
use quorate_scenarios::cluster::{Cluster, START, quorate};
use quorate_scenarios::wait::eventually;
use quorate_storage::{Home, Options, RocksStore, Store as _, Sync, Table, View as _, WriteBatch};

/// Claims follow execution within an idle interval or two.
const NOTICED: Duration = Duration::from_secs(30);

/// Puts the record of one key in the place of another's, in the store of a stopped validator.
fn rot(home: &Path, key: &str, other: &str) {
    let home = Home::open(home).expect("it is stopped");
    let mut store = RocksStore::open(home, &Options::default()).expect("it is whole");
    let record = store.get(Table::State, &state_key(other.as_bytes()));
    let record = record.expect("readable").expect("it was put");
    let mut writes = WriteBatch::new();
    writes.put(Table::State, state_key(key.as_bytes()), record);
    store.write(writes, Sync::Yes).expect("written");
}

fn failing(cluster: &Cluster, i: usize) -> Option<String> {
    let answer = cluster.ask_admin(i, "/readyz?verbose")?;
    (answer.status == 503).then(|| answer.text())
}

#[test]
fn a_validator_that_diverged_stops_says_so_and_both_states_can_be_compared() {
    let mut cluster = Cluster::four();
    cluster.put("kept", "same");
    cluster.put("rotten", "before");
    cluster.put("other", "another value");
    cluster.agree(START);
    assert!(cluster.stop(3).success());
    rot(cluster.home(3), "rotten", "other");
    cluster.start(3);
    cluster.wait_ready(3, START);

    // Nothing has read it yet. Now three find what they expect, and one does not.
    let cas = [
        "kv", "cas", "rotten", "--expect", "before", "--value", "after",
    ];
    let done = cluster.cli(&[&cas[..], &["--output", "json"]].concat());
    let first = done.expect(0, "a quorum executes it").json()["height"].to_string();
    let diverged = |cluster: &Cluster| {
        let text = failing(cluster, 3)?;
        text.contains("[-]state-agrees failed").then_some(())
    };
    eventually(NOTICED, "it sees what the others claim", || {
        diverged(&cluster)
    });
    assert!(cluster.log(3).contains("state_diverged"), "the log says so");
    assert_eq!(
        cluster.metric(3, "quorate_state_divergence_total"),
        Some(1.0)
    );
    let read = cluster
        .ask(3, "/v1/kv/rotten?consistency=local")
        .expect("an answer");
    assert_eq!(read.status, 503, "it serves nothing of its state");
    let home = cluster.home(3).display().to_string();
    let found = quorate(&["doctor", "--home", &home]).expect(1, "a problem");
    assert!(
        found.stdout.contains("readiness check state-agrees fails"),
        "{}",
        found.stdout
    );
    // It signs nothing any more, and the others go on without it.
    let votes = || cluster.metric(3, "quorate_consensus_votes_total");
    let before = votes();
    for n in 0..10 {
        cluster.put(&format!("later/{n}"), "x");
    }
    assert_eq!(votes(), before);
    assert_eq!(cluster.get("rotten"), "after");

    // Nor after a restart: it would serve that state, and vote for what claims nothing new.
    assert!(cluster.stop(3).success());
    cluster.start(3);
    eventually(START, "it still knows", || diverged(&cluster));
    assert_eq!(
        cluster.metric(3, "quorate_consensus_votes_total"),
        Some(0.0)
    );

    for i in [0, 3] {
        assert!(cluster.stop(i).success());
    }
    let good = cluster.home(0).display().to_string();
    let differ = ["diff-state", &good, &home, "--output", "json"];
    let differ = quorate(&differ).expect(6, "they differ").json();
    assert_eq!(differ["first_height"].to_string(), first, "{differ}");
    assert_eq!(differ["a"]["compared"], differ["b"]["compared"], "{differ}");
    let keys = differ["keys"].as_array().expect("keys");
    let kv: Vec<&str> = keys.iter().filter_map(|row| row["key"].as_str()).collect();
    assert!(
        kv.contains(&"kv/rotten") && !kv.contains(&"kv/kept"),
        "{differ}"
    );
    assert!(
        !kv.iter().any(|key| key.starts_with("kv/later")),
        "{differ}"
    );
    let limited = [
        "diff-state",
        &good,
        &home,
        "--limit",
        "1",
        "--output",
        "json",
    ];
    let limited = quorate(&limited).expect(6, "they differ").json();
    assert_eq!(limited["keys"].as_array().expect("keys").len(), 1);
    assert_eq!(limited["keys_that_differ"], differ["keys_that_differ"]);
    // Which of the two is wrong, each ledger tells of itself.
    quorate(&["replay", "--home", &good]).expect(0, "every root as stored");
    let replayed = quorate(&["replay", "--home", &home]).expect(6, "not what it stored");
    let height = format!("height {first}: executed again");
    assert!(replayed.stderr.contains(&height), "{}", replayed.stderr);
}
