"""Backups of a folder in use, restored; and the doctor on folders to which something happened."""

import json
import os
import shutil
import tempfile
import threading

from service import Service, lenet, mlp
from test_cli import FAILED, OK, USAGE, vintner
from test_resume import digest

LEFT, UNOPENABLE = 1, 2


def examine(binary, data, *flags):
    """Runs the doctor; returns (exit code, findings that matter by place, everything printed)."""
    code, out, error = vintner(binary, "doctor", "--json", *flags, data=data)
    if code == UNOPENABLE:
        return code, {}, error
    report = json.loads(out)
    assert report["is_healthy"] == (code == OK), (code, report)
    found = {one["place"]: one for one in report["findings"] if one["severity"] != "note"}
    return code, found, out


def weights(data, model):
    return os.path.join(data, "models", model, "model.safetensors")


def test_a_backup_taken_while_jobs_run_goes_on_elsewhere(binary, kept):
    """Everything acknowledged before is in the copy, and ends there as it would have here."""
    with Service(binary) as service, tempfile.TemporaryDirectory() as home:
        done = service.wait(service.submit(mlp(name="done"))["id"])
        busy = {"epochs": 3, "batch_size": 64, "checkpoint_every_seconds": 1,
                "optimizer": {"name": "sgd", "lr": 0.05}}
        running = service.submit(lenet(name="running", train=busy))["id"]
        waiting = [service.submit(mlp(name=f"waiting-{index}"))["id"] for index in range(5)]
        behind = service.submit({"type": "evaluate", "dataset": "fashion-mnist",
                                 "model": {"job": waiting[0]}})["id"]
        service.wait(running, lambda job: job["state"] == "running" and (job["progress"]["fraction"] or 0) > 0.1)

        acknowledged, stop = [done["id"], running, *waiting, behind], threading.Event()

        def submit_on():
            while not stop.wait(0.1):
                acknowledged.append(service.submit(mlp(name="later", train={"steps": 3}))["id"])

        submitter = threading.Thread(target=submit_on)
        submitter.start()
        try:
            copies = []
            for number in range(5):
                before = list(acknowledged)
                target = os.path.join(home, f"copy-{number}")
                code, out, error = vintner(binary, "backup", "--json", target, data=service.data)
                assert code == OK and not error, (code, out, error)
                report = json.loads(out)
                assert report["problems"] == [] and report["jobs"] >= len(before), report
                copies.append((target, before))
        finally:
            stop.set()
            submitter.join()
        assert service.job(running)["state"] in ("running", "succeeded"), "the backup stopped a job"
        for target, _ in copies:
            code, found, out = examine(binary, target)
            assert code == OK, (target, out)
        original = service.weights(done)
        truth = digest(service.weights(service.wait(running, seconds=300)))
        service.terminate()
        shutil.rmtree(service.data)

        target, before = copies[-1]
        with Service(binary, data=target) as restored:
            assert restored.weights(restored.job(done["id"])) == original, "a stored model changed"
            for job in before:
                ended = restored.wait(job, seconds=300)
                assert ended["state"] == "succeeded", ended
                assert ended["attempt"] == 1, "a job was charged for having been copied"
            assert digest(restored.weights(restored.job(running))) == truth, "the resumed job came to other weights"


def test_a_backup_refuses_what_it_must_not_overwrite(binary, kept):
    with Service(binary) as service, tempfile.TemporaryDirectory() as home:
        service.wait(service.submit(mlp(train={"steps": 3}))["id"])
        with open(os.path.join(home, "mine"), "w", encoding="utf-8") as file:
            file.write("precious")
        for target in (home, os.path.join(home, "mine"), os.path.join(service.data, "copy"), service.data):
            code, _, error = vintner(binary, "backup", target, data=service.data)
            assert code == FAILED and "name " in error, (target, code, error)
        code, _, error = vintner(binary, "backup", os.path.join(home, "copy"), data=os.path.join(home, "none"))
        assert code == FAILED and "vintner.sqlite" in error, (code, error)
        assert vintner(binary, "backup", data=service.data)[0] == USAGE
        assert os.listdir(home) == ["mine"], os.listdir(home)
        # The database alone: history without models.
        code, out, error = vintner(binary, "backup", "--without-files", os.path.join(home, "rows"),
                                   data=service.data)
        assert code == OK and "1 jobs" in out and "0 files" in out, (code, out, error)
        # Not while the server runs.
        code, _, error = examine(binary, service.data)
        assert code == UNOPENABLE, error
        assert "is in use" in vintner(binary, "doctor", data=service.data)[2]


def test_the_doctor_mends_what_happened_to_a_folder(binary, kept):
    with Service(binary) as service:
        models = [service.wait(service.submit(mlp(name=name, train={"steps": 20}))["id"])["result"]["model_id"]
                  for name in ("gone", "flipped", "whole")]
        sound = service.get(f"/v1/models/{models[2]}/download").body
        running = service.submit(lenet(epochs=2))["id"]
        service.wait(running, lambda job: (job["progress"]["fraction"] or 0) > 0.1)
        service.kill()

        os.remove(weights(service.data, models[0]))
        with open(weights(service.data, models[1]), "r+b") as file:
            file.seek(-100, os.SEEK_END)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
        orphan = "models/mdl_01arz3ndektsv4rrffq69g5fav"
        os.mkdir(os.path.join(service.data, orphan))
        shutil.copy(weights(service.data, models[2]), os.path.join(service.data, orphan))

        expected = {f"models/{models[0]}/model.safetensors": "missing",
                    f"models/{models[1]}/model.safetensors": "damaged",
                    orphan: "orphan", running: "left_running"}
        code, found, out = examine(binary, service.data)
        assert code == LEFT, out
        assert {place: found[place]["code"] for place in expected} == expected, out
        rest = {one["code"] for place, one in found.items() if place not in expected}
        assert rest <= {"leftover", "orphan"}, out  # What the kill itself left half done.
        assert examine(binary, service.data)[1] == found, "looking changed something"

        code, mended, out = examine(binary, service.data, "--repair")
        assert code == OK and all(one["outcome"] == "mended" for one in mended.values()), out
        code, found, out = examine(binary, service.data)
        assert code == OK and not found, out
        assert os.path.exists(os.path.join(service.data, "damaged", models[1], "model.safetensors"))

        service.start()
        assert service.wait(running, seconds=300)["state"] == "succeeded"
        assert service.get(f"/v1/models/{models[2]}/download").body == sound
        for lost in models[:2]:
            assert service.get(f"/v1/models/{lost}").status == 404
        assert service.terminate() == 0
        code, found, out = examine(binary, service.data)
        assert code == OK, out


def test_the_doctor_says_what_cannot_be_opened(binary, kept):
    with Service(binary) as service:
        service.wait(service.submit(mlp(train={"steps": 3}))["id"])
        service.terminate()
        database = os.path.join(service.data, "vintner.sqlite")
        with open(database, "r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * 4096)
        code, _, error = vintner(binary, "doctor", data=service.data)
        assert code == UNOPENABLE and "damaged" in error and "restore a backup" in error, (code, error)
        os.remove(database)
        code, _, error = vintner(binary, "doctor", data=service.data)
        assert code == UNOPENABLE and "vintner.sqlite" in error, (code, error)
        assert not os.path.exists(database)
