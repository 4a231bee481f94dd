//! How far a long run is, in a file: it can be stopped at any time, and goes on from the last chunk that it finished.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What is run is numbered; this much of it was.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Progress<T> {
    /// The first number of the run.
    pub(crate) first: u64,
    /// The first number that has not been run.
    pub(crate) next: u64,
    /// What happened so far.
    pub(crate) counters: T,
}

impl<T: Default + Serialize + DeserializeOwned> Progress<T> {
    /// Where the run that left this file stopped; at the beginning without a file.
    ///
    /// # Errors
    /// The file cannot be read, or is of another run.
    pub(crate) fn resume(file: Option<&Path>, first: u64) -> Result<Progress<T>, String> {
        let Some(file) = file.filter(|file| file.exists()) else {
            return Ok(Progress {
                first,
                next: first,
                counters: T::default(),
            });
        };
        let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| problem(&error))?;
        let progress: Progress<T> = serde_json::from_str(&text).map_err(|error| problem(&error))?;
        match progress.first == first {
            true => Ok(progress),
            false => Err(problem(&"is of a run that began with another number")),
        }
    }

    /// Replaces the file, if there is to be one. A reader finds the old one or the new one, and never half of either.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn save(&self, file: Option<&Path>) -> Result<(), String> {
        let Some(file) = file else {
            return Ok(());
        };
        let text = serde_json::to_string_pretty(self).expect("numbers and names");
        let fresh = file.with_extension("new");
        let written = std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, file));
        written.map_err(|error| format!("{}: {error}", file.display()))
    }
}
