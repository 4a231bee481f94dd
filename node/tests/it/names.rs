//! What operators match by name is documented, and what is documented exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The name of the event in the arguments of a logging macro.
fn name(arguments: &str) -> Option<&str> {
    let arguments = arguments.trim_start().strip_prefix("event = \"")?;
    arguments.split('"').next()
}

#[test]
fn every_event_at_info_and_above_is_documented_and_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let mut logged = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        for level in ["info!(", "warn!(", "error!("] {
            for (at, _) in text.match_indices(level) {
                let before = text[..at].chars().next_back();
                // `compile_error!` and the like are other macros.
                if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_') {
                    continue;
                }
                let line = text[..at].lines().count();
                let event = name(&text[at + level.len()..]);
                let event = event.unwrap_or_else(|| {
                    panic!(
                        "{}:{line}: its first field must be event = \"…\", as docs/reference/events.md lists it",
                        file.display()
                    )
                });
                logged.insert(event.to_owned());
            }
        }
    }
    let page = std::fs::read_to_string(root.join("../docs/reference/events.md")).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let names = rows.filter_map(|row| row.split('|').nth(1));
    let documented: BTreeSet<String> = names
        .flat_map(|names| names.split(','))
        .map(|name| name.trim().trim_matches('`').to_owned())
        .collect();
    assert_eq!(logged, documented);
}

#[test]
fn every_code_of_the_doctor_is_in_the_reference_and_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src/cli/doctor"), &mut files);
    let mut used = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        let code = text
            .split("#[cfg(test)]")
            .next()
            .expect("a file has a beginning");
        for call in [
            "Finding::problem(",
            "Finding::warning(",
            "Finding::note(",
            "of(",
        ] {
            for (at, _) in code.match_indices(call) {
                let argument = code[at + call.len()..].trim_start();
                let name = argument.strip_prefix('"').and_then(|a| a.split('"').next());
                used.extend(name.map(str::to_owned));
            }
        }
    }
    let page = std::fs::read_to_string(root.join("../docs/reference/errors.md")).expect("the page");
    let (_, findings) = page
        .split_once("## Findings of the doctor")
        .expect("its part");
    let names = findings.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<String> = names
        .filter_map(|row| row.split('`').next())
        .map(str::to_owned)
        .collect();
    assert!(used.len() > 30);
    assert_eq!(used, documented);
}
