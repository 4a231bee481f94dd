//! The real binary: every verb's help, and every mistake's status and message.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn quorate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn every_verb_has_help_within_eighty_columns() {
    for verb in [
        vec![],
        vec!["testnet"],
        vec!["start"],
        vec!["status"],
        vec!["kv"],
        vec!["kv", "put"],
        vec!["kv", "get"],
        vec!["kv", "delete"],
        vec!["kv", "cas"],
        vec!["kv", "range"],
        vec!["tx"],
        vec!["tx", "submit"],
        vec!["tx", "wait"],
        vec!["tx", "show"],
        vec!["log"],
        vec!["log", "export"],
        vec!["log", "verify"],
        vec!["verify"],
        vec!["bench"],
        vec!["keygen"],
        vec!["config"],
        vec!["config", "show"],
        vec!["config", "validate"],
        vec!["completion"],
    ] {
        let output = quorate(&[verb.as_slice(), &["--help"]].concat());
        assert_eq!(status(&output), 0, "{verb:?}");
        let help = String::from_utf8(output.stdout).expect("text");
        assert!(help.contains("Usage:"), "{verb:?}");
        let wide = help.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{verb:?}");
        assert!(verb.len() != 1 || help.contains("Example"), "{verb:?}");
    }
    assert_eq!(status(&quorate(&["--version"])), 0);
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
        (with(&["kv", "put", "a", "b"]), 4, "no validator answered"),
        (
            with(&["kv", "get", "a", "--consistency", "local"]),
            4,
            "refused",
        ),
        (with(&["kv", "range"]), 4, "no validator answered"),
        (with(&["status"]), 4, "refused"),
        (with(&["tx", "wait", &id]), 4, "quorate tx wait"),
        (with(&["tx", "wait", "12"]), 2, "hexadecimal digits"),
        (with(&["tx", "submit"]), 2, "FILE"),
        (with(&["tx", "submit", &junk]), 1, "no transaction"),
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
        (plain(&["start", "--home", "/nowhere"]), 3, "no home"),
        (
            plain(&["start", "--home", &home, "--set", "x"]),
            2,
            "section.key=value",
        ),
        (plain(&["completion", "basic"]), 2, "bash"),
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
