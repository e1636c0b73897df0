"""Disks that fail and disks that are full, made by strace and by a small file system."""

import json
import os
import shutil
import sqlite3
import struct
import subprocess
import tempfile
import time

from lanes import waits
from service import Service, ServiceError, lenet, mlp
from test_backup import examine
from test_cli import OK
from test_resume import EPOCHS, digest, undisturbed

BROKEN = 70
MIB = 1 << 20


def can_inject():
    """Whether this machine lets strace change what system calls return; says so loudly where not."""
    if not shutil.which("strace"):
        print("      NOT RUN: there is no strace here")
        return False
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", "-e", "inject=getpid:error=EIO", "true"],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"      NOT RUN: strace may not trace here: {done.stderr.strip()[:200]}")
    return done.returncode == 0


def failing(binary, data, rule, calls="fsync,fdatasync"):
    """A server some of whose system calls fail."""
    service = Service(binary, "--workers", "1", "--writes-per-second", "0", data=data)
    service.wrapper = ["strace", "-f", "-q", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{rule}"]
    return service


@waits
def test_a_sync_that_fails_ends_the_process_and_nothing_unsynced_was_acknowledged(binary, kept):
    """The Nth sync of each thread fails: in the store the server exits with 70 within a second."""
    if not can_inject():
        return
    with tempfile.TemporaryDirectory() as home:
        data, acknowledged, ends = os.path.join(home, "data"), [], []
        with Service(binary, data=data) as service:
            acknowledged.append(service.submit(mlp(train={"steps": 3}))["id"])
            service.terminate()
        for count in (1, 2, 3, 5, 8, 13):
            service = failing(binary, data, f"error=EIO:when={count}")
            try:
                service.start()
            except ServiceError:
                # The first sync of a start is one of the store's.
                ends.append(service.process.returncode)
                continue
            try:
                # Whichever of the sixteen threads that write comes to its Nth sync first.
                for _ in range(16 * count):
                    asked = time.monotonic()
                    reply = service.post("/v1/jobs", mlp(train={"steps": 3}))
                    if reply.status == 201:
                        acknowledged.append(reply.json["id"])
                    else:
                        assert reply.status == 503, reply
                        break
            except OSError:
                pass  # It ended before it could answer.
            try:
                ends.append(service.process.wait(timeout=5))
            except subprocess.TimeoutExpired:
                raise ServiceError(f"fsync {count} failed and the server goes on: {service.log.decode()}") from None
            assert time.monotonic() - asked < 2, "it took more than a second to notice"
        assert ends and set(ends[1:]) == {BROKEN}, ends
        with Service(binary, data=data) as service:
            for job in acknowledged:
                assert service.job(job)["id"] == job, "an acknowledged job is gone"
            fresh = service.submit(mlp(train={"steps": 3}, priority=100))["id"]
            assert service.wait(fresh)["state"] == "succeeded"
            service.terminate()
        code, found, out = examine(binary, data)
        assert code == OK, out


def test_a_checkpoint_that_changed_is_passed_over_and_one_bit_is_enough(binary, kept):
    """The newest one, then all of them: the job goes on from an older one or from its start, to the same weights."""
    spec = lenet(epochs=EPOCHS)
    spec["train"]["checkpoint_every_seconds"] = 1
    for count in (1, 9):
        with Service(binary) as service:
            job = service.submit(spec)["id"]
            service.wait(job, lambda one: 0.5 < (one["progress"]["fraction"] or 0) < 0.95)
            service.kill()
            with sqlite3.connect(os.path.join(service.data, "vintner.sqlite")) as database:
                paths = [row[0] for row in database.execute(
                    "SELECT path FROM checkpoint WHERE job_id = ? ORDER BY step DESC, kind DESC", [job])]
            assert len(paths) > 1, paths
            for path in paths[:count]:
                with open(os.path.join(service.data, path), "r+b") as file:
                    file.seek(-100, os.SEEK_END)
                    [byte] = file.read(1)
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte ^ 1]))
            service.start()
            done = service.wait(job)
            assert done["state"] == "succeeded" and done["attempt"] == 2, done
            events = [one["type"] for one in service.get(f"/v1/jobs/{job}/events?limit=500").json["data"]]
            assert events.count("checkpoint_corrupt") == min(count, len(paths)), events
            assert ("resumed" in events) == (count < len(paths)), events
            assert digest(service.weights(done)) == undisturbed(binary), "the weights differ from an undisturbed run's"


def test_a_full_disk_refuses_jobs_holds_trainings_up_and_is_over_when_there_is_room(binary, kept):
    """On a file system of 64 MiB that somebody else fills to the last byte."""
    home = tempfile.mkdtemp(prefix="vintner-full-")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", home], capture_output=True, text=True,
                             check=False)
    if mounted.returncode != 0:
        os.rmdir(home)
        print(f"      NOT RUN: no file system may be mounted here: {mounted.stderr.strip()[:200]}")
        return
    try:
        fill_and_empty(binary, home)
    finally:
        subprocess.run(["umount", "--lazy", home], check=True)
        os.rmdir(home)


def fill_and_empty(binary, home):
    ballast = os.path.join(home, "ballast")
    spec = lenet(epochs=EPOCHS)
    spec["train"]["checkpoint_every_seconds"] = 1
    with Service(binary, data=os.path.join(home, "data")) as service:
        job = service.submit(spec)["id"]
        service.wait(job, lambda one: 0.1 < (one["progress"]["fraction"] or 0))
        # Within the reserve (a twentieth of 64 MiB) no work begins, and what runs goes on.
        fill(ballast, leaving=2 * MIB)
        reply = service.post("/v1/jobs", mlp())
        assert reply.status == 507 and reply.json["code"] == "insufficient_storage", reply
        assert int(reply.headers["retry-after"]) > 0, reply.headers
        assert service.get("/readyz").status == 503
        fill(ballast, leaving=0)
        held = service.job(job)
        deadline = time.monotonic() + 30
        while not (held["waiting_for"] and held["waiting_for"]["code"] == "disk"):
            assert held["state"] == "running" and time.monotonic() < deadline, held
            time.sleep(0.1)
            held = service.job(job)
        time.sleep(3)
        held = service.job(job)
        assert held["state"] == "running" and held["waiting_for"]["code"] == "disk", held
        for path in ("/v1/jobs", f"/v1/jobs/{job}/metrics", f"/v1/jobs/{job}/events", "/v1/system", "/healthz"):
            assert service.get(path).status == 200, path
        assert service.post("/v1/jobs", mlp()).status == 507
        os.remove(ballast)
        done = service.wait(job)
        assert done["state"] == "succeeded" and done["attempt"] == 1, done
        assert done["waiting_for"] is None, done
        assert [one["state"] for one in done["transitions"]] == ["queued", "running", "succeeded"], done["transitions"]
        assert digest(service.weights(done)) == undisturbed(binary), "the weights differ from an undisturbed run's"
        curve = service.get(f"/v1/jobs/{job}/metrics?series=train_loss&max_points=5000").json["series"]["train_loss"]
        assert len(set(curve["steps"])) == len(curve["steps"]) > 1000, "points are lost or doubled"
        assert service.get("/readyz").status == 200
        assert service.wait(service.submit(mlp(train={"steps": 3}))["id"])["state"] == "succeeded"
        assert service.terminate() == 0
        code, _, out = examine(binary, service.data)
        assert code == OK, json.loads(out)


def fill(path, leaving):
    """Writes a file until so many bytes are left on its file system."""
    with open(path, "ab") as file:
        while True:
            space = os.statvfs(os.path.dirname(path))
            count = min(MIB, space.f_bavail * space.f_frsize - leaving)
            if count <= 0:
                return
            try:
                file.write(bytes(count))
                file.flush()
            except OSError:
                file.truncate(os.path.getsize(path))
                return


def test_a_damaged_dataset_is_named_without_the_place_where_the_data_lie(binary, kept):
    with Service(binary, "--workers", "1") as service, tempfile.TemporaryDirectory() as folder:
        for split, count in (("train", 800), ("t10k", 4)):
            with open(f"{folder}/{split}-images-idx3-ubyte", "wb") as file:
                file.write(struct.pack(">IIII", 0x803, count, 2, 2) + bytes(range(4)) * count)
            with open(f"{folder}/{split}-labels-idx1-ubyte", "wb") as file:
                file.write(struct.pack(">II", 0x801, count) + bytes([0, 1]) * (count // 2))
        subprocess.run([binary, "datasets", "add", "tiny", folder, "--data", service.data], check=True, capture_output=True)
        first = service.submit({**mlp(), "train": {"epochs": 1000}})["id"]
        service.wait(first, lambda job: job["state"] == "running")
        job = service.submit({**mlp(), "dataset": "tiny", "train": {"steps": 5, "batch_size": 2}})["id"]
        images, = (os.path.join(place, name) for place, _, names in os.walk(os.path.join(service.data, "datasets"))
                   for name in names if name.startswith("train-images"))
        os.chmod(images, 0o600)
        os.truncate(images, 100)
        assert service.post(f"/v1/jobs/{first}/cancel").status < 300
        job = service.wait(job)
        assert job["state"] == "failed" and job["error"]["code"] == "dataset_unusable", job
        assert "/train-images" in job["error"]["message"] and service.data not in json.dumps(job), job["error"]
