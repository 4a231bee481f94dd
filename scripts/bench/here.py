"""Where and of what a measurement is: the machine, the commit, a directory on a real disk."""

import datetime
import os
import pathlib
import platform
import re
import resource
import subprocess
import sys
import tempfile

import page


def say(words):
    print(f"bench: {words}", file=sys.stderr, flush=True)


def machine():
    cpus = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.*)$", cpus, re.MULTILINE)
    kib = int(re.search(r"^MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.MULTILINE)[1])
    return {"cpu": model[1] if model else platform.machine(), "memory": f"{kib / (1 << 20):.0f} GiB", "kernel": platform.release()}


def commit():
    def git(*arguments):
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=page.ROOT).stdout.strip()
    # The page itself changes with every run.
    dirty = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return git("rev-parse", "--short=12", "HEAD") + (" with changes" if dirty else "")


def context(command, **more):
    return {"command": command, "cores": len(os.sched_getaffinity(0)), "machine": machine(), "commit": commit(),
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"), **more}


def place():
    """A directory for homes: in the target directory and not in /tmp, which may be memory, where nothing is synced to anything."""
    # Thousands of connections, each with two ends.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return tempfile.TemporaryDirectory(dir=results(), prefix="bench-")


def results():
    """Where raw results are left."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    target.mkdir(parents=True, exist_ok=True)
    return target
