//! The command itself: a seed is the same world in two processes, a stopped run goes on, and a file is replayed.

use std::fs;
use std::path::Path;
use std::process::Command;

fn sim(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn a_seed_is_the_same_world_in_another_process() {
    for seed in ["1", "2", "3"] {
        let (ok, first) = sim(&["--seed", seed]);
        assert!(ok, "{first}");
        assert!(first.contains("\ntrace "), "{first}");
        assert_eq!(sim(&["--seed", seed]).1, first);
    }
}

#[test]
fn a_run_goes_on_where_it_stopped() {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("go-on-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let state = folder.join("state.json");
    let state = state.to_str().unwrap();
    let (ok, text) = sim(&["--seeds", "0..4", "--state", state]);
    assert!(ok && text.contains("4 seeds passed"), "{text}");
    let (ok, text) = sim(&["--seeds", "0..6", "--state", state]);
    assert!(ok && text.contains("6 seeds passed"), "{text}");
    let (ok, text) = sim(&["--seeds", "1..6", "--state", state]);
    assert!(!ok && text.contains("began with another seed"), "{text}");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_file_is_replayed_and_its_failure_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let file = folder.join("never-gets-on.json");
    let (ok, text) = sim(&["--replay", file.to_str().unwrap()]);
    assert!(!ok && text.contains("Lasso"), "{text}");
}
