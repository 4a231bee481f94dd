//! A chain that starts from another chain's state, with real processes: from a height, from a snapshot, and what does
//! not start.

use std::fs;

use quorate_scenarios::cluster::{Cluster, Options, START, quorate};

fn one() -> Options {
    Options {
        validators: 1,
        clients: 2,
        ..Options::default()
    }
}

fn read(cluster: &Cluster, key: &str) -> Option<String> {
    let run = cluster.cli(&["kv", "get", key, "--consistency", "local"]);
    (run.status == Some(0)).then(|| run.stdout.trim().to_owned())
}

#[test]
fn a_fork_is_another_chain_with_the_same_keys() {
    let mut origin = Cluster::new(one());
    origin.start(0);
    origin.wait_ready(0, START);
    origin.put("greeting", "hello");
    let made = origin.cli(&["kv", "checkpoint", "before", "--output", "json"]);
    let height = made.expect(0, "a checkpoint").json()["height"].to_string();
    origin.put("greeting", "bye");
    origin.put("later", "x");
    let home = origin.home(0).display().to_string();
    let output = origin.path().join("fork").display().to_string();
    let fork = ["fork", "--home", &home, "--output", &output];
    let run = quorate(&fork).expect(7, "it runs");
    assert!(
        run.stderr.contains("in use by another process"),
        "{}",
        run.stderr
    );
    let taken = origin.path().display().to_string();
    let run = quorate(&["fork", "--home", &home, "--output", &taken]);
    let run = run.expect(1, "something is there");
    assert!(run.stderr.contains("is not empty"), "{}", run.stderr);
    let snapshot = quorate(&["snapshot", "create", "--home", &home, "--output", "json"]);
    let snapshot = snapshot.expect(0, "a snapshot").json();
    let snapshot = snapshot["path"].as_str().expect("a path").to_owned();
    assert!(origin.stop(0).success());
    let run = quorate(&[&fork[..], &["--at", "99999"]].concat()).expect(2, "not that far");
    assert!(
        run.stderr.contains("the ledger ends at height"),
        "{}",
        run.stderr
    );
    assert!(
        !origin.path().join("fork").exists(),
        "a failure leaves nothing"
    );
    assert!(!origin.path().join("fork.unfinished").exists());

    // Four validators go on from one, at the checkpoint.
    let options = Options {
        validators: 4,
        ..one()
    };
    let mut fork = Cluster::made_by(options, &["fork", "--home", &home, "--at", &height]);
    fork.start_all();
    fork.wait_all_ready(START);
    assert_eq!(read(&fork, "greeting").as_deref(), Some("hello"));
    assert_eq!(read(&fork, "later"), None, "it was put after that height");
    assert_ne!(fork.status(0)["chain"].to_string(), "null");
    fork.put("greeting", "sandbox");
    let revert = ["kv", "revert", "before", "--prefix", "", "--yes"];
    fork.cli(&revert).expect(0, "its checkpoint went over");
    assert_eq!(fork.get("greeting"), "hello");
    fork.agree(START);
    // Who wrote there is nobody here.
    let (stranger, profile) = (&origin.client_keys()[0], fork.path().join("client.toml"));
    let (stranger, profile) = (
        stranger.display().to_string(),
        profile.display().to_string(),
    );
    quorate(&[
        "--profile",
        &profile,
        "--key",
        &stranger,
        "kv",
        "put",
        "a",
        "b",
    ])
    .expect(5, "not a client of this chain");
    // All of its ledger is checked from its genesis and the state beside it.
    let homes: Vec<String> = (0..4).map(|i| fork.home(i).display().to_string()).collect();
    let genesis = fork.path().join("genesis.json").display().to_string();
    let proof = fork.path().join("proof").display().to_string();
    let proved = ["kv", "get", "greeting", "--proof", &proof];
    fork.cli(&proved).expect(0, "a proof");
    quorate(&["verify", "--genesis", &genesis, &proof]).expect(0, "it verifies");
    assert!(fork.stop(3).success());
    quorate(&["log", "verify", "--home", &homes[3]]).expect(0, "its ledger verifies");
    quorate(&["replay", "--home", &homes[3]]).expect(0, "every root as stored");

    // From a snapshot, whose chain is gone.
    let genesis = origin.path().join("genesis.json").display().to_string();
    let verb = ["fork", "--snapshot", &snapshot, "--genesis", &genesis];
    let mut after = Cluster::made_by(one(), &verb);
    after.start(0);
    after.wait_ready(0, START);
    assert_eq!(after.get("later"), "x");

    // What was forked goes on as if nothing had been.
    origin.start(0);
    origin.wait_ready(0, START);
    origin.put("greeting", "still here");
}

#[test]
fn other_states_do_not_start() {
    let mut origin = Cluster::new(one());
    origin.start(0);
    origin.wait_ready(0, START);
    origin.put("greeting", "hello");
    assert!(origin.stop(0).success());
    let home = origin.home(0).display().to_string();
    let fork = Cluster::made_by(one(), &["fork", "--home", &home]);
    let (home, file) = (
        fork.home(0).display().to_string(),
        fork.home(0).join("origin.state"),
    );
    let good = fs::read(&file).expect("it is there");
    let start = |status, message: &str| {
        let run = quorate(&["start", "--home", &home]).expect(status, message);
        assert!(run.stderr.contains(message), "{}", run.stderr);
    };
    let write = |bytes: &[u8]| {
        // The homes share it: a new file, and not the same one changed.
        let _ = fs::remove_file(&file);
        fs::write(&file, bytes).expect("writable");
    };
    fs::remove_file(&file).expect("there");
    start(3, "starts from another chain's state");
    write(&good[..good.len() - 9]);
    start(8, "origin.state is damaged");
    write(b"something else entirely");
    start(8, "origin.state is damaged");
    let place = good
        .windows(5)
        .position(|five| five == b"hello")
        .expect("the value");
    let mut bad = good.clone();
    bad[place] = b'j';
    write(&bad);
    start(6, "is not the state that the genesis names");
    write(&good);
    let mut fork = fork;
    fork.start(0);
    fork.wait_ready(0, START);
    assert_eq!(fork.get("greeting"), "hello");
}
