"""A testnet of real processes for the checks: made in a temporary directory, on free ports, stopped and removed at the end."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

VALIDATORS = 4
# Clients of the load, which takes the first keys; verbs are run as the last one.
LOADERS = 8
READY_SECONDS = 60


def binary():
    """The program under test."""
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    path = os.environ.get("QUORATE_BIN", f"{target}/release/quorate")
    if not os.access(path, os.X_OK):
        sys.exit(f"there is no {path}: run `make build`")
    return path


def artefacts(name):
    """A directory in the target directory that outlives the run."""
    path = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "artefacts" / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def free_ports(count):
    """Ports that were free for UDP and TCP a moment ago."""
    with contextlib.ExitStack() as held:
        ports = []
        while len(ports) < count:
            tcp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            udp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(("127.0.0.1", tcp.getsockname()[1]))
            except OSError:
                continue
            ports.append(tcp.getsockname()[1])
        return ports


def free_base(count):
    """A base port from which the ports of `count` validators are free."""
    for base in range(27000, 32000, 10 * count):
        with contextlib.ExitStack() as held:
            try:
                for port in (base + 10 * i + offset for i in range(count) for offset in range(3)):
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        held.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    sys.exit("no free ports between 27000 and 32000")


class Cluster:
    """Validators on loopback, four unless told otherwise, and what is asked of them."""

    def __init__(self, directory, extra=(), clients=LOADERS + 1, validators=VALIDATORS):
        self.directory = pathlib.Path(directory)
        self.net = self.directory / "net"
        self.base = free_base(validators)
        self.processes = {}
        self.extra = list(extra)
        # Further variables of the validators' environment, by validator.
        self.environment = {i: {} for i in range(validators)}
        self.quorate("testnet", "--validators", str(validators), "--clients", str(clients), "--base-port", str(self.base),
                     "--output", str(self.net))
        self.keys = sorted((self.net / "clients").glob("*.pem"))

    def quorate(self, *arguments, check=True):
        done = subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=120)
        if check and done.returncode != 0:
            sys.exit(f"quorate {' '.join(arguments)}: status {done.returncode}\n{done.stderr}")
        return done

    def client(self, *arguments, check=True):
        """Runs a verb as the first client."""
        return self.quorate("--profile", str(self.net / "client.toml"), "--key", str(self.keys[-1]), *arguments, check=check)

    def load(self, rate, seconds, size=256):
        """Starts a load that runs by itself."""
        arguments = ["--profile", str(self.net / "client.toml"), "--output", "json",
                     "bench", "--rate", str(rate), "--size", str(size), "--seconds", str(seconds), "--clients", str(LOADERS)]
        log = open(self.directory / "load.log", "ab")
        return subprocess.Popen([binary(), *arguments], stdout=log, stderr=log)

    def start(self, i):
        log = open(self.directory / f"validator-{i}.log", "ab")
        self.processes[i] = subprocess.Popen([binary(), "start", "--home", str(self.net / f"validator-{i}"), *self.extra],
                                             stdout=log, stderr=log, env={**os.environ, **self.environment[i]})

    def kill(self, i):
        process = self.processes.pop(i)
        process.kill()
        process.wait()

    def api(self, i=0):
        return f"http://127.0.0.1:{self.base + 10 * i + 1}"

    def admin_address(self, i=0):
        return f"127.0.0.1:{self.base + 10 * i + 2}"

    def admin(self, i=0):
        return f"http://{self.admin_address(i)}"

    def wait_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        for i in list(self.processes):
            while not answers(self.admin(i) + "/readyz"):
                if self.processes[i].poll() is not None:
                    sys.exit(f"validator {i} ended by itself\n{self.log(i)}")
                if time.monotonic() > deadline:
                    sys.exit(f"validator {i} is not ready after {READY_SECONDS} s\n{self.log(i)}")
                time.sleep(0.05)

    def log(self, i):
        return (self.directory / f"validator-{i}.log").read_text(errors="replace")[-4000:]

    def stop(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=25)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def cluster(extra=()):
    """A running cluster."""
    with tempfile.TemporaryDirectory(prefix="quorate-check.") as directory:
        made = Cluster(directory, extra)
        try:
            for i in range(VALIDATORS):
                made.start(i)
            made.wait_ready()
            yield made
        finally:
            made.stop()


def get(url, timeout=10):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read()


def get_json(url):
    return json.loads(get(url))


def answers(url):
    try:
        get(url, timeout=2)
        return True
    except (urllib.error.URLError, OSError):
        return False
