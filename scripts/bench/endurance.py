#!/usr/bin/env python3
"""Minutes of full load: does anything stall, grow, or get slower? `make endurance MINUTES=10` writes the section of
docs/BENCHMARKS.md.

The load is open, at a share of what a closed loop reaches first: a stall cannot hide, because what should have been sent
meanwhile counts from its intended time. Bytes written are the kernel's count for each process, so compactions and blob
files are in them.
"""

import argparse
import json
import pathlib
import re

import page
import rows
from here import context, place, results, say
from systems import Quorate, Watch, running

CLIENTS, SIZE, PROBE_SECONDS = 256, 512, 10
# Of the closed loop's rate on a new set: a put that replaces a value costs a tenth more than one of a new key, and a
# compaction needs something to spare.
SHARE = 0.8
MIB = 1 << 20


def written_bytes(pid):
    return int(re.search(r"^write_bytes: (\d+)", pathlib.Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)[1])


def measure(directory, minutes):
    with running(Quorate, directory, "endurance") as system:
        probe = system.load(CLIENTS, PROBE_SECONDS)["committed_per_second"]
        say(f"a closed loop makes {probe:,.0f}/s; {minutes} minutes at {SHARE:.0%} of it")
        before = [written_bytes(pid) for pid in system.pids()]
        with Watch(system) as watch:
            run = system.load(CLIENTS, 60 * minutes, rate=round(SHARE * probe), size=SIZE)
        written = sum(written_bytes(pid) for pid in system.pids()) - sum(before)
        metrics = system.metrics()
        run.update(closed=probe, samples=watch.samples, written_each=written / len(before) / run["committed"],
                   stored=sum(value for name, value in metrics.items() if name.startswith("quorate_storage_bytes")))
    return run


def memory_by_tenth(samples):
    """Mean bytes of a validator in each tenth of the run."""
    totals = [sum(sample) / len(sample) for sample in samples]
    tenth = max(1, len(totals) // 10)
    return [sum(part) / len(part) for part in (totals[i:i + tenth] for i in range(0, tenth * 10, tenth)) if part]


def table(run):
    memory = ", ".join(f"{value / MIB:,.0f}" for value in memory_by_tenth(run["samples"]))
    stall = run["longest_silence_ms"]
    return "\n".join((
        "| what | figure |", "|---|---|",
        f"| offered, committed | {rows.rate(run['offered_per_second'])}, {rows.rate(run['committed_per_second'])}; "
        f"{run['committed']:,} transactions, {run['errors']:,} errors |",
        f"| p50, p99, p99.9, the slowest | {rows.ms(run['p50_ms'])}, {rows.ms(run['p99_ms'])}, {rows.ms(run['p999_ms'])}, {rows.ms(run['max_ms'])} |",
        f"| the longest time between two receipts (aim: 100 ms) | {rows.ms(stall)} |",
        f"| memory of a validator in each tenth of the time, MB | {memory} |",
        f"| written to disk by a validator for a transaction with a value of {SIZE} B | {run['written_each']:,.0f} B: "
        f"{run['written_each'] / SIZE:.1f} times the value |",
        f"| what a validator stores at the end | {run['stored'] / MIB:,.0f} MB |"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=10)
    minutes = parser.parse_args().minutes
    r = context(f"make endurance MINUTES={minutes}")
    with place() as directory:
        r["run"] = measure(directory, minutes)
    (results() / "endurance.json").write_text(json.dumps(r, indent=1))
    print(table(r["run"]))
    page.put("make endurance", f"{page.origin(r)}; {CLIENTS} clients, open loop.\n\n{table(r['run'])}")


if __name__ == "__main__":
    main()
