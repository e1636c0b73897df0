"""Plans and profiles: what a step takes, where its time goes, and that looking changes nothing."""

import json
import os
import tempfile
import xml.etree.ElementTree

from service import Service, lenet, mlp
from test_cli import FAILED, OK, USAGE, vintner

MODEL = {"input": [1, 28, 28], "layers": [
    {"type": "conv2d", "name": "conv", "out_channels": 8, "kernel_size": 3}, {"type": "relu"}, {"type": "flatten"},
    {"type": "linear", "name": "out", "out_features": 10}]}


def test_a_plan_adds_up(binary, kept):
    with tempfile.TemporaryDirectory() as folder:
        chart = os.path.join(folder, "memory.svg")
        code, out, error = vintner(binary, "plan", "-", "--batch", "16", "--json", "--chart", chart, body=MODEL)
        assert code == OK, (out, error)
        plan = json.loads(out)
        # Forward and weight gradient of both layers, data gradient of the second.
        conv, linear = 26 * 26 * 8 * 9, 26 * 26 * 8 * 10
        assert plan["macs"] == 16 * (2 * conv + 3 * linear), plan["macs"]
        assert plan["parameters"] == 8 * 9 + 8 + 26 * 26 * 8 * 10 + 10, plan["parameters"]
        steps = plan["plans"][0]["steps"]
        assert sum(step["macs"] for step in steps) == plan["macs"]
        assert abs(sum(step["predicted_seconds"] for step in steps) - plan["predicted_seconds"]) < 1e-9
        assert {step["pass"] for step in steps} == {"forward", "backward", "update"}
        assert max(use["total"] for use in plan["plans"][0]["memory"]) <= plan["arena_bytes"]
        root = xml.etree.ElementTree.parse(chart).getroot()
        assert root.tag.endswith("svg") and len(root.findall(".//{*}polygon")) >= 3
        code, out, _ = vintner(binary, "plan", "-", body=mlp())
        assert code == OK and "784" not in out.splitlines()[0] and "predicted" in out and "GB/s" in out, out
        code, _, error = vintner(binary, "plan", "-", body={"input": [4], "layers": [{"type": "linaer"}]})
        assert code == USAGE and "linear" in error, (code, error)
        code, _, error = vintner(binary, "plan", "-", "--chart", f"{folder}/no/such/place.svg", body=MODEL)
        assert code == FAILED and "chart" in error, (code, error)


def test_a_profile_names_every_layer(binary, kept):
    for extra in ([], ["--optimizer", "adamw"]):
        code, out, error = vintner(binary, "profile", "-", "--steps", "5", "--batch", "8", "--json", *extra, body=MODEL)
        assert code == OK, (out, error)
        profile = json.loads(out)
        layers = {layer["name"]: layer for layer in profile["layers"]}
        assert {"conv", "out", "loss"} <= set(layers), layers
        assert all(layers[name][f"{part}_ms"] > 0 for name in ("conv", "out")
                   for part in ("forward", "backward")), layers
        # A linear layer's weights are updated by the call that computes their gradient.
        assert layers["conv"]["update_ms"] > 0 and layers["out"]["update_ms"] == 0, layers
        assert profile["step_ms"] > 0 and profile["steps"] == 5 and profile["peak_gflops"] > 0, profile
    job = mlp(train={"epochs": 1, "batch_size": 32, "micro_batch_size": 8})
    code, out, error = vintner(binary, "profile", "-", "--steps", "3", body=job)
    assert code == OK and "optimizer" in out and "% of peak" in out, (out, error)


def test_a_job_tells_its_profile(binary, kept):
    with Service(binary) as service:
        estimate = service.post("/v1/jobs?dry_run=true", lenet()).json["estimate"]
        assert estimate["seconds"] > 0 and estimate["joules"] > 0 and "model" in estimate["method"], estimate
        job = service.submit(mlp())["id"]
        service.wait(job)
        profile = service.get(f"/v1/jobs/{job}/profile")
        assert profile.status == 200, profile
        assert profile.json["steps"] == 10 and profile.json["precision"] == "fp32", profile
        assert sum(layer["macs"] for layer in profile.json["layers"]) == 64 * (2 * 784 * 64 + 3 * 64 * 10), profile
        service.terminate()
        service.start()
        assert service.get(f"/v1/jobs/{job}/profile").json == profile.json
        later = service.submit(mlp(depends_on=[service.submit(lenet(epochs=50))["id"]]))["id"]
        waiting = service.get(f"/v1/jobs/{later}/profile")
        assert waiting.status == 404 and waiting.json["code"] == "profile_not_ready", waiting
