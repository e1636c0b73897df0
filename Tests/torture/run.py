#!/usr/bin/env python3
"""Kills the server at random moments and at named places, and holds what is left against what was promised.

    Tests/torture/run.py --binary .build/release/vintner --debug .build/debug/vintner --kills 200 --each 20

Random kills (`kill -9`, at a moment drawn from the first seconds after the start) hit the release binary, kills at
places the debug one (`VINTNER_FAIL`). After each the rows' invariants (I2-I5, I7, I8) and every named file's SHA-256
(I6) are checked by the doctor; after each restart what was acknowledged (jobs, datasets, webhooks) must be there (I1,
I2) and temporary files gone (I9). SIGTERM comes at random moments too, while long polls and half an upload are open: it
must end the server with 0 in time and leave nothing to tidy. At the end every job is driven to its end and its weights must be those of an undisturbed run (I10), and a webhook must have been told of each job's end.

With `--record FILE` totals are kept over several calls; `--document FILE` writes them as a table between the lines
`<!-- torture -->` and `<!-- /torture -->`. Exit code 0 only if nothing was broken. Standard library only.
"""

import argparse
import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]

from crowd import Crowd  # noqa: E402
from ending import every, finish  # noqa: E402
from load import Client, Failed, TEMPLATES, Witness, add_dataset, dismiss, send_submission  # noqa: E402
from parcels import Parcels, Receiver  # noqa: E402
from service import Service, ServiceError  # noqa: E402
from table import BAD, add, markdown, write_into  # noqa: E402
from test_resume import digest  # noqa: E402

# The places (Sources/FailPoints/FailPoint.swift), and how often one may be passed before the kill.
PLACES = {
    "before_submit_commit": 6, "after_submit_commit": 6, "after_claim": 4, "event_append": 40, "after_file_write": 8,
    "before_file_rename": 8, "after_file_rename": 8, "before_checkpoint_row": 5, "after_checkpoint_row": 5,
    "after_model_files": 2, "before_finish_commit": 3, "after_finish_commit": 3, "after_cancel_commit": 2,
    "after_delete_commit": 1, "after_burial": 1, "after_recovery": 1,
}
# While the server is told to end, and how long it may take.
POLLS, END_SECONDS = 200, 30
# What a killed process may leave for the next start to tidy.
TIDIED = {"left_running", "leftover", "orphan"}


class Torture:
    """One data folder through many kills."""

    def __init__(self, release, seed, seconds, kept):
        self.release, self.seconds = release, seconds
        self.draw = random.Random(seed)
        self.home = tempfile.mkdtemp(prefix="vintner-torture-")
        self.data = os.path.join(self.home, "data")
        os.makedirs(kept, exist_ok=True)
        self.witness = Witness(os.path.join(kept, f"acknowledged-{seed}.jsonl"))
        self.parcels = Parcels(Receiver())
        self.truth, self.rows, self.starts, self.ends = {}, {}, [], []
        # A job that stands still, for the long polls.
        self.still = None
        add_dataset(release, self.data)

    # The truth

    def run_undisturbed(self):
        """Each kind of job once, in peace: the weights that every other run of it must come to."""
        with tempfile.TemporaryDirectory() as home:
            data = os.path.join(home, "data")
            add_dataset(self.release, data)
            with Service(self.release, data=data) as service:
                witness, found = Witness(os.devnull), {}
                for name, (_, needs) in TEMPLATES.items():
                    order = {"key": name, "template": name, "needs": [found[needs]] if needs else None}
                    found[name] = send_submission(service, witness, order)
                for name, job in found.items():
                    self.truth[name] = self.outcome(service, service.wait(job))
                service.terminate()

    @staticmethod
    def outcome(service, job):
        """What a job came to: the digest of its weights, or its figures."""
        if job["state"] != "succeeded":
            raise Failed(f"an undisturbed {job['name']} is {job['state']}: {job['error']}")
        if job["result"]["model_id"]:
            return digest(service.weights(job))
        return json.dumps([job["result"]["report"][name] for name in ("accuracy", "loss", "confusion")])

    def prepare(self):
        """Makes the webhook that is told of every job, and the job that the long polls wait for."""
        with self.server(self.release) as service:
            reply = service.post("/v1/webhooks", {"url": f"http://{self.parcels.receiver.host}/all"})
            self.parcels.receiver.secrets["all"] = reply.json["secret"]
            self.parcels.webhooks["all"] = {
                "name": "all", "id": reply.json["id"], "gone": False, "busy": False, "reserved": True}
            self.still = send_submission(service, self.witness, {"key": "still", "template": "short", "needs": None})
            service.post(f"/v1/jobs/{self.still}/pause")
            service.wait(self.still, lambda job: job["state"] == "paused")
            self.witness.jobs[self.still].update(reserved=True, paused=True, asked={"pause"})
            service.terminate()

    # Kills

    def row(self, name):
        """The figures of one kind of end."""
        return self.rows.setdefault(name, {"kills": 0, "missed": 0, "acknowledged": 0, **dict.fromkeys(BAD, 0)})

    def server(self, binary):
        return Service(binary, "--writes-per-second", "0", "--webhook-host", self.parcels.receiver.host, data=self.data)

    def clients(self, service):
        """Three clients at work."""
        clients = [Client(service, self.witness, self.draw.getrandbits(64), self.parcels) for _ in range(3)]
        for client in clients:
            client.start()
        return clients

    def kill_once(self, name, binary, place=None):
        """Starts the server under load, kills it, and checks what is left; adds to the row `name`."""
        row, before = self.row(name), self.witness.acknowledged
        service = self.server(binary)
        if place:
            service.environment["VINTNER_FAIL"] = f"{place}:{self.draw.randint(1, PLACES[place])}"
        else:
            moment = time.monotonic() + self.draw.uniform(0, self.seconds)
        alarm, clients = None, []
        if not place:
            alarm = threading.Thread(target=self.kill_at, args=(service, moment), daemon=True)
            alarm.start()
        try:
            service.start()
            self.check_start(service, row)
            clients = self.clients(service)
            service.process.wait(timeout=25 if place else 60)
        except subprocess.TimeoutExpired:
            row["missed"] += 1
        except (ServiceError, OSError, http.client.HTTPException) as error:
            # Killed before it was ready, or while the start was looked at.
            try:
                service.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                raise Failed(f"{name}: {error}") from error
        if service.process.poll() is None:
            service.kill()
        dismiss(clients)
        if alarm:
            alarm.join()
        if service.process.returncode != -9:
            raise Failed(f"{name}: the server ended by itself ({service.process.returncode}): {service.log.decode()}")
        row["kills"] += 1
        row["acknowledged"] += self.witness.acknowledged - before
        self.examine(row, name, TIDIED)

    def terminate_once(self):
        """SIGTERM under load, while long polls and half an upload are open: nothing is left to tidy."""
        row, before = self.row("by SIGTERM"), self.witness.acknowledged
        service = self.server(self.release)
        service.start()
        self.check_start(service, row)
        crowd = Crowd(service, self.still, POLLS)
        clients = self.clients(service)
        time.sleep(self.draw.uniform(0, self.seconds))
        began = time.monotonic()
        code = service.terminate(END_SECONDS)
        self.ends.append(time.monotonic() - began)
        dismiss(clients)
        if code != 0:
            raise Failed(f"SIGTERM: it ended with {code}: {service.log.decode()}")
        if cut := crowd.cut_off():
            raise Failed(f"SIGTERM: {cut} of {POLLS} long polls were cut off")
        row["kills"] += 1
        row["acknowledged"] += self.witness.acknowledged - before
        self.examine(row, "SIGTERM", set())
        service.start()
        if crowd.is_half_seen(service):
            raise Failed("half a file was kept")
        service.kill()

    @staticmethod
    def kill_at(service, moment):
        while time.monotonic() < moment or not service.process:
            time.sleep(max(0.0005, min(0.05, moment - time.monotonic())))
        service.process.kill()

    def examine(self, row, name, tidied):
        """What the doctor finds in a folder beyond what the next start tidies."""
        done = subprocess.run([self.release, "doctor", "--json", "--data", self.data], capture_output=True, text=True,
                              check=False)
        if done.returncode not in (0, 1):
            raise Failed(f"{name}: the doctor says {done.stdout} {done.stderr}")
        findings = [one for one in json.loads(done.stdout)["findings"] if one["severity"] != "note"]
        self.left_over = [one["place"] for one in findings if one["code"] == "leftover"]
        for one in findings:
            if one["code"] in tidied:
                continue
            row["damaged" if one["code"] in ("damaged", "missing") else "broken"] += 1
            print(f"  {name}: {one}", flush=True)

    # Starts

    def check_start(self, service, row):
        """Everything acknowledged is there, what was asked and not answered is asked again."""
        self.starts.append(service.ready_seconds)
        for place in getattr(self, "left_over", []):
            if os.path.exists(os.path.join(self.data, place)):
                row["left_over"] += 1
                print(f"  still there after a start: {place}", flush=True)
        lost = self.parcels.compare(service)
        row["lost"] += len(lost)
        for one in lost:
            print(f"  {one}", flush=True)
        for order in list(self.witness.pending):
            send_submission(service, self.witness, order)
        found = {job["id"]: job for job in every(service, "/v1/jobs")}
        keys = [job["name"] for job in found.values()]
        row["doubled"] += len(keys) - len(set(keys))
        for job in self.witness.jobs.values():
            self.compare(service, job, found.get(job["id"]), row)
        for identifier in found.keys() - self.witness.jobs.keys():
            raise Failed(f"nobody submitted {found[identifier]}")

    def compare(self, service, known, job, row):
        """Holds one job against what was acknowledged about it."""
        known["busy"] = False
        if known["deleted"]:
            if job:
                raise Failed(f"{known['id']} was deleted and is back: {job['state']}")
            return
        if not job:
            known["deleted"] = True
            if "delete" not in known["asked"]:
                row["lost"] += 1
                print(f"  lost: {known}", flush=True)
            return
        if known["cancelled"] and job["state"] not in ("cancelling", "cancelled"):
            raise Failed(f"{known['id']} was cancelled and is {job['state']}")
        if known["paused"] and job["state"] in ("queued", "running"):
            raise Failed(f"{known['id']} was paused and is {job['state']}")
        known["over"] = job["is_terminal"]
        if job["state"] == "succeeded" and not known["seen"]:
            self.judge(service, known, job)
        if job["state"] in ("failed", "cancelled"):
            known["seen"] = True

    def judge(self, service, known, job):
        """A finished job came to what an undisturbed one comes to."""
        if self.outcome(service, job) != self.truth[known["template"]]:
            raise Failed(f"{known['id']} ({known['template']}) came to other weights: {job['transitions']}")
        known["seen"] = True
        self.witness.compared += 1
        self.witness.resumed += sum(one["state"] == "running" for one in service.job(job["id"])["transitions"]) > 1

    def table(self):
        """What is kept of a run."""
        witness = self.witness
        return {"rows": self.rows, "slowest_start": max(self.starts, default=0), "slowest_end": max(self.ends, default=0),
                "told": self.parcels.receiver.count, **{name: getattr(witness, name) for name in (
                    "submitted", "acknowledged", "compared", "resumed", "quarantined", "refused")}}


def torture(release, debug, kills, each, seed, seconds, kept, places=None, terms=0, say=print):
    """Runs it all over one data folder; returns the figures. Raises `Failed` where a promise is broken."""
    subject = Torture(os.path.abspath(release), seed, seconds, kept)
    began = time.monotonic()
    subject.run_undisturbed()
    subject.prepare()
    say(f"undisturbed: {time.monotonic() - began:.1f} s", flush=True)
    for number in range(kills):
        subject.kill_once("at random", subject.release)
        if (number + 1) % 10 == 0:
            say(f"{number + 1} random kills in {time.monotonic() - began:.1f} s, "
                f"{subject.witness.acknowledged} acknowledged", flush=True)
    for _ in range(terms):
        subject.terminate_once()
    if terms:
        say(f"SIGTERM: {subject.rows['by SIGTERM']}, the slowest end {max(subject.ends):.1f} s", flush=True)
    for place in (places or PLACES) if each else ():
        for _ in range(each):
            subject.kill_once(f"`{place}`", os.path.abspath(debug), place)
        say(f"{place}: {subject.rows[f'`{place}`']}", flush=True)
    began = time.monotonic()
    finish(subject)
    say(f"driven to the end: {time.monotonic() - began:.1f} s", flush=True)
    return subject.table()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", default=".build/release/vintner", help="killed at random moments")
    parser.add_argument("--debug", default=".build/debug/vintner", help="killed at places")
    parser.add_argument("--kills", type=int, default=200, help="at random moments")
    parser.add_argument("--terms", type=int, default=50, help="how often SIGTERM comes at random moments")
    parser.add_argument("--each", type=int, default=20, help="at each place")
    parser.add_argument("--places", nargs="*", choices=list(PLACES), help="only these")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.5, help="random kills come within so long")
    parser.add_argument("--kept", default=".build/torture", help="where what was acknowledged is noted")
    parser.add_argument("--record", help="totals over several calls")
    parser.add_argument("--document", help="where to write the table")
    options = parser.parse_args()
    record = {}
    if options.record and os.path.exists(options.record):
        with open(options.record, encoding="utf-8") as file:
            record = json.load(file)
    if options.kills or options.each or options.terms:
        began = time.monotonic()
        try:
            run = torture(options.binary, options.debug, options.kills, options.each, options.seed, options.seconds,
                          options.kept, options.places, options.terms)
        except Failed as fault:
            sys.exit(f"torture: BROKEN with seed {options.seed}: {fault}")
        record = add(record, run)
        print(f"seed {options.seed}: {time.monotonic() - began:.0f} s")
    if options.record:
        with open(options.record, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
    print(markdown(record))
    if options.document:
        write_into(options.document, markdown(record))
    sys.exit(1 if any(row[key] for row in record["rows"].values() for key in BAD) else 0)


if __name__ == "__main__":
    main()
