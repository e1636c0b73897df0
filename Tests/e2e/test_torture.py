"""A short torture (`make torture` is the long one), and the promises about starts after a crash."""

import http.client
import os
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))

from powercut import power_cuts  # noqa: E402
from run import PLACES, torture  # noqa: E402
from service import Service, ServiceError, mlp  # noqa: E402
from test_faults import can_inject  # noqa: E402

HUNG = 70
JOBS = 10_000
# Some 75 MiB of them.
POINTS = 3_000_000
READY_SECONDS = 2


def debug_build(binary):
    """Where the debug build lies beside the release; `None`, and a loud word, where there is none."""
    debug = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(binary))), "debug", "vintner")
    if os.access(debug, os.X_OK):
        return debug
    print("      NOT RUN: kills at named places, for want of a debug build (swift build)")
    return None


def test_kills_at_random_and_at_every_place_break_no_promise(binary, kept):
    debug = debug_build(binary)
    found = torture(binary, debug, kills=8, each=1 if debug else 0, seed=11, seconds=2, kept=kept, terms=3,
                    say=lambda *_, **__: None)
    kills = sum(row["kills"] - row["missed"] for row in found["rows"].values())
    assert kills >= 8 + 3 + (len(PLACES) - 3 if debug else 0), found
    for name, row in found["rows"].items():
        assert not any(row[key] for key in ("lost", "doubled", "broken", "damaged", "left_over")), (name, row)
    assert found["submitted"] > 10 and found["compared"] > 5 and found["told"] > 5, found


def test_a_power_cut_loses_nothing_that_was_acknowledged(binary, kept):
    """What was written and not synced is dropped at some moments of a recorded run; `make torture` has more of them."""
    if can_inject():
        found = power_cuts(binary, cuts=8, seconds=2, seed=5, say=lambda *_, **__: None)
        print(f"      {found}")
        assert found["cuts"] >= 24 and found["acknowledged"] > 20, found


def test_a_job_that_ends_the_process_twice_is_not_tried_again(binary, kept):
    """Twice the process dies right after the claim, as if the job had trapped; the job behind it is not blamed."""
    debug = debug_build(binary)
    if not debug:
        return
    service = Service(debug, "--workers", "1")
    service.environment["VINTNER_FAIL"] = "after_claim:1"
    with service:
        try:
            service.submit(mlp(train={"steps": 3}))
        except (OSError, http.client.HTTPException):
            pass  # It was claimed, and the process ended, before the answer was sent.
        service.process.wait(timeout=20)
        try:
            service.start()
            service.process.wait(timeout=20)
        except ServiceError:
            pass  # It was claimed, and the process ended, before the server listened.
        service.environment.clear()
        service.start()
        [poison] = [job["id"] for job in service.get("/v1/jobs").json["data"]]
        ended = service.wait(poison)
        assert ended["state"] == "failed" and ended["error"]["code"] == "worker_crash", ended
        assert service.wait(service.submit(mlp(train={"steps": 3}))["id"])["state"] == "succeeded"
        service.post(f"/v1/jobs/{poison}/retry")
        assert service.wait(poison)["state"] == "succeeded", "a person may give it another chance"


def test_a_job_that_stands_still_ends_the_process_and_is_tried_again(binary, kept):
    """A trainer that never comes back: its attempt is charged, the one beside it writes a checkpoint and goes on."""
    debug = debug_build(binary)
    if not debug:
        return
    service = Service(debug, "--workers", "2", "--threads", "2", "--hang-seconds", "4")
    service.environment["VINTNER_FAIL"] = "hang_in_step:3"
    with service:
        stuck = service.submit(mlp(name="stuck", threads=1))["id"]
        service.wait(stuck, lambda job: job["state"] == "running")
        time.sleep(2)
        beside = service.submit(mlp(name="beside", threads=1, train={"epochs": 400}))["id"]
        assert service.process.wait(timeout=60) == HUNG, service.log.decode()
        assert b"stands still" in service.log, service.log.decode()
        service.environment.clear()
        service.start()
        reasons = [(one["state"], (one["reason"] or {}).get("code")) for one in service.job(stuck)["transitions"]]
        assert ("queued", "hung") in reasons, reasons
        ended = service.wait(stuck)
        assert ended["state"] == "succeeded" and ended["attempt"] == 2, ended
        service.wait(beside, lambda job: job["state"] == "running")
        other = service.job(beside)
        assert other["attempt"] == 1, "it was charged for another job's hang"
        assert ("queued", "drained") in [(one["state"], (one["reason"] or {}).get("code"))
                                         for one in other["transitions"]], other["transitions"]


def test_a_release_build_has_no_places_to_fail_at(binary, kept):
    with Service(binary) as service:
        service.terminate()
        service.environment["VINTNER_FAIL"] = "before_submit_commit:1"
        service.start()
        assert service.wait(service.submit(mlp(train={"steps": 3}))["id"])["state"] == "succeeded"


def test_ten_thousand_jobs_are_ready_within_two_seconds(binary, kept):
    """As many as the queue takes, one of them left running by a killed server; a curve makes the database large."""
    with Service(binary) as service:
        first = service.submit(mlp(train={"epochs": 500}))["id"]
        service.wait(first, lambda job: job["state"] == "running" and job["progress"]["step"])
        service.kill()
        multiply(os.path.join(service.data, "vintner.sqlite"), first)
        service.start()
        assert service.ready_seconds < READY_SECONDS, service.ready_seconds
        system = service.get("/v1/system").json
        assert sum(system["queue"].values()) == JOBS, system["queue"]
        states = [one["state"] for one in service.job(first)["transitions"]]
        assert states[:3] == ["queued", "running", "queued"], states
        assert service.get("/readyz").status == 200
        deadline = time.monotonic() + 60
        while b"the database was looked through" not in service.log:
            assert time.monotonic() < deadline, service.log
            time.sleep(0.1)
        assert service.terminate() == 0
        assert "vintner.sqlite.checking" not in os.listdir(service.data)


def multiply(path, job):
    """Copies a job, its first transition and its event until there are ten thousand; all but the first wait."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA foreign_keys = ON")
    columns = [row[1] for row in database.execute("PRAGMA table_xinfo(job)") if row[6] == 0]
    changed = {"id": "'job_' || printf('%026d', number)", "state": "'queued'", "worker": "NULL", "boot_id": "NULL",
               "lease_until": "NULL", "attempt": "0", "fence": "0", "started_at": "NULL"}
    database.execute(f"""
        WITH RECURSIVE counter(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counter WHERE number < {JOBS - 1})
        INSERT INTO job({', '.join(columns)})
        SELECT {', '.join(changed.get(name, name) for name in columns)} FROM job, counter WHERE id = ?""", [job])
    database.execute("""
        INSERT INTO job_transition(job_id, position, state, at, reason_code, reason_message)
        SELECT job.id, position, job_transition.state, at, NULL, NULL FROM job JOIN job_transition
        ON job_transition.job_id = ? AND position = 0 WHERE job.id <> ?""", [job, job])
    database.execute(f"""
        INSERT INTO series(job_id, name, count, last_step, last, min, min_step, max, max_step)
        SELECT max(id), 'loss', {POINTS}, {POINTS} - 1, 1, 1, 0, 1, 0 FROM job WHERE id <> ?""", [job])
    database.execute(f"""
        WITH RECURSIVE counter(number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM counter WHERE number < {POINTS - 1})
        INSERT INTO point(series_id, step, value, at) SELECT series.id, number, number + 0.25, 1700000000000 FROM counter, series
        WHERE name = 'loss'""")
    database.commit()
    database.close()
