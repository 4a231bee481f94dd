//! Writes down everything that the validators sign in consensus, over all their starts, and notices a contradiction.
//!
//! A validator that is started at [`LEVEL`] logs each signature before it is sent, into a file that neither a kill nor a
//! power cut touches. So nobody can have received a signature that is not here, and it does not matter what the validators
//! themselves remember or notice.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::Cluster;

/// The setting `log.level` under which a validator tells what it signs.
pub const LEVEL: &str = "info,quorate_node::signed=trace";

/// Epoch and number.
type Round = (u64, u64);

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Observer {
    validators: BTreeMap<usize, Signed>,
}

/// What one validator has signed.
#[derive(Debug, Default)]
struct Signed {
    /// Bytes of its log that were read.
    read: u64,
    /// The block, by kind and round.
    blocks: BTreeMap<(String, Round), String>,
    /// The highest round by kind.
    highest: BTreeMap<String, Round>,
    count: u64,
}

impl Observer {
    /// Reads on; returns the number of votes, commit votes, proposals and timeouts so far, each counted once.
    ///
    /// # Panics
    /// If a validator signed two blocks in a round (I1), or voted in a round that it had left (V3, C2).
    pub fn look(&mut self, cluster: &Cluster) -> u64 {
        for i in 0..cluster.size() {
            let signed = self.validators.entry(i).or_default();
            let text = cluster.log_from(i, signed.read);
            // The last line may still be on its way.
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            signed.read += u64::try_from(whole).expect("a log fits into memory");
            for line in text[..whole].lines().filter(|line| is_signature(line)) {
                // A kill may cut a line off: what it tells of was never sent.
                if let Ok(line) = serde_json::from_str(line)
                    && let Err(why) = signed.add(&line)
                {
                    panic!("validator {i} {why}: {line}");
                }
            }
        }
        self.validators.values().map(|signed| signed.count).sum()
    }

    /// Of these, one validator's.
    #[must_use]
    pub fn of(&self, i: usize) -> u64 {
        self.validators.get(&i).map_or(0, |signed| signed.count)
    }
}

fn is_signature(line: &str) -> bool {
    line.contains("\"target\":\"quorate_node::signed\"")
}

impl Signed {
    /// One more; or what is wrong with it.
    fn add(&mut self, line: &Value) -> Result<(), &'static str> {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let (kind, round, block) = (text("kind"), round(&text("round")), text("block"));
        let key = (kind.clone(), round);
        if let Some(before) = self.blocks.get(&key) {
            // What was signed may be sent again.
            return match *before == block {
                true => Ok(()),
                false => Err("signed two blocks in a round"),
            };
        }
        let highest = |kind: &str| self.highest.get(kind).copied();
        let passed = |kind: &str| highest(kind) >= Some(round);
        match kind.as_str() {
            "vote" | "proposal" if passed(&kind) => return Err("went back to a round"),
            "vote" | "commit_vote" if passed("timeout") => {
                return Err("voted in a round it gave up");
            }
            _ => {}
        }
        self.highest
            .insert(kind, highest(&key.0).max(Some(round)).unwrap_or(round));
        self.blocks.insert(key, block);
        self.count += 1;
        Ok(())
    }
}

fn round(text: &str) -> Round {
    let parts = text.split_once('/');
    let number = |text: &str| text.parse().ok();
    let round = parts.and_then(|(epoch, round)| number(epoch).zip(number(round)));
    round.expect("a round is written as epoch/number")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn after(lines: &[(&str, &str, &str)]) -> Result<(), &'static str> {
        let mut signed = Signed::default();
        let add = |(kind, round, block): &(&str, &str, &str)| {
            signed.add(&json!({ "kind": kind, "round": round, "block": block }))
        };
        lines.iter().try_for_each(add)
    }

    #[test]
    fn a_round_has_one_vote() {
        assert_eq!(after(&[("vote", "0/7", "a"), ("vote", "0/7", "a")]), Ok(()));
        let second = after(&[("vote", "0/7", "a"), ("vote", "0/7", "b")]);
        assert_eq!(second, Err("signed two blocks in a round"));
        let other = after(&[("commit_vote", "0/7", "a"), ("vote", "0/7", "b")]);
        assert_eq!(other, Ok(()), "of another kind");
    }

    #[test]
    fn nobody_goes_back() {
        let vote = after(&[("vote", "0/10", "a"), ("vote", "0/9", "b")]);
        assert_eq!(vote, Err("went back to a round"));
        let proposal = after(&[("proposal", "0/10", "a"), ("proposal", "0/9", "b")]);
        assert_eq!(proposal, Err("went back to a round"));
        let late = after(&[("commit_vote", "0/10", "a"), ("commit_vote", "0/9", "b")]);
        assert_eq!(late, Ok(()), "commit votes come in any order");
    }

    #[test]
    fn a_round_that_was_given_up_gets_no_vote() {
        let vote = after(&[("timeout", "0/7", ""), ("vote", "0/7", "a")]);
        assert_eq!(vote, Err("voted in a round it gave up"));
        let commit = after(&[("timeout", "0/7", ""), ("commit_vote", "0/6", "a")]);
        assert_eq!(commit, Err("voted in a round it gave up"));
        let next = after(&[("timeout", "0/7", ""), ("vote", "0/8", "a")]);
        assert_eq!(next, Ok(()));
    }
}
