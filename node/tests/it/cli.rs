//! The real binary: every verb's help, and every mistake's status and message.

use std::path::Path;
use std::process::{Command, Output, Stdio};

pub(super) fn quorate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

pub(super) fn status(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

pub(super) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn the_reference_is_what_the_code_says() {
    for page in ["cli", "configuration", "metrics", "errors"] {
        let output = quorate(&["reference", page]);
        assert_eq!(status(&output), 0);
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(
            page != "configuration" || !text.contains("` |  |"),
            "a setting without a meaning"
        );
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
        let path = folder.join(format!("{page}.md"));
        if std::env::var_os("QUORATE_BLESS").is_some() {
            std::fs::create_dir_all(&folder).expect("the source tree is writable");
            std::fs::write(&path, &text).expect("the source tree is writable");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let what = "is not what the code says: QUORATE_BLESS=1 writes it anew";
        assert!(kept == text, "docs/reference/{page}.md {what}");
    }
}

/// All verbs, as the reference has them.
pub(super) fn verbs() -> Vec<Vec<String>> {
    let output = quorate(&["reference", "cli"]);
    let reference = String::from_utf8(output.stdout).expect("text");
    let names = reference
        .lines()
        .filter_map(|line| line.strip_prefix("## quorate "));
    names
        .map(|name| name.split(' ').map(str::to_owned).collect())
        .collect()
}

#[test]
fn every_verb_of_the_reference_has_help_and_refuses_a_wrong_flag() {
    // The verbs that only hold others, too.
    let mut all: std::collections::BTreeSet<Vec<String>> = verbs().into_iter().collect();
    assert!(all.len() > 30);
    all.extend(verbs().into_iter().map(|verb| verb[..1].to_vec()));
    for verb in all {
        let verb: Vec<&str> = verb.iter().map(String::as_str).collect();
        let output = quorate(&[verb.as_slice(), &["--help"]].concat());
        assert_eq!(status(&output), 0, "{verb:?}");
        let help = String::from_utf8(output.stdout).expect("text");
        assert!(
            help.contains("Usage:") && help.contains("Example"),
            "{verb:?}"
        );
        let wide = help.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{verb:?}");
        let output = quorate(&[verb.as_slice(), &["--no-such-flag"]].concat());
        let said = stderr(&output);
        assert_eq!(status(&output), 2, "{verb:?}: {said}");
        assert!(said.contains("--no-such-flag"), "{verb:?}: {said}");
    }
}

#[test]
fn the_environment_beats_the_file_and_flags_beat_both() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let net = directory.path().join("net");
    assert_eq!(status(&quorate(&["testnet", "--output", text(&net)])), 0);
    let home = net.join("validator-0");
    let shown = |variables: &[(&str, &str)], flags: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["config", "show", "--origin", "--home", text(&home)])
            .args(flags)
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .expect("the binary runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let line = text.lines().find(|line| line.starts_with("log.level"));
        line.expect("it is a setting")
            .split_whitespace()
            .skip(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let variable = [("QUORATE_LOG__LEVEL", "warn")];
    assert_eq!(shown(&[], &[]), "\"info\" # file");
    assert_eq!(shown(&variable, &[]), "\"warn\" # QUORATE_LOG__LEVEL");
    let flag = ["--set", "log.level=debug"];
    assert_eq!(shown(&variable, &flag), "\"debug\" # flag");
}

#[test]
fn a_doctor_asked_about_a_set_that_does_not_run_says_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let net = directory.path().join("net");
    let made = quorate(&["testnet", "--output", text(&net), "--base-port", "1"]);
    assert_eq!(status(&made), 0);
    let profile = net.join("client.toml");
    let output = quorate(&["--profile", text(&profile), "doctor"]);
    assert_eq!(status(&output), 1);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("PROBLEM  nobody_answers"), "{said}");
    assert!(said.contains("-> start them"), "{said}");
}

#[test]
fn each_mistake_has_its_status_and_says_what_to_do() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let net = directory.path().join("net");
    let net = text(&net);
    assert_eq!(
        status(&quorate(&["testnet", "--output", net, "--base-port", "1"])),
        0
    );
    let profile = format!("{net}/client.toml");
    let (key, home) = (
        format!("{net}/clients/alice.pem"),
        format!("{net}/validator-0"),
    );
    let genesis = format!("{net}/genesis.json");
    let junk = format!("{net}/junk");
    std::fs::write(&junk, "junk").expect("writable");
    let wide = format!("{net}/wide.pem");
    std::fs::copy(&key, &wide).expect("writable");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&wide, std::fs::Permissions::from_mode(0o644)).expect("own file");
    // Ports 2, 12, 22, 32: nothing listens there, and nothing can without privileges.
    let known = ["--profile", &profile, "--key", &key, "--timeout", "0.5"];
    let with = |rest: &[&str]| {
        known
            .iter()
            .chain(rest)
            .map(|part| (*part).to_owned())
            .collect::<Vec<_>>()
    };
    let plain = |rest: &[&str]| {
        rest.iter()
            .map(|part| (*part).to_owned())
            .collect::<Vec<_>>()
    };
    let id = "00".repeat(32);
    let long = "x".repeat(62 * 1024 + 1);
    for (arguments, expected, message) in [
        (plain(&["frobnicate"]), 2, "unrecognized subcommand"),
        (plain(&["testnet"]), 2, "--output"),
        (plain(&["testnet", "--output", net]), 1, "not empty"),
        (
            plain(&["testnet", "--output", "x", "--validators", "0"]),
            2,
            "--validators",
        ),
        (
            plain(&["testnet", "--output", "x", "--hosts", "a,b"]),
            2,
            "--hosts",
        ),
        (plain(&["kv", "put", "a"]), 2, "<VALUE>"),
        (plain(&["kv", "put", "a", "b"]), 2, "--profile"),
        (
            plain(&["--profile", "/nowhere", "kv", "put", "a", "b"]),
            3,
            "cannot read the profile",
        ),
        (
            plain(&["--profile", &junk, "kv", "put", "a", "b"]),
            3,
            "line 1",
        ),
        (
            plain(&["--profile", &profile, "kv", "put", "a", "b"]),
            2,
            "--key",
        ),
        (
            plain(&["--profile", &profile, "--key", &wide, "kv", "put", "a", "b"]),
            3,
            "mode 0644",
        ),
        (
            plain(&["--profile", &profile, "--key", &junk, "kv", "put", "a", "b"]),
            3,
            "key",
        ),
        (with(&["--timeout", "0", "kv", "get", "a"]), 2, "--timeout"),
        (with(&["kv", "put", "a", "0xzz"]), 2, "hexadecimal"),
        (with(&["kv", "put", "", "b"]), 2, "1 to 1024 bytes"),
        (with(&["kv", "put", "a", &long]), 2, "62 KiB"),
        (with(&["kv", "put", "a", "b"]), 4, "no validator answered"),
        (
            with(&["kv", "get", "a", "--consistency", "local"]),
            4,
            "refused",
        ),
        (
            with(&[
                "kv",
                "get",
                "a",
                "--proof",
                "/nowhere",
                "--consistency",
                "linearizable",
            ]),
            2,
            "leave out --proof or --consistency",
        ),
        (with(&["kv", "range"]), 4, "no validator answered"),
        (
            with(&["kv", "range", "a", "--from", "b"]),
            2,
            "--from lies behind",
        ),
        (with(&["status"]), 4, "refused"),
        (with(&["tx", "wait", &id]), 4, "no validator answered"),
        (with(&["tx", "wait", "12"]), 2, "hexadecimal digits"),
        (with(&["tx", "submit"]), 2, "FILE"),
        (with(&["tx", "submit", &junk]), 2, "no transaction"),
        (with(&["tx", "submit", "/nowhere"]), 1, "cannot read"),
        (with(&["log", "export"]), 4, "no validator answered"),
        (
            with(&["log", "export", "--from", "3", "--to", "2"]),
            2,
            "--from",
        ),
        (plain(&["log", "verify"]), 2, "required"),
        (plain(&["log", "verify", &junk]), 8, "line 1"),
        (plain(&["log", "verify", "/nowhere"]), 1, "cannot read"),
        (plain(&["log", "verify", "--home", &home]), 8, "no ledger"),
        (
            plain(&["log", "verify", "--home", "/nowhere"]),
            3,
            "genesis",
        ),
        (plain(&["verify", "--genesis", &genesis, &junk]), 6, "proof"),
        (plain(&["verify", "--genesis", &junk, &junk]), 3, "genesis"),
        (
            plain(&["verify", "--genesis", &genesis, "/nowhere"]),
            1,
            "cannot read",
        ),
        (
            with(&["bench", "--clients", "99", "--seconds", "1"]),
            3,
            "99 clients",
        ),
        (with(&["bench", "--clients", "0"]), 2, "--clients"),
        (with(&["bench", "--batch", "0"]), 2, "--batch"),
        (with(&["bench", "--batch", "501"]), 2, "--batch"),
        (with(&["bench", "--connections", "0"]), 2, "--connections"),
        (
            with(&["bench", "--clients", "1", "--seconds", "1"]),
            4,
            "no validator answered",
        ),
        (plain(&["keygen", &key]), 1, "exists"),
        (
            plain(&["config", "show", "--home", "/nowhere"]),
            3,
            "config.toml",
        ),
        (
            plain(&["config", "validate", "--home", &home, "--set", "api.x=1"]),
            3,
            "unknown field",
        ),
        (
            plain(&[
                "config",
                "validate",
                "--home",
                &home,
                "--set",
                "trace.endpoint=a:1",
            ]),
            3,
            "trace.endpoint",
        ),
        (plain(&["start", "--home", "/nowhere"]), 3, "no home"),
        (
            plain(&["start", "--home", &home, "--set", "x"]),
            2,
            "section.key=value",
        ),
        (plain(&["completion", "basic"]), 2, "bash"),
        (with(&["kv", "delete", "a"]), 4, "no validator answered"),
        (with(&["kv", "cas", "a", "--value", "b"]), 4, "no validator"),
        (with(&["kv", "watch"]), 4, "no validator answered"),
        (with(&["log", "tail"]), 4, "no validator answered"),
        (with(&["tx", "show", &id]), 4, "no validator answered"),
        (
            with(&["tx", "submit", "--command", "00"]),
            4,
            "no validator",
        ),
        (with(&["top"]), 2, "needs a terminal"),
        (plain(&["status"]), 2, "--profile"),
        (plain(&["doctor"]), 2, "--home"),
        (plain(&["init", "--home", "x"]), 2, "--name"),
        (
            plain(&["init", "--home", net, "--name", "a", "--address", "a:1"]),
            1,
            "not empty",
        ),
        (
            plain(&["init", "--home", "x", "--name", "a b", "--address", "a:1"]),
            2,
            "no name",
        ),
        (
            plain(&[
                "init",
                "--home",
                "x",
                "--name",
                "a",
                "--address",
                "0.0.0.0:1",
            ]),
            2,
            "cannot dial",
        ),
        (
            plain(&["genesis", "new", &genesis, "--name", "x"]),
            1,
            "exists",
        ),
        (plain(&["genesis", "show", "/nowhere"]), 3, "cannot read"),
        (plain(&["genesis", "show", &junk]), 3, "line 1"),
        (
            plain(&["genesis", "add-validator", &genesis, "/nowhere"]),
            3,
            "cannot read descriptor",
        ),
        (
            plain(&["genesis", "add-validator", &genesis, &junk]),
            3,
            "line 1",
        ),
        (
            plain(&["genesis", "add-client", &genesis, "a", "12"]),
            2,
            "hexadecimal",
        ),
        (
            plain(&["genesis", "set", &genesis, "pace=1"]),
            2,
            "no parameter",
        ),
        (
            plain(&["genesis", "set", &genesis, "max_commands=0"]),
            3,
            "out of range",
        ),
        (
            plain(&["genesis", "sign", &genesis, "--home", &home]),
            3,
            "validator.json",
        ),
        (plain(&["genesis", "verify", &genesis]), 6, "not signed by"),
        (
            plain(&["genesis", "verify", &genesis, "/nowhere"]),
            3,
            "cannot read signature",
        ),
        (
            plain(&["genesis", "install", &genesis, "--home", "/nowhere"]),
            3,
            "validator.json",
        ),
        (
            plain(&[
                "genesis",
                "profile",
                &genesis,
                "--out",
                "x",
                "--endpoint",
                "a",
            ]),
            2,
            "no endpoint",
        ),
        (plain(&["key", "show", "/nowhere"]), 3, "cannot read key"),
        (plain(&["key", "show", &wide]), 3, "mode 0644"),
        (
            plain(&["key", "change-passphrase", "/nowhere", "--remove"]),
            3,
            "cannot read key",
        ),
        (
            plain(&["keygen", "x", "--encrypt", "--passphrase-file", "/nowhere"]),
            3,
            "passphrase file",
        ),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = quorate(&arguments);
        let said = stderr(&output);
        assert_eq!(status(&output), expected, "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}

#[test]
fn results_go_to_standard_output_as_text_or_json() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let net = directory.path().join("net");
    let net = text(&net);
    let made = quorate(&[
        "--output",
        "json",
        "testnet",
        "--output",
        net,
        "--clients",
        "1",
    ]);
    assert!(made.stderr.is_empty(), "{}", stderr(&made));
    let report: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
    assert_eq!(report["homes"].as_array().map(Vec::len), Some(4));
    let home = format!("{net}/validator-2");
    let valid = quorate(&["config", "validate", "--home", &home, "--output", "json"]);
    let valid: serde_json::Value = serde_json::from_slice(&valid.stdout).expect("JSON");
    assert_eq!(valid["chain"], report["chain"]);
    let shown = quorate(&["config", "show", "--home", &home, "--origin"]);
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.contains("api.listen = \"127.0.0.1:7671\""), "{shown}");
    assert!(shown.contains("# file"), "{shown}");
    let key = format!("{net}/erin.pem");
    let made = quorate(&["keygen", &key]);
    let seen = quorate(&["keygen", "--show", &key]);
    assert_eq!((made.stdout.len(), &made.stdout), (65, &seen.stdout));
    let script = quorate(&["completion", "bash"]);
    assert!(String::from_utf8_lossy(&script.stdout).contains("complete"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((status(&output), stderr(&output).as_str()), (0, ""));
}
