"""Interrupted in three ways, a job ends with the very weights of an undisturbed run."""

import hashlib
import json
import struct

from lanes import alone
from service import Service, lenet

EPOCHS = 3


def digest(weights):
    """SHA-256 over every tensor's name, type, shape and bytes; the file's metadata may name the job."""
    [header_count] = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8:8 + header_count])
    header.pop("__metadata__", None)
    content = weights[8 + header_count:]
    total = hashlib.sha256()
    for name in sorted(header):
        start, end = header[name]["data_offsets"]
        total.update(json.dumps([name, header[name]["dtype"], header[name]["shape"]]).encode())
        total.update(content[start:end])
    return total.hexdigest()


def undisturbed(binary, memory={}):
    """The digest of a run that nothing happened to; computed once."""
    if "digest" not in memory:
        with Service(binary) as service:
            job = service.wait(service.submit(lenet(epochs=EPOCHS))["id"])
            assert job["state"] == "succeeded" and job["attempt"] == 1, job
            memory["digest"] = digest(service.weights(job))
    return memory["digest"]


def half_way(job):
    return 0.4 < (job["progress"]["fraction"] or 0) < 0.95


def finish(binary, service, job, attempt):
    """What was paused or drained goes on with the same attempt; what was killed has used one up."""
    done = service.wait(job)
    assert done["state"] == "succeeded", done
    assert done["attempt"] == attempt, done
    states = [one["state"] for one in done["transitions"]]
    assert states.count("running") == 2, states
    assert digest(service.weights(done)) == undisturbed(binary), "the weights differ from an undisturbed run's"
    curve = service.get(f"/v1/jobs/{job}/metrics?series=train_loss&max_points=1000").json["series"]["train_loss"]
    assert len(set(curve["steps"])) == len(curve["steps"]), "steps were counted twice"


@alone
def test_killed_in_mid_training(binary, kept):
    with Service(binary) as service:
        job = service.submit(lenet(epochs=EPOCHS))["id"]
        service.wait(job, half_way)
        service.kill()
        service.start()
        finish(binary, service, job, attempt=2)


def test_paused_and_resumed(binary, kept):
    with Service(binary) as service:
        job = service.submit(lenet(epochs=EPOCHS))["id"]
        service.wait(job, half_way)
        service.post(f"/v1/jobs/{job}/pause")
        paused = service.wait(job, lambda one: one["state"] == "paused")
        assert paused["progress"]["fraction"] < 1, paused
        assert service.post(f"/v1/jobs/{job}/resume").status in (200, 202)
        finish(binary, service, job, attempt=1)


def test_terminated_and_started_again(binary, kept):
    with Service(binary) as service:
        job = service.submit(lenet(epochs=EPOCHS))["id"]
        service.wait(job, half_way)
        assert service.terminate() == 0, service.log.decode()
        service.start()
        finish(binary, service, job, attempt=1)
