"""What becomes of a data folder that others touched: lost, moved, littered, or readable by others."""

import json
import os
import shutil
import subprocess
import tempfile

from service import Service, ServiceError, mlp
from test_faults import BROKEN

SHORT = {"steps": 3, "batch_size": 64}


def refusal(binary, data):
    """Why a server does not start."""
    try:
        with Service(binary, data=data):
            pass
    except ServiceError as error:
        return str(error)
    raise AssertionError("it started")


def lines(service):
    """The lines of a server's log."""
    return [json.loads(line) for line in service.log.decode().splitlines() if line.startswith("{")]


def test_models_outlive_the_loss_of_their_database(binary, kept):
    """A start on a folder whose database is gone must not take its models for leftovers."""
    with tempfile.TemporaryDirectory() as home:
        data = os.path.join(home, "data")
        with Service(binary, data=data) as service:
            model = service.wait(service.submit(mlp(train=SHORT))["id"])["result"]["model_id"]
            assert service.terminate() == 0
        database = os.path.join(data, "vintner.sqlite")
        shutil.copy(database, os.path.join(home, "copy"))
        for content in (None, b""):
            os.remove(database)
            if content is not None:
                with open(database, "wb") as file:
                    file.write(content)
            reason = refusal(binary, data)
            assert "ended with 1" in reason and "restore a backup" in reason and "/job_" in reason, reason
            assert os.path.exists(os.path.join(data, "models", model, "model.safetensors"))
            if not os.path.exists(database):
                shutil.copy(os.path.join(home, "copy"), database)
        for name in ("-wal", "-shm"):
            if os.path.exists(database + name):
                os.remove(database + name)
        shutil.copy(os.path.join(home, "copy"), database)
        with Service(binary, data=data) as service:
            assert service.get(f"/v1/models/{model}/download?format=safetensors").status == 200


def test_a_littered_folder_starts_and_what_is_not_ours_stays(binary, kept):
    with tempfile.TemporaryDirectory() as home:
        data = os.path.join(home, "data")
        with Service(binary, data=data) as service:
            job = service.wait(service.submit(mlp(train=SHORT))["id"])
            assert service.terminate() == 0
        litter = ["jobs/.DS_Store", "models/readme.txt", f"jobs/{job['id']}/notes.txt", f"jobs/{job['id']}/sub/x"]
        for path in litter:
            os.makedirs(os.path.join(data, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(data, path), "w", encoding="ascii") as file:
                file.write("x")
        os.chmod(data, 0o777)
        os.chmod(os.path.join(data, "token"), 0o644)
        with Service(binary, data=data) as service:
            assert service.job(job["id"])["state"] == "succeeded"
            told = [line["message"] for line in lines(service)]
            assert "left alone what this program did not make" in told, told
            assert told.count("other users may read or write what they should not") == 2, told
            assert service.terminate() == 0
        assert all(os.path.exists(os.path.join(data, path)) for path in litter)
        doctor = subprocess.run([binary, "doctor", "--data", data, "--json"], capture_output=True, text=True, check=False)
        found = {(one["code"], one["place"]) for one in json.loads(doctor.stdout)["findings"]}
        assert doctor.returncode == 1 and {("permissions", "."), ("permissions", "token")} <= found, found
        with open(os.path.join(data, "token"), "w", encoding="ascii") as file:
            file.write("a\n")
        with open(os.path.join(data, "tokens.json"), "w", encoding="ascii") as file:
            file.write("{\"tokens\": [")
        doctor = subprocess.run([binary, "doctor", "--data", data, "--json"], capture_output=True, text=True, check=False)
        found = {(one["code"], one["place"]) for one in json.loads(doctor.stdout)["findings"]}
        assert {("damaged", "token"), ("damaged", "tokens.json")} <= found, found
        listed = subprocess.run([binary, "token", "list", "--data", data], capture_output=True, text=True, check=False)
        assert listed.returncode == 1 and "tokens.json" in listed.stderr, listed
        assert "delete it" in refusal(binary, data)


def test_a_server_whose_folder_is_moved_ends(binary, kept):
    with tempfile.TemporaryDirectory() as home:
        data = os.path.join(home, "data")
        with Service(binary, "--workers", "1", data=data) as service:
            done = service.wait(service.submit(mlp(train=SHORT))["id"])
            # A lock that somebody takes for a stale one keeps the folder all the same.
            os.remove(os.path.join(data, "LOCK"))
            assert "locked by another process" in refusal(binary, data)
            os.rename(data, data + ".elsewhere")
            assert service.process.wait(timeout=10) == BROKEN
            assert any(line["level"] == "critical" for line in lines(service)), service.log
        with Service(binary, data=data + ".elsewhere") as service:
            assert service.job(done["id"])["state"] == "succeeded"
            assert service.get(f"/v1/models/{done['result']['model_id']}/download").status == 200


def test_closed_streams_are_not_taken_for_files(binary, kept):
    with tempfile.TemporaryDirectory() as home:
        data = os.path.join(home, "data")
        words = [binary, "serve", "--data", data, "--port", "0", "--log-level", "debug"]
        process = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words])
        try:
            for number in range(3):
                for _ in range(200):
                    try:
                        target = os.readlink(f"/proc/{process.pid}/fd/{number}")
                    except FileNotFoundError:
                        target = ""
                    if target == "/dev/null" and os.path.exists(os.path.join(data, "token")):
                        break
                    subprocess.run(["sleep", "0.05"], check=True)
                assert target == "/dev/null", target
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0
        assert os.path.getsize(os.path.join(data, "LOCK")) == 0


def test_the_log_says_what_becomes_of_a_job(binary, kept):
    with Service(binary) as service:
        reply = service.post("/v1/jobs", mlp(train=SHORT))
        job = reply.json["id"]
        service.wait(job)
        told = lines(service)
        made, = (line for line in told if line.get("location") == f"/v1/jobs/{job}")
        assert made["request_id"] == reply.headers["x-request-id"] and made["status"] == "201", made
        own = [line["message"] for line in told if line.get("job_id") == job]
        assert own == ["an attempt begins", "an attempt has ended"], told
