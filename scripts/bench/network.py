#!/usr/bin/env python3
"""What links between validators do to it, under each way of QUIC to find out what they carry (network.congestion_control).

`make links` writes the section of docs/BENCHMARKS.md. Every directed link is a relay on loopback that delays, loses and
has a bandwidth with 50 ms of room to wait; the first row has none. The load is 256 clients in a closed loop, 64 whose
transactions are of 100 commands, and a single one.
"""

import argparse
import json

import page
import rows
from here import context, place, results, say
from systems import Quorate, running

CONTROLS = ("cubic", "bbr", "new-reno")
LINKS = {
    "loopback, no relay": None,
    "1 ms": {"delay-ms": 1},
    "10 ms": {"delay-ms": 10},
    "50 ms": {"delay-ms": 50},
    "50 ms, 0.1 % lost": {"delay-ms": 50, "loss": 1},
    "50 ms, 1 % lost": {"delay-ms": 50, "loss": 10},
    "50 ms, 20 Mbit/s": {"delay-ms": 50, "mbit": 20},
}
CLIENTS, WARM_SECONDS, SECONDS, ALONE_SECONDS = 256, 4, 6, 4
BATCHERS, BATCH = 64, 100


def measure(directory, number, link, control):
    settings = {"QUORATE_NETWORK__CONGESTION_CONTROL": control}
    with running(Quorate, directory, f"links-{number}", settings=settings, link=link) as system:
        system.load(CLIENTS, WARM_SECONDS)
        many = system.load(CLIENTS, SECONDS)
        bulk = system.load(BATCHERS, SECONDS, batch=BATCH)
        return {"control": control, "many": many, "bulk": bulk, "one": system.load(1, ALONE_SECONDS)}


def cell(run):
    many, bulk, one = run["many"], run["bulk"], run["one"]
    return (f"{rows.rate(many['committed_per_second'])}, {rows.ms(many['p50_ms'])}, {rows.ms(many['p99_ms'])}; "
            f"{rows.rate(bulk['commands_per_second'])}, {rows.ms(bulk['p50_ms'])}; {rows.ms(one['p50_ms'])}")


def table(r):
    lines = ["| every link, one way | " + " | ".join(f"`{control}`" for control in CONTROLS) + " |",
             "|---" * (1 + len(CONTROLS)) + "|"]
    return "\n".join(lines + [f"| {link} | " + " | ".join(map(cell, runs)) + " |" for link, runs in r["links"].items()])


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    r = context("make links")
    r["links"] = {}
    with place() as directory:
        for link, options in LINKS.items():
            r["links"][link] = []
            for control in CONTROLS:
                number = f"{len(r['links'])}-{control}"
                run = measure(directory, number, options, control)
                say(f"{link}, {control}: {cell(run)}")
                r["links"][link].append(run)
    (results() / "links.json").write_text(json.dumps(r, indent=1))
    print(table(r))
    page.put("make links", f"""{page.origin(r)}; {CLIENTS} clients in a closed loop: committed, p50, p99; {BATCHERS} with
transactions of {BATCH} commands: commands, p50; one client: p50. {SECONDS} s each.

{table(r)}""")


if __name__ == "__main__":
    main()
