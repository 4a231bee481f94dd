//! A backup of a validator that runs, and what can be done with it.

use quorate_scenarios::cluster::{Cluster, Options, START, quorate};

#[test]
fn a_backup_of_a_running_validator_is_verified_and_becomes_a_new_chain() {
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
    let mut cluster = cluster;
    cluster.put("key/0", "after");
    assert!(cluster.stop(0).success());
    quorate(&["backup", "--home", &home, "--output", &copy, "--with-keys"])
        .expect(0, "a stopped one, too");
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
}
