//! Every verb against a file that is not there, and against ports where nobody listens: the documented status, what
//! happened, and what it was about. A verb that this table does not have fails the test.

use std::collections::BTreeMap;

use super::cli::{quorate, status, stderr, text, verbs};

/// What a verb needs.
const NOWHERE: &str = "/nowhere";

/// Arguments behind the verb, the exit status, and what is said.
type Case = (&'static str, i32, &'static str);

/// Of each verb: a file or directory that is missing; ports that are closed. None where it reads or asks nothing.
/// `NET` is a testnet that does not run; `ID` a transaction's.
const TABLE: &[(&str, Option<Case>, Option<Case>)] = &[
    (
        "backup",
        Some(("--home /nowhere --output NET/b", 3, "no home at /nowhere")),
        None,
    ),
    (
        "bench",
        Some(("--seconds 1", 3, "/nowhere")),
        Some(("--clients 1 --seconds 1", 4, "no validator answered")),
    ),
    ("completion", None, None),
    (
        "config show",
        Some(("--home /nowhere", 3, "/nowhere/config.toml")),
        None,
    ),
    (
        "config validate",
        Some(("--home /nowhere", 3, "/nowhere/config.toml")),
        None,
    ),
    (
        "diff-state",
        Some(("/nowhere /nowhere", 3, "no home at /nowhere")),
        None,
    ),
    (
        "doctor",
        Some(("--home /nowhere", 1, "no_home")),
        Some(("", 1, "nobody_answers")),
    ),
    (
        "fork",
        Some(("--home /nowhere --output NET/f", 3, "no home at /nowhere")),
        None,
    ),
    (
        "genesis add-client",
        Some(("/nowhere a KEY", 3, "/nowhere")),
        None,
    ),
    (
        "genesis add-validator",
        Some(("/nowhere /nowhere", 3, "/nowhere")),
        None,
    ),
    (
        "genesis install",
        Some(("/nowhere --home NET/validator-0", 3, "/nowhere")),
        None,
    ),
    (
        "genesis new",
        Some(("/nowhere/g.json --name a", 1, "/nowhere/g.json")),
        None,
    ),
    (
        "genesis profile",
        Some(("/nowhere --out NET/p --endpoint http://a:1", 3, "/nowhere")),
        None,
    ),
    (
        "genesis set",
        Some(("/nowhere name=a", 3, "/nowhere")),
        None,
    ),
    ("genesis show", Some(("/nowhere", 3, "/nowhere")), None),
    (
        "genesis sign",
        Some(("/nowhere --home NET/validator-0", 3, "/nowhere")),
        None,
    ),
    ("genesis verify", Some(("/nowhere", 3, "/nowhere")), None),
    (
        "init",
        Some((
            "--home /proc/nowhere --name a --address a:1",
            1,
            "/proc/nowhere",
        )),
        None,
    ),
    (
        "key change-passphrase",
        Some(("/nowhere --remove", 3, "/nowhere")),
        None,
    ),
    ("key show", Some(("/nowhere", 3, "/nowhere")), None),
    (
        "keygen",
        Some(("/nowhere/k.pem", 1, "/nowhere/k.pem")),
        None,
    ),
    (
        "kv cas",
        Some(("a --value b", 3, "/nowhere")),
        Some(("a --value b", 4, "no validator answered")),
    ),
    (
        "kv checkpoint",
        Some(("a", 3, "/nowhere")),
        Some(("a", 4, "no validator answered")),
    ),
    (
        "kv checkpoints",
        Some(("", 3, "/nowhere")),
        Some(("", 4, "no validator answered")),
    ),
    (
        "kv delete",
        Some(("a", 3, "/nowhere")),
        Some(("a", 4, "no validator answered")),
    ),
    (
        "kv get",
        Some(("a", 3, "/nowhere")),
        Some(("a", 4, "no validator answered")),
    ),
    (
        "kv put",
        Some(("a b", 3, "/nowhere")),
        Some(("a b", 4, "no validator answered")),
    ),
    (
        "kv range",
        Some(("", 3, "/nowhere")),
        Some(("", 4, "no validator answered")),
    ),
    (
        "kv release",
        Some(("a --yes", 3, "/nowhere")),
        Some(("a --yes", 4, "no validator answered")),
    ),
    (
        "kv revert",
        Some(("a --prefix b --yes", 3, "/nowhere")),
        Some(("a --prefix b --yes", 4, "no validator answered")),
    ),
    (
        "kv watch",
        Some(("", 3, "/nowhere")),
        Some(("", 4, "no validator answered")),
    ),
    (
        "log export",
        Some(("", 3, "/nowhere")),
        Some(("", 4, "no validator answered")),
    ),
    (
        "log tail",
        Some(("", 3, "/nowhere")),
        Some(("", 4, "no validator answered")),
    ),
    ("log verify", Some(("/nowhere", 1, "/nowhere")), None),
    (
        "recover",
        Some(("--home /nowhere --yes", 3, "no home at /nowhere")),
        None,
    ),
    (
        "replay",
        Some(("--home /nowhere", 3, "no home at /nowhere")),
        None,
    ),
    (
        "restore",
        Some(("--backup /nowhere --home NET/r", 1, "/nowhere")),
        None,
    ),
    (
        "snapshot create",
        Some(("--home /nowhere", 3, "no home at /nowhere")),
        None,
    ),
    (
        "snapshot list",
        Some(("--home /nowhere", 3, "no home at /nowhere")),
        None,
    ),
    (
        "snapshot restore",
        Some(("/nowhere --home NET/validator-0", 1, "/nowhere")),
        None,
    ),
    (
        "snapshot verify",
        Some(("/nowhere --genesis NET/genesis.json", 1, "/nowhere")),
        None,
    ),
    (
        "start",
        Some(("--home /nowhere", 3, "no home at /nowhere")),
        None,
    ),
    (
        "status",
        Some(("", 3, "/nowhere")),
        Some(("", 4, "no validator answered")),
    ),
    (
        "testnet",
        Some(("--output /proc/nowhere", 1, "/proc/nowhere")),
        None,
    ),
    // Nobody can look: standard output is no terminal here.
    (
        "top",
        Some(("", 3, "/nowhere")),
        Some(("", 2, "needs a terminal")),
    ),
    (
        "tx show",
        Some(("ID", 3, "/nowhere")),
        Some(("ID", 4, "no validator answered")),
    ),
    (
        "tx submit",
        Some(("/nowhere", 1, "/nowhere")),
        Some(("--command 00", 4, "no validator answered")),
    ),
    (
        "tx wait",
        Some(("ID", 3, "/nowhere")),
        Some(("ID", 4, "no validator answered")),
    ),
    (
        "verify",
        Some(("/nowhere --genesis NET/genesis.json", 1, "/nowhere")),
        None,
    ),
];

#[test]
fn every_verb_says_which_file_is_missing_and_that_nobody_answers() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let net = directory.path().join("net");
    let net = text(&net);
    // Ports 2, 12, 22, 32: nothing listens there, and nothing can without privileges.
    let made = quorate(&["testnet", "--output", net, "--base-port", "1"]);
    assert_eq!(status(&made), 0);
    let table: BTreeMap<&str, _> = TABLE.iter().map(|(verb, a, b)| (*verb, (a, b))).collect();
    let known: Vec<String> = verbs().iter().map(|verb| verb.join(" ")).collect();
    let listed: Vec<&str> = table.keys().copied().collect();
    assert_eq!(known, listed, "the table has every verb, and no other");
    let mut wrong = Vec::new();
    for (verb, (missing, closed)) in table {
        let there = format!("{net}/client.toml");
        for case in [missing, closed].into_iter().flatten() {
            let (rest, expected, message) = case;
            // Where no other file is missing, it is the profile.
            let about_profile = message == &NOWHERE && !rest.contains(NOWHERE);
            let profile = if about_profile { NOWHERE } else { &there };
            let rest = rest.replace("NET", net).replace("ID", &"00".repeat(32));
            let rest = rest.replace("KEY", &"ab".repeat(32));
            let key = format!("{net}/clients/alice.pem");
            let globals = ["--profile", profile, "--key", &key, "--timeout", "0.5"];
            let parts = globals.into_iter().chain(verb.split(' '));
            let arguments: Vec<&str> = parts.chain(rest.split_whitespace()).collect();
            let output = quorate(&arguments);
            let said = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
            if status(&output) != *expected || !said.contains(message) {
                let found = status(&output);
                wrong.push(format!(
                    "{arguments:?}: {expected}, {message:?}; {found}: {said}"
                ));
            }
            // A failure says that it is this program's, and is no panic.
            assert!(!said.contains("panicked"), "{arguments:?}: {said}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
