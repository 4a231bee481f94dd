#!/usr/bin/env python3
"""What more validators cost: the same load on 4, 7, 10 and 16 of them on this machine, and where the time went.

`make scale` writes the section of docs/BENCHMARKS.md. All share the cores, so each validator more is one that verifies,
executes and stores everything, too: what is lost is explained by what one validator spends on a transaction, times n.
A single client then shows what a block costs by itself, whose messages grow with n.
"""

import argparse
import json
import pathlib

import page
import rows
from here import context, place, results, say
from systems import Quorate, running, thread_seconds

SIZES = (4, 7, 10, 16)
CLIENTS, WARM_SECONDS, SECONDS = 256, 3, 10
# Threads that are told apart: signatures; sockets, TLS, HTTP; consensus, execution and storage.
THREADS = ("verify", "io", "replica")


def loopback_bytes():
    """Bytes that the machine has sent to itself so far."""
    return int(pathlib.Path("/sys/class/net/lo/statistics/tx_bytes").read_text())


def measure(directory, n):
    with running(Quorate, directory, f"scale-{n}", validators=n) as system:
        system.load(CLIENTS, WARM_SECONDS)
        many = load(system, n, CLIENTS)
        return {"n": n, "many": many, "one": load(system, n, 1)}


def load(system, n, clients):
    spent, sent, height = thread_seconds(system.pids()), loopback_bytes(), system.height()
    run = system.load(clients, SECONDS)
    spent, sent = thread_seconds(system.pids()) - spent, loopback_bytes() - sent
    seconds = {thread: spent[thread] / n for thread in THREADS}
    seconds["all"] = sum(spent.values()) / n
    return {**run, "blocks": max(1, system.height() - height), "bytes": sent, "seconds": seconds}


def micros(run, by):
    """CPU of one validator, thread by thread and together, for each transaction or block."""
    each = [1e6 * seconds / run[by] for seconds in run["seconds"].values()]
    return ", ".join(f"{value:,.0f}" for value in each), each[-1]


def table(r):
    lines = ["| validators | faulty, at most | 256 clients | p50 | transactions a block | CPU of one validator for a transaction, µs: verify, io, replica, all | of all n "
             "| bytes over loopback | one client, p50 | CPU of one validator for a block, µs |", "|---" * 10 + "|"]
    for run in r["runs"]:
        n, many, one = run["n"], run["many"], run["one"]
        parts, each = micros(many, "committed")
        lines.append(f"| {n} | {(n - 1) // 3} | {rows.rate(many['committed_per_second'])} | {rows.ms(many['p50_ms'])} "
                     f"| {many['committed'] / many['blocks']:,.0f} | {parts} | {n * each:,.0f} | {many['bytes'] / many['committed']:,.0f} a transaction "
                     f"| {rows.ms(one['p50_ms'])} | {micros(one, 'blocks')[0]} |")
    return "\n".join(lines)


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    r = context("make scale")
    r["runs"] = []
    with place() as directory:
        for n in SIZES:
            run = measure(directory, n)
            say(f"{n} validators: {run['many']['committed_per_second']:,.0f}/s, p50 {run['many']['p50_ms']:.0f} ms")
            r["runs"].append(run)
    (results() / "scale.json").write_text(json.dumps(r, indent=1))
    print(table(r))
    page.put("make scale", f"{page.origin(r)}; {CLIENTS} clients in a closed loop, then one, {SECONDS} s each.\n\n{table(r)}")


if __name__ == "__main__":
    main()
