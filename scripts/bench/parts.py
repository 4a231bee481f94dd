#!/usr/bin/env python3
"""What the parts cost by themselves: reads what criterion measured and writes the section of docs/BENCHMARKS.md.

`make microbench` runs criterion and then this. Times are of one call, with its 95 % interval; where a call does several
things of a kind, such as signatures or transactions, the last column is what one of them takes.
"""

import argparse
import json
import sys

import page
from here import context, results


def measured():
    """Names, nanoseconds, their interval, and how many things a call does, in the order of the names."""
    for file in sorted(results().glob("criterion/**/new/benchmark.json")):
        benchmark, estimates = (json.loads((file.parent / name).read_text()) for name in ("benchmark.json", "estimates.json"))
        time = estimates["slope"] or estimates["mean"]
        interval = time["confidence_interval"]
        elements = (benchmark["throughput"] or {}).get("Elements")
        yield (natural(benchmark["title"]), time["point_estimate"], (interval["lower_bound"], interval["upper_bound"]), elements)


def natural(title):
    """A name whose numbers sort as numbers."""
    group, _, rest = title.partition("/")
    words, _, number = rest.rpartition("/")
    return (group, words, int(number), title) if number.isdigit() else (group, rest, 0, title)


def span(nanoseconds):
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:,.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def table(parts):
    lines = ["| part | a call | 95 % | one of | takes |", "|---|---|---|---|---|"]
    for (*_, title), time, (low, high), elements in sorted(parts):
        several = elements and elements > 1
        each = (f"{elements:,}", span(time / elements)) if several else ("", "")
        lines.append(f"| {title} | {span(time)} | {span(low)} to {span(high)} | {' | '.join(each)} |")
    return "\n".join(lines)


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    parts = list(measured())
    if not parts:
        sys.exit(f"parts: criterion left nothing in {results() / 'criterion'}: run `make microbench`")
    print(table(parts))
    page.put("make microbench", f"{page.origin(context('make microbench'))}; one thread.\n\n{table(parts)}")


if __name__ == "__main__":
    main()
