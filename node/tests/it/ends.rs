//! What the log says of a start that cannot be.

use std::path::Path;

use super::cli::{quorate, status, stderr, text};

/// The events of a start's log that has JSON's form, and the status.
fn failing(home: &Path, more: &[&str]) -> (i32, Vec<serde_json::Value>, String) {
    let start = ["start", "--home", text(home), "--set", "log.format=json"];
    let output = quorate(&[start.as_slice(), more].concat());
    let said = stderr(&output);
    let lines = said.lines().filter(|line| line.starts_with('{'));
    let events = lines.map(|line| serde_json::from_str(line).expect("JSON"));
    (status(&output), events.collect(), said.clone())
}

/// Why it had ended was text on standard error only, which a collector of JSON lines drops.
#[test]
fn the_log_says_once_why_a_validator_ended() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let net = directory.path().join("net");
    let made = quorate(&["testnet", "--output", text(&net), "--base-port", "1"]);
    assert_eq!(status(&made), 0, "{}", stderr(&made));
    let home = net.join("validator-0");
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = taken.local_addr().expect("bound");
    let listen = format!("api.listen={address}");
    let (code, events, said) = failing(
        &home,
        &["--set", "network.listen=127.0.0.1:0", "--set", &listen],
    );
    assert_eq!(code, 1, "{said}");
    let ended: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "ended")
        .collect();
    assert_eq!(ended.len(), 1, "{said}");
    assert_eq!(ended[0]["status"], 1);
    assert_eq!(ended[0]["level"], "ERROR");
    for field in ["error", "hint"] {
        let text = ended[0][field].as_str().expect("text");
        assert!(said.contains(&format!(": {text}\n")), "{field}: {said}");
    }
}
