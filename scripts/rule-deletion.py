#!/usr/bin/env python3
"""Deletes the source of one rule after the other in a scratch copy, and shows that the tests of the crates concerned go
red each time: what can be deleted unnoticed is not tested.

    scripts/rule-deletion.py [RULE...]        all of them without arguments; --list names them

Places are found by their text. A text that is found more or less often than expected is an error, so that this never
passes by looking in the wrong place, and so is a deletion that does not compile. Copy and builds are in the directory
`rules` of cargo's target directory, and none of it is taken for a build of this checkout. No crate here needs RocksDB.
"""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
# The same place each time, so that cargo finds what it built before; not this checkout's, whose crates have the same names
# for cargo: it would take a build without a rule for one of theirs.
SCRATCH, BUILDS = TARGET / "rules" / "source", TARGET / "rules" / "target"

SAFETY, VOTING = "consensus/src/safety.rs", "consensus/src/engine/voting.rs"
CERTIFY, FETCH = "consensus/src/engine/certify.rs", "replica/src/fetch.rs"
EQUATION = "crypto/src/equation.rs"

# Rule; its places: file, text, how often it is there, what comes instead (nothing, except where a part of a statement
# goes); crates whose tests must notice. A statement that opens a block goes with it. V3 and C2 are asked in two places,
# one of which only saves work: both go.
RULES = [
    ("ZIP-215-cofactor", [(EQUATION, ".mul_by_cofactor()", 1, "")], "crypto"),
    ("ZIP-215-order", [(EQUATION, "s: Option::from(Scalar::from_canonical_bytes(s))?,", 1, "s: Scalar::from_bytes_mod_order(s),")], "crypto"),
    ("ZIP-215-key", [(EQUATION, ".map(|(signed, &key)| keys[key].and_then(|_| Term::new(signed, key)))", 1, ".map(|(signed, &key)| Term::new(signed, key))")], "crypto"),
    ("batch-content", [(EQUATION, ".update(signed.signature.as_bytes())", 1, "")], "crypto"),
    ("V2-parent", [("types/src/block.rs", "if !certified || self.justify.round >= self.round {", 1, "")], "types consensus"),
    ("V2-gap", [("types/src/block.rs", "if skips && self.tc.is_none()", 1, "")], "types consensus"),
    ("V2-tc-round", [("types/src/proposal.rs", "let stale = tc.round.next() != header.round", 1, "let stale = false;")], "types consensus"),
    ("V2-lock", [("types/src/proposal.rs", "let locked = self.qc.round < tc.high_qc.round", 1, "let locked = false;")], "types consensus"),
    (
        "V3",
        [
            (SAFETY, "if round != self.record.round || !self.may_vote() {", 1, ""),
            (VOTING, "if !self.safety.may_vote() {", 1, ""),
        ],
        "consensus",
    ),
    (
        "C2",
        [
            (SAFETY, "if qc.round <= self.record.highest_timeout", 1, ""),
            (VOTING, "let mut above = signed.max(self.safety.highest_timeout());", 1, "let mut above = signed;"),
        ],
        "consensus",
    ),
    ("P2", [(SAFETY, "Mutant::CertificateNotRecorded);", 2, "")], "consensus"),
    ("P5-said-again", [(SAFETY, "!self.fenced && self.burnt.is_none_or(", 1, "true")], "consensus"),
    ("T1-repeat", [(CERTIFY, "Some(message) => self.send(Target::All, message),", 1, "Some(_) => {}")], "consensus"),
    (
        "T1-hints",
        [
            (
                CERTIFY,
                "if let Some(vote) = lost.map(|vote| vote.without_hints()) {",
                1,
                "if let Some(vote) = lost.map(|vote| (**vote).clone()) { self.send(Target::All, Message::CommitVote(vote)); }",
            )
        ],
        "consensus",
    ),
    ("T2-limit", [(CERTIFY, "if lately && ", 1, "")], "consensus"),
    (
        "denial-pause",
        [
            (FETCH, "want.due = now.plus_nanos(if alone", 1, "want.due = now;"),
            (FETCH, "self.due = now.plus_nanos(PAUSE_NANOS);", 1, ""),
        ],
        "replica",
    ),
    ("stretch-from-tip", [("replica/src/commit.rs", "if known && ", 1, "")], "replica"),
    ("batch-fetch", [("replica/src/payload.rs", "self.want_batches(turn, block, &missing);", 1, "")], "replica"),
    ("P1-held", [("replica/src/replica.rs", "self.pool.holds(&id) || ", 1, "blocks.any(|block| block.batches.contains(&id))")], "replica"),
    ("stale-batches", [("replica/src/commit.rs", "ledger::remove_stale_batches(", 1, "")], "replica"),
    ("blocks-beside", [("replica/src/transfer.rs", "fetching.from.count() > faulty", 1, "Phase::Fetching(_) => true,")], "replica"),
    (
        "X1-head-last",
        [("execution/src/session.rs", "for (key, _) in records.into_iter().filter(|(key, _)| *key != head) {", 1,
          "for (key, _) in records { state.set(key, None); }")],
        "execution",
    ),
    ("X1-needed", [("execution/src/session.rs", "if head.is_some_and(|head| head.bucket >= bucket) {", 1, "")], "execution"),
    ("cost-hidden", [("execution/src/overlay.rs", "None => pay(Passed::Deleted(key.len())),", 1, "None => Ok(()),")], "execution"),
    ("cost-block", [("execution/src/block.rs", "Err((_, CommandError::Cost(_))) if others => {", 1, "")], "execution"),
    ("cost-others", [("execution/src/block.rs", "|| (self.cost > 0 && meter.has_passed_deleted());", 1, ";")], "execution"),
    (
        "place-passes",
        [("execution/src/block.rs", "return Ok(!self.receipts[index].outcome.passes());", 1, "return Ok(true);"),
         ("execution/src/block.rs", "Ok(!receipt.outcome.passes())", 1, "Ok(true)")],
        "execution",
    ),
    ("next-final", [("replica/src/serve.rs", "self.name_next_final(turn, from, request.from)?;", 1, "")], "replica"),
    ("lag-truncation", [("storage/src/ledger/truncate.rs", "step.writes.settle();", 1, "")], "replica"),
    ("lag-install", [("replica/src/transfer.rs", "writes.settle();", 1, "")], "replica"),
    ("lag-roots", [("replica/src/lag.rs", "if ledger::roots(view, height)? != Some(executed.roots) {", 1, "")], "replica"),
    ("L4-tc", [("consensus/src/engine/propose.rs", "&& matches!(self.safety.entry(), Entry::Qc(_))", 1, "")], "consensus"),
    (
        "L4-next-turn",
        [("consensus/src/engine/propose.rs", "true => self.pacemaker.awaits_next_turn(),", 1, "true => false,")],
        "consensus",
    ),
    ("B1-vote", [("replica/src/replica.rs", "if turn.votes() {", 1, "")], "replica"),
    ("B2-reports", [("replica/src/replica.rs", "self.note_held(from, vote.voter, &vote.held);", 2, "")], "replica"),
    ("B2-relayed", [("replica/src/replica.rs", "if voter == from {", 1, "self.pool.on_held(voter, held);")], "replica"),
    ("session", [("execution/src/block.rs", "if let Standing::Known { height, index } = standing {", 1, "")], "execution"),
]


def without(text: str, anchor: str, count: int, instead: str) -> str:
    lines = text.splitlines(keepends=True)
    places = [at for at, line in enumerate(lines) if anchor in line]
    if len(places) != count:
        sys.exit(f"rule-deletion: {anchor!r} is there {len(places)} times, not {count}")
    for at in reversed(places):
        end = at
        if lines[at].rstrip().endswith("{"):
            indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
            while lines[end].rstrip("\n") != indent + "}":
                end += 1
        lines[at : end + 1] = [instead + "\n"] if instead else []
    return "".join(lines)


def tests(crates: str) -> tuple[bool, str]:
    """Whether all pass, and what failed. Exits where nothing was tested."""
    packages = [word for crate in crates.split() for word in ("-p", f"quorate-{crate}")]
    command = ["cargo", "test", "--release", "--quiet", "--locked", "--no-fail-fast", *packages]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(BUILDS)}
    run = subprocess.run(command, cwd=SCRATCH, env=environment, capture_output=True, text=True)
    output = run.stdout + run.stderr
    if "error: could not compile" in output or "test result:" not in output:
        sys.exit(f"rule-deletion: nothing was tested\n{output[-3000:]}")
    # The list of failures at the end of each binary: one name a line, indented by four.
    names = [line.strip() for line in output.splitlines() if line.startswith("    ")]
    failed = sorted({name for name in names if name and name.replace("_", "").replace("::", "").isalnum()})
    return run.returncode == 0, ", ".join(failed)


def copy() -> None:
    """Puts what git knows of, as it is here, into the scratch directory, and nothing else. What is there already stays: with
    the time of its original a file would look older to cargo than the build in which a rule of it was missing."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    for path in [path for path in SCRATCH.rglob("*") if path.is_file()]:
        if str(path.relative_to(SCRATCH)) not in names:
            path.unlink()
    for name in names:
        place = SCRATCH / name
        if not place.is_file() or place.read_bytes() != (ROOT / name).read_bytes():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place)


def noticed(name: str, places: list, crates: str) -> bool:
    """Whether tests fail without a rule, which is put back afterwards."""
    originals = {file: (SCRATCH / file).read_text() for file, *_ in places}
    for file, *deletion in places:
        place = SCRATCH / file
        place.write_text(without(place.read_text(), *deletion))
    passed, failed = tests(crates)
    for file, original in originals.items():
        (SCRATCH / file).write_text(original)
    print(f"{name:16} {'NOT NOTICED' if passed else 'red: ' + failed}", flush=True)
    return not passed


def main() -> None:
    names = [rule[0] for rule in RULES]
    if sys.argv[1:] == ["--list"]:
        print("\n".join(names))
        return
    wanted = sys.argv[1:] or names
    if unknown := set(wanted) - set(names):
        sys.exit(f"rule-deletion: no rule is called {', '.join(sorted(unknown))}")
    copy()
    passed, failed = tests("crypto types consensus execution replica")
    if not passed:
        sys.exit(f"rule-deletion: the tests fail with all rules in place: {failed}")
    survivors = [rule[0] for rule in RULES if rule[0] in wanted and not noticed(*rule)]
    if survivors:
        sys.exit(f"rule-deletion: nobody missed {', '.join(survivors)}")


if __name__ == "__main__":
    main()
