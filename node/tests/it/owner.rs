//! Root at the home of a service's user.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use super::cli::{quorate, status, stderr, text};

/// Nobody of this name is on any machine.
const SERVICE: u32 = 123_456;

/// A path and everything below it.
fn all(path: &Path, found: &mut Vec<PathBuf>) {
    found.push(path.to_path_buf());
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("readable") {
            all(&entry.expect("an entry").path(), found);
        }
    }
}

fn everything(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    all(path, &mut found);
    found.sort();
    found
}

/// Each verb that writes in a home left files of root in it when it was run as root, and the next start as the service's user
/// failed: `LOCK`, or the database's, cannot be opened.
#[test]
fn root_leaves_nothing_in_the_home_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can show what root must not do");
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (net, own) = (directory.path().join("net"), directory.path().join("own"));
    let made = quorate(&["testnet", "--output", text(&net), "--base-port", "1"]);
    assert_eq!(status(&made), 0, "{}", stderr(&made));
    let home = net.join("validator-0");
    for path in everything(&home) {
        chown(&path, Some(SERVICE), Some(SERVICE)).expect("root may");
    }
    let before = everything(&home);
    let (key, below) = (home.join("keys/consensus.pem"), home.join("new/home"));
    let genesis = net.join("genesis.json");
    let (home, own, net) = (text(&home), text(&own), text(&net));
    let (key, below, genesis) = (text(&key), text(&below), text(&genesis));
    let name = ["--name", "a", "--address", "a.example:7650"];
    for arguments in [
        vec!["start", "--home", home],
        vec!["recover", "--home", home, "--yes"],
        vec!["backup", "--home", home, "--output", own],
        vec!["backup", "--home", own, "--output", below],
        vec!["restore", "--backup", own, "--home", below],
        vec!["replay", "--home", home],
        vec!["fork", "--home", home, "--output", own],
        vec!["fork", "--home", own, "--output", below],
        vec!["diff-state", home, home],
        vec!["log", "verify", "--home", home],
        vec!["snapshot", "create", "--home", home],
        vec!["snapshot", "restore", "--home", home, own],
        vec!["genesis", "install", genesis, "--home", home],
        vec!["key", "change-passphrase", key, "--remove"],
        vec!["testnet", "--output", below],
        [["init", "--home", below].as_slice(), &name].concat(),
    ] {
        // A home of root's own, for what has to be read before the output is looked at.
        std::fs::create_dir_all(own).expect("made");
        for file in ["config.toml", "genesis.json"] {
            let from = Path::new(net).join("validator-1").join(file);
            std::fs::copy(from, Path::new(own).join(file)).expect("copied");
        }
        if arguments.contains(&"fork") {
            std::fs::remove_dir_all(own).expect("ours");
        }
        let output = quorate(&arguments);
        let said = stderr(&output);
        assert_eq!(status(&output), 2, "{arguments:?}: {said}");
        let way = format!("sudo -u '#{SERVICE}' quorate");
        assert!(said.contains(&way), "{arguments:?}: {said}");
        assert_eq!(everything(Path::new(home)), before, "{arguments:?}");
    }
    for path in before {
        let owner = std::fs::metadata(&path).expect("there").uid();
        assert_eq!(owner, SERVICE, "{}", path.display());
    }
}

/// In a container root owns everything; and what only reads is anybody's.
#[test]
fn who_owns_the_place_is_not_refused_and_neither_is_who_only_looks() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let net = directory.path().join("net");
    let made = quorate(&["testnet", "--output", text(&net), "--base-port", "1"]);
    assert_eq!(status(&made), 0, "{}", stderr(&made));
    let home = net.join("validator-0");
    let recovered = quorate(&["recover", "--home", text(&home), "--yes"]);
    assert_eq!(status(&recovered), 0, "{}", stderr(&recovered));
    if rustix::process::geteuid().is_root() {
        for path in everything(&home) {
            chown(&path, Some(SERVICE), Some(SERVICE)).expect("root may");
        }
    }
    let shown = quorate(&["config", "show", "--home", text(&home)]);
    assert_eq!(status(&shown), 0, "{}", stderr(&shown));
    let looked = quorate(&["doctor", "--home", text(&home)]);
    let found = String::from_utf8_lossy(&looked.stdout).into_owned();
    assert!(found.contains("forgetful"), "{found}{}", stderr(&looked));
    let listed = quorate(&["snapshot", "list", "--home", text(&home)]);
    assert_eq!(status(&listed), 0, "{}", stderr(&listed));
}
