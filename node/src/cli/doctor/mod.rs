//! `quorate doctor`: why nothing commits right now, or why a validator does not start.
//!
//! Looks and changes nothing. Each finding has a stable code, says what was seen, and what to do about it. [`home`] looks
//! at one validator's machine, [`set`] asks all validators of a profile.

mod home;
mod set;

use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use super::OutputFlag;
use super::context::{Context, runtime};
use super::survey::{Survey, Window};
use crate::exit::{ExitStatus, Failure};

/// Free space below which a disk counts as nearly full, unless told otherwise, in bytes.
const MIN_FREE: u64 = 1 << 30;

/// Every code, where it is found, and what it means; for the reference. A test compares it with the code.
pub(super) const FINDINGS: &[(&str, &str, &str)] = &[
    (
        "nobody_answers",
        "profile",
        "no validator of the profile answers",
    ),
    ("no_answer", "profile", "one of them does not"),
    ("strange_answer", "profile", "something else answers there"),
    (
        "wrong_genesis",
        "profile",
        "a validator of another chain answers there",
    ),
    ("missing_validator", "profile", "nobody is connected to it"),
    (
        "not_connected",
        "profile",
        "it runs, and others are not connected to it: a firewall, an address, a key",
    ),
    (
        "no_quorum",
        "profile",
        "too few take part: nothing commits. The missing ones are named",
    ),
    (
        "head_stands_still",
        "profile",
        "a quorum is there, and nothing commits",
    ),
    (
        "wrong_clock",
        "profile",
        "a validator's clock is off the others'",
    ),
    (
        "own_clock",
        "profile",
        "the clock of the machine that asks is",
    ),
    ("behind", "profile", "it has fewer blocks than the others"),
    ("observer", "profile", "its key is not in the set"),
    ("mixed_versions", "profile", "different releases run"),
    (
        "not_ready",
        "profile, home",
        "its readiness checks fail; each is named",
    ),
    ("no_home", "home", "there is no such directory"),
    (
        "bad_config",
        "home",
        "`config.toml` or the environment is wrong",
    ),
    ("no_genesis", "home", "`genesis.json` is missing"),
    ("bad_genesis", "home", "it cannot be read, or breaks a rule"),
    (
        "changed_genesis",
        "home",
        "it is not what its validators signed",
    ),
    (
        "validator_count",
        "home",
        "a set of this size tolerates no more than a smaller one",
    ),
    (
        "bad_key",
        "home",
        "a key is missing, damaged, or readable by others",
    ),
    (
        "encrypted_key",
        "home",
        "a key needs a passphrase, and none is at hand",
    ),
    (
        "not_a_validator",
        "home",
        "the key is no validator's of this genesis",
    ),
    (
        "wrong_network_key",
        "home",
        "the network key is another than the genesis says",
    ),
    (
        "mixed_home",
        "home",
        "files of different homes came together",
    ),
    ("safety_lost", "home", "`safety/` is lost, `data/` is there"),
    (
        "data_lost",
        "home",
        "`data/` is lost, and it has signed before",
    ),
    (
        "forgetful",
        "home",
        "what it signed is lost; it starts behind the strict fence",
    ),
    ("disk_full", "home", "less than 64 MiB are free"),
    (
        "disk_nearly_full",
        "home",
        "less than `--min-free` are free",
    ),
    ("few_files", "home", "the limit of open files is too low"),
    ("port_taken", "home", "something else listens there"),
    (
        "admin_silent",
        "home",
        "it runs, and its admin port does not answer",
    ),
    ("runs", "home", "it runs"),
    ("does_not_run", "home", "it does not"),
];

/// Says why nothing commits, or why a validator does not start, and what to
/// do about it. Exit status 1 if there is a problem.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate --profile net/client.toml doctor
  quorate doctor --home net/validator-0
  quorate --profile net/client.toml doctor --home net/validator-0
  quorate doctor --home net/validator-0 --output json

With --home it looks at the validator of this machine: settings, genesis,
keys, data, disk, ports, limits. With a profile it asks all validators:
who answers, who is connected, who is behind, whose clock or chain is wrong.")]
pub(super) struct Doctor {
    /// A validator's home on this machine
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Free disk space that is enough, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = MIN_FREE)]
    min_free: u64,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// Something does not work.
    Problem,
    /// It works, and may not for long.
    Warning,
    /// Good to know.
    Note,
}

/// Something that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    severity: Severity,
    /// Stable.
    code: &'static str,
    /// What was seen.
    message: String,
    /// What to do.
    action: String,
}

impl Finding {
    fn problem(code: &'static str, message: impl ToString, action: impl ToString) -> Finding {
        Finding::new(Severity::Problem, code, message, action)
    }

    fn warning(code: &'static str, message: impl ToString, action: impl ToString) -> Finding {
        Finding::new(Severity::Warning, code, message, action)
    }

    fn note(code: &'static str, message: impl ToString, action: impl ToString) -> Finding {
        Finding::new(Severity::Note, code, message, action)
    }

    fn new(
        severity: Severity,
        code: &'static str,
        message: impl ToString,
        action: impl ToString,
    ) -> Finding {
        Finding {
            severity,
            code,
            message: message.to_string(),
            action: action.to_string(),
        }
    }
}

/// What to do about a readiness check that fails.
fn advice(check: &str) -> &'static str {
    match check {
        "replica" => "its thread takes no turn: is the disk stuck? look at the log",
        "caught-up" => "it fetches what it missed; wait, and look at quorate_sync_lag_blocks",
        "quorum-connected" => "start the others, or open the udp port between the machines",
        "head-moves" => "too few validators take part: ask them all, with --profile",
        "fence-passed" => {
            "start the others, or wait for the chain to move: a validator that starts asks a \
             quorum (docs/RECOVERY.md)"
        }
        "state-agrees" => {
            "it has executed to another state than the others, and stopped \
             signing: keep its home, it is evidence of a bug or of bad hardware"
        }
        "disk-has-room" => {
            "make room on the disk of its home: until then it takes no transactions of clients"
        }
        "not-stopping" => "start it again, if it should run",
        _ => "look at its log",
    }
}

/// What is wrong with a set, in a line each; for who has no room for advice.
pub(super) fn headlines(survey: &Survey) -> Vec<String> {
    let found = set::look(survey, None).into_iter();
    let problems = found.filter(|finding| finding.severity == Severity::Problem);
    problems.map(|finding| finding.message).collect()
}

impl Doctor {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let profile = context.profile_if_named()?;
        if self.home.is_none() && profile.is_none() {
            return Err(
                Failure::usage("name a validator's home, a profile, or both")
                    .hint("--home DIR, --profile DIR/client.toml, or QUORATE_PROFILE"),
            );
        }
        let mut findings = Vec::new();
        if let Some(home) = &self.home {
            findings.extend(home::look(home, self.min_free));
        }
        if profile.is_some() {
            let client = context.client()?;
            let mut window = Window::default();
            let survey = runtime()?.block_on(Survey::take(&client, &mut window));
            let genesis = client.profile().genesis.clone();
            let genesis = genesis.and_then(|path| crate::genesis::read(&path).ok());
            findings.extend(set::look(&survey, genesis.as_ref()));
        }
        findings.sort_by_key(|finding| finding.severity);
        let healthy = findings.iter().all(|f| f.severity != Severity::Problem);
        let value = json!({ "healthy": healthy, "findings": findings });
        context.print.result(&value, |out| {
            for finding in &findings {
                let severity = match finding.severity {
                    Severity::Problem => "PROBLEM",
                    Severity::Warning => "warning",
                    Severity::Note => "note",
                };
                writeln!(out, "{severity:<8} {}: {}", finding.code, finding.message)?;
                writeln!(out, "         -> {}", finding.action)?;
            }
            match healthy {
                true => writeln!(out, "no problem found"),
                false => Ok(()),
            }
        })?;
        Ok(match healthy {
            true => ExitStatus::Done,
            false => ExitStatus::Failed,
        })
    }
}
