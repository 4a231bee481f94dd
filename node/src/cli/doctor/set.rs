//! What can be wrong between the validators of a set, as a [`Survey`] shows it.

use std::time::Duration;

use quorate_client::api::{CheckReply, StatusReply};
use quorate_types::{Genesis, Parameters};

use super::{Finding, advice};
use crate::cli::survey::{Member, Survey, Trouble, readable};

/// Blocks that a validator may be behind without being of interest.
const BEHIND: u64 = 16;
/// A head that is older than the idle interval by this much stands still.
const STALLED: Duration = Duration::from_secs(5);

/// Everything that is found. The genesis tells names where no validator does.
pub(super) fn look(survey: &Survey, genesis: Option<&Genesis>) -> Vec<Finding> {
    let mut found = Vec::new();
    let parameters = genesis.map(|genesis| genesis.parameters.clone());
    let parameters = parameters.unwrap_or_default();
    look_at_endpoints(survey, &mut found);
    if survey.answers().next().is_none() {
        let message = "no validator of the profile answers";
        let action = "start them: nothing can be committed or read; check the profile's endpoints";
        found.push(Finding::problem("nobody_answers", message, action));
        return found;
    }
    look_at_links(survey, &mut found);
    look_at_clocks(survey, &parameters, &mut found);
    look_at_progress(survey, &parameters, &mut found);
    look_at_versions(survey, &mut found);
    found
}

fn look_at_endpoints(survey: &Survey, found: &mut Vec<Finding>) {
    for row in &survey.rows {
        match &row.status {
            Ok(_) => {}
            Err(Trouble::OtherChain(chain)) => {
                let message = format!(
                    "{} serves chain {chain}, the profile names {}",
                    row.endpoint, survey.chain
                );
                let action = "give it the genesis of this chain, or correct the profile";
                found.push(Finding::problem("wrong_genesis", message, action));
            }
            Err(Trouble::Silent(why)) => {
                let action = "start the validator there; or the profile is wrong, or the tcp port \
                     is closed by a firewall";
                found.push(Finding::problem("no_answer", why, action));
            }
            Err(Trouble::Other(why)) => {
                let message = format!("{}: {why}", row.endpoint);
                let action = "is that a validator of this release?";
                found.push(Finding::problem("strange_answer", message, action));
            }
        }
    }
}

/// Whether somebody else is connected to a member, or it is to others.
fn takes_part(survey: &Survey, member: &Member) -> bool {
    let alone = survey.status_of(member).filter(|s| s.peers_connected == 0);
    match alone {
        Some(_) => survey.size() == 1,
        None => member.row.is_some() || member.connected_from > 0,
    }
}

fn look_at_links(survey: &Survey, found: &mut Vec<Finding>) {
    for member in &survey.members {
        let (name, address) = (&member.name, &member.address);
        let missing = member.asked - member.connected_from;
        if missing == 0 {
            continue;
        }
        let of = format!("{missing} of {} others", member.asked);
        match survey.status_of(member) {
            // It answers clients: so the process is there, and the way to it is not.
            Some(_) => {
                let message = format!("{name} runs, and {of} are not connected to it");
                let action = format!(
                    "open {address} (udp) between the machines: a firewall, a wrong address in \
                     the genesis, or a wrong network key"
                );
                found.push(Finding::problem("not_connected", message, action));
            }
            None if member.connected_from == 0 => {
                let message = format!("{name} ({address}) is missing: nobody is connected to it");
                let action = "start it; if it runs, open its udp port, and ask its own operator \
                     for `quorate doctor --home`";
                found.push(Finding::problem("missing_validator", message, action));
            }
            None => {
                let message = format!("{of} are not connected to {name}");
                let action = format!("open {address} (udp) between those machines");
                found.push(Finding::warning("not_connected", message, action));
            }
        }
    }
}

fn look_at_clocks(survey: &Survey, parameters: &Parameters, found: &mut Vec<Finding>) {
    let drift = i128::from(parameters.max_clock_drift_ns);
    let measured = survey.rows.iter().filter_map(|row| {
        let status = row.status.as_ref().ok()?;
        let uncertain = i128::try_from(row.round_trip.as_nanos() / 2).unwrap_or(i128::MAX);
        Some((&status.validator, row.skew_ns, uncertain))
    });
    let mut sorted: Vec<i128> = measured.clone().map(|(_, skew, _)| skew).collect();
    sorted.sort_unstable();
    let Some(middle) = sorted.get(sorted.len() / 2).copied() else {
        return;
    };
    let seconds = |ns: i128| ns as f64 / 1e9;
    for (name, skew, uncertain) in measured {
        let off = skew - middle;
        if off.abs() > drift + uncertain {
            let word = if off > 0 { "ahead of" } else { "behind" };
            let message = format!(
                "the clock of {name} is {:.1} s {word} the others'; {:.1} s are tolerated",
                seconds(off.abs()),
                seconds(drift)
            );
            let action = "set it by NTP; then restart nothing, it recovers by itself";
            found.push(Finding::problem("wrong_clock", message, action));
        }
    }
    if middle.abs() > drift + i128::from(PATIENCE_NS) {
        let message = format!(
            "this machine's clock is {:.1} s off the validators'",
            seconds(middle.abs())
        );
        let action = "set it by NTP, or transactions signed here may be refused as expired";
        found.push(Finding::warning("own_clock", message, action));
    }
}

/// Uncertainty of this machine's comparison that is let pass, in nanoseconds.
const PATIENCE_NS: u64 = 1_000_000_000;

fn look_at_progress(survey: &Survey, parameters: &Parameters, found: &mut Vec<Finding>) {
    let present: Vec<&Member> = survey
        .members
        .iter()
        .filter(|member| takes_part(survey, member))
        .collect();
    let (n, quorum) = (survey.size(), survey.quorum());
    if n > 0 && present.len() < quorum {
        let missing = survey.members.iter().filter(|m| !takes_part(survey, m));
        let missing: Vec<&str> = missing.map(|member| member.name.as_str()).collect();
        let message = format!(
            "nothing commits: {} of {n} validators take part, a quorum is {quorum}; missing: {}",
            present.len(),
            missing.join(", ")
        );
        let more = quorum - present.len();
        let action = format!("bring {more} of them back; everything goes on by itself then");
        found.push(Finding::problem("no_quorum", message, action));
    }
    let idle = Duration::from_nanos(parameters.idle_interval_ns);
    let age = survey.head_age().unwrap_or_default();
    if age > idle + STALLED && present.len() >= quorum {
        let message = format!(
            "the newest block is {:.0} s old, although a quorum is there",
            age.as_secs_f64()
        );
        let action = "look at clocks and disks of the validators below, and at their logs for \
             `round timed out`";
        found.push(Finding::problem("head_stands_still", message, action));
    }
    for member in &survey.members {
        let Some(status) = survey.status_of(member) else {
            continue;
        };
        let behind = survey.head().map_or(0, |head| head.above(status.height));
        if behind > BEHIND {
            let message = format!("{} is {behind} blocks behind", member.name);
            let action = "it catches up by itself; if it does not: its disk, its connections, \
                 `quorate doctor --home` on its machine";
            found.push(Finding::warning("behind", message, action));
        }
        look_at_readiness(
            member,
            status,
            behind > BEHIND,
            present.len() < quorum,
            found,
        );
    }
    for status in survey.answers().filter(|status| status.index.is_none()) {
        let message = format!("{:?} observes: its key is not in the set", status.validator);
        let action = "give it the keys of its validator, if it should vote";
        found.push(Finding::warning("observer", message, action));
    }
}

/// Its failing checks, unless a finding about the set says the same already.
fn look_at_readiness(
    member: &Member,
    status: &StatusReply,
    behind: bool,
    no_quorum: bool,
    found: &mut Vec<Finding>,
) {
    let name = &member.name;
    if !status.ready && status.failing.is_empty() && !behind {
        let message = format!("{name} says that it is not ready");
        let action = "its /readyz?verbose names the reason, and so does `quorate doctor --home` \
             on its machine";
        found.push(Finding::problem("not_ready", message, action));
    }
    let told = |check: &str| match check {
        "caught-up" => behind,
        // Who starts into a set without a quorum has nobody to be answered by.
        "quorum-connected" | "head-moves" | "fence-passed" => no_quorum,
        _ => false,
    };
    for failing in readable(&status.failing).filter(|failing| !told(&failing.check)) {
        let CheckReply { check, reason } = failing;
        let message = format!("{name} is not ready, {check} fails: {reason}");
        found.push(Finding::problem("not_ready", message, advice(&check)));
    }
}

fn look_at_versions(survey: &Survey, found: &mut Vec<Finding>) {
    let mut versions: Vec<(&str, &str)> = survey
        .answers()
        .map(|status| (status.version.as_str(), status.validator.as_str()))
        .collect();
    versions.sort_unstable();
    let (Some(first), Some(last)) = (versions.first(), versions.last()) else {
        return;
    };
    if first.0 != last.0 {
        let each: Vec<String> = versions
            .iter()
            .map(|(v, name)| format!("{name} {v}"))
            .collect();
        let message = format!("different releases run: {}", each.join(", "));
        let action = "finish the upgrade; releases are compatible unless their notes say otherwise";
        found.push(Finding::warning("mixed_versions", message, action));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;
    use crate::cli::survey::samples::{four, rejoin, without};

    /// The codes of what is found and what the messages say.
    fn found(survey: &Survey) -> (Vec<&'static str>, String) {
        let findings = look(survey, None);
        let text = findings
            .iter()
            .map(|f| f.message.clone())
            .collect::<Vec<_>>();
        assert!(findings.iter().all(|f| !f.action.is_empty()));
        (findings.iter().map(|f| f.code).collect(), text.join("\n"))
    }

    /// A healthy set in which one validator's answer is changed.
    fn with(index: usize, change: impl Fn(&mut quorate_client::api::StatusReply)) -> Survey {
        let mut survey = four();
        if let Ok(status) = &mut survey.rows[index].status {
            change(status);
        }
        rejoin(survey)
    }

    fn fail(status: &mut StatusReply, check: &str, reason: &str) {
        status.ready = false;
        let (check, reason) = (check.to_owned(), reason.to_owned());
        status.failing.push(CheckReply { check, reason });
    }

    #[test]
    fn a_check_that_the_set_explains_is_not_said_again() {
        let late = with(3, |status| {
            status.height.0 -= 100;
            fail(status, "caught-up", "100 blocks are missing");
            fail(status, "state-agrees", "a quorum certified another state");
        });
        let (codes, text) = found(&late);
        assert_eq!(codes, ["behind", "not_ready"]);
        assert!(text.contains("state-agrees"), "{text}");
        let mut alone = without(four(), &[1, 3]);
        for row in &mut alone.rows {
            if let Ok(status) = &mut row.status {
                fail(status, "quorum-connected", "2 are connected");
                fail(status, "head-moves", "no commit for 9 s");
                fail(status, "fence-passed", "it asks the others");
            }
        }
        let (codes, _) = found(&alone);
        assert!(codes.contains(&"no_quorum"), "{codes:?}");
        assert!(!codes.contains(&"not_ready"), "{codes:?}");
    }

    #[test]
    fn nothing_is_found_in_a_healthy_set() {
        assert_eq!(found(&four()).0, Vec::<&str>::new());
    }

    #[test]
    fn a_missing_validator_is_named_and_two_are_why_nothing_commits() {
        let (codes, text) = found(&without(four(), &[3]));
        assert_eq!(codes, ["no_answer", "missing_validator"]);
        assert!(
            text.contains("validator-3 (127.0.0.1:7680) is missing"),
            "{text}"
        );
        let (codes, text) = found(&without(four(), &[1, 3]));
        assert!(codes.contains(&"no_quorum"), "{codes:?}");
        assert!(text.contains("missing: validator-1, validator-3"), "{text}");
        let (codes, _) = found(&without(four(), &[0, 1, 2, 3]));
        assert!(codes.contains(&"nobody_answers"), "{codes:?}");
    }

    #[test]
    fn a_closed_port_between_validators_is_told_from_a_stopped_one() {
        let mut survey = four();
        for (at, row) in survey.rows.iter_mut().enumerate() {
            for other in row.set.iter_mut().flat_map(|set| &mut set.validators) {
                other.connected = (other.index == 2) == (at == 2);
            }
        }
        if let Ok(status) = &mut survey.rows[2].status {
            status.peers_connected = 0;
        }
        let (codes, text) = found(&rejoin(survey));
        assert!(codes.contains(&"not_connected"), "{codes:?}");
        assert!(
            text.contains("validator-2 runs, and 3 of 3 others"),
            "{text}"
        );
    }

    #[test]
    fn another_chain_is_named() {
        let mut survey = four();
        survey.rows[1].status = Err(Trouble::OtherChain(String::from("abc")));
        survey.rows[1].set = None;
        let (codes, text) = found(&rejoin(survey));
        assert_eq!(codes, ["wrong_genesis"]);
        assert!(text.contains("serves chain abc"), "{text}");
    }

    #[test]
    fn an_answer_that_is_no_validators_is_named() {
        let mut survey = four();
        survey.rows[1].status = Err(Trouble::Other(String::from("HTTP status 301")));
        survey.rows[1].set = None;
        let (codes, text) = found(&rejoin(survey));
        assert_eq!(codes, ["strange_answer"]);
        assert!(text.contains(":7661: HTTP status 301"), "{text}");
    }

    #[test]
    fn clocks_are_compared_with_the_others() {
        let mut survey = four();
        survey.rows[2].skew_ns = 3_000_000_000;
        let (codes, text) = found(&survey);
        assert_eq!(codes, ["wrong_clock"]);
        assert!(
            text.contains("the clock of validator-2 is 3.0 s ahead"),
            "{text}"
        );
        survey = four();
        survey
            .rows
            .iter_mut()
            .for_each(|row| row.skew_ns = -9_000_000_000);
        assert_eq!(found(&survey).0, ["own_clock"]);
    }

    #[test]
    fn who_is_behind_not_ready_or_of_another_release_is_named() {
        let late = with(3, |status| status.height.0 -= 100);
        assert!(found(&late).1.contains("validator-3 is 100 blocks behind"));
        let unready = with(1, |status| status.ready = false);
        assert_eq!(found(&unready).0, ["not_ready"]);
        let full = with(1, |status| fail(status, "disk-has-room", "7 MiB are free"));
        let findings = look(&full, None);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let text = "validator-1 is not ready, disk-has-room fails: 7 MiB are free";
        assert_eq!(findings[0].message, text);
        assert!(findings[0].action.starts_with("make room"), "{findings:?}");
        let fenced = with(1, |status| {
            fail(status, "fence-passed", "it asks the others")
        });
        let findings = look(&fenced, None);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let action = &findings[0].action;
        assert!(action.contains("RECOVERY.md"), "{findings:?}");
        let old = with(0, |status| status.version = String::from("0.0.9"));
        let (codes, text) = found(&old);
        assert_eq!(codes, ["mixed_versions"]);
        assert!(text.contains("validator-0 0.0.9"), "{text}");
        let observer = with(2, |status| status.index = None);
        assert!(found(&observer).0.contains(&"observer"));
        let still = {
            let mut survey = four();
            for row in &mut survey.rows {
                if let Ok(status) = &mut row.status {
                    status.now.0 += 60_000_000_000;
                }
            }
            survey
        };
        assert_eq!(found(&still).0, ["head_stands_still"]);
        let problems = look(&still, None);
        assert_eq!(problems[0].severity, Severity::Problem);
    }
}
