"""Quantize jobs: a stored model's layers become bytes, and are measured against what they were."""

import json
import struct

from service import Service

DENSE = {"type": "train", "dataset": "fashion-mnist", "model": {"preset": "lenet5_caffe"},
         "train": {"steps": 600, "optimizer": {"lr": 0.05, "momentum": 0.9}}}


def header(service, model):
    body = service.get(f"/v1/models/{model}/download").body
    length = struct.unpack("<Q", body[:8])[0]
    entries = json.loads(body[8:8 + length])
    return entries, body[8 + length:], len(body)


def test_a_network_in_bytes(binary, kept):
    """LeNet loses next to nothing, its file is a quarter, and what is stored is what was measured."""
    with Service(binary) as service:
        dense = service.submit(DENSE)["id"]
        job = service.submit({"type": "quantize", "dataset": "fashion-mnist", "model": {"job": dense},
                              "gate": {"max_drop": 0.005}})
        assert job["state"] == "queued" and job["spec"]["quantize"]["method"] == "ptq_static", job
        job = service.wait(job["id"])
        assert job["state"] == "succeeded" and job["type"] == "quantize", job
        report, whole = job["result"]["report"], service.wait(dense)["result"]
        before, after = report["before"], report["after"]
        assert before["test_accuracy"] == whole["report"]["test_accuracy"], (before, whole)
        assert after["test_accuracy"] >= before["test_accuracy"] - 0.005, (before, after)
        assert after["file_bytes"] <= 0.3 * before["file_bytes"], (before, after)
        assert before["parameters"] == after["parameters"] == 431_080, (before, after)
        assert report["gate"]["passed"] and report["gate"]["kept"] == "quantized", report["gate"]
        assert report["verdict"][0] == "smaller", report["verdict"]
        assert after["peak_memory_bytes"] < before["peak_memory_bytes"], (before, after)
        for block in (before, after):
            assert block["joules_per_1000"] > 0 and 0 < block["latency_ms"]["1"]["p50"] < block["latency_ms"]["64"]["p50"]
        layers = {layer["name"]: layer for layer in report["layers"]}
        assert list(layers) == ["conv1", "conv2", "fc1", "fc2"], layers
        for layer in layers.values():
            assert layer["precision"] == "int8" and layer["kernel"] and layer["input_scale"] > 0, layer
        # What a ReLU leaves begins at zero; the normalised pixels do not.
        assert layers["conv1"]["input_zero_point"] > 0 == layers["fc1"]["input_zero_point"], layers

        entries, data, size = header(service, job["result"]["model_id"])
        assert size == after["file_bytes"] == report["file_bytes"], (size, after)
        weight = entries["fc1.weight"]
        assert weight["dtype"] == "I8" and weight["shape"] == [500, 800], weight
        begin, end = weight["data_offsets"]
        codes = struct.unpack(f"<{end - begin}b", data[begin:end])
        assert all(max(map(abs, codes[row * 800:(row + 1) * 800])) == 127 for row in range(500)), "codes are not used"

        measured = service.wait(service.submit(
            {"type": "evaluate", "dataset": "fashion-mnist", "model": {"id": job["result"]["model_id"]}})["id"])
        assert measured["result"]["report"]["accuracy"] == after["test_accuracy"], (measured, after)
        model = service.get(f"/v1/models/{job['result']['model_id']}").json
        assert model["lineage"]["parent"] == whole["model_id"], model
        assert model["lineage"]["quantization"]["layers"] == list(layers), model
        image = {"inputs": [[[[0.5] * 28] * 28]], "top": 2}
        answers = [service.post(f"/v1/models/{one}/predict", image) for one in (whole["model_id"], model["id"])]
        assert [answer.status for answer in answers] in ([200, 200], [422, 422]), answers

        # It answers, and is nothing to go on from.
        for body in ({**DENSE, "model": {"id": model["id"]}},
                     {"type": "quantize", "dataset": "fashion-mnist", "model": {"job": job["id"]}}):
            refused = service.post("/v1/jobs", body)
            assert refused.status == 422 and refused.json["errors"][0]["code"] == "quantized_model", refused


def test_a_pruned_network_keeps_its_zeros_and_gets_smaller_still(binary, kept):
    with Service(binary) as service:
        dense = service.submit(DENSE)["id"]
        pruned = service.submit({"type": "prune", "dataset": "fashion-mnist", "model": {"job": dense},
                                 "prune": {"target_sparsity": 0.9, "finetune": {"epochs": 1}},
                                 "train": {"optimizer": {"lr": 0.05, "momentum": 0.9}}})["id"]
        job = service.wait(service.submit(
            {"type": "quantize", "dataset": "fashion-mnist", "model": {"job": pruned}})["id"], seconds=300)
        assert job["state"] == "succeeded", job
        report, before = job["result"]["report"], service.wait(pruned)["result"]["report"]
        blocks = report["before"], report["after"]
        assert blocks[0]["file_bytes"] == before["file_bytes"], (blocks, before)
        # A bit for each weight, and a byte instead of four for those that are left.
        assert blocks[1]["file_bytes"] < 0.6 * blocks[0]["file_bytes"], blocks
        assert blocks[1]["test_accuracy"] >= blocks[0]["test_accuracy"] - 0.005, blocks
        assert blocks[1]["nonzero_parameters"] <= blocks[0]["nonzero_parameters"], blocks
        assert report["sparsity"] >= 0.88, report["sparsity"]
        measured = service.wait(service.submit(
            {"type": "evaluate", "dataset": "fashion-mnist", "model": {"job": job["id"]}})["id"])
        assert measured["result"]["report"]["accuracy"] == blocks[1]["test_accuracy"], (measured, blocks)
        entries, _, size = header(service, job["result"]["model_id"])
        whole = {"I8", "F32", "U8"}
        assert {entry["dtype"] for name, entry in entries.items() if name != "__metadata__"} == whole, entries
        assert size > blocks[1]["file_bytes"], "whole unless asked for otherwise"


def test_the_gate_keeps_the_model_or_fails(binary, kept):
    with Service(binary) as service:
        dense = service.wait(service.submit({**DENSE, "train": {"steps": 60, "optimizer": {"lr": 0.02}}})["id"])
        model = dense["result"]["model_id"]
        # One sample of one batch, and half of its values left out: ranges that ruin it.
        ruin = {"calibration_samples": 1, "weight": {"granularity": "per_tensor"},
                "activation": {"observer": "percentile", "percentile": 51}}
        body = {"type": "quantize", "dataset": "fashion-mnist", "model": {"id": model}, "quantize": ruin}
        job = service.wait(service.submit({**body, "gate": {"max_drop": 0.0}})["id"])
        assert job["state"] == "succeeded", job
        report = job["result"]["report"]
        assert report["gate"]["kept"] == "dense" and not report["gate"]["passed"], report["gate"]
        assert report["after"]["test_accuracy"] < report["before"]["test_accuracy"] == report["test_accuracy"], report
        kept_model = service.get(f"/v1/models/{job['result']['model_id']}").json
        assert kept_model["sha256"] == service.get(f"/v1/models/{model}").json["sha256"], kept_model
        assert "quantization" not in kept_model["lineage"], kept_model
        failed = service.wait(service.submit({**body, "gate": {"max_drop": 0.0, "on_fail": "fail"}})["id"])
        assert failed["state"] == "failed" and failed["error"]["code"] == "gate_failed", failed
        assert failed["error"]["pointer"] == "/gate/max_drop", failed


def test_normalised_and_depthwise_layers_and_what_is_left_out(binary, kept):
    model = {"input": [1, 28, 28], "layers": [
        {"type": "conv2d", "name": "stem", "out_channels": 16, "kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
        {"type": "batch_norm"}, {"type": "relu"},
        {"type": "separable_conv2d", "name": "block", "out_channels": 32, "kernel_size": 3, "padding": 1},
        {"type": "batch_norm"}, {"type": "relu"}, {"type": "global_avg_pool"},
        {"type": "linear", "name": "head", "out_features": 10}]}
    with Service(binary) as service:
        dense = service.submit({**DENSE, "model": model, "train": {"steps": 300, "optimizer": {"lr": 0.05, "momentum": 0.9}}})
        for exclude in ([], ["head", "stem"]):
            job = service.wait(service.submit(
                {"type": "quantize", "dataset": "fashion-mnist", "model": {"job": dense["id"]},
                 "quantize": {"exclude": exclude}})["id"])
            assert job["state"] == "succeeded", job
            report = job["result"]["report"]
            precisions = {layer["name"]: layer["precision"] for layer in report["layers"]}
            assert all((precision == "float32") == (name in exclude) for name, precision in precisions.items()), precisions
            drop = report["before"]["test_accuracy"] - report["after"]["test_accuracy"]
            assert drop <= 0.02, (exclude, drop)
