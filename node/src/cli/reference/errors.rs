//! `docs/reference/errors.md`: every code that a program may match.

use std::fmt::Write as _;

use quorate_client::api::{REJECTIONS, rejection_code};

use crate::cli::doctor::FINDINGS;
use crate::exit::ExitStatus;
use crate::http::CODES;

pub(super) fn page() -> String {
    let mut text = String::from(
        "# Statuses and codes\n\nWritten from the code by a test (`node/tests/it/cli.rs`; `QUORATE_BLESS=1` writes it anew). All of them are stable: match\n\
         these, not the words beside them.\n\n## Exit statuses\n\nOf every verb. The message on standard error says what happened, the line `hint:` what next.\n\n\
         | status | meaning | again? |\n|---|---|---|\n",
    );
    for status in ExitStatus::ALL {
        let (meaning, again) = status.meaning();
        let _ = writeln!(text, "| {} | {meaning} | {again} |", status.code());
    }
    text.push_str(
        "\nCtrl-C ends a verb where it is, and a shell shows 130 (SIGTERM: 143). Those that write for a while (`backup`, `restore`, `fork`, `replay`,\n\
         `diff-state`) first remove what they made (1), `start` drains (0). What `backup`, `restore`, `fork` and `snapshot create`\n\
         make gets its name when it is whole.\n",
    );
    text.push_str(
        "\n## Problems of the HTTP API\n\n`code` of an `application/problem+json` document; its `type` is `urn:quorate:problem:` and the code\n\
         ([API.md](../API.md#problems) says when each is answered). *Again* means the same bytes: they are executed at most once.\n\n\
         | code | status | title | again? |\n|---|---|---|---|\n",
    );
    let mut codes = CODES.to_vec();
    codes.sort_by_key(|(code, status, _)| (*status, *code));
    for (code, status, title) in codes {
        let _ = writeln!(
            text,
            "| `{code}` | {status} | {title} | {} |",
            again(code, status)
        );
    }
    text.push_str(
        "\n## Rejections\n\n`code` of a receipt whose `outcome` is `rejected`: the transaction has its place in the ledger, and did nothing. Commands are\n\
         counted from 0. What is not for good may be executed yet, or was before, and has exit status 4: when to sign another one says\n\
         [API.md](../API.md#submitting).\n\n| code | reason | for good? |\n|---|---|---|\n",
    );
    for rejection in REJECTIONS {
        let good = if rejection.is_final() { "yes" } else { "no" };
        let _ = writeln!(
            text,
            "| `{}` | {rejection} | {good} |",
            rejection_code(rejection)
        );
    }
    text.push_str(
        "\n## Findings of the doctor\n\n`code` of `quorate doctor --output json`. With each it says what was seen, and what to do.\n\n\
         | code | found | meaning |\n|---|---|---|\n",
    );
    for (code, place, meaning) in FINDINGS {
        let _ = writeln!(text, "| `{code}` | {place} | {meaning} |");
    }
    text
}

/// Whether the same request may do better later, or elsewhere.
fn again(code: &str, status: u16) -> &'static str {
    match (code, status) {
        ("unknown_height" | "unknown_transaction", _) => "it may come yet",
        ("too_far_ahead", _) => "later: the outcome is open",
        (_, 409) => "soon",
        (_, 429) => "after `Retry-After`, or at another validator",
        (_, 500) => "at another validator",
        (_, 503) => "at another validator, or later",
        (_, 504) => "yes: the outcome is open",
        _ => "no",
    }
}
