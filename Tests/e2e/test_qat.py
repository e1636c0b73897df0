"""Quantize jobs that train: models learn to live with the rounding of their layers in bytes."""

import tempfile

from service import Service
from test_language import add, small, spec

DENSE = {"type": "train", "dataset": "fashion-mnist", "model": {"preset": "lenet5_caffe"},
         "train": {"steps": 600, "optimizer": {"lr": 0.05, "momentum": 0.9}}}
TRAIN = {"optimizer": {"lr": 0.05, "momentum": 0.9}}


def quantized(service, dense, quantize, **members):
    job = service.submit({"type": "quantize", "dataset": "fashion-mnist", "model": {"job": dense},
                          "quantize": quantize, **members})
    return service.wait(job["id"], seconds=300)


def test_a_network_that_is_trained_for_bytes(binary, kept):
    """LeNet in bytes is no worse than without the training, and what is stored is what was trained."""
    with Service(binary) as service:
        dense = service.submit(DENSE)["id"]
        job = quantized(service, dense, {"method": "qat"}, train=TRAIN, gate={"max_drop": 0.005})
        plain = quantized(service, dense, {})
        assert job["state"] == plain["state"] == "succeeded", (job, plain)
        report, whole = job["result"]["report"], service.wait(dense)["result"]
        before, after = report["before"], report["after"]
        assert before["test_accuracy"] == whole["report"]["test_accuracy"], (before, whole)
        assert after["test_accuracy"] >= plain["result"]["report"]["after"]["test_accuracy"] - 0.003, (after, plain)
        # 10,000 samples: thirty may lie so that a sum that is rounded otherwise decides.
        assert abs(after["test_accuracy"] - report["rounded_test_accuracy"]) <= 0.003, report
        assert after["file_bytes"] <= 0.3 * before["file_bytes"], (before, after)
        assert report["gate"]["passed"] and report["verdict"][0] == "smaller", report
        assert report["steps"] == 938 and "calibration_samples" not in report, report
        assert {layer["precision"] for layer in report["layers"]} == {"int8"}, report["layers"]
        curves = service.get(f"/v1/jobs/{job['id']}/metrics?series=train_loss,val_accuracy,learning_rate").json["series"]
        assert len(curves) == 3, curves
        model = service.get(f"/v1/models/{job['result']['model_id']}").json
        assert model["lineage"]["parent"] == whole["model_id"], model
        assert model["lineage"]["quantization"]["method"] == "qat", model
        measured = service.wait(service.submit(
            {"type": "evaluate", "dataset": "fashion-mnist", "model": {"id": model["id"]}})["id"])
        assert measured["result"]["report"]["accuracy"] == after["test_accuracy"], (measured, after)
        refused = service.post("/v1/jobs", {**DENSE, "model": {"id": model["id"]}})
        assert refused.status == 422 and refused.json["errors"][0]["code"] == "quantized_model", refused


def test_paused_and_resumed_it_is_the_same_model(binary, kept):
    with Service(binary) as service:
        dense = service.wait(service.submit({**DENSE, "train": {**DENSE["train"], "steps": 60}})["id"])["id"]
        body = {"type": "quantize", "dataset": "fashion-mnist", "model": {"job": dense},
                "quantize": {"method": "qat", "qat": {"epochs": 2}}, "train": TRAIN}
        whole = service.wait(service.submit(body)["id"], seconds=300)
        job = service.submit(body)["id"]
        service.wait(job, lambda one: one["progress"]["fraction"] > 0.1)
        service.post(f"/v1/jobs/{job}/pause")
        paused = service.wait(job, lambda one: one["state"] == "paused")
        assert 0 < paused["progress"]["fraction"] < 1, paused
        service.post(f"/v1/jobs/{job}/resume")
        job = service.wait(job, seconds=300)
        assert job["state"] == whole["state"] == "succeeded", job
        hashes = [one["result"]["report"]["model_sha256"] for one in (whole, job)]
        assert hashes[0] == hashes[1], hashes
        cancelled = service.submit(body)["id"]
        service.wait(cancelled, lambda one: one["state"] == "running")
        service.post(f"/v1/jobs/{cancelled}/cancel")
        assert service.wait(cancelled)["state"] == "cancelled"


SEPARABLE = {"input": [1, 28, 28], "layers": [
    {"type": "conv2d", "name": "stem", "out_channels": 16, "kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
    {"type": "batch_norm"}, {"type": "relu"},
    {"type": "depthwise_conv2d", "kernel_size": 3, "padding": 1, "bias": False}, {"type": "batch_norm"}, {"type": "relu"},
    {"type": "conv2d", "out_channels": 32, "kernel_size": 1, "bias": False}, {"type": "batch_norm"}, {"type": "relu"},
    {"type": "depthwise_conv2d", "kernel_size": 3, "padding": 1, "stride": 2, "bias": False}, {"type": "batch_norm"},
    {"type": "relu"},
    {"type": "conv2d", "out_channels": 64, "kernel_size": 1, "bias": False}, {"type": "batch_norm"}, {"type": "relu"},
    {"type": "global_avg_pool"}, {"type": "linear", "name": "head", "out_features": 10}]}


def test_folded_normalisations_are_trained_as_well_as_those_in_float32(binary, kept):
    """Against a model that is trained as much further in float32 and then quantized."""
    with Service(binary) as service:
        dense = service.submit({**DENSE, "model": SEPARABLE, "train": {"epochs": 3, **TRAIN}})["id"]
        further = {"epochs": 1, "optimizer": {"lr": 0.005, "momentum": 0.9}, "lr_schedule": {"name": "cosine"}}
        more = service.submit({**DENSE, "model": {"job": dense}, "train": further})["id"]
        weight = {"granularity": "per_tensor"}
        plain = quantized(service, more, {"weight": weight})
        trained = quantized(service, dense, {"method": "qat", "weight": weight}, train=TRAIN)
        assert plain["state"] == trained["state"] == "succeeded", (plain, trained)
        behind, within = (one["result"]["report"]["after"]["test_accuracy"] for one in (plain, trained))
        assert within >= behind - 0.01, (behind, within)
        report = trained["result"]["report"]
        assert within >= report["rounded_test_accuracy"] - 0.005, report
        for one in (plain, trained):
            proof = one["result"]["report"]["equivalence"]
            assert 0 < proof["max_abs_difference"] <= proof["tolerance"] < 0.01, proof


def test_the_products_of_a_transformer_become_bytes(binary, kept):
    """Attention, normalisations and the shared embedding stay in float32; its linear layers need not."""
    with Service(binary) as service, tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/rhyme.txt"
        with open(path, "w", encoding="utf-8") as file:
            file.write("one, two, buckle my shoe; three, four, knock at the door;\n" * 30)
        add(binary, service, "rhyme", path, "--tokens", "char")
        dense = service.submit(spec("rhyme", small("gpt"), steps=300))["id"]
        for quantize, members in (({}, {}), ({"method": "qat", "qat": {"epochs": 2}},
                                             {"train": {"batch_size": 8, "optimizer": {"name": "adam", "lr": 0.01}}})):
            job = service.submit({"type": "quantize", "dataset": "rhyme", "model": {"job": dense},
                                  "quantize": quantize, **members})
            job = service.wait(job["id"])
            assert job["state"] == "succeeded", job
            report = job["result"]["report"]
            precisions = [layer["precision"] for layer in report["layers"]]
            assert "int8" in precisions, report["layers"]
            before, after = report["before"]["test_accuracy"], report["after"]["test_accuracy"]
            # A layer that is computed otherwise would show.
            assert abs(after - before) <= 0.1, (before, after)
