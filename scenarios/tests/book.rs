//! The pages of docs/ that hold commands, run as they stand: every command succeeds, and prints what the page says.
//!
//! TUTORIAL.md begins with nothing; the others with four validators that run, made by `quorate testnet --output net`.
//! What the reader of a page does between two blocks, and what a test cannot do, stands in comments of the page: see
//! [`Step`].

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use quorate_scenarios::cluster::binary;
use quorate_scenarios::ports::Ports;

/// Stands between the outputs of two steps.
const NEXT: &str = "==== the next step ====";

/// What the shells of all pages know.
///
/// A validator that is started anew is stopped first, as its operator would; whatever reads a stopped home gets one.
/// `top` wants a terminal, and has tests of its own. A stream without an end is looked at for a second.
const SHELL: &str = r#"set -eu
trap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT
stop() {
    [ -s "$1/LOCK" ] || return 0
    local process; process=$(cat "$1/LOCK")
    kill "$process" 2>/dev/null || return 0
    while kill -0 "$process" 2>/dev/null; do sleep 0.05; done
}
quorate() {
    case " $* " in
        *" top "*) return ;;
        *" start --home "*)
            stop "${@: -1}"
            [ "$BASH_SUBSHELL" = 0 ] || exec quorate "$@" # the page itself puts it into the background
            command quorate "$@" 2>>start.log &
            return ;;
        *" log verify --home "*) stop "${@: -1}" ;;
    esac
    command quorate "$@"
}
curl() {
    case " $* " in
        *" -sSN "*) timeout 1 curl "$@" || [ $? = 124 ] ;;
        *) command curl "$@" ;;
    esac
}
"#;

/// Four validators that serve.
const NET: &str = r#"
command quorate testnet --validators 4 --clients 2 --output net --base-port 7650 >&2
for i in 0 1 2 3; do quorate start --home net/validator-$i; done
export QUORATE_PROFILE=net/client.toml QUORATE_KEY=net/clients/alice.pem
quorate --timeout 60 kv put ready yes >&2
"#;

/// What is done with a page, in its order.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Commands, and what they are said to print: a block `text` behind a block `sh`.
    Run(String, Option<String>),
    /// `<!-- run: … -->`: what the page's reader has done before, or waits for.
    Between(String),
    /// `<!-- file: NAME -->` before a block of another language: its reader saves it.
    File(String, String),
}

/// What is said to be printed stands directly below its commands. A block behind `<!-- not run: why -->` or `<!-- ceremony: … -->` is not run here.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut skipped, mut file) = (false, None);
    // Nothing stands between a block of commands and here.
    let mut directly = false;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        let comment = text.strip_prefix("<!-- ");
        let comment = comment.and_then(|rest| rest.strip_suffix(" -->"));
        if let Some((kind, what)) = comment.and_then(|text| text.split_once(": ")) {
            match kind {
                "run" => steps.push(Step::Between(what.to_owned())),
                "file" => file = Some(what.to_owned()),
                "not run" | "ceremony" => skipped = true,
                other => panic!("what is a comment of {other:?}?"),
            }
        }
        let Some(language) = text.strip_prefix("```") else {
            directly &= text.is_empty();
            continue;
        };
        let inside = lines
            .by_ref()
            .map(|line| line.strip_prefix(indent).unwrap_or(line));
        let inside = inside.take_while(|line| *line != "```");
        let block: String = inside.flat_map(|line| [line, "\n"]).collect();
        let passed_over = std::mem::take(&mut skipped);
        match (language, steps.last_mut()) {
            _ if passed_over => {}
            ("sh", _) => steps.push(Step::Run(block, None)),
            ("text", Some(Step::Run(_, shown @ None))) if directly => *shown = Some(block),
            (_, _) => {
                let named = file.take().map(|name| Step::File(name, block));
                steps.extend(named);
            }
        }
        directly = language == "sh" && !passed_over;
    }
    steps
}

/// The ports of the page are 7650 and up; others are free.
fn moved(text: &str, base: u16) -> String {
    let mut text = text.replace("--base-port 7650", &format!("--base-port {base}"));
    for validator in 0..4 {
        for which in 0..3 {
            let place = 10 * validator + which;
            let there = format!("127.0.0.1:{}", 7_650 + place);
            text = text.replace(&there, &format!("127.0.0.1:{}", base + place));
        }
    }
    text
}

fn shell(script: &str, directory: &Path) -> Output {
    let folder = binary().parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("bash")
        .args(["-c", script])
        .current_dir(directory)
        .env("PATH", format!("{folder}:{path}"))
        .stdin(Stdio::null())
        .output()
        .expect("a shell")
}

fn does_what_it_says(page: &str, before: &str, least: usize) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(page);
    let steps = steps(&fs::read_to_string(file).expect("the page"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ports = Ports::reserve(4);
    let mut script = String::from(before);
    let mut runs = Vec::new();
    for step in steps {
        match step {
            Step::Between(text) => script.push_str(&format!("\n{{ {text}; }} >&2\n")),
            Step::File(name, text) => {
                fs::write(directory.path().join(name), moved(&text, ports.base()))
                    .expect("writable");
            }
            Step::Run(block, shown) => {
                script.push_str(&format!("echo '{NEXT}'\n{block}"));
                runs.push((block, shown));
            }
        }
    }
    assert!(runs.len() >= least, "{page} has {} blocks", runs.len());
    let script = format!("{SHELL}{}", moved(&script, ports.base()));
    let output = shell(&script, directory.path());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{page}\n{said}\n{errors}");
    let printed: Vec<&str> = said.split(NEXT).skip(1).collect();
    assert_eq!(printed.len(), runs.len());
    for ((block, shown), printed) in runs.iter().zip(printed) {
        let mut lines = printed.lines();
        for expected in shown.iter().flat_map(|shown| shown.lines()) {
            assert!(
                lines.any(|line| is_like(line, expected)),
                "{block}does not print {expected:?}, in this order, but\n{printed}\n{errors}"
            );
        }
    }
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
    does_what_it_says("TUTORIAL.md", "", 9);
}

#[test]
fn the_recipes_do_what_they_say() {
    does_what_it_says("HOWTO.md", NET, 8);
}

#[test]
fn the_commands_of_operations_do_what_they_say() {
    does_what_it_says("OPERATIONS.md", NET, 6);
}

#[test]
fn the_commands_for_backups_do_what_they_say() {
    does_what_it_says("BACKUP.md", NET, 4);
}

#[test]
fn the_commands_for_recovery_do_what_they_say() {
    does_what_it_says("RECOVERY.md", NET, 1);
}

#[test]
fn the_commands_of_the_api_do_what_they_say() {
    does_what_it_says("API.md", NET, 5);
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

#[test]
fn a_page_is_taken_apart() {
    let page = "# A\n<!-- run: mkdir x -->\n  ```sh\n  a\n    b\n  ```\n\n```text\nc…\n```\n<!-- not run: no root here -->\n```sh\nd\n```\n\
                <!-- file: e.py -->\n```python\ne\n```\n```json\n{}\n```\n\
                ```sh\nf\n```\nNot what it prints:\n```text\ng\n```\n";
    let run = |block: &str, shown: Option<&str>| {
        Step::Run(block.to_owned(), shown.map(ToOwned::to_owned))
    };
    let expected = [
        Step::Between(String::from("mkdir x")),
        run("a\n  b\n", Some("c…\n")),
        Step::File(String::from("e.py"), String::from("e\n")),
        run("f\n", None),
    ];
    assert_eq!(steps(page), expected);
}
