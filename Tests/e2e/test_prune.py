"""Prune jobs: a model is pruned, trained further, shrunk, and measured against what it was."""

import hashlib
import json
import os
import struct

from lanes import alone
from service import Service

DENSE = {"type": "train", "dataset": "fashion-mnist", "model": {"preset": "lenet5_caffe"},
         "train": {"steps": 600, "optimizer": {"lr": 0.05, "momentum": 0.9}}}
TRAIN = {"eval_every_steps": 400, "optimizer": {"lr": 0.05, "momentum": 0.9}}


def tensors(service, model):
    """Names, shapes and floats of a model's file, and its metadata."""
    body = service.get(f"/v1/models/{model}/download").body
    length = struct.unpack("<Q", body[:8])[0]
    header = json.loads(body[8:8 + length])
    metadata, found = header.pop("__metadata__"), {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        found[name] = entry["shape"], struct.unpack(f"<{(end - begin) // 4}f", body[begin:end])
    return found, metadata


def test_the_articles_case(binary, kept):
    """L1 on both convolutions of the 1-20-50 net, of a model that another job trains."""
    with Service(binary) as service:
        dense = service.submit(DENSE)["id"]
        job = service.submit({"type": "prune", "dataset": "fashion-mnist", "model": {"job": dense},
                              "prune": {"target_sparsity": 0.6, "exclude": ["fc*"], "finetune": {"epochs": 1}},
                              "train": TRAIN, "gate": {"max_drop": 0.02}})
        job = service.wait(job["id"], seconds=300)
        assert job["state"] == "succeeded" and job["type"] == "prune", job
        report = job["result"]["report"]
        whole = service.wait(dense)["result"]
        before, after = report["before"], report["after"]
        assert before["test_accuracy"] == whole["report"]["test_accuracy"], (before, whole)
        assert before["file_bytes"] == whole["report"]["file_bytes"], (before, whole)
        assert report["gate"]["passed"] and report["gate"]["kept"] == "pruned", report["gate"]
        assert report["gate"]["drop"] == before["test_accuracy"] - after["test_accuracy"], report
        assert report["sparsity"] == 0.6, report
        # 25,500 weights of both convolutions, of which 15,300 are gone.
        assert before["nonzero_parameters"] - after["nonzero_parameters"] >= 15_300 - 10, report
        assert after["file_bytes"] < before["file_bytes"] and "smaller" in report["verdict"], report["verdict"]
        layers = {layer["name"]: layer for layer in report["layers"]}
        assert set(layers) == {"conv1", "conv2", "fc1", "fc2"}, layers
        kept_weights = 500 * layers["conv1"]["kept_fraction"] + 25_000 * layers["conv2"]["kept_fraction"]
        assert round(kept_weights) == 10_200 and layers["fc1"]["kept_fraction"] == 1, layers
        assert layers["conv2"]["kernel"], layers

        found, metadata = tensors(service, job["result"]["model_id"])
        zeros = sum(value == 0 for name in ("conv1.weight", "conv2.weight") for value in found[name][1])
        assert zeros == 15_300 and json.loads(metadata["vintner.masks"]) == ["conv1.weight", "conv2.weight"]
        # Stored without its zeros; whole it is as large as before.
        place = f"/v1/models/{job['result']['model_id']}/download"
        sparse, dense_file = service.get(f"{place}?format=sparse").body, service.get(place).body
        assert len(sparse) == after["file_bytes"] == report["file_bytes"], (len(sparse), report)
        assert before["file_bytes"] <= len(dense_file) < before["file_bytes"] + 1000, len(dense_file)
        assert hashlib.sha256(sparse).hexdigest() == report["model_sha256"], report
        assert os.listdir(f"{service.data}/models/{job['result']['model_id']}").count("model.safetensors") == 1
        assert not any(".tmp" in name for name in os.listdir(f"{service.data}/models/{job['result']['model_id']}"))
        lineage = service.get(f"/v1/models/{job['result']['model_id']}").json["lineage"]
        shown = service.get(f"/v1/models/{job['result']['model_id']}").json
        short = {"test_accuracy", "test_loss", "latency_ms", "threads"}
        assert shown["report"] == report and set(shown["metrics"]) == short, shown
        assert shown["metrics"]["latency_ms"] == report["after"]["latency_ms"], shown["metrics"]
        assert lineage["parent"] == whole["model_id"] and lineage["pruning"]["sparsity"] == 0.6, lineage
        curve = service.get(f"/v1/jobs/{job['id']}/metrics?series=sparsity").json["series"]["sparsity"]
        assert curve["values"] == [0.6], curve

        # Trained further, what was pruned stays so.
        again = service.wait(service.submit(
            {"type": "train", "dataset": "fashion-mnist", "model": {"id": job["result"]["model_id"]},
             "train": {"steps": 100, "optimizer": {"name": "adamw"}}})["id"])
        further, _ = tensors(service, again["result"]["model_id"])
        pairs = zip(found["conv2.weight"][1], further["conv2.weight"][1])
        assert all((one == 0) == (other == 0) for one, other in pairs), "a zero has moved"


def test_channels_are_removed_until_a_constraint_holds(binary, kept):
    with Service(binary) as service:
        dense = service.submit(DENSE)["id"]
        body = {"type": "prune", "dataset": "fashion-mnist", "model": {"job": dense}, "train": TRAIN,
                "prune": {"structure": "channel", "constraint": {"macs": "50%"}, "finetune": {"epochs": 1}}}
        job = service.wait(service.submit(body)["id"], seconds=300)
        assert job["state"] == "succeeded", job
        report = job["result"]["report"]
        before, after = report["before"], report["after"]
        assert 0.4 < after["macs"] / before["macs"] <= 0.5, (before, after)
        assert after["file_bytes"] < before["file_bytes"] and report["verdict"][0] == "smaller", report["verdict"]
        proof = report["equivalence"]
        assert proof["max_abs_difference"] <= proof["tolerance"] < 1e-3 and proof["samples"] >= 256, proof
        for batch in ("1", "64"):
            assert after["latency_ms"][batch]["p50"] < before["latency_ms"][batch]["p50"], (before, after)
        assert after["test_accuracy"] > before["test_accuracy"] - 0.02, (before, after)
        layers = {layer["name"]: layer for layer in report["layers"]}
        channels = layers["conv2"]["shape_after"]
        assert channels[0] < 50 and channels[1] == layers["conv1"]["shape_after"][0] < 20, layers
        model = service.get(f"/v1/models/{job['result']['model_id']}").json
        assert model["parameters"] == after["parameters"] < before["parameters"] == 431_080, model

        # What is left is a model like any other.
        measured = service.wait(service.submit(
            {"type": "evaluate", "dataset": "fashion-mnist", "model": {"id": job["result"]["model_id"]}})["id"])
        assert measured["result"]["report"]["accuracy"] == after["test_accuracy"], (measured, after)

        bad = service.post("/v1/jobs", {**body, "prune": {"structure": "channel", "constraint": {"macs": 1000}}})
        assert bad.status == 422 and bad.json["errors"][0]["pointer"] == "/prune/constraint/macs", bad
        assert bad.json["errors"][0]["code"] == "constraint_unsatisfiable", bad


def test_heads_of_attention_are_removed(binary, kept):
    with Service(binary) as service:
        vit = {"preset": "vit_tiny", "patch": 7, "width": 48, "depth": 2, "heads": 4}
        optimizer = {"name": "adamw", "lr": 0.002}
        body = {"type": "prune", "dataset": "fashion-mnist", "model": vit, "seed": 2,
                "prune": {"structure": "channel", "scope": "layer", "constraint": {"macs": "70%"},
                          "finetune": {"epochs": 1}},
                "train": {"steps": 150, "eval_every_steps": 150, "batch_size": 64, "optimizer": optimizer}}
        job = service.wait(service.submit(body)["id"], seconds=300)
        assert job["state"] == "succeeded", job
        report = job["result"]["report"]
        before, after, proof = report["before"], report["after"], report["equivalence"]
        assert 0.55 < after["macs"] / before["macs"] <= 0.7, (before, after)
        assert proof["max_abs_difference"] <= proof["tolerance"] < 1e-3, proof
        assert report["verdict"][0] == "smaller" and after["test_accuracy"] > 0.6, report
        layers = {layer["name"]: layer for layer in report["layers"]}
        for block in ("block1", "block2"):
            columns, rows = layers[f"{block}.attn.out_proj"], layers[f"{block}.attn.in_proj"]
            assert rows["shape_before"] == [144, 48] and columns["shape_before"] == [48, 48], layers
            # Whole heads of 12 columns, of queries, keys and values alike.
            inner = columns["shape_after"][1]
            assert inner in (12, 24, 36) and columns["shape_after"] == [48, inner], columns
            assert rows["shape_after"] == [3 * inner, 48], rows
            assert layers[f"{block}.mlp.fc1"]["shape_after"][0] < 192, layers

        model = {"id": job["result"]["model_id"]}
        blocks = [layer for layer in service.get(f"/v1/models/{model['id']}").json["architecture"]["layers"]
                  if layer["type"] == "transformer_block"]
        assert [block["head_dim"] for block in blocks] == [12, 12], blocks
        measured = service.wait(service.submit({"type": "evaluate", "dataset": "fashion-mnist", "model": model})["id"])
        assert measured["result"]["report"]["accuracy"] == after["test_accuracy"], (measured, after)
        further = service.wait(service.submit(
            {"type": "train", "dataset": "fashion-mnist", "model": model,
             "train": {"steps": 20, "precision": "bf16", "lora": {"rank": 4}, "optimizer": optimizer}})["id"])
        assert further["state"] == "succeeded", further


def test_killed_while_pruning_and_while_what_is_left_is_trained(binary, kept):
    """The same model and curves as a run that nobody disturbs, twice killed."""
    body = {"type": "prune", "dataset": "fashion-mnist", "model": {"preset": "lenet5_caffe"}, "seed": 3,
            "prune": {"structure": "channel", "schedule": "cubic", "frequency": 100, "target_sparsity": 0.6,
                      "end_step": 1200, "finetune": {"epochs": 1}},
            "train": {"steps": 1500, "eval_every_steps": 300, "checkpoint_every_seconds": 1,
                      "optimizer": {"lr": 0.05, "momentum": 0.9}}}
    with Service(binary) as service:
        calm = service.wait(service.submit(body)["id"], seconds=300)
        assert calm["state"] == "succeeded", calm
        job = service.submit(body)["id"]
        for part in (0.25, 0.6):
            service.wait(job, lambda one: part < (one["progress"]["fraction"] or 0) < 0.95)
            service.kill()
            service.start()
        done = service.wait(job, seconds=300)
        assert done["state"] == "succeeded" and done["attempt"] == 3, done
        reports = [one["result"]["report"] for one in (calm, done)]
        for key in ("model_sha256", "test_accuracy", "sparsity", "equivalence", "layers"):
            assert reports[0][key] == reports[1][key], (key, reports)
        curves = [service.get(f"/v1/jobs/{one}/metrics?max_points=10000").json["series"] for one in (calm["id"], job)]
        for name in ("sparsity", "train_loss", "val_accuracy"):
            assert curves[0][name]["steps"] == curves[1][name]["steps"], name
            assert curves[0][name]["values"] == curves[1][name]["values"], name
        assert curves[0]["sparsity"]["steps"] == list(range(0, 1201, 100)), curves[0]["sparsity"]


def test_pruned_while_it_learns_from_what_it_was(binary, kept):
    """Gradually, from the dense original; killed on the way and behind the shrinking, to the same bits."""
    with Service(binary) as service:
        dense = service.submit(DENSE)["id"]
        body = {"type": "prune", "dataset": "fashion-mnist", "model": {"job": dense}, "distill": {"temperature": 2},
                "prune": {"structure": "channel", "schedule": "cubic", "frequency": 100, "target_sparsity": 0.5,
                          "end_step": 600, "finetune": {"epochs": 1}},
                "train": {**TRAIN, "steps": 800, "checkpoint_every_seconds": 1}}
        calm = service.wait(service.submit(body)["id"], seconds=300)
        assert calm["state"] == "succeeded" and calm["type"] == "prune", calm
        report, whole = calm["result"]["report"], service.wait(dense)["result"]
        assert report["before"]["test_accuracy"] > 0.8 and "teacher" not in report, report
        assert report["after"]["test_accuracy"] > report["before"]["test_accuracy"] - 0.03, report
        curves = service.get(f"/v1/jobs/{calm['id']}/metrics?max_points=10000").json["series"]
        assert set(curves) >= {"sparsity", "hard_loss", "soft_loss", "agreement"}, sorted(curves)
        # It starts as its own teacher.
        assert curves["agreement"]["values"][0] == 1 and curves["soft_loss"]["values"][0] < 1e-6, curves
        lineage = service.get(f"/v1/models/{calm['result']['model_id']}").json["lineage"]
        assert lineage["teachers"] == [lineage["parent"]] == [whole["model_id"]], lineage

        job = service.submit(body)["id"]
        for part in (0.2, 0.7):
            service.wait(job, lambda one: part < (one["progress"]["fraction"] or 0) < 0.95)
            service.kill()
            service.start()
        done = service.wait(job, seconds=300)
        assert done["state"] == "succeeded" and done["attempt"] == 3, done
        assert done["result"]["report"]["model_sha256"] == report["model_sha256"], (report, done)
        again = service.get(f"/v1/jobs/{job}/metrics?max_points=10000").json["series"]
        for name in ("sparsity", "soft_loss", "agreement"):
            assert again[name]["values"] == curves[name]["values"], name

        other = service.wait(service.submit(
            {**body, "model": {"preset": "mlp", "hidden": [32]}, "distill": {"teacher": {"job": dense}},
             "prune": {"target_sparsity": 0.5, "finetune": {"epochs": 0}}, "train": {"steps": 200}})["id"])
        assert other["state"] == "succeeded", other
        teacher = other["result"]["report"]["teacher"]
        assert teacher["model"] == whole["model_id"], teacher
        assert teacher["test_accuracy"] == whole["report"]["test_accuracy"], teacher


def test_trained_pruned_and_taught_back_by_three_posts(binary, kept):
    """Each waits for the one before; the lineage leads back to the first."""
    with Service(binary) as service:
        dense = service.submit(DENSE)["id"]
        pruned = service.submit({
            "type": "prune", "dataset": "fashion-mnist", "model": {"job": dense}, "train": TRAIN,
            "prune": {"target_sparsity": 0.95, "max_per_layer": 0.99, "finetune": {"epochs": 0}}})["id"]
        back = service.submit({
            "type": "distill", "dataset": "fashion-mnist", "model": {"job": pruned},
            "distill": {"teacher": {"job": dense}}, "train": {**TRAIN, "steps": 300}})["id"]
        job = service.wait(back, seconds=300)
        assert job["state"] == "succeeded" and set(job["depends_on"]) == {pruned, dense}, job
        report, before = job["result"]["report"], service.wait(pruned)["result"]["report"]["after"]
        assert report["test_accuracy"] > before["test_accuracy"], (report, before)
        assert report["student"]["nonzero_parameters"] == before["nonzero_parameters"], report["student"]
        assert report["student"]["file_bytes"] < 0.2 * report["teacher"]["file_bytes"], report
        lineage = service.get(f"/v1/models/{job['result']['model_id']}").json["lineage"]
        assert lineage["parent"] == service.wait(pruned)["result"]["model_id"], lineage
        assert lineage["teachers"] == [service.wait(dense)["result"]["model_id"]], lineage


@alone
def test_channels_are_removed_until_a_sample_is_answered_in_time(binary, kept):
    """Latencies are this machine's: what is asked here is only that fewer channels were the way to it."""
    with Service(binary) as service:
        body = {"type": "prune", "dataset": "fashion-mnist", "model": {"preset": "resnet8"},
                "prune": {"structure": "channel", "constraint": {"latency_ms": "70%"}, "finetune": {"epochs": 0}},
                "train": {"steps": 50, "optimizer": {"lr": 0.05}}}
        job = service.wait(service.submit(body)["id"], seconds=300)
        assert job["state"] == "succeeded", job
        report = job["result"]["report"]
        assert report["after"]["macs"] < report["before"]["macs"], report
        assert report["equivalence"]["max_abs_difference"] <= report["equivalence"]["tolerance"], report
        never = service.wait(service.submit({**body, "prune": {**body["prune"], "constraint": {"latency_ms": 1e-6}}})["id"])
        assert never["state"] == "failed" and "latency_ms" in never["error"]["message"], never


def test_a_model_that_loses_too_much_is_not_kept(binary, kept):
    with Service(binary) as service:
        dense = service.submit(DENSE)["id"]
        body = {"type": "prune", "dataset": "fashion-mnist", "model": {"job": dense}, "train": TRAIN,
                "prune": {"target_sparsity": 0.98, "finetune": {"epochs": 0}}}
        kept_dense = service.wait(service.submit({**body, "gate": {"max_drop": 0.01}})["id"])
        assert kept_dense["state"] == "succeeded", kept_dense
        report, whole = kept_dense["result"]["report"], service.wait(dense)["result"]
        assert report["gate"]["kept"] == "dense" and not report["gate"]["passed"], report["gate"]
        weights = [tensors(service, one)[0] for one in (kept_dense["result"]["model_id"], whole["model_id"])]
        assert weights[0] == weights[1] and report["test_accuracy"] == whole["report"]["test_accuracy"]

        failed = service.submit({**body, "gate": {"max_drop": 0.01, "on_fail": "fail"}})["id"]
        job = service.wait(failed)
        assert job["state"] == "failed" and job["error"]["code"] == "gate_failed", job
        verdict = service.get(f"/v1/jobs/{failed}/verdict")
        assert verdict.status == 409 and verdict.json["code"] == "gate_failed", verdict
        assert "The accuracy fell by" in verdict.json["detail"], verdict
        # What was measured is there all the same, and no model is.
        lost = job["error"]["report"]
        assert lost["gate"]["kept"] == "none" and not lost["gate"]["passed"], lost["gate"]
        assert lost["after"]["test_accuracy"] == report["after"]["test_accuracy"], (lost, report)
        assert job["result"] is None and len(service.get("/v1/models").json["data"]) == 2, job
        assert len(os.listdir(f"{service.data}/models")) == 2, os.listdir(f"{service.data}/models")

        for prune, pointer in (
                ({"per_layer": {"fc2": 0.5}}, "/prune/per_layer/fc2"),
                ({"target_sparsity": 0.9999, "max_per_layer": 1, "scope": "layer"}, "/prune/target_sparsity"),
                ({"criterion": "taylor"}, "/prune/criterion"), ({"rewind": "init"}, "/prune/rewind"),
                ({"sparsity": 0.5}, "/prune/sparsity")):
            bad = service.post("/v1/jobs", {**body, "prune": prune})
            assert bad.status == 422, (prune, bad)
            assert [error["pointer"] for error in bad.json["errors"]] == [pointer], (prune, bad)
