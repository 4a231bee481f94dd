//! Where the passphrase of an encrypted key comes from.
//!
//! In this order: the file that is named (`--passphrase-file`, `QUORATE_PASSPHRASE_FILE`), the systemd credential
//! `quorate.passphrase`, a question on the terminal. It must never print one, take one from the command line or the
//! environment, where other users can see it, or ask twice for the same.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use zeroize::Zeroizing;

use crate::exit::Failure;

/// Variable that names a file with the passphrase.
pub const FILE_VARIABLE: &str = "QUORATE_PASSPHRASE_FILE";
/// Name of the systemd credential (`LoadCredential=quorate.passphrase:/…`, `LoadCredentialEncrypted=…`).
pub const CREDENTIAL: &str = "quorate.passphrase";
/// Directory of a service's credentials (systemd.exec(5)).
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Longest file with a passphrase, in bytes.
const MAX_FILE: u64 = 4 * 1024;

/// A source of one passphrase, asked for when it is needed and remembered as long as this lives.
#[derive(Clone)]
pub struct Passphrase(Arc<Inner>);

struct Inner {
    file: Option<PathBuf>,
    known: Mutex<Option<Zeroizing<String>>>,
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passphrase")
            .field("file", &self.0.file)
            .finish_non_exhaustive()
    }
}

impl Passphrase {
    /// From this file; without one, from the process's surroundings.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Passphrase {
        Passphrase(Arc::new(Inner {
            file,
            known: Mutex::new(None),
        }))
    }

    /// From the process's surroundings.
    #[must_use]
    pub fn ambient() -> Passphrase {
        Passphrase::new(std::env::var_os(FILE_VARIABLE).map(PathBuf::from))
    }

    /// Whether a passphrase would be found without asking anybody.
    #[must_use]
    pub fn is_at_hand() -> bool {
        std::env::var_os(FILE_VARIABLE).is_some() || credential().is_some()
    }

    /// The passphrase that opens `what`.
    ///
    /// # Errors
    /// Status 3: a file that cannot be read, is readable by others or is empty; or no file and no terminal.
    pub fn open(&self, what: &Path) -> Result<Zeroizing<String>, Failure> {
        self.get(|| ask(&format!("passphrase of {}: ", what.display())))
    }

    /// A passphrase to encrypt with: on a terminal it is asked for twice.
    ///
    /// # Errors
    /// As [`Passphrase::open`]; and if the two answers differ.
    pub fn choose(&self, what: &str) -> Result<Zeroizing<String>, Failure> {
        self.get(|| Passphrase::asking(what))
    }

    /// A passphrase to encrypt with, from the terminal and nowhere else, asked for twice.
    ///
    /// # Errors
    /// Status 3: no terminal, an empty answer, or two different ones.
    pub fn asking(what: &str) -> Result<Zeroizing<String>, Failure> {
        let first = ask(&format!("new passphrase for {what}: "))?;
        if first.is_empty() {
            return Err(Failure::config("the passphrase is empty"));
        }
        let second = ask("the same again: ")?;
        match first == second {
            true => Ok(first),
            false => Err(Failure::config("the two passphrases differ")),
        }
    }

    fn get(
        &self,
        ask: impl FnOnce() -> Result<Zeroizing<String>, Failure>,
    ) -> Result<Zeroizing<String>, Failure> {
        let mut known = self
            .0
            .known
            .lock()
            .expect("nothing panics while it holds the lock");
        if let Some(passphrase) = &*known {
            return Ok(passphrase.clone());
        }
        let found = match (&self.0.file, credential()) {
            (Some(file), _) => read(file, true)?,
            (None, Some(file)) => read(&file, false)?,
            (None, None) => ask()?,
        };
        if found.is_empty() {
            return Err(Failure::config("the passphrase is empty"));
        }
        *known = Some(found.clone());
        Ok(found)
    }
}

/// The credential's file, if the service manager gave one.
fn credential() -> Option<PathBuf> {
    let directory = PathBuf::from(std::env::var_os(CREDENTIALS_VARIABLE)?);
    Some(directory.join(CREDENTIAL)).filter(|path| path.exists())
}

/// Reads the first line. The service manager guards its credentials by other means than the mode.
fn read(path: &Path, check_mode: bool) -> Result<Zeroizing<String>, Failure> {
    let shown = path.display();
    let unreadable = |error: io::Error| {
        Failure::config(format!("cannot read the passphrase file {shown}: {error}"))
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o777;
    if check_mode && metadata.is_file() && mode & 0o077 != 0 {
        let message = format!("passphrase file {shown} has mode {mode:04o}: others may read it");
        return Err(Failure::config(message).hint(format!("chmod 600 {shown}")));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let line = text.lines().next().unwrap_or_default();
    Ok(Zeroizing::new(line.to_owned()))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    match rpassword::prompt_password(prompt) {
        Ok(answer) => Ok(Zeroizing::new(answer)),
        Err(error) => Err(Failure::config(format!(
            "a passphrase is needed, and nobody can be asked: {error}"
        ))
        .hint("--passphrase-file FILE, or the systemd credential quorate.passphrase")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("passphrase");
        std::fs::write(&path, text).expect("writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("own file");
        (directory, path)
    }

    #[test]
    fn a_file_gives_its_first_line() {
        let (_kept, path) = file("open sesame\nsecond\n", 0o600);
        let source = Passphrase::new(Some(path.clone()));
        let found = source.open(Path::new("a.pem")).expect("readable");
        assert_eq!(found.as_str(), "open sesame");
        // It is remembered, and never shown.
        std::fs::remove_file(path).expect("own file");
        assert!(source.open(Path::new("b.pem")).is_ok());
        assert!(!format!("{source:?}").contains("sesame"));
    }

    #[test]
    fn a_wide_an_empty_and_a_missing_file_are_refused() {
        let cases = [("x\n", 0o644, "mode 0644"), ("\n", 0o600, "empty")];
        for (text, mode, message) in cases {
            let (_kept, path) = file(text, mode);
            let source = Passphrase::new(Some(path));
            let failure = source.choose("a key").expect_err("refused");
            assert_eq!(failure.status, ExitStatus::Config);
            assert!(failure.message.contains(message), "{}", failure.message);
        }
        let source = Passphrase::new(Some(PathBuf::from("/nowhere")));
        let failure = source.open(Path::new("a.pem")).expect_err("missing");
        assert_eq!(failure.status, ExitStatus::Config);
    }
}
