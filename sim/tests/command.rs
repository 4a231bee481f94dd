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
    assert!(!ok && text.contains("began with another number"), "{text}");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn schedules_go_on_where_they_stopped() {
    let file = format!("schedules-{}.json", std::process::id());
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    let play = |schedules: &str, state: &[&str]| {
        let (ok, text) = sim(&[&["twins", "--schedules", schedules], state].concat());
        assert!(ok, "{text}");
        // All but how long it took.
        text.lines().take(10).map(String::from).collect::<Vec<_>>()
    };
    let kept = ["--state", state.to_str().unwrap()];
    play("0..8", &kept);
    assert_eq!(play("0..12", &kept), play("0..12", &[]));
    // All of them are done: nothing is played a second time.
    assert_eq!(play("0..12", &kept), play("0..12", &[]));
    fs::remove_file(state).unwrap();
}

#[test]
fn a_file_is_replayed_and_its_failure_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let file = folder.join("never-gets-on.json");
    let (ok, text) = sim(&["--replay", file.to_str().unwrap()]);
    assert!(!ok && text.contains("Lasso"), "{text}");
}
