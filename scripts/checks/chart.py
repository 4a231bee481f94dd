#!/usr/bin/env python3
"""Has a rendered Helm chart what the set needs? Ends with status 1 and a line for each property that is missing.

The schemas of the API say whether the manifests are well formed; this says whether they are those of a validator set: a
StatefulSet with one claim and one stable address a validator, a disruption budget, probes that are answered. The script
of the init container is run, with the secrets of homes that `quorate testnet` made.

    helm template chart … | scripts/checks/chart.py --validators 4 --release chain --net DIR
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

PORTS = {"peers": (7650, "UDP"), "api": (7651, "TCP"), "admin": (7652, "TCP")}


def includes(labels, selector):
    return bool(selector) and selector.items() <= labels.items()


class Chart:
    def __init__(self, documents, release, validators):
        self.release, self.validators = release, validators
        self.of = {}
        for document in documents:
            self.of.setdefault(document["kind"], []).append(document)
        self.wrong = []

    def must(self, holds, what):
        if not holds:
            self.wrong.append(what)

    def only(self, kind):
        found = self.of.get(kind, [])
        self.must(len(found) == 1, f"one {kind} is wanted, and there are {len(found)}")
        return found[0]["spec"] if found else {}

    def look(self):
        self.set = self.only("StatefulSet")
        if not self.set:
            return
        self.pod = self.set["template"]["spec"]
        self.labels = self.set["template"]["metadata"]["labels"]
        self.look_at_set()
        self.look_at_claims()
        self.look_at_services()
        self.look_at_disruption()
        self.look_at_container()
        self.look_at_keys()
        self.look_at_monitor()

    def look_at_set(self):
        names = [s["metadata"]["name"] for s in self.of["StatefulSet"]]
        self.must(names == [self.release], f"the set is called {names}, so its pods are not {self.release}-0, …")
        self.must(self.set["replicas"] == self.validators, "the set has another number of pods than validators")
        self.must(includes(self.labels, self.set["selector"]["matchLabels"]), "the set does not select its own pods")
        self.must(self.set.get("podManagementPolicy") == "Parallel", "pods wait for each other: a set without a quorum never starts")
        self.must(self.set["updateStrategy"] == {"type": "RollingUpdate"}, "an update is not one validator at a time")

    def look_at_claims(self):
        claims = self.set.get("volumeClaimTemplates", [])
        self.must(len(claims) == 1, "a validator has not exactly one claim")
        kept = self.set.get("persistentVolumeClaimRetentionPolicy")
        self.must(kept == {"whenDeleted": "Retain", "whenScaled": "Retain"}, "what was signed is deleted with the set")
        for claim in claims:
            self.must(claim["spec"]["accessModes"] == ["ReadWriteOncePod"], "two pods may write one home")
            mounts = self.pod["containers"][0]["volumeMounts"]
            self.must(any(m["name"] == claim["metadata"]["name"] for m in mounts), "the claim is mounted nowhere")

    def look_at_services(self):
        services = {s["metadata"]["name"]: s["spec"] for s in self.of.get("Service", [])}
        governing = services.get(self.set["serviceName"], {})
        self.must(governing.get("clusterIP") == "None", "the set's service is missing, or not headless: pods have no names")
        self.must(governing.get("publishNotReadyAddresses"), "peers cannot find each other before they are ready")
        for ordinal in range(self.validators):
            name = f"{self.release}-{ordinal}"
            own = services.get(name, {})
            selector = own.get("selector", {})
            pod = {**self.labels, "statefulset.kubernetes.io/pod-name": name}
            alone = selector.get("statefulset.kubernetes.io/pod-name") == name and includes(pod, selector)
            self.must(alone, f"{name} has no address of its own")
            self.must(own.get("publishNotReadyAddresses"), f"{name} has no address before it is ready")
            self.must([(p["port"], p["protocol"]) for p in own.get("ports", [])] == [PORTS["peers"]], f"{name} is not at 7650/udp")
        others = [s for name, s in services.items() if not name.startswith(f"{self.release}-")]
        self.must(any(includes(self.labels, s["selector"]) and s["ports"][0]["port"] == 7651 for s in others), "clients have no service")
        ports = {p["name"] for p in self.pod["containers"][0]["ports"]}
        for name, service in services.items():
            for port in service["ports"]:
                self.must(port["targetPort"] in ports, f"service {name}: no container port is called {port['targetPort']}")

    def look_at_disruption(self):
        budget = self.only("PodDisruptionBudget")
        self.must(budget.get("maxUnavailable") == 1, "more than one validator may be taken away at once")
        self.must(includes(self.labels, budget.get("selector", {}).get("matchLabels")), "the disruption budget is about other pods")

    def look_at_container(self):
        container = self.pod["containers"][0]
        found = {p["name"]: (p["containerPort"], p["protocol"]) for p in container["ports"]}
        self.must(found == PORTS, f"the ports are {found}")
        for probe, path in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
            asked = container.get(probe, {}).get("httpGet")
            self.must(asked == {"path": path, "port": "admin"}, f"the {probe} does not ask {path} of the admin port")
        listens = {e["name"]: e["value"] for e in container["env"]}
        self.must(listens.get("QUORATE_ADMIN__LISTEN") == "0.0.0.0:7652", "the kubelet's probes do not reach the admin port")
        self.must(self.pod["terminationGracePeriodSeconds"] > 20, "a validator is killed before its 20 s of draining are over")
        self.must(self.pod["securityContext"].get("runAsNonRoot"), "it runs as root")
        for each in [container, *self.pod["initContainers"]]:
            locked = each.get("securityContext", {})
            self.must(
                locked.get("readOnlyRootFilesystem")
                and locked.get("allowPrivilegeEscalation") is False
                and locked.get("capabilities") == {"drop": ["ALL"]},
                f"container {each['name']} is not locked down",
            )

    def look_at_keys(self):
        volumes = [v for v in self.pod["volumes"] if v["name"] == "keys"]
        sources = volumes[0]["projected"]["sources"] if volumes else []
        paths = {item["path"] for s in sources for item in s["secret"]["items"]}
        wanted = {f"{i}/{file}" for i in range(self.validators) for file in ("consensus.pem", "network.pem", "config.toml")}
        self.must(paths == wanted, "not every validator has its keys and settings")

    def look_at_monitor(self):
        """Prometheus' operator takes the job from a label of the scraped service, or else from its name; the alerts ask for `quorate`."""
        for monitor in (m["spec"] for m in self.of.get("ServiceMonitor", [])):
            for endpoint in monitor["endpoints"]:
                scraped = [
                    s["metadata"]["labels"]
                    for s in self.of.get("Service", [])
                    if includes(s["metadata"]["labels"], monitor["selector"]["matchLabels"])
                    and endpoint["port"] in {p["name"] for p in s["spec"]["ports"]}
                ]
                self.must(len(scraped) == 1, f"{len(scraped)} services and not one have the port {endpoint['port']} to scrape")
                jobs = {labels.get(monitor.get("jobLabel")) for labels in scraped}
                self.must(jobs == {"quorate"}, f"the scraped job is called {jobs}, and the alerts ask for quorate")

    def lay_homes(self, net, quorate):
        """Runs the init container's script twice, as at a start and a restart, with the homes' files as secrets."""
        script = self.pod["initContainers"][0]["args"][0]
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            for ordinal in range(self.validators):
                home = net / f"validator-{ordinal}"
                keys = root / "secrets/keys" / str(ordinal)
                keys.mkdir(parents=True)
                for file in ("keys/consensus.pem", "keys/network.pem", "config.toml"):
                    (keys / Path(file).name).write_bytes((home / file).read_bytes())
            (root / "secrets/genesis").mkdir()
            (root / "secrets/genesis/genesis.json").write_bytes((net / "genesis.json").read_bytes())
            for ordinal in range(self.validators):
                claim = root / f"claim-{ordinal}"
                claim.mkdir()
                here = script.replace("/home/validator", str(claim)).replace("/secrets", str(root / "secrets"))
                environment = {**os.environ, "HOSTNAME": f"{self.release}-{ordinal}"}
                for _ in range(2):
                    subprocess.run(["/bin/sh", "-euc", here], env=environment, check=True)
                doctor = [quorate, "doctor", "--home", claim / "home", "--min-free", "1"]
                said = subprocess.run(doctor, capture_output=True, text=True)
                problems = [line for line in said.stdout.splitlines() if line.startswith("PROBLEM") and "port_taken" not in line]
                self.must(said.returncode in (0, 1) and not problems, f"the home of validator {ordinal}: {problems or said.stderr}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--validators", type=int, required=True)
    arguments.add_argument("--release", required=True)
    arguments.add_argument("--net", type=Path, required=True, help="what quorate testnet made")
    arguments.add_argument("--quorate", default="quorate", help="the binary")
    given = arguments.parse_args()
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    chart = Chart(documents, given.release, given.validators)
    chart.look()
    if not chart.wrong:
        chart.lay_homes(given.net, given.quorate)
    for line in chart.wrong:
        print(f"chart: {line}", file=sys.stderr)
    return 1 if chart.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
