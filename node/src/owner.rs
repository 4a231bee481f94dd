//! Whose files a command makes.
//!
//! What root makes in the home of a service's user, that user cannot open: the next start as that user fails, days later and
//! for no reason that it could tell. So whoever opens or makes a home, or changes a file in one, asks here first, and root is
//! sent to run the command as the owner. Where root owns the place, as in a container, nothing is refused; and verbs that only
//! read do not ask.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// Names of users, one a line, with their numbers.
const USERS: &str = "/etc/passwd";

/// Whether this process may write at a path, which need not exist: then the nearest directory above it that does counts.
///
/// # Errors
/// Status 2: this is root, and the path is another user's.
pub fn check(path: &Path) -> Result<(), Failure> {
    let Some((found, owner)) = owner(path) else {
        return Ok(());
    };
    match refuses(rustix::process::geteuid().as_raw(), owner) {
        true => Err(refusal(&found, owner, name(&read_users(), owner))),
        false => Ok(()),
    }
}

/// Everybody but root fails at once where it may not write, and can leave nothing that the owner cannot open.
fn refuses(user: u32, owner: u32) -> bool {
    user == 0 && owner != 0
}

/// What is there of a path, and whose it is.
fn owner(path: &Path) -> Option<(PathBuf, u32)> {
    let whole = std::path::absolute(path).ok()?;
    whole.ancestors().find_map(|part| {
        let metadata = std::fs::metadata(part).ok()?;
        Some((part.to_path_buf(), metadata.uid()))
    })
}

fn refusal(found: &Path, owner: u32, name: Option<String>) -> Failure {
    let who = name.clone().unwrap_or_else(|| format!("user {owner}"));
    // sudo(8) takes a number with a # before it, which a shell takes for a comment.
    let to = name.unwrap_or_else(|| format!("'#{owner}'"));
    let message = format!(
        "{} belongs to {who}, and this runs as root: {who} could not open what root leaves there",
        found.display()
    );
    Failure::usage(message).hint(format!("run it as that user: sudo -u {to} quorate ..."))
}

/// Nothing, where the system keeps its users elsewhere: then the number has to do.
fn read_users() -> String {
    std::fs::read_to_string(USERS).unwrap_or_default()
}

/// The name of a user, from the text of passwd(5).
fn name(users: &str, wanted: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(wanted)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;

    #[test]
    fn root_is_refused_where_another_user_owns_the_place_and_nobody_else_is() {
        for (user, owner, refused) in [
            (0, 998, true),
            (0, 0, false),
            (998, 998, false),
            (998, 0, false),
            (998, 1_000, false),
        ] {
            assert_eq!(refuses(user, owner), refused, "{user} at {owner}'s");
        }
    }

    #[test]
    fn the_refusal_says_whose_it_is_and_how_to_run_it_as_that_user() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nquorate:x:998:997::/var/lib/quorate:/usr/sbin/nologin\n";
        let home = Path::new("/var/lib/quorate/a");
        for (owner, says, does) in [
            (998, "belongs to quorate,", "sudo -u quorate quorate"),
            (1_234, "belongs to user 1234,", "sudo -u '#1234' quorate"),
        ] {
            let failure = refusal(home, owner, name(users, owner));
            assert_eq!(failure.status, ExitStatus::Usage);
            assert!(failure.message.contains(says), "{failure}");
            let hint = failure.hint.expect("a way out");
            assert!(hint.contains(does), "{hint}");
        }
    }

    #[test]
    fn of_a_path_that_is_not_there_the_nearest_that_is_counts() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let there = std::path::absolute(directory.path()).expect("a path");
        let own = std::fs::metadata(&there).expect("made").uid();
        for below in ["", "home", "net/validator-0/keys"] {
            let path = directory.path().join(below);
            assert_eq!(owner(&path), Some((there.clone(), own)));
            check(&path).expect("own");
        }
        std::fs::create_dir(there.join("home")).expect("made");
        let found = owner(&there.join("home/x")).map(|(found, _)| found);
        assert_eq!(found, Some(there.join("home")));
        assert!(owner(Path::new("relative")).is_some());
    }
}
