//! The pages of `docs/reference/` that are written from the code.
//!
//! A hidden verb prints them; a test of the binary compares them with the files, and `QUORATE_BLESS=1` writes those anew.

mod errors;
mod metrics;

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use super::Cli;
use crate::config::{DESCRIPTIONS, Loaded};
use crate::exit::ExitStatus;

/// What each verb prints with `--output json`: one document, unless it says lines.
const SHAPES: &[(&str, &str)] = &[
    (
        "backup",
        "no JSON: its `--output` is a directory, which holds `backup.json`",
    ),
    (
        "bench",
        "`offered_per_second`, `committed_per_second` (transactions), `commands_per_second` (that times `batch`), `p50_ms`, `p99_ms`, `p999_ms`, `max_ms` (from the intended send time to the receipt), `longest_silence_ms` (between two receipts), `errors`, `errors_p50_ms`, `errors_p99_ms` (from sending to the refusal), `committed`, `seconds`, `clients`, `size`, `batch`, `opaque`, `error_codes` (object: code, count)",
    ),
    ("completion", "a script; no JSON"),
    (
        "config show",
        "an array of `name`, `value`, and with `--origin` `origin`",
    ),
    ("config validate", "`valid`, `chain`"),
    (
        "diff-state",
        "`a`, `b` (each `height`, `state_root`, and `compared`: the height whose tree was walked), `first_height` (null: not known), `keys_that_differ`, `keys`: array of `what`, `key`",
    ),
    (
        "doctor",
        "`healthy`, `findings`: array of `severity` (`problem`, `warning`, `note`), `code` (stable), `message`, `action`",
    ),
    ("fork", "no JSON: its `--output` is a directory"),
    (
        "genesis add-client",
        "`genesis`, `chain`, `validators`, `clients` (numbers)",
    ),
    ("genesis add-validator", "as `genesis add-client`"),
    ("genesis install", "`chain`, `home`, `validator`"),
    ("genesis new", "as `genesis add-client`"),
    ("genesis profile", "`profile`, `chain`"),
    ("genesis set", "as `genesis add-client`"),
    (
        "genesis show",
        "`chain`, `faulty_tolerated`, `quorum`, `problem` (null: none), `warnings`, `genesis`",
    ),
    (
        "genesis sign",
        "`chain`, `validator`, `signature` (the file)",
    ),
    (
        "genesis verify",
        "`chain`, `complete`, `validators`: array of `validator`, `signed`",
    ),
    (
        "init",
        "`home`, `descriptor`, `name`, `address`, `consensus_key`, `network_key`, `encrypted`",
    ),
    ("key change-passphrase", "`public_key`, `encrypted`"),
    ("key show", "`public_key`, `encrypted`"),
    ("keygen", "`public_key`"),
    (
        "kv cas",
        "`transaction`, `height`, `index`, `swapped`, `version`",
    ),
    (
        "kv checkpoint",
        "`transaction`, `name`, `height`, `time`, `revision`, `owner`, `released`",
    ),
    (
        "kv checkpoints",
        "array of `name`, `height`, `time`, `revision`, `owner`, `released`",
    ),
    ("kv delete", "`transaction`, `height`, `index`, `existed`"),
    (
        "kv get",
        "`key`, `value` (absent: no such key), `create_revision`, `modify_revision`, `version`, `height`; bytes are base64",
    ),
    ("kv put", "`transaction`, `height`, `index`, `version`"),
    ("kv range", "`entries`: array as `kv get`, `more`"),
    ("kv release", "`dropped`"),
    (
        "kv revert",
        "`changes`: array of `key` (base64), `version` (0: deleted), `transaction`; `transactions`",
    ),
    (
        "kv watch",
        "lines: `height`, `transaction`, `event` (`put`, `delete`, `revert`), `key`, `value` (null: deleted, or reverted), `version`; bytes are base64",
    ),
    (
        "log export",
        "lines, in either form: the first `quorate_log`, `chain`, `genesis`; then as `GET /v1/log`",
    ),
    ("log tail", "lines as `GET /v1/log`"),
    (
        "log verify",
        "`chain`, `height`, `block`, `roots`, `transactions`",
    ),
    ("recover", "`home`, `validators`, `answers_needed`"),
    (
        "replay",
        "`from`, `height`, `blocks`, `seconds`, `state_root`, `receipts_root`",
    ),
    (
        "restore",
        "`quorate_backup`, `chain`, `validator`, `height`, `state_root`, `made_at` (seconds), `keys`",
    ),
    ("snapshot create", "as an element of `snapshot list`"),
    ("snapshot restore", "as an element of `snapshot list`"),
    ("snapshot verify", "as an element of `snapshot list`"),
    (
        "snapshot list",
        "array of `height`, `chunks`, `records`, `bytes`, `state_root`, `receipts_root`, `path`; or `height`, `path`, `error`",
    ),
    ("start", "nothing; logs go to standard error"),
    (
        "status",
        "`chain`, `name`, `height`, `head_age_ms`, `leader`, `quorum`, `certificates`; `validators`: array of `index`, `name`, `address`, `endpoint`, `behind`, `connected_from`, `asked`, `votes`, `proposed`, `status` (as `GET /v1/status`, null: no answer); `endpoints`: array of `endpoint`, `error`, `validator`, `round_trip_ms`",
    ),
    ("testnet", "no JSON: its `--output` is a directory"),
    ("top", "no JSON: it needs a terminal"),
    (
        "tx show",
        "as `GET /v1/transactions/{id}`; with `--proof` as `verify`",
    ),
    ("tx submit", "as `POST /v1/transactions`"),
    ("tx wait", "as `GET /v1/transactions/{id}`"),
    (
        "verify",
        "`proves` (`key`, `receipt`, `inclusion`), and `key`, `value`, `height`, `version`, `claimed_by`; or `receipt`, `claimed_by`; or `transaction`, `batch`, `ordered_by`",
    ),
];

/// The verbs that do something, each with its whole name.
fn leaves(command: &Command, prefix: &str, all: &mut Vec<(String, Command)>) {
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
    {
        let name = format!("{prefix}{}", inner.get_name());
        match inner.has_subcommands() {
            true => leaves(inner, &format!("{name} "), all),
            false => all.push((name, inner.clone())),
        }
    }
}

fn verbs() -> Vec<(String, Command)> {
    let mut command = Cli::command();
    command.build();
    let mut all = Vec::new();
    leaves(&command, "", &mut all);
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Which document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Page {
    /// `docs/reference/cli.md`
    Cli,
    /// `docs/reference/configuration.md`
    Configuration,
    /// `docs/reference/metrics.md`
    Metrics,
    /// `docs/reference/errors.md`
    Errors,
}

/// The text of a document.
pub(super) fn render(page: Page) -> String {
    match page {
        Page::Cli => cli(),
        Page::Configuration => configuration(),
        Page::Metrics => metrics::page(),
        Page::Errors => errors::page(),
    }
}

fn cli() -> String {
    let mut text = String::from(
        "# The command line\n\nWritten from the code by a test (`node/tests/it/cli.rs`; `QUORATE_BLESS=1` writes it anew). Every verb takes the\n\
         flags at the end; flags that begin with `QUORATE_` in brackets can be set in the environment. Results go to standard\n\
         output, logs and failures to standard error.\n\n",
    );
    text.push_str("| exit status | |\n|---|---|\n");
    for status in ExitStatus::ALL {
        let _ = writeln!(text, "| {} | {} |", status.code(), status.meaning().0);
    }
    for (name, command) in verbs() {
        let shape = SHAPES
            .iter()
            .find(|(verb, _)| *verb == name)
            .map(|(_, shape)| *shape);
        let mut shown = command.clone().bin_name(format!("quorate {name}"));
        // What every verb has stands once, at the end.
        let shared: Vec<String> = Cli::command()
            .get_arguments()
            .filter(|argument| argument.is_global_set())
            .map(|argument| argument.get_id().to_string())
            .collect();
        for id in shared.iter().filter(|id| {
            command
                .get_arguments()
                .any(|a| a.get_id().as_str() == id.as_str())
        }) {
            shown = shown.mut_arg(id, |argument| argument.hide(true));
        }
        let help = plain(&mut shown);
        let _ = writeln!(
            text,
            "\n## quorate {name}\n\n```text\n{}\n```",
            help.trim_end()
        );
        let _ = writeln!(
            text,
            "`--output json`: {}.",
            shape.unwrap_or_else(|| panic!("{name} has no documented shape"))
        );
    }
    let mut root = Cli::command().subcommand_required(false);
    let help = plain(&mut root);
    let _ = writeln!(
        text,
        "\n## Flags of every verb\n\n```text\n{}\n```",
        help.trim_end()
    );
    text
}

fn plain(command: &mut Command) -> String {
    let help = command.render_long_help().to_string();
    let lines = help.lines().map(str::trim_end);
    let mut text = lines.collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

fn configuration() -> String {
    let mut text = String::from(
        "# Configuration\n\nWritten from the code by a test (`node/tests/it/cli.rs`; `QUORATE_BLESS=1` writes it anew).\n\n\
         Each setting has a default, so an empty `config.toml` is valid. Precedence: default < `config.toml` <\n\
         `QUORATE_SECTION__KEY` in the environment < `--set section.key=value`. An unknown key is an error that names its line.\n\
         `quorate config show --origin` tells where each value came from, `quorate config validate` checks without starting.\n\
         What consensus depends on stands in the genesis, never here.\n\n\
         | setting | default | environment | meaning |\n|---|---|---|---|\n",
    );
    for (key, value, _) in defaults().entries() {
        let description = DESCRIPTIONS.iter().find(|(name, _)| *name == key);
        let description = description.map_or("", |(_, description)| *description);
        let variable = format!("QUORATE_{}", key.to_uppercase().replace('.', "__"));
        let _ = writeln!(
            text,
            "| `{key}` | `{value}` | `{variable}` | {description} |"
        );
    }
    text
}

fn defaults() -> Loaded {
    crate::config::load(None, std::iter::empty(), &[]).expect("defaults are valid")
}
