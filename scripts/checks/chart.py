#!/usr/bin/env python3
"""Has a rendered Helm chart what the set needs? Ends with status 1 and a line for each property that is missing.

The schemas of the API say whether the manifests are well formed; this says whether they are those of a validator set: a
StatefulSet with one claim and one stable address a validator, a disruption budget, probes that are answered, an admin port
that is not open to everybody. The scripts of the init containers are run as the user of the pod, with the secrets of homes
that `quorate testnet` made: an empty volume is refused unless somebody says what it is.

    helm template chart … | scripts/checks/chart.py --validators 4 --release chain --net DIR
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

# Of the image.
USER = 7650
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
        self.look_at_orders()
        self.look_at_network()
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
        waits = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
        self.must(waits > 0, "a validator ends while clients are still sent to it")
        self.must(self.pod["terminationGracePeriodSeconds"] > waits + 20, "a validator is killed before its 20 s of draining are over")
        started = container.get("startupProbe", {})
        self.must(started.get("periodSeconds", 10) * started.get("failureThreshold", 3) >= 300, "a start is killed within five minutes")
        for each in (container, self.init("maintenance")):
            scratch = {e["name"]: e["value"] for e in each["env"]}.get("TMPDIR")
            mounted = {m["name"] for m in each["volumeMounts"] if m["mountPath"] == scratch and not m.get("readOnly")}
            empty = {v["name"] for v in self.pod["volumes"] if "emptyDir" in v}
            self.must(mounted & empty, f"container {each['name']} has no place for temporary files")
        self.must(self.pod["securityContext"].get("runAsNonRoot"), "it runs as root")
        for each in [container, *self.pod["initContainers"]]:
            locked = each.get("securityContext", {})
            self.must(
                locked.get("readOnlyRootFilesystem")
                and locked.get("allowPrivilegeEscalation") is False
                and locked.get("capabilities") == {"drop": ["ALL"]},
                f"container {each['name']} is not locked down",
            )

    def init(self, name):
        return next(c for c in self.pod["initContainers"] if c["name"] == name)

    def look_at_keys(self):
        volumes = [v for v in self.pod["volumes"] if v["name"] == "keys"]
        sources = [s["secret"] for s in volumes[0]["projected"]["sources"]] if volumes else []
        paths = {optional: {i["path"] for s in sources if s.get("optional", False) is optional for i in s["items"]} for optional in (False, True)}
        wanted = {f"{i}/{file}" for i in range(self.validators) for file in ("consensus.pem", "network.pem", "config.toml")}
        self.must(paths[False] == wanted, "not every validator has its keys and settings")
        self.must(paths[True] == {f"{i}/passphrase" for i in range(self.validators)}, "not every validator may have a passphrase, or one must")

    def look_at_orders(self):
        named = [v["configMap"]["name"] for v in self.pod["volumes"] if v["name"] == "orders"]
        found = {m["metadata"]["name"]: m["data"] for m in self.of.get("ConfigMap", [])}
        orders = found.get(named[0], {}) if named else {}
        self.must(set(orders) == {"firstStart", "recover", "maintenance"}, f"what the init containers ask for is {orders}")
        self.must("checksum" not in str(self.set["template"]["metadata"]), "a word about one validator restarts the others")

    def look_at_network(self):
        for policy in (p["spec"] for p in self.of.get("NetworkPolicy", [])):
            self.must(includes(self.labels, policy["podSelector"]["matchLabels"]), "the network policy is about other pods")
            self.must(policy["policyTypes"] == ["Ingress"], "the network policy keeps validators from reaching each other")
            anybody = {p["port"] for rule in policy["ingress"] if not rule.get("from") for p in rule["ports"]}
            self.must(anybody == {"peers", "api"}, f"anybody reaches the ports {sorted(anybody)}")
            admin = [who for rule in policy["ingress"] for p in rule["ports"] if p["port"] == "admin" for who in rule.get("from", [])]
            self.must({"podSelector": {}} in admin, "the pods of the same namespace do not reach the admin port")

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
        """Runs the init containers' scripts as the pods' user, with the homes' files as secrets."""
        with tempfile.TemporaryDirectory() as directory:
            self.root = Path(directory)
            self.quorate = self.root / "quorate"
            shutil.copy(quorate, self.quorate)
            for ordinal in range(self.validators):
                keys = self.root / "secrets/keys" / str(ordinal)
                keys.mkdir(parents=True)
                for file in ("keys/consensus.pem", "keys/network.pem", "config.toml"):
                    (keys / Path(file).name).write_bytes((net / f"validator-{ordinal}" / file).read_bytes())
                (self.root / f"claim-{ordinal}").mkdir()
            (self.root / "secrets/genesis").mkdir()
            (self.root / "secrets/genesis/genesis.json").write_bytes((net / "genesis.json").read_bytes())
            (self.root / "secrets/keys/0/passphrase").write_text("open sesame\n")
            (self.root / "orders").mkdir()
            (self.root / "credentials").mkdir()
            # As the kubelet gives them: secrets for the group to read, volumes of the pod's user.
            for path in (self.root, *self.root.rglob("*")):
                secret = path.is_file() and path.is_relative_to(self.root / "secrets")
                path.chmod(0o440 if secret else 0o755)
                if os.geteuid() == 0:
                    os.chown(path, 0 if secret else USER, USER)
            for ordinal in range(self.validators):
                self.look_at_start(ordinal)
            opens = self.root / "credentials/quorate.passphrase"
            self.must(opens.is_file() and opens.read_text() == "open sesame\n", "a passphrase does not reach its validator")

    def look_at_start(self, ordinal):
        claim = self.root / f"claim-{ordinal}"
        home = claim / "home"
        others = f"1{ordinal} {ordinal}1"

        def runs(name, wanted=0, **orders):
            done = self.run(name, ordinal, orders)
            told = f"{name} of validator {ordinal}, told {orders}"
            self.must(done.returncode == wanted, f"{told}, ends with {done.returncode} and not {wanted}: {done.stderr}")
            return done

        for _ in range(2):
            runs("home")
        doctor = self.as_user([self.quorate, "doctor", "--home", home, "--min-free", "1"])
        problems = [line for line in doctor.stdout.splitlines() if line.startswith("PROBLEM") and "port_taken" not in line]
        self.must(doctor.returncode in (0, 1) and not problems, f"the home of validator {ordinal}: {problems or doctor.stderr}")
        if self.wrong:
            return
        # An empty volume: nothing but a word of somebody makes it start.
        said = runs("memory", wanted=1).stderr
        self.must("firstStart=true" in said and f"recover={{{ordinal}}}" in said, f"who is refused is not told what to do: {said}")
        runs("memory", wanted=1, recover=others)
        runs("memory", firstStart="true")
        self.must(not (home / "safety").exists() and not (home / "data").exists(), "an init container makes what a validator makes")
        runs("memory", recover=f"{others} {ordinal}")
        self.must((home / "safety/forgetful").exists(), "a lost home is not recovered")
        runs("memory")
        shutil.rmtree(home / "safety")
        # A whole home starts, and is left alone even if it is still named; of half a home, the validator says what is missing.
        for present in (["data/CURRENT", "safety/ceiling", "safety/synced"], ["safety/ceiling"], ["data/CURRENT"]):
            self.as_user(["mkdir", home / "data", home / "safety"])
            self.as_user(["touch", *(home / file for file in present)])
            runs("memory")
            if len(present) == 3:
                runs("memory", recover=str(ordinal))
                self.must(not (home / "safety/forgetful").exists(), "a whole home is recovered again")
            shutil.rmtree(home / "safety")
            shutil.rmtree(home / "data")
        runs("maintenance", maintenance=others)
        self.look_at_maintenance(ordinal)

    def look_at_maintenance(self, ordinal):
        """It sleeps while its ordinal is named, goes on when it is not any more, and ends when it is told to."""
        for end in ("orders", "SIGTERM"):
            self.order({"maintenance": str(ordinal)})
            asleep = subprocess.Popen(**self.command("maintenance", ordinal), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.must("maintenance" in asleep.stdout.readline(), "who is in maintenance does not say so")
            time.sleep(0.2)
            self.must(asleep.poll() is None, f"validator {ordinal} starts in the middle of maintenance")
            if end == "orders":
                self.order({})
            else:
                asleep.terminate()
            asleep.communicate(timeout=20)
            self.must((asleep.returncode == 0) == (end == "orders"), f"maintenance ends with {asleep.returncode} after {end}")

    def order(self, orders):
        for name, text in {"firstStart": "false", "recover": "", "maintenance": "", **orders}.items():
            (self.root / "orders" / name).write_text(text)

    def command(self, name, ordinal):
        script = self.init(name)["args"][0]
        for place in ("/home/validator", "/secrets", "/orders", "/credentials"):
            own = self.root / (f"claim-{ordinal}" if place == "/home/validator" else place[1:])
            script = script.replace(place, str(own))
        script = script.replace("/usr/bin/quorate", str(self.quorate))
        environment = {**os.environ, "HOSTNAME": f"{self.release}-{ordinal}"}
        who = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
        return {"args": ["/bin/sh", "-euc", script], "env": environment, "cwd": "/", **who}

    def run(self, name, ordinal, orders):
        self.order(orders)
        return subprocess.run(**self.command(name, ordinal), capture_output=True, text=True)

    def as_user(self, command):
        who = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
        return subprocess.run(command, cwd="/", capture_output=True, text=True, **who)


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
