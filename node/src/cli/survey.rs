//! What all validators of a profile say at one moment, put side by side. Shared by `status`, `doctor` and `top`.
//!
//! Each is one validator's word. Nobody who is slow or silent keeps the others waiting for longer than [`PATIENCE`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use quorate_client::api::{CheckReply, StatusReply, ValidatorsReply};
use quorate_client::validity::wall_clock;
use quorate_client::{Client, ClientError};
use quorate_types::{Block, BlockTime, ChainId, Height, Signers, ValidatorIndex, codec};

/// Longest wait for one validator.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Newest blocks whose certificates are looked at.
pub(super) const WINDOW: u64 = 32;

/// Most failing checks of a validator that are shown, and most signs of each name and reason.
const CHECKS: usize = 8;
const CHECK_TEXT: usize = 120;

/// What one endpoint answered.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// As in the profile.
    pub(super) endpoint: String,
    /// How it is, or why that is not known.
    pub(super) status: Result<StatusReply, Trouble>,
    /// From question to answer.
    pub(super) round_trip: Duration,
    /// How far its clock is ahead of this one, in nanoseconds; half of the round trip is uncertain.
    pub(super) skew_ns: i128,
    /// The set as it sees it.
    pub(super) set: Option<ValidatorsReply>,
}

/// Why an endpoint said nothing of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No answer.
    Silent(String),
    /// It serves this chain.
    OtherChain(String),
    /// It answered with something else.
    Other(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Silent(why) | Trouble::Other(why) => f.write_str(why),
            Trouble::OtherChain(chain) => write!(f, "serves another chain, {chain}"),
        }
    }
}

/// A member of the set, as all answers together show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) index: u16,
    pub(super) name: String,
    pub(super) address: String,
    /// The row that is its own answer.
    pub(super) row: Option<usize>,
    /// How many others say that they are connected to it.
    pub(super) connected_from: usize,
    /// How many others were asked.
    pub(super) asked: usize,
    /// Certificates of the window that hold its vote.
    pub(super) votes: usize,
    /// Blocks of the window that it proposed.
    pub(super) proposed: usize,
}

/// All answers.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    pub(super) chain: ChainId,
    /// In the order of the profile's endpoints.
    pub(super) rows: Vec<Row>,
    /// In the order of indices; empty if nobody told.
    pub(super) members: Vec<Member>,
    /// Certificates looked at.
    pub(super) certificates: usize,
}

impl Survey {
    /// Asks everybody.
    pub(super) async fn take(client: &Client, window: &mut Window) -> Survey {
        let endpoints = &client.profile().endpoints;
        let rows: Vec<Row> = join_all(endpoints.iter().map(|e| ask(client, e))).await;
        let mut survey = Survey {
            chain: client.profile().chain,
            members: members(&rows),
            rows,
            certificates: 0,
        };
        if let Some(head) = survey.head() {
            let _ = tokio::time::timeout(PATIENCE, window.follow(client, head)).await;
        }
        survey.certificates = window.certificates();
        for member in &mut survey.members {
            let index = ValidatorIndex(member.index);
            let seen = window.recent.iter();
            member.votes = seen.clone().filter(|b| b.voters.contains(index)).count();
            member.proposed = seen.filter(|block| block.proposer == index).count();
        }
        survey
    }

    /// Those who answered for this chain.
    pub(super) fn answers(&self) -> impl Iterator<Item = &StatusReply> {
        self.rows.iter().filter_map(|row| row.status.as_ref().ok())
    }

    /// The highest committed height that anybody named.
    pub(super) fn head(&self) -> Option<Height> {
        self.answers().map(|status| status.height).max()
    }

    /// The answer of whoever is furthest.
    pub(super) fn best(&self) -> Option<&StatusReply> {
        self.answers().max_by_key(|status| status.height)
    }

    /// How old the newest block was when it was asked for, by its validator's clock.
    pub(super) fn head_age(&self) -> Option<Duration> {
        let ages = self
            .answers()
            .map(|s| s.now.0.saturating_sub(s.head_time.0));
        ages.min().map(Duration::from_nanos)
    }

    /// n of the set; 0 if nobody told.
    pub(super) fn size(&self) -> usize {
        self.members.len()
    }

    /// q of the set.
    pub(super) fn quorum(&self) -> usize {
        self.size() - self.size().saturating_sub(1) / 3
    }

    /// A member's own answer.
    pub(super) fn status_of(&self, member: &Member) -> Option<&StatusReply> {
        let row = self.rows.get(member.row?)?;
        row.status.as_ref().ok()
    }

    /// Whether a member without an answer is one that the profile does not name: all that it names have answered.
    pub(super) fn all_answered(&self) -> bool {
        self.rows.iter().all(|row| row.status.is_ok())
    }

    /// A validator's name by its index.
    pub(super) fn name(&self, index: u16) -> String {
        let found = self.members.iter().find(|member| member.index == index);
        found.map_or_else(
            || format!("validator {index}"),
            |member| member.name.clone(),
        )
    }
}

/// What a validator says of its failing checks, as far as a terminal takes it: a few of them, a line of text each.
pub(super) fn readable(failing: &[CheckReply]) -> impl Iterator<Item = CheckReply> {
    let line = |text: &str| {
        let text = text.chars().filter(|sign| !sign.is_control());
        text.take(CHECK_TEXT).collect()
    };
    failing.iter().take(CHECKS).map(move |failing| CheckReply {
        check: line(&failing.check),
        reason: line(&failing.reason),
    })
}

async fn ask(client: &Client, endpoint: &str) -> Row {
    let from = Instant::now();
    let before = wall_clock();
    let asked = tokio::time::timeout(PATIENCE, client.status_of(endpoint)).await;
    let round_trip = from.elapsed();
    let status = match asked {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(ClientError::WrongChain { found, .. })) => Err(Trouble::OtherChain(found)),
        Ok(Err(ClientError::Unreachable { last })) => Err(Trouble::Silent(last)),
        Ok(Err(error)) => Err(Trouble::Other(error.to_string())),
        Err(_) => {
            let waited = PATIENCE.as_secs();
            Err(Trouble::Silent(format!(
                "{endpoint}: no answer within {waited} s"
            )))
        }
    };
    let set = match &status {
        Ok(_) => {
            let asked = tokio::time::timeout(PATIENCE, client.validators_of(endpoint)).await;
            asked.ok().and_then(Result::ok)
        }
        Err(_) => None,
    };
    let middle = i128::from(before.0) + i128::try_from(round_trip.as_nanos() / 2).unwrap_or(0);
    let skew_ns = status.as_ref().map_or(0, |s| i128::from(s.now.0) - middle);
    Row {
        endpoint: endpoint.to_owned(),
        status,
        round_trip,
        skew_ns,
        set,
    }
}

/// Joins what the rows say of each other.
fn members(rows: &[Row]) -> Vec<Member> {
    let sets = || {
        rows.iter()
            .enumerate()
            .filter_map(|(at, row)| Some((at, row.set.as_ref()?)))
    };
    let Some((_, any)) = sets().next() else {
        return Vec::new();
    };
    let own_index = |at: usize| {
        let row: &Row = &rows[at];
        row.status.as_ref().ok().and_then(|status| status.index)
    };
    any.validators
        .iter()
        .map(|info| {
            let others = sets().filter(|(at, _)| own_index(*at) != Some(info.index));
            let connected = |set: &ValidatorsReply| {
                let found = set.validators.iter().find(|v| v.index == info.index);
                found.is_some_and(|v| v.connected)
            };
            Member {
                index: info.index,
                name: info.name.clone(),
                address: info.address.clone(),
                row: (0..rows.len()).find(|at| own_index(*at) == Some(info.index)),
                connected_from: others.clone().filter(|(_, set)| connected(set)).count(),
                asked: others.count(),
                votes: 0,
                proposed: 0,
            }
        })
        .collect()
}

/// What is kept of a block.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) height: Height,
    pub(super) time: BlockTime,
    pub(super) proposer: ValidatorIndex,
    /// Whose votes certify the block before.
    pub(super) voters: Signers,
}

/// The newest blocks, followed from one survey to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    pub(super) recent: VecDeque<Seen>,
}

impl Window {
    /// Fetches what is new, the newest [`WINDOW`] at most. What cannot be fetched is left out.
    async fn follow(&mut self, client: &Client, head: Height) {
        let known = self.recent.back().map_or(0, |seen| seen.height.0);
        let first = (known + 1).max((head.0 + 1).saturating_sub(WINDOW)).max(1);
        let wanted = u32::try_from((head.0 + 1).saturating_sub(first)).unwrap_or(0);
        if wanted == 0 {
            return;
        }
        let Ok(reply) = client.blocks(head, wanted).await else {
            return;
        };
        // The newest is first; who is behind begins below what is known.
        for reply in reply.blocks.iter().rev().filter(|b| b.height.0 > known) {
            let Ok(block) = codec::decode::<Block>(&reply.canonical.0, codec::MAX_ENCODED_BYTES)
            else {
                return;
            };
            self.recent.push_back(Seen {
                height: block.header.height,
                time: block.header.time,
                proposer: block.header.proposer,
                voters: block.header.justify.signers,
            });
            while self.recent.len() > usize::try_from(WINDOW).expect("small") {
                self.recent.pop_front();
            }
        }
    }

    /// Blocks whose certificate is a real one: an epoch's first has none.
    fn certificates(&self) -> usize {
        let real = self.recent.iter().filter(|seen| seen.voters.count() > 0);
        real.count()
    }

    /// Mean time from block to block; none of fewer than two.
    pub(super) fn interval(&self) -> Option<Duration> {
        let (first, last) = (self.recent.front()?, self.recent.back()?);
        let blocks = last.height.0.checked_sub(first.height.0)?;
        let time = last.time.0.checked_sub(first.time.0)?;
        Some(Duration::from_nanos(time.checked_div(blocks)?))
    }
}

#[cfg(test)]
pub(super) mod samples {
    //! Surveys of a set of four, healthy and not.

    use super::*;
    use crate::testnet::tests::sample;
    use quorate_client::api::ValidatorReply;

    /// Four validators at work, as four endpoints.
    pub(crate) fn four() -> Survey {
        let genesis = sample();
        let chain = genesis.chain_id();
        let second = 1_000_000_000;
        let status = |index: u16| StatusReply {
            chain,
            name: genesis.name.clone(),
            version: String::from("0.1.0"),
            validator: format!("validator-{index}"),
            index: Some(index),
            ready: true,
            round: 5_000,
            leader: Some(1),
            height: Height(1_234),
            executed: Height(1_234),
            head_time: BlockTime(100 * second),
            now: BlockTime(100 * second + second / 4),
            peers_connected: 3,
            validators: 4,
            mempool_transactions: 7,
            mempool_bytes: 4_096,
            ..StatusReply::default()
        };
        let validators = (0..4u16).zip(&genesis.validators);
        let set = ValidatorsReply {
            epoch: 0,
            validators: validators
                .map(|(index, info)| ValidatorReply {
                    index,
                    name: info.name.clone(),
                    consensus_key: info.consensus_key,
                    network_key: info.network_key,
                    address: info.address.clone(),
                    connected: true,
                })
                .collect(),
        };
        let rows = (0..4).map(|index| Row {
            endpoint: format!("http://127.0.0.1:{}", 7651 + 10 * index),
            status: Ok(status(index)),
            round_trip: Duration::from_millis(1),
            skew_ns: 0,
            set: Some(set.clone()),
        });
        rejoin(Survey {
            chain,
            rows: rows.collect(),
            members: Vec::new(),
            certificates: 32,
        })
    }

    /// The same, after the rows were changed.
    pub(crate) fn rejoin(mut survey: Survey) -> Survey {
        survey.members = members(&survey.rows);
        for member in &mut survey.members {
            member.votes = 24;
            member.proposed = 8;
        }
        survey
    }

    /// The same, with these validators gone.
    pub(crate) fn without(mut survey: Survey, gone: &[u16]) -> Survey {
        for (index, row) in (0..).zip(&mut survey.rows) {
            if gone.contains(&index) {
                row.status = Err(Trouble::Silent(format!("{}: refused", row.endpoint)));
                row.set = None;
                continue;
            }
            for other in row.set.iter_mut().flat_map(|set| &mut set.validators) {
                other.connected = !gone.contains(&other.index);
            }
            if let Ok(status) = &mut row.status {
                status.peers_connected = 3 - u16::try_from(gone.len()).unwrap_or(3);
                status.ready = gone.len() < 2;
            }
        }
        let mut survey = rejoin(survey);
        for member in &mut survey.members {
            // Three of four are each needed; with fewer, the newest certificates are from before.
            member.votes = match (gone.len(), gone.contains(&member.index)) {
                (1, true) => 0,
                (1, false) => 32,
                _ => member.votes,
            };
        }
        survey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_validator_says_of_its_checks_is_bounded_and_text() {
        let said = CheckReply {
            check: String::from("\u{1b}[31mdisk\n"),
            reason: "x".repeat(1_000),
        };
        let shown: Vec<CheckReply> = readable(&vec![said; 100]).collect();
        assert_eq!(shown.len(), CHECKS);
        assert_eq!(shown[0].check, "[31mdisk");
        assert_eq!(shown[0].reason.len(), CHECK_TEXT);
    }
}
