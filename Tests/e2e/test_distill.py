"""Distill jobs: a student learns from a stored model."""

import hashlib
import json

from service import Service
from test_cli import OK, vintner

TEACHER = {"type": "train", "dataset": "fashion-mnist", "model": {"preset": "mlp", "hidden": [256]},
           "train": {"steps": 400, "optimizer": {"lr": 0.05}}}
STUDENT = {"type": "distill", "dataset": "fashion-mnist", "model": {"preset": "mlp", "hidden": [24]},
           "train": {"steps": 200, "optimizer": {"lr": 0.05}}}


def test_a_student_learns_from_the_model_of_another_job(binary, kept):
    with Service(binary) as service:
        teacher = service.submit(TEACHER)["id"]
        job = service.submit({**STUDENT, "distill": {"teacher": {"job": teacher}, "temperature": 4, "alpha": 0.1}})
        job = service.wait(job["id"])
        assert job["state"] == "succeeded" and job["type"] == "distill", job
        made = service.wait(teacher)["result"]
        weights = service.get(f"/v1/models/{made['model_id']}/download").body
        assert hashlib.sha256(weights).hexdigest() == made["report"]["model_sha256"], "the teacher has changed"

        report = job["result"]["report"]
        blocks = report["teacher"], report["student"]
        assert blocks[0]["model"] == made["model_id"], report
        assert blocks[0]["test_accuracy"] == made["report"]["test_accuracy"], (blocks, made)
        assert blocks[1]["test_accuracy"] == report["test_accuracy"], report
        assert blocks[0]["parameters"] == 203_530 and blocks[1]["parameters"] == 19_090, blocks
        for block in blocks:
            assert 0 < block["latency_ms"]["64"]["p50"] <= block["latency_ms"]["64"]["p95"], block
            assert 0 < block["nonzero_parameters"] <= block["parameters"], block
            assert block["file_bytes"] > 4 * block["parameters"] and block["joules_per_1000"] > 0, block
        lineage = service.get(f"/v1/models/{job['result']['model_id']}").json["lineage"]
        assert lineage["teachers"] == [made["model_id"]], lineage

        curves = service.get(f"/v1/jobs/{job['id']}/metrics?series=hard_loss,soft_loss,agreement").json["series"]
        soft, agreement = curves["soft_loss"]["values"], curves["agreement"]["values"]
        assert len(soft) == 200 and sum(soft[-20:]) < sum(soft[:20]) / 2, soft
        assert sum(agreement[-20:]) > sum(agreement[:20]), agreement
        assert curves["hard_loss"]["values"][-1] < curves["hard_loss"]["values"][0], curves

        # What the teacher says can be kept; computed in batches of another size, it differs in the last bits.
        cached = service.wait(service.submit(
            {**STUDENT, "distill": {"teacher": {"id": made["model_id"]}, "teacher_cache": "disk"}})["id"])
        assert abs(cached["result"]["report"]["test_accuracy"] - report["test_accuracy"]) < 0.01, (cached, report)

        seven = service.submit({"type": "train", "dataset": "fashion-mnist", "train": {"steps": 1},
                                "model": {"layers": [{"type": "flatten"}, {"type": "linear", "out_features": 10},
                                                     {"type": "softmax"}]}})
        service.wait(seven["id"])
        bad = service.post("/v1/jobs", {**STUDENT, "distill": {"teacher": {"job": seven["id"]}}})
        assert bad.status == 422 and bad.json["errors"][0]["pointer"] == "/distill/teacher", bad
        assert "softmax" in bad.json["errors"][0]["detail"], bad


def convolution(channels, name):
    return [{"type": "conv2d", "name": name, "out_channels": channels, "kernel_size": 5, "stride": 2, "padding": 2},
            {"type": "relu", "name": f"{name}_relu"}]


def test_layers_of_a_student_come_close_to_its_teachers(binary, kept):
    tail = [{"type": "flatten", "name": "flat"}, {"type": "linear", "name": "out", "out_features": 10}]
    with Service(binary) as service:
        teacher = service.wait(service.submit(
            {"type": "train", "dataset": "fashion-mnist", "train": {"steps": 200, "optimizer": {"lr": 0.05}},
             "model": {"layers": convolution(16, "wide") + tail}})["id"])
        body = {"type": "distill", "dataset": "fashion-mnist", "train": {"steps": 200, "optimizer": {"lr": 0.05}},
                "model": {"layers": convolution(4, "narrow") + tail}}
        distill = {"teacher": {"id": teacher["result"]["model_id"]},
                   "features": [{"student": "narrow_relu", "teacher": "wide_relu", "adapter": "conv1x1", "weight": 1},
                                {"student": "narrow", "teacher": "wide", "loss": "attention", "weight": 100}]}
        job = service.wait(service.submit({**body, "distill": distill})["id"])
        assert job["state"] == "succeeded", job
        curves = service.get(f"/v1/jobs/{job['id']}/metrics?series=feature_loss,agreement,train_loss").json["series"]
        features, agreement = curves["feature_loss"]["values"], curves["agreement"]["values"]
        assert len(features) == 200 and sum(features[-20:]) < sum(features[:20]) / 2, features
        assert sum(agreement[-20:]) > sum(agreement[:20]), agreement
        assert all(one < total for one, total in zip(features, curves["train_loss"]["values"])), curves

        made = service.get(f"/v1/models/{job['result']['model_id']}/download").body
        header = json.loads(made[8:8 + int.from_bytes(made[:8], "little")])
        names = {name for name in header if name != "__metadata__"}
        assert names == {"narrow.weight", "narrow.bias", "out.weight", "out.bias"}, names
        assert job["result"]["report"]["student"]["parameters"] == 4 * 26 + 4 * 14 * 14 * 10 + 10, job

        code, out, error = vintner(binary, "profile", "-", "--data", service.data, "--steps", "3", "--json",
                                   body={**body, "distill": distill})
        assert code == OK, error
        layers = {layer["name"]: layer for layer in json.loads(out)["layers"]}
        assert all(layers[name]["backward_ms"] > 0 for name in ("features[0]", "features[1]")), layers

        for change, pointer in [({"student": "relu"}, "/distill/features/0/student"),
                                ({"teacher": "flat"}, "/distill/features/0/teacher"),
                                ({"adapter": "none"}, "/distill/features/0/adapter")]:
            bad = [{"student": "narrow", "teacher": "wide", **change}]
            answer = service.post("/v1/jobs", {**body, "distill": {**distill, "features": bad}})
            assert answer.status == 422 and answer.json["errors"][0]["pointer"] == pointer, answer.json


def killed_on_the_way(service, body, since):
    """The job, whose server was killed and started again behind so much of it."""
    job = service.submit(body)["id"]
    service.wait(job, lambda one: since < (one["progress"]["fraction"] or 0) < 0.95)
    service.kill()
    service.start()
    done = service.wait(job)
    assert done["state"] == "succeeded" and done["attempt"] == 2, done
    return done


def test_a_student_is_compared_with_the_same_student_alone(binary, kept):
    """Two seeds with and without a teacher; killed in the third of the four trainings, nothing is lost or doubled."""
    with Service(binary) as service:
        teacher = service.submit(TEACHER)["id"]
        body = {**STUDENT, "train": {"steps": 4000, "eval_every_steps": 1000, "optimizer": {"lr": 0.05},
                                     "checkpoint_every_seconds": 1},
                "distill": {"teacher": {"job": teacher}, "control": True, "seeds": 2}}
        calm = service.wait(service.submit(body)["id"])
        assert calm["state"] == "succeeded", calm

        done = killed_on_the_way(service, body, 0.55)
        reports = [one["result"]["report"] for one in (calm, done)]
        for key in ("runs", "verdict", "test", "mean_gain", "model_sha256", "distilled", "control"):
            assert reports[0][key] == reports[1][key], (key, reports)

        report = reports[0]
        runs = report["runs"]
        assert len(runs["distilled"]) == len(runs["control"]) == 2, report
        assert report["verdict"] == "no better" and report["mean_gain"] < 0, "the teacher had 400 steps, they 4,000"
        assert runs["distilled"][0] == report["test_accuracy"], "the model is the first seed's"
        assert report["distilled"]["mean"] == sum(runs["distilled"]) / 2, report
        assert report["test"]["name"].startswith("paired t-test") and 0 <= report["test"]["p_value"] <= 1, report
        # A training without teachers is what a train job makes of the same seed.
        alone = {key: value for key, value in body.items() if key != "distill"} | {"type": "train"}
        plain = service.wait(service.submit(alone)["id"])
        assert plain["result"]["report"]["test_accuracy"] == runs["control"][0], (plain, runs)

        curves = service.get(f"/v1/jobs/{done['id']}/metrics?max_points=10000").json["series"]
        for name in ("val_accuracy", "val_accuracy.control", "val_accuracy.seed1", "val_accuracy.seed1_control"):
            assert curves[name]["steps"] == [1000, 2000, 3000, 4000], (name, curves[name]["steps"])
        losses = [curves[name]["values"][-1] for name in curves if name.startswith("val_loss")]
        assert len(set(losses)) == 4, "trainings of other seeds or losses are the same"
        assert len(curves["train_loss"]["steps"]) == 4000 and "train_loss.control" not in curves


def test_two_students_learn_from_each_other(binary, kept):
    """With the same student alone beside them; killed while both learn, they end with the same bits."""
    body = {"type": "distill", "dataset": "fashion-mnist", "model": {"preset": "mlp", "hidden": [24]},
            "distill": {"mutual": True, "peer": {"preset": "mlp", "hidden": [40]}, "control": True},
            "train": {"steps": 3000, "eval_every_steps": 1000, "optimizer": {"lr": 0.05},
                      "checkpoint_every_seconds": 1}}
    with Service(binary) as service:
        calm = service.wait(service.submit(body)["id"])
        assert calm["state"] == "succeeded" and calm["type"] == "distill", calm
        report = calm["result"]["report"]
        runs = report["runs"]
        assert runs["distilled"] == [report["test_accuracy"]] and len(runs["control"]) == 1, report
        assert runs["peer"] == [report["peer"]["test_accuracy"]], report
        assert report["peer"]["test_accuracy"] > 0.7 < report["test_accuracy"], report
        assert report["peer"]["parameters"] == 784 * 40 + 40 + 400 + 10, report
        assert report["student"]["parameters"] == 19_090 and "teacher" not in report, report
        assert report["verdict"] == "inconclusive", report
        model = service.get(f"/v1/models/{calm['result']['model_id']}").json
        assert model["parameters"] == 19_090 and model["lineage"]["peer"], model
        curves = service.get(f"/v1/jobs/{calm['id']}/metrics?max_points=9999").json["series"]
        assert curves["peer_val_accuracy"]["steps"] == curves["val_accuracy"]["steps"] == [1000, 2000, 3000], curves
        assert curves["peer_val_loss"]["values"] != curves["val_loss"]["values"], curves
        agreement = curves["agreement"]["values"]
        assert len(agreement) == 3000 and sum(agreement[-100:]) > sum(agreement[:100]), agreement
        assert "peer_val_accuracy.control" not in curves, "it learns alone"

        done = killed_on_the_way(service, body, 0.6)
        for key in ("runs", "model_sha256"):
            assert done["result"]["report"][key] == report[key], (key, done, report)
        again = service.get(f"/v1/jobs/{done['id']}/metrics?max_points=9999").json["series"]
        for name in ("peer_val_loss", "soft_loss", "train_loss"):
            assert again[name]["values"] == curves[name]["values"], name
