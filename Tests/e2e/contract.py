"""Holds a server against what it says of itself, by schemathesis: `contract.py BINARY [EXAMPLES [RUN]]`.

All checks in all phases, with the token and without one. A server of its own answers: it has a job, models, datasets and a webhook
that has been told something, so that links between operations lead to things that there are. No failure is accepted, none
of its answers may be a 5xx that says more than "busy" or "full", and it must be alive in the end.
"""

import http.server
import os
import subprocess
import sys
import threading
import time

from service import Service, mlp

HERE = os.path.dirname(os.path.abspath(__file__))
# What is drawn may be a training of hours or a pause for ever, and a long poll would wait for its end.
JOB_SECONDS = 5
# Sequences of requests, each of up to twelve, are tried for so long: a search for more of them ends by itself much earlier.
SEQUENCE_SECONDS = "60"
# Each run ends by its number of examples; this is for one that does not.
RUN_SECONDS = 480
READER = {"type": "train", "dataset": "mail", "train": {"steps": 2},
          "model": {"preset": "bert", "layers": 1, "heads": 2, "width": 16, "context": 12}}
TEXTS = "text,label\n" + "buy cheap pills,spam\nsee you at noon,ham\n" * 40


class Listener(http.server.BaseHTTPRequestHandler):
    """Takes whatever a webhook is told."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def run(service, name, examples, location, phases, *arguments):
    """One run of schemathesis; whether it found nothing."""
    print(f"contract: {name}", flush=True)
    tool = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    command = [tool, "--config-file", os.path.join(HERE, "schemathesis.toml"), "run", location,
               "--url", service.address, "--phases", phases, "--max-examples", examples,
               "--request-timeout", "30", "--continue-on-failure", "--no-color", "--warnings", "off", *arguments]
    begin = time.monotonic()
    try:
        # It keeps what it found in the folder where it runs.
        code = subprocess.run(command, check=False, cwd=os.path.dirname(location), timeout=RUN_SECONDS).returncode
    except subprocess.TimeoutExpired:
        print(f"contract: {name}: not over after {RUN_SECONDS} s", flush=True)
        return False
    print(f"contract: {name}: {time.monotonic() - begin:.0f} s, exit code {code}", flush=True)
    return code == 0


def fill(service, address):
    """Gives the server something of everything."""
    service.wait(service.submit({**mlp(name="contract"), "train": {"steps": 2}})["id"])
    dataset = service.post("/v1/datasets", {"name": "mail", "format": "csv"}).json["id"]
    sent = service.call("PUT", f"/v1/datasets/{dataset}/files/train.csv", TEXTS.encode(),
                        headers={"Content-Type": "application/octet-stream"})
    assert sent.status == 201, sent
    assert service.post(f"/v1/datasets/{dataset}/commit").status == 200
    service.wait(service.submit(READER)["id"])
    told = service.post(f"/v1/webhooks/{tell(service, address)}/test")
    assert told.json["state"] == "delivered", told


def tell(service, address):
    """Makes a webhook; its id."""
    return service.post("/v1/webhooks", {"url": address}).json["id"]


def care(service, address, is_over):
    """Ends what goes on for too long, and makes again what sequences of requests have deleted, until told to stop."""
    going = "queued,running,pausing,paused,cancelling"
    while not is_over.wait(1):
        for job in service.get(f"/v1/jobs?state={going}&limit=1000").json.get("data", []):
            if time.time() - job["transitions"][-1]["at"] > JOB_SECONDS:
                service.post(f"/v1/jobs/{job['id']}/cancel")
        if not service.get("/v1/models").json.get("data"):
            service.post("/v1/jobs", {**mlp(name="contract"), "train": {"steps": 2}})
        if not service.get("/v1/webhooks").json.get("data"):
            service.post(f"/v1/webhooks/{tell(service, address)}/test")


def main():
    binary, examples, only = (sys.argv[1:] + ["30", None][len(sys.argv) - 2:])[:3]
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{listener.server_port}"
    # The limits on what one client may do are tested elsewhere; here each answer would be the same 429.
    with Service(binary, "--workers", "1", "--writes-per-second", "0", "--credential-failures", "1000000",
                 "--webhook-host", host, "--webhook-host", "hooks.example.com") as service:
        fill(service, f"http://{host}/")
        location = os.path.abspath(os.path.join(service.data, os.pardir, "openapi.json"))
        with open(location, "wb") as file:
            file.write(service.get("/openapi.json").body)
        is_over = threading.Event()
        carer = threading.Thread(target=care, args=(service, f"http://{host}/", is_over))
        carer.start()
        try:
            token = ["--header", f"Authorization: Bearer {service.token}"]
            runs = [
                ("requests", examples, "examples,coverage,fuzzing", token),
                ("sequences", examples, "stateful", [*token, "--max-time", SEQUENCE_SECONDS]),
                # Every answer is 401, whatever the query and the body: what is valid otherwise is enough.
                ("strangers", "5", "coverage,fuzzing", ["--mode", "positive"]),
            ]
            results = [run(service, name, count, location, phases, *more)
                       for name, count, phases, more in runs if only in (None, name)]
        finally:
            is_over.set()
            carer.join()
        assert service.process.poll() is None, "the server ended"
        answers = service.get("/metrics").body.decode()
        faults = [line for line in answers.splitlines()
                  if 'status="5' in line and not any(f'status="{code}"' in line for code in ("503", "505", "507"))]
        assert not faults, faults
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
