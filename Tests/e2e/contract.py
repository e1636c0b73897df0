"""Holds a server against what it says of itself, by schemathesis: `contract.py BINARY [EXAMPLES]`.

All checks but one, in all phases, links between operations included: once with the token and once without. A server of its own,
in which one job has ended, answers; no failure is accepted, and none of its answers may be a 5xx.
"""

import os
import subprocess
import sys

from service import Service, mlp

HERE = os.path.dirname(os.path.abspath(__file__))
PHASES = "examples,coverage,fuzzing,stateful"


def run(service, examples, location, phases, *arguments):
    """One run of schemathesis; its exit code."""
    # Ten wrong tokens in a minute are told 429, which `ignored_auth` takes for a fault; StrangerTests asks every route
    # with none and with a wrong one.
    tool = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    command = [tool, "--config-file", os.path.join(HERE, "schemathesis.toml"), "run", location,
               "--url", service.address, "--checks", "all", "--exclude-checks", "ignored_auth", "--phases", phases,
               "--max-examples", examples, "--continue-on-failure", "--no-color", "--warnings", "off", *arguments]
    # It keeps what it found in the folder where it runs.
    return subprocess.run(command, check=False, cwd=service.data).returncode


def main():
    binary, examples = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "30"
    with Service(binary, "--workers", "1", "--writes-per-second", "0") as service:
        service.wait(service.submit({**mlp(name="contract"), "train": {"steps": 2}})["id"])
        description = os.path.abspath(os.path.join(service.data, os.pardir, "openapi.json"))
        with open(description, "wb") as file:
            file.write(service.get("/openapi.json").body)
        print("contract: with the token", flush=True)
        with_token = run(
            service, examples, description, PHASES, "--header", f"Authorization: Bearer {service.token}")
        print("contract: without a token", flush=True)
        without = run(service, examples, description, "coverage,fuzzing")
        answers = service.get("/metrics").body.decode()
        faults = [line for line in answers.splitlines()
                  if 'status="5' in line and 'status="503"' not in line and 'status="505"' not in line]
        assert service.process.poll() is None, "the server ended"
        assert not faults, faults
    sys.exit(with_token or without)


if __name__ == "__main__":
    main()
