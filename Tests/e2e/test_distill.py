"""Distill jobs: a student learns from a stored model."""

import hashlib

from service import Service

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
