//! What of a kind is among the effects of a step.

use quorate_consensus::{Authorised, Effect, Target};
use quorate_types::evidence::EvidenceKind;
use quorate_types::{BlockId, Height, Message, Reject, Round, SafetyRecord, ValidatorIndex};

pub(crate) fn refused(effects: &[Effect]) -> Vec<Reject> {
    let reject = |effect: &Effect| match effect {
        Effect::Refused { reject, .. } => Some(*reject),
        _ => None,
    };
    effects.iter().filter_map(reject).collect()
}

pub(crate) fn refused_and_no_vote(effects: &[Effect]) -> Vec<Reject> {
    assert_eq!(voted(effects), None);
    refused(effects)
}

pub(crate) fn voted(effects: &[Effect]) -> Option<BlockId> {
    effects.iter().find_map(|effect| match effect {
        Effect::Sign(Authorised::Vote(vote)) => Some(vote.peek().block),
        _ => None,
    })
}

pub(crate) fn commit_voted(effects: &[Effect]) -> Option<BlockId> {
    effects.iter().find_map(|effect| match effect {
        Effect::Sign(Authorised::CommitVote(vote)) => Some(vote.peek().block),
        _ => None,
    })
}

pub(crate) fn timed_out(effects: &[Effect]) -> Option<Round> {
    effects.iter().find_map(|effect| match effect {
        Effect::Sign(Authorised::Timeout(timeout)) => Some(timeout.peek().round),
        _ => None,
    })
}

pub(crate) fn committed(effects: &[Effect]) -> Vec<Height> {
    let heights = |effect: &Effect| match effect {
        Effect::Commit { blocks, .. } => blocks.iter().map(|b| b.header.height).collect(),
        _ => Vec::new(),
    };
    effects.iter().flat_map(heights).collect()
}

pub(crate) fn saved(effects: &[Effect]) -> Option<&SafetyRecord> {
    match effects.first() {
        Some(Effect::Save(record)) => Some(record),
        _ => None,
    }
}

pub(crate) fn evidence(effects: &[Effect]) -> Vec<(EvidenceKind, ValidatorIndex)> {
    let case = |effect: &Effect| match effect {
        Effect::Evidence(evidence) => Some((evidence.kind, evidence.signer)),
        _ => None,
    };
    effects.iter().filter_map(case).collect()
}

pub(crate) fn fetched(effects: &[Effect]) -> Vec<BlockId> {
    let block = |effect: &Effect| match effect {
        Effect::Fetch { block, .. } => Some(*block),
        _ => None,
    };
    effects.iter().filter_map(block).collect()
}

pub(crate) fn sent(effects: &[Effect], to: Target) -> Vec<&Message> {
    let message = |effect: &'_ Effect| matches!(effect, Effect::Send { to: at, .. } if *at == to);
    effects
        .iter()
        .filter(|effect| message(effect))
        .map(|effect| match effect {
            Effect::Send { message, .. } => &**message,
            _ => unreachable!("filtered"),
        })
        .collect()
}
