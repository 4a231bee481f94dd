//! Key files: PKCS#8 PEM, encrypted or not, readable by their owner only.
//!
//! Owns the rule that a key file with a mode wider than 0600 is refused, and the drawing of seeds. It must never print a
//! key or overwrite one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use quorate_crypto::{SEAL_BYTES, SEED_BYTES, SecretKey};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::passphrase::Passphrase;

/// Longest key file that is read, in bytes.
const MAX_KEY_FILE: u64 = 16 * 1024;

/// A new key from the operating system's randomness.
///
/// # Errors
/// If there is none.
pub fn generate() -> Result<SecretKey, Failure> {
    let mut seed = Zeroizing::new([0; SEED_BYTES]);
    getrandom::fill(seed.as_mut_slice())
        .map_err(|error| Failure::failed(format!("no randomness: {error}")))?;
    Ok(SecretKey::from_seed(&seed))
}

/// Reads a key. If it is encrypted, its passphrase comes from the process's surroundings.
///
/// # Errors
/// As [`read_with`].
pub fn read(path: &Path) -> Result<SecretKey, Failure> {
    read_with(path, &Passphrase::ambient())
}

/// Reads a key, encrypted or not.
///
/// # Errors
/// Status 3: no such file, a mode wider than 0600, no Ed25519 key in PKCS#8, or a wrong passphrase.
pub fn read_with(path: &Path, passphrase: &Passphrase) -> Result<SecretKey, Failure> {
    let shown = path.display();
    let unreadable =
        |error: io::Error| Failure::config(format!("cannot read key {shown}: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!("key {shown} has mode {mode:04o}: others may read or write it");
        return Err(Failure::config(message).hint(format!("chmod 600 {shown}")));
    }
    let mut pem = Zeroizing::new(String::new());
    file.take(MAX_KEY_FILE)
        .read_to_string(&mut pem)
        .map_err(unreadable)?;
    let key = match SecretKey::is_encrypted_pem(&pem) {
        true => SecretKey::from_encrypted_pem(&pem, &passphrase.open(path)?),
        false => SecretKey::from_pkcs8_pem(&pem),
    };
    key.map_err(|error| Failure::config(format!("key {shown}: {error}")))
}

/// Whether a key file needs a passphrase; false if it cannot be read.
#[must_use]
pub fn is_encrypted(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|pem| SecretKey::is_encrypted_pem(&Zeroizing::new(pem)))
}

/// Writes a key to a new file with mode 0600, durably.
///
/// # Errors
/// Status 1; an existing file is left as it is.
pub fn write(path: &Path, key: &SecretKey) -> Result<(), Failure> {
    write_pem(path, &key.to_pkcs8_pem())
}

/// Writes a key to a new file with mode 0600, durably; encrypted, if there is a passphrase.
///
/// # Errors
/// Status 1; an existing file is left as it is.
pub fn write_with(path: &Path, key: &SecretKey, passphrase: Option<&str>) -> Result<(), Failure> {
    write_pem(path, &pem(key, passphrase)?)
}

/// Puts another form of the same key in the place of a file, so that a crash leaves one of both.
///
/// # Errors
/// Status 1; the file is as it was.
pub fn replace(path: &Path, key: &SecretKey, passphrase: Option<&str>) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    write_pem(beside, &pem(key, passphrase)?)?;
    let failed =
        |error: io::Error| Failure::failed(format!("cannot write key {}: {error}", path.display()));
    std::fs::rename(beside, path).map_err(failed)?;
    crate::staged::sync_parent(path)
}

fn pem(key: &SecretKey, passphrase: Option<&str>) -> Result<Zeroizing<String>, Failure> {
    let Some(passphrase) = passphrase else {
        return Ok(key.to_pkcs8_pem());
    };
    let mut entropy = [0; SEAL_BYTES];
    getrandom::fill(&mut entropy)
        .map_err(|error| Failure::failed(format!("no randomness: {error}")))?;
    Ok(Zeroizing::new(key.to_encrypted_pem(passphrase, &entropy)))
}

fn write_pem(path: &Path, pem: &str) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::failed(format!("cannot write key {}: {error}", path.display()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(pem.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;

    #[test]
    fn a_key_is_read_back_and_never_overwritten() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a.pem");
        let key = generate().expect("randomness");
        write(&path, &key).expect("a new file");
        assert_eq!(read(&path).expect("its own file").public(), key.public());
        let other = generate().expect("randomness");
        assert!(write(&path, &other).is_err());
        assert_eq!(read(&path).expect("untouched").public(), key.public());
    }

    #[test]
    fn wide_modes_and_other_content_are_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a.pem");
        write(&path, &generate().expect("randomness")).expect("a new file");
        for mode in [0o640, 0o604, 0o620, 0o666] {
            let wide = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, wide).expect("own file");
            let failure = read(&path).expect_err("wide");
            assert_eq!(failure.status, ExitStatus::Config);
            assert!(failure.message.contains(&format!("{mode:04o}")));
        }
        let narrow = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, narrow).expect("own file");
        std::fs::write(&path, "no key").expect("own file");
        assert_eq!(read(&path).expect_err("no key").status, ExitStatus::Config);
    }

    #[test]
    fn an_encrypted_key_needs_its_passphrase_and_can_get_another() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let source = |text: &str| {
            let path = directory.path().join(text);
            std::fs::write(&path, text).expect("writable");
            let narrow = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, narrow).expect("own file");
            Passphrase::new(Some(path))
        };
        let path = directory.path().join("a.pem");
        let key = generate().expect("randomness");
        write_with(&path, &key, Some("one")).expect("a new file");
        assert!(is_encrypted(&path));
        let opened = read_with(&path, &source("one")).expect("the right one");
        assert_eq!(opened.public(), key.public());
        let failure = read_with(&path, &source("two")).expect_err("wrong");
        assert_eq!(failure.status, ExitStatus::Config);
        assert!(failure.message.contains("passphrase is wrong"));
        replace(&path, &opened, Some("two")).expect("own file");
        assert!(read_with(&path, &source("two")).is_ok());
        replace(&path, &opened, None).expect("own file");
        assert!(!is_encrypted(&path));
        assert_eq!(read(&path).expect("plain").public(), key.public());
    }
}
