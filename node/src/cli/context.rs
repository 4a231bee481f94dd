//! What the verbs of clients share: profile, key, runtime, output.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use quorate_client::{Client, ClientError, Profile, ProfileError};
use quorate_crypto::SecretKey;

use super::Globals;
use super::output::{Format, Printer};
use crate::exit::Failure;
use crate::keys;
use crate::passphrase::Passphrase;

/// The global flags, checked.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) print: Printer,
    pub(super) timeout: Duration,
    profile: Option<PathBuf>,
    key: Option<PathBuf>,
    pub(super) passphrase: Passphrase,
}

impl Context {
    pub(super) fn new(globals: &Globals, output: Option<Format>) -> Result<Context, Failure> {
        let timeout = Duration::try_from_secs_f64(globals.timeout)
            .ok()
            .filter(|timeout| (1..=86_400_000).contains(&timeout.as_millis()))
            .ok_or_else(|| Failure::usage("--timeout is 0.001 to 86400 seconds"))?;
        Ok(Context {
            print: Printer::new(output.or(globals.output)),
            timeout,
            profile: globals.profile.clone(),
            key: globals.key.clone(),
            passphrase: Passphrase::new(globals.passphrase_file.clone()),
        })
    }

    /// The profile; naming none is a mistake of usage.
    pub(super) fn profile(&self) -> Result<Profile, Failure> {
        let path = self.profile.as_ref().ok_or_else(|| {
            Failure::usage("no profile: which chain is meant?")
                .hint("--profile DIR/client.toml, or QUORATE_PROFILE")
        })?;
        Profile::read(path).map_err(|error| match error {
            ProfileError::Read { .. }
            | ProfileError::Syntax { .. }
            | ProfileError::NoEndpoints { .. } => Failure::config(error),
        })
    }

    /// The profile, if one is named.
    pub(super) fn profile_if_named(&self) -> Result<Option<Profile>, Failure> {
        self.profile.is_some().then(|| self.profile()).transpose()
    }

    /// A client of the profile's chain.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let profile = self.profile()?;
        Client::new(profile, self.timeout).map_err(Failure::config)
    }

    /// The signing key; naming none is a mistake of usage.
    pub(super) fn key(&self) -> Result<SecretKey, Failure> {
        let path = self.key.as_ref().ok_or_else(|| {
            Failure::usage("no key: who signs?").hint("--key DIR/clients/NAME.pem, or QUORATE_KEY")
        })?;
        keys::read_with(path, &self.passphrase)
    }

    /// Runs an operation of a client to its end.
    pub(super) fn block_on<T>(
        &self,
        operation: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Failure> {
        Ok(self.attempt(operation)??)
    }

    /// As [`Context::block_on`], for a caller who has an answer to some errors.
    pub(super) fn attempt<T>(
        &self,
        operation: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<Result<T, ClientError>, Failure> {
        Ok(runtime()?.block_on(operation))
    }
}

/// One thread: a client waits more than it works.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no runtime: {error}")))
}
