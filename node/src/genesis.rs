//! `genesis.json`: reading and writing what a chain starts from.
//!
//! The chain id is the hash of the canonical encoding, so white space and the order of members do not matter, and an
//! unknown member is an error.

use std::path::Path;

use quorate_types::{FORMAT_VERSION, Genesis, Parameters};

use crate::exit::Failure;

/// Longest genesis file, in bytes.
const MAX_GENESIS_FILE: u64 = 32 * 1024 * 1024;

/// Reads and checks a genesis.
///
/// # Errors
/// Status 3, with the line where the text is at fault.
pub fn read(path: &Path) -> Result<Genesis, Failure> {
    let text = text(path)?;
    parse(&text).map_err(|why| Failure::config(format!("genesis {}: {why}", path.display())))
}

fn text(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let unreadable = |why: String| Failure::config(format!("cannot read genesis {shown}: {why}"));
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if metadata.len() > MAX_GENESIS_FILE {
        return Err(unreadable(format!("larger than {MAX_GENESIS_FILE} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

/// Reads a genesis that is being assembled: only its form is checked.
///
/// # Errors
/// Status 3, with the line.
pub fn read_draft(path: &Path) -> Result<Genesis, Failure> {
    let shown = path.display();
    let text = text(path)?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::config(format!("genesis {shown}: {error}")))
}

/// A genesis without validators and clients yet.
#[must_use]
pub fn draft(name: String) -> Genesis {
    Genesis {
        version: FORMAT_VERSION,
        name,
        time: quorate_client::validity::wall_clock(),
        parameters: Parameters::default(),
        validators: Vec::new(),
        clients: Vec::new(),
        machine: String::from("kv"),
        origin: None,
    }
}

/// Parses and checks a genesis.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse(text: &str) -> Result<Genesis, String> {
    let genesis: Genesis = serde_json::from_str(text).map_err(|error| error.to_string())?;
    genesis.check().map_err(|error| error.to_string())?;
    Ok(genesis)
}

/// The file's text.
#[must_use]
pub fn to_json(genesis: &Genesis) -> String {
    let mut text = serde_json::to_string_pretty(genesis).expect("a genesis is JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;
    use crate::testnet::tests::sample;

    #[test]
    fn a_genesis_survives_its_file() {
        let genesis = sample();
        assert_eq!(parse(&to_json(&genesis)), Ok(genesis));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_or_name() {
        let good = to_json(&sample());
        let unknown = good.replacen("\"version\"", "\"extra\": 1,\n  \"version\"", 1);
        let machine = good.replace("\"kv\"", "\"toaster\"");
        let twice = good.replace("validator-1", "validator-0");
        let window = good.replace("\"session_window\": 4096", "\"session_window\": 1");
        for (text, expected) in [
            (unknown.as_str(), "line 2"),
            (machine.as_str(), "toaster"),
            (twice.as_str(), "appears twice"),
            (window.as_str(), "session_window"),
            ("{", "line 1"),
        ] {
            let why = parse(text).expect_err("invalid");
            assert!(why.contains(expected), "{why}");
        }
        let missing = read(Path::new("/nowhere/genesis.json")).expect_err("missing");
        assert_eq!(missing.status, ExitStatus::Config);
    }
}
