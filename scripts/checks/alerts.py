#!/usr/bin/env python3
"""Has every alert a test in which it fires, and a healthy run in which it is silent? promtool runs the tests that there are,
and misses none that is not.

Run by `make rules-test`.
"""

import pathlib
import re
import sys

PROMETHEUS = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "prometheus"


def untested(alerts, tests):
    """The alerts without a firing test, and those without a silent one in the healthy run."""
    names = set(re.findall(r"^ *- alert: (\w+)$", alerts, re.M))
    healthy, _, broken = tests.partition("- name: everything that can go wrong")
    silent = set(re.findall(r"^ *- \{eval_time: \w+, alertname: (\w+)\}$", healthy, re.M))
    firing = set(re.findall(r"alertname: (\w+)\n *exp_alerts:", broken))
    assert names, "there are alerts"
    return sorted(names - firing), sorted(names - silent)


def main():
    alerts, tests = ((PROMETHEUS / name).read_text() for name in ("alerts.yml", "tests.yml"))
    # That it can fail: an alert more is missed twice.
    assert untested(alerts + "\n      - alert: Invented\n", tests) == (["Invented"], ["Invented"])
    never, noisy = untested(alerts, tests)
    if never or noisy:
        sys.exit(f"alerts: never seen firing: {never}; never seen silent in the healthy run: {noisy}")
    print("alerts: each fires in a test, and is silent in the healthy run")


if __name__ == "__main__":
    main()
