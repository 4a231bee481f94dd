#!/usr/bin/env python3
"""Debian's prometheus scrapes a testnet under load: every promised metric is there and moves, the text is clean by
promtool, the rules load and stay silent, and no panel of the dashboard is without data.

Run by `make metrics-test`.
"""

import json
import math
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

from cluster import answers, cluster, free_ports, get, get_json

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
# Ended when the test is; on a busy machine that may take a while.
LOAD_SECONDS = 300
# Of INTERFACES. True: moves in this test.
PROMISED = {
    "quorate_consensus_round": True,
    "quorate_consensus_committed_height": True,
    "quorate_consensus_commit_latency_seconds_count": True,
    "quorate_consensus_timeouts_total": True,
    "quorate_consensus_leader": True,
    "quorate_consensus_votes_missing_total": True,
    "quorate_mempool_transactions": False,
    "quorate_mempool_bytes": True,
    "quorate_transactions_total": True,
    "quorate_execution_seconds_count": True,
    "quorate_storage_sync_seconds_count": True,
    "quorate_storage_bytes": True,
    "quorate_peer_connected": True,
    "quorate_peer_rejected_total": False,
    "quorate_sync_lag_blocks": False,
    "quorate_state_divergence_total": False,
    "quorate_evidence_total": False,
    "quorate_build_info": False,
}


def promtool(*arguments, stdin=None):
    done = subprocess.run(["promtool", *arguments], input=stdin, capture_output=True, timeout=60)
    if done.returncode or done.stderr.strip() and stdin is not None:
        sys.exit(f"metrics: promtool {' '.join(arguments)}: {done.stdout.decode()}{done.stderr.decode()}")


def configuration(net, port, directory):
    """deploy/prometheus as it is, with the addresses of this testnet and a faster pace."""
    for name in ("alerts.yml", "recording.yml"):
        shutil.copy(DEPLOY / "prometheus" / name, directory)
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    targets = ", ".join(f'"{net.admin_address(i)}"' for i in range(4))
    text, replaced = re.subn(r"^( +- )targets: \[.*\]", rf"\g<1>targets: [{targets}]", text, flags=re.M)
    assert replaced == 1, "prometheus.yml names its targets once"
    text, replaced = re.subn(r"_interval: 5s", "_interval: 1s", text)
    assert replaced == 2, "prometheus.yml says how often it scrapes and judges"
    file = pathlib.Path(directory) / "prometheus.yml"
    file.write_text(text)
    promtool("check", "config", str(file))
    return file


class Prometheus:
    def __init__(self, file, port, directory):
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(pathlib.Path(directory) / "prometheus.log", "wb")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{port}"],
            stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 60
        while not answers(self.url + "/-/ready"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit("metrics: prometheus does not start:\n" + pathlib.Path(self.log.name).read_text())
            time.sleep(0.1)

    def query(self, expression):
        answer = get_json(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def wait_for(self, expression, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not self.query(expression):
            if time.monotonic() > deadline:
                sys.exit(f"metrics: {what}: nothing answers {expression}")
            time.sleep(0.5)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)


def expressions(dashboard):
    """Of every panel, with Grafana's variables filled in as Grafana would."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            continue
        assert panel.get("targets"), f"panel {panel['title']!r} asks for nothing"
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "15s")
            yield panel["title"], expression.replace("$job", "quorate").replace("$instance", ".*")


def without_data(prometheus):
    dashboard = json.loads((DEPLOY / "grafana" / "quorate.json").read_text())
    count, empty = 0, []
    for title, expression in expressions(dashboard):
        count += 1
        values = [float(sample["value"][1]) for sample in prometheus.query(expression)]
        if not any(math.isfinite(value) for value in values):
            empty.append(f"{title}: {expression}: {values}")
    return count, empty


def check_promised(prometheus):
    for name, moves in PROMISED.items():
        if not prometheus.query(f'{name}{{job="quorate"}}'):
            sys.exit(f"metrics: {name} is not there")
        if moves and not prometheus.query(f"sum(changes({name}[10m])) > 0"):
            sys.exit(f"metrics: {name} does not move")


def put(url, text):
    request = urllib.request.Request(url, data=text.encode(), method="PUT", headers={"Content-Type": "text/plain"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode().strip()


def check_log_level(net):
    """Changed by the admin port, and back by SIGHUP, in a process that goes on."""
    url = net.admin() + "/debug/log-level"
    before = get(url).decode().strip()
    assert put(url, "debug") == "debug" and get(url) == b"debug\n"
    net.processes[0].send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    while get(url).decode().strip() != before:
        assert time.monotonic() < deadline, "SIGHUP does not bring the level of config.toml back"
        time.sleep(0.05)
    events = [json.loads(line).get("event") for line in (net.directory / "validator-0.log").read_text().splitlines() if line.startswith("{")]
    assert events.count("log_level_changed") == 2 and "started" in events, events


def main():
    with cluster() as net, tempfile.TemporaryDirectory(prefix="quorate-prometheus.") as directory:
        promtool("check", "metrics", stdin=get(net.admin() + "/metrics"))
        [port] = free_ports(1)
        file = configuration(net, port, directory)
        prometheus = Prometheus(file, port, directory)
        load = net.load(rate=50, seconds=LOAD_SECONDS)
        try:
            prometheus.wait_for('sum(up{job="quorate"}) == 4', "all four are scraped")
            prometheus.wait_for('sum(rate(quorate_transactions_total{result="executed"}[15s])) > 0', "transactions are executed")
            prometheus.wait_for('sum(count_over_time(quorate_build_info[15s])) >= 48', "some seconds of samples")
            count, empty = without_data(prometheus)
            if empty:
                sys.exit("metrics: panels without data:\n  " + "\n  ".join(empty))
            for name in sorted(set(re.findall(r"record: (\S+)", (DEPLOY / "prometheus" / "recording.yml").read_text()))):
                prometheus.wait_for(name, "a recorded series")
            alerts = prometheus.query('ALERTS{alertstate=~"firing|pending"}')
            if alerts:
                sys.exit(f"metrics: alerts in a healthy run: {alerts}")
            # One killed: its votes and its connections are missing, and so is its target.
            net.kill(3)
            prometheus.wait_for('sum(quorate_peer_connected{validator="3"} == 0)', "a killed validator shows")
            # Two killed: no quorum is left, so that every round times out and what clients send waits. One alone might never
            # be a leader again, and four are fast enough for the queue to be empty whenever it is scraped.
            net.kill(2)
            prometheus.wait_for("sum(increase(quorate_consensus_timeouts_total[1m])) > 0", "rounds without a quorum time out")
            prometheus.wait_for("sum(quorate_mempool_bytes) > 0", "transactions wait without a quorum")
            prometheus.wait_for('ALERTS{alertname="QuorateDown", alertstate="pending"}', "the alert of a target that is gone")
            check_promised(prometheus)
            promtool("check", "metrics", stdin=get(net.admin() + "/metrics"))
            check_log_level(net)
        finally:
            prometheus.stop()
            load.kill()
            load.wait()
    print(f"metrics: {len(PROMISED)} promised metrics are there, {sum(PROMISED.values())} of them moved; {count} expressions of the dashboard have data; "
          "no alert in the healthy run; the killed validator's alert is pending; the log level changes at run time")


if __name__ == "__main__":
    main()
