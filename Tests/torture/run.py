#!/usr/bin/env python3
"""Kills the server at random moments and at named places, and holds what is left against what was promised.

    Tests/torture/run.py --binary .build/release/vintner --debug .build/debug/vintner --kills 200 --each 20

Random kills (`kill -9`, at a moment drawn from the first seconds after the start) hit the release binary, kills at
places the debug one (`VINTNER_FAIL`). After each the rows' invariants (I2-I5, I7, I8) and every named file's SHA-256
(I6) are checked by the doctor; after each restart what was acknowledged must be there (I1, I2) and temporary files gone
(I9); at the end every job is driven to its end and its weights must be those of an undisturbed run (I10).

With `--record FILE` totals are kept over several calls; `--document FILE` writes them as a table between the lines
`<!-- torture -->` and `<!-- /torture -->`. Exit code 0 only if nothing was broken. Standard library only.
"""

import argparse
import http.client
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]

from load import Client, Failed, TEMPLATES, Witness, add_dataset, send_submission  # noqa: E402
from service import Service, ServiceError  # noqa: E402
from test_resume import digest  # noqa: E402

# The places (Sources/FailPoints/FailPoint.swift), and how often one may be passed before the kill.
PLACES = {
    "before_submit_commit": 6, "after_submit_commit": 6, "after_claim": 4, "event_append": 40, "after_file_write": 8,
    "before_file_rename": 8, "after_file_rename": 8, "before_checkpoint_row": 5, "after_checkpoint_row": 5,
    "after_model_files": 2, "before_finish_commit": 3, "after_finish_commit": 3, "after_cancel_commit": 2,
    "after_delete_commit": 1, "after_recovery": 1,
}
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
        self.truth, self.rows, self.starts = {}, {}, []
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

    # Kills

    def kill_once(self, name, binary, place=None):
        """Starts the server under load, ends it, and checks what is left; adds to the row `name`."""
        row = self.rows.setdefault(name, {
            "kills": 0, "missed": 0, "acknowledged": 0, "lost": 0, "doubled": 0, "broken": 0, "damaged": 0,
            "left_over": 0})
        before = self.witness.acknowledged
        service = Service(binary, "--writes-per-second", "0", data=self.data)
        if place:
            service.environment["VINTNER_FAIL"] = f"{place}:{self.draw.randint(1, PLACES[place])}"
        else:
            moment = self.draw.uniform(0, self.seconds)
        began, clients = time.monotonic(), []
        alarm = None
        if not place:
            alarm = threading.Thread(target=self.kill_at, args=(service, began + moment), daemon=True)
            alarm.start()
        try:
            service.start()
            self.check_start(service, row)
            clients = [Client(service, self.witness, self.draw.getrandbits(64)) for _ in range(3)]
            for client in clients:
                client.start()
            service.process.wait(timeout=25 if place else 60)
        except subprocess.TimeoutExpired:
            row["missed"] += 1
        except (ServiceError, OSError, http.client.HTTPException) as error:
            # Killed before it was ready, or while the start was looked at.
            try:
                service.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                raise Failed(f"{name}: {error}") from error
        for client in clients:
            client.stop.set()
        if service.process.poll() is None:
            service.kill()
        for client in clients:
            client.join()
            if client.fault:
                raise client.fault
        if alarm:
            alarm.join()
        if service.process.returncode != -9:
            raise Failed(f"{name}: the server ended by itself ({service.process.returncode}): {service.log.decode()}")
        row["kills"] += 1
        row["acknowledged"] += self.witness.acknowledged - before
        self.examine(row, name)

    @staticmethod
    def kill_at(service, moment):
        while time.monotonic() < moment or not service.process:
            time.sleep(max(0.0005, min(0.05, moment - time.monotonic())))
        service.process.kill()

    def examine(self, row, name):
        """What the doctor finds in the folder of a killed server."""
        done = subprocess.run([self.release, "doctor", "--json", "--data", self.data], capture_output=True, text=True,
                              check=False)
        if done.returncode not in (0, 1):
            raise Failed(f"{name}: the doctor says {done.stdout} {done.stderr}")
        findings = [one for one in json.loads(done.stdout)["findings"] if one["severity"] != "note"]
        self.left_over = [one["place"] for one in findings if one["code"] == "leftover"]
        for one in findings:
            if one["code"] in TIDIED:
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
        for order in list(self.witness.pending):
            send_submission(service, self.witness, order)
        found = self.every_job(service)
        keys = [job["name"] for job in found.values()]
        row["doubled"] += len(keys) - len(set(keys))
        for job in self.witness.jobs.values():
            self.compare(service, job, found.get(job["id"]), row)
        for identifier in found.keys() - self.witness.jobs.keys():
            raise Failed(f"nobody submitted {found[identifier]}")

    @staticmethod
    def every_job(service):
        jobs, after = {}, ""
        while True:
            page = service.get(f"/v1/jobs?limit=500{after}").json
            jobs.update((job["id"], job) for job in page["data"])
            if not page["has_more"]:
                return jobs
            after = f"&after={page['next_cursor']}"

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

    # The end

    def finish(self):
        """Drives every job to its end, compares all, stops in peace; the folder must be healthy then."""
        row = {"lost": 0, "doubled": 0, "left_over": 0}
        service = Service(self.release, "--writes-per-second", "0", data=self.data)
        service.start()
        self.check_start(service, row)
        deadline = time.monotonic() + 200
        while True:
            found = self.every_job(service)
            waiting = [job for job in found.values() if not self.settle(service, job, found)]
            if not waiting:
                break
            if time.monotonic() > deadline:
                raise Failed(f"these do not end: {[(job['id'], job['state'], job['reason']) for job in waiting]}")
            time.sleep(0.2)
        # A model outlives the job that made it, without its name.
        models = [model["job_id"] for model in self.every_model(service) if model["job_id"]]
        if len(models) != len(set(models)):
            raise Failed("a job has published two models")
        if service.terminate() != 0:
            raise Failed(f"SIGTERM: {service.log.decode()}")
        done = subprocess.run([self.release, "doctor", "--json", "--data", self.data], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise Failed(f"the folder is not healthy in the end: {done.stdout}")
        if any(row.values()):
            raise Failed(f"in the end: {row}")
        shutil.rmtree(self.home)

    @staticmethod
    def every_model(service):
        models, after = [], ""
        while True:
            page = service.get(f"/v1/models?limit=500{after}").json
            models += page["data"]
            if not page["has_more"]:
                return models
            after = f"&after={page['next_cursor']}"

    def settle(self, service, job, found):
        """Whether a job is where it should end; moves it on where it is not."""
        known = self.witness.jobs[job["id"]]
        if job["state"] == "succeeded":
            if not known["seen"]:
                self.judge(service, known, job)
            return True
        if job["state"] == "paused":
            service.post(f"/v1/jobs/{job['id']}/resume")
        elif job["state"] == "failed":
            if job["error"]["code"] != "worker_crash":
                raise Failed(f"{job['id']} ({known['template']}) failed: {job['error']}")
            self.witness.quarantined += 1
            service.post(f"/v1/jobs/{job['id']}/retry")
        elif job["state"] == "cancelled":
            if (job["reason"] or {}).get("code") != "dependency_failed":
                if "cancel" not in known["asked"]:
                    raise Failed(f"nobody cancelled {job}")
                return True
            needed = [found.get(one) for one in known["needs"]]
            if any(one is None or one["state"] == "cancelled" for one in needed):
                return True
            if all(one["state"] not in ("failed",) for one in needed):
                service.post(f"/v1/jobs/{job['id']}/retry")
        return False

    def table(self):
        """What is kept of a run."""
        witness = self.witness
        return {"rows": self.rows, "slowest_start": max(self.starts, default=0), "submitted": witness.submitted,
                "acknowledged": witness.acknowledged, "compared": witness.compared, "resumed": witness.resumed,
                "quarantined": witness.quarantined}


def add(record, run):
    """Adds a run's figures to those of earlier ones."""
    for name, row in run["rows"].items():
        total = record.setdefault("rows", {}).setdefault(name, {})
        for key, value in row.items():
            total[key] = total.get(key, 0) + value
    record["slowest_start"] = max(record.get("slowest_start", 0), run["slowest_start"])
    for key in ("submitted", "acknowledged", "compared", "resumed", "quarantined"):
        record[key] = record.get(key, 0) + run[key]
    return record


def processor():
    """What the processor calls itself."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def markdown(record):
    """The figures as a table."""
    lines = [f"{time.strftime('%Y-%m-%d')}, {processor()}, {os.cpu_count()} cores, Linux.", "",
             "| Killed | Kills | 2xx noted | Lost | Doubled | Broken invariants | Bad files | Left over |",
             "|---|---|---|---|---|---|---|---|"]
    for name, row in record["rows"].items():
        lines.append(f"| {name} | {row['kills'] - row['missed']} | {row['acknowledged']:,} | {row['lost']} "
                     f"| {row['doubled']} | {row['broken']} | {row['damaged']} | {row['left_over']} |")
    lines += ["", f"{record['submitted']:,} jobs were acknowledged; {record['compared']:,} ended succeeded, "
              f"{record['resumed']:,} of them after they had been interrupted, each with the weights (or figures) of an "
              "undisturbed run, bit for bit; all others had been cancelled or deleted, or stood "
              f"behind one that was. {record['quarantined']:,} had been alone at two crashes and were tried again on request. "
              f"The slowest start took {record['slowest_start']:.2f} s."]
    return "\n".join(lines)


def write_into(document, text):
    """Puts the table between its markers."""
    with open(document, encoding="utf-8") as file:
        before, _, rest = file.read().partition("<!-- torture -->")
    _, _, after = rest.partition("<!-- /torture -->")
    with open(document, "w", encoding="utf-8") as file:
        file.write(f"{before}<!-- torture -->\n{text}\n<!-- /torture -->{after}")


def torture(release, debug, kills, each, seed, seconds, kept, places=None, say=print):
    """Runs it all over one data folder; returns the figures. Raises `Failed` where a promise is broken."""
    subject = Torture(os.path.abspath(release), seed, seconds, kept)
    began = time.monotonic()
    subject.run_undisturbed()
    say(f"undisturbed: {time.monotonic() - began:.1f} s", flush=True)
    for number in range(kills):
        subject.kill_once("at random", subject.release)
        if (number + 1) % 10 == 0:
            say(f"{number + 1} random kills in {time.monotonic() - began:.1f} s, "
                f"{subject.witness.acknowledged} acknowledged", flush=True)
    for place in (places or PLACES) if each else ():
        for _ in range(each):
            subject.kill_once(f"`{place}`", os.path.abspath(debug), place)
        say(f"{place}: {subject.rows[f'`{place}`']}", flush=True)
    began = time.monotonic()
    subject.finish()
    say(f"driven to the end: {time.monotonic() - began:.1f} s", flush=True)
    return subject.table()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", default=".build/release/vintner", help="killed at random moments")
    parser.add_argument("--debug", default=".build/debug/vintner", help="killed at places")
    parser.add_argument("--kills", type=int, default=200, help="at random moments")
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
    if options.kills or options.each:
        began = time.monotonic()
        try:
            run = torture(options.binary, options.debug, options.kills, options.each, options.seed, options.seconds,
                          options.kept, options.places)
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
    bad = ("lost", "doubled", "broken", "damaged", "left_over")
    sys.exit(1 if any(row[key] for row in record["rows"].values() for key in bad) else 0)


if __name__ == "__main__":
    main()
