"""What a job keeps on disk: checkpoints that stay, its limit, and how fast its model answers."""

import hashlib
import os

from service import Service, mlp


def size_of(folder):
    """Bytes of all files below a folder."""
    return sum(os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names)


def test_checkpoints_that_stay_are_listed_downloaded_and_freed(binary, kept):
    with Service(binary) as service:
        train = {"steps": 60, "eval_every_steps": 30, "keep_checkpoint_every_steps": 20, "optimizer": {"lr": 0.05}}
        spec = mlp(train=train)
        estimate = service.post("/v1/jobs?dry_run=true", spec).json["estimate"]
        job = service.wait(service.submit({**spec, "limits": {"max_disk_bytes": estimate["disk_bytes"]}})["id"])
        assert job["state"] == "succeeded", job
        checkpoints = service.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"]
        assert sorted(c["step"] for c in checkpoints if c["kind"] == "kept") == [20, 40, 60], checkpoints
        for step in (20, 40, 60):
            name = f"checkpoint-{step}-kept.safetensors"
            file = service.get(f"/v1/jobs/{job['id']}/artifacts/{name}")
            known = next(c for c in checkpoints if c["step"] == step and c["kind"] == "kept")
            assert file.status == 200 and hashlib.sha256(file.body).hexdigest() == known["sha256"], (step, known)
        model = job["result"]["model_id"]
        folders = [os.path.join(service.data, "jobs", job["id"]), os.path.join(service.data, "models", model)]
        taken = sum(map(size_of, folders))
        assert 0.3 * estimate["disk_bytes"] < taken <= estimate["disk_bytes"], (taken, estimate)
        assert service.call("DELETE", f"/v1/jobs/{job['id']}").status == 204
        assert size_of(folders[0]) == 0, os.listdir(folders[0])


def test_a_limit_of_disk_is_kept(binary, kept):
    with Service(binary) as service:
        spec = mlp(limits={"max_disk_bytes": 100_000})
        for path in ("/v1/jobs", "/v1/jobs?dry_run=true"):
            refused = service.post(path, spec)
            fault = refused.json["errors"][0]
            assert refused.status == 422 and fault["pointer"] == "/limits/max_disk_bytes", refused
            assert fault["code"] == "insufficient_disk", refused


def test_a_job_that_outgrows_its_limit_of_disk_is_ended(binary, kept):
    with Service(binary) as service:
        spec = mlp(train={"epochs": 200, "checkpoint_every_seconds": 1})
        most = service.post("/v1/jobs?dry_run=true", spec).json["estimate"]["disk_bytes"]
        job = service.submit({**spec, "limits": {"max_disk_bytes": most}})["id"]
        service.wait(job, lambda job: job["progress"]["step"] > 0)
        # No estimate foresees this.
        with open(os.path.join(service.data, "jobs", job, "note"), "wb") as file:
            file.write(bytes(most))
        failed = service.wait(job, seconds=30)
        assert failed["state"] == "failed" and failed["attempt"] == 1, failed
        assert failed["error"]["code"] == "limit_exceeded", failed["error"]
        assert failed["error"]["pointer"] == "/limits/max_disk_bytes", failed["error"]


def test_a_model_knows_how_long_it_takes_to_answer(binary, kept):
    with Service(binary) as service:
        job = service.wait(service.submit(mlp(train={"steps": 5}))["id"])
        report = job["result"]["report"]
        model = service.get(f"/v1/models/{job['result']['model_id']}").json
        latency = model["metrics"]["latency_ms"]["1"]
        assert 0 < latency["p50"] <= latency["p95"] < 1000 and latency["runs"] >= 10, latency
        assert report["latency_ms"] == model["metrics"]["latency_ms"], report
        assert report["threads"] == model["metrics"]["threads"] == job["spec"]["threads"], report


def test_a_model_that_is_needed_is_not_deleted(binary, kept):
    with Service(binary, "--workers", "1") as service:
        made = service.wait(service.submit(mlp(train={"steps": 5}))["id"])
        model, etag = made["result"]["model_id"], service.get(f"/v1/jobs/{made['id']}").headers["etag"]
        user = service.submit(mlp(model={"id": model}, epochs=200))["id"]
        refused = service.call("DELETE", f"/v1/models/{model}")
        assert refused.status == 409 and refused.json["code"] == "in_use" and user in refused.json["detail"], refused
        service.post(f"/v1/jobs/{user}/cancel")
        service.wait(user)
        assert service.call("DELETE", f"/v1/models/{model}").status == 204
        after = service.get(f"/v1/jobs/{made['id']}", headers={"If-None-Match": etag})
        assert after.status == 200 and after.json["result"]["model_id"] is None, after
