"""What is measured: four validators, with or without slow links, and three members of Debian's etcd. Real processes on
free ports of loopback, homes on a real disk, everything stopped at the end."""

import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "checks"))
from cluster import READY_SECONDS, VALIDATORS, Cluster, answers, binary, free_ports, get  # noqa: E402

# Keys of clients; also the most that any row uses.
CLIENTS = 1000
MEMBERS = 3
# Connections that carry all clients of a load at most, on either side. etcd with 1,000 clients is quicker with 12 than with
# 3 or 100, which is what its own benchmark advises.
CONNECTIONS = 12
# Signing ahead and asking for a thousand clients' numbers come on top of what a load lasts.
MARGIN_SECONDS = 180


def beside(name):
    """Another program that `make bench` built: as what ships, or, where it does no work that is measured, as for tests."""
    directory = pathlib.Path(binary()).parent
    for path in (directory / name, directory.parent / "release" / name):
        if os.access(path, os.X_OK):
            return str(path)
    sys.exit(f"there is no {name} in {directory}: run `make bench`, which builds it")


def run_json(arguments, seconds):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=seconds + MARGIN_SECONDS)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def thread_seconds(pids):
    """CPU seconds of each kind of thread: numbers at the end of a name do not tell kinds apart."""
    spent = collections.Counter()
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            text = (task / "stat").read_text()
            name, fields = re.match(r"\d+ \((.*)\) (.*)", text).groups()
            fields = fields.split()
            spent[thread_kind(name)] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


def thread_waits(pids):
    """How often each kind of thread has waited for something (voluntary switches)."""
    waits = collections.Counter()
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.MULTILINE)
            waits[thread_kind((task / "comm").read_text())] += int(found[1])
    return waits


def thread_kind(thread):
    return re.sub(r"[-:_ ]*\d+$", "", thread.strip())


def memory(pid):
    """(now, most ever) bytes of a process that are in memory."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", text, re.MULTILINE))
    return tuple(1024 * int(found[name]) for name in ("VmRSS", "VmHWM"))


class Quorate:
    """Validators, four unless told otherwise, and the load for them. `settings` are variables of their environment; `link`
    are options of the relay that is put between them, if any."""

    def __init__(self, directory, validators=VALIDATORS, settings=None, link=None):
        self.cluster = Cluster(directory, clients=CLIENTS, validators=validators)
        for environment in self.cluster.environment.values():
            environment.update(settings or {})
        self.relay = self.put_between(link) if link else None
        try:
            for i in range(validators):
                self.cluster.start(i)
            self.cluster.wait_ready()
        except BaseException:
            self.close()
            raise

    def put_between(self, link):
        """Puts a relay before every validator."""
        public = [f"127.0.0.1:{self.cluster.base + 10 * i}" for i in range(VALIDATORS)]
        behind = [f"127.0.0.1:{port}" for port in free_ports(VALIDATORS)]
        for i, address in enumerate(behind):
            self.cluster.environment[i]["QUORATE_NETWORK__LISTEN"] = address
        options = [part for name, value in link.items() for part in (f"--{name}", str(value))]
        relay = subprocess.Popen([beside("quorate-scenarios"), "relay", *options,
                                  "--public", ",".join(public), "--behind", ",".join(behind)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if relay.stdout.readline().strip() != "ready":
            sys.exit("the relay did not start")
        return relay

    def load(self, clients, seconds, rate=0, batch=1, opaque=False, connections=None, size=512, streams=CONNECTIONS):
        """Clients' transactions over streams, as a gateway's, or in a request and on a connection each without them."""
        arguments = [binary(), "--profile", str(self.cluster.net / "client.toml"), "bench", "--output", "json"]
        for name, value in (("rate", rate), ("clients", clients), ("seconds", seconds), ("size", size), ("batch", batch)):
            arguments += [f"--{name}", str(value)]
        arguments += ["--opaque"] * opaque
        arguments += ["--connections", str(connections)] if connections else []
        arguments += ["--streams", str(min(clients, streams))] if streams else []
        return run_json(arguments, seconds)

    def pids(self):
        return [process.pid for process in self.cluster.processes.values()]

    def memory(self):
        return [memory(pid) for pid in self.pids()]

    def metrics(self, i=0):
        """Values of a validator's metrics by name, labels included."""
        text = get(self.cluster.admin(i) + "/metrics").decode()
        rows = (row.rsplit(" ", 1) for row in text.splitlines() if row and not row.startswith("#"))
        return {name: float(value) for name, value in rows}

    def height(self):
        return self.metrics()["quorate_consensus_committed_height"]

    def kill(self, i):
        self.cluster.kill(i)

    def close(self):
        self.cluster.stop()
        if self.relay:
            self.relay.stdin.close()
            self.relay.wait(timeout=10)


class Etcd:
    """Three members, as Debian ships them: every write synced before it is acknowledged, no TLS."""

    def __init__(self, directory):
        directory = pathlib.Path(directory)
        directory.mkdir()
        ports = free_ports(2 * MEMBERS)
        self.clients = [f"127.0.0.1:{port}" for port in ports[:MEMBERS]]
        peers = [f"http://127.0.0.1:{port}" for port in ports[MEMBERS:]]
        everybody = ",".join(f"m{i}={peer}" for i, peer in enumerate(peers))
        self.processes = []
        for i, (client, peer) in enumerate(zip(self.clients, peers)):
            log = open(directory / f"member-{i}.log", "ab")
            self.processes.append(subprocess.Popen(
                ["etcd", "--name", f"m{i}", "--data-dir", str(directory / f"member-{i}"), "--log-level", "error",
                 "--logger", "zap", "--listen-client-urls", f"http://{client}", "--advertise-client-urls", f"http://{client}",
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", everybody,
                 "--initial-cluster-state", "new", "--quota-backend-bytes", str(8 << 30)], stdout=log, stderr=log))
        deadline = time.monotonic() + READY_SECONDS
        while not all(answers(f"http://{client}/health") for client in self.clients):
            if time.monotonic() > deadline:
                self.close()
                sys.exit(f"etcd is not ready after {READY_SECONDS} s; its logs are in {directory}")
            time.sleep(0.05)

    def load(self, clients, seconds, size=512):
        return run_json([beside("etcd_load"), "--endpoints", ",".join(self.clients), "--clients", str(clients),
                         "--connections", str(CONNECTIONS), "--seconds", str(seconds), "--size", str(size)], seconds)

    def close(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=30)


@contextlib.contextmanager
def running(kind, directory, name, **options):
    """A system that runs in a directory of its own, which is gone at the end unless something fails."""
    place = pathlib.Path(directory) / name
    if kind is Quorate:
        place.mkdir()
    system = kind(place, **options)
    try:
        yield system
    finally:
        system.close()
    shutil.rmtree(place)


class Watch:
    """Reads the memory of validators once a second while a load runs."""

    def __init__(self, system):
        self.system, self.samples, self.over = system, [], threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.over.wait(1):
            self.samples.append([now for now, _ in self.system.memory()])

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def primitives():
    """Seconds that one core needs for a signature in a batch of 256 signers, by the crate's own example."""
    done = subprocess.run([beside("examples/throughput")], capture_output=True, text=True, check=True, timeout=120)
    found = re.search(r"^batch of 256, signers: 256\s+\d+ /s\s+([\d.]+) us", done.stdout, re.MULTILINE)
    return float(found[1]) / 1e6


def sync_seconds(directory):
    """The median time of writing 4 KiB and syncing it."""
    times = []
    path = pathlib.Path(directory) / "sync"
    with open(path, "wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            start = time.monotonic()
            os.fdatasync(file.fileno())
            times.append(time.monotonic() - start)
    path.unlink()
    return sorted(times)[len(times) // 2]
