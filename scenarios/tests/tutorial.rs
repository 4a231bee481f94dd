//! docs/TUTORIAL.md, run as it stands: every command succeeds, and prints what the page says.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use quorate_scenarios::cluster::binary;
use quorate_scenarios::ports::Ports;

/// Stands between the outputs of two blocks.
const NEXT: &str = "==== the next block ====";

/// The page's commands, each with what is said to be printed.
fn blocks(page: &str) -> Vec<(String, Option<String>)> {
    let mut blocks: Vec<(String, Option<String>)> = Vec::new();
    let mut rest = page;
    while let Some((_, behind)) = rest.split_once("\n```") {
        let (language, behind) = behind.split_once('\n').expect("a block has lines");
        let (block, behind) = behind.split_once("```").expect("a block ends");
        match language {
            "sh" => blocks.push((block.to_owned(), None)),
            "text" => blocks.last_mut().expect("behind commands").1 = Some(block.to_owned()),
            other => panic!("what is a block of {other:?}?"),
        }
        rest = behind;
    }
    blocks
}

/// Whether a line is what the page shows, in which … stands for anything.
fn is_like(line: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    for (place, part) in parts.iter().enumerate() {
        let is_last = place + 1 == parts.len();
        let found = match is_last {
            true => rest.ends_with(part).then_some(rest.len() - part.len()),
            false => rest.find(part),
        };
        let Some(at) = found else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    !parts.is_empty() || rest.is_empty()
}

#[test]
fn the_tutorial_does_what_it_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/TUTORIAL.md");
    let page = fs::read_to_string(page).expect("the page");
    let blocks = blocks(&page);
    assert!(blocks.len() > 8);
    let ports = Ports::reserve(4);
    let mut script = String::from("set -eu\ntrap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT\n");
    for (block, _) in &blocks {
        let base = format!("quorate testnet --base-port {}", ports.base());
        script.push_str(&block.replace("quorate testnet", &base));
        script.push_str(&format!("echo '{NEXT}'\n"));
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let folder = binary().parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(directory.path())
        .env("PATH", format!("{folder}:{path}"))
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{errors}");
    let printed: Vec<&str> = said.split(NEXT).collect();
    assert_eq!(printed.len(), blocks.len() + 1);
    for ((block, shown), printed) in blocks.iter().zip(printed) {
        let mut lines = printed.lines();
        for expected in shown.iter().flat_map(|shown| shown.lines()) {
            assert!(
                lines.any(|line| is_like(line, expected)),
                "{block}does not print {expected:?}, in this order, but\n{printed}\n{errors}"
            );
        }
    }
}

#[test]
fn a_line_is_compared_with_what_stands_for_anything() {
    for (line, shown, like) in [
        ("a b", "a b", true),
        ("a b c", "a b", false),
        ("version 1 at height 7, x", "version 1 at height …, …", true),
        (
            "version 2 at height 7, x",
            "version 1 at height …, …",
            false,
        ),
        ("  12  round 3", "…12  …round …", true),
        ("12", "…12", true),
        ("12 ", "…12", false),
    ] {
        assert_eq!(is_like(line, shown), like, "{line:?} {shown:?}");
    }
}
