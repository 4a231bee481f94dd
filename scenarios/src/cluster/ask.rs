//! What validators answer: over HTTP, and to the command line.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::{ANSWER, Cluster, Run, quorate};
use crate::http::{self, Response};

impl Cluster {
    /// GET from the operator's port; none without an answer.
    #[must_use]
    pub fn ask_admin(&self, i: usize, path: &str) -> Option<Response> {
        http::get(self.admin(i), path, ANSWER).ok()
    }

    /// GET from the clients' port; none without an answer.
    #[must_use]
    pub fn ask(&self, i: usize, path: &str) -> Option<Response> {
        http::get(self.api(i), path, ANSWER).ok()
    }

    /// `/v1/status`; null without an answer.
    #[must_use]
    pub fn status(&self, i: usize) -> Value {
        let answer = self.ask(i, "/v1/status");
        answer.map(|answer| answer.json()).unwrap_or_default()
    }

    /// Highest committed height of a validator, 0 without an answer.
    #[must_use]
    pub fn height(&self, i: usize) -> u64 {
        self.status(i)["height"].as_u64().unwrap_or(0)
    }

    /// The first sample of a metric, whatever its labels.
    #[must_use]
    pub fn metric(&self, i: usize, name: &str) -> Option<f64> {
        let text = self.ask_admin(i, "/metrics")?.text();
        let is_it = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        let line = text.lines().find(is_it)?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// The leader of the newest block's round, as some running validator knows it.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let running = (0..self.size()).filter(|&i| self.runs(i));
        let mut leaders = running.filter_map(|i| self.status(i)["leader"].as_u64());
        usize::try_from(leaders.next()?).ok()
    }

    /// Runs a verb as the first client, with the profile of `testnet`.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Run {
        let profile = self.path.join("client.toml").display().to_string();
        self.cli_with(&profile, arguments)
    }

    /// As [`Cluster::cli`], against one validator only.
    ///
    /// # Panics
    /// If the profile of `testnet` has no line of endpoints.
    #[must_use]
    pub fn cli_at(&self, i: usize, arguments: &[&str]) -> Run {
        let profile = fs::read_to_string(self.path.join("client.toml")).expect("written");
        let mut table: Vec<String> = Vec::new();
        let mut inside = false;
        for line in profile.lines() {
            // The endpoints may stand on one line or on several.
            if line.starts_with("endpoints") {
                inside = true;
                let endpoint = format!("endpoints = [\"http://{}\"]", self.api(i));
                table.push(endpoint);
            }
            if !inside {
                table.push(line.to_owned());
            }
            inside &= !line.contains(']');
        }
        let path = self.path.join(format!("only-{i}.toml"));
        fs::write(&path, table.join("\n")).expect("writable");
        self.cli_with(&path.display().to_string(), arguments)
    }

    fn cli_with(&self, profile: &str, arguments: &[&str]) -> Run {
        let key = self.client_keys()[0].display().to_string();
        let mut all = vec!["--profile", profile, "--key", &key];
        all.extend(arguments);
        quorate(&all)
    }

    /// `kv put`, which must succeed; returns how long it took.
    pub fn put(&self, key: &str, value: &str) -> Duration {
        let run = self.cli(&["kv", "put", key, value]);
        run.expect(0, "a put succeeds").took
    }

    /// `kv get` of a key that must be there, linearizable.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn get(&self, key: &str) -> String {
        let run = self.cli(&["kv", "get", key]).expect(0, "a get succeeds");
        run.stdout.trim_end().to_owned()
    }
}
