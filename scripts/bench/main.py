#!/usr/bin/env python3
"""Measures the table of docs/BENCHMARKS.md on this machine: four validators and the load for them, and Debian's etcd.

`make bench` runs it whole, in less than 20 minutes, and writes the page and its plots. With QUICK=1 every run lasts two
seconds, nothing is written, and the figures mean little: it shows that the measuring works.
"""

import argparse
import json
import sys

import page
from here import context, place, results, say
from systems import Etcd, Quorate, Watch, primitives, running, sync_seconds

# What etcd is compared at.
CLIENTS = (1, 64, 256, 1000)
# Rows that need many clients and no comparison.
MANY = 256
# Clients whose transactions hold 100 commands each.
BATCHERS = 64
DELAY_MS = 50
# Where the links are slow: one transaction at a time, and a load under which rounds follow each other without a pause, so that
# a transaction waits half a round for the next block.
STEADY = (100, 16)
# Shares of the capacity of a closed loop that the open loop offers.
CURVE = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
# Transactions under way, and the streams that have room for them, when throughput is all that counts.
PEAK_UNDER_WAY = 8_000
PEAK_STREAMS = 48
# Transactions under way at most when more is offered than can be done, and how many of them a validator takes: half a
# second's work together, which an operator would choose who wants answers rather than a queue.
OVERLOAD_UNDER_WAY = 16_000
OVERLOAD_PENDING = 2_000


def median(runs):
    """The run whose rate is the middle one."""
    return sorted(runs, key=lambda run: run["committed_per_second"])[len(runs) // 2]


# What is compared: the system, and how its load differs from the others' if it does.
KINDS = {"quorate": (Quorate, {}), "requests": (Quorate, {"streams": None}), "etcd": (Etcd, {})}


def compare(directory, seconds, repeats):
    """The same closed loops on all of them in turn, so that a change of the machine's mood meets all."""
    runs = {name: {str(clients): [] for clients in CLIENTS} for name in KINDS}
    for turn in range(repeats):
        for name, (kind, options) in KINDS.items():
            with running(kind, directory, f"{name}-{turn}") as system:
                for clients in CLIENTS:
                    run = system.load(clients, seconds, **options)
                    say(f"{name}, clients {clients}: {run['committed_per_second']:,.0f}/s, p50 {run['p50_ms']:.2f} ms")
                    runs[name][str(clients)].append(run)
    return {name: {clients: median(all_) for clients, all_ in by.items()} for name, by in runs.items()}


def rest(directory, seconds, capacity, r):
    """Every other row, on validators that are new: as they come, with room for little, and with slow links."""
    with running(Quorate, directory, "rows") as system:
        say("100 commands a transaction")
        r["batch"] = system.load(BATCHERS, seconds, batch=100)
        r["opaque"] = system.load(BATCHERS, seconds, batch=100, opaque=True)
    with running(Quorate, directory, "loads") as system:
        say("open loop")
        r["curve"] = [system.load(MANY, seconds, rate=max(1, round(share * capacity))) for share in CURVE]
        say("memory at full load, then one of four dead")
        with Watch(system) as watch:
            r["healthy"] = system.load(MANY, 3 * seconds)
        r["memory_samples"] = watch.samples
        r["memory_most"] = [most for _, most in system.memory()]
        system.kill(3)
        system.load(MANY, 2)  # what the death itself costs is another row's business
        r["dead"] = system.load(MANY, 3 * seconds)
    with running(Quorate, directory, "peak") as system:
        say("as much as it takes")
        r["peak"] = system.load(1000, seconds, rate=round(3 * capacity), connections=PEAK_UNDER_WAY, streams=PEAK_STREAMS)
        peak = r["peak"]["committed_per_second"]
    with running(Quorate, directory, "overload", settings={"QUORATE_MEMPOOL__MAX_TRANSACTIONS": str(OVERLOAD_PENDING)}) as system:
        say("three times the capacity")
        r["overload_pending"] = OVERLOAD_PENDING
        r["overload"] = system.load(1000, seconds, rate=round(3 * peak), connections=OVERLOAD_UNDER_WAY, streams=PEAK_STREAMS)
    with running(Quorate, directory, "slow", link={"delay-ms": DELAY_MS}) as system:
        say(f"links of {DELAY_MS} ms")
        rate, clients = STEADY
        system.load(clients, 2, rate=rate)  # round-trip times are learned
        r["slow"] = system.load(1, 2 * seconds)
        r["slow_steady"] = system.load(clients, seconds, rate=rate)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two seconds a run, nothing written")
    arguments = parser.parse_args()
    seconds, repeats = (2, 1) if arguments.quick else (8, 3)
    r = context("make bench" + (" QUICK=1" if arguments.quick else ""), seconds=seconds, repeats=repeats)
    with place() as directory:
        say("primitives")
        r["sync_seconds"] = sync_seconds(directory)
        r["verify_seconds"] = primitives()
        r.update(compare(directory, seconds, repeats))
        capacity = max(run["committed_per_second"] for run in r["quorate"].values())
        rest(directory, seconds, capacity, r)
        r["verify_seconds"] = min(r["verify_seconds"], primitives())  # the machine's better moment: the harder limit
    (results() / "bench.json").write_text(json.dumps(r, indent=1))
    print(page.text_table(r))
    if not arguments.quick:
        page.write(r)
    # Two seconds are too short for figures, not for finding that a row was not measured.
    lost = [name for name in ("batch", "opaque", "healthy", "dead", "slow", "slow_steady", "peak", "overload") if not r[name]["committed"]]
    if lost:
        sys.exit(f"bench: nothing was committed in {', '.join(lost)}")


if __name__ == "__main__":
    main()
