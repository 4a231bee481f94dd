//! A backup of a validator that runs, and back: as the same validator, and as a new chain.

use std::fs;

use quorate_scenarios::cluster::{Cluster, Options, START, quorate};

#[test]
fn a_backup_of_a_running_validator_becomes_the_same_validator_or_a_new_chain() {
    let cluster = Cluster::four();
    for n in 0..20 {
        cluster.put(&format!("key/{n}"), "before");
    }
    let home = cluster.home(0).display().to_string();
    let at = |name: &str| cluster.path().join(name);
    let (backup, copy) = (
        at("backup").display().to_string(),
        at("copy").display().to_string(),
    );
    let take = ["backup", "--home", &home, "--output", &backup];
    quorate(&take).expect(0, "a running validator is backed up");
    let again = quorate(&take).expect(1, "something is there");
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);
    assert!(!at("backup/keys").exists(), "unless they are asked for");
    assert!(
        !cluster.home(0).join("backup.checkpoint").exists(),
        "it is removed again"
    );
    // It is a home as far as reading goes.
    quorate(&["log", "verify", "--home", &backup]).expect(0, "its ledger verifies");
    quorate(&["replay", "--home", &backup]).expect(0, "every root as stored");
    let (moved, mut cluster) = (at("lost"), cluster);
    cluster.put("key/0", "after");
    assert!(cluster.stop(0).success());
    quorate(&["backup", "--home", &home, "--output", &copy, "--with-keys"])
        .expect(0, "a stopped one, too");
    fs::rename(&home, &moved).expect("the disk is lost");
    cluster.put("key/1", "later");

    let restore = ["restore", "--backup", &backup, "--home", &home];
    let run = quorate(&restore).expect(2, "keys are missing");
    assert!(run.stderr.contains("--keys"), "{}", run.stderr);
    let others = cluster.home(1).join("keys").display().to_string();
    quorate(&[&restore[..], &["--keys", &others]].concat()).expect(3, "another validator's keys");
    let keys = moved.join("keys").display().to_string();
    let restore = [&restore[..], &["--keys", &keys]].concat();
    let description = format!("{backup}/backup.json");
    let good = fs::read_to_string(&description).expect("it describes itself");
    fs::write(&description, good.replace("\"height\": ", "\"height\": 9")).expect("written");
    let run = quorate(&restore).expect(8, "it is not what it says");
    assert!(
        run.stderr.contains("does not hold what it says"),
        "{}",
        run.stderr
    );
    assert!(!cluster.home(0).exists(), "a failure leaves nothing");
    fs::write(&description, good).expect("written");
    quorate(&restore).expect(0, "restored");
    quorate(&restore).expect(1, "something is there");
    cluster.start(0);
    cluster.wait_ready(0, START);
    cluster.agree(START);
    cluster.kill(1);
    // It is one of the three that are needed.
    cluster.put("key/2", "with it");
    assert_eq!(
        cluster.get("key/0"),
        "after",
        "what came after the backup came from the others"
    );

    // Three of four are gone: the state goes on as a new chain.
    cluster.kill_all();
    let one = Options {
        validators: 1,
        ..Options::default()
    };
    let mut fork = Cluster::made_by(one, &["fork", "--home", &copy]);
    fork.start(0);
    fork.wait_ready(0, START);
    assert_eq!(fork.get("key/0"), "after");
    let home = fork.home(0).display().to_string();
    let backup = fork.path().join("backup").display().to_string();
    quorate(&[
        "backup",
        "--home",
        &home,
        "--output",
        &backup,
        "--with-keys",
    ])
    .expect(0, "of one");
    let other = fork.path().join("other").display().to_string();
    let run = quorate(&["restore", "--backup", &backup, "--home", &other]);
    let run = run.expect(7, "nobody could tell it what it signed");
    assert!(run.stderr.contains("quorate fork"), "{}", run.stderr);
}
