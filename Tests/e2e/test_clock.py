"""A wall clock that is set a day forward and two days back, while a job runs, one waits to be tried again, and a
message too; and that nothing waits by it."""

import glob
import os
import re
import signal
import sqlite3
import subprocess
import tempfile
import time

from lanes import waits
from service import Service, mlp
from test_faults import can_inject
from test_webhooks import Receiver, make

DAY = 86_400
# The longest wait that a job's back-off gives.
BACK_OFF_SECONDS = 432


class Clock:
    """The wall clock of the servers that it is given to; the others' clocks go on."""

    def __init__(self, library, folder):
        self.library, self.path, self.offset = library, os.path.join(folder, "offset"), 0
        self.set(0)

    def __enter__(self):
        # A program whose environment grows while it is loaded loses its arguments in Swift: what faketime adds to it,
        # it has to find there.
        self.keeper = subprocess.Popen(["faketime", "-f", "+0", "sleep", "600"], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not (shared := self.shared()):
            assert time.monotonic() < deadline, "faketime does not start"
            time.sleep(0.01)
        self.environment = {
            "LD_PRELOAD": self.library, "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_SHARED": shared,
            # With it, waits by the monotonic clock end at once.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0"}
        return self

    def __exit__(self, *_):
        for child in self.children():
            os.kill(child, signal.SIGTERM)
        self.keeper.wait()

    def children(self):
        with open(f"/proc/{self.keeper.pid}/task/{self.keeper.pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]

    def shared(self):
        """The names of what faketime shares with the programs that it runs; empty until it runs one."""
        for child in self.children():
            with open(f"/proc/{child}/environ", encoding="utf-8") as file:
                found = re.search(r"FAKETIME_SHARED=([^\0]+)", file.read())
            if found:
                return found[1]
        return ""

    def set(self, offset):
        self.offset = offset
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(f"{offset:+d}\n")
        os.rename(self.path + ".new", self.path)


@waits
def test_a_clock_that_jumps_loses_no_lease_and_starts_no_storm(binary, kept):
    # The one for programs with threads.
    library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not library:
        print("      NOT RUN: faketime is not installed (scripts/deps.sh test)")
        return
    with tempfile.TemporaryDirectory() as home, Receiver(500, 200) as receiver, Clock(library[0], home) as clock:
        host = f"localhost:{receiver.port}"
        service = Service(binary, "--threads", "2", "--workers", "2", "--webhook-host", host)
        service.environment.update(clock.environment)
        with service:
            steady = service.submit(mlp(name="steady", threads=1, train={"epochs": 2000, "checkpoint_every_seconds": 1}))["id"]
            service.wait(steady, lambda job: job["state"] == "running" and job["progress"]["step"])
            make(service, f"http://{host}/", events=["job.running"])
            # It waits for a thread until something lies where its folder is to be.
            first = service.submit(mlp(name="first", threads=1, train={"epochs": 2000}))["id"]
            again = service.submit(mlp(name="again", threads=1, train={"steps": 3}))["id"]
            obstacle = os.path.join(service.data, "jobs", again)
            with open(obstacle, "w", encoding="ascii"):
                pass
            service.post(f"/v1/jobs/{first}/cancel")
            waits_to_be_tried(service, again, 1)
            receiver.wait(1)

            clock.set(DAY)
            # It is due by that clock: tried once, not again and again.
            waits_to_be_tried(service, again, 2)
            time.sleep(2)
            assert service.job(again)["attempt"] == 2, service.job(again)
            goes_on(service, steady)

            wide = service.submit(mlp(name="wide", threads=2, train={"steps": 3}))["id"]
            clock.set(-DAY)
            goes_on(service, steady)
            # Queued a day ahead and never tried, it waits for threads, not for that day.
            service.wait(wide, lambda one: (one["waiting_for"] or {}).get("code") == "threads", seconds=10)
            service.post(f"/v1/jobs/{wide}/cancel")
            job = waits_to_be_tried(service, again, 2)
            seconds = int(re.search(r"in (\d+) s", job["waiting_for"]["message"])[1])
            assert seconds <= BACK_OFF_SECONDS, job["waiting_for"]
            os.remove(obstacle)
            # The message, whose next attempt lay a day ahead.
            receiver.wait(2, seconds=90)
            clock.set(clock.offset + BACK_OFF_SECONDS)
            assert service.wait(again)["attempt"] == 3

            service.post(f"/v1/jobs/{steady}/cancel")
            ended = service.wait(steady)
            for job in (ended, service.job(again)):
                assert job["finished_at"] >= job["started_at"], job
                assert job["resources"]["wall_seconds"] >= 0, job
            states = [one["state"] for one in ended["transitions"]]
            assert states == ["queued", "running", "cancelling", "cancelled"], states
            assert ended["attempt"] == 1, ended
            assert service.terminate() == 0


def waits_to_be_tried(service, job, attempt):
    """Waits until an attempt has failed; returns the job."""
    return service.wait(job, lambda one: one["state"] == "queued" and one["attempt"] == attempt
                        and (one["waiting_for"] or {}).get("code") == "backoff")


def goes_on(service, job):
    """A running job gets on, is kept and shown, and keeps its lease."""
    step = service.job(job)["progress"]["step"]
    later = service.wait(job, lambda one: one["progress"]["step"] > step, seconds=10)
    assert later["state"] == "running" and later["attempt"] == 1, later
    database = sqlite3.connect(os.path.join(service.data, "vintner.sqlite"))
    database.execute("PRAGMA query_only = 1")
    newest = "SELECT coalesce(max(step), 0) FROM checkpoint WHERE job_id = ? AND kind = 'last'"
    [[kept]] = database.execute(newest, [job])
    [[before]] = database.execute("SELECT lease_until FROM job WHERE id = ?", [job])
    deadline = time.monotonic() + 15
    while True:
        [[now]] = database.execute("SELECT lease_until FROM job WHERE id = ?", [job])
        if now > before:
            break
        assert time.monotonic() < deadline, "the lease is not extended any more"
        time.sleep(0.1)
    while database.execute(newest, [job]).fetchone()[0] <= kept:
        assert time.monotonic() < deadline, "its checkpoints are not kept any more"
        time.sleep(0.1)
    database.close()
    folder = os.path.join(service.data, "jobs", job)
    assert len(os.listdir(folder)) <= 5, os.listdir(folder)


@waits
def test_nothing_waits_by_the_wall_clock(binary, kept):
    """Who sleeps until a wall-clock time sleeps a day longer when that clock is set a day back."""
    if not can_inject():
        return
    with tempfile.TemporaryDirectory() as home, Receiver(200) as receiver:
        record = os.path.join(home, "record")
        service = Service(binary, "--webhook-host", f"localhost:{receiver.port}")
        service.wrapper = ["strace", "-f", "-q", "-Y", "-o", record, "-e", "trace=futex,clock_nanosleep"]
        with service:
            make(service, f"http://localhost:{receiver.port}/")
            service.wait(service.submit(mlp(train={"steps": 20}))["id"])
            receiver.wait(1)
            time.sleep(2)
            tracer = service.process.pid
            with open(f"/proc/{tracer}/task/{tracer}/children", encoding="ascii") as file:
                os.kill(int(file.read()), signal.SIGTERM)
            assert service.process.wait(timeout=30) == 0
        with open(record, encoding="utf-8") as file:
            waits = [line for line in file if "{tv_sec" in line]
        assert any("FUTEX_WAIT" in line for line in waits), "no wait was recorded"
        # Idle threads of libdispatch may be late.
        wrong = [line for line in waits if "CLOCK_REALTIME" in line and "default-qos>" not in line]
        assert not wrong, f"{len(wrong)} of {len(waits)} waits with an end: {wrong[:3]}"
