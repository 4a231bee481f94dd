#!/usr/bin/env python3
"""schemathesis against a running testnet: whatever it sends, every answer is one that /openapi.json describes.

Run by `make api-test`. The report stays in the target directory, under artefacts/api.
"""

import json
import os
import subprocess
import sys

from cluster import artefacts, cluster, get_json

# Not among them: positive_data_acceptance, since a transaction that is well-formed by its schema is one in 2^512 by its
# signature.
CHECKS = ",".join([
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance",
])
SECONDS = os.environ.get("SECONDS_OF_FUZZING", "30")


def main():
    directory = artefacts("api").resolve()
    with cluster() as net:
        put = json.loads(net.client("--output", "json", "kv", "put", "greeting", "hello").stdout)
        client = get_json(net.api() + "/v1/genesis")["clients"][0]["key"]
        head = get_json(net.api() + "/v1/status")["height"]
        known = next(block for block in get_json(f"{net.api()}/v1/blocks?from={head}&limit=100")["blocks"] if block["transactions"])
        receipt = get_json(f"{net.api()}/v1/blocks/{known['height']}/receipts")["receipts"][0]
        assert put, "a put has a receipt"
        environment = {
            **os.environ,
            "PYTHONPATH": os.path.dirname(os.path.abspath(__file__)),
            "SCHEMATHESIS_HOOKS": "api_hooks",
            "QUORATE_KNOWN_TRANSACTION": receipt["transaction"],
            "QUORATE_KNOWN_HEIGHT": str(known["height"]),
            "QUORATE_KNOWN_CLIENT": client,
        }
        # One worker: Hypothesis seeds the process's random numbers anew for each draw, which two threads do to each other.
        schemathesis = os.path.join(os.path.dirname(sys.executable), "schemathesis")
        done = subprocess.run([
            schemathesis, "run", net.api() + "/openapi.json", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
            "--max-time", SECONDS, "--request-timeout", "20", "--workers", "1", "--seed", "1", "--generation-database", "none",
            "--suppress-health-check", "all", "--continue-on-failure", "--warnings", "off", "--no-color",
            "--report", "junit", "--report-junit-path", str(directory / "junit.xml"),
        ], env=environment, cwd=directory, capture_output=True, text=True, timeout=600)
        (directory / "schemathesis.log").write_text(done.stdout + done.stderr)
        print("\n".join(done.stdout.splitlines()[-400 if done.returncode else -12:]))
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            sys.exit(f"api: schemathesis found something; all of it is in {directory}/schemathesis.log")
        for i in range(4):
            if net.processes[i].poll() is not None:
                sys.exit(f"api: validator {i} did not survive\n{net.log(i)}")
    print("api: every answer is one that the document describes")


if __name__ == "__main__":
    main()
