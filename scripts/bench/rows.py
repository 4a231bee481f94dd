"""From measurements to the rows of the table: what was promised, what was reached."""

MIB = 1 << 20


def verdict(value, floor, goal, lower=False):
    """Which of floor and goal a value reaches."""
    reaches = (lambda bound: value <= bound) if lower else (lambda bound: value >= bound)
    return "goal" if reaches(goal) else "floor" if reaches(floor) else "**below the floor**"


def worst(*verdicts):
    order = ["**below the floor**", "floor", "goal"]
    return min(verdicts, key=order.index)


def rate(value):
    return f"{value:,.0f}/s"


def ms(value):
    return f"{value:,.2f} ms" if value < 10 else f"{value:,.0f} ms"


def capacity(results):
    """Most signed transactions a second that any load committed."""
    return max(run["committed_per_second"] for run in (*results["quorate"].values(), results["peak"]))


def table(r):
    """(run, floor, goal, reached, verdict) for each row that was measured."""
    yield signed(r)
    yield from against_etcd(r)
    one = r["quorate"]["1"]["p50_ms"]
    yield "one client, p50", "5 ms", "2 ms", ms(one), verdict(one, 5, 2, lower=True)
    for name, floor, goal, what in (("batch", 30_000, 60_000, "puts into the certified state"),
                                    ("opaque", 60_000, 100_000, "opaque commands of 512 B")):
        got = r[name]["commands_per_second"]
        yield (f"100 commands under one signature, {what}", f"{floor:,}/s", f"{goal:,}/s",
               f"{got:,.0f}/s, p50 {ms(r[name]['p50_ms'])}", verdict(got, floor, goal))
    yield dead(r)
    slow, steady = r["slow"]["p50_ms"], r["slow_steady"]
    yield ("50 ms one-way links, p50 of one transaction at a time", "4 × one-way + 30 ms = 230 ms", "3.2 × + 15 ms = 175 ms",
           f"{ms(slow)}; {ms(steady['p50_ms'])} at {rate(steady['offered_per_second'])}", verdict(slow, 230, 175, lower=True))
    yield flat(r)
    yield overload(r)


def signed(r):
    limit = r["cores"] / (4 * r["verify_seconds"])
    share = capacity(r) / limit
    clients, closed = max(r["quorate"].items(), key=lambda run: run[1]["committed_per_second"])
    reached = (f"{share:.0%}: {rate(capacity(r))} of {rate(limit)} ({1e6 * r['verify_seconds']:.1f} µs a signature); "
               f"{closed['committed_per_second'] / limit:.0%} with {int(clients):,} clients in a closed loop")
    return "signed, share of cores / (4 × batch verification)", "50 %", "70 %", reached, verdict(share, 0.5, 0.7)


def against_etcd(r):
    for clients in r["quorate"]:
        ours, theirs = r["quorate"][clients], r["etcd"][clients]
        ratio = ours["committed_per_second"] / theirs["committed_per_second"]
        reached = (f"{ratio:.2f} ×: {rate(ours['committed_per_second'])} to {rate(theirs['committed_per_second'])}; "
                   f"p50 {ms(ours['p50_ms'])} to {ms(theirs['p50_ms'])}; a request each: {rate(r['requests'][clients]['committed_per_second'])}")
        many = int(clients) >= 64
        swift = not many or ours["p50_ms"] <= theirs["p50_ms"]
        grade = verdict(ratio, 1.0, 1.5) if int(clients) >= 256 else "none set"
        if grade == "goal" and not swift:
            grade = "floor"
        if grade == "none set" and many:
            grade = "goal" if swift else "not the goal"
        floor = "1.0 ×" if int(clients) >= 256 else ""
        goal = ("1.5 ×, " if int(clients) >= 256 else "") + ("p50 no worse" if many else "")
        yield f"against three members of etcd, clients: {int(clients):,}", floor, goal, reached, grade


def dead(r):
    healthy, one = r["healthy"], r["dead"]
    kept = one["committed_per_second"] / healthy["committed_per_second"]
    slower = one["p99_ms"] / healthy["p99_ms"]
    reached = f"{kept:.0%}, {slower:.1f} ×: {rate(one['committed_per_second'])}, p99 {ms(one['p99_ms'])}"
    grade = worst(verdict(kept, 0.8, 0.95), verdict(slower, 3, 1.5, lower=True))
    return "one of four dead: rate kept, p99", "80 %, 3 ×", "95 %, 1.5 ×", reached, grade


def flat(r):
    """Flat: in the last third of the load no more than a tenth above the second third."""
    most = max(r["memory_most"])
    totals = [sum(sample) for sample in r["memory_samples"]] or [0]
    third = max(1, len(totals) // 3)
    middle, last = totals[third:2 * third] or totals, totals[-third:]
    growth = (sum(last) / len(last)) / max(1, sum(middle) / len(middle)) - 1
    reached = f"{most / MIB:,.0f} MB at most; {growth:+.0%} from the second third to the last of {len(totals)} s"
    grade = verdict(most / MIB, 768, 384, lower=True)
    return "memory a validator at full load", "768 MB, flat", "384 MB, flat", reached, grade if growth <= 0.1 else "**grows**"


def overload(r):
    run = r["overload"]
    kept = run["committed_per_second"] / capacity(r)
    codes = ", ".join(f"{count:,} `{code}`" for code, count in run["error_codes"].items()) or "none"
    reached = (f"{kept:.0%}: {rate(run['committed_per_second'])} of {rate(run['offered_per_second'])} offered; refused: {codes}"
               + (f", p50 {ms(run['errors_p50_ms'])} after sending" if run["errors"] else ""))
    grade = verdict(kept, 0.85, 0.95)
    if not run["errors"]:
        # Refusals at once are half of the promise, and no limit was met.
        grade = "**refusals not shown**"
    row = f"offered 3 × capacity, {r['overload_pending']:,} pending at each: share of the peak, refusals at once"
    return row, "85 %", "95 %", reached, grade
