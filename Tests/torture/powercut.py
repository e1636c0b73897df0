#!/usr/bin/env python3
"""Cuts the power at many moments of a recorded run, and holds what is left against what was acknowledged.

    Tests/torture/powercut.py --binary .build/release/vintner --cuts 50 --seconds 6

The server runs under strace with clients that submit, steer and delete jobs, upload a dataset and import models.
Then the record is replayed up to a moment; what was not synced by then is dropped, or kept in part, at random
(disk.py). On what is left the doctor must find nothing but what a start tidies, SQLite's checks must hold, each
acknowledged request must have had its effect, and every fifth time the server must start. Half of the moments are
drawn at random, half are those of the answers. With nothing dropped the replay must come to the server's very
files. In the end the same cuts are made with one kind of sync left out of the record at a time: losses must be
found then, or this test would prove nothing.
Exit code 0 only if nothing was lost. Standard library only; needs strace.
"""

import argparse
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]

from disk import STRACE, Disk, read  # noqa: E402
from load import Client, Failed, Witness, dismiss, upload, write_dataset  # noqa: E402
from parcels import BINARY, weights  # noqa: E402
from service import Service  # noqa: E402
from table import write_into  # noqa: E402

# What a start tidies, as after `kill -9`.
TIDIED = {"left_running", "leftover", "orphan"}
# Syncs that are left out one kind at a time, to see that each is missed.
SABOTAGE = {"the log": lambda path: path.endswith("-wal"), "folders": os.path.isdir,
            "files": lambda path: ".safetensors" in path or "idx" in path}
# How much of what was not synced is left: nothing, some, all.
SHARES = (0, 0.5, 1)


class Record:
    """A recorded run: the system calls, and what was acknowledged at which time."""

    def __init__(self, binary, home, seconds, seed):
        self.root, self.path = os.path.join(home, "disk"), os.path.join(home, "record")
        self.notes = os.path.join(home, "acknowledged.jsonl")
        os.mkdir(self.root)
        witness = Witness(self.notes)
        service = Service(binary, "--writes-per-second", "0", data=os.path.join(self.root, "data"))
        service.wrapper = [*STRACE, "-o", self.path]
        draw = random.Random(seed)
        with service:
            upload_bars(service, witness)
            clients = [Client(service, witness, draw.getrandbits(64)) for _ in range(3)]
            for client in clients:
                client.start()
            import_models(service, witness, time.monotonic() + seconds)
            dismiss(clients)
            kill_traced(service)
        self.events = list(read(self.path))
        with open(self.notes, encoding="utf-8") as file:
            self.said = [json.loads(line) for line in file]
        self.times = [one["at"] for one in self.said if one.get("acknowledged")]

    def moments(self, count, draw):
        """Where to cut: behind so many calls. Half right behind an answer, half anywhere behind the first one."""
        ends = [when for when, *_ in self.events]
        first = next(place for place, when in enumerate(ends) if when > self.times[0])
        chosen = [draw.randrange(first, len(ends)) for _ in range(count - count // 2)]
        for when in draw.sample(self.times, min(count // 2, len(self.times))):
            chosen.append(next((place for place, end in enumerate(ends) if end > when), len(ends)))
        return sorted(chosen)

    def promised(self, when):
        """What had been said by a time."""
        return [one for one in self.said if one["at"] <= when]


def upload_bars(service, witness):
    """Uploads the dataset that the load's jobs need; its commit is acknowledged like any other request."""
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(folder)
        files = {path.name: path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())}
    witness.acknowledge(dataset=upload(service, "bars", "idx", files))


def import_models(service, witness, end):
    """Sends models, one after the other, until a time of the monotonic clock."""
    for number in itertools.count():
        if time.monotonic() >= end:
            return
        reply = service.call("POST", "/v1/models", weights(number % 4), headers=BINARY)
        if reply.status != 201:
            raise Failed(f"the import of a model: {reply}")
        witness.acknowledge(model=reply.json["id"])
        time.sleep(0.2)


def kill_traced(service):
    """Kills the server behind strace, which then writes the rest of its record."""
    tracer = service.process.pid
    with open(f"/proc/{tracer}/task/{tracer}/children", encoding="ascii") as file:
        for child in file.read().split():
            os.kill(int(child), signal.SIGKILL)
    service.process.wait(timeout=60)


def examine(binary, data):
    """The doctor's findings that no start would tidy."""
    done = subprocess.run([binary, "doctor", "--json", "--data", data], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        return [f"the doctor ended with {done.returncode}: {done.stdout}{done.stderr}"]
    return [one for one in json.loads(done.stdout)["findings"]
            if one["severity"] != "note" and one["code"] not in TIDIED]


def compare(data, promised):
    """What was acknowledged and is not so, by the rows."""
    database = sqlite3.connect(os.path.join(data, "vintner.sqlite"))
    try:
        jobs = dict(database.execute("SELECT id, state FROM job"))
        names = [row[0] for row in database.execute("SELECT name FROM job")]
        parcels = {row[0] for table in ("dataset", "model") for row in database.execute(f"SELECT id FROM {table}")}
        checks = [row[0] for row in database.execute("PRAGMA integrity_check")]
    finally:
        database.close()
    wrong = [] if checks == ["ok"] else [f"integrity_check: {checks}"]
    if len(names) != len(set(names)):
        wrong.append("a key made two jobs")
    asked, done = {}, {}
    for one in promised:
        if "asks" in one:
            asked.setdefault(one["job"], []).append(one["asks"])
        elif parcel := one.get("dataset") or one.get("model"):
            wrong += [] if parcel in parcels else [f"lost: {one}"]
        elif one.get("acknowledged") and (one["job"] not in done or one.get("action") != "update"):
            done[one["job"]] = one
    for job, last in done.items():
        state, wishes = jobs.get(job), asked.get(job, [])
        if "delete" in wishes:
            if last.get("action") == "delete" and state:
                wrong.append(f"{job} was deleted and is {state}")
        elif not state:
            wrong.append(f"lost: {last}")
        elif wishes and wishes[-1] == last.get("action") == "cancel" and state not in ("cancelling", "cancelled"):
            wrong.append(f"{job} was cancelled and is {state}")
        elif wishes and wishes[-1] == last.get("action") == "pause" and state in ("queued", "running"):
            wrong.append(f"{job} was paused and is {state}")
    return wrong


def cut(binary, record, moments, draw, shares=SHARES, **disk):
    """Replays the record and cuts at each of the moments; yields (moment, share, what is wrong)."""
    disk, moments = Disk(record.root, **disk), list(moments)
    for place, (when, kind, key, call) in enumerate([*record.events, (float("inf"), None, None, None)]):
        while moments and moments[0] <= place:
            moments.pop(0)
            last = record.events[place - 1][0]
            for share in shares:
                with tempfile.TemporaryDirectory() as home:
                    disk.leave(home, draw, share)
                    yield place, share, judge(binary, os.path.join(home, "data"), record.promised(last), draw)
        if kind:
            disk.apply(kind, key, call)


def check_replay(record):
    """With nothing dropped the replay must come to the very files that the server left."""
    disk = Disk(record.root)
    for _, kind, key, call in record.events:
        disk.apply(kind, key, call)
    with tempfile.TemporaryDirectory() as home:
        disk.leave(home, random.Random(0), 1)
        contents = [dict(files(folder)) for folder in (home, record.root)]
    wrong = [path for path in contents[0].keys() | contents[1].keys() if contents[0].get(path) != contents[1].get(path)]
    if wrong:
        raise Failed(f"the replay differs from the disk: {wrong}")


def files(root):
    """(relative path, content) of every file; without the log's index, which is written through memory."""
    for folder, _, names in os.walk(root):
        for name in names:
            if not name.endswith("-shm"):
                with open(os.path.join(folder, name), "rb") as file:
                    yield os.path.relpath(os.path.join(folder, name), root), file.read()


def judge(binary, data, promised, draw):
    """Everything that is wrong with what is left."""
    if not os.path.exists(os.path.join(data, "vintner.sqlite")):
        return [f"no database, and {len(promised)} promises"]
    try:
        wrong = examine(binary, data) + compare(data, promised)
        if not wrong and draw.random() < 0.2:
            with Service(binary, "--workers", "1", data=data) as service:
                if service.get("/healthz").status != 200 or service.terminate() != 0:
                    wrong.append("the server does not start and stop")
            wrong += examine(binary, data)
    except (sqlite3.Error, OSError, ValueError) as error:
        return [f"{type(error).__name__}: {error}"]
    return wrong


def power_cuts(binary, cuts, seconds, seed, kept=None, say=print):
    """Records a run and cuts it; returns the figures. Raises `Failed` where something was lost, or nothing can be."""
    draw, home = random.Random(seed), tempfile.mkdtemp(prefix="vintner-powercut-")
    try:
        record = Record(os.path.abspath(binary), home, seconds, seed)
        check_replay(record)
        moments = record.moments(cuts, draw)
        say(f"{len(record.events) // 2} calls, {len(record.times)} acknowledged", flush=True)
        bad = []
        for place, share, wrong in cut(binary, record, moments, draw):
            if wrong:
                bad.append((place, share, wrong))
                say(f"cut behind call {place}, {share} of the unsynced left: {wrong}", flush=True)
        if bad:
            raise Failed(f"{len(bad)} of {len(moments) * len(SHARES)} cuts lost something: {bad[0]}")
        found = {}
        for name, forgets in SABOTAGE.items():
            found[name] = sum(bool(wrong) for *_, wrong in cut(binary, record, moments, draw, (0,), forgets=forgets))
            if not found[name]:
                raise Failed(f"cuts without the syncs of {name} were not found to lose anything")
        return {"cuts": len(moments) * len(SHARES), "calls": len(record.events) // 2, "sabotaged": found,
                "moments": len(moments), "acknowledged": len(record.times)}
    finally:
        if kept:
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(home, kept)
        shutil.rmtree(home)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", default=".build/release/vintner")
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=6, help="how long the clients work")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kept", help="where to keep the record")
    parser.add_argument("--document", help="where to write the figures")
    options = parser.parse_args()
    try:
        found = power_cuts(options.binary, options.cuts, options.seconds, options.seed, options.kept)
    except Failed as fault:
        sys.exit(f"power cuts: BROKEN with seed {options.seed}: {fault}")
    sabotaged = ", ".join(f"{name} {count}" for name, count in found["sabotaged"].items())
    text = (f"{time.strftime('%Y-%m-%d')}: {found['cuts']} power cuts at {found['moments']} moments of a run of "
            f"{found['calls']:,} calls with {found['acknowledged']} acknowledged requests: nothing lost. Of "
            f"{found['moments']} cuts without the syncs of one kind, so many were found to lose something: {sabotaged}.")
    print(text)
    if options.document:
        write_into(options.document, text, "powercut")


if __name__ == "__main__":
    main()
