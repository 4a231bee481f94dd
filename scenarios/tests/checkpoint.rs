//! Keys go back to a checkpoint, on a set that runs; and what the command line says when they do not.

use quorate_scenarios::cluster::{Cluster, Options, START};

#[test]
fn keys_go_back_and_everybody_sees_it() {
    let mut cluster = Cluster::new(Options {
        validators: 1,
        ..Options::default()
    });
    cluster.start(0);
    cluster.wait_ready(0, START);
    let run = |arguments: &[&str], status| cluster.cli(arguments).expect(status, "a verb of kv");
    cluster.put("config/a", "1");
    cluster.put("config/b", "1");
    let made = run(&["kv", "checkpoint", "before", "--output", "json"], 0).json();
    assert!(made["height"].as_u64() > Some(1), "{made}");
    let again = run(&["kv", "checkpoint", "before"], 5);
    assert!(
        again.stderr.contains("take another name"),
        "{}",
        again.stderr
    );
    cluster.put("config/a", "2");
    run(&["kv", "delete", "config/b"], 0);
    cluster.put("config/new", "2");
    cluster.put("other", "2");
    // It overwrites: nothing happens without --yes.
    let asked = run(&["kv", "revert", "before", "config/a"], 2);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    run(&["kv", "revert", "before", "--yes"], 2);
    let unknown = run(&["kv", "revert", "after", "config/a", "--yes"], 5);
    assert!(unknown.stderr.contains("never made"), "{}", unknown.stderr);
    let one = run(&["kv", "revert", "before", "config/a", "other", "--yes"], 0);
    assert!(one.stdout.contains("config/a\tversion 3"), "{}", one.stdout);
    assert!(one.stdout.contains("other\tdeleted"), "{}", one.stdout);
    let rest = [
        "kv",
        "revert",
        "before",
        "--prefix",
        "config/",
        "--in-steps",
        "--yes",
    ];
    let rest = run(&[&rest[..], &["--output", "json"]].concat(), 0).json();
    let changes = rest["changes"].as_array().expect("a list").len();
    assert_eq!(changes, 2, "{rest}");
    assert_eq!(cluster.get("config/a"), "1");
    assert_eq!(cluster.get("config/b"), "1");
    run(&["kv", "get", "config/new"], 1);
    let watch = ["kv", "watch", "config/", "--from", "1", "--count", "8"];
    let seen = run(&watch, 0).stdout;
    let seen: Vec<String> = seen
        .lines()
        .map(|line| line.split('\t').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let reverted = ["revert config/a", "revert config/b", "delete config/new"];
    assert_eq!(seen[5..], reverted, "what a revert changed is a change");
    let list = run(&["kv", "checkpoints", "--output", "json"], 0).json();
    assert_eq!(list[0]["name"], "before");
    run(&["kv", "release", "before"], 2);
    let released = run(&["kv", "release", "before", "--yes", "--output", "json"], 0).json();
    assert!(released["dropped"].as_u64() > Some(2), "{released}");
    run(&["kv", "revert", "before", "--prefix", "", "--yes"], 5);
}
