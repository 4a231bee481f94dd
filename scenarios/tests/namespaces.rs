//! Chaos where each validator has a network of its own, or on loopback, if this machine gives none.
#![allow(missing_docs, reason = "a test has a name")]

use std::process::Command;

use quorate_scenarios::chaos::plan::{Fault, Kind, Pace, Plan};

const SEED: u64 = 3;
const SECONDS: u64 = 10;

#[test]
fn cables_are_pulled_and_nothing_acknowledged_is_lost() {
    let plan = Plan::of(SEED, SECONDS, &[Kind::Net], Pace::Mixed);
    let alone = |fault: &Fault| matches!(fault, Fault::Partition(group) if group.len() == 1);
    let pulled = plan.steps.iter().filter(|step| alone(&step.fault)).count();
    assert!(pulled > 0, "another seed: {:?}", plan.steps);
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-scenarios"));
    let (seed, seconds) = (SEED.to_string(), SECONDS.to_string());
    command.args(["chaos", "--seed", &seed, "--seconds", &seconds]);
    let output = command.args(["--faults", "net"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let cables = match text.contains("a network namespace for each validator") {
        true => pulled,
        false => {
            assert!(text.contains("on loopback"), "{text}");
            0
        }
    };
    assert!(text.contains(&format!("cables: {cables},")), "{text}");
}
