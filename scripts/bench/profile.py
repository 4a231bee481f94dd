#!/usr/bin/env python3
"""Where a transaction's microseconds go: the table of docs/PERFORMANCE.md, from samples of the CPU's clock (Linux `perf`).

Four validators under a closed loop of clients, each with signed puts of 512 B. Whatever load was before, each client
begins with its first key again: after a while of it all values are replaced ones. CPU time by thread is the kernel's
count; what it is divided into are samples, so the parts add up to the whole. Frame pointers are missing: a sample
belongs to the function that ran, not to whoever called it.
"""

import argparse
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

from systems import Quorate, running, thread_kind, thread_seconds, thread_waits

SECONDS, HERTZ = 10, 499
# The first whose pattern is in the symbol, or in the name of what it is from, gets the sample.
PARTS = (
    ("kernel", r"\[k\]|kernel"),
    ("signatures", r"curve25519|ed25519|sha512|Sha512|compress512|FieldElement|EdwardsPoint|vartime|Scalar\b|quorate_crypto::(batch|equation|keys)"),
    ("SHA-256", r"sha256|Sha256|compress256|sha2::|digest_blocks"),
    ("allocation", r"je_|allocx|tcache|malloc|free|realloc|calloc|operator (new|delete)"),
    ("RocksDB", r"rocksdb::|crc32|lz4|LZ4|SkipList|MemTable|Arena"),
    ("TLS", r"ring_core|aes_|gcm|ghash|chacha|rustls"),
    ("QUIC", r"quinn"),
    ("HTTP", r"hyper|axum|httparse|tower"),
    ("tokio", r"tokio|mio::"),
    ("codec", r"bincode|serde"),
    ("tree", r"execution::tree|quorate_execution.*tree"),
    ("execution", r"quorate_execution"),
    ("mempool", r"quorate_mempool"),
    ("consensus", r"quorate_consensus"),
    ("replica and storage", r"quorate_replica|quorate_storage"),
    ("copying and comparing", r"memcpy|memmove|memset|memcmp|bcmp"),
    ("maps", r"BTreeMap|btree|HashMap|hashbrown"),
    ("metrics and logs", r"prometheus|tracing"),
)


def part(symbol):
    return next((name for name, pattern in PARTS if re.search(pattern, symbol)), "other")


def samples(data):
    """How many samples each kind of thread spent in each part."""
    done = subprocess.run(["perf", "report", "-i", data, "--stdio", "--no-inline", "--percent-limit", "0", "-t", "|",
                           "-F", "sample,comm,dso,sym"], capture_output=True, text=True, check=True, timeout=300)
    found, unknown = collections.defaultdict(collections.Counter), collections.Counter()
    for row in done.stdout.splitlines():
        fields = [field.strip() for field in row.split("|")]
        if row.startswith("#") or len(fields) < 4 or not fields[0].isdigit():
            continue
        name = part(" ".join(fields[2:]))
        found[thread_kind(fields[1])][name] += int(fields[0])
        if name == "other":
            unknown[fields[3]] += int(fields[0])
    for symbol, count in unknown.most_common(12):
        print(f"profile: other: {count} {symbol}", file=sys.stderr)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=256, help="in the closed loop, 1,000 at most (256)")
    parser.add_argument("--after", type=int, default=2, help="seconds of the same load before (2)")
    asked = parser.parse_args()
    if not shutil.which("perf"):
        sys.exit("perf is missing: apt-get install linux-perf")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    with tempfile.TemporaryDirectory(dir=target, prefix="profile-") as directory, \
            running(Quorate, directory, "net") as system:
        system.load(asked.clients, asked.after)
        pids = [str(pid) for pid in system.pids()]
        data = str(pathlib.Path(directory) / "perf.data")
        runs = []
        load = threading.Thread(target=lambda: runs.append(system.load(asked.clients, SECONDS)))
        before, waits, height = thread_seconds(pids), thread_waits(pids), system.height()
        recorder = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", str(HERTZ), "-o", data, "-p", ",".join(pids)])
        load.start()
        load.join()
        recorder.terminate()
        recorder.wait(timeout=30)
        spent = thread_seconds(pids) - before
        waits, blocks = thread_waits(pids) - waits, len(pids) * (system.height() - height)
        show(runs[0], spent, samples(data), len(pids))
        often = (f"`{thread}` {waits[thread] / blocks:.1f}" for thread in spent if waits[thread] >= blocks)
        print("\nwaits of a validator in a block: " + ", ".join(often))


def show(run, spent, found, validators):
    """Microseconds a transaction and validator; signing and asking before the load are in it, and small."""
    each = 1e6 / run["committed"] / validators
    threads = [thread for thread, seconds in spent.most_common() if seconds * each >= 0.5 and found[thread]]
    rest = sum(spent.values()) - sum(spent[thread] for thread in threads)
    share = {thread: {name: count / sum(found[thread].values()) for name, count in found[thread].items()} for thread in threads}
    cell = {thread: {name: spent[thread] * each * portion for name, portion in share[thread].items()} for thread in threads}
    total = collections.Counter()
    for thread in threads:
        total.update(cell[thread])
    print(f"{run['committed_per_second']:,.0f}/s, p50 {run['p50_ms']:.0f} ms; {run['committed']:,} transactions\n")
    print("| µs a transaction | " + " | ".join(f"`{thread}`" for thread in threads) + " | all |")
    print("|---" * (len(threads) + 2) + "|")
    for name, sum_ in total.most_common():
        print(f"| {name} | " + " | ".join(f"{cell[thread].get(name, 0):.1f}" for thread in threads) + f" | {sum_:.1f} |")
    print("| other threads | " + " | ".join("" for _ in threads) + f" | {rest * each:.1f} |")
    sums = [sum(cell[thread].values()) for thread in threads]
    print("| **all** | " + " | ".join(f"{value:.1f}" for value in sums) + f" | {sum(spent.values()) * each:.1f} |")


if __name__ == "__main__":
    main()
