//! `client.toml`: where the validators are, and which chain is meant.
//!
//! A profile holds nothing secret. Relative paths in it are relative to the file.

use std::io;
use std::path::{Path, PathBuf};

use quorate_types::ChainId;
use serde::{Deserialize, Serialize};

/// Endpoints and the identity of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// `http://host:port` of each validator's API, tried in this order, starting anywhere.
    pub endpoints: Vec<String>,
    /// The chain id, which is the hash of the genesis. Transactions are signed for it, proofs are verified against it, and a
    /// status or genesis of any other chain is refused. Other answers name no chain: each is one validator's word.
    pub chain: ChainId,
    /// The genesis file, needed to verify proofs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genesis: Option<PathBuf>,
    /// Where the keys of this chain's clients lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<PathBuf>,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("cannot read the profile {}: {error}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is no profile; the message names the line.
    #[error("{}: {error}", .path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        error: toml::de::Error,
    },
    /// Nobody to talk to.
    #[error("{}: endpoints is empty", .path.display())]
    NoEndpoints {
        /// Which file.
        path: PathBuf,
    },
}

impl Profile {
    /// Reads a profile and resolves its paths.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn read(path: &Path) -> Result<Profile, ProfileError> {
        let text = std::fs::read_to_string(path).map_err(|error| ProfileError::Read {
            path: path.to_owned(),
            error,
        })?;
        let mut profile: Profile = toml::from_str(&text).map_err(|error| ProfileError::Syntax {
            path: path.to_owned(),
            error,
        })?;
        if profile.endpoints.is_empty() {
            return Err(ProfileError::NoEndpoints {
                path: path.to_owned(),
            });
        }
        let base = path.parent().unwrap_or(Path::new("."));
        for relative in [&mut profile.genesis, &mut profile.keys] {
            *relative = relative.take().map(|inner| base.join(inner));
        }
        Ok(profile)
    }

    /// The file's text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("strings and paths are TOML")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Profile, ProfileError> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("client.toml");
        std::fs::write(&path, text).expect("writable");
        Profile::read(&path)
    }

    #[test]
    fn what_is_written_is_read_with_paths_beside_the_file() {
        let profile = Profile {
            endpoints: vec!["http://127.0.0.1:7651".into()],
            chain: ChainId::default(),
            genesis: Some("genesis.json".into()),
            keys: None,
        };
        let found = read(&profile.to_toml()).expect("valid");
        assert_eq!(found.endpoints, profile.endpoints);
        let genesis = found.genesis.expect("kept");
        assert!(genesis.is_absolute() && genesis.ends_with("genesis.json"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let chain = ChainId::default();
        let text = format!("endpoints = [\"http://a:1\"]\nchain = \"{chain}\"\nendpoint = 1\n");
        let message = read(&text).expect_err("unknown key").to_string();
        assert!(
            message.contains("line 3") && message.contains("endpoint"),
            "{message}"
        );
    }

    #[test]
    fn a_profile_without_endpoints_is_refused() {
        let text = format!("endpoints = []\nchain = \"{}\"\n", ChainId::default());
        assert!(matches!(read(&text), Err(ProfileError::NoEndpoints { .. })));
        let missing = Profile::read(Path::new("/nowhere/client.toml"));
        assert!(matches!(missing, Err(ProfileError::Read { .. })));
    }
}
