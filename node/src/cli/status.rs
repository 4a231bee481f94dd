//! `quorate status`.

use std::io::{self, Write as _};

use quorate_client::api::StatusReply;
use serde_json::{Value, json};

use super::OutputFlag;
use super::context::{Context, runtime};
use super::survey::{Member, Row, Survey, Window, readable};
use crate::exit::{ExitStatus, Failure};

/// Shows how the validators of the profile are: who answers, who is
/// connected, who votes, who is behind. Exit status 4 if none answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate --profile net/client.toml status
  quorate --profile net/client.toml status --output json

behind  blocks that the furthest one has and it has not
peers   others that it is connected to, of those that it should be
seen    others that answer and are connected to it
votes   of the newest 32 certificates, how many hold its vote; a
        certificate holds exactly a quorum, so nobody's is in all")]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

impl Status {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let client = context.client()?;
        let mut window = Window::default();
        let survey = runtime()?.block_on(Survey::take(&client, &mut window));
        context
            .print
            .result(&json_of(&survey), |out| text(out, &survey))?;
        match survey.answers().next() {
            Some(_) => Ok(ExitStatus::Done),
            None => Err(nobody(&survey)),
        }
    }
}

fn nobody(survey: &Survey) -> Failure {
    let mut troubles = survey
        .rows
        .iter()
        .filter_map(|row| row.status.as_ref().err());
    let last = troubles
        .next_back()
        .map(ToString::to_string)
        .unwrap_or_default();
    Failure::new(
        ExitStatus::Unavailable,
        format!("no validator answered: {last}"),
    )
    .hint("quorate doctor tells why")
}

fn behind(survey: &Survey, status: &StatusReply) -> u64 {
    survey.head().map_or(0, |head| head.above(status.height))
}

fn json_of(survey: &Survey) -> Value {
    let best = survey.best();
    let members = survey.members.iter().map(|member| {
        let status = survey.status_of(member);
        json!({
            "index": member.index, "name": member.name, "address": member.address,
            "endpoint": member.row.map(|row| &survey.rows[row].endpoint),
            "behind": status.map(|status| behind(survey, status)),
            "connected_from": member.connected_from, "asked": member.asked,
            "votes": member.votes, "proposed": member.proposed, "status": status,
        })
    });
    let endpoints = survey.rows.iter().map(|row| {
        json!({
            "endpoint": row.endpoint, "error": row.status.as_ref().err().map(ToString::to_string),
            "validator": row.status.as_ref().ok().map(|status| &status.validator),
            "round_trip_ms": row.round_trip.as_secs_f64() * 1e3,
        })
    });
    json!({
        "chain": survey.chain.to_string(),
        "name": best.map(|status| &status.name),
        "height": survey.head(),
        "head_age_ms": survey.head_age().map(|age| age.as_secs_f64() * 1e3),
        "leader": best.and_then(|status| status.leader),
        "quorum": survey.quorum(), "certificates": survey.certificates,
        "validators": members.collect::<Vec<_>>(),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn text(out: &mut Vec<u8>, survey: &Survey) -> io::Result<()> {
    if let Some(best) = survey.best() {
        let leader = best.leader.map(|index| survey.name(index));
        writeln!(out, "chain   {}", best.name)?;
        writeln!(out, "id      {}", survey.chain)?;
        let age = survey.head_age().unwrap_or_default().as_secs_f64();
        writeln!(out, "height  {}, {age:.1} s old", best.height)?;
        let leader = leader.as_deref().unwrap_or("unknown");
        writeln!(out, "round   {}, leader {leader}", best.round)?;
        let (size, quorum) = (survey.size(), survey.quorum());
        writeln!(out, "set     {size} validators; a quorum is {quorum}")?;
        writeln!(
            out,
            "\n{:<20} {:>9} {:>6} {:>7} {:>5} {:>5} {:>6} {:>7}  ready",
            "validator", "height", "behind", "round", "peers", "seen", "votes", "version"
        )?;
    }
    for member in &survey.members {
        line(out, survey, member)?;
    }
    for member in &survey.members {
        if member.row.is_none() && survey.all_answered() {
            writeln!(out, "no endpoint of the profile is {}'s", member.name)?;
        }
        let failing = survey.status_of(member).map_or(&[][..], |s| &s.failing);
        for check in readable(failing) {
            let (name, what) = (&member.name, check.check);
            writeln!(
                out,
                "{name} is not ready, {what} fails:\n    {}",
                check.reason
            )?;
        }
    }
    for Row {
        endpoint, status, ..
    } in &survey.rows
    {
        if let Err(trouble) = status {
            writeln!(out, "{endpoint}: {trouble}")?;
        }
        if let Some(transfer) = status.as_ref().ok().and_then(|status| status.transfer) {
            let left = transfer.remaining_seconds;
            let left = left.map_or_else(|| String::from("?"), |left| left.to_string());
            let (height, here, all) = (transfer.height, transfer.bytes, transfer.bytes_total);
            writeln!(
                out,
                "{endpoint}: fetches the snapshot of height {height}: {here} of {all} bytes, {left} s left"
            )?;
        }
    }
    Ok(())
}

fn line(out: &mut Vec<u8>, survey: &Survey, member: &Member) -> io::Result<()> {
    let name: String = member.name.chars().take(20).collect();
    let seen = format!("{}/{}", member.connected_from, member.asked);
    let votes = format!("{}/{}", member.votes, survey.certificates);
    match survey.status_of(member) {
        Some(s) => writeln!(
            out,
            "{name:<20} {:>9} {:>6} {:>7} {:>5} {seen:>5} {votes:>6} {:>7}  {}",
            s.height.0,
            behind(survey, s),
            s.round,
            format!("{}/{}", s.peers_connected, s.validators.saturating_sub(1)),
            s.version,
            if s.ready { "yes" } else { "NO" },
        ),
        None => {
            let dash = "-";
            let word = match survey.all_answered() {
                true => dash,
                false => "silent",
            };
            writeln!(
                out,
                "{name:<20} {dash:>9} {dash:>6} {dash:>7} {dash:>5} {seen:>5} {votes:>6} {dash:>7}  {word}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::api::CheckReply;

    use super::super::survey::samples::{four, rejoin, without};
    use super::*;

    fn shown(survey: &Survey) -> String {
        let mut out = Vec::new();
        text(&mut out, survey).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        text
    }

    #[test]
    fn who_is_silent_is_told_from_who_was_not_asked() {
        let mut survey = four();
        survey.rows.pop();
        let text = shown(&rejoin(survey));
        assert!(
            text.contains("no endpoint of the profile is validator-3's"),
            "{text}"
        );
        assert!(!text.contains("silent"), "{text}");
        let text = shown(&without(four(), &[3]));
        assert!(
            text.contains("silent") && !text.contains("no endpoint"),
            "{text}"
        );
    }

    #[test]
    fn why_a_validator_is_not_ready_is_said() {
        let mut survey = four();
        if let Ok(status) = &mut survey.rows[2].status {
            status.ready = false;
            status.failing = vec![CheckReply {
                check: String::from("disk-has-room"),
                reason: String::from("7 MiB are free"),
            }];
        }
        let text = shown(&rejoin(survey));
        let said = "validator-2 is not ready, disk-has-room fails:\n    7 MiB are free\n";
        assert!(text.contains(said), "{text}");
    }
}
